//! Organisations: the list, and making one. Making one shows its first administrator token, once.

use axum::Extension;
use axum::extract::State;
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::{OrganisationCode, OrganisationId};
use mdm_core::organisation::Organisation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::Query;
use super::described::{Shows, Unread, told};
use super::{Answer, Asked, At, By, Newest, Page, at_most, next_page, refused, shown};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: String,
}

pub(super) async fn list(
    State(office): At,
    Extension(caller): By,
    Query(named): Asked,
    Query(which): Query<Page>,
) -> Answer<impl Shows> {
    let rows = match caller.organisation {
        Some(_) if !caller.partner_of.is_empty() => {
            let mut rows = Vec::new();
            for id in &caller.partner_of {
                let org = office.mdm.organisation_by_id(*id).await;
                rows.push(org.map_err(refused)?.organisation().clone());
            }
            let named = named.code();
            rows.retain(|o| named.is_none_or(|code| o.code.to_string() == code));
            if rows.is_empty() {
                return Err(refused(Error::NotFound("organisation")));
            }
            rows
        }
        Some(_) => {
            let org = caller.organisation(&office.mdm, &named).await?;
            vec![org.organisation().clone()]
        }
        None => office
            .mdm
            .organisations(OrganisationId(which.after.0), which.limit())
            .await
            .map_err(refused)?,
    };
    let next = match caller.organisation {
        Some(_) => None,
        None => next_page(&which, rows.iter().map(|o| o.id.0)),
    };
    let rows: Vec<_> = rows.iter().map(Summary::of).collect();
    shown(told! { organisations: rows, next: next })
}

pub(super) async fn handshakes(
    State(office): At,
    Extension(caller): By,
    Query(which): Query<Newest>,
) -> Answer<impl Shows> {
    if !caller.is_local() {
        let why = "whose these handshakes are nobody can say: they are shown on the machine itself, through its local socket";
        return Err(refused(Error::Refused(why)));
    }
    let rows = office.mdm.handshakes(at_most(which.limit)).await;
    shown(told! { handshakes: rows.map_err(refused)? })
}

pub(super) async fn new(
    State(office): At,
    Extension(caller): By,
    // Read when it is known that they may: whoever may not is told that first.
    sent: Unread<New>,
) -> Answer<impl Shows> {
    if caller.organisation.is_some() {
        let why = "an organisation is made on the machine itself, through its local socket";
        return Err(refused(Error::Refused(why)));
    }
    let asked = sent.read(&office).await?;
    // Devices of a second organisation reach us by the same listeners, so they need the same anchors.
    let anchors = office
        .mdm
        .organisations(OrganisationId(0), 1)
        .await
        .map_err(refused)?
        .into_iter()
        .next()
        .map(|first| first.anchors)
        .unwrap_or_default();
    let made = office
        .mdm
        .create_organisation(&asked.name, anchors)
        .await
        .map_err(refused)?;
    shown(Made {
        organisation: Summary::of(made.org.organisation()),
        administrator_token: made.administrator_token.expose_text().map(str::to_owned),
    })
}

/// An organisation without what is its own.
#[derive(Serialize, JsonSchema)]
struct Summary {
    id: OrganisationId,
    /// Its name in the paths of its devices, and in `?organisation=`.
    code: OrganisationCode,
    name: String,
    created: Timestamp,
    push_topic: Option<String>,
    push_until: Option<Timestamp>,
    api_account: Option<String>,
    servers: usize,
}

impl Summary {
    fn of(organisation: &Organisation) -> Self {
        Self {
            id: organisation.id,
            code: organisation.code.clone(),
            name: organisation.name.clone(),
            created: organisation.created,
            push_topic: organisation.push.as_ref().map(|p| p.topic.clone()),
            push_until: organisation.push.as_ref().map(|p| p.not_after),
            api_account: organisation.api.as_ref().map(|a| a.client_id.clone()),
            servers: organisation.servers.len(),
        }
    }
}

/// One just made.
#[derive(Serialize, JsonSchema)]
struct Made {
    #[serde(flatten)]
    organisation: Summary,
    /// Shown this once.
    administrator_token: Option<String>,
}
