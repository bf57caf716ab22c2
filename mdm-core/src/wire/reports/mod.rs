//! Typed views of the answers to commands, one file per family; all of them in [`Answer`].
//!
//! A view is optional in every field: devices leave out what they do not know or may not tell, and
//! an absent key is never read as false. A view of a report that answers something else is `None`.
//! What a view does not know stays in its `other`, so that nothing of an answer is lost. Secrets
//! are no part of a view: they were lifted out before, and [`Withheld`](super::keys::Withheld)
//! stands in their place.

mod answer;
mod applications;
mod caching;
mod device;
mod information;
mod managed;
mod media;
mod profiles;
mod secrets;
mod security;
mod settings;
mod updates;
mod users;

pub use answer::Answer;
pub use applications::{
    InstallAnswer, InstalledApplication, InstalledApplicationListAnswer, ManagedApplication,
    ManagedApplicationListAnswer,
};
pub use caching::{
    ContentCachingAlert, ContentCachingCapabilities, ContentCachingError,
    ContentCachingInformationAnswer, ContentCachingNetwork, ContentCachingPeer,
    ContentCachingPeerDetails, ContentCachingRegistration, ContentCachingStatus,
    ContentCachingTraffic,
};
pub use device::{
    ActivationLockBypassCodeAnswer, DeviceLocationAnswer, DeviceLockAnswer, LOMDeviceRequestAnswer,
    LOMSetupRequestAnswer, LightsOutResult, RequestMirroringAnswer, RequestUnlockTokenAnswer,
    RestrictedBool, RestrictedTexts, RestrictedValue, RestrictionSet, RestrictionsAnswer,
};
pub use information::{
    AccessibilityState, AutoSetupAdminAccount, CellularTechnology, DeviceInformation,
    DeviceInformationAnswer, NetworkInformation, OSUpdateSettings, RecommendedUpdates,
    ServiceSubscription, SharedIpadInformation,
};
pub use managed::{
    ActiveNSExtensionsAnswer, AttributesOfApplication, ConfigurationOfApplication, Extension,
    FeedbackOfApplication, InvitationResult, InviteToProgramAnswer,
    ManagedApplicationAttributesAnswer, ManagedApplicationConfigurationAnswer,
    ManagedApplicationFeedbackAnswer, NSExtensionMappingsAnswer, UserElection,
};
pub use media::{InstallMediaAnswer, ManagedBook, ManagedMediaListAnswer};
pub use profiles::{
    CertificateListAnswer, InstalledCertificate, InstalledPayload, InstalledProfile,
    ProfileListAnswer, ProvisioningProfile, ProvisioningProfileListAnswer,
};
pub use secrets::{SECRET_ANSWER_KEYS, SecretAnswerKey};
pub use security::{
    BootstrapTokenAllowed, ExternalBootLevel, FileVaultInfo, FirewallApplication, FirewallLogging,
    FirewallSettings, FirmwarePasswordChange, FirmwarePasswordStatus, ManagementStatus,
    PasswordCheck, ReducedSecurity, RotateFileVaultKeyAnswer, RotateResult, SecureBoot,
    SecureBootLevel, SecurityInfo, SecurityInfoAnswer, SetFirmwarePasswordAnswer,
    VerifyFirmwarePasswordAnswer, VerifyRecoveryLockAnswer,
};
pub use settings::{ErrorLink, SettingResult, SettingsAnswer};
pub use updates::{
    AvailableOSUpdatesAnswer, AvailableUpdate, OSUpdateStatusAnswer, ScheduleOSUpdateAnswer,
    ScheduleOSUpdateScanAnswer, UpdateResult, UpdateStatus,
};
pub use users::{DeviceUser, UserListAnswer};

#[cfg(test)]
mod tests;
