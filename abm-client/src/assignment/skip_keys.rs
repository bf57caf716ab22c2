//! The panes of Setup Assistant that a profile may skip. A key that is not in the list passes through unchanged.

use crate::open_enum::open_enum;

macro_rules! skip_keys {
    ($( $variant:ident = $text:literal since $since:literal ),+ $(,)?) => {
        open_enum! {
            /// A pane of Setup Assistant, by Apple's list of August 2026. Keys are case-sensitive; "iOS" means iPadOS too.
            ///
            /// Apple: <https://developer.apple.com/documentation/devicemanagement/skipkeys>
            pub enum SkipKey { $( #[doc = concat!("Since ", $since, ".")] $variant = $text ),+ }
        }

        impl SkipKey {
            /// On which systems the pane exists; `None` for a key that this version of the library does not know, of
            /// which a person should be warned: it may be misspelt.
            #[must_use]
            pub fn since(&self) -> Option<&'static str> {
                match self {
                    $( Self::$variant => Some($since), )+
                    Self::Other(_) => None,
                }
            }
        }
    };
}

skip_keys! {
    Accessibility = "Accessibility" since "macOS 11",
    AccessibilityAppearance = "AccessibilityAppearance" since "iOS 17",
    ActionButton = "ActionButton" since "iOS 17",
    AdditionalPrivacySettings = "AdditionalPrivacySettings" since "macOS 26; not in Apple's list of 2026",
    AgeAssurance = "AgeAssurance" since "not in Apple's list of 2026",
    AgeBasedSafetySettings = "AgeBasedSafetySettings" since "not in Apple's list of 2026",
    Android = "Android" since "iOS 9",
    Appearance = "Appearance" since "iOS 13, macOS 10.14",
    AppleId = "AppleID" since "iOS 7, macOS 10.9, tvOS 10.2, visionOS 26",
    AppStore = "AppStore" since "iOS 14.3, macOS 11.1",
    Biometric = "Biometric" since "iOS 8.1, macOS 10.12.4, visionOS 26",
    CameraButton = "CameraButton" since "iOS 18",
    DeviceToDeviceMigration = "DeviceToDeviceMigration" since "iOS 12.4",
    Diagnostics = "Diagnostics" since "iOS 7, macOS 10.9, tvOS 10.2, visionOS 26",
    DisplayTone = "DisplayTone" since "iOS 9.3.2, macOS 10.13.6; deprecated from iOS 15, macOS 12",
    EnableLockdownMode = "EnableLockdownMode" since "iOS 17.1, macOS 14",
    FileVault = "FileVault" since "macOS 10.10",
    HomeButtonSensitivity = "HomeButtonSensitivity" since "iOS 10; deprecated from iOS 15",
    ICloudDiagnostics = "iCloudDiagnostics" since "macOS 10.12.4",
    ICloudStorage = "iCloudStorage" since "macOS 10.13.4",
    IMessageAndFaceTime = "iMessageAndFaceTime" since "iOS 12",
    Intelligence = "Intelligence" since "iOS 18, macOS 15, visionOS 26",
    Keyboard = "Keyboard" since "iOS 13",
    LiquidGlass = "LiquidGlass" since "iOS 27, macOS 27",
    Location = "Location" since "iOS 7, macOS 10.11, tvOS 10.2, visionOS 26",
    MessagingActivationUsingPhoneNumber = "MessagingActivationUsingPhoneNumber" since "iOS 10",
    Multitasking = "Multitasking" since "iOS 26",
    OnBoarding = "OnBoarding" since "iOS 11; deprecated from iOS 14",
    OsShowcase = "OSShowcase" since "iOS 26, macOS 26.1",
    Passcode = "Passcode" since "iOS 7, macOS 10.9, visionOS 26",
    Payment = "Payment" since "iOS 8.1, macOS 10.12.4, visionOS 26",
    Privacy = "Privacy" since "iOS 11.3, macOS 10.13.4, tvOS 11.3, visionOS 26",
    Restore = "Restore" since "iOS 7, macOS 10.9",
    RestoreCompleted = "RestoreCompleted" since "iOS 14",
    Safety = "Safety" since "iOS 16",
    SafetyAndHandling = "SafetyAndHandling" since "iOS 18.4",
    ScreenSaver = "ScreenSaver" since "tvOS 10.2",
    ScreenTime = "ScreenTime" since "iOS 12, macOS 10.15, visionOS 26",
    SimSetup = "SIMSetup" since "iOS 12; skipping it prevents the automatic eSIM set-up",
    Siri = "Siri" since "iOS 7, macOS 10.12, tvOS 10.2, visionOS 26",
    SoftwareUpdate = "SoftwareUpdate" since "iOS 12, macOS 15.4, visionOS 26",
    SpokenLanguage = "SpokenLanguage" since "iOS 13",
    TapToSetup = "TapToSetup" since "iOS 18, tvOS 10.2",
    TermsOfAddress = "TermsOfAddress" since "iOS 16, macOS 13",
    Tips = "Tips" since "visionOS 26",
    Tos = "TOS" since "iOS 7, macOS 10.9, tvOS 10.2, visionOS 26",
    TvHomeScreenSync = "TVHomeScreenSync" since "tvOS 11",
    TvProviderSignIn = "TVProviderSignIn" since "tvOS 11",
    TvRoom = "TVRoom" since "tvOS 11.4",
    UnlockWithWatch = "UnlockWithWatch" since "macOS 15",
    UpdateCompleted = "UpdateCompleted" since "iOS 14, macOS 26.1",
    Wallpaper = "Wallpaper" since "not in Apple's list of 2026",
    WatchMigration = "WatchMigration" since "iOS 11",
    WebContentFiltering = "WebContentFiltering" since "iOS 18.2; not in Apple's list of 2026",
    Welcome = "Welcome" since "iOS 13, macOS 15, visionOS 26",
    Zoom = "Zoom" since "iOS 8.3, visionOS 26; deprecated from iOS 17",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_case_sensitive_and_unknown_ones_pass() {
        assert_eq!(SkipKey::from("TOS"), SkipKey::Tos);
        assert_eq!(SkipKey::from("tos"), SkipKey::Other("tos".into()));
        assert_eq!(SkipKey::from("tos").since(), None);
        assert!(SkipKey::KNOWN.iter().all(|key| key.since().is_some()));
        assert_eq!(SkipKey::KNOWN.len(), 56);
    }
}
