//! Receivers of webhooks and what they were told. Shows a secret once, when it is made.

use std::collections::BTreeSet;

use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::hook::Hook;
use mdm_core::ids::{AnyId, HookId, HookMessageId};
use mdm_core::migration::Notice;
use mdm_core::service::{HookChange, NewHook};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::Refusal;
use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::{About, Answer, Most, at_most, edited, refused, shown};

/// A receiver as people see it: without its secret.
#[derive(Serialize, JsonSchema)]
struct Shown {
    id: HookId,
    name: String,
    url: String,
    /// Of what it is told; empty is all.
    notices: BTreeSet<Notice>,
    on: bool,
    /// Since when it is off.
    off_since: Option<Timestamp>,
    /// Why it is off.
    off_why: Option<String>,
    created: Timestamp,
    /// When it last took a message, to the minute.
    taken: Option<Timestamp>,
    /// Since when it has taken nothing that it was sent.
    failing_since: Option<Timestamp>,
    /// What it last answered instead.
    trouble: Option<String>,
    /// Until when the secret before this one signs too.
    earlier_secret_until: Option<Timestamp>,
    /// What verifies its messages: shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Shown {
    fn of(hook: &Hook) -> Self {
        Self {
            id: hook.id,
            name: hook.name.clone(),
            url: hook.url.clone(),
            notices: hook.notices.clone(),
            on: hook.is_on(),
            off_since: hook.off.as_ref().map(|off| off.at),
            off_why: hook.off.as_ref().map(|off| off.why.clone()),
            created: hook.created,
            taken: hook.taken,
            failing_since: hook.failing_since,
            trouble: hook.trouble.clone(),
            earlier_secret_until: hook.earlier.as_ref().map(|(_, until)| *until),
            secret: None,
        }
    }

    fn with_secret(made: &NewHook) -> Self {
        Self {
            secret: made.secret.expose_text().map(str::to_owned),
            ..Self::of(&made.hook)
        }
    }
}

/// A new receiver.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: String,
    /// Where messages go: `https`, or `http` in a network that the installation allows.
    url: String,
    /// Of what it is told; left out or empty: all.
    #[serde(default)]
    notices: BTreeSet<Notice>,
}

/// What is to be another; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    url: Option<String>,
    notices: Option<BTreeSet<Notice>>,
    on: Option<bool>,
}

/// Which messages.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Before {
    /// Before this id: the `next` of the page before.
    before: Option<AnyId>,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
}

/// Which receivers: there are few, and all of them are in one answer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Listed {
    /// Only the one of this name, with its tag for `If-Match`.
    name: Option<String>,
}

pub(super) async fn list(
    About { org, which, .. }: About<Listed>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let mut hooks = org.living_hooks().await.map_err(refused)?;
    let mut version = None;
    if let Some(name) = &which.name {
        hooks.retain(|hook| hook.name == *name);
        let found = hooks.first().ok_or(Error::NotFound("receiver of webhooks"));
        version = Some(edited::of_hook(found.map_err(refused)?));
    }
    let hooks: Vec<Shown> = hooks.iter().map(Shown::of).collect();
    Ok(Versioned::of(version, told! { webhooks: hooks }))
}

pub(super) async fn new(About { org, .. }: About, Sent(sent): Sent<New>) -> Answer<impl Shows> {
    let made = org.new_hook(&sent.name, &sent.url, &sent.notices).await;
    shown(Shown::with_secret(&made.map_err(refused)?))
}

pub(super) async fn alter(
    About { office, org, .. }: About,
    Path(name): Path<String>,
    Sent(sent): Sent<Change>,
) -> Answer<impl Shows> {
    let change = HookChange {
        url: sent.url,
        notices: sent.notices,
        on: sent.on,
    };
    let hook = org.change_hook(&name, &change).await.map_err(refused)?;
    office.poke.notify_one();
    shown(Shown::of(&hook))
}

pub(super) async fn rotate(
    About { org, .. }: About,
    Path(name): Path<String>,
) -> Answer<impl Shows> {
    let made = org.rotate_hook(&name).await.map_err(refused)?;
    shown(Shown::with_secret(&made))
}

pub(super) async fn test(About { org, .. }: About, Path(name): Path<String>) -> Answer<impl Shows> {
    let tested = org.test_hook(&name).await.map_err(refused)?;
    shown(told! { name: name, taken: tested.taken, answer: tested.answer })
}

pub(super) async fn remove(
    About { org, .. }: About,
    Path(name): Path<String>,
) -> Answer<impl Shows> {
    let hook = org.remove_hook(&name).await.map_err(refused)?;
    shown(Shown::of(&hook))
}

pub(super) async fn messages(
    About { org, which, .. }: About<Before>,
    Path(name): Path<String>,
) -> Answer<impl Shows> {
    let limit = at_most(which.limit);
    let before = HookMessageId(which.before.map_or(i64::MAX, |before| before.0));
    let rows = org.hook_messages(&name, before, limit).await;
    let rows = rows.map_err(refused)?;
    let full = rows.len() >= limit as usize;
    let next = rows.last().filter(|_| full).map(|last| last.id);
    shown(told! { webhook: name, messages: rows, next: next })
}
