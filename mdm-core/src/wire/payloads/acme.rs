//! `com.apple.security.acme`: how a device gets an identity whose key it vouches for.

use super::{SubjectAltName, payload_type};
use crate::secret::Secret;
use crate::wire::keys::{record, words};

words! {
    /// The kind of key.
    pub enum AcmeKeyType {
        /// RSA, in software only.
        Rsa = "RSA",
        /// A prime curve of the SEC.
        Ec = "ECSECPrimeRandom",
    }
}

record! {
    /// An identity by ACME. The key never leaves the hardware, if it was made there. Since iOS 16 and
    /// macOS 13.1.
    /// <https://developer.apple.com/documentation/devicemanagement/acmecertificate>
    pub struct AcmePayload {
        new {
            /// The directory, by HTTPS.
            directory_url: String = "DirectoryURL",
            /// What the device shows for itself, good for one order.
            client_identifier: Secret = "ClientIdentifier",
            /// The kind of key.
            key_type: AcmeKeyType = "KeyType",
            /// In bits: 256, 384 or 521 for curves (256 or 384 in hardware), 1024 to 4096 for RSA.
            key_size: i64 = "KeySize",
            /// The key is made in the hardware.
            hardware_bound: bool = "HardwareBound",
            /// A list of relative names, each a list of pairs of an identifier and a value.
            subject: Vec<Vec<Vec<String>>> = "Subject",
        }
        optional {
            /// Other names.
            subject_alt_name: SubjectAltName = "SubjectAltName",
            /// 1 signing, 4 encryption.
            usage_flags: i64 = "UsageFlags",
            /// Object identifiers.
            extended_key_usage: Vec<String> = "ExtendedKeyUsage",
            /// Apple's servers vouch for the device and the key; in hardware only. Since macOS 14.
            attest: bool = "Attest",
            /// The user may export the key, Mac only.
            key_is_extractable: bool = "KeyIsExtractable",
            /// Every application may use the key, Mac only.
            allow_all_apps_access: bool = "AllowAllAppsAccess",
        }
    }
}

payload_type!(AcmePayload = "com.apple.security.acme");
