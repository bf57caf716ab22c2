//! The device gets the step's tags once it is out, and the proof has it that people and programs were told of the release. The
//! end of the hold tells them, with this step or without it. Nothing depends on it.

use super::{Next, Progress, Signal, StepContext, is_impostor};
use crate::migration::{Effect, EffectKey, Event, Notice, ReleaseTold, StepId};

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    let mut effects = Vec::new();
    if !ctx.step.tags.is_empty() && !is_impostor(ctx.steps.get(&StepId::Identify)) {
        let tags = ctx.step.tags.clone();
        effects.push(Effect::Tag { tags });
    }
    let next = match ctx.release_told {
        Some(ReleaseTold::Sent) => Next::Done("sent".to_owned()),
        Some(ReleaseTold::Failed { why }) => Next::Skip(not_sent(why)),
        Some(ReleaseTold::Asked) | None => Next::Wait,
    };
    Progress {
        effects,
        next,
        ..Progress::default()
    }
}

pub(super) fn on(signal: Signal<'_>) -> Progress {
    match signal {
        Signal::Event(Event::Told {
            notice: Notice::Released,
        }) => Progress::done("sent"),
        Signal::Event(Event::EffectFailed {
            effect: EffectKey::Notify(Notice::Released),
            why,
        }) => Progress::skip(not_sent(why)),
        // Other notices, and what is for other steps.
        _ => Progress::wait(),
    }
}

fn not_sent(why: &str) -> String {
    format!("could not be sent: {why}")
}
