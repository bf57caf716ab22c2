//! Tags of devices and groups of their owners: which there are, and who exactly has one.

use std::collections::{BTreeMap, BTreeSet};

use mdm_core::ids::Serial;
use schemars::JsonSchema;
use serde::Deserialize;

use super::described::{Sent, Shows, told};
use super::{About, Answer, Names, cut_by_name, refused, shown};

/// Where a tag and where a group stands in the list of both.
const TAG: &str = "tag:";
const GROUP: &str = "group:";

pub(super) async fn list(About { org, which, .. }: About<Names>) -> Answer<impl Shows> {
    let found = org.tags_in_use().await.map_err(refused)?;
    // One list for both, groups first, as their words stand in the alphabet; a page tells them apart again.
    let groups = found.groups.into_iter().map(|row| (GROUP, row));
    let all = groups.chain(found.tags.into_iter().map(|row| (TAG, row)));
    let all: Vec<(String, usize)> = all
        .map(|(kind, (name, devices))| (format!("{kind}{name}"), devices))
        .collect();
    let (after, limit) = (which.after.as_deref(), which.limit);
    let (page, next) = cut_by_name(all, after, limit, |(place, _)| place);
    let (mut tags, mut groups) = (BTreeMap::new(), BTreeMap::new());
    for (place, devices) in page {
        if let Some(tag) = place.strip_prefix(TAG) {
            tags.insert(tag.to_owned(), devices);
        } else if let Some(group) = place.strip_prefix(GROUP) {
            groups.insert(group.to_owned(), devices);
        }
    }
    shown(told! { tags: tags, groups: groups, next: next })
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
