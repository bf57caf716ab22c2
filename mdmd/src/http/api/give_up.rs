//! Giving up an attempt that nothing else can end: what it means, and doing it.

use mdm_core::ids::Serial;
use mdm_core::service::GivenUp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::asked::Path;
use super::described::{Sent, Shows, told};
use super::{About, Answer, refused, shown};

/// What it means, before somebody does it.
pub(super) async fn look(
    About { org, .. }: About,
    Path(serial): Path<Serial>,
) -> Answer<impl Shows> {
    let means = org.giving_up(&serial).await.map_err(refused)?;
    shown(
        told! { serial: serial, outcome: means.outcome, heard: means.heard, sentence: means.sentence },
    )
}

/// Why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: String,
}

pub(super) async fn give_up(
    About { office, org, .. }: About,
    Path(serial): Path<Serial>,
    Sent(why): Sent<Why>,
) -> Answer<impl Shows> {
    let asked = org.give_up(&serial, &why.reason).await.map_err(refused)?;
    let (outcome, approval) = match asked {
        GivenUp::Done(means) => (Some(means.outcome), None),
        GivenUp::Waits(approval) => (None, Some(approval)),
    };
    office.poke.notify_one();
    shown(told! { serial: serial, outcome: outcome, approval: approval })
}
