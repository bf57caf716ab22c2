//! Reads the record, refusals and API tokens.

use async_trait::async_trait;

use crate::audit::{ApiToken, AuditEntry, Refusal};
use crate::audit_seal::AuditSeal;
use crate::ids::{AuditId, AuditSealId, DeviceId, OrganisationId};
use crate::store::StoreError;

/// Reads the record, refusals and API tokens.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Of a device, oldest first, after `after`.
    async fn audit_of(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
        after: AuditId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
    /// Of the organisation, oldest first, after `after`.
    async fn audit(
        &self,
        organisation: OrganisationId,
        after: AuditId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
    /// Of the organisation, what no seal names, oldest first, whenever it was committed; what cannot be read is left out.
    async fn unsealed_audit(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
    /// An entry that no seal names, of the first organisation behind this one that has any that can be read.
    async fn next_unsealed_audit(
        &self,
        after: OrganisationId,
    ) -> Result<Option<AuditEntry>, StoreError>;
    /// Seals of the chain over the record, in their order, after `after`.
    async fn audit_seals(
        &self,
        organisation: OrganisationId,
        after: AuditSealId,
        limit: u32,
    ) -> Result<Vec<AuditSeal>, StoreError>;
    /// The newest seals, newest first.
    async fn newest_audit_seals(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<AuditSeal>, StoreError>;
    /// Newest first.
    async fn refusals(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Refusal>, StoreError>;
    /// By SHA-256 of the token. None of an organisation whose row is not there: what opens nothing is not found. Those of the
    /// installation itself ([`INSTALLATION`](crate::server_certificate::INSTALLATION)) have no such row.
    async fn token_by_hash(&self, hash: &str) -> Result<Option<ApiToken>, StoreError>;
    /// All of an organisation.
    async fn tokens(&self, organisation: OrganisationId) -> Result<Vec<ApiToken>, StoreError>;
}
