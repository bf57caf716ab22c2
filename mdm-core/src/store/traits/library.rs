//! Reads profiles and packages, and templates.

use async_trait::async_trait;

use crate::ids::{LibraryId, OrganisationId, TemplateId};
use crate::library::LibraryItem;
use crate::store::StoreError;
use crate::template::Template;

/// Reads profiles and packages that are kept for devices, and templates of the installation.
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
    /// A template, by id. Those of an installation are its own: [`INSTALLATION`](crate::server_certificate::INSTALLATION).
    async fn template(
        &self,
        organisation: OrganisationId,
        id: TemplateId,
    ) -> Result<Option<Template>, StoreError>;
    /// All templates, in the order of ids.
    async fn templates(&self, organisation: OrganisationId) -> Result<Vec<Template>, StoreError>;
}
