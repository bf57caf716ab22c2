//! Keeping our copy of a server entry's device list, and the ADE profiles in force as wanted. Page by page, each with its
//! cursor in one batch; a page is either wholly taken or fetched again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use super::Org;
use super::decision::{Decision, Tracked};
use super::ports::{DevicePage, ServerCredential};
use crate::clock::Timestamp;
use crate::device::{AssignmentOutcome, Device, DeviceRecord};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, Serial};
use crate::job::Job;
use crate::migration::Event;
use crate::store::{Batch, Lease, Write};
use crate::wave::{DefinedProfile, Server, SyncCursor};

/// How often the list is read when nothing special is going on.
const CALM: Duration = Duration::from_secs(10 * 60);
/// How soon it is read again after an assignment, so that its effect is seen.
const SOON: Duration = Duration::from_secs(90);
/// How long an assigned profile may take to show in the list before it is assigned again.
const SETTLE: Duration = Duration::from_secs(30 * 60);
/// Devices in one assignment request: small enough that a fault stays local.
const CHUNK: u32 = 500;

impl Org {
    /// Opens a server entry's token.
    pub(super) async fn server_credential(
        &self,
        server: &Server,
    ) -> Result<ServerCredential, Error> {
        let token = self.open_secret_cached(server.token).await?;
        Ok(ServerCredential {
            organisation: self.id(),
            server: server.id,
            token,
        })
    }

    /// The recurring job that reads the list.
    pub(super) async fn sync_job(
        &self,
        job: Job,
        lease: Lease,
        server: crate::ids::ServerId,
    ) -> Result<(), Error> {
        let Some(server) = self.store().server(self.id(), server).await? else {
            return self.job_done(&job, lease).await;
        };
        let outcome = self.sync_server(&server).await;
        let (due, needs_person) = match &outcome {
            Ok(()) => (self.now() + CALM, None),
            Err(Error::Port(PortError::NeedsPerson(what))) => {
                (self.now() + Duration::from_secs(1800), Some(what.clone()))
            }
            Err(error) => (
                self.now() + error.retry_after().unwrap_or(Duration::from_secs(300)),
                None,
            ),
        };
        if let Err(error) = &outcome {
            tracing::warn!(organisation = %self.id(), server = %server.name, %error, "the device list could not be read");
        }
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            if let Some(mut row) = self.store().server(self.id(), server.id).await?
                && row.needs_person != needs_person
            {
                row.needs_person.clone_from(&needs_person);
                batch.put(row);
            }
            let mut later = job.clone();
            later.due = due;
            later.tries = 0;
            batch.put(Write::JobLater { job: later, lease });
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Reads the list to its end.
    async fn sync_server(&self, server: &Server) -> Result<(), Error> {
        let credential = self.server_credential(server).await?;
        let assignment = self.ports().assignment.clone();
        let mut empty_pages = 0;
        let mut cursor = server.cursor.clone();
        loop {
            let now = self.now();
            let page = match &cursor {
                SyncCursor::Start => assignment.fetch(&credential, None, now).await,
                SyncCursor::Full { cursor, .. } => {
                    assignment.fetch(&credential, Some(cursor), now).await
                }
                SyncCursor::Changes { cursor } => assignment.sync(&credential, cursor, now).await,
            };
            let page = match page {
                Ok(page) => page,
                Err(PortError::CursorExpired) => {
                    tracing::info!(organisation = %self.id(), server = %server.name, "the cursor has expired: the whole list is read again");
                    cursor = SyncCursor::Start;
                    self.again_on_conflict(|| self.store_cursor(server.id, SyncCursor::Start))
                        .await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let begun = match &cursor {
                SyncCursor::Start => Some(now),
                SyncCursor::Full { begun, .. } => Some(*begun),
                SyncCursor::Changes { .. } => None,
            };
            let next = match (begun, page.more) {
                (Some(begun), true) => SyncCursor::Full {
                    cursor: page.cursor.clone(),
                    begun,
                },
                _ => SyncCursor::Changes {
                    cursor: page.cursor.clone(),
                },
            };
            self.again_on_conflict(|| self.take_page(server.id, &page, next.clone(), now))
                .await?;
            if let (Some(begun), false) = (begun, page.more) {
                self.sweep_unseen(server, begun).await?;
            }
            if !page.more {
                return Ok(());
            }
            empty_pages = if page.devices.is_empty() && cursor == next {
                empty_pages + 1
            } else {
                0
            };
            if empty_pages >= 3 {
                return Err(PortError::retry("the device list does not go on").into());
            }
            cursor = next;
        }
    }

    async fn store_cursor(
        &self,
        server: crate::ids::ServerId,
        cursor: SyncCursor,
    ) -> Result<(), Error> {
        let mut row = self
            .store()
            .server(self.id(), server)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        row.cursor = cursor;
        let mut batch = Batch::new();
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// Takes one page: records, transitions, jobs and cursor in one batch.
    async fn take_page(
        &self,
        server: crate::ids::ServerId,
        page: &DevicePage,
        cursor: SyncCursor,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut row = self
            .store()
            .server(self.id(), server)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        let records = latest(&page.devices);
        let serials: Vec<Serial> = records.keys().cloned().collect();
        let mut known: BTreeMap<Serial, Device> = self
            .store()
            .devices_by_serial(self.id(), &serials)
            .await?
            .into_iter()
            .map(|d| (d.serial.clone(), d))
            .collect();
        let mut batch = Batch::new();
        for (serial, record) in records {
            let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
            let tracked = match known.remove(&serial) {
                Some(device) => Tracked::read(device),
                None => Tracked::new(Device::new(self.id(), DeviceId(d.next_id()), serial)),
            };
            self.take_record(&mut d, tracked, record, &row).await?;
            append(&mut batch, d.into_batch());
        }
        row.cursor = cursor;
        row.synced = Some(now);
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    async fn take_record(
        &self,
        d: &mut Decision<'_>,
        mut tracked: Tracked<Device>,
        record: DeviceRecord,
        server: &Server,
    ) -> Result<(), Error> {
        let device = &mut tracked.row;
        let stale = match (&device.record, record.op_date) {
            (Some(old), Some(new)) => old.op_date.is_some_and(|old| old > new),
            _ => false,
        };
        if stale {
            return Ok(());
        }
        let event = assignment_event(&record, server);
        if device.open_move.is_none() && !record.gone {
            // Outside of a wave every device of the list gets the profile at once.
            device.assignment.wanted = server.profile.as_ref().map(|p| p.uuid.clone());
        }
        if record.profile_in_force().is_some()
            && record.profile_in_force() == device.assignment.wanted.as_deref()
        {
            device.assignment.tries = 0;
            device.assignment.last_refusal = None;
        }
        device.record = Some(record);
        let open = device.open_move;
        d.device = Some(tracked);
        if let Some(open) = open {
            self.load_attempt(d, open).await?;
            d.tell_move(&event);
        }
        Ok(())
    }

    /// After a full list: devices that it did not show are no longer ours.
    async fn sweep_unseen(&self, server: &Server, begun: Timestamp) -> Result<(), Error> {
        loop {
            let unseen = self
                .store()
                .devices_unseen_since(self.id(), server.id, begun, 500)
                .await?;
            if unseen.is_empty() {
                return Ok(());
            }
            for device in unseen {
                self.again_on_conflict(|| async {
                    let Some(device) = self.store().device(self.id(), device.id).await? else {
                        return Ok(());
                    };
                    let Some(mut record) = device.record.clone() else {
                        return Ok(());
                    };
                    record.gone = true;
                    record.op_date = None;
                    record.seen = self.now();
                    let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
                    d.audit("device.left-list", json!({ "server": server.name }));
                    self.take_record(&mut d, Tracked::read(device), record, server)
                        .await?;
                    self.commit(d).await
                })
                .await?;
            }
        }
    }

    /// The recurring job that brings profiles in force.
    pub(super) async fn assign_job(
        &self,
        job: Job,
        lease: Lease,
        server: crate::ids::ServerId,
    ) -> Result<(), Error> {
        let Some(server) = self.store().server(self.id(), server).await? else {
            return self.job_done(&job, lease).await;
        };
        let outcome = self.assign_server(&server).await;
        if let Err(error) = &outcome {
            tracing::warn!(organisation = %self.id(), server = %server.name, %error, "profiles could not be assigned");
        }
        let now = self.now();
        let next = self
            .store()
            .next_assignment(self.id(), server.id, now)
            .await?;
        let mut later = job.clone();
        later.due = match (outcome, next) {
            (Err(error), _) => now + error.retry_after().unwrap_or(Duration::from_secs(300)),
            (Ok(assigned), next) => {
                if assigned {
                    self.hurry_sync(&server, now).await?;
                }
                next.map_or(now + CALM, |at| at.min(now + CALM))
                    .max(now + Duration::from_secs(60))
            }
        };
        let mut batch = Batch::new();
        batch.put(Write::JobLater { job: later, lease });
        Ok(self.store().commit(batch).await?)
    }

    async fn hurry_sync(&self, server: &Server, now: Timestamp) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(Job::new(
            self.id(),
            server.sync_job,
            now + SOON,
            crate::job::JobKind::Sync { server: server.id },
        ));
        Ok(self.store().commit(batch).await?)
    }

    async fn assign_server(&self, server: &Server) -> Result<bool, Error> {
        let credential = self.server_credential(server).await?;
        let server = self.ensure_profile(server, &credential).await?;
        let mut any = false;
        loop {
            let now = self.now();
            let devices = self
                .store()
                .devices_to_assign(self.id(), server.id, now, CHUNK)
                .await?;
            let Some(uuid) = devices.first().and_then(|d| d.assignment.wanted.clone()) else {
                return Ok(any);
            };
            let same: Vec<&Device> = devices
                .iter()
                .filter(|d| d.assignment.wanted.as_deref() == Some(uuid.as_str()))
                .collect();
            let serials: Vec<Serial> = same.iter().map(|d| d.serial.clone()).collect();
            let outcomes: BTreeMap<Serial, AssignmentOutcome> = self
                .ports()
                .assignment
                .assign(&credential, &uuid, &serials)
                .await?
                .into_iter()
                .collect();
            any = true;
            // Side by side, at most a chunk of them: their commits share transactions.
            let mut taken = FuturesUnordered::new();
            for device in same {
                // A serial number that the answer leaves out is treated as failed.
                let outcome = outcomes
                    .get(&device.serial)
                    .cloned()
                    .unwrap_or(AssignmentOutcome::Failed);
                taken.push(self.take_outcome_again(device.id, outcome, &uuid));
            }
            while let Some(result) = taken.next().await {
                result?;
            }
        }
    }

    async fn take_outcome_again(
        &self,
        device: DeviceId,
        outcome: AssignmentOutcome,
        uuid: &str,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| self.take_outcome(device, &outcome, uuid))
            .await
    }

    async fn take_outcome(
        &self,
        device: DeviceId,
        outcome: &AssignmentOutcome,
        uuid: &str,
    ) -> Result<(), Error> {
        let Some(device) = self.store().device(self.id(), device).await? else {
            return Ok(());
        };
        let now = self.now();
        let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
        let mut tracked = Tracked::read(device);
        let assignment = &mut tracked.row.assignment;
        assignment.tries += 1;
        let (wait, word) = match outcome {
            AssignmentOutcome::Success => (SETTLE, None),
            AssignmentOutcome::NotAccessible => {
                (Duration::from_secs(3600), Some("NOT_ACCESSIBLE".to_owned()))
            }
            AssignmentOutcome::Throttled {
                retry_after_seconds,
            } => (
                Duration::from_secs(retry_after_seconds.unwrap_or(24 * 3600)),
                Some("THROTTLED".to_owned()),
            ),
            AssignmentOutcome::Failed => (back_off(assignment.tries), Some("FAILED".to_owned())),
            AssignmentOutcome::Other(word) => (back_off(assignment.tries), Some(word.clone())),
        };
        assignment.not_before = Some(now + wait);
        assignment.last_refusal.clone_from(&word);
        d.device = Some(tracked);
        d.audit(
            "device.profile-assigned",
            json!({ "profile": uuid, "refused": word }),
        );
        self.commit(d).await
    }

    /// Defines the ADE profile of this server entry unless one with equal content is defined, and proves by reading it back
    /// that it awaits configuration.
    async fn ensure_profile(
        &self,
        server: &Server,
        credential: &ServerCredential,
    ) -> Result<Server, Error> {
        let profile = self.ade_profile();
        let digest = crate::identity::sha256_hex(profile.to_string().as_bytes());
        if server
            .profile
            .as_ref()
            .is_some_and(|p| p.digest == digest && p.proved_awaiting)
        {
            return Ok(server.clone());
        }
        let uuid = match &server.profile {
            Some(defined) if defined.digest == digest => defined.uuid.clone(),
            _ => {
                self.ports()
                    .assignment
                    .define_profile(credential, &profile)
                    .await?
            }
        };
        let back = self
            .ports()
            .assignment
            .read_profile(credential, &uuid)
            .await?;
        let proved = back
            .get("await_device_configured")
            .and_then(serde_json::Value::as_bool)
            == Some(true);
        if !proved {
            return Err(Error::Precondition(
                "the ADE profile, read back from Apple, does not await configuration".to_owned(),
            ));
        }
        let defined = DefinedProfile {
            uuid: uuid.clone(),
            digest,
            proved_awaiting: proved,
        };
        self.again_on_conflict(|| async {
            let mut row = self
                .store()
                .server(self.id(), server.id)
                .await?
                .ok_or(Error::NotFound("server entry"))?;
            row.profile = Some(defined.clone());
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        self.want_profile(&uuid).await?;
        self.store()
            .server(self.id(), server.id)
            .await?
            .ok_or(Error::NotFound("server entry"))
    }

    /// Every device that may have a profile now wants this one.
    async fn want_profile(&self, uuid: &str) -> Result<(), Error> {
        let mut after = DeviceId(0);
        loop {
            let devices = self.store().devices(self.id(), after, 500).await?;
            let Some(last) = devices.last() else {
                return Ok(());
            };
            after = last.id;
            let stale = |device: &Device| {
                let offered = device.open_move.is_none() || device.assignment.from.is_some();
                offered && device.assignment.wanted.as_deref() != Some(uuid)
            };
            let mut wanted = FuturesUnordered::new();
            for device in devices.into_iter().filter(stale) {
                wanted.push(self.want_profile_on(device.id, uuid));
            }
            while let Some(result) = wanted.next().await {
                result?;
            }
        }
    }

    async fn want_profile_on(&self, device: DeviceId, uuid: &str) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut device) = self.store().device(self.id(), device).await? else {
                return Ok(());
            };
            device.assignment.wanted = Some(uuid.to_owned());
            let mut batch = Batch::new();
            batch.put(device);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The ADE profile: `await_device_configured` is always true, which a migration needs and every other enrolment survives.
    fn ade_profile(&self) -> serde_json::Value {
        use base64::Engine as _;
        let anchors: Vec<String> = self
            .organisation
            .anchors
            .iter()
            .map(|der| base64::engine::general_purpose::STANDARD.encode(&der.0))
            .collect();
        let mut profile = json!({
            "profile_name": format!("{} migration", self.display_name()),
            "url": format!("{}/mdm/{}/enrol", self.settings().enrol_url, self.organisation.code),
            "await_device_configured": true,
            "is_supervised": true,
            "is_mandatory": true,
            "is_mdm_removable": false,
            "is_multi_user": false,
            "is_return_to_service": false,
            "allow_pairing": true,
            "devices": [],
        });
        if !anchors.is_empty() {
            profile["anchor_certs"] = json!(anchors);
        }
        profile
    }

    pub(super) fn display_name(&self) -> &str {
        self.organisation
            .settings
            .display_name
            .as_deref()
            .unwrap_or(&self.organisation.name)
    }
}

/// The latest record of each serial number in a page: by Apple's date, and by position among equals.
fn latest(devices: &[(Serial, DeviceRecord)]) -> BTreeMap<Serial, DeviceRecord> {
    let mut latest: BTreeMap<Serial, DeviceRecord> = BTreeMap::new();
    for (serial, record) in devices {
        match latest.get(serial) {
            Some(old) if old.op_date > record.op_date => {}
            _ => {
                latest.insert(serial.clone(), record.clone());
            }
        }
    }
    latest
}

fn assignment_event(record: &DeviceRecord, server: &Server) -> Event {
    let in_force = record.profile_in_force();
    let profile_in_force = server
        .profile
        .as_ref()
        .is_some_and(|p| p.proved_awaiting && in_force == Some(p.uuid.as_str()));
    Event::AssignmentTold {
        ours: !record.gone,
        profile_in_force: profile_in_force && !record.gone,
        deadline: record.deadline,
    }
}

/// Adds everything of one batch to another.
pub(super) fn append(into: &mut Batch, from: Batch) {
    into.writes.extend(from.writes);
    into.expects.extend(from.expects);
}

/// Repeated assignments of one device lead to refusals for hours: wait longer each time.
fn back_off(tries: u32) -> Duration {
    Duration::from_secs(match tries {
        0 | 1 => 15 * 60,
        2 => 3600,
        3 => 6 * 3600,
        _ => 24 * 3600,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ServerId;

    #[test]
    fn the_later_operation_of_one_page_wins_whatever_its_place() {
        let record = |op: i64, status: &str| {
            let mut r = DeviceRecord::new(ServerId(1), Timestamp::from_millis(9));
            r.op_date = Some(Timestamp::from_millis(op));
            r.profile_status = status.to_owned();
            r
        };
        let serial = Serial::parse("C02A").unwrap();
        let page = [
            (serial.clone(), record(5, "assigned")),
            (serial.clone(), record(3, "removed")),
            (serial.clone(), record(5, "pushed")),
        ];
        assert_eq!(latest(&page)[&serial].profile_status, "pushed");
    }
}
