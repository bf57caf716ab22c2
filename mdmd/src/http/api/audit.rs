//! The record: what happened, by whom and why, and the chain that shows whether anybody has touched it.

use axum::body::Body;
use mdm_core::audit_seal::Checkpoint;
use mdm_core::ids::AuditId;
use serde::Deserialize;
use serde_json::json;

use super::{About, Answer, next_page, read, refused, shown};

/// A page of the record, or with `newest` its end.
pub(super) async fn list(About { org, which, .. }: About) -> Answer {
    let entries = match which.newest {
        true => org.record_tail(which.limit()).await,
        false => org.record(AuditId(which.after), which.limit()).await,
    };
    let entries = entries.map_err(refused)?;
    let next = match which.newest {
        true => None,
        false => next_page(&which, entries.iter().map(|entry| entry.id.0)),
    };
    shown(json!({ "entries": entries, "next": next }))
}

/// A checkpoint that was taken along earlier.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Earlier {
    checkpoint: Option<Checkpoint>,
}

pub(super) async fn verify(About { office, org, .. }: About, sent: Body) -> Answer {
    let sent: Earlier = read(&office, sent).await?;
    let report = org.verify_record(sent.checkpoint.as_ref()).await;
    shown(report.map_err(refused)?)
}

pub(super) async fn checkpoint(About { org, .. }: About) -> Answer {
    shown(org.checkpoint().await.map_err(refused)?)
}
