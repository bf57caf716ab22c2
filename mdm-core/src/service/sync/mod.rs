//! Keeping our copy of a server entry's device list. Page by page, each with its cursor in one batch; a page is either wholly
//! taken or fetched again. Decides by what a record says, never by the kind of operation, and believes that a device is gone
//! only when its service says so or a complete list did not show it.

mod assign;
mod profile;
mod unlicensed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

pub(in crate::service) use profile::check as check_ade;

use super::Org;
use super::decision::{Decision, Tracked};
use super::hand_over::mark_moved;
use super::ports::{DeviceAssignment, DevicePage, ServerCredential};
use crate::clock::Timestamp;
use crate::device::{Device, DeviceRecord};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, MoveId, Serial};
use crate::job::Job;
use crate::migration::Event;
use crate::store::{Batch, Lease, StoreError, Write};
use crate::wave::{Server, SyncCursor};

/// How often the list is read when nothing special is going on.
const CALM: Duration = Duration::from_secs(10 * 60);
/// How often the whole list is read, whatever the changes said: what they left out is found then.
const RECONCILE: Duration = Duration::from_secs(24 * 3600);
/// For so long a device that the organisation API assigns to an entry may be missing from its list: Apple's two services are not
/// changed at one moment. Then the whole list is read for all that are missing, at most once a day.
const LAG: Duration = Duration::from_secs(3600);
/// Pages of one run of a job. A long list goes on in the next run, so that other jobs have their turn and no lease ends in
/// the middle.
const PAGES: usize = 40;
/// Devices of a list of which nothing could be kept: with more of them it calls nobody gone.
const PASSED_OVER: usize = 1_000;
/// A device that left the list is looked at by then: whoever waits for the list looks more often.
const LEAVES: Duration = Duration::from_secs(10 * 60);
/// Over so many seconds more are those spread that leave together.
const APART_SECS: u64 = 20 * 60;
/// After a list that ran in a circle.
const IN_A_CIRCLE: Duration = Duration::from_secs(15 * 60);

impl Org {
    /// Opens a server entry's token.
    pub(super) async fn server_credential(
        &self,
        server: &Server,
    ) -> Result<ServerCredential, Error> {
        let token = self.open_secret_cached(server.token).await?;
        Ok(ServerCredential {
            organisation: self.id(),
            server: server.id,
            token,
        })
    }

    /// The recurring job that reads the list.
    pub(super) async fn sync_job(
        &self,
        job: Job,
        lease: Lease,
        server: crate::ids::ServerId,
    ) -> Result<(), Error> {
        let Some(server) = self.store().server(self.id(), server).await? else {
            return self.job_done(&job, lease).await;
        };
        if server.removed.is_some() {
            return self.leave_list(&job, lease, server.id).await;
        }
        let outcome = self.sync_server(&server).await;
        let (due, needs_person) = match &outcome {
            Ok(Run::More) => (self.now(), None),
            Ok(Run::Ended) => (self.now() + CALM, None),
            Err(Error::Port(PortError::NeedsPerson(what))) => {
                (self.now() + Duration::from_secs(1800), Some(what.clone()))
            }
            Err(error) => (
                self.now() + error.retry_after().unwrap_or(Duration::from_secs(300)),
                None,
            ),
        };
        if let Err(error) = &outcome {
            tracing::warn!(organisation = %self.id(), server = %server.name, %error, "the device list could not be read");
        }
        self.again_on_conflict(|| async {
            let Some(mut row) = self.server_entry(server.id).await? else {
                return Ok(());
            };
            if row.needs_person == needs_person {
                return Ok(());
            }
            row.needs_person.clone_from(&needs_person);
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        let mut later = job;
        later.due = due;
        later.tries = 0;
        self.job_stands_or(later, lease).await
    }

    /// Puts a recurring job off. Where somebody has asked for it meanwhile, the sooner of both counts; where somebody else has
    /// claimed it since, as after a pause of this process, it is that one's, and so is its proof.
    pub(super) async fn job_stands_or(&self, later: Job, lease: Lease) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(Write::JobLater {
            job: later.clone(),
            lease,
        });
        match self.store().commit(batch).await {
            Err(StoreError::Conflict) => {
                let times = self.store().job_times(self.id(), later.id).await?;
                match times.and_then(|times| times.lease) {
                    Some(claimed) if claimed != lease => Ok(()),
                    _ => self.job_by(later).await,
                }
            }
            other => Ok(other?),
        }
    }

    /// Has a recurring job run at its moment or before. One that is under way may have gone by what it is wanted for: it
    /// runs again.
    async fn job_by(&self, job: Job) -> Result<(), Error> {
        let times = self.store().job_times(self.id(), job.id).await?;
        if times.is_some_and(|t| t.due <= job.due && t.leased_until <= self.now()) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(job);
        Ok(self.store().commit(batch).await?)
    }

    /// Reads the list, so many pages of it.
    async fn sync_server(&self, server: &Server) -> Result<Run, Error> {
        let credential = self.server_credential(server).await?;
        let assignment = self.ports().assignment.clone();
        let mut empty_pages = 0;
        let mut cursor = server.cursor.clone();
        let mut pages = 0;
        // Where the list has been in this run: a place that comes again would come for ever.
        let mut been: BTreeSet<String> = cursor.text().map(str::to_owned).into_iter().collect();
        // The page after the one that is being kept is under way already, and what it changes is worked out.
        let mut ahead: Option<Ahead> = None;
        let due = server
            .last_full
            .is_none_or(|at| self.now() >= at + RECONCILE);
        let changes = matches!(cursor, SyncCursor::Changes { .. });
        if changes && (due || self.is_missed(server).await?) {
            self.still_the_same(server, &credential).await?;
            cursor = SyncCursor::Start;
            self.again_on_conflict(|| self.store_cursor(server.id, &server.cursor, &cursor))
                .await?;
        }
        let mut started_over = false;
        while pages < PAGES {
            pages += 1;
            let now = self.now();
            if let SyncCursor::Sweeping {
                cursor: changes,
                begun,
            } = &cursor
            {
                let (changes, begun) = (changes.clone(), *begun);
                if self.sweep_unseen(server, begun).await? {
                    let next = SyncCursor::Changes { cursor: changes };
                    self.again_on_conflict(|| self.end_sweep(server.id, begun, next.clone()))
                        .await?;
                    cursor = next;
                }
                continue;
            }
            // What was asked ahead was read then, not now.
            let (now, answered) = match ahead.take() {
                Some(ahead) if ahead.of == cursor => (ahead.asked, ahead.answered),
                _ => {
                    let page = ask(assignment.as_ref(), &credential, &cursor, now).await;
                    (now, page.map(|page| (page, None)))
                }
            };
            let (page, folded) = match answered {
                Ok(answered) => answered,
                // Once in a job: when Apple accepts its own new cursor no better, the list is read again later.
                Err(PortError::CursorExpired) if started_over => {
                    return Err(PortError::retry("Apple has expired its cursor again").into());
                }
                Err(PortError::CursorExpired) => {
                    started_over = true;
                    tracing::info!(organisation = %self.id(), server = %server.name, "the cursor has expired: the whole list is read again");
                    self.again_on_conflict(|| {
                        self.store_cursor(server.id, &cursor, &SyncCursor::Start)
                    })
                    .await?;
                    cursor = SyncCursor::Start;
                    // The list begins anew: where it was before says nothing.
                    been.clear();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let begun = match &cursor {
                SyncCursor::Start => Some(now),
                SyncCursor::Full { begun, .. } => Some(*begun),
                SyncCursor::Changes { .. } | SyncCursor::Sweeping { .. } => None,
            };
            let at = page.cursor.clone();
            // An empty page may name its own place: that has a patience of its own below.
            let empty_in_place = page.devices.is_empty() && cursor.text() == Some(&at);
            if page.more && !been.insert(at.clone()) && !empty_in_place {
                return Err(does_not_go_on(begun).into());
            }
            let next = match (begun, page.more) {
                (Some(begun), true) => SyncCursor::Full { cursor: at, begun },
                // Complete: only now may a device that it did not show be called gone.
                (Some(begun), false) => SyncCursor::Sweeping { cursor: at, begun },
                (None, _) => SyncCursor::Changes { cursor: at },
            };
            // Only who stands where it asked goes on: where another process has gone on, what comes next is not ours to ask.
            let ours = self.store().server(self.id(), server.id).await?;
            let Some(row) = ours.filter(|row| row.cursor == cursor) else {
                return Ok(Run::Ended);
            };
            let then = self.now();
            let asked = (page.more && pages < PAGES)
                .then(|| Asked::ask(&assignment, &credential, &next, then));
            let take = self.take_page(&row, &page, folded, &next, now);
            let taken = match asked {
                None => take.await?,
                Some(asked) => {
                    let fold_ahead = async {
                        let answered = match asked.answer().await {
                            Ok(page) => {
                                let folded = self.fold_page(&row, &page, then).await?;
                                Ok((page, Some(folded)))
                            }
                            Err(error) => Err(error),
                        };
                        Ok::<_, Error>(Ahead {
                            of: next.clone(),
                            asked: then,
                            answered,
                        })
                    };
                    let (taken, folded_ahead) = tokio::join!(take, fold_ahead);
                    ahead = Some(folded_ahead?);
                    taken?
                }
            };
            if !taken || (!page.more && begun.is_none()) {
                return Ok(Run::Ended);
            }
            empty_pages = if page.devices.is_empty() && cursor == next {
                empty_pages + 1
            } else {
                0
            };
            if empty_pages >= 3 {
                return Err(does_not_go_on(begun).into());
            }
            cursor = next;
        }
        Ok(Run::More)
    }

    /// Whether the list has been without devices for long that the organisation API assigns to it: changes that Apple has left out
    /// are in the whole list. Those that have come meanwhile, or that a whole list since has not shown either, are waited for no more.
    async fn is_missed(&self, server: &Server) -> Result<bool, Error> {
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

    /// Begins elsewhere, unless another process has gone on meanwhile.
    async fn store_cursor(
        &self,
        server: crate::ids::ServerId,
        from: &SyncCursor,
        cursor: &SyncCursor,
    ) -> Result<(), Error> {
        let mut row = self
            .store()
            .server(self.id(), server)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        if row.cursor != *from {
            return Ok(());
        }
        row.cursor.clone_from(cursor);
        if *cursor == SyncCursor::Start && !row.missing.is_empty() {
            // It shows all of them, or none does: each that is still missing is noted anew after a day.
            row.missing.clear();
            row.sought = Some(self.now());
        }
        let mut batch = Batch::new();
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// The list is complete, and what it did not show is marked.
    async fn end_sweep(
        &self,
        server: crate::ids::ServerId,
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

    /// Takes one page, which was asked for where `row` stands: records, transitions, jobs and cursor in one batch. The assigner
    /// is called in the same batch when devices want another profile than before. Answers `false` when another process has
    /// taken the page already. What was folded before is taken as it is; where something has changed since, it is folded anew.
    async fn take_page(
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
    async fn fold_page(
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

    /// Once a day: the token still opens the entry that it was imported for.
    async fn still_the_same(
        &self,
        server: &Server,
        credential: &ServerCredential,
    ) -> Result<(), Error> {
        let account = self.ports().assignment.account(credential).await?;
        if account.server_uuid == server.uuid {
            return Ok(());
        }
        Err(PortError::NeedsPerson(format!(
            "The token of {} opens another server entry now, {}: import the right one.",
            server.name, account.server_name
        ))
        .into())
    }

    /// The profile that an attempt's device is to have at the entry to which its wave goes; `None` at another one.
    async fn profile_of_attempt(
        &self,
        attempt: MoveId,
        server: &Server,
    ) -> Result<Option<Option<String>>, Error> {
        let Some(attempt) = self.store().attempt(self.id(), attempt).await? else {
            return Ok(None);
        };
        let wave = self.store().wave(self.id(), attempt.wave).await?;
        let here = wave.filter(|w| w.destination == server.id);
        Ok(here.map(|w| self.profile_at(server, Some(&w))))
    }

    async fn take_record(
        &self,
        d: &mut Decision<'_>,
        mut tracked: Tracked<Device>,
        record: DeviceRecord,
        server: &Server,
        profile: Option<&str>,
    ) -> Result<(), Error> {
        let device = &mut tracked.row;
        let stale = match (&device.record, record.op_date) {
            (Some(old), Some(new)) => old.op_date.is_some_and(|old| old > new),
            _ => false,
        };
        // It left one of our lists for another one of ours: that it is gone from there says nothing about here.
        let moved_on = record.gone
            && device
                .record
                .as_ref()
                .is_some_and(|old| old.server != record.server && !old.gone);
        if stale || moved_on {
            return Ok(());
        }
        let event = assignment_event(&record, server);
        // It was offered its migration to another entry of ours, and somebody assigned it to this one: what it wanted there is
        // not to be had here.
        let elsewhere = device.assignment.from.is_some()
            && device
                .record
                .as_ref()
                .is_some_and(|old| old.server != record.server);
        if (device.open_move.is_none() || elsewhere) && !record.gone {
            // Outside of a wave every device of the list gets the profile at once.
            device.assignment.wanted = profile.map(str::to_owned);
            if let Some(open) = device.open_move.filter(|_| elsewhere)
                && let Some(own) = self.profile_of_attempt(open, server).await?
            {
                device.assignment.wanted = own;
            }
        }
        if record.profile_in_force().is_some()
            && record.profile_in_force() == device.assignment.wanted.as_deref()
        {
            device.assignment.tries = 0;
            device.assignment.last_refusal = None;
        }
        let leaves = record.gone && device.record.as_ref().is_none_or(|old| !old.gone);
        if leaves && self.hands_over() {
            // Its CheckOut may have come before, come later, or be lost. Devices that leave together are not looked at together.
            let apart = Duration::from_secs(device.id.0.unsigned_abs() % APART_SECS);
            self.look_at_leaving(d, device.id, LEAVES + apart).await?;
        }
        let seen = record.seen;
        let stays = leaves && self.is_at_another_entry(device, server).await?;
        device.record = Some(record);
        // It has checked out before: now it has moved.
        let mut moved = None;
        if leaves && !stays && device.enrollment.is_none() {
            let enrolments = self.store().enrollments_of_device(self.id(), device.id);
            let ended = enrolments.await?.last().and_then(|newest| newest.ended);
            moved = ended.and_then(|ended| mark_moved(device, ended.max(seen)));
        }
        let open = device.open_move;
        d.device = Some(tracked);
        if let Some(detail) = moved {
            d.audit("device.moved-away", detail);
        }
        if let Some(open) = open {
            self.load_attempt(d, open).await?;
            d.tell_move(&event);
        }
        Ok(())
    }

    /// Whether the organisation API has a device at another entry of ours since the list that it leaves was read: the other list
    /// will show it.
    async fn is_at_another_entry(&self, device: &Device, server: &Server) -> Result<bool, Error> {
        let listed = device.record.as_ref().map(|record| record.seen);
        let reading = device.reading.as_ref().filter(|r| !r.unknown);
        let reading = reading.filter(|r| Some(r.seen).max(r.listed) >= listed);
        let at = reading.and_then(|r| r.assigned_server.as_deref());
        let Some(at) = at.filter(|at| *at != server.uuid) else {
            return Ok(false);
        };
        let servers = self.store().servers(self.id()).await?;
        Ok(servers.iter().any(|other| other.uuid == at))
    }

    /// After a full list: devices that it did not show are no longer ours. Goes through some of them; answers whether those
    /// were the last.
    async fn sweep_unseen(&self, server: &Server, begun: Timestamp) -> Result<bool, Error> {
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

    pub(super) fn display_name(&self) -> &str {
        self.organisation
            .settings
            .display_name
            .as_deref()
            .unwrap_or(&self.organisation.name)
    }
}

/// The list names a place where it has been. The page is not taken, so that ours is kept.
fn does_not_go_on(full_since: Option<Timestamp>) -> PortError {
    let call = match full_since {
        Some(_) => "POST /server/devices",
        None => "POST /devices/sync",
    };
    PortError::Retry {
        what: format!("{call}: the list does not go on: it names a place where it has been"),
        after: Some(IN_A_CIRCLE),
    }
}

/// Asks for the page at a place in the list.
async fn ask(
    assignment: &dyn DeviceAssignment,
    credential: &ServerCredential,
    cursor: &SyncCursor,
    now: Timestamp,
) -> Result<DevicePage, PortError> {
    match cursor {
        SyncCursor::Start => assignment.fetch(credential, None, now).await,
        SyncCursor::Full { cursor, .. } => assignment.fetch(credential, Some(cursor), now).await,
        SyncCursor::Changes { cursor } | SyncCursor::Sweeping { cursor, .. } => {
            assignment.sync(credential, cursor, now).await
        }
    }
}

/// What a page changes, worked out before it is kept.
struct Folded {
    batch: Batch,
    /// Whether devices want another profile than before.
    wanting: bool,
    /// Those of which nothing could be kept.
    passed_over: Vec<Serial>,
    /// The server entry as it was judged by.
    at: Server,
}

/// The page that comes after the one that was just kept, or why there is none.
struct Ahead {
    of: SyncCursor,
    /// When it was asked for.
    asked: Timestamp,
    answered: Result<(DevicePage, Option<Folded>), PortError>,
}

/// A page that is asked for while the one before is kept. Given up when it is dropped; reading changes nothing.
struct Asked(JoinSet<Result<DevicePage, PortError>>);

impl Asked {
    fn ask(
        assignment: &Arc<dyn DeviceAssignment>,
        credential: &ServerCredential,
        cursor: &SyncCursor,
        now: Timestamp,
    ) -> Self {
        let (assignment, credential) = (Arc::clone(assignment), credential.clone());
        let cursor = cursor.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { ask(assignment.as_ref(), &credential, &cursor, now).await });
        Self(task)
    }

    async fn answer(mut self) -> Result<DevicePage, PortError> {
        match self.0.join_next().await {
            Some(Ok(page)) => page,
            Some(Err(_)) | None => Err(PortError::retry("the device list was not read")),
        }
    }
}

/// How far one run of a job came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// There is more to do at once.
    More,
    /// Nothing is left for now.
    Ended,
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

fn assignment_event(record: &DeviceRecord, server: &Server) -> Event {
    let profile_in_force = record
        .profile_in_force()
        .is_some_and(|uuid| server.awaits(uuid));
    Event::AssignmentTold {
        ours: !record.gone,
        profile_in_force: profile_in_force && !record.gone,
        deadline: record.deadline,
    }
}

/// Adds everything of one batch to another.
pub(super) fn append(into: &mut Batch, from: Batch) {
    into.writes.extend(from.writes);
    into.expects.extend(from.expects);
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

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn whoever_was_overtaken_takes_no_lease_from_whoever_has_it() {
        use crate::clock::ManualClock;
        use crate::ids::JobId;
        use crate::job::JobKind;
        use crate::service::ports::Ports;
        use crate::service::{Mdm, MdmSettings};
        use crate::store::{JobStore as _, SqliteStore, Store as _};
        use crate::vault::{EscrowVault, PlainKeys};

        let start = Timestamp::from_millis(1_796_112_000_000);
        let (clock, store) = (ManualClock::new(start), SqliteStore::in_memory().await);
        let store = Arc::new(store.unwrap());
        let settings = MdmSettings {
            device_url: "https://mdm.example.com".to_owned(),
            enrol_url: "https://mdm.example.com".to_owned(),
            sign_messages: true,
        };
        let (vault, ports) = (EscrowVault::new(PlainKeys), Ports::refusing());
        let mdm = Mdm::new(
            store.clone(),
            vault,
            Arc::new(clock.clone()),
            ports,
            settings,
        );
        let org = mdm.create_organisation("Overtaken", Vec::new()).await;
        let org = org.unwrap().org;
        let server = ServerId(7);
        let job = Job::new(org.id(), JobId(7), start, JobKind::Sync { server });
        let mut batch = Batch::new();
        batch.put(job.clone());
        store.commit(batch).await.unwrap();
        let seconds = Duration::from_secs;
        let (ours, theirs) = (Lease(start + seconds(20)), Lease(start + seconds(45)));
        store.claim_jobs(start, ours, 100).await.unwrap();
        clock.advance(seconds(25));
        let claimed = store.claim_jobs(start + seconds(25), theirs, 100).await;
        assert!(claimed.unwrap().iter().any(|other| other.id == job.id));
        let mut later = job.clone();
        later.due = start + seconds(900);
        org.job_stands_or(later.clone(), ours).await.unwrap();
        let times = store.job_times(org.id(), job.id).await.unwrap().unwrap();
        assert_eq!(times.lease, Some(theirs));
        // Put anew while we are at it, it is nobody's: the sooner of both counts.
        let mut sooner = job.clone();
        sooner.due = start + seconds(1_800);
        let mut batch = Batch::new();
        batch.put(sooner);
        store.commit(batch).await.unwrap();
        org.job_stands_or(later, theirs).await.unwrap();
        let times = store.job_times(org.id(), job.id).await.unwrap().unwrap();
        assert_eq!((times.lease, times.due), (None, start + seconds(900)));
    }
}
