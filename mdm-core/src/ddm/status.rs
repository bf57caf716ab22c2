//! What a channel says of its declarations and of itself: each report folded into what was known. Does no IO.
//!
//! <https://developer.apple.com/documentation/devicemanagement/statusreport>

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{DeclarationKind, DeclarationManifest};
use crate::clock::Timestamp;
use crate::ids::{EnrollmentId, OrganisationId};
use crate::wire::declarations::{StatusError, StatusReason, StatusReport, at, reasons};

/// Octets of a channel's status that are kept. A device that says more keeps the parts that management is about.
const LARGEST: usize = 1024 * 1024;

/// Octets of its errors that are kept: those whose items come first.
const LARGEST_ERRORS: usize = 256 * 1024;

/// What is kept when there is too much.
const KEPT: [&str; 4] = ["management", "device", "mdm", "softwareupdate"];

/// Items whose value is a dictionary: a new one takes the place of the old one as a whole.
const DICTIONARIES: [&str; 5] = [
    "management.client-capabilities",
    "softwareupdate.failure-reason",
    "softwareupdate.install-reason",
    "softwareupdate.pending-version",
    "test.dictionary-value",
];

/// Everything that a channel has reported, as of its last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ChannelStatus {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The channel.
    pub id: EnrollmentId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The status items, nested by the dots of their names.
    pub items: Map<String, Value>,
    /// Items that could not be told, as of the last report that said anything of them.
    pub errors: BTreeMap<String, Vec<StatusReason>>,
    /// When the last report came.
    pub received: Timestamp,
    /// When the last full one came.
    pub full: Option<Timestamp>,
    /// How many came.
    pub reports: u64,
    /// There was more than is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// When the channel ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl ChannelStatus {
    /// Of a channel that has reported nothing.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: EnrollmentId, now: Timestamp) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            items: Map::new(),
            errors: BTreeMap::new(),
            received: now,
            full: None,
            reports: 0,
            cut: false,
            ended: None,
        }
    }

    /// Takes in a report: a full one replaces everything; of others scalars replace, lists change by `identifier`.
    pub fn take(&mut self, report: StatusReport, now: Timestamp) {
        self.received = now;
        self.ended = None;
        self.reports = self.reports.saturating_add(1);
        if report.full {
            self.full = Some(now);
            self.items.clear();
            self.errors.clear();
            self.cut = false;
        }
        // What is told now is in error no longer.
        self.errors
            .retain(|item, _| at(&report.items, item).is_none());
        fold(&mut self.items, report.items, &mut String::new());
        for StatusError { item, reasons } in report.errors {
            self.errors.insert(item, reasons);
        }
        self.cut_down();
    }

    fn cut_down(&mut self) {
        let size = |items: &Map<String, Value>| serde_json::to_vec(items).map_or(0, |v| v.len());
        if size(&self.items) > LARGEST {
            self.cut = true;
            self.items
                .retain(|family, _| KEPT.contains(&family.as_str()));
            if size(&self.items) > LARGEST {
                self.items.clear();
            }
        }
        let mut left = LARGEST_ERRORS;
        let many = self.errors.len();
        self.errors.retain(|item, reasons| {
            let size = serde_json::to_vec(&(&item, &reasons)).map_or(usize::MAX, |v| v.len());
            left = left.saturating_sub(size);
            left > 0
        });
        while self.errors.len() > 500 {
            self.errors.pop_last();
        }
        self.cut |= self.errors.len() < many;
    }

    /// The value of an item, by its dotted name.
    #[must_use]
    pub fn value(&self, item: &str) -> Option<&Value> {
        at(&self.items, item)
    }

    /// What the channel says of its declarations.
    #[must_use]
    pub fn declarations(&self) -> Vec<ReportedDeclaration> {
        let mut all = Vec::new();
        for (kind, list) in [
            (DeclarationKind::Activation, "activations"),
            (DeclarationKind::Asset, "assets"),
            (DeclarationKind::Configuration, "configurations"),
            (DeclarationKind::Management, "management"),
        ] {
            let list = self
                .value("management.declarations")
                .and_then(|d| d.get(list));
            let list = list.and_then(Value::as_array).into_iter().flatten();
            all.extend(list.filter_map(|entry| {
                let text = |key: &str| entry.get(key).and_then(Value::as_str);
                Some(ReportedDeclaration {
                    kind,
                    identifier: text("identifier")?.to_owned(),
                    server_token: text("server-token").unwrap_or_default().to_owned(),
                    active: entry
                        .get("active")
                        .and_then(Value::as_bool)
                        .unwrap_or(false),
                    valid: Validity::of(text("valid")),
                    reasons: reasons(entry.get("reasons")),
                })
            }));
        }
        all
    }

    /// Types of declarations that the channel says it knows; `None` when it has said nothing of that.
    #[must_use]
    pub fn supported(&self) -> Option<BTreeSet<&str>> {
        let told = self.value("management.client-capabilities")?;
        let lists = told.get("supported-payloads")?.get("declarations")?;
        let lists = lists.as_object()?.values().filter_map(Value::as_array);
        let all: BTreeSet<&str> = lists.flatten().filter_map(Value::as_str).collect();
        // One that knows nothing at all has not said it this way.
        (!all.is_empty()).then_some(all)
    }

    /// Whether the channel has said that it has exactly what this list says.
    #[must_use]
    pub fn agrees_with(&self, manifest: &DeclarationManifest) -> bool {
        let told = self.declarations();
        told.len() == manifest.items.len()
            && told.iter().all(|it| {
                let item = manifest.item(it.kind, &it.identifier);
                item.is_some_and(|item| item.server_token == it.server_token)
            })
    }
}

/// What a channel says of one declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ReportedDeclaration {
    /// Its kind, by the list in which it stands.
    pub kind: DeclarationKind,
    /// `identifier`.
    pub identifier: String,
    /// `server-token`: of which content it speaks.
    pub server_token: String,
    /// Whether it is in force. Of management declarations always `false`.
    pub active: bool,
    /// Whether the device could make sense of it.
    pub valid: Validity,
    /// Why not.
    pub reasons: Vec<StatusReason>,
}

/// Whether a device could make sense of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Validity {
    /// Not looked at yet, or a word that is not known here.
    Unknown,
    /// Yes.
    Valid,
    /// No; the reasons say why.
    Invalid,
}

impl Validity {
    fn of(word: Option<&str>) -> Self {
        match word {
            Some("valid") => Self::Valid,
            Some("invalid") => Self::Invalid,
            _ => Self::Unknown,
        }
    }
}

// Recursion is bounded by the depth under which the report was read.
fn fold(known: &mut Map<String, Value>, told: Map<String, Value>, path: &mut String) {
    for (key, value) in told {
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&key);
        match (known.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new))
                if !DICTIONARIES.contains(&path.as_str()) =>
            {
                fold(old, new, path);
            }
            (Some(Value::Array(old)), Value::Array(new)) => fold_list(old, new),
            (_, Value::Array(new)) => {
                let mut list = Vec::new();
                fold_list(&mut list, new);
                known.insert(key, Value::Array(list));
            }
            (_, value) => {
                known.insert(key, value);
            }
        }
        path.truncate(length);
    }
}

/// A list of things with an `identifier` changes thing by thing; any other is told whole.
fn fold_list(known: &mut Vec<Value>, told: Vec<Value>) {
    let name = |value: &Value| -> Option<String> {
        let identifier = value.get("identifier")?.as_str()?;
        Some(identifier.to_owned())
    };
    if told.iter().any(|value| name(value).is_none()) {
        *known = told;
        return;
    }
    // A report may name thousands: places by name, not a walk for each.
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut all: Vec<Option<Value>> = std::mem::take(known).into_iter().map(Some).collect();
    for (nth, value) in all.iter().enumerate() {
        if let Some(name) = value.as_ref().and_then(name) {
            places.insert(name, nth);
        }
    }
    for value in told {
        // Checked above.
        let Some(name) = name(&value) else { continue };
        let gone = |key: &str| value.get(key).and_then(Value::as_bool) == Some(true);
        let is_gone = gone("_removed") || gone("removed");
        match places.get(&name) {
            Some(nth) => all[*nth] = (!is_gone).then_some(value),
            None if is_gone => {}
            None => {
                places.insert(name, all.len());
                all.push(Some(value));
            }
        }
    }
    known.extend(all.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> ChannelStatus {
        ChannelStatus::new(
            OrganisationId(1),
            EnrollmentId(2),
            Timestamp::from_millis(0),
        )
    }

    fn take(status: &mut ChannelStatus, report: &Value) {
        let report = StatusReport::parse(report.to_string().as_bytes()).unwrap();
        status.take(report, Timestamp::from_millis(1));
    }

    #[test]
    fn errors_are_bounded_whatever_a_device_says() {
        let mut it = status();
        let long = "x".repeat(16 * 1024);
        for nth in 0..60 {
            let reason = json!({ "Code": long, "Description": long, "Details": { "a": long } });
            let told: Vec<Value> = (0..3)
                .map(|more| json!({ "StatusItem": format!("a.{nth}.{more}"), "Reasons": [reason] }))
                .collect();
            take(&mut it, &json!({ "Errors": told }));
        }
        let name = json!({ "StatusItem": long, "Reasons": [] });
        take(&mut it, &json!({ "Errors": [name] }));
        let kept = serde_json::to_vec(&it).unwrap().len();
        assert!(kept < 300 * 1024, "{kept} octets are kept");
        assert!(it.cut && it.errors.len() > 50);
        let reason = &it.errors.values().next().unwrap()[0];
        assert_eq!((reason.code.len(), reason.details.len()), (1024, 0));
        // A character is cut off as a whole.
        let text = "ü".repeat(1000);
        let one = json!({ "StatusItem": "b", "Reasons": [{ "Code": format!("x{text}") }] });
        let report = json!({ "Errors": [one], "FullReport": true });
        take(&mut it, &report);
        assert_eq!(it.errors["b"][0].code.len(), 1023);
        assert!(!it.cut);
    }

    #[test]
    fn scalars_are_replaced_and_lists_change_by_identifier() {
        let mut it = status();
        take(
            &mut it,
            &json!({ "StatusItems": { "device": { "model": { "family": "Mac" }, "operating-system": { "version": "26.1" } },
                "app": { "managed": { "list": [{ "identifier": "a", "state": "managed" }, { "identifier": "b" }] } } } }),
        );
        take(
            &mut it,
            &json!({ "StatusItems": { "device": { "operating-system": { "version": "26.2" } },
                "app": { "managed": { "list": [{ "identifier": "b", "_removed": true }, { "identifier": "c" },
                    { "identifier": "d", "removed": true }, { "identifier": "a", "state": "failed" }] } } } }),
        );
        assert_eq!(it.value("device.model.family"), Some(&json!("Mac")));
        assert_eq!(
            it.value("device.operating-system.version"),
            Some(&json!("26.2"))
        );
        assert_eq!(
            it.value("app.managed.list"),
            Some(&json!([{ "identifier": "a", "state": "failed" }, { "identifier": "c" }]))
        );
        take(
            &mut it,
            &json!({ "StatusItems": { "x": [1] }, "FullReport": true }),
        );
        assert_eq!(it.items, json!({ "x": [1] }).as_object().cloned().unwrap());
        assert_eq!(it.reports, 3);
    }

    #[test]
    fn a_dictionary_is_replaced_and_lists_without_identifiers_too() {
        let mut it = status();
        take(
            &mut it,
            &json!({ "StatusItems": { "softwareupdate": { "install-reason": { "reason": ["declaration"], "declaration-id": "d" } },
                "management": { "client-capabilities": { "supported-versions": ["1", "2"] } } } }),
        );
        take(
            &mut it,
            &json!({ "StatusItems": { "softwareupdate": { "install-reason": { "reason": ["auto-update"] } },
                "management": { "client-capabilities": { "supported-versions": ["3"] } } } }),
        );
        assert_eq!(
            it.value("softwareupdate.install-reason"),
            Some(&json!({ "reason": ["auto-update"] }))
        );
        assert_eq!(
            it.value("management.client-capabilities.supported-versions"),
            Some(&json!(["3"]))
        );
    }

    #[test]
    fn an_error_stands_until_its_item_is_told() {
        let mut it = status();
        take(
            &mut it,
            &json!({ "StatusItems": {}, "Errors": [{ "StatusItem": "a.b", "Reasons": [{ "Code": "Error.Unknown" }] }] }),
        );
        assert_eq!(it.errors["a.b"][0].code, "Error.Unknown");
        take(&mut it, &json!({ "StatusItems": { "a": { "c": 1 } } }));
        assert_eq!(it.errors.len(), 1);
        take(&mut it, &json!({ "StatusItems": { "a": { "b": 1 } } }));
        assert!(it.errors.is_empty());
    }

    #[test]
    fn what_a_device_says_of_declarations_is_read_by_kind() {
        let mut it = status();
        take(
            &mut it,
            &json!({ "StatusItems": { "management": { "declarations": {
                "activations": [{ "identifier": "a", "server-token": "t", "active": true, "valid": "valid" }],
                "configurations": [{ "identifier": "c", "server-token": "u", "active": true, "valid": "invalid",
                    "reasons": [{ "code": "Error.ConfigurationCannotBeApplied" }] }],
                "assets": [], "management": [{ "identifier": "m", "server-token": "v", "active": false, "valid": "someday" }],
            } } } }),
        );
        let all = it.declarations();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].valid, Validity::Invalid);
        assert_eq!(all[1].reasons[0].code, "Error.ConfigurationCannotBeApplied");
        assert_eq!(
            (all[2].kind, all[2].valid),
            (DeclarationKind::Management, Validity::Unknown)
        );
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut it = status();
        let list: Vec<Value> = (0..30_000)
            .map(|n| json!({ "identifier": format!("app.{n}"), "name": "x".repeat(30) }))
            .collect();
        take(
            &mut it,
            &json!({ "StatusItems": { "device": { "a": 1 }, "app": { "managed": { "list": list } } } }),
        );
        assert!(it.cut);
        assert_eq!(it.value("device.a"), Some(&json!(1)));
        assert_eq!(it.value("app"), None);
    }
}
