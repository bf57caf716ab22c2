//! Which apps a device was foreseen to lose with their data: as somebody accepted it with the wave, or, where nobody accepted
//! anything, as the what-if's own forecast has it. An app that somebody decided to drop is no loss. Decides nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Org;
use crate::app_state::is_same_app;
use crate::check::Check;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::failure::{ForeseenLoss, LossAccepted};
use crate::ids::{AcceptedId, Serial, WaveId};
use crate::migration::what_if::{AppFate, Forecast, Forecaster, LossOf};
use crate::migration::{AppAction, Move, PinnedRunbook, SetUp, StepId, StepStatus};
use crate::original::OriginalFacts;
use crate::project::AcceptedPart;
use crate::wave::Acceptance;

/// What was accepted of waves, each read once.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    waves: BTreeMap<WaveId, Vec<AcceptedLoss>>,
    /// The organisation's services: Apple's identifier and name.
    services: Option<Vec<(String, String)>>,
}

/// The losses of one acceptance.
#[derive(Debug)]
struct AcceptedLoss {
    /// When it was accepted; none for an act on a list, which is accepted and done at once.
    at: Option<Timestamp>,
    /// Apps by device.
    lost: BTreeMap<Serial, Vec<ForeseenLoss>>,
}

impl Org {
    /// How people call a service; Apple's identifier where nobody has told.
    pub(super) async fn name_of_service(
        &self,
        id: &str,
        known: &mut Foreseen,
    ) -> Result<String, Error> {
        let services = match known.services.take() {
            Some(services) => services,
            None => {
                let inventory = self.inventory().await?;
                inventory.map(|read| read.services).unwrap_or_default()
            }
        };
        let named = services.iter().find(|(service, _)| service == id);
        let name = named.map_or(id, |(_, name)| name).to_owned();
        known.services = Some(services);
        Ok(name)
    }

    /// Apps that an iPhone or iPad was foreseen to lose, and that nothing has saved since: one that its hold took over after all
    /// is none of them.
    pub(super) async fn foreseen(
        &self,
        set_up: &SetUp,
        attempt: Option<&Move>,
        original: Option<&OriginalFacts>,
        known: &mut Foreseen,
    ) -> Result<Vec<ForeseenLoss>, Error> {
        if set_up.platform.is_mac() || set_up.released.is_none() {
            return Ok(Vec::new());
        }
        // Without its runbook nobody can say what was saved.
        let Ok(plan) = self.plan(set_up.runbook).await else {
            return Ok(Vec::new());
        };
        let accepted = match attempt {
            Some(attempt) => self.accepted_loss(attempt, known).await?,
            None => None,
        };
        let mut apps = match accepted {
            Some(apps) => apps,
            None => undecided(set_up, &plan, original),
        };
        apps.retain(|loss| !is_saved(&loss.app, &plan, set_up));
        Ok(apps)
    }

    /// As it was accepted before the attempt was submitted; `None` where nobody accepted anything.
    async fn accepted_loss(
        &self,
        attempt: &Move,
        known: &mut Foreseen,
    ) -> Result<Option<Vec<ForeseenLoss>>, Error> {
        if let Entry::Vacant(free) = known.waves.entry(attempt.wave) {
            free.insert(self.accepted_losses(attempt.wave).await?);
        }
        let Some(all) = known.waves.get(&attempt.wave) else {
            return Ok(None);
        };
        let submitted = attempt.before.as_ref().map(|before| before.at);
        let held = |one: &&AcceptedLoss| match (one.at, submitted) {
            (Some(accepted), Some(submitted)) => accepted <= submitted,
            _ => true,
        };
        let newest = all.iter().rfind(held);
        Ok(newest.map(|one| one.lost.get(&attempt.serial).cloned().unwrap_or_default()))
    }

    async fn accepted_losses(&self, wave: WaveId) -> Result<Vec<AcceptedLoss>, Error> {
        let (mut all, mut after) = (Vec::new(), AcceptedId(0));
        loop {
            let page = self.store().first_accepted(self.id(), wave, after, 10);
            let page = page.await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page.iter().filter_map(loss_in));
        }
    }
}

/// What one piece says of apps: the first one of an acceptance does, in a what-if's report or in the plan of an act.
fn loss_in(part: &AcceptedPart) -> Option<AcceptedLoss> {
    let said = |at: &str| part.content.pointer(at).filter(|said| !said.is_null());
    let forecast = said("/report/forecast").or_else(|| said("/forecast"))?;
    let forecast: Forecast = serde_json::from_value(forecast.clone()).ok()?;
    let acceptance = said("/accepted").cloned();
    let acceptance: Option<Acceptance> =
        acceptance.and_then(|accepted| serde_json::from_value(accepted).ok());
    let mut lost: BTreeMap<Serial, Vec<ForeseenLoss>> = BTreeMap::new();
    for app in forecast.apps {
        for (serial, fate) in app.lost {
            let accepted = acceptance
                .as_ref()
                .and_then(|all| waived(all, fate, &serial));
            lost.entry(serial).or_default().push(ForeseenLoss {
                app: app.bundle_id.clone(),
                fate,
                accepted,
            });
        }
    }
    let at = acceptance.map(|all| all.at);
    let at = at.or_else(|| serde_json::from_value(said("/accepted/at")?.clone()).ok());
    Some(AcceptedLoss { at, lost })
}

/// Whether a loss was accepted by name: it stands against the device until somebody waives it.
fn waived(acceptance: &Acceptance, fate: AppFate, serial: &Serial) -> Option<LossAccepted> {
    let check = match fate {
        AppFate::LostLicence => Check::AppsLicences,
        _ => Check::AppsMapped,
    };
    let mut waivers = acceptance.waivers.iter();
    let waiver = waivers.find(|waiver| waiver.covers(check, serial))?;
    Some(LossAccepted {
        by: acceptance.by.clone(),
        at: acceptance.at,
        reason: waiver.reason.clone(),
    })
}

/// What the what-if says of one device whose licences nobody looked at.
fn undecided(
    set_up: &SetUp,
    plan: &PinnedRunbook,
    original: Option<&OriginalFacts>,
) -> Vec<ForeseenLoss> {
    let Some(serial) = &set_up.serial else {
        return Vec::new();
    };
    // What it had before it came: what it says of itself here is what it has now.
    let original = original.map(|original| {
        let mut before = original.clone();
        before.reported_apps = None;
        let came = set_up.enrolled;
        before.apps = before
            .apps
            .filter(|told| came.is_none_or(|came| told.at <= came));
        before
    });
    let mut forecaster = Forecaster::new(None);
    forecaster.add(&LossOf {
        serial,
        platform: Some(set_up.platform),
        original: original.as_ref(),
        runbook: Some(plan),
        licences: &BTreeSet::new(),
        tags: &set_up.tags,
    });
    let apps = forecaster.finish().apps.into_iter();
    let lost = apps.filter_map(|mut app| {
        let fate = app.lost.remove(serial)?;
        Some(ForeseenLoss {
            app: app.bundle_id,
            fate,
            accepted: None,
        })
    });
    lost.collect()
}

/// Whether the hold kept or installed it, whatever was foreseen: a licence may have come in time.
fn is_saved(app: &str, plan: &PinnedRunbook, set_up: &SetUp) -> bool {
    let mut rows = plan.apps.iter();
    let row = rows.find(|row| is_same_app(&row.bundle_id, app));
    let steps: &[StepId] = match row.map(|row| row.action) {
        Some(AppAction::Install) => &[StepId::AppsKeep, StepId::AppsRequired, StepId::DeclareApps],
        Some(AppAction::KeepIfPresent) => &[StepId::AppsKeep, StepId::DeclareApps],
        Some(AppAction::Drop) | None => return false,
    };
    // A step that did not run for this device saved nothing.
    let known = set_up.steps_or_proofs();
    let ran = |id: &StepId| {
        let status = known.get(id).map(|step| &step.status);
        matches!(
            status,
            Some(StepStatus::Done { .. } | StepStatus::Excepted { .. })
        )
    };
    let given_up = |step: &StepId| {
        set_up.exceptions.iter().any(|e| {
            let part = e.what.strip_prefix(step.as_str());
            part.is_some_and(|rest| match rest.strip_prefix(": ") {
                Some(named) => is_same_app(named, app),
                // The whole step.
                None => rest.is_empty(),
            })
        })
    };
    steps.iter().any(ran) && !steps.iter().any(given_up)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::device::Platform;
    use crate::enrollment::{ChannelKind, Enrollment};
    use crate::ids::{DeviceId, EnrollmentId, OrganisationId, RunbookId, SetUpId};
    use crate::migration::{AppPlan, Exception, Owner, StepState, Variant, Verdict, VerdictKind};
    use crate::original::{OriginalApp, Told};

    #[test]
    fn what_was_accepted_is_read_out_of_a_what_if_and_out_of_an_act() {
        let app = json!({
            "bundle_id": "app.mail", "name": null, "actions": [], "present": 2, "kept": 0, "dropped": 1,
            "lost": { "C02LOST": "lost-licence" }, "people": [], "short": 1, "uncertain": 0,
        });
        let forecast = json!({ "apps": [app], "known": 2, "unknown": [], "losing": ["C02LOST"] });
        let part = |content| {
            let key = (OrganisationId(1), AcceptedId(2));
            AcceptedPart::new(key, WaveId(3), "digest", 0, content)
        };
        let at = "2026-12-10T09:00:00Z";
        let of_wave = json!({ "accepted": { "by": "Eva", "at": at, "digest": "digest", "waivers": [
            { "check": "apps.licences", "serials": ["C02LOST"], "reason": "they are few" },
        ] }, "report": { "forecast": forecast } });
        let of_act = json!({ "consequence": "they go", "forecast": forecast });
        for (content, accepted) in [(of_wave, Timestamp::parse(at)), (of_act, None)] {
            let loss = loss_in(&part(content)).unwrap();
            assert_eq!(loss.at, accepted);
            let all: Vec<&ForeseenLoss> = loss.lost.values().flatten().collect();
            assert_eq!(all.len(), 1, "dropped is no loss");
            assert_eq!(
                (&*all[0].app, all[0].fate),
                ("app.mail", AppFate::LostLicence)
            );
            // Who looked at a list has waived nothing.
            let said = all[0]
                .accepted
                .as_ref()
                .map(|by| (&*by.by, by.at, &*by.reason));
            assert_eq!(said, accepted.map(|at| ("Eva", at, "they are few")));
        }
        // A waiver of something else, or of another device, accepts no loss.
        let serial = Serial::parse("C02LOST").unwrap();
        let accepts = |waiver| {
            let all = json!({ "by": "Eva", "at": at, "digest": "d", "waivers": [waiver] });
            let all: Acceptance = serde_json::from_value(all).unwrap();
            waived(&all, AppFate::LostUndecided, &serial).is_some()
        };
        assert!(accepts(
            json!({ "check": "apps.mapped", "reason": "all of them" })
        ));
        assert!(!accepts(json!({ "check": "apps.licences", "reason": "r" })));
        assert!(!accepts(
            json!({ "check": "apps.mapped", "serials": ["C02OTHER"], "reason": "r" })
        ));
        assert!(loss_in(&part(json!({ "members": [] }))).is_none());
    }

    const CAME: Timestamp = Timestamp::from_millis(1_796_893_200_000);

    /// An iPhone that came with a migration.
    fn came() -> SetUp {
        let mut enrollment = Enrollment::pending(
            OrganisationId(1),
            EnrollmentId(7),
            "UDID-1".to_owned(),
            ChannelKind::Device,
            "aa".to_owned(),
            CAME,
        );
        enrollment.serial = Serial::parse("C02CAME").ok();
        let verdict = Verdict {
            kind: VerdictKind::Migration,
            reasons: Vec::new(),
        };
        SetUp::begin(
            OrganisationId(1),
            SetUpId(5),
            &enrollment,
            Platform::Ios,
            None,
            RunbookId(3),
            verdict,
            CAME,
        )
    }

    #[test]
    fn an_app_is_saved_by_a_step_that_ran_and_did_not_give_it_up() {
        let mut plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        for (bundle_id, action) in [
            ("app.mail", AppAction::KeepIfPresent),
            ("app.old", AppAction::Drop),
        ] {
            plan.apps.push(AppPlan {
                bundle_id: bundle_id.to_owned(),
                store_id: Some(1),
                manifest_url: None,
                action,
            });
        }
        let mut set_up = came();
        let saved = |set_up: &SetUp, app: &str| is_saved(app, &plan, set_up);
        assert!(!saved(&set_up, "app.mail"), "no step ran");
        let evidence = "1 of 1 apps, read back from the device".to_owned();
        let done = StepState::new(StepStatus::Done { evidence }, CAME);
        set_up.proofs.insert(StepId::AppsKeep, done);
        assert!(saved(&set_up, "APP.mail"));
        assert!(!saved(&set_up, "app.old"), "nobody wanted to keep it");
        assert!(!saved(&set_up, "app.nobody"));
        let gone = Exception::new("apps-keep: app.mail", "no licence", Owner::Licence, CAME);
        set_up.exceptions.push(gone);
        assert!(!saved(&set_up, "app.mail"), "it was given up");
    }

    #[test]
    fn what_a_device_says_of_itself_here_is_no_forecast_of_what_it_would_lose() {
        let day = std::time::Duration::from_secs(86_400);
        let plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let mut set_up = came();
        set_up.enrolled = Some(CAME);
        let told = |app: &str, at: Timestamp| Told {
            value: vec![OriginalApp::new(app)],
            at,
            by: "somebody".to_owned(),
        };
        let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
        // Ours reports a managed app of ours, a day after it came.
        original.reported_apps = Some(told("app.ours", CAME + day));
        assert!(undecided(&set_up, &plan, Some(&original)).is_empty());
        original.apps = Some(told("app.theirs", CAME - day));
        let all = undecided(&set_up, &plan, Some(&original));
        assert_eq!((all.len(), &*all[0].app), (1, "app.theirs"));
        original.apps = Some(told("app.theirs", CAME + day));
        assert!(undecided(&set_up, &plan, Some(&original)).is_empty());
        assert!(undecided(&set_up, &plan, None).is_empty());
    }
}
