//! When devices spoke last. Most of what they say changes no row, and a write for each poll would cost more than the poll: so it is
//! noted in memory, on no message's way, and written down together now and then. What was noted since goes with a process that is
//! killed; the device's next word says it again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{DeviceId, OrganisationId};
use crate::store::StoreError;

/// With so many, writing them down waits no longer.
const MANY: usize = 10_000;
/// So many are written with one statement: what is bound to it is kept by the connection from then on, 60 bytes and more a device.
const PART: usize = 2_000;
/// So many are noted, however long nobody writes them down. Beyond, a device that is not among them is noted when it speaks after
/// that.
const MOST: usize = 100_000;

/// A moment that lies further ahead than so was noted by a clock that was ahead, and has been set right since.
const AHEAD: Duration = Duration::from_hours(24);

type Key = (OrganisationId, DeviceId);

/// Of a moment that is known and one at which the device is heard now, the one that stays: the later one, unless that is of a clock
/// that was far ahead. The stores decide the same.
fn which(known: Timestamp, at: Timestamp) -> Timestamp {
    if known > at + AHEAD {
        at
    } else {
        known.max(at)
    }
}

/// Who has spoken since it was written down.
#[derive(Debug, Default)]
pub(super) struct Heard {
    noted: Mutex<HashMap<Key, Timestamp>>,
    many: Notify,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Timestamp>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device has spoken.
    pub(super) fn note(&self, organisation: OrganisationId, device: DeviceId, at: Timestamp) {
        let mut noted = self.lock();
        if let Some(known) = noted.get_mut(&(organisation, device)) {
            *known = which(*known, at);
            return;
        }
        if noted.len() < MOST {
            noted.insert((organisation, device), at);
            if noted.len() == MANY {
                self.many.notify_one();
            }
        }
    }

    /// When a device spoke last, if that is not written down yet.
    fn of(&self, organisation: OrganisationId, device: DeviceId) -> Option<Timestamp> {
        self.lock().get(&(organisation, device)).copied()
    }

    /// All of them, by organisation. Afterwards none is noted, and the room that they took is free.
    fn take(&self) -> BTreeMap<OrganisationId, Vec<(DeviceId, Timestamp)>> {
        let noted = std::mem::take(&mut *self.lock());
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for ((organisation, device), at) in noted {
            all.entry(organisation).or_default().push((device, at));
        }
        all
    }
}

impl Mdm {
    /// Writes down when devices spoke last, with one statement for 2,000 devices of an organisation; answers of how many. For the host: every
    /// half minute or so, whenever [`Mdm::heard_many`] ends, and before it closes the store. What a process notes between two calls
    /// is lost with it when it is killed.
    ///
    /// # Errors
    /// The store's; what could not be written down is noted as before, and written the next time.
    pub async fn keep_heard(&self) -> Result<usize, Error> {
        let (mut kept, mut failed) = (0, None);
        for (organisation, heard) in self.inner.heard.take() {
            for part in heard.chunks(PART) {
                let lost = matches!(failed, Some(StoreError::Unavailable(_)));
                let written = match lost {
                    // The others would only wait as long.
                    true => Ok(false),
                    false => {
                        let written = self.inner.store.keep_heard(organisation, part).await;
                        written.map(|()| true)
                    }
                };
                match written {
                    Ok(true) => kept += part.len(),
                    Ok(false) => self.note_again(organisation, part),
                    Err(error) => {
                        self.note_again(organisation, part);
                        failed = Some(error);
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(kept),
        }
    }

    fn note_again(&self, organisation: OrganisationId, part: &[(DeviceId, Timestamp)]) {
        for (device, at) in part {
            // What was noted since is newer.
            if self.inner.heard.of(organisation, *device).is_none() {
                self.inner.heard.note(organisation, *device, *at);
            }
        }
    }

    /// Ends when so many devices have spoken that [`Mdm::keep_heard`] should not wait for its time.
    pub async fn heard_many(&self) {
        self.inner.heard.many.notified().await;
    }
}

impl Org {
    /// A device has spoken, whatever it said.
    pub(super) fn note_heard(&self, device: Option<DeviceId>) {
        if let Some(device) = device {
            self.mdm.inner.heard.note(self.id(), device, self.now());
        }
    }

    /// When these devices spoke last, as far as it is known: as it is written down, and as this process has heard since. What other
    /// processes have heard in the last half minute is not in it.
    pub(super) async fn last_heard(
        &self,
        devices: &[DeviceId],
    ) -> Result<BTreeMap<DeviceId, Timestamp>, Error> {
        let written = self.store().last_heard(self.id(), devices).await?;
        let mut all: BTreeMap<_, _> = written.into_iter().map(|h| (h.id, h.at)).collect();
        for device in devices {
            if let Some(at) = self.mdm.inner.heard.of(self.id(), *device) {
                let known = all.entry(*device).or_insert(at);
                *known = which(*known, at);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: OrganisationId = OrganisationId(1);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_later_moment_stays_and_taking_leaves_nothing() {
        let heard = Heard::default();
        heard.note(ORG, DeviceId(7), at(20));
        heard.note(ORG, DeviceId(7), at(10));
        heard.note(OrganisationId(2), DeviceId(7), at(5));
        assert_eq!(heard.of(ORG, DeviceId(7)), Some(at(20)));
        assert_eq!(heard.of(ORG, DeviceId(8)), None);
        let all = heard.take();
        assert_eq!(all[&ORG], [(DeviceId(7), at(20))]);
        assert_eq!(all[&OrganisationId(2)], [(DeviceId(7), at(5))]);
        assert_eq!(heard.of(ORG, DeviceId(7)), None);
        assert!(heard.take().is_empty());
    }

    #[test]
    fn a_moment_of_a_clock_that_was_far_ahead_does_not_stay() {
        let heard = Heard::default();
        let (day, ahead) = (24 * 3_600_000, 21 * 24 * 3_600_000);
        heard.note(ORG, DeviceId(7), at(ahead));
        heard.note(ORG, DeviceId(7), at(10));
        assert_eq!(heard.of(ORG, DeviceId(7)), Some(at(10)));
        heard.note(ORG, DeviceId(7), at(10 + day));
        heard.note(ORG, DeviceId(7), at(10));
        assert_eq!(heard.of(ORG, DeviceId(7)), Some(at(10 + day)));
    }

    #[tokio::test]
    async fn many_ask_to_be_written_down_and_no_more_are_noted_than_there_is_room_for() {
        let heard = Heard::default();
        let many = i64::try_from(MANY).unwrap();
        let asks = async || {
            let asks = tokio::time::timeout(std::time::Duration::ZERO, heard.many.notified());
            asks.await.is_ok()
        };
        for id in 1..many {
            heard.note(ORG, DeviceId(id), at(1));
        }
        assert!(!asks().await);
        heard.note(ORG, DeviceId(many), at(1));
        assert!(asks().await);
        let most = i64::try_from(MOST).unwrap();
        for id in many + 1..=most + 5 {
            heard.note(ORG, DeviceId(id), at(1));
        }
        assert_eq!(heard.lock().len(), MOST);
        assert_eq!(heard.of(ORG, DeviceId(most + 5)), None);
        // Those that are among them are noted on.
        heard.note(ORG, DeviceId(1), at(2));
        assert_eq!(heard.of(ORG, DeviceId(1)), Some(at(2)));
    }
}
