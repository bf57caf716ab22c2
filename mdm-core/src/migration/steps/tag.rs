//! Tags that the device gets: what people sort it by from here on. They are written in the commit that ends the step.

use super::{Next, Progress, StepContext};
use crate::migration::Effect;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    let tags = ctx.step.tags.clone();
    let names: Vec<&str> = tags.iter().map(String::as_str).collect();
    Progress {
        next: Next::Done(format!("tagged {}", names.join(", "))),
        effects: vec![Effect::Tag { tags }],
        ..Progress::default()
    }
}
