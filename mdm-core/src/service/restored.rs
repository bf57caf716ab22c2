//! After a backup was restored: Apple and the devices have gone on since it was made. Before anything is done at Apple, it is read
//! anew. Puts nothing back that was lost.

use serde_json::json;

use super::{Mdm, Org};
use crate::error::Error;
use crate::ids::{ErrandId, OrganisationId};
use crate::store::Batch;
use crate::wave::SyncCursor;

/// Rows that are read at a time.
const PAGE: u32 = 500;

impl Mdm {
    /// Makes every organisation of a restored store ask before it acts: device lists are read from their beginning, and what
    /// was about to be sent to Apple counts as sent with an unknown outcome. Once, before anybody works on the store; twice does no harm. Answers
    /// for how many organisations.
    ///
    /// # Errors
    /// The store's.
    pub async fn after_restore(&self) -> Result<usize, Error> {
        let (mut after, mut done) = (OrganisationId(0), 0);
        loop {
            let page = self.organisations(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(done);
            };
            after = last.id;
            for organisation in page {
                let org = self.organisation_by_id(organisation.id).await?;
                org.again_on_conflict(|| org.after_restore()).await?;
                done += 1;
            }
        }
    }
}

impl Org {
    async fn after_restore(&self) -> Result<(), Error> {
        let (store, id, now) = (self.store(), self.id(), self.now());
        let mut batch = Batch::new();
        for mut server in store.servers(id).await? {
            server.cursor = SyncCursor::Start;
            batch.put(server);
        }
        let mut after = ErrandId(0);
        loop {
            let page = store.open_errands(id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for mut errand in page {
                errand.restored(now);
                batch.put(errand);
            }
        }
        self.audit_into(&mut batch, "installation.restored", json!({}));
        Ok(store.commit(batch).await?)
    }
}
