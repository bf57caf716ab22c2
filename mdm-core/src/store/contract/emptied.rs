//! Of every table that a database has, whoever made it, all rows of an organisation that was taken away go, and none of another: one that
//! nobody has written a deletion for would stay for ever. Not a part of the suite that others run, for a store has no tables that it
//! could be asked for: ours ask their database.

use super::removals::taken_away;
use super::samples::{self, Sample, of_every_noun};
use super::{A, B, Finding, at, ensure, put, sentence};
use crate::audit::{AuditEntry, Refusal};
use crate::ids::{AuditId, DeviceId, OrganisationId, RefusalId, RunbookId};
use crate::store::row::Table;
use crate::store::{Store, Write};

/// `tables` are the names of all that have rows of organisations.
pub(in crate::store) async fn every_table_is_emptied(
    store: &impl Store,
    tables: &[String],
) -> Finding {
    ensure!(tables.len() >= Table::ALL.len(), "too few: {tables:?}");
    // The last one stays, for one has to.
    for o in [A, B, OrganisationId(3)] {
        put(store, [samples::organisation(o).into()]).await?;
    }
    for o in [A, B] {
        of_every_noun!(three(store, o));
        for id in 1..=3 {
            let line = AuditEntry::new(o, AuditId(id), at(1), "a", "b", None, o.0.into());
            let refusal = Refusal::new(o, RefusalId(id), at(1), "192.0.2.1", "enrol", "no");
            let rows: [Write; 4] = [
                samples::pinned(o, RunbookId(id)).into(),
                samples::job(o, id, 1).into(),
                line.into(),
                refusal.into(),
            ];
            put(store, rows).await?;
            let heard = [(DeviceId(id), at(id))];
            store.keep_heard(o, &heard).await.map_err(sentence)?;
        }
    }
    // What goes with the second one was left alone while the first one went.
    for o in [A, B] {
        let mut removal = taken_away(store, o).await?;
        while !(removal.place.is_none() && removal.empty) {
            removal = store.erase(&removal, 2).await.map_err(sentence)?;
        }
        for table in tables {
            let expected = match table.as_str() {
                // Its own row went first, and that it was taken away is a row of the installation.
                "organisations" | "removals" => None,
                _ => Some(&3),
            };
            let went = removal.erased.get(table);
            ensure!(went == expected, "{table}: {went:?} rows of {o} went");
        }
    }
    Ok(())
}

/// Three rows of a noun.
async fn three<T: Sample>(store: &impl Store, o: OrganisationId) -> Finding {
    for id in 1..=3 {
        put(store, [T::sample(o, id).into()]).await?;
    }
    Ok(())
}
