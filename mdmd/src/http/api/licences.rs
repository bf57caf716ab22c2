//! Licences of Apps and Books: content tokens, what a location has, what a wave needs, giving and taking back by hand.

use mdm_core::error::Error;
use mdm_core::ids::{AnyId, LocationId, Serial, WaveId};
use mdm_core::licences::Location;
use mdm_core::secret::Secret;
use mdm_core::service::LicenceAct;
use schemars::JsonSchema;
use serde::Deserialize;

use super::asked::Path;
use super::described::{Sent, Shows, told};
use super::{About, Answer, Hidden, refused, shown};

/// A content token as Apple's portal gave it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ContentToken {
    token: Hidden,
    /// Displace another management service that has claimed the location.
    #[serde(default)]
    take_over: bool,
}

/// Giving or taking back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Giving {
    location: LocationId,
    #[serde(default)]
    take_back: bool,
    apps: Vec<u64>,
    serials: Vec<Serial>,
    digest: Option<String>,
}

impl Giving {
    fn act(self) -> LicenceAct {
        LicenceAct {
            location: self.location,
            take_back: self.take_back,
            apps: self.apps,
            serials: self.serials,
        }
    }
}

pub(super) async fn import(
    About { office, org, .. }: About,
    Sent(sent): Sent<ContentToken>,
) -> Answer<impl Shows> {
    // A content token is base64 of JSON by itself: it is kept as it came, once our own layer is undone.
    let token = sent.token.content_token();
    abm_client::apps::ContentToken::read(&token)
        .map_err(|error| refused(Error::bad_input("token", error.to_string())))?;
    let id = org
        .import_content_token(&Secret::new(token.as_slice()), sent.take_over)
        .await
        .map_err(refused)?;
    office.poke.notify_one();
    shown(told! { location: id })
}

pub(super) async fn list(About { org, .. }: About) -> Answer<impl Shows> {
    let rows = org.locations().await.map_err(refused)?;
    let rows: Vec<_> = rows.iter().map(location).collect();
    shown(told! { locations: rows })
}

pub(super) async fn refresh(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let row = org
        .refresh_location(LocationId(id))
        .await
        .map_err(refused)?;
    shown(location(&row))
}

/// The location that is given up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Removed {
    /// Its name, typed.
    name: String,
}

pub(super) async fn remove(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Removed>,
) -> Answer<impl Shows> {
    let gone = org.remove_location(LocationId(id), &sent.name).await;
    let gone = gone.map_err(refused)?;
    shown(told! { id: gone.id, name: gone.name, removed: gone.removed })
}

pub(super) async fn need(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let rows = org.licence_need(WaveId(id)).await.map_err(refused)?;
    shown(told! { apps: rows })
}

pub(super) async fn plan(About { org, .. }: About, Sent(sent): Sent<Giving>) -> Answer<impl Shows> {
    shown(org.plan_licences(&sent.act()).await.map_err(refused)?)
}

pub(super) async fn act(
    About { office, org, .. }: About,
    Sent(mut sent): Sent<Giving>,
) -> Answer<impl Shows> {
    let digest = sent.digest.take().ok_or_else(|| {
        let problem = "must be that of the plan that was accepted";
        refused(Error::bad_input("digest", problem))
    })?;
    let done = org
        .do_licences(&sent.act(), &digest)
        .await
        .map_err(refused)?;
    office.poke.notify_one();
    shown(done)
}

/// A location without its token.
fn location(row: &Location) -> impl Shows + use<> {
    let stock: Vec<_> = row
        .stock
        .iter()
        .map(|(app, stock)| {
            told! {
                app: *app,
                total: stock.total,
                assigned: stock.assigned,
                available: stock.available,
                unlimited: stock.unlimited,
                device_assignable: stock.device_assignable,
            }
        })
        .collect();
    told! {
        id: row.id,
        name: row.name.clone(),
        token_expires: row.token_expires,
        claimed_by_other: row.claimed_by_other.clone(),
        taken_over: row.taken_over.clone(),
        needs_person: row.needs_person.clone(),
        stock: stock,
        stock_read: row.stock_read,
    }
}
