//! The door for devices keeps the organisation from message to message. What another process changed is in force with the
//! next message all the same, and what is kept decides nothing by itself.

mod service_house;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mdm_core::error::Error;
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};
use service_house::{House, data};
use tracing::Instrument as _;
use tracing::span::{Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

#[tokio::test]
async fn what_another_process_changed_is_in_force_with_the_next_message() {
    let house = House::new().await;
    let phone = house.device("C02DOOR").await;
    house.enrol(&phone).await;
    let code = house.org().await.organisation().code.clone();
    let idle = "<key>Status</key><string>Idle</string>";
    let kept = house.mdm.organisation_for_device(&code).await.unwrap();
    house.report_through(&kept, &phone, idle).await.unwrap();

    // Somebody else writes the row: its authority is no longer listed.
    let store = house.mdm.store();
    let id = kept.organisation().id;
    let mut row = store.organisation(id).await.unwrap().unwrap();
    let authorities = std::mem::take(&mut row.identity_cas);
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let still = house.mdm.organisation_for_device(&code).await.unwrap();
    for org in [&kept, &still] {
        let refused = house.report_through(org, &phone, idle).await;
        assert!(
            matches!(refused, Err(Error::BadInput { .. })),
            "{refused:?}"
        );
    }

    // And back again: an authority that this process has not seen yet is asked for before anybody is refused.
    let mut row = store.organisation(id).await.unwrap().unwrap();
    row.identity_cas = authorities;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let org = house.mdm.organisation_for_device(&code).await.unwrap();
    house.report_through(&org, &phone, idle).await.unwrap();
}

#[tokio::test]
async fn a_poll_stirs_nobody_and_an_enrolment_does() {
    let house = House::new().await;
    let phone = house.device("C02STIR").await;
    let _ = house.mdm.stirred();
    house.enrol(&phone).await;
    assert!(house.mdm.stirred(), "an enrolment leaves work");
    let idle = "<key>Status</key><string>Idle</string>";
    // The first fetches a command; the second finds it waiting for its answer.
    house.report(&phone, idle).await.unwrap();
    let _ = house.mdm.stirred();
    house.report(&phone, idle).await.unwrap();
    assert!(!house.mdm.stirred(), "a poll leaves nothing to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mac_and_its_users_that_speak_at_once_are_no_rivals() {
    let house = House::new().await;
    let mac = house.mac("C02RIVALS").await;
    house.enrol(&mac).await;
    let lost = || house.mdm.store().commit_figures().unwrap().conflicts;
    let before = lost();
    // Each in a closed loop, as after a wake.
    let all = (0..8).map(async |n| {
        let user = format!(
            "<key>UserID</key><string>RIVAL{n}</string><key>UserShortName</key><string>r{n}</string><key>NotOnConsole</key><false/>"
        );
        let more = if n == 0 { "" } else { user.as_str() };
        for _ in 0..10 {
            house.token_update(&mac, more).await.unwrap();
        }
    });
    futures_util::future::join_all(all).await;
    assert_eq!(lost() - before, 0, "they are heard in turn");
}

#[tokio::test]
async fn rivals_elsewhere_are_outlasted_and_too_many_of_them_are_no_lost_database() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SqliteStore::open(&folder.path().join("mdm.sqlite")).await;
    let store = FailingStore::new(disk.unwrap(), 0, Moment::Before);
    let house = House::over_store(Arc::new(store.clone())).await;
    let phone = house.device("C02ELSEWHERE").await;
    house.enrol(&phone).await;
    // Each has something new to say, so that there is something to write.
    let says = async |token: &[u8], lost: u64| {
        store.overtake(lost);
        let token = format!("<key>UnlockToken</key>{}", data(token));
        house.token_update(&phone, &token).await
    };
    says(b"first", 20).await.unwrap();
    let busy = says(b"second", 1_000).await.unwrap_err();
    assert!(matches!(busy, Error::Busy(_)), "{busy:?}");
    assert!(busy.retry_after().is_some() && !busy.is_callers_fault());
    says(b"second", 0).await.unwrap();
}

/// A log that counts how often a span is told something.
struct Told(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Told {
    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_span_around_a_message_is_told_the_serial_number_once_however_often_it_is_decided() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SqliteStore::open(&folder.path().join("mdm.sqlite")).await;
    let store = FailingStore::new(disk.unwrap(), 0, Moment::Before);
    let house = House::over_store(Arc::new(store.clone())).await;
    let phone = house.device("C02SPAN").await;
    house.enrol(&phone).await;
    let told = Arc::new(AtomicUsize::new(0));
    let log = tracing_subscriber::registry().with(Told(Arc::clone(&told)));
    let _log = tracing::subscriber::set_default(log);
    store.overtake(3);
    let span = tracing::info_span!("request", serial = tracing::field::Empty);
    house
        .token_update(&phone, "")
        .instrument(span)
        .await
        .unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1);
}
