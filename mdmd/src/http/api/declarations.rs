//! Declarations: contents, sets, for whom they are, and what devices say of them. Shows no file's content.

use mdm_core::clock::Timestamp;
use mdm_core::ddm::{Channels, Target};
use mdm_core::error::Error;
use mdm_core::ids::{DeclarationId, Serial};
use mdm_core::secret::Secret;
use mdm_core::service::{Activation, NewDeclaration, NewFile, Org};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::error::Refusal;
use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::tagged::Version;
use super::{About, Answer, Called, Hidden, Page, cut_by_name, edited, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    identifier: String,
    r#type: String,
    #[serde(default)]
    payload: Map<String, Value>,
    file: Option<Hidden>,
    content_type: Option<String>,
    #[serde(default)]
    activate: bool,
    predicate: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    name: String,
    members: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Removed {
    name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Assign {
    name: String,
    #[serde(default)]
    everybody: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    serials: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    on_users: bool,
}

pub(super) async fn list(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let all = org
        .declarations(DeclarationId(which.after.0), which.limit())
        .await;
    let (all, next) = all.map_err(refused)?;
    shown(told! { declarations: all, next: next })
}

/// A declaration as a device gets it, and what is known of it here.
#[derive(Serialize, JsonSchema)]
struct One<P> {
    #[serde(rename = "Type")]
    declaration_type: String,
    #[serde(rename = "Identifier")]
    identifier: String,
    #[serde(rename = "ServerToken")]
    server_token: String,
    #[serde(rename = "Payload")]
    payload: P,
    created: Timestamp,
    changed: Timestamp,
}

pub(super) async fn show(
    About { org, .. }: About,
    Path(identifier): Path<String>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let declaration = org.declaration(&identifier).await.map_err(refused)?;
    let content = org.declaration_content(&declaration).await;
    let content = content.map_err(refused)?;
    // As a device gets it, and what is known of it here beside it.
    let answer = One {
        declaration_type: content.declaration_type,
        identifier: content.identifier,
        server_token: content.server_token,
        payload: content.payload,
        created: declaration.created,
        changed: declaration.changed,
    };
    Ok(Versioned::of(Version::of_row(declaration.version), answer))
}

pub(super) async fn put(
    About { office, org, .. }: About,
    Sent(sent): Sent<New>,
) -> Answer<impl Shows> {
    let mut new = NewDeclaration::new(&sent.identifier, &sent.r#type, sent.payload);
    new.file = sent.file.map(|file| {
        let content_type = sent.content_type.as_deref();
        let content = Secret::new(file.bytes().as_slice());
        NewFile::new(content, content_type.unwrap_or("application/json"))
    });
    let wanted = sent.activate || sent.predicate.is_some();
    new.activation = wanted.then(|| Activation::when(sent.predicate));
    let done = org.put_declaration(&new).await;
    office.poke.notify_one();
    shown(done.map_err(refused)?)
}

pub(super) async fn remove(
    About { office, org, .. }: About,
    Path(identifier): Path<String>,
) -> Answer<impl Shows> {
    let done = org.remove_declaration(&identifier).await;
    office.poke.notify_one();
    shown(done.map_err(refused)?)
}

pub(super) async fn of_device(
    About { org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let channels = org.declarations_of_device(&serial).await;
    shown(told! { serial: serial, channels: channels.map_err(refused)? })
}

pub(super) async fn sets(
    About { office, org, which }: About<Called>,
) -> Result<Versioned<impl Shows>, Refusal> {
    // Before the sets themselves: what changes meanwhile makes the tag an old one.
    let version = match &which.name {
        None => None,
        Some(name) => {
            let found = edited::set(&office, &org, name).await?;
            let missing = || refused(Error::NotFound("set of declarations"));
            Some(Version::of_row(found.ok_or_else(missing)?.1))
        }
    };
    let mut all = org.declaration_sets().await.map_err(refused)?;
    all.retain(|set| which.name.as_ref().is_none_or(|name| set.name == *name));
    let (after, limit) = (which.after.as_deref(), which.limit);
    let (all, next) = cut_by_name(all, after, limit, |set| &set.name);
    Ok(Versioned::of(version, told! { sets: all, next: next }))
}

pub(super) async fn put_set(
    About { office, org, .. }: About,
    Sent(sent): Sent<Set>,
) -> Answer<impl Shows> {
    let done = org.put_declaration_set(&sent.name, &sent.members).await;
    office.poke.notify_one();
    shown(done.map_err(refused)?)
}

pub(super) async fn remove_set(
    About { office, org, .. }: About,
    Sent(sent): Sent<Removed>,
) -> Answer<impl Shows> {
    let done = org.remove_declaration_set(&sent.name).await;
    office.poke.notify_one();
    shown(done.map_err(refused)?)
}

pub(super) async fn assign(
    About { office, org, .. }: About,
    Sent(sent): Sent<Assign>,
) -> Answer<impl Shows> {
    let mut changed = 0;
    for (target, channels) in targets(&org, &sent).await? {
        let done = org.assign_declarations(&sent.name, &target, channels).await;
        changed += usize::from(done.map_err(refused)?);
    }
    office.poke.notify_one();
    shown(told! { name: sent.name, assigned: changed })
}

pub(super) async fn unassign(
    About { office, org, .. }: About,
    Sent(sent): Sent<Assign>,
) -> Answer<impl Shows> {
    let mut changed = 0;
    for (target, channels) in targets(&org, &sent).await? {
        let done = org.unassign_declarations(&sent.name, &target, channels);
        changed += usize::from(done.await.map_err(refused)?);
    }
    office.poke.notify_one();
    shown(told! { name: sent.name, taken: changed })
}

/// For whom; at least one. All of them are looked up before anything is changed.
async fn targets(org: &Org, sent: &Assign) -> Result<Vec<(Target, Channels)>, Refusal> {
    let channels = if sent.on_users {
        Channels::Users
    } else {
        Channels::Device
    };
    let mut all = Vec::new();
    if sent.everybody {
        all.push((Target::Organisation, channels));
    }
    let tags = sent.tags.iter().cloned().map(Target::Tag);
    all.extend(tags.map(|tag| (tag, channels)));
    let groups = sent.groups.iter().cloned().map(Target::Group);
    all.extend(groups.map(|group| (group, channels)));
    for serial in &sent.serials {
        let serial = Serial::parse(serial).map_err(refused)?;
        let device = org.device_of_serial(&serial).await.map_err(refused)?;
        all.push((Target::Device(device), channels));
    }
    let users = sent.users.iter().cloned().map(Target::User);
    all.extend(users.map(|user| (user, Channels::Users)));
    if all.is_empty() {
        return Err(refused(Error::bad_input(
            "everybody",
            "must be true, or tags, groups, serials or users must be there",
        )));
    }
    Ok(all)
}
