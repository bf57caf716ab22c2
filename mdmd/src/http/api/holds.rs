//! Holds: who waits for us, since when, and letting one go.

use axum::Extension;
use axum::extract::{Path, Query, State};
use mdm_core::ids::Serial;
use serde_json::json;

use super::{Answer, Asked, At, By, refused, shown};

pub(super) async fn list(State(office): At, Extension(caller): By, Query(which): Asked) -> Answer {
    let org = caller.organisation(&office.mdm, &which).await?;
    let rows = org.holds(which.limit()).await.map_err(refused)?;
    shown(json!({ "holds": rows, "now": office.mdm.now() }))
}

pub(super) async fn release(
    State(office): At,
    Extension(caller): By,
    Path(serial): Path<String>,
    Query(which): Asked,
) -> Answer {
    let org = caller.organisation(&office.mdm, &which).await?;
    let serial = Serial::parse(&serial).map_err(refused)?;
    org.release_now(&serial).await.map_err(refused)?;
    tracing::info!(%serial, by = caller.name, "released by a person");
    office.poke.notify_one();
    shown(json!({ "serial": serial, "release": "asked" }))
}
