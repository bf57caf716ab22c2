//! What this server declares by itself, beside what people assign: apps that a migration installs or keeps, and the status
//! items that it waits for. Says what, in which words, and for which systems; when, the steps of a runbook say. Knows no store.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::status::{ChannelStatus, Validity};
use super::{DeclaredChannel, hex};
use crate::app_state::{AppState, is_same_app};
use crate::device::Platform;
use crate::enrol::minimum::{is_older, version};
use crate::ids::DeclarationId;

/// What identifiers of ours begin with, and nobody else's.
pub(crate) const PREFIX: &str = "mdmd.";
/// The type of an app's declaration.
pub(crate) const APP: &str = "com.apple.configuration.app.managed";
/// The type of a subscription.
pub(crate) const SUBSCRIPTION: &str = "com.apple.configuration.management.status-subscriptions";
/// The item that says whether a device waits in its hold.
pub(crate) const AWAITING: &str = "mdm.is-awaiting-configuration";
/// The item that says how declared apps are.
pub(crate) const APPS: &str = "app.managed.list";

/// An app as it is to be declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnApp {
    pub(crate) bundle_id: String,
    pub(crate) store_id: Option<u64>,
    pub(crate) manifest_url: Option<String>,
}

impl OwnApp {
    /// The identifier of its declaration: the same app always has the same, on every device.
    pub(crate) fn identifier(&self) -> String {
        let whole = json!([self.bundle_id, self.store_id, self.manifest_url]).to_string();
        let digest = hex(&openssl::sha::sha256(whole.as_bytes())[..4]);
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        // With the ending of its activation it is 64 characters at most.
        let name: String = self.bundle_id.chars().filter(plain).take(34).collect();
        format!("{PREFIX}app.{name}.{digest}")
    }

    /// Its payload: there, and to stay there. A store app comes by a licence of the device.
    pub(crate) fn payload(&self) -> Map<String, Value> {
        let mut behaviour = json!({ "Install": "Required" });
        let mut payload = Map::new();
        if let Some(url) = &self.manifest_url {
            payload.insert("ManifestURL".to_owned(), json!(url));
        } else {
            behaviour["License"] = json!({ "Assignment": "Device" });
            match self.store_id {
                Some(id) => payload.insert("AppStoreID".to_owned(), json!(id.to_string())),
                None => payload.insert("BundleID".to_owned(), json!(self.bundle_id)),
            };
        }
        payload.insert("InstallBehavior".to_owned(), behaviour);
        payload
    }

    /// Whether somebody's declaration of an app speaks of this one.
    pub(crate) fn is_named_by(&self, payload: &Map<String, Value>) -> bool {
        let text = |key: &str| payload.get(key).and_then(Value::as_str);
        text("BundleID").is_some_and(|id| is_same_app(id, &self.bundle_id))
            || text("AppStoreID")
                .is_some_and(|id| id.parse().ok() == self.store_id && self.store_id.is_some())
            || text("ManifestURL").is_some_and(|url| self.manifest_url.as_deref() == Some(url))
    }
}

/// Whether a declaration of an app has it installed, and kept: with anything else a device waits for its user.
pub(crate) fn is_required(payload: &Map<String, Value>) -> bool {
    let behaviour = payload.get("InstallBehavior");
    behaviour
        .and_then(|it| it.get("Install"))
        .and_then(Value::as_str)
        == Some("Required")
}

/// Identifier and payload of the subscription to these items.
pub(crate) fn subscription(items: &BTreeSet<String>) -> (String, Map<String, Value>) {
    let whole = json!(items).to_string();
    let digest = hex(&openssl::sha::sha256(whole.as_bytes())[..8]);
    let items: Vec<Value> = items.iter().map(|name| json!({ "Name": name })).collect();
    let mut payload = Map::new();
    payload.insert("StatusItems".to_owned(), json!(items));
    (format!("{PREFIX}status.{digest}"), payload)
}

/// Whether a system has declared apps: iOS and iPadOS 17.2, macOS 26. One that is not known has not.
pub(crate) fn has_apps(platform: Platform, os_version: Option<&str>) -> bool {
    has(os_version, if platform.is_mac() { "26" } else { "17.2" })
}

/// Whether a system says by declarations that it waits: from 27 on.
pub(crate) fn tells_of_holds(os_version: Option<&str>) -> bool {
    has(os_version, "27")
}

fn has(os_version: Option<&str>, least: &str) -> bool {
    os_version.is_some_and(|it| version(it).is_some() && !is_older(it, least))
}

/// How a channel says that its declared apps are, by bundle identifier.
pub(crate) fn app_states(status: &ChannelStatus) -> BTreeMap<String, AppState> {
    let list = status.value(APPS).and_then(Value::as_array);
    let told = list.into_iter().flatten().filter_map(|item| {
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        let reason = item.get("reasons").and_then(|all| all.get(0));
        let reason = reason.and_then(|it| it.get("code")).and_then(Value::as_str);
        Some((
            text("identifier")?.to_owned(),
            state(text("state")?, reason),
        ))
    });
    told.collect()
}

/// How a channel says that one of our declarations of an app is: in force, or why not. `None`: it has not said.
pub(crate) fn standing(status: &ChannelStatus, app: &OwnApp) -> Option<AppState> {
    let identifier = app.identifier();
    let mut all = status.declarations().into_iter();
    let told = all.find(|it| it.identifier == identifier)?;
    match told.valid {
        Validity::Invalid => {
            let reason = told.reasons.first().map(|reason| reason.code.as_str());
            Some(AppState::Failed(reason.unwrap_or("invalid").to_owned()))
        }
        Validity::Valid if told.active => Some(AppState::InProgress("active".to_owned())),
        _ => None,
    }
}

fn state(word: &str, reason: Option<&str>) -> AppState {
    match word {
        "managed" => AppState::Managed,
        "queued" | "not-present" | "downloading" | "installing" => {
            AppState::InProgress(word.to_owned())
        }
        "prompting-for-consent" | "prompting-for-login" | "prompting-for-management" => {
            AppState::NeedsPerson(word.to_owned())
        }
        "managed-but-uninstalled" => AppState::ManagedButUninstalled,
        "failed" => AppState::Failed(reason.unwrap_or(word).to_owned()),
        other => AppState::Unknown(other.to_owned()),
    }
}

impl DeclaredChannel {
    /// Everything of ours that the channel should have.
    #[must_use]
    pub fn own(&self) -> BTreeSet<DeclarationId> {
        self.apps.union(&self.subscription).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check_content, check_identifier};
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{EnrollmentId, OrganisationId};
    use crate::wire::declarations::StatusReport;

    fn app(store_id: Option<u64>, manifest_url: Option<&str>) -> OwnApp {
        OwnApp {
            bundle_id: "net.example.notes".to_owned(),
            store_id,
            manifest_url: manifest_url.map(str::to_owned),
        }
    }

    #[test]
    fn an_app_is_declared_as_required_in_words_that_a_device_takes() {
        for (app, key) in [
            (app(Some(900_000_001), None), "AppStoreID"),
            (app(None, None), "BundleID"),
            (
                app(None, Some("https://example.com/m.plist")),
                "ManifestURL",
            ),
        ] {
            let payload = app.payload();
            assert!(
                is_required(&payload) && payload.contains_key(key),
                "{payload:?}"
            );
            assert!(app.is_named_by(&payload));
            let store = payload["InstallBehavior"].get("License").is_some();
            assert_eq!(store, key != "ManifestURL");
            check_content(APP, &payload).unwrap();
            assert_eq!(crate::wire::declared::fault(APP, &payload), None);
            check_identifier(&format!("{}.activation", app.identifier())).unwrap();
        }
        let long = OwnApp {
            bundle_id: "ü/net.example.".repeat(20),
            ..app(None, None)
        };
        check_identifier(&format!("{}.activation", long.identifier())).unwrap();
        assert_ne!(
            app(None, None).identifier(),
            app(Some(1), None).identifier()
        );
        let optional = json!({ "BundleID": "x", "InstallBehavior": { "Install": "Optional" } });
        assert!(!is_required(optional.as_object().unwrap()));
        assert!(!app(None, None).is_named_by(optional.as_object().unwrap()));
    }

    #[test]
    fn a_subscription_is_what_a_device_takes() {
        let items = BTreeSet::from([AWAITING.to_owned(), APPS.to_owned()]);
        let (identifier, payload) = subscription(&items);
        check_identifier(&format!("{identifier}.activation")).unwrap();
        assert_eq!(crate::wire::declared::fault(SUBSCRIPTION, &payload), None);
        assert_eq!(payload["StatusItems"][1]["Name"], AWAITING);
    }

    #[test]
    fn a_system_that_is_too_old_or_not_known_has_nothing_of_it() {
        for (platform, version, has) in [
            (Platform::Ios, Some("17.1.2"), false),
            (Platform::Ios, Some("17.2"), true),
            (Platform::Ipados, Some("26.0"), true),
            (Platform::Macos, Some("15.6"), false),
            (Platform::Macos, Some("26.0"), true),
            (Platform::Ios, None, false),
            (Platform::Ios, Some("beta"), false),
        ] {
            assert_eq!(has_apps(platform, version), has, "{platform:?} {version:?}");
        }
        assert!(tells_of_holds(Some("27.0")) && !tells_of_holds(Some("26.9")));
    }

    #[test]
    fn what_a_device_says_of_declared_apps_is_read() {
        let mut status = ChannelStatus::new(
            OrganisationId(1),
            EnrollmentId(1),
            Timestamp::from_millis(0),
        );
        let own = app(None, None);
        let report = json!({ "StatusItems": {
            "app": { "managed": { "list": [
                { "identifier": "a", "state": "managed" }, { "identifier": "b", "state": "downloading" },
                { "identifier": "c", "state": "failed", "reasons": [{ "code": "Error.LicenseNotFound" }] },
                { "identifier": "d", "state": "optional" } ] } },
            "management": { "declarations": { "configurations": [
                { "identifier": own.identifier(), "server-token": "t", "active": true, "valid": "invalid",
                  "reasons": [{ "code": "Error.ConfigurationFailed" }] } ] } } } });
        assert_eq!(standing(&status, &own), None);
        let report = StatusReport::parse(report.to_string().as_bytes()).unwrap();
        status.take(report, Timestamp::from_millis(1));
        let told = app_states(&status);
        assert!(told["a"].is_managed() && told["b"].is_taken_on());
        assert_eq!(
            told["c"],
            AppState::Failed("Error.LicenseNotFound".to_owned())
        );
        assert!(matches!(told["d"], AppState::Unknown(_)));
        let failed = AppState::Failed("Error.ConfigurationFailed".to_owned());
        assert_eq!(standing(&status, &own), Some(failed));
    }
}
