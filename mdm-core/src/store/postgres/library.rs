//! Profiles and packages that are kept for devices.

use async_trait::async_trait;

use super::{PostgresStore, rows};
use crate::ids::{LibraryId, OrganisationId};
use crate::library::LibraryItem;
use crate::store::{LibraryStore, StoreError};

#[async_trait]
impl LibraryStore for PostgresStore {
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

    async fn library(&self, organisation: OrganisationId) -> Result<Vec<LibraryItem>, StoreError> {
        rows!(
            self,
            many,
            "library WHERE organisation = $1 ORDER BY id",
            organisation.0,
        )
    }
}
