//! `/api/v1`: what people and programs may ask and do. Every route names the role that it takes; a token belongs to one
//! organisation, the local socket to the administrator of the machine.

#![allow(
    non_camel_case_types,
    reason = "an answer that is made on the spot has a type for each field, of the field's name"
)]

mod apple;
mod approvals;
mod asked;
mod assignments;
mod audit;
mod checklist;
mod commands;
mod declarations;
mod described;
mod devices;
mod edited;
mod events;
mod give_up;
mod hand_off;
mod holds;
mod identities;
mod inventory;
mod invitations;
mod library;
mod licences;
mod locks;
mod migrations;
mod notices;
pub(crate) mod openapi;
mod organisations;
mod packages;
mod projects;
mod repeated;
mod reports;
pub(crate) mod routes;
mod runbooks;
mod sign_in;
mod tagged;
mod tags;
mod templates;
mod tokens;
mod waves;
mod webhooks;
mod what_if;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderValue};
use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, OrganisationCode, OrganisationId};
use mdm_core::person::SessionUse;
use mdm_core::secret::Secret;
use mdm_core::service::{Mdm, Org, actor_of, person_of};
use mdm_core::store::with_the_rest;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use asked::{About, read};
use described::{Shown, Shows};

use super::Health;
use super::error::{Door, Failure, Refusal};
use crate::config::Limits;
use crate::packages::Packages;

/// Names rows that cannot be read and are not in the answer.
pub(crate) const UNREADABLE: &str = "unreadable-rows";
/// So many of them.
const NAMED: usize = 20;

/// What the API's routes need.
#[derive(Clone)]
pub(crate) struct Office {
    mdm: Mdm,
    limits: Arc<Limits>,
    packages: Arc<Packages>,
    poke: Arc<Notify>,
    health: Arc<Health>,
    /// Places for streams of events.
    streams: Arc<Semaphore>,
}

/// Who asks, proved.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `None` on the local socket: every organisation of this machine.
    organisation: Option<OrganisationId>,
    /// Of a partner of the installation: the organisations in which it may act. Its own is none.
    partner_of: BTreeSet<OrganisationId>,
    role: Role,
    /// Which parts of the API.
    scope: Scope,
    name: String,
    /// Who that is, whatever they are called.
    person: String,
    /// When what it showed ends by itself.
    until: Option<Timestamp>,
}

/// Which parts of the API somebody may use: parts go by the first word of their paths.
#[derive(Clone, Debug)]
enum Scope {
    /// All of it.
    All,
    /// All but secrets of devices.
    Usual,
    /// These.
    Only(BTreeSet<String>),
}

impl Scope {
    fn of_token(scopes: BTreeSet<String>) -> Self {
        match scopes.is_empty() {
            true => Self::Usual,
            false => Self::Only(scopes),
        }
    }

    /// Whether a part may be used. The table of routes, and who asks, may be seen by everybody.
    fn lets(&self, part: &str) -> bool {
        match self {
            Self::All => true,
            Self::Usual => part != routes::SECRETS,
            Self::Only(parts) => part.is_empty() || part == "session" || parts.contains(part),
        }
    }
}

/// The routes for listeners (bearer token) and for the local socket.
pub(crate) fn routes(
    mdm: &Mdm,
    limits: &Limits,
    packages: &Arc<Packages>,
    poke: &Arc<Notify>,
    health: &Arc<Health>,
) -> (Router, Router) {
    let office = Office {
        mdm: mdm.clone(),
        limits: Arc::new(limits.clone()),
        packages: Arc::clone(packages),
        poke: Arc::clone(poke),
        health: Arc::clone(health),
        streams: Arc::new(Semaphore::new(events::MOST)),
    };
    let routes = routes::router()
        .method_not_allowed_fallback(wrong_method)
        // A request with a key is done once, and only once it is known whether it may be done at all.
        .layer(from_fn_with_state(office.clone(), tagged::tags))
        .layer(from_fn_with_state(office.clone(), repeated::once))
        .layer(from_fn(the_rest));
    let local = routes
        .clone()
        .layer(from_fn(administrator))
        .with_state(office.clone());
    let remote = routes
        .layer(from_fn_with_state(office.clone(), bearer))
        .with_state(office);
    (remote, local)
}

async fn wrong_method() -> Response {
    super::error::wrong_method(Door::Api)
}

/// Whoever looks gets what can be read, and is told which rows are left out; whoever acts gets all that it rests on, or an error.
async fn the_rest(request: Request, next: Next) -> Response {
    if !request.method().is_safe() {
        return next.run(request).await;
    }
    let (mut answer, left_out) = with_the_rest(next.run(request)).await;
    if !left_out.is_empty() {
        let named: Vec<String> = left_out
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        if let Ok(named) = HeaderValue::try_from(named.join(", ")) {
            answer.headers_mut().insert(UNREADABLE, named);
        }
    }
    answer
}

/// For documents that are taken along, in which nobody would see what is missing: they have every row, or are refused.
async fn whole<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let (made, left_out) = with_the_rest(work).await;
    match left_out.first() {
        None => made,
        Some(row) => Err(Error::Precondition(format!(
            "rows that cannot be read would be missing ({}, the first of them {row}): the checklist names them",
            left_out.len()
        ))),
    }
}

/// Whoever can open the local socket is the administrator of the machine.
async fn administrator(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller {
        organisation: None,
        partner_of: BTreeSet::new(),
        role: Role::Admin,
        scope: Scope::All,
        name: "local administrator".to_owned(),
        person: "local".to_owned(),
        until: None,
    });
    next.run(request).await
}

/// Proves a bearer token.
async fn bearer(State(office): State<Office>, mut request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned());
    let Some(shown) = shown else {
        return Refusal::new(Door::Api, Failure::NoToken).into_response();
    };
    let proved = match Mdm::is_session_token(&shown) {
        true => {
            let found = office.mdm.session_holder(&shown, SessionUse::CommandLine);
            found.await.map(|holder| Caller {
                organisation: Some(holder.session.organisation),
                partner_of: BTreeSet::new(),
                role: holder.role,
                scope: match holder.secrets {
                    true => Scope::All,
                    false => Scope::Usual,
                },
                name: actor_of(&holder.session.person),
                person: person_of(&holder.session),
                until: Some(holder.session.expires),
            })
        }
        false => office.mdm.authenticate(&shown).await.map(|token| Caller {
            organisation: Some(token.organisation),
            partner_of: token.partner_of,
            role: token.role,
            scope: Scope::of_token(token.scopes),
            person: format!("token {}", token.id),
            name: token.name,
            until: token.expires,
        }),
    };
    match proved {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(Error::Refused(_)) => Refusal::new(Door::Api, Failure::NoToken).into_response(),
        Err(error) => Refusal::new(Door::Api, error).into_response(),
    }
}

/// What every query may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Which {
    /// The code of an organisation: for the local socket of an installation with several.
    organisation: Option<String>,
}

impl Which {
    /// The code as it was sent.
    fn code(&self) -> Option<&str> {
        self.organisation.as_deref()
    }
}

/// A query that says no more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Nothing {}

/// Which page of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Page {
    /// Behind this id: the `next` of the page before.
    #[serde(default)]
    after: AnyId,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
}

impl Page {
    fn limit(&self) -> u32 {
        at_most(self.limit)
    }
}

/// How many of the newest, of what is kept in a bounded number.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Newest {
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
}

/// Which page of a list that has names and no ids.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Names {
    /// Behind this one: the `next` of the page before.
    after: Option<String>,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
}

/// Which page of a list by names, or the one of a name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Called {
    /// Behind this one: the `next` of the page before.
    after: Option<String>,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
    /// Only the one of this name, with its tag for `If-Match`.
    name: Option<String>,
}

/// How many rows somebody wants at most. More than a page has is refused: whoever asks for 5000 and gets 1000 would take them for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most(u32);

impl<'de> Deserialize<'de> for Most {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Of a query, which knows texts only.
        let number: Option<u32> = String::deserialize(deserializer)?.parse().ok();
        let fits = number.filter(|number| (1..=1000).contains(number));
        fits.map(Self)
            .ok_or_else(|| serde::de::Error::custom("must be a whole number from 1 to 1000"))
    }
}

impl JsonSchema for Most {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Most".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 1000 })
    }
}

/// How long a page is.
fn at_most(limit: Option<Most>) -> u32 {
    limit.map_or(100, |most| most.0)
}

type Asked = asked::Query<Which>;
type By = Extension<Caller>;
type At = State<Office>;
type Answer<T> = Result<Shown<T>, Refusal>;

impl Caller {
    /// Whether it came through the local socket.
    const fn is_local(&self) -> bool {
        self.organisation.is_none()
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// The organisation that is asked about: the token's, the one that is named, or the only one.
    async fn organisation(&self, mdm: &Mdm, which: &Which) -> Result<Org, Refusal> {
        let org = self.find(mdm, which).await?;
        let org = org.acting_for(&self.name).being(&self.person);
        Ok(match self.role {
            // They ask what would be, and plan nothing: this server goes nowhere at their word.
            Role::Viewer | Role::Helpdesk => org.looking_at_ours_alone(),
            Role::Planner | Role::Approver | Role::Admin => org,
        })
    }

    async fn find(&self, mdm: &Mdm, which: &Which) -> Result<Org, Refusal> {
        let named = match &which.organisation {
            None => None,
            Some(code) => {
                let code = OrganisationCode::parse(code).map_err(refused)?;
                Some(mdm.organisation(&code).await.map_err(refused)?)
            }
        };
        if !self.partner_of.is_empty() {
            return match (named, self.partner_of.first()) {
                (Some(org), _) if self.partner_of.contains(&org.organisation().id) => Ok(org),
                (Some(_), _) => Err(refused(Error::NotFound("organisation"))),
                (None, Some(only)) if self.partner_of.len() == 1 => {
                    mdm.organisation_by_id(*only).await.map_err(refused)
                }
                (None, _) => Err(refused(Error::bad_input(
                    "organisation",
                    "you may act in several; name one by its code (`mdmd organisation list` has them)",
                ))),
            };
        }
        match (named, self.organisation) {
            (Some(org), None) => Ok(org),
            (Some(org), Some(own)) if org.organisation().id == own => Ok(org),
            // Whether it exists is none of a stranger's business.
            (Some(_), Some(_)) => Err(refused(Error::NotFound("organisation"))),
            (None, Some(own)) => mdm.organisation_by_id(own).await.map_err(refused),
            (None, None) => {
                let all = mdm
                    .organisations(OrganisationId(0), 2)
                    .await
                    .map_err(refused)?;
                match all.as_slice() {
                    [only] => mdm.organisation_by_id(only.id).await.map_err(refused),
                    [] => Err(refused(Error::NotFound(
                        "organisation; `mdmd organisation new` makes one",
                    ))),
                    _ => Err(refused(Error::bad_input(
                        "organisation",
                        "there are several here; name one by its code (`mdmd organisation list` has them)",
                    ))),
                }
            }
        }
    }
}

/// A secret in a body. Zeroed after use.
///
/// Text without escapes is copied once, into a place that is zeroed; that is why our own commands send base64.
struct Hidden(Zeroizing<Vec<u8>>);

impl Hidden {
    /// For documents (PEM, DER, JSON, property lists), whose form tells them from base64: base64 is undone, unless the text
    /// is a PEM or JSON document itself.
    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let plain = self.0.trim_ascii();
        if !plain.starts_with(b"-----") && !plain.starts_with(b"{") {
            let mut bytes = Zeroizing::new(vec![0; plain.len()]);
            if let Ok(length) = STANDARD.decode_slice(plain, &mut bytes) {
                bytes.truncate(length);
                return bytes;
            }
        }
        self.0.clone()
    }

    /// The same for a content token, which is base64 of JSON by itself and is kept as that.
    fn content_token(&self) -> Zeroizing<Vec<u8>> {
        let once = self.bytes();
        if once.trim_ascii().starts_with(b"{") {
            return self.0.clone();
        }
        once
    }
}

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hidden".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "password", "writeOnly": true })
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Hidden;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hidden, E> {
                Ok(Hidden(Zeroizing::new(text.as_bytes().to_vec())))
            }
            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Hidden, E> {
                Ok(Hidden(Zeroizing::new(text.into_bytes())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A secret that has no form of its own, such as a password: as text, or as base64 in a field beside, never guessed.
fn either(
    name: &str,
    text: Option<&Hidden>,
    base64: Option<&Hidden>,
) -> Result<Option<Secret>, Error> {
    let Some(base64) = base64 else {
        return Ok(text.map(|text| Secret::new(text.0.as_slice())));
    };
    let field = format!("{name}_base64");
    if text.is_some() {
        return Err(Error::bad_input(
            &field,
            format!("is one too many beside {name}"),
        ));
    }
    let sent = base64.0.trim_ascii();
    let mut bytes = Zeroizing::new(vec![0; sent.len()]);
    match STANDARD.decode_slice(sent, &mut bytes) {
        Ok(length) => Ok(Some(Secret::new(&bytes[..length]))),
        Err(_) => Err(Error::bad_input(&field, "must be base64")),
    }
}

/// Where the next page begins: after the last row of a full one.
fn next_page(which: &Page, ids: impl ExactSizeIterator<Item = i64>) -> Option<AnyId> {
    (ids.len() == which.limit() as usize)
        .then(|| ids.last())
        .flatten()
        .map(AnyId)
}

/// A page of rows that were read whole: those behind the page before, in the order in which they are, and whether more follow.
fn cut<T>(rows: Vec<T>, limit: Option<Most>, is_behind: impl Fn(&T) -> bool) -> (Vec<T>, bool) {
    let limit = at_most(limit) as usize;
    let mut rows: Vec<T> = rows.into_iter().filter(is_behind).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    (rows, more)
}

/// The same for rows with ids, in the order of these; and where the next page begins.
fn cut_by_id<T>(mut rows: Vec<T>, which: &Page, id: impl Fn(&T) -> i64) -> (Vec<T>, Option<AnyId>) {
    rows.sort_by_key(&id);
    let (rows, more) = cut(rows, which.limit, |row| id(row) > which.after.0);
    let next = rows.last().filter(|_| more).map(|last| AnyId(id(last)));
    (rows, next)
}

/// The same for rows with names.
fn cut_by_name<T>(
    mut rows: Vec<T>,
    after: Option<&str>,
    limit: Option<Most>,
    name: impl Fn(&T) -> &str,
) -> (Vec<T>, Option<String>) {
    rows.sort_by(|a, b| name(a).cmp(name(b)));
    let (rows, more) = cut(rows, limit, |row| {
        after.is_none_or(|after| name(row) > after)
    });
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| name(last).to_owned());
    (rows, next)
}

fn refused(error: Error) -> Refusal {
    Refusal::new(Door::Api, error)
}

/// A value of ours as JSON.
#[expect(clippy::unnecessary_wraps, reason = "the last word of every handler")]
fn shown<T: Shows>(value: T) -> Answer<T> {
    Ok(Shown(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_what_is_read_whole_have_every_row_once() {
        for count in 0..7_i64 {
            for limit in 1..4 {
                let (mut ids, mut names) = (Vec::new(), Vec::new());
                let (mut page, mut after) = (Page::default(), None::<String>);
                page.limit = Some(Most(limit));
                loop {
                    // As nobody has ordered them.
                    let rows: Vec<i64> = (1..=count).rev().collect();
                    let (rows, next) = cut_by_id(rows, &page, |row| *row);
                    assert!(rows.len() <= limit as usize);
                    ids.extend(rows);
                    let Some(next) = next else { break };
                    page.after = next;
                }
                loop {
                    let rows: Vec<String> =
                        (1..=count).rev().map(|n| format!("Name {n}")).collect();
                    let (rows, next) =
                        cut_by_name(rows, after.as_deref(), Some(Most(limit)), |row| row);
                    names.extend(rows);
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                let whole: Vec<i64> = (1..=count).collect();
                let called: Vec<String> = whole.iter().map(|n| format!("Name {n}")).collect();
                assert_eq!((ids, names), (whole, called));
            }
        }
    }
}
