//! The power is cut at the n-th commit, before it is on the disk or after: the house is torn down, started again on the same
//! database, and the rehearsal runs on to the same end. Here for some n, evenly spread; `MDMD_TEST_CRASH_ALL=1` for every n,
//! `MDMD_TEST_CRASH_FIRST` moves the first one.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use fixtures::world::World;
use mdm_core::store::Store;
use mdm_core::store::testing::{FailingStore, Moment};
use mdmd::rehearsal::{HouseOptions, Rehearsal, Row, Stage, StoreWrap, Tenancy};
use serde_json::Value;
use tests::SOON;
use tokio::task::JoinSet;

/// An iPhone and a Mac whose disk is encrypted.
const DEVICES: u32 = 2;
/// So many cuts of each kind, unless all are asked for.
const CUTS: u64 = 7;

/// So many at a time.
const AT_ONCE: usize = 3;

type Failing = FailingStore<Arc<dyn Store>>;

/// What the world and our records say in the end, without how long it took.
fn end(rows: &[Row]) -> Vec<Value> {
    rows.iter()
        .map(|row| {
            let mut told = serde_json::to_value(row).unwrap();
            let members = told.as_object_mut().unwrap();
            members.remove("hold_minutes").unwrap();
            // A device notes that a server without a database sent it away, and comes again.
            let odd = |s: &&String| !(s.starts_with("the device says") && s.ends_with("HTTP 503"));
            let disagreements = row.disagreements.iter().filter(odd).cloned();
            let disagreements: Vec<String> = disagreements.collect();
            members.insert("disagreements".to_owned(), disagreements.into());
            told
        })
        .collect()
}

async fn world() -> World {
    Rehearsal::new(DEVICES, 42).world().await.unwrap()
}

/// A house whose store fails at the `nth` commit.
fn failing(nth: u64, moment: Moment) -> (HouseOptions, Arc<OnceLock<Failing>>) {
    let store = Arc::new(OnceLock::new());
    let kept = Arc::clone(&store);
    let wrap: StoreWrap = Box::new(move |inner| {
        let failing = FailingStore::new(inner, nth, moment);
        let _ = kept.set(failing.clone());
        Arc::new(failing)
    });
    let mut options = HouseOptions::default();
    options.wrap = Some(wrap);
    (options, store)
}

/// Plays until the power is cut; answers what the house was, if it was finished, and the number of commits.
async fn until_the_cut(
    world: &World,
    directory: &Path,
    nth: u64,
    moment: Moment,
) -> (Option<Tenancy>, u64) {
    let (options, store) = failing(nth, moment);
    let set = Stage::set(world.clone(), directory, options).await;
    let store = store.get().unwrap();
    let stage = match set {
        Ok(stage) => stage,
        Err(error) => {
            assert!(store.has_failed(), "{error:#}");
            return (None, store.commits());
        }
    };
    match stage.plan_for(None, &SOON).await {
        Ok((wave, _)) => {
            let played = stage.play_until(wave, &|| store.has_failed()).await;
            assert!(played.is_ok() || store.has_failed(), "{played:?}");
        }
        Err(error) => assert!(store.has_failed(), "{error:#}"),
    }
    let (_, tenancy) = stage.tear_down().await.unwrap();
    (Some(tenancy), store.commits())
}

/// Starts again on what is there, and plays to the end.
async fn to_the_end(world: World, directory: &Path, tenancy: Option<Tenancy>) -> Vec<Row> {
    let mut options = HouseOptions::default();
    options.again = tenancy;
    options.finish = tenancy.is_none();
    let stage = Stage::set(world, directory, options).await.unwrap();
    let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
    stage.play(wave).await.unwrap();
    let rows = stage.judge().await.unwrap();
    stage.strike().await.unwrap();
    rows
}

/// Cut at the `nth` commit, started again, played to the end.
async fn cut(nth: u64, moment: Moment) -> Vec<Row> {
    let directory = tempfile::tempdir().unwrap();
    let world = world().await;
    let (tenancy, _) = until_the_cut(&world, directory.path(), nth, moment).await;
    to_the_end(world, directory.path(), tenancy).await
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_power_is_cut_the_end_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let world = world().await;
    // The same way without a cut, which also counts the commits.
    let (tenancy, commits) = until_the_cut(&world, directory.path(), 0, Moment::Before).await;
    let undisturbed = end(&to_the_end(world, directory.path(), tenancy).await);
    assert!(commits > 50, "only {commits} commits");
    for row in &undisturbed {
        assert_eq!(row["outcome"], "Migrated", "{row:#}");
        assert_eq!(row["disagreements"], serde_json::json!([]), "{row:#}");
        if row["platform"] == "macOS" {
            assert_eq!(row["recovery_key"], "proved", "{row:#}");
        }
    }
    let all = number("MDMD_TEST_CRASH_ALL") == Some(1);
    let step = if all { 1 } else { commits / CUTS };
    let first = number("MDMD_TEST_CRASH_FIRST").unwrap_or(1).max(1);
    let mut cuts = Vec::new();
    for (moment, first) in [(Moment::Before, first), (Moment::After, first + step / 2)] {
        let all = (first..=commits).step_by(usize::try_from(step).unwrap());
        cuts.extend(all.map(|nth| (nth, moment)));
    }
    let mut waiting = cuts.into_iter();
    let mut running = JoinSet::new();
    let (mut alike, mut others) = (0, Vec::new());
    loop {
        while running.len() < AT_ONCE
            && let Some((nth, moment)) = waiting.next()
        {
            running.spawn(async move {
                let when = format!("{moment:?} commit {nth} of {commits}");
                // In a task of its own, so that one that panics is told by its commit as well.
                let told = tokio::spawn(async move { end(&cut(nth, moment).await) }).await;
                (when, told)
            });
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        match ended.unwrap() {
            (_, Ok(told)) if told == undisturbed => alike += 1,
            (when, Ok(told)) => others.push(format!("{when}: {told:#?}")),
            (when, Err(panic)) => others.push(format!("{when}: {panic}")),
        }
    }
    assert!(
        others.is_empty(),
        "{alike} cuts came to the same end; these did not:\n{}\nwithout a cut: {undisturbed:#?}",
        others.join("\n")
    );
}
