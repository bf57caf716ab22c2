//! Passcodes, certificates, identities, and the enrolment of watches. Written from the table of Apple's keys; refuses nothing.

use std::collections::BTreeMap;

use crate::wire::keys::record;

record! {
    /// `CustomRegex` of `com.apple.configuration.passcode.settings`.
    pub struct PasscodeRegex {
        new {
            /// Text.
            regex: String = "Regex",
        }
        optional {
            /// A dictionary.
            description: BTreeMap<String, String> = "Description",
        }
    }
}

record! {
    /// `com.apple.configuration.passcode.settings`. Since iOS 15.0, macOS 13.0, visionOS 2.0, watchOS 10.0.
    pub struct PasscodeSettings {
        optional {
            /// Yes or no.
            require_passcode: bool = "RequirePasscode",
            /// Yes or no. Since iOS 16.2, macOS 13.1.
            require_alphanumeric_passcode: bool = "RequireAlphanumericPasscode",
            /// Yes or no.
            require_complex_passcode: bool = "RequireComplexPasscode",
            /// A whole number, 0 to 16.
            minimum_length: i64 = "MinimumLength",
            /// A whole number, 0 to 4. Since iOS 16.2, macOS 13.1.
            minimum_complex_characters: i64 = "MinimumComplexCharacters",
            /// A whole number, 2 to 11.
            maximum_failed_attempts: i64 = "MaximumFailedAttempts",
            /// A whole number. Since macOS 13.1.
            failed_attempts_reset_in_minutes: i64 = "FailedAttemptsResetInMinutes",
            /// A whole number.
            maximum_grace_period_in_minutes: i64 = "MaximumGracePeriodInMinutes",
            /// A whole number, 0 to 15.
            maximum_inactivity_in_minutes: i64 = "MaximumInactivityInMinutes",
            /// A whole number, 0 to 730. Since iOS 16.2, macOS 13.1.
            maximum_passcode_age_in_days: i64 = "MaximumPasscodeAgeInDays",
            /// A whole number, 1 to 50.
            passcode_reuse_limit: i64 = "PasscodeReuseLimit",
            /// Yes or no. Since macOS 13.1.
            change_at_next_auth: bool = "ChangeAtNextAuth",
            /// A dictionary. Since macOS 14.0.
            custom_regex: PasscodeRegex = "CustomRegex",
        }
    }
}

record! {
    /// `com.apple.configuration.security.certificate`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct SecurityCertificate {
        new {
            /// Identifier of an asset.
            credential_asset_reference: String = "CredentialAssetReference",
        }
    }
}

record! {
    /// `com.apple.configuration.security.identity`. Since iOS 17.0, macOS 14.0, tvOS 17.0, visionOS 1.1, watchOS 10.0.
    pub struct SecurityIdentity {
        new {
            /// Identifier of an asset.
            credential_asset_reference: String = "CredentialAssetReference",
        }
        optional {
            /// Yes or no.
            allow_all_apps_access: bool = "AllowAllAppsAccess",
            /// Yes or no.
            key_is_extractable: bool = "KeyIsExtractable",
        }
    }
}

record! {
    /// `com.apple.configuration.security.passkey.attestation`. Since iOS 17.0, macOS 14.0.
    pub struct SecurityPasskeyAttestation {
        new {
            /// Identifier of an asset.
            attestation_identity_asset_reference: String = "AttestationIdentityAssetReference",
            /// A list.
            relying_parties: Vec<String> = "RelyingParties",
        }
        optional {
            /// Yes or no.
            attestation_identity_key_is_extractable: bool = "AttestationIdentityKeyIsExtractable",
        }
    }
}

record! {
    /// `com.apple.configuration.watch.enrollment`. Since iOS 17.0.
    pub struct WatchEnrollment {
        new {
            /// An address.
            enrollment_profile_url: String = "EnrollmentProfileURL",
        }
        optional {
            /// A list.
            anchor_certificate_asset_references: Vec<String> = "AnchorCertificateAssetReferences",
        }
    }
}
