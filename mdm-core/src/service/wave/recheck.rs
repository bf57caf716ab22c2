//! Members against whom something stands are looked at again once a day, without anybody asking: what has come, and what has gone, is told to
//! their attempts and kept in the record. Asks Apple nothing itself: a blocked attempt has its device read daily.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::super::Org;
use super::super::decision::Decision;
use super::super::sync::append;
use crate::error::Error;
use crate::ids::{MoveId, Serial, WaveId};
use crate::migration::{Event, Move, MoveState};
use crate::store::Batch;

/// How often.
const DAILY: Duration = Duration::from_secs(86_400);
/// Members of one commit.
const CHUNK: usize = 500;
/// The most serial numbers that one entry of the record names.
const NAMED: usize = 1000;

impl Org {
    /// Looks at the members of a wave that are not submitted, if nobody has for a day.
    pub(super) async fn look_again_at(&self, wave: WaveId) -> Result<(), Error> {
        let now = self.now();
        let row = self.wave_row(wave).await?;
        let lately = row.looked_again.is_some_and(|at| now < at + DAILY);
        if lately || !row.is_open() {
            return Ok(());
        }
        let (mut newly, mut cleared) = (Vec::new(), Vec::new());
        if self.members(wave).await?.iter().any(Move::is_planned) {
            let found = Box::pin(self.what_if(wave)).await?.blockers;
            let mut changed: Vec<MoveId> = Vec::new();
            for attempt in self.members(wave).await? {
                let Some(blocked) = change(&attempt, &found) else {
                    continue;
                };
                let list = if blocked { &mut newly } else { &mut cleared };
                list.push(attempt.serial.clone());
                changed.push(attempt.id);
            }
            for ids in changed.chunks(CHUNK) {
                self.again_on_conflict(|| self.tell_checked(ids, &found))
                    .await?;
            }
        }
        self.again_on_conflict(|| async {
            let mut row = self.wave_row(wave).await?;
            row.looked_again = Some(now);
            let mut batch = Batch::new();
            if !(newly.is_empty() && cleared.is_empty()) {
                let some = |all: &[Serial]| all[..all.len().min(NAMED)].to_vec();
                let detail = json!({
                    "wave": row.name, "id": wave, "blocked": newly.len(), "cleared": cleared.len(),
                    "newly": some(&newly), "no_more": some(&cleared),
                });
                self.audit_into(&mut batch, "wave.looked-again", detail);
            }
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    async fn tell_checked(
        &self,
        ids: &[MoveId],
        found: &BTreeMap<Serial, Vec<String>>,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        for id in ids {
            let Some(attempt) = self.store().attempt(self.id(), *id).await? else {
                continue;
            };
            if change(&attempt, found).is_none() {
                continue;
            }
            let blockers = found.get(&attempt.serial).cloned().unwrap_or_default();
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            self.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(&Event::Checked { blockers });
            append(&mut batch, d.into_batch());
        }
        Ok(self.store().commit(batch).await?)
    }
}

/// Whether something new stands against an attempt (`true`), or nothing does any more (`false`); none where it is as before.
fn change(attempt: &Move, found: &BTreeMap<Serial, Vec<String>>) -> Option<bool> {
    let now = found.get(&attempt.serial);
    match (&attempt.state, now) {
        (MoveState::Planned | MoveState::Ready, Some(_)) => Some(true),
        // The same checks may count other days.
        (MoveState::Blocked { blockers }, Some(now)) => {
            (checks(blockers) != checks(now)).then_some(true)
        }
        (MoveState::Blocked { .. }, None) => Some(false),
        _ => None,
    }
}

/// The checks of what stands against somebody, without their facts.
fn checks(blockers: &[String]) -> BTreeSet<&str> {
    blockers
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect()
}
