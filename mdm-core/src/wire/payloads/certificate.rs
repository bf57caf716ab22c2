//! Certificate payloads: a root of trust, an intermediate, a certificate to encrypt for, an identity
//! with its key.

use uuid::Uuid;

use super::{Payload, payload_type};
use crate::secret::Secret;
use crate::wire::keys::{Keys, SecretData, record};

/// What a certificate in a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateKind {
    /// `com.apple.security.root`: a trusted root.
    Root,
    /// `com.apple.security.pkcs1`: any other certificate, such as the one of an escrow payload.
    Pkcs1,
    /// `com.apple.security.pem`: any other certificate, as PEM.
    Pem,
}

impl CertificateKind {
    /// Its `PayloadType`.
    #[must_use]
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Root => "com.apple.security.root",
            Self::Pkcs1 => "com.apple.security.pkcs1",
            Self::Pem => "com.apple.security.pem",
        }
    }
}

record! {
    /// The keys of each payload with a certificate and no key.
    pub struct Certificate {
        new {
            /// The certificate, DER or (as its kind says) PEM.
            content: Vec<u8> = "PayloadContent",
        }
        optional {
            /// The name of the file, as people see it.
            file_name: String = "PayloadCertificateFileName",
        }
    }
}

/// A certificate in a profile.
/// <https://developer.apple.com/documentation/devicemanagement/certificateroot>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CertificatePayload {
    /// What it is for.
    pub kind: CertificateKind,
    /// The certificate.
    pub certificate: Certificate,
}

impl CertificatePayload {
    /// A trusted root, DER.
    #[must_use]
    pub fn root(der: Vec<u8>) -> Self {
        Self::of(
            CertificateKind::Root,
            Certificate::new(der).file_name("root.cer"),
        )
    }

    /// A certificate (DER) that others in the profile refer to.
    #[must_use]
    pub fn pkcs1(der: Vec<u8>) -> Self {
        Self::of(
            CertificateKind::Pkcs1,
            Certificate::new(der).file_name("certificate.cer"),
        )
    }

    /// Any certificate.
    #[must_use]
    pub fn of(kind: CertificateKind, certificate: Certificate) -> Self {
        Self { kind, certificate }
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let content = self.certificate.to_dictionary();
        Payload::new(profile, self.kind.payload_type(), identifier, content)
    }
}

record! {
    /// An identity with its private key. Better are SCEP and ACME, where the key stays on the device.
    /// <https://developer.apple.com/documentation/devicemanagement/certificatepkcs12>
    pub struct Pkcs12Payload {
        new {
            /// The PKCS#12 file.
            content: SecretData = "PayloadContent",
        }
        optional {
            /// Its password; without one the user is asked.
            password: Secret = "Password",
            /// The name of the file, as people see it.
            file_name: String = "PayloadCertificateFileName",
            /// Every application may use the key, Mac only.
            allow_all_apps_access: bool = "AllowAllAppsAccess",
            /// The user may export the key, Mac only.
            key_is_extractable: bool = "KeyIsExtractable",
        }
    }
}

payload_type!(Pkcs12Payload = "com.apple.security.pkcs12");
