//! What to do next about an exception or an attention, in a sentence, by whom it belongs to and by what can still be done: a step
//! begins again only while the set-up of its device is under way.

use crate::migration::{Attention, Exception, Owner, StepId};

/// The next action for why a person is needed, or for an exception where nothing more is asked. `under_way`: the set-up of the
/// device has not ended.
#[must_use]
pub fn next_action(
    attention: Option<&Attention>,
    exception: Option<&Exception>,
    under_way: bool,
) -> &'static str {
    if let Some(attention) = attention {
        return of_attention(attention, under_way);
    }
    match exception {
        Some(exception) if under_way && is_step(exception) => of_open(exception),
        Some(exception) => of_ended(exception),
        None => "nothing to do",
    }
}

const fn of_attention(attention: &Attention, under_way: bool) -> &'static str {
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
            "reach the owner: it is off, offline, or its managed user has not signed in; extend its deadline (`mdmd wave extend`) or call it back (`mdmd migration cancel`)"
        }
        Attention::CancelUnproved => {
            "look at the device in Apple's portal: it has to stand at the original service; where it never will, give it up: `mdmd device give-up`"
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
        Attention::ReleasedWithoutEvidence | Attention::ProofIncomplete if under_way => {
            "look at what is missing (`mdmd device show`), and begin the step that brings it again: `mdmd device retry-step`"
        }
        Attention::ReleasedWithoutEvidence | Attention::ProofIncomplete => LOOK,
        Attention::ReleaseUnconfirmed => {
            "have the device woken and on a network; release it once more: `mdmd hold release`"
        }
        Attention::AppleSaysFailed => {
            "have an administrator of the organisation lift the lock that Apple put on it, in the portal, unless it was only cancelled there; then plan it anew"
        }
        Attention::RunbookUnreadable => {
            "mend or restore the runbook: the device was let go without its steps"
        }
        Attention::SilentForDays => {
            "have it found and switched on, or give it up: `mdmd device give-up`"
        }
    }
}

const LOOK: &str = "no step of it begins again: see what is missing (`mdmd device show`), and bring it by library, declaration or command";

/// The step that it is about, or the record's own word, and the part of it that is named.
fn parts(exception: &Exception) -> (&str, &str) {
    let what = exception.what.as_str();
    what.split_once(": ").unwrap_or((what, ""))
}

fn is_step(exception: &Exception) -> bool {
    let (step, _) = parts(exception);
    StepId::ALL.iter().any(|id| id.as_str() == step)
}

/// While steps can begin again.
fn of_open(exception: &Exception) -> &'static str {
    if parts(exception).0 == StepId::AppsKeep.as_str() {
        return "while it is in its hold, begin the step again: `mdmd device retry-step`; afterwards install the app again: `mdmd command send --request InstallApplication`; its data does not come back";
    }
    match exception.owner {
        Owner::Device => {
            "see its error in the timeline (`mdmd device show --timeline`); once the device speaks, begin the step again: `mdmd device retry-step`"
        }
        Owner::Destination => {
            "mend runbook, profile or certificate here, and begin the step again: `mdmd device retry-step`"
        }
        Owner::Licence => {
            "bring in licences of the app (`mdmd licences assign`), and begin the step again: `mdmd device retry-step`"
        }
        owner => of_owner(owner),
    }
}

/// Once nothing of the set-up begins again: what does the same, by what is missing.
fn of_ended(exception: &Exception) -> &'static str {
    let (step, part) = parts(exception);
    match (step, part, exception.owner) {
        ("operator", ..) => {
            "nothing more is done for it here; if it turns up, plan it anew: `mdmd wave add`"
        }
        ("apps-required" | "apps-keep" | "apps" | "declare-apps", _, Owner::Licence) => {
            "bring in licences of the app (`mdmd licences assign`) and install it again: `mdmd command send --request InstallApplication`; its data does not come back"
        }
        ("apps-required" | "apps-keep" | "apps" | "declare-apps", ..) => {
            "install it again: `mdmd command send --request InstallApplication`, or a declaration for the device's tag; its data does not come back"
        }
        ("trust" | "network" | "security", ..) => {
            "mend the profile, and put it into the library for the device's tag: `mdmd library profile`"
        }
        ("fv-escrow", ..) | ("verify", "recovery key", _) => {
            "where a key is kept, have the Mac make another with it: `mdmd device rotate-filevault`; otherwise it is asked again by itself once it brings its bootstrap token, with the next sign-in"
        }
        ("lock", ..) | ("verify", "lock", _) => {
            "see what Apple says of its lock: `mdmd device lock`"
        }
        (_, _, Owner::Device | Owner::Destination | Owner::Licence) => LOOK,
        (_, _, owner) => of_owner(owner),
    }
}

const fn of_owner(owner: Owner) -> &'static str {
    match owner {
        Owner::User => "ask the person at the device",
        Owner::Network => "mend the network between the device and this server",
        Owner::Original => "have the original service clean up",
        Owner::Apple => "read the device at Apple again; open a case with Apple if it stays",
        Owner::OrganisationAdmin => {
            "have an administrator of the organisation act in Apple's portal"
        }
        Owner::Device | Owner::Destination | Owner::Licence => LOOK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const OWNERS: [Owner; 8] = [
        Owner::User,
        Owner::Device,
        Owner::Network,
        Owner::Original,
        Owner::Apple,
        Owner::Destination,
        Owner::Licence,
        Owner::OrganisationAdmin,
    ];

    fn of(what: &str, owner: Owner, under_way: bool) -> &'static str {
        let exception = Exception::new(what, "why", owner, Timestamp::from_millis(0));
        next_action(None, Some(&exception), under_way)
    }

    #[test]
    fn nobody_is_sent_to_a_step_that_cannot_begin_again() {
        let parts = ["", ": net.example.notes", ": recovery key", ": lock"];
        let whats = StepId::ALL.map(StepId::as_str);
        for what in whats
            .into_iter()
            .chain(["operator", "apple", "deadline", "hold"])
        {
            for (part, owner) in parts.iter().flat_map(|p| OWNERS.map(|o| (p, o))) {
                let said = of(&format!("{what}{part}"), owner, false);
                assert!(!said.contains("retry-step"), "{what}{part}: {said}");
                assert!(!said.is_empty());
            }
        }
        for attention in [
            Attention::ReleasedWithoutEvidence,
            Attention::ProofIncomplete,
        ] {
            assert_eq!(next_action(Some(&attention), None, false), LOOK);
            let open = next_action(Some(&attention), None, true);
            assert!(open.contains("retry-step"), "{open}");
        }
    }

    #[test]
    fn what_is_missing_names_what_brings_it() {
        for (what, owner, under_way, names) in [
            ("network", Owner::Device, true, "mdmd device retry-step"),
            ("network", Owner::Device, false, "mdmd library profile"),
            ("apps-keep: a", Owner::Device, false, "InstallApplication"),
            ("apps: a", Owner::Licence, false, "mdmd licences assign"),
            (
                "verify: recovery key",
                Owner::Device,
                false,
                "rotate-filevault",
            ),
            ("operator", Owner::Device, false, "mdmd wave add"),
            ("apple", Owner::Apple, false, "open a case"),
        ] {
            let said = of(what, owner, under_way);
            assert!(said.contains(names), "{what}: {said}");
        }
    }
}
