//! After a backup was restored, or a replica of the database took over: Apple and the devices have gone on since it was made.
//! Before anything is done at Apple, it is read anew. Puts nothing back that was lost. After a restore nobody else is at work;
//! after a replica took over everybody is: what must come first is one batch for each organisation, made once by whoever commits it
//! first, and the rest is a job. A row that cannot be read keeps no other, and an organisation no other organisation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt as _;
use serde_json::json;

use super::worker::SIDE_BY_SIDE;
use super::{Mdm, Org};
use crate::ddm::DeclaredChannel;
use crate::errand::Errand;
use crate::error::Error;
use crate::ids::{DeclarationId, EnrollmentId, ErrandId, JobId, OrganisationId};
use crate::job::{Job, JobKind};
use crate::organisation::Organisation;
use crate::store::{Batch, Lease, StoreError, Write};
use crate::wave::{Server, SyncCursor};

/// Rows that are read at a time.
const PAGE: u32 = 500;

/// For whom Apple and the devices are asked anew.
#[derive(Debug, Default)]
pub(super) struct Anew {
    /// For so many just now, by this process.
    pub(super) asked: usize,
    /// For these not yet.
    pub(super) left: BTreeSet<OrganisationId>,
}

impl Mdm {
    /// Makes every organisation of a restored store ask before it acts: device lists are read from their beginning, and what
    /// was about to be sent to Apple counts as sent with an unknown outcome. Devices that have declarations are told to look at
    /// them anew. Once, before anybody works on the store; twice does no harm. A row that cannot be read is told of in the log and
    /// passed over. Answers for how many organisations.
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
                let org = self.handle(organisation);
                org.again_on_conflict(|| org.begin_anew(None)).await?;
                let mut behind = Some(EnrollmentId(0));
                while let Some(channel) = behind {
                    behind = org.again_on_conflict(|| org.doubt_page(channel)).await?;
                }
                org.look_anew().await?;
                done += 1;
            }
        }
    }

    /// Has every organisation that was not asked about in this history of the database ask before it acts.
    ///
    /// # Errors
    /// That the database is away: whoever goes on later goes on where this ended.
    pub(super) async fn ask_anew(&self, history: &str) -> Result<Anew, Error> {
        let (mut after, mut all) = (OrganisationId(0), Anew::default());
        loop {
            let page = self.organisations(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            let these = self.ask_these_anew(history, page).await?;
            all.asked += these.asked;
            all.left.extend(these.left);
        }
    }

    /// The same for these.
    ///
    /// # Errors
    /// That the database is away.
    pub(super) async fn ask_these_anew(
        &self,
        history: &str,
        mut these: Vec<Organisation>,
    ) -> Result<Anew, Error> {
        let all = Mutex::new((Anew::default(), None));
        these.retain(|organisation| organisation.history.as_deref() != Some(history));
        futures_util::stream::iter(these)
            .for_each_concurrent(SIDE_BY_SIDE, |organisation| async {
                let org = self.handle(organisation);
                let begun = org
                    .again_on_conflict(|| org.begin_anew(Some(history)))
                    .await;
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                match begun {
                    Ok(begun) => all.0.asked += usize::from(begun),
                    Err(error @ Error::Store(StoreError::Unavailable(_))) => all.1 = Some(error),
                    Err(error) => {
                        // Said once of each.
                        if !self.inner.followed.is_behind(org.id()) {
                            tracing::error!(organisation = %org.id(), %error, "Apple and the devices cannot be asked anew yet; nothing is begun for this organisation until then");
                        }
                        all.0.left.insert(org.id());
                    }
                }
            })
            .await;
        match all.into_inner().unwrap_or_else(PoisonError::into_inner) {
            (_, Some(error)) => Err(error),
            (all, None) => Ok(all),
        }
    }
}

impl Org {
    /// What must come before anything is done at Apple, in one batch. In another history of the database whoever commits first
    /// has done it for all: the organisation's row says so. Answers whether it was done here.
    async fn begin_anew(&self, history: Option<&str>) -> Result<bool, Error> {
        let (store, id, now) = (self.store(), self.id(), self.now());
        let Some(mut organisation) = store.organisation(id).await? else {
            return Ok(false);
        };
        if history.is_some() && organisation.history.as_deref() == history {
            return Ok(false);
        }
        let mut batch = Batch::new();
        for mut server in self.servers_that_can_be_read(&organisation).await? {
            server.cursor = SyncCursor::Start;
            batch.put(server);
        }
        for mut errand in self.errands_that_can_be_read().await? {
            let before = errand.clone();
            errand.restored(now);
            // Whoever looks after one that Apple has taken is nobody's rival.
            if errand != before {
                batch.put(errand);
            }
        }
        self.audit_into(&mut batch, "installation.restored", json!({}));
        if let Some(history) = history {
            if organisation.api.is_some()
                && let Err(error) = self.put_pull(&mut batch, now, false).await
            {
                match error {
                    Error::Store(error @ StoreError::Corrupt { .. }) => self.passed_over(&error),
                    error => return Err(error),
                }
            }
            let after = EnrollmentId(0);
            let key = JobId(self.ids().next(now));
            batch.put(Job::new(id, key, now, JobKind::AskAnew { after }));
            organisation.history = Some(history.to_owned());
            batch.put(organisation);
        }
        store.commit(batch).await?;
        Ok(true)
    }

    fn passed_over(&self, error: &StoreError) {
        tracing::error!(organisation = %self.id(), %error, "it is passed over where Apple and the devices are asked anew");
    }

    async fn servers_that_can_be_read(
        &self,
        organisation: &Organisation,
    ) -> Result<Vec<Server>, Error> {
        match self.store().servers(self.id()).await {
            Err(StoreError::Corrupt { .. }) => {}
            all => return Ok(all?),
        }
        let mut readable = Vec::new();
        for server in &organisation.servers {
            match self.store().server(self.id(), *server).await {
                Ok(row) => readable.extend(row.filter(|row| row.removed.is_none())),
                Err(error @ StoreError::Corrupt { .. }) => self.passed_over(&error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(readable)
    }

    async fn errands_that_can_be_read(&self) -> Result<Vec<Errand>, Error> {
        let (mut after, mut size, mut readable) = (ErrandId(0), PAGE, Vec::new());
        loop {
            match self.store().open_errands(self.id(), after, size).await {
                Ok(page) => {
                    let Some(last) = page.last() else {
                        return Ok(readable);
                    };
                    after = last.id;
                    readable.extend(page);
                }
                // One by one up to it, then past it.
                Err(StoreError::Corrupt { .. }) if size > 1 => size = 1,
                Err(error) => {
                    let Some(corrupt) = id_of_corrupt(&error) else {
                        return Err(error.into());
                    };
                    self.passed_over(&error);
                    (after, size) = (ErrandId(corrupt), PAGE);
                }
            }
        }
    }

    /// Wakes the devices that are in a hold, then tells channels to look at their declarations, page by page.
    pub(super) async fn ask_anew_job(
        &self,
        job: &Job,
        lease: Lease,
        after: EnrollmentId,
    ) -> Result<(), Error> {
        if after == EnrollmentId(0) {
            self.wake_holds().await?;
        }
        // Each page by itself: who syncs meanwhile is a rival of one page, and never of those before it.
        let Some(last) = self.again_on_conflict(|| self.doubt_page(after)).await? else {
            self.look_anew().await?;
            return self.job_done(job, lease).await;
        };
        let mut later = job.clone();
        later.kind = JobKind::AskAnew { after: last };
        later.due = self.now();
        let mut batch = Batch::new();
        batch.put(Write::JobLater { job: later, lease });
        Ok(self.store().commit(batch).await?)
    }

    /// The devices that are in a hold say how they are.
    async fn wake_holds(&self) -> Result<(), Error> {
        let (now, mut after) = (self.now(), None);
        loop {
            let page = self.store().holds(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            let Some(since) = last.held_since() else {
                return Ok(());
            };
            after = Some((since, last.id));
            let mut batch = Batch::new();
            for held in &page {
                batch.put(Job::push(self.id(), held.enrollment, now));
            }
            self.store().commit(batch).await?;
        }
    }

    /// What a channel was told after the backup, nobody knows here: each is told to look, also the one that should have nothing.
    /// One page of them; answers the last one, and `None` behind the last page.
    async fn doubt_page(&self, after: EnrollmentId) -> Result<Option<EnrollmentId>, Error> {
        let (store, id, now) = (self.store(), self.id(), self.now());
        if !self.has_declarations().await? {
            return Ok(None);
        }
        let page = store.channels(id, after, PAGE).await?;
        let Some(last) = page.last().map(|channel| channel.id) else {
            return Ok(None);
        };
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
                    Err(error @ StoreError::Corrupt { .. }) => {
                        self.passed_over(&error);
                        continue;
                    }
                    other => other?.unwrap_or_else(|| DeclaredChannel::new(id, channel, now)),
                },
            };
            if !row.doubted {
                row.doubted = true;
                batch.put(row);
            }
        }
        if !batch.is_empty() {
            store.commit(batch).await?;
        }
        Ok(Some(last))
    }

    async fn look_anew(&self) -> Result<(), Error> {
        if !self.has_declarations().await? {
            return Ok(());
        }
        let mut batch = Batch::new();
        self.declare_into(&mut batch, self.now());
        Ok(self.store().commit(batch).await?)
    }

    async fn has_declarations(&self) -> Result<bool, Error> {
        let first = DeclarationId(0);
        match self.store().declarations(self.id(), first, 1).await {
            // It cannot be read, but it is there.
            Err(StoreError::Corrupt { .. }) => Ok(true),
            any => Ok(!any?.is_empty()),
        }
    }
}

/// The id of a row that cannot be read: the second part of its key.
fn id_of_corrupt(error: &StoreError) -> Option<i64> {
    match error {
        StoreError::Corrupt { key, .. } => key.rsplit('/').next()?.parse().ok(),
        _ => None,
    }
}
