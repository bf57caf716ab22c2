//! A clock that is set back, or forth, under a server that runs: no hold is longer than its ceiling by the time that really passes,
//! and none that the clock says nothing wrong about is shorter.

mod service_house;

use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::ids::{DeviceId, HookMessageId, JobId, OrganisationId};
use mdm_core::job::{Job, JobKind};
use mdm_core::migration::{SetUp, SetUpState};
use mdm_core::store::{Batch, Lease};
use service_house::{Gadget, House, set_up};

const DAY: Duration = Duration::from_hours(24);
/// What is left of a hold when the clock is set back: enough for the rounds before it.
const LEFT: Duration = Duration::from_secs(3);

/// A device in its hold.
async fn held(serial: &str) -> (House, Gadget, SetUp) {
    let house = House::new().await;
    // So that no authority is of the future when the clock goes back.
    house.clock.advance(DAY * 10);
    let phone = house.device(serial).await;
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    assert!(s.ceiling_at.is_some(), "{s:?}");
    (house, phone, s)
}

async fn watch(house: &House) -> usize {
    house.mdm.watch(10).await.unwrap()
}

#[tokio::test]
async fn a_hold_ends_in_its_time_although_the_clock_is_set_back_by_days() {
    let (house, phone, s) = held("C02SETBACK").await;
    let ceiling = s.ceiling_at.unwrap();
    assert_eq!(watch(&house).await, 0);
    house.clock.set(ceiling - LEFT);
    assert_eq!(watch(&house).await, 0);
    house.clock.set(ceiling - LEFT - DAY * 2);
    assert_eq!(watch(&house).await, 0, "it was not over");
    // Set back once more: what was measured is measured.
    house.clock.set(ceiling - LEFT - DAY * 3);
    assert_eq!(watch(&house).await, 0, "it was not over");
    tokio::time::sleep(LEFT + Duration::from_millis(200)).await;
    assert_eq!(watch(&house).await, 1);
    let s = set_up(&house, &phone).await;
    assert!(matches!(s.state, SetUpState::Releasing { .. }), "{s:?}");
    assert_eq!(watch(&house).await, 0, "it is released once");
}

#[tokio::test]
async fn a_hold_that_begins_after_the_clock_was_set_back_has_its_whole_time() {
    let (house, first, s) = held("C02BEFORE").await;
    let ceiling = s.ceiling_at.unwrap();
    house.clock.set(ceiling - LEFT);
    assert_eq!(watch(&house).await, 0);
    house.clock.set(ceiling - LEFT - DAY);
    assert_eq!(watch(&house).await, 0);
    let second = house.device("C02AFTER").await;
    house.enrol(&second).await;
    tokio::time::sleep(LEFT + Duration::from_millis(200)).await;
    assert_eq!(watch(&house).await, 1);
    let of_the_first = set_up(&house, &first).await;
    assert!(matches!(of_the_first.state, SetUpState::Releasing { .. }));
    let of_the_second = set_up(&house, &second).await;
    assert!(of_the_second.ceiling_at.is_some(), "{of_the_second:?}");
    house.clock.set(of_the_second.ceiling_at.unwrap());
    assert_eq!(watch(&house).await, 1);
}

#[tokio::test]
async fn a_clock_that_is_set_right_by_seconds_changes_nothing() {
    let (house, _, s) = held("C02SECONDS").await;
    let ceiling = s.ceiling_at.unwrap();
    house.clock.set(ceiling - Duration::from_secs(1));
    assert_eq!(watch(&house).await, 0);
    house.clock.set(ceiling - Duration::from_secs(31));
    assert_eq!(watch(&house).await, 0);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(watch(&house).await, 0, "the clock says when");
    house.clock.set(ceiling);
    assert_eq!(watch(&house).await, 1);
}

#[tokio::test]
async fn who_enrols_before_the_next_round_has_its_whole_time() {
    for back in [Duration::from_mins(20), Duration::from_hours(2), DAY] {
        let (house, first, s) = held("C02EARLIER").await;
        let ceiling = s.ceiling_at.unwrap();
        house.clock.set(ceiling - LEFT);
        assert_eq!(watch(&house).await, 0);
        house.clock.set(ceiling - LEFT - back);
        let second = house.device("C02BETWEEN").await;
        house.enrol(&second).await;
        assert_eq!(watch(&house).await, 0, "{back:?}: it has just begun");
        tokio::time::sleep(LEFT + Duration::from_millis(200)).await;
        assert_eq!(watch(&house).await, 1, "{back:?}");
        let of_the_first = set_up(&house, &first).await;
        assert!(matches!(of_the_first.state, SetUpState::Releasing { .. }));
        let of_the_second = set_up(&house, &second).await;
        let ceiling = of_the_second.ceiling_at.unwrap();
        house.clock.set(ceiling - Duration::from_secs(1));
        assert_eq!(watch(&house).await, 0, "{back:?}: it has its whole time");
        house.clock.set(ceiling);
        assert_eq!(watch(&house).await, 1, "{back:?}: and no more");
    }
}

/// How far a clock may be behind at a start: less than any hold may last, and more.
const BEHIND: [Duration; 3] = [
    Duration::from_mins(5),
    Duration::from_hours(2),
    Duration::from_hours(9),
];

/// A device whose whole hold is [`LEFT`], and a process that begins so far behind.
async fn begun_behind(serial: &str, behind: Duration) -> (House, Gadget, SetUp) {
    let (house, phone, mut s) = held(serial).await;
    let house = house.restarted().await;
    assert_eq!(watch(&house).await, 0, "a start ends no hold");
    s.ceiling_at = s.held_since().map(|since| since + LEFT);
    let ceiling = s.ceiling_at.unwrap();
    let mut batch = Batch::new();
    batch.put(s);
    house.mdm.store().commit(batch).await.unwrap();
    house.clock.set(ceiling - behind);
    let house = house.restarted().await;
    assert_eq!(
        watch(&house).await,
        0,
        "a clock that is behind ends no hold"
    );
    let s = set_up(&house, &phone).await;
    assert!(matches!(s.state, SetUpState::Holding { .. }), "{s:?}");
    (house, phone, s)
}

#[tokio::test]
async fn who_was_set_back_while_nobody_measured_waits_no_longer_than_a_hold_from_the_next_start() {
    for behind in BEHIND {
        let (house, phone, _) = begun_behind("C02RESTART", behind).await;
        tokio::time::sleep(LEFT + Duration::from_millis(200)).await;
        assert_eq!(watch(&house).await, 1, "{behind:?}");
        let s = set_up(&house, &phone).await;
        assert!(matches!(s.state, SetUpState::Releasing { .. }), "{s:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_put_right_after_the_start_costs_nobody_the_hold() {
    for behind in BEHIND {
        let (house, phone, s) = begun_behind("C02PUTRIGHT", behind).await;
        let ceiling = s.ceiling_at.unwrap();
        house.clock.set(ceiling - Duration::from_secs(1));
        assert_eq!(watch(&house).await, 0);
        tokio::time::sleep(LEFT + Duration::from_millis(200)).await;
        assert_eq!(watch(&house).await, 0, "{behind:?}: the clock says when");
        house.clock.set(ceiling);
        assert_eq!(watch(&house).await, 1, "{behind:?}");
        let s = set_up(&house, &phone).await;
        assert!(matches!(s.state, SetUpState::Releasing { .. }), "{s:?}");
    }
}

#[tokio::test]
async fn a_clock_that_goes_days_ahead_and_comes_back_releases_once_and_loses_nothing() {
    let (house, phone, _) = held("C02AHEAD").await;
    let begun = house.mdm.now();
    assert_eq!(watch(&house).await, 0);
    house.clock.set(begun + DAY * 3);
    assert_eq!(watch(&house).await, 1);
    house.mdm.work(50).await.unwrap();
    house.clock.set(begun);
    assert_eq!(watch(&house).await, 0);
    // What was queued ahead of time is what the device gets.
    house.mdm.work(50).await.unwrap();
    let answer = house
        .report(&phone, "<key>Status</key><string>Idle</string>")
        .await;
    assert!(answer.is_ok(), "{answer:?}");
    let s = set_up(&house, &phone).await;
    assert!(matches!(s.state, SetUpState::Releasing { .. }), "{s:?}");
}

#[tokio::test]
async fn what_was_put_off_by_a_clock_that_was_days_ahead_is_done_when_it_is_right_again() {
    let house = House::new().await;
    house.clock.advance(DAY * 10);
    let (org, begun) = (house.org().await.organisation().id, house.mdm.now());
    assert_eq!(watch(&house).await, 0);
    house.clock.set(begun + DAY * 3);
    assert_eq!(watch(&house).await, 0);
    // A try that failed meanwhile comes again in ten minutes, by that clock.
    let due = house.mdm.now() + Duration::from_mins(10);
    let device = DeviceId(4_711);
    let kind = JobKind::ReadDevice { device };
    let mut batch = Batch::new();
    batch.put(Job::new(org, JobId(4_711), due, kind));
    house.mdm.store().commit(batch).await.unwrap();
    house.clock.set(begun);
    let times = async || {
        let store = house.mdm.store();
        store.job_times(org, JobId(4_711)).await.unwrap()
    };
    assert_eq!(times().await.unwrap().due, due);
    assert_eq!(watch(&house).await, 0);
    assert_eq!(times().await.unwrap().due, begun);
    house.mdm.work(50).await.unwrap();
    assert!(times().await.is_none(), "it is done");
}

/// A job that comes at this moment; one of a later day was put off by a clock that was as far ahead.
async fn put_off(house: &House, due: Timestamp) -> OrganisationId {
    let (org, now) = (house.org().await.organisation().id, house.mdm.now());
    house.clock.set(now.max(due - Duration::from_mins(10)));
    let device = DeviceId(4_711);
    let kind = JobKind::ReadDevice { device };
    let mut batch = Batch::new();
    batch.put(Job::new(org, JobId(4_711), due, kind));
    house.mdm.store().commit(batch).await.unwrap();
    house.clock.set(now);
    org
}

/// In programs that are built for tests: nothing else ties what is put off to how long it may wait.
#[cfg(debug_assertions)]
#[tokio::test]
#[should_panic(expected = "a job waits for longer than its kind may")]
async fn a_job_that_is_put_off_for_longer_than_its_kind_may_wait_is_a_mistake() {
    let house = House::new().await;
    let org = house.org().await.organisation().id;
    let put = async |id: i64, due: Timestamp, kind: JobKind| {
        let mut batch = Batch::new();
        batch.put(Job::new(org, JobId(id), due, kind));
        house.mdm.store().commit(batch).await.unwrap();
    };
    let (now, device) = (house.mdm.now(), DeviceId(4_711));
    put(1, now + DAY, JobKind::ReadDevice { device }).await;
    put(2, now + DAY * 7, JobKind::ReturnLicences { device }).await;
    put(3, now + DAY * 2, JobKind::ReadDevice { device }).await;
}

#[tokio::test]
async fn who_begins_with_a_clock_that_is_days_behind_takes_nothing_from_the_others() {
    let house = House::new().await;
    house.clock.advance(DAY * 10);
    let begun = house.mdm.now();
    let org = put_off(&house, begun).await;
    let lease = Lease(begun + Duration::from_secs(20));
    let claimed = house.mdm.store().claim_jobs(begun, lease, 50).await;
    assert!(claimed.unwrap().iter().any(|job| job.id == JobId(4_711)));
    let before = house.mdm.store().job_times(org, JobId(4_711)).await;
    house.clock.set(begun - DAY * 3);
    let house = house.restarted().await;
    assert_eq!(watch(&house).await, 0);
    assert_eq!(watch(&house).await, 0);
    let after = house.mdm.store().job_times(org, JobId(4_711)).await;
    assert_eq!(before.unwrap().unwrap(), after.unwrap().unwrap());
}

#[tokio::test]
async fn jobs_that_cannot_be_looked_for_keep_no_device_in_its_hold() {
    let (house, phone, s) = held("C02LASTING").await;
    let ceiling = s.ceiling_at.unwrap();
    assert_eq!(watch(&house).await, 0);
    house.clock.set(ceiling - LEFT);
    assert_eq!(watch(&house).await, 0);
    let due = ceiling + DAY * 10;
    let org = put_off(&house, due).await;
    house
        .spoil("CREATE TRIGGER kept BEFORE UPDATE ON jobs WHEN OLD.id = 4711 BEGIN SELECT RAISE(ABORT, 'kept'); END")
        .await;
    house.clock.set(ceiling - LEFT - DAY * 2);
    assert_eq!(watch(&house).await, 0, "it was not over");
    tokio::time::sleep(LEFT + Duration::from_millis(200)).await;
    assert_eq!(watch(&house).await, 1);
    let s = set_up(&house, &phone).await;
    assert!(matches!(s.state, SetUpState::Releasing { .. }), "{s:?}");
    let times = house.mdm.store().job_times(org, JobId(4_711)).await;
    assert_eq!(times.unwrap().unwrap().due, due, "it is as it was");
}

/// Messages go in the order of their ids, which are made of a clock: one that is behind must not put the later one first.
#[tokio::test]
async fn what_is_told_after_a_clock_was_set_back_goes_after_what_was_told_before() {
    let house = House::new().await;
    house.clock.advance(DAY * 10);
    let all = std::collections::BTreeSet::new();
    let org = house.org().await;
    let url = "https://hooks.example.com/in";
    org.new_hook("gap", url, &all).await.unwrap();
    let phone = house.device("C02ORDER").await;
    house.authenticate(&phone).await.unwrap();
    // Its enrolment is older than what is told of it.
    house.clock.advance(Duration::from_secs(60));
    let waits = "<key>AwaitingConfiguration</key><true/>";
    house.token_update(&phone, waits).await.unwrap();
    let before = house.mdm.now();
    let told = async |house: &House| {
        let org = house.org().await;
        let newest = HookMessageId(i64::MAX);
        org.hook_messages("gap", newest, 100).await.unwrap()
    };
    let first = told(&house).await;
    assert!(!first.is_empty());

    let house = house.restarted().await;
    house.clock.set(before - Duration::from_hours(1));
    let phone = house.device("C02ORDER").await;
    house.enrol(&phone).await;
    let rows = told(&house).await;
    assert!(rows.len() > first.len(), "nothing was told: {rows:?}");
    // Newest first: everything that was told later stands before everything that was told earlier.
    let (later, earlier) = rows.split_at(rows.len() - first.len());
    assert!(later.iter().all(|row| row.at < before), "{rows:?}");
    assert_eq!(earlier, first);
}
