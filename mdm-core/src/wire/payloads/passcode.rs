//! `com.apple.mobiledevice.passwordpolicy`: what a passcode must be.

use std::collections::BTreeMap;

use super::payload_type;
use crate::wire::keys::record;

record! {
    /// A rule as a regular expression, Mac only. Since macOS 14.
    pub struct PasscodeRule {
        new {
            /// What a password must match.
            regex: String = "passwordContentRegex",
        }
        optional {
            /// What the user is told, by language.
            descriptions: BTreeMap<String, String> = "passwordContentDescription",
        }
    }
}

record! {
    /// What a passcode must be. Of several such payloads the strictest rule holds.
    /// <https://developer.apple.com/documentation/devicemanagement/passcode>
    pub struct PasscodePayload {
        optional {
            /// There must be one.
            force: bool = "forcePIN",
            /// Repeated and rising characters are allowed.
            allow_simple: bool = "allowSimple",
            /// There must be a letter and a digit.
            require_alphanumeric: bool = "requireAlphanumeric",
            /// Characters, at most 16.
            min_length: i64 = "minLength",
            /// Characters that are neither letter nor digit, at most 4.
            min_complex_characters: i64 = "minComplexChars",
            /// Wrong ones before the device erases itself (a Mac locks), 2 to 11.
            max_failed_attempts: i64 = "maxFailedAttempts",
            /// Minutes until the device locks, at most 15.
            max_inactivity: i64 = "maxInactivity",
            /// Minutes in which it can be unlocked again without.
            max_grace_period: i64 = "maxGracePeriod",
            /// Days until there must be a new one.
            max_age_in_days: i64 = "maxPINAgeInDays",
            /// How many older ones it may not be.
            history: i64 = "pinHistory",
            /// Minutes until wrong ones are forgotten, Mac only.
            minutes_until_failed_login_reset: i64 = "minutesUntilFailedLoginReset",
            /// There must be a new one at the next login, Mac only.
            change_at_next_auth: bool = "changeAtNextAuth",
            /// A rule of one's own, Mac only. Since macOS 14.
            custom: PasscodeRule = "customRegex",
        }
    }
}

payload_type!(PasscodePayload = "com.apple.mobiledevice.passwordpolicy");
