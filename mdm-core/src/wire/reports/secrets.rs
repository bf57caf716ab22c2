//! Which answers carry secrets, and under which keys. They are lifted out when a report is read,
//! before anything else sees it.

use crate::secret::SecretKind;

/// A key of an answer that carries a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretAnswerKey {
    /// The `RequestType` of the command.
    pub request_type: &'static str,
    /// Where it stands: keys parted by `/`, `[]` for the items of an array, `*` for any key.
    pub path: &'static str,
    /// What it is.
    pub kind: SecretKind,
}

impl SecretAnswerKey {
    /// The last key of the path: wherever it stands in a message, its value is lifted out.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

const fn of(request_type: &'static str, path: &'static str, kind: SecretKind) -> SecretAnswerKey {
    SecretAnswerKey {
        request_type,
        path,
        kind,
    }
}

/// Every key of Apple's answers that carries a secret.
pub const SECRET_ANSWER_KEYS: [SecretAnswerKey; 6] = [
    of(
        "ActivationLockBypassCode",
        "ActivationLockBypassCode",
        SecretKind::DeviceBypassCode,
    ),
    // What was sent to an application often is a password, and comes back as it was sent.
    of(
        "ManagedApplicationConfiguration",
        "ApplicationConfigurations[]/Configuration",
        SecretKind::AppConfiguration,
    ),
    of(
        "ManagedApplicationList",
        "ManagedApplicationList/*/UnusedRedemptionCode",
        SecretKind::RedemptionCode,
    ),
    of("RequestUnlockToken", "UnlockToken", SecretKind::UnlockToken),
    of(
        "RotateFileVaultKey",
        "RotateResult/EncryptedNewRecoveryKey",
        SecretKind::RecoveryKeyEnvelope,
    ),
    of(
        "SecurityInfo",
        "SecurityInfo/FDE_PersonalRecoveryKeyCMS",
        SecretKind::RecoveryKeyEnvelope,
    ),
];
