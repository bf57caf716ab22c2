//! Declarations, and what channels have and say of them.

use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    AssetFile, Channels, Declaration, DeclarationAssignment, DeclarationContent, DeclarationKind,
    DeclarationManifest, DeclarationSet, DeclaredChannel, ManifestItem, Target,
};
use crate::ids::{
    AssignmentId, ContentId, DeclarationId, DeclarationSetId, EnrollmentId, ManifestId,
    OrganisationId, SecretId,
};
use crate::store::contract::at;

pub(in crate::store::contract) fn declaration(
    organisation: OrganisationId,
    id: DeclarationId,
) -> Declaration {
    Declaration {
        organisation,
        id,
        version: 0,
        identifier: format!("declaration.{id}"),
        kind: DeclarationKind::Configuration,
        declaration_type: "com.apple.configuration.management.test".to_owned(),
        server_token: format!("token{id}"),
        content: ContentId(5),
        created: at(66),
        changed: at(67),
        removed: None,
    }
}

pub(in crate::store::contract) fn declaration_content(
    organisation: OrganisationId,
    id: ContentId,
) -> DeclarationContent {
    let payload = serde_json::json!({ "Echo": "Zo\u{eb}", "Deep": { "x": [u64::MAX, 0.5, null] } });
    DeclarationContent {
        organisation,
        id,
        version: 0,
        identifier: format!("declaration.{id}"),
        declaration_type: "com.apple.configuration.management.test".to_owned(),
        payload: payload.as_object().cloned().unwrap_or_default(),
        server_token: format!("token{id}"),
        file: Some(AssetFile {
            secret: SecretId(700 + id.0),
            content_type: "application/json".to_owned(),
            size: 2,
            sha256: "aa".to_owned(),
            source: "bb".to_owned(),
            name: format!("file{id}"),
        }),
        created: at(66),
    }
}

pub(in crate::store::contract) fn declaration_set(
    organisation: OrganisationId,
    id: DeclarationSetId,
) -> DeclarationSet {
    DeclarationSet {
        organisation,
        id,
        version: 0,
        name: format!("set {id}"),
        members: [DeclarationId(1), DeclarationId(2)].into(),
        created: at(66),
        changed: at(67),
        removed: None,
    }
}

pub(in crate::store::contract) fn declaration_assignment(
    organisation: OrganisationId,
    id: AssignmentId,
) -> DeclarationAssignment {
    DeclarationAssignment {
        organisation,
        id,
        version: 0,
        set: DeclarationSetId(7),
        target: Target::Tag(format!("tag {id}")),
        channels: Channels::Device,
        created: at(66),
        ended: None,
    }
}

pub(in crate::store::contract) fn declaration_manifest(
    organisation: OrganisationId,
    id: ManifestId,
) -> DeclarationManifest {
    let item = ManifestItem {
        kind: DeclarationKind::Configuration,
        identifier: format!("declaration.{id}"),
        server_token: "token5".to_owned(),
        content: ContentId(5),
    };
    DeclarationManifest::new(organisation, id, vec![item], at(66))
}

pub(in crate::store::contract) fn declared_channel(
    organisation: OrganisationId,
    id: EnrollmentId,
) -> DeclaredChannel {
    let mut it = DeclaredChannel::new(organisation, id, at(66));
    it.tell(ManifestId(7), at(66));
    it.tell(ManifestId(8), at(67));
    it
}

pub(in crate::store::contract) fn channel_status(
    organisation: OrganisationId,
    id: EnrollmentId,
) -> ChannelStatus {
    let mut it = ChannelStatus::new(organisation, id, at(66));
    let value = serde_json::json!({ "model": { "family": "Mac" } });
    it.items.insert("device".to_owned(), value);
    it.errors.insert("app.managed.list".to_owned(), Vec::new());
    it
}
