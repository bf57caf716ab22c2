//! Holds: who waits for us, since when, and letting one go.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use mdm_core::clock::Timestamp;
use mdm_core::ids::{AnyId, Serial, SetUpId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::asked::{Path, Query};
use super::described::{Shows, told};
use super::{About, Answer, Asked, At, By, Most, at_most, refused, shown};

/// For so long it is looked what a release means before it is done: nobody waits in a hold for that.
const LOOK: Duration = Duration::from_secs(2);

/// Which page of the holds.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Held {
    /// Behind this one: the `after` of the page before's `next`.
    #[serde(default)]
    after: AnyId,
    /// Since when that one is held, in milliseconds: the `since` of that `next`.
    since: Option<i64>,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
}

pub(super) async fn list(About { office, org, which }: About<Held>) -> Answer<impl Shows> {
    let after = which
        .since
        .map(|since| (Timestamp::from_millis(since), SetUpId(which.after.0)));
    let rows = org
        .holds(after, at_most(which.limit))
        .await
        .map_err(refused)?;
    let next = (rows.len() == at_most(which.limit) as usize)
        .then(|| rows.last())
        .flatten()
        .and_then(|last| Some(told! { since: last.held_since()?.as_millis(), after: last.id }));
    shown(told! { holds: rows, next: next, now: office.mdm.now() })
}

/// What it means to let one go now, before somebody does.
pub(super) async fn look(
    State(office): At,
    Extension(caller): By,
    Path(serial): Path<String>,
    Query(which): Asked,
) -> Answer<impl Shows> {
    let org = caller.organisation(&office.mdm, &which).await?;
    let serial = Serial::parse(&serial).map_err(refused)?;
    let open = org.still_open(&serial).await.map_err(refused)?;
    shown(told! { serial: serial, open: open })
}

pub(super) async fn release(
    State(office): At,
    Extension(caller): By,
    Path(serial): Path<String>,
    Query(which): Asked,
) -> Answer<impl Shows> {
    let org = caller.organisation(&office.mdm, &which).await?;
    let serial = Serial::parse(&serial).map_err(refused)?;
    // What cannot be read, or not soon, must not keep a person from letting the device go.
    let looked = tokio::time::timeout(LOOK, org.still_open(&serial)).await;
    let open = looked.ok().and_then(Result::ok);
    let release = org.release_now(&serial).await.map_err(refused)?;
    tracing::info!(%serial, by = caller.name, ?release, "released by a person");
    office.poke.notify_one();
    shown(told! { serial: serial, release: release, open: open })
}
