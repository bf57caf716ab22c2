//! Lists that lack devices: those that the organisation API assigns to an entry and its list has not shown, and those that a
//! complete list shows no longer. Believes that a device is gone only then.

use std::time::Duration;

use serde_json::json;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{DeviceId, ServerId};
use crate::service::Org;
use crate::service::decision::{Decision, Tracked};
use crate::store::{Batch, StoreError};
use crate::wave::{Server, SyncCursor};

/// For so long a device that the organisation API assigns to an entry may be missing from its list: Apple's two services are not
/// changed at one moment. Then the whole list is read for all that are missing, at most once a day.
const LAG: Duration = Duration::from_secs(3600);
/// Devices of a list of which nothing could be kept: with more of them it calls nobody gone.
pub(super) const PASSED_OVER: usize = 1_000;

impl Org {
    /// Whether the list has been without devices for long that the organisation API assigns to it: changes that Apple has left out
    /// are in the whole list. Those that have come meanwhile, or that a whole list since has not shown either, are waited for no more.
    pub(super) async fn is_missed(&self, server: &Server) -> Result<bool, Error> {
        let (mut late, mut settled) = (0_usize, Vec::new());
        let ids: Vec<DeviceId> = server.missing.iter().map(|missed| missed.device).collect();
        let devices = match ids.is_empty() {
            true => Vec::new(),
            false => self.store().devices_of(self.id(), &ids).await?,
        };
        for missed in &server.missing {
            let device = devices.iter().find(|device| device.id == missed.device);
            let unlisted = device.is_some_and(|device| device.is_unlisted_at(&server.uuid));
            if unlisted && self.now() < missed.at + LAG {
                // Its change may come yet.
                continue;
            }
            if unlisted && server.last_full.is_none_or(|at| at < missed.at) {
                late += 1;
            } else {
                settled.push(*missed);
            }
        }
        if late > 0 {
            tracing::info!(organisation = %self.id(), server = %server.name, devices = late, "the list lacks devices that are assigned to it: the whole list is read");
            return Ok(true);
        }
        if settled.is_empty() {
            return Ok(false);
        }
        self.again_on_conflict(|| async {
            let Some(mut row) = self.store().server(self.id(), server.id).await? else {
                return Ok(());
            };
            let before = row.missing.len();
            row.missing.retain(|missed| !settled.contains(missed));
            if row.missing.len() == before {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        Ok(false)
    }

    /// The list is complete, and what it did not show is marked.
    pub(super) async fn end_sweep(
        &self,
        server: ServerId,
        begun: Timestamp,
        cursor: SyncCursor,
    ) -> Result<(), Error> {
        let mut row = self
            .store()
            .server(self.id(), server)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        row.cursor = cursor;
        row.last_full = Some(begun);
        row.passed_over.clear();
        let mut batch = Batch::new();
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// After a full list: devices that it did not show are no longer ours. Goes through some of them; answers whether those
    /// were the last.
    pub(super) async fn sweep_unseen(
        &self,
        server: &Server,
        begun: Timestamp,
    ) -> Result<bool, Error> {
        // As it is now: pages were taken since this run began.
        let row = self.store().server(self.id(), server.id).await?;
        let passed_over = row.map(|row| row.passed_over).unwrap_or_default();
        if passed_over.len() >= PASSED_OVER {
            tracing::warn!(organisation = %self.id(), server = %server.name, "so many devices of the list have rows that cannot be read that it calls none gone");
            return Ok(true);
        }
        let unseen = self
            .store()
            .devices_unseen_since(self.id(), server.id, begun, 500)
            .await?;
        let (all, mut left) = (unseen.len(), 0);
        for device in unseen {
            // It was shown; the next whole list shows it again.
            if passed_over.contains(&device.serial) {
                left += 1;
                continue;
            }
            let swept = self.again_on_conflict(|| async {
                let Some(device) = self.store().device(self.id(), device.id).await? else {
                    return Ok(());
                };
                let Some(mut record) = device.record.clone() else {
                    return Ok(());
                };
                if record.server != server.id || record.seen >= begun || record.gone {
                    // It was seen meanwhile.
                    return Ok(());
                }
                record.gone = true;
                record.op_date = None;
                record.seen = self.now();
                let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
                d.audit("device.left-list", json!({ "server": server.name }));
                self.take_record(&mut d, Tracked::read(device), record, server, None)
                    .await?;
                self.commit(d).await
            });
            match swept.await {
                // What is beside it cannot be read: it stays as it is, and no other for it.
                Err(Error::Store(error @ StoreError::Corrupt { .. })) => {
                    tracing::warn!(organisation = %self.id(), %error, "a device that left the list is kept");
                    left += 1;
                }
                swept => swept?,
            }
        }
        Ok(left == all)
    }
}
