//! The messages of the check-in endpoint, parsed once.
//!
//! Each message keeps the dictionary that it came in, with its secrets lifted out: unknown keys
//! survive, a recovery code in a log does not. Nothing here knows whether a device may say what it
//! says; that is for the enrolment to decide.
//!
//! <https://developer.apple.com/documentation/devicemanagement/check-in>

use std::fmt;

use plist::{Dictionary, Value};

use super::WireError;
use super::field::Fields;
use super::plist::{CHECK_IN_LIMIT, read_dictionary, write_dictionary};
use super::redact;
pub use super::redact::LiftedSecret;
use crate::secret::{Secret, SecretKind};

mod messages;

pub use messages::{
    Authenticate, CheckOut, DeclarativeManagement, GetBootstrapToken, GetToken, ReturnToService,
    SetBootstrapToken, TokenParameters, TokenUpdate, UserAuthenticate,
};

/// The `UserID` that every user of a Shared iPad has.
const SHARED_IPAD_USER: &str = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF";

/// Which of the five kinds of channel a message came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelKind {
    /// The device itself.
    Device,
    /// A managed user of a Mac.
    User,
    /// A user of a Shared iPad.
    SharedIpadUser,
    /// The device side of a user enrolment.
    UserEnrolment,
    /// The user side of a user enrolment on a Mac.
    UserEnrolmentUser,
}

/// The normalised identifier of a channel: what queues, push tokens and declarations belong to.
///
/// `UDID`, `UDID:UserID`, `UDID:UserShortName` (Shared iPad), `EnrollmentID` or
/// `EnrollmentID:EnrollmentUserID`, in the case in which the device writes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey(String);

impl ChannelKey {
    /// A key as it was stored.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who speaks: the keys of a message that identify its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Channel {
    /// The kind of channel.
    pub kind: ChannelKind,
    /// The `UDID`, or the `EnrollmentID` of a user enrolment.
    pub device: String,
    /// `UserID` or `EnrollmentUserID`; for a Shared iPad the short name, which is the real key.
    pub user: Option<String>,
    /// `UserShortName`.
    pub short_name: Option<String>,
    /// `UserLongName`.
    pub long_name: Option<String>,
    /// `NotOnConsole`: the user is logged in, but not at the screen.
    pub not_on_console: Option<bool>,
    /// `NeedSyncResponse`: a login waits for the end of this session.
    pub need_sync_response: bool,
    /// `UserConfiguration`: Setup Assistant asks before the local account exists.
    pub user_configuration: bool,
    /// `AuthToken` of a network user's session.
    pub auth_token: Option<Secret>,
}

/// The longest push token and push magic, in bytes. Real ones have 32 and 36, and every read of the enrolment has them.
const MAX_PUSH: usize = 1024;
/// The longest `UnlockToken` that is kept, in bytes. Real ones have a few thousand.
pub(crate) const MAX_UNLOCK_TOKEN: usize = 64 * 1024;

impl Channel {
    pub(super) fn read(fields: Fields<'_>, secrets: &[LiftedSecret]) -> Result<Self, WireError> {
        let udid = fields.identifier("UDID")?;
        let enrolment = fields.identifier("EnrollmentID")?;
        let user = fields.identifier("UserID")?;
        let enrolment_user = fields.identifier("EnrollmentUserID")?;
        let short_name = fields.identifier("UserShortName")?;
        // `UDID` wins where a message has both.
        let (kind, device, user) = match (udid, enrolment) {
            (Some(udid), _) => match user {
                None => (ChannelKind::Device, udid, None),
                Some(id) if id.eq_ignore_ascii_case(SHARED_IPAD_USER) => {
                    let name = short_name
                        .clone()
                        .ok_or_else(|| fields.missing("UserShortName"))?;
                    (ChannelKind::SharedIpadUser, udid, Some(name))
                }
                Some(id) => (ChannelKind::User, udid, Some(id)),
            },
            (None, Some(id)) => match enrolment_user {
                None => (ChannelKind::UserEnrolment, id, None),
                Some(user) => (ChannelKind::UserEnrolmentUser, id, Some(user)),
            },
            (None, None) => return Err(fields.missing("UDID")),
        };
        Ok(Self {
            kind,
            device,
            user,
            short_name,
            long_name: fields.text("UserLongName")?,
            not_on_console: fields.boolean("NotOnConsole")?,
            need_sync_response: fields.boolean("NeedSyncResponse")?.unwrap_or(false),
            user_configuration: fields.boolean("UserConfiguration")?.unwrap_or(false),
            auth_token: secret(secrets, SecretKind::AuthToken, "AuthToken"),
        })
    }

    /// The channel's own key.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        match &self.user {
            None => ChannelKey(self.device.clone()),
            Some(user) => ChannelKey(format!("{}:{user}", self.device)),
        }
    }

    /// The key of the device's channel: what certificates and bootstrap tokens belong to.
    #[must_use]
    pub fn device_key(&self) -> ChannelKey {
        ChannelKey(self.device.clone())
    }

    /// Whether this is the device speaking and not one of its users.
    #[must_use]
    pub fn is_device(&self) -> bool {
        matches!(self.kind, ChannelKind::Device | ChannelKind::UserEnrolment)
    }
}

pub(super) fn secret(lifted: &[LiftedSecret], kind: SecretKind, key: &str) -> Option<Secret> {
    lifted
        .iter()
        .find(|s| s.kind == kind && s.key == key)
        .map(|s| s.secret.clone())
}

/// A check-in message.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CheckIn {
    /// The profile is being installed; it may still fail.
    Authenticate(Authenticate),
    /// A channel can be pushed to. The device's first one completes the enrolment.
    TokenUpdate(TokenUpdate),
    /// The management profile was removed.
    CheckOut(CheckOut),
    /// A network user of a Mac logs in.
    UserAuthenticate(UserAuthenticate),
    /// The device deposits its bootstrap token.
    SetBootstrapToken(SetBootstrapToken),
    /// The device wants its bootstrap token back.
    GetBootstrapToken(GetBootstrapToken),
    /// Declarations: tokens, items, one declaration, or a status report.
    DeclarativeManagement(DeclarativeManagement),
    /// The device asks for a token of some service.
    GetToken(GetToken),
    /// A device in return-to-service mode asks what to do next.
    ReturnToService(ReturnToService),
}

/// What every message has: who speaks, and the dictionary without its secrets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Envelope {
    /// Who speaks.
    pub channel: Channel,
    raw: Dictionary,
}

impl Envelope {
    /// The dictionary as received, with a mark in the place of each secret.
    #[must_use]
    pub fn redacted(&self) -> &Dictionary {
        &self.raw
    }

    /// The redacted dictionary as XML, for storage.
    #[must_use]
    pub fn redacted_xml(&self) -> Vec<u8> {
        write_dictionary(&self.raw)
    }
}

impl CheckIn {
    /// Reads the body of a check-in request.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut raw = read_dictionary(body, CHECK_IN_LIMIT)?;
        let Some(name) = raw.get("MessageType") else {
            return Err(WireError::Missing {
                message: "check-in",
                field: "MessageType",
            });
        };
        let name = name.as_string().ok_or(WireError::WrongType {
            message: "check-in",
            field: "MessageType",
            expected: "string",
        })?;
        let name = *NAMES
            .iter()
            .find(|known| **known == name)
            .ok_or(WireError::UnknownMessage)?;
        // Before the secrets are replaced by their mark, which is always text.
        types_of_secrets(Fields::new(name, &raw))?;
        let secrets = redact::lift(&mut raw);
        let lifted = |kind, key| secret(&secrets, kind, key);
        let channel = Channel::read(Fields::new(name, &raw), &secrets)?;
        // The dictionary moves in at the end; until then the fields are read from it.
        let envelope = Envelope {
            channel,
            raw: Dictionary::new(),
        };
        let fields = Fields::new(name, &raw);
        let mut message = match name {
            "Authenticate" => Self::Authenticate(Authenticate {
                topic: fields.required_text("Topic")?,
                serial: fields.identifier("SerialNumber")?,
                device_name: fields.text("DeviceName")?,
                model: fields.text("Model")?,
                model_name: fields.text("ModelName")?,
                product_name: fields.text("ProductName")?,
                os_version: fields.text("OSVersion")?,
                build_version: fields.text("BuildVersion")?,
                imei: fields.identifier("IMEI")?,
                meid: fields.identifier("MEID")?,
                envelope,
            }),
            "TokenUpdate" => Self::TokenUpdate(TokenUpdate {
                topic: fields.required_text("Topic")?,
                push_magic: within("PushMagic", MAX_PUSH, fields.required_text("PushMagic")?)?,
                token: within("Token", MAX_PUSH, fields.required_data("Token")?.to_vec())?,
                unlock_token: match lifted(SecretKind::UnlockToken, "UnlockToken") {
                    Some(token) if token.len() > MAX_UNLOCK_TOKEN => {
                        return Err(too_long("UnlockToken", MAX_UNLOCK_TOKEN));
                    }
                    token => token,
                },
                awaiting_configuration: fields.boolean("AwaitingConfiguration")?,
                envelope,
            }),
            "CheckOut" => Self::CheckOut(CheckOut {
                topic: fields.text("Topic")?,
                envelope,
            }),
            "UserAuthenticate" => Self::UserAuthenticate(UserAuthenticate {
                digest_response: lifted(SecretKind::DigestResponse, "DigestResponse"),
                envelope,
            }),
            "SetBootstrapToken" => Self::SetBootstrapToken(SetBootstrapToken {
                token: lifted(SecretKind::BootstrapToken, "BootstrapToken"),
                awaiting_configuration: fields.boolean("AwaitingConfiguration")?,
                envelope,
            }),
            "GetBootstrapToken" => Self::GetBootstrapToken(GetBootstrapToken {
                awaiting_configuration: fields.boolean("AwaitingConfiguration")?,
                envelope,
            }),
            "DeclarativeManagement" => Self::DeclarativeManagement(DeclarativeManagement {
                endpoint: fields.required_text("Endpoint")?,
                data: fields.data("Data")?.map(<[u8]>::to_vec),
                envelope,
            }),
            "GetToken" => Self::GetToken(GetToken {
                service_type: fields.required_text("TokenServiceType")?,
                parameters: token_parameters(&raw, &secrets)?,
                envelope,
            }),
            "ReturnToService" => Self::ReturnToService(ReturnToService { envelope }),
            // `NAMES` has no other.
            _ => return Err(WireError::UnknownMessage),
        };
        message.envelope_mut().raw = raw;
        Ok(message)
    }

    /// The `MessageType`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Authenticate(_) => "Authenticate",
            Self::TokenUpdate(_) => "TokenUpdate",
            Self::CheckOut(_) => "CheckOut",
            Self::UserAuthenticate(_) => "UserAuthenticate",
            Self::SetBootstrapToken(_) => "SetBootstrapToken",
            Self::GetBootstrapToken(_) => "GetBootstrapToken",
            Self::DeclarativeManagement(_) => "DeclarativeManagement",
            Self::GetToken(_) => "GetToken",
            Self::ReturnToService(_) => "ReturnToService",
        }
    }

    /// Who speaks, and the dictionary without its secrets.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        match self {
            Self::Authenticate(m) => &m.envelope,
            Self::TokenUpdate(m) => &m.envelope,
            Self::CheckOut(m) => &m.envelope,
            Self::UserAuthenticate(m) => &m.envelope,
            Self::SetBootstrapToken(m) => &m.envelope,
            Self::GetBootstrapToken(m) => &m.envelope,
            Self::DeclarativeManagement(m) => &m.envelope,
            Self::GetToken(m) => &m.envelope,
            Self::ReturnToService(m) => &m.envelope,
        }
    }

    /// Who speaks.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.envelope().channel
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        match self {
            Self::Authenticate(m) => &mut m.envelope,
            Self::TokenUpdate(m) => &mut m.envelope,
            Self::CheckOut(m) => &mut m.envelope,
            Self::UserAuthenticate(m) => &mut m.envelope,
            Self::SetBootstrapToken(m) => &mut m.envelope,
            Self::GetBootstrapToken(m) => &mut m.envelope,
            Self::DeclarativeManagement(m) => &mut m.envelope,
            Self::GetToken(m) => &mut m.envelope,
            Self::ReturnToService(m) => &mut m.envelope,
        }
    }
}

const NAMES: [&str; 9] = [
    "Authenticate",
    "TokenUpdate",
    "CheckOut",
    "UserAuthenticate",
    "SetBootstrapToken",
    "GetBootstrapToken",
    "DeclarativeManagement",
    "GetToken",
    "ReturnToService",
];

/// `TokenParameters`: what a service is told of the token that is asked for.
fn token_parameters(
    raw: &Dictionary,
    secrets: &[LiftedSecret],
) -> Result<Option<TokenParameters>, WireError> {
    let given = match raw.get("TokenParameters") {
        None => return Ok(None),
        Some(Value::Dictionary(given)) => given,
        Some(_) => {
            return Err(WireError::WrongType {
                message: "GetToken",
                field: "TokenParameters",
                expected: "a dictionary",
            });
        }
    };
    let fields = Fields::new("GetToken", given);
    Ok(Some(TokenParameters {
        security_token: secret(secrets, SecretKind::AuthToken, "SecurityToken"),
        phone_udid: fields.identifier("PhoneUDID")?,
        watch_udid: fields.identifier("WatchUDID")?,
    }))
}

fn types_of_secrets(fields: Fields<'_>) -> Result<(), WireError> {
    fields.data("UnlockToken")?;
    fields.data("BootstrapToken")?;
    fields.text("AuthToken")?;
    fields.text("DigestResponse")?;
    if let Some(parameters) = fields
        .of
        .get("TokenParameters")
        .and_then(Value::as_dictionary)
    {
        Fields::new("GetToken", parameters).text("SecurityToken")?;
    }
    Ok(())
}

/// A value of a `TokenUpdate`, if it is no longer than `limit`.
fn within<T: AsRef<[u8]>>(field: &'static str, limit: usize, value: T) -> Result<T, WireError> {
    if value.as_ref().len() > limit {
        return Err(too_long(field, limit));
    }
    Ok(value)
}

const fn too_long(field: &'static str, limit: usize) -> WireError {
    WireError::TooLong {
        message: "TokenUpdate",
        field,
        limit,
    }
}

/// The answer to `GetBootstrapToken`. Without a token the key is left out.
#[must_use]
pub fn bootstrap_token_answer(token: Option<&Secret>) -> Vec<u8> {
    let mut answer = Dictionary::new();
    if let Some(token) = token.filter(|t| !t.is_empty()) {
        let bytes = token.expose().to_vec();
        answer.insert("BootstrapToken".into(), Value::Data(bytes));
    }
    write_dictionary(&answer)
}

/// The first answer to `UserAuthenticate`: a challenge, or an empty one that asks for no password.
#[must_use]
pub fn digest_challenge(challenge: &str) -> Vec<u8> {
    let mut answer = Dictionary::new();
    answer.insert("DigestChallenge".into(), challenge.into());
    write_dictionary(&answer)
}

/// The second answer to `UserAuthenticate`: the token of the login, or an empty one for a wrong password.
#[must_use]
pub fn auth_token(token: &Secret) -> Vec<u8> {
    let mut answer = Dictionary::new();
    answer.insert(
        "AuthToken".into(),
        token.expose_text().unwrap_or_default().into(),
    );
    write_dictionary(&answer)
}

/// The answer to `ReturnToService`: whether the device enrols by itself after it has erased itself, and what it takes along
/// for that. The plan of its mobile network is never erased with it.
#[must_use]
pub fn return_to_service_answer(
    enabled: bool,
    bootstrap_token: Option<&Secret>,
    network: Option<Vec<u8>>,
) -> Vec<u8> {
    let mut how = Dictionary::new();
    how.insert("Enabled".into(), enabled.into());
    if let Some(token) = bootstrap_token.filter(|t| !t.is_empty()) {
        how.insert(
            "BootstrapToken".into(),
            Value::Data(token.expose().to_vec()),
        );
    }
    if let Some(network) = network {
        how.insert("WiFiProfileData".into(), Value::Data(network));
    }
    let mut answer = Dictionary::new();
    answer.insert("ReturnToService".into(), Value::Dictionary(how));
    answer.insert("PreserveDataPlan".into(), true.into());
    write_dictionary(&answer)
}

/// The answer to `GetToken`.
#[must_use]
pub fn token_answer(token: &Secret) -> Vec<u8> {
    let mut answer = Dictionary::new();
    answer.insert("TokenData".into(), Value::Data(token.expose().to_vec()));
    write_dictionary(&answer)
}

#[cfg(test)]
mod tests;
