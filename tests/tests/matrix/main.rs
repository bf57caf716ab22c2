//! Every step that a runbook can have with everything that a device, Apple or whoever is told can make of it, on iPhone and Mac: state,
//! release and record are right in all of them. The table is made from the runbooks and the behaviours below; a step of the code that is
//! in none of them fails it. Nobody answers a tag, so that it only succeeds, meets a new enrolment and has the power cut; the proof is
//! asked for after the release alone, so that it has no late answer. What became of the devices, the simulated world says.

mod director;
mod look;
mod receiver;
mod runbooks;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use director::{Director, Failing, seat};
use fixtures::world::World;
use look::{Findings, look};
use mdm_core::device::Platform;
use mdm_core::migration::StepId;
use mdm_core::store::testing::{FailingStore, Moment};
use mdmd::rehearsal::{HouseOptions, Rehearsal, START_MS, Stage, StoreWrap};
use receiver::{add_desk, told_by};
use runbooks::own;
use tests::SOON;

/// What somebody makes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Behaviour {
    Succeeds,
    Errors,
    NotNowForEver,
    NeverAnswers,
    AnswersTwice,
    AnswersAfterRelease,
    EnrolsAnew,
}

/// One field of the matrix: one device.
#[derive(Clone, Copy, Debug)]
struct Cell {
    platform: Platform,
    step: StepId,
    behaviour: Behaviour,
}

impl Cell {
    fn name(&self) -> String {
        let Self {
            platform,
            step,
            behaviour,
        } = self;
        format!("{} {step} {behaviour:?}", platform.as_str())
    }
}

/// Every step of both platforms with each of these behaviours; with `MDMD_MATRIX`, those alone whose names (as in `macOS declare
/// NeverAnswers`) have one of its words, separated by commas, in them.
fn cells(behaviours: &[Behaviour]) -> Vec<Cell> {
    let mut cells = all_cells(behaviours);
    if let Ok(words) = std::env::var("MDMD_MATRIX") {
        cells.retain(|cell| words.split(',').any(|word| cell.name().contains(word)));
    }
    cells
}

fn all_cells(behaviours: &[Behaviour]) -> Vec<Cell> {
    let mut cells = Vec::new();
    let own = own();
    for id in StepId::ALL {
        let in_one = own.values().any(|runbook| runbook.step(id).is_some());
        assert!(in_one, "{id} is in no runbook of the matrix");
    }
    for (platform, runbook) in own {
        for step in &runbook.steps {
            for behaviour in behaviours.iter().filter(|b| can_be(step.id, **b)) {
                cells.push(Cell {
                    platform,
                    step: step.id,
                    behaviour: *behaviour,
                });
            }
        }
    }
    cells
}

/// Nobody is asked for a tag, and the proof is asked for after the release alone.
const fn can_be(step: StepId, behaviour: Behaviour) -> bool {
    match step {
        StepId::Tag => matches!(behaviour, Behaviour::Succeeds | Behaviour::EnrolsAnew),
        StepId::Verify => !matches!(behaviour, Behaviour::AnswersAfterRelease),
        _ => true,
    }
}

/// Gives each cell a device of its platform. The kinds of a fleet go in turn.
async fn world_for(cells: &[Cell], seed: u64) -> (Rehearsal, World, BTreeMap<String, Cell>) {
    let of = |platform| cells.iter().filter(move |c| c.platform == platform).count();
    // Two of each platform in every round of four.
    let rounds = of(Platform::Ios).max(of(Platform::Macos)).div_ceil(2);
    let mut rehearsal = Rehearsal::new(u32::try_from(rounds * 4).unwrap(), seed);
    rehearsal.own = own();
    let world = rehearsal.world().await.unwrap();
    let mut cast = BTreeMap::new();
    for platform in [Platform::Ios, Platform::Macos] {
        let fits = |product: &str| Platform::of_product(product) == Some(platform);
        let devices = world.identities().filter(|i| fits(&i.product));
        let own = cells.iter().filter(|c| c.platform == platform);
        cast.extend(devices.zip(own).map(|(d, cell)| (d.serial.clone(), *cell)));
    }
    assert_eq!(cast.len(), cells.len());
    (rehearsal, world, cast)
}

/// After three days every proof has had its time.
const ENOUGH_MS: i64 = 3 * 86_400_000;

async fn play(behaviours: &[Behaviour], seed: u64) {
    let cells = cells(behaviours);
    let (rehearsal, world, cast) = world_for(&cells, seed).await;
    let director = Director::new(cast);
    seat(&world, &director);
    let directory = tempfile::tempdir().unwrap();
    let mut options = HouseOptions::default();
    options.ports = told_by(&director);
    let stage = Stage::set(world, directory.path(), options).await;
    let stage = stage.unwrap().with(&rehearsal);
    director.at(&stage);
    add_desk(&stage).await;
    let (wave, blocked) = stage.plan_for(None, &SOON).await.unwrap();
    assert_eq!(blocked, 0);
    // Who never says that it is out would be waited for for weeks.
    let clock = stage.world.clock().clone();
    let enough = move || clock.now_ms() > START_MS + ENOUGH_MS;
    stage.play_until(wave, &enough).await.unwrap();
    let mut found = Findings(Vec::new());
    look(&stage, &director, &mut found).await;
    stage.strike().await.unwrap();
    let all = found.0.len();
    assert!(
        all == 0,
        "{all} of {}:\n{}",
        cells.len(),
        found.0.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_step_succeeds_is_answered_twice_and_meets_a_new_enrolment() {
    play(
        &[
            Behaviour::Succeeds,
            Behaviour::AnswersTwice,
            Behaviour::EnrolsAnew,
        ],
        21,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_step_fails_or_is_answered_after_the_release() {
    play(&[Behaviour::Errors, Behaviour::AnswersAfterRelease], 23).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_step_is_put_off_for_ever() {
    play(&[Behaviour::NotNowForEver], 24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_step_is_never_answered() {
    play(&[Behaviour::NeverAnswers], 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_power_is_cut_in_the_middle_of_every_step() {
    let cells = cells(&[Behaviour::Succeeds]);
    let (rehearsal, world, cast) = world_for(&cells, 22).await;
    let director = Director::new(cast);
    seat(&world, &director);
    let directory = tempfile::tempdir().unwrap();
    let mut options = HouseOptions::default();
    let mut world = Some(world);
    let mut cuts = 0;
    let stage = loop {
        let store = Arc::new(OnceLock::new());
        let (kept, armed) = (Arc::clone(&store), Arc::clone(&director));
        let wrap: StoreWrap = Box::new(move |inner| {
            let failing = FailingStore::new(inner, 0, Moment::Before);
            let _ = kept.set(failing.clone());
            *armed.power.lock().unwrap() = Some(failing.clone());
            Arc::new(failing)
        });
        options.wrap = Some(wrap);
        options.ports = told_by(&director);
        let first = options.again.is_none();
        let stage = Stage::set(world.take().unwrap(), directory.path(), options).await;
        let stage = stage.unwrap().with(&rehearsal);
        director.at(&stage);
        if first {
            add_desk(&stage).await;
        }
        let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
        let power = Arc::clone(&store);
        let cut = move || power.get().is_some_and(Failing::has_failed);
        let played = stage.play_until(wave, &cut).await;
        assert!(played.is_ok() || cut(), "{played:?}");
        if !cut() {
            break stage;
        }
        cuts += 1;
        *director.power.lock().unwrap() = None;
        let (stays, tenancy) = stage.tear_down().await.unwrap();
        world = Some(stays);
        options = HouseOptions::default();
        options.again = Some(tenancy);
    };
    // Devices whose steps are met at one moment go down together.
    assert!(cuts >= 10, "{cuts} cuts");
    let down = director.cut.lock().unwrap().clone();
    let spared = director.cast.iter().filter(|(s, _)| !down.contains(*s));
    let spared: Vec<String> = spared.map(|(_, cell)| cell.name()).collect();
    assert!(
        spared.is_empty(),
        "not cut in the middle of these: {spared:?}"
    );
    let mut found = Findings(Vec::new());
    look(&stage, &director, &mut found).await;
    // A device notes that a server without a database sent it away, and comes again.
    stage.strike().await.unwrap();
    assert!(found.0.is_empty(), "{}", found.0.join("\n"));
}
