//! What Apple says of one device, as a change of its row and of its attempt. Decides by what a record says, never by the kind of
//! operation.

use std::time::Duration;

use crate::device::{Device, DeviceRecord};
use crate::error::Error;
use crate::ids::MoveId;
use crate::migration::Event;
use crate::service::Org;
use crate::service::decision::{Decision, Tracked};
use crate::service::hand_over::mark_moved;
use crate::wave::Server;

/// A device that left the list is looked at by then: whoever waits for the list looks more often.
const LEAVES: Duration = Duration::from_secs(10 * 60);
/// Over so many seconds more are those spread that leave together.
const APART_SECS: u64 = 20 * 60;

impl Org {
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

    pub(super) async fn take_record(
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
        if leaves && !stays {
            device.left_list = Some(seen);
        }
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
