//! The stage of these stories: a server before the stand-in for Apple's services, and what people do there with waves and libraries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::device::Platform;
use mdm_core::errand::Errand;
use mdm_core::ids::{ErrandId, LocationId, OrganisationId, Serial, ServerId, WaveId};
use mdm_core::migration::{AppAction, AppPlan, MoveState, PinnedRunbook, Variant};
use mdm_core::secret::Secret;
use mdm_core::service::ports::Ports;
use mdm_core::service::ports::testing::EmptyList;
use mdm_core::service::{Act, Mdm, Member, MigrationAct, Org};
use mdm_core::store::SqliteStore;
use mdm_core::wave::Waiver;

use super::apple::{Apple, DAY, Fate, Library, OURS, START, THEIRS};
use super::one_store;

/// A process of the installation.
fn process(apple: &Apple, store: &Arc<SqliteStore>, clock: &ManualClock) -> Mdm {
    let port = Arc::new(apple.clone());
    let ports = Ports {
        // What happens there is another story.
        assignment: Arc::new(EmptyList::of(OURS, OURS)),
        licences: port.clone(),
        api: port,
        ..Ports::refusing()
    };
    one_store::process(store.clone(), clock, ports)
}

pub(crate) struct Stage {
    pub(crate) apple: Apple,
    pub(crate) clock: ManualClock,
    pub(crate) mdm: Mdm,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) organisation: OrganisationId,
    pub(crate) destination: ServerId,
    pub(crate) serials: Vec<Serial>,
}

impl Stage {
    pub(crate) async fn new(devices: usize, lag: Duration, fates: &[Fate]) -> Self {
        let clock = ManualClock::new(START);
        let serials: Vec<Serial> = (0..devices)
            .map(|n| Serial::parse(&format!("LATE{n:06}")).unwrap())
            .collect();
        let apple = Apple::new(&clock, &serials, lag, fates);
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let mdm = process(&apple, &store, &clock);
        let made = mdm.create_organisation("Acme", Vec::new()).await.unwrap();
        let org = made.org;
        org.import_api("BUSINESSAPI.x", "k", &Secret::from_text("key"))
            .await
            .unwrap();
        // What a wave needs beside Apple's credentials: a push certificate, and that nobody knows the apps of these devices.
        let key = Secret::from_text("key");
        let (topic, until) = ("com.apple.mgmt.External.x", START + DAY * 400);
        org.import_push(topic, b"certificate".to_vec(), until, &key)
            .await
            .unwrap();
        let unknown = [Check::AppsMapped, Check::AppsSource];
        org.set_unknowns(&unknown.map(|check| (check, Some(CheckResult::Warn))).into())
            .await
            .unwrap();
        let token = Secret::from_text("{}");
        let destination = org.import_server_token(&token, None).await.unwrap();
        let stage = Self {
            organisation: org.organisation().id,
            apple,
            clock,
            mdm,
            store,
            destination,
            serials,
        };
        stage.org().await.pull(&stage.serials).await.unwrap();
        stage
    }

    /// One more process of the installation.
    pub(crate) fn process(&self) -> Mdm {
        process(&self.apple, &self.store, &self.clock)
    }

    pub(crate) async fn org(&self) -> Org {
        let org = self.mdm.organisation_by_id(self.organisation).await;
        org.unwrap()
    }

    /// Submits a wave of some of the devices.
    pub(crate) async fn submit(&self, name: &str, serials: &[Serial]) -> WaveId {
        let wave = self.plan(name, serials, &[]).await;
        self.accept(wave).await;
        wave
    }

    /// Plans a wave whose runbook installs apps.
    pub(crate) async fn plan(&self, name: &str, serials: &[Serial], apps: &[u64]) -> WaveId {
        let member = |serial: &Serial| Member {
            serial: serial.clone(),
            deadline: START + DAY * 30,
            available_from: START + DAY * 10,
            original_server: Some(THEIRS.to_owned()),
        };
        let members: Vec<Member> = serials.iter().map(member).collect();
        let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        runbook.apps = apps
            .iter()
            .map(|app| AppPlan {
                bundle_id: format!("com.example.app{app}"),
                store_id: Some(*app),
                manifest_url: None,
                action: AppAction::Install,
            })
            .collect();
        let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
        let org = self.org().await;
        let wave = org.plan_wave(name, self.destination, &runbooks, &members);
        wave.await.unwrap()
    }

    pub(crate) async fn accept(&self, wave: WaveId) {
        let org = self.org().await;
        let what_if = org.what_if(wave).await.unwrap();
        assert_eq!(what_if.blockers, BTreeMap::new());
        let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
        accepted.unwrap();
        org.submit(wave, &what_if.digest, "a person").await.unwrap();
    }

    /// The same where nothing stands against some but that no licence is left for them: they come without. Answers who these are.
    pub(crate) async fn accept_without_licences(&self, wave: WaveId) -> Vec<Serial> {
        let org = self.org().await;
        let what_if = org.what_if(wave).await.unwrap();
        for why in what_if.blockers.values().flatten() {
            assert!(
                why.starts_with("apps.licences: no licence is left"),
                "{why}"
            );
        }
        let serials: Vec<Serial> = what_if.blockers.keys().cloned().collect();
        let waiver = Waiver {
            check: Check::AppsLicences,
            serials: serials.iter().cloned().collect(),
            reason: "they come without".to_owned(),
        };
        let waivers = [waiver];
        let accepted = org.accept(wave, &what_if.digest, &waivers, "as planned");
        assert_eq!(accepted.await.unwrap().staying, 0);
        org.submit(wave, &what_if.digest, "a person").await.unwrap();
        serials
    }

    /// Brings in the content token of a library, and reads it.
    pub(crate) async fn library(&self, token: &str, bought: &[(u64, usize)]) -> LocationId {
        let library = Library {
            bought: bought.iter().copied().collect(),
            ..Library::default()
        };
        self.apple
            .inside()
            .libraries
            .insert(token.to_owned(), library);
        let org = self.org().await;
        let id = org
            .import_content_token(&Secret::from_text(token), false)
            .await;
        id.unwrap()
    }

    pub(crate) async fn cancel(&self, serials: &[Serial]) {
        let cancel = Act {
            what: MigrationAct::Cancel,
            serials: serials.to_vec(),
            reason: None,
        };
        let org = self.org().await;
        let plan = org.plan_act(&cancel).await.unwrap();
        org.do_act(&cancel, &plan.digest).await.unwrap();
    }

    /// Lets so much time pass, and everything that is due on the way happen.
    pub(crate) async fn pass(&self, time: Duration) {
        one_store::pass(&self.mdm, &self.clock, time).await;
    }

    pub(crate) async fn extend(&self, deadline: Timestamp) {
        let extend = Act {
            what: MigrationAct::Extend { deadline },
            serials: self.serials.clone(),
            reason: None,
        };
        let org = self.org().await;
        let plan = org.plan_act(&extend).await.unwrap();
        self.clock.advance(Duration::from_secs(1));
        org.do_act(&extend, &plan.digest).await.unwrap();
    }

    pub(crate) async fn states(&self, wave: WaveId) -> Vec<MoveState> {
        let members = self.org().await.members(wave).await.unwrap();
        members.into_iter().map(|m| m.state).collect()
    }

    pub(crate) async fn errands(&self) -> Vec<Errand> {
        let org = self.org().await;
        org.errands(ErrandId(0), 100).await.unwrap()
    }
}
