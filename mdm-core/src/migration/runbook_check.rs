//! Whether a runbook can be run, and whether it makes sense for a platform. What is wrong is named by step and field, so that
//! whoever edits it finds the place. Asks no store: whether an object of the library exists is for the service.

use std::collections::{BTreeMap, BTreeSet};

use super::runbook::GROUP;
use super::{AppAction, ESCROW_PROFILE, HIGHEST_CEILING, PinnedRunbook, Policy, StepId, StepPlan};
use crate::app_state::app_key;
use crate::device::Platform;
use crate::error::Error;
use crate::library;
use crate::vault::EscrowVault;
use crate::wire::payloads::profile_identifier;

/// The longest time-out of a step, in seconds.
const LONGEST_STEP: u64 = 7 * 86_400;

fn bad<T>(field: impl AsRef<str>, why: &str) -> Result<T, Error> {
    Err(Error::bad_input(format!("runbook.{}", field.as_ref()), why))
}

fn of(step: StepId, field: &str) -> String {
    format!("steps.{step}.{field}")
}

impl PinnedRunbook {
    /// Whether it can be run.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming step and field: a step twice, one that requires a step that is missing or comes from a
    /// circle, apps that are declared before they are installed, no way to the release, a step or ceiling without or with too much time, an app or a profile twice.
    pub fn validate(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for step in &self.steps {
            if !seen.insert(step.id) {
                return bad(format!("steps.{}", step.id), "a step occurs twice");
            }
        }
        for needed in [StepId::Identify, StepId::Release, StepId::Verify] {
            if !seen.contains(&needed) {
                let why = "identify, release and verify must be in it: they are the evidence of the others";
                return bad(format!("steps.{needed}"), why);
            }
        }
        for step in &self.steps {
            if let Some(missing) = step.requires.iter().find(|r| !seen.contains(r)) {
                let why = format!("requires {missing}, which is not in it");
                return bad(of(step.id, "requires"), &why);
            }
            if step.id < StepId::Release
                && let Some(later) = step.requires.iter().find(|r| **r >= StepId::Release)
            {
                let why = format!("a step before the release requires {later}, one after it");
                return bad(of(step.id, "requires"), &why);
            }
            if step.id == StepId::Release
                && let Some(later) = step.requires.iter().find(|r| **r > StepId::Release)
            {
                let why = format!(
                    "requires {later}, which comes after it: no hold would end before its ceiling"
                );
                return bad(of(step.id, "requires"), &why);
            }
        }
        if let Some(waits) = self.circle() {
            return bad(
                of(waits, "requires"),
                "steps require each other in a circle",
            );
        }
        for step in &self.steps {
            if step.timeout_secs == 0 || step.timeout_secs > LONGEST_STEP {
                let why = "a step's time-out must be between one second and seven days";
                return bad(of(step.id, "timeout_secs"), why);
            }
            if step.retries > 20 {
                let why = "a step can be tried again at most twenty times";
                return bad(of(step.id, "retries"), why);
            }
            self::tags_fit(step)?;
        }
        if self.hard_ceiling_secs == 0 || self.hard_ceiling_secs > HIGHEST_CEILING.as_secs() {
            let why = "the hard ceiling must be between one second and four hours";
            return bad("hard_ceiling_secs", why);
        }
        if self.soft_ceiling_secs == 0 {
            return bad(
                "soft_ceiling_secs",
                "the soft ceiling must be at least one second",
            );
        }
        if self.soft_ceiling_secs > self.hard_ceiling_secs {
            let why = "the soft ceiling must not be above the hard one";
            return bad("soft_ceiling_secs", why);
        }
        self.status_can_come(&seen)?;
        if let Some(step) = self.step(StepId::DeclareApps)
            && StepId::OF_APPS
                .into_iter()
                .any(|id| seen.contains(&id) && !step.requires.contains(&id))
        {
            let why = "declare-apps must require the steps of apps that are in it";
            return bad(of(StepId::DeclareApps, "requires"), why);
        }
        self.tables_are_whole()
    }

    /// A step of a circle, if there is one: steps that could start are taken away until none is left; what stays waits for itself.
    fn circle(&self) -> Option<StepId> {
        let mut left: Vec<&StepPlan> = self.steps.iter().collect();
        loop {
            let before = left.len();
            let ids: BTreeSet<StepId> = left.iter().map(|s| s.id).collect();
            left.retain(|s| s.requires.iter().any(|r| ids.contains(r)));
            if left.len() == before {
                return left.first().map(|step| step.id);
            }
        }
    }

    fn status_can_come(&self, seen: &BTreeSet<StepId>) -> Result<(), Error> {
        if self.status.len() > 100 || self.status.keys().any(String::is_empty) {
            let why = "it waits for more than a hundred status items, or for one without a name";
            return bad("status", why);
        }
        let is_item = |name: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            name.len() <= 255 && name.contains('.') && name.bytes().all(plain)
        };
        if !self.status.keys().all(|name| is_item(name)) {
            let why = "it waits for something that is no name of a status item";
            return bad("status", why);
        }
        if !self.status.is_empty() && !seen.contains(&StepId::Declare) {
            return bad("status", "only the step declare waits for status items");
        }
        Ok(())
    }

    fn tables_are_whole(&self) -> Result<(), Error> {
        // Two parts above the tables are the steps' own.
        for (name, rows) in [("apps", self.apps.len()), ("profiles", self.profiles.len())] {
            if rows > 60_000 {
                return bad(name, "a table has too many rows");
            }
        }
        let mut apps = BTreeMap::new();
        for (n, app) in self.apps.iter().enumerate() {
            let field = format!("apps[{n}].bundle_id");
            if app.bundle_id.is_empty() {
                return bad(field, "an app has no bundle identifier");
            }
            if let Some(first) = apps.insert(app_key(&app.bundle_id), n) {
                let why = format!(
                    "an app occurs twice: apps[{first}] is the same one, for the case of an identifier tells no apps apart"
                );
                return bad(field, &why);
            }
        }
        let mut profiles = BTreeSet::from([ESCROW_PROFILE]);
        for (n, profile) in self.profiles.iter().enumerate() {
            if profile.identifier.is_empty() || !profiles.insert(profile.identifier.as_str()) {
                let why = "a profile has no identifier, or occurs twice, or takes that of the escrow profile";
                return bad(format!("profiles[{n}].identifier"), why);
            }
            if profile.content.0.is_empty() {
                return bad(format!("profiles[{n}].content"), "is missing");
            }
        }
        Ok(())
    }

    /// Whether it can be run on devices of a platform, and whether everything that it requires can be proved there. Stricter than
    /// [`PinnedRunbook::validate`]: for runbooks that people edit.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming step and field: besides what cannot be run at all, a step that the platform does not have, a
    /// required step that is skipped without evidence, a lock without its step, an app or a profile that no step brings, a profile
    /// that is none.
    pub fn validate_for(&self, platform: Platform) -> Result<(), Error> {
        self.validate()?;
        let mac = platform.is_mac();
        for step in &self.steps {
            if step.id.is_for(mac) {
                continue;
            }
            let why = if mac {
                "is for iPhone and iPad only"
            } else {
                "is for Macs only"
            };
            return bad(format!("steps.{}", step.id), why);
        }
        for step in &self.steps {
            let proof = matches!(step.id, StepId::Identify | StepId::Release | StepId::Verify);
            if proof && !step.required {
                let why = "must be true: it is the evidence of the others";
                return bad(of(step.id, "required"), why);
            }
            if step.required && step.on_timeout == Policy::Skip {
                let why = "a required step cannot be skipped when its time is up: there would be no evidence of it; block or release-with-exception";
                return bad(of(step.id, "on_timeout"), why);
            }
        }
        if self.lock && self.step(StepId::Lock).is_none() {
            return bad("lock", "a lock is wanted, and the step lock is not in it");
        }
        for (n, app) in self.apps.iter().enumerate() {
            if app
                .manifest_url
                .as_ref()
                .is_some_and(|url| !url.starts_with("https://"))
            {
                let why = "must begin with https://";
                return bad(format!("apps[{n}].manifest_url"), why);
            }
            // A Mac keeps what nobody takes over; an iPhone or iPad removes it with its data.
            if !mac && !app.can_be_had() {
                let why = "is missing, and manifest_url too: without one of them it cannot be licensed and asked for, and goes with its data";
                return bad(format!("apps[{n}].store_id"), why);
            }
            let step = match (app.action, mac) {
                (AppAction::Drop, _) | (AppAction::KeepIfPresent, true) => continue,
                (AppAction::Install, true) => StepId::Apps,
                (AppAction::Install, false) => StepId::AppsRequired,
                (AppAction::KeepIfPresent, false) => StepId::AppsKeep,
            };
            if self.step(step).is_none() {
                let why = format!("the step {step}, which would do it, is not in it");
                return bad(format!("apps[{n}].action"), &why);
            }
        }
        for (n, profile) in self.profiles.iter().enumerate() {
            let step = profile.role.step();
            if self.step(step).is_none() {
                let why = format!("the step {step}, which would install it, is not in it");
                return bad(format!("profiles[{n}].role"), &why);
            }
            let content = &profile.content.0;
            if EscrowVault::is_sealed(content) {
                // It was looked at before it was sealed.
                continue;
            }
            match profile_identifier(content) {
                Ok((identifier, _)) if identifier == profile.identifier => {}
                Ok(_) => {
                    let why = "is not the PayloadIdentifier of the profile";
                    return bad(format!("profiles[{n}].identifier"), why);
                }
                Err(error) => return bad(format!("profiles[{n}].content"), &error.to_string()),
            }
        }
        Ok(())
    }
}

/// Whether a step names tags and groups that can be, and only where they mean something.
fn tags_fit(step: &StepPlan) -> Result<(), Error> {
    let always = matches!(step.id, StepId::Identify | StepId::Release | StepId::Verify);
    if always && !step.only.is_empty() {
        let why = "must be empty: it is the evidence of the others, for every device";
        return bad(of(step.id, "only"), why);
    }
    for name in &step.only {
        let fits = match name.strip_prefix(GROUP) {
            Some(group) => (1..=200).contains(&group.trim().len()),
            None => library::tags([name]).is_ok_and(|tags| tags.contains(name)),
        };
        if !fits {
            let why = "must be tags in small letters, or groups as group:NAME";
            return bad(of(step.id, "only"), why);
        }
    }
    if step.only.len() > 100 {
        return bad(of(step.id, "only"), "must be at most 100");
    }
    let why = match (step.id, step.tags.is_empty()) {
        (StepId::Tag, true) => Some("is empty: the step gives the tags that stand there"),
        (StepId::Tag | StepId::Tell, _) | (_, true) => None,
        (_, false) => Some("only the steps tag and tell give tags"),
    };
    if let Some(why) = why {
        return bad(of(step.id, "tags"), why);
    }
    let fits = library::tags(&step.tags).is_ok_and(|tags| tags == step.tags);
    if !step.tags.is_empty() && !fits {
        let why = "must be 1 to 64 small letters, digits, '-', '_' or '.', and not too many";
        return bad(of(step.id, "tags"), why);
    }
    Ok(())
}

impl StepId {
    /// Whether Macs have it, or else iPhone and iPad.
    const fn is_for(self, mac: bool) -> bool {
        match self {
            Self::Bootstrap | Self::FvEscrow | Self::Apps | Self::RecoveryLock => mac,
            Self::AppsRequired | Self::AppsKeep => !mac,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::migration::{AppPlan, ProfilePlan, ProfileRole, Variant};
    use crate::organisation::Der;

    fn check(change: impl FnOnce(&mut PinnedRunbook), field: &str, sentence: &str) {
        let mut runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
        change(&mut runbook);
        let said = runbook
            .validate_for(Platform::Macos)
            .unwrap_err()
            .to_string();
        assert!(said.starts_with(&format!("runbook.{field}: ")), "{said}");
        assert!(said.contains(sentence), "{said}");
    }

    fn step(runbook: &mut PinnedRunbook, id: StepId) -> &mut StepPlan {
        runbook.steps.iter_mut().find(|s| s.id == id).unwrap()
    }

    fn app(action: AppAction) -> AppPlan {
        AppPlan {
            bundle_id: "app".to_owned(),
            store_id: None,
            manifest_url: None,
            action,
        }
    }

    fn profile(identifier: &str, content: &[u8]) -> ProfilePlan {
        ProfilePlan {
            identifier: identifier.to_owned(),
            role: ProfileRole::Network,
            content: Der(content.to_vec()),
        }
    }

    #[test]
    fn what_cannot_be_run_is_named_by_step_and_field() {
        use StepId::{Declare, DeclareApps, Network, RecoveryLock, Release, Trust, Verify};
        check(
            |r| step(r, Trust).requires.push(Network),
            "steps.trust.requires",
            "in a circle",
        );
        check(
            |r| step(r, Trust).requires.push(RecoveryLock),
            "steps.trust.requires",
            "requires recovery-lock, which is not in it",
        );
        check(
            |r| step(r, Trust).requires.push(Release),
            "steps.trust.requires",
            "after it",
        );
        check(
            |r| {
                step(r, Verify).requires.clear();
                step(r, Release).requires.push(Verify);
            },
            "steps.release.requires",
            "no hold would end before its ceiling",
        );
        check(
            |r| r.steps.push(StepPlan::standard(Trust)),
            "steps.trust",
            "twice",
        );
        check(
            |r| r.steps.retain(|s| s.id != Verify),
            "steps.verify",
            "must be in it",
        );
        check(
            |r| r.hard_ceiling_secs = 4 * 3600 + 1,
            "hard_ceiling_secs",
            "four hours",
        );
        check(
            |r| r.soft_ceiling_secs = 46 * 60,
            "soft_ceiling_secs",
            "above",
        );
        check(
            |r| r.soft_ceiling_secs = 0,
            "soft_ceiling_secs",
            "at least one second",
        );
        check(
            |r| step(r, Trust).timeout_secs = 0,
            "steps.trust.timeout_secs",
            "seven days",
        );
        check(
            |r| step(r, Trust).retries = 21,
            "steps.trust.retries",
            "twenty",
        );
        check(
            |r| r.steps.push(StepPlan::standard(DeclareApps)),
            "steps.declare-apps.requires",
            "must require",
        );
        check(
            |r| {
                r.status.insert("a b.c".to_owned(), Value::Null);
            },
            "status",
            "no name of a status item",
        );
        check(
            |r| {
                r.steps.retain(|step| step.id != Declare);
                step(r, Release).requires.retain(|id| *id != Declare);
                r.status.insert("a.b".to_owned(), Value::Null);
            },
            "status",
            "only the step declare waits",
        );
        check(
            |r| r.apps = vec![app(AppAction::Drop), app(AppAction::Drop)],
            "apps[1].bundle_id",
            "twice",
        );
        check(
            |r| {
                r.apps = vec![app(AppAction::Drop), app(AppAction::Drop)];
                r.apps[1].bundle_id = "App".to_owned();
            },
            "apps[1].bundle_id",
            "twice: apps[0] is the same one",
        );
        check(
            |r| {
                r.apps = vec![app(AppAction::Drop)];
                r.apps[0].bundle_id.clear();
            },
            "apps[0].bundle_id",
            "no bundle identifier",
        );
    }

    #[test]
    fn what_would_have_no_evidence_or_no_object_on_the_platform_is_named() {
        use StepId::{Apps, AppsKeep, Lock, Network, Verify};
        check(
            |r| r.steps.push(StepPlan::standard(AppsKeep)),
            "steps.apps-keep",
            "iPhone and iPad only",
        );
        check(
            |r| step(r, Network).on_timeout = Policy::Skip,
            "steps.network.on_timeout",
            "no evidence",
        );
        check(
            |r| step(r, Verify).required = false,
            "steps.verify.required",
            "must be true",
        );
        check(
            |r| {
                r.lock = true;
                r.steps.retain(|s| s.id != Lock);
                step(r, StepId::Release).requires.retain(|s| *s != Lock);
            },
            "lock",
            "step lock",
        );
        check(
            |r| {
                r.apps = vec![app(AppAction::Install)];
                r.steps.retain(|s| s.id != Apps);
                step(r, StepId::Release).requires.retain(|s| *s != Apps);
            },
            "apps[0].action",
            "step apps",
        );
        check(
            |r| {
                let mut enterprise = app(AppAction::Install);
                enterprise.manifest_url = Some("http://example.com/app.plist".to_owned());
                r.apps = vec![enterprise];
            },
            "apps[0].manifest_url",
            "https",
        );
        check(
            |r| r.profiles = vec![profile("net.example.wifi", b"")],
            "profiles[0].content",
            "missing",
        );
        check(
            |r| r.profiles = vec![profile("net.example.wifi", b"no profile")],
            "profiles[0].content",
            "",
        );
    }

    #[test]
    fn an_app_of_an_iphone_that_is_to_be_there_can_be_had_somewhere() {
        for (action, store_id, fits) in [
            (AppAction::KeepIfPresent, None, false),
            (AppAction::Install, None, false),
            (AppAction::Drop, None, true),
            (AppAction::KeepIfPresent, Some(7), true),
        ] {
            let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
            runbook.apps = vec![AppPlan {
                store_id,
                ..app(action)
            }];
            let said = runbook.validate_for(Platform::Ios);
            assert_eq!(said.is_ok(), fits, "{action:?}");
            if let Err(error) = said {
                let said = error.to_string();
                assert!(said.starts_with("runbook.apps[0].store_id: "), "{said}");
            }
        }
    }

    #[test]
    fn an_app_that_is_to_stay_wants_the_step_that_keeps_it() {
        for (action, step) in [
            (AppAction::KeepIfPresent, StepId::AppsKeep),
            (AppAction::Install, StepId::AppsRequired),
        ] {
            let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
            runbook.apps = vec![AppPlan {
                store_id: Some(7),
                ..app(action)
            }];
            runbook.validate_for(Platform::Ios).unwrap();
            runbook.steps.retain(|s| s.id != step);
            for other in &mut runbook.steps {
                other.requires.retain(|r| *r != step);
            }
            let said = runbook.validate_for(Platform::Ios).unwrap_err().to_string();
            assert!(said.starts_with("runbook.apps[0].action: "), "{said}");
        }
    }

    #[test]
    fn every_standard_runbook_makes_sense_on_its_platform() {
        for platform in [Platform::Ios, Platform::Ipados, Platform::Macos] {
            for variant in [Variant::Migration, Variant::Uncertain, Variant::Ordinary] {
                let runbook = PinnedRunbook::standard(platform, variant);
                runbook.validate_for(platform).unwrap();
                let declared = runbook.with_declared_apps();
                declared.validate_for(platform).unwrap();
            }
        }
    }
}
