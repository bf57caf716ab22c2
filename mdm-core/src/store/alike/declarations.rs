//! Declarations, sets, for whom they are, and what channels were told and say.

use async_trait::async_trait;

use super::{ThisStore, ids, list, rows, texts};
use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    Declaration, DeclarationAssignment, DeclarationContent, DeclarationManifest, DeclarationSet,
    DeclaredChannel,
};
use crate::device::Device;
use crate::enrollment::Enrollment;
use crate::ids::{
    AssignmentId, ContentId, DeclarationId, DeclarationSetId, DeviceId, EnrollmentId, ManifestId,
    OrganisationId,
};
use crate::queue::Command;
use crate::store::{DeclarationStore, StoreError};

#[async_trait]
impl DeclarationStore for ThisStore {
    async fn declaration(
        &self,
        organisation: OrganisationId,
        id: DeclarationId,
    ) -> Result<Option<Declaration>, StoreError> {
        rows!(
            self,
            one,
            "declarations WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn declaration_by_identifier(
        &self,
        organisation: OrganisationId,
        identifier: &str,
    ) -> Result<Option<Declaration>, StoreError> {
        rows!(
            self,
            one,
            "declarations WHERE organisation = $1 AND identifier = $2",
            organisation.0,
            identifier.to_owned()
        )
    }

    async fn declarations(
        &self,
        organisation: OrganisationId,
        after: DeclarationId,
        limit: u32,
    ) -> Result<Vec<Declaration>, StoreError> {
        rows!(
            self,
            page limit,
            "declarations WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    // What a device is told is made of these: without one, it would take away from itself what it has.
    async fn declarations_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeclarationId],
    ) -> Result<Vec<Declaration>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            many,
            concat!(
                "declarations WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn declaration_content(
        &self,
        organisation: OrganisationId,
        id: ContentId,
    ) -> Result<Option<DeclarationContent>, StoreError> {
        rows!(
            self,
            one,
            "declaration_contents WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn declaration_content_by_token(
        &self,
        organisation: OrganisationId,
        token: &str,
    ) -> Result<Option<DeclarationContent>, StoreError> {
        rows!(
            self,
            one,
            "declaration_contents WHERE organisation = $1 AND token = $2",
            organisation.0,
            token.to_owned()
        )
    }

    async fn declaration_content_by_file(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<DeclarationContent>, StoreError> {
        rows!(
            self,
            one,
            "declaration_contents WHERE organisation = $1 AND file_name = $2 ORDER BY id DESC LIMIT 1",
            organisation.0,
            name.to_owned()
        )
    }

    async fn declaration_set(
        &self,
        organisation: OrganisationId,
        id: DeclarationSetId,
    ) -> Result<Option<DeclarationSet>, StoreError> {
        rows!(
            self,
            one,
            "declaration_sets WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn declaration_sets(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<DeclarationSet>, StoreError> {
        rows!(
            self,
            list_of,
            "declaration_sets WHERE organisation = $1 ORDER BY id",
            organisation.0
        )
    }

    async fn declaration_sets_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeclarationSetId],
    ) -> Result<Vec<DeclarationSet>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            many,
            concat!(
                "declaration_sets WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn declaration_assignment(
        &self,
        organisation: OrganisationId,
        id: AssignmentId,
    ) -> Result<Option<DeclarationAssignment>, StoreError> {
        rows!(
            self,
            one,
            "declaration_assignments WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn declaration_assignments_under(
        &self,
        organisation: OrganisationId,
        scopes: &[String],
    ) -> Result<Vec<DeclarationAssignment>, StoreError> {
        rows!(
            self,
            many,
            concat!(
                "declaration_assignments WHERE organisation = $1 AND scope ",
                texts!(2),
                " ORDER BY id"
            ),
            organisation.0,
            list(scopes.iter().cloned())
        )
    }

    async fn declaration_assignments_of(
        &self,
        organisation: OrganisationId,
        set: DeclarationSetId,
    ) -> Result<Vec<DeclarationAssignment>, StoreError> {
        rows!(
            self,
            many,
            "declaration_assignments WHERE organisation = $1 AND set_id = $2 ORDER BY id",
            organisation.0,
            set.0
        )
    }

    async fn declaration_manifest(
        &self,
        organisation: OrganisationId,
        id: ManifestId,
    ) -> Result<Option<DeclarationManifest>, StoreError> {
        rows!(
            self,
            one,
            "declaration_manifests WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn declaration_manifests_of(
        &self,
        organisation: OrganisationId,
        tokens: &[String],
    ) -> Result<Vec<DeclarationManifest>, StoreError> {
        rows!(
            self,
            many,
            concat!(
                "declaration_manifests WHERE organisation = $1 AND token ",
                texts!(2),
                " ORDER BY id"
            ),
            organisation.0,
            list(tokens.iter().cloned())
        )
    }

    async fn declared_channel(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<DeclaredChannel>, StoreError> {
        rows!(
            self,
            one,
            "declared_channels WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn declared_channels_of(
        &self,
        organisation: OrganisationId,
        ids: &[EnrollmentId],
    ) -> Result<Vec<DeclaredChannel>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            all_readable,
            concat!(
                "declared_channels WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn channel_status(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<ChannelStatus>, StoreError> {
        rows!(
            self,
            one,
            "channel_statuses WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn channel_statuses(
        &self,
        organisation: OrganisationId,
        after: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<ChannelStatus>, StoreError> {
        rows!(
            self,
            page limit,
            "channel_statuses WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn channels(
        &self,
        organisation: OrganisationId,
        after: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError> {
        rows!(
            self,
            readable limit,
            "enrollments WHERE organisation = $1 AND id > $2 AND live_key IS NOT NULL ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn devices_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<Device>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            all_readable,
            concat!(
                "devices WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn open_commands_of_type(
        &self,
        organisation: OrganisationId,
        channels: &[EnrollmentId],
        request_type: &str,
    ) -> Result<Vec<Command>, StoreError> {
        let channels = list(channels.iter().map(|id| id.0));
        rows!(
            self,
            many,
            concat!(
                "commands WHERE organisation = $1 AND open_of ",
                ids!(2),
                " AND doc ->> 'request_type' = $3 ORDER BY id"
            ),
            organisation.0,
            channels,
            request_type.to_owned()
        )
    }
}
