//! Sealed secrets. What is sealed in them is opened elsewhere.

use async_trait::async_trait;

use super::{ThisStore, ids, list, rows};
use crate::ids::{DeviceId, OrganisationId, SecretId};
use crate::sealed::SealedSecret;
use crate::store::{SecretStore, StoreError};

#[async_trait]
impl SecretStore for ThisStore {
    async fn secret(
        &self,
        organisation: OrganisationId,
        id: SecretId,
    ) -> Result<Option<SealedSecret>, StoreError> {
        rows!(
            self,
            one,
            "secrets WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn secrets_of(
        &self,
        organisation: OrganisationId,
        devices: &[DeviceId],
    ) -> Result<Vec<SealedSecret>, StoreError> {
        let devices = list(devices.iter().map(|id| id.0));
        rows!(
            self,
            many,
            concat!(
                "secrets WHERE organisation = $1 AND device ",
                ids!(2),
                " ORDER BY id DESC"
            ),
            organisation.0,
            devices
        )
    }

    async fn secrets(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<SealedSecret>, StoreError> {
        rows!(
            self,
            many,
            "secrets WHERE organisation = $1 AND device = $2 ORDER BY id DESC",
            organisation.0,
            device.0
        )
    }
}
