//! The answer to `UserList`.

use super::{boolean, dictionaries, integer, text};
use crate::wire::report::CommandReport;

/// One user of the device.
/// <https://developer.apple.com/documentation/devicemanagement/userlistresponse>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceUser {
    /// `UserName`, the short name.
    pub user_name: Option<String>,
    /// `FullName`.
    pub full_name: Option<String>,
    /// `UID`.
    pub uid: Option<i64>,
    /// `UserGUID`.
    pub guid: Option<String>,
    /// `IsLoggedIn`.
    pub is_logged_in: Option<bool>,
    /// `HasSecureToken`: may unlock the volume.
    pub has_secure_token: Option<bool>,
}

impl CommandReport {
    /// The users of the device.
    #[must_use]
    pub fn users(&self) -> Option<Vec<DeviceUser>> {
        let items = dictionaries(self.redacted(), "Users")?;
        Some(
            items
                .map(|user| DeviceUser {
                    user_name: text(user, "UserName"),
                    full_name: text(user, "FullName"),
                    uid: integer(user, "UID"),
                    guid: text(user, "UserGUID"),
                    is_logged_in: boolean(user, "IsLoggedIn"),
                    has_secure_token: boolean(user, "HasSecureToken"),
                })
                .collect(),
        )
    }
}
