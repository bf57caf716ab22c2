//! Turns of those who decide on the same rows. A device whose channels speak at once (a Mac and the users who are logged in
//! at it, after one wake) is heard one message after another within this process, so that it never is its own rival; rivals
//! elsewhere, workers and other processes, decide again, and step out of each other's way. Decides nothing itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::Org;
use crate::error::Error;

/// How often a decision is made in all before the caller is told that too much changes.
pub(super) const TRIES: usize = 30;
/// So many tries follow each other at once: mostly there is one rival, and it is done.
const AT_ONCE: usize = 4;
/// The longest pause, in milliseconds.
const LONGEST: u64 = 32;
/// How long a message waits for those of the same device before it. Only a database that hardly answers takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Whose messages are being decided on in this process, by the SHA-256 of the certificate that speaks: all channels of a
/// device speak with the same one, and nobody can stand in the way of a device by naming it.
#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<HashMap<String, Lock>>,
}

/// The turn of one message. Ends when it is dropped, also for a caller who has stopped waiting for it.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    speaker: &'a str,
    lock: Option<Lock>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until no other message of this speaker is being decided on; first come, first served.
    ///
    /// # Errors
    /// [`Error::Busy`] after 20 seconds.
    pub(super) async fn take<'a>(&'a self, speaker: &'a str) -> Result<Turn<'a>, Error> {
        self.take_within(speaker, PATIENCE).await
    }

    async fn take_within<'a>(
        &'a self,
        speaker: &'a str,
        patience: Duration,
    ) -> Result<Turn<'a>, Error> {
        let lock = {
            let mut taken = self.taken.lock().unwrap_or_else(|p| p.into_inner());
            Arc::clone(taken.entry(speaker.to_owned()).or_default())
        };
        let mut turn = Turn {
            turns: self,
            speaker,
            lock: Some(Arc::clone(&lock)),
            held: None,
        };
        let held = tokio::time::timeout(patience, lock.lock_owned()).await;
        turn.held = Some(held.map_err(|_| Error::Busy("too many messages of one device"))?);
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock().unwrap_or_else(|p| p.into_inner());
        self.held = None;
        self.lock = None;
        // Nobody has come for it meanwhile: that takes the map, which is ours here.
        if let Some(lock) = taken.get(self.speaker)
            && Arc::strong_count(lock) == 1
        {
            taken.remove(self.speaker);
        }
    }
}

impl Org {
    /// Decides again when what the decision rested on has changed meanwhile.
    ///
    /// # Errors
    /// What `decide` says; [`Error::Busy`] when somebody else was faster every time.
    pub(crate) async fn again_on_conflict<T, F>(&self, decide: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for tried in 1..=TRIES {
            match decide().await {
                Err(e) if e.is_conflict() => {
                    if tried < TRIES {
                        step_aside(tried).await;
                    }
                }
                other => return other,
            }
        }
        Err(Error::Busy("too many changes at once"))
    }
}

/// Waits a moment before the next try. Where several decide on one row again and again, one of them is right each time and
/// all others lose: without pauses of different length one could lose every time. Time of sockets, not of the domain.
pub(super) async fn step_aside(tried: usize) {
    if tried < AT_ONCE {
        return tokio::task::yield_now().await;
    }
    let mut chance = [0_u8; 1];
    // Without randomness all pause alike, which is no worse than not at all.
    let _ = openssl::rand::rand_bytes(&mut chance);
    let longest = (2_u64 << (tried - AT_ONCE).min(16)).min(LONGEST);
    let pause = u64::from(chance[0]) * longest / 256;
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_ends_with_whoever_has_it_or_has_stopped_waiting_and_leaves_nothing() {
        let turns = Turns::default();
        let first = turns.take("a").await.unwrap();
        // Another device is not kept waiting.
        drop(turns.take("b").await.unwrap());
        let waits = tokio::time::timeout(Duration::from_millis(20), turns.take("a"));
        assert!(waits.await.is_err(), "two at a time");
        let ((), second) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                drop(first);
            },
            turns.take("a")
        );
        let second = second.unwrap();
        assert_eq!(turns.taken.lock().unwrap().len(), 1);
        drop(second);
        assert!(turns.taken.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_turn_for_ever() {
        let turns = Turns::default();
        let first = turns.take("a").await.unwrap();
        let patience = Duration::from_millis(20);
        let late = turns.take_within("a", patience).await.map(|_| ());
        assert!(matches!(late, Err(Error::Busy(_))), "{late:?}");
        drop(first);
        assert!(turns.taken.lock().unwrap().is_empty());
    }
}
