//! The twenty ways in which a migration goes wrong, each in the simulated world: it is detected, handled as it should be, and shown with
//! its owner, evidence and the next action. What became of the devices, and what Apple was asked, the world says.

mod scene;

use std::sync::Arc;
use std::time::Duration;

use fixtures::apple::ledger::{LedgerEntry, Service};
use fixtures::apple::organisation::{DeviceSeed, Family, LockKind};
use fixtures::apple::{Trouble, TroubleKind};
use fixtures::clock::{DAY, HOUR, MINUTE};
use fixtures::conduct::{Asked, Conduct};
use fixtures::draw::Draw;
use fixtures::faults::{Fault, FaultKind};
use fixtures::verdict::Whereabouts;
use fixtures::world::{Fleet, WorldConfig, serial_number};
use mdm_core::clock::Timestamp;
use mdm_core::failure::FailureMode;
use mdm_core::ids::{OrganisationId, Serial};
use mdm_core::migration::{Owner, StepId, VisibleState};
use mdm_core::service::Mdm;
use mdm_core::store::Batch;
use mdmd::rehearsal::{START_MS, Stage, Timetable};
use scene::{Scene, TABLE, Told};
use tests::SOON;

#[test]
fn all_twenty_are_in_the_table_in_their_order() {
    assert_eq!(FailureMode::ALL.len(), TABLE.len());
    for ((number, mode, _), (n, expected)) in TABLE.iter().zip(FailureMode::ALL.iter().enumerate())
    {
        assert_eq!((*number, mode), (n + 1, expected));
    }
}

fn config(seed: u64, devices: usize) -> WorldConfig {
    WorldConfig::new(seed, START_MS, Fleet::Count(devices))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn before_a_device_moves() {
    const SEED: u64 = 51;
    let [old, refused, throttled, taken, plain] = [0, 1, 2, 3, 4].map(|n| serial_number(SEED, n));
    // Whoever begins early does so later than what is played here.
    let timetable = Timetable {
        offer: Duration::from_secs(1800),
        deadline: Duration::from_secs(20 * 86_400),
        days: 1,
    };
    let seed = |os| {
        let mut seed = DeviceSeed::new(&old, Family::IPhone, START_MS - 200 * DAY);
        seed.os_major = os;
        seed
    };
    let mut scene = Scene::open(config(SEED, 5), timetable, async |stage| {
        let apple = stage.world.apple();
        let mut incapable = seed(18);
        incapable.server = Some(stage.world.original_server().to_owned());
        apple.add_device(incapable);
        apple.fail_in_activities(&refused, Some("DEVICE_IS_NOT_ELIGIBLE"));
        // Apple's word is believed after three readings over half an hour.
        for _ in 0..3 {
            let serials = [Serial::parse(&old).unwrap()];
            stage.org().await.unwrap().pull(&serials).await.unwrap();
            let next = stage.world.clock().now_ms() + 16 * MINUTE;
            stage.world.clock().advance_to(next);
            stage.settle().await.unwrap();
        }
    })
    .await;
    assert_eq!(scene.blocked, 1);
    scene.play(4 * HOUR, 30 * MINUTE).await;

    // 1: it is not submitted, and Apple is asked again.
    scene.is_shown(
        FailureMode::NotCapable,
        &old,
        Owner::OrganisationAdmin,
        &[
            "isMdmMigrationCapable is false",
            "times in a row",
            "asked again daily",
            // What the checks found, beside what Apple says.
            "Apple says that it cannot migrate",
        ],
    );
    assert_eq!(scene.asked_since(&old, 0), []);
    // 2: accepted, and its row in the result says why it had no effect.
    scene.is_shown(
        FailureMode::NoEffect,
        &refused,
        Owner::Apple,
        &["DEVICE_IS_NOT_ELIGIBLE", "submit its wave again"],
    );
    assert_eq!(
        scene.asked_since(&refused, 0).len(),
        1,
        "sent blindly again"
    );
    for serial in [&throttled, &taken, &plain] {
        assert_eq!(scene.state(serial).await, Some(VisibleState::Offered));
    }

    // 20: somebody moves its deadline in the portal.
    let since = scene.now();
    let moved = START_MS + 15 * DAY;
    let original = scene.stage.world.original_server().to_owned();
    let ours = scene.stage.world.destination_server().to_owned();
    let apple = scene.stage.world.apple();
    apple.assign(&taken, Some(&original));
    assert!(apple.assign_with_deadline(&taken, &ours, moved));
    // 6: somebody assigns it to us again and again: its profile is gone, and Apple throttles whoever assigns it anew.
    for _ in 0..8 {
        scene.stage.world.apple().assign(&throttled, Some(&ours));
        let next = scene.now() + 12 * MINUTE;
        scene.play(next, 12 * MINUTE).await;
    }
    scene.is_shown(
        FailureMode::ProfileNotInForce,
        &throttled,
        Owner::Apple,
        &["removed", "assigned again by itself"],
    );
    let next = scene.now() + 9 * HOUR;
    scene.play(next, HOUR).await;
    let serials = [Serial::parse(&taken).unwrap()];
    let org = scene.org().await;
    Box::pin(org.pull(&serials)).await.unwrap();
    scene.look().await;
    scene.is_shown(
        FailureMode::ChangedOutside,
        &taken,
        Owner::OrganisationAdmin,
        &[
            "deadline: ",
            " here, ",
            " at Apple",
            "nothing is fought over",
        ],
    );
    assert_eq!(scene.asked_since(&taken, since), [], "it was fought over");
    assert_eq!(scene.stage.world.apple().deadline_ms(&taken), Some(moved));
    // 3: Apple asks for silence, and gets it.
    let quiet = scene.now();
    let mut trouble = Trouble::every(1);
    trouble.kinds = vec![TroubleKind::TooMany];
    trouble.retry_after_s = 600;
    scene.stage.world.apple().set_trouble(Some(trouble));
    let org = scene.org().await;
    let serials = [Serial::parse(&plain).unwrap()];
    assert!(org.pull(&serials).await.is_err());
    scene.look().await;
    scene.stage.world.apple().set_trouble(None);
    scene.is_shown(
        FailureMode::Budget,
        "",
        Owner::Apple,
        &["asks for silence until", "mdmd business budget"],
    );
    let next = scene.now() + HOUR;
    scene.play(next, HOUR).await;
    let ledger = scene.stage.world.apple().ledger();
    let business = |e: &&LedgerEntry| e.service == Service::Business && e.at_ms >= START_MS + quiet;
    let asked: Vec<&LedgerEntry> = ledger.iter().filter(business).collect();
    let refusal = asked.iter().position(|e| e.status == 429).unwrap();
    assert!(
        asked[refusal + 1..]
            .iter()
            .all(|e| e.at_ms >= asked[refusal].at_ms + 10 * MINUTE),
        "asked again at once: {asked:#?}"
    );

    // 1 again: it was updated, and the daily question finds it.
    let mut updated = seed(26);
    updated.server = Some(scene.stage.world.original_server().to_owned());
    scene.stage.world.apple().add_device(updated);
    let next = scene.now() + DAY + HOUR;
    scene.play(next, 6 * HOUR).await;
    // The throttle is over by then: the other's profile is in force again by itself.
    let now = scene.look().await;
    assert!(!now.contains(&(FailureMode::ProfileNotInForce, throttled.clone())));
    assert_eq!(scene.state(&throttled).await, Some(VisibleState::Offered));
    assert!(
        !now.contains(&(FailureMode::NotCapable, old.clone())),
        "{now:?}"
    );

    // 19: the push certificate ends before the last deadline.
    let org = scene.org().await;
    let mut organisation = org.organisation().clone();
    let ends = Timestamp::from_millis(START_MS + scene.now() + 5 * DAY);
    organisation.push.as_mut().unwrap().not_after = ends;
    let mut batch = Batch::new();
    batch.put(organisation);
    scene.stage.mdm().store().commit(batch).await.unwrap();
    scene.look().await;
    scene.is_shown(
        FailureMode::Expiry,
        "",
        Owner::OrganisationAdmin,
        &["the push certificate ends in", "renew it"],
    );
    scene.close(Told::BeforeItMoves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_device_that_no_list_shows() {
    const SEED: u64 = 52;
    let serial = serial_number(SEED, 0);
    let mut config = config(SEED, 1);
    config.habits.sync_lag_ms = 4 * HOUR;
    let timetable = Timetable {
        offer: Duration::from_secs(1800),
        deadline: Duration::from_secs(12 * 3600),
        days: 1,
    };
    let mut scene = Scene::open(config, timetable, async |_| {}).await;
    scene.play(3 * HOUR, 30 * MINUTE).await;
    scene.is_shown(
        FailureMode::NotListed,
        &serial,
        Owner::OrganisationAdmin,
        &[
            "organisation API: assigned to",
            "assignment service: ",
            "our enrolment: none",
            "read anew by itself",
        ],
    );
    // The list shows it at last, and everything goes on.
    scene.play(3 * DAY, 12 * HOUR).await;
    assert_eq!(scene.state(&serial).await, Some(VisibleState::Migrated));
    scene.is_free(&serial).await;
    let now = scene.look().await;
    assert!(!now.contains(&(FailureMode::NotListed, serial)), "{now:?}");
    scene.close(Told::NotListed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadline_that_apple_would_not_take() {
    const SEED: u64 = 53;
    let serial = serial_number(SEED, 0);
    let timetable = Timetable {
        offer: Duration::from_secs(1800),
        deadline: Duration::from_secs(100 * 86_400),
        days: 1,
    };
    let mut scene = Scene::open(config(SEED, 1), timetable, async |_| {}).await;
    assert_eq!(scene.blocked, 1);
    scene.look().await;
    scene.is_shown(
        FailureMode::DeadlineRejected,
        &serial,
        Owner::Destination,
        &["its deadline is 2027-03", "until 2027-0", "nothing is sent"],
    );
    scene.play(4 * HOUR, 4 * HOUR).await;
    assert_eq!(scene.asked_since(&serial, 0), []);
    scene.close(Told::TooLate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_goes_wrong_at_the_door() {
    const SEED: u64 = 54;
    let [shut, unheld] = [0, 1].map(|n| serial_number(SEED, n));
    let mut scene = Scene::open(config(SEED, 2), SOON, async |stage| {
        let other = unheld.clone();
        stage.world.direct(Arc::new(move |asked: &Asked<'_>| {
            match asked.kind == "AwaitConfiguration" && asked.serial == other {
                true => Conduct::Fail,
                false => Conduct::Usual,
            }
        }));
        // Nobody trusts what devices are signed with: none comes through the door.
        trust(stage, false).await;
    })
    .await;
    // Nothing that it says is believed: that it has begun is known from Apple, two hours after its deadline.
    scene.play(10 * HOUR, HOUR).await;
    // 8: begun, refused, and from where.
    scene.is_shown(
        FailureMode::EnrolmentFails,
        &shut,
        Owner::Destination,
        &[
            "it has begun, and has not enrolled",
            "messages of senders whom nobody could prove were refused",
            "from 127.0.0.1",
            "mdmd report unheard",
        ],
    );
    // Who it says it is was never proved: its refusals stand in the list of those that were refused, with their addresses.
    let organisation = scene.stage.house.organisation;
    let refused = scene.stage.mdm().store().refusals(organisation, 100).await;
    let refused = refused.unwrap();
    assert!(
        refused.len() >= 2 && refused.iter().all(|r| r.address.contains("127.0.0.1")),
        "{refused:#?}"
    );
    assert_eq!(scene.verdict(&shut).await.whereabouts, Whereabouts::Between);
    trust(&scene.stage, true).await;
    scene.play(3 * DAY, 2 * HOUR).await;
    assert_eq!(scene.state(&shut).await, Some(VisibleState::Migrated));
    scene.is_free(&shut).await;
    // 9: what can be done without a hold is done, and everybody with that profile is counted.
    let owner = Owner::Destination;
    scene.is_shown(
        FailureMode::NotAwaiting,
        &unheld,
        owner,
        &["look at the ADE profile"],
    );
    let words = ["1 of the 2 members with the ADE profile", "mdmd wave pause"];
    scene.is_shown(FailureMode::NotAwaiting, "", owner, &words);
    assert_eq!(
        scene.state(&unheld).await,
        Some(VisibleState::MigratedWithExceptions)
    );
    assert_eq!(scene.verdict(&unheld).await.hold_ms, 0);
    scene.close(Told::AtTheDoor).await;
}

/// Trusts the authority of the simulated devices, or nobody.
async fn trust(stage: &Stage, it: bool) {
    let org = stage.org().await.unwrap();
    let mut organisation = org.organisation().clone();
    organisation.device_cas.clear();
    if it {
        let pem = stage.world.device_ca_pem();
        let ca = openssl::x509::X509::from_pem(pem.as_bytes()).unwrap();
        let ca = mdm_core::organisation::Der(ca.to_der().unwrap());
        organisation.device_cas.push(ca);
    }
    let mut batch = Batch::new();
    batch.put(organisation);
    stage.mdm().store().commit(batch).await.unwrap();
}

/// Whose step a command is, as our own records have it.
fn step_of(mdm: &Mdm, org: OrganisationId, asked: &Asked<'_>) -> Option<StepId> {
    if asked.kind == "ActivationLock" {
        return Some(StepId::Lock);
    }
    let (serial, uuid) = (Serial::parse(asked.serial).unwrap(), asked.uuid.to_owned());
    let find = async move {
        let device = mdm.store().device_by_serial(org, &serial).await.unwrap()?;
        let command = mdm.store().command(org, device.enrollment?, &uuid).await;
        Some(command.unwrap()?.origin?.step)
    };
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(find))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_the_hold_and_after_it() {
    const SEED: u64 = 55;
    let of = |n: usize| serial_number(SEED, n);
    let draw = Draw::new(SEED);
    // Macs, those whose disks are encrypted first.
    let mut macs = [1, 3, 7].map(of);
    macs.sort_by_key(|serial| !draw.chance(serial, "FileVault", 0, 0.85));
    let [keyless, unlocked, lost] = macs;
    let [stuck, appless, trapped, off, failed] = [0, 2, 4, 5, 6].map(of);
    let mut config = config(SEED, 8);
    for (serial, kind) in [
        (&off, FaultKind::OffAtDeadline),
        (&lost, FaultKind::LostCheckOut),
    ] {
        let mut fault = Fault::drawn(kind, &draw, serial);
        if kind == FaultKind::OffAtDeadline {
            fault.duration_ms = 20 * HOUR;
        }
        config.faults = config.faults.with(serial, fault);
    }
    let mut scene = Scene::open(config, SOON, async |stage| {
        let (mdm, org) = (stage.mdm().clone(), stage.house.organisation);
        let world = stage.world.clone();
        let [stuck, keyless, appless, unlocked, trapped, failed] =
            [&stuck, &keyless, &appless, &unlocked, &trapped, &failed].map(String::clone);
        let refusals = std::sync::atomic::AtomicU32::new(0);
        stage.world.direct(Arc::new(move |asked: &Asked<'_>| {
            // Not while Apple itself asks: it is busy then.
            if asked.serial == failed && asked.held && asked.kind != "ActivationLock" {
                world.apple().migration_failed(&failed);
                return Conduct::Usual;
            }
            let strikes = [&stuck, &keyless, &appless, &unlocked, &trapped];
            if !strikes.iter().any(|s| *s == asked.serial) {
                return Conduct::Usual;
            }
            let is = |serial: &String| asked.serial == serial;
            match step_of(&mdm, org, asked) {
                Some(StepId::Network) if is(&stuck) => Conduct::NotNow,
                Some(StepId::FvEscrow) if is(&keyless) => Conduct::Fail,
                Some(StepId::AppsKeep) if is(&appless) => Conduct::Fail,
                Some(StepId::Lock) if is(&unlocked) => Conduct::Fail,
                Some(StepId::Release) if is(&trapped) => {
                    let before = refusals.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    match before < 10 {
                        true => Conduct::NotNow,
                        false => Conduct::Usual,
                    }
                }
                _ => Conduct::Usual,
            }
        }));
    })
    .await;
    assert_eq!(scene.blocked, 0);
    scene.play(6 * HOUR, 6 * MINUTE).await;
    scene.play(3 * DAY, 3 * HOUR).await;
    let all = [
        &stuck, &keyless, &appless, &unlocked, &trapped, &off, &failed, &lost,
    ];
    for serial in all {
        scene.is_free(serial).await;
        assert!(scene.verdict(serial).await.hold_ms < HOUR, "{serial}");
    }

    // 7: nothing blind, and when it came back it migrated.
    let words = ["its deadline was ", "mdmd wave extend", "last seen"];
    scene.is_shown(FailureMode::PastDeadline, &off, Owner::User, &words);
    assert_eq!(scene.state(&off).await, Some(VisibleState::Migrated));
    // 10: the step, what the device says, and the time that is left.
    let words = ["step network", "NotNow", "minutes are left", "retry-step"];
    scene.is_shown(FailureMode::StepStuck, &stuck, Owner::Device, &words);
    // 11: asked again, and out.
    let words = ["none confirmed", "held for ", "mdmd hold release"];
    scene.is_shown(
        FailureMode::TrappedAfterRelease,
        &trapped,
        Owner::Network,
        &words,
    );
    assert_eq!(scene.state(&trapped).await, Some(VisibleState::Migrated));
    // 12: each app that the world lost is named, and that nobody forecast it.
    let gone = scene.verdict(&appless).await.apps_lost;
    assert!(!gone.is_empty(), "nothing was lost");
    let owner = scene.owner_of(FailureMode::AppsGone, &appless);
    for app in &gone {
        let said = format!("lost, and not forecast: {app}");
        scene.is_shown(FailureMode::AppsGone, &appless, owner, &[&said]);
    }
    // 13: no key is shown as ours, and the world has none that we could have.
    let owner = scene.owner_of(FailureMode::NoNewKey, &keyless);
    let words = ["no recovery key is held", "bootstrap token", "stays valid"];
    scene.is_shown(FailureMode::NoNewKey, &keyless, owner, &words);
    assert!(!scene.verdict(&keyless).await.recovery_key_changed);
    // 14: what Apple answered is on record, no lock is claimed, and what is there is read after the release.
    let words = ["nothing is guessed", "Apple shows the lock"];
    scene.is_shown(FailureMode::LockUnknown, &unlocked, Owner::Apple, &words);
    assert!(!scene.verdict(&unlocked).await.lock.locked());
    // 15: the sentence, who lifts the lock that Apple has put on it, and whom Apple's audit events name: it was only us.
    let words = [
        "only an administrator of the organisation",
        "Turn Off Activation Lock",
        "Apple's audit events: DEVICE_ASSIGNED_TO_SERVER (",
        "by mdmd (API), our own account",
    ];
    scene.is_shown(
        FailureMode::AppleFailed,
        &failed,
        Owner::OrganisationAdmin,
        &words,
    );
    assert_eq!(scene.state(&failed).await, Some(VisibleState::Failed));
    let lock = scene.verdict(&failed).await.lock;
    assert_eq!(lock.kind, LockKind::Administrator);
    // 16: the original never heard that it left.
    assert!(scene.stage.world.original().still_managed().contains(&lost));
    let words = ["it left the service", "remove it there"];
    scene.is_shown(
        FailureMode::OriginalStillLists,
        &lost,
        Owner::Original,
        &words,
    );
    // 18: as long as it is between two services.
    let words = ["it left the original ", "grace period"];
    scene.is_shown(
        FailureMode::AccessGap,
        &stuck,
        Owner::OrganisationAdmin,
        &words,
    );
    let now = scene.look().await;
    assert!(
        now.iter().all(|(mode, _)| *mode != FailureMode::AccessGap),
        "{now:?}"
    );

    // 17: a second deadline for a device that has come: an alarm, and nothing by itself.
    let apple = scene.stage.world.apple();
    let ours = scene.stage.world.destination_server().to_owned();
    let since = scene.now();
    assert!(apple.assign_with_deadline(&off, &ours, START_MS + since + 10 * DAY));
    let serial = Serial::parse(&off).unwrap();
    let clock = scene.stage.world.clock();
    clock.advance_to(clock.now_ms() + HOUR);
    scene.stage.settle().await.unwrap();
    let org = scene.org().await;
    org.pull(std::slice::from_ref(&serial)).await.unwrap();
    scene.stage.settle().await.unwrap();
    let failures = org.failures_of(&serial).await.unwrap();
    let shown = failures
        .into_iter()
        .map(|f| ((f.mode, off.clone()), [f.clone(), f]));
    scene.shown.extend(shown);
    let words = [
        "Apple shows a migration to us by",
        "put it into a wave",
        "is complete",
    ];
    scene.is_shown(
        FailureMode::UnexpectedMigration,
        &off,
        Owner::OrganisationAdmin,
        &words,
    );
    assert_eq!(scene.asked_since(&off, since), []);
    scene.is_free(&off).await;
    scene.close(Told::InTheHold).await;
}
