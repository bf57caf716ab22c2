//! `com.apple.wifi.managed`, as far as an enrolment needs it: a network that does not vanish with
//! the original's profiles.

use plist::Dictionary;
use uuid::Uuid;

use super::profile::Payload;
use crate::secret::Secret;
use crate::wire::keys::Field;

/// A network with a password, or an open one.
/// <https://developer.apple.com/documentation/devicemanagement/wifi>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WifiPayload {
    /// `SSID_STR`.
    pub ssid: String,
    /// `Password`; without one the network is open.
    pub password: Option<Secret>,
    /// `HIDDEN_NETWORK`.
    pub hidden: bool,
    /// `AutoJoin`.
    pub auto_join: bool,
}

impl WifiPayload {
    /// A visible network that is joined by itself.
    pub fn new(ssid: impl Into<String>, password: Option<Secret>) -> Self {
        Self {
            ssid: ssid.into(),
            password,
            hidden: false,
            auto_join: true,
        }
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let mut d = Dictionary::new();
        d.insert("SSID_STR".into(), self.ssid.as_str().into());
        d.insert("HIDDEN_NETWORK".into(), self.hidden.into());
        d.insert("AutoJoin".into(), self.auto_join.into());
        let encryption = match &self.password {
            Some(password) => {
                d.insert("Password".into(), password.to_value());
                "Any"
            }
            None => "None",
        };
        d.insert("EncryptionType".into(), encryption.into());
        Payload::new(profile, "com.apple.wifi.managed", identifier, d)
    }
}
