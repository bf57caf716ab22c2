//! The organisation: owner of tokens, push certificate, identity CA, sealed keys, runbooks and people.
//! Holds no secret itself, only references to sealed ones.

use std::collections::BTreeMap;

use openssl::x509::X509;
use serde::{Deserialize, Serialize};

use crate::audit_seal::Checkpoint;
use crate::check::Unknowns;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::error::Error;
use crate::hand_off::agreement::{AgreedDestination, AgreedSource};
use crate::hook::HookOn;
use crate::ids::{OrganisationCode, OrganisationId, RunbookId, SecretId, ServerId};
use crate::person::SignIn;
use crate::template::PushedTemplate;
use crate::texts::OwnerTexts;

/// DER bytes of a certificate, written as base64 in documents.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Der(pub Vec<u8>);

impl std::fmt::Debug for Der {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("not base64"))
    }
}

/// What people may call an organisation: 1 to 200 bytes without control characters, spaces around them aside. Answers the
/// name without these.
///
/// # Errors
/// [`Error::BadInput`] says what would be right.
pub fn check_name(name: &str) -> Result<&str, Error> {
    name_in("name", name)
}

/// The same for a name that stands in another field.
pub(crate) fn name_in<'a>(field: &str, name: &'a str) -> Result<&'a str, Error> {
    let name = name.trim();
    crate::line::check_filled(field, name, 200)?;
    Ok(name)
}

/// One Apple School or Business account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Organisation {
    /// First part of every key.
    pub id: OrganisationId,
    /// Version of the row that this was read from; 0 for one that is new.
    #[serde(skip)]
    pub version: i64,
    /// Its opaque name in the paths of devices.
    pub code: OrganisationCode,
    /// What people call it.
    pub name: String,
    /// When it was made here.
    pub created: Timestamp,
    /// The organisation's data key, wrapped by the installation's master key.
    pub data_key: WrappedKey,
    /// Certificates that issue device identities, newest first. The first one issues.
    pub identity_cas: Vec<KeyedCertificate>,
    /// The certificates above the authority that issues, nearest first; empty when it stands for itself.
    #[serde(default)]
    pub identity_chain: Vec<Der>,
    /// Answers certificate requests in place of the authority that issues.
    #[serde(default)]
    pub registration: Option<KeyedCertificate>,
    /// Authorities elsewhere whose identities the organisation accepts.
    #[serde(default)]
    pub trusted_cas: Vec<Der>,
    /// Where devices get their identities.
    #[serde(default)]
    pub issuer: Issuer,
    /// The push certificate, once imported.
    pub push: Option<PushCertificate>,
    /// Requests for a push certificate whose answer has not been brought in, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub push_requests: Vec<PushRequest>,
    /// The certificate that recovery keys are escrowed to.
    pub escrow: Option<KeyedCertificate>,
    /// Signs enrolment profiles.
    pub profile_signer: Option<KeyedCertificate>,
    /// Certificates that devices need in order to trust our listeners; also `anchor_certs` of ADE profiles.
    pub anchors: Vec<Der>,
    /// Device CAs beside Apple's that may sign machine information: simulated devices. Empty in production.
    pub device_cas: Vec<Der>,
    /// Whose attestations of devices are believed.
    #[serde(default)]
    pub attestation: AttestationTrust,
    /// The organisation API's credential.
    pub api: Option<ApiCredential>,
    /// Server entries of the assignment service that we hold tokens of.
    pub servers: Vec<ServerId>,
    /// Key pairs for which Apple's portal encrypts server tokens, oldest first. Kept over rotations.
    #[serde(default)]
    pub token_keys: Vec<TokenKey>,
    /// Users who may log in at a Mac by a digest of their password.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_users: Vec<NetworkUser>,
    /// The network that enrolment profiles bring along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Signs the chain over the record; made with the first seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_signer: Option<AuditSigner>,
    /// The newest checkpoint that left the building: with it a record whose end was cut off is found without whoever took it along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Checkpoint>,
    /// The runbook for enrolments outside a wave.
    pub ordinary_runbook: Option<RunbookId>,
    /// Receivers of webhooks that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookOn>,
    /// How its people sign in; `None` when they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignIn>,
    /// The template of the installation that its projects follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PushedTemplate>,
    /// Signs what we hand over of devices that leave; made when it is first asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_off_signer: Option<KeyedCertificate>,
    /// Services from which sealed hand-offs come by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreed_sources: Vec<AgreedSource>,
    /// Where devices that move away are handed over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed_destination: Option<AgreedDestination>,
    /// The history of the database in which Apple and the devices were asked anew last, after a replica took over or the database
    /// was put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// What people set.
    pub settings: Settings,
}

impl Organisation {
    /// A new organisation with a data key and nothing else.
    #[must_use]
    pub fn new(
        id: OrganisationId,
        code: OrganisationCode,
        name: String,
        data_key: WrappedKey,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            version: 0,
            code,
            name,
            created: now,
            data_key,
            identity_cas: Vec::new(),
            identity_chain: Vec::new(),
            registration: None,
            trusted_cas: Vec::new(),
            issuer: Issuer::BuiltIn,
            push: None,
            push_requests: Vec::new(),
            escrow: None,
            profile_signer: None,
            anchors: Vec::new(),
            device_cas: Vec::new(),
            attestation: AttestationTrust::default(),
            api: None,
            servers: Vec::new(),
            token_keys: Vec::new(),
            network_users: Vec::new(),
            network: None,
            audit_signer: None,
            left: None,
            ordinary_runbook: None,
            hooks: Vec::new(),
            sign_in: None,
            template: None,
            hand_off_signer: None,
            agreed_sources: Vec::new(),
            agreed_destination: None,
            history: None,
            settings: Settings::default(),
        }
    }
}

/// A Wi-Fi network that devices join by their enrolment profile, so that they are not cut off when another service's profiles
/// go: by password, or an open one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Network {
    /// Its name, of at most 32 bytes.
    pub ssid: String,
    /// It does not tell its name.
    pub hidden: bool,
    /// The password, sealed; an open network has none.
    pub password: Option<Der>,
}

impl Network {
    pub(crate) const fn new(ssid: String, hidden: bool, password: Option<Der>) -> Self {
        Self {
            ssid,
            hidden,
            password,
        }
    }
}

/// The key that signs the chain over the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two halves of a key")]
pub struct AuditSigner {
    /// The public one (SubjectPublicKeyInfo, DER).
    pub public_key: Der,
    /// The private one, sealed.
    pub key: SecretId,
}

/// A data key as stored: useless without the master key that wrapped it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WrappedKey {
    /// Which master key wrapped it.
    pub key_id: String,
    /// The wrapped bytes.
    pub wrapped: Der,
}

impl std::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrappedKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A certificate of ours and where its private key lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyedCertificate {
    /// The certificate.
    pub certificate: Der,
    /// The sealed private key (PKCS#8 DER).
    pub key: SecretId,
}

/// Where devices get their identities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Issuer {
    /// The authority of this installation, by SCEP.
    #[default]
    BuiltIn,
    /// A SCEP server elsewhere. It must keep the common name that the device asks for: that ties the identity to its session.
    Scep {
        /// Its address.
        url: String,
        /// Which of its authorities; sent as `message`.
        name: Option<String>,
        /// The sealed word that it demands; the same for every device.
        challenge: Option<SecretId>,
        /// The certificate of its authority, which devices check by its hash.
        authority: Option<Der>,
    },
    /// An ACME server elsewhere. The client identifier is the code of the session, and so is the common name.
    Acme {
        /// Its directory.
        directory_url: String,
        /// The key is made in the device's hardware: P-384. Without, RSA with 2048 bits in software.
        hardware_bound: bool,
        /// Apple vouches for device and key; in hardware only.
        attest: bool,
    },
}

/// How a device gets its identity from the authority of this installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "each is decided on at both doors")]
pub enum IdentityProtocol {
    /// By SCEP: an RSA key in software, and the challenge of the session as its only proof.
    #[default]
    Scep,
    /// By ACME, with a key in hardware. An attestation is asked for, kept, and must be right; one that does not come is missed
    /// and no more. A device that is too old gets SCEP.
    Acme,
    /// By ACME, and without an attestation there is no identity. A device that is known to be too old gets SCEP.
    AcmeAttested,
}

/// Whose attestations of devices are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct AttestationTrust {
    /// The copy of Apple's root certificate in this library is not believed: the organisation brings its own.
    pub without_apple: bool,
    /// Further root certificates: an own copy of Apple's, or that of simulated devices. Empty in production.
    pub roots: Vec<Der>,
}

/// The push certificate and the topic that it speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PushCertificate {
    /// `com.apple.mgmt.…`: the UID of the certificate's subject; can never change for an enrolled device.
    pub topic: String,
    /// The certificate and its sealed key.
    pub identity: KeyedCertificate,
    /// End of its validity.
    pub not_after: Timestamp,
}

/// A request for a push certificate and where its private key lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "three facts")]
pub struct PushRequest {
    /// The certificate request (PKCS#10, DER).
    pub request: Der,
    /// The sealed private key (PKCS#8 DER).
    pub key: SecretId,
    /// When it was made.
    pub created: Timestamp,
}

/// A key pair for which Apple's portal encrypts server tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts")]
pub struct TokenKey {
    /// The certificate that is uploaded to the portal.
    pub certificate: Der,
    /// The sealed private key (PKCS#8 PEM).
    pub key: SecretId,
    /// Its issuer and serial number, as a token for another certificate names them.
    pub described: String,
    /// When it was made.
    pub created: Timestamp,
}

impl TokenKey {
    /// The serial number of its certificate, in the digits of [`TokenKey::described`]: what a pair goes by, whatever became of those
    /// that were made before it.
    #[must_use]
    pub fn serial(&self) -> String {
        let number = X509::from_der(&self.certificate.0).and_then(|c| c.serial_number().to_bn());
        let digits = number.and_then(|number| number.to_hex_str());
        digits.map_or_else(|_| String::new(), |digits| digits.to_string())
    }
}

/// An API account of the organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApiCredential {
    /// `BUSINESSAPI.…` or `SCHOOLAPI.…`; the prefix decides host and scope.
    pub client_id: String,
    /// Which key of the account signs.
    pub key_id: String,
    /// The sealed P-256 private key (PEM).
    pub key: SecretId,
}

/// A user who may log in at a Mac by a digest of the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a name and a reference")]
pub struct NetworkUser {
    /// The short name.
    pub name: String,
    /// The sealed key of the digest.
    pub key: SecretId,
}

/// What network users of a Mac meet when they log in.
///
/// <https://developer.apple.com/documentation/devicemanagement/user-authenticate>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the protocol's three answers")]
pub enum UserLogins {
    /// They are not managed; asked again at each login.
    #[default]
    Unmanaged,
    /// They are managed and prove nothing.
    Open,
    /// They are managed once a digest has proved their password.
    Digest,
}

/// What people set for an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct Settings {
    /// Lifetime of a device identity, in days.
    pub identity_days: u32,
    /// For how many days an expired identity that we issued still speaks; `None` is without end.
    pub expired_identity_grace_days: Option<u32>,
    /// So many days before its end an identity is renewed, but never earlier than in the last third of its life.
    pub renew_before_days: u32,
    /// By which protocol devices of a platform get their identities from us; SCEP where nothing is said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub identity_protocol: BTreeMap<Platform, IdentityProtocol>,
    /// How long a SCEP challenge and its enrolment session may be used, in minutes.
    pub session_minutes: u32,
    /// Shown on the device as the name of the organisation and of its profiles.
    pub display_name: Option<String>,
    /// For how many days settled commands with their reports, superseded enrolments and unused enrolment sessions are kept;
    /// `None` is without end. The record of what happened is not touched.
    pub retention_days: Option<u32>,
    /// For how many days what was imported of people (owner, time zone, managed user) is kept while its device is in no open wave;
    /// `None` without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_days: Option<u32>,
    /// The oldest system, such as `26.4`, that may enrol in Setup Assistant: a device that can is told to update first.
    pub minimum_os: BTreeMap<Platform, String>,
    /// The kept runbook by which a device is set up that comes by a migration which nobody planned here; the standard one where
    /// none is named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unplanned_runbooks: BTreeMap<Platform, String>,
    /// What network users of a Mac meet when they log in.
    pub user_logins: UserLogins,
    /// After how many hours a device that has nothing else to do is asked anew what it is; 0 is never.
    pub facts_hours: u32,
    /// Reads of the organisation API in a minute, over all accounts.
    pub api_reads_per_minute: u32,
    /// Writes to the organisation API in an hour, over all accounts.
    pub api_writes_per_hour: u32,
    /// What ADE profiles say beyond what a migration demands.
    pub ade: AdeOptions,
    /// What owners of devices are told, in place of our own texts.
    #[serde(skip_serializing_if = "no_texts")]
    pub owner_texts: OwnerTexts,
    /// What counts for a check of the what-if when nobody has told its fact.
    #[serde(skip_serializing_if = "is_default")]
    pub unknowns: Unknowns,
    /// How long people have between what is asked of them and its deadline, at the least, in hours: whoever gives them less forces it.
    pub notice_hours: u32,
    /// Every reveal of a secret, every cancellation and every attempt that is given up takes two persons.
    #[serde(default)]
    pub two_persons_always: bool,
    /// So many minutes after somebody has seen the recovery key of a Mac it is to make another; `None` leaves it.
    pub rotate_revealed_minutes: Option<u32>,
}

fn no_texts(texts: &OwnerTexts) -> bool {
    texts.0.is_empty()
}

fn is_default(rules: &Unknowns) -> bool {
    rules.0.is_empty()
}

/// What people set of an ADE profile. `await_device_configured` is not among it: it is always true.
///
/// Apple: <https://developer.apple.com/documentation/devicemanagement/profile>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdeOptions {
    /// Name of the profile; at most 125 characters.
    pub profile_name: Option<String>,
    /// Panes of Setup Assistant to be skipped, in Apple's words.
    pub skip_setup_items: Vec<String>,
    /// Shown at enrolment.
    pub department: Option<String>,
    /// Shown at enrolment.
    pub support_phone_number: Option<String>,
    /// Shown at enrolment.
    pub support_email_address: Option<String>,
    /// The same for all services of one organisation.
    pub org_magic: Option<String>,
    /// ISO 639-1, for devices that advance by themselves.
    pub language: Option<String>,
    /// ISO 3166-1 alpha-2, upper case.
    pub region: Option<String>,
    /// Whether the device may be paired with a host.
    pub allow_pairing: Option<bool>,
}

impl Settings {
    /// When an identity with this life is renewed.
    #[must_use]
    pub fn renewal_of(&self, from: Timestamp, until: Timestamp) -> Timestamp {
        let wanted = std::time::Duration::from_secs(u64::from(self.renew_before_days) * 86_400);
        until - wanted.min(until.since(from) / 3)
    }

    /// How long people have until a deadline, at the least.
    #[must_use]
    pub fn notice(&self) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(self.notice_hours) * 3600)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identity_days: 730,
            expired_identity_grace_days: None,
            renew_before_days: 90,
            identity_protocol: BTreeMap::new(),
            session_minutes: 120,
            display_name: None,
            retention_days: Some(90),
            owner_days: None,
            minimum_os: BTreeMap::new(),
            unplanned_runbooks: BTreeMap::new(),
            user_logins: UserLogins::Unmanaged,
            facts_hours: 24,
            api_reads_per_minute: 20,
            api_writes_per_hour: 10,
            ade: AdeOptions::default(),
            owner_texts: OwnerTexts::default(),
            unknowns: Unknowns::default(),
            notice_hours: 24,
            two_persons_always: false,
            rotate_revealed_minutes: Some(60),
        }
    }
}
