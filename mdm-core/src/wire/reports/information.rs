//! The answer to `DeviceInformation`.

use plist::Date;

use crate::wire::keys::{Field, answer, numbers};
use crate::wire::report::CommandReport;
use crate::wire::requests::{MdmOptions, OrganizationInfo};

answer! {
    /// The answer to `DeviceInformation`.
    /// <https://developer.apple.com/documentation/devicemanagement/deviceinformationresponse>
    pub struct DeviceInformationAnswer {
        /// The facts.
        responses: DeviceInformation = "QueryResponses",
    }
}

answer! {
    /// `QueryResponses`. What was not asked, not known or not allowed is absent.
    /// <https://developer.apple.com/documentation/devicemanagement/deviceinformationresponse>
    pub struct DeviceInformation {
        @part {
            /// Its networks.
            network: NetworkInformation,
            /// How it is shared, if it is.
            shared: SharedIpadInformation,
        }
        /// The identifier of the device.
        udid: String = "UDID",
        /// The identifier by which provisioning profiles know a Mac; with Apple silicon it is another one. Mac only.
        provisioning_udid: String = "ProvisioningUDID",
        /// Who owns the device, as `Settings` said.
        organization_info: OrganizationInfo = "OrganizationInfo",
        /// Options, as `Settings` said.
        mdm_options: MdmOptions = "MDMOptions",
        /// When iCloud was last backed up to. Not on a Mac.
        last_cloud_backup_date: Date = "LastCloudBackupDate",
        /// Whether the device waits for `DeviceConfigured`.
        awaiting_configuration: bool = "AwaitingConfiguration",
        /// Whether somebody is signed in to the store.
        store_account_is_active: bool = "iTunesStoreAccountIsActive",
        /// A hash of that account.
        store_account_hash: String = "iTunesStoreAccountHash",
        /// The name that the device shows.
        device_name: String = "DeviceName",
        /// The version, such as `26.1`.
        os_version: String = "OSVersion",
        /// The letter of a rapid security response.
        supplemental_os_version_extra: String = "SupplementalOSVersionExtra",
        /// The build.
        build_version: String = "BuildVersion",
        /// The build of a rapid security response.
        supplemental_build_version: String = "SupplementalBuildVersion",
        /// The kind of device, such as `iPhone`.
        model_name: String = "ModelName",
        /// The model number with its region.
        model: String = "Model",
        /// The model number with its region, as in the shop.
        model_number: String = "ModelNumber",
        /// Whether a Mac has Apple silicon. Mac only.
        is_apple_silicon: bool = "IsAppleSilicon",
        /// The hardware, such as `Mac15,7`.
        product_name: String = "ProductName",
        /// The serial number.
        serial: String = "SerialNumber",
        /// Gigabytes.
        device_capacity: f64 = "DeviceCapacity",
        /// Free gigabytes.
        available_device_capacity: f64 = "AvailableDeviceCapacity",
        /// 0 to 1, or -1 if unknown.
        battery_level: f64 = "BatteryLevel",
        /// Whether a Mac has a battery. Mac only.
        has_battery: bool = "HasBattery",
        /// Whether the device is supervised.
        is_supervised: bool = "IsSupervised",
        /// Whether Find My is on. Not on a Mac.
        is_device_locator_service_enabled: bool = "IsDeviceLocatorServiceEnabled",
        /// Deprecated: it errs in both directions.
        is_activation_lock_enabled: bool = "IsActivationLockEnabled",
        /// Whether a Mac can be locked. Mac only.
        is_activation_lock_supported: bool = "IsActivationLockSupported",
        /// Whether Do Not Disturb is on. Not on a Mac.
        is_do_not_disturb_in_effect: bool = "IsDoNotDisturbInEffect",
        /// Whether a Mac can be managed while it is off. Mac only.
        supports_lom_device: bool = "SupportsLOMDevice",
        /// The identifier of an Apple TV. Not on a Mac.
        device_id: String = "DeviceID",
        /// The identifier for Exchange. Not on a Mac.
        eas_device_identifier: String = "EASDeviceIdentifier",
        /// Whether iCloud is backed up to. Not on a Mac.
        is_cloud_backup_enabled: bool = "IsCloudBackupEnabled",
        /// The GUIDs of managed users who are logged in. Mac only.
        active_managed_users: Vec<String> = "ActiveManagedUsers",
        /// How a Mac updates itself. Mac only.
        os_update_settings: OSUpdateSettings = "OSUpdateSettings",
        /// The name by Bonjour. Mac only.
        local_host_name: String = "LocalHostName",
        /// The host name. Mac only.
        host_name: String = "HostName",
        /// The administrators that Setup Assistant made. Mac only.
        auto_setup_admin_accounts: Vec<AutoSetupAdminAccount> = "AutoSetupAdminAccounts",
        /// Whether the system is protected. Mac only.
        system_integrity_protection_enabled: bool = "SystemIntegrityProtectionEnabled",
        /// Whether the service holds it in Lost Mode. Not on a Mac.
        is_mdm_lost_mode_enabled: bool = "IsMDMLostModeEnabled",
        /// The push token of this user channel.
        push_token: Vec<u8> = "PushToken",
        /// Whether diagnostics are sent. Not on a Mac.
        diagnostic_submission_enabled: bool = "DiagnosticSubmissionEnabled",
        /// Whether developers are told of use. Not on a Mac.
        app_analytics_enabled: bool = "AppAnalyticsEnabled",
        /// The time zone. Not on a Mac.
        time_zone: String = "TimeZone",
        /// The cellular slots. Not on a Mac.
        subscriptions: Vec<ServiceSubscription> = "ServiceSubscriptions",
        /// Whether a Mac wants a PIN. Mac only.
        pin_required_for_erase_device: bool = "PINRequiredForEraseDevice",
        /// Whether a Mac wants a PIN. Mac only.
        pin_required_for_device_lock: bool = "PINRequiredForDeviceLock",
        /// Whether a Mac runs applications for iPhone. Mac only.
        supports_ios_app_installs: bool = "SupportsiOSAppInstalls",
        /// The key for Apple's list of updates.
        software_update_device_id: String = "SoftwareUpdateDeviceID",
        /// Which updates are recommended. Not on a Mac.
        software_update_settings: RecommendedUpdates = "SoftwareUpdateSettings",
        /// As `Settings` said, or the user. Not on a Mac.
        accessibility_settings: AccessibilityState = "AccessibilitySettings",
        /// Certificates by which Apple's servers vouch for the device.
        attestation: Vec<Vec<u8>> = "DevicePropertiesAttestation",
        /// Whether a Mac can erase all content and settings. Mac only.
        eacs_preflight: String = "EACSPreflight",
        /// The GUID of the managed user at the screen. Mac only.
        console_managed_user: String = "CurrentConsoleManagedUser",
    }
}

answer! {
    /// What a device tells of its networks.
    pub struct NetworkInformation {
        /// One number; ask for `ServiceSubscriptions` instead. Not on a Mac.
        imei: String = "IMEI",
        /// One number; ask for `ServiceSubscriptions` instead. Not on a Mac.
        meid: String = "MEID",
        /// The firmware of the modem. Not on a Mac.
        modem_firmware_version: String = "ModemFirmwareVersion",
        /// None, GSM, CDMA or both. Not on a Mac.
        cellular_technology: CellularTechnology = "CellularTechnology",
        /// The number of the card. Not on a Mac.
        iccid: String = "ICCID",
        /// The present carrier. Not on a Mac.
        current_carrier_network: String = "CurrentCarrierNetwork",
        /// Deprecated. Not on a Mac.
        sim_carrier_network: String = "SIMCarrierNetwork",
        /// The own carrier. Not on a Mac.
        subscriber_carrier_network: String = "SubscriberCarrierNetwork",
        /// The version of the carrier's settings. Not on a Mac.
        carrier_settings_version: String = "CarrierSettingsVersion",
        /// The number. Not on a Mac.
        phone_number: String = "PhoneNumber",
        /// Whether data may roam. Not on a Mac.
        data_roaming_enabled: bool = "DataRoamingEnabled",
        /// Whether calls may roam. Not on a Mac.
        voice_roaming_enabled: bool = "VoiceRoamingEnabled",
        /// Whether the connection is shared. Not on a Mac.
        personal_hotspot_enabled: bool = "PersonalHotspotEnabled",
        /// Whether the network comes by cable. Not on a Mac.
        is_network_tethered: bool = "IsNetworkTethered",
        /// Whether it roams now. Not on a Mac.
        is_roaming: bool = "IsRoaming",
        /// Deprecated. Not on a Mac.
        sim_mcc: String = "SIMMCC",
        /// Deprecated. Not on a Mac.
        sim_mnc: String = "SIMMNC",
        /// The own country. Not on a Mac.
        subscriber_mcc: String = "SubscriberMCC",
        /// The own network. Not on a Mac.
        subscriber_mnc: String = "SubscriberMNC",
        /// The present country. Not on a Mac.
        current_mcc: String = "CurrentMCC",
        /// The present network. Not on a Mac.
        current_mnc: String = "CurrentMNC",
        /// The address.
        bluetooth_mac: String = "BluetoothMAC",
        /// The address.
        wifi_mac: String = "WiFiMAC",
        /// The address. Mac only.
        ethernet_mac: String = "EthernetMAC",
    }
}

answer! {
    /// What a device tells of how it is shared.
    pub struct SharedIpadInformation {
        /// Whether this is a Shared iPad. Not on a Mac.
        is_multi_user: bool = "IsMultiUser",
        /// How many users there can be. Not on a Mac.
        maximum_resident_users: i64 = "MaximumResidentUsers",
        /// How many users there is room for. Not on a Mac.
        estimated_resident_users: i64 = "EstimatedResidentUsers",
        /// Megabytes for each user. Not on a Mac.
        quota_size: i64 = "QuotaSize",
        /// How many users there are. Not on a Mac.
        resident_users: i64 = "ResidentUsers",
        /// Seconds. Not on a Mac.
        user_session_timeout: i64 = "UserSessionTimeout",
        /// Seconds. Not on a Mac.
        temporary_session_timeout: i64 = "TemporarySessionTimeout",
        /// Only guests. Not on a Mac.
        temporary_session_only: bool = "TemporarySessionOnly",
        /// The domains offered at the login. Not on a Mac.
        managed_apple_id_default_domains: Vec<String> = "ManagedAppleIDDefaultDomains",
        /// Days. Not on a Mac.
        online_authentication_grace_period: i64 = "OnlineAuthenticationGracePeriod",
        /// Whether language and region are not asked for. Not on a Mac.
        skip_language_and_locale_setup_for_new_users: bool = "SkipLanguageAndLocaleSetupForNewUsers",
    }
}

numbers! {
    /// The kind of cellular network.
    pub enum CellularTechnology {
        /// None.
        None = 0,
        /// GSM.
        Gsm = 1,
        /// CDMA.
        Cdma = 2,
        /// Both.
        GsmAndCdma = 3,
    }
}

answer! {
    /// One cellular slot.
    pub struct ServiceSubscription {
        /// Such as `CTSubscriptionSlotOne`.
        slot: String = "Slot",
        /// Some devices write it with spaces: see [`Self::imei_digits`].
        imei: String = "IMEI",
        /// Some devices write it with spaces.
        meid: String = "MEID",
        /// The number of the card.
        iccid: String = "ICCID",
        /// The number of the eSIM.
        eid: String = "EID",
        /// The number.
        phone_number: String = "PhoneNumber",
        /// The label that people see.
        label: String = "Label",
        /// The identifier of the label.
        label_id: String = "LabelID",
        /// Data goes here.
        is_data_preferred: bool = "IsDataPreferred",
        /// Calls go here.
        is_voice_preferred: bool = "IsVoicePreferred",
        /// It roams now.
        is_roaming: bool = "IsRoaming",
        /// The version of the carrier's settings.
        carrier_settings_version: String = "CarrierSettingsVersion",
        /// The present carrier.
        current_carrier_network: String = "CurrentCarrierNetwork",
        /// The own carrier.
        subscriber_carrier_network: String = "SubscriberCarrierNetwork",
        /// The present country.
        current_mcc: String = "CurrentMCC",
        /// The present network.
        current_mnc: String = "CurrentMNC",
    }
}

impl ServiceSubscription {
    /// The IMEI without spaces.
    #[must_use]
    pub fn imei_digits(&self) -> Option<String> {
        self.imei.as_ref().map(|t| t.replace(' ', ""))
    }

    /// The MEID without spaces.
    #[must_use]
    pub fn meid_digits(&self) -> Option<String> {
        self.meid.as_ref().map(|t| t.replace(' ', ""))
    }
}

answer! {
    /// How a Mac updates itself.
    pub struct OSUpdateSettings {
        /// Where updates are listed.
        catalog_url: String = "CatalogURL",
        /// That is Apple's list.
        is_default_catalog: bool = "IsDefaultCatalog",
        /// When it last looked.
        previous_scan_date: Date = "PreviousScanDate",
        /// What it found.
        previous_scan_result: String = "PreviousScanResult",
        /// It looks now and then.
        perform_periodic_check: bool = "PerformPeriodicCheck",
        /// It looks by itself.
        auto_check_enabled: bool = "AutoCheckEnabled",
        /// It downloads by itself.
        background_download_enabled: bool = "BackgroundDownloadEnabled",
        /// It installs applications by itself.
        automatic_app_installation_enabled: bool = "AutomaticAppInstallationEnabled",
        /// It installs systems by itself.
        automatic_os_installation_enabled: bool = "AutomaticOSInstallationEnabled",
        /// It installs what matters for security by itself.
        automatic_security_updates_enabled: bool = "AutomaticSecurityUpdatesEnabled",
    }
}

answer! {
    /// An administrator that Setup Assistant made.
    pub struct AutoSetupAdminAccount {
        /// By which the password is replaced.
        guid: String = "GUID",
        /// The short name.
        short_name: String = "shortName",
    }
}

answer! {
    /// Which updates a device recommends.
    pub struct RecommendedUpdates {
        /// As [`RecommendationCadence`](crate::wire::requests::RecommendationCadence).
        cadence: i64 = "RecommendationsCadence",
    }
}

answer! {
    /// Accessibility as it is now.
    pub struct AccessibilityState {
        /// Bold text.
        bold_text: bool = "BoldTextEnabled",
        /// More contrast.
        increase_contrast: bool = "IncreaseContrastEnabled",
        /// Less motion.
        reduce_motion: bool = "ReduceMotionEnabled",
        /// Less transparency.
        reduce_transparency: bool = "ReduceTransparencyEnabled",
        /// As [`TextSize`](crate::wire::requests::TextSize), or -1 if it is unknown.
        text_size: i64 = "TextSize",
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

impl CommandReport {
    /// The view of a `DeviceInformation` answer.
    #[must_use]
    pub fn device_information(&self) -> Option<DeviceInformation> {
        Some(DeviceInformation::of_value(self.redacted().get("QueryResponses")?)?.0)
    }
}
