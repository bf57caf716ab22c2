//! The verdict can fail: with one thing switched off in the server, the world disagrees or something never ends, and the
//! report names the devices. Without it, the same rehearsal agrees.

use mdm_core::migration::VisibleState;
use mdmd::rehearsal::{Rehearsal, Row, Sabotage, Summary, Verdict};
use tests::{SOON, agreed, play};

/// How a row says that apps are missing which no exception names.
const APPS_GONE: &str = "the record does not name them";

/// An iPhone, an iPad and two Macs.
const DEVICES: u32 = 4;
const SEED: u64 = 11;

async fn summary(sabotage: Option<Sabotage>) -> Summary {
    let mut rehearsal = Rehearsal::new(DEVICES, SEED);
    rehearsal.sabotage = sabotage;
    rehearsal.timetable = SOON;
    play(rehearsal).await
}

async fn sabotaged(sabotage: Sabotage, expected: Verdict) -> Vec<Row> {
    let summary = summary(Some(sabotage)).await;
    assert_eq!(
        summary.verdict(),
        expected,
        "{sabotage:?}: {:#?}",
        summary.rows
    );
    let named: Vec<Row> = summary
        .rows
        .into_iter()
        .filter(|row| row.never_ended || !row.disagreements.is_empty())
        .collect();
    assert!(!named.is_empty(), "{sabotage:?} names no device");
    named
}

/// Some row says so.
fn says(rows: &[Row], words: &str) -> bool {
    rows.iter()
        .flat_map(|row| &row.disagreements)
        .any(|sentence| sentence.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sabotage_the_same_rehearsal_agrees() {
    agreed(&summary(None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_are_skipped_are_missed() {
    let rows = sabotaged(Sabotage::SkipApps, Verdict::Disagrees).await;
    // On iPhone and iPad they are gone, on a Mac they were never installed.
    assert_eq!(rows.len(), usize::try_from(DEVICES).unwrap(), "{rows:#?}");
    for row in &rows {
        assert!(says(std::slice::from_ref(row), APPS_GONE), "{row:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_waits_for_nothing_is_noticed() {
    let rows = sabotaged(Sabotage::ReleaseEarly, Verdict::Disagrees).await;
    // Released before the apps were taken over, and no step of it was required.
    let phones: Vec<&Row> = rows.iter().filter(|row| row.platform == "iOS").collect();
    assert!(!phones.is_empty(), "{rows:#?}");
    for row in phones {
        assert!(says(std::slice::from_ref(row), APPS_GONE), "{row:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_key_that_nobody_can_read_is_noticed() {
    let rows = sabotaged(Sabotage::WrongKey, Verdict::Disagrees).await;
    assert!(rows.iter().all(|row| row.platform == "macOS"), "{rows:#?}");
    // The proof names the key that cannot be read; that the world did nothing to cause it is what disagrees.
    assert!(
        says(
            &rows,
            "no fault explains the exception verify: recovery key"
        ),
        "{rows:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_not_asked_for_is_noticed() {
    let rows = sabotaged(Sabotage::ForgetLock, Verdict::Disagrees).await;
    assert!(says(&rows, "lock"), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_never_released_never_ended() {
    let rows = sabotaged(Sabotage::NeverRelease, Verdict::NeverEnded).await;
    assert_eq!(rows.len(), usize::try_from(DEVICES).unwrap(), "{rows:#?}");
    for row in rows {
        assert!(row.never_ended, "{row:#?}");
        assert_eq!(row.whereabouts, "held", "{row:#?}");
        let over = [
            VisibleState::Migrated,
            VisibleState::MigratedWithExceptions,
            VisibleState::Failed,
        ];
        assert!(!row.outcome.is_some_and(|o| over.contains(&o)), "{row:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_lock_code_is_noticed() {
    let rows = sabotaged(Sabotage::DoubleLock, Verdict::Disagrees).await;
    assert!(says(&rows, "lock"), "{rows:#?}");
}
