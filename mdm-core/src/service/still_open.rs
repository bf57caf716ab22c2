//! What it means to let a device go now: steps of its hold that are not over, and apps of the service that it left which go with
//! their data because its hold has not taken them over. Reads; decides nothing and asks nobody.

use serde::Serialize;

use super::Org;
use super::checkin::readable;
use super::release::not_held;
use crate::app_state::is_same_app;
use crate::error::Error;
use crate::ids::Serial;
use crate::migration::steps::Own;
use crate::migration::{AppAction, PinnedRunbook, SetUp, StepId, StepStatus};
use crate::original::OriginalFacts;

/// Apps that are named in the sentence; the rest is counted there.
const NAMED: usize = 10;

/// What is still open in a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StillOpen {
    /// Steps before the release that are not over, in their order: what is missing of them becomes an exception.
    pub steps: Vec<StepId>,
    /// How many managed apps of the service that it left are on it; none where nobody has told.
    pub apps: Option<usize>,
    /// Those of them that go with their data when it is let go now.
    pub going: Vec<GoingApp>,
    /// All of that in a sentence.
    pub sentence: String,
}

/// An app that goes with its data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct GoingApp {
    /// Bundle identifier.
    pub bundle_id: String,
    /// As people know it.
    pub name: Option<String>,
    /// Why.
    pub why: WhyGoing,
}

/// Why an app goes with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WhyGoing {
    /// The hold has not asked for it yet.
    NotAskedFor,
    /// It was asked for, and the device has not said that it is managed.
    NotConfirmed,
    /// The hold has given it up.
    GivenUp,
    /// The runbook gives it up.
    Dropped,
    /// The runbook says nothing of it.
    Undecided,
}

impl WhyGoing {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAskedFor => "not asked for yet",
            Self::NotConfirmed => "asked for, not confirmed",
            Self::GivenUp => "given up",
            Self::Dropped => "dropped by the runbook",
            Self::Undecided => "not in the runbook",
        }
    }
}

impl Org {
    /// What is still open of a device's hold: what it means to let it go now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such device, [`Error::Precondition`] when it is not in a hold, the store's.
    pub async fn still_open(&self, serial: &Serial) -> Result<StillOpen, Error> {
        let (device, channel) = self.device_and_channel(serial).await?;
        if !channel.is_live() {
            return Err(not_held(serial, "it is not enrolled"));
        }
        let set_up = readable(self.store().set_up_of(self.id(), channel.id).await)?;
        let is_held = set_up.as_ref().is_some_and(|s| s.held_since().is_some());
        if !is_held && channel.awaiting != Some(true) {
            return Err(not_held(serial, "it has not said that it waits"));
        }
        let Some(set_up) = set_up else {
            return Ok(StillOpen {
                steps: Vec::new(),
                apps: None,
                going: Vec::new(),
                sentence: "no set-up of it can be read: what its hold has saved is not known"
                    .to_owned(),
            });
        };
        let plan = self.readable_plan(&set_up).await;
        let original = self.store().original(self.id(), device.id).await?;
        Ok(still_open(&set_up, plan.as_deref(), original.as_ref()))
    }
}

/// What is still open of a set-up.
fn still_open(
    set_up: &SetUp,
    plan: Option<&PinnedRunbook>,
    original: Option<&OriginalFacts>,
) -> StillOpen {
    let known = set_up.steps_or_proofs();
    // What comes behind the release waits in every hold.
    let in_hold = |id: &StepId| *id < StepId::Release;
    let open = known.iter().filter(|(id, state)| {
        in_hold(id) && matches!(state.status, StepStatus::Waiting | StepStatus::Running)
    });
    let steps: Vec<StepId> = open.map(|(id, _)| *id).collect();
    let (mut apps, mut going) = (None, Vec::new());
    if let Some(there) = apps_there(set_up, original) {
        let mut count = 0;
        for (bundle_id, name) in there {
            match fate(set_up, plan, &bundle_id) {
                Fate::Absent => {}
                Fate::Stays => count += 1,
                Fate::Goes(why) => {
                    count += 1;
                    going.push(GoingApp {
                        bundle_id,
                        name,
                        why,
                    });
                }
            }
        }
        apps = Some(count);
    }
    let sentence = sentence(set_up, &steps, apps, &going);
    StillOpen {
        steps,
        apps,
        going,
        sentence,
    }
}

/// Managed apps of the service that it left, as that told before it came, and those that the hold has found. `None` where neither
/// is known, and for a Mac: an app that nobody manages stays there with its data.
fn apps_there(
    set_up: &SetUp,
    original: Option<&OriginalFacts>,
) -> Option<Vec<(String, Option<String>)>> {
    if set_up.platform.is_mac() {
        return None;
    }
    let came = set_up.enrolled.unwrap_or(set_up.began);
    // What it has listed itself is what it has of ours, or had of ours another time.
    let told = original.and_then(|original| original.apps.as_ref());
    let told = told.filter(|told| told.at <= came);
    let listed = match set_up.steps_or_proofs().get(&StepId::AppsKeep) {
        Some(state) => match &state.own {
            Own::Apps(way) => Some(way.apps.keys()),
            _ => None,
        },
        None => None,
    };
    if told.is_none() && listed.is_none() {
        return None;
    }
    let told = told.into_iter().flat_map(|told| &told.value);
    let mut all: Vec<_> = told
        .map(|app| (app.bundle_id.clone(), app.name.clone()))
        .collect();
    for bundle_id in listed.into_iter().flatten() {
        if !all.iter().any(|(id, _)| is_same_app(id, bundle_id)) {
            all.push((bundle_id.clone(), None));
        }
    }
    Some(all)
}

enum Fate {
    /// It is not on the device.
    Absent,
    Stays,
    Goes(WhyGoing),
}

/// What becomes of an app of the service that it left.
fn fate(set_up: &SetUp, plan: Option<&PinnedRunbook>, bundle_id: &str) -> Fate {
    let rows = plan.map_or(&[][..], |plan| &plan.apps[..]);
    let place = rows
        .iter()
        .position(|row| is_same_app(&row.bundle_id, bundle_id));
    match place.map(|place| rows[place].action) {
        None if plan.is_some() => return Fate::Goes(WhyGoing::Undecided),
        Some(AppAction::Drop) => return Fate::Goes(WhyGoing::Dropped),
        None | Some(AppAction::Install | AppAction::KeepIfPresent) => {}
    }
    let part = place.and_then(|place| u16::try_from(place).ok());
    let known = set_up.steps_or_proofs();
    let mut why = WhyGoing::NotAskedFor;
    for id in [StepId::AppsKeep, StepId::AppsRequired] {
        let Some(state) = known.get(&id) else {
            continue;
        };
        let Own::Apps(way) = &state.own else {
            if matches!(state.status, StepStatus::Excepted { .. }) {
                why = WhyGoing::GivenUp;
            }
            continue;
        };
        let mut ways = way.apps.iter();
        match ways.find(|(id, _)| is_same_app(id, bundle_id)) {
            Some((_, app)) if app.done => return Fate::Stays,
            Some((_, app)) if app.failed.is_some() => why = WhyGoing::GivenUp,
            Some(_) if part.is_some_and(|part| state.asked.contains_key(&part)) => {
                why = WhyGoing::NotConfirmed;
            }
            Some(_) => {}
            // It has listed what it has of the runbook's apps, and this is none of them.
            None if id == StepId::AppsKeep => return Fate::Absent,
            None => {}
        }
    }
    Fate::Goes(why)
}

fn sentence(set_up: &SetUp, steps: &[StepId], apps: Option<usize>, going: &[GoingApp]) -> String {
    let of_apps = match (apps, going.len()) {
        (None, _) if set_up.platform.is_mac() => "no app of a Mac goes with its data".to_owned(),
        (None, _) => {
            "nobody has told which apps it has: those that are not taken over go with their data"
                .to_owned()
        }
        (Some(all), 0) => format!("none of its {all} apps goes with its data"),
        (Some(all), gone) => {
            let named = going.iter().take(NAMED).map(|app| {
                let name = app.name.as_ref().unwrap_or(&app.bundle_id);
                format!("{name} ({})", app.why.as_str())
            });
            let mut named = named.collect::<Vec<_>>().join(", ");
            if gone > NAMED {
                named += &format!(" and {} more", gone - NAMED);
            }
            format!("{gone} of {all} apps will be removed with their data: {named}")
        }
    };
    match steps.len() {
        0 => of_apps,
        1 => format!("{of_apps}; 1 step is open: {}", steps[0]),
        open => {
            let named: Vec<&str> = steps.iter().map(|id| id.as_str()).collect();
            format!("{of_apps}; {open} steps are open: {}", named.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::device::Platform;
    use crate::enrollment::{ChannelKind, Enrollment};
    use crate::ids::{DeviceId, EnrollmentId, OrganisationId, RunbookId, SetUpId};
    use crate::migration::{AppPlan, Variant, Verdict, VerdictKind};
    use crate::original::{OriginalApp, Told};

    const NOW: Timestamp = Timestamp::from_millis(1_796_893_200_000);

    fn held(platform: Platform, steps: serde_json::Value) -> SetUp {
        let enrollment = Enrollment::pending(
            OrganisationId(1),
            EnrollmentId(7),
            "UDID-1".to_owned(),
            ChannelKind::Device,
            "aa".to_owned(),
            NOW,
        );
        let verdict = Verdict {
            kind: VerdictKind::Migration,
            reasons: Vec::new(),
        };
        let set_up = SetUp::begin(
            OrganisationId(1),
            SetUpId(5),
            &enrollment,
            platform,
            None,
            RunbookId(3),
            verdict,
            NOW,
        );
        let mut all = serde_json::to_value(set_up).unwrap();
        all["state"] = json!({ "holding": { "since": NOW, "steps": steps } });
        serde_json::from_value(all).unwrap()
    }

    fn runbook(apps: &[(&str, AppAction)]) -> PinnedRunbook {
        let mut plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        plan.apps = apps
            .iter()
            .map(|(bundle_id, action)| AppPlan {
                bundle_id: (*bundle_id).to_owned(),
                store_id: Some(1),
                manifest_url: None,
                action: *action,
            })
            .collect();
        plan
    }

    fn had(apps: &[&str]) -> OriginalFacts {
        let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
        original.apps = Some(Told {
            value: apps.iter().map(|app| OriginalApp::new(app)).collect(),
            at: NOW - Duration::from_hours(24),
            by: "Old MDM".to_owned(),
        });
        original
    }

    #[test]
    fn what_goes_is_named_with_why_and_what_was_taken_over_is_not() {
        let plan = runbook(&[
            ("app.done", AppAction::KeepIfPresent),
            ("app.asked", AppAction::KeepIfPresent),
            ("app.later", AppAction::Install),
            ("app.failed", AppAction::KeepIfPresent),
            ("app.dropped", AppAction::Drop),
            ("app.absent", AppAction::KeepIfPresent),
        ]);
        let asked = json!({ "attempt": 1, "at": NOW, "open": true });
        let keep = json!({ "status": "running", "since": NOW, "asked": { "0": asked, "1": asked }, "own": { "apps": { "apps": {
            "app.done": { "done": true }, "app.asked": {}, "app.later": {},
            "app.failed": { "failed": { "why": "no licence", "owner": "licence" } },
        } } } });
        let trust = json!({ "status": { "done": { "evidence": "listed" } }, "since": NOW });
        let steps = json!({ "trust": trust, "apps-keep": keep, "lock": { "status": "waiting", "since": NOW }, "release": { "status": "waiting", "since": NOW }, "tag": { "status": "waiting", "since": NOW } });
        let set_up = held(Platform::Ios, steps);
        let original = had(&[
            "app.DONE",
            "app.asked",
            "app.later",
            "app.failed",
            "app.dropped",
            "app.absent",
            "app.nobody",
        ]);
        let open = still_open(&set_up, Some(&plan), Some(&original));
        let why: Vec<_> = open
            .going
            .iter()
            .map(|app| (app.bundle_id.as_str(), app.why))
            .collect();
        assert_eq!(
            why,
            [
                ("app.asked", WhyGoing::NotConfirmed),
                ("app.later", WhyGoing::NotAskedFor),
                ("app.failed", WhyGoing::GivenUp),
                ("app.dropped", WhyGoing::Dropped),
                ("app.nobody", WhyGoing::Undecided),
            ]
        );
        // The one that is not on it is not counted.
        assert_eq!(open.apps, Some(6));
        assert_eq!(open.steps, [StepId::AppsKeep, StepId::Lock]);
        let said =
            "5 of 6 apps will be removed with their data: app.asked (asked for, not confirmed)";
        assert!(open.sentence.starts_with(said), "{}", open.sentence);
        assert!(
            open.sentence.ends_with("2 steps are open: apps-keep, lock"),
            "{}",
            open.sentence
        );
    }

    #[test]
    fn what_the_device_has_listed_since_it_came_hides_nothing_of_before() {
        let plan = runbook(&[("app.mail", AppAction::KeepIfPresent)]);
        let waits = json!({ "apps-keep": { "status": "waiting", "since": NOW } });
        let set_up = held(Platform::Ios, waits);
        let mut original = had(&["app.nobody"]);
        original.reported_apps = Some(Told {
            value: Vec::new(),
            at: NOW + Duration::from_secs(60),
            by: "device".to_owned(),
        });
        let open = still_open(&set_up, Some(&plan), Some(&original));
        let why: Vec<_> = open.going.iter().map(|app| app.why).collect();
        assert_eq!(why, [WhyGoing::Undecided]);
        assert_eq!(open.going[0].bundle_id, "app.nobody");
        // What it said of itself when it was here before is no list of the service that it left since.
        original.reported_apps = Some(Told {
            value: vec![OriginalApp::new("app.mail")],
            at: NOW - Duration::from_secs(60),
            by: "device".to_owned(),
        });
        let open = still_open(&set_up, Some(&plan), Some(&original));
        let why: Vec<_> = open.going.iter().map(|app| app.why).collect();
        assert_eq!(why, [WhyGoing::Undecided]);
        assert_eq!(open.going[0].bundle_id, "app.nobody");
        original.apps = None;
        assert_eq!(still_open(&set_up, Some(&plan), Some(&original)).apps, None);
    }

    #[test]
    fn before_the_device_has_listed_its_apps_all_that_are_to_stay_are_not_asked_for() {
        let plan = runbook(&[("app.mail", AppAction::KeepIfPresent)]);
        let waits = json!({ "apps-keep": { "status": "waiting", "since": NOW } });
        let set_up = held(Platform::Ipados, waits);
        let open = still_open(&set_up, Some(&plan), Some(&had(&["app.mail"])));
        assert_eq!(open.going[0].why, WhyGoing::NotAskedFor);
        let unknown = still_open(&set_up, Some(&plan), None);
        assert_eq!(unknown.apps, None);
        assert!(unknown.sentence.starts_with("nobody has told which apps"));
    }

    #[test]
    fn a_mac_loses_no_app() {
        let set_up = held(Platform::Macos, json!({}));
        let open = still_open(&set_up, None, Some(&had(&["app.mail"])));
        assert_eq!(open.sentence, "no app of a Mac goes with its data");
        assert!(open.going.is_empty());
    }
}
