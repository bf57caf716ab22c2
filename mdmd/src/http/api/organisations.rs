//! Organisations: the list, and making one. Making one shows its first administrator token, once.

use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use mdm_core::error::Error;
use mdm_core::ids::OrganisationId;
use mdm_core::organisation::Organisation;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Query;
use super::{Answer, Asked, At, By, next_page, read, refused, shown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: String,
}

pub(super) async fn list(State(office): At, Extension(caller): By, Query(which): Asked) -> Answer {
    let rows = match caller.organisation {
        Some(_) => {
            let org = caller.organisation(&office.mdm, &which).await?;
            vec![org.organisation().clone()]
        }
        None => office
            .mdm
            .organisations(OrganisationId(which.after), which.limit())
            .await
            .map_err(refused)?,
    };
    let next = match caller.organisation {
        Some(_) => None,
        None => next_page(&which, rows.iter().map(|o| o.id.0)),
    };
    let rows: Vec<Value> = rows.iter().map(summary).collect();
    shown(json!({ "organisations": rows, "next": next }))
}

pub(super) async fn new(State(office): At, Extension(caller): By, sent: Body) -> Answer {
    if caller.organisation.is_some() {
        let why = "an organisation is made on the machine itself, through its local socket";
        return Err(refused(Error::Refused(why)));
    }
    let asked: New = read(&office, sent).await?;
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
    let mut answer = summary(made.org.organisation());
    answer["administrator_token"] = json!(made.administrator_token.expose_text());
    Ok(Json(answer))
}

fn summary(organisation: &Organisation) -> Value {
    json!({
        "id": organisation.id,
        "code": organisation.code,
        "name": organisation.name,
        "created": organisation.created,
        "push_topic": organisation.push.as_ref().map(|p| p.topic.clone()),
        "push_until": organisation.push.as_ref().map(|p| p.not_after),
        "api_account": organisation.api.as_ref().map(|a| a.client_id.clone()),
        "servers": organisation.servers.len(),
    })
}
