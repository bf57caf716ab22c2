//! Waves: the list, and one with its members.

use mdm_core::error::Error;
use mdm_core::ids::WaveId;
use serde_json::json;

use super::asked::Path;
use super::{About, Answer, refused, shown};

pub(super) async fn list(About { office, org, which }: About) -> Answer {
    let rows = office
        .mdm
        .store()
        .waves(org.organisation().id, WaveId(which.after), which.limit())
        .await
        .map_err(|error| refused(error.into()))?;
    shown(json!({ "waves": rows }))
}

pub(super) async fn show(About { office, org, .. }: About, Path(id): Path<i64>) -> Answer {
    let wave = office
        .mdm
        .store()
        .wave(org.organisation().id, WaveId(id))
        .await
        .map_err(|error| refused(error.into()))?
        .ok_or_else(|| refused(Error::NotFound("wave")))?;
    let members = org.members(wave.id).await.map_err(refused)?;
    shown(json!({ "wave": wave, "members": members }))
}
