//! Webhooks: whom a program wants to be told of what becomes of devices, and what is to be told. Every message is a row of the
//! same batch as its cause, and stays open until the receiver has taken it. Holds no secret, only references to sealed ones.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{DeviceId, HookId, HookMessageId, MoveId, OrganisationId, Serial, WaveId};
use crate::migration::Notice;
use crate::organisation::Der;

/// For how long an earlier secret signs too, once there is a new one.
pub const OVERLAP: Duration = Duration::from_hours(24);
/// A receiver that has taken nothing for so long is told nothing more until somebody switches it on again.
pub const PATIENCE: Duration = Duration::from_hours(5 * 24);
/// A message that is older goes no more: with the next answer that is no, or at once to a receiver that is off.
pub const GIVEN_UP: Duration = Duration::from_hours(10 * 24);
/// Longest wait between two tries of one message.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(6);
/// Longest wait between two tries of a receiver that does not answer, or fails, whatever it is to be told.
pub(crate) const LONGEST_HOLD_OFF: Duration = Duration::from_mins(15);

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hook {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: HookId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it; unique among those that are not removed.
    pub name: String,
    /// Where messages go.
    pub url: String,
    /// Of what it is told; empty is all.
    pub notices: BTreeSet<Notice>,
    /// The secret that signs, sealed.
    pub secret: Der,
    /// An earlier one, and until when it signs too.
    pub earlier: Option<(Der, Timestamp)>,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it is off, and why.
    pub off: Option<Off>,
    /// When it was removed.
    pub removed: Option<Timestamp>,
    /// Since when it has taken nothing.
    pub failing_since: Option<Timestamp>,
    /// What it last answered when it did not take a message: a status, or why there was no answer.
    pub trouble: Option<String>,
    /// When it last took a message.
    pub taken: Option<Timestamp>,
    /// How often in a row it did not answer, or failed.
    #[serde(default)]
    pub silences: u32,
    /// Until then it is asked by nobody: one message at a time finds out whether it answers again.
    #[serde(default)]
    pub held_off: Option<Timestamp>,
}

/// Since when a receiver is told nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a moment and a sentence")]
pub struct Off {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub why: String,
    /// Nobody said so: it had taken nothing for too long. What happens meanwhile is kept for it, as far as messages are kept.
    #[serde(default)]
    pub by_itself: bool,
}

impl Hook {
    /// A new one, on.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: HookId,
        name: &str,
        url: &str,
        notices: BTreeSet<Notice>,
        secret: Vec<u8>,
        created: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            url: url.to_owned(),
            notices,
            secret: Der(secret),
            earlier: None,
            created,
            off: None,
            removed: None,
            failing_since: None,
            trouble: None,
            taken: None,
            silences: 0,
            held_off: None,
        }
    }

    /// Until when it is asked by nobody. Further away than any wait, that was said before the clock was set back.
    #[must_use]
    pub fn is_held_off(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_off
            .filter(|until| *until > now && *until <= now + LONGEST_HOLD_OFF)
    }

    /// It did not answer, or failed: later than that it is asked again. Those that were on their way beside this one say nothing new.
    pub(crate) fn was_silent(&mut self, now: Timestamp) {
        if self.is_held_off(now).is_none() {
            self.silences = self.silences.saturating_add(1);
            self.held_off = Some(now + wait(self.silences).min(LONGEST_HOLD_OFF));
        }
    }

    /// Whether messages go to it.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.off.is_none() && self.removed.is_none()
    }

    /// Whether what happens is written down for it: while it is on, and while nobody but its own silence has switched it off.
    #[must_use]
    pub fn is_kept_for(&self) -> bool {
        self.removed.is_none() && self.off.as_ref().is_none_or(|off| off.by_itself)
    }

    /// Whether it wants to be told of this.
    #[must_use]
    pub fn wants(&self, notice: Notice) -> bool {
        self.notices.is_empty() || self.notices.contains(&notice)
    }
}

/// What every decision must know of a receiver for which messages are written: part of the organisation's own row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a key and a wish")]
pub struct HookOn {
    /// Which.
    pub id: HookId,
    /// Of what it is told; empty is all.
    pub notices: BTreeSet<Notice>,
}

impl HookOn {
    /// Whether it wants to be told of this.
    #[must_use]
    pub fn wants(&self, notice: Notice) -> bool {
        self.notices.is_empty() || self.notices.contains(&notice)
    }
}

/// Something to be told to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HookMessage {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key; ascends, and messages of one device go in this order.
    pub id: HookMessageId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// To whom.
    pub hook: HookId,
    /// About which device.
    pub device: DeviceId,
    /// Its serial number.
    pub serial: Serial,
    /// What happened.
    pub notice: Notice,
    /// When.
    pub at: Timestamp,
    /// The attempt that it belongs to.
    pub attempt: Option<MoveId>,
    /// The wave of that attempt.
    pub wave: Option<WaveId>,
    /// The deadline of that attempt.
    pub deadline: Option<Timestamp>,
    /// It is not sent before.
    pub due: Timestamp,
    /// How often it was sent without being taken.
    pub tries: u32,
    /// What the receiver last answered, or why there was no answer.
    pub trouble: Option<String>,
    /// When it was taken, or given up.
    pub over: Option<Timestamp>,
    /// It was taken.
    pub taken: bool,
}

impl HookMessage {
    /// A new one, due at once.
    #[must_use]
    pub const fn new(
        organisation: OrganisationId,
        id: HookMessageId,
        hook: HookId,
        device: DeviceId,
        serial: Serial,
        notice: Notice,
        at: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            hook,
            device,
            serial,
            notice,
            at,
            attempt: None,
            wave: None,
            deadline: None,
            due: at,
            tries: 0,
            trouble: None,
            over: None,
            taken: false,
        }
    }

    /// Its name for the receiver: the same however often it comes.
    #[must_use]
    pub fn name(&self) -> String {
        format!("msg_{}_{}", self.hook, self.id)
    }

    /// What the receiver reads.
    #[must_use]
    pub fn body(&self) -> serde_json::Value {
        serde_json::json!({
            "type": format!("device.{}", self.notice.as_str()),
            "timestamp": self.at,
            "data": {
                "serial": self.serial,
                "device": self.device,
                "attempt": self.attempt,
                "wave": self.wave,
                "deadline": self.deadline,
            },
        })
    }

    /// It was not taken: when it is sent again.
    pub fn failed(&mut self, now: Timestamp, trouble: &str) {
        self.tries += 1;
        self.trouble = Some(trouble.chars().take(200).collect());
        self.due = now + wait(self.tries);
    }

    /// Whether it was tried for long enough.
    #[must_use]
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.since(self.at) > GIVEN_UP
    }

    /// It goes no more: taken, or given up with a reason.
    pub fn end(&mut self, now: Timestamp, given_up: Option<&str>) {
        self.over = Some(now);
        self.taken = given_up.is_none();
        if let Some(why) = given_up {
            self.trouble = Some(why.to_owned());
        }
    }
}

/// Five seconds after the first failure, then twice as long each time.
fn wait(tries: u32) -> Duration {
    let seconds = 5_u64 << tries.saturating_sub(1).min(16);
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

/// Checks where messages are to go: `https`, or `http` for receivers in networks that the installation allows.
///
/// # Errors
/// [`Error::BadInput`] says what would be right; the address is not repeated.
pub fn check_url(url: &str) -> Result<(), Error> {
    let bad = |problem: &str| Err(Error::bad_input("url", problem));
    let Some((scheme, rest)) = url.split_once("://") else {
        return bad("must begin with https://");
    };
    if scheme != "https" && scheme != "http" {
        return bad("must begin with https://");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return bad("must name a host");
    }
    if authority.contains('@') {
        return bad("must not hold a name or a password");
    }
    if url.len() > 2_000 || url.contains('#') || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return bad("must be an address of at most 2000 characters, without a fragment");
    }
    Ok(())
}

/// The text that is signed: message, moment and body.
#[must_use]
pub fn signed_text(name: &str, at: Timestamp, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{name}.{}.", at.as_secs()).into_bytes();
    text.extend_from_slice(body);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_at_six_hours() {
        let waits: Vec<u64> = [1, 2, 3, 10, 13, 14, 40].map(|n| wait(n).as_secs()).into();
        assert_eq!(waits, [5, 10, 20, 2560, 20_480, 21_600, 21_600]);
    }

    #[test]
    fn addresses_that_lead_elsewhere_are_refused() {
        for (url, fits) in [
            ("https://hooks.example.com/in?x=1", true),
            ("http://10.0.0.7:8080/", true),
            ("ftp://example.com/", false),
            ("https:///path", false),
            ("https://user:word@example.com/", false),
            ("https://example.com/#part", false),
            ("https://example.com/a b", false),
            ("example.com", false),
        ] {
            assert_eq!(check_url(url).is_ok(), fits, "{url}");
        }
    }
}
