//! Declarations as people see them: sets with their members, and of a device what each of its channels should have, was given,
//! and says of it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ddm::status::{ChannelStatus, ReportedDeclaration};
use crate::ddm::{
    Channels, Declaration, DeclarationAssignment, DeclarationKind, DeclarationManifest, Target,
};
use crate::enrollment::ChannelKind;
use crate::error::Error;
use crate::ids::{DeclarationId, DeviceId, ManifestId, Serial};
use crate::service::Org;
use crate::wire::declarations::StatusReason;

/// A set with the names of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SetView {
    /// Its name.
    pub name: String,
    /// Identifiers of its members.
    pub members: Vec<String>,
    /// For whom it is.
    pub assigned: Vec<AssignmentView>,
    /// When its members last changed.
    pub changed: Timestamp,
}

/// For whom a set is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AssignmentView {
    /// For whom: `organisation`, `tag`, `group`, `device` or `user`.
    pub to: &'static str,
    /// The tag, the group, the serial number or the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// On which channels.
    pub channels: Channels,
    /// Since when.
    pub since: Timestamp,
}

/// Declarations of one channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ChannelDeclarations {
    /// The channel's id.
    pub channel: String,
    /// The short name of its user; of the device's own channel none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The `DeclarationsToken` of what it should have.
    pub token: String,
    /// What it should have.
    pub wanted: Vec<WantedDeclaration>,
    /// The `DeclarationsToken` of the list that it was given last.
    pub told: Option<String>,
    /// When.
    pub told_at: Option<Timestamp>,
    /// It has said that it has exactly what it should have.
    pub agrees: bool,
    /// What it says of its declarations.
    pub reported: Vec<ReportedDeclaration>,
    /// When it last said anything.
    pub reported_at: Option<Timestamp>,
    /// Status items that it could not tell.
    pub errors: BTreeMap<String, Vec<StatusReason>>,
    /// Everything else that it has reported.
    pub status: Map<String, Value>,
}

/// One declaration that a channel should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WantedDeclaration {
    /// Its kind.
    pub kind: DeclarationKind,
    /// `Identifier`.
    pub identifier: String,
    /// `ServerToken`.
    pub server_token: String,
}

impl Org {
    /// Declarations in use, in the order of ids, after `after`, and after which id the next page begins: of a last page none.
    ///
    /// # Errors
    /// The store's.
    pub async fn declarations(
        &self,
        after: DeclarationId,
        limit: u32,
    ) -> Result<(Vec<Declaration>, Option<DeclarationId>), Error> {
        let mut all = self.store().declarations(self.id(), after, limit).await?;
        let is_full = all.len() == limit as usize;
        let next = all.last().map(|last| last.id).filter(|_| is_full);
        all.retain(|it| it.removed.is_none());
        Ok((all, next))
    }

    /// The key of a device.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn device_of_serial(&self, serial: &Serial) -> Result<DeviceId, Error> {
        Ok(self.device_named(serial).await?.id)
    }

    /// All sets in use.
    ///
    /// # Errors
    /// The store's.
    pub async fn declaration_sets(&self) -> Result<Vec<SetView>, Error> {
        let (store, id) = (self.store(), self.id());
        let mut views = Vec::new();
        for set in store.declaration_sets(id).await? {
            if set.removed.is_some() {
                continue;
            }
            let members: Vec<_> = set.members.iter().copied().collect();
            let members = store.declarations_of(id, &members).await?;
            let assigned = store.declaration_assignments_of(id, set.id).await?;
            let assigned: Vec<_> = assigned.into_iter().filter(|a| a.ended.is_none()).collect();
            let devices = assigned.iter().filter_map(|a| match a.target {
                Target::Device(id) => Some(id),
                _ => None,
            });
            let devices: Vec<DeviceId> = devices.collect();
            let devices = store.devices_of(id, &devices).await?;
            let view = |assignment: DeclarationAssignment| {
                let (to, name) = match assignment.target {
                    Target::Organisation => ("organisation", None),
                    Target::Tag(tag) => ("tag", Some(tag)),
                    Target::Group(group) => ("group", Some(group)),
                    Target::User(user) => ("user", Some(user)),
                    Target::Device(id) => {
                        let device = devices.iter().find(|device| device.id == id);
                        ("device", device.map(|device| device.serial.to_string()))
                    }
                };
                AssignmentView {
                    to,
                    name,
                    channels: assignment.channels,
                    since: assignment.created,
                }
            };
            views.push(SetView {
                name: set.name,
                members: members.into_iter().map(|it| it.identifier).collect(),
                assigned: assigned.into_iter().map(view).collect(),
                changed: set.changed,
            });
        }
        Ok(views)
    }

    /// What the channels of a device should have, were given and say. Empty when it is not enrolled.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn declarations_of_device(
        &self,
        serial: &Serial,
    ) -> Result<Vec<ChannelDeclarations>, Error> {
        let (store, id) = (self.store(), self.id());
        let device = self.device_named(serial).await?;
        let Some(enrolment) = device.enrollment else {
            return Ok(Vec::new());
        };
        let mut channels: Vec<_> = store.enrollment(id, enrolment).await?.into_iter().collect();
        channels.extend(store.user_channels(id, enrolment).await?);
        let mut views = Vec::new();
        for channel in channels.iter().filter(|c| c.is_live()) {
            let wanted = self.wanted(channel, Some(&device)).await?;
            let told = store.declared_channel(id, channel.id).await?;
            let list = match told.as_ref().and_then(|t| t.manifest) {
                Some(list) => store.declaration_manifest(id, list).await?,
                None => None,
            };
            let status = store.channel_status(id, channel.id).await?;
            let items = wanted.items.clone();
            let all = DeclarationManifest::new(id, ManifestId(0), items, self.now());
            let agrees = match &status {
                Some(status) => status.agrees_with(&all),
                None => wanted.items.is_empty(),
            };
            let user = match &channel.channel {
                ChannelKind::User { short_name, .. } => short_name.clone(),
                ChannelKind::Device => None,
            };
            let said: Option<&ChannelStatus> = status.as_ref();
            views.push(ChannelDeclarations {
                channel: channel.key.clone(),
                user,
                token: wanted.token,
                wanted: wanted
                    .items
                    .into_iter()
                    .map(|item| WantedDeclaration {
                        kind: item.kind,
                        identifier: item.identifier,
                        server_token: item.server_token,
                    })
                    .collect(),
                told_at: list.as_ref().and(told.as_ref()).map(|t| t.told),
                told: list.map(|list| list.token),
                agrees,
                reported: said.map(ChannelStatus::declarations).unwrap_or_default(),
                reported_at: said.map(|s| s.received),
                errors: said.map(|s| s.errors.clone()).unwrap_or_default(),
                status: said.map(|s| s.items.clone()).unwrap_or_default(),
            });
        }
        Ok(views)
    }
}
