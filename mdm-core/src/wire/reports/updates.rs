//! The answers to the commands for software updates.

use plist::Date;

use super::ErrorLink;
use crate::wire::keys::answer;

answer! {
    /// The answer to `AvailableOSUpdates`.
    /// <https://developer.apple.com/documentation/devicemanagement/availableosupdatesresponse>
    pub struct AvailableOSUpdatesAnswer {
        /// The updates that fit.
        updates: Vec<AvailableUpdate> = "AvailableOSUpdates",
    }
}

answer! {
    /// An update that fits.
    pub struct AvailableUpdate {
        /// By which it is asked for.
        product_key: String = "ProductKey",
        /// Its name for people.
        human_readable_name: String = "HumanReadableName",
        /// The language of that name.
        human_readable_name_locale: String = "HumanReadableNameLocale",
        /// Where more of it is told, Mac only.
        metadata_url: String = "MetadataURL",
        /// The name of the system.
        product_name: String = "ProductName",
        /// The version.
        version: String = "Version",
        /// The build.
        build: String = "Build",
        /// Bytes.
        download_size: i64 = "DownloadSize",
        /// Bytes.
        install_size: i64 = "InstallSize",
        /// The applications that it closes, Mac only.
        app_identifiers_to_close: Vec<String> = "AppIdentifiersToClose",
        /// It matters for security.
        is_critical: bool = "IsCritical",
        /// It is configuration data, Mac only.
        is_config_data_update: bool = "IsConfigDataUpdate",
        /// It is firmware, Mac only.
        is_firmware_update: bool = "IsFirmwareUpdate",
        /// It is the next system, Mac only.
        is_major_os_update: bool = "IsMajorOSUpdate",
        /// The device restarts.
        restart_required: bool = "RestartRequired",
        /// It can be put off.
        allows_install_later: bool = "AllowsInstallLater",
        /// A restriction holds it back until then.
        deferred_until: Date = "DeferredUntil",
        /// It needs the bootstrap token, Mac only.
        requires_bootstrap_token: bool = "RequiresBootstrapToken",
        /// It is a rapid security response.
        is_security_response: bool = "IsSecurityResponse",
        /// The build of the response.
        supplemental_build_version: String = "SupplementalBuildVersion",
        /// The letter of the response.
        supplemental_os_version_extra: String = "SupplementalOSVersionExtra",
    }
}

answer! {
    /// The answer to `ScheduleOSUpdateScan`.
    /// <https://developer.apple.com/documentation/devicemanagement/scheduleosupdatescanresponse>
    pub struct ScheduleOSUpdateScanAnswer {
        /// Whether the search began.
        scan_initiated: bool = "ScanInitiated",
    }
}

answer! {
    /// The answer to `ScheduleOSUpdate`.
    /// <https://developer.apple.com/documentation/devicemanagement/scheduleosupdateresponse>
    pub struct ScheduleOSUpdateAnswer {
        /// One result per update.
        results: Vec<UpdateResult> = "UpdateResults",
    }
}

answer! {
    /// What became of one wish for an update.
    pub struct UpdateResult {
        /// Which.
        product_key: String = "ProductKey",
        /// What the device does, or `Error`.
        install_action: String = "InstallAction",
        /// How far it is, such as `Downloading`.
        status: String = "Status",
        /// The errors, the outermost first.
        error_chain: Vec<ErrorLink> = "ErrorChain",
    }
}

answer! {
    /// The answer to `OSUpdateStatus`.
    /// <https://developer.apple.com/documentation/devicemanagement/osupdatestatusresponse>
    pub struct OSUpdateStatusAnswer {
        /// How far each update is.
        updates: Vec<UpdateStatus> = "OSUpdateStatus",
    }
}

answer! {
    /// How far an update is.
    pub struct UpdateStatus {
        /// Which.
        product_key: String = "ProductKey",
        /// It is there.
        is_downloaded: bool = "IsDownloaded",
        /// 0 to 1.
        download_percent_complete: f64 = "DownloadPercentComplete",
        /// `Idle`, `Downloading` or `Installing`.
        status: String = "Status",
        /// How often the user may put it off.
        max_deferrals: i64 = "MaxDeferrals",
        /// How often the user still may.
        deferrals_remaining: i64 = "DeferralsRemaining",
        /// When the Mac will try.
        next_scheduled_install: Date = "NextScheduledInstall",
        /// When the user was told.
        past_notifications: Vec<Date> = "PastNotifications",
    }
}
