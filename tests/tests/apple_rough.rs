//! A day with an Apple that answers every third request with 429, 500, 503 or a dropped connection, now and then after it
//! has done what was asked. Everything planned is done all the same, in order and within Apple's budget.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fixtures::apple::ledger::{LedgerEntry, Service};
use fixtures::apple::{LicenceSeed, Trouble, TroubleKind};
use fixtures::clock::{HOUR, MINUTE};
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::migration::{Move, VisibleState};
use mdm_core::secret::Secret;
use mdmd::rehearsal::{HouseOptions, START_MS, Stage, Timetable};

const DEVICES: usize = 24;

/// A whole day: most devices move when their deadline comes, and nobody before the licences are there, however rough Apple is: the
/// offer waits for them.
const DAY: Timetable = Timetable {
    offer: Duration::from_secs(3600),
    deadline: Duration::from_secs(20 * 3600),
    days: 1,
};

/// Requests that may change a device's service, deadline or migration.
fn changes(entry: &LedgerEntry) -> bool {
    entry.service == Service::Business && entry.method == "POST" && !entry.about.is_empty()
}

/// Whether Apple did what was asked for.
fn done(entry: &LedgerEntry) -> bool {
    (200..300).contains(&entry.status) || entry.trouble == Some(TroubleKind::LostAnswer)
}

/// The most requests of a kind in any window of that length.
fn busiest(moments: &[i64], window_ms: i64) -> usize {
    (0..moments.len())
        .map(|first| {
            let end = moments[first] + window_ms;
            moments[first..].iter().take_while(|ms| **ms < end).count()
        })
        .max()
        .unwrap_or(0)
}

/// What was sent to change devices was sent again only after a look at them, whatever became of the answer.
fn looked_before_sending_again(ledger: &[LedgerEntry]) {
    let mut asked: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut looks = Vec::new();
    for (n, entry) in ledger.iter().enumerate() {
        let looked = entry.service == Service::Business
            && entry.method == "GET"
            && done(entry)
            && entry.trouble.is_none();
        if looked {
            looks.push(n);
        }
        if !changes(entry) {
            continue;
        }
        for serial in &entry.serials {
            let key = (serial.clone(), entry.about.clone());
            if let Some(before) = asked.insert(key, n) {
                // A refusal that says that nothing was begun needs no look.
                let refused = matches!(ledger[before].status, 400..=499);
                assert!(
                    refused || looks.iter().any(|l| (before..n).contains(l)),
                    "{serial}: {:?} and again {entry:?}, without a look",
                    ledger[before]
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_a_rough_apple_ends_as_planned() {
    let config = WorldConfig::new(3, START_MS, Fleet::Count(DEVICES));
    let world = World::start(config).await.expect("a world");
    let directory = tempfile::tempdir().expect("a directory");
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .expect("a stage");
    let (wave, blocked) = stage.plan_for(None, &DAY).await.expect("a plan");
    assert_eq!(blocked, 0);
    // Licences for every app of the runbooks, of which nobody has one yet.
    let org = stage.org().await.expect("ours");
    let need = org.licence_need(wave).await.expect("what is needed");
    let needed: Vec<u64> = need.iter().map(|n| n.app).collect();
    let wanted = usize::try_from(need.iter().map(|n| n.needs).sum::<u64>()).expect("a number");
    assert!(needed.len() >= 3, "{needed:?}");
    for app in &needed {
        let seed = LicenceSeed::app(&app.to_string(), Some(1_000));
        stage.world.apple().buy_licences(&seed);
    }
    let token = Secret::from_text(stage.world.apple().content_token());
    org.import_content_token(&token, false)
        .await
        .expect("a location");
    let calm = stage.world.apple().ledger().len();
    stage.world.apple().set_trouble(Some(Trouble::every(3)));
    stage.play(wave).await.expect("it is played to its end");

    let members: Vec<Move> = stage
        .org()
        .await
        .expect("ours")
        .members(wave)
        .await
        .expect("members");
    let odd: Vec<&Move> = members.iter().filter(|m| !m.is_ended()).collect();
    assert!(odd.is_empty(), "{odd:#?}");
    for row in stage.judge().await.expect("a verdict") {
        assert_eq!(row.outcome, Some(VisibleState::Migrated), "{row:#?}");
        assert!(
            row.disagreements.is_empty() && row.apps_lost.is_empty(),
            "{row:#?}"
        );
    }
    // Whoever is to have an app has its licence, whichever requests failed on the way.
    let need = org.licence_need(wave).await.expect("what is needed");
    assert!(need.is_empty(), "everybody has come: {need:?}");
    let given: usize = needed
        .iter()
        .map(|app| stage.world.apple().licences_given(&app.to_string()))
        .sum();
    assert_eq!(given, wanted, "licences");
    let hours = (stage.world.clock().now_ms() - START_MS) / HOUR;
    assert!(hours <= 24, "{hours} hours");

    let ledger = stage.world.apple().ledger();
    let rough: Vec<&LedgerEntry> = ledger[calm..]
        .iter()
        .filter(|e| e.trouble.is_some())
        .collect();
    let kinds: BTreeSet<String> = rough.iter().map(|e| format!("{:?}", e.trouble)).collect();
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    let troubled: BTreeSet<Service> = rough.iter().map(|e| e.service).collect();
    for service in [
        Service::Assignment,
        Service::Business,
        Service::Push,
        Service::Apps,
    ] {
        assert!(troubled.contains(&service), "{service:?} met no trouble");
    }

    looked_before_sending_again(&ledger);
    let of = |method: &str| -> Vec<i64> {
        let asked = ledger
            .iter()
            .filter(|e| e.service == Service::Business && e.method == method);
        asked.map(|e| e.at_ms).collect()
    };
    assert!(busiest(&of("GET"), MINUTE) <= 20, "reads");
    assert!(busiest(&of("POST"), HOUR) <= 10, "writes");
    // In order: nobody is offered a profile before Apple was asked to move the device.
    for member in &members {
        let serial = member.serial.as_str();
        let first = |what: &dyn Fn(&LedgerEntry) -> bool| {
            ledger
                .iter()
                .position(|e| done(e) && what(e) && e.serials.iter().any(|s| s == serial))
        };
        let asked = first(&|e| changes(e)).expect("asked for");
        let offered = first(&|e| e.path == "/profile/devices").expect("offered");
        assert!(asked < offered, "{serial}");
    }
    stage.strike().await.expect("struck");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_location_was_is_known_though_the_answer_to_its_take_over_is_lost() {
    let config = WorldConfig::new(3, START_MS, Fleet::Count(1));
    let world = World::start(config).await.expect("a world");
    let directory = tempfile::tempdir().expect("a directory");
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .expect("a stage");
    let apple = stage.world.apple();
    apple.claim_location("them", "Old MDM");
    let token = Secret::from_text(apple.content_token());
    let org = stage.org().await.expect("ours");
    let refused = org.import_content_token(&token, false).await;
    let refused = refused.expect_err("theirs").to_string();
    assert!(refused.contains("Old MDM"), "{refused}");
    // It is read whose it is, and again; then it is claimed, which is done and not answered.
    apple.set_trouble(Some(Trouble {
        every: 3,
        kinds: vec![TroubleKind::LostAnswer],
        retry_after_s: 1,
    }));
    let taken = org.import_content_token(&token, true).await;
    apple.set_trouble(None);
    taken.expect("ours");
    let ledger = apple.ledger();
    let lost = ledger.iter().find(|e| e.trouble.is_some());
    let lost = lost.map(|e| (e.service, e.method.as_str()));
    assert_eq!(lost, Some((Service::Apps, "POST")));
    let location = org.locations().await.expect("locations").remove(0);
    assert!(location.gives());
    let before = location.taken_over.expect("it was theirs");
    assert_eq!(before.from, "Old MDM");
    stage.strike().await.expect("struck");
}
