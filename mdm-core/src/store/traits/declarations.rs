//! Reads declarations and what channels say of them.

use async_trait::async_trait;

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
use crate::store::StoreError;

/// Reads declarations, sets, for whom they are, and what channels were told and say.
#[async_trait]
pub trait DeclarationStore: Send + Sync {
    /// By id.
    async fn declaration(
        &self,
        organisation: OrganisationId,
        id: DeclarationId,
    ) -> Result<Option<Declaration>, StoreError>;
    /// By identifier.
    async fn declaration_by_identifier(
        &self,
        organisation: OrganisationId,
        identifier: &str,
    ) -> Result<Option<Declaration>, StoreError>;
    /// In the order of ids, after `after`.
    async fn declarations(
        &self,
        organisation: OrganisationId,
        after: DeclarationId,
        limit: u32,
    ) -> Result<Vec<Declaration>, StoreError>;
    /// Those of these ids that exist, in the order of ids.
    async fn declarations_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeclarationId],
    ) -> Result<Vec<Declaration>, StoreError>;
    /// By id.
    async fn declaration_content(
        &self,
        organisation: OrganisationId,
        id: ContentId,
    ) -> Result<Option<DeclarationContent>, StoreError>;
    /// By server token.
    async fn declaration_content_by_token(
        &self,
        organisation: OrganisationId,
        token: &str,
    ) -> Result<Option<DeclarationContent>, StoreError>;
    /// The newest of those whose file has this name: a later content keeps the file of an earlier one.
    async fn declaration_content_by_file(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<DeclarationContent>, StoreError>;
    /// By id.
    async fn declaration_set(
        &self,
        organisation: OrganisationId,
        id: DeclarationSetId,
    ) -> Result<Option<DeclarationSet>, StoreError>;
    /// All of an organisation, in the order of ids.
    async fn declaration_sets(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<DeclarationSet>, StoreError>;
    /// Those of these ids that exist, in the order of ids.
    async fn declaration_sets_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeclarationSetId],
    ) -> Result<Vec<DeclarationSet>, StoreError>;
    /// By id.
    async fn declaration_assignment(
        &self,
        organisation: OrganisationId,
        id: AssignmentId,
    ) -> Result<Option<DeclarationAssignment>, StoreError>;
    /// Those under these words ([`DeclarationAssignment::scope`]) that have not ended, in the order of ids.
    async fn declaration_assignments_under(
        &self,
        organisation: OrganisationId,
        scopes: &[String],
    ) -> Result<Vec<DeclarationAssignment>, StoreError>;
    /// Those of a set, also those that have ended, in the order of ids.
    async fn declaration_assignments_of(
        &self,
        organisation: OrganisationId,
        set: DeclarationSetId,
    ) -> Result<Vec<DeclarationAssignment>, StoreError>;
    /// By id.
    async fn declaration_manifest(
        &self,
        organisation: OrganisationId,
        id: ManifestId,
    ) -> Result<Option<DeclarationManifest>, StoreError>;
    /// Those of these tokens that exist, in the order of ids.
    async fn declaration_manifests_of(
        &self,
        organisation: OrganisationId,
        tokens: &[String],
    ) -> Result<Vec<DeclarationManifest>, StoreError>;
    /// What a channel was told.
    async fn declared_channel(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<DeclaredChannel>, StoreError>;
    /// What these channels were told, as far as they were and as it can be read, in the order of ids.
    async fn declared_channels_of(
        &self,
        organisation: OrganisationId,
        ids: &[EnrollmentId],
    ) -> Result<Vec<DeclaredChannel>, StoreError>;
    /// What a channel reported.
    async fn channel_status(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<ChannelStatus>, StoreError>;
    /// What channels reported, in the order of ids, after `after`.
    async fn channel_statuses(
        &self,
        organisation: OrganisationId,
        after: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<ChannelStatus>, StoreError>;
    /// Channels that are not superseded and can be read, of devices and of users, in the order of ids, after `after`.
    async fn channels(
        &self,
        organisation: OrganisationId,
        after: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// Those of these devices that exist and can be read, in the order of ids.
    async fn devices_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<Device>, StoreError>;
    /// Commands of this request type without a final report in the queues of these channels, in the order of ids.
    async fn open_commands_of_type(
        &self,
        organisation: OrganisationId,
        channels: &[EnrollmentId],
        request_type: &str,
    ) -> Result<Vec<Command>, StoreError>;
}
