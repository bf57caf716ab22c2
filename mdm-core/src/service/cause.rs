//! What an event shows, for the record: where what it says comes from, and what to look up. No content of a device, which may be
//! anything, and none that is secret: an answer is named by its command.

use serde_json::{Value, json};

use super::decision::{command_uuid, name_of};
use crate::migration::{Event, SetUp, Told};

/// The evidence of a transition that this event has caused.
pub(super) fn evidence(event: &Event, set_up: Option<&SetUp>) -> Value {
    match event {
        Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        } => {
            let mut shown = json!({
                "command": set_up.map(|s| command_uuid(s, *step, *part, *attempt)),
                "step": step, "status": status,
            });
            if let Told::Failure { why } = told {
                shown["why"] = why.as_str().into();
            }
            shown
        }
        Event::OrgTold { reading, .. } => json!({
            "source": "organisation API", "read": reading.seen, "server": reading.assigned_server,
            "status": reading.status, "deadline": reading.deadline,
        }),
        Event::AssignmentTold {
            ours,
            profile_in_force,
            deadline,
        } => json!({
            "source": "assignment service", "listed": ours, "profile_in_force": profile_in_force,
            "deadline": deadline,
        }),
        Event::ActivityPosted { activity } => {
            json!({ "source": "organisation API", "activity": activity })
        }
        Event::SubmitRefused { why } => json!({ "source": "organisation API", "why": why }),
        Event::Enrolled {
            awaiting,
            profile_awaits,
        } => json!({
            "message": "TokenUpdate", "awaiting": awaiting, "profile_awaits": profile_awaits,
        }),
        Event::UserEnrolled => json!({ "message": "TokenUpdate of a user" }),
        Event::BootstrapTokenStored => json!({ "message": "SetBootstrapToken" }),
        Event::CheckedOut => json!({ "message": "CheckOut" }),
        Event::ProfileFetched => json!({ "message": "the device asked for its enrolment profile" }),
        Event::Superseded => json!({ "message": "a later enrolment of the same device" }),
        Event::StatusReported { unmet } => json!({ "message": "status report", "unmet": unmet }),
        Event::AppsDeclared { readings } => {
            json!({ "message": "status report", "apps": readings.len() })
        }
        Event::AwaitingTold { awaiting } => {
            json!({ "message": "the device says whether it waits", "awaiting": awaiting })
        }
        Event::BeforeRelease => json!({ "message": "the device asks for its next command" }),
        Event::Unanswered {
            step,
            part,
            attempt,
        } => json!({
            "message": "the device asks for other commands and does not answer this one",
            "step": step, "part": part, "attempt": attempt,
        }),
        Event::Checked { blockers } => json!({ "source": "what-if", "blockers": blockers }),
        Event::Accepted => json!({ "source": "acceptance of the what-if" }),
        Event::SubmitAsked { deadline } | Event::DeadlineMoved { deadline } => {
            json!({ "source": "a person's act", "deadline": deadline })
        }
        Event::CancelAsked | Event::WithdrawAsked => json!({ "source": "a person's act" }),
        Event::GivenUp { why } => json!({ "source": "a person's act", "why": why }),
        Event::DeadlineStays { deadline } => {
            json!({ "source": "organisation API", "deadline": deadline })
        }
        Event::SetUpChanged { set_up, phase } => {
            json!({ "set_up": set_up, "phase": name_of(phase) })
        }
        Event::LockAnswered { answer } => {
            json!({ "source": "assignment service", "answer": answer })
        }
        Event::Told { notice } => json!({ "notice": notice }),
        Event::EffectFailed { effect, why } => json!({ "effect": name_of(effect), "why": why }),
        // The moment was set when the state was entered.
        Event::Woke => json!({ "timer": set_up.and_then(|s| s.wake_at) }),
        Event::Operator(act) => json!({ "source": "a person's act", "act": act }),
    }
}
