//! What devices go past that are part of no project: the open projects that are to leave the services of these devices, with their
//! gates, and how many devices would be in a hold at once. Where no project concerns them nothing of any wave is read.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Detail;
use super::facts::Plan;
use super::look::{Counts, How};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::ids::{ProjectId, Serial};
use crate::migration::plan::Taken;
use crate::project::Project;
use crate::service::Org;
use crate::store::{Batch, Noun};

/// Rows of one statement.
const CHUNK: usize = 1000;

/// A deadline, and how long the hold that begins with it counts.
type Held = (Timestamp, Duration);

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

    /// Counts the most devices that would be in a hold at once with a list, or a wave of no project, that goes past projects; `counted`
    /// are those of the wave that are counted as it is. Where all of them are too many, those alone are counted that can go: who stays
    /// behind takes nobody's room.
    pub(super) async fn count_at_once(
        &self,
        plan: &Plan,
        serials: &[Serial],
        counted: &[Held],
    ) -> Result<Option<(u32, Timestamp)>, Error> {
        let capacities = plan.open.iter().map(|passed| passed.project.capacity);
        let Some(least) = capacities.min() else {
            return Ok(None);
        };
        let mut taken = self.deadlines_of_all().await?;
        for (deadline, hold) in counted {
            taken.leave_out(*deadline, *hold);
        }
        let held = |serial| plan.planned(serial).map(|p| (p.deadline, p.hold));
        let own: Vec<Option<Held>> = serials.iter().map(held).collect();
        let mut at_once = most_at_once(&taken, &own, &[]);
        if at_once.is_some_and(|(most, _)| most > least) {
            // As long as nothing is said of room, whoever the rest of a project keeps back takes none. A gate keeps back all of them
            // alike, and opens for all of them: whether there is room then is said before.
            let how = How {
                detail: Detail::Counts,
                gates: false,
            };
            let mut counts = Counts::new(self.free_if_known().await?);
            let looked = self.look_at_each(plan, serials, &mut counts, how);
            let looked = looked.await?;
            // A list has no waivers. Whoever one may let go with a wave counts.
            let stays = match plan.alike {
                Some(_) => looked.staying,
                None => looked.staying_anyway,
            };
            at_once = most_at_once(&taken, &own, &stays);
        }
        Ok(at_once)
    }
}

/// The most devices in a hold at once with these, but for those that stay, by their places, and when.
fn most_at_once(taken: &Taken, own: &[Option<Held>], stays: &[bool]) -> Option<(u32, Timestamp)> {
    let (mut all, mut going) = (taken.clone(), BTreeSet::new());
    for (place, held) in own.iter().enumerate() {
        let stays = stays.get(place).copied().unwrap_or_default();
        if let Some((deadline, hold)) = held.filter(|_| !stays) {
            all.add(deadline, hold, 1);
            going.insert((deadline, hold));
        }
    }
    all.most_at_once(&going)
}
