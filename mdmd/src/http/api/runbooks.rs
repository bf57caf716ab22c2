//! Runbooks that are kept under a name: listed, shown, edited, removed; and one step of one device done again.

use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::Serial;
use mdm_core::migration::{PinnedRunbook, SentRunbook, StepId};
use mdm_core::runbook::KeptRunbook;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::Refusal;
use super::asked::{Path, problem};
use super::described::{Sent, Shows, Versioned, told};
use super::tagged::Version;
use super::{About, Answer, Names, cut_by_name, refused, shown};

pub(super) async fn list(About { org, which, .. }: About<Names>) -> Answer<impl Shows> {
    let runbooks = org.kept_runbooks().await.map_err(refused)?;
    let (after, limit) = (which.after.as_deref(), which.limit);
    let (runbooks, next) = cut_by_name(runbooks, after, limit, |view| &view.runbook.name);
    shown(told! { runbooks: runbooks, next: next })
}

/// Which edit is wanted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Which {
    /// Its number; the one in force when left out.
    revision: Option<u32>,
}

pub(super) async fn show(
    About { org, which, .. }: About<Which>,
    Path(name): Path<String>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let found = org.kept_runbook(&name, which.revision).await;
    let (kept, runbook) = found.map_err(refused)?;
    let version = Version::of_row(kept.version);
    Ok(Versioned::of(
        version,
        told! { kept: kept, runbook: runbook },
    ))
}

/// An edit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    name: String,
    platform: Platform,
    #[schemars(with = "PinnedRunbook")]
    runbook: Value,
    revision: Option<u32>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry: bool,
}

/// What became of an edit.
#[derive(Serialize, JsonSchema)]
struct Edited {
    name: String,
    /// Of the runbook as it would be kept; only where it was looked at and not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    kept: Option<KeptRunbook>,
}

pub(super) async fn edit(About { org, .. }: About, Sent(sent): Sent<Edit>) -> Answer<impl Shows> {
    // Both words mean those wherever a runbook is named.
    let usual = ["standard", "none"];
    if usual
        .iter()
        .any(|word| sent.name.eq_ignore_ascii_case(word))
    {
        let why = "is that of the runbooks that come with the server";
        return Err(refused(Error::bad_input("name", why)));
    }
    let runbook = understood(&sent.runbook)?;
    if sent.dry {
        let checked = org.check_runbook(sent.platform, runbook).await;
        let digest = checked.map_err(refused)?.digest();
        return shown(Edited {
            name: sent.name,
            digest: Some(digest),
            kept: None,
        });
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
    shown(Edited {
        kept: Some(kept.map_err(refused)?),
        name: sent.name,
        digest: None,
    })
}

pub(super) async fn remove(
    About { org, .. }: About,
    Path(name): Path<String>,
) -> Answer<impl Shows> {
    let gone = org.remove_runbook(&name).await.map_err(refused)?;
    shown(told! { name: gone.name, removed: gone.removed })
}

/// A runbook as it was sent. What is wrong is named by its step; a key that means nothing is a slip of whoever wrote it.
fn understood(sent: &Value) -> Result<PinnedRunbook, Refusal> {
    let read: Result<SentRunbook, _> = serde_path_to_error::deserialize(sent);
    let read = read.map_err(|error| {
        let path = match error.path().to_string() {
            whole if whole == "." => String::new(),
            path => format!(".{}", by_step(&path, sent)),
        };
        let path = format!("runbook{path}");
        refused(problem("body", &path, &error.into_inner().to_string()))
    })?;
    Ok(read.into())
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
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    step: StepId,
}

pub(super) async fn retry(
    About { office, org, .. }: About,
    Path(serial): Path<String>,
    Sent(sent): Sent<Retry>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    org.retry_step(&serial, sent.step).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { serial: serial, step: sent.step })
}

#[cfg(test)]
mod tests {
    use mdm_core::migration::Variant;
    use serde_json::json;

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
        let wrong = said(|r| r["steps"][2]["timeout_secs"] = json!("hunter2"));
        assert!(
            wrong.contains("runbook.steps.trust.timeout_secs"),
            "{wrong}"
        );
        assert!(!wrong.contains("hunter2"), "{wrong}");
        let slip = said(|r| r["steps"][2]["timout_secs"] = json!(7));
        assert!(slip.contains("runbook.steps.trust.timout_secs"), "{slip}");
        let slip = said(|r| r["hard_ceiling"] = json!(7));
        assert!(slip.contains("runbook.hard_ceiling"), "{slip}");
    }
}
