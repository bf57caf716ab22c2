//! How all rows of an organisation go: which table after which, and the two statements of each. By the key alone, so that a piece costs
//! the same wherever it lies.

use super::row::Table;
use crate::removal::ErasedTo;

/// First what somebody would do something about (jobs), what opens something, and what is looked for over all organisations. Then the
/// others in their order, so that a table that comes later is among them.
const FIRST: [Table; 8] = [
    Table::Jobs,
    Table::Secrets,
    Table::Tokens,
    Table::PersonSessions,
    Table::SignIns,
    Table::Certificates,
    Table::SetUps,
    Table::Moves,
];

/// Every table, each once.
pub(super) fn order() -> impl Iterator<Item = Table> {
    let rest = Table::ALL.into_iter().filter(|t| !FIRST.contains(t));
    FIRST.into_iter().chain(rest)
}

/// Where the tables begin.
pub(super) fn beginning() -> ErasedTo {
    ErasedTo {
        table: FIRST[0].name().to_owned(),
        after: i64::MIN,
        met: false,
    }
}

/// The table of a place. One that another version has noted and this one does not know is no place: the first one stands for it.
pub(super) fn table_at(place: &ErasedTo) -> Table {
    let mut all = order();
    all.find(|table| table.name() == place.table)
        .unwrap_or(FIRST[0])
}

/// Where the next table begins; `None` behind the last one.
pub(super) fn behind(table: Table, met: bool) -> Option<ErasedTo> {
    let mut rest = order().skip_while(|other| *other != table).skip(1);
    rest.next().map(|next| ErasedTo {
        table: next.name().to_owned(),
        after: i64::MIN,
        met,
    })
}

/// The next rows of an organisation: `$1` it, behind `$2`, `$3` how many.
pub(super) fn next_rows(table: Table) -> String {
    format!(
        "SELECT id FROM {} WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
        table.name()
    )
}

/// Deletes them: `$1` the organisation; `are_these` says in the words of the database that an id is one of a list, `$2`.
pub(super) fn delete_rows(table: Table, are_these: &str) -> String {
    format!(
        "DELETE FROM {} WHERE organisation = $1 AND id {are_these}",
        table.name()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_table_has_its_turn_once() {
        let all: Vec<Table> = order().collect();
        assert_eq!(all.len(), Table::ALL.len());
        let set: BTreeSet<Table> = all.iter().copied().collect();
        assert_eq!(set, Table::ALL.into_iter().collect());
        // And each is come to from the one before.
        let (mut place, mut met) = (beginning(), vec![]);
        loop {
            let table = table_at(&place);
            met.push(table);
            match behind(table, true) {
                Some(next) => place = next,
                None => break,
            }
        }
        assert_eq!(met, all);
    }

    #[test]
    fn a_table_that_is_not_known_here_is_no_place() {
        let mut place = beginning();
        place.table = "of_a_newer_version".to_owned();
        assert_eq!(table_at(&place), Table::Jobs);
    }
}
