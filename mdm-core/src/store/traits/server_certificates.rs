//! Reads the certificate of the listeners.

use async_trait::async_trait;

use crate::ids::OrganisationId;
use crate::server_certificate::ServerCertificate;
use crate::store::StoreError;

/// Reads the certificate of the listeners, which the processes of an installation share.
#[async_trait]
pub trait ServerCertificateStore: Send + Sync {
    /// By name.
    async fn server_certificate(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<ServerCertificate>, StoreError>;
}
