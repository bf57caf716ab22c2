//! Walks over the members of a wave, which count where they are: a page at a time, so that memory does not grow with the wave. Decides
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Org;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{MarkName, MarkState};
use crate::ids::{MoveId, SetUpId, WaveId};
use crate::migration::plan::{ProgressCount, Tally};
use crate::migration::{Attention, Move, MoveState};
use crate::store::with_the_rest;

/// Members, or holds, that are read at a time.
const PAGE: u32 = 500;

/// How many devices stand how, mark by mark.
pub type MarkCounts = BTreeMap<MarkName, BTreeMap<MarkState, u32>>;

/// What one walk over the members of a wave counts.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) tally: Tally,
    pub(super) progress: ProgressCount,
    pub(super) elsewhere: usize,
    pub(super) marks: MarkCounts,
}

/// What looking after a wave needs of its members.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) tally: Tally,
    /// How many ended how.
    pub(super) ends: BTreeMap<String, usize>,
    /// How many have not ended.
    pub(super) open: usize,
    /// The last deadline of those, not before now.
    pub(super) last_deadline: Option<Timestamp>,
    /// How many rows cannot be read, where it goes on with the others: of their members nobody knows whether they have ended.
    pub(super) unread: usize,
}

impl Walk {
    fn add(&mut self, attempt: &Move, now: Timestamp) {
        self.tally.add(attempt);
        match &attempt.state {
            MoveState::Ended(outcome) => {
                *self.ends.entry(format!("{outcome:?}")).or_default() += 1;
            }
            _ => {
                self.open += 1;
                let deadline = attempt.deadline.max(now);
                self.last_deadline = self.last_deadline.max(Some(deadline));
            }
        }
    }
}

impl Org {
    /// Goes through the members a page at a time, so that memory does not grow with the wave.
    pub(super) async fn count(&self, wave: WaveId, now: Timestamp) -> Result<Counted, Error> {
        let mut counted = Counted::default();
        let mut own: BTreeSet<SetUpId> = BTreeSet::new();
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let page = self.member_rows(page).await?;
            for attempt in &page.attempts {
                counted.tally.add(attempt);
                counted.progress.add(attempt, now);
                own.extend(held_set_up(attempt));
                let shown = attempt.shown_deadline.filter(|_| !attempt.is_ended());
                let elsewhere = shown.is_some_and(|s| s.as_secs() != attempt.deadline.as_secs());
                counted.elsewhere += usize::from(elsewhere);
                if attempt.enrolled_as.is_none() {
                    continue;
                }
                for mark in page.marks(attempt) {
                    let of = counted.marks.entry(mark.mark).or_default();
                    *of.entry(mark.state).or_default() += 1;
                }
            }
        }
        counted.tally.long_holds = self.long_holds(&own).await?;
        Ok(counted)
    }

    /// The same without the marks.
    pub(super) async fn walk_members(&self, wave: WaveId) -> Result<Walk, Error> {
        let mut walk = Walk::default();
        let mut own: BTreeSet<SetUpId> = BTreeSet::new();
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for attempt in &page {
                walk.add(attempt, self.now());
                own.extend(held_set_up(attempt));
            }
        }
        walk.tally.long_holds = self.long_holds(&own).await?;
        Ok(walk)
    }

    /// A member that has not come to an end; it goes no further than to that.
    pub(in crate::service) async fn first_open_member(
        &self,
        wave: WaveId,
    ) -> Result<Option<Move>, Error> {
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = last.id;
            if let Some(open) = page.into_iter().find(|attempt| !attempt.is_ended()) {
                return Ok(Some(open));
            }
        }
    }

    /// [`Org::walk_members`] of those that can be read: one that cannot be keeps no other from being steered. Which that is, is told where rows
    /// that cannot be read are.
    pub(super) async fn walk_the_rest(&self, wave: WaveId) -> Result<Walk, Error> {
        let (walk, left_out) = with_the_rest(self.walk_members(wave)).await;
        let mut walk = walk?;
        walk.unread = left_out.len();
        Ok(walk)
    }

    /// How many of these are held past the ceiling at which somebody is told.
    async fn long_holds(&self, own: &BTreeSet<SetUpId>) -> Result<u32, Error> {
        let (mut after, mut all) = (None, 0);
        while !own.is_empty() {
            let page = self.store().holds(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.held_since().map(|since| (since, last.id));
            let long = page
                .iter()
                .filter(|s| s.attention == Some(Attention::HoldLong) && own.contains(&s.id))
                .count();
            all += u32::try_from(long).unwrap_or(u32::MAX);
            if after.is_none() {
                break;
            }
        }
        Ok(all)
    }
}

/// The set-up of a member that may be in its hold.
fn held_set_up(attempt: &Move) -> Option<SetUpId> {
    let may = matches!(
        attempt.state,
        MoveState::Moving { .. } | MoveState::Stalled { .. }
    );
    attempt.set_up().filter(|_| may)
}
