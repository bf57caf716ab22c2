//! People and programs are told of the release. Nothing depends on it.

use super::{Progress, Signal};
use crate::migration::{Effect, EffectKey, Event, Notice};

pub(super) fn start() -> Progress {
    Progress {
        effects: vec![Effect::Notify(Notice::Released)],
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
