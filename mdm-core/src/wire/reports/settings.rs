//! The answer to `Settings`: one result per item.

use crate::wire::keys::{Field, OneOrMany, answer};
use crate::wire::report::{CommandReport, ReportedError};

answer! {
    /// The answer to `Settings`.
    /// <https://developer.apple.com/documentation/devicemanagement/settingsresponse>
    pub struct SettingsAnswer {
        /// One result per setting. The schema says dictionary, devices send an array.
        results: OneOrMany<SettingResult> = "Settings",
    }
}

answer! {
    /// What became of one setting. The report's own status says nothing about it.
    /// <https://developer.apple.com/documentation/devicemanagement/settingsresponse>
    pub struct SettingResult {
        /// Which, where the device names it.
        item: String = "Item",
        /// `Acknowledged` or `Error`.
        status: String = "Status",
        /// The errors, the outermost first.
        error_chain: Vec<ErrorLink> = "ErrorChain",
        /// The bundle identifier, for a setting of an application.
        identifier: String = "Identifier",
    }
}

answer! {
    /// One link of an error chain, as received; see [`ReportedError`].
    pub struct ErrorLink {
        /// The code, which changes between releases.
        code: i64 = "ErrorCode",
        /// Whose it is.
        domain: String = "ErrorDomain",
        /// In the language of the device.
        localized_description: String = "LocalizedDescription",
        /// In English.
        description: String = "USEnglishDescription",
    }
}

impl SettingResult {
    /// The errors, the outermost first, cut to what somebody may read.
    #[must_use]
    pub fn errors(&self) -> Vec<ReportedError> {
        crate::wire::report::errors_of(self.error_chain.iter().flatten())
    }
}

impl CommandReport {
    /// One result per setting.
    #[must_use]
    pub fn settings_results(&self) -> Option<Vec<SettingResult>> {
        let (results, _) = OneOrMany::of_value(self.redacted().get("Settings")?)?;
        Some(match results {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        })
    }
}
