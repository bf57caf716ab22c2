//! Files of credential assets. They hold secrets, and are shown to nobody but the device that fetches them. Written from the table of Apple's keys; refuses nothing.

use crate::secret::Secret;
use crate::wire::keys::{numbers, record, words};

words! {
    /// What `KeyType` may be.
    pub enum AcmeKeyType {
        /// One of them.
        Rsa = "RSA",
        /// One of them.
        EcSecPrimeRandom = "ECSECPrimeRandom",
    }
}

record! {
    /// `SubjectAltName` of `acme`.
    pub struct SubjectAltName {
        optional {
            /// Text.
            rfc822_name: String = "rfc822Name",
            /// Text.
            dns_name: String = "dNSName",
            /// Text.
            uniform_resource_identifier: String = "uniformResourceIdentifier",
            /// Text.
            nt_principal_name: String = "ntPrincipalName",
        }
    }
}

record! {
    /// `acme`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct AcmeCredential {
        new {
            /// An address.
            directory_url: String = "DirectoryURL",
            /// Text.
            client_identifier: Secret = "ClientIdentifier",
            /// A whole number.
            key_size: i64 = "KeySize",
            /// One of a closed set.
            key_type: AcmeKeyType = "KeyType",
            /// Yes or no.
            hardware_bound: bool = "HardwareBound",
            /// A list.
            subject: Vec<Vec<Vec<String>>> = "Subject",
        }
        optional {
            /// A dictionary.
            subject_alt_name: SubjectAltName = "SubjectAltName",
            /// A whole number.
            usage_flags: i64 = "UsageFlags",
            /// A list.
            extended_key_usage: Vec<String> = "ExtendedKeyUsage",
            /// Yes or no.
            attest: bool = "Attest",
        }
    }
}

record! {
    /// `identity`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct IdentityCredential {
        new {
            /// Text.
            password: Secret = "Password",
            /// Bytes, as base64.
            identity: Secret = "Identity",
        }
    }
}

numbers! {
    /// What `Keysize` may be.
    pub enum ScepKeySize {
        /// One of them.
        Bits1024 = 1024,
        /// One of them.
        Bits2048 = 2048,
        /// One of them.
        Bits4096 = 4096,
    }
}

record! {
    /// `scep`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct ScepCredential {
        new {
            /// An address.
            url: String = "URL",
        }
        optional {
            /// Text.
            name: String = "Name",
            /// A list.
            subject: Vec<Vec<Vec<String>>> = "Subject",
            /// Text.
            challenge: Secret = "Challenge",
            /// A whole number.
            keysize: ScepKeySize = "Keysize",
            /// Text.
            key_type: String = "Key Type",
            /// A whole number.
            key_usage: i64 = "Key Usage",
            /// Bytes, as base64.
            ca_fingerprint: String = "CAFingerprint",
            /// A whole number.
            retries: i64 = "Retries",
            /// A whole number.
            retry_delay: i64 = "RetryDelay",
            /// A dictionary.
            subject_alt_name: SubjectAltName = "SubjectAltName",
        }
    }
}

record! {
    /// `usernameandpassword`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct UserNameAndPassword {
        new {
            /// Text.
            user_name: String = "UserName",
        }
        optional {
            /// Text.
            password: Secret = "Password",
        }
    }
}
