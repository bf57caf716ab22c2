//! A person's word that the service that devices left has removed them from its list. Asks nobody: no service tells another one.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::Org;
use super::accept::sentence;
use crate::error::Error;
use crate::ids::{MoveId, Serial, WaveId};
use crate::migration::{Met, Move};
use crate::store::Batch;

/// Members of one commit.
const PAGE: u32 = 500;

impl Org {
    /// Notes for members of a wave that have moved that the service that they left does not list them any more, with what shows it.
    /// All of them with `None`. A word that was given stays. Answers for how many it is new.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a sentence, or for a serial number of no member that has moved; [`Error::Precondition`] where all are
    /// meant and none has; [`Error::NotFound`], the store's.
    pub async fn removed_at_original(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        evidence: &str,
    ) -> Result<usize, Error> {
        sentence("evidence", evidence, true)?;
        self.say_of_original(wave, serials, Ok(evidence)).await
    }

    /// Takes that word back, and why: the service that members left lists them after all. Answers of how many.
    ///
    /// # Errors
    /// As [`Org::removed_at_original`].
    pub async fn listed_at_original(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        why: &str,
    ) -> Result<usize, Error> {
        sentence("not", why, true)?;
        self.say_of_original(wave, serials, Err(why)).await
    }

    /// A word, or why it is taken back.
    async fn say_of_original(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        word: Result<&str, &str>,
    ) -> Result<usize, Error> {
        self.wave_row(wave).await?;
        let wanted: Option<BTreeSet<&Serial>> = serials.map(|all| all.iter().collect());
        if let Some(mut missing) = wanted.clone() {
            let mut after = MoveId(0);
            loop {
                let page = self.store().attempts(self.id(), wave, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for attempt in page.iter().filter(|a| a.has_moved()) {
                    missing.remove(&attempt.serial);
                }
            }
            if let Some(serial) = missing.first() {
                let problem = format!("{serial} is no member of this wave that has migrated");
                return Err(Error::bad_input("serials", problem));
            }
        }
        let (mut noted, mut after) = (0, MoveId(0));
        loop {
            let (count, last) = self
                .again_on_conflict(|| self.note_removed(wave, after, wanted.as_ref(), word))
                .await?;
            noted += count;
            let Some(last) = last else { break };
            after = last;
        }
        if noted == 0 && serials.is_none() && !self.members(wave).await?.iter().any(Move::has_moved)
        {
            let why = "no member of the wave has migrated: there is nothing to clean up for it at the service that they leave";
            return Err(Error::Precondition(why.to_owned()));
        }
        Ok(noted)
    }

    /// One page of members in one commit, and behind which the next begins.
    async fn note_removed(
        &self,
        wave: WaveId,
        after: MoveId,
        wanted: Option<&BTreeSet<&Serial>>,
        word: Result<&str, &str>,
    ) -> Result<(usize, Option<MoveId>), Error> {
        let now = self.now();
        let page = self.store().attempts(self.id(), wave, after, PAGE).await?;
        let last = page.last().map(|attempt| attempt.id);
        let (mut batch, mut count) = (Batch::new(), 0);
        for mut attempt in page {
            let named = wanted.is_none_or(|wanted| wanted.contains(&attempt.serial));
            if !named || !attempt.has_moved() || attempt.removed.is_some() == word.is_ok() {
                continue;
            }
            let service = &attempt.original_server;
            let (what, detail) = match word {
                Ok(evidence) => (
                    "move.removed-at-original",
                    json!({ "wave": wave, "service": service, "evidence": evidence }),
                ),
                Err(why) => (
                    "move.listed-at-original",
                    json!({ "wave": wave, "service": service, "reason": why }),
                ),
            };
            batch.put(self.entry(now, self.actor(), what, Some(attempt.device), detail));
            attempt.removed = word.ok().map(|evidence| Met {
                by: self.actor().to_owned(),
                at: now,
                evidence: evidence.to_owned(),
            });
            batch.put(attempt);
            count += 1;
        }
        if !batch.is_empty() {
            self.store().commit(batch).await?;
        }
        Ok((count, last))
    }
}
