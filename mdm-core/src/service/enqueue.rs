//! One command for many channels, as a set: few statements, whatever the number. Each channel gets its own answer; one that
//! cannot have the command keeps nobody else from it.

use serde_json::json;

use super::Org;
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::{AuditId, CommandId, JobId};
use crate::job::{Job, JobKind};
use crate::queue::{BodyForm, Command};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, ChannelAsk, Depth, StoreError};
use crate::wire::command::CommandBody;

/// Commands of one batch. Batches that wait at the same time share a transaction.
const TOGETHER: usize = 512;
/// The most channels of one call.
const MOST: usize = 100_000;

/// What became of a command for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Enqueued {
    /// It waits in the channel's queue.
    Queued,
    /// There is no such channel, or nothing is delivered on it.
    NotEnrolled,
    /// The channel had a command of this UUID already; that one stays as it is.
    Taken,
}

impl Org {
    /// Queues a command for channels (by their normalised ids: `UDID`, `UDID:UserID`), under one UUID. Answers for each, in
    /// the order asked. With `wake`, each is pushed; without, it finds the command when it comes by itself.
    ///
    /// A channel that leaves in the same moment keeps a command that nobody will fetch: it goes with the channel.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a UUID of other than 1 to 64 letters, digits and `-`, or too many channels; the vault's when
    /// the body holds a secret and cannot be sealed; the store's. What was queued before an error stays queued: asking again
    /// with the same UUID answers [`Enqueued::Taken`] for it.
    pub async fn enqueue_many(
        &self,
        channels: &[String],
        uuid: &str,
        body: &CommandBody,
        wake: bool,
    ) -> Result<Vec<Enqueued>, Error> {
        let fits = (1..=64).contains(&uuid.len())
            && uuid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !fits {
            return Err(Error::bad_input(
                "command UUID",
                "must be 1 to 64 letters, digits and '-'",
            ));
        }
        if channels.len() > MOST {
            return Err(Error::bad_input(
                "channels",
                format!("must be at most {MOST} at once"),
            ));
        }
        let now = self.now();
        let plain = body.encode(uuid).to_vec();
        let (bytes, form) = if body.carries_secret() {
            let sealed = self
                .seal_bytes(SecretKind::CommandBody, &Secret::new(plain))
                .await?;
            (sealed, BodyForm::Sealed)
        } else {
            (plain, BodyForm::Plain)
        };
        let found = channels.iter().map(|channel| self.live(channel));
        let found = futures_util::future::try_join_all(found).await?;
        let mut answers = vec![Enqueued::NotEnrolled; channels.len()];
        let mut rows = Vec::with_capacity(channels.len());
        for (nth, channel) in found.into_iter().enumerate() {
            let Some(channel) = channel else { continue };
            let mut command = Command::queued(
                self.id(),
                CommandId(self.ids().next(now)),
                channel.id,
                uuid.to_owned(),
                body.request_type(),
                bytes.clone(),
                now,
            );
            command.form = form;
            answers[nth] = Enqueued::Queued;
            rows.push((nth, command));
        }
        let parts = rows.chunks(TOGETHER).map(|rows| self.put(rows, wake, now));
        for taken in futures_util::future::try_join_all(parts).await? {
            for nth in taken {
                answers[nth] = Enqueued::Taken;
            }
        }
        let queued = answers.iter().filter(|a| **a == Enqueued::Queued).count();
        if queued > 0 {
            let detail =
                json!({ "uuid": uuid, "request": body.request_type(), "channels": queued });
            let mut batch = Batch::new();
            batch.put(AuditEntry::new(
                self.id(),
                AuditId(self.ids().next(now)),
                now,
                self.actor(),
                "commands.queued",
                None,
                detail,
            ));
            self.store().commit(batch).await?;
        }
        Ok(answers)
    }

    /// The channel of this id on which commands are delivered.
    async fn live(&self, channel: &str) -> Result<Option<Enrollment>, Error> {
        let ask = ChannelAsk {
            organisation: self.id(),
            key: channel.to_owned(),
            depth: Depth::Queue(0),
        };
        let view = self.store().channel(ask).await?;
        let mut newest = view.enrollments.into_iter().rev();
        Ok(newest.find(Enrollment::is_live))
    }

    /// Commits commands, and answers which of them were there already: halved until those stand alone.
    async fn put(
        &self,
        rows: &[(usize, Command)],
        wake: bool,
        now: Timestamp,
    ) -> Result<Vec<usize>, Error> {
        let mut taken = Vec::new();
        let mut parts = vec![rows];
        while let Some(part) = parts.pop() {
            let mut batch = Batch::new();
            for (_, command) in part {
                if wake {
                    let kind = JobKind::Push {
                        enrollment: command.enrollment,
                    };
                    let id = JobId(self.ids().next(now));
                    batch.put(Job::new(self.id(), id, now, kind));
                }
                batch.put(command.clone());
            }
            match self.store().commit(batch).await {
                Ok(()) => {}
                Err(StoreError::Conflict) => match part {
                    [(nth, _)] => taken.push(*nth),
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([first, second]);
                    }
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }
}
