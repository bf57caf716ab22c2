//! Reads profiles and packages.

use async_trait::async_trait;

use crate::ids::{LibraryId, OrganisationId};
use crate::library::LibraryItem;
use crate::store::StoreError;

/// Reads profiles and packages that are kept for devices.
#[async_trait]
pub trait LibraryStore: Send + Sync {
    /// By id.
    async fn library_item(
        &self,
        organisation: OrganisationId,
        id: LibraryId,
    ) -> Result<Option<LibraryItem>, StoreError>;
    /// By name, also one that was taken out of use.
    async fn library_item_by_name(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<LibraryItem>, StoreError>;
    /// All of an organisation, in the order of ids, without those that cannot be read.
    async fn library(&self, organisation: OrganisationId) -> Result<Vec<LibraryItem>, StoreError>;
}
