//! One command for many channels, as a set: few statements, whatever the number. Each channel gets its own answer; one that
//! cannot have the command keeps nobody else from it.

use std::collections::HashSet;

use serde_json::json;

use super::Org;
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::CommandId;
use crate::job::Job;
use crate::queue::{BodyForm, Command};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, ChannelAsk, Depth, Noun, StoreError};
use crate::wire::command::CommandBody;

/// Commands of one batch. Batches that wait at the same time share a transaction.
const TOGETHER: usize = 512;
/// How often parts of one call are handed over anew that came too late.
const AGAIN: u32 = 3;
/// The most channels of one call.
const MOST: usize = 100_000;

/// The most channels of one command that all get or none.
const MOST_TOGETHER: usize = 10_000;
/// Larger ones are for what must not wait: the release of a hold has 100.
const HIGHEST: i32 = 90;

/// A command as it is to be queued.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewCommand {
    /// `CommandUUID`: 1 to 64 letters, digits and `-`; unique in each channel.
    pub uuid: String,
    /// What is asked.
    pub body: CommandBody,
    /// Larger goes first, from -90 to 90.
    pub priority: i32,
    /// Not to be handed out from this moment on.
    pub expires: Option<Timestamp>,
    /// Whether each channel is pushed; otherwise it finds the command when it comes by itself.
    pub wake: bool,
    /// Whether all channels get it or none.
    pub together: bool,
}

impl NewCommand {
    /// A command that wakes each of its channels, and of which each channel gets its own.
    #[must_use]
    pub fn new(uuid: impl Into<String>, body: CommandBody) -> Self {
        Self {
            uuid: uuid.into(),
            body,
            priority: 0,
            expires: None,
            wake: true,
            together: false,
        }
    }

    /// A fresh UUID of the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Crypto`] without randomness.
    pub fn random_uuid() -> Result<String, Error> {
        let mut bytes = [0_u8; 16];
        openssl::rand::rand_bytes(&mut bytes).map_err(|_| Error::Crypto("no randomness"))?;
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        Ok(uuid.hyphenated().to_string().to_ascii_uppercase())
    }

    fn check(&self, channels: usize, now: Timestamp) -> Result<(), Error> {
        let fits = (1..=64).contains(&self.uuid.len())
            && self
                .uuid
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !fits {
            return Err(Error::bad_input(
                "command UUID",
                "must be 1 to 64 letters, digits and '-'",
            ));
        }
        if self.body.request_type().is_empty() {
            return Err(Error::bad_input(
                "command",
                "must have a RequestType, which is text",
            ));
        }
        if !(-HIGHEST..=HIGHEST).contains(&self.priority) {
            return Err(Error::bad_input("priority", "must be from -90 to 90"));
        }
        if self.expires.is_some_and(|end| end <= now) {
            return Err(Error::bad_input("expires", "must lie in the future"));
        }
        let most = if self.together { MOST_TOGETHER } else { MOST };
        if channels > most {
            return Err(Error::bad_input(
                "channels",
                format!("must be at most {most} at once"),
            ));
        }
        Ok(())
    }
}

/// What became of a command for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Enqueued {
    /// It waits in the channel's queue.
    Queued,
    /// There is no such channel, or nothing is delivered on it.
    NotEnrolled,
    /// The channel had a command of this UUID already; that one stays as it is.
    Taken,
    /// It could have it, but another could not, and all were to get it or none.
    Withheld,
}

impl Org {
    /// Queues a command for channels under one UUID, each for itself: [`Org::enqueue`] without anything else said.
    ///
    /// # Errors
    /// As [`Org::enqueue`].
    pub async fn enqueue_many(
        &self,
        channels: &[String],
        uuid: &str,
        body: &CommandBody,
        wake: bool,
    ) -> Result<Vec<Enqueued>, Error> {
        let mut new = NewCommand::new(uuid, body.clone());
        new.wake = wake;
        self.enqueue(channels, &new).await
    }

    /// Queues a command for channels (by their normalised ids: `UDID`, `UDID:UserID`). Answers for each, in the order asked;
    /// a channel that is named twice gets it once, and the second naming is [`Enqueued::Taken`].
    ///
    /// A channel that leaves in the same moment keeps a command that nobody will fetch: it goes with the channel. A command
    /// that all are to get or none rests on every channel's staying as it is.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a command that cannot be queued for anybody (its UUID, priority, expiry, no `RequestType`) or
    /// too many channels; the vault's when the body holds a secret and cannot be sealed; the store's. What was queued before
    /// an error stays queued: asking again with the same UUID answers [`Enqueued::Taken`] for it.
    pub async fn enqueue(
        &self,
        channels: &[String],
        new: &NewCommand,
    ) -> Result<Vec<Enqueued>, Error> {
        let now = self.now();
        new.check(channels.len(), now)?;
        let plain = new.body.encode(&new.uuid).to_vec();
        let (bytes, form) = if new.body.carries_secret() {
            let sealed = self
                .seal_bytes(SecretKind::CommandBody, &Secret::new(plain))
                .await?;
            (sealed, BodyForm::Sealed)
        } else {
            (plain, BodyForm::Plain)
        };
        let made = |channel: &Enrollment| {
            let mut command = Command::queued(
                self.id(),
                CommandId(self.ids().next(now)),
                channel.id,
                new.uuid.clone(),
                new.body.request_type(),
                bytes.clone(),
                now,
            );
            command.form = form;
            command.priority = new.priority;
            command.expires = new.expires;
            command
        };
        if new.together {
            return self
                .again_on_conflict(|| self.enqueue_together(channels, new, &made, now))
                .await;
        }
        let (mut answers, found) = self.find(channels).await?;
        let rows: Vec<(usize, Command)> = found.iter().map(|(n, e)| (*n, made(e))).collect();
        let parts = rows.chunks(TOGETHER).map(|rows| self.put(rows, new, now));
        for taken in futures_util::future::try_join_all(parts).await? {
            for nth in taken {
                answers[nth] = Enqueued::Taken;
            }
        }
        Ok(answers)
    }

    /// The same for all or none: one batch, which rests on every channel.
    async fn enqueue_together(
        &self,
        channels: &[String],
        new: &NewCommand,
        made: &impl Fn(&Enrollment) -> Command,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, Error> {
        let (mut answers, found) = self.find(channels).await?;
        for (nth, channel) in &found {
            let held = self
                .store()
                .command(self.id(), channel.id, &new.uuid)
                .await?;
            if held.is_some() {
                answers[*nth] = Enqueued::Taken;
            }
        }
        if answers.iter().any(|a| *a != Enqueued::Queued) {
            for answer in &mut answers {
                if *answer == Enqueued::Queued {
                    *answer = Enqueued::Withheld;
                }
            }
            return Ok(answers);
        }
        if found.is_empty() {
            return Ok(answers);
        }
        let mut batch = Batch::new();
        for (_, channel) in &found {
            batch.expect(Noun::Enrollment, self.id(), channel.id.0, channel.version);
            self.put_one(&mut batch, &made(channel), new.wake, now);
        }
        batch.put(self.note_queued(new, found.len(), now));
        self.store().commit(batch).await?;
        Ok(answers)
    }

    /// What each channel can expect so far, and those that can have a command, with their places.
    async fn find(
        &self,
        channels: &[String],
    ) -> Result<(Vec<Enqueued>, Vec<(usize, Enrollment)>), Error> {
        let found = channels.iter().map(|channel| self.live(channel));
        let found = futures_util::future::try_join_all(found).await?;
        let mut answers = vec![Enqueued::NotEnrolled; channels.len()];
        let mut places = Vec::with_capacity(channels.len());
        let mut seen = HashSet::with_capacity(channels.len());
        for (nth, channel) in found.into_iter().enumerate() {
            let Some(channel) = channel else { continue };
            if seen.insert(channel.id) {
                answers[nth] = Enqueued::Queued;
                places.push((nth, channel));
            } else {
                answers[nth] = Enqueued::Taken;
            }
        }
        Ok((answers, places))
    }

    fn note_queued(&self, new: &NewCommand, channels: usize, now: Timestamp) -> AuditEntry {
        let detail = json!({
            "uuid": new.uuid, "request": new.body.request_type(), "channels": channels,
        });
        self.entry(now, self.actor(), "commands.queued", None, detail)
    }

    fn put_one(&self, batch: &mut Batch, command: &Command, wake: bool, now: Timestamp) {
        if wake {
            batch.put(Job::push(self.id(), command.enrollment, now));
        }
        batch.put(command.clone());
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

    /// Commits commands, each part with who asked for it, and answers which of them were there already: halved until those stand alone.
    async fn put(
        &self,
        rows: &[(usize, Command)],
        new: &NewCommand,
        now: Timestamp,
    ) -> Result<Vec<usize>, Error> {
        let (mut taken, mut again) = (Vec::new(), AGAIN);
        let mut parts = vec![rows];
        let mut alone = Vec::new();
        while let Some(part) = parts.pop() {
            match self.put_part(part, new, now).await {
                Ok(()) => {}
                Err(StoreError::Conflict) => match part {
                    [(nth, command)] => alone.push((*nth, command.clone())),
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([first, second]);
                    }
                },
                // Nothing of this part was written, and others may be there already: it is handed over anew.
                Err(StoreError::Late) if again > 0 => {
                    again -= 1;
                    parts.push(part);
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (nth, command) in alone {
            if !self.put_alone(command, new, now).await? {
                taken.push(nth);
            }
        }
        Ok(taken)
    }

    /// Commits a command with which something was in conflict: one of its UUID that is there already, or else the number that another
    /// server drew at the same moment as well. Answers whether it was not there.
    async fn put_alone(
        &self,
        mut command: Command,
        new: &NewCommand,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut again = AGAIN;
        loop {
            let (channel, uuid) = (command.enrollment, &command.uuid);
            let held = self.store().command(self.id(), channel, uuid).await?;
            if held.is_some() {
                return Ok(false);
            }
            command.id = CommandId(self.ids().next(now));
            let row = [(0, command.clone())];
            match self.put_part(&row, new, now).await {
                Ok(()) => return Ok(true),
                Err(StoreError::Conflict | StoreError::Late) if again > 0 => again -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One batch: the commands, and who asked for them.
    async fn put_part(
        &self,
        part: &[(usize, Command)],
        new: &NewCommand,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (_, command) in part {
            self.put_one(&mut batch, command, new.wake, now);
        }
        batch.put(self.note_queued(new, part.len(), now));
        self.store().commit(batch).await
    }
}
