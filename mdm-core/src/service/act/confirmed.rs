//! An act that somebody else confirms. Taking time away is done exactly as it was looked at. Calling devices back is a brake: while
//! two persons find each other some of them begin, and those that have not must not go on because of it. So as much of it is done as
//! is still possible, and nothing beside what was confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::super::Org;
use super::back::Back;
use super::{Act, ActDone, Looked, MigrationAct};
use crate::error::Error;
use crate::ids::{MoveId, Serial};
use crate::migration::Event;
use crate::store::Batch;

/// Why whoever could not go when it was asked for stays as it is.
const NOT_MEANT: &str = "it was not among those that were confirmed: ask for it anew";
/// Why nobody leaves who is here already.
const REST_CHANGED: &str =
    "something of the return of those that are here is not as it was confirmed: ask for it anew";
/// A deadline that Apple takes; nobody gets it.
const ANY: Duration = Duration::from_hours(30 * 24);
/// Why a later attempt stays as it is.
const ANOTHER: &str = "it is not the migration that was confirmed: ask for it anew";

/// Of an act that calls devices back: what somebody else is asked to confirm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::service) struct CallsBack {
    /// Whose attempts are called back, and which ones: a later attempt is not meant.
    pub(in crate::service) going: BTreeMap<Serial, MoveId>,
    /// The digest of what a return is for those that are here already; none where nobody leaves.
    pub(in crate::service) rest: Option<String>,
}

impl Org {
    /// What an act calls back as it was looked at now; nothing for acts that call nobody back.
    pub(super) async fn calls_back(&self, act: &Act, looked: &Looked) -> Result<CallsBack, Error> {
        let calls = |found: &super::Found| match &act.what {
            MigrationAct::Cancel => found.findings.is_empty(),
            MigrationAct::Return { .. } => looked.back.get(&found.serial) == Some(&Back::Before),
            _ => false,
        };
        let attempt = |found: &super::Found| Some(found.attempt.as_ref()?.id);
        let going: BTreeMap<Serial, MoveId> = looked
            .found
            .iter()
            .filter(|found| calls(found))
            .filter_map(|found| Some((found.serial.clone(), attempt(found)?)))
            .collect();
        let rest = self.digest_of_rest(act, looked, &going).await?;
        Ok(CallsBack { going, rest })
    }

    /// The digest of what a return does with everybody else; none where none of them leaves.
    async fn digest_of_rest(
        &self,
        act: &Act,
        looked: &Looked,
        going: &BTreeMap<Serial, MoveId>,
    ) -> Result<Option<String>, Error> {
        let MigrationAct::Return { deadline, .. } = &act.what else {
            return Ok(None);
        };
        let leaves = |(serial, back): (&Serial, &Back)| {
            matches!(back, Back::After(_)) && !going.contains_key(serial)
        };
        if !looked.back.iter().any(leaves) {
            return Ok(None);
        }
        let mut rest = looked.clone();
        rest.found.retain(|f| !going.contains_key(&f.serial));
        rest.checks.retain(|m| !going.contains_key(&m.serial));
        let plan = Box::pin(self.plan_back(&rest, *deadline)).await?;
        Ok(Some(plan.digest))
    }

    /// The act as it is looked at now: a return that called back only has no deadline, and one of its devices may be here by now. It is left
    /// out, and must not keep the others from being called back for want of a deadline.
    fn asked_as(&self, act: &Act, confirmed: &CallsBack) -> Act {
        let mut act = act.clone();
        if let MigrationAct::Return { deadline, .. } = &mut act.what
            && !confirmed.going.is_empty()
        {
            deadline.get_or_insert(self.now() + ANY);
        }
        act
    }

    /// Does what was accepted and confirmed, together with the rows that say so.
    pub(in crate::service) async fn act_as_confirmed(
        &self,
        act: &Act,
        digest: &str,
        confirmed: &CallsBack,
        mut with: Batch,
    ) -> Result<ActDone, Error> {
        let mut looked = Box::pin(self.look_into(&self.asked_as(act, confirmed))).await?;
        // One that was asked for before it was kept whom it calls back goes as it was looked at, or not at all.
        if confirmed.going.is_empty() {
            let plan = Box::pin(self.plan_of(act, &looked)).await?;
            plan.must_be(digest)?;
            return Box::pin(self.perform(act, looked, &plan, with)).await;
        }
        if !looked.against_all.is_empty() {
            return Err(Error::Precondition(looked.against_all.join("; ")));
        }
        let rest = self.digest_of_rest(act, &looked, &confirmed.going).await?;
        let left_out = looked.leave_out(confirmed, rest.as_deref());
        if !left_out.is_empty() {
            let (serials, why): (Vec<&Serial>, BTreeSet<&str>) = (
                left_out.keys().collect(),
                left_out.values().flatten().map(String::as_str).collect(),
            );
            let detail =
                json!({ "digest": digest, "left_out": { "serials": serials, "why": why } });
            self.audit_into(&mut with, "approval.left-out", detail);
        }
        let mut done = match &act.what {
            MigrationAct::Return { deadline, .. } => {
                Box::pin(self.give_back(act, &looked, *deadline, digest, with)).await?
            }
            _ => {
                let found = &looked.found;
                Box::pin(self.tell_all(act, found, &Event::CancelAsked, digest, with)).await?
            }
        };
        done.left_out = left_out;
        Ok(done)
    }
}

impl Looked {
    /// Leaves out whoever was not confirmed, and whoever was and cannot go any more; answers who they are, with the reasons. Those for
    /// whom nothing was possible when it was asked for, and nothing is now, are nothing new.
    fn leave_out(
        &mut self,
        confirmed: &CallsBack,
        rest: Option<&str>,
    ) -> BTreeMap<Serial, Vec<String>> {
        let mut left_out = BTreeMap::new();
        for found in &mut self.found {
            let back = self.back.get(&found.serial);
            let stands = found.findings.is_empty() && !matches!(back, Some(Back::None(_)));
            let leaves = stands && matches!(back, Some(Back::After(_)));
            let attempt = found.attempt.as_ref().map(|a| a.id);
            let why = match confirmed.going.get(&found.serial) {
                Some(meant) if stands && !leaves && attempt == Some(*meant) => continue,
                Some(_) if stands => Some(ANOTHER.to_owned()),
                Some(_) => match back {
                    Some(Back::None(why)) if found.findings.is_empty() => Some(why.clone()),
                    _ => None,
                },
                None if !stands => continue,
                None if leaves && confirmed.rest.is_some() => {
                    if confirmed.rest.as_deref() == rest {
                        continue;
                    }
                    Some(REST_CHANGED.to_owned())
                }
                None => Some(NOT_MEANT.to_owned()),
            };
            found.findings.extend(why);
            if back.is_some() {
                let why = Back::None(found.findings.join("; "));
                self.back.insert(found.serial.clone(), why);
            }
            left_out.insert(found.serial.clone(), found.findings.clone());
        }
        left_out
    }
}
