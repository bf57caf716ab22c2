//! The answers to actions on the whole device: location, lock, mirroring, lights-out management,
//! restrictions, tokens.

use std::collections::BTreeMap;

use crate::wire::keys::{Withheld, answer};

answer! {
    /// The answer to `ActivationLockBypassCode`.
    /// <https://developer.apple.com/documentation/devicemanagement/activationlockbypasscoderesponse>
    pub struct ActivationLockBypassCodeAnswer {
        /// See [`CommandReport::activation_lock_bypass_code`](crate::wire::report::CommandReport::activation_lock_bypass_code).
        code: Withheld = "ActivationLockBypassCode",
    }
}

answer! {
    /// The answer to `RequestUnlockToken`.
    /// <https://developer.apple.com/documentation/devicemanagement/requestunlocktokenresponse>
    pub struct RequestUnlockTokenAnswer {
        /// The token that clears the passcode.
        unlock_token: Withheld = "UnlockToken",
    }
}

answer! {
    /// The answer to `DeviceLocation`.
    /// <https://developer.apple.com/documentation/devicemanagement/devicelocationresponse>
    pub struct DeviceLocationAnswer {
        /// Degrees.
        latitude: f64 = "Latitude",
        /// Degrees.
        longitude: f64 = "Longitude",
        /// Metres.
        horizontal_accuracy: f64 = "HorizontalAccuracy",
        /// Metres.
        vertical_accuracy: f64 = "VerticalAccuracy",
        /// Metres.
        altitude: f64 = "Altitude",
        /// Metres per second.
        speed: f64 = "Speed",
        /// Degrees from north.
        course: f64 = "Course",
        /// When, as text.
        timestamp: String = "Timestamp",
    }
}

answer! {
    /// The answer to `DeviceLock`.
    /// <https://developer.apple.com/documentation/devicemanagement/devicelockresponse>
    pub struct DeviceLockAnswer {
        /// What became of the message, such as `Success` or `NoPasscodeSet`.
        message_result: String = "MessageResult",
    }
}

answer! {
    /// The answer to `RequestMirroring`.
    /// <https://developer.apple.com/documentation/devicemanagement/requestmirroringresponse>
    pub struct RequestMirroringAnswer {
        /// `Prompting`, `DestinationNotFound`, `Cancelled` or `Unknown`.
        mirroring_result: String = "MirroringResult",
    }
}

answer! {
    /// The answer to `LOMSetupRequest`: what other Macs need in order to reach this one.
    /// <https://developer.apple.com/documentation/devicemanagement/lomsetuprequestresponse>
    pub struct LOMSetupRequestAnswer {
        /// Its first addresses.
        primary_ipv6_addresses: Vec<String> = "PrimaryIPv6AddressList",
        /// Its other addresses.
        secondary_ipv6_addresses: Vec<String> = "SecondaryIPv6AddressList",
        /// The version of the protocol that it speaks.
        protocol_version: i64 = "LOMProtocolVersion",
    }
}

answer! {
    /// The answer to `LOMDeviceRequest`.
    /// <https://developer.apple.com/documentation/devicemanagement/lomdevicerequestresponse>
    pub struct LOMDeviceRequestAnswer {
        /// One result per action.
        results: Vec<LightsOutResult> = "ResponseList",
    }
}

answer! {
    /// What became of one action on one Mac.
    pub struct LightsOutResult {
        /// Whether it was done.
        success: bool = "DeviceRequestSuccess",
        /// Which action.
        uuid: String = "DeviceRequestUUID",
        /// Why it was not.
        error: String = "DeviceRequestReturnError",
    }
}

answer! {
    /// The answer to `Restrictions`.
    /// <https://developer.apple.com/documentation/devicemanagement/restrictionsresponse>
    pub struct RestrictionsAnswer {
        /// All together.
        global: RestrictionSet = "GlobalRestrictions",
        /// By the identifier of a profile.
        by_profile: BTreeMap<String, RestrictionSet> = "ProfileRestrictions",
    }
}

answer! {
    /// Restrictions in force, by name.
    pub struct RestrictionSet {
        /// What is on or off.
        booleans: BTreeMap<String, RestrictedBool> = "restrictedBool",
        /// What has a limit.
        values: BTreeMap<String, RestrictedValue> = "restrictedValue",
        /// Lists of which each profile allows a part.
        intersections: BTreeMap<String, RestrictedTexts> = "intersection",
        /// Lists to which each profile adds.
        unions: BTreeMap<String, RestrictedTexts> = "union",
    }
}

answer! {
    /// A restriction that is on or off.
    pub struct RestrictedBool {
        /// What holds.
        value: bool = "value",
    }
}

answer! {
    /// A restriction that is a limit.
    pub struct RestrictedValue {
        /// What holds.
        value: i64 = "value",
    }
}

answer! {
    /// A restriction that is a list.
    pub struct RestrictedTexts {
        /// What holds.
        values: Vec<String> = "values",
    }
}
