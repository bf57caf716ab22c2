//! Keeping our copy of a server entry's device list. Page by page, each with its cursor in one batch; a page is either wholly
//! taken or fetched again. Decides by what a record says, never by the kind of operation, and believes that a device is gone
//! only when its service says so or a complete list did not show it.

mod again;
mod ahead;
mod assign;
mod behind;
mod missing;
mod page;
mod profile;
mod record;

use std::collections::BTreeSet;
use std::time::Duration;

pub(in crate::service) use profile::check as check_ade;

use self::ahead::{Ahead, Asked, ask};
use super::Org;
use super::ports::ServerCredential;
use crate::clock::Timestamp;
use crate::error::{Error, PortError};
use crate::job::Job;
use crate::store::{Batch, Lease};
use crate::wave::{Server, SyncCursor};

/// How often the list is read when nothing special is going on.
const CALM: Duration = Duration::from_secs(10 * 60);
/// How often the whole list is read, whatever the changes said: what they left out is found then.
const RECONCILE: Duration = Duration::from_secs(24 * 3600);
/// Pages of one run of a job. A long list goes on in the next run, so that other jobs have their turn and no lease ends in
/// the middle.
const PAGES: usize = 40;
/// After a list that ran in a circle.
const IN_A_CIRCLE: Duration = Duration::from_secs(15 * 60);

impl Org {
    /// Opens a server entry's token.
    pub(super) async fn server_credential(
        &self,
        server: &Server,
    ) -> Result<ServerCredential, Error> {
        let token = self.open_secret_cached(server.token).await?;
        Ok(ServerCredential {
            organisation: self.id(),
            server: server.id,
            token,
        })
    }

    /// The recurring job that reads the list.
    pub(super) async fn sync_job(
        &self,
        job: Job,
        lease: Lease,
        server: crate::ids::ServerId,
    ) -> Result<(), Error> {
        let Some(server) = self.store().server(self.id(), server).await? else {
            return self.job_done(&job, lease).await;
        };
        if server.removed.is_some() {
            return self.leave_list(&job, lease, server.id).await;
        }
        let begun = self.now();
        let outcome = self.sync_server(&server).await;
        let (due, needs_person) = match &outcome {
            Ok(Run::More) => (self.now(), None),
            Ok(Run::Ended) => (self.now() + CALM, None),
            Err(Error::Port(PortError::NeedsPerson(what))) => {
                (self.now() + Duration::from_secs(1800), Some(what.clone()))
            }
            Err(error) => (
                self.now() + error.retry_after().unwrap_or(Duration::from_secs(300)),
                None,
            ),
        };
        if let Err(error) = &outcome {
            tracing::warn!(organisation = %self.id(), server = %server.name, %error, "the device list could not be read");
        }
        self.again_on_conflict(|| async {
            let Some(mut row) = self.server_entry(server.id).await? else {
                return Ok(());
            };
            if row.needs_person == needs_person {
                return Ok(());
            }
            row.needs_person.clone_from(&needs_person);
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        // What was assigned meanwhile shows in another reading. One that failed waits as long as it must.
        let calm = matches!(outcome, Ok(Run::Ended));
        let mut later = job;
        later.tries = 0;
        later.due = match self.wanted_after(server.id, begun).await? {
            Some(by) if calm => by.min(due),
            _ => due,
        };
        self.job_stands_or(later.clone(), lease).await?;
        // Said since that look: whoever says it looks at the lease afterwards, and we here look the other way round.
        match self.wanted_after(server.id, begun).await? {
            Some(by) if calm && by < later.due => {
                later.due = by;
                self.job_by(later).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// By when a list is to be read again, if that was said for later than a reading of it began.
    async fn wanted_after(
        &self,
        server: crate::ids::ServerId,
        begun: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let row = self.server_entry(server).await?;
        Ok(row.and_then(|row| row.read_by).filter(|by| *by > begun))
    }

    /// Reads the list, so many pages of it.
    async fn sync_server(&self, server: &Server) -> Result<Run, Error> {
        let credential = self.server_credential(server).await?;
        let assignment = self.ports().assignment.clone();
        let mut empty_pages = 0;
        let mut cursor = server.cursor.clone();
        let mut pages = 0;
        // Where the list has been in this run: a place that comes again would come for ever.
        let mut been: BTreeSet<String> = cursor.text().map(str::to_owned).into_iter().collect();
        // The page after the one that is being kept is under way already, and what it changes is worked out.
        let mut ahead: Option<Ahead> = None;
        let due = server
            .last_full
            .is_none_or(|at| self.now() >= at + RECONCILE);
        let changes = matches!(cursor, SyncCursor::Changes { .. });
        if changes && (due || self.is_missed(server).await?) {
            self.still_the_same(server, &credential).await?;
            cursor = SyncCursor::Start;
            self.again_on_conflict(|| self.store_cursor(server.id, &server.cursor, &cursor))
                .await?;
        }
        let mut started_over = false;
        while pages < PAGES {
            pages += 1;
            let now = self.now();
            if let SyncCursor::Sweeping {
                cursor: changes,
                begun,
            } = &cursor
            {
                let (changes, begun) = (changes.clone(), *begun);
                if self.sweep_unseen(server, begun).await? {
                    let next = SyncCursor::Changes { cursor: changes };
                    self.again_on_conflict(|| self.end_sweep(server.id, begun, next.clone()))
                        .await?;
                    cursor = next;
                }
                continue;
            }
            // What was asked ahead was read then, not now.
            let (now, answered) = match ahead.take() {
                Some(ahead) if ahead.of == cursor => (ahead.asked, ahead.answered),
                _ => {
                    let page = ask(assignment.as_ref(), &credential, &cursor, now).await;
                    (now, page.map(|page| (page, None)))
                }
            };
            let (page, folded) = match answered {
                Ok(answered) => answered,
                // Once in a job: when Apple accepts its own new cursor no better, the list is read again later.
                Err(PortError::CursorExpired) if started_over => {
                    return Err(PortError::retry("Apple has expired its cursor again").into());
                }
                Err(PortError::CursorExpired) => {
                    started_over = true;
                    tracing::info!(organisation = %self.id(), server = %server.name, "the cursor has expired: the whole list is read again");
                    self.again_on_conflict(|| {
                        self.store_cursor(server.id, &cursor, &SyncCursor::Start)
                    })
                    .await?;
                    cursor = SyncCursor::Start;
                    // The list begins anew: where it was before says nothing.
                    been.clear();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let begun = match &cursor {
                SyncCursor::Start => Some(now),
                SyncCursor::Full { begun, .. } => Some(*begun),
                SyncCursor::Changes { .. } | SyncCursor::Sweeping { .. } => None,
            };
            let at = page.cursor.clone();
            // An empty page may name its own place: that has a patience of its own below.
            let empty_in_place = page.devices.is_empty() && cursor.text() == Some(&at);
            if page.more && !been.insert(at.clone()) && !empty_in_place {
                return Err(does_not_go_on(begun).into());
            }
            let next = match (begun, page.more) {
                (Some(begun), true) => SyncCursor::Full { cursor: at, begun },
                // Complete: only now may a device that it did not show be called gone.
                (Some(begun), false) => SyncCursor::Sweeping { cursor: at, begun },
                (None, _) => SyncCursor::Changes { cursor: at },
            };
            // Only who stands where it asked goes on: where another process has gone on, what comes next is not ours to ask.
            let ours = self.store().server(self.id(), server.id).await?;
            let Some(row) = ours.filter(|row| row.cursor == cursor) else {
                return Ok(Run::Ended);
            };
            let then = self.now();
            let asked = (page.more && pages < PAGES)
                .then(|| Asked::ask(&assignment, &credential, &next, then));
            let take = self.take_page(&row, &page, folded, &next, now);
            let taken = match asked {
                None => take.await?,
                Some(asked) => {
                    let fold_ahead = async {
                        let answered = match asked.answer().await {
                            Ok(page) => {
                                let folded = self.fold_page(&row, &page, then).await?;
                                Ok((page, Some(folded)))
                            }
                            Err(error) => Err(error),
                        };
                        Ok::<_, Error>(Ahead {
                            of: next.clone(),
                            asked: then,
                            answered,
                        })
                    };
                    let (taken, folded_ahead) = tokio::join!(take, fold_ahead);
                    ahead = Some(folded_ahead?);
                    taken?
                }
            };
            if !taken || (!page.more && begun.is_none()) {
                return Ok(Run::Ended);
            }
            empty_pages = if page.devices.is_empty() && cursor == next {
                empty_pages + 1
            } else {
                0
            };
            if empty_pages >= 3 {
                return Err(does_not_go_on(begun).into());
            }
            cursor = next;
        }
        Ok(Run::More)
    }

    /// Begins elsewhere, unless another process has gone on meanwhile.
    async fn store_cursor(
        &self,
        server: crate::ids::ServerId,
        from: &SyncCursor,
        cursor: &SyncCursor,
    ) -> Result<(), Error> {
        let mut row = self
            .store()
            .server(self.id(), server)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        if row.cursor != *from {
            return Ok(());
        }
        row.cursor.clone_from(cursor);
        if *cursor == SyncCursor::Start && !row.missing.is_empty() {
            // It shows all of them, or none does: each that is still missing is noted anew after a day.
            row.missing.clear();
            row.sought = Some(self.now());
        }
        let mut batch = Batch::new();
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// Once a day: the token still opens the entry that it was imported for.
    async fn still_the_same(
        &self,
        server: &Server,
        credential: &ServerCredential,
    ) -> Result<(), Error> {
        let account = self.ports().assignment.account(credential).await?;
        if account.server_uuid == server.uuid {
            return Ok(());
        }
        Err(PortError::NeedsPerson(format!(
            "The token of {} opens another server entry now, {}: import the right one.",
            server.name, account.server_name
        ))
        .into())
    }

    pub(super) fn display_name(&self) -> &str {
        self.organisation
            .settings
            .display_name
            .as_deref()
            .unwrap_or(&self.organisation.name)
    }
}

/// The list names a place where it has been. The page is not taken, so that ours is kept.
fn does_not_go_on(full_since: Option<Timestamp>) -> PortError {
    let call = match full_since {
        Some(_) => "POST /server/devices",
        None => "POST /devices/sync",
    };
    PortError::Retry {
        what: format!("{call}: the list does not go on: it names a place where it has been"),
        after: Some(IN_A_CIRCLE),
    }
}

/// How far one run of a job came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// There is more to do at once.
    More,
    /// Nothing is left for now.
    Ended,
}

/// Adds everything of one batch to another.
pub(super) fn append(into: &mut Batch, from: Batch) {
    into.writes.extend(from.writes);
    into.expects.extend(from.expects);
}
