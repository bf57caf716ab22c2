//! What stands against a later deadline, and what should be known of it. It lies where the project of its device lets deadlines lie now,
//! and leaves who was not asked yet the notice that is owed: with less nobody would be asked. That it is outside of the hours of owners,
//! leaves who was asked little time, or has too many devices in a hold at once, is said and keeps nobody back: whoever extends has a
//! reason.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::Org;
use super::Found;
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::error::Error;
use crate::ids::WaveId;
use crate::project::PinnedPlan;

impl Org {
    /// What the project of a wave says now, or, of a wave of none, what it was submitted with. An extension is decided today: by the
    /// same terms [`Org::later_deadlines`] proposes it.
    async fn plan_of_project(&self, wave: WaveId) -> Result<Option<PinnedPlan>, Error> {
        let Some(row) = self.store().wave(self.id(), wave).await? else {
            return Ok(None);
        };
        let project = self.project_of(&row).await?;
        Ok(project.map_or(row.plan, |project| Some(PinnedPlan::of(&project))))
    }

    /// Looks at a later deadline for those of these against whom nothing stands: who is kept back by its project has that as a finding,
    /// and what should be known of all others is answered in sentences.
    pub(super) async fn look_at_extension(
        &self,
        all: &mut [Found],
        deadline: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let mut plans: BTreeMap<WaveId, Option<PinnedPlan>> = BTreeMap::new();
        let mut zones = BTreeMap::new();
        let devices: Vec<_> = all
            .iter()
            .filter(|f| f.findings.is_empty())
            .filter_map(|f| Some(f.device.as_ref()?.id))
            .collect();
        for chunk in devices.chunks(1000) {
            for facts in self.store().originals_of(self.id(), chunk).await? {
                zones.extend(facts.time_zone.map(|told| (facts.id, told.value)));
            }
        }
        let mut used = self.deadlines_of_all().await?;
        let mut own = BTreeSet::new();
        let (mut outside, mut hurried, mut capacity) = (0_usize, 0_usize, None);
        let notice = self.organisation.settings.notice();
        let (near, hours) = (deadline < self.now() + notice, notice.as_secs() / 3600);
        for found in all {
            let (Some(attempt), true) = (&found.attempt, found.findings.is_empty()) else {
                continue;
            };
            if let Entry::Vacant(unread) = plans.entry(attempt.wave) {
                unread.insert(self.plan_of_project(attempt.wave).await?);
            }
            let plan = plans.get(&attempt.wave).and_then(Option::as_ref);
            let zone = found.device.as_ref().and_then(|d| zones.get(&d.id));
            if let Some(plan) = plan {
                if !plan.window.contains(deadline) {
                    let why = format!("{deadline} lies outside of the project's window");
                    found.findings.push(why);
                }
                if let Some(free) = plan.calendar.blackout(deadline, zone) {
                    let why = format!(
                        "{deadline} lies in a time that is kept free, {} to {}: {}",
                        free.first, free.last, free.why
                    );
                    found.findings.push(why);
                }
            }
            if near && attempt.is_unasked() {
                found.findings.push(format!(
                    "{deadline} leaves its user less than {hours} hours, and nobody was asked yet: with so little notice nobody is; give a \
                     later one"
                ));
            }
            if !found.findings.is_empty() {
                continue;
            }
            hurried += usize::from(near);
            let hold = self.hold_with(attempt.runbook).await?;
            if attempt.takes_room() {
                used.leave_out(attempt.deadline, hold);
            }
            used.add(deadline, hold, 1);
            own.insert((deadline, hold));
            if let Some(plan) = plan {
                outside += usize::from(!plan.calendar.works(deadline, zone));
                capacity =
                    Some(capacity.map_or(plan.capacity, |least: u32| least.min(plan.capacity)));
            }
        }
        let mut warnings = Vec::new();
        if hurried > 0 {
            warnings.push(format!(
                "notice: {}, who {} asked before, {} less than {hours} hours until {deadline}",
                counted(hurried, "user"),
                agree(hurried, "was", "were"),
                agree(hurried, "gets", "get"),
            ));
        }
        if outside > 0 {
            warnings.push(format!(
                "window: for {} {deadline} lies outside of the hours in which people work",
                counted(outside, "device")
            ));
        }
        let most = used.most_at_once(&own);
        if let (Some((most, _)), Some(may)) = (most, capacity)
            && most > may
        {
            // Neither how many nor when: what others do changes both, and the plan is to stay the same until it is carried out.
            warnings.push(format!(
                "capacity: more than the {may} devices that may be would be in a hold at once: give them several deadlines, as \
                 `mdmd wave later` proposes them"
            ));
        }
        Ok(warnings)
    }
}
