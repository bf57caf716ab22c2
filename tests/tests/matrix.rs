//! Every step that a runbook can have with everything that a device, Apple or whoever is told can make of it, on iPhone and Mac: state,
//! release and record are right in all of them. The table is made from the runbooks and the behaviours below; a step of the code that is
//! in none of them fails it. Nobody answers a tag, so that it only succeeds, meets a new enrolment and has the power cut; the proof is
//! asked for after the release alone, so that it has no late answer. What became of the devices, the simulated world says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use fixtures::conduct::{Asked, Conduct};
use fixtures::world::World;
use mdm_core::audit::AuditEntry;
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::error::PortError;
use mdm_core::failure::FailureMode;
use mdm_core::hook::HookMessage;
use mdm_core::ids::{HookMessageId, OrganisationId, Serial};
use mdm_core::migration::{
    AppAction, AppPlan, Notice, PinnedRunbook, Policy, ProfilePlan, ProfileRole, SetUpState,
    StepId, StepPlan, Variant, VisibleState,
};
use mdm_core::organisation::Der;
use mdm_core::service::ports::{HookCarrier, Notifier};
use mdm_core::service::{DeviceReport, Mdm, Org, Ports};
use mdm_core::store::Store;
use mdm_core::store::testing::{FailingStore, Moment};
use mdmd::rehearsal::{HouseOptions, PortsWrap, Rehearsal, Row, START_MS, Stage, StoreWrap};
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

/// The tag that the runbooks give.
const MOVED: &str = "moved";

/// The receiver of webhooks.
const DESK: &str = "desk";

/// The runbook of a platform with every step that it can have, and something in every table.
fn runbook(platform: Platform) -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
    let mut tag = StepPlan::standard(StepId::Tag);
    tag.tags.insert(MOVED.to_owned());
    runbook.steps.push(tag);
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

/// Who tells the world what becomes of each step.
struct Director {
    cast: BTreeMap<String, Cell>,
    house: Mutex<Option<(Mdm, OrganisationId)>>,
    /// How often each cell's step was met.
    struck: Mutex<BTreeMap<String, u32>>,
    /// With it, the power is cut as soon as a cell's step is first met.
    power: Mutex<Option<Failing>>,
    /// Cells whose step was first met when the power was cut.
    cut: Mutex<BTreeSet<String>>,
    /// Commands whose answers were kept back until the hold was over, by device.
    withheld: Mutex<BTreeMap<String, Vec<String>>>,
    /// Devices of whose release the host's own channel was told, and how often the webhooks' receiver was.
    told: Mutex<BTreeSet<String>>,
    posted: Mutex<BTreeMap<String, u32>>,
    tried: Mutex<BTreeMap<String, u32>>,
}

type Failing = FailingStore<Arc<dyn Store>>;

impl Director {
    fn new(cast: BTreeMap<String, Cell>) -> Arc<Self> {
        Arc::new(Self {
            cast,
            house: Mutex::default(),
            struck: Mutex::default(),
            power: Mutex::default(),
            cut: Mutex::default(),
            withheld: Mutex::default(),
            told: Mutex::default(),
            posted: Mutex::default(),
            tried: Mutex::default(),
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

    /// Notes that a cell's step is met, and cuts the power where that is to be done; answers how often it was, and whether it was cut.
    fn meets(&self, serial: &str) -> (u32, bool) {
        let times = {
            let mut struck = self.struck.lock().unwrap();
            let times = struck.entry(serial.to_owned()).or_default();
            *times += 1;
            *times
        };
        let power = self.power.lock().unwrap().clone();
        let Some(power) = power.filter(|_| times == 1) else {
            return (times, false);
        };
        power.cut();
        self.cut.lock().unwrap().insert(serial.to_owned());
        (times, true)
    }

    fn conduct(&self, asked: &Asked<'_>) -> Conduct {
        let Some(cell) = self.cast.get(asked.serial) else {
            return Conduct::Usual;
        };
        if self.step_of(asked) != Some(met_with(cell)) {
            return Conduct::Usual;
        }
        let (times, cut) = self.meets(asked.serial);
        if cut {
            return Conduct::Usual;
        }
        match cell.behaviour {
            Behaviour::Succeeds => Conduct::Usual,
            Behaviour::Errors => Conduct::Fail,
            Behaviour::NotNowForEver => Conduct::NotNow,
            Behaviour::NeverAnswers => Conduct::Silent,
            Behaviour::AnswersTwice => Conduct::Twice,
            Behaviour::AnswersAfterRelease if asked.held => {
                let mut withheld = self.withheld.lock().unwrap();
                let own = withheld.entry(asked.serial.to_owned()).or_default();
                own.push(asked.uuid.to_owned());
                Conduct::Withhold
            }
            Behaviour::AnswersAfterRelease => Conduct::Usual,
            Behaviour::EnrolsAnew if times == 1 => Conduct::EnrolAnew,
            Behaviour::EnrolsAnew => Conduct::Usual,
        }
    }

    /// What whoever is to be told of releases says to a cell whose step that is.
    fn hears(&self, serial: &str) -> Heard {
        let cell = self.cast.get(serial);
        let Some(cell) = cell.filter(|cell| met_with(cell) == StepId::Tell) else {
            return Heard::Takes;
        };
        let (times, _) = self.meets(serial);
        match cell.behaviour {
            Behaviour::Errors => Heard::Refuses,
            Behaviour::NotNowForEver => Heard::Later,
            Behaviour::NeverAnswers => Heard::Silent,
            // It was told, and says so to the second only.
            Behaviour::AnswersTwice if times == 1 => Heard::Silent,
            // The step has ten minutes.
            Behaviour::AnswersAfterRelease if times == 1 => Heard::Later,
            _ => Heard::Takes,
        }
    }
}

/// What somebody makes of a notice.
enum Heard {
    Takes,
    Refuses,
    Later,
    Silent,
}

/// Later than the time of the step that waits for it.
const LATER: Duration = Duration::from_hours(1);

/// What a cell's step is met with. Nobody is asked for a tag: it is given with the answer that ends the hold. Only who is asked can enrol
/// anew, and after the release that is a device whose proof is asked for.
const fn met_with(cell: &Cell) -> StepId {
    match (cell.step, cell.behaviour) {
        (StepId::Tag | StepId::Tell, Behaviour::EnrolsAnew) => StepId::Verify,
        (StepId::Tag, _) => StepId::Release,
        (step, _) => step,
    }
}

/// Whoever is told of releases: by the host's own way, and by a webhook.
struct Receiver(Arc<Director>);

#[async_trait]
impl Notifier for Receiver {
    async fn notify(
        &self,
        _: OrganisationId,
        serial: &Serial,
        notice: Notice,
    ) -> Result<(), PortError> {
        if notice != Notice::Released {
            return Ok(());
        }
        match self.0.hears(serial.as_str()) {
            Heard::Takes => {}
            Heard::Refuses => return Err(PortError::Refused("nobody reads this".to_owned())),
            Heard::Later => {
                return Err(PortError::Retry {
                    what: "the desk is closed".to_owned(),
                    after: Some(LATER),
                });
            }
            Heard::Silent => return Err(PortError::Unknown("no answer".to_owned())),
        }
        let mut told = self.0.told.lock().unwrap();
        told.insert(serial.as_str().to_owned());
        Ok(())
    }
}

#[async_trait]
impl HookCarrier for Receiver {
    async fn post(
        &self,
        _: &str,
        _: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError> {
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let serial = body["data"]["serial"].as_str().unwrap();
        let cell = self.0.cast.get(serial);
        let behaviour = cell
            .filter(|cell| cell.step == StepId::Tell)
            .map(|cell| cell.behaviour);
        let first = {
            let mut tried = self.0.tried.lock().unwrap();
            let tries = tried.entry(serial.to_owned()).or_default();
            *tries += 1;
            *tries == 1
        };
        match behaviour {
            Some(Behaviour::Errors) => return Ok(500),
            Some(Behaviour::NotNowForEver) => return Ok(503),
            Some(Behaviour::NeverAnswers) => return Err(PortError::retry("no answer")),
            Some(Behaviour::AnswersAfterRelease) if first => return Ok(503),
            _ => {}
        }
        let mut posted = self.0.posted.lock().unwrap();
        *posted.entry(serial.to_owned()).or_default() += 1;
        match behaviour {
            // Taken, and the answer is lost.
            Some(Behaviour::AnswersTwice) if first => Err(PortError::retry("no answer")),
            _ => Ok(200),
        }
    }
}

/// The ports of a house whose notices go to this director.
fn told_by(director: &Arc<Director>) -> Option<PortsWrap> {
    let receiver = Arc::new(Receiver(Arc::clone(director)));
    Some(Box::new(move |ports| Ports {
        notifier: receiver.clone(),
        hooks: receiver,
        ..ports
    }))
}

async fn add_desk(stage: &Stage) {
    let org = stage.org().await.unwrap();
    let only = BTreeSet::from([Notice::Released]);
    let url = "https://desk.example/in";
    org.new_hook(DESK, url, &only).await.unwrap();
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

/// How often the end of a hold was decided, by the record: whoever goes on from a silence is not released a second time.
fn decided(timeline: &[AuditEntry]) -> usize {
    let end = |e: &&AuditEntry| {
        e.what == "set-up" && e.detail["to"] == "releasing" && e.detail["from"] == "holding"
    };
    timeline.iter().filter(end).count()
}

/// Steps whose profiles the proof sees.
const PROVED: [StepId; 4] = [
    StepId::Trust,
    StepId::Network,
    StepId::Security,
    StepId::FvEscrow,
];

/// Whether the record ever had an exception of this step.
fn was_noted(timeline: &[AuditEntry], step: StepId) -> bool {
    let exceptions = timeline
        .iter()
        .filter_map(|entry| entry.detail["exceptions"].as_array());
    exceptions.flatten().any(|e| e["what"] == step.as_str())
}

/// What of an answer that came after the hold is not on record, or changed more than it can.
async fn late_answers(
    stage: &Stage,
    report: &DeviceReport,
    cell: &Cell,
    uuids: &[String],
    let_go: Timestamp,
) -> Vec<String> {
    let mut odd = Vec::new();
    for uuid in uuids.iter().filter(|uuid| !uuid.is_empty()) {
        let enrollment = report.device.enrollment.unwrap();
        let store = stage.mdm().store();
        let command = store
            .command(stage.house.organisation, enrollment, uuid)
            .await;
        let Some(command) = command.unwrap() else {
            odd.push(format!("{uuid} is not on record"));
            continue;
        };
        let on_record = command.report.is_some()
            && command.state.is_final()
            && command.settled.is_some_and(|at| at >= let_go);
        if !on_record {
            odd.push(format!(
                "the late answer to {} is not on record: {:?}, settled {:?}",
                command.request_type, command.state, command.settled
            ));
        }
    }
    // Done only by an answer, and every answer of the hold came after it. What is declared a device tells by itself, too.
    let tells = matches!(cell.step, StepId::Declare | StepId::DeclareApps);
    let done = report.timeline.iter().find(|entry| {
        entry.what == "set-up" && entry.detail["steps"][cell.step.as_str()]["done"].is_object()
    });
    if let Some(done) = done.filter(|done| !tells && done.at < let_go) {
        odd.push(format!("done before it was answered: {}", done.detail));
    }
    odd
}

/// What is shown as gone wrong of a cell in the end, where that is known beforehand.
fn shown_of(cell: &Cell) -> Option<FailureMode> {
    use Behaviour::{Errors, NeverAnswers, NotNowForEver};
    match (cell.step, cell.behaviour) {
        (StepId::Release, _) if never_let_go(cell) => Some(FailureMode::TrappedAfterRelease),
        (StepId::AppsKeep, Errors | NotNowForEver | NeverAnswers) => Some(FailureMode::AppsGone),
        (StepId::FvEscrow, Errors | NotNowForEver) => Some(FailureMode::NoNewKey),
        (StepId::Lock, Errors) => Some(FailureMode::LockUnknown),
        (StepId::Release, _) => Some(FailureMode::OriginalStillLists),
        _ => None,
    }
}

/// Whether nobody ever confirms that the device is out.
const fn never_let_go(cell: &Cell) -> bool {
    use Behaviour::{Errors, NeverAnswers, NotNowForEver};
    let never = matches!(cell.behaviour, Errors | NotNowForEver | NeverAnswers);
    matches!(cell.step, StepId::Release) && never
}

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
    let withheld = director.withheld.lock().unwrap().clone();
    let told_of = director.told.lock().unwrap().clone();
    let posted = director.posted.lock().unwrap().clone();
    let messages = messages(&stage.org().await.unwrap()).await;
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
            struck.contains_key(serial),
            "the step was never met: the field proves nothing",
        );
        let told = said_of(&report.timeline, cell.step);
        let set_up = report.set_up.as_ref().unwrap();
        let (holding, releasing) = (
            went(&report.timeline, "holding"),
            went(&report.timeline, "releasing"),
        );

        let tagged = report.device.tags.contains(MOVED);
        if never_let_go(cell) && row.whereabouts == "free" && set_up.user_seen {
            // Its user has signed in, which nobody can in a hold: that says it too.
            check(
                set_up.released.is_some() && tagged,
                "its user has come, and it is not known to be out",
            );
            continue;
        }
        if let Some(mode) = shown_of(cell) {
            let failures = org.failures_of(&report.device.serial).await.unwrap();
            let shown = failures.iter().find(|failure| failure.mode == mode);
            let whole = shown.is_some_and(|f| !f.evidence.is_empty() && !f.next.is_empty());
            check(whole, &format!("{mode:?} is not shown: {failures:?}"));
        }
        if never_let_go(cell) {
            // Nobody knows that it is out: it is asked again and again, a person is told, and nobody claims it. Who says nothing at all may
            // have gone in silence; who refuses is still there.
            let place = match cell.behaviour {
                Behaviour::NeverAnswers => "free",
                _ => "held",
            };
            check(row.whereabouts == place, "the world has it elsewhere");
            let stalled = matches!(
                set_up.state,
                SetUpState::Stalled { .. } | SetUpState::Releasing { .. }
            );
            check(
                stalled && set_up.released.is_none(),
                "the record says that it is out",
            );
            check(!tagged, "it has the tag of those that are out");
            check(
                !told_of.contains(serial) && !posted.contains_key(serial),
                "somebody was told that it is out",
            );
            check(
                decided(&report.timeline) == 1,
                "its release was not decided once",
            );
            let attention = set_up.attention.is_some();
            check(attention, "nobody is asked to look at it");
            continue;
        }
        check(tagged, "it has no tag");
        if cell.step == StepId::Tell && cell.behaviour == Behaviour::Errors {
            let why = report
                .timeline
                .iter()
                .rev()
                .find_map(|entry| entry.detail["steps"]["tell"]["skipped"]["why"].as_str());
            check(
                why.is_some_and(|why| why.contains("nobody reads this")),
                "the record does not say why it could not be sent",
            );
            check(
                struck.get(serial) == Some(&1),
                "who refused for good was asked again",
            );
        }
        let heard = of_receiver(
            cell,
            told_of.contains(serial),
            posted.get(serial),
            messages.get(serial),
        );
        for why in heard {
            check(false, &why);
        }
        if let Some(uuids) = withheld.get(serial) {
            let let_go = releasing
                .last()
                .copied()
                .unwrap_or(Timestamp::from_millis(0));
            for why in late_answers(stage, &report, cell, uuids, let_go).await {
                check(false, &why);
            }
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
        let harmless = cell.step == StepId::Release
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
        if cell.behaviour == Behaviour::AnswersAfterRelease && cell.step != StepId::Tell {
            let came = withheld.get(serial).is_some_and(|all| !all.is_empty());
            check(
                came,
                "nothing of it was kept back: the field proves nothing",
            );
            let named = of.contains(cell.step.as_str());
            match last {
                // It counts: what only its lateness had caused is taken back.
                Some("done") => check(!named, "it came true late, and is an exception"),
                Some("excepted") if step.required => {
                    // The proof sees profiles, and takes back what only lateness had caused.
                    let noted = was_noted(&report.timeline, cell.step);
                    let seen = PROVED.contains(&cell.step) && noted;
                    check(named || seen, "it came too late, and no exception says so");
                }
                Some("excepted" | "skipped") => {}
                _ => check(false, "its step has no end"),
            }
        }
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

/// The messages to the receiver of webhooks, by device.
async fn messages(org: &Org) -> BTreeMap<String, Vec<HookMessage>> {
    let mut all: BTreeMap<String, Vec<HookMessage>> = BTreeMap::new();
    let newest = HookMessageId(i64::MAX);
    for message in org.hook_messages(DESK, newest, 1_000).await.unwrap() {
        let serial = message.serial.to_string();
        all.entry(serial).or_default().push(message);
    }
    all
}

/// What is wrong with what was told of a release, and with what is kept of that.
fn of_receiver(
    cell: &Cell,
    told: bool,
    posted: Option<&u32>,
    messages: Option<&Vec<HookMessage>>,
) -> Vec<String> {
    use Behaviour::{AnswersTwice, Errors, NeverAnswers, NotNowForEver};
    let mut odd = Vec::new();
    let tell = cell.step == StepId::Tell;
    let never = tell && matches!(cell.behaviour, Errors | NotNowForEver | NeverAnswers);
    if told == never {
        odd.push(format!("told by the host's way: {told}"));
    }
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    if never {
        let waits = |m: &HookMessage| m.over.is_none() && m.trouble.is_some() && m.tries > 1;
        if posted.is_some() || messages.is_empty() || !messages.iter().all(waits) {
            odd.push(format!(
                "what nobody took is not kept and tried: {messages:?}"
            ));
        }
        return odd;
    }
    let taken = messages.iter().filter(|m| m.taken).count();
    // One for each hold that ended; a second time only what was not known to be taken.
    let least = match tell && cell.behaviour == AnswersTwice {
        true => 2,
        false => 1,
    };
    if messages.is_empty() || taken != messages.len() || posted.is_none_or(|n| *n < least) {
        odd.push(format!("not told by webhook: {posted:?}, {messages:?}"));
    }
    odd
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
