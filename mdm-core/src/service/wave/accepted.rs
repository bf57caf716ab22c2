//! What somebody accepted, kept under its digest as it was shown: the what-if of a wave, or the plan of an act. Written with the
//! acceptance, in pieces of so many members, and never changed, but that names of people go when their time is over.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::Org;
use crate::error::Error;
use crate::ids::{AcceptedId, WaveId};
use crate::project::AcceptedPart;
use crate::store::{Batch, StoreError};

/// Members of one piece.
const MEMBERS: usize = 1000;

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
