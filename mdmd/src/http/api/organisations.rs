//! Organisations: the list, making one, and taking one away. Making one shows its first administrator token, once.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::ids::{OrganisationCode, OrganisationId};
use mdm_core::organisation::Organisation;
use mdm_core::removal::Removal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::{Path, Query};
use super::described::{Shows, Unread, told};
use super::{Answer, Asked, At, By, Newest, Page, Which, at_most, next_page, refused, shown};

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
                match office.mdm.organisation_by_id(*id).await {
                    Ok(org) => rows.push(org.organisation().clone()),
                    // It was taken away.
                    Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(refused(error)),
                }
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TakeAway {
    /// The code, typed once more.
    confirm: String,
    reason: String,
    /// So many devices stay enrolled that were not heard of for a day.
    #[serde(default)]
    leave_behind: u64,
    /// The name of whoever does it, as they say it: it stands in the list beside the local administrator.
    #[serde(default)]
    by: Option<String>,
}

pub(super) async fn remove(
    State(office): At,
    Extension(caller): By,
    Path(code): Path<OrganisationCode>,
    sent: Unread<TakeAway>,
) -> Answer<impl Shows> {
    if !caller.is_local() {
        // Of a neighbour nobody hears, not even that it cannot be taken away.
        let code = Some(code.as_str().to_owned());
        let one = Which { organisation: code };
        caller.organisation(&office.mdm, &one).await?;
        let why = "an organisation is taken away on the machine itself, through its local socket";
        return Err(refused(Error::Refused(why)));
    }
    let asked = sent.read(&office).await?;
    let words = (asked.confirm.as_str(), asked.reason.as_str());
    let by = match asked.by.as_deref().map(str::trim) {
        None => caller.name().to_owned(),
        Some("") => {
            return Err(refused(Error::bad_input(
                "by",
                "must be a name, or left out",
            )));
        }
        // Nobody has proved more than that they may open the socket: that stays beside the name.
        Some(name) => format!("{} ({name})", caller.name()),
    };
    let gone = office
        .mdm
        .remove_organisation(&code, words, asked.leave_behind, &by)
        .await
        .map_err(refused)?;
    office.poke.notify_one();
    shown(Gone::of(&gone))
}

pub(super) async fn removed(
    State(office): At,
    Extension(caller): By,
    Query(which): Query<Page>,
) -> Answer<impl Shows> {
    if !caller.is_local() {
        let why = "organisations that were taken away are shown on the machine itself, through its local socket";
        return Err(refused(Error::Refused(why)));
    }
    let after = OrganisationId(which.after.0);
    let rows = office.mdm.removals(after, which.limit()).await;
    let rows = rows.map_err(refused)?;
    let next = next_page(&which, rows.iter().map(|row| row.id.0));
    let rows: Vec<_> = rows.iter().map(Gone::of).collect();
    shown(told! { removed: rows, next: next })
}

/// An organisation that was taken away, without what is kept of it for a moment.
#[derive(Serialize, JsonSchema)]
struct Gone {
    id: OrganisationId,
    code: OrganisationCode,
    name: String,
    /// When nobody found it any more.
    begun: Timestamp,
    by: String,
    reason: String,
    /// So many silent devices stayed enrolled.
    left_behind: u64,
    /// Its data key is gone: nothing of it that was sealed opens here any more, and it cannot be put back.
    keys_gone: bool,
    /// How many of its rows have gone.
    rows: u64,
    /// The same by table.
    erased: BTreeMap<String, u64>,
    /// When nothing of it was left.
    finished: Option<Timestamp>,
}

impl Gone {
    fn of(removal: &Removal) -> Self {
        Self {
            id: removal.id,
            code: removal.code.clone(),
            name: removal.name.clone(),
            begun: removal.begun,
            by: removal.by.clone(),
            reason: removal.reason.clone(),
            left_behind: removal.left_behind,
            keys_gone: removal.kept.is_none(),
            rows: removal.rows(),
            erased: removal.erased.clone(),
            finished: removal.finished,
        }
    }
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
