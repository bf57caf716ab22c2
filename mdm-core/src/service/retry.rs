//! A person has one step of a device's set-up done again. Says why, where that cannot be.

use serde_json::json;

use super::Org;
use super::decision::{Decision, Tracked};
use crate::error::Error;
use crate::ids::Serial;
use crate::migration::{Event, OperatorAct, PinnedRunbook, SetUp, StepId, StepState, StepStatus};

impl Org {
    /// Starts a step again that is under way, was given up or was skipped: what it had asked is taken back, its tries and its
    /// exceptions are forgotten, and it begins as soon as what it requires is over.
    ///
    /// # Errors
    /// [`Error::NotFound`] without the device, [`Error::BadInput`] for a step that its runbook does not have,
    /// [`Error::Precondition`] with the reason why it cannot be done again, the store's.
    pub async fn retry_step(&self, serial: &Serial, step: StepId) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let device = self.device_named(serial).await?;
            let set_up = match device.enrollment {
                Some(enrollment) => self.store().set_up_of(self.id(), enrollment).await?,
                None => None,
            };
            let Some(set_up) = set_up else {
                let why = format!("{serial} has no set-up: it has not enrolled here");
                return Err(Error::Precondition(why));
            };
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            d.device = Some(Tracked::read(device));
            self.load_for_set_up(&mut d, set_up.clone()).await?;
            d.audit(
                "operator.acted",
                json!({ "act": OperatorAct::RetryStep(step) }),
            );
            d.tell_set_up(&Event::Operator(OperatorAct::RetryStep(step)));
            let after = d.set_up.as_ref().map(|s| &s.row);
            if after.and_then(|s| of(s, step)) == of(&set_up, step) {
                return Err(refusal(&set_up, d.set_up_plan.as_deref(), step));
            }
            self.commit(d).await
        })
        .await
    }
}

fn of(set_up: &SetUp, step: StepId) -> Option<&StepState> {
    set_up.steps().and_then(|steps| steps.get(&step))
}

/// Why a step was not started again.
fn refusal(set_up: &SetUp, plan: Option<&PinnedRunbook>, step: StepId) -> Error {
    let no = |why: String| Error::Precondition(format!("{step} cannot be done again: {why}"));
    if set_up.is_ended() {
        return no("the set-up of the device has ended".to_owned());
    }
    if step == StepId::Release {
        return no("a device is let go with `mdmd hold release`".to_owned());
    }
    let Some(plan) = plan else {
        return no("the runbook of the device cannot be read".to_owned());
    };
    let Some(planned) = plan.step(step) else {
        return Error::bad_input("step", "is not in the runbook of this device");
    };
    let Some(state) = of(set_up, step) else {
        return no("the device has not completed its enrolment".to_owned());
    };
    match &state.status {
        StepStatus::Done { evidence } => no(format!("it is proved: {evidence}")),
        StepStatus::Waiting => {
            let over = |id: &&StepId| of(set_up, **id).is_some_and(|s| s.status.is_over());
            let waits: Vec<&str> = planned
                .requires
                .iter()
                .filter(|id| !over(id))
                .map(|id| id.as_str())
                .collect();
            no(format!(
                "it has not begun, it waits for {}",
                waits.join(", ")
            ))
        }
        _ if step == StepId::AppsKeep => no(
            "the hold is over: an app that is taken over now would come without its data"
                .to_owned(),
        ),
        _ => no("it has begun at this moment, or is no step that can be repeated".to_owned()),
    }
}
