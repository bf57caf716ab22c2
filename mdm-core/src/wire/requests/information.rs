//! `DeviceInformation`.

use crate::wire::keys::{record, words};

words! {
    /// A query of `DeviceInformation`. A device leaves out what it does not know or may not tell.
    /// <https://developer.apple.com/documentation/devicemanagement/deviceinformationcommand/command-data.dictionary>
    pub enum Query {
        /// The identifier of the device.
        Udid = "UDID",
        /// The identifier by which provisioning profiles know a Mac; with Apple silicon it is another one. Mac only.
        ProvisioningUdid = "ProvisioningUDID",
        /// Who owns the device, as `Settings` said.
        OrganizationInfo = "OrganizationInfo",
        /// Options, as `Settings` said.
        MdmOptions = "MDMOptions",
        /// When iCloud was last backed up to. Not on a Mac.
        LastCloudBackupDate = "LastCloudBackupDate",
        /// Whether the device waits for `DeviceConfigured`.
        AwaitingConfiguration = "AwaitingConfiguration",
        /// Whether somebody is signed in to the store.
        StoreAccountIsActive = "iTunesStoreAccountIsActive",
        /// A hash of that account.
        StoreAccountHash = "iTunesStoreAccountHash",
        /// The name that the device shows.
        DeviceName = "DeviceName",
        /// The version, such as `26.1`.
        OsVersion = "OSVersion",
        /// The letter of a rapid security response.
        SupplementalOsVersionExtra = "SupplementalOSVersionExtra",
        /// The build.
        BuildVersion = "BuildVersion",
        /// The build of a rapid security response.
        SupplementalBuildVersion = "SupplementalBuildVersion",
        /// The kind of device, such as `iPhone`.
        ModelName = "ModelName",
        /// The model number with its region.
        Model = "Model",
        /// The model number with its region, as in the shop.
        ModelNumber = "ModelNumber",
        /// Whether a Mac has Apple silicon. Mac only.
        IsAppleSilicon = "IsAppleSilicon",
        /// The hardware, such as `Mac15,7`.
        ProductName = "ProductName",
        /// The serial number.
        SerialNumber = "SerialNumber",
        /// Gigabytes.
        DeviceCapacity = "DeviceCapacity",
        /// Free gigabytes.
        AvailableDeviceCapacity = "AvailableDeviceCapacity",
        /// One number; ask for `ServiceSubscriptions` instead. Not on a Mac.
        Imei = "IMEI",
        /// One number; ask for `ServiceSubscriptions` instead. Not on a Mac.
        Meid = "MEID",
        /// The firmware of the modem. Not on a Mac.
        ModemFirmwareVersion = "ModemFirmwareVersion",
        /// None, GSM, CDMA or both. Not on a Mac.
        CellularTechnology = "CellularTechnology",
        /// 0 to 1, or -1 if unknown.
        BatteryLevel = "BatteryLevel",
        /// Whether a Mac has a battery. Mac only.
        HasBattery = "HasBattery",
        /// Whether the device is supervised.
        IsSupervised = "IsSupervised",
        /// Whether this is a Shared iPad. Not on a Mac.
        IsMultiUser = "IsMultiUser",
        /// Whether Find My is on. Not on a Mac.
        IsDeviceLocatorServiceEnabled = "IsDeviceLocatorServiceEnabled",
        /// Deprecated: it errs in both directions.
        IsActivationLockEnabled = "IsActivationLockEnabled",
        /// Whether a Mac can be locked. Mac only.
        IsActivationLockSupported = "IsActivationLockSupported",
        /// Whether Do Not Disturb is on. Not on a Mac.
        IsDoNotDisturbInEffect = "IsDoNotDisturbInEffect",
        /// The identifier of an Apple TV. Not on a Mac.
        DeviceId = "DeviceID",
        /// The identifier for Exchange. Not on a Mac.
        EasDeviceIdentifier = "EASDeviceIdentifier",
        /// Whether iCloud is backed up to. Not on a Mac.
        IsCloudBackupEnabled = "IsCloudBackupEnabled",
        /// The GUIDs of managed users who are logged in. Mac only.
        ActiveManagedUsers = "ActiveManagedUsers",
        /// How a Mac updates itself. Mac only.
        OsUpdateSettings = "OSUpdateSettings",
        /// The name by Bonjour. Mac only.
        LocalHostName = "LocalHostName",
        /// The host name. Mac only.
        HostName = "HostName",
        /// The administrators that Setup Assistant made. Mac only.
        AutoSetupAdminAccounts = "AutoSetupAdminAccounts",
        /// Whether the system is protected. Mac only.
        SystemIntegrityProtectionEnabled = "SystemIntegrityProtectionEnabled",
        /// Whether a Mac can be managed while it is off. Mac only.
        SupportsLomDevice = "SupportsLOMDevice",
        /// Whether the service holds it in Lost Mode. Not on a Mac.
        IsMdmLostModeEnabled = "IsMDMLostModeEnabled",
        /// How many users there can be. Not on a Mac.
        MaximumResidentUsers = "MaximumResidentUsers",
        /// How many users there is room for. Not on a Mac.
        EstimatedResidentUsers = "EstimatedResidentUsers",
        /// Megabytes for each user. Not on a Mac.
        QuotaSize = "QuotaSize",
        /// How many users there are. Not on a Mac.
        ResidentUsers = "ResidentUsers",
        /// Seconds. Not on a Mac.
        UserSessionTimeout = "UserSessionTimeout",
        /// Seconds. Not on a Mac.
        TemporarySessionTimeout = "TemporarySessionTimeout",
        /// Only guests. Not on a Mac.
        TemporarySessionOnly = "TemporarySessionOnly",
        /// The domains offered at the login. Not on a Mac.
        ManagedAppleIdDefaultDomains = "ManagedAppleIDDefaultDomains",
        /// Days. Not on a Mac.
        OnlineAuthenticationGracePeriod = "OnlineAuthenticationGracePeriod",
        /// Whether language and region are not asked for. Not on a Mac.
        SkipLanguageAndLocaleSetupForNewUsers = "SkipLanguageAndLocaleSetupForNewUsers",
        /// The push token of this user channel.
        PushToken = "PushToken",
        /// Whether diagnostics are sent. Not on a Mac.
        DiagnosticSubmissionEnabled = "DiagnosticSubmissionEnabled",
        /// Whether developers are told of use. Not on a Mac.
        AppAnalyticsEnabled = "AppAnalyticsEnabled",
        /// The time zone. Not on a Mac.
        TimeZone = "TimeZone",
        /// The number of the card. Not on a Mac.
        Iccid = "ICCID",
        /// The address.
        BluetoothMac = "BluetoothMAC",
        /// The address.
        WifiMac = "WiFiMAC",
        /// The address. Mac only.
        EthernetMac = "EthernetMAC",
        /// The present carrier. Not on a Mac.
        CurrentCarrierNetwork = "CurrentCarrierNetwork",
        /// Deprecated. Not on a Mac.
        SimCarrierNetwork = "SIMCarrierNetwork",
        /// The own carrier. Not on a Mac.
        SubscriberCarrierNetwork = "SubscriberCarrierNetwork",
        /// The version of the carrier's settings. Not on a Mac.
        CarrierSettingsVersion = "CarrierSettingsVersion",
        /// The number. Not on a Mac.
        PhoneNumber = "PhoneNumber",
        /// Whether data may roam. Not on a Mac.
        DataRoamingEnabled = "DataRoamingEnabled",
        /// Whether calls may roam. Not on a Mac.
        VoiceRoamingEnabled = "VoiceRoamingEnabled",
        /// Whether the connection is shared. Not on a Mac.
        PersonalHotspotEnabled = "PersonalHotspotEnabled",
        /// Whether the network comes by cable. Not on a Mac.
        IsNetworkTethered = "IsNetworkTethered",
        /// Whether it roams now. Not on a Mac.
        IsRoaming = "IsRoaming",
        /// The own country. Not on a Mac.
        SubscriberMcc = "SubscriberMCC",
        /// The own network. Not on a Mac.
        SubscriberMnc = "SubscriberMNC",
        /// The present country. Not on a Mac.
        CurrentMcc = "CurrentMCC",
        /// The present network. Not on a Mac.
        CurrentMnc = "CurrentMNC",
        /// The cellular slots. Not on a Mac.
        ServiceSubscriptions = "ServiceSubscriptions",
        /// Whether a Mac wants a PIN. Mac only.
        PinRequiredForEraseDevice = "PINRequiredForEraseDevice",
        /// Whether a Mac wants a PIN. Mac only.
        PinRequiredForDeviceLock = "PINRequiredForDeviceLock",
        /// Whether a Mac runs applications for iPhone. Mac only.
        SupportsIosAppInstalls = "SupportsiOSAppInstalls",
        /// The key for Apple's list of updates.
        SoftwareUpdateDeviceId = "SoftwareUpdateDeviceID",
        /// Which updates are recommended. Not on a Mac.
        SoftwareUpdateSettings = "SoftwareUpdateSettings",
        /// As `Settings` said, or the user. Not on a Mac.
        AccessibilitySettings = "AccessibilitySettings",
        /// Certificates by which Apple's servers vouch for the device.
        DevicePropertiesAttestation = "DevicePropertiesAttestation",
        /// Whether a Mac can erase all content and settings. Mac only.
        EacsPreflight = "EACSPreflight",
        /// The GUID of the managed user at the screen. Mac only.
        CurrentConsoleManagedUser = "CurrentConsoleManagedUser",
    }
}

record! {
    /// Asks for facts about the device.
    /// <https://developer.apple.com/documentation/devicemanagement/deviceinformationcommand>
    pub struct DeviceInformation {
        asking {
            /// What is asked.
            queries: Vec<Query> = "Queries",
        }
        optional {
            /// At most 32 bytes; a new one asks for a new `DevicePropertiesAttestation`. Since
            /// iOS 16 and macOS 14.
            attestation_nonce: Vec<u8> = "DeviceAttestationNonce",
        }
    }
}

impl DeviceInformation {
    /// Asks for these facts.
    pub fn of(queries: impl IntoIterator<Item = Query>) -> Self {
        Self::asking(queries.into_iter().collect::<Vec<_>>())
    }

    /// Asks for what a set-up wants to know of a device, on either platform.
    #[must_use]
    pub fn for_set_up() -> Self {
        Self::of([
            Query::Udid,
            Query::SerialNumber,
            Query::DeviceName,
            Query::ProductName,
            Query::ModelName,
            Query::OsVersion,
            Query::BuildVersion,
            Query::AwaitingConfiguration,
            Query::IsSupervised,
            Query::IsAppleSilicon,
            Query::IsActivationLockSupported,
            Query::ActiveManagedUsers,
            Query::MdmOptions,
            Query::ServiceSubscriptions,
        ])
    }
}
