//! What became of an act, by what Apple says of the devices when they are read again.

use super::super::Org;
use super::ActProof;
use crate::errand::{Errand, ErrandKind, ErrandMember, ErrandState};
use crate::error::Error;
use crate::ids::ErrandId;
use crate::migration::{Move, MoveState, Outcome};

impl Org {
    /// How far the proof of errands is. To be asked again until it is finished, or patience ends.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an errand that does not exist, the store's.
    pub async fn act_proof(&self, errands: &[ErrandId]) -> Result<ActProof, Error> {
        let mut proof = ActProof::default();
        for id in errands {
            let errand = self.errand(*id).await?.ok_or(Error::NotFound("errand"))?;
            proof.needs_person.extend(errand.needs_person.clone());
            if !errand.is_ended() {
                proof.next_at = Some(proof.next_at.map_or(errand.due, |at| at.min(errand.due)));
            }
            for member in &errand.members {
                let attempt = match member.attempt {
                    Some(id) => self.store().attempt(self.id(), id).await?,
                    None => None,
                };
                match outcome(&errand, member, attempt.as_ref()) {
                    Some(Ok(())) => proof.proved.push(member.serial.clone()),
                    Some(Err(why)) => {
                        proof.disagree.insert(member.serial.clone(), why);
                    }
                    None => proof.pending.push(member.serial.clone()),
                }
            }
        }
        proof.finished = proof.pending.is_empty();
        Ok(proof)
    }
}

/// What re-reading says of one member: as wanted, otherwise, or not yet.
fn outcome(
    errand: &Errand,
    member: &ErrandMember,
    attempt: Option<&Move>,
) -> Option<Result<(), String>> {
    let state = attempt.map(|a| &a.state);
    let refused = match &errand.state {
        ErrandState::Refused { why } => Some(why.clone()),
        _ => None,
    };
    let failed = errand
        .is_ended()
        .then(|| errand.failed.get(&member.serial).cloned())
        .flatten();
    match (&errand.kind, state) {
        (
            ErrandKind::Schedule { .. },
            Some(
                MoveState::Scheduled { .. }
                | MoveState::Offered { .. }
                | MoveState::Overdue { .. }
                | MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. }
                | MoveState::Settling { .. }
                | MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions),
            ),
        )
        | (
            ErrandKind::Cancel | ErrandKind::Return { .. },
            Some(MoveState::Ended(Outcome::Cancelled | Outcome::Withdrawn)),
        ) => Some(Ok(())),
        // A return: no attempt of ours, and Apple's word by re-reading alone.
        (ErrandKind::Schedule { .. }, None) => match (errand.is_ended(), failed.or(refused)) {
            (false, _) => None,
            (true, Some(why)) => Some(Err(why)),
            (true, None) => Some(Ok(())),
        },
        // What is late may come as long as its request is open.
        (ErrandKind::Schedule { .. }, Some(MoveState::SubmitFailed { why, may_come, .. }))
            if !may_come || errand.is_ended() =>
        {
            Some(Err(why.clone()))
        }
        (ErrandKind::Schedule { .. }, Some(MoveState::Cancelling { .. } | MoveState::Ended(_))) => {
            Some(Err("it was taken out meanwhile".to_owned()))
        }
        (
            ErrandKind::Cancel | ErrandKind::Return { .. },
            Some(
                MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. }
                | MoveState::Settling { .. }
                | MoveState::Ended(_),
            ),
        ) => Some(Err("it has begun: nothing was called back".to_owned())),
        (ErrandKind::Schedule { .. } | ErrandKind::Cancel | ErrandKind::Return { .. }, _) => {
            // A cancelled one may still be assigned back by an errand of its own.
            failed.or(refused).map(Err)
        }
        (
            ErrandKind::MoveDeadline { .. }
            | ErrandKind::Associate { .. }
            | ErrandKind::Disassociate { .. },
            _,
        ) => match (errand.is_ended(), failed.or(refused)) {
            (false, _) => None,
            (true, Some(why)) => Some(Err(why)),
            (true, None) => Some(Ok(())),
        },
    }
}
