//! Offers stop by themselves where something that the rest of a wave needs ends too early: nobody else is asked to migrate, and
//! whoever was is served to the end. What was asked at Apple, and where devices are, the world says.

use std::collections::BTreeSet;
use std::time::Duration;

use fixtures::apple::organisation::MigrationStatus;
use fixtures::verdict::Whereabouts;
use fixtures::world::World;
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::evidence::{ReportAsk, ReportHead, ReportRow, ReportSink};
use mdm_core::failure::FailureMode;
use mdm_core::ids::{AuditId, JobId, LocationId, MoveId, SecretId, Serial, WaveId};
use mdm_core::licences::Location;
use mdm_core::migration::{Move, MoveState, Outcome, Owner};
use mdm_core::service::{Act, Dates, MigrationAct, Org, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::wave::{Pause, WaveState};
use mdmd::rehearsal::{HouseOptions, Rehearsal, Stage};

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
/// Devices of a story.
const DEVICES: u32 = 4;

/// A server that knows every device of the world, and the directory that it lives in.
async fn stage(seed: u64) -> (Stage, Org, Vec<Serial>, tempfile::TempDir) {
    let world = Rehearsal::new(DEVICES, seed).world().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = HouseOptions::default();
    let stage = Stage::set(world, directory.path(), options).await.unwrap();
    let org = stage.org().await.unwrap();
    let export = stage.world.original().export();
    let all = export.iter().map(|device| &device.identity.serial);
    let all: Vec<Serial> = all.map(|serial| Serial::parse(serial).unwrap()).collect();
    org.pull(&all).await.unwrap();
    // The devices of the world have their licences from elsewhere, and nobody has told here which apps they have.
    let warns = [Check::AppsLicences, Check::AppsMapped, Check::AppsSource];
    let warns = warns.map(|check| (check, Some(CheckResult::Warn)));
    org.set_unknowns(&warns.into()).await.unwrap();
    let org = stage.org().await.unwrap();
    (stage, org, all, directory)
}

/// Of these devices, those whose profile was asked for at Apple: whose users are asked to migrate.
fn offered(world: &World, serials: &[Serial]) -> BTreeSet<String> {
    let ledger = world.apple().ledger().into_iter();
    let assigned = ledger.filter(|entry| {
        let assigns = entry.method != "GET" && entry.path.ends_with("/profile/devices");
        assigns && entry.status == 200
    });
    let mut asked: BTreeSet<String> = assigned.flat_map(|entry| entry.serials).collect();
    asked.retain(|serial| serials.iter().any(|one| one.as_str() == serial));
    asked
}

/// Plays until a moment, or until the wave is over.
async fn until(stage: &Stage, wave: WaveId, end: Timestamp) {
    let clock = stage.world.clock();
    let over = || clock.now_ms() >= end.as_millis();
    stage.play_until(wave, &over).await.unwrap();
}

async fn pause(stage: &Stage, org: &Org, wave: WaveId) -> Option<Pause> {
    let row = stage.mdm().store().wave(org.organisation().id, wave).await;
    row.unwrap().unwrap().paused
}

/// The push certificate ends at this moment.
async fn push_ends(stage: &Stage, at: Timestamp) {
    let mut organisation = stage.org().await.unwrap().organisation().clone();
    organisation.push.as_mut().unwrap().not_after = at;
    let mut batch = Batch::new();
    batch.put(organisation);
    stage.mdm().store().commit(batch).await.unwrap();
}

/// That the end is named with the wave, what is to be done, and what becomes of the offers until then.
async fn is_told(stage: &Stage, wave: WaveId, name: &str, offers: &str) {
    let org = stage.org().await.unwrap();
    let told = org.failures_of_wave(wave, MoveId(0), 100).await.unwrap();
    let expiry = told.banners.iter().find(|f| f.mode == FailureMode::Expiry);
    let said = format!("{expiry:?}");
    assert!(said.contains(name) && said.contains("renew it"), "{said}");
    assert!(said.contains(offers), "{said}");
}

/// A report's long table.
#[derive(Default)]
struct Rows(Vec<ReportRow>);

#[async_trait::async_trait]
impl ReportSink for Rows {
    async fn head(&mut self, _: ReportHead) -> Result<(), Error> {
        Ok(())
    }

    async fn rows(&mut self, rows: Vec<ReportRow>) -> Result<(), Error> {
        self.0.extend(rows);
        Ok(())
    }
}

/// That these devices are not offered their migration because somebody here has paused it: nobody says that Apple refuses them, no
/// person is called for each, and they are listed as at risk.
async fn waits_for_us(stage: &Stage, wave: WaveId, serials: &[Serial]) {
    let org = stage.org().await.unwrap();
    let told = org.failures_of_wave(wave, MoveId(0), 100).await.unwrap();
    let members = org.members(wave).await.unwrap();
    for serial in serials {
        let attempt = members.iter().find(|m| m.serial == *serial).unwrap();
        assert_eq!(attempt.attention, None, "{serial}");
        let (_, _, failures) = told.devices.iter().find(|(_, s, _)| s == serial).unwrap();
        let mut failures = failures.iter();
        let failure = failures.find(|f| f.mode == FailureMode::ProfileNotInForce);
        let failure = failure.unwrap();
        assert_eq!(failure.owner, Owner::Destination, "{failure:#?}");
        assert!(failure.next.contains("mdmd wave resume"), "{failure:#?}");
        let what = &failure.evidence[0].what;
        assert!(
            what.contains("paused") && what.contains("stop rule"),
            "{what}"
        );
    }
    for (days, expected) in [(1, 0), (3, serials.len())] {
        let mut rows = Rows::default();
        let wave = Some(wave);
        let ask = ReportAsk::AtRisk { wave, days };
        org.report_to(&ask, &mut rows).await.unwrap();
        assert_eq!(rows.0.len(), expected, "{days}: {:?}", rows.0);
        for row in rows.0 {
            assert!(serials.iter().any(|s| row[0] == s.as_str()), "{row:?}");
            assert_eq!(row[6], "it is not offered its migration yet");
        }
    }
}

fn migrated(all: &[Move], serials: &[Serial]) -> bool {
    let mut of = all.iter().filter(|m| serials.contains(&m.serial));
    of.all(|m| m.state == MoveState::Ended(Outcome::Migrated))
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_push_certificate_ends_too_early_no_more_devices_are_offered_and_those_on_the_way_arrive()
 {
    let (stage, org, all, _directory) = stage(7).await;
    let (soon, later) = all.split_at(2);
    let change = ProjectChange {
        runbooks: stage.runbooks(),
        ..ProjectChange::default()
    };
    let project = org.new_project("shops", stage.destination(), &change);
    let project = project.await.unwrap().id;
    org.switch_project(project, true).await.unwrap();
    let wave = org.new_wave(project, "all", None).await.unwrap().id;
    let start = stage.mdm().now();
    for (serials, from, deadline) in [(soon, HOUR, DAY * 2), (later, DAY * 5, DAY * 8)] {
        let dates = Dates {
            deadline: Some(start + deadline),
            available_from: Some(start + from),
        };
        org.add_members(wave, serials, dates).await.unwrap();
    }
    stage.forecast(wave).await.unwrap();
    let what_if = org.run_what_if(wave).await.unwrap();
    assert!(what_if.against_all.is_empty(), "{:?}", what_if.against_all);
    assert!(what_if.blockers.is_empty(), "{:?}", what_if.blockers);
    let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
    accepted.unwrap();
    org.submit_accepted(wave, "all").await.unwrap();

    // The first of them is between two services; then it becomes known.
    let begun = || {
        let status = |serial: &Serial| stage.world.apple().migration_status(serial.as_str());
        soon.iter().any(|s| status(s) == MigrationStatus::Started)
    };
    stage.play_until(wave, &begun).await.unwrap();
    assert!(begun(), "nobody has begun");
    let known = stage.mdm().now();
    assert!(known < start + DAY * 3);
    assert_eq!(pause(&stage, &org, wave).await, None);
    push_ends(&stage, start + DAY * 4).await;
    until(&stage, wave, known + HOUR * 12).await;
    let why = pause(&stage, &org, wave).await.unwrap();
    assert_eq!(why.by, "stop rule");
    assert!(
        why.why.starts_with("the push certificate ends at"),
        "{why:?}"
    );
    is_told(
        &stage,
        wave,
        "the push certificate ends in",
        "until then no more devices are offered",
    )
    .await;

    // Those on the way are served: whoever had begun checks in, is held, and is let out.
    until(&stage, wave, start + DAY * 4).await;
    let members = org.members(wave).await.unwrap();
    assert!(migrated(&members, soon), "{members:#?}");
    for serial in soon {
        let verdict = stage.world.verdict(serial.as_str()).await.unwrap();
        assert_eq!(verdict.whereabouts, Whereabouts::Free, "{serial}");
    }
    // The others were to be offered it on the fifth day.
    until(&stage, wave, start + DAY * 6).await;
    assert_eq!(offered(&stage.world, later), BTreeSet::new());
    assert_eq!(offered(&stage.world, soon).len(), soon.len());
    waits_for_us(&stage, wave, later).await;

    // Renewed, and somebody says so: it goes on by itself from there.
    push_ends(&stage, start + DAY * 300).await;
    let org = stage.org().await.unwrap();
    org.pause_wave(wave, false, "it was renewed", true)
        .await
        .unwrap();
    until(&stage, wave, start + DAY * 12).await;
    assert_eq!(offered(&stage.world, later).len(), later.len());
    let members = org.members(wave).await.unwrap();
    assert!(migrated(&members, &all), "{members:#?}");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_devices_without_a_project_stops_for_a_content_token_and_goes_on_when_a_person_says_so()
 {
    let (stage, org, all, _directory) = stage(8).await;
    let start = stage.mdm().now();
    let act = Act {
        what: MigrationAct::Assign {
            destination: stage.destination(),
            deadline: start + DAY * 8,
            available_from: Some(start + DAY * 5),
            runbooks: stage.runbooks(),
        },
        serials: all.clone(),
        reason: None,
    };
    let plan = org.plan_act(&act).await.unwrap();
    let done = org.do_act(&act, &plan.digest).await.unwrap();
    let wave = done.wave.unwrap();
    assert_eq!((done.members, done.blocked), (all.len(), 0), "{plan:#?}");
    until(&stage, wave, start + DAY).await;
    assert_eq!(pause(&stage, &org, wave).await, None, "nothing ends");

    // One that ends behind the last deadline keeps nobody back, and neither does one of a location that has none of their apps; one before
    // it, of which nobody has read what it has, does.
    let id = org.organisation().id;
    let of = (LocationId(1), SecretId(1), JobId(1));
    let mut location = Location::new(id, of.0, "Shops", "library", of.1, of.2);
    let early = start + DAY * 7;
    for (ends, read, stops) in [
        (start + DAY * 9, None, false),
        (early, Some(start), false),
        (early, None, true),
    ] {
        location.token_expires = Some(ends);
        location.stock_read = read;
        let mut batch = Batch::new();
        batch.put(location.clone());
        stage.mdm().store().commit(batch).await.unwrap();
        let stored = stage.mdm().store().locations(id).await.unwrap();
        location = stored.into_iter().find(|row| row.id == of.0).unwrap();
        let now = stage.mdm().now();
        until(&stage, wave, now + HOUR * 12).await;
        let paused = pause(&stage, &org, wave).await;
        assert_eq!(paused.is_some(), stops, "{ends}: {paused:?}");
    }
    let why = pause(&stage, &org, wave).await.unwrap().why;
    assert!(why.starts_with("a content token ends at"), "{why}");
    is_told(
        &stage,
        wave,
        "a content token ends in",
        "until then no more devices are offered",
    )
    .await;
    until(&stage, wave, start + DAY * 6).await;
    assert_eq!(offered(&stage.world, &all), BTreeSet::new());

    // Somebody knows of it and goes on: the same end does not stop it again.
    org.pause_wave(wave, false, "nobody needs an app of the store", true)
        .await
        .unwrap();
    is_told(
        &stage,
        wave,
        "a content token ends in",
        "until then offers go on",
    )
    .await;
    until(&stage, wave, start + DAY * 12).await;
    let members = org.members(wave).await.unwrap();
    assert!(migrated(&members, &all), "{members:#?}");
    let record = stage.mdm().store().audit(id, AuditId(0), 10_000).await;
    let record = record.unwrap();
    let paused = record.iter().filter(|entry| entry.what == "wave.paused");
    assert_eq!(paused.count(), 1);
    // It is over, and nobody looks after it any more.
    let clock = stage.world.clock();
    for _ in 0..6 {
        clock.advance_to(clock.now_ms() + 3_600_000);
        stage.settle().await.unwrap();
    }
    let row = stage.mdm().store().wave(id, wave).await.unwrap().unwrap();
    assert!(matches!(row.state, WaveState::Closed { .. }), "{row:?}");
    stage.strike().await.unwrap();
}
