//! What the profiles of a runbook bring to one device: steps may be for some tags and groups only, and the hold leaves them out for
//! everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::device::Device;
use crate::migration::what_if::Brings;
use crate::migration::{PinnedRunbook, StepId, known_by};

/// What a device gets of a runbook.
#[derive(Debug, Default)]
pub(super) struct Gets {
    /// Steps that are for others.
    pub(super) without: BTreeSet<StepId>,
    /// What the profiles of the other steps bring.
    pub(super) brings: Brings,
}

/// A runbook of a plan.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) runbook: Arc<PinnedRunbook>,
    /// What each profile brings, by the step that installs it.
    parts: Vec<(StepId, Brings)>,
    /// The network that comes with the enrolment.
    network: Option<String>,
    /// What devices get for which these steps are not.
    known: Mutex<BTreeMap<BTreeSet<StepId>, Arc<Gets>>>,
}

impl Whole {
    pub(super) fn new(
        runbook: Arc<PinnedRunbook>,
        parts: Vec<(StepId, Brings)>,
        network: Option<String>,
    ) -> Self {
        Self {
            runbook,
            parts,
            network,
            known: Mutex::default(),
        }
    }

    /// What a device gets; everything where nothing is known of it but its serial number.
    pub(super) fn of(&self, device: Option<&Device>) -> Arc<Gets> {
        let limits = self.runbook.steps.iter().any(|s| !s.only.is_empty());
        let words = device
            .filter(|_| limits)
            .map(|d| known_by(&d.tags, &d.groups));
        let steps = self.runbook.steps.iter();
        let others = words.map(|words| steps.filter(|s| !s.is_for(&words)).map(|s| s.id).collect());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gets = known
            .entry(others.unwrap_or_default())
            .or_insert_with_key(|others| Arc::new(self.limited(others)));
        Arc::clone(gets)
    }

    fn limited(&self, others: &BTreeSet<StepId>) -> Gets {
        let mut brings = Brings::default();
        for (_, part) in self.parts.iter().filter(|(step, _)| !others.contains(step)) {
            brings.add(part);
        }
        brings.networks.extend(self.network.iter().cloned());
        Gets {
            without: others.clone(),
            brings,
        }
    }
}
