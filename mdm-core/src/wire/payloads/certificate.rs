//! Certificate payloads: a root of trust, an intermediate, or a certificate to encrypt for.

use plist::{Dictionary, Value};
use uuid::Uuid;

use super::profile::Payload;

/// What a certificate in a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateKind {
    /// `com.apple.security.root`: a trusted root.
    Root,
    /// `com.apple.security.pkcs1`: any other certificate, such as the one of an escrow payload.
    Pkcs1,
}

/// A certificate in a profile.
/// <https://developer.apple.com/documentation/devicemanagement/certificateroot>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificatePayload {
    /// What it is for.
    pub kind: CertificateKind,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// `PayloadCertificateFileName`.
    pub file_name: String,
}

impl CertificatePayload {
    /// A trusted root.
    #[must_use]
    pub fn root(der: Vec<u8>) -> Self {
        Self {
            kind: CertificateKind::Root,
            der,
            file_name: "root.cer".into(),
        }
    }

    /// A certificate that others in the profile refer to.
    #[must_use]
    pub fn pkcs1(der: Vec<u8>) -> Self {
        Self {
            kind: CertificateKind::Pkcs1,
            der,
            file_name: "certificate.cer".into(),
        }
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let mut d = Dictionary::new();
        d.insert("PayloadContent".into(), Value::Data(self.der.clone()));
        d.insert(
            "PayloadCertificateFileName".into(),
            self.file_name.as_str().into(),
        );
        let kind = match self.kind {
            CertificateKind::Root => "com.apple.security.root",
            CertificateKind::Pkcs1 => "com.apple.security.pkcs1",
        };
        Payload::new(profile, kind, identifier, d)
    }
}
