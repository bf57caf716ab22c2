//! Tokens of this API: made with a role and an end, shown once, revoked. Never answers a token again.

use std::collections::BTreeSet;

use mdm_core::audit::{ApiToken, Role};
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::TokenId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::Path;
use super::described::{Sent, Shows, told};
use super::routes::parts;
use super::{About, Answer, refused, shown};

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

pub(super) async fn list(About { org, .. }: About) -> Answer<impl Shows> {
    let rows = org.api_tokens().await.map_err(refused)?;
    let rows: Vec<Shown> = rows.iter().map(Shown::of).collect();
    shown(told! { tokens: rows })
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

pub(super) async fn revoke(About { org, .. }: About, Path(id): Path<i64>) -> Answer<impl Shows> {
    let row = org.revoke_api_token(TokenId(id)).await.map_err(refused)?;
    shown(Shown::of(&row))
}
