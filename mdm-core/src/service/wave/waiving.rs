//! Waivers of an acceptance: which there can be, and which let nobody go. Accepts nothing itself.

use super::accept::sentence;
use crate::check::{Check, Unknowns};
use crate::error::Error;
use crate::service::what_if::WhatIfReport;
use crate::wave::Waiver;

/// The most waivers of one acceptance.
const MOST_WAIVERS: usize = 1_000;

/// That waivers can be, and what to do where they cannot; what was done for devices is said of waves of a project alone.
pub(super) fn check(waivers: &[Waiver], of_project: bool) -> Result<(), Error> {
    if waivers.len() > MOST_WAIVERS {
        let problem = format!("are more than {MOST_WAIVERS}");
        return Err(Error::bad_input("waivers", problem));
    }
    for waiver in waivers {
        if !Waiver::is_possible(waiver.check) {
            let way = match waiver.check {
                Check::Prerequisites if of_project => {
                    ": have it done, or say why not: `mdmd wave met`"
                }
                Check::Prerequisites => ": let them go with a wave of the project, or change that",
                Check::Window | Check::Blackout => ": change the dates, or the project",
                _ => "",
            };
            let problem = format!("{} cannot be waived by anybody{way}", waiver.check);
            return Err(Error::bad_input("waivers.check", problem));
        }
        sentence("waivers.reason", &waiver.reason, true)?;
    }
    Ok(())
}

/// Those that let nobody go: nothing that their checks found keeps anybody back for whom they are. What is seen of manifests comes and goes
/// without another digest, and may be waived ahead.
pub(super) fn idle<'a>(
    mut all: Vec<&'a Waiver>,
    report: &WhatIfReport,
    rules: &Unknowns,
) -> Vec<&'a Waiver> {
    if all.is_empty() {
        return all;
    }
    // Once for all of them: there may be a thousand, and a hundred thousand members.
    let keeping = report.keeping(rules);
    let of_use = |waiver: &Waiver| report.is_of_use(rules, &keeping, waiver);
    all.retain(|waiver| waiver.check != Check::AppsManifest && !of_use(waiver));
    all
}

/// Refuses them: whatever is found later voids the acceptance, so that a waiver of what is not there is one of something else that
/// somebody has read.
pub(super) fn refuse_idle(idle: &[&Waiver]) -> Result<(), Error> {
    let Some(waiver) = idle.first() else {
        return Ok(());
    };
    let whom = match (waiver.serials.first(), waiver.serials.len()) {
        (None, _) => String::new(),
        (Some(one), 1) => format!(" whom this waiver is for ({one})"),
        (Some(first), all) => {
            format!(" whom this waiver is for ({first} and {} more)", all - 1)
        }
    };
    let problem = format!(
        "{} keeps nobody back{whom}: there is nothing to waive, leave it out",
        waiver.check
    );
    Err(Error::bad_input("waivers.check", problem))
}
