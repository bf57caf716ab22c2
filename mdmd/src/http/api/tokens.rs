//! Tokens of this API: made with a role and an end, shown once, revoked. Never answers a token again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::extract::State;
use mdm_core::audit::{ApiToken, Role};
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, OrganisationCode, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::{Path, Query};
use super::described::{Sent, Shows, Unread, told};
use super::routes::parts;
use super::{About, Answer, Asked, At, By, Page, cut_by_id, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: String,
    role: Role,
    #[serde(default)]
    scopes: BTreeSet<String>,
    expires: Option<Timestamp>,
}

/// A token as people see it: without its hash.
#[derive(Serialize, JsonSchema)]
struct Shown {
    id: TokenId,
    name: String,
    role: Role,
    scopes: BTreeSet<String>,
    created: Timestamp,
    expires: Option<Timestamp>,
    revoked: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Shown {
    fn of(row: &ApiToken) -> Self {
        Self {
            id: row.id,
            name: row.name.clone(),
            role: row.role,
            scopes: row.scopes.clone(),
            created: row.created,
            expires: row.expires,
            revoked: row.revoked,
            token: None,
        }
    }
}

pub(super) async fn list(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let rows = org.api_tokens().await.map_err(refused)?;
    let (rows, next) = cut_by_id(rows, &which, |row| row.id.0);
    let rows: Vec<Shown> = rows.iter().map(Shown::of).collect();
    shown(told! { tokens: rows, next: next })
}

pub(super) async fn new(About { org, .. }: About, Sent(sent): Sent<New>) -> Answer<impl Shows> {
    let parts = parts();
    if !sent.scopes.iter().all(|s| parts.contains(s.as_str())) {
        let parts: Vec<&str> = parts.into_iter().collect();
        let problem = format!("must be parts of the API: {}", parts.join(", "));
        return Err(refused(Error::bad_input("scopes", problem)));
    }
    let made = org
        .new_api_token(&sent.name, sent.role, sent.scopes, sent.expires)
        .await
        .map_err(refused)?;
    let mut answer = Shown::of(&made.token);
    answer.token = made.secret.expose_text().map(str::to_owned);
    shown(answer)
}

pub(super) async fn revoke(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let row = org.revoke_api_token(TokenId(id)).await.map_err(refused)?;
    shown(Shown::of(&row))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPartner {
    name: String,
    /// Codes of organisations.
    organisations: BTreeSet<OrganisationCode>,
    expires: Option<Timestamp>,
}

/// A partner as people see it.
#[derive(Serialize, JsonSchema)]
struct Partner {
    #[serde(flatten)]
    token: Shown,
    /// In how many organisations it may act.
    organisations: usize,
    /// Their codes: told on the machine itself, for an organisation does not hear of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<OrganisationCode>>,
}

impl Partner {
    fn of(row: &ApiToken) -> Self {
        Self {
            token: Shown::of(row),
            organisations: row.partner_of.len(),
            codes: None,
        }
    }
}

pub(super) async fn partners(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    Query(page): Query<Page>,
) -> Answer<impl Shows> {
    let rows = match (caller.is_local(), which.code()) {
        (true, None) => office.mdm.partners().await,
        _ => {
            let org = caller.organisation(&office.mdm, &which).await?;
            org.partners().await
        }
    };
    let (rows, next) = cut_by_id(rows.map_err(refused)?, &page, |row| row.id.0);
    let mut partners: Vec<Partner> = rows.iter().map(Partner::of).collect();
    if caller.is_local() {
        let mut known = BTreeMap::new();
        for (row, partner) in rows.iter().zip(&mut partners) {
            let mut codes = Vec::new();
            for id in &row.partner_of {
                if let Entry::Vacant(place) = known.entry(*id) {
                    match office.mdm.organisation_by_id(*id).await {
                        Ok(org) => {
                            place.insert(org.organisation().code.clone());
                        }
                        // It was taken away.
                        Err(Error::NotFound(_)) => {}
                        Err(error) => return Err(refused(error)),
                    }
                }
                codes.extend(known.get(id).cloned());
            }
            partner.codes = Some(codes);
        }
    }
    shown(told! { partners: partners, next: next })
}

pub(super) async fn new_partner(
    State(office): At,
    Extension(caller): By,
    Query(which): Asked,
    sent: Unread<NewPartner>,
) -> Answer<impl Shows> {
    if !caller.is_local() {
        caller.organisation(&office.mdm, &which).await?;
        let why = "a partner is made on the machine itself, through its local socket";
        return Err(refused(Error::Refused(why)));
    }
    let sent = sent.read(&office).await?;
    let mut organisations = BTreeSet::new();
    for code in &sent.organisations {
        let org = office.mdm.organisation(code).await.map_err(refused)?;
        organisations.insert(org.organisation().id);
    }
    let made = office
        .mdm
        .new_partner(&sent.name, &organisations, sent.expires, caller.name())
        .await
        .map_err(refused)?;
    let mut answer = Partner::of(&made.token);
    answer.token.token = made.secret.expose_text().map(str::to_owned);
    shown(answer)
}

pub(super) async fn dismiss(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let row = org.dismiss_partner(TokenId(id)).await.map_err(refused)?;
    shown(Partner::of(&row))
}
