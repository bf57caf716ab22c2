//! The answer to `Settings`: one result per item.

use plist::{Dictionary, Value};

use super::text;
use crate::wire::report::{CommandReport, ReportedError, error_chain};

/// What became of one setting. The report's own status says nothing about it.
/// <https://developer.apple.com/documentation/devicemanagement/settingsresponse>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingResult {
    /// `Item`, where the device names it.
    pub item: Option<String>,
    /// `Status`, such as `Acknowledged` or `Error`.
    pub status: Option<String>,
    /// The errors, the outermost first.
    pub error_chain: Vec<ReportedError>,
}

impl SettingResult {
    fn read(of: &Dictionary) -> Self {
        Self {
            item: text(of, "Item"),
            status: text(of, "Status"),
            error_chain: error_chain(of),
        }
    }
}

impl CommandReport {
    /// One result per setting. The schema says dictionary, devices send an array: both are read.
    #[must_use]
    pub fn settings_results(&self) -> Option<Vec<SettingResult>> {
        match self.redacted().get("Settings")? {
            Value::Array(items) => Some(
                items
                    .iter()
                    .filter_map(Value::as_dictionary)
                    .map(SettingResult::read)
                    .collect(),
            ),
            Value::Dictionary(one) => Some(vec![SettingResult::read(one)]),
            // Another type answers something else.
            _ => None,
        }
    }
}
