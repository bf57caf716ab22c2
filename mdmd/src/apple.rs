//! Apple's services behind the library's ports: one shared client for each credential, the organisation API behind its
//! budget. Holds no decision; turns values of the client into values of the library.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use abm_client::assignment::{
    ActivationLockRequest, ActivationLockStatus, AdeProfile, AssignmentClient, OpType, SyncCursor,
};
use abm_client::assignment::{AssignmentOutcome as ClientOutcome, DevicePage as ClientPage};
use abm_client::business::{
    Activity, ApiAccount, BusinessClient, Deadline, DeviceField, Force, OrgDevice,
};
use abm_client::lock_removal::{LockRemovalClient, Unlock, UnlockRequest};
use abm_client::{
    Budget, BudgetGate, ClientIdentity, HyperTransport, Moment, SecretText, ServerToken, Transport,
};
use async_trait::async_trait;
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::device::{AssignmentOutcome, DeviceRecord, MigrationStatus, OrgReading};
use mdm_core::error::PortError;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::{OrganisationId, Serial, ServerId};
use mdm_core::secret::Secret;
use mdm_core::service::ports::{
    Account, ActivityReading, ActivityRequest, ApiKey, DeviceAssignment, DevicePage, LockOutcome,
    LockRemoval, OrganisationApi, PushIdentity, ServerCredential,
};
use openssl::pkey::PKey;
use openssl::x509::X509;

/// Up to so many devices are read one by one; more are read from Apple's lists.
const ONE_BY_ONE: usize = 2;

/// Devices in one activity.
const ACTIVITY: usize = 1000;

/// Where Apple's services are. The defaults are Apple's own; a simulated world has others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) assignment: Option<String>,
    pub(crate) organisation: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) lock_removal: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    pub(crate) trust: Option<Vec<u8>>,
}

/// Apple's services for every organisation of this installation.
pub(crate) struct Apple {
    addresses: Addresses,
    clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    /// By organisation, server entry and hash of the token: a renewed token gets a client of its own.
    assignment: Mutex<HashMap<(OrganisationId, ServerId, String), AssignmentClient>>,
    /// By organisation, client and hash of the key.
    business: Mutex<HashMap<(OrganisationId, String, String), BusinessClient>>,
}

struct DomainClock(Arc<dyn Clock>);

impl abm_client::Clock for DomainClock {
    fn now_ms(&self) -> i64 {
        self.0.now().as_millis()
    }
}

impl Apple {
    /// Services at `addresses`; lifetimes and budgets follow `clock`.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read.
    pub(crate) fn new(
        addresses: Addresses,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, abm_client::Error> {
        let transport = Arc::new(transport(&addresses, None)?);
        Ok(Self {
            addresses,
            clock,
            transport,
            assignment: Mutex::default(),
            business: Mutex::default(),
        })
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().as_millis()
    }

    fn assignment_client(
        &self,
        credential: &ServerCredential,
    ) -> Result<AssignmentClient, PortError> {
        let token = ServerToken::from_json(credential.token.expose()).map_err(port)?;
        let key = (
            credential.organisation,
            credential.server,
            sha256_hex(credential.token.expose()),
        );
        let mut clients = self
            .assignment
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let clock = Arc::new(DomainClock(self.clock.clone()));
        let client = match &self.addresses.assignment {
            Some(url) => {
                AssignmentClient::at(url, self.transport.clone(), token, &user_agent(), clock)
            }
            None => AssignmentClient::at(
                abm_client::assignment::BASE_URL,
                self.transport.clone(),
                token,
                &user_agent(),
                clock,
            ),
        };
        if clients.len() >= 10_000 {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn business_client(&self, key: &ApiKey) -> Result<BusinessClient, PortError> {
        let credential = [key.key_id.as_bytes(), &[0], key.key.expose()].concat();
        let credential = zeroize::Zeroizing::new(credential);
        let entry = (
            key.organisation,
            key.client_id.clone(),
            sha256_hex(&credential),
        );
        let mut clients = self
            .business
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&entry) {
            return Ok(client.clone());
        }
        let account =
            ApiAccount::new(&key.client_id, &key.key_id, key.key.expose()).map_err(port)?;
        let base = self
            .addresses
            .organisation
            .clone()
            .unwrap_or_else(|| account.portal().base_url().to_owned());
        let token = self
            .addresses
            .token
            .clone()
            .unwrap_or_else(|| abm_client::business::TOKEN_URL.to_owned());
        let clock = Arc::new(DomainClock(self.clock.clone()));
        // Refusing, not waiting: what waits, waits in the store, where every process sees it.
        let gate =
            BudgetGate::refusing(Budget::organisation_api(), DomainClock(self.clock.clone()));
        let client = BusinessClient::at(
            &base,
            &token,
            self.transport.clone(),
            account,
            &user_agent(),
            clock,
        )
        .with_gate(gate)
        .with_activity_limit(ACTIVITY);
        if clients.len() >= 10_000 {
            clients.clear();
        }
        clients.insert(entry, client.clone());
        Ok(client)
    }

    /// A few devices: one request each, and one for the server that it is assigned to.
    async fn read_singly(
        &self,
        client: &BusinessClient,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let mut readings = Vec::new();
        for serial in serials {
            let reading = match client.device(serial.as_str(), &[]).await {
                Ok(device) => {
                    let server = client
                        .assigned_server_id(serial.as_str())
                        .await
                        .map_err(port)?;
                    reading(&device.attributes, server, now)
                }
                Err(error) if error.is_not_found() => unknown(now),
                Err(error) => return Err(port(error)),
            };
            readings.push((serial.clone(), reading));
        }
        Ok(readings)
    }

    /// Many devices: Apple's whole lists, a thousand rows a request.
    async fn read_in_bulk(
        &self,
        client: &BusinessClient,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let wanted: BTreeSet<&str> = serials.iter().map(Serial::as_str).collect();
        let mut servers = BTreeMap::new();
        for (server, _) in self.list_servers(client).await? {
            let mut cursor = None;
            loop {
                let page = client
                    .server_devices(&server, cursor.as_ref())
                    .await
                    .map_err(port)?;
                for serial in page
                    .items
                    .into_iter()
                    .filter(|s| wanted.contains(s.as_str()))
                {
                    servers.insert(serial, server.clone());
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        let fields = [
            DeviceField::SerialNumber,
            DeviceField::ProductType,
            DeviceField::Status,
            DeviceField::IsMdmMigrationCapable,
            DeviceField::MdmMigrationStatus,
            DeviceField::MdmMigrationDeadlineDateTime,
        ];
        let mut found = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = client
                .devices(&fields, cursor.as_ref())
                .await
                .map_err(port)?;
            for device in page
                .items
                .into_iter()
                .filter(|d| wanted.contains(d.id.as_str()))
            {
                let server = servers.get(&device.id).cloned();
                found.insert(device.id.clone(), reading(&device.attributes, server, now));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(serials
            .iter()
            .map(|s| {
                (
                    s.clone(),
                    found.remove(s.as_str()).unwrap_or_else(|| unknown(now)),
                )
            })
            .collect())
    }

    async fn list_servers(
        &self,
        client: &BusinessClient,
    ) -> Result<Vec<(String, String)>, PortError> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = client.servers(cursor.as_ref()).await.map_err(port)?;
            all.extend(
                page.items
                    .into_iter()
                    .map(|s| (s.id, s.attributes.server_name.unwrap_or_default())),
            );
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
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
        Ok(device_page(page, cursor.as_ref(), credential.server, now))
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
        Ok(device_page(page, Some(&cursor), credential.server, now))
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
impl OrganisationApi for Apple {
    async fn servers(&self, key: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        self.list_servers(&self.business_client(key)?).await
    }

    async fn read(
        &self,
        key: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let client = self.business_client(key)?;
        if serials.len() <= ONE_BY_ONE {
            self.read_singly(&client, serials, now).await
        } else {
            self.read_in_bulk(&client, serials, now).await
        }
    }

    async fn submit(
        &self,
        key: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        _now: Timestamp,
    ) -> Result<String, PortError> {
        let devices: Vec<String> = serials.iter().map(ToString::to_string).collect();
        let moment = |at: Timestamp| Moment::from_unix_ms(at.as_millis());
        let activity = match request {
            ActivityRequest::AssignWithDeadline { server, deadline } => {
                Activity::AssignWithDeadline {
                    server: server.clone(),
                    deadline: Deadline::for_assignment(&moment(*deadline), self.now_ms())
                        .map_err(port)?,
                    devices,
                }
            }
            ActivityRequest::UpdateDeadline { deadline } => {
                // Whether an earlier deadline may be sent was decided, with a person and a reason, before it came here.
                let force = Force::because("decided by the operator").map_err(port)?;
                Activity::UpdateDeadline {
                    deadline: Deadline::for_update(
                        &moment(*deadline),
                        None,
                        Some(&force),
                        self.now_ms(),
                    )
                    .map_err(port)?,
                    devices,
                }
            }
            ActivityRequest::Cancel => Activity::CancelMigration { devices },
            ActivityRequest::Assign { server } => Activity::Assign {
                server: server.clone(),
                devices,
            },
            _ => {
                return Err(PortError::Refused(
                    "this kind of activity is not known here".to_owned(),
                ));
            }
        };
        let made = self
            .business_client(key)?
            .submit_activity(&activity)
            .await
            .map_err(port)?;
        Ok(made.id)
    }

    async fn activity(&self, key: &ApiKey, id: &str) -> Result<ActivityReading, PortError> {
        let client = self.business_client(key)?;
        let activity = match client.activity(id).await {
            Ok(activity) => activity.attributes,
            Err(error) if error.is_not_found() => {
                return Err(PortError::Refused(
                    "the activity is no longer kept".to_owned(),
                ));
            }
            Err(error) => return Err(port(error)),
        };
        let status = activity
            .status
            .as_ref()
            .map(|s| s.as_str().to_owned())
            .unwrap_or_default();
        if !activity.is_over() {
            return Ok(ActivityReading {
                finished: false,
                status,
                failed: Vec::new(),
            });
        }
        let mut failed = Vec::new();
        if let Some(report) = client.activity_report(&activity).await.map_err(port)? {
            let text = report.column("serial").or_else(|| report.column("device"));
            let serials: Vec<String> = report
                .rows
                .iter()
                .filter_map(|row| row.cells.get(text?).cloned())
                .collect();
            for serial in report.failed_serials(&serials) {
                if let Ok(serial) = Serial::parse(&serial) {
                    failed.push((serial, "Apple's result names it as failed".to_owned()));
                }
            }
        }
        Ok(ActivityReading {
            finished: true,
            status,
            failed,
        })
    }
}

#[async_trait]
impl LockRemoval for Apple {
    async fn unlock(
        &self,
        identity: &PushIdentity,
        serial: &Serial,
        product: &str,
        code: &Secret,
    ) -> Result<bool, PortError> {
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
        let clock = Arc::new(DomainClock(self.clock.clone()));
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
        let request = UnlockRequest::new(serial.as_str(), product, "mdmd", "operator");
        match client.unlock(&request, &code).await.map_err(port)? {
            Unlock::Unlocked => Ok(true),
            _ => Ok(false),
        }
    }
}

fn transport(
    addresses: &Addresses,
    identity: Option<ClientIdentity>,
) -> Result<HyperTransport, abm_client::Error> {
    let mut builder = HyperTransport::builder();
    if let Some(pem) = &addresses.trust {
        builder = builder.trust_pem(pem)?;
    }
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    builder.build()
}

fn user_agent() -> String {
    format!("mdmd/{}", env!("CARGO_PKG_VERSION"))
}

fn device_page(
    page: ClientPage,
    asked: Option<&SyncCursor>,
    server: ServerId,
    now: Timestamp,
) -> DevicePage {
    let cursor = page
        .cursor
        .as_ref()
        .or(asked)
        .map(|c| c.as_str().to_owned())
        .unwrap_or_default();
    let mut devices = Vec::with_capacity(page.devices.len());
    for record in page.devices {
        let Ok(serial) = Serial::parse(&record.serial_number) else {
            continue;
        };
        let mut ours = DeviceRecord::new(server, now);
        ours.op_date = record
            .op_date
            .as_ref()
            .and_then(Moment::unix_ms)
            .map(Timestamp::from_millis);
        ours.gone = record.op_type == Some(OpType::Deleted);
        ours.family = record
            .device_family
            .as_ref()
            .map(|f| f.as_str().to_owned())
            .unwrap_or_default();
        ours.model = record.model.clone().unwrap_or_default();
        ours.profile_status = record
            .profile_status
            .as_ref()
            .map(|s| s.as_str().to_owned())
            .unwrap_or_default();
        ours.profile_uuid.clone_from(&record.profile_uuid);
        ours.deadline = record
            .mdm_migration_deadline
            .as_ref()
            .and_then(Moment::unix_ms)
            .map(Timestamp::from_millis);
        ours.more = match serde_json::to_value(&record) {
            Ok(serde_json::Value::Object(map)) => map
                .into_iter()
                .filter(|(key, _)| !TYPED.contains(&key.as_str()))
                .collect(),
            _ => BTreeMap::new(),
        };
        devices.push((serial, ours));
    }
    DevicePage {
        devices,
        cursor,
        more: page.more_to_follow && !page.exhausted,
    }
}

/// Keys that have a field of their own in [`DeviceRecord`].
const TYPED: [&str; 8] = [
    "serial_number",
    "op_type",
    "op_date",
    "device_family",
    "model",
    "profile_status",
    "profile_uuid",
    "mdm_migration_deadline",
];

fn reading(device: &OrgDevice, server: Option<String>, now: Timestamp) -> OrgReading {
    let mut reading = OrgReading::default();
    reading.seen = now;
    reading.assigned_server = server;
    reading.capable = device.is_mdm_migration_capable;
    reading.status = device
        .mdm_migration_status
        .as_ref()
        .map(|s| match s.as_str() {
            "REQUESTED" => MigrationStatus::Requested,
            "STARTED" => MigrationStatus::Started,
            "SUCCESS" => MigrationStatus::Success,
            "FAILED" => MigrationStatus::Failed,
            other => MigrationStatus::Other(other.to_owned()),
        });
    reading.deadline = device
        .mdm_migration_deadline_date_time
        .as_ref()
        .and_then(Moment::unix_ms)
        .map(Timestamp::from_millis);
    reading.product.clone_from(&device.product_type);
    reading
}

fn unknown(now: Timestamp) -> OrgReading {
    let mut reading = OrgReading::default();
    reading.seen = now;
    reading.unknown = true;
    reading
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
