//! Whether a database has the tables of this version, told without bringing them up to date. Changes nothing.

use sqlx::migrate::Migrator;

use super::StoreError;

/// The scripts that a database has had.
pub(super) const APPLIED: &str =
    "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";

/// Whether a database has had exactly the scripts of this version. One without the list of them has had none.
pub(super) fn same_version(
    ours: &Migrator,
    applied: Result<Vec<(i64, Vec<u8>)>, sqlx::Error>,
) -> bool {
    applied.is_ok_and(|applied| {
        let applied = applied
            .iter()
            .map(|(version, sum)| (*version, sum.as_slice()));
        ours.iter()
            .map(|script| (script.version, script.checksum.as_ref()))
            .eq(applied)
    })
}

/// What somebody is told who wanted to look only.
pub(super) fn other_version() -> StoreError {
    let why = "its tables are not those of this version; a server that starts on it brings them up to date";
    StoreError::Database(why.to_owned())
}
