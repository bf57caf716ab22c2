//! Apple's services behind the library's ports: one shared client for each credential, the organisation API behind its
//! budget. Holds no decision; turns values of the client into values of the library.

pub(crate) mod beside;
mod licences;
mod organisation;
mod pages;
#[cfg(test)]
mod tests;
mod traced;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use abm_client::apps::AppsClient;
use abm_client::assignment::{
    ActivationLockRequest, ActivationLockStatus, AdeProfile, AssignmentClient, OpType, SyncCursor,
};
use abm_client::assignment::{AssignmentOutcome as ClientOutcome, DevicePage as ClientPage};
use abm_client::business::BusinessClient;
use abm_client::lock_removal::{LockRemovalClient, Unlock, UnlockRequest};
use abm_client::{ClientIdentity, HyperTransport, Moment, SecretText, ServerToken, Transport};
use async_trait::async_trait;
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::device::{AssignmentOutcome, DeviceRecord};
use mdm_core::error::PortError;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::{LocationId, OrganisationId, Serial, ServerId};
use mdm_core::licences::Stock;
use mdm_core::secret::Secret;
use mdm_core::service::ports::{
    Account, DeviceAssignment, DevicePage, LockOutcome, LockRemoval, LockedDevice, PushIdentity,
    ServerCredential, Unlocking,
};
use mdm_core::service::{ClientClock, PauseGate};
use mdm_core::store::Store;
use openssl::pkey::PKey;
use openssl::x509::X509;

use pages::Pages;
use traced::Traced;

/// Clients that are kept; beyond that they are made again.
const CLIENTS: usize = 10_000;
/// How long the limits of an account count before they are asked for again.
const LIMITS: Duration = Duration::from_secs(24 * 3600);

type LocationKey = (OrganisationId, LocationId);

/// Where Apple's services are. The defaults are Apple's own; a simulated world has others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) assignment: Option<String>,
    pub(crate) organisation: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) lock_removal: Option<String>,
    pub(crate) apps: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    pub(crate) trust: Option<Vec<u8>>,
    /// Whether requests carry the `traceparent` of their trace.
    pub(crate) give_on: bool,
}

/// By organisation, its number of the credential, and what tells a renewed one from the old.
type Clients<I, C> = Mutex<HashMap<(OrganisationId, I, String), C>>;

/// Whose turn it is to speak to a service.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Apple's services for every organisation of this installation.
pub(crate) struct Apple {
    addresses: Addresses,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    transport: Arc<dyn Transport>,
    assignment: Clients<ServerId, AssignmentClient>,
    business: Clients<(), BusinessClient>,
    apps: Clients<LocationId, AppsClient>,
    /// When the account of a server entry was asked for its limits, by the client that keeps them.
    limits_asked: Clients<ServerId, Timestamp>,
    /// When a location's service was asked for its limits, by the client that keeps them.
    configs_asked: Clients<LocationId, Timestamp>,
    /// Organisations whose API does not know all fields that are read of devices, and when it said so.
    fewer_fields: Mutex<HashMap<OrganisationId, Timestamp>>,
    /// One request at a time for each organisation and service.
    turns: Mutex<HashMap<(OrganisationId, String), Turn>>,
    /// Stocks of licences, and who holds the licences of an app, as far as they were read.
    stocks: Pages<LocationKey, (u64, Stock)>,
    holders: Pages<(LocationKey, u64), Serial>,
}

impl Apple {
    /// Services at `addresses`; lifetimes and budgets follow `clock`, budgets are shared through `store`.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read.
    pub(crate) fn new(
        addresses: Addresses,
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
    ) -> Result<Self, abm_client::Error> {
        let transport = Arc::new(transport(&addresses, None)?);
        Ok(Self::over(transport, addresses, clock, store))
    }

    fn over(
        transport: Arc<dyn Transport>,
        addresses: Addresses,
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            addresses,
            clock,
            store,
            transport,
            assignment: Mutex::default(),
            business: Mutex::default(),
            apps: Mutex::default(),
            limits_asked: Mutex::default(),
            configs_asked: Mutex::default(),
            fewer_fields: Mutex::default(),
            turns: Mutex::default(),
            stocks: Pages::default(),
            holders: Pages::default(),
        }
    }

    fn client_clock(&self) -> Arc<ClientClock> {
        Arc::new(ClientClock(self.clock.clone()))
    }

    /// The turn of whoever speaks to a service in an organisation's name.
    fn turn(&self, organisation: OrganisationId, service: &str) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= CLIENTS {
            // Those that are in use live on with their users.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry((organisation, service.to_owned())).or_default())
    }

    fn assignment_client(
        &self,
        credential: &ServerCredential,
    ) -> Result<AssignmentClient, PortError> {
        let token = ServerToken::from_json(credential.token.expose()).map_err(port)?;
        let key = client_key(credential);
        let mut clients = self
            .assignment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let base = self
            .addresses
            .assignment
            .as_deref()
            .unwrap_or(abm_client::assignment::BASE_URL);
        // A pause that one task was asked for is kept by all of them, in every process.
        let name = mdm_core::budget::device_assignment(credential.server);
        let gate = PauseGate::new(
            self.store.clone(),
            self.clock.clone(),
            credential.organisation,
            name.clone(),
            self.turn(credential.organisation, &name),
        );
        let client = AssignmentClient::at(
            base,
            self.transport.clone(),
            token,
            &user_agent(),
            self.client_clock(),
        )
        .with_gate(gate);
        if clients.len() >= CLIENTS {
            clients.clear();
            // Limits live in the clients.
            let asked = self.limits_asked.lock();
            asked.unwrap_or_else(PoisonError::into_inner).clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn client_key(credential: &ServerCredential) -> (OrganisationId, ServerId, String) {
    (
        credential.organisation,
        credential.server,
        sha256_hex(credential.token.expose()),
    )
}

#[async_trait]
impl DeviceAssignment for Apple {
    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError> {
        let client = self.assignment_client(credential)?;
        let detail = client.account().await.map_err(port)?;
        Ok(Account {
            server_name: detail.server_name,
            server_uuid: detail.server_uuid,
            organisation: detail.org_name,
            token_expires: client
                .token()
                .access_token_expiry
                .unix_ms()
                .map(Timestamp::from_millis),
        })
    }

    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let cursor = cursor.map(SyncCursor::new);
        let page = self
            .assignment_client(credential)?
            .fetch_devices(cursor.as_ref())
            .await
            .map_err(port)?;
        device_page(page, cursor.as_ref(), credential.server, now)
    }

    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let cursor = SyncCursor::new(cursor);
        let page = self
            .assignment_client(credential)?
            .sync_devices(&cursor)
            .await
            .map_err(port)?;
        device_page(page, Some(&cursor), credential.server, now)
    }

    async fn define_profile(
        &self,
        credential: &ServerCredential,
        profile: &serde_json::Value,
    ) -> Result<String, PortError> {
        let profile: AdeProfile = serde_json::from_value(profile.clone())
            .map_err(|e| PortError::Refused(format!("ADE profile: {e}")))?;
        let defined = self
            .assignment_client(credential)?
            .define_profile(&profile)
            .await
            .map_err(port)?;
        Ok(defined.profile_uuid)
    }

    async fn read_profile(
        &self,
        credential: &ServerCredential,
        uuid: &str,
    ) -> Result<serde_json::Value, PortError> {
        let profile = self
            .assignment_client(credential)?
            .profile(uuid)
            .await
            .map_err(port)?;
        serde_json::to_value(profile).map_err(|e| PortError::Refused(format!("ADE profile: {e}")))
    }

    async fn most_assigned(&self, credential: &ServerCredential) -> Result<usize, PortError> {
        let client = self.assignment_client(credential)?;
        let now = self.clock.now();
        let key = client_key(credential);
        let known = {
            let asked = self.limits_asked.lock();
            let asked = asked.unwrap_or_else(PoisonError::into_inner);
            asked.get(&key).is_some_and(|at| now < *at + LIMITS)
        };
        if !known {
            // The client keeps what the account says of each request's limit.
            client.account().await.map_err(port)?;
            let asked = self.limits_asked.lock();
            let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
            if asked.len() >= CLIENTS {
                asked.clear();
            }
            asked.insert(key, now);
        }
        Ok(client.assign_chunk_size())
    }

    async fn assign(
        &self,
        credential: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        let names: Vec<String> = serials.iter().map(ToString::to_string).collect();
        let report = self
            .assignment_client(credential)?
            .assign_profile(uuid, &names)
            .await
            .map_err(port)?;
        let outcome = |serial: &Serial| match report.outcomes.get(serial.as_str()) {
            Some(ClientOutcome::Success) => AssignmentOutcome::Success,
            Some(ClientOutcome::NotAccessible) => AssignmentOutcome::NotAccessible,
            Some(ClientOutcome::Throttled { retry_after }) => AssignmentOutcome::Throttled {
                retry_after_seconds: retry_after.map(|d| d.as_secs()),
            },
            Some(ClientOutcome::Other(word)) => AssignmentOutcome::Other(word.clone()),
            _ => AssignmentOutcome::Failed,
        };
        Ok(serials.iter().map(|s| (s.clone(), outcome(s))).collect())
    }

    async fn lock(
        &self,
        credential: &ServerCredential,
        serial: &Serial,
        escrow_key: &str,
    ) -> Result<LockOutcome, PortError> {
        let request = ActivationLockRequest::new(serial.as_str(), SecretText::new(escrow_key));
        let result = self
            .assignment_client(credential)?
            .lock_activation(&request)
            .await
            .map_err(port)?;
        Ok(match result.response_status {
            ActivationLockStatus::Success => LockOutcome::Success,
            ActivationLockStatus::DeviceAlreadyLocked => LockOutcome::AlreadyLocked,
            other => LockOutcome::Refused(other.as_str().to_owned()),
        })
    }
}

#[async_trait]
impl LockRemoval for Apple {
    async fn unlock(
        &self,
        identity: &PushIdentity,
        device: &LockedDevice,
        code: &Secret,
    ) -> Result<Unlocking, PortError> {
        let broken =
            |_| PortError::Refused("the push certificate or its key cannot be read".to_owned());
        let certificate = X509::from_der(&identity.certificate.0)
            .and_then(|c| c.to_pem())
            .map_err(broken)?;
        let key = PKey::private_key_from_der(identity.key.expose())
            .and_then(|k| k.private_key_to_pem_pkcs8())
            .map_err(broken)?;
        let key = zeroize::Zeroizing::new(key);
        let client_identity = ClientIdentity::from_pem(&certificate, &key, None).map_err(port)?;
        let transport = Arc::new(transport(&self.addresses, Some(client_identity)).map_err(port)?);
        let clock = self.client_clock();
        let url = self
            .addresses
            .lock_removal
            .as_deref()
            .unwrap_or(abm_client::lock_removal::BASE_URL);
        let client = LockRemovalClient::at(url, transport, &user_agent(), clock);
        let text = code
            .expose_text()
            .ok_or_else(|| PortError::Refused("the bypass code cannot be read".to_owned()))?;
        let code = SecretText::new(text);
        let mut request = UnlockRequest::new(
            device.serial.as_str(),
            &device.product,
            &device.organisation,
            &device.person,
        );
        request.imei.clone_from(&device.imei);
        request.imei2.clone_from(&device.imei2);
        request.meid.clone_from(&device.meid);
        match client.unlock(&request, &code).await.map_err(port)? {
            Unlock::Unlocked => Ok(Unlocking::Opened),
            Unlock::CodeRefused { status, .. } => Ok(Unlocking::CodeRefused { status }),
            _ => Err(PortError::retry("an answer that is not known")),
        }
    }
}

fn transport(
    addresses: &Addresses,
    identity: Option<ClientIdentity>,
) -> Result<Traced<HyperTransport>, abm_client::Error> {
    let mut builder = HyperTransport::builder();
    if let Some(pem) = &addresses.trust {
        builder = builder.trust_pem(pem)?;
    }
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    Ok(Traced {
        inner: builder.build()?,
        give_on: addresses.give_on,
    })
}

fn user_agent() -> String {
    format!("mdmd/{}", env!("CARGO_PKG_VERSION"))
}

fn device_page(
    page: ClientPage,
    asked: Option<&SyncCursor>,
    server: ServerId,
    now: Timestamp,
) -> Result<DevicePage, PortError> {
    let Some(cursor) = page.cursor.as_ref().or(asked) else {
        // An empty one would be refused, and the list begun again and again.
        return Err(PortError::retry(
            "the first page of the device list has no cursor",
        ));
    };
    let cursor = cursor.as_str().to_owned();
    let mut skipped = page.skipped;
    let mut devices = Vec::with_capacity(page.devices.len());
    for mut record in page.devices {
        let Ok(serial) = Serial::parse(&record.serial_number) else {
            skipped += 1;
            continue;
        };
        let mut ours = DeviceRecord::new(server, now);
        let moment = |at: Option<Moment>| {
            at.as_ref()
                .and_then(Moment::unix_ms)
                .map(Timestamp::from_millis)
        };
        // What has a field of its own is taken out; the rest is kept as it came.
        ours.op_date = moment(record.op_date.take());
        ours.gone = record.op_type.take() == Some(OpType::Deleted);
        let family = record.device_family.take();
        ours.family = family.map(|f| f.as_str().to_owned()).unwrap_or_default();
        ours.model = record.model.take().unwrap_or_default();
        let status = record.profile_status.take();
        ours.profile_status = status.map(|s| s.as_str().to_owned()).unwrap_or_default();
        ours.profile_uuid = record.profile_uuid.take();
        ours.deadline = moment(record.mdm_migration_deadline.take());
        if let Ok(serde_json::Value::Object(mut rest)) = serde_json::to_value(&record) {
            rest.remove("serial_number");
            ours.more = rest.into_iter().collect();
        }
        devices.push((serial, ours));
    }
    if skipped > 0 {
        tracing::warn!(server = %server, skipped, "devices of Apple's list that cannot be read are left out");
    }
    Ok(DevicePage {
        devices,
        cursor,
        more: page.more_to_follow && !page.exhausted,
    })
}

/// An error of the client as the library sees it. Never carries a body.
fn port(error: abm_client::Error) -> PortError {
    if error.is_cursor_expired() {
        PortError::CursorExpired
    } else if let Some(what) = error.feature_missing() {
        PortError::FeatureMissing(what.to_owned())
    } else if let Some(sentence) = error.needs_person() {
        PortError::NeedsPerson(sentence.to_owned())
    } else if error.is_unknown_outcome() {
        PortError::Unknown(error.to_string())
    } else if let Some(after) = error.retry_after() {
        PortError::Retry {
            what: error.to_string(),
            after: Some(after),
        }
    } else {
        PortError::Refused(error.to_string())
    }
}
