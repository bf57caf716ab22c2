//! Tells readings to attempts, in the batch that keeps the reading.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::device::{Device, OrgReading};
use crate::errand::ErrandKind;
use crate::error::Error;
use crate::ids::{DeviceId, ServerId, WaveId};
use crate::job::JobKind;
use crate::migration::{Event, MoveState};
use crate::service::Org;
use crate::service::decision::{Decision, Tracked};
use crate::service::sync::append;
use crate::store::Batch;
use crate::wave::{Missed, Server};

/// A member of a plan that Apple calls incapable for the first time is read again so soon.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// A whole list is read at most so often because it lacks devices.
const DAY: Duration = Duration::from_secs(86_400);
/// So many devices that a list lacks are waited for at once: the whole list, once it is read for them, shows the others too.
const MOST_MISSING: usize = 100;

/// What telling a device to its attempt needs of the wave.
#[derive(Clone)]
struct WaveFacts {
    destination: String,
    profile: Option<String>,
    offers_paused: bool,
}

/// Tells readings to attempts: what is asked only once for many devices.
pub(super) struct Telling {
    /// Devices for which a scheduling is at Apple, or may be: that such a device stands at its original proves nothing.
    scheduling: BTreeSet<DeviceId>,
    waves: BTreeMap<WaveId, WaveFacts>,
    /// Our server entries, with what these readings say of their lists.
    servers: Vec<Server>,
    /// Those of them of which a reading has said something new.
    lacking: BTreeSet<ServerId>,
}

impl Telling {
    pub(super) async fn new(org: &Org) -> Result<Self, Error> {
        let scheduling = org
            .open_errands()
            .await?
            .iter()
            .filter(|e| matches!(e.kind, ErrandKind::Schedule { .. }) && !e.sendings.is_empty())
            .flat_map(|e| e.members.iter().map(|m| m.device))
            .collect();
        Ok(Self {
            scheduling,
            waves: BTreeMap::new(),
            servers: org.store().servers(org.id()).await?,
            lacking: BTreeSet::new(),
        })
    }

    /// Notes a device that is assigned to us and that no list of ours shows: whoever reads the list looks whether it comes.
    fn note_missed(&mut self, device: &Device, at: Timestamp, now: Timestamp) {
        let mut servers = self.servers.iter_mut();
        let Some(server) = servers.find(|server| device.is_unlisted_at(&server.uuid)) else {
            return;
        };
        let looked = server.sought.is_some_and(|at| now < at + DAY);
        let device = device.id;
        let known = server.missing.iter().any(|missed| missed.device == device);
        let full = server.missing.len() >= MOST_MISSING;
        if known || full || looked || server.last_full.is_none() {
            return;
        }
        server.missing.push(Missed { device, at });
        self.lacking.insert(server.id);
    }

    /// Puts what the readings have said of our lists into the batch that keeps them: each entry once, however many devices its list
    /// lacks.
    pub(super) fn keep_missed(self, batch: &mut Batch) {
        for server in self.servers {
            if self.lacking.contains(&server.id) {
                batch.put(server);
            }
        }
    }

    async fn facts(&mut self, org: &Org, wave: WaveId) -> Result<WaveFacts, Error> {
        if let Some(facts) = self.waves.get(&wave) {
            return Ok(facts.clone());
        }
        let row = org
            .store()
            .wave(org.id(), wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        let server = org
            .store()
            .server(org.id(), row.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        let facts = WaveFacts {
            profile: org.profile_at(&server, Some(&row)),
            offers_paused: row.paused.is_some(),
            destination: server.uuid,
        };
        self.waves.insert(wave, facts.clone());
        Ok(facts)
    }

    pub(super) async fn take(
        &mut self,
        org: &Org,
        batch: &mut Batch,
        mut device: Tracked<Device>,
        reading: OrgReading,
    ) -> Result<(), Error> {
        let mut d = Decision::new(&org.organisation, org.ids(), org.now(), "worker");
        let (id, open) = (device.row.id, device.row.open_move);
        let reading = reading.after(device.row.reading.as_ref());
        let doubtful = reading.capable == Some(false) && !reading.cannot_migrate();
        device.row.reading = Some(reading.clone());
        self.note_missed(&device.row, reading.seen, org.now());
        d.device = Some(device);
        if let Some(open) = open
            && let Some(attempt) = org.store().attempt(org.id(), open).await?
            && let Some(plan) = org.readable_plan_of(&attempt).await?
        {
            let facts = self.facts(org, attempt.wave).await?;
            let cancelling = matches!(attempt.state, MoveState::Cancelling { .. });
            let original = attempt.original_server.clone();
            if doubtful && attempt.is_planned() {
                let kind = JobKind::ReadDevice { device: id };
                d.job((org.now() + AGAIN).next_minute(), kind);
            }
            d.attempt_plan = Some(plan);
            d.profile = facts.profile;
            d.offers_paused = facts.offers_paused;
            d.attempt = Some(Tracked::read(attempt));
            if !(cancelling && self.scheduling.contains(&id)) {
                d.tell_move(&Event::OrgTold {
                    reading,
                    destination: facts.destination,
                    original,
                });
            }
        }
        append(batch, d.into_batch());
        Ok(())
    }
}
