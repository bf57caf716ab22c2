//! Every step of the runbook with everything that a device, or Apple, can make of it, on iPhone and Mac: state, release and record are
//! right in all of them. The table is made from the steps that the code has and the behaviours below: a step that is added is in it by
//! itself. What became of the devices, the simulated world says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fixtures::conduct::{Asked, Conduct};
use fixtures::world::World;
use mdm_core::audit::AuditEntry;
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::failure::FailureMode;
use mdm_core::ids::{OrganisationId, Serial};
use mdm_core::migration::{
    AppAction, AppPlan, PinnedRunbook, Policy, ProfilePlan, ProfileRole, SetUpState, StepId,
    StepPlan, Variant, VisibleState,
};
use mdm_core::organisation::Der;
use mdm_core::service::Mdm;
use mdm_core::store::Store;
use mdm_core::store::testing::{FailingStore, Moment};
use mdmd::rehearsal::{HouseOptions, Rehearsal, Row, Stage, StoreWrap};
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

/// The runbook of a platform with every step that it can have, and something in every table.
fn runbook(platform: Platform) -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
    let mut declare = StepPlan::standard(StepId::Declare);
    declare.requires = vec![StepId::Identify];
    runbook.steps.push(declare);
    let mut before = vec![StepId::Declare];
    if platform.is_mac() {
        let step = StepPlan::standard(StepId::RecoveryLock);
        runbook.steps.push(step);
        before.push(StepId::RecoveryLock);
    }
    for step in &mut runbook.steps {
        if step.id == StepId::Release {
            step.requires.extend(&before);
        }
    }
    runbook.steps.sort_by_key(|step| step.id);
    let mut runbook = runbook.with_declared_apps();
    runbook.lock = true;
    for (identifier, role) in [
        ("net.example.trust", ProfileRole::Trust),
        ("net.example.wifi", ProfileRole::Network),
        ("net.example.rules", ProfileRole::Security),
    ] {
        runbook.profiles.push(ProfilePlan {
            identifier: identifier.to_owned(),
            role,
            // The stage puts a stand-in there.
            content: Der(vec![1]),
        });
    }
    for (n, name, action) in [
        (1, "mail", AppAction::Install),
        (2, "notes", AppAction::KeepIfPresent),
        (3, "old", AppAction::Drop),
    ] {
        runbook.apps.push(AppPlan {
            bundle_id: format!("com.acme.{name}"),
            store_id: Some(700_000_000 + n),
            manifest_url: None,
            action,
        });
    }
    runbook
}

fn own() -> BTreeMap<Platform, PinnedRunbook> {
    [Platform::Ios, Platform::Macos]
        .map(|platform| (platform, runbook(platform)))
        .into()
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
    for (platform, runbook) in own() {
        for step in &runbook.steps {
            for behaviour in behaviours {
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

/// Who tells the world what becomes of each step.
struct Director {
    cast: BTreeMap<String, Cell>,
    house: Mutex<Option<(Mdm, OrganisationId)>>,
    /// How often each cell's step was met.
    struck: Mutex<BTreeMap<String, u32>>,
    /// With it, the power is cut as soon as a cell's step is first met.
    power: Mutex<Option<Arc<OnceLock<Failing>>>>,
}

type Failing = FailingStore<Arc<dyn Store>>;

impl Director {
    fn new(cast: BTreeMap<String, Cell>) -> Arc<Self> {
        Arc::new(Self {
            cast,
            house: Mutex::default(),
            struck: Mutex::default(),
            power: Mutex::default(),
        })
    }

    fn at(&self, stage: &Stage) {
        let house = (stage.mdm().clone(), stage.house.organisation);
        *self.house.lock().unwrap() = Some(house);
    }

    /// Whose step a command is, as our own records have it.
    fn step_of(&self, asked: &Asked<'_>) -> Option<StepId> {
        match asked.kind {
            "SetBootstrapToken" => return Some(StepId::Bootstrap),
            "ActivationLock" => return Some(StepId::Lock),
            _ => {}
        }
        let (mdm, org) = self.house.lock().unwrap().clone()?;
        let serial = Serial::parse(asked.serial).unwrap();
        let uuid = asked.uuid.to_owned();
        let find = async move {
            let device = mdm.store().device_by_serial(org, &serial).await.unwrap()?;
            let command = mdm.store().command(org, device.enrollment?, &uuid).await;
            Some(command.unwrap()?.origin?.step)
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(find))
    }

    fn conduct(&self, asked: &Asked<'_>) -> Conduct {
        let Some(cell) = self.cast.get(asked.serial) else {
            return Conduct::Usual;
        };
        if self.step_of(asked) != Some(cell.step) {
            return Conduct::Usual;
        }
        let times = {
            let mut struck = self.struck.lock().unwrap();
            let times = struck.entry(asked.serial.to_owned()).or_default();
            *times += 1;
            *times
        };
        if let Some(power) = self.power.lock().unwrap().as_ref().and_then(|p| p.get())
            && times == 1
        {
            power.cut();
            return Conduct::Usual;
        }
        let release = cell.step == StepId::Release;
        match cell.behaviour {
            Behaviour::Succeeds => Conduct::Usual,
            // A device that could never be let go is one for a person; that it comes back to it is what is asked here.
            Behaviour::Errors if release && times > 2 => Conduct::Usual,
            Behaviour::NeverAnswers if release && times > 4 => Conduct::Usual,
            Behaviour::Errors => Conduct::Fail,
            Behaviour::NotNowForEver => Conduct::NotNow,
            Behaviour::NeverAnswers => Conduct::Silent,
            Behaviour::AnswersTwice => Conduct::Twice,
            Behaviour::AnswersAfterRelease if asked.held => Conduct::Withhold,
            Behaviour::AnswersAfterRelease => Conduct::Usual,
            Behaviour::EnrolsAnew if times == 1 => Conduct::EnrolAnew,
            Behaviour::EnrolsAnew => Conduct::Usual,
        }
    }
}

fn seat(world: &World, director: &Arc<Director>) {
    let director = Arc::clone(director);
    world.direct(Arc::new(move |asked| director.conduct(asked)));
}

/// What was found wrong with the cells, one sentence each.
struct Findings(Vec<String>);

impl Findings {
    fn unless(&mut self, true_is: bool, cell: &Cell, row: &Row, why: &str) {
        if !true_is {
            self.0.push(format!(
                "{}: {why}\n    {:?} in the record, {} in the world; {:?}; {:?}",
                cell.name(),
                row.outcome,
                row.whereabouts,
                row.exceptions
                    .iter()
                    .map(|e| format!("{}: {} ({:?})", e.what, e.why, e.owner))
                    .collect::<Vec<_>>(),
                row.disagreements,
            ));
        }
    }
}

/// What the record says of a step, in the order in which it said it.
fn said_of(timeline: &[AuditEntry], step: StepId) -> Vec<String> {
    let said = timeline.iter().filter(|entry| entry.what == "set-up");
    said.filter_map(|entry| {
        let status = &entry.detail["steps"][step.as_str()];
        match status {
            serde_json::Value::Null => None,
            serde_json::Value::String(word) => Some(word.clone()),
            other => other.as_object()?.keys().next().cloned(),
        }
    })
    .collect()
}

/// When the set-up went into these states, by the record.
fn went(timeline: &[AuditEntry], state: &str) -> Vec<Timestamp> {
    let into = |e: &&AuditEntry| {
        e.what == "set-up" && e.detail["to"] == state && e.detail["from"] != state
    };
    timeline.iter().filter(into).map(|e| e.at).collect()
}

/// What is shown as gone wrong of a cell in the end, where that is known beforehand.
fn shown_of(cell: &Cell) -> Option<FailureMode> {
    use Behaviour::{Errors, NeverAnswers, NotNowForEver};
    match (cell.step, cell.behaviour) {
        (StepId::Release, NotNowForEver) => Some(FailureMode::TrappedAfterRelease),
        (StepId::AppsKeep, Errors | NotNowForEver | NeverAnswers) => Some(FailureMode::AppsGone),
        (StepId::FvEscrow, Errors | NotNowForEver) => Some(FailureMode::NoNewKey),
        (StepId::Lock, Errors) => Some(FailureMode::LockUnknown),
        (StepId::Release, _) => Some(FailureMode::OriginalStillLists),
        _ => None,
    }
}

/// Steps that nobody but we ourselves can answer.
const OURS: [StepId; 1] = [StepId::Tell];

/// Whether a step that was not answered, or that the world does later, came true in another way, as the world says.
async fn came_true_otherwise(stage: &Stage, serial: &str, step: StepId, row: &Row) -> bool {
    match step {
        // Each of the two has the device look at all declarations there are.
        StepId::Declare | StepId::DeclareApps => {
            let has = stage.world.declared(serial).await.unwrap_or_default();
            let looked = has.first().is_some_and(|own| !own.active.is_empty());
            looked && row.apps_lost.is_empty()
        }
        _ => false,
    }
}

/// The steps that cannot begin before this one, where it is waited for up to the end of the hold, and that only the hold can do.
fn lost_behind(plan: &PinnedRunbook, step: StepId) -> Option<StepId> {
    let blocks = plan.step(step)?.on_timeout == Policy::Block;
    let keep = plan.step(StepId::AppsKeep)?;
    (blocks && keep.requires.contains(&step)).then_some(keep.id)
}

async fn look(stage: &Stage, director: &Director, found: &mut Findings) {
    let plans = own();
    let rows: BTreeMap<String, Row> = stage
        .judge()
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.serial.clone(), row))
        .collect();
    let verdicts = stage.world.verdicts().await.into_iter();
    let late_tokens: BTreeSet<String> = verdicts
        .filter(|verdict| verdict.bootstrap_token_late)
        .map(|verdict| verdict.serial)
        .collect();
    let struck = director.struck.lock().unwrap().clone();
    for (serial, cell) in &director.cast {
        let row = &rows[serial];
        let plan = &plans[&cell.platform];
        let step = plan.step(cell.step).unwrap();
        let org = stage.org().await.unwrap();
        let report = org
            .device_report(&Serial::parse(serial).unwrap())
            .await
            .unwrap();
        let otherwise = came_true_otherwise(stage, serial, cell.step, row).await;
        let late_token = late_tokens.contains(serial);
        let mut check = |true_is: bool, why: &str| found.unless(true_is, cell, row, why);
        check(
            struck.contains_key(serial) || OURS.contains(&cell.step),
            "the step was never met: the field proves nothing",
        );
        let told = said_of(&report.timeline, cell.step);
        let set_up = report.set_up.as_ref().unwrap();
        let (holding, releasing) = (
            went(&report.timeline, "holding"),
            went(&report.timeline, "releasing"),
        );

        if let Some(mode) = shown_of(cell) {
            let failures = org.failures_of(&report.device.serial).await.unwrap();
            let shown = failures.iter().find(|failure| failure.mode == mode);
            let whole = shown.is_some_and(|f| !f.evidence.is_empty() && !f.next.is_empty());
            check(whole, &format!("{mode:?} is not shown: {failures:?}"));
        }
        if cell.step == StepId::Release && cell.behaviour == Behaviour::NotNowForEver {
            // It will not go: it is asked again and again, a person is told, and nobody claims that it is out.
            check(row.whereabouts == "held", "the world has let it go");
            let stalled = matches!(
                set_up.state,
                SetUpState::Stalled { .. } | SetUpState::Releasing { .. }
            );
            check(
                stalled && set_up.released.is_none(),
                "the record says that it is out",
            );
            check(releasing.len() == 1, "its release was not decided once");
            continue;
        }

        // The release: decided once in each hold, before its ceiling, and the device is out.
        check(row.whereabouts == "free", "it is not out");
        check(!row.never_ended, "it never ended");
        let held = holding.last().copied();
        let let_go = releasing.last().copied();
        let in_time = held.zip(let_go).is_some_and(|(from, to)| {
            let ceiling = Duration::from_secs(plan.hard_ceiling_secs + 60);
            to >= from && to <= from + ceiling
        });
        check(in_time, "its release was not queued before its ceiling");
        let since = releasing
            .iter()
            .filter(|at| held.is_some_and(|held| **at >= held));
        check(
            since.count() == 1,
            "it was not released once in its last hold",
        );

        // The record: of the step at all, and nothing that the world does not bear out.
        check(!told.is_empty(), "the record says nothing of the step");
        // A device notes that a server without a database sent it away, and comes again.
        let explained =
            |said: &&String| said.starts_with("no fault explains") || said.ends_with("HTTP 503");
        let untrue = row.disagreements.iter().filter(|d| !explained(d));
        check(untrue.count() == 0, "world and record disagree");
        let owners = row.exceptions.iter().all(|e| !e.why.is_empty());
        check(owners, "an exception says nothing");

        // The state.
        let of: BTreeSet<&str> = row
            .exceptions
            .iter()
            .map(|e| e.what.split(':').next().unwrap_or_default())
            .collect();
        let well = row.outcome == Some(VisibleState::Migrated) && of.is_empty();
        let excepted = row.outcome == Some(VisibleState::MigratedWithExceptions);
        let last = told.last().map(String::as_str);
        let harmless = OURS.contains(&cell.step)
            || cell.step == StepId::Release
            || matches!(
                cell.behaviour,
                Behaviour::Succeeds | Behaviour::AnswersTwice | Behaviour::EnrolsAnew
            );
        if harmless {
            check(well, "it did not end well");
            // A token that comes at a login after the hold is none of the hold's, and nobody requires it.
            let late = cell.step == StepId::Bootstrap && late_token && last == Some("excepted");
            check(
                matches!(last, Some("done" | "skipped")) || late,
                "its step did not end well",
            );
            continue;
        }
        check(well || excepted, "it did not come to its end");
        let proves = cell.step == StepId::Verify;
        let undone = matches!(
            cell.behaviour,
            Behaviour::Errors | Behaviour::NotNowForEver | Behaviour::NeverAnswers
        );
        if undone && (step.required || proves) {
            check(
                of.contains(cell.step.as_str()),
                "a required step was not done, and no exception says so",
            );
            check(
                last == Some("excepted"),
                "its step ended well, and was not done",
            );
        }
        if undone && !step.required && !proves {
            check(
                !of.contains(cell.step.as_str()),
                "an exception of a step that nobody requires",
            );
            check(
                matches!(last, Some("excepted" | "skipped")) || last == Some("done") && otherwise,
                "its step ended well, and was not done",
            );
        }
        // Whoever refuses one thing, or says nothing of it, lets the others be done.
        if undone {
            let mut mine = BTreeSet::from([cell.step.as_str(), "verify"]);
            if cell.step == StepId::Bootstrap {
                mine.insert("fv-escrow");
            }
            mine.extend(lost_behind(plan, cell.step).map(StepId::as_str));
            check(of.is_subset(&mine), "another step was not done");
        }
    }
}

async fn play(behaviours: &[Behaviour], seed: u64) {
    let cells = cells(behaviours);
    let (rehearsal, world, cast) = world_for(&cells, seed).await;
    let director = Director::new(cast);
    seat(&world, &director);
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage::set(world, directory.path(), HouseOptions::default()).await;
    let stage = stage.unwrap().with(&rehearsal);
    director.at(&stage);
    let (wave, blocked) = stage.plan_for(None, &SOON).await.unwrap();
    assert_eq!(blocked, 0);
    stage.play(wave).await.unwrap();
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
        let kept = Arc::clone(&store);
        let wrap: StoreWrap = Box::new(move |inner| {
            let failing = FailingStore::new(inner, 0, Moment::Before);
            let _ = kept.set(failing.clone());
            Arc::new(failing)
        });
        options.wrap = Some(wrap);
        let stage = Stage::set(world.take().unwrap(), directory.path(), options).await;
        let stage = stage.unwrap().with(&rehearsal);
        director.at(&stage);
        let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
        *director.power.lock().unwrap() = Some(Arc::clone(&store));
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
    let mut found = Findings(Vec::new());
    look(&stage, &director, &mut found).await;
    // A device notes that a server without a database sent it away, and comes again.
    stage.strike().await.unwrap();
    assert!(found.0.is_empty(), "{}", found.0.join("\n"));
}
