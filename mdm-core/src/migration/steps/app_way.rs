//! How far each app of a step is: what the device said of it last, how it was refused, and when it is asked for again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{StepError, is_false, is_zero};
use crate::app_state::{AppState, is_same_app};
use crate::clock::Timestamp;
use crate::migration::Owner;

/// A failed app is asked for again after this, when its licence may have arrived, and the next times after twice as long each,
/// up to four times as long.
const TRY_AGAIN: Duration = Duration::from_mins(1);
const DOUBLED: u16 = 2;
/// Nothing is looked at more often than this.
const LOOK: Duration = Duration::from_secs(1);

/// Words of a refusal that no licence changes.
pub(super) const FINAL: [&str; 5] = [
    "AppStoreDisabled",
    "CommandFormatError",
    "ManagementChangeNotSupported",
    "NotAnApp",
    "NotSupported",
];

/// How far the apps of one step are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct AppsWay {
    /// The apps of this step, once it is known which are there.
    #[serde(default)]
    pub(crate) apps: BTreeMap<String, AppWay>,
}

/// How far one app is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct AppWay {
    /// It is there already, and goes with its data unless it is managed before the release, whichever step has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) is_there: bool,
    /// The evidence is in.
    #[serde(default)]
    pub(crate) done: bool,
    /// It was given up, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<StepError>,
    /// How often it failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    failures: u16,
    /// How, while it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgiven: Option<StepError>,
    /// It is to be asked for again.
    #[serde(default)]
    again: bool,
    /// Not before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    again_at: Option<Timestamp>,
    /// The device would not have it because it has it already, in this word: whether it is ours only the list of managed apps
    /// tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
    /// The state that the device told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<AppState>,
    /// How the device spells its identifier, where the runbook spells it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spelled: Option<String>,
}

impl AppsWay {
    /// What went wrong with apps that are not there yet, given up or not.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&str, &StepError)> {
        let open = self.apps.iter().filter(|(_, app)| !app.done);
        open.filter_map(|(id, app)| {
            let error = app.failed.as_ref().or(app.forgiven.as_ref())?;
            Some((id.as_str(), error))
        })
    }

    pub(super) fn is_settled(&self) -> bool {
        self.apps.values().all(AppWay::is_settled)
    }

    /// Whether an app waits for what the list of managed apps says of it.
    pub(super) fn waits_for_list(&self) -> bool {
        self.apps
            .values()
            .any(|app| !app.is_settled() && !app.again)
    }

    /// Whether only that list can tell what an answer meant.
    pub(super) fn is_in_doubt(&self) -> bool {
        let mut all = self.apps.values();
        all.any(|app| !app.is_settled() && app.doubt.is_some())
    }

    /// In how long an app is to be asked for again.
    pub(super) fn next_try(&self, now: Timestamp) -> Option<Duration> {
        let waiting = self.apps.values().filter(|a| !a.is_settled() && a.again);
        let spans = waiting.map(|a| a.again_at.map_or(LOOK, |at| at.since(now).max(LOOK)));
        spans.min()
    }
}

impl AppWay {
    /// The identifier by which the device is asked for it; `own` is the runbook's.
    pub(crate) fn name<'a>(&'a self, own: &'a str) -> &'a str {
        self.spelled.as_deref().unwrap_or(own)
    }

    /// Takes the identifier that the device used for it.
    pub(super) fn learn_name(&mut self, own: &str, said: &str) {
        if said != own && is_same_app(said, own) {
            self.spelled = Some(said.to_owned());
        }
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.done || self.failed.is_some()
    }

    /// Takes it up if it is time to ask for it again.
    pub(super) fn take_up(&mut self, now: Timestamp) -> bool {
        let due = !self.is_settled() && self.again && self.again_at.is_none_or(|at| at <= now);
        if due {
            self.again = false;
            self.again_at = None;
        }
        due
    }

    /// The device has it already, or is about to. That is no refusal, and no proof either.
    pub(super) fn have_doubts(&mut self, state: &AppState) {
        self.doubt = word(state).map(str::to_owned);
        self.last = Some(state.clone());
    }

    /// The list of managed apps names it, so that it is not in doubt any more; being under way is as good as being asked for
    /// again.
    pub(super) fn listed(&mut self, state: &AppState) {
        self.doubt = None;
        self.last = Some(state.clone());
        if state.is_taken_on() {
            self.again = false;
            self.again_at = None;
            self.forgiven = None;
        }
    }

    /// The list does not name it, which proves nothing unless it was said to be there.
    pub(super) fn not_listed(&mut self, now: Timestamp, until: Timestamp) {
        if let Some(word) = self.doubt.take() {
            let why = format!("the device says {word}, and does not list it as managed");
            self.fail(why, Owner::Device, now, until);
        }
    }

    /// It failed. That is forgiven once, and as often as there is time until then: a licence may need a while.
    pub(super) fn fail(&mut self, why: String, owner: Owner, now: Timestamp, until: Timestamp) {
        self.doubt = None;
        if self.is_settled() || self.again {
            // Over, or the same failure said twice.
            return;
        }
        let doubled = self.failures.min(DOUBLED);
        self.failures = self.failures.saturating_add(1);
        let at = now + TRY_AGAIN.saturating_mul(1_u32 << doubled);
        if self.failures == 1 || at < until {
            self.forgiven = Some(StepError { why, owner });
            self.again = true;
            self.again_at = Some(at);
        } else {
            let why = format!("{why} (asked for {} times)", self.failures);
            self.failed = Some(StepError { why, owner });
        }
    }

    /// How often it failed and how it did so last, if nothing better was heard of it since.
    pub(super) fn refused(&self) -> Option<(u16, &StepError)> {
        self.forgiven.as_ref().map(|error| (self.failures, error))
    }
}

/// The device's own word for a state that is neither good nor bad.
pub(super) fn word(state: &AppState) -> Option<&str> {
    match state {
        AppState::InProgress(word) | AppState::NeedsPerson(word) | AppState::Unknown(word) => {
            Some(word)
        }
        AppState::Managed | AppState::ManagedButUninstalled | AppState::Failed(_) => None,
    }
}
