//! After a backup was restored: Apple and the devices have gone on since it was made. Before anything is done at Apple, it is read
//! anew. Puts nothing back that was lost.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Mdm, Org};
use crate::ddm::DeclaredChannel;
use crate::error::Error;
use crate::ids::{DeclarationId, EnrollmentId, ErrandId, OrganisationId};
use crate::store::{Batch, StoreError};
use crate::wave::SyncCursor;

/// Rows that are read at a time.
const PAGE: u32 = 500;

impl Mdm {
    /// Makes every organisation of a restored store ask before it acts: device lists are read from their beginning, and what
    /// was about to be sent to Apple counts as sent with an unknown outcome. Devices that have declarations are told to look at
    /// them anew. Once, before anybody works on the store; twice does no harm. Answers for how many organisations.
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
        store.commit(batch).await?;
        self.doubt_declarations().await
    }

    /// What a channel was told after the backup, nobody knows here: each is told to look, also the one that should have nothing.
    async fn doubt_declarations(&self) -> Result<(), Error> {
        let (store, id, now) = (self.store(), self.id(), self.now());
        let any = store.declarations(id, DeclarationId(0), 1).await?;
        if any.is_empty() {
            return Ok(());
        }
        let mut after = EnrollmentId(0);
        loop {
            let page = store.channels(id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let ids: Vec<EnrollmentId> = page
                .iter()
                .filter(|channel| channel.is_live())
                .map(|channel| channel.id)
                .collect();
            let told = store.declared_channels_of(id, &ids).await?;
            let mut told: BTreeMap<_, _> = told.into_iter().map(|row| (row.id, row)).collect();
            let mut batch = Batch::new();
            for channel in ids {
                let mut row = match told.remove(&channel) {
                    Some(row) => row,
                    None => match store.declared_channel(id, channel).await {
                        // It stays as it is for whoever mends it.
                        Err(StoreError::Corrupt { .. }) => continue,
                        other => other?.unwrap_or_else(|| DeclaredChannel::new(id, channel, now)),
                    },
                };
                row.doubted = true;
                batch.put(row);
            }
            store.commit(batch).await?;
        }
        let mut batch = Batch::new();
        self.declare_into(&mut batch, now);
        Ok(store.commit(batch).await?)
    }
}
