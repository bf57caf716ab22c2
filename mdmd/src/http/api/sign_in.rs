//! How people sign in, and their sessions. Answers neither the client secret nor what anybody shows.

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::extract::State;
use mdm_core::audit::Role;
use mdm_core::ids::{AnyId, PersonSessionId};
use mdm_core::person::{AccountMode, OwnRole, PersonSession, WebView};
use mdm_core::secret::Secret;
use mdm_core::service::Org;
use mdm_core::service::sign_in::{NewSignIn, shown as setting};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::error::Refusal;
use super::asked::{Path, Query};
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::{About, Answer, Asked, At, By, Hidden, Page, next_page, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    issuer: Option<String>,
    client_id: Option<String>,
    secret: Option<Hidden>,
    scopes: Option<Vec<String>>,
    groups_claim: Option<String>,
    account_claim: Option<String>,
    roles: Option<BTreeMap<String, Role>>,
    secrets_groups: Option<BTreeSet<String>>,
    session_hours: Option<u32>,
    web_view: Option<WebView>,
    device_days: Option<u32>,
    account: Option<BTreeSet<AccountMode>>,
    domains: Option<BTreeSet<String>>,
}

/// What is set, and what the provider must be told of us.
fn of(org: &Org, set: Option<Value>) -> impl Shows + use<> {
    told! {
        sign_in: set, redirect_uri: org.return_url(), service_discovery: org.service_discovery_url(),
    }
}

pub(super) async fn show(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let set = org.organisation().sign_in.as_ref().map(setting);
    let version = Part::SignIn.of(org.organisation());
    Ok(Versioned::of(version, of(&org, set)))
}

pub(super) async fn set(
    About { office, org, .. }: About,
    Sent(sent): Sent<Set>,
) -> Answer<impl Shows> {
    let new = NewSignIn {
        issuer: sent.issuer,
        client_id: sent.client_id,
        secret: sent.secret.map(|s| Secret::new(s.bytes().trim_ascii_end())),
        scopes: sent.scopes,
        groups_claim: sent.groups_claim,
        account_claim: sent.account_claim,
        roles: sent.roles,
        secrets_groups: sent.secrets_groups,
        session_hours: sent.session_hours,
        web_view: sent.web_view,
        device_days: sent.device_days,
        account: sent.account,
        domains: sent.domains,
    };
    let set = org.set_sign_in(&new).await.map_err(refused)?;
    office.poke.notify_one();
    shown(of(&org, Some(setting(&set))))
}

pub(super) async fn remove(About { office, org, .. }: About) -> Answer<impl Shows> {
    org.remove_sign_in().await.map_err(refused)?;
    office.poke.notify_one();
    shown(of(&org, None))
}

/// Who asks.
pub(super) async fn who(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
) -> Answer<impl Shows> {
    let org = caller.organisation(&office.mdm, &which).await?;
    let organisation = org.organisation();
    shown(told! {
        name: caller.name, role: caller.role, until: caller.until,
        organisation: organisation.code.clone(), organisation_name: organisation.name.clone(),
    })
}

/// A session as people see it: without its hash.
fn row(session: &PersonSession) -> impl Shows + use<> {
    told! {
        id: session.id, name: session.person.name.clone(), account: session.person.account.clone(),
        r#for: session.used_for.as_str(), groups: session.person.groups.clone(), device: session.device,
        enrolment: session.enrollment,
        created: session.created, expires: session.expires, revoked: session.revoked,
    }
}

pub(super) async fn sessions(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let rows = org
        .person_sessions(PersonSessionId(which.after.0), which.limit())
        .await
        .map_err(refused)?;
    let next = next_page(&which, rows.iter().map(|r| r.id.0));
    let rows: Vec<_> = rows.iter().map(row).collect();
    shown(told! { sessions: rows, next: next })
}

pub(super) async fn revoke(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let session = org
        .revoke_session(PersonSessionId(id))
        .await
        .map_err(refused)?;
    shown(row(&session))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// An account, or a subject of the provider.
    account: String,
    role: Role,
    #[serde(default)]
    secrets: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Out {
    /// An account, or a subject of the provider.
    account: String,
    #[serde(default)]
    forget: bool,
}

fn user(account: &str, own: &OwnRole) -> impl Shows + use<> {
    told! {
        account: account.to_owned(), role: own.role, secrets: own.secrets, set: own.set, by: own.by.clone(),
    }
}

pub(super) async fn users(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let setting = org.organisation().sign_in.as_ref();
    let users: Vec<_> = setting
        .into_iter()
        .flat_map(|s| s.people.iter().map(|(account, own)| user(account, own)))
        .collect();
    let groups = setting.map(|s| s.roles.clone()).unwrap_or_default();
    let secrets = setting.map(|s| s.secrets_groups.clone());
    let answer =
        told! { users: users, groups: groups, secrets_groups: secrets.unwrap_or_default() };
    let version = Part::Users.of(org.organisation());
    Ok(Versioned::of(version, answer))
}

pub(super) async fn new_user(
    About { org, .. }: About,
    Sent(sent): Sent<User>,
) -> Answer<impl Shows> {
    let own = org
        .set_own_role(&sent.account, sent.role, sent.secrets)
        .await
        .map_err(refused)?;
    shown(user(&sent.account, &own))
}

pub(super) async fn revoke_user(
    About { org, .. }: About,
    Sent(sent): Sent<Out>,
) -> Answer<impl Shows> {
    let ended = org
        .revoke_user(&sent.account, sent.forget)
        .await
        .map_err(refused)?;
    shown(told! { account: sent.account, kept_out: !sent.forget, sessions_ended: ended })
}
