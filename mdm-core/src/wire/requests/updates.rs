//! Software updates by command, which declarations have replaced: `ScheduleOSUpdate`,
//! `ScheduleOSUpdateScan`.

use crate::wire::keys::{record, words};

record! {
    /// Looks for updates, Mac only.
    /// <https://developer.apple.com/documentation/devicemanagement/scheduleosupdatescancommand>
    pub struct ScheduleOSUpdateScan {
        optional {
            /// Now, and not when the Mac thinks fit.
            force: bool = "Force",
        }
    }
}

words! {
    /// What is done with an update.
    pub enum InstallAction {
        /// What the device thinks fit: download, or install what is downloaded.
        Default = "Default",
        /// Download.
        DownloadOnly = "DownloadOnly",
        /// Install, on a Mac with a countdown to the restart.
        InstallAsap = "InstallASAP",
        /// Download and tell the user, Mac only.
        NotifyOnly = "NotifyOnly",
        /// Download and install at night, Mac only.
        InstallLater = "InstallLater",
        /// Install and restart without asking, Mac only. Unsaved work is lost.
        InstallForceRestart = "InstallForceRestart",
    }
}

words! {
    /// How hard a Mac works on an update.
    pub enum UpdatePriority {
        /// As for the updates of its own.
        Low = "Low",
        /// As if the user had asked.
        High = "High",
    }
}

record! {
    /// One update.
    pub struct UpdateRequest {
        new {
            /// What is done with it.
            install_action: InstallAction = "InstallAction",
        }
        optional {
            /// The key from `AvailableOSUpdates`.
            product_key: String = "ProductKey",
            /// The version, such as `26.1`.
            product_version: String = "ProductVersion",
            /// How often the user may put off an `InstallLater`.
            max_user_deferrals: i64 = "MaxUserDeferrals",
            /// Only for small updates of a Mac.
            priority: UpdatePriority = "Priority",
        }
    }
}

record! {
    /// Installs updates on supervised devices.
    /// <https://developer.apple.com/documentation/devicemanagement/scheduleosupdatecommand>
    pub struct ScheduleOSUpdate {
        new {
            /// Which.
            updates: Vec<UpdateRequest> = "Updates",
        }
    }
}
