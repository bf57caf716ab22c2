//! `com.apple.security.FDERecoveryKeyEscrow`: to whom a Mac encrypts its recovery key.

use plist::Dictionary;
use uuid::Uuid;

use super::profile::{Payload, upper};

/// The escrow payload. There is one per system; a second one is an error of the device.
/// <https://developer.apple.com/documentation/devicemanagement/fderecoverykeyescrow>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EscrowPayload {
    /// `Location`: where the key is kept, as the user reads it.
    pub location: String,
    /// `EncryptCertPayloadUUID`: the certificate payload of the same profile.
    pub certificate: Uuid,
    /// `DeviceKey`: help to find the key; without it the device uses its serial number.
    pub device_key: Option<String>,
}

impl EscrowPayload {
    /// Encrypts for the certificate payload with this UUID.
    pub fn new(location: impl Into<String>, certificate: Uuid) -> Self {
        Self {
            location: location.into(),
            certificate,
            device_key: None,
        }
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let mut d = Dictionary::new();
        d.insert("Location".into(), self.location.as_str().into());
        d.insert(
            "EncryptCertPayloadUUID".into(),
            upper(self.certificate).into(),
        );
        if let Some(key) = &self.device_key {
            d.insert("DeviceKey".into(), key.as_str().into());
        }
        Payload::new(
            profile,
            "com.apple.security.FDERecoveryKeyEscrow",
            identifier,
            d,
        )
    }
}
