//! The values of each check-in message. Secrets are [`Secret`]s; everything else is as received.

use super::Envelope;
use crate::secret::Secret;

/// `Authenticate`, the first message of an enrolment.
/// <https://developer.apple.com/documentation/devicemanagement/authenticate>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Authenticate {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// The push topic of the enrolment profile.
    pub topic: String,
    /// `SerialNumber`.
    pub serial: Option<String>,
    /// `DeviceName`, Mac only.
    pub device_name: Option<String>,
    /// `Model`, Mac only.
    pub model: Option<String>,
    /// `ModelName`, Mac only.
    pub model_name: Option<String>,
    /// `ProductName`, such as `Mac15,7`.
    pub product_name: Option<String>,
    /// `OSVersion`.
    pub os_version: Option<String>,
    /// `BuildVersion`.
    pub build_version: Option<String>,
    /// `IMEI`.
    pub imei: Option<String>,
    /// `MEID`.
    pub meid: Option<String>,
}

/// `TokenUpdate`.
/// <https://developer.apple.com/documentation/devicemanagement/token-update>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TokenUpdate {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// The push topic.
    pub topic: String,
    /// What the push must contain for the device to listen.
    pub push_magic: String,
    /// The push token; in lower-case hexadecimal it is the address of the push.
    pub token: Vec<u8>,
    /// Clears the passcode. Its absence does not void one that was sent before.
    pub unlock_token: Option<Secret>,
    /// Whether the device waits for `DeviceConfigured`. Absent says nothing.
    pub awaiting_configuration: Option<bool>,
}

/// `CheckOut`.
/// <https://developer.apple.com/documentation/devicemanagement/check-out>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CheckOut {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// The push topic; some devices leave it out.
    pub topic: Option<String>,
}

/// `UserAuthenticate`, Mac only.
/// <https://developer.apple.com/documentation/devicemanagement/user-authenticate>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UserAuthenticate {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// `DigestResponse`, in the second request only.
    pub digest_response: Option<Secret>,
}

/// `SetBootstrapToken`.
/// <https://developer.apple.com/documentation/devicemanagement/set-bootstrap-token>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SetBootstrapToken {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// The token. Absent or empty: the stored one is void.
    pub token: Option<Secret>,
    /// Whether the device waits for `DeviceConfigured`. Absent says nothing.
    pub awaiting_configuration: Option<bool>,
}

/// `GetBootstrapToken`.
/// <https://developer.apple.com/documentation/devicemanagement/get-bootstrap-token>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GetBootstrapToken {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// Whether the device waits for `DeviceConfigured`. Absent says nothing.
    pub awaiting_configuration: Option<bool>,
}

/// `DeclarativeManagement`.
/// <https://developer.apple.com/documentation/devicemanagement/declarativemanagementrequest>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeclarativeManagement {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// `tokens`, `declaration-items`, `status` or `declaration/…/…`.
    pub endpoint: String,
    /// The JSON that came with it.
    pub data: Option<Vec<u8>>,
}

/// `GetToken`.
/// <https://developer.apple.com/documentation/devicemanagement/get-token>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GetToken {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
    /// Which service the token is for.
    pub service_type: String,
    /// What the service is to be told.
    pub parameters: Option<TokenParameters>,
}

/// The `TokenParameters` of a [`GetToken`] message: those of the token with which a watch is paired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenParameters {
    /// `SecurityToken`: what the watch was told when it asked for its profile.
    pub security_token: Option<Secret>,
    /// `PhoneUDID`.
    pub phone_udid: Option<String>,
    /// `WatchUDID`.
    pub watch_udid: Option<String>,
}

/// `ReturnToService`.
/// <https://developer.apple.com/documentation/devicemanagement/returntoservicerequest>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReturnToService {
    /// Who speaks, and the redacted dictionary.
    pub envelope: Envelope,
}
