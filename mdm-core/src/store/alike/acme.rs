//! What our ACME server keeps of devices.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::clock::Timestamp;
use crate::ids::{AcmeAccountId, AcmeNonceId, OrganisationId, SessionId};
use crate::store::{AcmeStore, StoreError};

#[async_trait]
impl AcmeStore for ThisStore {
    async fn acme_account(
        &self,
        organisation: OrganisationId,
        id: AcmeAccountId,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        rows!(
            self,
            one,
            "acme_accounts WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn acme_account_by_key(
        &self,
        organisation: OrganisationId,
        thumbprint: &str,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        rows!(
            self,
            one,
            "acme_accounts WHERE organisation = $1 AND thumbprint = $2",
            organisation.0,
            thumbprint.to_owned(),
        )
    }

    async fn acme_order(
        &self,
        organisation: OrganisationId,
        session: SessionId,
    ) -> Result<Option<AcmeOrder>, StoreError> {
        rows!(
            self,
            one,
            "acme_orders WHERE organisation = $1 AND id = $2",
            organisation.0,
            session.0,
        )
    }

    async fn acme_order_by_key(
        &self,
        organisation: OrganisationId,
        certified: &str,
    ) -> Result<Option<AcmeOrder>, StoreError> {
        rows!(
            self,
            one,
            "acme_orders WHERE organisation = $1 AND certified = $2",
            organisation.0,
            certified.to_owned(),
        )
    }

    async fn acme_nonce(
        &self,
        organisation: OrganisationId,
        id: AcmeNonceId,
    ) -> Result<Option<AcmeNonce>, StoreError> {
        rows!(
            self,
            one,
            "acme_nonces WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn forget_acme(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.forget_expired(organisation, now, limit).await
    }
}
