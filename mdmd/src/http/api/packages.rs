//! Packages that are uploaded: the bytes go to the disk as they come, then the item goes into the library. A file that no item
//! names any more is removed. Holds no package in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http_body_util::BodyExt as _;
use mdm_core::error::Error;
use mdm_core::ids::OrganisationId;
use mdm_core::library::{KeptFile, LibraryContent, Package, Whom};
use mdm_core::service::Org;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::body::BodyError;
use super::super::edge::{Passed, is_over_budget};
use super::super::error::Door;
use super::asked::Query;
use super::described::Shows;
use super::{Answer, Asked, At, By, Office, Refusal, refused, shown};
use crate::packages::{Incoming, NotKept};

/// What is said of a package beside its bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct About {
    name: String,
    bundle_identifier: String,
    title: Option<String>,
    bundle_version: Option<String>,
    #[serde(default)]
    managed: bool,
    tags: Option<String>,
    /// As a list in JSON: a group may have a comma in its name.
    #[serde(default)]
    groups: Option<String>,
}

pub(super) async fn upload(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    about: Result<Query<About>, Refusal>,
    passed: Option<Extension<Passed>>,
    sent: Body,
) -> Answer<impl Shows> {
    // Of an organisation that is not the caller's nothing more is said.
    let org = caller.organisation(&office.mdm, &which).await?;
    let Query(about) = about?;
    let given = about.tags.as_deref().map(|tags| {
        let each = tags.split(',').filter(|tag| !tag.trim().is_empty());
        each.map(str::to_owned)
    });
    let groups = match &about.groups {
        Some(list) => Some(serde_json::from_str::<Vec<String>>(list).map_err(|_| {
            refused(Error::bad_input(
                "groups",
                "must be a list of names in JSON",
            ))
        })?),
        None => None,
    };
    let whom = Whom::read(given, groups).map_err(refused)?;
    let owner = org.organisation().id;
    let before = files(&org).await?;
    let passed = passed.map(|Extension(passed)| passed);
    let file = receive(&office, owner, sent, passed).await?;
    let name = file.name.clone();
    let package = Package {
        title: about.title.unwrap_or_else(|| about.name.clone()),
        bundle_identifier: about.bundle_identifier,
        bundle_version: about.bundle_version,
        managed: about.managed,
        url: String::new(),
        size: 0,
        part_size: 0,
        sha256s: Vec::new(),
        file: None,
    };
    let put = org.put_kept_package(&about.name, package, file, whom).await;
    office.poke.notify_one();
    match put {
        Ok(put) => {
            if let LibraryContent::Package(Package {
                file: Some(kept), ..
            }) = &put.item.content
                && *kept != name
            {
                let (packages, kept) = (Arc::clone(&office.packages), kept.clone());
                let renewed =
                    tokio::task::spawn_blocking(move || packages.renew(owner, &name, &kept));
                // What was not renewed is as it was, and what was received is swept later.
                let _ = renewed.await;
            }
            clear(&office, &org, before).await?;
            shown(put)
        }
        Err(error) => {
            remove(&office, owner, [name]).await;
            Err(refused(error))
        }
    }
}

/// Writes a body to the disk. What arrives too slowly is measured piece by piece: nobody knows how large a package is.
async fn receive(
    office: &Office,
    owner: OrganisationId,
    mut sent: Body,
    passed: Option<Passed>,
) -> Result<KeptFile, Refusal> {
    let not_taken = |error: BodyError| Refusal::new(Door::Api, error);
    // Told early where that can be: whoever sends on hears no answer.
    let told = hyper::body::Body::size_hint(&sent).lower();
    let largest = office.packages.largest();
    if told > largest {
        let most = usize::try_from(largest).unwrap_or(usize::MAX);
        return Err(not_taken(BodyError::TooLarge(most)));
    }
    let name = KeptFile::new_name().map_err(refused)?;
    let (packages, of) = (Arc::clone(&office.packages), name.clone());
    let mut incoming = disk(move || packages.begin(owner, &of)).await?;
    loop {
        let piece = tokio::time::timeout(office.limits.body_time(), sent.frame()).await;
        let Some(frame) = piece.map_err(|_| not_taken(BodyError::TooSlow))? else {
            break;
        };
        let frame = frame.map_err(|error| {
            not_taken(match is_over_budget(&error) {
                true => BodyError::Busy,
                false => BodyError::Broken,
            })
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = data.len();
        let written = move |mut incoming: Incoming| {
            incoming.write(&data)?;
            Ok(incoming)
        };
        incoming = disk(move || written(incoming)).await?;
        if let Some(passed) = &passed {
            passed.on(length);
        }
    }
    disk(move || incoming.end(name)).await
}

/// Something with the disk, away from the threads that answer others.
async fn disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotKept> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err(std::io::Error::other("a panic").into()));
    done.map_err(|error| match error {
        NotKept::TooLarge(most) => {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            Refusal::new(Door::Api, BodyError::TooLarge(most))
        }
        NotKept::NoPackage => refused(Error::bad_input("body", error.to_string())),
        NotKept::TooMuch(_) => refused(Error::Precondition(error.to_string())),
        NotKept::Disk(problem) => {
            tracing::error!(error = %problem, "a package could not be written");
            let kind = problem.kind();
            refused(Error::Precondition(format!(
                "the package could not be written: {kind}"
            )))
        }
    })
}

/// The names of the files that items of the library have now.
pub(super) async fn files(org: &Org) -> Result<BTreeSet<String>, Refusal> {
    let items = org.library().await.map_err(refused)?;
    let names = items
        .into_iter()
        .filter(|item| item.removed.is_none())
        .filter_map(|item| match item.content {
            LibraryContent::Package(package) => package.file,
            _ => None,
        });
    Ok(names.collect())
}

/// Removes the files that were some item's before and are nobody's now, and what lies about from before.
pub(super) async fn clear(
    office: &Office,
    org: &Org,
    before: BTreeSet<String>,
) -> Result<(), Refusal> {
    let now = files(org).await?;
    let owner = org.organisation().id;
    let gone: Vec<String> = before.difference(&now).cloned().collect();
    remove(office, owner, gone).await;
    let packages = Arc::clone(&office.packages);
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the times of files, which the operating system writes"
    )]
    let at = SystemTime::now();
    let swept = tokio::task::spawn_blocking(move || packages.sweep(owner, &now, at));
    // A sweep that failed is made again with the next change.
    let _ = swept.await;
    Ok(())
}

async fn remove(
    office: &Office,
    owner: OrganisationId,
    names: impl IntoIterator<Item = String> + Send + 'static,
) {
    let packages = Arc::clone(&office.packages);
    let names: Vec<String> = names.into_iter().collect();
    let removed = tokio::task::spawn_blocking(move || {
        names.iter().for_each(|name| packages.remove(owner, name));
    });
    // What could not be removed is swept later.
    let _ = removed.await;
}
