//! Steps that are for some devices only, and whether any of those that are looked at is one of them. A tag that is spelled otherwise
//! than on the devices makes a step that is for nobody, and of each device by itself that looks as it was meant.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, CheckFinding, FactSource};
use crate::migration::{Owner, PinnedRunbook, StepId};

/// A step that is for some devices only, and for none of those that are looked at; found where no other device has its words either.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a step, its words and a number")]
pub struct ForNobody {
    /// Which step.
    pub step: StepId,
    /// The tags and groups that it is for.
    pub only: BTreeSet<String>,
    /// How many devices are looked at whose runbook has it so.
    pub members: usize,
}

/// Counts whom such steps are for, member by member; keeps no member.
#[derive(Clone, Debug, Default)]
pub struct StepCounter {
    /// Of each such step: how many members there are, and how many get it.
    steps: BTreeMap<(StepId, BTreeSet<String>), (usize, usize)>,
}

impl StepCounter {
    /// Counts a member with its runbook, and the steps of it that are for other devices.
    pub fn add(&mut self, runbook: &PinnedRunbook, without: &BTreeSet<StepId>) {
        for step in runbook.steps.iter().filter(|step| !step.only.is_empty()) {
            let key = (step.id, step.only.clone());
            let (members, getting) = self.steps.entry(key).or_default();
            *members += 1;
            *getting += usize::from(!without.contains(&step.id));
        }
    }

    /// Those that nobody gets.
    #[must_use]
    pub fn finish(self) -> Vec<ForNobody> {
        let nobody = self
            .steps
            .into_iter()
            .filter(|(_, (_, getting))| *getting == 0);
        let named = nobody.map(|((step, only), (members, _))| ForNobody {
            step,
            only,
            members,
        });
        named.collect()
    }
}

pub(super) fn look(nobody: &ForNobody) -> CheckFinding {
    let ForNobody {
        step,
        only,
        members,
    } = nobody;
    let only: Vec<&str> = only.iter().map(String::as_str).collect();
    let only = only.join(" or ");
    CheckFinding::warn(
        Check::RunbookValid,
        format!("the step {step} is only for devices with {only}: none of these {members} has that, and no other device"),
        "correct the word (`mdmd runbook edit NAME STEP.only=…`), or give the devices the tag: `mdmd device tag`",
        Owner::Destination,
    )
    .from(FactSource::Operator, None)
    .binding(format!("the step {step} is for none of them: {only}"))
    // Whether another device has the word is no fact of these, and the runbooks are bound themselves.
    .aside()
}
