//! Declarative management: what an organisation declares, in which sets, and for whom. Decides nothing about devices here:
//! [`manifest`] says what a channel should have, [`status`] what it says it has. Holds no secret: the files of assets lie sealed
//! in the vault, and payloads are what a device may be shown.
//!
//! <https://developer.apple.com/documentation/devicemanagement/declarative-management>

pub mod manifest;
pub(crate) mod own;
pub mod status;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{
    AssignmentId, ContentId, DeclarationId, DeclarationSetId, DeviceId, EnrollmentId, ManifestId,
    OrganisationId, SecretId,
};
use crate::line;

/// Octets of an identifier or a server token that a device accepts.
const LONGEST: usize = 64;
/// Octets of a payload as JSON.
const LARGEST: usize = 256 * 1024;
/// How deep a payload may be nested.
const DEEPEST: usize = 32;
/// Declarations of one set.
const MOST_OF_A_SET: usize = 500;

/// The four kinds of declarations; the third label of a type says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the four lists of the protocol's manifest"
)]
pub enum DeclarationKind {
    /// Says which configurations are in force, and when.
    Activation,
    /// What configurations refer to: files, credentials, people.
    Asset,
    /// A state that a device brings about.
    Configuration,
    /// What a device is told of its management.
    Management,
}

impl DeclarationKind {
    /// All of them, in the order of the protocol's manifest.
    pub const ALL: [Self; 4] = [
        Self::Activation,
        Self::Asset,
        Self::Configuration,
        Self::Management,
    ];

    /// The kind of a type such as `com.apple.configuration.passcode.settings`.
    #[must_use]
    pub fn of_type(declaration_type: &str) -> Option<Self> {
        let mut labels = declaration_type.split('.');
        let kind = match (labels.next()?, labels.next()?, labels.next()?) {
            ("com", "apple", third) => Self::of_word(third)?,
            _ => return None,
        };
        labels.next().filter(|label| !label.is_empty())?;
        Some(kind)
    }

    /// The kind as the path of a device's request names it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Its word in types and paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Asset => "asset",
            Self::Configuration => "configuration",
            Self::Management => "management",
        }
    }
}

/// A declaration: an identifier, and which content it has now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Declaration {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: DeclarationId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// `Identifier`; one declaration of an identifier.
    pub identifier: String,
    /// Its kind. It never changes: a device would have two of one identifier.
    pub kind: DeclarationKind,
    /// `Type` of the present content.
    pub declaration_type: String,
    /// `ServerToken` of the present content.
    pub server_token: String,
    /// The present content.
    pub content: ContentId,
    /// When it was first put.
    pub created: Timestamp,
    /// When its content last changed.
    pub changed: Timestamp,
    /// When it was taken out of use: it is in no set any more, and devices that have it lose it.
    pub removed: Option<Timestamp>,
}

/// One content of a declaration. Written once: a snapshot that a device was told stays what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeclarationContent {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: ContentId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// `Identifier`.
    pub identifier: String,
    /// `Type`.
    pub declaration_type: String,
    /// `Payload`.
    pub payload: Map<String, Value>,
    /// `ServerToken`, which follows from the three; one content of a token.
    pub server_token: String,
    /// The file that an asset refers to, when it is kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<AssetFile>,
    /// When it was put.
    pub created: Timestamp,
}

/// The file of an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AssetFile {
    /// The sealed bytes.
    pub secret: SecretId,
    /// Media type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, lower-case hex.
    pub sha256: String,
    /// The same of what was handed in: of a profile, before it was signed.
    pub source: String,
    /// Name of the file in its address: unguessable, and none of the asset's.
    pub name: String,
}

/// Declarations that are assigned together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeclarationSet {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: DeclarationSetId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it; one set of a name.
    pub name: String,
    /// What is in it.
    pub members: BTreeSet<DeclarationId>,
    /// When it was made.
    pub created: Timestamp,
    /// When its members last changed.
    pub changed: Timestamp,
    /// When it was taken out of use; nobody has it any more.
    pub removed: Option<Timestamp>,
}

/// For whom a set is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// Every device of the organisation.
    Organisation,
    /// Devices with this tag.
    Tag(String),
    /// Devices whose owner is in this group, by its name in the import.
    Group(String),
    /// One device.
    Device(DeviceId),
    /// A person, on every device: the short name of an account, or its `UserID`.
    User(String),
}

/// On which channels of the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "a device has its own channel and its users'"
)]
pub enum Channels {
    /// The device's own.
    #[default]
    Device,
    /// Those of its users.
    Users,
}

/// That a set is for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeclarationAssignment {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: AssignmentId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Which set.
    pub set: DeclarationSetId,
    /// For whom.
    pub target: Target,
    /// On which channels.
    pub channels: Channels,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub ended: Option<Timestamp>,
}

impl DeclarationAssignment {
    /// The word under which channels look for it. A person is always on the channels of users.
    #[must_use]
    pub fn scope(&self) -> String {
        scope(&self.target, self.channels)
    }
}

/// The word of a target; [`manifest::scopes`] gives those of a channel.
pub(crate) fn scope(target: &Target, channels: Channels) -> String {
    let channel = match (target, channels) {
        (Target::User(_), _) | (_, Channels::Users) => 'u',
        _ => 'd',
    };
    match target {
        Target::Organisation => format!("{channel}:all"),
        Target::Tag(tag) => format!("{channel}:tag:{tag}"),
        Target::Group(group) => format!("{channel}:group:{group}"),
        Target::Device(id) => format!("{channel}:device:{id}"),
        Target::User(name) => format!("{channel}:user:{}", name.to_lowercase()),
    }
}

/// A list of declarations, each in one content. Written once, and shared by all channels that should have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeclarationManifest {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: ManifestId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// `DeclarationsToken`, which follows from the items; one list of a token.
    pub token: String,
    /// What is in it, by kind and identifier.
    pub items: Vec<ManifestItem>,
    /// When it was first needed.
    pub created: Timestamp,
}

/// One declaration of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_structs,
    reason = "what the protocol's manifest says"
)]
pub struct ManifestItem {
    /// Its kind.
    pub kind: DeclarationKind,
    /// `Identifier`.
    pub identifier: String,
    /// `ServerToken`.
    pub server_token: String,
    /// The content of that token.
    pub content: ContentId,
}

/// What a channel was told of its declarations. One small row for each channel that ever asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeclaredChannel {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The channel.
    pub id: EnrollmentId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The list that it was given last: declarations are served from it.
    pub manifest: Option<ManifestId>,
    /// The list before that: for a request that was on its way already.
    pub earlier: Option<ManifestId>,
    /// When it was given the list.
    pub told: Timestamp,
    /// Whether it has the list is doubted: the next look at the channel tells it, whatever list that is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubted: bool,
    /// Types that the channel said it does not know, of those that it should have: they are left out of its list.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<String>,
    /// Apps that this server declares to it by itself, with their activations: those that its migration installs or keeps.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub apps: BTreeSet<DeclarationId>,
    /// The subscription to status items that this server waits for, with its activation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subscription: BTreeSet<DeclarationId>,
    /// What is in that subscription.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subscribed: BTreeSet<String>,
    /// When the channel ended.
    pub ended: Option<Timestamp>,
}

impl DeclaredChannel {
    /// A channel that has been told nothing.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: EnrollmentId, now: Timestamp) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            manifest: None,
            earlier: None,
            told: now,
            doubted: false,
            lacks: BTreeSet::new(),
            apps: BTreeSet::new(),
            subscription: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            ended: None,
        }
    }

    /// It was given this list.
    pub fn tell(&mut self, manifest: ManifestId, now: Timestamp) {
        if self.manifest != Some(manifest) {
            self.earlier = self.manifest;
            self.manifest = Some(manifest);
            self.told = now;
        }
        self.doubted = false;
        self.ended = None;
    }

    /// The channel is over: nothing of it is served any more. What this server declares by itself waits for its return.
    pub fn end(&mut self, now: Timestamp) {
        self.manifest = None;
        self.earlier = None;
        self.doubted = false;
        self.ended = self.ended.or(Some(now));
    }
}

/// Whether an identifier can be one: 1 to 64 visible ASCII characters without `/`, `%`, `?`, `#` and quotation marks.
///
/// # Errors
/// [`Error::BadInput`].
pub fn check_identifier(identifier: &str) -> Result<(), Error> {
    let fits = (1..=LONGEST).contains(&identifier.len())
        && identifier.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'/' | b'%' | b'?' | b'#' | b'"' | b'\'' | b'\\')
        });
    if fits {
        Ok(())
    } else {
        Err(Error::bad_input(
            "Identifier",
            "must be 1 to 64 visible ASCII characters without / % ? # \\ and quotation marks",
        ))
    }
}

/// Whether a type and a payload can be a declaration's, as far as every device would say.
///
/// # Errors
/// [`Error::BadInput`].
pub fn check_content(
    declaration_type: &str,
    payload: &Map<String, Value>,
) -> Result<DeclarationKind, Error> {
    let kind = DeclarationKind::of_type(declaration_type).filter(|_| {
        declaration_type.len() <= 255
            && declaration_type
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    });
    let kind = kind.ok_or_else(|| {
        Error::bad_input(
            "Type",
            "must be com.apple.activation.…, .asset.…, .configuration.… or .management.…",
        )
    })?;
    let bad = |problem: &str| Err(Error::bad_input("Payload", problem));
    if !payload.values().all(|value| is_shallow(value, DEEPEST)) {
        return bad("is nested too deeply");
    }
    if canonical(&Value::Object(payload.clone())).len() > LARGEST {
        return bad("must be at most 256 KiB");
    }
    Ok(kind)
}

/// Whether a name and so many members can be a set's.
///
/// # Errors
/// [`Error::BadInput`].
pub fn check_set(name: &str, members: usize) -> Result<(), Error> {
    line::check_filled("name", name, 100)?;
    if name.trim() != name || name.contains('/') {
        return Err(Error::bad_input(
            "name",
            "must be without /, and without space at its ends",
        ));
    }
    if members > MOST_OF_A_SET {
        return Err(Error::bad_input(
            "members",
            format!("must be at most {MOST_OF_A_SET}"),
        ));
    }
    Ok(())
}

fn is_shallow(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|v| is_shallow(v, left - 1)),
        Value::Object(map) => left > 0 && map.values().all(|v| is_shallow(v, left - 1)),
        _ => true,
    }
}

/// The `ServerToken` of a content: another one for another type, identifier or payload, and only then. Where keys stand in the
/// document makes no difference.
#[must_use]
pub fn server_token(
    declaration_type: &str,
    identifier: &str,
    payload: &Map<String, Value>,
) -> String {
    let whole = Value::Array(vec![
        declaration_type.into(),
        identifier.into(),
        Value::Object(payload.clone()),
    ]);
    hex(&openssl::sha::sha256(canonical(&whole).as_bytes()))
}

/// JSON with its keys in order.
fn canonical(value: &Value) -> String {
    // Recursion is bounded by the depth under which the value was read.
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The configurations that an activation names.
#[must_use]
pub fn activated(payload: &Map<String, Value>) -> Vec<&str> {
    let named = payload.get("StandardConfigurations");
    let named = named.and_then(Value::as_array).into_iter().flatten();
    named.filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_type_names_its_kind() {
        let kind = DeclarationKind::of_type;
        assert_eq!(
            kind("com.apple.activation.simple"),
            Some(DeclarationKind::Activation)
        );
        assert_eq!(kind("com.apple.asset.data"), Some(DeclarationKind::Asset));
        for none in [
            "com.apple.configuration",
            "com.apple.configuration.",
            "com.apple.status.x",
            "org.apple.asset.data",
            "",
        ] {
            assert_eq!(kind(none), None, "{none}");
        }
    }

    #[test]
    fn a_server_token_changes_with_the_content_and_with_nothing_else() {
        let kind = "com.apple.configuration.management.test";
        let one = map(json!({ "Echo": "a", "Deep": { "x": 1, "y": [true, null] } }));
        let same: Map<String, Value> =
            serde_json::from_str(r#"{"Deep":{"y":[true,null],"x":1},"Echo":"a"}"#).unwrap();
        let token =
            |kind: &str, id: &str, payload: &Map<String, Value>| server_token(kind, id, payload);
        let mine = token(kind, "a", &one);
        assert_eq!(mine.len(), LONGEST);
        assert_eq!(mine, token(kind, "a", &same));
        assert_ne!(mine, token(kind, "b", &one));
        assert_ne!(mine, token("com.apple.configuration.legacy", "a", &one));
        for other in [
            json!({ "Echo": "a", "Deep": { "x": 1, "y": [true] } }),
            json!({ "Echo": "a", "Deep": { "x": "1", "y": [true, null] } }),
            json!({ "Echo": "a", "Deep": { "x": 1, "y": [true, null] }, "More": "" }),
        ] {
            assert_ne!(mine, token(kind, "a", &map(other)));
        }
    }

    #[test]
    fn what_no_device_would_take_is_refused() {
        assert!(check_identifier("com.example:a-b_c~{1}").is_ok());
        for bad in ["", "a b", "a/b", "é", "a%41", &"x".repeat(65)] {
            assert!(check_identifier(bad).is_err(), "{bad}");
        }
        let none = Map::new();
        assert!(check_content("com.apple.configuration.a b", &none).is_err());
        let large = map(json!({ "Echo": "x".repeat(LARGEST) }));
        assert!(check_content("com.apple.asset.data", &large).is_err());
        let mut deep = json!(1);
        for _ in 0..=DEEPEST {
            deep = json!([deep]);
        }
        assert!(check_content("com.apple.asset.data", &map(json!({ "a": deep }))).is_err());
        assert!(check_set("Lab Macs", MOST_OF_A_SET).is_ok());
        assert!(check_set("Lab Macs", MOST_OF_A_SET + 1).is_err());
        for bad in ["", " x", "a/b", "a\n"] {
            assert!(check_set(bad, 0).is_err(), "{bad}");
        }
        // What is wrong with it is told apart.
        let said = |name: &str| check_set(name, 0).unwrap_err().to_string();
        assert_eq!(said(&"x".repeat(101)), "name: must be 1 to 100 bytes");
        assert!(said("a/b").contains("must be without /"));
    }
}
