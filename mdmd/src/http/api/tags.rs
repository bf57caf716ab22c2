//! Tags of devices and groups of their owners: which there are, and who exactly has one.

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use mdm_core::error::Error;
use mdm_core::ids::Serial;
use mdm_core::service::TagsInUse;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::described::{Sent, Shows, Versioned, told};
use super::{About, Answer, Called, cut_by_name, edited, refused, shown};

/// Where a tag and where a group stands in the list of both.
const TAG: &str = "tag:";
const GROUP: &str = "group:";

/// The devices that have the tag which a request sets, as whoever names its state has seen them.
#[derive(Clone, Debug)]
pub(super) struct Seen(pub(super) BTreeSet<Serial>);

pub(super) async fn list(
    About { org, which, .. }: About<Called>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let mut version = None;
    let mut found = TagsInUse::default();
    if let Some(name) = &which.name {
        let have = org.devices_of_tag(name).await.map_err(refused)?;
        if have.is_empty() {
            return Err(refused(Error::NotFound("tag that any device has")));
        }
        let tag = name.trim().to_ascii_lowercase();
        found.tags = BTreeMap::from([(tag, have.len())]);
        version = Some(edited::of_tag(&have));
    } else {
        found = org.tags_in_use().await.map_err(refused)?;
    }
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
    let answer = told! { tags: tags, groups: groups, next: next };
    Ok(Versioned::of(version, answer))
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
    seen: Option<Extension<Seen>>,
    Sent(sent): Sent<Set>,
) -> Answer<impl Shows> {
    let mut serials = sent.serials;
    if let Some(group) = &sent.group {
        serials.extend(org.devices_of_group(group).await.map_err(refused)?);
    }
    let done = match seen {
        Some(Extension(Seen(seen))) => org.set_tag_as_seen(&sent.tag, &serials, &seen).await,
        None => org.set_tag(&sent.tag, &serials).await,
    };
    office.poke.notify_one();
    let done = done.map_err(refused)?;
    shown(told! { tag: done.tag, added: done.added, taken: done.taken, unknown: done.unknown })
}
