//! `com.apple.security.scep`: how the device gets its identity.

use plist::{Dictionary, Value};
use uuid::Uuid;

use super::profile::Payload;
use crate::secret::Secret;
use crate::wire::keys::Field;

/// The identity payload. It asks for no alternative names: some systems then refuse the service.
/// <https://developer.apple.com/documentation/devicemanagement/scep>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScepPayload {
    /// `URL`.
    pub url: String,
    /// `Challenge`, good for one enrolment.
    pub challenge: Secret,
    /// The common name that the device asks for; the service decides.
    pub common_name: String,
    /// `Keysize` in bits.
    pub key_size: u32,
    /// `CAFingerprint`: SHA-256 of the authority's certificate (DER).
    pub ca_fingerprint: Option<Vec<u8>>,
}

impl ScepPayload {
    /// RSA of 2048 bits, not extractable.
    pub fn new(url: impl Into<String>, challenge: Secret, common_name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            challenge,
            common_name: common_name.into(),
            key_size: 2048,
            ca_fingerprint: None,
        }
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let mut content = Dictionary::new();
        content.insert("URL".into(), self.url.as_str().into());
        content.insert("Challenge".into(), self.challenge.to_value());
        let name = Value::Array(vec!["CN".into(), self.common_name.as_str().into()]);
        // A list of relative names, each a list of pairs.
        let subject = Value::Array(vec![Value::Array(vec![name])]);
        content.insert("Subject".into(), subject);
        let bits = u64::from(self.key_size);
        content.insert("Keysize".into(), Value::Integer(bits.into()));
        content.insert("Key Type".into(), "RSA".into());
        // 1 signing, 4 encryption.
        content.insert("Key Usage".into(), Value::Integer(5u64.into()));
        content.insert("KeyIsExtractable".into(), false.into());
        content.insert("AllowAllAppsAccess".into(), false.into());
        content.insert("Retries".into(), Value::Integer(3u64.into()));
        content.insert("RetryDelay".into(), Value::Integer(10u64.into()));
        if let Some(fingerprint) = &self.ca_fingerprint {
            content.insert("CAFingerprint".into(), Value::Data(fingerprint.clone()));
        }
        let mut d = Dictionary::new();
        d.insert("PayloadContent".into(), Value::Dictionary(content));
        Payload::new(profile, "com.apple.security.scep", identifier, d)
    }
}
