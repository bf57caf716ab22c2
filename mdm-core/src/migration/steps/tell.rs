//! People and programs are told of the release, and the device gets the step's tags. Nothing depends on it.

use super::{Progress, Signal, StepContext};
use crate::migration::{Effect, EffectKey, Event, Notice};

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    let mut effects = vec![Effect::Notify(Notice::Released)];
    if !ctx.step.tags.is_empty() {
        let tags = ctx.step.tags.clone();
        effects.push(Effect::Tag { tags });
    }
    Progress {
        effects,
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
        }) => Progress::skip(format!("could not be sent: {why}")),
        // Other notices, and what is for other steps.
        _ => Progress::wait(),
    }
}
