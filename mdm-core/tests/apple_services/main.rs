//! The device list, against a stand-in that plays pages from a script: what makes a device gone and what does not, several server
//! entries, lists that run in circles.

#[path = "../one_store/mod.rs"]
mod one_store;
mod profiles;
mod script;
mod unlisted;
mod web_view;

use std::sync::Arc;
use std::time::Duration;

use mdm_core::clock::Clock as _;
use mdm_core::ids::Serial;
use mdm_core::secret::Secret;
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{DeviceStore as _, JobStore as _, Lease, SqliteStore, WaveStore as _};
use mdm_core::wave::SyncCursor;

use crate::script::{DAY, MINUTE, Page, Stage, mdm};

#[tokio::test]
async fn only_a_complete_list_makes_a_device_gone_and_it_is_read_every_day() {
    let stage = Stage::new(&[(&["A", "B"], &[], true), (&["C"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(MINUTE).await;
    // Hours of empty changes: nobody is gone.
    stage.pass(Duration::from_secs(5 * 3600)).await;
    for serial in ["A", "B", "C"] {
        assert!(!stage.gone(serial).await, "{serial}");
    }
    // The next day's list does not show B any more, on two pages.
    let pages: [Page; 2] = [(&["A"], &[], true), (&["C"], &[], false)];
    stage.script.full.lock().unwrap().extend(pages);
    stage.pass(DAY).await;
    assert!(stage.gone("B").await);
    assert!(!stage.gone("A").await && !stage.gone("C").await);
    let fetches = |asked: &[String]| asked.iter().filter(|a| *a == "fetch -").count();
    assert_eq!(fetches(&stage.script.asked.lock().unwrap()), 2);
}

#[tokio::test]
async fn killed_at_any_commit_of_a_reading_nothing_is_lost_and_nobody_wrongly_gone() {
    for nth in 1..30 {
        let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
        let server = stage.server("one").await;
        stage.pass(MINUTE).await;
        let pages: [Page; 2] = [(&["A"], &[], true), (&["C"], &[], false)];
        // As often as a killed reading may begin anew.
        for _ in 0..4 {
            stage.script.full.lock().unwrap().extend(pages);
        }
        stage.clock.advance(DAY);
        let failing = FailingStore::new(stage.store.clone(), nth, Moment::Before);
        let dying = mdm(Arc::new(failing.clone()), &stage.script, &stage.clock);
        let _ = dying.work(100).await;
        drop(dying);
        assert!(!stage.gone("A").await, "killed at commit {nth}");
        stage.clock.advance(Duration::from_secs(301));
        stage.script.full.lock().unwrap().clear();
        let cursor = |row: mdm_core::wave::Server| row.cursor;
        let at = cursor(
            stage
                .store
                .server(stage.organisation, server)
                .await
                .unwrap()
                .unwrap(),
        );
        // It goes on where it was: after the first page with the second one, after the last one with neither.
        match at {
            SyncCursor::Full { .. } => {
                stage.script.full.lock().unwrap().push_back(pages[1]);
            }
            SyncCursor::Sweeping { .. } => {}
            SyncCursor::Start | SyncCursor::Changes { .. } => {
                stage.script.full.lock().unwrap().extend(pages);
            }
        }
        stage.pass(Duration::from_secs(3600)).await;
        assert!(stage.gone("B").await, "killed at commit {nth}");
        assert!(
            !stage.gone("A").await && !stage.gone("C").await,
            "killed at commit {nth}"
        );
        if !failing.has_failed() {
            assert!(nth > 3, "a reading takes more commits than that");
            return;
        }
    }
    panic!("a reading takes too many commits");
}

#[tokio::test]
async fn a_long_list_is_read_in_several_runs_and_each_page_once() {
    let pages: Vec<Page> = (0..50)
        .map(|n| (&["A", "B"][..], &[][..], n < 49))
        .collect();
    let stage = Stage::new(&pages).await;
    let server = stage.server("one").await;
    let mut runs = 0;
    let row = loop {
        assert!(stage.mdm.work(100).await.unwrap() > 0, "it stops halfway");
        runs += 1;
        let row = stage.store.server(stage.organisation, server).await;
        let row = row.unwrap().unwrap();
        if matches!(row.cursor, SyncCursor::Changes { .. }) {
            break row;
        }
        assert!(row.synced.is_none(), "not complete yet");
    };
    assert!((2..10).contains(&runs), "{runs} runs");
    let mut asked = stage.script.asked.lock().unwrap().clone();
    asked.retain(|a| a.starts_with("fetch"));
    assert_eq!(asked.len(), 50);
    let different: std::collections::BTreeSet<_> = asked.iter().collect();
    assert_eq!(different.len(), 50, "{asked:?}");
    assert!(row.last_full.is_some());
}

#[tokio::test]
async fn a_device_whose_row_is_mended_before_the_end_of_the_list_that_showed_it_is_not_gone() {
    use sqlx::{ConnectOptions as _, Connection as _};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    let stage = Stage::on(store, &[(&["A", "B", "C"], &[], false)]).await;
    let server = stage.server("one").await;
    stage.pass(MINUTE).await;
    let alter = async |sql: &'static str| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut database = options.connect().await.unwrap();
        let met = sqlx::query(sql).execute(&mut database).await.unwrap();
        assert_eq!(met.rows_affected(), 1, "{sql}");
        database.close().await.unwrap();
    };
    // The next day's list takes several runs, shows A on its first page, and does not show C.
    let first: Page = (&["A"], &[], true);
    let (more, last): (Page, Page) = ((&["B"], &[], true), (&["B"], &[], false));
    let pages = [first].into_iter().chain([more; 50]).chain([last]);
    stage.script.full.lock().unwrap().extend(pages);
    stage.clock.advance(DAY);
    alter("UPDATE devices SET doc = '!' || doc WHERE serial = 'A'").await;
    let cursor = async || {
        let row = stage.store.server(stage.organisation, server).await;
        row.unwrap().unwrap().cursor
    };
    let mut rounds = 0;
    while !matches!(cursor().await, SyncCursor::Full { .. }) {
        rounds += 1;
        assert!(rounds < 20, "the list is not read");
        stage.mdm.work(100).await.unwrap();
    }
    alter("UPDATE devices SET doc = substr(doc, 2) WHERE serial = 'A'").await;
    stage.pass(Duration::from_secs(3600)).await;
    assert!(matches!(cursor().await, SyncCursor::Changes { .. }));
    assert!(stage.gone("C").await, "the list did not show it");
    assert!(!stage.gone("A").await && !stage.gone("B").await);
    let row = stage.store.server(stage.organisation, server).await;
    assert!(row.unwrap().unwrap().passed_over.is_empty());
}

#[tokio::test]
async fn a_list_that_runs_in_a_circle_is_left_where_it_is_and_read_on_later() {
    for circle in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        // One that has left: nobody wants the list read sooner, to see an assignment.
        let page: Page = (&[], &["S1"], true);
        let stage = Stage::new(&[page; 200]).await;
        *stage.script.circle.lock().unwrap() = circle.to_vec();
        let one = stage.server("one").await;
        stage.pass(Duration::from_secs(60)).await;
        let asked = stage.script.asked.lock().unwrap().len();
        // The page that names the first place again was asked for, perhaps the one after it, and no more.
        assert!(asked <= circle.len() + 2, "{circle:?}: {asked}");
        let row = stage.store.server(stage.organisation, one).await;
        let at = row.unwrap().unwrap().cursor;
        assert!(
            matches!(&at, SyncCursor::Full { cursor, .. } if Some(&cursor.as_str()) == circle.last()),
            "{at:?}"
        );
        stage.pass(Duration::from_secs(600)).await;
        assert_eq!(stage.script.asked.lock().unwrap().len(), asked);
        // Once the list goes on, it is read on from there.
        stage.script.circle.lock().unwrap().clear();
        stage.script.full.lock().unwrap().clear();
        stage.pass(Duration::from_secs(600)).await;
        let last = format!("fetch {}", circle[circle.len() - 1]);
        assert!(stage.script.asked.lock().unwrap()[asked..].contains(&last));
    }
}

#[tokio::test]
async fn a_list_that_begins_anew_may_name_the_places_that_it_named_before() {
    let page: Page = (&["S1"], &[], true);
    let stage = Stage::new(&[page, page, page, (&["S2"], &[], false)]).await;
    *stage.script.circle.lock().unwrap() = vec!["a", "b"];
    *stage.script.expired.lock().unwrap() = Some("b");
    stage.server("one").await;
    stage.pass(Duration::from_secs(60)).await;
    let asked = stage.script.asked.lock().unwrap().clone();
    assert_eq!(asked[..4], ["fetch -", "fetch a", "fetch b", "fetch -"]);
    assert!(!stage.gone("S2").await, "read to its end: {asked:?}");
}

#[tokio::test]
async fn a_page_that_another_process_has_taken_is_not_taken_again() {
    let stage = Stage::new(&[(&["A"], &[], true), (&["B"], &[], false)]).await;
    *stage.script.overtaken.lock().unwrap() = Some(stage.store.clone());
    stage.server("one").await;
    stage.pass(Duration::from_secs(3600)).await;
    let asked = stage.script.asked.lock().unwrap().clone();
    assert_eq!(asked[..2], ["fetch -", "fetch other"], "{asked:?}");
    assert!(!stage.gone("B").await);
    let first = Serial::parse("A").unwrap();
    let found = stage.store.device_by_serial(stage.organisation, &first);
    assert!(found.await.unwrap().is_none(), "the page was the other's");
}

#[tokio::test]
async fn whoever_assigns_while_a_list_is_read_takes_it_from_nobody_and_it_is_read_again_for_that() {
    let seconds = Duration::from_secs;
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let server = stage.server("one").await;
    stage.pass(MINUTE * 5).await;
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
    // Long after that, when the profile should have shown: somebody claims the reading, and is never heard of again.
    stage.clock.advance(MINUTE * 45);
    let now = stage.clock.now();
    let lease = Lease(now + seconds(20));
    let claimed = stage.store.claim_jobs(now, lease, 100).await.unwrap();
    let row = stage.store.server(stage.organisation, server).await;
    let reading = row.unwrap().unwrap().sync_job;
    assert!(claimed.iter().any(|job| job.id == reading));
    let serial = Serial::parse("A").unwrap();
    let asked = stage.org().await.assign_profiles(&[serial]).await;
    asked.unwrap();
    let work = async || while stage.mdm.work(100).await.unwrap() > 0 {};
    let read = || stage.script.asked.lock().unwrap().len();
    let before = read();
    work().await;
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 2);
    let times = stage.store.job_times(stage.organisation, reading).await;
    let times = times.unwrap().unwrap();
    assert_eq!(
        (times.lease, times.leased_until),
        (Some(lease), now + seconds(20))
    );
    stage.clock.set(now + seconds(19));
    work().await;
    assert_eq!(read(), before, "its lease goes on");
    stage.clock.set(now + seconds(20));
    work().await;
    assert_eq!(read(), before + 1, "nobody reads on for whoever has died");
    // What was assigned may not have shown yet.
    stage.pass(seconds(69)).await;
    assert_eq!(read(), before + 1);
    stage.pass(seconds(1)).await;
    work().await;
    assert_eq!(read(), before + 2);
    stage.pass(MINUTE * 9).await;
    assert_eq!(read(), before + 2, "once is enough");
}

#[tokio::test]
async fn a_device_that_changes_lists_of_ours_is_not_gone() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let one = stage.server("one").await;
    stage.pass(MINUTE).await;
    stage
        .script
        .full
        .lock()
        .unwrap()
        .push_back((&["A"], &[], false));
    let two = stage.server("two").await;
    stage.pass(MINUTE).await;
    assert_eq!(stage.device("A").await.record.unwrap().server, two);
    // The first list says later that it has left there.
    stage
        .script
        .changes
        .lock()
        .unwrap()
        .push_back((&[], &["A"], false));
    let org = stage.org().await;
    assert_eq!(org.organisation().servers, [one, two]);
    stage.pass(Duration::from_secs(1200)).await;
    let record = stage.device("A").await.record.unwrap();
    assert!(stage.script.changes.lock().unwrap().is_empty());
    assert!(record.server == two && !record.gone, "{record:?}");
}

#[tokio::test]
async fn a_device_on_two_pages_is_one_device_as_the_later_page_says() {
    // The second page is worked out while the first, which makes the device, is being kept.
    let pages: [Page; 3] = [
        (&["A", "B"], &[], true),
        (&["B", "C"], &[], true),
        (&["C"], &["A"], false),
    ];
    let stage = Stage::new(&pages).await;
    stage.server("one").await;
    stage.pass(MINUTE).await;
    let asked = stage.script.asked.lock().unwrap().clone();
    assert_eq!(asked[..3], ["fetch -", "fetch c1", "fetch c2"], "{asked:?}");
    assert!(stage.gone("A").await && !stage.gone("B").await && !stage.gone("C").await);
    let after = mdm_core::ids::DeviceId(0);
    let all = stage.store.devices(stage.organisation, after, 10).await;
    assert_eq!(all.unwrap().len(), 3);
}

#[tokio::test]
async fn imports_at_the_same_time_are_all_in_force() {
    let stage = Stage::new(&[]).await;
    let org = stage.org().await;
    let key = Secret::from_text("key");
    let (one, two) = (Secret::from_text("one"), Secret::from_text("two"));
    // All of them read the organisation before any of them has written it.
    let (first, second, api, some, others) = tokio::join!(
        org.import_server_token(&one, None),
        org.import_server_token(&two, None),
        org.import_api("BUSINESSAPI.1", "k", &key),
        org.trust_device_ca(vec![1]),
        org.trust_device_ca(vec![2]),
    );
    let imported = std::collections::BTreeSet::from([first.unwrap(), second.unwrap()]);
    for done in [api, some, others] {
        done.unwrap();
    }
    let org = stage.org().await;
    let now = org.organisation();
    let servers: std::collections::BTreeSet<_> = now.servers.iter().copied().collect();
    assert_eq!(servers, imported);
    assert!(now.api.is_some());
    let mut trusted: Vec<_> = now.device_cas.iter().map(|ca| ca.0.clone()).collect();
    trusted.sort();
    assert_eq!(trusted, [vec![1], vec![2]]);
}
