//! The answers to `SecurityInfo`, `RotateFileVaultKey` and `VerifyRecoveryLock`.

use plist::{Dictionary, Value};

use super::{boolean, text};
use crate::wire::report::CommandReport;

/// `SecurityInfo`. The recovery key's envelope is not here:
/// see [`CommandReport::recovery_key_envelope`].
/// <https://developer.apple.com/documentation/devicemanagement/securityinforesponse>
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SecurityInfo {
    /// The state of FileVault; on other devices than a Mac every field is absent.
    pub file_vault: FileVaultInfo,
    /// `ManagementStatus`.
    pub management: ManagementStatus,
    /// `BootstrapTokenAllowedForAuthentication`: `allowed`, `disallowed` or `not supported`.
    pub bootstrap_token_allowed: Option<String>,
    /// `IsRecoveryLockEnabled`.
    pub is_recovery_lock_enabled: Option<bool>,
    /// `FirmwarePasswordStatus.PasswordExists`.
    pub firmware_password_exists: Option<bool>,
    /// `PasscodePresent`.
    pub passcode_present: Option<bool>,
    /// The dictionary as received, with a mark in the place of each secret.
    pub all: Dictionary,
}

/// The keys about FileVault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileVaultInfo {
    /// `FDE_Enabled`.
    pub enabled: Option<bool>,
    /// `FDE_HasPersonalRecoveryKey`.
    pub has_personal_recovery_key: Option<bool>,
    /// `FDE_HasInstitutionalRecoveryKey`.
    pub has_institutional_recovery_key: Option<bool>,
    /// `FDE_PersonalRecoveryKeyDeviceKey`: the serial number or the payload's `DeviceKey`.
    pub device_key: Option<String>,
}

/// How the device is managed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagementStatus {
    /// `EnrolledViaDEP`.
    pub enrolled_via_assignment: Option<bool>,
    /// `UserApprovedEnrollment`.
    pub user_approved: Option<bool>,
    /// `IsUserEnrollment`.
    pub is_user_enrolment: Option<bool>,
    /// `IsActivationLockManageable`.
    pub is_activation_lock_manageable: Option<bool>,
}

impl CommandReport {
    /// The view of a `SecurityInfo` answer.
    #[must_use]
    pub fn security_info(&self) -> Option<SecurityInfo> {
        let all = self.redacted().get("SecurityInfo")?.as_dictionary()?;
        let inner = |key: &str| all.get(key).and_then(Value::as_dictionary);
        let management = inner("ManagementStatus");
        let managed = |key: &str| management.and_then(|m| boolean(m, key));
        Some(SecurityInfo {
            file_vault: FileVaultInfo {
                enabled: boolean(all, "FDE_Enabled"),
                has_personal_recovery_key: boolean(all, "FDE_HasPersonalRecoveryKey"),
                has_institutional_recovery_key: boolean(all, "FDE_HasInstitutionalRecoveryKey"),
                device_key: text(all, "FDE_PersonalRecoveryKeyDeviceKey"),
            },
            management: ManagementStatus {
                enrolled_via_assignment: managed("EnrolledViaDEP"),
                user_approved: managed("UserApprovedEnrollment"),
                is_user_enrolment: managed("IsUserEnrollment"),
                is_activation_lock_manageable: managed("IsActivationLockManageable"),
            },
            bootstrap_token_allowed: text(all, "BootstrapTokenAllowedForAuthentication"),
            is_recovery_lock_enabled: boolean(all, "IsRecoveryLockEnabled"),
            firmware_password_exists: inner("FirmwarePasswordStatus")
                .and_then(|f| boolean(f, "PasswordExists")),
            passcode_present: boolean(all, "PasscodePresent"),
            all: all.clone(),
        })
    }

    /// The answer to `VerifyRecoveryLock`: whether the password is the one in force.
    #[must_use]
    pub fn recovery_lock_verified(&self) -> Option<bool> {
        boolean(self.redacted(), "PasswordVerified")
    }

    /// Whether this answers a key rotation. The new key's envelope, if it came, is
    /// [`CommandReport::recovery_key_envelope`]; if not, `SecurityInfo` has it.
    #[must_use]
    pub fn is_rotation_answer(&self) -> bool {
        self.redacted().contains_key("RotateResult")
    }
}
