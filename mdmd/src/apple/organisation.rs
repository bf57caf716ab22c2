//! The organisation API behind the library's port, within the budget that all processes share.

use std::sync::PoisonError;

use abm_client::business::{
    ApiAccount, AssignmentStatus, AuditEvent, AuditQuery, BusinessClient, DeviceField, OrgDevice,
    PageCursor, PurchaseSource, ServerType,
};
use abm_client::{ErrorKind, Moment, Refusal};
use async_trait::async_trait;
use mdm_core::budget::ORGANISATION_API;
use mdm_core::clock::Timestamp;
use mdm_core::device::{MigrationStatus, OrgReading, RadioNumbers};
use mdm_core::errand::MOST_DEVICES;
use mdm_core::error::PortError;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::Serial;
use mdm_core::migration::AuditedAct;
use mdm_core::service::SharedGate;
use mdm_core::service::ports::{
    ActivityReading, ActivityRequest, ApiKey, Described, LockSaid, MemberPage, OrganisationApi,
    ReadingPage,
};

use super::{Apple, CLIENTS, LIMITS, port, user_agent};

/// What is read of each device.
const FIELDS: [DeviceField; 8] = [
    DeviceField::SerialNumber,
    DeviceField::ProductType,
    DeviceField::Status,
    DeviceField::IsMdmMigrationCapable,
    DeviceField::MdmMigrationStatus,
    DeviceField::MdmMigrationDeadlineDateTime,
    DeviceField::AddedToOrgDateTime,
    DeviceField::PurchaseSourceType,
];

/// So many pages of audit events are read about one device: one, where Apple looks for it as it is asked to.
const AUDIT_PAGES: u32 = 4;

impl Apple {
    fn business_client(&self, key: &ApiKey) -> Result<BusinessClient, PortError> {
        let allowance = key.allowance;
        // A replaced key under the same name gets a client of its own.
        let credential = [key.key_id.as_bytes(), &[0], key.key.expose()].concat();
        let credential = zeroize::Zeroizing::new(credential);
        let name = format!(
            "{}/{}/{allowance:?}",
            key.client_id,
            sha256_hex(&credential)
        );
        let entry = (key.organisation, (), name);
        let mut clients = self.business.lock().unwrap_or_else(PoisonError::into_inner);
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
        // Refusing, not waiting: what waits, waits in the store, where every process sees it.
        let gate = SharedGate::new(
            self.store.clone(),
            self.clock.clone(),
            key.organisation,
            vec![
                (ORGANISATION_API.to_owned(), allowance),
                (format!("{ORGANISATION_API} {}", key.client_id), allowance),
            ],
            self.turn(key.organisation, ORGANISATION_API),
        );
        let client = BusinessClient::at(
            &base,
            &token,
            self.transport.clone(),
            account,
            &user_agent(),
            self.client_clock(),
        )
        .with_gate(gate)
        .with_activity_limit(MOST_DEVICES);
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert(entry, client.clone());
        Ok(client)
    }
}

impl Apple {
    /// What is read of each device on a list: all that there is where the API does not know every name.
    fn fields(&self, key: &ApiKey) -> &'static [DeviceField] {
        let fewer = self.fewer_fields.lock();
        let fewer = fewer.unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        match fewer.get(&key.organisation) {
            Some(said) if now < *said + LIMITS => &[],
            _ => &FIELDS,
        }
    }

    fn note_fewer_fields(&self, key: &ApiKey) {
        let fewer = self.fewer_fields.lock();
        let mut fewer = fewer.unwrap_or_else(PoisonError::into_inner);
        if fewer.len() >= CLIENTS {
            fewer.clear();
        }
        fewer.insert(key.organisation, self.clock.now());
    }
}

#[async_trait]
impl OrganisationApi for Apple {
    async fn servers(&self, key: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        let all = self.services(key).await?.into_iter();
        Ok(all.map(|(id, name, _)| (id, name)).collect())
    }

    async fn services(
        &self,
        key: &ApiKey,
    ) -> Result<Vec<(String, String, Option<String>)>, PortError> {
        let client = self.business_client(key)?;
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = client.servers(cursor.as_ref()).await.map_err(port)?;
            all.extend(page.items.into_iter().map(|s| {
                let other = match s.attributes.server_type {
                    Some(ServerType::AppleMdm) => Some("Apple's built-in service".to_owned()),
                    Some(ServerType::AppleConfigurator) => Some("Apple Configurator".to_owned()),
                    _ => None,
                };
                (s.id, s.attributes.server_name.unwrap_or_default(), other)
            }));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    async fn members(
        &self,
        key: &ApiKey,
        server: &str,
        cursor: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        let at = cursor.map(PageCursor::new);
        let page = self
            .business_client(key)?
            .in_background()
            .server_devices(server, at.as_ref())
            .await
            .map_err(|error| paged(error, cursor))?;
        Ok(MemberPage {
            serials: page
                .items
                .iter()
                .filter_map(|serial| Serial::parse(serial).ok())
                .collect(),
            next: page.next.map(|c| c.as_str().to_owned()),
        })
    }

    async fn devices(
        &self,
        key: &ApiKey,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        let at = cursor.map(PageCursor::new);
        let client = self.business_client(key)?.in_background();
        let mut page = client.devices(self.fields(key), at.as_ref()).await;
        if page.as_ref().is_err_and(is_about_fields) {
            self.note_fewer_fields(key);
            page = client.devices(&[], at.as_ref()).await;
        }
        let page = page.map_err(|error| paged(error, cursor))?;
        Ok(ReadingPage {
            devices: page
                .items
                .iter()
                .filter_map(|device| {
                    let serial = Serial::parse(&device.id).ok()?;
                    Some((serial, reading(&device.attributes, None, now)))
                })
                .collect(),
            next: page.next.map(|c| c.as_str().to_owned()),
        })
    }

    async fn read(
        &self,
        key: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let client = self.business_client(key)?;
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

    async fn lock(
        &self,
        key: &ApiKey,
        serial: &Serial,
        behind: bool,
    ) -> Result<LockSaid, PortError> {
        let mut client = self.business_client(key)?;
        if behind {
            client = client.in_background();
        }
        let said = client.activation_lock(serial.as_str()).await;
        let said = said.map_err(port)?;
        let word = said.lock_type.as_ref().map(|word| word.as_str().to_owned());
        let on = match (&said.is_locked, word.as_deref()) {
            (Some(on), _) => *on,
            (None, Some(word)) => word != "NONE",
            (None, None) => {
                let why = "Apple's answer says nothing of the lock";
                return Err(PortError::Refused(why.to_owned()));
            }
        };
        let plain = || if on { "LOCKED" } else { "NONE" }.to_owned();
        Ok(LockSaid {
            on,
            word: word.unwrap_or_else(plain),
        })
    }

    async fn described(&self, key: &ApiKey, serial: &Serial) -> Result<Described, PortError> {
        let client = self.business_client(key)?;
        let device = client.device(serial.as_str(), &[]).await.map_err(port)?;
        let device = device.attributes;
        let mut radio = RadioNumbers::default();
        let mut imei = device.imei.into_iter();
        (radio.imei, radio.imei2) = (imei.next(), imei.next());
        radio.meid = device.meid.into_iter().next();
        Ok(Described {
            product: device.product_type,
            radio,
        })
    }

    async fn audited(
        &self,
        key: &ApiKey,
        serial: &Serial,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditedAct>, PortError> {
        let mut query = AuditQuery::between(since.as_millis(), until.as_millis());
        // That a device is its serial number here as it is everywhere in this API is an inference: what comes is looked through.
        query.subject_id = Some(serial.to_string());
        let client = self.business_client(key)?.in_background();
        let (mut acts, mut cursor) = (Vec::new(), None);
        for _ in 0..AUDIT_PAGES {
            let page = client.audit_events(&query, cursor.as_ref()).await;
            let at = cursor.as_ref().map(PageCursor::as_str);
            let page = page.map_err(|error| paged(error, at))?;
            let events = page.items.into_iter().map(|event| event.attributes);
            let of_it = events.filter(|event| is_about(event, serial));
            acts.extend(of_it.map(|event| audited(&event, key)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(acts);
            }
        }
        // Who is named is named, whatever else there is; that nobody is cannot be said of a part.
        if acts.is_empty() {
            let why = format!(
                "the first {AUDIT_PAGES} pages since its migration was asked for do not name it, and there are more: look in the portal"
            );
            return Err(PortError::NeedsPerson(why));
        }
        Ok(acts)
    }

    async fn submit(
        &self,
        key: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<String, PortError> {
        let activity = request
            .activity(serials, now)
            .map_err(|error| PortError::Refused(error.to_string()))?;
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
        let words = [
            activity.status.as_ref().map(|s| s.as_str()),
            activity.sub_status.as_ref().map(|s| s.as_str()),
        ];
        let status = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let mut reading = ActivityReading {
            finished: activity.is_over(),
            status,
            ..ActivityReading::default()
        };
        if !reading.finished {
            return Ok(reading);
        }
        let report = match client.activity_report(&activity).await {
            Ok(report) => report,
            // The address was made with the reading: the next reading makes another.
            Err(error) => {
                reading.file_failed = Some(error.to_string());
                return Ok(reading);
            }
        };
        if let Some(report) = report {
            let text = report.column("serial").or_else(|| report.column("device"));
            let serials: Vec<String> = report
                .rows
                .iter()
                .filter_map(|row| row.cells.get(text?).cloned())
                .collect();
            let reason = report.column("reason").or_else(|| report.column("detail"));
            for serial in report.failed_serials(&serials) {
                let row = report.rows.iter().find(|r| r.cells.contains(&serial));
                let why = row
                    .and_then(|r| r.cells.get(reason?))
                    .map(|word| word.trim())
                    .filter(|word| !word.is_empty());
                let why = match why {
                    Some(word) => format!("Apple's result: {word}"),
                    None => "Apple's result names it as failed".to_owned(),
                };
                if let Ok(serial) = Serial::parse(&serial) {
                    reading.failed.push((serial, why));
                }
            }
            reading.file = Some(report.raw);
        }
        Ok(reading)
    }
}

/// The API refuses the name of a field: that of a function which it does not have.
fn is_about_fields(error: &abm_client::Error) -> bool {
    let about = |r: &Refusal| r.about.as_deref().is_some_and(|a| a.starts_with("fields["));
    matches!(error.kind(), ErrorKind::Refused { status: 400, refusals } if refusals.iter().any(about))
}

/// A refusal in the middle of a list means that the list has to be begun again.
fn paged(error: abm_client::Error, cursor: Option<&str>) -> PortError {
    match port(error) {
        PortError::Refused(_) if cursor.is_some() => PortError::CursorExpired,
        other => other,
    }
}

fn reading(device: &OrgDevice, server: Option<String>, now: Timestamp) -> OrgReading {
    let mut reading = OrgReading::default();
    reading.seen = now;
    reading.assigned_server = server;
    reading.assigned = match &device.status {
        Some(AssignmentStatus::Assigned) => Some(true),
        Some(AssignmentStatus::Unassigned) => Some(false),
        _ => None,
    };
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
    let added = device.added_to_org_date_time.as_ref();
    reading.added = added.and_then(Moment::unix_ms).map(Timestamp::from_millis);
    let source = device.purchase_source_type.as_ref();
    reading.added_by_hand = source.map(|s| *s == PurchaseSource::ManuallyAdded);
    reading
}

fn is_about(event: &AuditEvent, serial: &Serial) -> bool {
    let named = [
        event.serial_number(),
        event.subject_id.as_deref(),
        event.subject_name.as_deref(),
    ];
    named.contains(&Some(serial.as_str()))
}

fn audited(event: &AuditEvent, key: &ApiKey) -> AuditedAct {
    let what = event.event_type.as_ref();
    let what = what.map_or("an act without a name", |what| what.as_str());
    let server = event.data().and_then(|data| data.get("serverName"));
    let what = match server.and_then(|name| name.as_str()) {
        Some(server) => format!("{what} ({server})"),
        None => what.to_owned(),
    };
    let who = event.actor_name.as_ref().or(event.actor_id.as_ref());
    let who = who.map_or("somebody without a name", String::as_str);
    let apple_actor = match &event.actor_type {
        Some(kind) => format!("{who} ({kind})"),
        None => who.to_owned(),
    };
    let at = event.event_date_time.as_ref().and_then(Moment::unix_ms);
    AuditedAct {
        at: at.map(Timestamp::from_millis),
        what,
        apple_actor,
        ours: event.actor_id.as_deref() == Some(key.client_id.as_str()),
    }
}

fn unknown(now: Timestamp) -> OrgReading {
    let mut reading = OrgReading::default();
    reading.seen = now;
    reading.unknown = true;
    reading
}
