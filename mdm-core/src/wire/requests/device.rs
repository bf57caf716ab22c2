//! Actions on the whole device: lock, erase, restart, Lost Mode, mirroring, lights-out management,
//! restrictions, declarations. Those without keys are variants of the command alone.

use crate::secret::Secret;
use crate::wire::keys::{SecretData, record, words};

words! {
    /// What a Mac does if it cannot erase everything at once.
    pub enum ObliterationBehavior {
        /// Obliterates where the quick way fails, and warns on Macs without a security chip.
        Default = "Default",
        /// Only the quick way.
        DoNotObliterate = "DoNotObliterate",
        /// Obliterates where the quick way fails, and answers with a warning.
        ObliterateWithWarning = "ObliterateWithWarning",
        /// Obliterates.
        Always = "Always",
    }
}

record! {
    /// What brings an erased iPhone or iPad back without hands.
    pub struct ReturnToService {
        new {
            /// Whether it comes back at all.
            enabled: bool = "Enabled",
        }
        optional {
            /// The management profile; without it the assigned one.
            mdm_profile: SecretData = "MDMProfileData",
            /// The profile with the network, which holds its password.
            wifi_profile: SecretData = "WiFiProfileData",
        }
    }
}

record! {
    /// Erases the device. It is never part of a migration.
    /// <https://developer.apple.com/documentation/devicemanagement/erasedevicecommand>
    pub struct EraseDevice {
        optional {
            /// Whether the data plan of an eSIM stays.
            preserve_data_plan: bool = "PreserveDataPlan",
            /// Whether the next set-up may not take its settings from a device nearby.
            disallow_proximity_setup: bool = "DisallowProximitySetup",
            /// Six digits that unlock a Mac with Intel afterwards; needed there.
            pin: Secret = "PIN",
            /// What a Mac does if it cannot erase everything at once.
            obliteration_behavior: ObliterationBehavior = "ObliterationBehavior",
            /// Since iOS 17.
            return_to_service: ReturnToService = "ReturnToService",
        }
    }
}

record! {
    /// Locks the screen, or a Mac as a whole.
    /// <https://developer.apple.com/documentation/devicemanagement/devicelockcommand>
    pub struct DeviceLock {
        optional {
            /// What the lock screen says.
            message: String = "Message",
            /// Whom to call.
            phone_number: String = "PhoneNumber",
            /// Six digits that unlock a Mac afterwards; needed there.
            pin: Secret = "PIN",
        }
    }
}

record! {
    /// Locks a supervised iPhone or iPad until the service ends it; one of the two texts is needed.
    /// <https://developer.apple.com/documentation/devicemanagement/enablelostmodecommand>
    pub struct EnableLostMode {
        optional {
            /// What the lock screen says.
            message: String = "Message",
            /// Whom to call.
            phone_number: String = "PhoneNumber",
            /// What stands where *Slide to unlock* was.
            footnote: String = "Footnote",
        }
    }
}

record! {
    /// Restarts. An iPhone with a passcode may not find its Wi-Fi again before it is unlocked.
    /// <https://developer.apple.com/documentation/devicemanagement/restartdevicecommand>
    pub struct RestartDevice {
        optional {
            /// Ask the user first, Mac only. Since macOS 11.4.
            notify_user: bool = "NotifyUser",
            /// Rebuild the cache of kernel extensions, Mac only. Since macOS 11.
            rebuild_kernel_cache: bool = "RebuildKernelCache",
            /// The kernel extensions for a rebuild. Since macOS 11.
            kext_paths: Vec<String> = "KextPaths",
        }
    }
}

record! {
    /// Fetches the plans of an eSIM. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/refreshcellularplanscommand>
    pub struct RefreshCellularPlans {
        new {
            /// The carrier's server.
            esim_server_url: String = "eSIMServerURL",
        }
    }
}

record! {
    /// Asks the user to share the screen by AirPlay.
    /// <https://developer.apple.com/documentation/devicemanagement/requestmirroringcommand>
    pub struct RequestMirroring {
        optional {
            /// The name of the receiver; this or its identifier.
            destination_name: String = "DestinationName",
            /// The hardware address of the receiver.
            destination_device_id: String = "DestinationDeviceID",
            /// How long to look for it, in seconds, 10 to 300.
            scan_time: i64 = "ScanTime",
            /// The receiver's password.
            password: Secret = "Password",
        }
    }
}

record! {
    /// The restrictions in force, all and by profile.
    /// <https://developer.apple.com/documentation/devicemanagement/restrictionscommand>
    pub struct Restrictions {
        optional {
            /// Whether those of each profile are told apart.
            profile_restrictions: bool = "ProfileRestrictions",
        }
    }
}

words! {
    /// What a Mac's controller does with another Mac.
    pub enum LightsOutAction {
        /// Turns it on.
        PowerOn = "PowerON",
        /// Turns it off.
        PowerOff = "PowerOFF",
        /// Restarts it.
        Reset = "Reset",
    }
}

record! {
    /// One action on one Mac.
    pub struct LightsOutRequest {
        new {
            /// What.
            action: LightsOutAction = "DeviceRequestType",
            /// By which the answer tells the actions apart.
            uuid: String = "DeviceRequestUUID",
            /// The name of the other Mac.
            dns_name: String = "DeviceDNSName",
            /// Its first addresses, as it told in its set-up.
            primary_ipv6_addresses: Vec<String> = "PrimaryIPv6AddressList",
            /// Its other addresses.
            secondary_ipv6_addresses: Vec<String> = "SecondaryIPv6AddressList",
            /// The version of the protocol that it speaks.
            protocol_version: i64 = "LOMProtocolVersion",
        }
    }
}

record! {
    /// Actions that a Mac does with others in its network. Since macOS 11.
    /// <https://developer.apple.com/documentation/devicemanagement/lomdevicerequestcommand>
    pub struct LOMDeviceRequest {
        new {
            /// Which.
            requests: Vec<LightsOutRequest> = "RequestList",
        }
    }
}

record! {
    /// Turns declarations on, for ever, or tells that they changed.
    /// <https://developer.apple.com/documentation/devicemanagement/declarativemanagementcommand>
    pub struct DeclarativeManagement {
        optional {
            /// The tokens as JSON, which save the device one request.
            tokens: Vec<u8> = "Data",
        }
    }
}
