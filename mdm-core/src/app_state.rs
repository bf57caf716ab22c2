//! The words in which a device says how a managed app is, and what each means for a hold.

use serde::{Deserialize, Serialize};

/// Whether two bundle identifiers name the same app. Apps differ in more than case, and a runbook, an import and a device may
/// spell one differently: this is the only comparison that there is.
pub(crate) const fn is_same_app(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// A bundle identifier as a key: the same of all spellings of an app.
pub(crate) fn app_key(bundle_id: &str) -> String {
    bundle_id.to_ascii_lowercase()
}

/// State of a managed app, from `InstallApplication` and `ManagedApplicationList`.
///
/// <https://developer.apple.com/documentation/devicemanagement/managed-application-list-command>
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum AppState {
    /// There, and managed by us.
    Managed,
    /// Under way; the word that the device used.
    InProgress(String),
    /// A person would have to act; the word that the device used.
    NeedsPerson(String),
    /// Managed, but the user removed it.
    ManagedButUninstalled,
    /// Failed; said once and then gone. The word that the device used.
    Failed(String),
    /// The device does not know, or used a word that we do not know: ask again.
    Unknown(String),
}

impl AppState {
    /// From the device's word.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word {
            "Managed" => Self::Managed,
            "Queued" | "ValidatingPurchase" | "Installing" | "Redeeming" | "Updating"
            | "ValidatingUpdate" => Self::InProgress(word.to_owned()),
            "Prompting"
            | "PromptingForLogin"
            | "PromptingForUpdate"
            | "PromptingForUpdateLogin"
            | "PromptingForManagement"
            | "NeedsRedemption" => Self::NeedsPerson(word.to_owned()),
            "ManagedButUninstalled" => Self::ManagedButUninstalled,
            "UserInstalledApp" | "UserRejected" | "UpdateRejected" | "ManagementRejected"
            | "Failed" => Self::Failed(word.to_owned()),
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// The device has taken it on: enough for an app that is installed anew.
    #[must_use]
    pub const fn is_taken_on(&self) -> bool {
        matches!(self, Self::Managed | Self::InProgress(_))
    }

    /// It is managed by us: what a kept app needs before the release.
    #[must_use]
    pub const fn is_managed(&self) -> bool {
        matches!(self, Self::Managed)
    }
}
