//! What was read for one message of a device, in one go: who decides on it asks here for the part that they need. What that
//! reading did not bring is read from the store.

use super::{QUEUE_WINDOW, Speaker};
use crate::device::Device;
use crate::enrollment::{EnrolSession, Enrollment};
use crate::error::Error;
use crate::ids::{DeviceId, MoveId};
use crate::migration::{Move, SetUp};
use crate::queue::Command;
use crate::service::Org;
use crate::service::checkin::readable;
use crate::service::decision::{Decision, Tracked};
use crate::store::ChannelView;

/// What was read for one message of a device.
pub(in crate::service) struct Sight {
    pub(super) key: String,
    pub(super) deep: bool,
    pub(in crate::service) view: ChannelView,
}

impl Org {
    /// The enrolments under a key.
    pub(in crate::service) async fn channels(
        &self,
        speaker: &Speaker,
        key: &str,
    ) -> Result<Vec<Enrollment>, Error> {
        match &speaker.seen {
            Some(seen) if seen.key == key => Ok(seen.view.enrollments.clone()),
            _ => Ok(self.store().enrollments_by_key(self.id(), key).await?),
        }
    }

    /// The open commands of a channel.
    pub(in crate::service) async fn queue_of(
        &self,
        speaker: &Speaker,
        channel: &Enrollment,
    ) -> Result<Vec<Command>, Error> {
        if let Some(seen) = &speaker.seen
            && !seen.deep
            && channel.parent.is_none()
            && seen.key == channel.key
        {
            let all = seen.view.commands.iter();
            let own = all.filter(|c| c.enrollment == channel.id);
            return Ok(own.cloned().collect());
        }
        let open = self
            .store()
            .open_commands(self.id(), channel.id, QUEUE_WINDOW)
            .await?;
        Ok(open)
    }

    /// The device that a session was given to.
    pub(in crate::service) async fn device_of_session(
        &self,
        speaker: &Speaker,
        session: &EnrolSession,
    ) -> Result<Option<Device>, Error> {
        let Some(id) = session.device else {
            return Ok(None);
        };
        match speaker.seen.as_ref().and_then(|seen| seen.device(id)) {
            Some(device) => Ok(Some(device)),
            None => Ok(readable(self.store().device(self.id(), id).await)?),
        }
    }

    /// An attempt.
    pub(in crate::service) async fn attempt_seen(
        &self,
        seen: Option<&Sight>,
        id: MoveId,
    ) -> Result<Option<Move>, Error> {
        let found = seen.and_then(|seen| seen.view.attempts.iter().find(|m| m.id == id));
        match found {
            Some(attempt) => Ok(Some(attempt.clone())),
            None => Ok(readable(self.store().attempt(self.id(), id).await)?),
        }
    }

    /// Every generation of the device channel of an enrolment's device.
    pub(in crate::service) async fn generations_of(
        &self,
        speaker: &Speaker,
        device: DeviceId,
    ) -> Result<Vec<Enrollment>, Error> {
        match &speaker.seen {
            Some(seen) if seen.device(device).is_some() => {
                let all = seen.view.generations.iter();
                Ok(all.filter(|e| e.device == Some(device)).cloned().collect())
            }
            _ => Ok(self
                .store()
                .enrollments_of_device(self.id(), device)
                .await?),
        }
    }

    /// Whether the ADE profile of an enrolment's session awaits configuration.
    pub(in crate::service) async fn session_awaits(
        &self,
        speaker: &Speaker,
        enrollment: &Enrollment,
    ) -> Result<bool, Error> {
        let Some(id) = enrollment.session else {
            return Ok(false);
        };
        let seen = speaker.seen.as_ref().and_then(|s| s.view.session.as_ref());
        let awaits = match seen.filter(|session| session.id == id) {
            Some(session) => session.awaits,
            None => self
                .store()
                .session(self.id(), id)
                .await?
                .and_then(|s| s.awaits),
        };
        Ok(awaits.unwrap_or(false))
    }

    /// The device of an enrolment.
    pub(in crate::service) async fn device_of(
        &self,
        d: &Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<Option<Device>, Error> {
        let Some(id) = enrollment.device else {
            return Ok(None);
        };
        match d.seen.as_ref().and_then(|seen| seen.device(id)) {
            Some(device) => Ok(Some(device)),
            None => Ok(readable(self.store().device(self.id(), id).await)?),
        }
    }

    /// Loads the device of an enrolment, unless it is there already.
    pub(in crate::service) async fn load_device_of(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<(), Error> {
        if d.device.is_none() {
            d.device = self.device_of(d, enrollment).await?.map(Tracked::read);
        }
        Ok(())
    }

    /// The set-up of an enrolment.
    pub(in crate::service) async fn set_up_of(
        &self,
        d: &Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<Option<SetUp>, Error> {
        if let Some(seen) = &d.seen
            && seen.deep
            && seen.view.enrollments.iter().any(|e| e.id == enrollment.id)
        {
            let mut all = seen.view.set_ups.iter();
            return Ok(all.find(|s| s.enrollment == enrollment.id).cloned());
        }
        Ok(self.store().set_up_of(self.id(), enrollment.id).await?)
    }
}

impl Sight {
    fn device(&self, id: DeviceId) -> Option<Device> {
        let mut all = self.view.devices.iter();
        all.find(|device| device.id == id).cloned()
    }
}
