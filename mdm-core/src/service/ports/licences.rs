//! Apps and Books, as the service sees it: who has claimed a location, what is in stock, who holds what, and requests whose
//! work Apple does later.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use crate::clock::Timestamp;
use crate::error::PortError;
use crate::ids::{LocationId, OrganisationId, Serial};
use crate::licences::{LicenceLimits, Stock};
use crate::secret::Secret;

/// A content token, opened.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the service, read by the port"
)]
pub struct ContentCredential {
    /// For whom.
    pub organisation: OrganisationId,
    /// Our location.
    pub location: LocationId,
    /// The content token, the whole text of the file.
    pub token: Secret,
}

/// What a location says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct LocationReading {
    /// Its name.
    pub name: String,
    /// Its library: two tokens with one library see the same licences.
    pub library: String,
    /// When the token ends.
    pub token_expires: Option<Timestamp>,
    /// The other management service that has claimed it. Then nothing is written.
    pub claimed_by_other: Option<String>,
    /// The other management service that this claim has displaced.
    pub displaced: Option<String>,
    /// What one request may name.
    pub limits: LicenceLimits,
}

/// Who holds a licence of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct HolderList {
    /// The devices, in any order.
    pub serials: Vec<Serial>,
    /// All of them are of one state of the list. Otherwise it changed while it was read, more than once: everybody named held a
    /// licence at some moment of the reading, and somebody may be missing.
    pub steady: bool,
}

/// A change of licences, a cross product of apps and devices.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a direction and a list")]
pub struct LicenceRequest {
    /// Take them back instead of giving them.
    pub take_back: bool,
    /// Store identifiers.
    pub apps: Vec<u64>,
}

impl LicenceRequest {
    /// The exact body of the request for these devices: what people see before it is sent.
    #[must_use]
    pub fn body(&self, serials: &[Serial]) -> serde_json::Value {
        let assets: Vec<_> = self
            .apps
            .iter()
            .map(|app| json!({ "adamId": app.to_string(), "pricingParam": "STDQ" }))
            .collect();
        json!({ "assets": assets, "serialNumbers": serials })
    }
}

/// How the work of a request stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct LicenceEvent {
    /// Apple has finished with it.
    pub finished: bool,
    /// Apple's status word.
    pub status: String,
    /// Devices that failed, with Apple's number and what it means. A failure that names no device is under `None`.
    pub failed: Vec<(Option<Serial>, String)>,
}

/// Apps and Books.
#[async_trait]
pub trait Licences: Send + Sync + 'static {
    /// Reads a location and claims it for us, unless another service has; that one is displaced only with `take_over`,
    /// which is a person's decision.
    async fn claim(
        &self,
        credential: &ContentCredential,
        take_over: bool,
        now: Timestamp,
    ) -> Result<LocationReading, PortError>;
    /// The licences of every app of the location.
    async fn stock(
        &self,
        credential: &ContentCredential,
    ) -> Result<BTreeMap<u64, Stock>, PortError>;
    /// Every device that holds a licence of this app. Pages of the list that were read before a failure may be used again, as
    /// far as nothing of the answer is older than `not_before`.
    async fn holders(
        &self,
        credential: &ContentCredential,
        app: u64,
        not_before: Timestamp,
    ) -> Result<HolderList, PortError>;
    /// Sends one request; answers the event's id. [`PortError::Unknown`] when it is not known whether Apple took it.
    /// It is dropped when it takes longer than a minute, and must not go on then.
    async fn submit(
        &self,
        credential: &ContentCredential,
        request: &LicenceRequest,
        serials: &[Serial],
    ) -> Result<String, PortError>;
    /// How the work of a request stands.
    async fn event(
        &self,
        credential: &ContentCredential,
        id: &str,
    ) -> Result<LicenceEvent, PortError>;
}
