//! `com.apple.extensiblesso`: single sign-on by an extension, and Platform SSO of a Mac. What the
//! extension itself is told is free.

use std::collections::BTreeMap;

use super::payload_type;
use crate::secret::Secret;
use crate::wire::keys::{Free, record, words};

words! {
    /// How an extension is asked.
    pub enum SsoType {
        /// By hosts, for challenges.
        Credential = "Credential",
        /// By addresses, for requests.
        Redirect = "Redirect",
    }
}

words! {
    /// What becomes of requests while the screen is locked.
    pub enum ScreenLockedBehavior {
        /// They are given up.
        Cancel = "Cancel",
        /// They go on without the extension.
        DoNotHandle = "DoNotHandle",
    }
}

words! {
    /// How a Mac signs its user in.
    pub enum PlatformAuthentication {
        /// With the password of the identity provider.
        Password = "Password",
        /// With a key of the hardware.
        UserSecureEnclaveKey = "UserSecureEnclaveKey",
        /// With a smart card. Since macOS 14.
        SmartCard = "SmartCard",
    }
}

words! {
    /// What a user of the identity provider may do.
    pub enum UserAuthorizationMode {
        /// What every user may.
        Standard = "Standard",
        /// What an administrator may.
        Admin = "Admin",
        /// As the groups say.
        Groups = "Groups",
    }
}

words! {
    /// A rule for an unlocking. Since macOS 15.
    pub enum PlatformLoginPolicy {
        /// The provider is asked, if it answers.
        AttemptAuthentication = "AttemptAuthentication",
        /// The provider must say yes.
        RequireAuthentication = "RequireAuthentication",
        /// It may be without network for a while.
        AllowOfflineGracePeriod = "AllowOfflineGracePeriod",
        /// An account that is not registered yet may be let in for a while.
        AllowAuthenticationGracePeriod = "AllowAuthenticationGracePeriod",
        /// Touch ID or a watch will do, for the locked screen only.
        AllowTouchIdOrWatchForUnlock = "AllowTouchIDOrWatchForUnlock",
    }
}

record! {
    /// Which claims name a new account.
    pub struct TokenToUserMapping {
        optional {
            /// The claim with the short name.
            account_name: String = "AccountName",
            /// The claim with the full name.
            full_name: String = "FullName",
        }
    }
}

record! {
    /// Platform SSO. Since macOS 14.
    pub struct PlatformSso {
        optional {
            /// How the user signs in.
            authentication_method: PlatformAuthentication = "AuthenticationMethod",
            /// All users share one key of the device.
            use_shared_device_keys: bool = "UseSharedDeviceKeys",
            /// The name of the account, as people see it.
            account_display_name: String = "AccountDisplayName",
            /// Seconds until a full login, 3600 at least.
            login_frequency: i64 = "LoginFrequency",
            /// Users are made at the login window.
            enable_create_user_at_login: bool = "EnableCreateUserAtLogin",
            /// Users of the provider may authorise.
            enable_authorization: bool = "EnableAuthorization",
            /// Which claims name a new account.
            token_to_user_mapping: TokenToUserMapping = "TokenToUserMapping",
            /// What a new user may.
            new_user_authorization_mode: UserAuthorizationMode = "NewUserAuthorizationMode",
            /// What a user may.
            user_authorization_mode: UserAuthorizationMode = "UserAuthorizationMode",
            /// Groups whose members are administrators.
            administrator_groups: Vec<String> = "AdministratorGroups",
            /// Groups that are made on the Mac.
            additional_groups: Vec<String> = "AdditionalGroups",
            /// By right: the group that has it.
            authorization_groups: BTreeMap<String, String> = "AuthorizationGroups",
            /// At the unlocking of FileVault. Since macOS 15.
            file_vault_policy: Vec<PlatformLoginPolicy> = "FileVaultPolicy",
            /// At the login window. Since macOS 15.
            login_policy: Vec<PlatformLoginPolicy> = "LoginPolicy",
            /// At the locked screen. Since macOS 15.
            unlock_policy: Vec<PlatformLoginPolicy> = "UnlockPolicy",
            /// Seconds without network. Since macOS 15.
            offline_grace_period: i64 = "OfflineGracePeriod",
            /// Seconds without registration. Since macOS 15.
            authentication_grace_period: i64 = "AuthenticationGracePeriod",
            /// Short names of local accounts for which none of this holds. Since macOS 15.
            non_platform_accounts: Vec<String> = "NonPlatformSSOAccounts",
        }
    }
}

record! {
    /// An extension for single sign-on. Since iOS 13 and macOS 10.15.
    /// <https://developer.apple.com/documentation/devicemanagement/extensiblesinglesignon>
    pub struct SsoPayload {
        new {
            /// The bundle identifier of the extension.
            extension_identifier: String = "ExtensionIdentifier",
            /// How it is asked.
            kind: SsoType = "Type",
        }
        optional {
            /// The team of its developer, needed on a Mac.
            team_identifier: String = "TeamIdentifier",
            /// The realm, for credentials.
            realm: String = "Realm",
            /// What the extension itself is told; free. It may hold secrets.
            extension_data: Free = "ExtensionData",
            /// Beginnings of addresses, for redirects.
            urls: Vec<String> = "URLs",
            /// Hosts, for credentials.
            hosts: Vec<String> = "Hosts",
            /// What happens while the screen is locked.
            screen_locked_behavior: ScreenLockedBehavior = "ScreenLockedBehavior",
            /// Applications that do not use it.
            denied_bundle_identifiers: Vec<String> = "DeniedBundleIdentifiers",
            /// Platform SSO of macOS 13.
            authentication_method: PlatformAuthentication = "AuthenticationMethod",
            /// By which the device registers without its user.
            registration_token: Secret = "RegistrationToken",
            /// Platform SSO. Since macOS 14.
            platform_sso: PlatformSso = "PlatformSSO",
        }
    }
}

payload_type!(SsoPayload = "com.apple.extensiblesso");
