//! Reads what goes on at Apple's services.

use async_trait::async_trait;

use crate::budget::Budget;
use crate::errand::Errand;
use crate::ids::{ErrandId, InventoryId, LocationId, OrganisationId, WaveId};
use crate::inventory::Inventory;
use crate::licences::Location;
use crate::store::StoreError;

/// Reads what goes on at Apple's services: requests that change something, budgets, locations, the device list.
#[async_trait]
pub trait AppleStore: Send + Sync {
    /// By id.
    async fn errand(
        &self,
        organisation: OrganisationId,
        id: ErrandId,
    ) -> Result<Option<Errand>, StoreError>;
    /// All of an organisation, in the order of ids, after `after`.
    async fn errands(
        &self,
        organisation: OrganisationId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError>;
    /// Those of a wave, in the order of ids, after `after`.
    async fn errands_of(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError>;
    /// Those that have not ended, in the order of ids, after `after`.
    async fn open_errands(
        &self,
        organisation: OrganisationId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError>;
    /// By name.
    async fn budget(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Budget>, StoreError>;
    /// All of an organisation, by name.
    async fn budgets(&self, organisation: OrganisationId) -> Result<Vec<Budget>, StoreError>;
    /// By id.
    async fn location(
        &self,
        organisation: OrganisationId,
        id: LocationId,
    ) -> Result<Option<Location>, StoreError>;
    /// All of an organisation, in the order of ids.
    async fn locations(&self, organisation: OrganisationId) -> Result<Vec<Location>, StoreError>;
    /// By id.
    async fn inventory(
        &self,
        organisation: OrganisationId,
        id: InventoryId,
    ) -> Result<Option<Inventory>, StoreError>;
}
