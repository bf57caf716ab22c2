//! Members whose deadline is near and that have not begun: not submitted yet, not offered, or offered and silent. Those nearest to their
//! deadline are counted first; those past it stand in the report of whom nobody has heard.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::cell;
use super::page::MemberRows;
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::evidence::{ReportKind, ReportRow, ReportSink};
use crate::ids::{MoveId, WaveId};
use crate::migration::{Move, MoveState, Owner, visible_state};
use crate::service::Org;

const COLUMNS: &[&str] = &[
    "serial",
    "wave",
    "state",
    "platform",
    "deadline",
    "hours left",
    "why",
    "offered since",
    "last seen",
    "person",
    "owner",
    "next action",
];

/// Why a member is at risk, whose that is, and what to do about it.
type Risk = (&'static str, Owner, &'static str);

/// Not where it has begun, is over, or its deadline has passed.
fn risk(attempt: &Move, now: Timestamp) -> Option<Risk> {
    if attempt.deadline <= now {
        return None;
    }
    match &attempt.state {
        MoveState::Planned | MoveState::Ready => Some((
            "it is not submitted",
            Owner::Destination,
            "submit its wave (`mdmd wave submit`), or give it a later deadline (`mdmd wave plan`)",
        )),
        MoveState::Blocked { .. } => Some((
            "it is not submitted: something stands against it",
            Owner::Destination,
            "see what (`mdmd wave whatif`), mend or waive it, and submit it; or give it a later deadline",
        )),
        MoveState::Submitting { .. } => Some((
            "it is submitted, and Apple does not show it yet",
            Owner::Apple,
            "wait: it is read again by itself",
        )),
        MoveState::SubmitFailed { may_come: true, .. } => Some((
            "it is submitted, Apple does not show it in time, and may still work on it",
            Owner::Apple,
            "wait: it is read again by itself; or call it back (`mdmd wave cancel`)",
        )),
        MoveState::SubmitFailed { .. } => Some((
            "Apple did not take it",
            Owner::Apple,
            "read Apple's word (`mdmd device show`), mend it and submit its wave again",
        )),
        MoveState::Scheduled { .. } => Some((
            "it is not offered its migration yet",
            Owner::Destination,
            "see why its ADE profile is not in force (`mdmd device show`); where its wave is paused, have it go on (`mdmd wave resume`); extend its deadline where that is too late (`mdmd wave extend`)",
        )),
        MoveState::Offered { .. } => Some((
            "it is offered its migration, and has not begun",
            Owner::User,
            "reach its owner: have it on, online and signed in; extend its deadline (`mdmd wave extend`)",
        )),
        // Overdue, begun, being called back or over.
        _ => None,
    }
}

/// The members of a page that are at risk until `until`.
fn at_risk(
    page: &MemberRows,
    until: Timestamp,
    now: Timestamp,
) -> impl Iterator<Item = (&Move, Risk)> {
    let near = page.attempts.iter().filter(move |a| a.deadline <= until);
    near.filter_map(move |attempt| Some((attempt, risk(attempt, now)?)))
}

fn row(page: &MemberRows, attempt: &Move, (why, owner, next): Risk, now: Timestamp) -> ReportRow {
    let device = page.devices.get(&attempt.device);
    let original = page.originals.get(&attempt.device);
    let seen = original.and_then(|o| o.last_seen.as_ref());
    let person = original.and_then(|o| o.owner.as_ref());
    let person = person.and_then(|o| o.value.name.as_ref().or(o.value.email.as_ref()));
    let offered = match &attempt.state {
        MoveState::Offered { since } => Some(*since),
        _ => None,
    };
    vec![
        json!(attempt.serial),
        cell(attempt.wave),
        cell(visible_state(Some(attempt), page.set_up(attempt))),
        cell(device.and_then(Device::platform_told).map(Platform::as_str)),
        cell(attempt.deadline),
        json!(attempt.deadline.since(now).as_secs() / 3600),
        json!(why),
        cell(offered),
        cell(seen.map(|seen| seen.value)),
        cell(person),
        cell(owner),
        json!(next),
    ]
}

impl Org {
    pub(super) async fn report_at_risk(
        &self,
        wave: Option<WaveId>,
        days: u32,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let until = now + Duration::from_secs(u64::from(days) * 86_400);
        let title = match wave {
            Some(wave) => format!("At risk in wave {}", self.wave_row(wave).await?.name),
            None => format!("Not begun, with a deadline within {days} days"),
        };
        // Once for the sums, once for the rows: neither keeps what it has passed.
        let (mut sums, mut after) = (BTreeMap::<&str, u64>::new(), MoveId(0));
        let mut first = None;
        while let Some((page, last)) = self.members_after(wave, after).await? {
            after = last;
            for (attempt, (why, ..)) in at_risk(&page, until, now) {
                *sums.entry(why).or_default() += 1;
                first = first.into_iter().chain([attempt.deadline]).min();
            }
        }
        let mut head = self.report_head(ReportKind::AtRisk, title, now);
        head.columns = COLUMNS;
        head.fact("deadlines within days", days);
        head.fact("devices", sums.values().sum::<u64>());
        head.fact("first deadline", first);
        head.table(
            "by why",
            &["why", "how many"],
            sums.into_iter()
                .map(|(why, count)| vec![json!(why), json!(count)])
                .collect(),
        );
        sink.head(head).await?;
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(wave, after).await? {
            after = last;
            let rows = at_risk(&page, until, now).map(|(a, risk)| row(&page, a, risk, now));
            let rows: Vec<ReportRow> = rows.collect();
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, OrganisationId, RunbookId, Serial};
    use crate::migration::Outcome;

    #[test]
    fn at_risk_is_who_has_not_begun_and_whose_deadline_is_still_to_come() {
        let now = Timestamp::from_millis(1_796_893_200_000);
        let hour = Duration::from_hours(1);
        let of = |state, deadline| {
            let mut attempt = Move::plan(
                OrganisationId(1),
                MoveId(3),
                WaveId(4),
                DeviceId(2),
                Serial::parse("C02RISK").unwrap(),
                RunbookId(5),
                deadline,
                now,
                None,
                now,
            );
            attempt.state = state;
            risk(&attempt, now).map(|(_, owner, next)| (owner, next))
        };
        let offered = || MoveState::Offered { since: now - hour };
        let waits = MoveState::Scheduled {
            since: now - hour,
            visible: None,
        };
        let blockers = Vec::new();
        for (state, owner) in [
            (MoveState::Planned, Owner::Destination),
            (MoveState::Blocked { blockers }, Owner::Destination),
            (waits, Owner::Destination),
            (offered(), Owner::User),
        ] {
            assert_eq!(of(state, now + hour).map(|(of, _)| of), Some(owner));
        }
        for (may_come, does) in [
            (true, "`mdmd wave cancel`"),
            (false, "submit its wave again"),
        ] {
            let why = "Apple does not show what was asked for".to_owned();
            let since = now - hour;
            let failed = MoveState::SubmitFailed {
                since,
                why,
                may_come,
            };
            let (owner, next) = of(failed, now + hour).unwrap();
            assert_eq!(owner, Owner::Apple);
            assert!(next.contains(does), "{next}");
        }
        assert_eq!(of(offered(), now), None, "it is past its deadline");
        for state in [
            MoveState::Started { since: now },
            MoveState::Overdue { since: now },
            MoveState::Cancelling { since: now },
            MoveState::Ended(Outcome::Migrated),
        ] {
            assert_eq!(of(state, now + hour), None);
        }
    }
}
