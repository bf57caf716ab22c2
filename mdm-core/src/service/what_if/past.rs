//! What devices go past that are part of no project: the open projects that are to leave the services of these devices, with their
//! gates, and how many devices would be in a hold at once. Where no project concerns them nothing of any wave is read.

use std::collections::BTreeSet;

use super::Detail;
use super::facts::Plan;
use super::look::Counts;
use crate::check::CheckResult;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::ids::{ProjectId, Serial};
use crate::project::Project;
use crate::service::Org;
use crate::store::{Batch, Noun};

/// Rows of one statement.
const CHUNK: usize = 1000;

/// An open project that devices go past.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) project: Project,
    /// Waves of it whose gates are not open, by their names.
    pub(super) gates: Vec<String>,
}

impl Org {
    /// The projects that are open.
    async fn open_projects(&self) -> Result<Vec<Project>, Error> {
        let mut open = self.projects().await?;
        open.retain(|project| project.closed.is_none());
        Ok(open)
    }

    /// The projects that are open, with their versions: read before devices are looked at that are part of none.
    pub(in crate::service) async fn open_versions(&self) -> Result<Vec<(ProjectId, i64)>, Error> {
        let open = self.open_projects().await?.into_iter();
        Ok(open.map(|project| (project.id, project.version)).collect())
    }

    /// What let devices go past these projects must still hold when it is written: somebody may have turned one on meanwhile.
    pub(in crate::service) fn expect_open(&self, batch: &mut Batch, open: &[(ProjectId, i64)]) {
        for (project, version) in open {
            batch.expect(Noun::Project, self.id(), project.0, *version);
        }
    }

    /// The open projects that are to leave a service at which one of these devices is, as far as it `goes` and is not in a wave
    /// elsewhere.
    pub(super) async fn passed_by(
        &self,
        serials: &[Serial],
        ours: &BTreeSet<String>,
        goes: impl Fn(&Device) -> bool,
    ) -> Result<Vec<Passed>, Error> {
        let mut open = self.open_projects().await?;
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let mut left: BTreeSet<String> = BTreeSet::new();
        for chunk in serials.chunks(CHUNK) {
            let devices = self.store().devices_by_serial(self.id(), chunk).await?;
            let going = devices.into_iter().filter(|device| goes(device));
            left.extend(going.filter_map(|device| device.reading?.assigned_server));
        }
        open.retain(|project| left.iter().any(|at| project.leaves(at, ours)));
        let mut passed = Vec::with_capacity(open.len());
        for project in open {
            let gates = self.closed_gates(&project, None).await?;
            let gates = gates.into_iter().map(|(wave, _)| wave).collect();
            passed.push(Passed { project, gates });
        }
        Ok(passed)
    }

    /// Counts the most devices that would be in a hold at once with a list that goes past projects. Where all of the list are too many,
    /// those alone are counted against whom nothing else stands: who stays behind takes nobody's room.
    pub(super) async fn count_at_once(
        &self,
        plan: &mut Plan,
        serials: &[Serial],
    ) -> Result<(), Error> {
        let capacities = plan.open.iter().map(|passed| passed.project.capacity);
        let (Some(least), Some(own)) = (capacities.min(), plan.own()) else {
            return Ok(());
        };
        let taken = self.deadlines_of_all().await?;
        let with = |going: usize| {
            let mut all = taken.clone();
            all.add(own.0, own.1, u32::try_from(going).unwrap_or(u32::MAX));
            all.most_at_once(&BTreeSet::from([own]))
        };
        let over = |(most, _): &(u32, Timestamp)| *most > least;
        let mut at_once = with(serials.len());
        if at_once.as_ref().is_some_and(over) {
            // Looked at as if there were no projects.
            let open = std::mem::take(&mut plan.open);
            let mut counts = Counts::new(self.free_if_known().await?);
            let looked = self.look_at_each(plan, serials, &mut counts, Detail::Counts);
            let weights = looked.await?.weights;
            let going = weights.iter().filter(|w| **w != CheckResult::Block).count();
            plan.open = open;
            at_once = with(going);
        }
        plan.at_once = at_once;
        Ok(())
    }
}
