//! `com.apple.mdm`: who manages the device.

use plist::{Dictionary, Value};
use uuid::Uuid;

use super::profile::{Payload, upper};

/// Every access right. They cannot be extended later, so a migration asks for all.
pub const ALL_ACCESS_RIGHTS: u32 = 8191;

/// What the service promises to understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerCapability {
    /// Channels of users. It can neither be added nor removed later.
    PerUserConnections,
    /// Bootstrap tokens; without it a migrating Mac makes no new recovery key.
    BootstrapToken,
    /// `GetToken`.
    Token,
}

impl ServerCapability {
    /// Apple's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerUserConnections => "com.apple.mdm.per-user-connections",
            Self::BootstrapToken => "com.apple.mdm.bootstraptoken",
            Self::Token => "com.apple.mdm.token",
        }
    }
}

/// The management payload; one per profile, one such profile per device.
/// <https://developer.apple.com/documentation/devicemanagement/mdm>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MdmPayload {
    /// `IdentityCertificateUUID`: the payload that brings the device's identity.
    pub identity: Uuid,
    /// `Topic` of the push certificate.
    pub topic: String,
    /// `ServerURL`, for commands.
    pub server_url: String,
    /// `CheckInURL`.
    pub check_in_url: String,
    /// `AccessRights`.
    pub access_rights: u32,
    /// `SignMessage`: every request carries a signature.
    pub sign_message: bool,
    /// `CheckOutWhenRemoved`.
    pub check_out_when_removed: bool,
    /// `ServerCapabilities`.
    pub capabilities: Vec<ServerCapability>,
}

impl MdmPayload {
    /// All rights, signed requests, a farewell, users and bootstrap tokens.
    pub fn new(
        identity: Uuid,
        topic: impl Into<String>,
        server_url: impl Into<String>,
        check_in_url: impl Into<String>,
    ) -> Self {
        Self {
            identity,
            topic: topic.into(),
            server_url: server_url.into(),
            check_in_url: check_in_url.into(),
            access_rights: ALL_ACCESS_RIGHTS,
            sign_message: true,
            check_out_when_removed: true,
            capabilities: vec![
                ServerCapability::PerUserConnections,
                ServerCapability::BootstrapToken,
            ],
        }
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let mut d = Dictionary::new();
        d.insert(
            "IdentityCertificateUUID".into(),
            upper(self.identity).into(),
        );
        d.insert("Topic".into(), self.topic.as_str().into());
        d.insert("ServerURL".into(), self.server_url.as_str().into());
        d.insert("CheckInURL".into(), self.check_in_url.as_str().into());
        let rights = u64::from(self.access_rights);
        d.insert("AccessRights".into(), Value::Integer(rights.into()));
        d.insert("SignMessage".into(), self.sign_message.into());
        d.insert(
            "CheckOutWhenRemoved".into(),
            self.check_out_when_removed.into(),
        );
        let names = self.capabilities.iter().map(|c| c.as_str().into());
        d.insert("ServerCapabilities".into(), Value::Array(names.collect()));
        Payload::new(profile, "com.apple.mdm", identifier, d)
    }
}
