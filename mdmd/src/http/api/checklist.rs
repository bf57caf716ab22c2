//! The live checklist. Looks at the server's own doors by their public names first, if that was not done just now.

use std::time::Duration;

use serde_json::json;

use super::{About, Answer, refused, shown};
use crate::probe;
use crate::reports::SERVER;

/// What was seen of the doors is good for so long.
const YOUNG: Duration = Duration::from_secs(30);

pub(super) async fn show(About { office, org, .. }: About) -> Answer {
    let id = org.organisation().id;
    let now = mdm_core::clock::Clock::now(&mdm_core::clock::SystemClock);
    let young = office
        .mdm
        .outside(id)
        .is_some_and(|seen| now.since(seen.at) < YOUNG);
    if !young {
        let seen = probe::doors(&org).await;
        office.mdm.tell_outside(id, seen);
    }
    let list = org.checklist().await.map_err(refused)?;
    let missing = list.missing().count();
    let mut list = serde_json::to_value(list).unwrap_or_default();
    list["missing"] = json!(missing);
    list["server"] = json!(SERVER);
    shown(list)
}
