//! Tags of devices and groups of their owners: which there are, and who exactly has one.

use std::collections::BTreeSet;

use mdm_core::ids::Serial;
use schemars::JsonSchema;
use serde::Deserialize;

use super::described::{Sent, Shows, told};
use super::{About, Answer, refused, shown};

pub(super) async fn list(About { org, .. }: About) -> Answer<impl Shows> {
    let found = org.tags_in_use().await.map_err(refused)?;
    shown(told! { tags: found.tags, groups: found.groups })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    tag: String,
    /// Exactly these have it from now on.
    #[serde(default)]
    serials: BTreeSet<Serial>,
    /// And those whose owners are in this group now.
    group: Option<String>,
}

pub(super) async fn set(
    About { office, org, .. }: About,
    Sent(sent): Sent<Set>,
) -> Answer<impl Shows> {
    let mut serials = sent.serials;
    if let Some(group) = &sent.group {
        serials.extend(org.devices_of_group(group).await.map_err(refused)?);
    }
    let done = org.set_tag(&sent.tag, &serials).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { tag: done.tag, added: done.added, taken: done.taken, unknown: done.unknown })
}
