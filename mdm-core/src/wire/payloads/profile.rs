//! The wrapper: a configuration profile and what every payload has.

use plist::{Dictionary, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::wire::plist::write_dictionary;

/// For whom a profile is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadScope {
    /// The whole device.
    System,
    /// One user of a Mac.
    User,
}

/// One payload of a profile.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Payload {
    /// `PayloadType`.
    pub kind: String,
    /// `PayloadIdentifier`, unique within the profile.
    pub identifier: String,
    /// `PayloadUUID`, by which other payloads of the profile refer to this one.
    pub uuid: Uuid,
    /// `PayloadDisplayName`.
    pub display_name: Option<String>,
    content: Dictionary,
}

// The content may hold passwords.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("kind", &self.kind)
            .field("identifier", &self.identifier)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

impl Payload {
    /// A payload of any type. Its UUID is derived from that of its profile and its identifier, so
    /// that making the same profile twice gives the same bytes.
    pub fn new(
        profile: Uuid,
        kind: impl Into<String>,
        identifier: impl Into<String>,
        content: Dictionary,
    ) -> Self {
        let identifier = identifier.into();
        Self {
            kind: kind.into(),
            uuid: Self::uuid_of(profile, &identifier),
            identifier,
            display_name: None,
            content,
        }
    }

    /// With a name for people.
    #[must_use]
    pub fn named(mut self, display_name: impl Into<String>) -> Self {
        self.display_name = Some(display_name.into());
        self
    }

    /// The UUID that a payload of this identifier has in this profile.
    #[must_use]
    pub fn uuid_of(profile: Uuid, identifier: &str) -> Uuid {
        Uuid::new_v5(&profile, identifier.as_bytes())
    }

    fn to_value(&self) -> Value {
        let mut d = self.content.clone();
        d.insert("PayloadType".into(), self.kind.as_str().into());
        d.insert("PayloadVersion".into(), Value::Integer(1u64.into()));
        d.insert("PayloadIdentifier".into(), self.identifier.as_str().into());
        d.insert("PayloadUUID".into(), upper(self.uuid).into());
        if let Some(name) = &self.display_name {
            d.insert("PayloadDisplayName".into(), name.as_str().into());
        }
        Value::Dictionary(d)
    }
}

/// A UUID as Apple writes it.
pub(super) fn upper(uuid: Uuid) -> String {
    uuid.hyphenated().to_string().to_uppercase()
}

/// A configuration profile.
/// <https://developer.apple.com/documentation/devicemanagement/toplevel>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigurationProfile {
    /// `PayloadIdentifier`: the same one replaces an installed profile.
    pub identifier: String,
    /// `PayloadUUID`.
    pub uuid: Uuid,
    /// `PayloadDisplayName`.
    pub display_name: String,
    /// `PayloadOrganization`.
    pub organization: Option<String>,
    /// `PayloadDescription`.
    pub description: Option<String>,
    /// `PayloadScope`.
    pub scope: Option<PayloadScope>,
    /// `PayloadRemovalDisallowed`.
    pub removal_disallowed: bool,
    /// The payloads, in the order in which they are installed.
    pub payloads: Vec<Payload>,
}

impl ConfigurationProfile {
    /// An empty profile.
    pub fn new(identifier: impl Into<String>, uuid: Uuid, display_name: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            uuid,
            display_name: display_name.into(),
            organization: None,
            description: None,
            scope: None,
            removal_disallowed: false,
            payloads: Vec::new(),
        }
    }

    /// The profile as XML. It may hold secrets.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut d = Dictionary::new();
        let content = self.payloads.iter().map(Payload::to_value).collect();
        d.insert("PayloadContent".into(), Value::Array(content));
        d.insert(
            "PayloadDisplayName".into(),
            self.display_name.as_str().into(),
        );
        d.insert("PayloadIdentifier".into(), self.identifier.as_str().into());
        d.insert("PayloadType".into(), "Configuration".into());
        d.insert("PayloadUUID".into(), upper(self.uuid).into());
        d.insert("PayloadVersion".into(), Value::Integer(1u64.into()));
        for (key, value) in [
            ("PayloadOrganization", &self.organization),
            ("PayloadDescription", &self.description),
        ] {
            if let Some(value) = value {
                d.insert(key.into(), value.as_str().into());
            }
        }
        if let Some(scope) = self.scope {
            let scope = match scope {
                PayloadScope::System => "System",
                PayloadScope::User => "User",
            };
            d.insert("PayloadScope".into(), scope.into());
        }
        if self.removal_disallowed {
            d.insert("PayloadRemovalDisallowed".into(), true.into());
        }
        Zeroizing::new(write_dictionary(&d))
    }
}
