//! Passwords and recovery keys: `ClearPasscode`, firmware password, recovery lock,
//! `RotateFileVaultKey`.

use crate::secret::Secret;
use crate::wire::keys::{SecretData, record, words};

record! {
    /// Removes the passcode of an iPhone or iPad.
    /// <https://developer.apple.com/documentation/devicemanagement/clearpasscodecommand>
    pub struct ClearPasscode {
        new {
            /// As the device sent it with a `TokenUpdate`.
            unlock_token: SecretData = "UnlockToken",
        }
    }
}

record! {
    /// Sets, changes or (with an empty one) clears the firmware password, Mac with Intel only. It
    /// takes effect at a restart, and a second try within 30 seconds fails.
    /// <https://developer.apple.com/documentation/devicemanagement/setfirmwarepasswordcommand>
    pub struct SetFirmwarePassword {
        new {
            /// Printable ASCII; empty clears it.
            new_password: Secret = "NewPassword",
        }
        optional {
            /// The one in force, needed if there is one. It outlives a migration.
            current_password: Secret = "CurrentPassword",
            /// Whether option ROMs run at start.
            allow_oroms: bool = "AllowOroms",
        }
    }
}

record! {
    /// Asks whether this is the firmware password, Mac with Intel only.
    /// <https://developer.apple.com/documentation/devicemanagement/verifyfirmwarepasswordcommand>
    pub struct VerifyFirmwarePassword {
        new {
            /// The password in question.
            password: Secret = "Password",
        }
    }
}

record! {
    /// Sets, changes or clears the password before recoveryOS, Mac with Apple silicon.
    /// <https://developer.apple.com/documentation/devicemanagement/setrecoverylockcommand>
    pub struct SetRecoveryLock {
        first {
            /// Empty clears the lock.
            new_password: Secret = "NewPassword",
        }
        optional {
            /// A migrated Mac has none, as the system removes the lock at unenrolment.
            current_password: Secret = "CurrentPassword",
        }
    }
}

impl SetRecoveryLock {
    /// Replaces a lock whose password is known; an empty new one clears it.
    #[must_use]
    pub fn replacing(current_password: Secret, new_password: Secret) -> Self {
        Self::first(new_password).current_password(current_password)
    }
}

record! {
    /// Asks whether this is the password before recoveryOS.
    /// <https://developer.apple.com/documentation/devicemanagement/verifyrecoverylockcommand>
    pub struct VerifyRecoveryLock {
        new {
            /// The password in question.
            password: Secret = "Password",
        }
    }
}

words! {
    /// Which recovery key is replaced.
    pub enum RecoveryKeyType {
        /// The one of this Mac.
        Personal = "personal",
        /// The one of the organisation, unknown to Macs with Apple silicon.
        Institutional = "institutional",
    }
}

record! {
    /// What unlocks FileVault.
    pub struct FileVaultUnlock {
        optional {
            /// The recovery key in force, or the password of a user.
            password: Secret = "Password",
            /// The private key of the institutional key, PKCS#12. Deprecated.
            private_key_export: SecretData = "PrivateKeyExport",
            /// The password of that export. Deprecated.
            private_key_export_password: Secret = "PrivateKeyExportPassword",
        }
    }
}

record! {
    /// Makes a new recovery key.
    /// <https://developer.apple.com/documentation/devicemanagement/rotatefilevaultkeycommand>
    pub struct RotateFileVaultKey {
        of {
            /// Which key.
            key_type: RecoveryKeyType = "KeyType",
            /// What unlocks the volume.
            unlock: FileVaultUnlock = "FileVaultUnlock",
        }
        optional {
            /// The certificate of the new institutional key, DER.
            new_certificate: Vec<u8> = "NewCertificate",
            /// Who can open the answer, DER. Without it only the escrow payload's reader can.
            reply_certificate: Vec<u8> = "ReplyEncryptionCertificate",
        }
    }
}

impl RotateFileVaultKey {
    /// Asks for a new personal key, sent back in an envelope for `reply_certificate` (DER).
    #[must_use]
    pub fn new(unlock: Secret, reply_certificate: Vec<u8>) -> Self {
        let unlock = FileVaultUnlock::default().password(unlock);
        Self::of(RecoveryKeyType::Personal, unlock).reply_certificate(reply_certificate)
    }
}
