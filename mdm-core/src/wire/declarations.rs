//! Declarative management's own JSON: the endpoints that a device names, the answers, and its status reports. Knows no keys of
//! any payload, and refuses what is no report.
//!
//! <https://developer.apple.com/documentation/devicemanagement/integrating-declarative-management>

use serde_json::{Map, Value, json};

use super::WireError;

/// What a device asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint<'a> {
    /// Whether anything has changed.
    Tokens,
    /// What it should have.
    Items,
    /// One declaration.
    Declaration {
        /// `activation`, `asset`, `configuration` or `management`, as it came.
        kind: &'a str,
        /// `Identifier`, as it came.
        identifier: &'a str,
    },
    /// It reports its status.
    Status,
}

impl<'a> Endpoint<'a> {
    /// Reads `Endpoint`; `None` for one that the protocol does not know.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("tokens"), None, _) => Some(Self::Tokens),
            (Some("declaration-items"), None, _) => Some(Self::Items),
            (Some("status"), None, _) => Some(Self::Status),
            (Some("declaration"), Some(kind), Some(identifier))
                if !kind.is_empty() && !identifier.is_empty() =>
            {
                Some(Self::Declaration { kind, identifier })
            }
            _ => None,
        }
    }
}

/// The answer to `tokens`. `timestamp` is RFC 3339.
#[must_use]
pub fn tokens(declarations_token: &str, timestamp: &str) -> Vec<u8> {
    let body = json!({
        "SyncTokens": { "DeclarationsToken": declarations_token, "Timestamp": timestamp },
    });
    body.to_string().into_bytes()
}

/// The answer to `declaration-items`: (kind, identifier, server token) of each.
#[must_use]
pub fn items<'a>(
    declarations_token: &str,
    all: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
) -> Vec<u8> {
    let mut lists = [const { Vec::new() }; 4];
    for (kind, identifier, server_token) in all {
        let nth = match kind {
            "activation" => 0,
            "asset" => 1,
            "configuration" => 2,
            _ => 3,
        };
        lists[nth].push(json!({ "Identifier": identifier, "ServerToken": server_token }));
    }
    let [activations, assets, configurations, management] = lists;
    // All four must be there, however empty.
    let body = json!({
        "DeclarationsToken": declarations_token,
        "Declarations": {
            "Activations": activations, "Assets": assets, "Configurations": configurations, "Management": management,
        },
    });
    body.to_string().into_bytes()
}

/// A declaration as a device gets it.
#[must_use]
pub fn declaration(
    declaration_type: &str,
    identifier: &str,
    server_token: &str,
    payload: &Map<String, Value>,
) -> Vec<u8> {
    let body = json!({
        "Type": declaration_type, "Identifier": identifier, "ServerToken": server_token, "Payload": payload,
    });
    body.to_string().into_bytes()
}

/// A status report. <https://developer.apple.com/documentation/devicemanagement/statusreport>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StatusReport {
    /// `StatusItems`: nested by the dots of the items' names.
    pub items: Map<String, Value>,
    /// `Errors`.
    pub errors: Vec<StatusError>,
    /// `FullReport`: what is not in it is not so any more.
    pub full: bool,
}

/// A status item that could not be told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StatusError {
    /// `StatusItem`.
    pub item: String,
    /// `Reasons`.
    pub reasons: Vec<StatusReason>,
}

/// Why something is as it is. <https://developer.apple.com/documentation/devicemanagement/statusreason>
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StatusReason {
    /// Such as `Error.ConfigurationCannotBeApplied`; Apple adds to them.
    pub code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What depends on the code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// Reasons of one list that are kept.
const REASONS: usize = 50;
/// Octets of a code, a description, and the details of a reason: longer ones are cut, longer details left out.
const REASON: usize = 1024;
/// Octets of the name of a status item: Apple's have less than a hundred.
const ITEM: usize = 255;
/// Errors of one report that are kept.
const ERRORS: usize = 500;

impl StatusReport {
    /// Reads `Data`. An absent `Errors` or `FullReport` is what some systems leave out.
    ///
    /// # Errors
    /// [`WireError::WrongType`] for what is no JSON object, or has another value than a report's.
    pub fn parse(data: &[u8]) -> Result<Self, WireError> {
        let wrong = |field, expected| WireError::WrongType {
            message: "StatusReport",
            field,
            expected,
        };
        // serde_json refuses what is nested deeper than 128.
        let Ok(Value::Object(mut report)) = serde_json::from_slice(data) else {
            return Err(wrong("Data", "JSON object"));
        };
        let items = match report.remove("StatusItems") {
            None => Map::new(),
            Some(Value::Object(items)) => items,
            Some(_) => return Err(wrong("StatusItems", "object")),
        };
        let errors = match report.remove("Errors") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(errors)) => errors,
            Some(_) => return Err(wrong("Errors", "array")),
        };
        let full = match report.remove("FullReport") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(full)) => full,
            Some(_) => return Err(wrong("FullReport", "boolean")),
        };
        let errors = errors.iter().take(ERRORS).filter_map(|error| {
            let item = either(error, "StatusItem", "status-item")?.as_str()?;
            (item.len() <= ITEM).then(|| StatusError {
                item: item.to_owned(),
                reasons: reasons(either(error, "Reasons", "reasons")),
            })
        });
        Ok(Self {
            items,
            errors: errors.collect(),
            full,
        })
    }

    /// The value of an item, by its dotted name.
    #[must_use]
    pub fn value(&self, item: &str) -> Option<&Value> {
        at(&self.items, item)
    }
}

/// The value at a dotted name.
pub(crate) fn at<'a>(items: &'a Map<String, Value>, item: &str) -> Option<&'a Value> {
    let mut labels = item.split('.');
    let mut value = items.get(labels.next()?)?;
    for label in labels {
        value = value.get(label)?;
    }
    Some(value)
}

/// A list of reasons. Their keys have a capital in reports' errors and none in status items; both are read in both.
#[must_use]
pub fn reasons(list: Option<&Value>) -> Vec<StatusReason> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    let read = list.take(REASONS).filter_map(|reason| {
        let description = either(reason, "Description", "description").and_then(Value::as_str);
        let details = either(reason, "Details", "details").and_then(Value::as_object);
        Some(StatusReason {
            code: cut(either(reason, "Code", "code")?.as_str()?),
            description: description.map(cut),
            details: details
                .filter(|map| serde_json::to_string(map).is_ok_and(|text| text.len() <= REASON))
                .cloned()
                .unwrap_or_default(),
        })
    });
    read.collect()
}

/// Its first [`REASON`] octets, or one to three fewer.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(REASON)].to_owned()
}

fn either<'a>(value: &'a Value, one: &str, other: &str) -> Option<&'a Value> {
    value.get(one).or_else(|| value.get(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_one_of_four_and_an_identifier_may_look_like_a_path() {
        let one = Endpoint::parse;
        assert_eq!(one("tokens"), Some(Endpoint::Tokens));
        assert_eq!(one("declaration-items"), Some(Endpoint::Items));
        assert_eq!(one("status"), Some(Endpoint::Status));
        assert_eq!(
            one("declaration/asset/a/b"),
            Some(Endpoint::Declaration {
                kind: "asset",
                identifier: "a/b"
            })
        );
        for bad in [
            "",
            "/",
            "tokens/",
            "Tokens",
            "declaration",
            "declaration/asset",
            "declaration/asset/",
            "declaration//a",
            "declarations/asset/a",
        ] {
            assert_eq!(one(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_report_is_read_in_either_spelling_and_with_what_older_systems_leave_out() {
        let data = br#"{"StatusItems":{"device":{"x":1}},"Errors":[{"StatusItem":"a.b","Reasons":[{"Code":"Error.Unknown"},
            {"code":"E","description":"d","details":{"k":1}},{"nothing":1}]},{"Reasons":[]}]}"#;
        let report = StatusReport::parse(data).unwrap();
        assert!(!report.full);
        assert_eq!(report.errors.len(), 1);
        let codes: Vec<&str> = report.errors[0]
            .reasons
            .iter()
            .map(|r| r.code.as_str())
            .collect();
        assert_eq!(codes, ["Error.Unknown", "E"]);
        assert!(StatusReport::parse(b"{}").is_ok());
        for bad in [
            &b""[..],
            b"[]",
            b"{",
            br#"{"StatusItems":[]}"#,
            br#"{"Errors":{}}"#,
            br#"{"FullReport":1}"#,
        ] {
            assert!(StatusReport::parse(bad).is_err());
        }
    }

    #[test]
    fn a_manifest_has_all_four_lists() {
        let body: Value =
            serde_json::from_slice(&items("T", [("asset", "a", "t")].into_iter())).unwrap();
        assert_eq!(
            body,
            json!({ "DeclarationsToken": "T", "Declarations": {
                "Activations": [], "Assets": [{ "Identifier": "a", "ServerToken": "t" }], "Configurations": [], "Management": [],
            }})
        );
    }
}
