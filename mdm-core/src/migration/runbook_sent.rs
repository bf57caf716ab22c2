//! A runbook as somebody sends it: read strictly, so that a key which means nothing is named and not swallowed. What is stored is read
//! leniently: it may come from a newer version.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::runbook::{
    AppAction, AppPlan, PinnedRunbook, Policy, ProfilePlan, ProfileRole, StepId, StepPlan, Variant,
};
use crate::device::Platform;
use crate::organisation::Der;

/// A [`PinnedRunbook`] in which every key is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentRunbook {
    revision: u32,
    variant: Variant,
    steps: Vec<SentStep>,
    apps: Vec<SentApp>,
    profiles: Vec<SentProfile>,
    lock: bool,
    soft_ceiling_secs: u64,
    hard_ceiling_secs: u64,
    #[serde(default)]
    status: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentStep {
    id: StepId,
    requires: Vec<StepId>,
    required: bool,
    timeout_secs: u64,
    retries: u16,
    on_timeout: Policy,
    #[serde(default)]
    only: BTreeSet<String>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentApp {
    bundle_id: String,
    store_id: Option<u64>,
    manifest_url: Option<String>,
    action: AppAction,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentProfile {
    identifier: String,
    role: ProfileRole,
    #[serde(default)]
    content: Option<Der>,
}

impl From<SentRunbook> for PinnedRunbook {
    fn from(sent: SentRunbook) -> Self {
        let step = |step: SentStep| StepPlan {
            id: step.id,
            requires: step.requires,
            required: step.required,
            timeout_secs: step.timeout_secs,
            retries: step.retries,
            on_timeout: step.on_timeout,
            only: step.only,
            tags: step.tags,
        };
        let app = |app: SentApp| AppPlan {
            bundle_id: app.bundle_id,
            store_id: app.store_id,
            manifest_url: app.manifest_url,
            action: app.action,
        };
        let profile = |profile: SentProfile| ProfilePlan {
            identifier: profile.identifier,
            role: profile.role,
            content: profile.content.unwrap_or_else(|| Der(Vec::new())),
        };
        Self {
            revision: sent.revision,
            variant: sent.variant,
            steps: sent.steps.into_iter().map(step).collect(),
            apps: sent.apps.into_iter().map(app).collect(),
            profiles: sent.profiles.into_iter().map(profile).collect(),
            lock: sent.lock,
            soft_ceiling_secs: sent.soft_ceiling_secs,
            hard_ceiling_secs: sent.hard_ceiling_secs,
            status: sent.status,
        }
    }
}

/// Runbooks by platform as somebody sends them: for fields of requests and documents.
///
/// # Errors
/// The reader's, naming the key.
pub fn sent_runbooks<'de, D: Deserializer<'de>>(
    reader: D,
) -> Result<BTreeMap<Platform, PinnedRunbook>, D::Error> {
    let sent = BTreeMap::<Platform, SentRunbook>::deserialize(reader)?;
    Ok(sent.into_iter().map(|(p, r)| (p, r.into())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sent_runbook_is_the_same_and_a_key_that_means_nothing_is_named() {
        let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        runbook.apps = vec![AppPlan {
            bundle_id: "com.example.notes".to_owned(),
            store_id: Some(7),
            manifest_url: None,
            action: AppAction::KeepIfPresent,
        }];
        runbook.profiles = vec![ProfilePlan {
            identifier: "net.example.wifi".to_owned(),
            role: ProfileRole::Network,
            content: Der(vec![1, 2, 3]),
        }];
        runbook
            .status
            .insert("device.operating-system.version".to_owned(), json!("26.1"));
        runbook.steps[1].only = BTreeSet::from(["pilot".to_owned()]);
        let plain = serde_json::to_value(&runbook).unwrap();
        let read = |sent: &Value| serde_json::from_value::<SentRunbook>(sent.clone());
        assert_eq!(PinnedRunbook::from(read(&plain).unwrap()), runbook);
        for path in ["", "/steps/1", "/apps/0", "/profiles/0"] {
            let mut slip = plain.clone();
            slip.pointer_mut(path).unwrap()["slip"] = json!(7);
            let said = read(&slip).unwrap_err().to_string();
            assert!(said.contains("unknown field `slip`"), "{path}: {said}");
            // What is kept may come from a newer version.
            assert!(serde_json::from_value::<PinnedRunbook>(slip).is_ok());
        }
    }
}
