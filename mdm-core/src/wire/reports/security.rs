//! The answers to `SecurityInfo`, `RotateFileVaultKey` and the commands for passwords.

use crate::wire::keys::{Field, Withheld, answer, words};
use crate::wire::report::CommandReport;

answer! {
    /// The answer to `SecurityInfo`.
    /// <https://developer.apple.com/documentation/devicemanagement/securityinforesponse>
    pub struct SecurityInfoAnswer {
        /// What is told.
        security_info: SecurityInfo = "SecurityInfo",
    }
}

answer! {
    /// `SecurityInfo`.
    /// <https://developer.apple.com/documentation/devicemanagement/securityinforesponse>
    pub struct SecurityInfo {
        @part {
            /// The state of FileVault; on other devices than a Mac every field is absent.
            file_vault: FileVaultInfo,
        }
        /// 1 blocks, 2 files, 3 both. Not on a Mac.
        hardware_encryption_caps: i64 = "HardwareEncryptionCaps",
        /// There is a passcode. Not on a Mac.
        passcode_present: bool = "PasscodePresent",
        /// The passcode is as all rules want it, those of accounts too. Not on a Mac.
        passcode_compliant: bool = "PasscodeCompliant",
        /// The passcode is as the profiles want it. Not on a Mac.
        passcode_compliant_with_profiles: bool = "PasscodeCompliantWithProfiles",
        /// Seconds, as the user chose. Not on a Mac.
        passcode_lock_grace_period: i64 = "PasscodeLockGracePeriod",
        /// Seconds, as is enforced. Not on a Mac.
        passcode_lock_grace_period_enforced: i64 = "PasscodeLockGracePeriodEnforced",
        /// Seconds until the screen locks, Shared iPad only.
        auto_lock_time: i64 = "AutoLockTime",
        /// System Integrity Protection is on, Mac only.
        system_integrity_protection: bool = "SystemIntegrityProtectionEnabled",
        /// The firewall, Mac only.
        firewall: FirewallSettings = "FirewallSettings",
        /// The firmware password, Mac with Intel only.
        firmware_password: FirmwarePasswordStatus = "FirmwarePasswordStatus",
        /// How the device is managed.
        management: ManagementStatus = "ManagementStatus",
        /// How the Mac starts.
        secure_boot: SecureBoot = "SecureBoot",
        /// Remote Desktop is on, Mac only.
        remote_desktop_enabled: bool = "RemoteDesktopEnabled",
        /// The system volume is sealed, Mac only.
        authenticated_root_volume: bool = "AuthenticatedRootVolumeEnabled",
        /// Whether the bootstrap token works for authentication. Since macOS 11.
        bootstrap_token_allowed: BootstrapTokenAllowed = "BootstrapTokenAllowedForAuthentication",
        /// Updates need the bootstrap token. Since macOS 11.
        bootstrap_token_required_for_software_update: bool = "BootstrapTokenRequiredForSoftwareUpdate",
        /// Kernel extensions need the bootstrap token. Since macOS 11.
        bootstrap_token_required_for_kernel_extensions: bool = "BootstrapTokenRequiredForKernelExtensionApproval",
        /// There is a password before recoveryOS. Since macOS 11.5.
        is_recovery_lock_enabled: bool = "IsRecoveryLockEnabled",
    }
}

answer! {
    /// The keys about FileVault.
    pub struct FileVaultInfo {
        /// It is on.
        enabled: bool = "FDE_Enabled",
        /// There is a recovery key of this Mac.
        has_personal_recovery_key: bool = "FDE_HasPersonalRecoveryKey",
        /// There is a recovery key of the organisation.
        has_institutional_recovery_key: bool = "FDE_HasInstitutionalRecoveryKey",
        /// The envelope came: see [`CommandReport::recovery_key_envelope`].
        recovery_key_envelope: Withheld = "FDE_PersonalRecoveryKeyCMS",
        /// The serial number or the payload's `DeviceKey`.
        device_key: String = "FDE_PersonalRecoveryKeyDeviceKey",
    }
}

answer! {
    /// The firewall of a Mac.
    pub struct FirewallSettings {
        /// It is on.
        enabled: bool = "FirewallEnabled",
        /// Nothing comes in.
        block_all_incoming: bool = "BlockAllIncoming",
        /// The Mac does not answer probes.
        stealth_mode: bool = "StealthMode",
        /// What may come in.
        applications: Vec<FirewallApplication> = "Applications",
        /// It keeps a log.
        logging_enabled: bool = "LoggingEnabled",
        /// How much.
        logging_option: FirewallLogging = "LoggingOption",
    }
}

words! {
    /// How much a firewall logs.
    pub enum FirewallLogging {
        /// The least.
        Throttled = "throttled",
        /// Some.
        Brief = "brief",
        /// The most.
        Detail = "detail",
    }
}

answer! {
    /// One application behind the firewall.
    pub struct FirewallApplication {
        /// It may be called from outside.
        allowed: bool = "Allowed",
        /// The bundle identifier.
        bundle_id: String = "BundleID",
        /// The name.
        name: String = "Name",
    }
}

answer! {
    /// The firmware password of a Mac with Intel.
    pub struct FirmwarePasswordStatus {
        /// There is one.
        password_exists: bool = "PasswordExists",
        /// A change waits for the restart.
        change_pending: bool = "ChangePending",
        /// Option ROMs run.
        allow_oroms: bool = "AllowOroms",
    }
}

answer! {
    /// How the device is managed.
    pub struct ManagementStatus {
        /// By assignment.
        enrolled_via_assignment: bool = "EnrolledViaDEP",
        /// The user approved it, or it needed no approval.
        user_approved: bool = "UserApprovedEnrollment",
        /// By a user's enrolment, with data kept apart.
        is_user_enrolment: bool = "IsUserEnrollment",
        /// The service may manage Activation Lock.
        is_activation_lock_manageable: bool = "IsActivationLockManageable",
    }
}

words! {
    /// How strictly a Mac checks what it starts.
    pub enum SecureBootLevel {
        /// Not at all.
        Off = "off",
        /// Signed once.
        Medium = "medium",
        /// Signed and current.
        Full = "full",
        /// It cannot.
        NotSupported = "not supported",
    }
}

words! {
    /// Whether a Mac starts from other volumes.
    pub enum ExternalBootLevel {
        /// It does.
        Allowed = "allowed",
        /// It does not.
        Disallowed = "disallowed",
        /// It cannot say.
        NotSupported = "not supported",
    }
}

words! {
    /// A way in which the start of a Mac with Apple silicon was made less strict.
    pub enum ReducedSecurity {
        /// Any system that Apple signed.
        AllowsAnyAppleSignedOs = "AllowsAnyAppleSignedOS",
        /// The user may approve kernel extensions.
        AllowsUserKextApproval = "AllowsUserKextApproval",
        /// The service may approve kernel extensions and updates.
        AllowsMdm = "AllowsMDM",
    }
}

words! {
    /// Whether the bootstrap token works for authentication.
    pub enum BootstrapTokenAllowed {
        /// It does.
        Allowed = "allowed",
        /// It does not.
        Disallowed = "disallowed",
        /// The Mac cannot.
        NotSupported = "not supported",
    }
}

answer! {
    /// How a Mac starts.
    pub struct SecureBoot {
        /// How strictly.
        level: SecureBootLevel = "SecureBootLevel",
        /// From where.
        external_boot: ExternalBootLevel = "ExternalBootLevel",
        /// With Apple silicon, at `medium` only.
        reduced_security: Vec<ReducedSecurity> = "ReducedSecurity",
    }
}

answer! {
    /// The answer to `RotateFileVaultKey`.
    /// <https://developer.apple.com/documentation/devicemanagement/rotatefilevaultkeyresponse>
    pub struct RotateFileVaultKeyAnswer {
        /// What came of it.
        result: RotateResult = "RotateResult",
    }
}

answer! {
    /// The result of a rotation.
    pub struct RotateResult {
        /// See [`CommandReport::recovery_key_envelope`]. Without it, `SecurityInfo` has the new one.
        envelope: Withheld = "EncryptedNewRecoveryKey",
    }
}

answer! {
    /// The answer to `SetFirmwarePassword`.
    /// <https://developer.apple.com/documentation/devicemanagement/setfirmwarepasswordresponse>
    pub struct SetFirmwarePasswordAnswer {
        /// What came of it.
        result: FirmwarePasswordChange = "SetFirmwarePassword",
    }
}

answer! {
    /// The result of a change.
    pub struct FirmwarePasswordChange {
        /// It will be in force after the restart.
        changed: bool = "PasswordChanged",
    }
}

answer! {
    /// The answer to `VerifyFirmwarePassword`.
    /// <https://developer.apple.com/documentation/devicemanagement/verifyfirmwarepasswordresponse>
    pub struct VerifyFirmwarePasswordAnswer {
        /// What came of it.
        result: PasswordCheck = "VerifyFirmwarePassword",
    }
}

answer! {
    /// The result of a check.
    pub struct PasswordCheck {
        /// It is the one in force.
        verified: bool = "PasswordVerified",
    }
}

answer! {
    /// The answer to `VerifyRecoveryLock`.
    /// <https://developer.apple.com/documentation/devicemanagement/verifyrecoverylockresponse>
    pub struct VerifyRecoveryLockAnswer {
        /// It is the one in force.
        verified: bool = "PasswordVerified",
    }
}

impl CommandReport {
    /// The view of a `SecurityInfo` answer.
    #[must_use]
    pub fn security_info(&self) -> Option<SecurityInfo> {
        Some(SecurityInfo::of_value(self.redacted().get("SecurityInfo")?)?.0)
    }

    /// The answer to `VerifyRecoveryLock`: whether the password is the one in force.
    #[must_use]
    pub fn recovery_lock_verified(&self) -> Option<bool> {
        self.redacted().get("PasswordVerified")?.as_boolean()
    }

    /// Whether this answers a key rotation. The new key's envelope, if it came, is
    /// [`CommandReport::recovery_key_envelope`]; if not, `SecurityInfo` has it.
    #[must_use]
    pub fn is_rotation_answer(&self) -> bool {
        self.redacted().contains_key("RotateResult")
    }
}
