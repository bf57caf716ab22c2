//! Apps that are gone with their data: what a hold gave up, what was forecast, and what the device lists since. What somebody accepted
//! before the device came is said as accepted: nobody is asked to do anything about it.

use super::holding::app_of;
use super::{Confidence, Evidence, Failure, FailureMode, Known};
use crate::app_state::is_same_app;
use crate::clock::Timestamp;
use crate::migration::what_if::AppFate;
use crate::migration::{Exception, Owner, SetUp};
use crate::original::{OriginalApp, Told};

/// An app that a device was foreseen to lose with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "which, why, and who said yes")]
pub struct ForeseenLoss {
    /// Its bundle identifier.
    pub app: String,
    /// Why it was foreseen.
    pub fate: AppFate,
    /// Who accepted that it goes; none where nobody did.
    pub accepted: Option<LossAccepted>,
}

/// Somebody's word that apps may go with their data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "who, when and why")]
pub struct LossAccepted {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in a sentence.
    pub reason: String,
}

/// What is to be said of the apps of one device.
#[derive(Default)]
struct Said {
    owner: Option<Owner>,
    lost: Vec<Evidence>,
    accepted: Vec<Evidence>,
    unsure: bool,
}

pub(super) fn apps_gone(known: &Known<'_>, set_up: &SetUp, found: &mut Vec<Failure>) {
    if set_up.platform.is_mac() {
        return;
    }
    let forecast = match set_up.released {
        Some(_) => known.forecast,
        None => &[],
    };
    let listed = listed_since(known, set_up);
    let gone = given_up(known, set_up, listed);
    let mut said = Said::default();
    for loss in forecast {
        let is_named = gone
            .iter()
            .any(|e| app_of(e).is_some_and(|name| is_same_app(name, &loss.app)));
        if !is_named {
            said.foreseen(loss, listed);
        }
    }
    for exception in gone {
        said.given_up(exception, forecast, listed);
    }
    if said.lost.is_empty() && said.accepted.is_empty() {
        return;
    }
    let mut failure = if said.lost.is_empty() {
        let next = "nothing: it was accepted before the device came; whoever misses one installs it again, without its data";
        let mode = FailureMode::AppsGone;
        Failure::new(mode, Owner::Destination, Confidence::Certain, next).known()
    } else {
        let owner = said.owner.unwrap_or(Owner::Destination);
        let next = match owner {
            Owner::Destination => {
                "decide on them: put those that are wanted into the runbook, and install them again (`mdmd command send --request InstallApplication`); their data does not come back"
            }
            _ => {
                "install them again (`mdmd command send --request InstallApplication`), with a licence for the device (`mdmd licences assign`): their data does not come back"
            }
        };
        let sure = match said.unsure {
            true => Confidence::Likely,
            false => Confidence::Certain,
        };
        Failure::new(FailureMode::AppsGone, owner, sure, next)
    };
    failure.evidence = said.lost;
    failure.evidence.extend(said.accepted);
    found.push(failure);
}

impl Said {
    /// One that no exception names: whether it is gone says the device's own list.
    fn foreseen(&mut self, loss: &ForeseenLoss, listed: Option<&Told<Vec<OriginalApp>>>) {
        let app = &loss.app;
        if listed.is_some_and(|list| lists(list, app)) {
            // It is there after all.
            return;
        }
        let how = match listed {
            Some(_) => "lost, as forecast",
            None => "forecast as lost, and the device has not listed its apps since",
        };
        match &loss.accepted {
            Some(accepted) => self.accept(how, loss, accepted),
            None => {
                self.owner.get_or_insert(owner_of(loss.fate));
                self.unsure |= listed.is_none();
                self.lost.push(Evidence {
                    what: format!("{how}: {app}: {}", why(loss.fate)),
                    at: listed.map(|list| list.at),
                });
            }
        }
    }

    /// One that the hold or the proof has named.
    fn given_up(
        &mut self,
        exception: &Exception,
        forecast: &[ForeseenLoss],
        listed: Option<&Told<Vec<OriginalApp>>>,
    ) {
        let name = app_of(exception).unwrap_or("its apps");
        let loss = forecast.iter().find(|loss| is_same_app(&loss.app, name));
        if let Some(loss) = loss
            && let Some(accepted) = &loss.accepted
        {
            self.accept("lost, as forecast", loss, accepted);
            return;
        }
        let again = listed.filter(|list| list.at > exception.at && lists(list, name));
        let again = again.map_or("", |_| "; it is managed again since, without its data");
        let what = match loss {
            Some(_) => format!("lost, as forecast: {name}{again}"),
            None => format!("lost, and not forecast: {name}: {}{again}", exception.why),
        };
        // Who gave one up says whose it is.
        if self.lost.iter().all(|evidence| evidence.at.is_none()) || self.owner.is_none() {
            self.owner = Some(exception.owner);
        }
        self.lost.push(Evidence {
            what,
            at: Some(exception.at),
        });
    }

    fn accept(&mut self, how: &str, loss: &ForeseenLoss, accepted: &LossAccepted) {
        let LossAccepted { by, at, reason } = accepted;
        self.accepted.push(Evidence {
            what: format!(
                "{how}, and accepted by {by}: {}: {}; {reason}",
                loss.app,
                why(loss.fate)
            ),
            at: Some(*at),
        });
    }
}

/// Exceptions that name an app that was there: given up in the hold, not installed where nothing takes it over, or not managed when the
/// device had it proved. One that the device lists later has come late, and none is named twice.
fn given_up<'a>(
    known: &Known<'_>,
    set_up: &'a SetUp,
    listed: Option<&Told<Vec<OriginalApp>>>,
) -> Vec<&'a Exception> {
    let mut all: Vec<&Exception> = Vec::new();
    for exception in &set_up.exceptions {
        let is_new = |app: &str| {
            let mut named = all.iter().filter_map(|e| app_of(e));
            !named.any(|name| is_same_app(name, app))
        };
        let counts = match app_of(exception) {
            _ if exception.what == "apps-keep" => true,
            Some(app) if exception.what.starts_with("apps-keep: ") => is_new(app),
            Some(app) => {
                let late = listed.is_some_and(|list| list.at > exception.at && lists(list, app));
                is_new(app) && !late && was_there(known, set_up, app)
            }
            None => false,
        };
        if counts {
            all.push(exception);
        }
    }
    all
}

/// Whether the service that it left managed an app on it when it came.
fn was_there(known: &Known<'_>, set_up: &SetUp, app: &str) -> bool {
    let told = known.original.and_then(|original| original.apps.as_ref());
    let came = set_up.enrolled.unwrap_or(set_up.began);
    told.is_some_and(|told| told.at <= came && lists(told, app))
}

/// All managed apps, as the device has listed them itself since it was let go.
fn listed_since<'a>(known: &Known<'a>, set_up: &SetUp) -> Option<&'a Told<Vec<OriginalApp>>> {
    let listed = known.original?.reported_apps.as_ref()?;
    let released = set_up.released?;
    (listed.at >= released).then_some(listed)
}

fn lists(told: &Told<Vec<OriginalApp>>, app: &str) -> bool {
    let mut all = told.value.iter();
    all.any(|one| is_same_app(&one.bundle_id, app))
}

const fn owner_of(fate: AppFate) -> Owner {
    match fate {
        AppFate::LostLicence | AppFate::Uncertain => Owner::Licence,
        _ => Owner::Destination,
    }
}

const fn why(fate: AppFate) -> &'static str {
    match fate {
        AppFate::LostLicence => "there is no licence",
        AppFate::LostSource => "the runbook does not say where it comes from",
        AppFate::LostStep => "the runbook has no step that takes it over",
        AppFate::Uncertain => "its licence comes from elsewhere",
        _ => "nobody decided on it",
    }
}
