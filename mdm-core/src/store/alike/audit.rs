//! The record, refusals and API tokens.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::audit::{ApiToken, AuditEntry, Refusal};
use crate::audit_seal::AuditSeal;
use crate::ids::{AuditId, AuditSealId, DeviceId, OrganisationId};
use crate::server_certificate::INSTALLATION;
use crate::store::{AuditStore, StoreError};

#[async_trait]
impl AuditStore for ThisStore {
    async fn audit_of(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
        after: AuditId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        rows!(
            self,
            page limit,
            "audit WHERE organisation = $1 AND device = $2 AND id > $3 ORDER BY id LIMIT $4",
            organisation.0,
            device.0,
            after.0
        )
    }

    async fn audit(
        &self,
        organisation: OrganisationId,
        after: AuditId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        rows!(
            self,
            page limit,
            "audit WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn unsealed_audit(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        rows!(
            self,
            readable limit,
            "audit WHERE organisation = $1 AND version = 1 ORDER BY id LIMIT $2",
            organisation.0
        )
    }

    async fn next_unsealed_audit(
        &self,
        after: OrganisationId,
    ) -> Result<Option<AuditEntry>, StoreError> {
        // One that cannot be read keeps nobody else's record open.
        let found: Result<Vec<AuditEntry>, StoreError> = rows!(
            self,
            readable 1,
            "audit WHERE organisation > $1 AND version = 1 ORDER BY organisation, id LIMIT $2",
            after.0
        );
        Ok(found?.pop())
    }

    async fn audit_seals(
        &self,
        organisation: OrganisationId,
        after: AuditSealId,
        limit: u32,
    ) -> Result<Vec<AuditSeal>, StoreError> {
        rows!(
            self,
            many,
            "audit_seals WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0,
            i64::from(limit)
        )
    }

    async fn newest_audit_seals(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<AuditSeal>, StoreError> {
        rows!(
            self,
            many,
            "audit_seals WHERE organisation = $1 ORDER BY id DESC LIMIT $2",
            organisation.0,
            i64::from(limit)
        )
    }

    async fn refusals(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Refusal>, StoreError> {
        rows!(
            self,
            page limit,
            "refusals WHERE organisation = $1 ORDER BY id DESC LIMIT $2",
            organisation.0
        )
    }

    async fn token_by_hash(&self, hash: &str) -> Result<Option<ApiToken>, StoreError> {
        // A scalar sub-select: one look at the primary key, whatever the planner takes the table to be.
        rows!(
            self,
            one,
            "tokens WHERE hash = $1 AND organisation IN ($2, (SELECT o.id FROM organisations AS o \
             WHERE o.organisation = tokens.organisation AND o.id = tokens.organisation))",
            hash,
            INSTALLATION.0
        )
    }

    async fn tokens(&self, organisation: OrganisationId) -> Result<Vec<ApiToken>, StoreError> {
        rows!(
            self,
            list_of,
            "tokens WHERE organisation = $1 ORDER BY id",
            organisation.0
        )
    }
}
