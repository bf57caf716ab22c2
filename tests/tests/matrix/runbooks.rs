//! The runbooks of the matrix: every step that a platform can have, and something in every table.

use std::collections::BTreeMap;

use mdm_core::device::Platform;
use mdm_core::migration::{
    AppAction, AppPlan, PinnedRunbook, ProfilePlan, ProfileRole, StepId, StepPlan, Variant,
};
use mdm_core::organisation::Der;

/// The tag that the runbooks give.
pub(super) const MOVED: &str = "moved";

/// The runbook of a platform with every step that it can have, and something in every table.
fn runbook(platform: Platform) -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
    let mut tag = StepPlan::standard(StepId::Tag);
    tag.tags.insert(MOVED.to_owned());
    runbook.steps.push(tag);
    // Nothing is declared to these devices by people: what is waited for is what they say of themselves.
    let family = if platform.is_mac() { "Mac" } else { "iPhone" };
    let item = "device.model.family".to_owned();
    runbook.status.insert(item, family.into());
    let mut before = Vec::new();
    if platform.is_mac() {
        let step = StepPlan::standard(StepId::RecoveryLock);
        runbook.steps.push(step);
        before.push(StepId::RecoveryLock);
    }
    for step in &mut runbook.steps {
        if step.id == StepId::Release {
            step.requires.extend(&before);
        }
    }
    runbook.steps.sort_by_key(|step| step.id);
    let mut runbook = runbook.with_declared_apps();
    runbook.lock = true;
    for (identifier, role) in [
        ("net.example.trust", ProfileRole::Trust),
        ("net.example.wifi", ProfileRole::Network),
        ("net.example.rules", ProfileRole::Security),
    ] {
        runbook.profiles.push(ProfilePlan {
            identifier: identifier.to_owned(),
            role,
            // The stage puts a stand-in there.
            content: Der(vec![1]),
        });
    }
    for (n, name, action) in [
        (1, "mail", AppAction::Install),
        (2, "notes", AppAction::KeepIfPresent),
        (3, "old", AppAction::Drop),
    ] {
        runbook.apps.push(AppPlan {
            bundle_id: format!("com.acme.{name}"),
            store_id: Some(700_000_000 + n),
            manifest_url: None,
            action,
        });
    }
    runbook
}

pub(super) fn own() -> BTreeMap<Platform, PinnedRunbook> {
    [Platform::Ios, Platform::Macos]
        .map(|platform| (platform, runbook(platform)))
        .into()
}
