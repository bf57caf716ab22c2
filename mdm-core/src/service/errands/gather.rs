//! Single wishes of attempts become errands for many devices: writes to Apple are scarce, so that what is alike and not yet
//! sent goes together.

use std::collections::BTreeMap;

use crate::errand::{BY_ITSELF, ErrandKind, ErrandMember};
use crate::error::Error;
use crate::ids::{LocationId, WaveId};
use crate::job::{Job, JobKind};
use crate::service::Org;
use crate::service::worker::done;
use crate::store::{Batch, Lease};

impl Org {
    /// Turns jobs that each ask for one device into errands, in one batch that ends them.
    pub(in crate::service) async fn gather(&self, jobs: &[Job], lease: Lease) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut alike: Vec<(Option<WaveId>, ErrandKind, Vec<ErrandMember>)> = Vec::new();
            let mut batch = Batch::new();
            for job in jobs {
                batch.put(done(job, lease));
                for (wave, kind, member) in self.wish(&job.kind).await? {
                    match alike.iter_mut().find(|(w, k, _)| *w == wave && *k == kind) {
                        // Two jobs may wish the same.
                        Some((_, _, members)) => {
                            if members.iter().all(|m| m.device != member.device) {
                                members.push(member);
                            }
                        }
                        None => alike.push((wave, kind, vec![member])),
                    }
                }
            }
            let ended = jobs.iter().filter_map(|job| match job.kind {
                JobKind::ReturnLicences { device } => Some(device),
                _ => None,
            });
            self.take_from_promises(&mut batch, &ended.collect())
                .await?;
            let mut open = self.open_errands().await?;
            open.retain(|e| e.is_open_to(self.now()));
            for (wave, kind, mut members) in alike {
                let room = open.iter_mut().find(|e| e.wave == wave && e.kind == kind);
                if let Some(errand) = room {
                    errand.join(&mut members, self.now());
                    batch.put(errand.clone());
                    self.put_errands_job(&mut batch, self.now());
                }
                self.put_errands(&mut batch, wave, &kind, &members, None, BY_ITSELF);
            }
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// What a job wishes at Apple, for which device.
    async fn wish(
        &self,
        kind: &JobKind,
    ) -> Result<Vec<(Option<WaveId>, ErrandKind, ErrandMember)>, Error> {
        let (id, wanted) = match kind {
            JobKind::Cancel { attempt } => (*attempt, ErrandKind::Cancel),
            JobKind::MoveDeadline { attempt, deadline } => (
                *attempt,
                ErrandKind::MoveDeadline {
                    deadline: *deadline,
                },
            ),
            JobKind::ReturnLicences { device } => return self.wish_licences_back(*device).await,
            _ => return Ok(Vec::new()),
        };
        let Some(attempt) = self.store().attempt(self.id(), id).await? else {
            return Ok(Vec::new());
        };
        let member = ErrandMember {
            device: attempt.device,
            serial: attempt.serial,
            attempt: Some(id),
        };
        Ok(vec![(Some(attempt.wave), wanted, member)])
    }

    async fn wish_licences_back(
        &self,
        device: crate::ids::DeviceId,
    ) -> Result<Vec<(Option<WaveId>, ErrandKind, ErrandMember)>, Error> {
        let Some(row) = self.store().device(self.id(), device).await? else {
            return Ok(Vec::new());
        };
        let mut apps: BTreeMap<LocationId, Vec<u64>> = BTreeMap::new();
        for held in self.to_be_returned(&row).await? {
            apps.entry(held.location).or_default().push(held.app);
        }
        let member = ErrandMember {
            device,
            serial: row.serial,
            attempt: None,
        };
        let mut wishes = Vec::new();
        for (location, mut apps) in apps {
            apps.sort_unstable();
            // What was lent from one that was given up stays with its devices.
            let Some(known) = self.location_row(location).await? else {
                continue;
            };
            let most = known.limits.apps;
            for apps in apps.chunks(most.max(1)) {
                let apps = apps.to_vec();
                let kind = ErrandKind::Disassociate { location, apps };
                wishes.push((None, kind, member.clone()));
            }
        }
        Ok(wishes)
    }
}
