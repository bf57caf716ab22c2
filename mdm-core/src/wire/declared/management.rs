//! Activations, what a device is told of its management, legacy profiles, subscriptions. Written from the table of Apple's keys; refuses nothing.

use crate::wire::keys::{Free, one_of, record, words};

record! {
    /// `com.apple.activation.simple`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct SimpleActivation {
        new {
            /// A list.
            standard_configurations: Vec<String> = "StandardConfigurations",
        }
        optional {
            /// Text.
            predicate: String = "Predicate",
        }
    }
}

one_of! {
    /// Which profile: exactly one of these keys.
    pub enum LegacyProfile {
        /// An address.
        ProfileUrl(String) = "ProfileURL",
        /// Identifier of an asset. Since iOS 27.0, macOS 27.0.
        ProfileAssetReference(String) = "ProfileAssetReference",
    }
}

record! {
    /// `com.apple.configuration.legacy`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct LegacyConfiguration {
        new {
        }
        choice {
            /// Which profile.
            profile: LegacyProfile,
        }
    }
}

record! {
    /// `com.apple.configuration.legacy.interactive`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1.
    pub struct InteractiveLegacyConfiguration {
        new {
            /// An address.
            profile_url: String = "ProfileURL",
            /// Text.
            visible_name: String = "VisibleName",
        }
    }
}

record! {
    /// `StatusItems` of `com.apple.configuration.management.status-subscriptions`.
    pub struct Subscription {
        new {
            /// Text.
            name: String = "Name",
        }
    }
}

record! {
    /// `com.apple.configuration.management.status-subscriptions`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct StatusSubscriptions {
        new {
            /// A list.
            status_items: Vec<Subscription> = "StatusItems",
        }
    }
}

words! {
    /// What `ReturnStatus` may be.
    pub enum TestStatus {
        /// One of them.
        Installed = "Installed",
        /// One of them.
        Failed = "Failed",
        /// One of them.
        Unlocked = "Unlocked",
    }
}

record! {
    /// `com.apple.configuration.management.test`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct TestConfiguration {
        new {
            /// Text.
            echo: String = "Echo",
        }
        optional {
            /// Identifier of an asset. Since iOS 17.0, macOS 14.0, tvOS 17.0.
            echo_data_asset_reference: String = "EchoDataAssetReference",
            /// One of a closed set.
            return_status: TestStatus = "ReturnStatus",
        }
    }
}

record! {
    /// `Proof` of `com.apple.management.organization-info`.
    pub struct OrganizationProof {
        optional {
            /// Text.
            identity_token: String = "IdentityToken",
        }
    }
}

record! {
    /// `com.apple.management.organization-info`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct OrganizationInfo {
        new {
            /// Text.
            name: String = "Name",
        }
        optional {
            /// Text.
            email: String = "Email",
            /// An address.
            url: String = "URL",
            /// A dictionary.
            proof: OrganizationProof = "Proof",
        }
    }
}

record! {
    /// `com.apple.management.server-capabilities`. Since iOS 15.0, macOS 13.0, tvOS 16.0, visionOS 1.1, watchOS 10.0.
    pub struct ServerCapabilities {
        new {
            /// Text.
            version: String = "Version",
            /// A dictionary.
            supported_features: Free = "SupportedFeatures",
        }
    }
}
