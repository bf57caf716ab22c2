//! Runbooks that are kept under a name: listed, shown, edited; and one step of one device done again.

use axum::body::Body;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::Serial;
use mdm_core::migration::{PinnedRunbook, StepId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error::Refusal;
use super::asked::{Path, Query, problem};
use super::{About, Answer, read, refused, shown};

pub(super) async fn list(About { org, .. }: About) -> Answer {
    let runbooks = org.kept_runbooks().await.map_err(refused)?;
    shown(json!({ "runbooks": runbooks }))
}

/// Which edit is wanted.
#[derive(Deserialize)]
pub(super) struct Which {
    revision: Option<u32>,
}

pub(super) async fn show(
    About { org, .. }: About,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Answer {
    let found = org.kept_runbook(&name, which.revision).await;
    let (kept, runbook) = found.map_err(refused)?;
    shown(json!({ "kept": kept, "runbook": runbook }))
}

/// An edit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    name: String,
    platform: Platform,
    runbook: Value,
    revision: Option<u32>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry: bool,
}

pub(super) async fn edit(About { office, org, .. }: About, sent: Body) -> Answer {
    let sent: Edit = read(&office, sent).await?;
    if sent.name.eq_ignore_ascii_case("standard") {
        let why = "is that of the runbooks that come with the server";
        return Err(refused(Error::bad_input("name", why)));
    }
    let runbook = understood(&sent.runbook)?;
    if sent.dry {
        let checked = org.check_runbook(sent.platform, runbook).await;
        let digest = checked.map_err(refused)?.digest();
        return shown(json!({ "name": sent.name, "digest": digest, "kept": null }));
    }
    let kept = org
        .edit_runbook(
            &sent.name,
            sent.platform,
            runbook,
            sent.revision,
            &sent.reason,
        )
        .await;
    shown(json!({ "name": sent.name, "kept": kept.map_err(refused)? }))
}

/// A runbook as it was sent. What is wrong is named by its step; a key that means nothing is a slip of whoever wrote it.
fn understood(sent: &Value) -> Result<PinnedRunbook, Refusal> {
    let runbook: PinnedRunbook = serde_path_to_error::deserialize(sent).map_err(|error| {
        let path = by_step(&error.path().to_string(), sent);
        let path = format!("runbook.{path}");
        refused(problem("body", &path, &error.into_inner().to_string()))
    })?;
    let meant = serde_json::to_value(&runbook).unwrap_or_default();
    match unknown(sent, &meant) {
        None => Ok(runbook),
        Some(path) => {
            let path = by_step(&path, sent);
            let why = "is not known here";
            Err(refused(Error::bad_input(format!("runbook.{path}"), why)))
        }
    }
}

/// The first key with something in it that is not in what was understood.
fn unknown(sent: &Value, meant: &Value) -> Option<String> {
    match (sent, meant) {
        (Value::Object(sent), Value::Object(meant)) => sent.iter().find_map(|(key, value)| {
            let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
            match meant.get(key) {
                None if empty => None,
                // A key may be anything: it is named only when it is a plain word.
                None => Some(plain(key)),
                Some(inner) => unknown(value, inner).map(|rest| format!("{key}.{rest}")),
            }
        }),
        (Value::Array(sent), Value::Array(meant)) => {
            let mut pairs = sent.iter().zip(meant).enumerate();
            pairs.find_map(|(n, (sent, meant))| {
                unknown(sent, meant).map(|rest| format!("[{n}].{rest}"))
            })
        }
        _ => None,
    }
}

fn plain(key: &str) -> String {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if key.len() <= 64 && key.bytes().all(word) {
        key.to_owned()
    } else {
        "a key".to_owned()
    }
}

/// `steps[3].retries` as `steps.trust.retries`.
fn by_step(path: &str, sent: &Value) -> String {
    let path = path.replace(".[", "[");
    let named = || {
        let (number, field) = path.strip_prefix("steps[")?.split_once(']')?;
        let id = &sent["steps"][number.parse::<usize>().ok()?]["id"];
        let id: StepId = serde_json::from_value(id.clone()).ok()?;
        Some(format!("steps.{id}{field}"))
    };
    named().unwrap_or(path.clone())
}

/// Which step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    step: StepId,
}

pub(super) async fn retry(
    About { office, org, .. }: About,
    Path(serial): Path<String>,
    sent: Body,
) -> Answer {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let sent: Retry = read(&office, sent).await?;
    org.retry_step(&serial, sent.step).await.map_err(refused)?;
    office.poke.notify_one();
    shown(json!({ "serial": serial, "step": sent.step }))
}

#[cfg(test)]
mod tests {
    use mdm_core::migration::Variant;

    use super::*;

    fn said(change: impl FnOnce(&mut Value)) -> String {
        let standard = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let mut sent = serde_json::to_value(standard).unwrap();
        change(&mut sent);
        match understood(&sent) {
            Ok(_) => String::new(),
            Err(refusal) => format!("{refusal:?}"),
        }
    }

    #[test]
    fn what_is_wrong_with_a_runbook_is_named_by_step_and_field() {
        assert_eq!(said(|_| {}), "");
        assert_eq!(said(|r| r["status"] = json!({})), "");
        let wrong = said(|r| r["steps"][1]["timeout_secs"] = json!("hunter2"));
        assert!(
            wrong.contains("runbook.steps.trust.timeout_secs"),
            "{wrong}"
        );
        assert!(!wrong.contains("hunter2"), "{wrong}");
        let slip = said(|r| r["steps"][1]["timout_secs"] = json!(7));
        assert!(slip.contains("runbook.steps.trust.timout_secs"), "{slip}");
        let slip = said(|r| r["hard_ceiling"] = json!(7));
        assert!(slip.contains("runbook.hard_ceiling"), "{slip}");
    }
}
