//! The chain over the record: what is committed is sealed by itself, whatever is done to the rows afterwards is found, and a
//! checkpoint that left the building finds an end that was cut off.

mod service_house;

use std::sync::Arc;
use std::time::Duration;

use mdm_core::audit::AuditEntry;
use mdm_core::audit_seal::Checkpoint;
use mdm_core::ids::{AuditId, AuditSealId, IdSource, OrganisationId, ServerId};
use mdm_core::service::{Org, ProjectChange};
use mdm_core::store::testing::{FailingStore, Moment, TestPostgres};
use mdm_core::store::{Batch, PostgresOptions, PostgresStore, SqliteStore, Store};
use serde_json::json;
use service_house::House;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Where the record is kept.
enum Base {
    Sqlite,
    Postgres(Box<TestPostgres>),
}

/// An installation on it, whose rows a test may spoil.
struct Place {
    house: House,
    url: Option<String>,
}

impl std::ops::Deref for Place {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}

impl Base {
    async fn place(&self) -> Place {
        let Self::Postgres(server) = self else {
            let house = House::new().await;
            return Place { house, url: None };
        };
        let url = server.database().await;
        Place {
            house: House::over_store(Arc::new(connected(&url).await)).await,
            url: Some(url),
        }
    }

    /// A store without a house.
    async fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite => Arc::new(SqliteStore::in_memory().await.unwrap()),
            Self::Postgres(server) => Arc::new(connected(&server.database().await).await),
        }
    }
}

async fn connected(url: &str) -> PostgresStore {
    let mut options = PostgresOptions::default();
    options.accept_lost_commits = true;
    PostgresStore::connect(url, options).await.unwrap()
}

impl Place {
    /// Statements past every rule, as SQLite has them; `{json}` stands behind a text that becomes a document.
    async fn spoil(&self, sql: &str) -> u64 {
        let Some(url) = &self.url else {
            return self.house.spoil(&sql.replace("{json}", "")).await;
        };
        let sql = sql
            .replace("{json}", "::json")
            .replace("doc LIKE", "doc::text LIKE")
            .replace("replace(doc,", "replace(doc::text,");
        let mut connection = PgConnection::connect(url).await.unwrap();
        let done = connection.execute(AssertSqlSafe(sql)).await.unwrap();
        done.rows_affected()
    }
}

/// Every story on both databases.
macro_rules! on_both {
    ($($story:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $story() {
                Box::pin(super::$story(&super::Base::Sqlite)).await;
            })*
        }

        #[tokio::test]
        async fn on_postgres() {
            let Some(server) = TestPostgres::find().await else {
                let needed = std::env::var_os("MDMD_TEST_REQUIRE_POSTGRES").is_some();
                assert!(!needed, "there is no PostgreSQL to test with");
                return;
            };
            let base = Base::Postgres(Box::new(server));
            $(
                eprintln!("{} on PostgreSQL", stringify!($story));
                Box::pin($story(&base)).await;
            )*
            if let Base::Postgres(server) = base {
                server.clean().await;
            }
        }
    };
}

on_both! {
    what_is_committed_is_sealed_by_itself_and_once
    whatever_is_done_to_the_rows_is_found
    a_line_that_was_put_in_is_found_before_and_after_the_sealer_has_met_it
    what_no_seal_names_is_sealed_however_small_its_id_is
    an_entry_that_cannot_be_read_keeps_no_other_from_being_sealed
    an_end_that_was_cut_off_after_something_left_is_found_without_what_left
    a_checkpoint_is_checked_first
    a_clock_that_was_set_back_keeps_nothing_from_being_sealed
    what_was_held_back_is_decided_again_and_the_record_stays_good
    a_line_that_was_decided_minutes_before_its_commit_is_not_late
}

/// Lets a minute pass, so that the worker seals.
async fn minute(house: &House) {
    house.clock.advance(Duration::from_secs(61));
    while house.mdm.work(50).await.unwrap() > 0 {}
}

/// Writes a line of the record.
async fn act(house: &House, org: &Org, n: usize) {
    let server: ServerId = house.server;
    org.new_project(&format!("project {n}"), server, &ProjectChange::default())
        .await
        .unwrap();
}

async fn sealed(base: &Base) -> (Place, Org, Checkpoint) {
    let house = base.place().await;
    let org = house.org().await.acting_for("Anna");
    // The first round only sets the time of the next.
    minute(&house).await;
    for n in 0..3 {
        act(&house, &org, n).await;
        minute(&house).await;
    }
    let checkpoint = org.checkpoint().await.unwrap();
    (house, org, checkpoint)
}

async fn what_is_committed_is_sealed_by_itself_and_once(base: &Base) {
    let (house, org, checkpoint) = sealed(base).await;
    let id = org.organisation().id;
    let seals = async || {
        let all = house.mdm.store().audit_seals(id, AuditSealId(0), 100);
        all.await.unwrap()
    };
    let before = seals().await;
    assert!(before.len() >= 3, "{}", before.len());
    assert_eq!(before.last().unwrap().id, checkpoint.seal);
    let entries = house.mdm.store().audit(id, AuditId(0), 1000).await.unwrap();
    let named: usize = before.iter().map(|s| s.entries.len()).sum();
    // The last one says that a checkpoint left, and is the tail.
    assert_eq!(named + 1, entries.len());
    assert_eq!(entries.last().unwrap().what, "record.left");
    let report = org.verify_record(None).await.unwrap();
    assert_eq!((report.chain.unsealed, report.chain.late), (1, 0));
    assert!(report.chain.unsealed_since.is_some());
    let still = seals().await;
    assert_eq!(still, before, "looking seals nothing");
    minute(&house).await;
    let before = seals().await;
    // Nothing came: nothing is sealed.
    minute(&house).await;
    let after = seals().await;
    assert_eq!(after.len(), before.len());
    let report = org.verify_record(Some(&checkpoint)).await.unwrap();
    assert_eq!(report.chain.broken, Vec::<String>::new());
    assert_eq!(report.chain.sealed, u64::try_from(entries.len()).unwrap());
    let tail = org.record_tail(2).await.unwrap();
    assert_eq!(tail.len(), 2);
    assert_eq!(tail[1].id, entries.last().unwrap().id);
    // Which version let it go is in the record, and in its chain like everything else there.
    let left = report.left.unwrap();
    let version = Some(env!("CARGO_PKG_VERSION").to_owned());
    assert_eq!((left.with.as_str(), left.version), ("checkpoint", version));
    // An earlier one did not say.
    let (after, detail) = (AuditId(house.next_id()), json!({ "with": "hand-off" }));
    let said = AuditEntry::new(id, after, left.at, "Anna", "record.left", None, detail);
    let mut batch = Batch::new();
    batch.put(said);
    house.mdm.store().commit(batch).await.unwrap();
    let left = org.verify_record(None).await.unwrap().left.unwrap();
    assert_eq!((left.with.as_str(), left.version), ("hand-off", None));
}

async fn whatever_is_done_to_the_rows_is_found(base: &Base) {
    for (sql, word) in [
        (
            "UPDATE audit SET doc = replace(doc, 'project 1', 'project 9'){json} WHERE doc LIKE '%project 1%'",
            "was changed after it was sealed",
        ),
        (
            "DELETE FROM audit WHERE doc LIKE '%project 1%'",
            "is not there any more",
        ),
        (
            "UPDATE audit_seals SET doc = replace(doc, '\"previous\":\"', '\"previous\":\"0'){json} WHERE id = 2",
            "seal 2",
        ),
        (
            "DELETE FROM audit_seals WHERE id = 2",
            "seal 2 is not there",
        ),
        // The end goes: only the checkpoint knows.
        ("DELETE FROM audit_seals WHERE id >= 3", "checkpoint of"),
        // Whoever seals the whole of it anew has another key.
        (
            "DELETE FROM audit_seals; UPDATE audit SET version = 1",
            "seal 1 is another than that of the checkpoint",
        ),
    ] {
        let (house, org, mut checkpoint) = sealed(base).await;
        if word.contains("another than") {
            let id = org.organisation().id;
            let first = house
                .mdm
                .store()
                .audit_seals(id, AuditSealId(0), 1)
                .await
                .unwrap();
            let code = org.organisation().code.to_string();
            checkpoint = first[0].checkpoint(&code, &checkpoint.public_key);
        }
        house.spoil(sql).await;
        if word.contains("another than") {
            minute(&house).await;
        }
        let report = org.verify_record(Some(&checkpoint)).await.unwrap();
        let broken = report.chain.broken.join("; ");
        assert!(broken.contains(word), "{sql}: {broken}");
    }
}

/// Puts a line of somebody else's between those that are sealed; marked or not as one that is sealed.
async fn forge(house: &Place, version: i64) {
    house
        .spoil(&format!(
            "INSERT INTO audit SELECT organisation, id + 1, {version}, device, \
             replace(replace(doc, '\"actor\":\"Anna\"', '\"actor\":\"Bo\"'), '\"id\":\"' || id, '\"id\":\"' || (id + 1)){{json}} \
             FROM audit WHERE doc LIKE '%project 1%'"
        ))
        .await;
}

async fn a_line_that_was_put_in_is_found_before_and_after_the_sealer_has_met_it(base: &Base) {
    for version in [1, 2] {
        let (house, org, checkpoint) = sealed(base).await;
        for n in 3..6 {
            act(&house, &org, n).await;
            minute(&house).await;
        }
        forge(&house, version).await;
        let report = org.verify_record(Some(&checkpoint)).await.unwrap();
        let broken = report.chain.broken.join("; ");
        assert!(broken.contains("is named by no seal"), "{broken}");
        assert_eq!((report.chain.late, report.chain.unsealed), (1, 0));
        minute(&house).await;
        let report = org.verify_record(None).await.unwrap();
        let broken = report.chain.broken.join("; ");
        // Which of the two depends on whether the sealer was told to leave it.
        let word = ["and is sealed by seal", "is named by no seal"];
        assert!(broken.contains(word[usize::from(version == 2)]), "{broken}");
        assert_eq!((report.chain.late, report.chain.unsealed), (1, 0));
    }
}

async fn what_no_seal_names_is_sealed_however_small_its_id_is(base: &Base) {
    let (house, org, _) = sealed(base).await;
    house
        .spoil(
            "INSERT INTO audit SELECT organisation, id / 2, 1, device, replace(doc, '\"id\":\"' || id, '\"id\":\"' || (id / 2)){json} \
             FROM audit WHERE doc LIKE '%project 1%'",
        )
        .await;
    minute(&house).await;
    let id = org.organisation().id;
    let open = house.mdm.store().unsealed_audit(id, 100).await.unwrap();
    assert_eq!(open, Vec::new());
    let seal = house.mdm.store().newest_audit_seals(id, 1).await.unwrap();
    let entries = house.mdm.store().audit(id, AuditId(0), 1).await.unwrap();
    assert_eq!(seal[0].entries[0].0, entries[0].id);
}

async fn an_entry_that_cannot_be_read_keeps_no_other_from_being_sealed(base: &Base) {
    let (house, org, _) = sealed(base).await;
    minute(&house).await;
    let (store, id) = (house.mdm.store(), org.organisation().id);
    for n in 6..9 {
        act(&house, &org, n).await;
    }
    let unread =
        "UPDATE audit SET doc = '{}'{json} WHERE doc LIKE '%project 6%' OR doc LIKE '%project 7%'";
    assert_eq!(house.spoil(unread).await, 2);
    // They are the first, and there is room for one.
    let open = store.unsealed_audit(id, 1).await.unwrap();
    assert!(open[0].detail.to_string().contains("project 8"), "{open:?}");
    let next = store.next_unsealed_audit(OrganisationId(0)).await.unwrap();
    assert_eq!(next.as_ref(), open.first());
    minute(&house).await;
    assert_eq!(store.unsealed_audit(id, 100).await.unwrap(), []);
    let newest = store.newest_audit_seals(id, 1).await.unwrap();
    let named: Vec<AuditId> = newest[0].entries.iter().map(|(id, _)| *id).collect();
    assert!(named.contains(&open[0].id), "{named:?}");
}

async fn an_end_that_was_cut_off_after_something_left_is_found_without_what_left(base: &Base) {
    let (house, org, _) = sealed(base).await;
    act(&house, &org, 7).await;
    // A report left: nobody here has its checkpoint.
    let left = org.leaves(None).await.unwrap().unwrap();
    let at = left.seal;
    house
        .spoil(&format!(
            "DELETE FROM audit_seals WHERE id >= {}; DELETE FROM audit WHERE id >= (SELECT min(id) FROM audit WHERE doc LIKE '%project 2%')",
            at.0 - 1
        ))
        .await;
    let broken = org.verify_record(None).await.unwrap().chain.broken;
    let broken = broken.join("; ");
    assert!(broken.contains("the end was cut off"), "{broken}");
    // The chain grows past that place, and something leaves again: it stays found.
    for n in 10..16 {
        act(&house, &org, n).await;
        minute(&house).await;
    }
    let again = org.leaves(None).await.unwrap().unwrap();
    assert!(again.seal > left.seal);
    let broken = org.verify_record(None).await.unwrap().chain.broken;
    let broken = broken.join("; ");
    assert!(broken.contains("is another than that of"), "{broken}");
}

async fn a_checkpoint_is_checked_first(base: &Base) {
    let (_house, org, checkpoint) = sealed(base).await;
    let mut other = checkpoint.clone();
    other.hash.replace_range(0..2, "zz");
    let said = org
        .verify_record(Some(&other))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("is not signed by the key that it names"),
        "{said}"
    );
    let mut other = checkpoint;
    other.organisation = "someone".to_owned();
    let said = org
        .verify_record(Some(&other))
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("another organisation"), "{said}");
}

async fn a_clock_that_was_set_back_keeps_nothing_from_being_sealed(base: &Base) {
    let (house, org, _) = sealed(base).await;
    // Data of a rehearsal in another year: the newest ids are those of a time to come.
    house
        .clock
        .set(house.mdm.now() - Duration::from_secs(400 * 86_400));
    minute(&house).await;
    act(&house, &org, 8).await;
    minute(&house).await;
    minute(&house).await;
    let report = org.verify_record(None).await.unwrap();
    assert_eq!(report.chain.broken, Vec::<String>::new());
    assert_eq!((report.chain.unsealed, report.chain.late), (0, 0));
    let checkpoint = org.checkpoint().await.unwrap();
    act(&house, &org, 9).await;
    let left = org.leaves(None).await.unwrap().unwrap();
    assert!(left.seal > checkpoint.seal);
    let open = house
        .mdm
        .store()
        .unsealed_audit(org.organisation().id, 10)
        .await;
    assert_eq!(
        open.unwrap(),
        Vec::new(),
        "what leaves has everything sealed"
    );
}

async fn what_was_held_back_is_decided_again_and_the_record_stays_good(base: &Base) {
    let store = FailingStore::new(base.store().await, 0, Moment::Before);
    let house = House::over_store(Arc::new(store.clone())).await;
    let org = house.org().await.acting_for("Anna");
    minute(&house).await;
    act(&house, &org, 0).await;
    minute(&house).await;
    let before = store.commits();
    act(&house, &org, 1).await;
    let usual = store.commits() - before;
    store.hold_back(1);
    act(&house, &org, 2).await;
    // Refused once, and decided again.
    assert_eq!(store.commits(), before + 2 * usual + 1);
    for _ in 0..4 {
        minute(&house).await;
    }
    let report = org.verify_record(None).await.unwrap();
    assert_eq!(report.chain.broken, Vec::<String>::new());
    assert_eq!((report.chain.unsealed, report.chain.late), (0, 0));
    let entries = house
        .mdm
        .store()
        .audit(org.organisation().id, AuditId(0), 1000)
        .await
        .unwrap();
    let made = entries.iter().filter(|line| line.what == "project.new");
    assert_eq!(made.count(), 3, "{entries:?}");
}

async fn a_line_that_was_decided_minutes_before_its_commit_is_not_late(base: &Base) {
    let (house, org, _) = sealed(base).await;
    let (store, id) = (house.mdm.store(), org.organisation().id);
    let decided = house.mdm.now();
    let drawn = AuditId(IdSource::floor(decided));
    let slow = AuditEntry::new(id, drawn, decided, "Anna", "slow.act", None, json!({}));
    // Meanwhile others have written, and the record is sealed past it.
    for n in 3..6 {
        act(&house, &org, n).await;
        minute(&house).await;
    }
    let newest = store.newest_audit_seals(id, 1).await.unwrap().remove(0);
    let mut batch = Batch::new();
    batch.put(slow);
    store.commit(batch).await.unwrap();
    for _ in 0..4 {
        minute(&house).await;
    }
    let report = org.verify_record(None).await.unwrap();
    assert_eq!(report.chain.broken, Vec::<String>::new());
    assert_eq!((report.chain.unsealed, report.chain.late), (0, 0));
    let entries = store.audit(id, AuditId(0), 1000).await.unwrap();
    let slow = entries.iter().find(|line| line.what == "slow.act");
    let slow = slow.unwrap();
    assert_eq!(slow.at, decided, "what was decided when stays what it was");
    let sealed = newest.entries.iter().map(|(id, _)| *id).max();
    assert!(Some(slow.id) > sealed, "{slow:?}");
}
