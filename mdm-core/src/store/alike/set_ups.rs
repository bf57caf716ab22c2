//! Set-ups with their pinned runbooks; the wake-ups and the watchdog's query go over all organisations.

use async_trait::async_trait;

use super::{ThisStore, ids, list, rows};
use crate::clock::Timestamp;
use crate::ids::{EnrollmentId, OrganisationId, RunbookId, SetUpId};
use crate::migration::{Pinned, SetUp};
use crate::runbook::KeptRunbook;
use crate::store::{SetUpStore, StoreError};

#[async_trait]
impl SetUpStore for ThisStore {
    async fn set_up(
        &self,
        organisation: OrganisationId,
        id: SetUpId,
    ) -> Result<Option<SetUp>, StoreError> {
        rows!(
            self,
            one,
            "set_ups WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn set_up_of(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
    ) -> Result<Option<SetUp>, StoreError> {
        rows!(
            self,
            one,
            "set_ups WHERE organisation = $1 AND enrollment = $2",
            organisation.0,
            enrollment.0
        )
    }

    async fn set_ups_of_enrollments(
        &self,
        organisation: OrganisationId,
        enrollments: &[EnrollmentId],
    ) -> Result<Vec<SetUp>, StoreError> {
        let enrollments = list(enrollments.iter().map(|id| id.0));
        rows!(
            self,
            list_of,
            concat!(
                "set_ups WHERE organisation = $1 AND enrollment ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            enrollments
        )
    }

    async fn set_ups_of(
        &self,
        organisation: OrganisationId,
        ids: &[SetUpId],
    ) -> Result<Vec<SetUp>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            all_readable,
            concat!(
                "set_ups WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn set_ups(
        &self,
        organisation: OrganisationId,
        after: SetUpId,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError> {
        rows!(
            self,
            readable limit,
            "set_ups WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn due_set_ups(&self, now: Timestamp, limit: u32) -> Result<Vec<SetUp>, StoreError> {
        rows!(
            self,
            readable limit,
            "set_ups WHERE wake_at <= $1 ORDER BY wake_at, id, organisation LIMIT $2",
            now.as_millis()
        )
    }

    async fn set_ups_past_ceiling(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError> {
        rows!(
            self,
            readable limit,
            "set_ups WHERE ceiling_at <= $1 ORDER BY ceiling_at, id, organisation LIMIT $2",
            now.as_millis()
        )
    }

    async fn holds(
        &self,
        organisation: OrganisationId,
        after: Option<(Timestamp, SetUpId)>,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError> {
        let (since, id) = after.map_or((i64::MIN, i64::MIN), |(t, id)| (t.as_millis(), id.0));
        rows!(
            self,
            readable limit,
            "set_ups WHERE organisation = $1 AND hold_since IS NOT NULL AND (hold_since, id) > ($2, $3) ORDER BY hold_since, id LIMIT $4",
            organisation.0,
            since,
            id
        )
    }

    async fn runbook(
        &self,
        organisation: OrganisationId,
        id: RunbookId,
    ) -> Result<Option<Pinned>, StoreError> {
        rows!(
            self,
            one,
            "runbooks WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn runbooks(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Pinned>, StoreError> {
        rows!(
            self,
            page limit,
            "runbooks WHERE organisation = $1 ORDER BY id DESC LIMIT $2",
            organisation.0
        )
    }

    async fn kept_runbook(
        &self,
        organisation: OrganisationId,
        id: RunbookId,
    ) -> Result<Option<KeptRunbook>, StoreError> {
        rows!(
            self,
            one,
            "kept_runbooks WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn kept_runbooks(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<KeptRunbook>, StoreError> {
        rows!(
            self,
            list_of,
            "kept_runbooks WHERE organisation = $1 ORDER BY id",
            organisation.0
        )
    }
}
