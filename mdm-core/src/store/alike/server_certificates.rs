//! The certificate of the listeners, which the processes of an installation share.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::ids::OrganisationId;
use crate::server_certificate::ServerCertificate;
use crate::store::{ServerCertificateStore, StoreError};

#[async_trait]
impl ServerCertificateStore for ThisStore {
    async fn server_certificate(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<ServerCertificate>, StoreError> {
        rows!(
            self,
            one,
            "server_certificates WHERE organisation = $1 AND name = $2",
            organisation.0,
            name,
        )
    }
}
