//! Holds: who waits for us, since when, and letting one go.

use axum::Extension;
use axum::extract::State;
use mdm_core::clock::Timestamp;
use mdm_core::ids::{Serial, SetUpId};
use serde_json::json;

use super::asked::{Path, Query};
use super::{About, Answer, Asked, At, By, refused, shown};

pub(super) async fn list(About { office, org, which }: About) -> Answer {
    let after = which
        .since
        .map(|since| (Timestamp::from_millis(since), SetUpId(which.after)));
    let rows = org.holds(after, which.limit()).await.map_err(refused)?;
    let next = (rows.len() == which.limit() as usize)
        .then(|| rows.last())
        .flatten()
        .and_then(|last| {
            Some(json!({ "since": last.held_since()?.as_millis(), "after": last.id }))
        });
    shown(json!({ "holds": rows, "next": next, "now": office.mdm.now() }))
}

pub(super) async fn release(
    State(office): At,
    Extension(caller): By,
    Path(serial): Path<String>,
    Query(which): Asked,
) -> Answer {
    let org = caller.organisation(&office.mdm, &which).await?;
    let serial = Serial::parse(&serial).map_err(refused)?;
    let release = org.release_now(&serial).await.map_err(refused)?;
    tracing::info!(%serial, by = caller.name, ?release, "released by a person");
    office.poke.notify_one();
    shown(json!({ "serial": serial, "release": release }))
}
