//! Sign-ins under way, sessions of people, and what takes two of them.

use async_trait::async_trait;

use super::{ThisStore, failed, rows};
use crate::approval::{Alone, Approval};
use crate::clock::Timestamp;
use crate::ids::{ApprovalId, OrganisationId, PersonSessionId, SignInId};
use crate::person::{PersonSession, SignInAttempt};
use crate::store::{PersonStore, StoreError};

#[async_trait]
impl PersonStore for ThisStore {
    async fn sign_in(
        &self,
        organisation: OrganisationId,
        id: SignInId,
    ) -> Result<Option<SignInAttempt>, StoreError> {
        rows!(
            self,
            one,
            "sign_ins WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn sign_in_by_state(&self, hash: &str) -> Result<Option<SignInAttempt>, StoreError> {
        rows!(self, one, "sign_ins WHERE state = $1", hash)
    }

    async fn sign_in_by_code(&self, hash: &str) -> Result<Option<SignInAttempt>, StoreError> {
        rows!(self, one, "sign_ins WHERE code = $1", hash)
    }

    async fn open_sign_ins(
        &self,
        organisation: OrganisationId,
        at: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT id FROM sign_ins WHERE organisation = $1 AND over > $2 ORDER BY over DESC LIMIT $3) AS o",
        )
        .bind(organisation.0)
        .bind(at.as_millis())
        .bind(i64::from(limit))
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        Ok(count.unsigned_abs())
    }

    async fn person_session(
        &self,
        organisation: OrganisationId,
        id: PersonSessionId,
    ) -> Result<Option<PersonSession>, StoreError> {
        rows!(
            self,
            one,
            "person_sessions WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn person_session_by_token(
        &self,
        hash: &str,
    ) -> Result<Option<PersonSession>, StoreError> {
        rows!(self, one, "person_sessions WHERE token = $1", hash)
    }

    async fn person_sessions(
        &self,
        organisation: OrganisationId,
        at: Timestamp,
        after: PersonSessionId,
        limit: u32,
    ) -> Result<Vec<PersonSession>, StoreError> {
        rows!(
            self,
            page limit,
            "person_sessions WHERE organisation = $1 AND id > $2 AND over > $3 ORDER BY id LIMIT $4",
            organisation.0,
            after.0,
            at.as_millis()
        )
    }

    async fn approval(
        &self,
        organisation: OrganisationId,
        id: ApprovalId,
    ) -> Result<Option<Approval>, StoreError> {
        rows!(
            self,
            one,
            "approvals WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn approvals(
        &self,
        organisation: OrganisationId,
        at: Timestamp,
        after: ApprovalId,
        limit: u32,
    ) -> Result<Vec<Approval>, StoreError> {
        rows!(
            self,
            page limit,
            "approvals WHERE organisation = $1 AND id > $2 AND over > $3 ORDER BY id LIMIT $4",
            organisation.0,
            after.0,
            at.as_millis()
        )
    }

    async fn alone(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Alone>, StoreError> {
        rows!(
            self,
            one,
            "done_alone WHERE organisation = $1 AND name = $2",
            organisation.0,
            name
        )
    }

    async fn prune_people(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        for table in [
            "DELETE FROM sign_ins WHERE organisation = $1 AND id IN (SELECT id FROM sign_ins WHERE organisation = $1 AND over < $2 ORDER BY over LIMIT $3)",
            "DELETE FROM approvals WHERE organisation = $1 AND id IN (SELECT id FROM approvals WHERE organisation = $1 AND over < $2 ORDER BY over LIMIT $3)",
            "DELETE FROM done_alone WHERE organisation = $1 AND id IN (SELECT id FROM done_alone WHERE organisation = $1 AND over < $2 ORDER BY over LIMIT $3)",
            "DELETE FROM person_sessions WHERE organisation = $1 AND id IN (SELECT id FROM person_sessions WHERE organisation = $1 AND over < $2 ORDER BY over LIMIT $3)",
        ] {
            let done = sqlx::query(table)
                .bind(organisation.0)
                .bind(before.as_millis())
                .bind(i64::from(limit))
                .execute(self.writing_pool())
                .await
                .map_err(failed)?;
            gone += done.rows_affected();
        }
        Ok(gone)
    }
}
