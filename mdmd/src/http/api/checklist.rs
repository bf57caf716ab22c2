//! The live checklist. Looks at the server's own doors by their public names first, if that was not done just now.

use std::time::Duration;

use mdm_core::checklist::{Checklist, Outside};
use schemars::JsonSchema;
use serde::Serialize;

use super::described::Shows;
use super::{About, Answer, refused, shown};
use crate::probe;
use crate::reports::SERVER;

/// What was seen of the doors is good for so long.
const YOUNG: Duration = Duration::from_secs(30);

/// The list, and who made it.
#[derive(Serialize, JsonSchema)]
struct Made {
    #[serde(flatten)]
    list: Checklist,
    /// How many items are missing.
    missing: usize,
    server: &'static str,
}

pub(super) async fn show(About { office, org, .. }: About) -> Answer<impl Shows> {
    let id = org.organisation().id;
    let now = mdm_core::clock::Clock::now(&mdm_core::clock::SystemClock);
    // Where devices go may have been changed since.
    let doors = org.doors();
    let same = |seen: &Outside| {
        let urls = doors.iter().map(|(_, url, _)| url);
        seen.endpoints.iter().map(|e| &e.url).eq(urls)
    };
    let young = office
        .mdm
        .outside(id)
        .is_some_and(|seen| now.since(seen.at) < YOUNG && same(&seen));
    if !young {
        let seen = probe::doors(&org).await;
        office.mdm.tell_outside(id, seen);
    }
    if let Some(seen) = crate::apple::beside::seen() {
        office.mdm.tell_clock(seen);
    }
    let list = org.checklist().await.map_err(refused)?;
    let missing = list.missing().count();
    shown(Made {
        list,
        missing,
        server: SERVER,
    })
}
