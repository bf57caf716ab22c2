//! The command queue of one channel: which command is next, and what a report does to one. Does no IO.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CommandId, EnrollmentId, OrganisationId, SetUpId};
use crate::migration::StepId;
use crate::organisation::Der;

/// A command in a channel's queue.
///
/// <https://developer.apple.com/documentation/devicemanagement/sending-mdm-commands-to-a-device>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Command {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key; the queue's order.
    pub id: CommandId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The channel that it is for.
    pub enrollment: EnrollmentId,
    /// `CommandUUID`: derived from set-up, step, part and try, so that doing it again makes no second command.
    pub uuid: String,
    /// `RequestType`.
    pub request_type: String,
    /// What goes out, in the form that `form` names.
    pub body: Der,
    /// How the body is kept.
    #[serde(default)]
    pub form: BodyForm,
    /// Larger goes first.
    pub priority: i32,
    /// Where it stands.
    pub state: CommandState,
    /// What asked for it.
    pub origin: Option<CommandOrigin>,
    /// When it was queued.
    pub created: Timestamp,
    /// When it was last handed out.
    pub sent: Option<Timestamp>,
    /// When its final report came.
    pub settled: Option<Timestamp>,
    /// Not to be handed out after this moment.
    pub expires: Option<Timestamp>,
    /// The report as it came, secrets redacted.
    pub report: Option<Der>,
    /// How often it was handed out; repeats within one session of the device are not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handed_out: u32,
    /// How often the device put it off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub put_off: u32,
    /// When it last did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_off_at: Option<Timestamp>,
    /// How often the device has asked for another command a while after it was handed this one, without having answered it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unanswered: u32,
    /// It has done so since it was handed this one last.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passed_over: bool,
    /// When it was cancelled or its time was over, where the device, which had it already, answered it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<Timestamp>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(b: &bool) -> bool {
    !*b
}

/// A device that asks for another command so long after it was handed one, and has not answered that, has not done it, or its
/// answer is lost.
const PATIENCE: Duration = Duration::from_mins(2);
/// So often a device may leave a command unanswered before that is more than an answer that got lost, or a battery.
const MUTE: u32 = 3;

/// How a command's body is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BodyForm {
    /// The whole plist as it goes out. Of commands that hold no secret.
    #[default]
    Plain,
    /// The whole plist, sealed.
    Sealed,
    /// The sealed content of a configuration profile; the `InstallProfile` around it is made when it is handed out.
    SealedProfile,
}

/// The step of a set-up that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandOrigin {
    /// The set-up.
    pub set_up: SetUpId,
    /// The step.
    pub step: StepId,
    /// Which of the step's commands.
    pub part: u16,
    /// Which try.
    pub attempt: u16,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol's statuses and our own; decided on everywhere"
)]
pub enum CommandState {
    /// Waits.
    Queued,
    /// Handed out; no final report yet. May be handed out again.
    Sent,
    /// The device cannot run it now.
    NotNow,
    /// Done.
    Acknowledged,
    /// Failed.
    Error,
    /// The device could not read it: never send the same bytes again.
    FormatError,
    /// Taken out of the queue by us.
    Cancelled,
    /// Its time was over before the device had answered it.
    Expired,
}

impl CommandState {
    /// Whether nothing more will come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Acknowledged | Self::Error | Self::FormatError | Self::Cancelled | Self::Expired
        )
    }
}

/// What a device reported of a command, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol's four answers to a command"
)]
pub enum ReportStatus {
    /// Done or accepted.
    Acknowledged,
    /// Failed.
    Error,
    /// Could not be read.
    CommandFormatError,
    /// Not now.
    NotNow,
}

impl Command {
    /// A command that waits.
    #[must_use]
    pub fn queued(
        organisation: OrganisationId,
        id: CommandId,
        enrollment: EnrollmentId,
        uuid: String,
        request_type: &str,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            enrollment,
            uuid,
            request_type: request_type.to_owned(),
            body: Der(body),
            form: BodyForm::Plain,
            priority: 0,
            state: CommandState::Queued,
            origin: None,
            created: now,
            sent: None,
            settled: None,
            expires: None,
            report: None,
            handed_out: 0,
            put_off: 0,
            put_off_at: None,
            unanswered: 0,
            passed_over: false,
            given_up: None,
        }
    }

    /// Marks it as handed out. The same again, before the device has said anything of it, changes nothing.
    pub fn hand_out(&mut self, now: Timestamp) {
        if self.state != CommandState::Sent || self.passed_over {
            self.state = CommandState::Sent;
            self.passed_over = false;
            self.sent = Some(now);
            self.handed_out = self.handed_out.saturating_add(1);
        }
    }

    /// The device asks for another command. One of a step that it was handed a while ago and has not answered gives way to the
    /// others from now on, so that what it cannot answer keeps nothing from it. Those of people and of the library keep their
    /// order: it may have done one whose answer was lost, and what they asked for next is to come after it. Says whether the
    /// device is mute about this one.
    pub fn pass_over(&mut self, now: Timestamp) -> bool {
        let handed = self.state == CommandState::Sent && !self.passed_over;
        if !handed
            || self.origin.is_none()
            || self.sent.is_none_or(|sent| now.since(sent) < PATIENCE)
        {
            return false;
        }
        self.passed_over = true;
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered >= MUTE
    }

    /// Ends it when its time is over; says whether it did.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let over = !self.state.is_final() && self.expires.is_some_and(|end| end <= now);
        if over {
            self.state = CommandState::Expired;
            self.settled = Some(now);
        }
        over
    }

    /// Where it stands in its queue, smaller first; among equals the older goes first. Refused ones come after those that
    /// nobody has refused, so that a session with refusals ends in NotNow and the device comes back by itself; last come those
    /// that the device does not answer.
    #[must_use]
    pub fn turn(&self) -> i64 {
        let behind = match self.state {
            CommandState::NotNow => 1 << 40,
            // What goes first, a release, goes first again as long as only an answer may be lost.
            _ if self.unanswered >= MUTE || self.unanswered > 0 && self.priority <= 0 => 1 << 41,
            _ => 0,
        };
        behind - i64::from(self.priority)
    }
}

/// Applies a report to its command. `None` when it changes nothing: the report came twice, or late. What a device says of a
/// command that it had before we gave it up counts: it may have done it.
#[must_use]
pub fn settle(
    command: &Command,
    status: ReportStatus,
    report: Vec<u8>,
    now: Timestamp,
) -> Option<Command> {
    let mut next = command.clone();
    if command.state.is_final() {
        let given_up = matches!(
            command.state,
            CommandState::Cancelled | CommandState::Expired
        );
        if !given_up || command.sent.is_none() || status == ReportStatus::NotNow {
            return None;
        }
        next.given_up = command.settled;
    }
    match status {
        ReportStatus::NotNow if command.state == CommandState::NotNow => return None,
        ReportStatus::NotNow => {
            // Its place in the queue stays; it is offered again in a later request.
            next.state = CommandState::NotNow;
            next.unanswered = 0;
            next.passed_over = false;
            next.put_off = next.put_off.saturating_add(1);
            next.put_off_at = Some(now);
            return Some(next);
        }
        ReportStatus::Acknowledged => next.state = CommandState::Acknowledged,
        ReportStatus::Error => next.state = CommandState::Error,
        ReportStatus::CommandFormatError => next.state = CommandState::FormatError,
    }
    next.settled = Some(now);
    next.report = Some(Der(report));
    Some(next)
}

/// The command to hand out. After a report of `NotNow` only those that were not refused yet are eligible; otherwise
/// refused ones are eligible again. Priority first, then age.
#[must_use]
pub fn next<'a>(
    open: impl IntoIterator<Item = &'a Command>,
    answering_not_now: bool,
    now: Timestamp,
) -> Option<&'a Command> {
    open.into_iter()
        .filter(|c| !c.state.is_final())
        .filter(|c| c.expires.is_none_or(|end| now < end))
        .filter(|c| !(answering_not_now && c.state == CommandState::NotNow))
        .min_by_key(|c| (c.turn(), c.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: i64, state: CommandState) -> Command {
        let mut c = Command::queued(
            OrganisationId(1),
            CommandId(id),
            EnrollmentId(1),
            format!("u{id}"),
            "DeviceInformation",
            vec![],
            Timestamp::from_millis(0),
        );
        c.state = state;
        c
    }

    #[test]
    fn a_refused_command_is_skipped_in_answer_to_not_now_and_offered_again_later() {
        let open = [
            command(1, CommandState::NotNow),
            command(2, CommandState::Queued),
        ];
        let now = Timestamp::from_millis(5);
        assert_eq!(next(&open, true, now).map(|c| c.id.0), Some(2));
        assert_eq!(next(&open[..1], true, now), None);
        assert_eq!(next(&open[..1], false, now).map(|c| c.id.0), Some(1));
    }

    #[test]
    fn the_same_report_again_changes_nothing() {
        let now = Timestamp::from_millis(5);
        let done = settle(
            &command(1, CommandState::Sent),
            ReportStatus::Acknowledged,
            vec![1],
            now,
        )
        .unwrap();
        assert_eq!(done.state, CommandState::Acknowledged);
        assert_eq!(
            settle(&done, ReportStatus::Acknowledged, vec![1], now),
            None
        );
        assert_eq!(settle(&done, ReportStatus::NotNow, vec![], now), None);
    }

    #[test]
    fn the_answer_to_a_command_that_was_given_up_counts_if_the_device_had_it() {
        let (then, now) = (Timestamp::from_millis(3), Timestamp::from_millis(5));
        for state in [CommandState::Cancelled, CommandState::Expired] {
            let mut given_up = command(1, state);
            given_up.settled = Some(then);
            let says = |c: &Command, status| settle(c, status, vec![1], now);
            assert_eq!(says(&given_up, ReportStatus::Acknowledged), None, "unseen");
            given_up.sent = Some(Timestamp::from_millis(1));
            assert_eq!(says(&given_up, ReportStatus::NotNow), None);
            let done = says(&given_up, ReportStatus::Error).unwrap();
            assert_eq!(
                (done.state, done.settled, done.given_up),
                (CommandState::Error, Some(now), Some(then))
            );
            assert_eq!(done.report, Some(Der(vec![1])));
            assert_eq!(says(&done, ReportStatus::Acknowledged), None, "once");
        }
    }

    #[test]
    fn an_expired_command_is_not_handed_out() {
        let mut c = command(1, CommandState::Queued);
        c.expires = Some(Timestamp::from_millis(5));
        assert_eq!(
            next(std::slice::from_ref(&c), false, Timestamp::from_millis(4)).map(|c| c.id.0),
            Some(1)
        );
        assert_eq!(
            next(std::slice::from_ref(&c), false, Timestamp::from_millis(5)),
            None
        );
        assert!(!c.expire(Timestamp::from_millis(4)));
        assert!(c.expire(Timestamp::from_millis(5)) && c.state.is_final());
        assert!(!c.expire(Timestamp::from_millis(6)));
    }

    #[test]
    fn what_a_device_leaves_unanswered_gives_way_and_says_so_when_it_happens_again_and_again() {
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        let mut c = command(1, CommandState::Queued);
        // What people asked for stays before what they asked for next: the answer alone may be lost.
        c.hand_out(at(0));
        assert!(!c.pass_over(at(500)) && c.unanswered == 0);
        c = command(1, CommandState::Queued);
        c.origin = Some(CommandOrigin {
            set_up: crate::ids::SetUpId(1),
            step: crate::migration::StepId::Apps,
            part: 0,
            attempt: 1,
        });
        assert!(!c.pass_over(at(500)), "nobody has it");
        let others = [command(2, CommandState::Queued)];
        let mut mute = Vec::new();
        for round in 0..4_i64 {
            c.hand_out(at(round * 1_000));
            // Asked again at once, it was only slow.
            assert!(!c.pass_over(at(round * 1_000 + 119)));
            mute.push(c.pass_over(at(round * 1_000 + 120)));
            assert!(!c.pass_over(at(round * 1_000 + 900)), "once each time");
            let all = [c.clone(), others[0].clone()];
            assert_eq!(next(&all, false, at(0)).map(|c| c.id.0), Some(2));
        }
        assert_eq!(mute, [false, false, true, true]);
        assert_eq!((c.unanswered, c.handed_out), (4, 4));
        assert_eq!(next([&c], false, at(0)).map(|c| c.id.0), Some(1));
        // A release stays the first until it is more than one answer that got lost.
        let mut release = c.clone();
        (release.priority, release.unanswered) = (100, 2);
        assert!(release.turn() < others[0].turn());
        release.unanswered = 3;
        assert!(release.turn() > others[0].turn());
        // Behind those that it answers, if only with NotNow; a NotNow is an answer.
        let refused = command(3, CommandState::NotNow);
        assert!(refused.turn() < c.turn());
        let c = settle(&c, ReportStatus::NotNow, vec![], at(9_000)).unwrap();
        assert_eq!(c.turn(), refused.turn());
    }

    #[test]
    fn what_a_device_puts_off_is_counted() {
        let mut c = command(1, CommandState::Queued);
        for times in 1..4 {
            let now = Timestamp::from_millis(times.into());
            c.hand_out(now);
            c.hand_out(now);
            c = settle(&c, ReportStatus::NotNow, vec![], now).unwrap();
            assert_eq!(
                (c.handed_out, c.put_off, c.put_off_at),
                (times, times, Some(now))
            );
            assert_eq!(settle(&c, ReportStatus::NotNow, vec![], now), None);
        }
    }
}
