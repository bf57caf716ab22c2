//! The dates of a wave: its members spread over deadlines, by calendar, room and the limits of the gap, beside those of all other waves,
//! and what Apple's budget says of that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Org;
use super::latest_deadline;
use super::members::{CHUNK, LEAD, nobody, place};
use crate::calendar::{HOLD, Zone};
use crate::clock::Timestamp;
use crate::errand::MOST_DEVICES;
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, RunbookId, Serial, WaveId};
use crate::migration::plan::{Gaps, Placed, Spread, Taken, spread};
use crate::migration::what_if::{CheckFinding, ServerFacts, budget_finding};
use crate::migration::{Move, PinnedRunbook};
use crate::project::Project;
use crate::wave::Wave;

/// Between a plan and its submission.
const HOUR: Duration = Duration::from_secs(3600);

impl Org {
    /// Spreads the members of a wave that are not at Apple yet over deadlines, each where its owner lives; nothing is written
    /// with `dry`.
    ///
    /// # Errors
    /// [`Error::Precondition`] for a wave without a project; [`Error::BadInput`] when there is not enough room; as for every wave.
    pub async fn plan_dates(
        &self,
        wave: WaveId,
        first: Option<Timestamp>,
        last: Option<Timestamp>,
        buckets: Option<u32>,
        lead: Option<Duration>,
        dry: bool,
    ) -> Result<Vec<Placed>, Error> {
        let row = self.open_wave(wave).await?;
        let project = self.project_of(&row).await?.ok_or_else(|| {
            let why = "the wave is part of no project, so that there is no calendar to plan it by";
            Error::Precondition(why.to_owned())
        })?;
        let now = self.now();
        let notice = self.organisation.settings.notice();
        if lead.is_some_and(|lead| lead < notice) {
            let hours = notice.as_secs() / 3600;
            let problem = format!("must leave people {hours} hours at the least");
            return Err(Error::bad_input("lead_hours", problem));
        }
        let lead = lead.unwrap_or(LEAD.max(notice));
        let window = project.window;
        let begin = window.not_before.unwrap_or(now).max(now);
        // An hour for what lies between the plan and its submission.
        let soonest = begin + notice + HOUR;
        let first = first.unwrap_or(begin + lead).max(soonest);
        let last = last.or(window.not_after).unwrap_or(first + 2 * LEAD);
        let mut how = Spread {
            first,
            last: last.min(latest_deadline(now)),
            capacity: project.capacity,
            buckets,
            lead,
            notice,
            hold: HOLD,
        };
        let members = self.members(wave).await?;
        let planned: Vec<&Move> = members.iter().filter(|m| m.is_planned()).collect();
        if planned.is_empty() {
            return Err(nobody());
        }
        let ids: Vec<DeviceId> = planned.iter().map(|m| m.device).collect();
        let mut zones: BTreeMap<DeviceId, Zone> = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            for told in self.store().originals_of(self.id(), ids).await? {
                if let Some(zone) = told.time_zone {
                    zones.insert(told.id, zone.value);
                }
            }
        }
        let mut order: Vec<(Serial, Option<Zone>)> = planned
            .iter()
            .map(|m| (m.serial.clone(), zones.get(&m.device).cloned()))
            .collect();
        order.sort();
        let mut taken = self.deadlines_of_all().await?;
        for member in planned.iter().filter(|m| m.takes_room()) {
            let hold = self.hold_with(member.runbook).await?;
            taken.leave_out(member.deadline, hold);
        }
        taken.forget_before(now);
        let runbooks: BTreeSet<RunbookId> = match row.runbooks_of_now(&project) {
            Some(of_now) => of_now.into_values().collect(),
            None => planned.iter().map(|m| m.runbook).collect(),
        };
        for runbook in runbooks {
            how.hold = how.hold.max(self.hold_with(runbook).await?);
        }
        let mut gaps = Gaps::default();
        let limits = self.gap_limits().await?;
        if !limits.is_empty() {
            let own: BTreeSet<MoveId> = planned.iter().map(|m| m.id).collect();
            // Who stays behind in other waves takes no place.
            let leave = |m: &Move| own.contains(&m.id) || !m.takes_room();
            gaps.stays = self.gap_stays(&limits, leave).await?;
            let groups = self.gap_groups(&ids).await?;
            let of = |m: &&Move| Some((m.serial.clone(), groups.get(&m.device)?.clone()));
            gaps.groups = planned.iter().filter_map(of).collect();
            gaps.limits = limits;
        }
        let placed = spread(&order, &project.calendar, &how, &taken, begin, gaps)?;
        if !dry {
            let dates: BTreeMap<Serial, (Timestamp, Timestamp)> = placed
                .iter()
                .map(|p| (p.serial.clone(), (p.deadline, p.available_from)))
                .collect();
            self.each_planned(wave, None, "submitted already", None, |d, attempt| {
                // Who came in meanwhile is planned the next time.
                if let Some((deadline, from)) = dates.get(&attempt.serial) {
                    place(d, *deadline, *from);
                }
                Ok(())
            })
            .await?;
        }
        Ok(placed)
    }

    /// Gives members that are not at Apple yet this deadline; their users are asked a week before, not in the past and not before the
    /// project's window begins.
    ///
    /// # Errors
    /// As [`Org::set_dates`].
    pub async fn set_deadline(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        deadline: Timestamp,
    ) -> Result<usize, Error> {
        let project = self.project_of(&self.open_wave(wave).await?).await?;
        let from = self.usual_offer(project.as_ref(), deadline);
        self.set_dates(wave, serials, deadline, from).await
    }

    /// From when on users are asked where nobody says it.
    pub(super) fn usual_offer(&self, project: Option<&Project>, deadline: Timestamp) -> Timestamp {
        let now = self.now();
        let lead = LEAD.max(self.organisation.settings.notice());
        let begin = project.and_then(|p| p.window.not_before).unwrap_or(now);
        // That a window begins after the deadline is for the what-if to say.
        (deadline - lead).max(begin.max(now)).min(deadline)
    }

    /// Whether Apple's budget lets the requests of such a plan leave before its first deadline: one for each deadline and thousand
    /// devices, after what waits already.
    ///
    /// # Errors
    /// The store's.
    pub async fn budget_of(&self, placed: &[Placed]) -> Result<CheckFinding, Error> {
        let mut buckets: BTreeMap<Timestamp, usize> = BTreeMap::new();
        for member in placed {
            *buckets.entry(member.deadline).or_default() += 1;
        }
        let now = self.now();
        let requests: usize = buckets.values().map(|n| n.div_ceil(MOST_DEVICES)).sum();
        let first = buckets.keys().next().copied().unwrap_or(now);
        let facts = self.facts_of_requests(requests).await?;
        Ok(budget_finding(&facts, first, now))
    }

    /// What there is to say of Apple's budget for so many requests that change something, and of nothing else.
    pub(in crate::service) async fn facts_of_requests(
        &self,
        requests: usize,
    ) -> Result<ServerFacts, Error> {
        let budget = self.budgets().await?.into_iter().next();
        Ok(ServerFacts {
            requests: u32::try_from(requests).unwrap_or(u32::MAX),
            waiting: budget.as_ref().map_or(0, |b| b.waiting_writes),
            used: budget.map_or(0, |b| b.writes.status.used),
            per_hour: self.organisation.settings.api_writes_per_hour,
            ..ServerFacts::default()
        })
    }

    /// How many devices of all open waves have which deadline, each with the hold that its own runbook gives it. Who stays behind as things
    /// are takes nobody's room.
    pub(in crate::service) async fn deadlines_of_all(&self) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        for wave in self.all_waves().await?.into_iter().filter(Wave::is_open) {
            for attempt in self.members(wave.id).await? {
                if attempt.takes_room() {
                    let hold = self.hold_with(attempt.runbook).await?;
                    taken.add(attempt.deadline, hold, 1);
                }
            }
        }
        Ok(taken)
    }

    /// For how long a hold counts with a runbook.
    pub(in crate::service) async fn hold_with(
        &self,
        runbook: RunbookId,
    ) -> Result<Duration, Error> {
        Ok(hold_of(&*self.plan(runbook).await?))
    }
}

/// For how long a hold with a runbook counts: until it is released whatever happens.
pub(in crate::service) fn hold_of(runbook: &PinnedRunbook) -> Duration {
    Duration::from_secs(runbook.hard_ceiling_secs).max(HOLD)
}
