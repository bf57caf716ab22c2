//! Reads what our ACME server keeps.

use async_trait::async_trait;

use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::clock::Timestamp;
use crate::ids::{AcmeAccountId, AcmeNonceId, OrganisationId, SessionId};
use crate::store::StoreError;

/// Reads what our ACME server keeps of devices, and clears that away.
#[async_trait]
pub trait AcmeStore: Send + Sync {
    /// By id.
    async fn acme_account(
        &self,
        organisation: OrganisationId,
        id: AcmeAccountId,
    ) -> Result<Option<AcmeAccount>, StoreError>;
    /// By the name of its key.
    async fn acme_account_by_key(
        &self,
        organisation: OrganisationId,
        thumbprint: &str,
    ) -> Result<Option<AcmeAccount>, StoreError>;
    /// By the session that it is for.
    async fn acme_order(
        &self,
        organisation: OrganisationId,
        session: SessionId,
    ) -> Result<Option<AcmeOrder>, StoreError>;
    /// By SHA-256 of the key that was certified.
    async fn acme_order_by_key(
        &self,
        organisation: OrganisationId,
        certified: &str,
    ) -> Result<Option<AcmeOrder>, StoreError>;
    /// By its number, if it was used.
    async fn acme_nonce(
        &self,
        organisation: OrganisationId,
        id: AcmeNonceId,
    ) -> Result<Option<AcmeNonce>, StoreError>;
    /// Deletes accounts, orders and nonces that expired before `now`. At most `limit` rows of each kind, the oldest first;
    /// answers how many.
    async fn forget_acme(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
}
