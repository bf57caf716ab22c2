//! `com.apple.notificationsettings`: notifications without asking the user.

use super::payload_type;
use crate::wire::keys::{numbers, record};

numbers! {
    /// How an alert shows.
    pub enum AlertType {
        /// Not at all.
        None = 0,
        /// It goes by itself.
        Temporary = 1,
        /// It stays.
        Persistent = 2,
    }
}

numbers! {
    /// How notifications are grouped.
    pub enum GroupingType {
        /// As the application says.
        Automatic = 0,
        /// By application.
        ByApp = 1,
        /// Not at all.
        Off = 2,
    }
}

numbers! {
    /// When their content shows.
    pub enum PreviewType {
        /// Always.
        Always = 0,
        /// On the unlocked device.
        WhenUnlocked = 1,
        /// Never.
        Never = 2,
    }
}

record! {
    /// The notifications of one application.
    pub struct NotificationSettings {
        new {
            /// Which.
            bundle_identifier: String = "BundleIdentifier",
        }
        optional {
            /// They are on.
            enabled: bool = "NotificationsEnabled",
            /// In Notification Centre.
            in_notification_center: bool = "ShowInNotificationCenter",
            /// On the locked screen.
            in_lock_screen: bool = "ShowInLockScreen",
            /// As alerts.
            alert_type: AlertType = "AlertType",
            /// As badges.
            badges: bool = "BadgesEnabled",
            /// As sounds.
            sounds: bool = "SoundsEnabled",
            /// In the car. Not on a Mac.
            in_car_play: bool = "ShowInCarPlay",
            /// Critical ones break through silence.
            critical_alerts: bool = "CriticalAlertEnabled",
            /// How they are grouped. Not on a Mac.
            grouping: GroupingType = "GroupingType",
            /// When their content shows. Since iOS 14. Not on a Mac.
            preview: PreviewType = "PreviewType",
        }
    }
}

record! {
    /// Notifications of applications, on supervised devices. Since iOS 9.3 and macOS 10.15.
    /// <https://developer.apple.com/documentation/devicemanagement/notifications>
    pub struct NotificationsPayload {
        new {
            /// One per application.
            settings: Vec<NotificationSettings> = "NotificationSettings",
        }
    }
}

payload_type!(NotificationsPayload = "com.apple.notificationsettings");
