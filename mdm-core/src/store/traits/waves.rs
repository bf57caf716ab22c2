//! Reads projects, waves and server entries.

use async_trait::async_trait;

use crate::ids::{AcceptedId, OrganisationId, ProjectId, ServerId, WaveId};
use crate::project::{AcceptedPart, Project, WhatIfRun};
use crate::store::StoreError;
use crate::wave::{Server, Wave};

/// Reads projects, waves and server entries.
#[async_trait]
pub trait WaveStore: Send + Sync {
    /// By id.
    async fn project(
        &self,
        organisation: OrganisationId,
        id: ProjectId,
    ) -> Result<Option<Project>, StoreError>;
    /// All of an organisation, in the order of ids.
    async fn projects(&self, organisation: OrganisationId) -> Result<Vec<Project>, StoreError>;
    /// What was found when somebody last had the what-if run for a wave, or looked at the list of this place.
    async fn what_if_run(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
    ) -> Result<Option<WhatIfRun>, StoreError>;
    /// What somebody accepted of a wave, in the order of ids, after `after`.
    async fn accepted_parts(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: AcceptedId,
        limit: u32,
    ) -> Result<Vec<AcceptedPart>, StoreError>;
    /// The first piece of each acceptance of a wave, as far as that is known, in the order of ids, after `after`.
    async fn first_accepted(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: AcceptedId,
        limit: u32,
    ) -> Result<Vec<AcceptedPart>, StoreError>;
    /// By id.
    async fn wave(
        &self,
        organisation: OrganisationId,
        id: WaveId,
    ) -> Result<Option<Wave>, StoreError>;
    /// In the order of ids, after `after`.
    async fn waves(
        &self,
        organisation: OrganisationId,
        after: WaveId,
        limit: u32,
    ) -> Result<Vec<Wave>, StoreError>;
    /// By id, also one that was given up.
    async fn server(
        &self,
        organisation: OrganisationId,
        id: ServerId,
    ) -> Result<Option<Server>, StoreError>;
    /// All of an organisation, without those that were given up.
    async fn servers(&self, organisation: OrganisationId) -> Result<Vec<Server>, StoreError>;
}
