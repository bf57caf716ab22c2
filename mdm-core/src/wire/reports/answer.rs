//! The answer to any command as one type: which view fits which `RequestType`.

use plist::Dictionary;

use super::*;
use crate::wire::keys::Keys;
use crate::wire::report::CommandReport;

/// Makes the enum of answers. The name of a variant is the `RequestType` of the command.
macro_rules! answers {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($variant:ident($type:ty),)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $(
                #[doc = concat!("To `", stringify!($variant), "`.")]
                $variant(Box<$type>),
            )*
        }

        impl $name {
            /// The `RequestType` of every command whose answer says more than its status.
            pub const REQUEST_TYPES: &'static [&'static str] = &[$(stringify!($variant),)*];

            /// Reads the keys of an answer to a command. `None` if the command is not known, or its
            /// answer says nothing but its status.
            #[must_use]
            pub fn read(request_type: &str, keys: &Dictionary) -> Option<Self> {
                Some(match request_type {
                    $(stringify!($variant) => {
                        Self::$variant(Box::new(Keys::read(keys)?.0))
                    })*
                    // Newer than this library, or without keys.
                    _ => return None,
                })
            }

            /// The keys, all that were read.
            #[must_use]
            pub fn to_dictionary(&self) -> Dictionary {
                match self {
                    $(Self::$variant(answer) => answer.to_dictionary(),)*
                }
            }
        }
    };
}

answers! {
    /// The answer to a command, with what this library does not know kept in `other`.
    pub enum Answer {
        ActivationLockBypassCode(ActivationLockBypassCodeAnswer),
        ActiveNSExtensions(ActiveNSExtensionsAnswer),
        AvailableOSUpdates(AvailableOSUpdatesAnswer),
        CertificateList(CertificateListAnswer),
        ContentCachingInformation(ContentCachingInformationAnswer),
        DeviceInformation(DeviceInformationAnswer),
        DeviceLocation(DeviceLocationAnswer),
        DeviceLock(DeviceLockAnswer),
        InstallApplication(InstallAnswer),
        InstallMedia(InstallMediaAnswer),
        InstalledApplicationList(InstalledApplicationListAnswer),
        InviteToProgram(InviteToProgramAnswer),
        LOMDeviceRequest(LOMDeviceRequestAnswer),
        LOMSetupRequest(LOMSetupRequestAnswer),
        ManagedApplicationAttributes(ManagedApplicationAttributesAnswer),
        ManagedApplicationConfiguration(ManagedApplicationConfigurationAnswer),
        ManagedApplicationFeedback(ManagedApplicationFeedbackAnswer),
        ManagedApplicationList(ManagedApplicationListAnswer),
        ManagedMediaList(ManagedMediaListAnswer),
        NSExtensionMappings(NSExtensionMappingsAnswer),
        OSUpdateStatus(OSUpdateStatusAnswer),
        ProfileList(ProfileListAnswer),
        ProvisioningProfileList(ProvisioningProfileListAnswer),
        RequestMirroring(RequestMirroringAnswer),
        RequestUnlockToken(RequestUnlockTokenAnswer),
        Restrictions(RestrictionsAnswer),
        RotateFileVaultKey(RotateFileVaultKeyAnswer),
        ScheduleOSUpdate(ScheduleOSUpdateAnswer),
        ScheduleOSUpdateScan(ScheduleOSUpdateScanAnswer),
        SecurityInfo(SecurityInfoAnswer),
        SetFirmwarePassword(SetFirmwarePasswordAnswer),
        Settings(SettingsAnswer),
        UserList(UserListAnswer),
        VerifyFirmwarePassword(VerifyFirmwarePasswordAnswer),
        VerifyRecoveryLock(VerifyRecoveryLockAnswer),
    }
}

impl CommandReport {
    /// The answer to a command of this `RequestType`, which the service knows from its queue: a
    /// device need not say it. `None` if the answer says nothing but its status.
    #[must_use]
    pub fn answer(&self, request_type: &str) -> Option<Answer> {
        Answer::read(request_type, &self.own_keys())
    }
}
