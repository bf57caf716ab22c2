//! Licences and to whom they are given. Giving and taking is work that the service does later: what comes back is the
//! identifier of an [event](AppsClient::event) to follow.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::Limits;
use super::{AppsClient, EventStatus};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::open_enum::open_enum;

const ASSETS: Endpoint = Endpoint::read(Service::Apps, "GET /assets");
const ASSIGNMENTS: Endpoint = Endpoint::read(Service::Apps, "GET /assignments");
const ASSOCIATE: Endpoint = Endpoint::write(Service::Apps, "POST /assets/associate");
const DISASSOCIATE: Endpoint = Endpoint::write(Service::Apps, "POST /assets/disassociate");
const REVOKE: Endpoint = Endpoint::write(Service::Apps, "POST /assets/revoke");
const STATUS: Endpoint = Endpoint::read(Service::Apps, "GET /status");

/// The total of a free app: as many as you like.
pub const UNLIMITED: i64 = 2_147_483_647;

open_enum! {
    /// What is licensed.
    pub enum ProductType {
        /// An app.
        App = "App",
        /// A book.
        Book = "Book",
    }
}

/// The licences of one product.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Asset {
    /// The product.
    pub adam_id: String,
    /// `STDQ` or `PLUS`.
    pub pricing_param: Option<String>,
    /// App or book.
    pub product_type: Option<ProductType>,
    /// Whether it can be given to devices.
    pub device_assignable: Option<bool>,
    /// Whether it can be taken back.
    pub revocable: Option<bool>,
    /// Licences given.
    pub assigned_count: Option<i64>,
    /// Licences left.
    pub available_count: Option<i64>,
    /// Licences used up for good.
    pub retired_count: Option<i64>,
    /// All licences; see [`UNLIMITED`].
    pub total_count: Option<i64>,
    /// Systems on which it runs.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub supported_platforms: Vec<String>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Asset {
    /// How many licences are lacking for `needed` more devices; none for a free app.
    #[must_use]
    pub fn lacking(&self, needed: u32) -> u32 {
        if self.total_count == Some(UNLIMITED) {
            return 0;
        }
        let left = u32::try_from(self.available_count.unwrap_or(0).max(0)).unwrap_or(u32::MAX);
        needed.saturating_sub(left)
    }
}

/// One licence given to a device or a user.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Assignment {
    /// The product.
    pub adam_id: String,
    /// `STDQ` or `PLUS`.
    pub pricing_param: Option<String>,
    /// The device.
    pub serial_number: Option<String>,
    /// The user.
    pub client_user_id: Option<String>,
    /// Hash of the user's account.
    pub id_hash: Option<String>,
    /// State of the user, if asked for.
    pub user_status: Option<String>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Listing<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Index of the next page; `None` on the last one.
    pub next_page: Option<u32>,
    /// How many pages there are.
    pub total_pages: Option<u32>,
    /// How many things there are in all.
    pub size: Option<u64>,
    /// The state of the list. Keep the one of the *first* page, to ask later for what changed since.
    pub version_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListingAnswer<T> {
    #[serde(default = "Vec::new", alias = "assignments", alias = "users")]
    assets: Vec<T>,
    #[serde(default = "Vec::new")]
    unlimited_assets: Vec<T>,
    #[serde(default)]
    next_page_index: Option<u32>,
    #[serde(default)]
    total_pages: Option<u32>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    version_id: Option<String>,
}

impl<T> Listing<T> {
    /// The page that was asked for, as it came. One that goes back to where the list has been is refused: it has no end.
    pub(super) fn of(
        endpoint: Endpoint,
        asked: Option<u32>,
        answer: ListingAnswer<T>,
    ) -> Result<Self, Error> {
        if let Some(next) = answer.next_page_index
            && next <= asked.unwrap_or(0)
        {
            let why = format!("{next} does not go on from page {}", asked.unwrap_or(0));
            return Err(Error::malformed(endpoint, "nextPageIndex", why));
        }
        let mut items = answer.assets;
        items.extend(answer.unlimited_assets);
        Ok(Self {
            items,
            next_page: answer.next_page_index,
            total_pages: answer.total_pages,
            size: answer.size,
            version_id: answer.version_id,
        })
    }
}

/// Which licences to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AssetQuery {
    /// Of this product.
    pub adam_id: Option<String>,
    /// Apps or books.
    pub product_type: Option<ProductType>,
    /// Only what can be given to devices, or only what cannot.
    pub device_assignable: Option<bool>,
    /// With at least so many left.
    pub min_available: Option<u32>,
}

/// Which assignments to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AssignmentQuery {
    /// Of this product.
    pub adam_id: Option<String>,
    /// To this device.
    pub serial_number: Option<String>,
    /// To this user.
    pub client_user_id: Option<String>,
    /// Changed since this state of the list.
    pub since_version_id: Option<String>,
}

impl AssignmentQuery {
    /// What one device has.
    pub fn device(serial: impl Into<String>) -> Self {
        Self {
            serial_number: Some(serial.into()),
            ..Self::default()
        }
    }

    /// Who has one product.
    pub fn product(adam_id: impl Into<String>) -> Self {
        Self {
            adam_id: Some(adam_id.into()),
            ..Self::default()
        }
    }
}

/// A product to give or take.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AssetRef {
    /// The product.
    pub adam_id: String,
    /// `STDQ` or `PLUS`.
    pub pricing_param: String,
}

impl AssetRef {
    /// A product with the ordinary price.
    pub fn new(adam_id: impl Into<String>) -> Self {
        Self {
            adam_id: adam_id.into(),
            pricing_param: "STDQ".into(),
        }
    }
}

/// Who gets or loses something. Repetitions are left out: within one request they are errors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    /// Devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serial_numbers: Vec<String>,
    /// Users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_user_ids: Vec<String>,
}

impl Targets {
    /// These devices.
    pub fn serials(serials: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            serial_numbers: serials.into_iter().map(Into::into).collect(),
            client_user_ids: Vec::new(),
        }
    }

    /// These users.
    pub fn users(users: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            serial_numbers: Vec::new(),
            client_user_ids: users.into_iter().map(Into::into).collect(),
        }
    }

    fn checked(
        &self,
        endpoint: Endpoint,
        most_serials: usize,
        most_users: usize,
    ) -> Result<Self, Error> {
        let checked = Self {
            serial_numbers: distinct(&self.serial_numbers),
            client_user_ids: distinct(&self.client_user_ids),
        };
        if checked == Self::default() {
            return Err(Error::invalid(
                endpoint,
                "serialNumbers",
                "a device or a user is needed",
            ));
        }
        if checked.serial_numbers.len() > most_serials {
            return Err(Error::invalid(
                endpoint,
                "serialNumbers",
                format!("at most {most_serials} at once"),
            ));
        }
        if checked.client_user_ids.len() > most_users {
            return Err(Error::invalid(
                endpoint,
                "clientUserIds",
                format!("at most {most_users} at once"),
            ));
        }
        Ok(checked)
    }
}

/// A part of a larger task that fits into one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Products.
    pub assets: Vec<AssetRef>,
    /// Devices.
    pub targets: Targets,
}

/// Divides "these products for these devices" into requests that fit the limits. Each pair occurs exactly once.
#[must_use]
pub fn batches(assets: &[AssetRef], serials: &[String], limits: &Limits) -> Vec<Batch> {
    let (assets, serials) = (distinct(assets), distinct(serials));
    let mut found = Vec::new();
    for serials in serials.chunks(limits.max_serial_numbers.max(1)) {
        for assets in assets.chunks(limits.max_assets.max(1)) {
            found.push(Batch {
                assets: assets.to_vec(),
                targets: Targets::serials(serials.iter().cloned()),
            });
        }
    }
    found
}

fn distinct<T: Clone + Eq + std::hash::Hash>(items: &[T]) -> Vec<T> {
    let mut seen = HashSet::new();
    items
        .iter()
        .filter(|item| seen.insert(*item))
        .cloned()
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventAnswer {
    pub(super) event_id: String,
}

impl AppsClient {
    /// One page of the licences; the first one without an index.
    ///
    /// # Errors
    /// As every call of the service; changes nothing.
    pub async fn assets(
        &self,
        query: &AssetQuery,
        page: Option<u32>,
    ) -> Result<Listing<Asset>, Error> {
        let mut filters = page_filter(page);
        push(&mut filters, "adamId", &query.adam_id);
        push(&mut filters, "productType", &query.product_type);
        push(&mut filters, "deviceAssignable", &query.device_assignable);
        push(&mut filters, "minAvailableCount", &query.min_available);
        let answer = self.get(ASSETS, "/assets", &filters).await?;
        Listing::of(ASSETS, page, answer)
    }

    /// One page of the assignments; the first one without an index.
    ///
    /// # Errors
    /// [`is_cursor_expired`](Error::is_cursor_expired) when the state to compare with is not known any more.
    pub async fn assignments(
        &self,
        query: &AssignmentQuery,
        page: Option<u32>,
    ) -> Result<Listing<Assignment>, Error> {
        let mut filters = page_filter(page);
        push(&mut filters, "adamId", &query.adam_id);
        push(&mut filters, "serialNumber", &query.serial_number);
        push(&mut filters, "clientUserId", &query.client_user_id);
        push(&mut filters, "sinceVersionId", &query.since_version_id);
        let answer = self.get(ASSIGNMENTS, "/assignments", &filters).await?;
        Listing::of(ASSIGNMENTS, page, answer)
    }

    /// Gives every product to every target. Follow the event: an app that is installed before the licence is in place
    /// fails. Doing it again does no harm.
    ///
    /// # Errors
    /// [`TakenOver`](crate::ErrorKind::TakenOver) when the location is not ours; a refusal means that nothing was begun.
    pub async fn associate(&self, assets: &[AssetRef], targets: &Targets) -> Result<String, Error> {
        self.move_licences(ASSOCIATE, "/assets/associate", assets, targets)
            .await
    }

    /// Takes every product from every target.
    ///
    /// # Errors
    /// As [`associate`](Self::associate).
    pub async fn disassociate(
        &self,
        assets: &[AssetRef],
        targets: &Targets,
    ) -> Result<String, Error> {
        self.move_licences(DISASSOCIATE, "/assets/disassociate", assets, targets)
            .await
    }

    /// Takes **everything** that can be taken from these targets.
    ///
    /// # Errors
    /// As [`associate`](Self::associate).
    pub async fn revoke(&self, targets: &Targets) -> Result<String, Error> {
        let limits = self.limits();
        let targets = targets.checked(
            REVOKE,
            limits.max_revoke_serial_numbers,
            limits.max_revoke_client_user_ids,
        )?;
        self.must_be_ours(REVOKE).await?;
        self.post::<EventAnswer>(REVOKE, "/assets/revoke", &targets)
            .await
            .map(|event| event.event_id)
    }

    async fn move_licences(
        &self,
        endpoint: Endpoint,
        path: &str,
        assets: &[AssetRef],
        targets: &Targets,
    ) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            assets: &'a [AssetRef],
            #[serde(flatten)]
            targets: &'a Targets,
        }
        let limits = self.limits();
        let assets = distinct(assets);
        if assets.is_empty() || assets.len() > limits.max_assets {
            return Err(Error::invalid(
                endpoint,
                "assets",
                format!("1 to {} at once", limits.max_assets),
            ));
        }
        let targets = targets.checked(
            endpoint,
            limits.max_serial_numbers,
            limits.max_client_user_ids,
        )?;
        self.must_be_ours(endpoint).await?;
        let body = Body {
            assets: &assets,
            targets: &targets,
        };
        self.post::<EventAnswer>(endpoint, path, &body)
            .await
            .map(|event| event.event_id)
    }

    /// How far the work of an event has come. [`follow_up`](super::follow_up) says when to ask.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the service does not know the event.
    pub async fn event(&self, event_id: &str) -> Result<EventStatus, Error> {
        self.get(STATUS, "/status", &[("eventId", event_id.to_owned())])
            .await
    }
}

pub(super) fn page_filter(page: Option<u32>) -> Vec<(&'static str, String)> {
    // The service refuses index 0: the first page is the one without an index.
    page.filter(|page| *page > 0)
        .map(|page| ("pageIndex", page.to_string()))
        .into_iter()
        .collect()
}

pub(super) fn push(
    filters: &mut Vec<(&'static str, String)>,
    name: &'static str,
    value: &Option<impl ToString>,
) {
    if let Some(value) = value {
        filters.push((name, value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn free_apps_are_never_lacking() {
        let asset = |total, available| Asset {
            total_count: Some(total),
            available_count: Some(available),
            ..Asset::default()
        };
        assert_eq!(asset(UNLIMITED, 0).lacking(1000), 0);
        assert_eq!(asset(10, 3).lacking(5), 2);
        assert_eq!(asset(10, -3).lacking(5), 5);
        assert_eq!(asset(10, 8).lacking(5), 0);
    }

    proptest! {
        #[test]
        fn every_pair_is_in_exactly_one_batch(assets in 0_usize..60, serials in 0_usize..40) {
            let limits = Limits { max_assets: 7, max_serial_numbers: 9, ..Limits::default() };
            let assets: Vec<AssetRef> = (0..assets).map(|n| AssetRef::new(n.to_string())).collect();
            let serials: Vec<String> = (0..serials).map(|n| format!("S{n}")).collect();
            let mut pairs = HashSet::new();
            for batch in batches(&assets, &serials, &limits) {
                prop_assert!(batch.assets.len() <= 7 && batch.targets.serial_numbers.len() <= 9);
                for asset in &batch.assets {
                    for serial in &batch.targets.serial_numbers {
                        prop_assert!(pairs.insert((asset.clone(), serial.clone())));
                    }
                }
            }
            prop_assert_eq!(pairs.len(), assets.len() * serials.len());
        }
    }
}
