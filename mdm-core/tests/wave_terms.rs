//! Terms that are wider or narrower than a wave: what goes to a group of owners and follows them, limits of a group that hold for
//! every wave and list of the organisation, and what a wave has of its own, its texts and its ADE profile.

mod declared;
mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use declared::{Gear, notices, put, set};
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::Timestamp;
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::error::Error;
use mdm_core::evidence::{MarkName, MarkState};
use mdm_core::gap::GapLimits;
use mdm_core::ids::{DeviceId, ErrandId, MoveId, ProjectId, Serial, WaveId};
use mdm_core::library::Audience;
use mdm_core::migration::{Move, MoveState, PinnedRunbook, StepId, Variant};
use mdm_core::organisation::AdeOptions;
use mdm_core::original::{DeviceOwner, ManagedUser, Said};
use mdm_core::secret::Secret;
use mdm_core::service::{
    Candidates, Dates, Detail, IdentitySettings, Member, Org, ProjectChange, Question, WaveTerms,
};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{Batch, PostgresOptions, PostgresStore, Store as _};
use mdm_core::texts::{OwnerText, OwnerTexts};
use mdm_core::wave::Waiver;
use serde_json::json;
use service_house::{Gadget, House, START};

const TEST: &str = "com.apple.configuration.management.test";
const DAY: Duration = Duration::from_hours(24);

fn says(result: Result<impl std::fmt::Debug, Error>, sentence: &str) {
    let said = result.unwrap_err().to_string();
    assert!(said.contains(sentence), "{said}");
}

fn words(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// An import says, as of so many hours after the start, in which groups the owner of a device is.
async fn owned(org: &Org, hours: u64, serial: &Serial, groups: &[&str]) {
    let mut said = Said::nothing(serial.clone());
    let mut owner = DeviceOwner::default();
    owner.name = Some("Eva Ander".to_owned());
    owner.groups = words(groups);
    said.owner = Some(owner);
    let taken = START + Duration::from_hours(hours);
    let done = org.import_originals("Old MDM", taken, vec![said]).await;
    assert_eq!(done.unwrap().rejected, []);
}

async fn quiet(house: &House, serial: &str) -> Gadget {
    let gadget = house.device(serial).await;
    house.enrol(&gadget).await;
    house.settle().await;
    notices(house, &gadget).await;
    gadget
}

/// The items of the library that a device was given.
async fn given(house: &House, gadget: &Gadget) -> usize {
    let store = house.mdm.store();
    let row = store.device_by_serial(house.org, &gadget.serial).await;
    row.unwrap().unwrap().given.len()
}

fn profile() -> Secret {
    Secret::from_text(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>com.example.sales</string><key>PayloadUUID</key><string>U</string>\
         <key>PayloadContent</key><array/></dict></plist>"
            .to_owned(),
    )
}

async fn what_is_for_a_group_follows_the_owner(house: House) {
    let org = house.org().await;
    let (eva, other) = (
        quiet(&house, "C02GROUP001").await,
        quiet(&house, "C02GROUP002").await,
    );
    // Known before anything is for it, and after.
    owned(&org, 0, &eva.serial, &["Sales / Süd", "Bern"]).await;
    put(&org, "sales.note", TEST, json!({ "Echo": "1" })).await;
    set(&org, "sales", &["sales.note"]).await;
    let group = Target::Group("Sales / Süd".to_owned());
    let own = Channels::Device;
    assert!(org.assign_declarations("sales", &group, own).await.unwrap());
    let bad = Target::Group("a\nb".to_owned());
    says(
        org.assign_declarations("sales", &bad, own).await,
        "groups: must be",
    );
    let whom = Audience::read([""; 0], ["Sales / Süd"]).unwrap();
    let put = org.put_profile("Sales", &profile(), whom.clone()).await;
    assert_eq!(put.unwrap().item.audience, whom);
    house.settle().await;
    assert_eq!(given(&house, &eva).await, 1);
    assert_eq!(notices(&house, &eva).await, 1);
    assert_eq!(
        (notices(&house, &other).await, given(&house, &other).await),
        (0, 0)
    );
    let (mut a, mut b) = (Gear::default(), Gear::default());
    a.sync(&house, &eva).await;
    assert_eq!(a.names(), ["sales.note"]);
    let shown = org.declaration_sets().await.unwrap();
    let to = &shown[0].assigned[0];
    assert_eq!((to.to, to.name.as_deref()), ("group", Some("Sales / Süd")));

    // One owner goes to another group, one comes into this one.
    owned(&org, 1, &eva.serial, &["Bern"]).await;
    owned(&org, 1, &other.serial, &["Sales / Süd"]).await;
    house.settle().await;
    assert_eq!(
        (notices(&house, &eva).await, notices(&house, &other).await),
        (1, 1)
    );
    a.sync(&house, &eva).await;
    b.sync(&house, &other).await;
    assert_eq!((a.names(), b.names()), (vec![], vec!["sales.note"]));
    assert_eq!(
        (given(&house, &eva).await, given(&house, &other).await),
        (0, 1)
    );
    let found = org.devices_of_group("Sales / Süd").await.unwrap();
    assert_eq!(found, BTreeSet::from([other.serial.clone()]));

    // An import that is older, and one of the same groups, change nothing for anybody.
    owned(&org, 0, &other.serial, &[]).await;
    house.settle().await;
    let found = org.devices_of_group("Sales / Süd").await.unwrap();
    assert_eq!(found, BTreeSet::from([other.serial.clone()]));
    assert_eq!(given(&house, &other).await, 1);
    owned(&org, 2, &other.serial, &["Sales / Süd"]).await;
    // What names people goes; the group of the device stays, and what it has by it.
    let keep = IdentitySettings {
        owner_days: Some(30),
        ..IdentitySettings::default()
    };
    org.set_identities(keep).await.unwrap();
    for _ in 0..33 {
        house.clock.advance(DAY);
        house.settle().await;
    }
    let facts = house.org().await.original(&other.serial).await.unwrap();
    assert_eq!(facts.owner, None);
    house.settle().await;
    assert_eq!(notices(&house, &other).await, 0);
    b.sync(&house, &other).await;
    assert_eq!(b.names(), ["sales.note"]);
    assert!(
        org.unassign_declarations("sales", &group, own)
            .await
            .unwrap()
    );
    house.settle().await;
    assert_eq!(notices(&house, &other).await, 1);
    b.sync(&house, &other).await;
    assert_eq!(b.names(), [] as [&str; 0]);

    // One whose owner was known before it came has it as soon as it comes.
    let third = house.device("C02GROUP003").await;
    owned(&org, 3, &third.serial, &["Sales / Süd"]).await;
    house.enrol(&third).await;
    house.settle().await;
    assert_eq!(given(&house, &third).await, 1);
}

#[tokio::test]
async fn what_is_for_a_group_follows_the_owner_on_sqlite() {
    Box::pin(what_is_for_a_group_follows_the_owner(House::new().await)).await;
}

/// The same over a PostgreSQL server of its own, where there is one.
async fn on_postgres<F: Future<Output = ()>>(story: impl FnOnce(House) -> F) {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    let store = store.unwrap();
    let house = House::over_store(Arc::new(store.clone())).await;
    Box::pin(story(house)).await;
    store.close().await.unwrap();
    server.clean().await;
}

#[tokio::test]
async fn what_is_for_a_group_follows_the_owner_on_postgres() {
    Box::pin(on_postgres(what_is_for_a_group_follows_the_owner)).await;
}

/// A wave goes with the digest that somebody has accepted, by this door too, and with what was waived.
async fn a_digest_that_nobody_accepted_submits_nothing(house: House) {
    let org = house.fleet(5, |_, _, _| {}).await;
    let id = project(&org, &house, "Berlin", None).await;
    org.switch_project(id, true).await.unwrap();
    let all = service_house::fleet::serials(0..2);
    let shops = wave(&org, id, "shops", &all, days(2, 9)).await;
    let untouched = async || {
        let members = org.members(shops).await.unwrap();
        // Accepted at the most: one that is blocked, or whose submission failed, was touched.
        let untold = |m: &Move| matches!(m.state, MoveState::Planned | MoveState::Ready);
        let planned = members.iter().all(untold);
        planned && org.errands(ErrandId(0), 10).await.unwrap().is_empty()
    };
    let what_if = org.what_if(shops).await.unwrap();
    assert!(what_if.against_all.is_empty(), "{:?}", what_if.against_all);
    for digest in [what_if.digest.as_str(), ""] {
        let refused = org.submit(shops, digest, "Eva").await.unwrap_err();
        assert!(matches!(refused, Error::Precondition(_)), "{refused}");
        assert!(refused.to_string().contains("nobody has accepted"));
        assert!(untouched().await, "{digest}");
    }
    // What was accepted of other dates is no acceptance of these.
    let accepted = org.accept(shops, &what_if.digest, &[], "as planned").await;
    accepted.unwrap();
    let later = days(2, 10);
    let (deadline, from) = (later.deadline.unwrap(), later.available_from.unwrap());
    org.set_dates(shops, Some(&all[..1]), deadline, from)
        .await
        .unwrap();
    let other = org.what_if(shops).await.unwrap().digest;
    assert_ne!(other, what_if.digest);
    for (digest, why) in [
        (&other, "nobody has accepted"),
        (&what_if.digest, "have changed since"),
    ] {
        says(org.submit(shops, digest, "Eva").await, why);
        assert!(untouched().await);
    }
    org.accept(shops, &other, &[], "as planned").await.unwrap();
    assert_eq!(org.submit(shops, &other, "Eva").await.unwrap(), 2);
    assert!(!untouched().await);
    // Of three that are to have something done before, one has, one goes all the same, and one stays.
    let change = ProjectChange {
        prerequisites: Some(words(&["lock-off"])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let three = service_house::fleet::serials(2..5);
    let rest = wave(&org, id, "rest", &three, days(2, 9)).await;
    org.meet(rest, Some(&three[..1]), "lock-off", "seen")
        .await
        .unwrap();
    let what_if = org.what_if(rest).await.unwrap();
    assert!(what_if.against_all.is_empty(), "{:?}", what_if.against_all);
    assert_eq!(what_if.blockers.len(), 2, "{:?}", what_if.blockers);
    let waiver = Waiver {
        check: Check::Prerequisites,
        serials: BTreeSet::from([three[1].clone()]),
        reason: "its owner has said so".to_owned(),
    };
    let digest = &what_if.digest;
    let accepted = org.accept(rest, digest, &[waiver], "as planned").await;
    let accepted = accepted.unwrap();
    assert_eq!((accepted.going, accepted.staying), (2, 1));
    assert_eq!(org.submit(rest, digest, "Eva").await.unwrap(), 2);
    let members = org.members(rest).await.unwrap();
    let blocked = |m: &&Move| matches!(m.state, MoveState::Blocked { .. });
    let staying = members.iter().filter(blocked).map(|m| &m.serial);
    assert_eq!(staying.collect::<Vec<_>>(), [&three[2]]);
}

#[tokio::test]
async fn a_digest_that_nobody_accepted_submits_nothing_on_sqlite() {
    Box::pin(a_digest_that_nobody_accepted_submits_nothing(
        House::new().await,
    ))
    .await;
}

#[tokio::test]
async fn a_digest_that_nobody_accepted_submits_nothing_on_postgres() {
    Box::pin(on_postgres(a_digest_that_nobody_accepted_submits_nothing)).await;
}

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("C02TERM{n:03}")).unwrap()
}

fn serials(range: std::ops::Range<usize>) -> Vec<Serial> {
    range.map(serial).collect()
}

/// So many iPhones at the old service, whose owners are all in one group.
async fn fleet(house: &House, count: usize) -> Org {
    let mut batch = Batch::new();
    for n in 0..count {
        let mut device = Device::new(house.org, DeviceId(house.next_id()), serial(n));
        let mut reading = OrgReading::default();
        reading.seen = START;
        reading.assigned_server = Some("THEIRS".to_owned());
        reading.product = Some("iPhone17,1".to_owned());
        device.reading = Some(reading);
        batch.put(device);
    }
    house.mdm.store().commit(batch).await.unwrap();
    let org = house.org().await;
    for n in 0..count {
        owned(&org, 0, &serial(n), &["Shop"]).await;
    }
    org.acting_for("Anna")
}

async fn project(org: &Org, house: &House, name: &str, shop: Option<u32>) -> ProjectId {
    let mut gap = GapLimits::default();
    gap.groups
        .extend(shop.map(|most| ("Shop".to_owned(), most)));
    let change = ProjectChange {
        gap: Some(gap),
        ..ProjectChange::default()
    };
    let made = org.new_project(name, house.server, &change).await;
    made.unwrap().id
}

const fn days(from: u32, deadline: u32) -> Dates {
    const fn at(day: u32) -> Timestamp {
        Timestamp::from_millis(START.as_millis() + day as i64 * 86_400_000)
    }
    Dates {
        deadline: Some(at(deadline)),
        available_from: Some(at(from)),
    }
}

async fn wave(org: &Org, project: ProjectId, name: &str, of: &[Serial], dates: Dates) -> WaveId {
    let id = org.new_wave(project, name, None).await.unwrap().id;
    org.add_members(id, of, dates).await.unwrap();
    id
}

/// What the what-if of a wave finds of the gap.
async fn gap_of(org: &Org, wave: WaveId) -> Option<(CheckResult, String)> {
    let report = org.look_at_wave(wave, Detail::Counts).await.unwrap();
    let mut found = report.server.into_iter();
    let found = found.find(|finding| finding.check == Check::Gap)?;
    Some((found.result, found.fact))
}

#[tokio::test]
async fn a_limit_counts_the_group_in_every_wave_and_list_of_the_organisation() {
    let house = House::new().await;
    let org = fleet(&house, 8).await;
    let one = project(&org, &house, "Berlin", Some(2)).await;
    let two = project(&org, &house, "Bern", None).await;
    let berlin = wave(&org, one, "berlin", &serials(0..2), days(1, 5)).await;
    let (result, _) = gap_of(&org, berlin).await.unwrap();
    assert_eq!(result, CheckResult::Pass);
    // The other project says nothing of the group, and counts all the same.
    let bern = wave(&org, two, "bern", &serials(2..4), days(4, 8)).await;
    for id in [berlin, bern] {
        let (result, fact) = gap_of(&org, id).await.unwrap();
        assert_eq!(result, CheckResult::Block, "{fact}");
        assert!(fact.contains("4 devices of the group Shop"), "{fact}");
    }
    // Its plan makes room.
    let (first, last) = (START + 6 * DAY, START + 40 * DAY);
    org.plan_dates(bern, Some(first), Some(last), None, Some(3 * DAY), false)
        .await
        .unwrap();
    for id in [berlin, bern] {
        let (result, fact) = gap_of(&org, id).await.unwrap();
        assert_eq!(result, CheckResult::Pass, "{fact}");
    }

    // A list that is part of no project obeys the limit; on other days there is room.
    let question = |from: u32, until: u32, range| {
        let dates = days(from, until);
        Question {
            serials: serials(range),
            destination: house.server,
            deadline: dates.deadline.unwrap(),
            available_from: dates.available_from.unwrap(),
            runbooks: BTreeMap::new(),
            undated: false,
        }
    };
    let asked = async |question: Question| {
        let report = org.look_at(&question, Detail::Counts).await.unwrap();
        let mut found = report.server.into_iter();
        found.find(|finding| finding.check == Check::Gap).unwrap()
    };
    let found = asked(question(1, 5, 4..5)).await;
    assert_eq!(found.result, CheckResult::Block);
    assert!(
        found.fact.contains("3 devices of the group Shop"),
        "{}",
        found.fact
    );
    assert_eq!(
        asked(question(60, 63, 4..6)).await.result,
        CheckResult::Pass
    );
    let found = asked(question(60, 63, 4..7)).await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.fact);
    // Once it is planned, it counts for whoever comes after it.
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
    let member = |n| Member {
        serial: serial(n),
        deadline: days(60, 63).deadline.unwrap(),
        available_from: days(60, 63).available_from.unwrap(),
        original_server: None,
    };
    let list = [member(4), member(5)];
    org.plan_wave("list", house.server, &runbooks, &list)
        .await
        .unwrap();
    let found = asked(question(61, 62, 6..7)).await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.fact);
    // Who is in it already is counted there, and not once more.
    let found = asked(question(60, 63, 4..6)).await;
    assert_eq!(found.result, CheckResult::Pass, "{}", found.fact);

    // Of several limits the least holds, until the project that says it is closed.
    let three = project(&org, &house, "Basel", Some(1)).await;
    let (result, fact) = gap_of(&org, berlin).await.unwrap();
    assert_eq!(result, CheckResult::Block, "{fact}");
    assert!(fact.ends_with("1 may be"), "{fact}");
    org.close_project(three).await.unwrap();
    let (result, _) = gap_of(&org, berlin).await.unwrap();
    assert_eq!(result, CheckResult::Pass);
}

fn text(subject: &str) -> OwnerText {
    OwnerText {
        subject: subject.to_owned(),
        body: "{owner}: {deadline}".to_owned(),
    }
}

fn changes(all: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<OwnerText>> {
    let change =
        |(language, subject): &(&str, Option<&str>)| ((*language).to_owned(), subject.map(text));
    all.iter().map(change).collect()
}

/// In which language, and with which line, the owners of a wave are told in this language.
async fn told(org: &Org, wave: WaveId, language: &str) -> (String, String) {
    let page = org.owner_notices(wave, Some(language), MoveId(0), 10).await;
    let one = page.unwrap().notices.remove(0);
    let calendar = org.wave_calendar(wave, Some(language), MoveId(0), 10);
    let calendar = calendar.await.unwrap().text;
    assert!(
        calendar.contains(&format!("SUMMARY:{}", one.subject)),
        "{calendar}"
    );
    (one.language, one.subject)
}

#[tokio::test]
async fn owners_of_a_wave_are_told_its_own_words_in_their_language() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
    let id = project(&org, &house, "Berlin", None).await;
    let shops = wave(&org, id, "shops", &serials(0..1), days(2, 9)).await;
    let rest = wave(&org, id, "rest", &serials(1..2), days(2, 9)).await;
    let of_all = [
        ("de", Some("all de")),
        ("de-CH", Some("all de-CH")),
        ("en", Some("all en")),
    ];
    org.set_owner_texts(&changes(&of_all)).await.unwrap();
    let org = house.org().await.acting_for("Anna");
    let of_wave = [("de", Some("shops de")), ("pt-BR", Some("shops pt"))];
    let (all, own) = org
        .set_wave_owner_texts(shops, &changes(&of_wave))
        .await
        .unwrap();
    assert_eq!(own, ["de", "pt-BR"]);
    assert_eq!(
        (&*all["de"].subject, &*all["en"].subject),
        ("shops de", "all en")
    );
    assert!(all.contains_key("ja"), "ours are there, too");
    for (language, of_shops, of_rest) in [
        ("de", ("de", "shops de"), ("de", "all de")),
        // A wave's word of that language comes before the organisation's of the region.
        ("de-CH", ("de", "shops de"), ("de-CH", "all de-CH")),
        ("de-AT", ("de", "shops de"), ("de", "all de")),
        ("pt-BR", ("pt-BR", "shops pt"), ("en", "all en")),
        // In the owner's language before English, whoever says it.
        ("en", ("en", "all en"), ("en", "all en")),
        ("xx", ("en", "all en"), ("en", "all en")),
    ] {
        for (wave, (found, subject)) in [(shops, of_shops), (rest, of_rest)] {
            let expected = (found.to_owned(), subject.to_owned());
            assert_eq!(told(&org, wave, language).await, expected, "{language}");
        }
    }
    let wrong = changes(&[("en", Some("{nobody}"))]);
    says(
        org.set_wave_owner_texts(shops, &wrong).await,
        "texts.en.subject: has a place",
    );
    // It goes out with the plan, and comes in as it went.
    let mut options = AdeOptions::default();
    options.department = Some("Shops".to_owned());
    let set = org.set_wave_ade_profile(shops, Some(&options)).await;
    assert_eq!(set.unwrap().ade.as_ref(), Some(&options));
    let mut plan = org.plan_file(id).await.unwrap();
    assert_eq!(plan.waves[0].ade.as_ref(), Some(&options));
    assert_eq!(plan.waves[1].ade, None);
    let languages: Vec<&String> = plan.waves[0].owner_texts.0.keys().collect();
    assert_eq!(languages, ["de", "pt-BR"]);
    assert!(plan.waves[1].owner_texts.is_empty());
    let elsewhere = House::new().await;
    let there = fleet(&elsewhere, 3).await;
    let written = serde_json::to_string(&plan).unwrap();
    let read = serde_json::from_str(&written).unwrap();
    there.take_plan(&read).await.unwrap();
    let copy = there.plan_file(there.projects().await.unwrap()[0].id);
    assert_eq!(copy.await.unwrap().waves, plan.waves);
    // What cannot be right is named before anything is made.
    plan.project.name = "Another".to_owned();
    plan.waves[1].owner_texts = OwnerTexts([("en".to_owned(), text(""))].into());
    says(
        there.take_plan(&plan).await,
        "waves[1].texts.en.subject: must be",
    );
    plan.waves[1].owner_texts = OwnerTexts::default();
    plan.waves[0].ade.as_mut().unwrap().department = Some(String::new());
    says(
        there.take_plan(&plan).await,
        "waves[0].department: must have",
    );
    assert_eq!(there.projects().await.unwrap().len(), 1);

    org.set_wave_owner_texts(shops, &changes(&[("de", None), ("pt-BR", None)]))
        .await
        .unwrap();
    let all = told(&org, shops, "de").await;
    assert_eq!(all, ("de".to_owned(), "all de".to_owned()));
    let record = org.record_tail(100).await.unwrap();
    let entries = record.iter().filter(|e| e.what == "wave.owner-texts");
    assert_eq!(entries.count(), 2);

    // Whoever was left behind when the wave was submitted is told nothing, and the calendar calls it off.
    let mut left = org.members(rest).await.unwrap().remove(0);
    left.state = MoveState::Blocked {
        blockers: vec!["its system is too old".to_owned()],
    };
    let mut batch = Batch::new();
    batch.put(left);
    house.mdm.store().commit(batch).await.unwrap();
    let page = org.owner_notices(rest, None, MoveId(0), 10).await.unwrap();
    assert!(page.notices.is_empty());
    let calendar = org.wave_calendar(rest, None, MoveId(0), 10).await.unwrap();
    assert!(
        calendar.text.contains("STATUS:CANCELLED"),
        "{}",
        calendar.text
    );
}

#[tokio::test]
async fn a_wave_takes_no_terms_that_cannot_be_and_none_once_it_is_closed() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let id = project(&org, &house, "Berlin", None).await;
    let mut wrong = AdeOptions::default();
    wrong.support_phone_number = Some("1".repeat(51));
    let terms = WaveTerms {
        ade: Some(wrong.clone()),
        ..WaveTerms::default()
    };
    says(
        org.new_wave_with(id, "shops", None, &terms).await,
        "support_phone_number: must have",
    );
    let shops = wave(&org, id, "shops", &serials(0..1), days(2, 9)).await;
    says(
        org.set_wave_ade_profile(shops, Some(&wrong)).await,
        "support_phone_number: must have",
    );
    // What was accepted is void with another profile.
    let digest = async || org.what_if(shops).await.unwrap().digest;
    let before = digest().await;
    let mut own = AdeOptions::default();
    own.department = Some("Shops".to_owned());
    org.set_wave_ade_profile(shops, Some(&own)).await.unwrap();
    assert_ne!(digest().await, before);
    org.set_wave_ade_profile(shops, None).await.unwrap();
    assert_eq!(digest().await, before);
    let mut row = house
        .mdm
        .store()
        .wave(house.org, shops)
        .await
        .unwrap()
        .unwrap();
    row.state = mdm_core::wave::WaveState::Closed { at: START };
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    says(org.set_wave_ade_profile(shops, None).await, "is closed");
    says(
        org.set_wave_owner_texts(shops, &changes(&[("de", None)]))
            .await,
        "is closed",
    );
}

#[tokio::test]
async fn a_list_takes_no_runbook_that_is_not_for_its_platform() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let member = Member {
        serial: serial(0),
        deadline: START + 9 * DAY,
        available_from: START + 2 * DAY,
        original_server: None,
    };
    let mac = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    assert!(mac.step(StepId::FvEscrow).is_some());
    let runbooks = BTreeMap::from([(Platform::Ios, mac)]);
    let planned = org
        .plan_wave(
            "list",
            house.server,
            &runbooks,
            std::slice::from_ref(&member),
        )
        .await;
    let said = planned.unwrap_err().to_string();
    assert!(said.contains("ios") && said.contains("steps"), "{said}");
    // Nobody is in a wave by it.
    let all = Candidates::default();
    assert_eq!(org.candidates(&all).await.unwrap(), [serial(0)]);
}

#[tokio::test]
async fn an_entry_stays_while_devices_are_enrolled_by_it_and_nothing_begins_there_afterwards() {
    let house = House::new().await;
    let gadget = quiet(&house, "C02GIVEN01").await;
    let org = fleet(&house, 1).await;
    let refused = org.remove_server_entry(house.server, "Ours").await;
    says(refused, "1 of its devices are enrolled here");
    // It is not enrolled any more.
    let (id, store) = (house.org, house.mdm.store());
    let device = async || {
        let row = store.device_by_serial(id, &gadget.serial).await;
        row.unwrap().unwrap()
    };
    let mut row = device().await;
    row.enrollment = None;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let removed = org.remove_server_entry(house.server, "Ours").await;
    assert!(removed.unwrap().removed.is_some());
    house.settle().await;
    // That we read the list no more says nothing of where the device is.
    let row = device().await;
    let record = row.record.as_ref().unwrap();
    assert!(record.gone && record.given_up && !record.has_left());
    assert_eq!(org.moved_away(&[row]).await.unwrap(), BTreeMap::new());

    let member = Member {
        serial: serial(0),
        deadline: START + 9 * DAY,
        available_from: START + 2 * DAY,
        original_server: None,
    };
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
    let member = std::slice::from_ref(&member);
    let planned = org.plan_wave("list", house.server, &runbooks, member).await;
    says(planned, "server entry");
    let change = ProjectChange::default();
    let made = org.new_project("Berlin", house.server, &change).await;
    says(made, "server entry");
}

#[tokio::test]
async fn a_mac_says_whose_sign_in_it_waits_for() {
    let house = House::new().await;
    let org = house.org().await;
    for (serial, user, state, why) in [
        (
            "C02WAITS01",
            Some("eva"),
            MarkState::Waiting,
            "waiting for the sign-in of eva",
        ),
        (
            "C02WAITS02",
            None,
            MarkState::Waiting,
            "no user channel of it has enrolled",
        ),
        (
            "C02WAITS03",
            Some(""),
            MarkState::NotWanted,
            "the original service managed no user of it",
        ),
    ] {
        let mac = house.mac(serial).await;
        if let Some(name) = user {
            let mut said = Said::nothing(mac.serial.clone());
            let mut managed = ManagedUser::default();
            name.clone_into(&mut managed.name);
            said.managed_user = Some(managed);
            org.import_originals("Old MDM", START, vec![said])
                .await
                .unwrap();
        }
        house.enrol(&mac).await;
        let report = org.device_report(&mac.serial).await.unwrap();
        let mark = report.marks.iter().find(|m| m.mark == MarkName::User);
        let mark = mark.unwrap();
        assert_eq!((mark.state, mark.why.as_str()), (state, why), "{serial}");
    }
}
