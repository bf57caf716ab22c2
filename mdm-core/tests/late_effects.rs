//! Requests whose answers are lost and whose effects come late, against a stand-in for the organisation API: one activity for
//! one wish, a cancellation that waits for what may still come, and one bad activity that holds up nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{Clock, ManualClock, Timestamp};
use mdm_core::device::{AssignmentOutcome, DeviceRecord, MigrationStatus, OrgReading, Platform};
use mdm_core::errand::{Errand, ErrandState};
use mdm_core::error::PortError;
use mdm_core::ids::{ErrandId, OrganisationId, Serial, ServerId, WaveId};
use mdm_core::migration::{MoveState, Outcome, PinnedRunbook, Variant};
use mdm_core::secret::Secret;
use mdm_core::service::ports::{
    Account, ActivityReading, ActivityRequest, ApiKey, DeviceAssignment, DevicePage, LockOutcome,
    MemberPage, OrganisationApi, Ports, ReadingPage, ServerCredential,
};
use mdm_core::service::{Act, Mdm, MdmSettings, Member, MigrationAct, Org};
use mdm_core::store::SqliteStore;
use mdm_core::vault::{EscrowVault, KeyWrap, VaultError};
use tokio::sync::Notify;

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const OURS: &str = "OURS";
const THEIRS: &str = "THEIRS";

struct Plain;

#[async_trait]
impl KeyWrap for Plain {
    fn key_id(&self) -> String {
        "plain".to_owned()
    }
    async fn wrap(&self, plain: &Secret, _: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(plain.expose().to_vec())
    }
    async fn unwrap(&self, _: &str, wrapped: &[u8], _: &[u8]) -> Result<Secret, VaultError> {
        Ok(Secret::new(wrapped))
    }
}

/// What becomes of a request that changes something.
#[derive(Clone, Copy, Default)]
enum Fate {
    #[default]
    Answered,
    /// Done, and the answer is lost.
    Unanswered,
    /// Neither done nor answered.
    Lost,
    /// It hangs until it is let go.
    Hangs,
}

/// How Apple's work on the first activity looks for whoever asks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Looks {
    #[default]
    Well,
    /// Asking how it goes fails, always.
    Never,
    /// It is over, and its result file is gone.
    NoFile,
}

#[derive(Default)]
struct Inside {
    devices: BTreeMap<Serial, OrgReading>,
    effects: Vec<(Timestamp, ActivityRequest, Vec<Serial>)>,
    /// Every request that changes something, in order.
    asked: Vec<(ActivityRequest, Vec<Serial>)>,
    fates: Vec<Fate>,
    lag: Duration,
    looks: Looks,
}

#[derive(Clone)]
struct Apple {
    inside: Arc<Mutex<Inside>>,
    clock: ManualClock,
    let_go: Arc<Notify>,
}

impl Apple {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.inside.lock().unwrap();
        let now = self.clock.now();
        let (due, later) = std::mem::take(&mut inside.effects)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        inside.effects = later;
        let due: Vec<(Timestamp, ActivityRequest, Vec<Serial>)> = due;
        for (_, request, serials) in due {
            for serial in serials {
                let device = inside.devices.get_mut(&serial).expect("a device of ours");
                match &request {
                    ActivityRequest::AssignWithDeadline { server, deadline } => {
                        device.assigned_server = Some(server.clone());
                        device.status = Some(MigrationStatus::Requested);
                        device.deadline = Some(*deadline);
                    }
                    ActivityRequest::Cancel => {
                        device.status = Some(MigrationStatus::Failed);
                        device.deadline = None;
                        device.assigned_server = Some(THEIRS.to_owned());
                    }
                    other => panic!("not asked for here: {other:?}"),
                }
            }
        }
        inside
    }

    fn status(&self, serial: &Serial) -> Option<MigrationStatus> {
        self.inside().devices[serial].status.clone()
    }

    fn asked(&self) -> usize {
        self.inside().asked.len()
    }
}

#[async_trait]
impl OrganisationApi for Apple {
    async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        Ok([THEIRS, OURS]
            .map(|s| (s.to_owned(), s.to_owned()))
            .to_vec())
    }

    async fn members(
        &self,
        _: &ApiKey,
        server: &str,
        _: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        let inside = self.inside();
        let of = |d: &OrgReading| d.assigned_server.as_deref() == Some(server);
        let there = inside.devices.iter().filter(|(_, d)| of(d));
        Ok(MemberPage {
            serials: there.map(|(s, _)| s.clone()).collect(),
            next: None,
        })
    }

    async fn devices(
        &self,
        _: &ApiKey,
        _: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        let inside = self.inside();
        let read = |(serial, device): (&Serial, &OrgReading)| {
            let mut reading = device.clone();
            reading.seen = now;
            reading.assigned_server = None;
            (serial.clone(), reading)
        };
        Ok(ReadingPage {
            devices: inside.devices.iter().map(read).collect(),
            next: None,
        })
    }

    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let inside = self.inside();
        let read = |serial: &Serial| {
            let mut reading = inside.devices[serial].clone();
            reading.seen = now;
            (serial.clone(), reading)
        };
        Ok(serials.iter().map(read).collect())
    }

    async fn submit(
        &self,
        _: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<String, PortError> {
        let fate = {
            let mut inside = self.inside();
            let fate = match inside.fates.is_empty() {
                true => Fate::Answered,
                false => inside.fates.remove(0),
            };
            inside.asked.push((request.clone(), serials.to_vec()));
            if !matches!(fate, Fate::Lost) {
                let at = now + inside.lag;
                inside.effects.push((at, request.clone(), serials.to_vec()));
            }
            fate
        };
        match fate {
            Fate::Answered => {}
            Fate::Hangs => self.let_go.notified().await,
            Fate::Unanswered | Fate::Lost => {
                return Err(PortError::Unknown("the connection broke".to_owned()));
            }
        }
        Ok(format!("ACTIVITY{}", self.asked()))
    }

    async fn activity(&self, _: &ApiKey, id: &str) -> Result<ActivityReading, PortError> {
        let looks = match id {
            "ACTIVITY1" => self.inside().looks,
            _ => Looks::Well,
        };
        if looks == Looks::Never {
            return Err(PortError::retry("500"));
        }
        Ok(ActivityReading {
            finished: true,
            status: "COMPLETED".to_owned(),
            file: (looks == Looks::Well).then(|| b"Serial Number,Status\r\n".to_vec()),
            file_failed: (looks == Looks::NoFile).then(|| "410".to_owned()),
            ..ActivityReading::default()
        })
    }
}

/// The assignment service shows an empty list: what happens there is another story.
#[async_trait]
impl DeviceAssignment for Apple {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(Account {
            server_name: OURS.to_owned(),
            server_uuid: OURS.to_owned(),
            organisation: None,
            token_expires: None,
        })
    }
    async fn fetch(
        &self,
        _: &ServerCredential,
        _: Option<&str>,
        _: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Ok(DevicePage {
            devices: Vec::<(Serial, DeviceRecord)>::new(),
            cursor: "end".to_owned(),
            more: false,
        })
    }
    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.fetch(credential, Some(cursor), now).await
    }
    async fn define_profile(
        &self,
        _: &ServerCredential,
        _: &serde_json::Value,
    ) -> Result<String, PortError> {
        Ok("PROFILE".to_owned())
    }
    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        Ok(serde_json::json!({ "await_device_configured": true }))
    }
    async fn assign(
        &self,
        _: &ServerCredential,
        _: &str,
        _: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        Ok(Vec::new())
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

struct Stage {
    apple: Apple,
    clock: ManualClock,
    mdm: Mdm,
    organisation: OrganisationId,
    destination: ServerId,
    serials: Vec<Serial>,
}

impl Stage {
    async fn new(devices: usize, lag: Duration, fates: &[Fate]) -> Self {
        let clock = ManualClock::new(START);
        let serials: Vec<Serial> = (0..devices)
            .map(|n| Serial::parse(&format!("LATE{n:06}")).unwrap())
            .collect();
        let mut device = OrgReading::default();
        device.assigned_server = Some(THEIRS.to_owned());
        device.capable = Some(true);
        device.product = Some("iPhone17,2".to_owned());
        let apple = Apple {
            inside: Arc::new(Mutex::new(Inside {
                devices: serials
                    .iter()
                    .map(|s| (s.clone(), device.clone()))
                    .collect(),
                fates: fates.to_vec(),
                lag,
                ..Inside::default()
            })),
            clock: clock.clone(),
            let_go: Arc::default(),
        };
        let port = Arc::new(apple.clone());
        let ports = Ports {
            assignment: port.clone(),
            api: port,
            ..Ports::refusing()
        };
        let settings = MdmSettings {
            device_url: "https://mdm.example.com".to_owned(),
            enrol_url: "https://mdm.example.com".to_owned(),
            sign_messages: false,
        };
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let domain: Arc<dyn Clock> = Arc::new(clock.clone());
        let mdm = Mdm::new(store, EscrowVault::new(Plain), domain, ports, settings);
        let made = mdm.create_organisation("Acme", Vec::new()).await.unwrap();
        let org = made.org;
        org.import_api("BUSINESSAPI.x", "k", &Secret::from_text("key"))
            .await
            .unwrap();
        let token = Secret::from_text("{}");
        let destination = org.import_server_token(&token, None).await.unwrap();
        let stage = Self {
            organisation: org.organisation().id,
            apple,
            clock,
            mdm,
            destination,
            serials,
        };
        stage.org().await.pull(&stage.serials).await.unwrap();
        stage
    }

    async fn org(&self) -> Org {
        let org = self.mdm.organisation_by_id(self.organisation).await;
        org.unwrap()
    }

    /// Submits a wave of some of the devices.
    async fn submit(&self, name: &str, serials: &[Serial]) -> WaveId {
        let member = |serial: &Serial| Member {
            serial: serial.clone(),
            deadline: START + DAY * 30,
            available_from: START + DAY * 10,
            original_server: Some(THEIRS.to_owned()),
        };
        let members: Vec<Member> = serials.iter().map(member).collect();
        let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
        let org = self.org().await;
        let wave = org.plan_wave(name, self.destination, &runbooks, &members);
        let wave = wave.await.unwrap();
        let what_if = org.what_if(wave).await.unwrap();
        assert_eq!(what_if.blockers, BTreeMap::new());
        org.submit(wave, &what_if.digest, "a person").await.unwrap();
        wave
    }

    async fn cancel(&self) {
        let cancel = Act {
            what: MigrationAct::Cancel,
            serials: self.serials.clone(),
            reason: None,
        };
        let org = self.org().await;
        let plan = org.plan_act(&cancel).await.unwrap();
        org.do_act(&cancel, &plan.digest).await.unwrap();
    }

    /// Lets so much time pass, and everything that is due on the way happen.
    async fn pass(&self, time: Duration) {
        let end = self.clock.now() + time;
        loop {
            while self.mdm.work(100).await.unwrap() > 0 {}
            match self.mdm.next_due().await.unwrap() {
                Some(next) if next <= end => self.clock.set(next.max(self.clock.now())),
                _ => break,
            }
        }
        self.clock.set(end);
    }

    async fn states(&self, wave: WaveId) -> Vec<MoveState> {
        let members = self.org().await.members(wave).await.unwrap();
        members.into_iter().map(|m| m.state).collect()
    }

    async fn errands(&self) -> Vec<Errand> {
        let org = self.org().await;
        org.errands(ErrandId(0), 100).await.unwrap()
    }
}

fn scheduled(states: &[MoveState]) -> bool {
    let is = |s: &MoveState| matches!(s, MoveState::Scheduled { .. });
    states.iter().all(is)
}

#[tokio::test]
async fn an_effect_that_comes_after_a_lost_answer_is_not_asked_for_again() {
    // A few devices are read one by one, many from the list.
    for devices in [2, 8] {
        for lag in [2, 5, 14] {
            let stage = Stage::new(devices, MINUTE * lag, &[Fate::Unanswered]).await;
            let wave = stage.submit("one", &stage.serials).await;
            stage.pass(MINUTE * 16).await;
            let after = format!("{devices} devices, effect after {lag} minutes");
            assert_eq!(stage.apple.asked(), 1, "{after}");
            assert!(scheduled(&stage.states(wave).await), "{after}");
            assert_eq!(stage.errands().await[0].state, ErrandState::Done, "{after}");
        }
    }
}

#[tokio::test]
async fn an_effect_that_comes_late_after_an_answer_is_proved_and_not_called_missing() {
    for lag in [2, 5, 14] {
        let stage = Stage::new(3, MINUTE * lag, &[]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE * 17).await;
        assert_eq!(stage.apple.asked(), 1);
        assert!(scheduled(&stage.states(wave).await), "after {lag} minutes");
    }
}

#[tokio::test]
async fn most_effects_are_proved_within_minutes() {
    let stage = Stage::new(3, MINUTE * 2, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 5).await;
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn what_never_reached_apple_is_sent_again_once_nothing_can_come_any_more() {
    let stage = Stage::new(3, MINUTE, &[Fate::Lost]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 14).await;
    assert_eq!(stage.apple.asked(), 1);
    stage.pass(MINUTE * 6).await;
    assert_eq!(stage.apple.asked(), 2);
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn a_cancellation_waits_for_a_schedule_that_may_still_take_effect() {
    for (devices, lag) in [(2, 5), (8, 5), (2, 14)] {
        let stage = Stage::new(devices, MINUTE * lag, &[Fate::Unanswered]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE).await;
        stage.apple.inside().lag = MINUTE;
        stage.cancel().await;
        stage.pass(MINUTE * 60).await;
        for serial in &stage.serials {
            let status = stage.apple.status(serial);
            assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
        }
        for state in stage.states(wave).await {
            assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
        }
        assert_eq!(stage.apple.asked(), 2, "one schedule, one cancellation");
    }
}

#[tokio::test]
async fn a_schedule_that_was_lost_and_is_cancelled_is_never_sent_again() {
    let stage = Stage::new(2, MINUTE, &[Fate::Lost]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE).await;
    stage.cancel().await;
    stage.pass(MINUTE * 60).await;
    assert_eq!(stage.apple.asked(), 1);
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Ended(_)), "{state:?}");
    }
    assert_eq!(stage.apple.status(&stage.serials[0]), None);
}

#[tokio::test]
async fn an_activity_that_cannot_be_looked_at_holds_up_no_other_and_has_an_end() {
    let stage = Stage::new(4, MINUTE, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let first = stage.submit("one", &stage.serials[..2]).await;
    stage.pass(MINUTE).await;
    let second = stage.submit("two", &stage.serials[2..]).await;
    stage.pass(MINUTE * 10).await;
    assert!(scheduled(&stage.states(second).await));
    // The devices themselves tell of the first.
    stage.pass(MINUTE * 300).await;
    assert!(scheduled(&stage.states(first).await));
    for errand in stage.errands().await {
        assert_eq!(errand.state, ErrandState::Done);
    }
    assert_eq!(stage.apple.asked(), 2);
}

#[tokio::test]
async fn a_result_file_that_is_gone_delays_the_proof_and_does_not_stop_it() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    stage.apple.inside().looks = Looks::NoFile;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 60).await;
    assert!(scheduled(&stage.states(wave).await));
    let errand = &stage.errands().await[0];
    assert_eq!((&errand.state, &errand.result), (&ErrandState::Done, &None));
    assert!(errand.status.as_deref().unwrap().contains("410"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_while_an_errand_is_under_way_does_not_wait_for_the_lease() {
    let stage = Stage::new(4, MINUTE, &[Fate::Hangs]).await;
    stage.mdm.set_patience(Some(Duration::from_millis(20)));
    stage.submit("one", &stage.serials[..2]).await;
    // As a server does: rounds go on while the first request hangs.
    let round = async || {
        stage.mdm.work(100).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        stage.clock.advance(Duration::from_secs(1));
    };
    while stage.apple.asked() == 0 {
        round().await;
    }
    stage.submit("two", &stage.serials[2..]).await;
    for _ in 0..5 {
        round().await;
    }
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 2 {
        round().await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE, "the second still waits after {waited:?}");
    }
    stage.mdm.idle().await;
}
