//! What a look finds is told to the attempts of a wave: who is blocked, who is not any more, and who is ready because what was accepted
//! holds. Members of which nothing is at Apple are looked at again once a day, without anybody asking, and the change is kept in the
//! record. Asks Apple nothing itself: a blocked attempt has its device read daily.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::super::Org;
use super::super::decision::Decision;
use super::super::sync::append;
use crate::check::Check;
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

/// What of an attempt is otherwise than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Something new stands against it.
    Blocked,
    /// The same checks stand against it, for other reasons.
    Otherwise,
    /// Nothing does any more.
    Cleared,
    /// It goes as it was accepted.
    Accepted,
    /// What was accepted of it is void.
    Void,
}

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
            let what_if = Box::pin(self.what_if(wave)).await?;
            let accepted = what_if.accepted.is_some();
            (newly, cleared) = self.tell_members(wave, &what_if.blockers, accepted).await?;
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

    /// Tells the members of a wave what somebody's look found, or what somebody accepted: what stands against whom, and whether the
    /// acceptance holds for all others. What that look was for is done already: where members cannot be told, the daily look does.
    pub(super) async fn tell_found(
        &self,
        wave: WaveId,
        found: &BTreeMap<Serial, Vec<String>>,
        accepted: bool,
    ) {
        if let Err(error) = Box::pin(self.tell_members(wave, found, accepted)).await {
            tracing::warn!(organisation = %self.id(), %wave, %error, "members cannot be told what was found");
        }
    }

    /// Who is blocked otherwise than before, and who is not any more.
    async fn tell_members(
        &self,
        wave: WaveId,
        found: &BTreeMap<Serial, Vec<String>>,
        accepted: bool,
    ) -> Result<(Vec<Serial>, Vec<Serial>), Error> {
        let (mut newly, mut cleared) = (Vec::new(), Vec::new());
        let mut changed: Vec<MoveId> = Vec::new();
        for attempt in self.members(wave).await? {
            let Some(change) = change(&attempt, found, accepted) else {
                continue;
            };
            changed.push(attempt.id);
            match change {
                Change::Blocked => newly.push(attempt.serial),
                Change::Cleared => cleared.push(attempt.serial),
                Change::Otherwise | Change::Accepted | Change::Void => {}
            }
        }
        for ids in changed.chunks(CHUNK) {
            self.again_on_conflict(|| self.tell_checked(ids, found, accepted))
                .await?;
        }
        Ok((newly, cleared))
    }

    async fn tell_checked(
        &self,
        ids: &[MoveId],
        found: &BTreeMap<Serial, Vec<String>>,
        accepted: bool,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        for id in ids {
            let Some(attempt) = self.store().attempt(self.id(), *id).await? else {
                continue;
            };
            let Some(change) = change(&attempt, found, accepted) else {
                continue;
            };
            let blockers = found.get(&attempt.serial).cloned().unwrap_or_default();
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            self.load_for_attempt(&mut d, attempt).await?;
            if change != Change::Accepted {
                d.tell_move(&Event::Checked { blockers });
            }
            if accepted && !matches!(change, Change::Blocked | Change::Otherwise) {
                d.tell_move(&Event::Accepted);
            }
            append(&mut batch, d.into_batch());
        }
        Ok(self.store().commit(batch).await?)
    }
}

/// What of an attempt is otherwise by what was found, and by whether what was accepted holds; none where it is as before.
fn change(attempt: &Move, found: &BTreeMap<Serial, Vec<String>>, accepted: bool) -> Option<Change> {
    match (&attempt.state, found.get(&attempt.serial)) {
        (MoveState::Planned | MoveState::Ready, Some(_)) => Some(Change::Blocked),
        (MoveState::Blocked { blockers }, Some(now)) if checks(blockers) != checks(now) => {
            Some(Change::Blocked)
        }
        // One check has several: an app that would be lost, and one that would be missing.
        (MoveState::Blocked { blockers }, Some(now)) => {
            (reasons(blockers) != reasons(now)).then_some(Change::Otherwise)
        }
        (MoveState::Blocked { .. }, None) => Some(Change::Cleared),
        (MoveState::Planned, None) => accepted.then_some(Change::Accepted),
        (MoveState::Ready, None) => (!accepted).then_some(Change::Void),
        _ => None,
    }
}

/// What stands against somebody, without numbers: other days and moments are no other reason. Nor is what is seen of manifests: that may
/// be another sentence with every look, and no plan is bound to it.
fn reasons(blockers: &[String]) -> BTreeSet<String> {
    let seen = format!("{}:", Check::AppsManifest);
    // Those are names of projects and waves, and nothing is counted there.
    let names = format!("{}:", Check::Gate);
    let without = |line: &String| -> String {
        let kept = |c: &char| line.starts_with(&names) || !c.is_ascii_digit();
        line.chars().filter(kept).collect()
    };
    let bound = blockers.iter().filter(|line| !line.starts_with(&seen));
    bound.map(without).collect()
}

/// The checks of what stands against somebody, without their facts.
fn checks(blockers: &[String]) -> BTreeSet<&str> {
    blockers
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reason_is_one_under_the_same_check_too_and_other_numbers_are_none() {
        let of = |fact: &str| vec![format!("apps.licences: {fact}")];
        let lost = of("no licence is left for apps that go: Notes and 2 more");
        let (more, missing) = (
            of("no licence is left for apps that go: Notes and 11 more"),
            of("no licence is left for apps that it is to get: Notes"),
        );
        assert_eq!(checks(&lost), checks(&missing));
        assert_eq!(reasons(&lost), reasons(&more));
        assert_ne!(reasons(&lost), reasons(&missing));
        // Numbers of names are no numbers of devices.
        let gate = |of: &str| {
            vec![format!(
                "gate: past the project Berlin: not open is the gate of {of}"
            )]
        };
        assert_ne!(reasons(&gate("Pilot 2")), reasons(&gate("Pilot 3")));
    }
}
