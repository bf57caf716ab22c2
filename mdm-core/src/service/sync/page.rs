//! One page of a list: what its records change is worked out before it is kept, and kept with the place in the list or not at all.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::device::{Device, DeviceRecord};
use crate::error::Error;
use crate::ids::{DeviceId, Serial};
use crate::service::Org;
use crate::service::decision::{Decision, Tracked};
use crate::service::ports::DevicePage;
use crate::service::sync::append;
use crate::service::sync::missing::PASSED_OVER;
use crate::store::{Batch, StoreError};
use crate::wave::{Server, SyncCursor};

impl Org {
    /// Takes one page, which was asked for where `row` stands: records, transitions, jobs and cursor in one batch. The assigner
    /// is called in the same batch when devices want another profile than before. Answers `false` when another process has
    /// taken the page already. What was folded before is taken as it is; where something has changed since, it is folded anew.
    pub(super) async fn take_page(
        &self,
        row: &Server,
        page: &DevicePage,
        folded: Option<Folded>,
        cursor: &SyncCursor,
        now: Timestamp,
    ) -> Result<bool, Error> {
        if let Some(folded) = folded.filter(|folded| self.wants_the_same(&folded.at, row)) {
            match self.keep_page(row.clone(), page, folded, cursor, now).await {
                Err(error) if error.is_conflict() => {}
                other => return other.map(|()| true),
            }
        }
        let (server, from) = (row.id, &row.cursor);
        self.again_on_conflict(|| async {
            let row = self
                .store()
                .server(self.id(), server)
                .await?
                .ok_or(Error::NotFound("server entry"))?;
            if row.cursor != *from {
                return Ok(false);
            }
            let folded = self.fold_page(&row, page, now).await?;
            self.keep_page(row, page, folded, cursor, now).await?;
            Ok(true)
        })
        .await
    }

    /// Whether devices are judged alike with both states of a server entry.
    fn wants_the_same(&self, one: &Server, other: &Server) -> bool {
        one.profile == other.profile
            && one.profiles == other.profiles
            && self.profile_at(one, None) == self.profile_at(other, None)
    }

    /// Commits what was folded together with the place in the list.
    async fn keep_page(
        &self,
        mut row: Server,
        page: &DevicePage,
        folded: Folded,
        cursor: &SyncCursor,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut batch = folded.batch;
        if folded.wanting {
            // Not at its own next time, which may be minutes away: it may have looked before these were there.
            self.put_assign_job(&mut batch, row.id).await?;
        }
        if row.cursor == SyncCursor::Start {
            row.passed_over.clear();
        }
        if matches!(
            cursor,
            SyncCursor::Full { .. } | SyncCursor::Sweeping { .. }
        ) {
            row.passed_over.extend(folded.passed_over);
            row.passed_over.truncate(PASSED_OVER);
        }
        row.cursor.clone_from(cursor);
        if !page.more {
            row.synced = Some(now);
        }
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// What the records of a page change. Writes nothing; every row that it rests on is guarded by its version.
    pub(super) async fn fold_page(
        &self,
        row: &Server,
        page: &DevicePage,
        now: Timestamp,
    ) -> Result<Folded, Error> {
        let records = latest(&page.devices);
        let serials: Vec<Serial> = records.keys().map(|s| (*s).clone()).collect();
        let mut known = self.known(&serials).await?;
        let profile = self.profile_at(row, None);
        let mut batch = Batch::new();
        let (mut wanting, mut passed_over) = (false, Vec::new());
        for (serial, record) in records {
            let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
            if known.is_unreadable(serial) {
                // The page goes on without it: the next whole list shows it again.
                passed_over.push(serial.clone());
                continue;
            }
            let tracked = match known.devices.remove(serial) {
                Some(device) => Tracked::read(device),
                None => {
                    let id = DeviceId(d.next_id());
                    Tracked::new(Device::new(self.id(), id, serial.clone()))
                }
            };
            let before = tracked.row.assignment.wanted.clone();
            let listed = tracked.row.record.as_ref();
            let was_here = listed.is_some_and(|r| r.server == row.id && !r.gone);
            let taken = self
                .take_record(&mut d, tracked, record.clone(), row, profile.as_deref())
                .await;
            if let Err(Error::Store(error @ StoreError::Corrupt { .. })) = &taken {
                tracing::warn!(organisation = %self.id(), %serial, %error, "what Apple says of a device is not kept");
                passed_over.push(serial.clone());
                continue;
            }
            taken?;
            let device = d.device.as_ref().map(|device| &device.row.assignment);
            wanting |=
                device.is_some_and(|a| a.wanted.is_some() && (a.wanted != before || !was_here));
            append(&mut batch, d.into_batch());
        }
        Ok(Folded {
            batch,
            wanting,
            passed_over,
            at: row.clone(),
        })
    }
}

/// What a page changes, worked out before it is kept.
pub(super) struct Folded {
    batch: Batch,
    /// Whether devices want another profile than before.
    wanting: bool,
    /// Those of which nothing could be kept.
    passed_over: Vec<Serial>,
    /// The server entry as it was judged by.
    at: Server,
}

/// The latest record of each serial number in a page: by Apple's date, and by position among equals.
fn latest(devices: &[(Serial, DeviceRecord)]) -> BTreeMap<&Serial, &DeviceRecord> {
    let mut latest: BTreeMap<&Serial, &DeviceRecord> = BTreeMap::new();
    for (serial, record) in devices {
        match latest.get(serial) {
            Some(old) if old.op_date > record.op_date => {}
            _ => {
                latest.insert(serial, record);
            }
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ServerId;

    #[test]
    fn the_later_operation_of_one_page_wins_whatever_its_place() {
        let record = |op: i64, status: &str| {
            let mut r = DeviceRecord::new(ServerId(1), Timestamp::from_millis(9));
            r.op_date = Some(Timestamp::from_millis(op));
            r.profile_status = status.to_owned();
            r
        };
        let serial = Serial::parse("C02A").unwrap();
        let page = [
            (serial.clone(), record(5, "assigned")),
            (serial.clone(), record(3, "removed")),
            (serial.clone(), record(5, "pushed")),
        ];
        assert_eq!(latest(&page)[&serial].profile_status, "pushed");
    }
}
