//! Rows that were read, as nouns; which of them cannot be read is noted. Contains no SQL.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Key, Raw, Stored, cells_of, decode};
use crate::ids::OrganisationId;
use crate::store::unreadable::{is_for_who_looks, leave_out};
use crate::store::{StoreError, UnreadableRow};

/// How many are noted: with more than that, no list helps.
const MOST: usize = 1_000;

/// The rows of one store that were met and cannot be read. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met(Arc<Mutex<BTreeSet<(Key, &'static str)>>>);

impl Met {
    /// The noun of a row.
    pub(crate) fn one<T: Stored>(&self, raw: Raw) -> Result<T, StoreError> {
        let key = Key {
            table: T::TABLE,
            organisation: raw.0,
            id: raw.1,
        };
        decode(raw).inspect_err(|error| self.note(key, error))
    }

    /// The nouns of rows: one that cannot be read is an error.
    pub(crate) fn all<T: Stored>(&self, rows: Vec<Raw>) -> Result<Vec<T>, StoreError> {
        rows.into_iter().map(|raw| self.one(raw)).collect()
    }

    /// The same without those that cannot be read, so that these stop nobody else.
    pub(crate) fn readable<T: Stored>(&self, rows: Vec<Raw>) -> Vec<T> {
        let mut nouns = Vec::with_capacity(rows.len());
        for raw in rows {
            let (organisation, id) = (raw.0, raw.1);
            match self.one(raw) {
                Ok(noun) => nouns.push(noun),
                Err(error) => {
                    if let Some(row) = address(organisation, id, &error) {
                        leave_out(row);
                    }
                }
            }
        }
        nouns
    }

    /// The nouns of rows, for whoever decides on all of them, or looks at those that can be read.
    pub(crate) fn list<T: Stored>(&self, rows: Vec<Raw>) -> Result<Vec<T>, StoreError> {
        match is_for_who_looks() {
            true => Ok(self.readable(rows)),
            false => self.all(rows),
        }
    }

    /// Where rows lie that could not be read when they were met.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.noted().iter().map(|(key, _)| *key).collect()
    }

    /// What there is now of a row that could not be read; answers its address when it still cannot.
    pub(crate) fn look(&self, key: Key, raw: Option<Raw>) -> Option<UnreadableRow> {
        if let Some(Err(error)) = raw.map(|raw| cells_of(key.table, raw))
            && let Some(row) = address(key.organisation, key.id, &error)
        {
            return Some(row);
        }
        // Mended, or gone. Spoilt once more, it is told once more.
        self.noted().retain(|(noted, _)| *noted != key);
        None
    }

    fn note(&self, key: Key, error: &StoreError) {
        let StoreError::Corrupt { column, .. } = error else {
            return;
        };
        let mut noted = self.noted();
        // Told once, and not at each look.
        if noted.len() < MOST && noted.insert((key, *column)) {
            tracing::error!(%error, "a row cannot be read");
        }
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<(Key, &'static str)>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(organisation: i64, id: i64, error: &StoreError) -> Option<UnreadableRow> {
    match error {
        StoreError::Corrupt { table, column, .. } => Some(UnreadableRow {
            table,
            column,
            organisation: OrganisationId(organisation),
            id,
        }),
        _ => None,
    }
}

/// How many rows are fetched so that as many as were asked for can be read: rows that cannot take nobody's place.
#[derive(Debug)]
pub(crate) struct Window {
    limit: u32,
    size: u32,
}

impl Window {
    /// How far it grows: with more unreadable rows than that at the head, something else is broken.
    const MOST: u32 = 20_000;

    pub(crate) fn of(limit: u32) -> Self {
        Self { limit, size: limit }
    }

    /// How many rows to fetch.
    pub(crate) fn size(&self) -> i64 {
        i64::from(self.size)
    }

    /// The nouns of what was fetched; `None` when too few could be read and there may be more: fetch again.
    pub(crate) fn take<T: Stored>(&mut self, met: &Met, raw: Vec<Raw>) -> Option<Vec<T>> {
        let (limit, full) = (self.limit as usize, raw.len() >= self.size as usize);
        let mut rows = met.readable(raw);
        if rows.len() < limit && full && self.size < Self::MOST {
            self.size = self.size.saturating_mul(4).clamp(64, Self::MOST);
            return None;
        }
        rows.truncate(limit);
        Some(rows)
    }

    /// The same for whoever decides on all of them, or looks at those that can be read.
    pub(crate) fn take_page<T: Stored>(
        &mut self,
        met: &Met,
        raw: Vec<Raw>,
    ) -> Option<Result<Vec<T>, StoreError>> {
        match is_for_who_looks() {
            true => self.take(met, raw).map(Ok),
            false => Some(met.all(raw)),
        }
    }
}
