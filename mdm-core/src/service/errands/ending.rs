//! Ends errands: what was read last counts, and what a cancellation left away from its original goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::sending::failure;
use super::stand::{Stand, stand_of, still_wanted};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::errand::{Errand, ErrandKind, ErrandMember, ErrandState};
use crate::error::Error;
use crate::ids::{DeviceId, Serial};
use crate::migration::Event;
use crate::service::Org;
use crate::service::checkin::readable;
use crate::service::decision::{Decision, name_of};
use crate::service::sync::append;
use crate::service::worker::same_deadline;
use crate::store::Batch;

impl Org {
    /// Every device was read: those that lack what was asked for are told, with Apple's words where there are some.
    pub(super) async fn conclude(
        &self,
        errand: &Errand,
        lacking: &[&ErrandMember],
        out: &BTreeMap<Serial, String>,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut errand) = self.errand(errand.id).await? else {
                return Ok(());
            };
            if errand.is_ended() {
                return Ok(());
            }
            let sent = !errand.sendings.is_empty();
            let words = std::mem::take(&mut errand.failed);
            // What Apple refused after a sending of which nobody knew.
            let refused = errand.sendings.last().and_then(|s| {
                let over = matches!(errand.state, ErrandState::Proving { .. });
                s.outcome.clone().filter(|_| over)
            });
            let mut batch = Batch::new();
            let stays = self.deadlines_that_stay(&errand).await?;
            for member in lacking {
                let why = match words.get(&member.serial) {
                    Some(word) => word.clone(),
                    None if sent => refused
                        .clone()
                        .unwrap_or_else(|| "Apple does not show what was asked for".to_owned()),
                    // It was withdrawn before anything was sent.
                    None => continue,
                };
                let mut events: Vec<Event> = failure(&errand.kind, &why).into_iter().collect();
                events.extend(stays.get(&member.device).cloned());
                self.tell_member_all(&mut batch, member, &events).await?;
                self.stays_after_all(&mut batch, &errand, member, &why)
                    .await?;
                errand.failed.insert(member.serial.clone(), why);
            }
            for member in &errand.members {
                let Some(why) = out.get(&member.serial) else {
                    continue;
                };
                let mut events: Vec<Event> =
                    stays.get(&member.device).cloned().into_iter().collect();
                if matches!(errand.kind, ErrandKind::Schedule { .. }) {
                    // Nothing comes of it any more, and no reading says so.
                    events.extend(failure(&errand.kind, why));
                }
                if !events.is_empty() {
                    self.tell_member_all(&mut batch, member, &events).await?;
                }
            }
            errand.failed.extend(out.clone());
            if errand.kind == ErrandKind::Cancel {
                self.put_returns(&mut batch, &errand).await?;
            }
            self.end_read(&mut batch, errand, sent || lacking.is_empty(), self.now());
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Devices that are to come to us again are not returned any more: they are taken out of the returns that wait, in the same
    /// batch.
    ///
    /// # Errors
    /// [`Error::Precondition`] when one of them is on its way to Apple; the store's.
    pub(in crate::service) async fn take_from_returns(
        &self,
        batch: &mut Batch,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<(), Error> {
        if devices.is_empty() {
            return Ok(());
        }
        const WHY: &str = "it is to come again: its return is withdrawn";
        let now = self.now();
        for mut errand in self.open_errands().await? {
            let members = errand.members.iter();
            let of: Vec<ErrandMember> = members
                .filter(|m| errand.is_return() && devices.contains(&m.device))
                .cloned()
                .collect();
            let Some(first) = of.first() else {
                continue;
            };
            if !errand.is_idle(now) {
                let serial = &first.serial;
                return Err(Error::Precondition(format!(
                    "a return of {serial} is on its way to Apple: look at the what-if again once that has ended"
                )));
            }
            for member in &of {
                batch.put(self.entry(
                    now,
                    self.actor(),
                    "return.withdrawn",
                    Some(member.device),
                    json!({ "errand": errand.id, "why": WHY }),
                ));
            }
            errand.withdrawn(devices, WHY, now);
            if errand.is_ended() {
                self.audit_errand(batch, &errand);
            }
            batch.put(errand);
        }
        Ok(())
    }

    /// Takes devices whose attempts have ended out of requests that were to give them licences and of which nothing was sent: what was
    /// promised to them is free, and the stock is read, so that whoever lacks it gets it. What was asked for may come, and then stays
    /// where it is; what a person gives by hand, too.
    pub(super) async fn take_from_promises(
        &self,
        batch: &mut Batch,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<(), Error> {
        if devices.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let mut free = BTreeSet::new();
        for mut errand in self.open_errands().await? {
            let location = match &errand.kind {
                ErrandKind::Associate { location, .. } => *location,
                _ => continue,
            };
            if errand.state != ErrandState::Waiting || !errand.sendings.is_empty() {
                continue;
            }
            let mut over = BTreeSet::new();
            for member in errand
                .members
                .iter()
                .filter(|m| devices.contains(&m.device))
            {
                let Some(id) = member.attempt else { continue };
                // One that cannot be read keeps what it was promised, and keeps no other from Apple.
                let attempt = readable(self.store().attempt(self.id(), id).await)?;
                if attempt.is_some_and(|attempt| attempt.is_ended()) {
                    over.insert(member.device);
                }
            }
            if over.is_empty() {
                continue;
            }
            for device in &over {
                batch.put(self.entry(
                    now,
                    self.actor(),
                    "licences.promised-no-more",
                    Some(*device),
                    json!({ "errand": errand.id, "apps": errand.kind.apps() }),
                ));
            }
            if errand.members.iter().all(|m| over.contains(&m.device)) {
                // As when it finds by itself that nobody wants it any more: nothing of it failed.
                errand.done(now);
                self.audit_errand(batch, &errand);
            } else {
                errand.members.retain(|m| !over.contains(&m.device));
            }
            batch.put(errand);
            free.insert(location);
        }
        for location in free {
            self.put_stock_soon(batch, location, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// What Apple counts to instead of the deadline that was to be moved: who was not moved follows Apple.
    async fn deadlines_that_stay(
        &self,
        errand: &Errand,
    ) -> Result<BTreeMap<DeviceId, Event>, Error> {
        let mut stays = BTreeMap::new();
        let ErrandKind::MoveDeadline { deadline: wanted } = &errand.kind else {
            return Ok(stays);
        };
        let attempts = self.attempts_of(errand).await?;
        let members: BTreeMap<DeviceId, &ErrandMember> =
            errand.members.iter().map(|m| (m.device, m)).collect();
        let serials = errand.serials();
        for device in self.store().devices_by_serial(self.id(), &serials).await? {
            let attempt = members.get(&device.id).and_then(|m| m.attempt);
            let attempt = attempt.and_then(|id| attempts.get(&id));
            // Somebody else may want a third one by now.
            let still = attempt.is_some_and(|a| same_deadline(a.deadline, *wanted));
            let shown = device.reading.as_ref().and_then(|r| r.deadline);
            if let (true, Some(deadline)) = (still, shown) {
                stays.insert(device.id, Event::DeadlineStays { deadline });
            }
        }
        Ok(stays)
    }

    /// After a cancellation: devices that do not stand at their original are assigned back.
    pub(super) async fn put_returns(
        &self,
        batch: &mut Batch,
        errand: &Errand,
    ) -> Result<(), Error> {
        let devices = self
            .store()
            .devices_by_serial(self.id(), &errand.serials())
            .await?;
        let devices: BTreeMap<DeviceId, Device> = devices.into_iter().map(|d| (d.id, d)).collect();
        let mut away: BTreeMap<String, Vec<ErrandMember>> = BTreeMap::new();
        for member in &errand.members {
            let Some(id) = member.attempt else { continue };
            let Some(attempt) = self.store().attempt(self.id(), id).await? else {
                continue;
            };
            let reading = devices.get(&member.device).and_then(|d| d.reading.as_ref());
            let (Some(original), Some(reading)) = (attempt.original_server.clone(), reading) else {
                continue;
            };
            let back = ErrandKind::Return {
                server: original.clone(),
            };
            if still_wanted(&back, &attempt) && stand_of(&back, false, reading) == Stand::Lacks {
                away.entry(original).or_default().push(member.clone());
            }
        }
        for (server, members) in away {
            let kind = ErrandKind::Return { server };
            self.put_errands(batch, errand.wave, &kind, &members, None, &errand.by);
        }
        Ok(())
    }

    /// Every device was read, and what that told is noted: it is over. One that was never sent and whose devices lack something was
    /// wanted by nobody any more.
    pub(super) fn end_read(
        &self,
        batch: &mut Batch,
        mut errand: Errand,
        is_done: bool,
        now: Timestamp,
    ) {
        if is_done {
            errand.done(now);
        } else {
            errand.refused("nobody wants it any more", now);
        }
        self.audit_errand(batch, &errand);
        batch.put(errand);
    }

    pub(super) fn audit_errand(&self, batch: &mut Batch, errand: &Errand) {
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
        d.audit(
            "errand.ended",
            json!({
                "errand": errand.id,
                "wave": errand.wave,
                "kind": errand.kind.as_str(),
                "by": errand.by,
                "devices": errand.members.len(),
                "failed": errand.failed.len(),
                "sendings": errand.sendings.len(),
                "state": name_of(&errand.state),
            }),
        );
        append(batch, d.into_batch());
    }
}
