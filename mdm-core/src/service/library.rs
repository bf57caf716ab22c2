//! The library at work: items come in, devices get tags, and a job brings each device to what its tags ask for. A profile is
//! signed when it comes in, kept sealed, and opened only for the device that gets it.

mod given;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::Org;
use super::decision::{Decision, Tracked};
use crate::clock::Timestamp;
use crate::enrol::profile::sign;
use crate::error::Error;
use crate::ids::{DeviceId, JobId, LibraryId, SecretId, Serial};
use crate::job::{Job, JobKind};
use crate::library::{Audience, KeptFile, LibraryContent, LibraryItem, Package, Whom};
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::store::Batch;
use crate::wire::payloads::{profile_identifier, signed_content};

/// Items of an organisation. A device's turn reads all of them.
const MOST_ITEMS: usize = 1_000;
/// The largest profile, in bytes.
const LARGEST: usize = 1024 * 1024;
/// What became of something that was put into the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two facts")]
pub struct Put {
    /// The item as it is now.
    #[serde(flatten)]
    pub item: LibraryItem,
    /// It was there with this content, and for these devices, already: no device gets it again that has it.
    pub unchanged: bool,
}

/// What was sent, beside what is kept of it.
#[derive(Default)]
struct Sent<'a> {
    seal: Option<SealedSecret>,
    /// A profile that came without a signature.
    unsigned: Option<&'a Secret>,
    /// One that came with one.
    signed: Option<&'a Secret>,
}

impl Org {
    /// Everything in the library, also what was taken out of use, in the order of ids.
    ///
    /// # Errors
    /// The store's.
    pub async fn library(&self) -> Result<Vec<LibraryItem>, Error> {
        Ok(self.store().library(self.id()).await?)
    }

    /// Puts a configuration profile into the library, or a new revision of the item of this name. One that has no signature
    /// is signed with the organisation's key. Devices that it is for get it. The very same profile again is the same
    /// revision: nobody gets it twice.
    ///
    /// # Errors
    /// [`Error::BadInput`] when it is no configuration profile of at most 1 MiB, or the name belongs to a package;
    /// [`Error::Precondition`] for a thousand items; the vault's, the store's.
    pub async fn put_profile(
        &self,
        name: &str,
        profile: &Secret,
        whom: impl Into<Whom> + Send,
    ) -> Result<Put, Error> {
        let whom = whom.into();
        let read = |problem: &str| Error::bad_input("profile", problem);
        if profile.len() > LARGEST {
            return Err(read("must be at most 1 MiB"));
        }
        let (identifier, signed) =
            profile_identifier(profile.expose()).map_err(|error| read(&error.to_string()))?;
        let content = if signed {
            profile.clone()
        } else {
            let signer = self.organisation.profile_signer.as_ref();
            let signer = signer.ok_or(Error::NotFound("profile signer"))?;
            let key = self.open_secret_cached(signer.key).await?;
            let signed = sign(profile.expose(), &key, &signer.certificate.0, &[])
                .map_err(|_| Error::Crypto("the profile could not be signed"))?;
            Secret::new(signed)
        };
        let now = self.now();
        let id = SecretId(self.ids().next(now));
        let row = self
            .seal(id, SecretKind::ProfileContent, None, &content, now)
            .await?;
        let content = LibraryContent::Profile {
            identifier,
            content: id,
            signed_here: !signed,
        };
        let sent = Sent {
            seal: Some(row),
            unsigned: (!signed).then_some(profile),
            signed: signed.then_some(profile),
        };
        self.put_item(name, content, whom, sent).await
    }

    /// Puts a package into the library, or a new revision of the item of this name. Macs that it is for get it.
    ///
    /// # Errors
    /// As [`Org::put_profile`], and [`Error::BadInput`] for a description that cannot be right.
    pub async fn put_package(
        &self,
        name: &str,
        package: Package,
        whom: impl Into<Whom> + Send,
    ) -> Result<Put, Error> {
        let whom = whom.into();
        if package.file.is_some() {
            return Err(Error::bad_input("file", "is named by whoever keeps it"));
        }
        package.check()?;
        self.put_item(
            name,
            LibraryContent::Package(package),
            whom,
            Sent::default(),
        )
        .await
    }

    /// The same with a file that the host keeps and serves: at [`Org::package_url`], and its manifest at that address with
    /// `/manifest` behind it, which is the one that Macs get. What `package` says of the file is not looked at.
    ///
    /// # Errors
    /// As [`Org::put_package`].
    pub async fn put_kept_package(
        &self,
        name: &str,
        package: Package,
        file: KeptFile,
        whom: impl Into<Whom> + Send,
    ) -> Result<Put, Error> {
        let whom = whom.into();
        if !KeptFile::is_name(&file.name) {
            return Err(Error::bad_input("file", "must be a name of a kept file"));
        }
        let mut package = package;
        package.url = self.package_url(&file.name);
        package.size = file.size;
        package.part_size = file.part_size;
        package.sha256s = file.sha256s;
        package.check()?;
        package.url.clear();
        package.file = Some(file.name);
        self.put_item(
            name,
            LibraryContent::Package(package),
            whom,
            Sent::default(),
        )
        .await
    }

    /// Where the host serves a file that it keeps.
    #[must_use]
    pub fn package_url(&self, file: &str) -> String {
        let base = &self.settings().enrol_url;
        format!("{base}/mdm/{}/package/{file}", self.organisation.code)
    }

    /// The package whose file has this name, with the address of the file: for a host that was asked for it. A package that
    /// was taken out of use, or has a newer file, is none.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn kept_package(&self, file: &str) -> Result<Package, Error> {
        let unknown = Error::NotFound("package");
        if !KeptFile::is_name(file) {
            return Err(unknown);
        }
        let items = self.library().await?.into_iter();
        let mut packages =
            items
                .filter(|item| item.removed.is_none())
                .filter_map(|item| match item.content {
                    LibraryContent::Package(package) => Some(package),
                    LibraryContent::Profile { .. } => None,
                });
        let mut package = packages
            .find(|package| package.file.as_deref() == Some(file))
            .ok_or(unknown)?;
        package.url = self.package_url(file);
        Ok(package)
    }

    async fn put_item(
        &self,
        name: &str,
        content: LibraryContent,
        whom: Whom,
        sent: Sent<'_>,
    ) -> Result<Put, Error> {
        let name = name.trim();
        crate::line::check_filled("name", name, 100)?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut batch = Batch::new();
            let old = self.store().library_item_by_name(self.id(), name).await?;
            let whom = whom.over(old.as_ref().filter(|old| old.removed.is_none()));
            if let Some(old) = old.as_ref().filter(|old| old.removed.is_none())
                && self.says_the_same(&old.content, &content, &sent).await
            {
                let mut item = old.clone();
                let unchanged = item.audience == whom;
                if !unchanged {
                    item.audience.clone_from(&whom);
                    item.changed = now;
                    let detail = json!({ "item": item.id, "name": name, "tags": whom.tags,
                        "groups": whom.groups });
                    self.audit_into(&mut batch, "library.tagged", detail);
                    batch.put(item.clone());
                }
                // Who has it keeps it; who failed to take it is asked again.
                self.walk_into(&mut batch, now);
                self.store().commit(batch).await?;
                return Ok(Put { item, unchanged });
            }
            let item = match &old {
                Some(old) => {
                    let same =
                        std::mem::discriminant(&old.content) == std::mem::discriminant(&content);
                    if !same {
                        return Err(Error::bad_input(
                            "name",
                            "belongs to an item of another kind",
                        ));
                    }
                    let mut item = old.clone();
                    item.content = content.clone();
                    item.audience.clone_from(&whom);
                    item.revision += 1;
                    item.changed = now;
                    item.removed = None;
                    item
                }
                None if self.library().await?.len() >= MOST_ITEMS => {
                    return Err(Error::Precondition(format!(
                        "the library has {MOST_ITEMS} items already"
                    )));
                }
                None => {
                    let id = LibraryId(self.ids().next(now));
                    LibraryItem::new(self.id(), id, name, content.clone(), whom.clone(), now)
                }
            };
            // Of a profile that is replaced the content stays in the vault, as every secret does.
            if let Some(LibraryContent::Profile { content: held, .. }) =
                old.as_ref().map(|o| &o.content)
                && let Some(mut held) = self.store().secret(self.id(), *held).await?
            {
                held.replaced = Some(now);
                batch.put(held);
            }
            if let Some(secret) = &sent.seal {
                batch.put(secret.clone());
            }
            batch.put(item.clone());
            self.walk_into(&mut batch, now);
            self.audit_into(
                &mut batch,
                "library.put",
                json!({ "item": item.id, "name": name, "revision": item.revision, "tags": whom.tags,
                    "groups": whom.groups }),
            );
            self.store().commit(batch).await?;
            Ok(Put {
                item,
                unchanged: false,
            })
        })
        .await
    }

    /// Whether what was sent is what the library has already. A profile that cannot be opened is not, and one that would be
    /// signed by another certificate today is not either.
    async fn says_the_same(
        &self,
        old: &LibraryContent,
        new: &LibraryContent,
        sent: &Sent<'_>,
    ) -> bool {
        match (old, new) {
            (LibraryContent::Package(old), LibraryContent::Package(new)) => {
                // A file that is kept here has another name each time that it comes.
                let mut named = new.clone();
                if old.file.is_some() && new.file.is_some() {
                    named.file.clone_from(&old.file);
                }
                *old == named
            }
            (LibraryContent::Profile { content: held, .. }, LibraryContent::Profile { .. }) => {
                let Ok(held) = self.open_secret(*held).await else {
                    return false;
                };
                match (sent.unsigned, &self.organisation.profile_signer) {
                    (Some(sent), Some(signer)) => {
                        let by = &signer.certificate.0;
                        let content = signed_content(held.expose()).map(Secret::new);
                        content.is_some_and(|content| content.matches(sent.expose()))
                            && held.expose().windows(by.len()).any(|part| part == by)
                    }
                    (Some(_), None) => false,
                    (None, _) => sent.signed.is_some_and(|sent| held.matches(sent.expose())),
                }
            }
            _ => false,
        }
    }

    /// Gives an item other tags and groups: devices that it is for now get it, others lose it.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn tag_library_item(
        &self,
        name: &str,
        whom: impl Into<Audience> + Send,
    ) -> Result<LibraryItem, Error> {
        let whom = whom.into();
        self.change_item(name, "library.tagged", |item| {
            item.audience.clone_from(&whom);
        })
        .await
    }

    /// Takes an item out of use: every device that has it loses it, as far as that can be done from here.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn remove_library_item(&self, name: &str) -> Result<LibraryItem, Error> {
        let now = self.now();
        self.change_item(name, "library.removed", |item| {
            item.removed = item.removed.or(Some(now));
        })
        .await
    }

    async fn change_item(
        &self,
        name: &str,
        what: &str,
        change: impl Fn(&mut LibraryItem),
    ) -> Result<LibraryItem, Error> {
        let name = name.trim();
        self.again_on_conflict(|| async {
            let now = self.now();
            let found = self.store().library_item_by_name(self.id(), name).await?;
            let mut item = found
                .filter(|i| i.removed.is_none())
                .ok_or(Error::NotFound("item of the library"))?;
            change(&mut item);
            item.changed = now;
            let mut batch = Batch::new();
            batch.put(item.clone());
            self.walk_into(&mut batch, now);
            let detail = json!({ "item": item.id, "name": name, "tags": item.audience.tags,
                "groups": item.audience.groups });
            self.audit_into(&mut batch, what, detail);
            self.store().commit(batch).await?;
            Ok(item)
        })
        .await
    }

    /// Adds tags to devices and takes others away. Answers the serial numbers that are not known.
    ///
    /// # Errors
    /// [`Error::BadInput`] for tags that cannot be, the store's. What was changed before an error stays changed.
    pub async fn tag_devices(
        &self,
        serials: &[Serial],
        add: &BTreeSet<String>,
        take: &BTreeSet<String>,
    ) -> Result<Vec<Serial>, Error> {
        self.tag_each(serials, add, take, &mut false).await
    }

    /// The same. `with_organisation`: the next device that changes is written with the organisation's row; false once that is
    /// done.
    pub(super) async fn tag_each(
        &self,
        serials: &[Serial],
        add: &BTreeSet<String>,
        take: &BTreeSet<String>,
        with_organisation: &mut bool,
    ) -> Result<Vec<Serial>, Error> {
        let mut unknown = Vec::new();
        for serial in serials {
            let marked = *with_organisation;
            let changed = self
                .again_on_conflict(|| async {
                    let found = self.store().device_by_serial(self.id(), serial).await?;
                    let Some(device) = found else {
                        return Ok(None);
                    };
                    let now = self.now();
                    let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
                    let mut tracked = Tracked::read(device);
                    let own = &mut tracked.row.tags;
                    own.retain(|tag| !take.contains(tag));
                    own.extend(add.iter().cloned());
                    crate::library::tags(own.iter())?;
                    if !tracked.is_changed() {
                        return Ok(Some(false));
                    }
                    let (id, tags) = (tracked.row.id, tracked.row.tags.clone());
                    d.device = Some(tracked);
                    d.audit("device.tagged", json!({ "tags": tags }));
                    d.job(now, JobKind::LibraryOf { device: id });
                    d.job(now, JobKind::DeclareOf { device: id });
                    if marked {
                        d.batch.put(self.fresh().await?);
                    }
                    self.commit(d).await?;
                    Ok(Some(true))
                })
                .await?;
            match changed {
                None => unknown.push(serial.clone()),
                Some(true) => *with_organisation = false,
                Some(false) => {}
            }
        }
        Ok(unknown)
    }

    /// Has every device looked at.
    fn walk_into(&self, batch: &mut Batch, now: Timestamp) {
        let kind = JobKind::Library { after: DeviceId(0) };
        let id = JobId(self.ids().next(now));
        batch.put(Job::new(self.id(), id, now, kind));
    }
}
