//! Turning FileVault on, and keeping it on. Who gets the recovery key says the escrow payload.

use uuid::Uuid;

use super::payload_type;
use crate::secret::Secret;
use crate::wire::keys::{record, words};

words! {
    /// Whether FileVault is turned on. Taking the payload away does not turn it off.
    pub enum FileVaultSwitch {
        /// It is.
        On = "On",
        /// It is not.
        Off = "Off",
    }
}

record! {
    /// FileVault. It needs a device that is supervised or a management that the user approved.
    /// <https://developer.apple.com/documentation/devicemanagement/fdefilevault>
    pub struct FileVaultPayload {
        new {
            /// Whether it is turned on.
            enable: FileVaultSwitch = "Enable",
        }
        optional {
            /// Not now but when the user logs out or in; needed where no password is given.
            defer: bool = "Defer",
            /// How often the user may say *later* at the login: 0 never, -1 always. Since macOS 10.14.
            max_bypass_attempts: i64 = "DeferForceAtUserLoginMaxBypassAttempts",
            /// The user is not asked at the logout.
            dont_ask_at_logout: bool = "DeferDontAskAtUserLogout",
            /// In Setup Assistant, during the hold and before `DeviceConfigured`. Since macOS 14.
            force_in_setup_assistant: bool = "ForceEnableInSetupAssistant",
            /// A recovery key of this Mac is made.
            use_recovery_key: bool = "UseRecoveryKey",
            /// The user sees it.
            show_recovery_key: bool = "ShowRecoveryKey",
            /// The user is asked for what is missing, in a manual installation.
            user_enters_missing_info: bool = "UserEntersMissingInfo",
            /// The short name of the user who is let in.
            username: String = "Username",
            /// The password of that user.
            password: Secret = "Password",
            /// Where the recovery key is written to, as a property list.
            output_path: String = "OutputPath",
            /// The certificate of the institutional key, DER. Not with Apple silicon.
            certificate: Vec<u8> = "Certificate",
            /// The payload with that certificate.
            certificate_uuid: Uuid = "PayloadCertificateUUID",
            /// The institutional key is in the keychain of the system.
            use_keychain: bool = "UseKeychain",
        }
    }
}

payload_type!(FileVaultPayload = "com.apple.MCX.FileVault2");

record! {
    /// Whether the user may turn FileVault on or off.
    /// <https://developer.apple.com/documentation/devicemanagement/fdefilevaultoptions>
    pub struct FileVaultOptionsPayload {
        optional {
            /// The user cannot turn it off.
            dont_allow_disable: bool = "dontAllowFDEDisable",
            /// The user cannot turn it on.
            dont_allow_enable: bool = "dontAllowFDEEnable",
            /// The key is forgotten when the Mac sleeps.
            destroy_key_on_standby: bool = "DestroyFVKeyOnStandby",
        }
    }
}

payload_type!(FileVaultOptionsPayload = "com.apple.MCX");
