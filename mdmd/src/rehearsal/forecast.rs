//! The forecast of lost apps against what the world lost, app by app.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::verdict::{DeviceVerdict, Whereabouts};
use serde::Serialize;

use super::causes;
use super::judge::{Accepted, Row};

/// An app that was forecast as lost with its data, or that was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AppEnd {
    /// Bundle identifier.
    pub bundle_id: String,
    /// Devices of which it was forecast.
    pub forecast: u32,
    /// Devices on which it is gone with its data.
    pub lost: u32,
    /// Of these, devices of which it was not forecast and whose record names it as an exception.
    pub excepted: u32,
}

/// What was forecast is what was lost, app by app, on every iPhone and iPad that is out of its hold. Only an exception that names the app
/// may stand for one more, and only on a device on which something went wrong.
pub(super) fn hold_to(
    rows: &mut [Row],
    verdicts: &[DeviceVerdict],
    forecast: &BTreeMap<String, BTreeSet<String>>,
    accepted: &BTreeMap<String, Accepted>,
) -> Vec<AppEnd> {
    let mut rows: BTreeMap<String, &mut Row> =
        rows.iter_mut().map(|r| (r.serial.clone(), r)).collect();
    let mut apps: BTreeMap<&str, AppEnd> = BTreeMap::new();
    let none = BTreeSet::new();
    for verdict in verdicts {
        let free = verdict.whereabouts == Whereabouts::Free && !verdict.erased;
        let Some(row) = rows.get_mut(&verdict.serial) else {
            continue;
        };
        if verdict.platform == "macOS" || !free {
            continue;
        }
        let dropped = accepted.get(&verdict.serial).map_or(&none, |a| &a.dropped);
        let lost = |app: &&String| !dropped.contains(*app);
        let lost: BTreeSet<&String> = verdict.apps_lost.iter().filter(lost).collect();
        let said: BTreeSet<&String> = forecast
            .get(&verdict.serial)
            .unwrap_or(&none)
            .iter()
            .collect();
        let named = |app: &str| {
            let mut parts = row.exceptions.iter().map(|e| causes::parts(&e.what).1);
            !verdict.faults.is_empty()
                && parts.any(|part| part.is_some_and(|part| part.eq_ignore_ascii_case(app)))
        };
        let mut odd = Vec::new();
        for app in said.union(&lost) {
            let end = apps.entry(app).or_insert_with(|| AppEnd {
                bundle_id: (*app).clone(),
                ..AppEnd::default()
            });
            end.forecast += u32::from(said.contains(app));
            end.lost += u32::from(lost.contains(app));
            match (said.contains(app), lost.contains(app)) {
                (true, false) => odd.push(format!("{app} was forecast as lost, and is there")),
                (false, true) if named(app) => end.excepted += 1,
                (false, true) => odd.push(format!("{app} is lost, and that was not forecast")),
                _ => {}
            }
        }
        row.disagreements.extend(odd);
    }
    apps.into_values().collect()
}

#[cfg(test)]
mod tests {
    use fixtures::faults::{FaultKind, FaultRecord};

    use super::super::judge::tests::{LOST, free, row};
    use super::*;

    /// How many disagreements there are, and the devices by app: forecast, lost, excepted.
    fn check(
        verdict: &DeviceVerdict,
        forecast: &[&str],
        exceptions: &[&str],
    ) -> (usize, Vec<[u32; 3]>) {
        let mut rows = [row(verdict, exceptions)];
        let apps = forecast.iter().map(|a| (*a).to_owned()).collect();
        let forecast = BTreeMap::from([(verdict.serial.clone(), apps)]);
        let verdicts = std::slice::from_ref(verdict);
        let apps = hold_to(&mut rows, verdicts, &forecast, &BTreeMap::new());
        let counts = apps.iter().map(|a| [a.forecast, a.lost, a.excepted]);
        (rows[0].disagreements.len(), counts.collect())
    }

    #[tokio::test]
    async fn a_loss_that_was_not_forecast_is_a_disagreement_and_one_that_was_is_none() {
        let mut verdict = free().await;
        verdict.platform = "iOS";
        verdict.faults.clear();
        verdict.apps_lost = LOST.map(str::to_owned).into();
        assert_eq!(check(&verdict, &LOST, &[]), (0, vec![[1, 1, 0]; 2]));
        assert_eq!(check(&verdict, &LOST[..1], &[]).0, 1);
        assert_eq!(check(&verdict, &[], &[]).0, 2);
        verdict.apps_lost.clear();
        assert_eq!(check(&verdict, &LOST, &[]).0, 2);
        assert_eq!(check(&verdict, &[], &[]), (0, vec![]));
    }

    #[tokio::test]
    async fn only_an_exception_that_names_the_app_stands_for_more_and_only_where_something_went_wrong()
     {
        let mut verdict = free().await;
        verdict.platform = "iOS";
        verdict.apps_lost = vec![LOST[0].to_owned()];
        let named = format!("apps-keep: {}", LOST[0]);
        assert_eq!(check(&verdict, &[], &[&named]), (0, vec![[0, 1, 1]]));
        assert_eq!(check(&verdict, &[], &["apps-keep"]).0, 1);
        // It stands for no app that is there after all.
        let other = format!("apps-keep: {}", LOST[1]);
        assert_eq!(check(&verdict, &LOST, &[&other]).0, 1);
        assert_eq!(verdict.faults[0].kind, FaultKind::DeadInHold);
        let faults: Vec<FaultRecord> = std::mem::take(&mut verdict.faults);
        assert_eq!(check(&verdict, &[], &[&named]).0, 1);
        assert_eq!(faults.len(), 1);
    }
}
