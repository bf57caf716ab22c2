//! Budgets and pauses of Apple's services, shared through the store by processes that know nothing else of each other.

mod one_store;

use std::sync::Arc;
use std::time::Duration;

use abm_client::{Gate as _, RequestClass};
use mdm_core::budget::allowance;
use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::ids::OrganisationId;
use mdm_core::service::ports::Ports;
use mdm_core::service::{PauseGate, SharedGate};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{SqliteStore, Store};

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);

/// What processes share that know nothing else of each other.
async fn shared() -> (SqliteStore, ManualClock) {
    let store = SqliteStore::in_memory().await.unwrap();
    (store, ManualClock::new(START))
}

/// The pause of one token, as a process with a turn of its own has it.
fn pause(store: &SqliteStore, clock: &ManualClock, token: &str) -> PauseGate {
    PauseGate::new(
        Arc::new(store.clone()),
        Arc::new(clock.clone()),
        OrganisationId(1),
        token.to_owned(),
        Arc::default(),
    )
}

/// The organisation's budget, and those of these accounts within it, as a process with a turn of its own has them.
fn budget(store: Arc<dyn Store>, clock: &ManualClock, of: i64, accounts: &[&str]) -> SharedGate {
    let account = |name: &&str| (format!("organisation-api {name}"), allowance(20, 10));
    let whole = ("organisation-api".to_owned(), allowance(20, 10));
    let budgets = std::iter::once(whole).chain(accounts.iter().map(account));
    SharedGate::new(
        store,
        Arc::new(clock.clone()),
        OrganisationId(of),
        budgets.collect(),
        Arc::default(),
    )
}

#[tokio::test]
async fn a_pause_holds_for_every_process_on_one_store() {
    let (store, clock) = shared().await;
    let gate = |token: &str| pause(&store, &clock, token);
    let (one, two, other) = (gate("token 1"), gate("token 1"), gate("token 2"));
    two.enter(RequestClass::Read).await.expect("no pause yet");
    one.pause(Duration::from_secs(90)).await;
    for class in [RequestClass::Read, RequestClass::Write] {
        let wait = two.enter(class).await.expect_err("paused");
        assert_eq!(wait, Duration::from_secs(90));
    }
    other
        .enter(RequestClass::Read)
        .await
        .expect("another token");
    // A shorter one that is asked for later ends no longer one.
    two.pause(Duration::from_secs(10)).await;
    clock.advance(Duration::from_secs(89));
    let wait = one.enter(RequestClass::Read).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    for gate in [&one, &two] {
        gate.enter(RequestClass::Read).await.expect("it is over");
    }
}

#[tokio::test]
async fn a_pause_that_is_broken_off_while_it_is_written_down_is_kept() {
    let (store, clock) = shared().await;
    let gate = pause(&store, &clock, "token 1");
    let pause = gate.pause(Duration::from_secs(90));
    // It is begun, and dropped where it first waits.
    let _ = tokio::time::timeout(Duration::ZERO, pause).await;
    let wait = gate.enter(RequestClass::Write).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(90));
    clock.advance(Duration::from_secs(90));
    gate.enter(RequestClass::Write).await.expect("it is over");
}

#[tokio::test]
async fn a_pause_that_cannot_be_written_down_is_kept_and_written_later() {
    let (store, clock) = shared().await;
    let gate = |store: Arc<dyn Store>| budget(store, &clock, 1, &[]);
    let away = Arc::new(FailingStore::new(store.clone(), 0, Moment::Before));
    let ours = gate(away.clone());
    ours.enter(RequestClass::Read).await.expect("free");
    away.cut();
    ours.pause(Duration::from_secs(90)).await;
    away.mend();
    let wait = ours.enter(RequestClass::Read).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(90));
    let others = gate(Arc::new(store));
    let wait = others.enter(RequestClass::Write).await;
    assert_eq!(
        wait.expect_err("paused for them too"),
        Duration::from_secs(90)
    );
    clock.advance(Duration::from_secs(90));
    ours.enter(RequestClass::Read).await.expect("it is over");
}

#[tokio::test]
async fn a_pause_that_is_lifted_is_lifted_in_a_process_that_could_not_write_it_down() {
    let (store, clock) = shared().await;
    let mdm = one_store::process(Arc::new(store.clone()), &clock, Ports::refusing());
    let org = mdm
        .create_organisation("Acme", Vec::new())
        .await
        .unwrap()
        .org;
    let away = Arc::new(FailingStore::new(store, 0, Moment::Before));
    let ours = budget(away.clone(), &clock, org.organisation().id.0, &[]);
    ours.enter(RequestClass::Read).await.expect("free");
    away.cut();
    ours.pause(Duration::from_secs(3600)).await;
    away.mend();
    clock.advance(Duration::from_secs(60));
    assert_eq!(org.lift_pauses().await.unwrap(), 0);
    ours.enter(RequestClass::Read).await.expect("lifted");
}

#[tokio::test]
async fn a_list_lets_the_reads_of_acts_of_another_process_go_first() {
    let (store, clock) = shared().await;
    let gate = || budget(Arc::new(store.clone()), &clock, 1, &[]);
    let (list, acts) = (gate(), gate());
    while list.enter(RequestClass::Background).await.is_ok() {}
    for _ in 0..5 {
        acts.enter(RequestClass::Read).await.expect("room is left");
    }
    let wait = acts.enter(RequestClass::Read).await.expect_err("used up");
    clock.advance(wait);
    list.enter(RequestClass::Background)
        .await
        .expect("one page");
    list.enter(RequestClass::Background)
        .await
        .expect_err("it steps aside");
    for _ in 0..19 {
        acts.enter(RequestClass::Read).await.expect("first");
    }
}

#[tokio::test]
async fn two_processes_share_one_budget() {
    let (store, clock) = shared().await;
    let gate = |client: &str| budget(Arc::new(store.clone()), &clock, 1, &[client]);
    let (one, two) = (gate("a"), gate("b"));
    for n in 0..10 {
        let gate = if n % 2 == 0 { &one } else { &two };
        gate.enter(RequestClass::Write)
            .await
            .expect("within the budget");
    }
    // Each account has used five; together they have used the organisation's ten.
    let wait = two.enter(RequestClass::Write).await.expect_err("used up");
    assert_eq!(wait, Duration::from_secs(3600));
    one.enter(RequestClass::Read)
        .await
        .expect("reads are apart");
    one.pause(Duration::from_secs(90)).await;
    let wait = two.enter(RequestClass::Read).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(90));
    clock.advance(Duration::from_secs(3600));
    two.enter(RequestClass::Write).await.expect("an hour later");
}
