//! Commands of one channel.

use async_trait::async_trait;

use super::{ThisStore, failed, rows};
use crate::ids::{CommandId, EnrollmentId, OrganisationId};
use crate::queue::Command;
use crate::store::{CommandStore, CommandsWaiting, StoreError};

#[async_trait]
impl CommandStore for ThisStore {
    async fn command(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        uuid: &str,
    ) -> Result<Option<Command>, StoreError> {
        rows!(
            self,
            one,
            "commands WHERE organisation = $1 AND enrollment = $2 AND uuid = $3",
            organisation.0,
            enrollment.0,
            uuid
        )
    }

    async fn open_commands(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        rows!(
            self,
            readable limit,
            "commands WHERE organisation = $1 AND open_of = $2 ORDER BY turn, id LIMIT $3",
            organisation.0,
            enrollment.0
        )
    }

    async fn commands_waiting(&self) -> Result<CommandsWaiting, StoreError> {
        // Within half of what `Command::turn` adds to one that was put off.
        let (open, put_off): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE turn BETWEEN 549755813888 AND 1649267441663) FROM commands WHERE open_of IS NOT NULL",
        )
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        Ok(CommandsWaiting {
            open: open.unsigned_abs(),
            put_off: put_off.unsigned_abs(),
        })
    }

    async fn commands(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        before: CommandId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError> {
        rows!(
            self,
            page limit,
            "commands WHERE organisation = $1 AND enrollment = $2 AND id < $3 ORDER BY id DESC LIMIT $4",
            organisation.0,
            enrollment.0,
            before.0
        )
    }
}
