//! `SetRecoveryLock`, `RotateFileVaultKey`, `RestartDevice`.

use plist::{Dictionary, Value};

use crate::secret::Secret;
use crate::wire::command::{secret_text, texts};

/// `SetRecoveryLock`, Mac with Apple silicon.
/// <https://developer.apple.com/documentation/devicemanagement/setrecoverylockcommand>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetRecoveryLock {
    /// `NewPassword`; empty clears the lock.
    pub new_password: Secret,
    /// `CurrentPassword`; a migrated Mac has none, as the system removes the lock at unenrolment.
    pub current_password: Option<Secret>,
}

impl SetRecoveryLock {
    /// Sets the lock on a Mac that has none.
    #[must_use]
    pub fn first(new_password: Secret) -> Self {
        Self {
            new_password,
            current_password: None,
        }
    }

    /// Replaces a lock whose password is known; an empty new one clears it.
    #[must_use]
    pub fn replacing(current_password: Secret, new_password: Secret) -> Self {
        Self {
            new_password,
            current_password: Some(current_password),
        }
    }

    pub(crate) fn write(&self, d: &mut Dictionary) {
        d.insert("NewPassword".into(), secret_text(&self.new_password));
        if let Some(current) = &self.current_password {
            d.insert("CurrentPassword".into(), secret_text(current));
        }
    }
}

/// `RotateFileVaultKey` for the personal recovery key.
/// <https://developer.apple.com/documentation/devicemanagement/rotatefilevaultkeycommand>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotateFileVaultKey {
    /// `FileVaultUnlock.Password`: the recovery key in force, or the password of a user.
    pub unlock: Secret,
    /// `ReplyEncryptionCertificate`, DER: who can open the answer.
    pub reply_certificate: Option<Vec<u8>>,
}

impl RotateFileVaultKey {
    /// Asks for a new key, sent back in an envelope for `reply_certificate` (DER).
    #[must_use]
    pub fn new(unlock: Secret, reply_certificate: Vec<u8>) -> Self {
        Self {
            unlock,
            reply_certificate: Some(reply_certificate),
        }
    }

    pub(crate) fn write(&self, d: &mut Dictionary) {
        let mut unlock = Dictionary::new();
        unlock.insert("Password".into(), secret_text(&self.unlock));
        d.insert("KeyType".into(), "personal".into());
        d.insert("FileVaultUnlock".into(), Value::Dictionary(unlock));
        if let Some(certificate) = &self.reply_certificate {
            let certificate = Value::Data(certificate.clone());
            d.insert("ReplyEncryptionCertificate".into(), certificate);
        }
    }
}

/// `RestartDevice`.
/// <https://developer.apple.com/documentation/devicemanagement/restartdevicecommand>
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RestartDevice {
    /// `NotifyUser`: ask the user first, Mac only.
    pub notify_user: Option<bool>,
    /// `RebuildKernelCache`, Mac only.
    pub rebuild_kernel_cache: Option<bool>,
    /// `KextPaths`, with a rebuild.
    pub kext_paths: Vec<String>,
}

impl RestartDevice {
    pub(crate) fn write(&self, d: &mut Dictionary) {
        if let Some(notify) = self.notify_user {
            d.insert("NotifyUser".into(), notify.into());
        }
        if let Some(rebuild) = self.rebuild_kernel_cache {
            d.insert("RebuildKernelCache".into(), rebuild.into());
        }
        if !self.kext_paths.is_empty() {
            d.insert("KextPaths".into(), texts(&self.kext_paths));
        }
    }
}
