//! The record: what happened, by whom and why, and the chain that shows whether anybody has touched it.

use mdm_core::audit_seal::Checkpoint;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, AuditId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::described::{Sent, Shows, told};
use super::{About, Answer, Most, Page, next_page, refused, shown};

/// Which part of the record.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Record {
    /// Behind this id.
    #[serde(default)]
    after: AnyId,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
    /// The end of the record, and not a page of it.
    #[serde(default)]
    newest: bool,
}

/// A page of the record, or with `newest` its end.
pub(super) async fn list(About { org, which, .. }: About<Record>) -> Answer<impl Shows> {
    if which.newest && which.after.0 != 0 {
        let why = "does not go with newest, which is the end of the record";
        return Err(refused(Error::bad_input("after", why)));
    }
    let page = Page {
        after: which.after,
        limit: which.limit,
    };
    let entries = match which.newest {
        true => org.record_tail(page.limit()).await,
        false => org.record(AuditId(page.after.0), page.limit()).await,
    };
    let entries = entries.map_err(refused)?;
    let next = match which.newest {
        true => None,
        false => next_page(&page, entries.iter().map(|entry| entry.id.0)),
    };
    shown(told! { entries: entries, next: next })
}

/// A checkpoint that was taken along earlier.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Earlier {
    checkpoint: Option<Checkpoint>,
}

pub(super) async fn verify(
    About { org, .. }: About,
    Sent(sent): Sent<Earlier>,
) -> Answer<impl Shows> {
    let report = org.verify_record(sent.checkpoint.as_ref()).await;
    shown(report.map_err(refused)?)
}

pub(super) async fn checkpoint(About { org, .. }: About) -> Answer<impl Shows> {
    shown(org.checkpoint().await.map_err(refused)?)
}
