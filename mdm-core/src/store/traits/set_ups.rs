//! Reads set-ups and pinned runbooks.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ids::{EnrollmentId, OrganisationId, RunbookId, SetUpId};
use crate::migration::{Pinned, SetUp};
use crate::runbook::KeptRunbook;
use crate::store::StoreError;

/// Reads set-ups and pinned runbooks.
#[async_trait]
pub trait SetUpStore: Send + Sync {
    /// By id.
    async fn set_up(
        &self,
        organisation: OrganisationId,
        id: SetUpId,
    ) -> Result<Option<SetUp>, StoreError>;
    /// Of an enrolment.
    async fn set_up_of(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
    ) -> Result<Option<SetUp>, StoreError>;
    /// Those of these enrolments, as far as there are any, in the order of ids. One that cannot be read is left out for whoever looks
    /// at the rest ([`with_the_rest`](crate::store::with_the_rest)), and an error for everybody else.
    async fn set_ups_of_enrollments(
        &self,
        organisation: OrganisationId,
        enrollments: &[EnrollmentId],
    ) -> Result<Vec<SetUp>, StoreError>;
    /// Of these ids, as far as there are any, in the order of ids. One that cannot be read is left out, and reported in the
    /// log.
    async fn set_ups_of(
        &self,
        organisation: OrganisationId,
        ids: &[SetUpId],
    ) -> Result<Vec<SetUp>, StoreError>;
    /// In the order of ids, after `after`. One that cannot be read is left out, and reported in the log.
    async fn set_ups(
        &self,
        organisation: OrganisationId,
        after: SetUpId,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError>;
    /// Of all organisations: those whose wake has come, by (wake, id).
    async fn due_set_ups(&self, now: Timestamp, limit: u32) -> Result<Vec<SetUp>, StoreError>;
    /// Of all organisations: those in a hold past their ceiling whose release is not under way. The watchdog's one query.
    async fn set_ups_past_ceiling(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError>;
    /// Those that are in a hold or being released, by ([`SetUp::held_since`], id), after these. A row that cannot be read is
    /// left out.
    async fn holds(
        &self,
        organisation: OrganisationId,
        after: Option<(Timestamp, SetUpId)>,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError>;
    /// A pinned runbook.
    async fn runbook(
        &self,
        organisation: OrganisationId,
        id: RunbookId,
    ) -> Result<Option<Pinned>, StoreError>;
    /// All pinned runbooks, newest first.
    async fn runbooks(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Pinned>, StoreError>;
    /// A runbook that is kept under a name.
    async fn kept_runbook(
        &self,
        organisation: OrganisationId,
        id: RunbookId,
    ) -> Result<Option<KeptRunbook>, StoreError>;
    /// All runbooks of an organisation that are kept under a name, in the order of ids.
    async fn kept_runbooks(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<KeptRunbook>, StoreError>;
}
