//! The answers to `InstalledApplicationList`, `ManagedApplicationList` and `InstallApplication`.

use super::{boolean, dictionaries, integer, text};
use crate::wire::report::CommandReport;

/// One item of `InstalledApplicationList`: what is on the device, whoever put it there.
/// <https://developer.apple.com/documentation/devicemanagement/installedapplicationlistresponse>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstalledApplication {
    /// `Identifier`, the bundle identifier; some Mac applications have none.
    pub identifier: Option<String>,
    /// `Name`.
    pub name: Option<String>,
    /// `Version`.
    pub version: Option<String>,
    /// `ShortVersion`.
    pub short_version: Option<String>,
    /// `Installing`: it is there, but not whole yet.
    pub installing: Option<bool>,
    /// `DeviceBasedVPP`: licensed to the device, a hint that it was managed.
    pub device_licensed: Option<bool>,
    /// `Source`, such as `Declarative Device Management`.
    pub source: Option<String>,
}

/// One entry of `ManagedApplicationList`: what this service manages by command.
/// <https://developer.apple.com/documentation/devicemanagement/managedapplicationlistresponse>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagedApplication {
    /// The bundle identifier.
    pub identifier: String,
    /// `Status`, such as `Managed`; see [`crate::app_state::AppState`].
    pub status: String,
    /// `ManagementFlags`: 1 removed with the profile, 4 not backed up.
    pub management_flags: Option<i64>,
    /// `IsValidated`.
    pub is_validated: Option<bool>,
}

/// The answer to `InstallApplication`.
/// <https://developer.apple.com/documentation/devicemanagement/installapplicationresponse>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstallAnswer {
    /// `Identifier`, the bundle identifier.
    pub identifier: Option<String>,
    /// `State`; see [`crate::app_state::AppState`].
    pub state: Option<String>,
    /// `RejectionReason`, on failure.
    pub rejection_reason: Option<String>,
}

impl CommandReport {
    /// What is on the device.
    #[must_use]
    pub fn installed_applications(&self) -> Option<Vec<InstalledApplication>> {
        let items = dictionaries(self.redacted(), "InstalledApplicationList")?;
        Some(
            items
                .map(|app| InstalledApplication {
                    identifier: text(app, "Identifier"),
                    name: text(app, "Name"),
                    version: text(app, "Version"),
                    short_version: text(app, "ShortVersion"),
                    installing: boolean(app, "Installing"),
                    device_licensed: boolean(app, "DeviceBasedVPP"),
                    source: text(app, "Source"),
                })
                .collect(),
        )
    }

    /// What this service manages by command, by bundle identifier.
    #[must_use]
    pub fn managed_applications(&self) -> Option<Vec<ManagedApplication>> {
        let list = self.redacted().get("ManagedApplicationList")?;
        let mut apps: Vec<_> = list
            .as_dictionary()?
            .iter()
            .filter_map(|(identifier, app)| {
                let app = app.as_dictionary()?;
                Some(ManagedApplication {
                    identifier: identifier.clone(),
                    status: text(app, "Status")?,
                    management_flags: integer(app, "ManagementFlags"),
                    is_validated: boolean(app, "IsValidated"),
                })
            })
            .collect();
        apps.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        Some(apps)
    }

    /// The view of an `InstallApplication` answer, whether it was accepted or rejected.
    #[must_use]
    pub fn install_answer(&self) -> Option<InstallAnswer> {
        let all = self.redacted();
        let answer = InstallAnswer {
            identifier: text(all, "Identifier"),
            state: text(all, "State"),
            rejection_reason: text(all, "RejectionReason"),
        };
        (answer.state.is_some() || answer.rejection_reason.is_some()).then_some(answer)
    }
}
