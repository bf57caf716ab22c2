//! Work that the service does later, and when to ask for it. Reads no clock.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer;
use crate::open_enum::open_enum;

open_enum! {
    /// How far an event has come.
    pub enum EventState {
        /// Under way.
        Pending = "PENDING",
        /// Done; see whether all of it.
        Complete = "COMPLETE",
        /// Failed, wholly or in part.
        Failed = "FAILED",
    }
}

open_enum! {
    /// What an event does.
    pub enum EventType {
        /// Gives licences.
        Associate = "ASSOCIATE",
        /// Takes licences.
        Disassociate = "DISASSOCIATE",
        /// Takes all licences.
        Revoke = "REVOKE",
        /// Makes users.
        Create = "CREATE",
        /// Changes users.
        Update = "UPDATE",
        /// Retires users.
        Retire = "RETIRE",
    }
}

/// How far an event has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventStatus {
    /// How far.
    #[serde(rename = "eventStatus")]
    pub status: EventState,
    /// What it does.
    #[serde(default)]
    pub event_type: Option<EventType>,
    /// How many single tasks it has.
    #[serde(default)]
    pub num_requested: Option<u64>,
    /// How many are done.
    #[serde(default)]
    pub num_completed: Option<u64>,
    /// What failed.
    #[serde(default, deserialize_with = "answer::null_is_default")]
    pub failures: Vec<EventFailure>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl EventStatus {
    /// Whether every single task was done.
    #[must_use]
    pub fn is_wholly_done(&self) -> bool {
        let all = match (self.num_requested, self.num_completed) {
            (Some(requested), Some(completed)) => completed >= requested,
            _ => true,
        };
        self.status == EventState::Complete && self.failures.is_empty() && all
    }
}

/// One kind of failure within an event.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventFailure {
    /// Its number; see [`meaning`](super::meaning). Decide by it, never by the text.
    pub error_number: Option<i64>,
    /// Apple's text.
    pub error_message: Option<String>,
    /// Which assets, devices and users it is about.
    pub error_info: Option<FailureInfo>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a failure is about.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct FailureInfo {
    /// Products.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub assets: Vec<Value>,
    /// Devices.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub serial_numbers: Vec<String>,
    /// Users.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub client_user_ids: Vec<String>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What to do about an event that is not known to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowUp {
    /// Nothing before this time (milliseconds since 1970); a notification may come earlier.
    WaitUntil(i64),
    /// Ask for its status.
    Ask,
    /// Send the request again: it does no harm, and this one will not come to an end.
    SendAgain,
}

/// First question after this time.
const FIRST_MS: i64 = 5 * 60 * 1000;
/// Time between questions.
const BETWEEN_MS: i64 = 30 * 1000;
/// Given up after this time.
const GIVEN_UP_MS: i64 = 10 * 60 * 1000;

/// When to ask for an event that was sent at `sent_ms` and last asked for at `asked_ms`: first after five minutes, then
/// every half minute, until ten minutes have passed and an answer has still said `PENDING`.
#[must_use]
pub fn follow_up(sent_ms: i64, asked_ms: Option<i64>, now_ms: i64) -> FollowUp {
    let given_up = sent_ms.saturating_add(GIVEN_UP_MS);
    if asked_ms.is_some_and(|asked| asked >= given_up) {
        return FollowUp::SendAgain;
    }
    let next = match asked_ms {
        None => sent_ms.saturating_add(FIRST_MS),
        Some(asked) => asked.saturating_add(BETWEEN_MS),
    };
    if now_ms >= next {
        FollowUp::Ask
    } else {
        FollowUp::WaitUntil(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_asked_for_in_time_and_given_up_in_time() {
        let (mut now, mut asked, mut questions) = (0, None, 0);
        loop {
            match follow_up(0, asked, now) {
                FollowUp::WaitUntil(at) => {
                    assert!(at > now, "a wait moves forward");
                    now = at;
                }
                FollowUp::Ask => {
                    questions += 1;
                    asked = Some(now);
                }
                FollowUp::SendAgain => break,
            }
        }
        assert_eq!((now, questions), (600_000, 11));
    }

    #[test]
    fn done_means_every_single_task() {
        let read = |text: &str| serde_json::from_str::<EventStatus>(text).expect("a status");
        assert!(
            read(r#"{"eventStatus":"COMPLETE","numRequested":5,"numCompleted":5,"failures":null}"#)
                .is_wholly_done()
        );
        assert!(
            !read(r#"{"eventStatus":"COMPLETE","numRequested":5,"numCompleted":4}"#)
                .is_wholly_done()
        );
        assert!(!read(r#"{"eventStatus":"PENDING"}"#).is_wholly_done());
        let failed = read(
            r#"{"eventStatus":"FAILED","eventType":"ASSOCIATE","failures":[{"errorNumber":9709,"errorInfo":{"serialNumbers":["S1"]}}]}"#,
        );
        assert_eq!(failed.failures[0].error_number, Some(9709));
        assert_eq!(
            failed.failures[0]
                .error_info
                .as_ref()
                .map(|info| info.serial_numbers.len()),
            Some(1)
        );
    }
}
