//! Projects, waves and server entries.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::ids::{AcceptedId, OrganisationId, ProjectId, ServerId, WaveId};
use crate::project::{AcceptedPart, Project, WhatIfRun};
use crate::store::{StoreError, WaveStore};
use crate::wave::{Server, Wave};

#[async_trait]
impl WaveStore for ThisStore {
    async fn project(
        &self,
        organisation: OrganisationId,
        id: ProjectId,
    ) -> Result<Option<Project>, StoreError> {
        rows!(
            self,
            one,
            "projects WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn projects(&self, organisation: OrganisationId) -> Result<Vec<Project>, StoreError> {
        rows!(
            self,
            list_of,
            "projects WHERE organisation = $1 ORDER BY id",
            organisation.0
        )
    }

    async fn what_if_run(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
    ) -> Result<Option<WhatIfRun>, StoreError> {
        rows!(
            self,
            one,
            "what_if_runs WHERE organisation = $1 AND id = $2",
            organisation.0,
            wave.0
        )
    }

    // What people have accepted is whole or not at all.
    async fn accepted_parts(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: AcceptedId,
        limit: u32,
    ) -> Result<Vec<AcceptedPart>, StoreError> {
        rows!(
            self,
            many,
            "accepted_parts WHERE organisation = $1 AND wave = $2 AND id > $3 ORDER BY id LIMIT $4",
            organisation.0,
            wave.0,
            after.0,
            i64::from(limit)
        )
    }

    async fn first_accepted(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: AcceptedId,
        limit: u32,
    ) -> Result<Vec<AcceptedPart>, StoreError> {
        rows!(
            self,
            many,
            "accepted_parts WHERE organisation = $1 AND wave = $2 AND id > $3 AND (part IS NULL OR part = 0) ORDER BY id LIMIT $4",
            organisation.0,
            wave.0,
            after.0,
            i64::from(limit)
        )
    }

    async fn wave(
        &self,
        organisation: OrganisationId,
        id: WaveId,
    ) -> Result<Option<Wave>, StoreError> {
        rows!(
            self,
            one,
            "waves WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn waves(
        &self,
        organisation: OrganisationId,
        after: WaveId,
        limit: u32,
    ) -> Result<Vec<Wave>, StoreError> {
        rows!(
            self,
            page limit,
            "waves WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn server(
        &self,
        organisation: OrganisationId,
        id: ServerId,
    ) -> Result<Option<Server>, StoreError> {
        rows!(
            self,
            one,
            "servers WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn servers(&self, organisation: OrganisationId) -> Result<Vec<Server>, StoreError> {
        let all: Result<Vec<Server>, StoreError> = rows!(
            self,
            list_of,
            "servers WHERE organisation = $1 ORDER BY id",
            organisation.0
        );
        // There are few of them, and a removal is rare.
        let mut all = all?;
        all.retain(|row| row.removed.is_none());
        Ok(all)
    }
}
