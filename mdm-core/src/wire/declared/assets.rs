//! Assets: what configurations refer to. The file of one is fetched by the device. Written from the table of Apple's keys; refuses nothing.

use crate::wire::keys::{record, words};

record! {
    /// `Reference` of `com.apple.asset.credential.acme`.
    pub struct Reference {
        new {
            /// An address.
            data_url: String = "DataURL",
        }
        optional {
            /// Text.
            content_type: String = "ContentType",
            /// A whole number.
            size: i64 = "Size",
            /// Text.
            hash_sha256: String = "Hash-SHA-256",
        }
    }
}

words! {
    /// What `Type` may be.
    pub enum AuthenticationType {
        /// One of them.
        Mdm = "MDM",
        /// One of them.
        None = "None",
    }
}

record! {
    /// `Authentication` of `com.apple.asset.credential.acme`.
    pub struct Authentication {
        new {
            /// One of a closed set.
            kind: AuthenticationType = "Type",
        }
    }
}

words! {
    /// What `Accessible` may be.
    pub enum Accessible {
        /// One of them.
        Default = "Default",
        /// One of them.
        AfterFirstUnlock = "AfterFirstUnlock",
    }
}

record! {
    /// `com.apple.asset.credential.acme`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct CredentialAcmeAsset {
        new {
            /// A dictionary.
            reference: Reference = "Reference",
        }
        optional {
            /// A dictionary.
            authentication: Authentication = "Authentication",
            /// One of a closed set.
            accessible: Accessible = "Accessible",
        }
    }
}

record! {
    /// `com.apple.asset.credential.certificate`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct CredentialCertificateAsset {
        new {
            /// A dictionary.
            reference: Reference = "Reference",
        }
        optional {
            /// A dictionary.
            authentication: Authentication = "Authentication",
        }
    }
}

record! {
    /// `com.apple.asset.credential.identity`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct CredentialIdentityAsset {
        new {
            /// A dictionary.
            reference: Reference = "Reference",
        }
        optional {
            /// A dictionary.
            authentication: Authentication = "Authentication",
            /// One of a closed set.
            accessible: Accessible = "Accessible",
        }
    }
}

record! {
    /// `com.apple.asset.credential.scep`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct CredentialScepAsset {
        new {
            /// A dictionary.
            reference: Reference = "Reference",
        }
        optional {
            /// A dictionary.
            authentication: Authentication = "Authentication",
            /// One of a closed set.
            accessible: Accessible = "Accessible",
        }
    }
}

record! {
    /// `com.apple.asset.credential.userpassword`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct UserPasswordAsset {
        new {
            /// A dictionary.
            reference: Reference = "Reference",
        }
        optional {
            /// A dictionary. Since iOS 17.0, macOS 14.0, tvOS 17.0, watchOS 10.0.
            authentication: Authentication = "Authentication",
        }
    }
}

record! {
    /// `com.apple.asset.data`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct DataAsset {
        new {
            /// A dictionary.
            reference: Reference = "Reference",
        }
        optional {
            /// A dictionary.
            authentication: Authentication = "Authentication",
        }
    }
}

record! {
    /// `com.apple.asset.useridentity`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct UserIdentity {
        optional {
            /// Text.
            full_name: String = "FullName",
            /// Text.
            email_address: String = "EmailAddress",
        }
    }
}
