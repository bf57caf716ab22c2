//! What should be known of a later deadline: one moment for many devices can be outside of the hours of their owners, or have more of
//! them in a hold at once than may be. It is said, and kept back by none of it: whoever extends has a reason.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::Org;
use super::Found;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::WaveId;
use crate::project::PinnedPlan;

impl Org {
    /// The plan that a wave was submitted with, or that of its project; none for one without.
    pub(super) async fn plan_of_project(&self, wave: WaveId) -> Result<Option<PinnedPlan>, Error> {
        let Some(row) = self.store().wave(self.id(), wave).await? else {
            return Ok(None);
        };
        if row.plan.is_some() {
            return Ok(row.plan);
        }
        let project = self.project_of(&row).await?;
        Ok(project.map(|project| PinnedPlan::of(&project)))
    }

    /// Sentences on a later deadline for those of these against whom nothing stands.
    pub(super) async fn warnings_of_extension(
        &self,
        all: &[Found],
        deadline: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let going: Vec<&Found> = all.iter().filter(|f| f.findings.is_empty()).collect();
        let mut plans: BTreeMap<WaveId, Option<PinnedPlan>> = BTreeMap::new();
        let mut zones = BTreeMap::new();
        let devices: Vec<_> = going
            .iter()
            .filter_map(|f| Some(f.device.as_ref()?.id))
            .collect();
        for chunk in devices.chunks(1000) {
            for facts in self.store().originals_of(self.id(), chunk).await? {
                zones.extend(facts.time_zone.map(|told| (facts.id, told.value)));
            }
        }
        let mut used = self.deadlines_of_all().await?;
        let mut own = BTreeSet::new();
        let (mut outside, mut capacity) = (0_usize, None);
        for found in &going {
            let Some(attempt) = &found.attempt else {
                continue;
            };
            let hold = self.hold_with(attempt.runbook).await?;
            used.leave_out(attempt.deadline, hold);
            used.add(deadline, hold, 1);
            own.insert((deadline, hold));
            if let Entry::Vacant(unread) = plans.entry(attempt.wave) {
                unread.insert(self.plan_of_project(attempt.wave).await?);
            }
            let Some(Some(plan)) = plans.get(&attempt.wave) else {
                continue;
            };
            let zone = found.device.as_ref().and_then(|d| zones.get(&d.id));
            outside += usize::from(!plan.calendar.works(deadline, zone));
            capacity = Some(capacity.map_or(plan.capacity, |least: u32| least.min(plan.capacity)));
        }
        let mut warnings = Vec::new();
        if outside > 0 {
            warnings.push(format!(
                "window: for {outside} devices {deadline} lies outside of the hours in which people work"
            ));
        }
        let most = used.most_at_once(&own);
        if let (Some((most, at)), Some(may)) = (most, capacity)
            && most > may
        {
            warnings.push(format!(
                "capacity: {most} devices would be in a hold at once, around {at}; {may} may be: give them several deadlines, as \
                 `mdmd wave later` proposes them"
            ));
        }
        Ok(warnings)
    }
}
