//! The record of refused requests: bounded, pruned by the store, and never in the way of an answer.

use super::Org;
use crate::audit::Refusal;
use crate::error::Error;
use crate::ids::{RefusalId, Serial};
use crate::store::Batch;

impl Org {
    /// Passes a result on; a refusal of the caller's input is recorded first.
    pub(super) async fn note_refusal<T>(
        &self,
        door: &str,
        address: &str,
        serial: Option<&Serial>,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_callers_fault()
        {
            self.record_refusal(door, address, &error.to_string(), serial)
                .await;
        }
        result
    }

    /// Records a refusal. That it cannot be recorded is logged and changes no answer.
    pub(super) async fn record_refusal(
        &self,
        door: &str,
        address: &str,
        reason: &str,
        serial: Option<&Serial>,
    ) {
        let now = self.now();
        let id = RefusalId(self.ids().next(now));
        let mut refusal = Refusal::new(self.id(), id, now, address, door, reason);
        refusal.serial = serial.cloned();
        tracing::info!(organisation = %self.id(), door, address, reason, serial = serial.map(tracing::field::display), "refused");
        let mut batch = Batch::new();
        batch.put(refusal);
        if let Err(error) = self.store().commit(batch).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }
}
