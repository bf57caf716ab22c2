//! What is known of each device from three sides, and the reading of the organisation's device list.

use axum::Extension;
use axum::extract::State;
use mdm_core::ids::{AnyId, DeviceId, Serial};
use mdm_core::inventory::Inventory;
use mdm_core::service::Org;
use mdm_core::views::Views;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::Refusal;
use super::asked::{Path, Query};
use super::described::{Shows, told};
use super::{About, Answer, Asked, At, By, Most, Office, Page, refused, shown, whole};

pub(super) async fn show(About { office, org, .. }: About) -> Answer<impl Shows> {
    let row = org.inventory().await.map_err(refused)?;
    let services = named(
        &office,
        &org,
        row.as_ref().map_or(&[][..], |row| &row.services),
    )
    .await?;
    shown(summary(row.as_ref(), services))
}

pub(super) async fn pull(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
) -> Answer<impl Shows> {
    let org = caller.organisation(&office.mdm, &which).await?;
    let row = org.start_pull().await.map_err(refused)?;
    tracing::info!(by = caller.name, "the inventory is read");
    office.poke.notify_one();
    shown(summary(Some(&row), Vec::new()))
}

/// Which views.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Viewed {
    /// Behind this id.
    #[serde(default)]
    after: AnyId,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
    /// They are taken along: what the record says until now is sealed, `record` is its newest seal, and `at` is now.
    #[serde(default)]
    export: bool,
}

pub(super) async fn views(
    About {
        office, org, which, ..
    }: About<Viewed>,
) -> Answer<impl Shows> {
    let export = which.export;
    let which = Page {
        after: which.after,
        limit: which.limit,
    };
    let page = org.views_page(DeviceId(which.after.0), which.limit());
    let page = match export {
        true => whole(page).await,
        false => page.await,
    };
    let (rows, next) = page.map_err(refused)?;
    // What is refused has not left.
    let record = match export {
        true => org.leaves(Some("inventory")).await.map_err(refused)?,
        false => None,
    };
    let next = next.filter(|_| rows.len() == which.limit() as usize);
    let rows: Vec<_> = rows.iter().map(view).collect();
    let at = export.then(|| office.mdm.now());
    shown(told! { views: rows, next: next, record: record, at: at })
}

pub(super) async fn one(
    About { org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    shown(view(&org.views(&serial).await.map_err(refused)?))
}

/// A service of the organisation, as Apple names it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Service {
    id: String,
    name: String,
    /// It is an entry of this server.
    ours: bool,
}

/// Services with their names, and which are ours.
pub(super) async fn named(
    office: &Office,
    org: &Org,
    services: &[(String, String)],
) -> Result<Vec<Service>, Refusal> {
    let servers = office
        .mdm
        .store()
        .servers(org.organisation().id)
        .await
        .map_err(|error| refused(error.into()))?;
    let ours = |id: &str| servers.iter().any(|s| s.uuid.eq_ignore_ascii_case(id));
    Ok(services
        .iter()
        .map(|(id, name)| Service {
            id: id.clone(),
            name: name.clone(),
            ours: ours(id),
        })
        .collect())
}

fn summary(row: Option<&Inventory>, services: Vec<Service>) -> impl Shows + use<> {
    told! {
        wanted: row.and_then(|r| r.wanted),
        begun: row.and_then(Inventory::begun),
        complete: row.and_then(|r| r.complete),
        ended: row.and_then(|r| r.ended),
        pages: row.map(|r| r.pages),
        devices: row.map(|r| r.devices),
        needs_person: row.and_then(|r| r.needs_person.clone()),
        services: services,
    }
}

/// The three views with the sentences that people need.
fn view(views: &Views) -> impl Shows + use<> {
    let contradictions: Vec<_> = views
        .contradictions
        .iter()
        .map(|c| told! { kind: *c, sentence: c.sentence() })
        .collect();
    told! {
        serial: views.serial.clone(),
        api: views.api.clone(),
        assignment: views.assignment.clone(),
        enrolment: views.enrolment.clone(),
        contradictions: contradictions,
        no_profile: views
            .no_profile
            .as_ref()
            .map(|why| told! { reason: why.clone(), sentence: why.to_string() }),
    }
}
