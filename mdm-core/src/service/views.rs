//! The three views of devices, loaded with what they are compared with. Decides nothing; [`crate::views`] does.

use std::collections::BTreeMap;

use super::Org;
use crate::device::Device;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::{DeviceId, EnrollmentId, MoveId, Serial, WaveId};
use crate::migration::Move;
use crate::views::{Context, Views, views};
use crate::wave::{Server, Wave};

impl Org {
    /// The three views of one device.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn views(&self, serial: &Serial) -> Result<Views, Error> {
        let device = self.device_named(serial).await?;
        let mut all = self.views_of(vec![device]).await?;
        all.pop().ok_or(Error::NotFound("device"))
    }

    /// The three views of the devices after `after`, in the order of ids, and where to go on; `None` at the end.
    ///
    /// # Errors
    /// The store's.
    pub async fn views_page(
        &self,
        after: DeviceId,
        limit: u32,
    ) -> Result<(Vec<Views>, Option<DeviceId>), Error> {
        let devices = self.store().devices(self.id(), after, limit).await?;
        let next = devices.last().map(|d| d.id);
        Ok((self.views_of(devices).await?, next))
    }

    pub(super) async fn views_of(&self, devices: Vec<Device>) -> Result<Vec<Views>, Error> {
        self.views_beside(devices, &BTreeMap::new()).await
    }

    /// The same, where some of their attempts are at hand.
    pub(super) async fn views_beside(
        &self,
        devices: Vec<Device>,
        attempts: &BTreeMap<MoveId, Move>,
    ) -> Result<Vec<Views>, Error> {
        let servers: Vec<Server> = self.store().servers(self.id()).await?;
        let services = self.inventory().await?.map(|i| i.services);
        let services = services.unwrap_or_default();
        let mut waves: BTreeMap<WaveId, Option<Wave>> = BTreeMap::new();
        let mut all = Vec::with_capacity(devices.len());
        let ids: Vec<EnrollmentId> = devices.iter().filter_map(|d| d.enrollment).collect();
        let enrolments = match ids.is_empty() {
            true => Vec::new(),
            false => self.store().enrollments_of(self.id(), &ids).await?,
        };
        let enrolments = enrolments.into_iter().map(|one| (one.id, one));
        let enrolments: BTreeMap<EnrollmentId, Enrollment> = enrolments.collect();
        for device in devices {
            let enrolment = device.enrollment.and_then(|id| enrolments.get(&id));
            let attempt = match device.open_move.and_then(|id| attempts.get(&id)) {
                Some(attempt) => Some(attempt.clone()),
                None => self.attempt_of(device.open_move).await?,
            };
            if let Some(wave) = attempt.as_ref().map(|a| a.wave)
                && !waves.contains_key(&wave)
            {
                let row = self.store().wave(self.id(), wave).await?;
                waves.insert(wave, row);
            }
            let wave = attempt.as_ref().and_then(|a| waves.get(&a.wave));
            let context = Context {
                servers: &servers,
                services: &services,
                enrolment,
                attempt: attempt.as_ref(),
                wave: wave.and_then(Option::as_ref),
            };
            all.push(views(&device, context, self.now()));
        }
        Ok(all)
    }

    async fn attempt_of(&self, id: Option<MoveId>) -> Result<Option<Move>, Error> {
        Ok(match id {
            Some(id) => self.store().attempt(self.id(), id).await?,
            None => None,
        })
    }
}
