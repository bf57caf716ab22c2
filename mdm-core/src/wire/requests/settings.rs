//! `Settings`: one value per item, each answered apart.

use plist::Dictionary;

use super::AppAttributes;
use crate::wire::keys::misfit::{of_keys, required, spelt};
use crate::wire::keys::{Field, Free, Keys, Misfit, field_of_keys, numbers, record};

record! {
    /// Sets values such as names and options. Read what became of each item; the status of the
    /// whole says nothing about it.
    /// <https://developer.apple.com/documentation/devicemanagement/settingscommand>
    pub struct Settings {
        new {
            /// One per value.
            settings: Vec<Setting> = "Settings",
        }
    }
}

/// Makes the enum of settings. `Item as Type` keeps the keys of a type beside `Item`;
/// `Item => "Key": Type` has one value under that key.
macro_rules! settings {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            values { $($(#[$vdoc:meta])* $value:ident($vtype:ty) = $item:literal / $key:literal,)* }
            keys { $($(#[$kdoc:meta])* $keyed:ident($ktype:ty) = $kitem:literal,)* }
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $item, "`.")] $(#[$vdoc])* $value($vtype),)*
            $(#[doc = concat!("`", $kitem, "`.")] $(#[$kdoc])* $keyed($ktype),)*
            /// An item that is newer than this library, with its `Item` key.
            Other(Free),
        }

        impl Keys for $name {
            fn carries_secret(&self) -> bool {
                match self {
                    $(Self::$value(value) => Field::holds_secret(value),)*
                    $(Self::$keyed(value) => value.carries_secret(),)*
                    // Nobody knows what is in it.
                    Self::Other(_) => true,
                }
            }

            fn write(&self, d: &mut Dictionary) {
                match self {
                    $(Self::$value(value) => {
                        d.insert("Item".into(), $item.into());
                        d.insert($key.into(), value.to_value());
                    })*
                    $(Self::$keyed(value) => {
                        d.insert("Item".into(), $kitem.into());
                        value.write(d);
                    })*
                    Self::Other(item) => {
                        for (key, value) in &item.0 {
                            d.insert(key.clone(), value.clone());
                        }
                    }
                }
            }

            fn read(of: &Dictionary) -> Option<(Self, bool)> {
                let mut rest = of.clone();
                let item = rest.remove("Item")?;
                Some((Self::typed(item.as_string()?, &rest).unwrap_or_else(|| Self::Other(of.clone().into())), true))
            }

            fn knows(_: &str) -> bool {
                // An item of its own kind may have any key.
                true
            }

            fn misfit(of: &Dictionary, at: &str) -> Option<Misfit> {
                required::<String>(of, at, "Item").or_else(|| {
                    let item = of.get("Item")?.as_string()?;
                    match item {
                        $($item => spelt(of, at, &[($key, "")])
                            .or_else(|| required::<$vtype>(of, at, $key)),)*
                        $($kitem => of_keys::<$ktype>(of, at),)*
                        // Newer than this library.
                        _ => None,
                    }
                })
            }
        }

        impl $name {
            fn typed(item: &str, rest: &Dictionary) -> Option<Self> {
                match item {
                    $($item if rest.len() == 1 => {
                        let (value, true) = Field::of_value(rest.get($key)?)? else { return None };
                        Some(Self::$value(value))
                    })*
                    $($kitem => Keys::from_dictionary(rest).map(Self::$keyed),)*
                    // Newer than this library.
                    _ => None,
                }
            }
        }

        field_of_keys!($name);
    };
}

settings! {
    /// One item of [`Settings`].
    /// <https://developer.apple.com/documentation/devicemanagement/settingscommand/command-data.dictionary/settings-data.dictionary>
    pub enum Setting {
        values {
            /// Whether the device roams for data. Not on a Mac.
            DataRoaming(bool) = "DataRoaming" / "Enabled",
            /// Whether the device roams for calls. Not on a Mac.
            VoiceRoaming(bool) = "VoiceRoaming" / "Enabled",
            /// Whether the device shares its connection. Not on a Mac.
            PersonalHotspot(bool) = "PersonalHotspot" / "Enabled",
            /// Whether Bluetooth is on. Since iOS 11.3 and macOS 10.13.4.
            Bluetooth(bool) = "Bluetooth" / "Enabled",
            /// The name that the device shows.
            DeviceName(String) = "DeviceName" / "DeviceName",
            /// The host name, Mac only.
            HostName(String) = "HostName" / "HostName",
            /// Options of management.
            MdmOptions(MdmOptions) = "MDMOptions" / "MDMOptions",
            /// How many people can be resident on a Shared iPad; older than its `ResidentUsers`.
            MaximumResidentUsers(i64) = "MaximumResidentUsers" / "MaximumResidentUsers",
            /// Whether a Shared iPad sends diagnostics.
            DiagnosticSubmission(bool) = "DiagnosticSubmission" / "Enabled",
            /// Whether a Shared iPad tells developers how applications are used.
            AppAnalytics(bool) = "AppAnalytics" / "Enabled",
            /// When a Shared iPad asks for the passcode again; older than its policy.
            PasscodeLockGracePeriod(PasscodeGracePeriod) = "PasscodeLockGracePeriod" / "PasscodeLockGracePeriod",
            /// The time zone by its name in the Olson database. Not on a Mac.
            TimeZone(String) = "TimeZone" / "TimeZone",
            /// Which of two versions a supervised device recommends.
            SoftwareUpdateSettings(RecommendationCadence) = "SoftwareUpdateSettings" / "RecommendationCadence",
        }
        keys {
            /// The wallpaper of a supervised device. Not on a Mac.
            Wallpaper(Wallpaper) = "Wallpaper",
            /// The configuration of one managed application. Not on a Mac.
            ApplicationConfiguration(ApplicationConfigurationSetting) = "ApplicationConfiguration",
            /// The attributes of one managed application. Not on a Mac.
            ApplicationAttributes(ApplicationAttributesSetting) = "ApplicationAttributes",
            /// Who owns the device.
            OrganizationInfo(OrganizationInfoSetting) = "OrganizationInfo",
            /// How a Shared iPad is shared.
            SharedDeviceConfiguration(SharedDeviceConfiguration) = "SharedDeviceConfiguration",
            /// Accessibility of a supervised device. Since iOS 16. Not on a Mac.
            AccessibilitySettings(AccessibilitySettings) = "AccessibilitySettings",
        }
    }
}

impl Setting {
    /// Says who owns the device.
    #[must_use]
    pub fn organization_info(info: OrganizationInfo) -> Self {
        Self::OrganizationInfo(OrganizationInfoSetting::default().info(info))
    }

    /// Allows or forbids a user's own Activation Lock on a supervised device.
    #[must_use]
    pub fn activation_lock_allowed(allowed: bool) -> Self {
        Self::MdmOptions(MdmOptions::default().activation_lock_allowed_while_supervised(allowed))
    }
}

record! {
    /// Who owns the device, or that nobody does.
    pub struct OrganizationInfoSetting {
        optional {
            /// Without it, what there was is removed.
            info: OrganizationInfo = "OrganizationInfo",
        }
    }
}

record! {
    /// Who owns the device.
    pub struct OrganizationInfo {
        new {
            /// The name that the device shows.
            name: String = "OrganizationName",
        }
        optional {
            /// A shorter one. Since iOS 17.
            short_name: String = "OrganizationShortName",
            /// The address.
            address: String = "OrganizationAddress",
            /// Whom to write to.
            email: String = "OrganizationEmail",
            /// Whom to call.
            phone: String = "OrganizationPhone",
            /// A text for programs.
            magic: String = "OrganizationMagic",
        }
    }
}

record! {
    /// Options of management.
    pub struct MdmOptions {
        optional {
            /// Whether the user may lock a supervised device to an account. Without it: no.
            activation_lock_allowed_while_supervised: bool = "ActivationLockAllowedWhileSupervised",
            /// Whether bootstrap tokens are supported; the profile's capability says so since macOS 11.
            bootstrap_token_allowed: bool = "BootstrapTokenAllowed",
            /// Whether a Mac asks before it uses the token for the user. Since macOS 11.
            prompt_user_to_allow_bootstrap_token: bool = "PromptUserToAllowBootstrapTokenForAuthentication",
            /// Whether a device that was locked for long restarts. Since iOS 18.4.
            idle_reboot_allowed: bool = "IdleRebootAllowed",
        }
    }
}

numbers! {
    /// Where a wallpaper is seen.
    pub enum WallpaperPlace {
        /// On the locked screen.
        LockScreen = 1,
        /// Behind the icons.
        HomeScreen = 2,
        /// On both.
        Both = 3,
    }
}

record! {
    /// A wallpaper.
    pub struct Wallpaper {
        new {
            /// PNG or JPEG.
            image: Vec<u8> = "Image",
            /// Where.
            place: WallpaperPlace = "Where",
        }
    }
}

record! {
    /// The configuration of one managed application.
    pub struct ApplicationConfigurationSetting {
        new {
            /// The bundle identifier.
            identifier: String = "Identifier",
        }
        optional {
            /// It may hold passwords. Without it the present one is removed.
            configuration: Free = "Configuration",
        }
    }
}

record! {
    /// The attributes of one managed application.
    pub struct ApplicationAttributesSetting {
        new {
            /// The bundle identifier.
            identifier: String = "Identifier",
        }
        optional {
            /// Without it the present ones are removed.
            attributes: AppAttributes = "Attributes",
        }
    }
}

record! {
    /// Whether the first user waits for the service.
    pub struct AwaitUserConfiguration {
        new {
            /// Each user waits until `UserConfigured`.
            enabled: bool = "Enabled",
        }
    }
}

numbers! {
    /// How long a Shared iPad that locked itself does without the passcode.
    pub enum PasscodeGracePeriod {
        /// Not at all.
        Immediately = 0,
        /// One minute.
        OneMinute = 60,
        /// Five minutes.
        FiveMinutes = 300,
        /// Fifteen minutes.
        FifteenMinutes = 900,
        /// One hour.
        OneHour = 3600,
        /// Four hours.
        FourHours = 14400,
    }
}

record! {
    /// The passcode of a Shared iPad.
    pub struct PasscodePolicy {
        optional {
            /// When it is asked for again.
            lock_grace_period: PasscodeGracePeriod = "PasscodeLockGracePeriod",
            /// Seconds until the screen locks, 120 to 900, or 0.
            auto_lock_time: i64 = "AutoLockTime",
        }
    }
}

record! {
    /// How a Shared iPad is shared.
    pub struct SharedDeviceConfiguration {
        optional {
            /// Megabytes for each user; this or the number of users.
            quota_size: i64 = "QuotaSize",
            /// How many users there is room for.
            resident_users: i64 = "ResidentUsers",
            /// Seconds until a user is logged out; 0 is never, else 30 at least.
            user_session_timeout: i64 = "UserSessionTimeout",
            /// Seconds until a guest is logged out; 0 is never, else 30 at least.
            temporary_session_timeout: i64 = "TemporarySessionTimeout",
            /// Only guests.
            temporary_session_only: bool = "TemporarySessionOnly",
            /// Domains that complete what is typed at the login, at most three. Since iOS 16.
            managed_apple_id_default_domains: Vec<String> = "ManagedAppleIDDefaultDomains",
            /// Days for which a login works without network; 0 is always online. Since iOS 16.
            online_authentication_grace_period: i64 = "OnlineAuthenticationGracePeriod",
            /// Language and region are not asked for. Since iOS 16.2.
            skip_language_and_locale_setup: bool = "SkipLanguageAndLocaleSetupForNewUsers",
            /// Whether each user waits for the service. Since iOS 17.
            await_user_configuration: AwaitUserConfiguration = "AwaitUserConfiguration",
            /// The passcode. Since iOS 17.
            passcode_policy: PasscodePolicy = "PasscodePolicy",
        }
    }
}

numbers! {
    /// Which of two versions a device recommends to its user.
    pub enum RecommendationCadence {
        /// Both, the older one first.
        Both = 0,
        /// Only the older one.
        Older = 1,
        /// Only the newest.
        Newest = 2,
    }
}

numbers! {
    /// The size of text for applications that can change it, from the smallest to the largest.
    pub enum TextSize {
        /// The smallest.
        Smallest = 0,
        /// One size larger.
        Size1 = 1,
        /// One size larger.
        Size2 = 2,
        /// One size larger.
        Size3 = 3,
        /// Apple's default.
        Default = 4,
        /// One size larger.
        Size5 = 5,
        /// One size larger.
        Size6 = 6,
        /// One size larger.
        Size7 = 7,
        /// One size larger.
        Size8 = 8,
        /// One size larger.
        Size9 = 9,
        /// One size larger.
        Size10 = 10,
        /// The largest.
        Largest = 11,
    }
}

record! {
    /// Accessibility. What is left out stays as it is.
    pub struct AccessibilitySettings {
        optional {
            /// Bold text.
            bold_text: bool = "BoldTextEnabled",
            /// More contrast.
            increase_contrast: bool = "IncreaseContrastEnabled",
            /// Less motion.
            reduce_motion: bool = "ReduceMotionEnabled",
            /// Less transparency.
            reduce_transparency: bool = "ReduceTransparencyEnabled",
            /// The size of text.
            text_size: TextSize = "TextSize",
            /// Help with touching.
            touch_accommodations: bool = "TouchAccommodationsEnabled",
            /// The screen is read aloud.
            voice_over: bool = "VoiceOverEnabled",
            /// The screen can be magnified.
            zoom: bool = "ZoomEnabled",
            /// No colours.
            grayscale: bool = "GrayscaleEnabled",
        }
    }
}
