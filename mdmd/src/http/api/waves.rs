//! Waves: the list, and one with its members.

use axum::Extension;
use axum::extract::State;
use mdm_core::error::Error;
use mdm_core::ids::WaveId;
use serde_json::json;

use super::asked::{Path, Query};
use super::{Answer, Asked, At, By, refused, shown};

pub(super) async fn list(State(office): At, Extension(caller): By, Query(which): Asked) -> Answer {
    let org = caller.organisation(&office.mdm, &which).await?;
    let rows = office
        .mdm
        .store()
        .waves(org.organisation().id, WaveId(which.after), which.limit())
        .await
        .map_err(|error| refused(error.into()))?;
    shown(json!({ "waves": rows }))
}

pub(super) async fn show(
    State(office): At,
    Extension(caller): By,
    Path(id): Path<i64>,
    Query(which): Asked,
) -> Answer {
    let org = caller.organisation(&office.mdm, &which).await?;
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
