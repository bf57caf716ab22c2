//! An organisation is taken away once nothing is harmed by it: from then on nobody finds it, and its rows go in pieces, whoever is killed
//! in between, while another one is served.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::audit::{Refusal, Role};
use mdm_core::clock::ManualClock;
use mdm_core::device::Device;
use mdm_core::device_lock::LockSight;
use mdm_core::enrollment::EnrollmentState;
use mdm_core::error::Error;
use mdm_core::ids::{
    AuditId, DeviceId, EnrollmentId, JobId, LocationId, OrganisationId, RefusalId, RunbookId,
    SecretId, SetUpId,
};
use mdm_core::licences::Location;
use mdm_core::removal::{AGAIN, LAST_LOOK, Removal, SETTLES, WATCHED};
use mdm_core::sealed::SealedSecret;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::server_certificate::INSTALLATION;
use mdm_core::service::ports::Ports;
use mdm_core::service::{Mdm, MdmSettings};
use mdm_core::store::{Batch, SqliteStore, Store};
use mdm_core::vault::{EscrowVault, KeyWrap, MasterKey, VaultError};
use service_house::{Gadget, House, START, rows, set_up};

const IDLE: &str = "<key>Status</key><string>Idle</string>";
const OUT: &str = "<key>MessageType</key><string>CheckOut</string>";
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

async fn ask(house: &House, leave_behind: u64) -> Result<Removal, Error> {
    let code = house.org().await.organisation().code.clone();
    let words = (code.as_str(), "the subsidiary was sold");
    let asked = house
        .mdm
        .remove_organisation(&code, words, leave_behind, "Anna");
    Box::pin(asked).await
}

/// What stands in the way.
async fn why(house: &House, leave_behind: u64) -> String {
    match ask(house, leave_behind).await {
        Err(Error::Precondition(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A second organisation of the installation.
async fn other(house: &House) -> OrganisationId {
    let made = house.mdm.create_organisation("Other", Vec::new()).await;
    made.unwrap().org.organisation().id
}

/// Out of the list of the server entry, as a device is that was assigned to another service.
async fn out_of_the_list(house: &House, gadget: &Gadget) {
    let org = house.org().await;
    let report = org.device_report(&gadget.serial).await.unwrap();
    let mut device = report.device;
    device.record = None;
    let mut batch = Batch::new();
    batch.put(device);
    house.mdm.store().commit(batch).await.unwrap();
}

async fn device_of(house: &House, gadget: &Gadget) -> Device {
    let store = house.mdm.store();
    let found = store.device_by_serial(house.org, &gadget.serial).await;
    found.unwrap().unwrap()
}

/// A location that was claimed for this server.
async fn put_location(house: &House) -> LocationId {
    let [id, secret, job] = [(); 3].map(|()| house.next_id());
    let (id, secret, job) = (LocationId(id), SecretId(secret), JobId(job));
    let mut batch = Batch::new();
    batch.put(Location::new(
        house.org, id, "Berlin", "library", secret, job,
    ));
    house.mdm.store().commit(batch).await.unwrap();
    id
}

/// Let go, past every rule.
async fn let_go(house: &House) {
    house.spoil("UPDATE set_ups SET hold_since = NULL").await;
}

/// Two organisations; of the first one a phone has left and another one is silent, and nothing at Apple is in use.
async fn ready() -> (House, OrganisationId, [Gadget; 2]) {
    let house = House::new().await;
    let other = other(&house).await;
    let (left, silent) = (
        house.device("C02LEFT").await,
        house.device("C02SILENT").await,
    );
    for phone in [&left, &silent] {
        house.enrol(phone).await;
        out_of_the_list(&house, phone).await;
    }
    house.check_in(&left, OUT).await.unwrap();
    let_go(&house).await;
    let org = house.org().await;
    org.remove_server_entry(house.server, "Ours").await.unwrap();
    house.clock.advance(DAY + SECOND);
    (house, other, [left, silent])
}

/// The rows of each organisation, by table and key.
async fn by_organisation(house: &House) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let look = SqliteStore::look(house.path()).await.unwrap();
    let mut all: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for row in rows(&look).await {
        let row = serde_json::to_value(row).unwrap();
        let key = (row["table"].to_string(), row["id"].to_string());
        let of = row["organisation"].to_string();
        all.entry(of).or_default().insert(key);
    }
    all
}

async fn stored(house: &House) -> Removal {
    let found = house.mdm.store().removal(house.org).await.unwrap();
    found.expect("an organisation that was taken away")
}

async fn settle(mdm: &Mdm) {
    for _ in 0..100 {
        if Box::pin(mdm.work(50)).await.unwrap() == 0 {
            return;
        }
    }
    panic!("the worker finds something to do for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_harmed_keeps_it_and_the_way_out_is_named() {
    let house = House::new().await;
    let said = why(&house, 0).await;
    assert!(said.contains("the only organisation"), "{said}");
    let _other = other(&house).await;
    let code = house.org().await.organisation().code.clone();
    for (confirm, reason, field) in [
        ("another", "sold", "confirm"),
        (code.as_str(), " ", "reason"),
    ] {
        let asked = house
            .mdm
            .remove_organisation(&code, (confirm, reason), 0, "Anna");
        match asked.await {
            Err(Error::BadInput { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{other:?}"),
        }
    }
    let phone = house.device("C02HELD").await;
    house.enrol(&phone).await;
    let said = why(&house, 0).await;
    assert!(said.contains("C02HELD is held"), "{said}");
    let_go(&house).await;
    let said = why(&house, 1).await;
    assert!(
        said.contains("heard of within a day") && said.contains("C02HELD"),
        "{said}"
    );
    house.clock.advance(DAY + SECOND);
    for wrong in [0, 2] {
        let said = why(&house, wrong).await;
        assert!(said.contains("`--leave-behind 1`"), "{said}");
    }
    // The number is right: what comes next stands in the way.
    let said = why(&house, 1).await;
    assert!(said.contains("the server entry Ours is in use"), "{said}");
    house.check_in(&phone, OUT).await.unwrap();
    let said = why(&house, 1).await;
    assert!(said.contains("none is enrolled"), "{said}");
    out_of_the_list(&house, &phone).await;
    let org = house.org().await;
    org.remove_server_entry(house.server, "Ours").await.unwrap();
    // A member whose attempt has not ended.
    house.attempt(&phone, RunbookId(1)).await;
    let said = why(&house, 0).await;
    assert!(said.contains("the attempt of C02HELD"), "{said}");
    house.spoil("DELETE FROM moves").await;
    let store = house.mdm.store();
    let mut device = device_of(&house, &phone).await;
    device.open_move = None;
    let mut batch = Batch::new();
    batch.put(device);
    store.commit(batch).await.unwrap();
    // The code of its lock is nowhere else, until the lock is read as off.
    let (now, kind) = (house.mdm.now(), SecretKind::ServerBypassCode);
    let (id, device) = (SecretId(house.next_id()), device_of(&house, &phone).await);
    let mut code = SealedSecret::new(house.org, id, kind, Some(device.id), vec![1], now);
    code.confirmed = Some(now);
    let mut batch = Batch::new();
    batch.put(code);
    store.commit(batch).await.unwrap();
    let said = why(&house, 0).await;
    assert!(
        said.contains("C02HELD") && said.contains("`mdmd device clear-lock`"),
        "{said}"
    );
    let mut device = device_of(&house, &phone).await;
    device.lock.apple = Some(LockSight {
        on: false,
        word: "NONE".to_owned(),
        at: now,
    });
    let mut batch = Batch::new();
    batch.put(device);
    store.commit(batch).await.unwrap();
    // A device of which nobody can say whether it is here.
    house.spoil("UPDATE set_ups SET doc = '{'").await;
    let said = why(&house, 0).await;
    assert!(said.contains("cannot be read"), "{said}");
    house.spoil("DELETE FROM set_ups").await;
    let gone = ask(&house, 0).await.unwrap();
    assert_eq!(gone.by, "Anna");
    assert_eq!(gone.reason, "the subsidiary was sold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_then_on_nobody_finds_it_and_its_rows_go_while_another_is_served() {
    let (house, other, [left, silent]) = ready().await;
    let org = house.org().await;
    let code = org.organisation().code.clone();
    let kept = house.mdm.organisation_for_device(&code).await.unwrap();
    let made = org.new_api_token("viewer", Role::Viewer, BTreeSet::new(), None);
    let token = made.await.unwrap().secret.expose_text().unwrap().to_owned();
    house.mdm.authenticate(&token).await.unwrap();
    let both = BTreeSet::from([house.org, other]);
    let partner = house.mdm.new_partner("Ines", &both, None, "Anna").await;
    let partner = partner.unwrap().token.id;

    let gone = ask(&house, 1).await.unwrap();
    assert_eq!((gone.id, gone.left_behind, gone.rows()), (house.org, 1, 0));
    let again = house
        .mdm
        .remove_organisation(&code, (code.as_str(), "once more"), 1, "Bert");
    assert_eq!(Box::pin(again).await.unwrap(), gone);
    let found = house.mdm.organisation_by_id(house.org).await;
    assert!(matches!(found, Err(Error::NotFound("organisation"))));
    let all = house
        .mdm
        .organisations(OrganisationId(0), 10)
        .await
        .unwrap();
    assert_eq!(all.iter().map(|o| o.id).collect::<Vec<_>>(), [other]);
    let shown = house.mdm.authenticate(&token).await;
    assert!(matches!(shown, Err(Error::Refused(_))), "{shown:?}");
    // Devices are told nothing by which they would go away, through handles of before too; and nothing is noted of it.
    for org in [&org, &kept] {
        for gadget in [&left, &silent] {
            let said = house.report_through(org, gadget, IDLE).await;
            assert!(
                matches!(said, Err(Error::NotFound("organisation"))),
                "{said:?}"
            );
        }
    }
    assert!(house.mdm.organisation_for_device(&code).await.is_err());
    let store = house.mdm.store();
    assert!(store.refusals(house.org, 10).await.unwrap().is_empty());

    // Nothing goes before what was being decided is written.
    settle(&house.mdm).await;
    assert!(stored(&house).await.kept.is_some());
    let before = by_organisation(&house).await;
    let (of, of_other) = (house.org.0.to_string(), other.0.to_string());
    assert!(before[&of].len() > 15, "{:?}", before[&of]);
    house.clock.advance(SETTLES);
    settle(&house.mdm).await;
    let removal = stored(&house).await;
    assert!(removal.kept.is_none() && removal.empty && removal.finished.is_none());
    assert_eq!(removal.rows(), before[&of].len() as u64);
    let after = by_organisation(&house).await;
    assert_eq!(after.get(&of), None);
    // Everything of the other is there, and what its worker has added meanwhile.
    let lost: Vec<_> = before[&of_other].difference(&after[&of_other]).collect();
    assert!(
        lost.iter().all(|(table, _)| table == "\"jobs\""),
        "{lost:?}"
    );
    house.mdm.organisation_by_id(other).await.unwrap();
    let partners = store.tokens(INSTALLATION).await.unwrap();
    let row = partners.iter().find(|t| t.id == partner).unwrap();
    assert_eq!(row.partner_of, BTreeSet::from([other]));
    assert_eq!(row.revoked, None);

    // Who was still at it has written once more: that goes with the last look.
    let late = Device::new(house.org, DeviceId(house.next_id()), left.serial.clone());
    let mut batch = Batch::new();
    batch.put(late);
    store.commit(batch).await.unwrap();
    house.clock.advance(LAST_LOOK);
    settle(&house.mdm).await;
    let removal = stored(&house).await;
    assert_eq!(removal.finished, Some(house.mdm.now()));
    assert_eq!(removal.rows(), before[&of].len() as u64 + 1);
    assert_eq!(by_organisation(&house).await.get(&of), None);
    let listed = house.mdm.removals(OrganisationId(0), 10).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&removal));

    // Whoever was at it for hours is met by a later look, for a month; so is a process of an earlier version, which notes a refusal
    // of each message of a device that is silent.
    let write_late = async || {
        let late = Device::new(house.org, DeviceId(house.next_id()), left.serial.clone());
        let (id, at) = (RefusalId(house.next_id()), house.mdm.now());
        let refusal = Refusal::new(house.org, id, at, "192.0.2.1", "mdm", "no");
        let mut batch = Batch::new();
        batch.put(late).put(refusal);
        store.commit(batch).await.unwrap();
    };
    write_late().await;
    house.clock.advance(AGAIN - SECOND);
    settle(&house.mdm).await;
    assert_eq!(stored(&house).await, removal);
    house.clock.advance(SECOND * 61);
    settle(&house.mdm).await;
    let looked = stored(&house).await;
    assert_eq!(looked.rows(), removal.rows() + 2);
    assert_eq!(looked.finished, removal.finished);
    assert_eq!(looked.looked, Some(house.mdm.now()));
    assert_eq!(by_organisation(&house).await.get(&of), None);
    house.clock.advance(WATCHED);
    write_late().await;
    settle(&house.mdm).await;
    assert_eq!(stored(&house).await, looked, "it is looked at for ever");
}

/// Counts how often the master key is asked.
struct Counted(MasterKey, Arc<AtomicUsize>);

#[async_trait]
impl KeyWrap for Counted {
    fn key_id(&self) -> String {
        self.0.key_id()
    }

    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.0.wrap(plain, context).await
    }

    async fn unwrap(&self, id: &str, wrapped: &[u8], context: &[u8]) -> Result<Secret, VaultError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.unwrap(id, wrapped, context).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_open_data_key_is_forgotten_by_those_that_work_and_those_that_do_not() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::new(START));
    let master = MasterKey::new(MasterKey::generate().unwrap()).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let vault = EscrowVault::new(Counted(master, Arc::clone(&asked)));
    let store: Arc<dyn Store> = Arc::new(
        SqliteStore::open(folder.path().join("mdm.sqlite"))
            .await
            .unwrap(),
    );
    let process = || {
        Mdm::new(
            Arc::clone(&store),
            vault.clone(),
            Arc::new(clock.clone()),
            Ports::refusing(),
            MdmSettings {
                device_url: "https://mdm.example.com".to_owned(),
                enrol_url: "https://enrol.example.com".to_owned(),
                sign_messages: false,
            },
        )
    };
    // The keys that are open are one process's: this test looks at them with a vault that shares them.
    let (works, answers) = (process(), process());
    let other = works.create_organisation("Other", Vec::new()).await;
    other.unwrap();
    let made = works.create_organisation("Acme", Vec::new()).await;
    let org = made.unwrap().org;
    let (id, key) = (org.organisation().id, org.organisation().data_key.clone());
    let (kind, secret) = (SecretKind::OriginalOther, Secret::from_text("ABCD"));
    let sealed = vault.seal(id, &key, kind, None, &secret).await.unwrap();
    let opened = async || {
        let before = asked.load(Ordering::Relaxed);
        let opened = vault.open(id, &key, kind, None, &sealed).await;
        assert_eq!(opened.as_ref(), Ok(&secret));
        asked.load(Ordering::Relaxed) - before
    };
    assert_eq!(opened().await, 0);
    let code = org.organisation().code.clone();
    let words = (code.as_str(), "sold");
    let gone = Box::pin(works.remove_organisation(&code, words, 0, "Anna"));
    let gone = gone.await.unwrap();
    assert_eq!((opened().await, opened().await), (1, 0));
    // Whoever had it in hand has opened it once more.
    clock.advance(SETTLES);
    settle(&works).await;
    assert_eq!((opened().await, opened().await), (1, 0));
    answers.forget_removed(&gone);
    assert_eq!(opened().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_location_that_was_claimed_meanwhile_puts_it_back() {
    let (house, _other, _) = ready().await;
    ask(&house, 1).await.unwrap();
    let id = put_location(&house).await;
    house.clock.advance(SETTLES);
    settle(&house.mdm).await;
    let removals = house.mdm.removals(OrganisationId(0), 10).await.unwrap();
    assert!(removals.is_empty(), "{removals:?}");
    let location = house.org().await.locations().await.unwrap().remove(0);
    assert_eq!(location.id, id);
    let said = why(&house, 1).await;
    assert!(said.contains("the location Berlin"), "{said}");
    // Whoever was told that it is taken away finds why it is not.
    let record = house.mdm.store().audit(house.org, AuditId(0), 500).await;
    let record = record.unwrap();
    let line = record
        .iter()
        .find(|line| line.what == "organisation.removal-undone");
    let detail = line.unwrap().detail.to_string();
    for word in ["the location Berlin", "Anna", "the subsidiary was sold"] {
        assert!(detail.contains(word), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_has_come_meanwhile_puts_it_back_whole() {
    let (house, _other, [left, _]) = ready().await;
    let org = house.org().await;
    let (mut late, version) = (set_up(&house, &left).await, org.organisation().version);
    ask(&house, 1).await.unwrap();
    // Decided before it was taken away, and written after.
    let store = house.mdm.store();
    let enrolments = store.enrollments_of_device(house.org, late.device.unwrap());
    let mut enrolment = enrolments.await.unwrap().pop().unwrap();
    enrolment.id = EnrollmentId(house.next_id());
    enrolment.version = 0;
    enrolment.state = EnrollmentState::Pending;
    enrolment.authenticated = house.mdm.now();
    late.id = SetUpId(house.next_id());
    late.version = 0;
    late.enrollment = enrolment.id;
    let mut batch = Batch::new();
    batch.put(enrolment).put(late);
    store.commit(batch).await.unwrap();
    let before = by_organisation(&house).await;
    house.clock.advance(SETTLES);
    settle(&house.mdm).await;
    let removals = house.mdm.removals(OrganisationId(0), 10).await.unwrap();
    assert!(removals.is_empty(), "{removals:?}");
    assert!(house.org().await.organisation().version > version);
    let (of, after) = (house.org.0.to_string(), by_organisation(&house).await);
    let lost: Vec<_> = before[&of].difference(&after[&of]).collect();
    assert!(
        lost.iter().all(|(table, _)| table == "\"jobs\""),
        "{lost:?}"
    );
    // And a look finds what has come.
    let_go(&house).await;
    let said = why(&house, 1).await;
    assert!(said.contains("heard of within a day"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_after_a_death_goes_on_where_it_was() {
    let (house, _other, _) = ready().await;
    ask(&house, 1).await.unwrap();
    let count = by_organisation(&house).await[&house.org.0.to_string()].len();
    house.clock.advance(SETTLES);
    // A process that has the lease, deletes a piece and dies.
    let mut removal = stored(&house).await;
    removal.kept = None;
    removal.leased_until = Some(house.mdm.now() + SECOND * 60);
    let store = house.mdm.store();
    let removal = store.keep_removal(&removal).await.unwrap();
    let removal = store.erase(&removal, 1).await.unwrap();
    assert_eq!(removal.rows(), 1);
    let house = house.restarted().await;
    settle(&house.mdm).await;
    assert_eq!(stored(&house).await, removal, "somebody else is at it");
    house.clock.advance(SECOND * 61);
    settle(&house.mdm).await;
    let removal = stored(&house).await;
    assert!(removal.empty, "{removal:?}");
    assert_eq!(removal.rows(), count as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_at_once_count_every_row_once() {
    let (house, _other, _) = ready().await;
    let second = house.over(SqliteStore::open(house.path()).await.unwrap());
    let code = house.org().await.organisation().code.clone();
    let words = (code.as_str(), "sold");
    let (one, two) = tokio::join!(
        house.mdm.remove_organisation(&code, words, 1, "Anna"),
        second.remove_organisation(&code, words, 1, "Bert"),
    );
    // Both are told of the same one, whoever was first.
    assert_eq!(one.unwrap(), two.unwrap());
    let count = by_organisation(&house).await[&house.org.0.to_string()].len();
    house.clock.advance(SETTLES);
    for turn in 0.. {
        assert!(turn < 50, "there is no end to it");
        let (one, two) = tokio::join!(Box::pin(house.mdm.work(50)), Box::pin(second.work(50)));
        one.unwrap();
        two.unwrap();
        if stored(&house).await.empty {
            break;
        }
        // Whoever found the other one at it looks again after a minute.
        house.clock.advance(SECOND * 61);
    }
    assert_eq!(stored(&house).await.rows(), count as u64);
    let left = by_organisation(&house).await;
    assert_eq!(left.get(&house.org.0.to_string()), None);
}
