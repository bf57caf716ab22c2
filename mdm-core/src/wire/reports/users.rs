//! The answer to `UserList`.

use crate::wire::keys::{Field, answer};
use crate::wire::report::CommandReport;

answer! {
    /// The answer to `UserList`.
    /// <https://developer.apple.com/documentation/devicemanagement/userlistresponse>
    pub struct UserListAnswer {
        /// The users.
        users: Vec<DeviceUser> = "Users",
    }
}

answer! {
    /// One user of a Mac or of a Shared iPad.
    /// <https://developer.apple.com/documentation/devicemanagement/userlistresponse>
    pub struct DeviceUser {
        /// The short name, or the account of a Shared iPad.
        user_name: String = "UserName",
        /// The name that people see, Mac only.
        full_name: String = "FullName",
        /// The number of the user, Mac only.
        uid: i64 = "UID",
        /// By which the user's channel is known, Mac only.
        guid: String = "UserGUID",
        /// Logged in now.
        is_logged_in: bool = "IsLoggedIn",
        /// Something has not reached the cloud, Shared iPad only.
        has_data_to_sync: bool = "HasDataToSync",
        /// Bytes, Shared iPad only.
        data_quota: i64 = "DataQuota",
        /// Bytes, Shared iPad only.
        data_used: i64 = "DataUsed",
        /// An account of the network that works without it, Mac only.
        mobile_account: bool = "MobileAccount",
        /// May unlock the volume, Mac only. Since macOS 11.
        has_secure_token: bool = "HasSecureToken",
    }
}

impl CommandReport {
    /// The users of the device.
    #[must_use]
    pub fn users(&self) -> Option<Vec<DeviceUser>> {
        Some(Vec::of_value(self.redacted().get("Users")?)?.0)
    }
}
