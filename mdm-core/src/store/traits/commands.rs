//! Reads commands.

use async_trait::async_trait;

use crate::ids::{CommandId, EnrollmentId, OrganisationId};
use crate::queue::Command;
use crate::store::StoreError;

/// Commands without a final report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct CommandsWaiting {
    /// All of them.
    pub open: u64,
    /// Of these, those that their device has put off ([`Command::put_off`]).
    pub put_off: u64,
}

/// Reads commands.
#[async_trait]
pub trait CommandStore: Send + Sync {
    /// By UUID.
    async fn command(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        uuid: &str,
    ) -> Result<Option<Command>, StoreError>;
    /// Those without a final report, in the order in which they go out: by [`Command::turn`], then by id. One that cannot be
    /// read is logged and left out: it must keep nothing behind it from its device.
    async fn open_commands(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError>;
    /// How many there are without a final report, of all organisations.
    async fn commands_waiting(&self) -> Result<CommandsWaiting, StoreError>;
    /// All with smaller ids than `before`, newest first.
    async fn commands(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        before: CommandId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError>;
}
