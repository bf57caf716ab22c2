//! Reads sealed secrets.

use async_trait::async_trait;

use crate::ids::{DeviceId, OrganisationId, SecretId};
use crate::sealed::SealedSecret;
use crate::store::StoreError;

/// Reads sealed secrets.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// By id.
    async fn secret(
        &self,
        organisation: OrganisationId,
        id: SecretId,
    ) -> Result<Option<SealedSecret>, StoreError>;
    /// All of these devices, those of one device newest first.
    async fn secrets_of(
        &self,
        organisation: OrganisationId,
        devices: &[DeviceId],
    ) -> Result<Vec<SealedSecret>, StoreError>;
    /// All of a device, newest first.
    async fn secrets(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<SealedSecret>, StoreError>;
}
