//! Which history of a database this is, and who keeps a copy of it: what its rows do not say.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::store::StoreError;

/// What a database is, beside its rows. A database that is one file has neither history nor copies.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// How many connections were made so far. Where there are more than before, another database may be at the other end.
    fn connections_made(&self) -> u64 {
        0
    }
    /// Which history this is, and which was noted last; `None` where that cannot be told.
    async fn history(&self) -> Result<Option<History>, StoreError> {
        Ok(None)
    }
    /// Notes that this is the history that is worked on, unless another was noted meanwhile.
    async fn note_history(&self, _history: &History) -> Result<(), StoreError> {
        Ok(())
    }
    /// Who keeps copies, and whether commits wait for them; `None` where nobody can.
    async fn replication(&self) -> Result<Option<Replication>, StoreError> {
        Ok(None)
    }
}

/// Which history of a database this is. It becomes another one when a replica takes over and when the database is put back to
/// what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what is, and what was noted")]
pub struct History {
    /// This one.
    pub here: String,
    /// The one that was noted last: `None` before anybody did.
    pub noted: Option<String>,
}

/// Who keeps copies of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "counts, a setting and a time")]
pub struct Replication {
    /// Replicas that are connected.
    pub replicas: u64,
    /// Those of them for which commits wait, or may.
    pub synchronous: u64,
    /// What a commit waits for: `synchronous_commit`, where synchronous replicas are configured at all.
    pub waits: Option<String>,
    /// The time of the database's server.
    pub clock: Timestamp,
}

impl Replication {
    /// Whether a commit is acknowledged only when a replica has it on its disk.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        matches!(self.waits.as_deref(), Some("on" | "remote_apply"))
    }
}
