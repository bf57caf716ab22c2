//! Whether the database is still the one that it was. When a replica has taken over, or the database was put back, what was
//! acknowledged last may be gone: Apple and the devices are asked before anything is done. Also says on the checklist what could be
//! lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Mdm, Org};
use crate::checklist::ItemState::{Missing, Warn};
use crate::checklist::{ChecklistItem, Stage};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::OrganisationId;
use crate::store::{Replication, StoreError};

/// How long the database may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long an organisation that could not ask anew is left alone: at first, and at the most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What this process knows of the database's history.
pub(super) struct Followed {
    /// How many connections there were when it was looked at last.
    made: AtomicU64,
    /// What it was then.
    seen: Mutex<Option<String>>,
    /// How often what was claimed before may not be begun any more.
    turned: AtomicU64,
    /// Organisations that could not ask anew yet: nothing is begun for them.
    behind: Mutex<BTreeSet<OrganisationId>>,
    /// When these are looked after again, and how long they were left alone for it.
    again: Mutex<Option<(Timestamp, Duration)>>,
    /// One looks at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Default for Followed {
    fn default() -> Self {
        Self {
            // Not looked at yet.
            made: AtomicU64::new(u64::MAX),
            seen: Mutex::default(),
            turned: AtomicU64::new(0),
            behind: Mutex::default(),
            again: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl Followed {
    /// A number that is another one once anything turned out to be of a history that is no more. Whoever claims takes it first,
    /// and begins only where it still is the same after [`Mdm::follow_history`], whoever has looked.
    pub(super) fn turned(&self) -> u64 {
        self.turned.load(Ordering::SeqCst)
    }

    fn turns(&self) {
        self.turned.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether nothing may be begun for this organisation yet.
    pub(super) fn is_behind(&self, organisation: OrganisationId) -> bool {
        self.behind().contains(&organisation)
    }

    fn behind(&self) -> MutexGuard<'_, BTreeSet<OrganisationId>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to look after those that are behind.
    fn is_time(&self, now: Timestamp) -> bool {
        let again = *self.again.lock().unwrap_or_else(PoisonError::into_inner);
        // Further off than any pause: the clock was set back.
        again.is_some_and(|(at, pause)| now >= at || at > now + pause)
    }

    /// They were looked after: those that still are behind have a pause, longer each time.
    fn looked_after(&self, now: Timestamp) {
        let any = !self.behind().is_empty();
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        *again = any.then(|| {
            let pause = again.map_or(PAUSES.0, |(_, pause)| (pause * 2).min(PAUSES.1));
            (now + pause, pause)
        });
    }

    fn seen(&self) -> MutexGuard<'_, Option<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mdm {
    /// Looks whether the database is what it was, where a connection was made since the last look. Answers whether it is: where
    /// not, everything that was under way here was stopped, and Apple and the devices are asked anew. [`Mdm::work`] does this
    /// before it begins anything.
    ///
    /// # Errors
    /// The store's; then nothing is noted, and the next look does it again.
    pub async fn follow_history(&self) -> Result<bool, Error> {
        let (store, followed) = (&self.inner.store, &self.inner.followed);
        let is_same = || followed.made.load(Ordering::SeqCst) == store.connections_made();
        let looked = || is_same() && !followed.is_time(self.now());
        if looked() {
            return Ok(true);
        }
        let _turn = match followed.turn.try_lock() {
            Ok(turn) => turn,
            // Somebody is at those that are behind: nobody else's work waits for them.
            Err(_) if is_same() => return Ok(true),
            Err(_) => followed.turn.lock().await,
        };
        if looked() {
            return Ok(true);
        }
        let made = store.connections_made();
        let before = followed.turned();
        // A round waits for it.
        let history = tokio::time::timeout(PATIENCE, store.history())
            .await
            .map_err(|_| StoreError::Unavailable("the database does not answer".to_owned()))?;
        if let Some(history) = history? {
            let went = followed
                .seen()
                .as_ref()
                .is_some_and(|seen| *seen != history.here);
            if went {
                // Also when another process has asked already: what is in memory here is of the history before.
                followed.turns();
                self.inner.leases.stop_everything();
                self.forget_what_was_read();
                followed.behind().clear();
            }
            let another = history.noted.as_ref();
            if let Some(noted) = another.filter(|noted| **noted != history.here) {
                self.ask_after(noted, &history.here).await?;
            } else {
                // Whoever noted it has asked for all.
                followed.behind().clear();
            }
            if followed.behind().is_empty() && history.noted.as_ref() != Some(&history.here) {
                store.note_history(&history).await?;
            }
            *followed.seen() = Some(history.here);
        }
        // Who is behind is looked after again.
        followed.looked_after(self.now());
        followed.made.store(made, Ordering::SeqCst);
        Ok(followed.turned() == before)
    }

    /// Has Apple and the devices asked anew, each organisation once, by whichever process comes to it first.
    async fn ask_after(&self, was: &str, is: &str) -> Result<(), Error> {
        let followed = &self.inner.followed;
        let behind = followed.behind().clone();
        let anew = if behind.is_empty() {
            tracing::error!(%was, %is, "a replica of the database has taken over, or it was put back: what was acknowledged last may be lost; Apple and the devices are asked anew");
            followed.turns();
            Box::pin(self.ask_anew(is)).await?
        } else {
            let mut these = Vec::new();
            for id in behind {
                match self.inner.store.organisation(id).await {
                    Ok(organisation) => these.extend(organisation),
                    // Nothing of it can be done without its row, and whoever mends it starts the server anew.
                    Err(error @ StoreError::Corrupt { .. }) => {
                        tracing::error!(organisation = %id, %error, "an organisation cannot be loaded");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let anew = Box::pin(self.ask_these_anew(is, these)).await?;
            if anew.asked > 0 {
                followed.turns();
            }
            anew
        };
        *followed.behind() = anew.left;
        Ok(())
    }

    /// What was read of a history that is no more: versions and ids may stand for something else now.
    fn forget_what_was_read(&self) {
        let inner = &self.inner;
        clear(&inner.runbooks);
        clear(&inner.standards);
        clear(&inner.organisations);
        clear(&inner.chains);
        clear(&inner.cas);
        clear(&inner.lists);
        clear(&inner.domains);
        clear(&inner.keys);
        clear(&inner.escrow_keys);
    }
}

fn clear<T: Default>(kept: &Mutex<T>) {
    *kept.lock().unwrap_or_else(PoisonError::into_inner) = T::default();
}

impl Org {
    /// What may be lost of the database, where it is a server.
    pub(super) async fn database_items(&self, now: Timestamp) -> Result<Vec<ChecklistItem>, Error> {
        let Some(copies) = self.store().replication().await? else {
            return Ok(Vec::new());
        };
        let mut items = vec![what_may_be_lost(&copies)];
        let apart = now.since(copies.clock).max(copies.clock.since(now));
        if apart > self.mdm.inner.leases.length() / 4 {
            let fact = format!(
                "the clocks of this server and of its database differ by {} seconds",
                apart.as_secs()
            );
            let fix = "set both by NTP: who is at which work is told by time, and another server may take over what this one is at";
            items.push(ChecklistItem::not(
                Warn,
                Stage::Install,
                "clock of the database",
                fact,
                fix,
            ));
        }
        Ok(items)
    }
}

fn what_may_be_lost(copies: &Replication) -> ChecklistItem {
    const STAGE: Stage = Stage::Install;
    const NAME: &str = "copies of the database";
    let (replicas, synchronous) = (copies.replicas, copies.synchronous);
    match (&copies.waits, replicas) {
        (Some(_), 0) => {
            let fact = "commits wait for a synchronous replica, and none is connected: nothing can be written";
            let fix = "start the replica, or take it out of synchronous_standby_names";
            ChecklistItem::not(Missing, STAGE, NAME, fact, fix)
        }
        (Some(_), _) if copies.keeps_all() => {
            let fact = format!(
                "what is acknowledged is on the disk of a synchronous replica, too ({replicas} connected, {synchronous} synchronous): when it takes over, nothing is lost"
            );
            ChecklistItem::done(STAGE, NAME, fact)
        }
        (Some(waits), _) => {
            let fact = format!(
                "commits wait until a replica has received them (synchronous_commit is {waits}), not for its disk"
            );
            let fix = "set synchronous_commit to on: when both machines lose power, what was acknowledged last is lost";
            ChecklistItem::not(Warn, STAGE, NAME, fact, fix)
        }
        (None, 0) => {
            let fact = "there is no replica: when its disk is lost, what came after the last backup is, too";
            ChecklistItem::done(STAGE, NAME, fact)
        }
        (None, _) => {
            let fact = format!(
                "{replicas} replicas follow asynchronously: when one takes over, what was acknowledged in the moments before is lost, and Apple and the devices are asked anew before anything is done"
            );
            let fix = "name one in synchronous_standby_names, and promote that one";
            ChecklistItem::not(Warn, STAGE, NAME, fact, fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Followed, what_may_be_lost};
    use crate::checklist::ItemState;
    use crate::clock::Timestamp;
    use crate::ids::OrganisationId;
    use crate::store::Replication;

    #[test]
    fn who_stays_behind_is_looked_after_less_and_less_often() {
        let followed = Followed::default();
        let mut now = Timestamp::from_millis(1_000_000);
        followed.looked_after(now);
        assert!(
            !followed.is_time(now + Duration::from_hours(1)),
            "nobody is"
        );
        followed.behind().insert(OrganisationId(1));
        for pause in [1, 2, 4, 8, 15, 15].map(Duration::from_secs) {
            followed.looked_after(now);
            let just_before = now + pause - Duration::from_millis(1);
            assert!(!followed.is_time(just_before), "{pause:?}");
            assert!(followed.is_time(now - Duration::from_secs(1)), "set back");
            now = now + pause;
            assert!(followed.is_time(now), "{pause:?}");
        }
        followed.behind().clear();
        followed.looked_after(now);
        assert!(
            !followed.is_time(now + Duration::from_hours(1)),
            "none is left"
        );
    }

    #[test]
    fn it_is_said_what_may_be_lost() {
        let told = |replicas, synchronous, waits: Option<&str>| {
            let item = what_may_be_lost(&Replication {
                replicas,
                synchronous,
                waits: waits.map(str::to_owned),
                clock: Timestamp::from_millis(0),
            });
            (item.state, item.fact, item.fix.is_empty())
        };
        let (state, fact, nothing_to_mend) = told(2, 1, Some("on"));
        assert_eq!((state, nothing_to_mend), (ItemState::Done, true));
        assert!(fact.ends_with("nothing is lost"), "{fact}");
        let (state, fact, _) = told(1, 1, Some("remote_write"));
        assert_eq!(state, ItemState::Warn);
        assert!(fact.contains("not for its disk"), "{fact}");
        let (state, fact, _) = told(0, 0, Some("on"));
        assert_eq!(state, ItemState::Missing);
        assert!(fact.ends_with("nothing can be written"), "{fact}");
        let (state, fact, _) = told(1, 0, None);
        assert_eq!(state, ItemState::Warn);
        assert!(fact.contains("is lost"), "{fact}");
        let (state, fact, _) = told(0, 0, None);
        assert_eq!(state, ItemState::Done);
        assert!(fact.starts_with("there is no replica"), "{fact}");
    }
}
