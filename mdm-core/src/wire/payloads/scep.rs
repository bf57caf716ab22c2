//! `com.apple.security.scep`: how the device gets its identity.

use plist::{Dictionary, Value};
use uuid::Uuid;

use super::Payload;
use crate::secret::Secret;
use crate::wire::keys::{Keys, numbers, record};

record! {
    /// Other names of a certificate.
    pub struct SubjectAltName {
        optional {
            /// An address of mail.
            rfc822_name: String = "rfc822Name",
            /// A host.
            dns_name: String = "dNSName",
            /// An address of the web.
            uniform_resource_identifier: String = "uniformResourceIdentifier",
            /// A user of Active Directory.
            nt_principal_name: String = "ntPrincipalName",
        }
    }
}

numbers! {
    /// Bits of an RSA key.
    pub enum ScepKeySize {
        /// Apple's default, too few.
        Bits1024 = 1024,
        /// Enough.
        Bits2048 = 2048,
        /// Slow.
        Bits4096 = 4096,
    }
}

record! {
    /// The identity payload; its keys are one level deeper than those of other payloads.
    /// <https://developer.apple.com/documentation/devicemanagement/scep>
    pub struct ScepPayload {
        of {
            /// Where certificates are issued.
            url: String = "URL",
        }
        optional {
            /// The instance, sent as `message` when the authority's certificate is asked for.
            name: String = "Name",
            /// Good for one enrolment.
            challenge: Secret = "Challenge",
            /// A list of relative names, each a list of pairs. The service decides.
            subject: Vec<Vec<Vec<String>>> = "Subject",
            /// Other names.
            subject_alt_name: SubjectAltName = "SubjectAltName",
            /// Bits.
            key_size: ScepKeySize = "Keysize",
            /// Always `RSA`.
            key_type: String = "Key Type",
            /// 1 signing, 4 encryption.
            key_usage: i64 = "Key Usage",
            /// The user may export the key, Mac only.
            key_is_extractable: bool = "KeyIsExtractable",
            /// Every application may use the key, Mac only.
            allow_all_apps_access: bool = "AllowAllAppsAccess",
            /// How often the device comes back for a certificate that is not issued yet.
            retries: i64 = "Retries",
            /// Seconds in between.
            retry_delay: i64 = "RetryDelay",
            /// The hash of the authority's certificate (DER): its length says which.
            ca_fingerprint: Vec<u8> = "CAFingerprint",
        }
    }
}

impl ScepPayload {
    /// `com.apple.security.scep`.
    pub const TYPE: &'static str = "com.apple.security.scep";

    /// RSA of 2048 bits, not extractable, for signing and encryption. It asks for no alternative
    /// names: some systems then refuse the service.
    pub fn new(url: impl Into<String>, challenge: Secret, common_name: impl Into<String>) -> Self {
        Self::without_challenge(url, common_name).challenge(challenge)
    }

    /// The same for a server that demands no challenge.
    pub fn without_challenge(url: impl Into<String>, common_name: impl Into<String>) -> Self {
        let common_name = vec!["CN".to_owned(), common_name.into()];
        Self::of(url)
            .subject([vec![common_name]])
            .key_size(ScepKeySize::Bits2048)
            .key_type("RSA")
            .key_usage(5)
            .key_is_extractable(false)
            .allow_all_apps_access(false)
            .retries(3)
            .retry_delay(10)
    }

    /// As a payload of a profile.
    #[must_use]
    pub fn payload(&self, profile: Uuid, identifier: &str) -> Payload {
        let mut d = Dictionary::new();
        let content = Value::Dictionary(self.to_dictionary());
        d.insert("PayloadContent".into(), content);
        Payload::new(profile, Self::TYPE, identifier, d)
    }
}
