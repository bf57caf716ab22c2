//! What a host supplies. A port holds no organisation's credential: every call carries what the service opened for it.
//! Each port has a default that refuses.

mod identity_provider;
mod licences;
mod refusing;
#[cfg(feature = "testing")]
pub mod testing;

use std::sync::Arc;

use abm_client::Moment;
use abm_client::business::{Activity, Deadline, Force};
use async_trait::async_trait;

pub use self::identity_provider::{IdentityProvider, Redemption};
pub use self::licences::{
    ContentCredential, HolderList, LicenceEvent, LicenceRequest, Licences, LocationReading,
};
use self::refusing::Refusing;

use crate::budget::Allowance;
use crate::clock::Timestamp;
use crate::device::{AssignmentOutcome, DeviceRecord, OrgReading, RadioNumbers};
use crate::enrollment::PushTarget;
use crate::error::{Error, PortError};
use crate::ids::{OrganisationId, Serial, ServerId};
use crate::migration::{AuditedAct, Notice};
use crate::organisation::Der;
use crate::secret::Secret;

/// The organisation's push certificate with its opened key.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the service, read by the port"
)]
pub struct PushIdentity {
    /// For whom.
    pub organisation: OrganisationId,
    /// The certificate.
    pub certificate: Der,
    /// Its private key, PKCS#8 DER.
    pub key: Secret,
}

/// What Apple's push service did with a push.
///
/// <https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushOutcome {
    /// Taken.
    Delivered,
    /// The token is not valid for this topic: stop until a new TokenUpdate.
    BadToken {
        /// Apple's reason.
        reason: String,
    },
    /// The device is no longer on this topic since then (`None` when Apple did not say).
    Gone {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// The certificate is refused: pause the topic and call a person.
    CertificateRefused {
        /// Apple's reason.
        reason: String,
    },
    /// Refused in a way that only a change of ours can mend.
    Refused {
        /// Apple's reason.
        reason: String,
    },
}

/// Wakes devices.
#[async_trait]
pub trait Pusher: Send + Sync + 'static {
    /// Sends one push. An error means that it may be tried again.
    async fn push(
        &self,
        identity: &PushIdentity,
        to: &PushTarget,
    ) -> Result<PushOutcome, PortError>;
}

/// A server token, opened.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the service, read by the port"
)]
pub struct ServerCredential {
    /// For whom.
    pub organisation: OrganisationId,
    /// Our server entry.
    pub server: ServerId,
    /// The token as Apple's JSON.
    pub token: Secret,
}

/// One answer of the device list.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct DevicePage {
    /// In Apple's order; a serial number may occur more than once.
    pub devices: Vec<(Serial, DeviceRecord)>,
    /// Where to go on.
    pub cursor: String,
    /// Ask again at once.
    pub more: bool,
}

/// Apple's answer to a lock request.
///
/// <https://developer.apple.com/documentation/devicemanagement/activationlockstatusresponse>
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockOutcome {
    /// Locked.
    Success,
    /// A lock exists already.
    AlreadyLocked,
    /// Apple's word for why not.
    Refused(String),
}

/// The account behind a server token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct Account {
    /// Name of the server entry.
    pub server_name: String,
    /// Its identifier.
    pub server_uuid: String,
    /// Name of the organisation.
    pub organisation: Option<String>,
    /// End of the token, when the token says so.
    pub token_expires: Option<Timestamp>,
}

/// Apple's device-assignment service.
#[async_trait]
pub trait DeviceAssignment: Send + Sync + 'static {
    /// The version of the service's protocol that is sent; a host with a client of its own says its own.
    fn protocol_version(&self) -> Option<u32> {
        Some(abm_client::assignment::PROTOCOL_VERSION)
    }
    /// Who we are there.
    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError>;
    /// A page of the full list; `None` begins it. [`PortError::CursorExpired`] starts over.
    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError>;
    /// A page of changes.
    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError>;
    /// Defines an ADE profile (the JSON keys of Apple's Profile object) and answers its UUID.
    async fn define_profile(
        &self,
        credential: &ServerCredential,
        profile: &serde_json::Value,
    ) -> Result<String, PortError>;
    /// Reads a defined profile back.
    async fn read_profile(
        &self,
        credential: &ServerCredential,
        uuid: &str,
    ) -> Result<serde_json::Value, PortError>;
    /// Most devices that Apple takes in one assignment at present.
    async fn most_assigned(&self, _credential: &ServerCredential) -> Result<usize, PortError> {
        Ok(1000)
    }
    /// Assigns a profile; one outcome for each serial number.
    async fn assign(
        &self,
        credential: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError>;
    /// Asks for the Activation Lock with the hash of our bypass code (upper-case hex).
    async fn lock(
        &self,
        credential: &ServerCredential,
        serial: &Serial,
        escrow_key: &str,
    ) -> Result<LockOutcome, PortError>;
}

/// An API account of the organisation, opened.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the service, read by the port"
)]
pub struct ApiKey {
    /// For whom.
    pub organisation: OrganisationId,
    /// `BUSINESSAPI.…` or `SCHOOLAPI.…`.
    pub client_id: String,
    /// Which key.
    pub key_id: String,
    /// The P-256 private key (PEM).
    pub key: Secret,
    /// How many requests the organisation lets us send.
    pub allowance: Allowance,
}

/// What is asked of the organisation API for a list of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActivityRequest {
    /// Assign to a server entry with a deadline: starts a migration.
    AssignWithDeadline {
        /// The server entry's identifier.
        server: String,
        /// The deadline.
        deadline: Timestamp,
    },
    /// Move the deadline.
    UpdateDeadline {
        /// To when.
        deadline: Timestamp,
        /// The reason of a person who takes time away; without one only a later deadline is sent.
        force: Option<String>,
    },
    /// Cancel.
    Cancel,
    /// Assign without a deadline (back to the original).
    Assign {
        /// The server entry's identifier.
        server: String,
    },
}

/// How an activity stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct ActivityReading {
    /// Apple has finished with it.
    pub finished: bool,
    /// Apple's status words.
    pub status: String,
    /// Devices that the result names as failed, with Apple's words.
    pub failed: Vec<(Serial, String)>,
    /// The result file as it came, if there was one.
    pub file: Option<Vec<u8>>,
    /// There is one, and it could not be had: why.
    pub file_failed: Option<String>,
}

/// A page of the devices that a service has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct MemberPage {
    /// Serial numbers.
    pub serials: Vec<Serial>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// A page of all devices of the organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct ReadingPage {
    /// What the API says of each; it does not name the assigned service here.
    pub devices: Vec<(Serial, OrgReading)>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// Whether a device is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct LockSaid {
    /// Whether it is.
    pub on: bool,
    /// Apple's word: `MDM`, `USER`, `NONE`.
    pub word: String,
}

/// How Apple describes a device to whoever wants its lock lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by the port, read by the service"
)]
pub struct Described {
    /// `iPhone17,2`, `Mac15,7`.
    pub product: Option<String>,
    /// The numbers of its radios.
    pub radio: RadioNumbers,
}

/// The organisation's API.
#[async_trait]
pub trait OrganisationApi: Send + Sync + 'static {
    /// Server entries: identifier and name.
    async fn servers(&self, key: &ApiKey) -> Result<Vec<(String, String)>, PortError>;
    /// The same, each with what it is where it is no management service like ours (Apple's built-in one, Apple Configurator). A host whose
    /// client does not tell leaves it open.
    async fn services(
        &self,
        key: &ApiKey,
    ) -> Result<Vec<(String, String, Option<String>)>, PortError> {
        let all = self.servers(key).await?.into_iter();
        Ok(all.map(|(id, name)| (id, name, None)).collect())
    }
    /// Which devices a server entry has: one page, from `cursor`. [`PortError::CursorExpired`] when the list must be begun
    /// again.
    async fn members(
        &self,
        key: &ApiKey,
        server: &str,
        cursor: Option<&str>,
    ) -> Result<MemberPage, PortError>;
    /// All devices of the organisation: one page, from `cursor`.
    async fn devices(
        &self,
        key: &ApiKey,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError>;
    /// Reads a few devices, one by one; one reading for each serial number, assigned server included.
    async fn read(
        &self,
        key: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError>;
    /// Posts one request; answers the activity's id. [`PortError::Unknown`] when it is not known whether Apple took it.
    /// It is dropped when it takes longer than a minute, and must not go on then.
    async fn submit(
        &self,
        key: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<String, PortError>;
    /// Whether a device is locked, and by whom. With `behind` nobody waits for it.
    async fn lock(
        &self,
        _key: &ApiKey,
        _serial: &Serial,
        _behind: bool,
    ) -> Result<LockSaid, PortError> {
        Err(PortError::Absent("reading of locks"))
    }
    /// How a removal of its lock names a device: product type and the numbers of its radios.
    async fn described(&self, _key: &ApiKey, _serial: &Serial) -> Result<Described, PortError> {
        Err(PortError::Absent("description of devices"))
    }
    /// What Apple's audit events say was done with a device in this time, by whom; nobody waits for it. Nothing only where all of them
    /// were read.
    async fn audited(
        &self,
        _key: &ApiKey,
        _serial: &Serial,
        _since: Timestamp,
        _until: Timestamp,
    ) -> Result<Vec<AuditedAct>, PortError> {
        Err(PortError::Absent("audit event"))
    }
    /// Reads an activity, its result included once it is finished.
    async fn activity(&self, key: &ApiKey, id: &str) -> Result<ActivityReading, PortError>;
}

impl ActivityRequest {
    /// The exact body of the request for these devices: what people see before it is sent.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a deadline that Apple does not take, no devices or too many.
    pub fn body(&self, serials: &[Serial], now: Timestamp) -> Result<serde_json::Value, Error> {
        self.activity(serials, now)?
            .body(crate::errand::MOST_DEVICES)
            .map_err(|error| Error::bad_input("request", error.to_string()))
    }

    /// It as the client's value, its deadline checked.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a deadline that Apple does not take.
    pub fn activity(&self, serials: &[Serial], now: Timestamp) -> Result<Activity, Error> {
        let devices = serials.iter().map(ToString::to_string).collect();
        let bad = |error: abm_client::Error| Error::bad_input("deadline", error.to_string());
        let moment = |at: Timestamp| Moment::from_unix_ms(at.as_millis());
        Ok(match self {
            Self::AssignWithDeadline { server, deadline } => Activity::AssignWithDeadline {
                server: server.clone(),
                deadline: Deadline::for_assignment(&moment(*deadline), now.as_millis())
                    .map_err(bad)?,
                devices,
            },
            Self::UpdateDeadline { deadline, force } => {
                let at = moment(*deadline);
                let checked = match force {
                    Some(reason) => {
                        let force = Force::because(reason.as_str()).map_err(bad)?;
                        Deadline::for_update(&at, None, Some(&force), now.as_millis())
                    }
                    // That it is later than each device's own was read before; here it must lie ahead.
                    None => Deadline::for_assignment(&at, now.as_millis()),
                };
                Activity::UpdateDeadline {
                    deadline: checked.map_err(bad)?,
                    devices,
                }
            }
            Self::Cancel => Activity::CancelMigration { devices },
            Self::Assign { server } => Activity::Assign {
                server: server.clone(),
                devices,
            },
        })
    }
}

/// Removes an Activation Lock by bypass code.
#[async_trait]
pub trait LockRemoval: Send + Sync + 'static {
    /// Tries a code on a device's lock.
    async fn unlock(
        &self,
        identity: &PushIdentity,
        device: &LockedDevice,
        code: &Secret,
    ) -> Result<Unlocking, PortError>;
}

/// A locked device, and who asks for its lock to be lifted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct LockedDevice {
    /// Its serial number.
    pub serial: Serial,
    /// Its product type, as `iPhone17,2`.
    pub product: String,
    /// Cellular devices need at least one of these three.
    pub imei: Option<String>,
    /// That of the second radio.
    pub imei2: Option<String>,
    /// For devices without an IMEI.
    pub meid: Option<String>,
    /// The organisation's name.
    pub organisation: String,
    /// The person who asks.
    pub person: String,
}

/// What became of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it opens, or it does not")]
pub enum Unlocking {
    /// The lock is gone.
    Opened,
    /// Apple does not take this code for this device. With 401 or 403 for every code it is the push certificate.
    CodeRefused {
        /// The HTTP status.
        status: u16,
    },
}

/// Tells people or programs.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Tells one thing about one device. May come twice.
    async fn notify(
        &self,
        organisation: OrganisationId,
        serial: &Serial,
        notice: Notice,
    ) -> Result<(), PortError>;
}

/// Carries messages to receivers of webhooks.
#[async_trait]
pub trait HookCarrier: Send + Sync + 'static {
    /// Whether messages may be sent there at all, as far as that is known without asking anybody: a receiver that is named by
    /// an address that the host does not let webhooks reach is refused before it is kept.
    ///
    /// # Errors
    /// Why not, in words without the address.
    fn may_be_sent(&self, _url: &str) -> Result<(), String> {
        Ok(())
    }
    /// Posts a message and answers the HTTP status. Follows no redirection, and connects to no address that the host does not
    /// let webhooks reach. May come twice.
    ///
    /// # Errors
    /// Why there was no answer, in words without the address.
    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError>;
}

/// Another installation, and the door there that is open to us.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an address and a key")]
pub struct HandOverTo {
    /// Address of its API, without a trailing slash.
    pub url: String,
    /// An authority to trust beside the system's, PEM.
    pub ca: Option<String>,
    /// What we show there.
    pub token: Secret,
}

/// Brings what we know of devices that have moved away to the installation that has them now.
#[async_trait]
pub trait HandOver: Send + Sync + 'static {
    /// Sends JSON to a path there and answers what it says; follows no redirection.
    ///
    /// # Errors
    /// [`PortError::Refused`] where the other side does not take it, one that says when to come again where it cannot now.
    async fn post(&self, to: &HandOverTo, path: &str, body: Vec<u8>) -> Result<Vec<u8>, PortError>;
}

/// Everything that a host supplies.
#[derive(Clone)]
#[expect(
    clippy::exhaustive_structs,
    reason = "hosts write `..Ports::refusing()`"
)]
pub struct Ports {
    /// Wakes devices.
    pub push: Arc<dyn Pusher>,
    /// Apple's device-assignment service.
    pub assignment: Arc<dyn DeviceAssignment>,
    /// The organisation's API.
    pub api: Arc<dyn OrganisationApi>,
    /// Apps and Books.
    pub licences: Arc<dyn Licences>,
    /// Activation Lock removal.
    pub lock_removal: Arc<dyn LockRemoval>,
    /// Notices.
    pub notifier: Arc<dyn Notifier>,
    /// Webhooks.
    pub hooks: Arc<dyn HookCarrier>,
    /// Where organisations' people sign in.
    pub people: Arc<dyn IdentityProvider>,
    /// Other installations.
    pub hand_over: Arc<dyn HandOver>,
}

impl Ports {
    /// Ports that refuse everything, and a notifier that tells nobody.
    #[must_use]
    pub fn refusing() -> Self {
        let refusing = Arc::new(Refusing);
        Self {
            push: refusing.clone(),
            assignment: refusing.clone(),
            api: refusing.clone(),
            licences: refusing.clone(),
            lock_removal: refusing.clone(),
            notifier: refusing.clone(),
            hooks: refusing.clone(),
            people: refusing.clone(),
            hand_over: refusing,
        }
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}
