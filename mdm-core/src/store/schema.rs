//! Whether a database has the tables of this version, or of one that it can work beside, told without bringing them up to date.
//! Changes nothing.

use sqlx::migrate::Migrator;

use super::StoreError;

/// The scripts that a database has had.
pub(super) const APPLIED: &str =
    "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";

/// The oldest script that a version must know to work on a database: newer ones only added to it.
pub(super) const FLOOR: &str = "SELECT version FROM schema_floor";

/// What a database has had of the scripts of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Had {
    /// All of them, with their content.
    pub(super) ours: bool,
    /// Others, of a newer version.
    pub(super) more: bool,
}

/// One without the list of scripts has had none.
pub(super) fn had(ours: &Migrator, applied: Result<Vec<(i64, Vec<u8>)>, sqlx::Error>) -> Had {
    let applied = applied.unwrap_or_default();
    let has = |script: &sqlx::migrate::Migration| {
        applied
            .iter()
            .any(|(version, sum)| *version == script.version && **sum == *script.checksum)
    };
    Had {
        ours: ours.iter().all(has),
        more: applied
            .iter()
            .any(|(version, _)| !ours.version_exists(*version)),
    }
}

/// The number of a version's newest script.
pub(super) fn newest(ours: &Migrator) -> i64 {
    ours.iter().map(|script| script.version).max().unwrap_or(0)
}

/// Lets a version work beside a newer one, on tables that have had scripts which it does not know, unless one of them took away
/// what it needs.
pub(super) fn beside(ours: &Migrator, floor: Result<i64, sqlx::Error>) -> Result<(), StoreError> {
    match floor {
        Ok(floor) if floor <= newest(ours) => Ok(()),
        Ok(floor) => Err(StoreError::Database(format!(
            "its tables are those of a newer version, which this one cannot work beside (they need {floor}, this version knows {})",
            newest(ours)
        ))),
        Err(_) => Err(other_version()),
    }
}

/// What somebody is told who wanted to look only.
pub(super) fn other_version() -> StoreError {
    let why = "its tables are not those of this version; a server that starts on it brings them up to date";
    StoreError::Database(why.to_owned())
}
