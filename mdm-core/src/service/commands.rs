//! The queue as people see it: whose channel is meant, which commands it has, what a device said to one, and taking commands
//! out again. Shows no secret: a sealed request stays sealed, and of answers what was stored, from which secrets were lifted.

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::json;

use super::Org;
use super::checkin::readable;
use crate::clock::Timestamp;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::{CommandId, EnrollmentId, Serial};
use crate::queue::{BodyForm, Command, CommandOrigin, CommandState};
use crate::store::{Batch, Write};
use crate::wire::json::of_dictionary;
use crate::wire::plist::{REPORT_LIMIT, read_dictionary};
use crate::wire::report::CommandReport;

/// Reads of single rows under way at once.
const AT_ONCE: usize = 64;
/// Commands of one look at a queue that is emptied.
const PAGE: u32 = 1_000;
/// From here on a command is one that must not wait: the release of a hold.
const OURS: i32 = 100;

/// A command as a list shows it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CommandSummary {
    /// Its key: of the commands of a channel the newest has the largest.
    pub id: CommandId,
    /// `CommandUUID`.
    pub uuid: String,
    /// `RequestType`.
    pub request_type: String,
    /// Where it stands.
    pub state: CommandState,
    /// Larger goes first.
    pub priority: i32,
    /// When it was queued.
    pub created: Timestamp,
    /// When it was last handed out.
    pub sent: Option<Timestamp>,
    /// How often it was handed out.
    pub handed_out: u32,
    /// How often the device put it off (NotNow).
    pub put_off: u32,
    /// When it last did.
    pub put_off_at: Option<Timestamp>,
    /// How often the device asked for another command a while later, and had not answered this one: from the first time on it
    /// gives way to the others.
    pub unanswered: u32,
    /// When its final report came, or when it was cancelled.
    pub settled: Option<Timestamp>,
    /// When it was cancelled or its time was over, where the device, which had it already, answered it all the same.
    pub given_up: Option<Timestamp>,
    /// Not to be handed out from this moment on.
    pub expires: Option<Timestamp>,
    /// The step of a set-up that asked for it; such a command cannot be cancelled by people.
    pub origin: Option<CommandOrigin>,
    /// What the device gave as the reason of a failure, the outermost first.
    pub errors: Vec<String>,
}

/// A command with what was asked and answered.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CommandDetail {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: CommandSummary,
    /// The request as JSON; `None` when it may hold a secret and is therefore sealed.
    pub request: Option<serde_json::Value>,
    /// The report as JSON, with a mark in the place of each secret.
    pub report: Option<serde_json::Value>,
}

/// Which open commands of a channel are taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one, some, all")]
pub enum Cancel {
    /// The one with this UUID.
    Uuid(String),
    /// Those of this `RequestType`.
    RequestType(String),
    /// All.
    All,
}

/// What was taken out of a channel's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Cancelled {
    /// Commands that no device has seen, or that it has put off.
    pub waiting: u32,
    /// Commands that were handed out and not answered: the device may have done them all the same.
    pub handed_out: u32,
    /// Commands that stay: a set-up asked for them and decides about them.
    pub kept: u32,
}

impl CommandSummary {
    fn of(command: &Command) -> Self {
        let failed = matches!(
            command.state,
            CommandState::Error | CommandState::FormatError
        );
        let report = command.report.as_ref().filter(|_| failed);
        let report = report.and_then(|report| CommandReport::parse(&report.0).ok());
        let errors = report.into_iter().flat_map(|r| r.error_chain);
        Self {
            id: command.id,
            uuid: command.uuid.clone(),
            request_type: command.request_type.clone(),
            state: command.state,
            priority: command.priority,
            created: command.created,
            sent: command.sent,
            handed_out: command.handed_out,
            put_off: command.put_off,
            put_off_at: command.put_off_at,
            unanswered: command.unanswered,
            settled: command.settled,
            given_up: command.given_up,
            expires: command.expires,
            origin: command.origin.clone(),
            errors: errors
                .map(|e| format!("{} {}: {}", e.domain, e.code, e.description))
                .collect(),
        }
    }
}

impl Cancel {
    fn means(&self, command: &Command) -> bool {
        match self {
            Self::Uuid(uuid) => command.uuid == *uuid,
            Self::RequestType(kind) => command.request_type == *kind,
            Self::All => true,
        }
    }
}

impl Org {
    /// The device channels of serial numbers, in their order; `None` for a device that is unknown or not enrolled.
    ///
    /// # Errors
    /// The store's.
    pub async fn channels_of(&self, serials: &[Serial]) -> Result<Vec<Option<String>>, Error> {
        let mut devices = std::collections::HashMap::new();
        for some in serials.chunks(5_000) {
            let found = self.store().devices_by_serial(self.id(), some).await?;
            devices.extend(found.into_iter().map(|d| (d.serial, d.enrollment)));
        }
        let asked = serials
            .iter()
            .map(|s| devices.get(s).copied().flatten())
            .map(|enrollment| async move {
                match enrollment {
                    Some(id) => self.store().enrollment(self.id(), id).await,
                    None => Ok(None),
                }
            });
        let found: Vec<Option<Enrollment>> = futures_util::stream::iter(asked.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().map(|e| e.map(|e| e.key)).collect())
    }

    /// Commands of a channel: open ones in the order in which they go out, or all, newest first. At most `limit`.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a channel that is not known, the store's.
    pub async fn commands(
        &self,
        channel: &str,
        open: bool,
        limit: u32,
    ) -> Result<Vec<CommandSummary>, Error> {
        if !open {
            let newest = CommandId(i64::MAX);
            return self.commands_before(channel, newest, limit).await;
        }
        let id = self.channel_of(channel).await?;
        let rows = self.store().open_commands(self.id(), id, limit).await?;
        Ok(rows.iter().map(CommandSummary::of).collect())
    }

    /// Commands of a channel with smaller keys than `before`, newest first. At most `limit`.
    ///
    /// # Errors
    /// As [`Org::commands`].
    pub async fn commands_before(
        &self,
        channel: &str,
        before: CommandId,
        limit: u32,
    ) -> Result<Vec<CommandSummary>, Error> {
        let id = self.channel_of(channel).await?;
        let rows = self.store().commands(self.id(), id, before, limit).await?;
        Ok(rows.iter().map(CommandSummary::of).collect())
    }

    /// One command of a channel, with what was asked and answered.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn command(&self, channel: &str, uuid: &str) -> Result<CommandDetail, Error> {
        let id = self.channel_of(channel).await?;
        let row = self.store().command(self.id(), id, uuid).await?;
        let row = row.ok_or(Error::NotFound("command of this channel"))?;
        let shown = |bytes: &[u8]| {
            let read = read_dictionary(bytes, REPORT_LIMIT).ok()?;
            Some(of_dictionary(&read))
        };
        let request = match row.form {
            BodyForm::Plain => shown(&row.body.0),
            BodyForm::Sealed | BodyForm::SealedProfile => None,
        };
        Ok(CommandDetail {
            request,
            report: row.report.as_ref().and_then(|report| shown(&report.0)),
            summary: CommandSummary::of(&row),
        })
    }

    /// Takes open commands out of the queues of channels. Answers for each, in the order asked; `None` for a channel that is
    /// not known. What a set-up asked for stays, above all the release of a hold. Again does no harm.
    ///
    /// # Errors
    /// The store's. What was taken out before an error stays out.
    pub async fn cancel_commands(
        &self,
        channels: &[String],
        which: &Cancel,
    ) -> Result<Vec<Option<Cancelled>>, Error> {
        let each = channels.iter().map(|channel| async move {
            let id = match self.channel_of(channel).await {
                Ok(id) => id,
                Err(Error::NotFound(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut all = Cancelled::default();
            let mut more = true;
            while more {
                let decide = || self.cancel_some(id, which);
                let (some, again) = self.again_on_conflict(decide).await?;
                all.waiting += some.waiting;
                all.handed_out += some.handed_out;
                all.kept = some.kept;
                more = again;
            }
            Ok(Some(all))
        });
        futures_util::stream::iter(each.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The first page of an open queue; answers whether there may be more to take out behind it.
    async fn cancel_some(
        &self,
        channel: EnrollmentId,
        which: &Cancel,
    ) -> Result<(Cancelled, bool), Error> {
        let now = self.now();
        let open = match which {
            Cancel::Uuid(uuid) => {
                let found = self.store().command(self.id(), channel, uuid).await?;
                found.into_iter().collect()
            }
            _ => self.store().open_commands(self.id(), channel, PAGE).await?,
        };
        let full = open.len() >= PAGE as usize;
        let mut done = Cancelled::default();
        let mut batch = Batch::new();
        let meant = |c: &Command| which.means(c) && !c.state.is_final();
        for mut command in open.into_iter().filter(meant) {
            if command.origin.is_some() || command.priority >= OURS {
                done.kept += 1;
                continue;
            }
            if command.state == CommandState::Sent {
                done.handed_out += 1;
            } else {
                done.waiting += 1;
            }
            command.state = CommandState::Cancelled;
            command.settled = Some(now);
            batch.put(command);
        }
        let taken = done.waiting + done.handed_out;
        if taken > 0 {
            let enrollment = self.store().enrollment(self.id(), channel).await?;
            self.note_not_given(&mut batch, enrollment.as_ref()).await?;
            let which = match which {
                Cancel::Uuid(uuid) => json!({ "uuid": uuid }),
                Cancel::RequestType(kind) => json!({ "request": kind }),
                Cancel::All => json!("all"),
            };
            batch.put(self.entry(
                now,
                self.actor(),
                "commands.cancelled",
                enrollment.and_then(|e| e.device),
                json!({ "enrolment": channel, "which": which, "commands": taken }),
            ));
            self.store().commit(batch).await?;
        }
        Ok((done, full && taken > 0))
    }

    /// What the library has queued and a person takes out is not given.
    async fn note_not_given(
        &self,
        batch: &mut Batch,
        enrollment: Option<&Enrollment>,
    ) -> Result<(), Error> {
        let Some(device) = enrollment.and_then(|e| e.device) else {
            return Ok(());
        };
        let taken: Vec<String> = batch
            .writes
            .iter()
            .filter_map(|write| match write {
                Write::Command(command) => Some(command.uuid.clone()),
                _ => None,
            })
            .collect();
        let found = readable(self.store().device(self.id(), device).await)?;
        let Some(mut device) = found else {
            return Ok(());
        };
        let mut any = false;
        for given in &mut device.given {
            if given.failed.is_none() && taken.contains(&given.command) {
                given.failed = Some("its command was cancelled".to_owned());
                any = true;
            }
        }
        if any {
            batch.put(device);
        }
        Ok(())
    }

    /// The newest enrolment of a channel that no later one has replaced.
    async fn channel_of(&self, channel: &str) -> Result<EnrollmentId, Error> {
        let all = self.store().enrollments_by_key(self.id(), channel).await?;
        let live = all.iter().rev().find(|e| e.is_live());
        live.or(all.last())
            .map(|e| e.id)
            .ok_or(Error::NotFound("channel"))
    }
}
