//! Profiles and packages that are kept for devices.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::ids::{LibraryId, OrganisationId, TemplateId};
use crate::library::LibraryItem;
use crate::store::{LibraryStore, StoreError};
use crate::template::Template;

#[async_trait]
impl LibraryStore for ThisStore {
    async fn library_item(
        &self,
        organisation: OrganisationId,
        id: LibraryId,
    ) -> Result<Option<LibraryItem>, StoreError> {
        rows!(
            self,
            one,
            "library WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn library_item_by_name(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<LibraryItem>, StoreError> {
        rows!(
            self,
            one,
            "library WHERE organisation = $1 AND name = $2",
            organisation.0,
            name,
        )
    }

    async fn library(&self, organisation: OrganisationId) -> Result<Vec<LibraryItem>, StoreError> {
        rows!(
            self,
            all_readable,
            "library WHERE organisation = $1 ORDER BY id",
            organisation.0,
        )
    }

    async fn template(
        &self,
        organisation: OrganisationId,
        id: TemplateId,
    ) -> Result<Option<Template>, StoreError> {
        rows!(
            self,
            one,
            "templates WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn templates(&self, organisation: OrganisationId) -> Result<Vec<Template>, StoreError> {
        rows!(
            self,
            all_readable,
            "templates WHERE organisation = $1 ORDER BY id",
            organisation.0,
        )
    }
}
