//! The answers to `InstalledApplicationList`, `ManagedApplicationList` and `InstallApplication`.

use std::collections::BTreeMap;

use plist::Value;

use crate::wire::keys::{Field, Keys, Withheld, answer};
use crate::wire::report::CommandReport;

answer! {
    /// The answer to `InstalledApplicationList`.
    /// <https://developer.apple.com/documentation/devicemanagement/installedapplicationlistresponse>
    pub struct InstalledApplicationListAnswer {
        /// What is on the device.
        applications: Vec<InstalledApplication> = "InstalledApplicationList",
    }
}

answer! {
    /// One item of `InstalledApplicationList`: what is on the device, whoever put it there.
    /// <https://developer.apple.com/documentation/devicemanagement/installedapplicationlistresponse>
    pub struct InstalledApplication {
        /// The bundle identifier; some Mac applications have none.
        identifier: String = "Identifier",
        /// The name.
        name: String = "Name",
        /// The build.
        version: String = "Version",
        /// The version as people know it.
        short_version: String = "ShortVersion",
        /// The store's number of this version.
        external_version_identifier: u64 = "ExternalVersionIdentifier",
        /// The marketplace that it came from.
        distributor_identifier: String = "DistributorIdentifier",
        /// Bytes. Since iOS 26 and macOS 26 only if it was asked for.
        bundle_size: u64 = "BundleSize",
        /// Bytes of its data. Since iOS 26 only if it was asked for.
        dynamic_size: u64 = "DynamicSize",
        /// It may run; not so one of one's own whose permission has ended.
        is_validated: bool = "IsValidated",
        /// It is there, but not whole yet.
        installing: bool = "Installing",
        /// It is of the store.
        app_store_vendable: bool = "AppStoreVendable",
        /// Licensed to the device, a hint that it was managed.
        device_licensed: bool = "DeviceBasedVPP",
        /// It comes from a test by TestFlight.
        beta_app: bool = "BetaApp",
        /// It is signed without an identity.
        ad_hoc_code_signed: bool = "AdHocCodeSigned",
        /// There is a newer one.
        has_update_available: bool = "HasUpdateAvailable",
        /// The download failed.
        download_failed: bool = "DownloadFailed",
        /// The download waits.
        download_waiting: bool = "DownloadWaiting",
        /// The user paused the download.
        download_paused: bool = "DownloadPaused",
        /// The user gave the download up.
        download_cancelled: bool = "DownloadCancelled",
        /// It is a clip.
        is_app_clip: bool = "IsAppClip",
        /// Who manages it, such as `Declarative Device Management`. Since iOS 17.2.
        source: String = "Source",
        /// Where it is, Mac only.
        path: String = "Path",
    }
}

answer! {
    /// The answer to `ManagedApplicationList`.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationlistresponse>
    pub struct ManagedApplicationListAnswer {
        /// By bundle identifier.
        applications: BTreeMap<String, ManagedApplication> = "ManagedApplicationList",
    }
}

answer! {
    /// One entry of `ManagedApplicationList`: what this service manages by command.
    /// <https://developer.apple.com/documentation/devicemanagement/managedapplicationlistresponse>
    pub struct ManagedApplication {
        /// A word such as `Managed`; see [`crate::app_state::AppState`].
        status: String = "Status",
        /// 1 removed with the profile, 4 not backed up.
        management_flags: i64 = "ManagementFlags",
        /// A redemption code that was not needed.
        unused_redemption_code: Withheld = "UnusedRedemptionCode",
        /// It has a configuration.
        has_configuration: bool = "HasConfiguration",
        /// It left something to read.
        has_feedback: bool = "HasFeedback",
        /// It may run.
        is_validated: bool = "IsValidated",
        /// The store's number of this version.
        external_version_identifier: u64 = "ExternalVersionIdentifier",
    }
}

answer! {
    /// The answer to `InstallApplication`.
    /// <https://developer.apple.com/documentation/devicemanagement/installapplicationresponse>
    pub struct InstallAnswer {
        /// The bundle identifier.
        identifier: String = "Identifier",
        /// A word such as `Queued`; see [`crate::app_state::AppState`].
        state: String = "State",
        /// Why not, such as `AppAlreadyInstalled`.
        rejection_reason: String = "RejectionReason",
    }
}

impl CommandReport {
    /// What is on the device.
    #[must_use]
    pub fn installed_applications(&self) -> Option<Vec<InstalledApplication>> {
        let items = self.redacted().get("InstalledApplicationList")?;
        Some(Vec::of_value(items)?.0)
    }

    /// What this service manages by command, by bundle identifier.
    #[must_use]
    pub fn managed_applications(&self) -> Option<BTreeMap<String, ManagedApplication>> {
        let list = self.redacted().get("ManagedApplicationList")?;
        Some(BTreeMap::of_value(list)?.0)
    }

    /// The view of an `InstallApplication` answer, whether it was accepted or rejected.
    #[must_use]
    pub fn install_answer(&self) -> Option<InstallAnswer> {
        let keys = ["State", "RejectionReason"];
        let of_installation = |key| self.redacted().get(key).and_then(Value::as_string);
        keys.into_iter().find_map(of_installation)?;
        Some(InstallAnswer::read(&self.own_keys())?.0)
    }
}
