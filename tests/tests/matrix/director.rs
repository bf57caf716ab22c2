//! Tells the simulated world what becomes of each step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use fixtures::conduct::{Asked, Conduct};
use fixtures::world::World;
use mdm_core::ids::{OrganisationId, Serial};
use mdm_core::migration::StepId;
use mdm_core::service::Mdm;
use mdm_core::store::Store;
use mdm_core::store::testing::FailingStore;
use mdmd::rehearsal::Stage;

use super::{Behaviour, Cell};

/// Who tells the world what becomes of each step.
pub(super) struct Director {
    pub(super) cast: BTreeMap<String, Cell>,
    house: Mutex<Option<(Mdm, OrganisationId)>>,
    /// How often each cell's step was met.
    pub(super) struck: Mutex<BTreeMap<String, u32>>,
    /// With it, the power is cut as soon as a cell's step is first met.
    pub(super) power: Mutex<Option<Failing>>,
    /// Cells whose step was first met when the power was cut.
    pub(super) cut: Mutex<BTreeSet<String>>,
    /// Commands whose answers were kept back until the hold was over, by device.
    pub(super) withheld: Mutex<BTreeMap<String, Vec<String>>>,
    /// Devices of whose release the host's own channel was told, and how often the webhooks' receiver was.
    pub(super) told: Mutex<BTreeSet<String>>,
    pub(super) posted: Mutex<BTreeMap<String, u32>>,
    pub(super) tried: Mutex<BTreeMap<String, u32>>,
}

pub(super) type Failing = FailingStore<Arc<dyn Store>>;

impl Director {
    pub(super) fn new(cast: BTreeMap<String, Cell>) -> Arc<Self> {
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

    pub(super) fn at(&self, stage: &Stage) {
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
    pub(super) fn hears(&self, serial: &str) -> Heard {
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
pub(super) enum Heard {
    Takes,
    Refuses,
    Later,
    Silent,
}

/// What a cell's step is met with. Nobody is asked for a tag: it is given with the answer that ends the hold. Only who is asked can enrol
/// anew, and after the release that is a device whose proof is asked for.
const fn met_with(cell: &Cell) -> StepId {
    match (cell.step, cell.behaviour) {
        (StepId::Tag | StepId::Tell, Behaviour::EnrolsAnew) => StepId::Verify,
        (StepId::Tag, _) => StepId::Release,
        (step, _) => step,
    }
}

pub(super) fn seat(world: &World, director: &Arc<Director>) {
    let director = Arc::clone(director);
    world.direct(Arc::new(move |asked| director.conduct(asked)));
}
