//! What somebody accepted, kept under its digest as it was shown: the what-if of a wave, or the plan of an act. Written with the
//! acceptance, in pieces of so many members, and never changed, but that names of people go when their time is over.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::Org;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{AcceptedId, RunbookId, Serial, WaveId};
use crate::project::AcceptedPart;
use crate::store::{Batch, StoreError};
use crate::wave::Wave;

/// Members of one piece.
const MEMBERS: usize = 1000;

/// A member with its dates: deadline, from when on it is offered, and the runbook that it keeps.
pub(super) type Dated<'a> = (&'a Serial, Timestamp, Timestamp, Option<RunbookId>);

/// What an acceptance is bound to. Ids are numbers in it, as they were before they were strings elsewhere, so that what was
/// accepted then stays accepted.
pub(super) fn digest(wave: &Wave, members: &[Dated<'_>], found: [&Value; 3]) -> String {
    let runbooks: BTreeMap<_, _> = wave.runbooks.iter().map(|(of, id)| (of, id.0)).collect();
    let members: Vec<_> = members
        .iter()
        .map(|(serial, deadline, from, runbook)| (serial, deadline, from, runbook.map(|id| id.0)))
        .collect();
    let [bound, against_all, known] = found;
    let all = json!([
        wave.name,
        runbooks,
        wave.ade,
        members,
        bound,
        against_all,
        known
    ]);
    crate::identity::sha256_hex(all.to_string().as_bytes())
}

impl Org {
    /// Puts what was shown into a batch.
    pub(in crate::service) fn keep_accepted(
        &self,
        batch: &mut Batch,
        wave: WaveId,
        digest: &str,
        shown: &impl Serialize,
    ) -> Result<(), Error> {
        let cannot = |_: serde_json::Error| {
            StoreError::Database("what was accepted cannot be written".to_owned())
        };
        let mut shown = serde_json::to_value(shown).map_err(cannot)?;
        let members = shown.pointer_mut("/report/members").map(Value::take);
        let Some(Value::Array(members)) = members else {
            self.put_accepted(batch, wave, digest, 0, shown);
            return Ok(());
        };
        self.put_accepted(batch, wave, digest, 0, shown);
        for (part, members) in (1..).zip(members.chunks(MEMBERS)) {
            self.put_accepted(batch, wave, digest, part, json!({ "members": members }));
        }
        Ok(())
    }

    fn put_accepted(
        &self,
        batch: &mut Batch,
        wave: WaveId,
        digest: &str,
        part: u32,
        content: Value,
    ) {
        let id = AcceptedId(self.ids().next(self.now()));
        let key = (self.id(), id);
        batch.put(AcceptedPart::new(key, wave, digest, part, content));
    }

    /// What was accepted of a wave, a page of pieces after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn accepted_parts(
        &self,
        wave: WaveId,
        after: AcceptedId,
    ) -> Result<Vec<AcceptedPart>, Error> {
        let parts = self.store().accepted_parts(self.id(), wave, after, 10);
        Ok(parts.await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Platform;
    use crate::ids::{OrganisationId, ServerId};

    #[test]
    fn what_was_accepted_when_ids_were_numbers_stays_accepted() {
        let runbook = RunbookId(7_340_911_223_344_556_677);
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let (from, until) = (at("2026-11-22T08:00:00Z"), at("2026-12-01T08:00:00Z"));
        let runbooks = BTreeMap::from([(Platform::Macos, runbook)]);
        let (organisation, wave, server) = (OrganisationId(1), WaveId(2), ServerId(3));
        let wave = Wave::draft(organisation, wave, "pilot", server, runbooks, from);
        let serials = ["C02A", "C02B"].map(|serial| Serial::parse(serial).unwrap());
        let members = [
            (&serials[0], until, from, Some(runbook)),
            (&serials[1], until, from, None),
        ];
        let (bound, against_all, known) = (json!([[], [], 0]), json!([]), json!(["known"]));
        // As SHA-256 of the JSON of then.
        assert_eq!(
            digest(&wave, &members, [&bound, &against_all, &known]),
            "4dc277508b4fdb4ea13b7e48f7cec9584906d14b25c3b4191978417677c589e3"
        );
    }
}
