//! Errands at Apps and Books: who holds what is read, what is lacking is asked for, the event is followed to its end, and who
//! holds what is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{LOOK, READING, SENDINGS, Stepped};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::errand::{Errand, ErrandKind, ErrandMember, ErrandState, Next};
use crate::error::Error;
use crate::ids::{DeviceId, JobId, LocationId, MoveId, Serial};
use crate::job::{Job, JobKind};
use crate::licences::{HeldLicence, note};
use crate::migration::{Move, MoveState, Outcome};
use crate::service::Org;
use crate::service::errands::stand::still_wanted;
use crate::service::licences::Holders;
use crate::service::ports::{ContentCredential, LicenceRequest};
use crate::store::Batch;

/// An event that still says that it is under way is sent again after this time, as Apple advises.
const GIVEN_UP: Duration = Duration::from_secs(600);

/// A return that failed is tried again after this time,
const AGAIN: Duration = Duration::from_secs(7 * 3600);
/// and at last no more often than this.
const SELDOM: Duration = Duration::from_secs(7 * 86_400);

/// Errands that end within this time share one reading of the stock.
const SOON: Duration = Duration::from_secs(300);

/// What an errand about licences asks for.
struct Asked {
    location: LocationId,
    request: LicenceRequest,
}

impl Asked {
    /// What a device holds of these apps is its own from now on. Answers whether that changed anything.
    fn keep(&self, licences: &mut [HeldLicence]) -> bool {
        let mut changed = false;
        for held in licences {
            let lent = held.ours
                && held.location == self.location
                && self.request.apps.contains(&held.app);
            if lent && !self.request.take_back {
                held.ours = false;
                changed = true;
            }
        }
        changed
    }

    fn of(errand: &Errand) -> Option<Self> {
        let (location, apps, take_back) = match &errand.kind {
            ErrandKind::Associate { location, apps } => (*location, apps, false),
            ErrandKind::Disassociate { location, apps } => (*location, apps, true),
            _ => return None,
        };
        let request = LicenceRequest {
            take_back,
            apps: apps.clone(),
        };
        Some(Self { location, request })
    }

    /// The apps of which this device holds too few, or too many.
    fn lacking<'a>(
        &'a self,
        serial: &'a Serial,
        holders: &'a Holders,
    ) -> impl Iterator<Item = u64> + 'a {
        let holds = move |app: &u64| holders.has(*app, serial);
        let apps = self.request.apps.iter().copied();
        apps.filter(move |app| holds(app) == self.request.take_back)
    }
}

impl Org {
    /// One step of an errand at Apps and Books.
    pub(super) async fn step_licences(&self, errand: Errand) -> Result<Stepped, Error> {
        let Some(asked) = Asked::of(&errand) else {
            return Ok(Stepped::Waits);
        };
        let now = self.now();
        let next = errand.next(now);
        if matches!(next, Next::Nothing | Next::Wait { .. }) {
            return Ok(Stepped::Waits);
        }
        if self.location_row(asked.location).await?.is_none() {
            // Decided on, or sent, just when somebody gave it up: nobody can ask there what became of it.
            let why = "the location of Apps and Books has been removed";
            self.refuse(&errand, why, !errand.sendings.is_empty())
                .await?;
            return Ok(Stepped::Waits);
        }
        match next {
            Next::Nothing | Next::Wait { .. } => Ok(Stepped::Waits),
            Next::Look => self.look_at_event(&errand, &asked).await,
            Next::Read { not_before } => {
                let credential = self.content_credential(asked.location).await?;
                let holders = self.holders_for(&errand, &credential, not_before).await?;
                self.after_holders(errand, &asked, &credential, &holders, now)
                    .await
            }
        }
    }

    async fn look_at_event(&self, errand: &Errand, asked: &Asked) -> Result<Stepped, Error> {
        let ErrandState::Posted { at, activity, .. } = &errand.state else {
            return Ok(Stepped::Waits);
        };
        let credential = self.content_credential(asked.location).await?;
        match self.ports().licences.event(&credential, activity).await {
            Ok(event) if event.finished => {
                let general = event.failed.iter().find(|(serial, _)| serial.is_none());
                let mut status = event.status.clone();
                if let Some((_, why)) = general {
                    status = format!("{status}: {why}");
                }
                self.alter_errand(errand.id, |errand, now| {
                    errand.failed = event
                        .failed
                        .iter()
                        .filter_map(|(serial, why)| Some((serial.clone()?, why.clone())))
                        .collect();
                    if general.is_some() {
                        // It names nobody: whoever lacks it afterwards is meant.
                        for serial in errand.serials() {
                            errand
                                .failed
                                .entry(serial)
                                .or_insert_with(|| status.clone());
                        }
                    }
                    errand.finished(&status, None, now);
                })
                .await?;
            }
            Ok(event) if self.now() >= *at + GIVEN_UP => {
                self.alter_errand(errand.id, |errand, now| errand.given_up(&event.status, now))
                    .await?;
            }
            Ok(event) => {
                self.alter_errand(errand.id, |errand, now| errand.looked(&event.status, now))
                    .await?;
            }
            Err(error) => return self.look_failed(errand, error).await,
        }
        Ok(Stepped::Waits)
    }

    async fn after_holders(
        &self,
        errand: Errand,
        asked: &Asked,
        credential: &ContentCredential,
        holders: &Holders,
        // When they were asked for: while they were read time has gone on.
        since: Timestamp,
    ) -> Result<Stepped, Error> {
        let attempts = self.attempts_of(&errand).await?;
        let lacking: Vec<&ErrandMember> = errand
            .members
            .iter()
            .filter(|m| asked.lacking(&m.serial, holders).next().is_some())
            .collect();
        // A list that changed while it was read may have left somebody out: who would get a licence once more takes no harm, but
        // it is no proof that somebody has none.
        let asks = errand.state == ErrandState::Waiting && !asked.request.take_back;
        let shows_all = lacking.is_empty() && !asked.request.take_back;
        if !holders.complete && !asks && !shows_all {
            self.alter_errand(errand.id, |errand, now| {
                errand.status = Some("licences changed while they were read".to_owned());
                errand.wait(READING, now);
            })
            .await?;
            return Ok(Stepped::Waits);
        }
        let kept = self.kept_after_all(&errand, asked).await?;
        let mut kept: BTreeSet<DeviceId> = kept.into_keys().collect();
        kept.extend(self.served_elsewhere(&errand, asked).await?);
        let to_send: Vec<ErrandMember> = lacking
            .iter()
            .filter(|m| !kept.contains(&m.device))
            .filter(|m| {
                let attempt = m.attempt.and_then(|id| attempts.get(&id));
                attempt.is_none_or(|attempt| still_wanted(&errand.kind, attempt))
            })
            .map(|m| (*m).clone())
            .collect();
        let lag = errand.no_lag_after().is_some_and(|at| since < at);
        match &errand.state {
            ErrandState::Waiting | ErrandState::Asked { .. }
                if to_send.is_empty() && (lacking.is_empty() || !lag) =>
            {
                self.conclude_licences(&errand, asked, holders).await?;
            }
            ErrandState::Asked { .. } if lag => {
                self.alter_errand(errand.id, |errand, now| errand.wait(LOOK, now))
                    .await?;
            }
            ErrandState::Waiting | ErrandState::Asked { .. }
                if errand.sendings.len() < SENDINGS =>
            {
                return self
                    .send_licences(errand, asked, credential, holders, &to_send)
                    .await;
            }
            ErrandState::Proving { .. }
                if lag
                    && !lacking
                        .iter()
                        .all(|m| errand.failed.contains_key(&m.serial)) =>
            {
                self.alter_errand(errand.id, |errand, now| errand.wait(LOOK, now))
                    .await?;
            }
            _ => self.conclude_licences(&errand, asked, holders).await?,
        }
        Ok(Stepped::Waits)
    }

    /// Nobody looks after a return that failed who could ask again: the server does, less and less often.
    pub(super) async fn put_return_again(
        &self,
        batch: &mut Batch,
        errand: &Errand,
        member: &ErrandMember,
    ) -> Result<(), Error> {
        if !matches!(errand.kind, ErrandKind::Disassociate { .. }) || !errand.is_by_itself() {
            return Ok(());
        }
        let Some(row) = self.store().device(self.id(), member.device).await? else {
            return Ok(());
        };
        let now = self.now();
        let mut wait = AGAIN;
        for held in self.to_be_returned(&row).await? {
            let Some(id) = held.attempt else { continue };
            let attempt = self.store().attempt(self.id(), id).await?;
            let since = attempt.and_then(|a| a.ended).map(|at| now.since(at) / 2);
            wait = wait.max(since.unwrap_or_default());
        }
        let kind = JobKind::ReturnLicences { device: row.id };
        let id = JobId(self.ids().next(now));
        batch.put(Job::new(self.id(), id, now + wait.min(SELDOM), kind));
        Ok(())
    }

    /// The stock is read again soon after licences were given, taken back or set free, once for errands that end together; who ends
    /// later does not put that off. A reading that is under way may have missed it, and is left to whoever is at it: it comes again.
    pub(super) async fn put_stock_soon(
        &self,
        batch: &mut Batch,
        location: LocationId,
        wait: Duration,
    ) -> Result<(), Error> {
        if let Some(row) = self.location_row(location).await? {
            let (now, kind) = (self.now(), JobKind::Stock { location });
            let times = self.store().job_times(self.id(), row.job).await?;
            let waiting = times.filter(|times| times.leased_until <= now);
            let due = waiting.map_or(now + wait, |times| times.due.min(now + wait));
            batch.put(Job::new(self.id(), row.job, due, kind));
        }
        Ok(())
    }

    /// Devices that keep what was to be taken back without a person's word: they have come into another wave since, or a person
    /// has given them some of it meanwhile. And of each whether the rest is still to go back, in a request of its own.
    async fn kept_after_all(
        &self,
        errand: &Errand,
        asked: &Asked,
    ) -> Result<BTreeMap<DeviceId, bool>, Error> {
        let mut kept = BTreeMap::new();
        if !asked.request.take_back || !errand.is_by_itself() {
            return Ok(kept);
        }
        for row in self
            .store()
            .devices_by_serial(self.id(), &errand.serials())
            .await?
        {
            let lent = self.to_be_returned(&row).await?;
            let here = lent.iter().filter(|l| l.location == asked.location);
            let lent: BTreeSet<u64> = here.map(|l| l.app).collect();
            let mut apps = asked.request.apps.iter();
            if !apps.all(|app| lent.contains(app)) {
                kept.insert(row.id, !lent.is_empty());
            }
        }
        Ok(kept)
    }

    /// Devices of an attempt that have, or are about to get, all of these apps from another location: two readings of stocks side
    /// by side may both have found that one lacks them.
    async fn served_elsewhere(
        &self,
        errand: &Errand,
        asked: &Asked,
    ) -> Result<BTreeSet<DeviceId>, Error> {
        let mut served = BTreeSet::new();
        if asked.request.take_back || errand.was_sent() {
            return Ok(served);
        }
        let mut elsewhere: BTreeMap<DeviceId, BTreeSet<u64>> = BTreeMap::new();
        for other in self.open_errands().await? {
            let ErrandKind::Associate { location, apps } = &other.kind else {
                continue;
            };
            // Of two the older goes on.
            if *location != asked.location && other.id < errand.id {
                for member in &other.members {
                    elsewhere.entry(member.device).or_default().extend(apps);
                }
            }
        }
        let serials = errand.serials();
        for row in self.store().devices_by_serial(self.id(), &serials).await? {
            let held = row.licences.iter().filter(|l| l.location != asked.location);
            elsewhere
                .entry(row.id)
                .or_default()
                .extend(held.map(|l| l.app));
        }
        for member in errand.members.iter().filter(|m| m.attempt.is_some()) {
            let has = elsewhere.get(&member.device);
            let all = |apps: &BTreeSet<u64>| asked.request.apps.iter().all(|a| apps.contains(a));
            if has.is_some_and(all) {
                served.insert(member.device);
            }
        }
        Ok(served)
    }

    /// What a device holds of ours for attempts that were withdrawn; nothing while it is in an open wave, and nothing where the attempt
    /// that ended last was not withdrawn: the device may come all the same, or have its apps, and would lose them.
    pub(super) async fn to_be_returned(&self, row: &Device) -> Result<Vec<HeldLicence>, Error> {
        let mut lent = Vec::new();
        if row.open_move.is_some() {
            return Ok(lent);
        }
        if let Some(last) = row.last_move
            && !self.was_withdrawn(last).await?
        {
            return Ok(lent);
        }
        for held in row.licences.iter().filter(|l| l.ours) {
            let withdrawn = match held.attempt {
                Some(id) => self.was_withdrawn(id).await?,
                // Noted before attempts were: the last one says it.
                None => true,
            };
            if withdrawn {
                lent.push(held.clone());
            }
        }
        Ok(lent)
    }

    async fn was_withdrawn(&self, id: MoveId) -> Result<bool, Error> {
        let attempt = self.store().attempt(self.id(), id).await?;
        Ok(attempt.as_ref().is_some_and(was_taken_back))
    }

    async fn send_licences(
        &self,
        mut errand: Errand,
        asked: &Asked,
        credential: &ContentCredential,
        holders: &Holders,
        members: &[ErrandMember],
    ) -> Result<Stepped, Error> {
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let needed: BTreeSet<u64> = serials
            .iter()
            .flat_map(|serial| asked.lacking(serial, holders))
            .collect();
        let request = LicenceRequest {
            take_back: asked.request.take_back,
            apps: needed.into_iter().collect(),
        };
        let id = errand.id;
        // What a restored one stood for before nobody knows, and it was about no device.
        let first = !errand.was_sent();
        let mut batch = Batch::new();
        if first && !request.take_back {
            // What a device has already is not ours to take back, whether it lacks another app of these or none.
            for mut device in self
                .store()
                .devices_by_serial(self.id(), &errand.serials())
                .await?
            {
                if self.note_licences(&mut device, asked, holders, None) {
                    batch.put(device);
                }
            }
        }
        let since = self.now();
        errand.asked(members.len(), since);
        batch.put(errand);
        self.store().commit(batch).await?;
        let licences = &self.ports().licences;
        let answer = licences.submit(credential, &request, &serials);
        let answer = self.ask(since, answer).await;
        self.take_answer(id, members, answer).await
    }

    /// Notes on the device what it holds of the errand's apps; what it did not hold before was given for `attempt`. Answers
    /// whether that changed anything.
    fn note_licences(
        &self,
        device: &mut Device,
        asked: &Asked,
        holders: &Holders,
        attempt: Option<MoveId>,
    ) -> bool {
        let mut changed = false;
        for app in &asked.request.apps {
            let holds = holders.has(*app, &device.serial);
            let held = holds.then(|| HeldLicence {
                location: asked.location,
                app: *app,
                read: self.now(),
                ours: attempt.is_some(),
                attempt,
            });
            changed |= note(&mut device.licences, asked.location, *app, held);
        }
        changed
    }

    /// What was given counts as given in the stock that was read before: until it is read again nobody else is promised it.
    async fn take_off_stock(
        &self,
        batch: &mut Batch,
        errand: &Errand,
        asked: &Asked,
        holders: &Holders,
    ) -> Result<(), Error> {
        let Some(begun) = errand.sendings.first().map(|sending| sending.at) else {
            return Ok(());
        };
        let location = self.location_row(asked.location).await?;
        let Some(mut location) = location.filter(|l| l.stock_read.is_some_and(|at| at <= begun))
        else {
            return Ok(());
        };
        for app in &asked.request.apps {
            let given = errand
                .members
                .iter()
                .filter(|m| holders.has(*app, &m.serial));
            let given = u64::try_from(given.count()).unwrap_or(u64::MAX);
            if let Some(stock) = location.stock.get_mut(app) {
                stock.available = stock.available.saturating_sub(given);
                stock.assigned = stock.assigned.saturating_add(given);
            }
        }
        batch.put(location);
        Ok(())
    }

    /// Who holds what was read: it is noted on the devices, and who lacks it stands in the errand.
    async fn conclude_licences(
        &self,
        errand: &Errand,
        asked: &Asked,
        holders: &Holders,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut errand) = self.errand(errand.id).await? else {
                return Ok(());
            };
            if errand.is_ended() {
                return Ok(());
            }
            let now = self.now();
            let sent = errand.was_sent();
            let words = std::mem::take(&mut errand.failed);
            let attempts = self.attempts_of(&errand).await?;
            let kept = self.kept_after_all(&errand, asked).await?;
            let rows = self
                .store()
                .devices_by_serial(self.id(), &errand.serials())
                .await?;
            let mut rows: BTreeMap<DeviceId, Device> =
                rows.into_iter().map(|d| (d.id, d)).collect();
            let mut batch = Batch::new();
            for member in &errand.members {
                let lacks = asked.lacking(&member.serial, holders).next().is_some();
                if kept.get(&member.device) == Some(&true) {
                    let kind = JobKind::ReturnLicences {
                        device: member.device,
                    };
                    batch.put(Job::new(self.id(), JobId(self.ids().next(now)), now, kind));
                }
                if lacks && sent && !kept.contains_key(&member.device) {
                    let why = words.get(&member.serial).cloned();
                    let why =
                        why.unwrap_or_else(|| "Apple does not show what was asked for".to_owned());
                    errand.failed.insert(member.serial.clone(), why);
                    self.put_return_again(&mut batch, &errand, member).await?;
                }
                let Some(mut device) = rows.remove(&member.device) else {
                    continue;
                };
                // What a person gave stays when an attempt is withdrawn, also when the attempt was faster.
                let attempt = member.attempt.filter(|_| sent);
                let mut changed = self.note_licences(&mut device, asked, holders, attempt);
                if member.attempt.is_none() {
                    changed |= asked.keep(&mut device.licences);
                }
                let gone = member
                    .attempt
                    .and_then(|id| attempts.get(&id))
                    .is_some_and(was_taken_back);
                let given = |l: &HeldLicence| l.ours && l.attempt == member.attempt;
                if gone && device.licences.iter().any(given) {
                    // Withdrawn while the licence was on its way.
                    let kind = JobKind::ReturnLicences { device: device.id };
                    batch.put(Job::new(self.id(), JobId(self.ids().next(now)), now, kind));
                }
                if changed {
                    batch.put(device);
                }
            }
            // Who gave by hand looks at once what is left.
            let by_hand = errand.wave.is_none() && !errand.is_by_itself();
            if sent && !asked.request.take_back {
                self.take_off_stock(&mut batch, &errand, asked, holders)
                    .await?;
            }
            if sent {
                let wait = if by_hand { READING } else { SOON };
                self.put_stock_soon(&mut batch, asked.location, wait)
                    .await?;
            }
            let is_done = sent || errand.failed.is_empty();
            self.end_read(&mut batch, errand, is_done, now);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }
}

/// The attempt ended before the device came.
fn was_taken_back(attempt: &Move) -> bool {
    matches!(
        attempt.state,
        MoveState::Ended(Outcome::Cancelled | Outcome::Withdrawn)
    )
}
