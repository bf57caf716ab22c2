//! What an organisation keeps for its devices: configuration profiles and packages, each for the devices that have one of its
//! tags. What a device should have and has not is decided here, purely; nobody is told anything.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::ids::{LibraryId, OrganisationId, SecretId};
use crate::line::is_obeyed;
use crate::wire::requests::{
    AssetKind, Manifest, ManifestAsset, ManifestItem, ManifestKind, ManifestMetadata,
};

/// The most tags of a device or an item, and the most groups of an item.
const MOST_TAGS: usize = 100;
/// The most bytes of a group's name.
const LONGEST_GROUP: usize = 512;

/// Which devices something of the library is for: those that have one of the tags, or whose owner is in one of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "tags and groups")]
pub struct Audience {
    /// Devices with one of these tags.
    pub tags: BTreeSet<String>,
    /// Devices whose owner is in one of these groups, by their names in the import.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

impl Audience {
    /// Tags and groups as people give them.
    ///
    /// # Errors
    /// [`Error::BadInput`] as [`tags`] and [`groups`].
    pub fn read(
        given: impl IntoIterator<Item = impl AsRef<str>>,
        of: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, Error> {
        let (tags, groups) = (tags(given)?, groups(of)?);
        Ok(Self { tags, groups })
    }

    /// Whether it is for nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.groups.is_empty()
    }

    /// Whether a device is meant.
    #[must_use]
    pub fn has(&self, device: &Device) -> bool {
        !self.tags.is_disjoint(&device.tags) || !self.groups.is_disjoint(&device.groups)
    }
}

/// For whom an item that comes in is to be. What is not said stays as it is; with nothing said at all an item that is there is for
/// whoever it was for, and one that is new for nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tags and groups")]
pub struct Whom {
    /// Devices with one of these tags.
    pub tags: Option<BTreeSet<String>>,
    /// Devices whose owner is in one of these groups.
    pub groups: Option<BTreeSet<String>>,
}

impl Whom {
    /// Tags and groups as somebody said them.
    ///
    /// # Errors
    /// As [`Audience::read`].
    pub fn read<T: AsRef<str>>(
        given: Option<impl IntoIterator<Item = T>>,
        of: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        let (tags, groups) = (given.map(tags).transpose()?, of.map(groups).transpose()?);
        Ok(Self { tags, groups })
    }

    /// Who that is for an item that is there, or is not.
    pub(crate) fn over(&self, item: Option<&LibraryItem>) -> Audience {
        let before = item.map(|item| item.audience.clone()).unwrap_or_default();
        Audience {
            tags: self.tags.clone().unwrap_or(before.tags),
            groups: self.groups.clone().unwrap_or(before.groups),
        }
    }
}

impl<T: Into<Audience>> From<T> for Whom {
    fn from(audience: T) -> Self {
        let Audience { tags, groups } = audience.into();
        Self {
            tags: Some(tags),
            groups: Some(groups),
        }
    }
}

impl From<BTreeSet<String>> for Audience {
    fn from(tags: BTreeSet<String>) -> Self {
        Self {
            tags,
            ..Self::default()
        }
    }
}

/// A profile or a package that is kept for devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LibraryItem {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: LibraryId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it; one item of a name.
    pub name: String,
    /// What it is.
    pub content: LibraryContent,
    /// Which devices get it.
    #[serde(flatten)]
    pub audience: Audience,
    /// Rises with each new content: devices that have an older one get the newer.
    pub revision: u32,
    /// When it was first uploaded.
    pub created: Timestamp,
    /// When its content, or whom it is for, last changed.
    pub changed: Timestamp,
    /// When it was taken out of use: devices that have it lose it.
    pub removed: Option<Timestamp>,
}

/// What an item of the library is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum LibraryContent {
    /// A configuration profile.
    Profile {
        /// Its `PayloadIdentifier`: an installed profile of the same one is replaced.
        identifier: String,
        /// The sealed profile, signed.
        content: SecretId,
        /// Whether it was signed here; one that came with a signature keeps that.
        signed_here: bool,
    },
    /// A package for Macs.
    Package(Package),
}

/// A package for Macs, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "what people fill in")]
pub struct Package {
    /// Bundle identifier of the application in it.
    pub bundle_identifier: String,
    /// Its name, as people see it.
    pub title: String,
    /// Its version.
    #[serde(default)]
    pub bundle_version: Option<String>,
    /// Where the file is, by HTTPS. Empty for a file that the host of this library keeps: its address is made when it is asked
    /// for.
    #[serde(default)]
    pub url: String,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of each part but the last.
    pub part_size: u64,
    /// SHA-256 of each part, lower-case hex.
    pub sha256s: Vec<String>,
    /// Whether the application is managed: then it is taken away with the tag.
    #[serde(default)]
    pub managed: bool,
    /// The name of the file that the host keeps, in place of an address elsewhere. Nobody can guess it: whoever knows it may
    /// fetch the file, as Macs do, which show no certificate for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A file that the host of this library received and keeps for devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_structs,
    reason = "what a manifest needs to know of it"
)]
pub struct KeptFile {
    /// Its name, from [`KeptFile::new_name`].
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes of each part but the last.
    pub part_size: u64,
    /// SHA-256 of each part, lower-case hex.
    pub sha256s: Vec<String>,
}

impl KeptFile {
    /// A name that nobody can guess: 32 random bytes of the operating system in lower-case hex.
    ///
    /// # Errors
    /// [`Error::Crypto`] without randomness.
    pub fn new_name() -> Result<String, Error> {
        let mut random = [0_u8; 32];
        openssl::rand::rand_bytes(&mut random).map_err(|_| Error::Crypto("no randomness"))?;
        Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether a text has the form of a name. Nothing else may become part of a path.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// An item that was queued for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "five facts")]
pub struct Given {
    /// Which.
    pub item: LibraryId,
    /// Which revision of it.
    pub revision: u32,
    /// How it is taken away again.
    pub undo: Undo,
    /// `CommandUUID` under which it was queued: the queue says what became of it.
    pub command: String,
    /// When.
    pub at: Timestamp,
    /// The reason that the device gave for not taking it, or that its command was cancelled. It is given again when its
    /// tags or the library are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// How an item is taken away from a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Undo {
    /// The profile of this identifier is removed.
    Profile(String),
    /// The managed application of this bundle identifier is removed.
    Application(String),
    /// Nothing can be done from here.
    Nothing,
}

/// What a device lacks, or has too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there or not there")]
pub enum Change<'a> {
    /// It should have this item, in this revision.
    Give(&'a LibraryItem),
    /// It has this and should not.
    Take(&'a Given),
}

/// What must change on this device, by its tags, its owner's groups and what it was given. The order is that of the library, what goes first. What
/// was given and is not among the items stays where it is: nothing ever leaves the library, so that one cannot be read just
/// now, and nobody can say whether the device should have it.
#[must_use]
pub fn changes<'a>(items: &'a [LibraryItem], device: &'a Device) -> Vec<Change<'a>> {
    let (given, platform) = (&device.given, device.platform());
    let wants = |item: &LibraryItem| {
        let fits = match item.content {
            LibraryContent::Package(_) => platform.is_some_and(Platform::is_mac),
            LibraryContent::Profile { .. } => true,
        };
        fits && item.removed.is_none() && item.audience.has(device)
    };
    let unwanted = |given: &&Given| items.iter().any(|i| i.id == given.item && !wants(i));
    let has = |item: &LibraryItem| {
        let mut all = given.iter();
        all.any(|g| g.item == item.id && g.revision == item.revision && g.failed.is_none())
    };
    let less = given.iter().filter(unwanted).map(Change::Take);
    let more = items.iter().filter(|i| wants(i) && !has(i));
    less.chain(more.map(Change::Give)).collect()
}

impl LibraryItem {
    /// An item in its first revision.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: LibraryId,
        name: &str,
        content: LibraryContent,
        audience: impl Into<Audience>,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            content,
            audience: audience.into(),
            revision: 1,
            created: now,
            changed: now,
            removed: None,
        }
    }

    /// How it is taken away from a device that got it.
    #[must_use]
    pub fn undo(&self) -> Undo {
        match &self.content {
            LibraryContent::Profile { identifier, .. } => Undo::Profile(identifier.clone()),
            LibraryContent::Package(p) if p.managed => {
                Undo::Application(p.bundle_identifier.clone())
            }
            LibraryContent::Package(_) => Undo::Nothing,
        }
    }
}

impl Package {
    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let file = ManifestAsset::new(AssetKind::SoftwarePackage, &self.url)
            .sha256_size(self.part_size)
            .sha256s(self.sha256s.clone());
        let mut about =
            ManifestMetadata::new(&self.bundle_identifier, ManifestKind::Software, &self.title)
                .size_in_bytes(self.size);
        if let Some(version) = &self.bundle_version {
            about = about.bundle_version(version);
        }
        Manifest::new([ManifestItem::new([file], about)])
    }

    /// Whether it can be what it says.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let parts = self.size.div_ceil(self.part_size.max(1));
        let hash = |text: &String| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        for (field, fits, problem) in [
            (
                "bundle_identifier",
                (1..=255).contains(&self.bundle_identifier.len()),
                "must be 1 to 255 bytes",
            ),
            (
                "title",
                (1..=255).contains(&self.title.len()),
                "must be 1 to 255 bytes",
            ),
            (
                "url",
                self.url.starts_with("https://") && self.url.len() <= 2048,
                "must be an address with https",
            ),
            ("size", self.size > 0, "must be more than nothing"),
            ("part_size", self.part_size > 0, "must be more than nothing"),
            (
                "sha256s",
                self.sha256s.len() as u64 == parts && self.sha256s.iter().all(hash),
                "must have the SHA-256 of each part, in lower-case hexadecimal",
            ),
        ] {
            if !fits {
                return Err(Error::bad_input(field, problem));
            }
        }
        Ok(())
    }
}

/// Tags as people give them: 1 to 64 letters, digits, `-`, `_` or `.`, in lower case.
///
/// # Errors
/// [`Error::BadInput`].
pub fn tags(given: impl IntoIterator<Item = impl AsRef<str>>) -> Result<BTreeSet<String>, Error> {
    let mut tags = BTreeSet::new();
    for tag in given {
        let tag = tag.as_ref().trim().to_ascii_lowercase();
        let fits = (1..=64).contains(&tag.len())
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !fits {
            return Err(Error::bad_input(
                "tags",
                "must be 1 to 64 letters, digits, '-', '_' or '.'",
            ));
        }
        tags.insert(tag);
    }
    if tags.len() > MOST_TAGS {
        return Err(Error::bad_input(
            "tags",
            format!("must be at most {MOST_TAGS}"),
        ));
    }
    Ok(tags)
}

/// Names of groups of owners as people give them: 1 to 512 bytes without what a terminal obeys, spelt as in the import.
///
/// # Errors
/// [`Error::BadInput`].
pub fn groups(given: impl IntoIterator<Item = impl AsRef<str>>) -> Result<BTreeSet<String>, Error> {
    let mut groups = BTreeSet::new();
    for group in given {
        let group = group.as_ref().trim();
        let fits = (1..=LONGEST_GROUP).contains(&group.len());
        if !fits || group.chars().any(is_obeyed) {
            return Err(Error::bad_input(
                "groups",
                format!(
                    "must be 1 to {LONGEST_GROUP} bytes without control characters and marks that change the direction of text"
                ),
            ));
        }
        groups.insert(group.to_owned());
    }
    if groups.len() > MOST_TAGS {
        return Err(Error::bad_input(
            "groups",
            format!("must be at most {MOST_TAGS}"),
        ));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, Serial};

    fn device(tags: &[&str], groups: &[&str], given: &[Given]) -> Device {
        let serial = Serial::parse("C02XXXXX0001").unwrap();
        let mut device = Device::new(OrganisationId(1), DeviceId(1), serial);
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        (device.tags, device.groups) = (words(tags), words(groups));
        device.given = given.to_vec();
        device
    }

    fn item(id: i64, tag: &str, content: LibraryContent) -> LibraryItem {
        let now = Timestamp::from_millis(0);
        let tags = tags([tag]).unwrap();
        LibraryItem::new(OrganisationId(1), LibraryId(id), "x", content, tags, now)
    }

    fn profile(id: i64, tag: &str) -> LibraryItem {
        let content = LibraryContent::Profile {
            identifier: format!("profile.{id}"),
            content: SecretId(id),
            signed_here: true,
        };
        item(id, tag, content)
    }

    fn package() -> Package {
        Package {
            bundle_identifier: "com.example.tool".to_owned(),
            title: "Tool".to_owned(),
            bundle_version: Some("1.2".to_owned()),
            url: "https://example.com/tool.pkg".to_owned(),
            file: None,
            size: 25,
            part_size: 10,
            sha256s: vec!["ab".repeat(32); 3],
            managed: true,
        }
    }

    fn given(item: &LibraryItem) -> Given {
        Given {
            item: item.id,
            revision: item.revision,
            undo: item.undo(),
            command: "c".to_owned(),
            at: Timestamp::from_millis(0),
            failed: None,
        }
    }

    #[test]
    fn a_device_gets_what_one_of_its_tags_asks_for_and_loses_what_none_does() {
        let mut items = vec![profile(1, "all"), profile(2, "lab"), profile(3, "lab")];
        let mine = tags(["ALL", "lab"]).unwrap();
        assert_eq!(mine, tags(["all", "lab"]).unwrap());
        let (mine, none): (&[&str], &[&str]) = (&["all", "lab"], &[]);
        let ids = |changes: Vec<Change<'_>>| -> Vec<i64> {
            let each = changes.into_iter().map(|change| match change {
                Change::Give(item) => item.id.0,
                Change::Take(given) => -given.item.0,
            });
            each.collect()
        };
        let check = |items: &[LibraryItem], mine: &[&str], has: &[Given]| {
            ids(changes(items, &device(mine, &[], has)))
        };
        assert_eq!(check(&items, mine, &[]), [1, 2, 3]);
        let has: Vec<Given> = items.iter().map(given).collect();
        assert_eq!(check(&items, mine, &has), [] as [i64; 0]);
        items[1].revision += 1;
        items[2].removed = Some(Timestamp::from_millis(1));
        assert_eq!(check(&items, mine, &has), [-3, 2]);
        assert_eq!(check(&items, none, &has), [-1, -2, -3]);
        // One that cannot be read is neither given nor taken.
        assert_eq!(check(&items[..2], none, &has), [-1, -2]);
    }

    #[test]
    fn a_device_gets_what_is_for_a_group_of_its_owner() {
        let mut items = [profile(1, "lab"), profile(2, "lab")];
        items[0].audience = Audience::read(["lab"], [" Sales "]).unwrap();
        let has = [given(&items[0])];
        let mine = device(&[], &["Sales"], &[]);
        assert_eq!(changes(&items, &mine), [Change::Give(&items[0])]);
        // A tag of that name is another thing, and so is a group that is spelt otherwise.
        for (tags, groups) in [
            (&["sales"][..], &[][..]),
            (&[], &["sales"]),
            (&[], &["lab"]),
        ] {
            let other = device(tags, groups, &has);
            assert_eq!(changes(&items, &other), [Change::Take(&has[0])]);
        }
        assert_eq!(changes(&items, &device(&[], &["Sales"], &has)), []);
        let long = "x".repeat(LONGEST_GROUP + 1);
        for bad in ["", " ", "a\nb", "Sales\u{202e}x", "Sales\u{2069}", &long] {
            let error = groups([bad]).unwrap_err().to_string();
            assert!(error.starts_with("groups"), "{error}");
        }
    }

    #[test]
    fn packages_are_for_macs() {
        let items = [item(1, "all", LibraryContent::Package(package()))];
        let of = |product: &str| {
            let mut device = device(&["all"], &[], &[]);
            device.facts.product = Some(product.to_owned());
            changes(&items, &device).len()
        };
        assert_eq!((of("iPad14,1"), of("Mac15,7")), (0, 1));
        assert_eq!(
            items[0].undo(),
            Undo::Application("com.example.tool".to_owned())
        );
    }

    #[test]
    fn a_package_that_cannot_be_is_named_by_its_field() {
        package().check().unwrap();
        let check = |change: fn(&mut Package), field: &str| {
            let mut it = package();
            change(&mut it);
            let error = it.check().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        };
        check(|p| p.url = "http://example.com/x".to_owned(), "url");
        check(|p| p.sha256s.truncate(2), "sha256s");
        check(|p| p.sha256s[0] = "AB".repeat(32), "sha256s");
        check(|p| p.size = 0, "size");
        check(|p| p.part_size = 0, "part_size");
        check(|p| p.title.clear(), "title");
        assert!(tags(["a b"]).is_err() && tags([""]).is_err());
    }
}
