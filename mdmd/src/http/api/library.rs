//! The library: configuration profiles and packages, and the tags and groups that bring them to devices. Shows no profile's content.

use mdm_core::error::Error;
use mdm_core::ids::{AnyId, Serial};
use mdm_core::library::{Audience, Package, Whom, tags};
use mdm_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::described::{Sent, Shows, Versioned, told};
use super::tagged::Version;
use super::{About, Answer, Hidden, Most, Page, cut_by_id, packages, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    name: String,
    profile: Hidden,
    tags: Option<Vec<String>>,
    groups: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPackage {
    name: String,
    package: Package,
    tags: Option<Vec<String>>,
    groups: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tags {
    name: String,
    tags: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Devices {
    serials: Vec<String>,
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    take: Vec<String>,
}

/// Which items.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Listed {
    /// Behind this id: the `next` of the page before.
    #[serde(default)]
    after: AnyId,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
    /// Only the one of this name, with its tag for `If-Match`.
    name: Option<String>,
}

pub(super) async fn list(
    About { org, which, .. }: About<Listed>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let mut items = org.library().await.map_err(refused)?;
    let mut version = None;
    if let Some(name) = &which.name {
        items.retain(|item| item.name == name.trim());
        let found = items.first().ok_or(Error::NotFound("item of the library"));
        version = Some(Version::of_row(found.map_err(refused)?.version));
    }
    let page = Page {
        after: which.after,
        limit: which.limit,
    };
    let (items, next) = cut_by_id(items, &page, |item| item.id.0);
    Ok(Versioned::of(version, told! { items: items, next: next }))
}

pub(super) async fn profile(
    About { office, org, .. }: About,
    Sent(sent): Sent<Profile>,
) -> Answer<impl Shows> {
    let whom = Whom::read(sent.tags, sent.groups).map_err(refused)?;
    let profile = Secret::new(sent.profile.bytes().as_slice());
    let put = org.put_profile(&sent.name, &profile, whom).await;
    office.poke.notify_one();
    shown(put.map_err(refused)?)
}

pub(super) async fn package(
    About { office, org, .. }: About,
    Sent(sent): Sent<NewPackage>,
) -> Answer<impl Shows> {
    let whom = Whom::read(sent.tags, sent.groups).map_err(refused)?;
    let before = packages::files(&org).await?;
    let put = org.put_package(&sent.name, sent.package, whom).await;
    office.poke.notify_one();
    let put = put.map_err(refused)?;
    packages::clear(&office, &org, before).await?;
    shown(put)
}

pub(super) async fn tag(
    About { office, org, .. }: About,
    Sent(sent): Sent<Tags>,
) -> Answer<impl Shows> {
    let whom = Audience::read(&sent.tags, &sent.groups).map_err(refused)?;
    let item = org.tag_library_item(&sent.name, whom).await;
    office.poke.notify_one();
    shown(item.map_err(refused)?)
}

pub(super) async fn remove(
    About { office, org, .. }: About,
    Sent(sent): Sent<Named>,
) -> Answer<impl Shows> {
    let before = packages::files(&org).await?;
    let item = org.remove_library_item(&sent.name).await;
    office.poke.notify_one();
    let item = item.map_err(refused)?;
    packages::clear(&office, &org, before).await?;
    shown(item)
}

pub(super) async fn devices(
    About { office, org, .. }: About,
    Sent(sent): Sent<Devices>,
) -> Answer<impl Shows> {
    let serials = sent.serials.iter().map(|text| Serial::parse(text));
    let serials = serials.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let (add, take) = (tags(&sent.add), tags(&sent.take));
    let (add, take) = (add.map_err(refused)?, take.map_err(refused)?);
    if add.is_empty() && take.is_empty() {
        return Err(refused(Error::bad_input("add", "must be there, or take")));
    }
    let unknown = org.tag_devices(&serials, &add, &take).await;
    office.poke.notify_one();
    let unknown = unknown.map_err(refused)?;
    shown(told! { tagged: serials.len() - unknown.len(), unknown: unknown })
}
