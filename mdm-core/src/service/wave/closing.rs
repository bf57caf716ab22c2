//! The end of a wave: when all of its members have come to theirs, when everybody was taken out of a draft, when its project is closed.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::Org;
use crate::counted::{agree, counted};
use crate::error::Error;
use crate::ids::{ProjectId, WaveId};
use crate::store::Batch;
use crate::wave::{Wave, WaveState};

impl Org {
    /// Closes a draft of which nobody is left: nothing submits it, so that nothing else would end it, and its name would stay taken.
    pub(super) async fn close_if_nobody(&self, wave: WaveId) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let row = self.wave_row(wave).await?;
            if row.state != WaveState::Draft {
                return Ok(());
            }
            // Who comes in meanwhile writes this row, too.
            let walk = self.walk_members(wave).await?;
            if walk.open > 0 {
                return Ok(());
            }
            let mut batch = Batch::new();
            self.put_closed(&mut batch, row, &walk.ends);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Adds to the batch that closes a project that its waves are over, too: those of which nothing was ever submitted end no other way.
    ///
    /// # Errors
    /// [`Error::Precondition`] as long as somebody is on the way or planned; the store's.
    pub(super) async fn put_waves_closed(
        &self,
        batch: &mut Batch,
        project: ProjectId,
    ) -> Result<(), Error> {
        let mut open = 0;
        for wave in self.waves_of(project).await? {
            let walk = self.walk_members(wave.id).await?;
            open += walk.open;
            if wave.is_open() {
                self.put_closed(batch, wave, &walk.ends);
            }
        }
        if open > 0 {
            return Err(Error::Precondition(format!(
                "{} {} not come to an end: withdraw them, call them back, wait, or give up those that never come (`mdmd device give-up`)",
                counted(open, "device"),
                agree(open, "has", "have")
            )));
        }
        Ok(())
    }

    /// Adds to a batch that a wave is over; `ends` says how its members ended.
    pub(super) fn put_closed(
        &self,
        batch: &mut Batch,
        mut row: Wave,
        ends: &BTreeMap<String, usize>,
    ) {
        row.state = WaveState::Closed { at: self.now() };
        row.paused = None;
        let detail = json!({ "wave": row.name, "id": row.id, "ends": ends });
        self.audit_into(batch, "wave.closed", detail);
        batch.put(row);
    }
}
