//! What our ACME server keeps of devices.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite};

use super::{SqliteStore, failed, rows};
use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::clock::Timestamp;
use crate::ids::{AcmeAccountId, AcmeNonceId, OrganisationId, SessionId};
use crate::store::row::FORGOTTEN;
use crate::store::{AcmeStore, StoreError};

/// The oldest that are over, in the order of [`FORGOTTEN`].
const OVER: [&str; 3] = [
    "SELECT id FROM acme_nonces WHERE organisation = ?1 AND expires < ?2 ORDER BY expires, id LIMIT ?3",
    "SELECT id FROM acme_orders WHERE organisation = ?1 AND expires < ?2 ORDER BY expires, id LIMIT ?3",
    "SELECT id FROM acme_accounts WHERE organisation = ?1 AND expires < ?2 ORDER BY expires, id LIMIT ?3",
];

#[async_trait]
impl AcmeStore for SqliteStore {
    async fn acme_account(
        &self,
        organisation: OrganisationId,
        id: AcmeAccountId,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        rows!(
            self,
            one,
            "acme_accounts WHERE organisation = ?1 AND id = ?2",
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
            "acme_accounts WHERE organisation = ?1 AND thumbprint = ?2",
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
            "acme_orders WHERE organisation = ?1 AND id = ?2",
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
            "acme_orders WHERE organisation = ?1 AND certified = ?2",
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
            "acme_nonces WHERE organisation = ?1 AND id = ?2",
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
        let mut gone = 0;
        for (table, which) in FORGOTTEN.into_iter().zip(OVER) {
            // Looked for first: nothing to do is the usual answer, and needs no write.
            let ids: Vec<i64> = sqlx::query_scalar(which)
                .bind(organisation.0)
                .bind(now.as_millis())
                .bind(limit)
                .fetch_all(&self.reads)
                .await
                .map_err(failed)?;
            for ids in ids.chunks(10_000) {
                let mut query = QueryBuilder::<Sqlite>::new(format!(
                    "DELETE FROM {} WHERE organisation = ",
                    table.name()
                ));
                query.push_bind(organisation.0);
                // It may have been moved back meanwhile.
                query.push(" AND expires < ");
                query.push_bind(now.as_millis()).push(" AND id IN (");
                let mut list = query.separated(", ");
                for id in ids {
                    list.push_bind(*id);
                }
                query.push(")");
                let done = query
                    .build()
                    .persistent(false)
                    .execute(&self.writes)
                    .await
                    .map_err(failed)?;
                gone += done.rows_affected();
            }
        }
        Ok(gone)
    }
}
