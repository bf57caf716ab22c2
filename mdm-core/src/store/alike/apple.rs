//! What goes on at Apple's services: errands, budgets, locations, readings of the device list.

use async_trait::async_trait;

use super::{ThisStore, by_bytes, rows};
use crate::budget::Budget;
use crate::errand::Errand;
use crate::ids::{ErrandId, InventoryId, LocationId, OrganisationId, WaveId};
use crate::inventory::Inventory;
use crate::licences::Location;
use crate::store::{AppleStore, StoreError};

#[async_trait]
impl AppleStore for ThisStore {
    async fn errand(
        &self,
        organisation: OrganisationId,
        id: ErrandId,
    ) -> Result<Option<Errand>, StoreError> {
        rows!(
            self,
            one,
            "errands WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn errands(
        &self,
        organisation: OrganisationId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError> {
        rows!(
            self,
            page limit,
            "errands WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0,
        )
    }

    async fn errands_of(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError> {
        rows!(
            self,
            page limit,
            "errands WHERE organisation = $1 AND wave = $2 AND id > $3 ORDER BY id LIMIT $4",
            organisation.0,
            wave.0,
            after.0,
        )
    }

    // One that cannot be read may be under way at Apple: what is sent beside it would be sent twice, or in the wrong order.
    async fn open_errands(
        &self,
        organisation: OrganisationId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError> {
        rows!(
            self,
            many,
            "errands WHERE organisation = $1 AND id > $2 AND open_due IS NOT NULL ORDER BY id LIMIT $3",
            organisation.0,
            after.0,
            i64::from(limit),
        )
    }

    async fn budget(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Budget>, StoreError> {
        rows!(
            self,
            one,
            "budgets WHERE organisation = $1 AND name = $2",
            organisation.0,
            name,
        )
    }

    // Without one, more would be asked of Apple, or of a location's licences, than there is.
    async fn budgets(&self, organisation: OrganisationId) -> Result<Vec<Budget>, StoreError> {
        rows!(
            self,
            many,
            concat!("budgets WHERE organisation = $1 ORDER BY ", by_bytes!(name)),
            organisation.0,
        )
    }

    async fn location(
        &self,
        organisation: OrganisationId,
        id: LocationId,
    ) -> Result<Option<Location>, StoreError> {
        rows!(
            self,
            one,
            "locations WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn locations(&self, organisation: OrganisationId) -> Result<Vec<Location>, StoreError> {
        rows!(
            self,
            many,
            "locations WHERE organisation = $1 ORDER BY id",
            organisation.0,
        )
    }

    async fn inventory(
        &self,
        organisation: OrganisationId,
        id: InventoryId,
    ) -> Result<Option<Inventory>, StoreError> {
        rows!(
            self,
            one,
            "inventories WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }
}
