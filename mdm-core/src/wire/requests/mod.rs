//! The values of commands, one file per family. Each writes its keys into the command's dictionary;
//! what is `None` is left out, as Apple's defaults are meant to apply.
//!
//! Constructors take what must be there, a method of the key's name sets each other key:
//!
//! ```
//! use mdm_core::wire::command::CommandBody;
//! use mdm_core::wire::requests::DeviceLock;
//!
//! let lock = DeviceLock::default().message("Lost. Please call.").phone_number("+49 30 0000");
//! let body = CommandBody::DeviceLock(lock);
//! assert_eq!(body.request_type(), "DeviceLock");
//! ```
//!
//! Commands that have no keys are variants of [`CommandBody`](super::command::CommandBody) alone.

mod accounts;
mod applications;
mod device;
mod information;
mod managed;
mod manifest;
mod media;
mod profiles;
mod security;
mod settings;
mod updates;

pub use accounts::{
    AccountConfiguration, AdministratorAccount, DeleteUser, SetAutoAdminPassword, UnlockUserAccount,
};
pub use applications::{
    AppAttributes, AppOptions, AppSource, ApplicationKey, ApplyRedemptionCode,
    ChangeManagementState, InstallApplication, InstallEnterpriseApplication,
    InstalledApplicationList, ManagementFlags, PackageSource, PurchaseMethod, RemoveApplication,
};
pub use device::{
    DeclarativeManagement, DeviceLock, EnableLostMode, EraseDevice, LOMDeviceRequest,
    LightsOutAction, LightsOutRequest, ObliterationBehavior, RefreshCellularPlans,
    RequestMirroring, RestartDevice, Restrictions, ReturnToService,
};
pub use information::{DeviceInformation, Query};
pub use managed::{
    ActiveNSExtensions, InviteToProgram, ManagedApplicationAttributes,
    ManagedApplicationConfiguration, ManagedApplicationFeedback, ManagedApplicationList, ProgramId,
    ValidateApplications,
};
pub use manifest::{
    AssetKind, MANIFEST_LIMIT, Manifest, ManifestAsset, ManifestFile, ManifestItem, ManifestKind,
    ManifestMetadata, ManifestProgram,
};
pub use media::{BookKind, InstallMedia, MediaType, RemoveMedia};
pub use profiles::{
    CertificateList, InstallProfile, InstallProvisioningProfile, ProfileList,
    ProvisioningProfileList, RemoveProfile, RemoveProvisioningProfile,
};
pub use security::{
    ClearPasscode, FileVaultUnlock, RecoveryKeyType, RotateFileVaultKey, SetFirmwarePassword,
    SetRecoveryLock, VerifyFirmwarePassword, VerifyRecoveryLock,
};
pub use settings::{
    AccessibilitySettings, ApplicationAttributesSetting, ApplicationConfigurationSetting,
    AwaitUserConfiguration, MdmOptions, OrganizationInfo, OrganizationInfoSetting,
    PasscodeGracePeriod, PasscodePolicy, RecommendationCadence, Setting, Settings,
    SharedDeviceConfiguration, TextSize, Wallpaper, WallpaperPlace,
};
pub use updates::{
    InstallAction, ScheduleOSUpdate, ScheduleOSUpdateScan, UpdatePriority, UpdateRequest,
};

/// The request keys whose content Apple leaves free: command and path. Everything else is typed.
pub const FREE_KEYS: [(&str, &str); 4] = [
    ("InstallApplication", "Configuration"),
    ("InstallEnterpriseApplication", "Configuration"),
    ("InstallEnterpriseApplication", "Manifest"),
    (
        "Settings",
        "Settings[ApplicationConfiguration]/Configuration",
    ),
];
