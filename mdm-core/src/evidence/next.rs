//! What to do next about an exception or an attention, in a sentence, by whom it belongs to.

use crate::migration::{Attention, Exception, Owner};

/// The next action for why a person is needed, or for an exception where nothing more is asked.
#[must_use]
pub fn next_action(attention: Option<&Attention>, exception: Option<&Exception>) -> &'static str {
    if let Some(attention) = attention {
        return of_attention(attention);
    }
    exception.map_or("nothing to do", of_exception)
}

const fn of_attention(attention: &Attention) -> &'static str {
    match attention {
        Attention::Blocked => {
            "mend what the check names, or have an approver waive it: `mdmd wave whatif`"
        }
        Attention::SubmitFailed => {
            "read Apple's word in the request, mend it and submit the wave again: `mdmd wave submit`"
        }
        Attention::NotVisible => {
            "compare the three views of the device (`mdmd device show`) and have the lists read: `mdmd business sync`"
        }
        Attention::ProfileNotInForce => {
            "see why the ADE profile is not assigned (`mdmd assignment list`); no prompt comes before it is"
        }
        Attention::OverdueWithoutSignIn => {
            "reach the owner: it is off, offline, or its managed user has not signed in; extend its deadline or end the attempt"
        }
        Attention::CancelUnproved => {
            "look at the device in Apple's portal: it has to stand at the original service"
        }
        Attention::EnrolmentStalled => {
            "look for it among refused and silent devices (`mdmd report unheard`), mend network or chain, and let it try again"
        }
        Attention::NotAwaiting => {
            "have the ADE profile defined anew so that devices wait: `mdmd assignment ade-profile`; look at every member with that profile"
        }
        Attention::HoldLong => {
            "see which step it waits for (`mdmd device show`), mend that or release it: `mdmd hold release`"
        }
        Attention::ReleasedWithoutEvidence => {
            "look at what is missing, and retry the step that brings it"
        }
        Attention::ReleaseUnconfirmed => {
            "have the device woken and on a network; release it once more: `mdmd hold release`"
        }
        Attention::AppleSaysFailed => {
            "have an administrator of the organisation lift the lock that Apple put on it, in the portal; then plan it anew"
        }
        Attention::ProofIncomplete => "look at which check is missing, and retry it",
        Attention::RunbookUnreadable => {
            "mend or restore the runbook: the device was let go without its steps"
        }
        Attention::SilentForDays => "end the attempt, or wait: nothing else can be done from here",
    }
}

const fn of_exception(exception: &Exception) -> &'static str {
    match exception.owner {
        Owner::User => "ask the person at the device",
        Owner::Device => "retry the step once the device speaks; look at its error in the timeline",
        Owner::Network => "mend the network between the device and this server",
        Owner::Original => "have the original service clean up",
        Owner::Apple => "read the device at Apple again; open a case with Apple if it stays",
        Owner::Destination => "mend runbook, profile or certificate here, and retry the step",
        Owner::Licence => "bring in licences of the app, and retry the step",
        Owner::OrganisationAdmin => {
            "have an administrator of the organisation act in Apple's portal"
        }
    }
}
