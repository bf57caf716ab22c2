//! A stand-in for the device-assignment service that plays pages from a script, and a server before it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::device::{AssignmentOutcome, Device, DeviceRecord, OrgReading};
use mdm_core::error::PortError;
use mdm_core::ids::{OrganisationId, Serial, ServerId};
use mdm_core::secret::Secret;
use mdm_core::service::ports::testing::OrganisationApiPart;
use mdm_core::service::ports::{
    Account, ApiKey, DeviceAssignment, DevicePage, LockOutcome, Ports, ServerCredential,
};
use mdm_core::service::{Mdm, Org};
use mdm_core::store::{Batch, DeviceStore as _, SqliteStore, Store, WaveStore as _};
use mdm_core::wave::SyncCursor;

use crate::one_store;

pub(crate) const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);

/// One page: serial numbers that are there, serial numbers that have left, and whether there is more.
pub(crate) type Page = (&'static [&'static str], &'static [&'static str], bool);

/// Plays pages; a token is the name of its server entry.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) full: Mutex<VecDeque<Page>>,
    pub(crate) changes: Mutex<VecDeque<Page>>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) assigned: Mutex<Vec<Vec<Serial>>>,
    /// The next assignment is done, and its answer is lost.
    pub(crate) lose: Mutex<bool>,
    /// The next assignment is refused, and may be asked for again so much later.
    pub(crate) busy: Mutex<Option<Duration>>,
    /// No profile can be defined.
    pub(crate) refuse: Mutex<bool>,
    /// No profile without a web view can be defined.
    pub(crate) refuse_plain: Mutex<bool>,
    /// Who was assigned a profile with a web view.
    pub(crate) viewed: Mutex<BTreeSet<Serial>>,
    /// So many readings of a profile find none yet.
    pub(crate) hidden: Mutex<u32>,
    /// Profiles that were defined.
    pub(crate) defined: Mutex<u32>,
    /// Most devices of one assignment.
    pub(crate) most: Mutex<Option<usize>>,
    /// Places that the list names, in their order and from the beginning again; its own when there are none.
    pub(crate) circle: Mutex<Vec<&'static str>>,
    /// The next request from this place is told that it is not known any more.
    pub(crate) expired: Mutex<Option<&'static str>>,
    /// What the organisation API says of every device that it is asked for: the service that has it.
    pub(crate) assigned_to: Mutex<Option<&'static str>>,
    /// Another process on this store has taken the next page already, and is at "other".
    pub(crate) overtaken: Mutex<Option<SqliteStore>>,
}

impl Script {
    fn next(&self, queue: &Mutex<VecDeque<Page>>, server: ServerId, now: Timestamp) -> DevicePage {
        let (there, left, more) = queue
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or((&[], &[], false));
        let record = |serial: &&str, gone: bool| {
            let mut record = DeviceRecord::new(server, now);
            record.op_date = gone.then_some(now);
            record.gone = gone;
            record.family = "iPhone".to_owned();
            record.profile_status = "empty".to_owned();
            (Serial::parse(serial).unwrap(), record)
        };
        let there = there.iter().map(|s| record(s, false));
        let asked = self.asked.lock().unwrap().len();
        let circle = self.circle.lock().unwrap();
        let cursor = match circle.len() {
            0 => format!("c{asked}"),
            length => circle[(asked - 1) % length].to_owned(),
        };
        DevicePage {
            devices: there.chain(left.iter().map(|s| record(s, true))).collect(),
            cursor,
            more,
        }
    }
}

#[async_trait]
impl DeviceAssignment for Script {
    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError> {
        let name = credential.token.expose_text().unwrap_or("").to_owned();
        Ok(Account {
            server_name: name.clone(),
            server_uuid: name,
            organisation: None,
            token_expires: None,
        })
    }

    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let asked = format!("fetch {}", cursor.unwrap_or("-"));
        self.asked.lock().unwrap().push(asked);
        let expired = self
            .expired
            .lock()
            .unwrap()
            .take_if(|at| Some(*at) == cursor);
        if expired.is_some() {
            return Err(PortError::CursorExpired);
        }
        let overtaken = self.overtaken.lock().unwrap().take();
        if let Some(store) = overtaken {
            let row = store
                .server(credential.organisation, credential.server)
                .await;
            let mut row = row.unwrap().unwrap();
            row.cursor = SyncCursor::Full {
                cursor: "other".to_owned(),
                begun: now,
            };
            let mut batch = Batch::new();
            batch.put(row);
            store.commit(batch).await.unwrap();
        }
        Ok(self.next(&self.full, credential.server, now))
    }

    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.asked.lock().unwrap().push(format!("sync {cursor}"));
        // Changes are those of the first server entry; another one has none.
        let nothing = Mutex::default();
        let first = credential.token.expose_text() == Some("one");
        let queue = if first { &self.changes } else { &nothing };
        Ok(self.next(queue, credential.server, now))
    }

    async fn define_profile(
        &self,
        credential: &ServerCredential,
        content: &serde_json::Value,
    ) -> Result<String, PortError> {
        let view = content.get("configuration_web_url").is_some();
        if *self.refuse.lock().unwrap() || !view && *self.refuse_plain.lock().unwrap() {
            return Err(PortError::retry("not now"));
        }
        *self.defined.lock().unwrap() += 1;
        let plain = profile_of(credential);
        Ok(match view {
            true => format!("{plain}{VIEW}"),
            false => plain,
        })
    }

    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        let mut hidden = self.hidden.lock().unwrap();
        if *hidden > 0 {
            *hidden -= 1;
            return Err(PortError::Refused("404".to_owned()));
        }
        Ok(serde_json::json!({ "await_device_configured": true }))
    }

    async fn most_assigned(&self, _: &ServerCredential) -> Result<usize, PortError> {
        Ok(self.most.lock().unwrap().unwrap_or(1000))
    }

    async fn assign(
        &self,
        credential: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        let with_view = uuid.strip_suffix(VIEW);
        if with_view.unwrap_or(uuid) != profile_of(credential) {
            return Err(PortError::Refused("no such profile here".to_owned()));
        }
        if with_view.is_some() {
            let mut viewed = self.viewed.lock().unwrap();
            viewed.extend(serials.iter().cloned());
        }
        self.assigned.lock().unwrap().push(serials.to_vec());
        if let Some(wait) = self.busy.lock().unwrap().take() {
            return Err(PortError::Retry {
                what: "too many requests".to_owned(),
                after: Some(wait),
            });
        }
        if std::mem::take(&mut *self.lose.lock().unwrap()) {
            return Err(PortError::Unknown("the connection broke".to_owned()));
        }
        let done = |s: &Serial| (s.clone(), AssignmentOutcome::Success);
        Ok(serials.iter().map(done).collect())
    }

    async fn lock(
        &self,
        _: &ServerCredential,
        _: &Serial,
        _: &str,
    ) -> Result<LockOutcome, PortError> {
        Ok(LockOutcome::Success)
    }
}

#[async_trait]
impl OrganisationApiPart for Script {
    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let mut reading = OrgReading::default();
        reading.seen = now;
        let service = *self.assigned_to.lock().unwrap();
        reading.assigned_server = service.map(str::to_owned);
        reading.assigned = Some(service.is_some());
        let read = |serial: &Serial| (serial.clone(), reading.clone());
        Ok(serials.iter().map(read).collect())
    }
}

/// How the other profile of a server entry ends, that with a web view.
const VIEW: &str = "-view";

/// One profile for each server entry, and another one where devices sign in in a web view.
pub(crate) fn profile_of(credential: &ServerCredential) -> String {
    format!("PROFILE-{}", credential.token.expose_text().unwrap_or(""))
}

pub(crate) struct Stage {
    pub(crate) script: Arc<Script>,
    pub(crate) clock: ManualClock,
    pub(crate) store: SqliteStore,
    pub(crate) mdm: Mdm,
    pub(crate) organisation: OrganisationId,
}

impl Stage {
    pub(crate) async fn new(full: &[Page]) -> Self {
        Self::on(SqliteStore::in_memory().await.unwrap(), full).await
    }

    pub(crate) async fn on(store: SqliteStore, full: &[Page]) -> Self {
        let script = Arc::new(Script::default());
        script.full.lock().unwrap().extend(full.iter().copied());
        let clock = ManualClock::new(START);
        let mdm = mdm(Arc::new(store.clone()), &script, &clock);
        let made = mdm.create_organisation("Acme", Vec::new()).await.unwrap();
        Self {
            script,
            clock,
            store,
            mdm,
            organisation: made.org.organisation().id,
        }
    }

    pub(crate) async fn org(&self) -> Org {
        self.mdm
            .organisation_by_id(self.organisation)
            .await
            .unwrap()
    }

    pub(crate) async fn server(&self, name: &str) -> ServerId {
        let org = self.org().await;
        let token = Secret::from_text(name);
        org.import_server_token(&token, None).await.unwrap()
    }

    /// Lets so much time pass, and everything that is due on the way happen.
    pub(crate) async fn pass(&self, time: Duration) {
        one_store::pass(&self.mdm, &self.clock, time).await;
    }

    pub(crate) async fn device(&self, serial: &str) -> Device {
        let serial = Serial::parse(serial).unwrap();
        let found = self.store.device_by_serial(self.organisation, &serial);
        found.await.unwrap().expect("a device")
    }

    pub(crate) async fn gone(&self, serial: &str) -> bool {
        self.device(serial).await.record.expect("a record").gone
    }
}

pub(crate) fn mdm(store: Arc<dyn Store>, script: &Arc<Script>, clock: &ManualClock) -> Mdm {
    let ports = Ports {
        assignment: script.clone(),
        api: script.clone(),
        ..Ports::refusing()
    };
    one_store::process(store, clock, ports)
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
