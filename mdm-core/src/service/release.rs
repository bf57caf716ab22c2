//! A person lets one device out of its hold. Says what was done, and does not claim to have asked a device that was not.

use serde::Serialize;
use serde_json::json;

use super::Org;
use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::door::QUEUE_WINDOW;
use crate::device::Device;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::Serial;
use crate::migration::{Event, OperatorAct, SetUp, SetUpPhase};
use crate::wire::command::CommandBody;

/// What came of letting a device go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Release {
    /// Its set-up lets it go, and it is asked to leave its hold.
    Asked,
    /// It was asked before, and has not confirmed it yet. It is woken once more.
    UnderWay,
    /// No set-up of it is in a hold, or none can be read, but it said last that it waits: it is asked all the same.
    Late,
}

impl Org {
    /// Releases a device from its hold now, whatever is missing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such device, [`Error::Precondition`] when it is not in a hold, the store's.
    pub async fn release_now(&self, serial: &Serial) -> Result<Release, Error> {
        self.again_on_conflict(|| async {
            let (device, channel) = self.device_and_channel(serial).await?;
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            d.device = Some(Tracked::read(device));
            // A set-up that cannot be read must not keep a person from letting the device go.
            let set_up = readable(self.store().set_up_of(self.id(), channel.id).await)?;
            let release = match set_up {
                Some(set_up) => self.release_set_up(&mut d, set_up).await?,
                None => None,
            };
            let release = match release {
                Some(release) => release,
                None => self.release_late(&mut d, channel, serial).await?,
            };
            d.audit(
                "operator.acted",
                json!({ "act": OperatorAct::Release, "release": release }),
            );
            self.commit(d).await?;
            Ok(release)
        })
        .await
    }

    /// A device whose hold is asked about, with its channel: it is not in one without. Whether the channel is live is asked after its
    /// set-up, which may let it go all the same.
    pub(super) async fn device_and_channel(
        &self,
        serial: &Serial,
    ) -> Result<(Device, Enrollment), Error> {
        let device = self.device_named(serial).await?;
        let channel = match device.enrollment {
            Some(id) => self.store().enrollment(self.id(), id).await?,
            None => None,
        };
        let channel = channel.ok_or_else(|| not_held(serial, "it is not enrolled"))?;
        Ok((device, channel))
    }

    /// Through its set-up; `None` when that is in no hold that it could end.
    async fn release_set_up(
        &self,
        d: &mut Decision<'_>,
        set_up: SetUp,
    ) -> Result<Option<Release>, Error> {
        let before = set_up.phase();
        self.load_for_set_up(d, set_up).await?;
        d.tell_set_up(&Event::Operator(OperatorAct::Release));
        let Some(after) = d.set_up.as_ref().map(|s| s.row.phase()) else {
            return Ok(None);
        };
        Ok(match (before, after) {
            (SetUpPhase::Releasing, SetUpPhase::Releasing) => {
                if let Some(channel) = d.set_up.as_ref().map(|s| s.row.enrollment) {
                    d.push(channel);
                }
                Some(Release::UnderWay)
            }
            (_, SetUpPhase::Releasing) => Some(Release::Asked),
            _ => None,
        })
    }

    /// Without a set-up that could do it. A device that is not held answers one release too many without harm.
    async fn release_late(
        &self,
        d: &mut Decision<'_>,
        channel: Enrollment,
        serial: &Serial,
    ) -> Result<Release, Error> {
        if !channel.is_live() {
            return Err(not_held(serial, "it is not enrolled"));
        }
        let held = d
            .set_up
            .as_ref()
            .is_some_and(|s| s.row.held_since().is_some());
        if !held && channel.awaiting != Some(true) {
            return Err(not_held(serial, "it has not said that it waits"));
        }
        self.load_queue(d, channel.id, QUEUE_WINDOW).await?;
        let kind = CommandBody::DeviceConfigured.request_type();
        let asked = d
            .commands
            .values()
            .any(|c| c.row.request_type == kind && !c.row.state.is_final());
        let id = channel.id;
        d.track(channel);
        if asked {
            d.push(id);
            return Ok(Release::UnderWay);
        }
        d.release_without_set_up(id);
        Ok(Release::Late)
    }
}

pub(super) fn not_held(serial: &Serial, why: &str) -> Error {
    Error::Precondition(format!(
        "{serial} is not in a hold: {why}; nothing was asked of it"
    ))
}
