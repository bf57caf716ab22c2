//! Tags of devices as a whole: which there are, with the groups of owners beside them, and a tag that exactly some devices have.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Org;
use crate::error::Error;
use crate::ids::{DeviceId, Serial};
use crate::migration::known_by;

/// Devices that are read at a time.
const PAGE: u32 = 1_000;

/// Tags and groups, each with how many devices have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TagsInUse {
    /// Tags.
    pub tags: BTreeMap<String, usize>,
    /// Groups of devices' owners, as the newest import told them.
    pub groups: BTreeMap<String, usize>,
}

/// What became of a tag that exactly some devices were to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TagSet {
    /// The tag as it is written.
    pub tag: String,
    /// Devices that have it since.
    pub added: usize,
    /// Devices that have lost it.
    pub taken: usize,
    /// Serial numbers that are not known.
    pub unknown: Vec<Serial>,
}

impl Org {
    /// Which tags and groups there are.
    ///
    /// # Errors
    /// The store's.
    pub async fn tags_in_use(&self) -> Result<TagsInUse, Error> {
        let mut found = TagsInUse::default();
        let mut after = DeviceId(0);
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = last.id;
            for tag in page.iter().flat_map(|device| &device.tags) {
                *found.tags.entry(tag.clone()).or_default() += 1;
            }
            for group in page.iter().flat_map(|device| &device.groups) {
                *found.groups.entry(group.clone()).or_default() += 1;
            }
        }
    }

    /// Of words by which steps know devices, those by which they know none. Looks at no more devices than it takes to find one for each:
    /// most words are those of many.
    pub(super) async fn nobodys_words(
        &self,
        mut words: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Error> {
        let mut after = DeviceId(0);
        while !words.is_empty() {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for device in &page {
                let has = known_by(&device.tags, &device.groups);
                words.retain(|word| !has.contains(word));
            }
        }
        Ok(words)
    }

    /// Devices whose owners are in a group now, as the newest import told it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a group that nobody is in; the store's.
    pub async fn devices_of_group(&self, group: &str) -> Result<BTreeSet<Serial>, Error> {
        let (mut found, mut after) = (BTreeSet::new(), DeviceId(0));
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let are_in = page.into_iter().filter(|d| d.groups.contains(group));
            found.extend(are_in.map(|device| device.serial));
        }
        if found.is_empty() {
            return Err(Error::NotFound("group that anybody is in"));
        }
        Ok(found)
    }

    /// Devices that have a tag.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a tag that cannot be; the store's.
    pub async fn devices_of_tag(&self, tag: &str) -> Result<BTreeSet<Serial>, Error> {
        let tags = crate::library::tags([tag])?;
        let (mut found, mut after) = (BTreeSet::new(), DeviceId(0));
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = last.id;
            let have = page.into_iter().filter(|d| !d.tags.is_disjoint(&tags));
            found.extend(have.map(|device| device.serial));
        }
    }

    /// Gives a tag to exactly these devices: others that have it lose it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a tag that cannot be; as [`Org::tag_devices`]. What was changed before an error stays changed.
    pub async fn set_tag(&self, tag: &str, serials: &BTreeSet<Serial>) -> Result<TagSet, Error> {
        let have = self.devices_of_tag(tag).await?;
        self.tag_exactly(tag, serials, &have, false).await
    }

    /// The same for who has seen that exactly the devices in `seen` have it: a device that has got it since keeps it. The first
    /// change is written with the organisation's row, so that of two who have seen the same one is first, where both act under
    /// [`Org::only_if`] of that row.
    ///
    /// # Errors
    /// As [`Org::set_tag`].
    pub async fn set_tag_as_seen(
        &self,
        tag: &str,
        serials: &BTreeSet<Serial>,
        seen: &BTreeSet<Serial>,
    ) -> Result<TagSet, Error> {
        self.tag_exactly(tag, serials, seen, true).await
    }

    async fn tag_exactly(
        &self,
        tag: &str,
        serials: &BTreeSet<Serial>,
        have: &BTreeSet<Serial>,
        mut with_organisation: bool,
    ) -> Result<TagSet, Error> {
        let tags = crate::library::tags([tag])?;
        let mut done = TagSet {
            tag: tags.first().cloned().unwrap_or_default(),
            ..TagSet::default()
        };
        let lose: Vec<Serial> = have.difference(serials).cloned().collect();
        let get: Vec<Serial> = serials.difference(have).cloned().collect();
        let none = BTreeSet::new();
        done.taken = lose.len();
        self.tag_each(&lose, &none, &tags, &mut with_organisation)
            .await?;
        done.unknown = self
            .tag_each(&get, &tags, &none, &mut with_organisation)
            .await?;
        done.added = get.len() - done.unknown.len();
        Ok(done)
    }
}
