//! The six marks of a device after its release, *registered, user, updated, apps, key, lock*: each with what proves it, or what is
//! missing. A mark that nobody has read is waiting, never proved.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::device::Device;
use crate::migration::steps::lock::was_asked;
use crate::migration::steps::{Own, Proof, REFUSED};
use crate::migration::what_if::FactSource;
use crate::migration::{
    Exception, PinnedRunbook, SetUp, SetUpEnd, SetUpState, StepId, StepState, StepStatus,
};

/// The names of the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "six, each with its own proof")]
pub enum MarkName {
    /// It is enrolled with us.
    Registered,
    /// Its user has a channel with us (Mac).
    User,
    /// It has told anew what it is since it was released, and has the profiles that it should have.
    Updated,
    /// The apps of the runbook are managed by us.
    Apps,
    /// The recovery key of its disk is in our vault (Mac).
    Key,
    /// Activation Lock is on with our code.
    Lock,
}

impl MarkName {
    /// All, in their order.
    pub const ALL: [Self; 6] = [
        Self::Registered,
        Self::User,
        Self::Updated,
        Self::Apps,
        Self::Key,
        Self::Lock,
    ];

    /// Its name as people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::User => "user",
            Self::Updated => "updated",
            Self::Apps => "apps",
            Self::Key => "key",
            Self::Lock => "lock",
        }
    }
}

/// How a mark stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "four, each shown in its own way")]
pub enum MarkState {
    /// Seen, by somebody who can know.
    Proved,
    /// Not looked at yet, or asked and not read.
    Waiting,
    /// Looked at, and not as it should be.
    Missing,
    /// Nobody wants it of this device.
    NotWanted,
}

impl MarkState {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Waiting => "waiting",
            Self::Missing => "missing",
            Self::NotWanted => "not wanted",
        }
    }
}

/// One mark of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Mark {
    /// Which.
    pub mark: MarkName,
    /// How it stands.
    pub state: MarkState,
    /// What proves it, or what is missing, in a sentence.
    pub why: String,
    /// When that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<FactSource>,
}

/// What the marks are judged by.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Observed<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its set-up, if it has enrolled.
    pub set_up: Option<&'a SetUp>,
    /// The runbook of that, if it can be read.
    pub plan: Option<&'a PinnedRunbook>,
    /// The managed user of a Mac at the original service, whose sign-in is waited for.
    pub managed_user: Option<&'a str>,
    /// Since when the recovery key of its own is in the vault that nothing has replaced.
    pub own_key: Option<Timestamp>,
}

/// The six marks, in their order.
#[must_use]
pub fn marks(seen: &Observed<'_>) -> Vec<Mark> {
    let Some(set_up) = seen.set_up else {
        let why = "it has not enrolled with us";
        let all = MarkName::ALL.into_iter();
        return all
            .map(|mark| make(mark, MarkState::Waiting, why))
            .collect();
    };
    vec![
        registered(seen.device, set_up),
        user(set_up, seen.managed_user),
        updated(seen.device, set_up),
        apps(set_up),
        key(set_up, seen.own_key),
        lock(seen.device, set_up, seen.plan),
    ]
}

fn make(mark: MarkName, state: MarkState, why: impl Into<String>) -> Mark {
    Mark {
        mark,
        state,
        why: why.into(),
        at: None,
        source: None,
    }
}

impl Mark {
    fn seen(mut self, source: FactSource, at: impl Into<Option<Timestamp>>) -> Self {
        (self.source, self.at) = (Some(source), at.into());
        self
    }
}

fn registered(device: &Device, set_up: &SetUp) -> Mark {
    const NAME: MarkName = MarkName::Registered;
    if set_up.state == SetUpState::Ended(SetUpEnd::CheckedOut) {
        return make(NAME, MarkState::Missing, "it has checked out").seen(FactSource::Mdm, None);
    }
    match (
        set_up.enrolled,
        device.enrollment == Some(set_up.enrollment),
    ) {
        (Some(at), true) => make(
            NAME,
            MarkState::Proved,
            "its first TokenUpdate was accepted",
        )
        .seen(FactSource::Mdm, at),
        (None, true) if !matches!(set_up.state, SetUpState::Enrolling { .. }) => {
            make(NAME, MarkState::Proved, "it speaks on its channel")
                .seen(FactSource::Mdm, set_up.heard)
        }
        (Some(_), false) => make(NAME, MarkState::Missing, "its enrolment has ended"),
        _ => make(
            NAME,
            MarkState::Waiting,
            "it has begun to enrol, and its first TokenUpdate has not come",
        ),
    }
}

fn user(set_up: &SetUp, managed_user: Option<&str>) -> Mark {
    const NAME: MarkName = MarkName::User;
    if !set_up.platform.is_mac() {
        let why = "an iPhone or iPad has no user of its own that is managed";
        return make(NAME, MarkState::NotWanted, why);
    }
    match (set_up.user_seen, managed_user) {
        (true, Some(name)) if set_up.user_is_other && !name.is_empty() => make(
            NAME,
            MarkState::Missing,
            format!("the user channel that has enrolled is not that of {name}, whom the original service managed"),
        )
        .seen(FactSource::Mdm, set_up.heard),
        (true, _) => make(NAME, MarkState::Proved, "its user channel has enrolled")
            .seen(FactSource::Mdm, set_up.heard),
        (false, Some("")) => {
            let why = "the original service managed no user of it";
            make(NAME, MarkState::NotWanted, why).seen(FactSource::Import, None)
        }
        (false, Some(name)) => make(
            NAME,
            MarkState::Waiting,
            format!("waiting for the sign-in of {name}"),
        ),
        (false, None) => make(
            NAME,
            MarkState::Waiting,
            "no user channel of it has enrolled",
        ),
    }
}

fn step(set_up: &SetUp, id: StepId) -> Option<&StepState> {
    set_up.steps_or_proofs().get(&id)
}

/// What the step after the release has seen, and when it was over.
fn proof(set_up: &SetUp) -> Option<(&Proof, Option<Timestamp>)> {
    let state = step(set_up, StepId::Verify)?;
    let Own::Proof(proof) = &state.own else {
        return None;
    };
    Some((proof, state.status.is_over().then_some(state.since)))
}

fn verify_is_over(set_up: &SetUp) -> bool {
    set_up.is_ended() || step(set_up, StepId::Verify).is_some_and(|s| s.status.is_over())
}

fn updated(device: &Device, set_up: &SetUp) -> Mark {
    const NAME: MarkName = MarkName::Updated;
    let Some(out) = set_up.released else {
        return make(NAME, MarkState::Waiting, "it is not out of its hold");
    };
    let listed = proof(set_up).and_then(|(proof, _)| proof.profiles());
    if let Some(missing) = listed.filter(|missing| !missing.is_empty()) {
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        let why = format!("it does not list the profiles {}", names.join(", "));
        let state = match verify_is_over(set_up) {
            true => MarkState::Missing,
            false => MarkState::Waiting,
        };
        return make(NAME, state, why).seen(FactSource::Mdm, None);
    }
    // What it told in the hold is what it was before its user came to it.
    let told = device.facts.learned.filter(|at| *at >= out);
    let proved = proof(set_up).and_then(|(_, at)| at);
    match told.max(proved) {
        Some(at) => {
            let system = device.facts.os_version.as_deref().unwrap_or("not told");
            let refused =
                |e: &Exception| e.what.starts_with("verify: ") && e.why.starts_with(REFUSED);
            let profiles = match listed {
                Some(_) if set_up.exceptions.iter().any(refused) => {
                    "; it lists every profile but those that it has refused"
                }
                Some(_) => "; it lists every profile",
                None => "; no profile was to be listed",
            };
            make(
                NAME,
                MarkState::Proved,
                format!("system {system}{profiles}"),
            )
            .seen(FactSource::Mdm, at)
        }
        None => make(
            NAME,
            MarkState::Waiting,
            "it has not told anew what it is since it was released",
        ),
    }
}

fn apps(set_up: &SetUp) -> Mark {
    const NAME: MarkName = MarkName::Apps;
    let mut lost: Vec<&str> = set_up
        .exceptions
        .iter()
        .filter_map(|e| e.what.split_once(": "))
        .filter(|(of, _)| of.starts_with("apps"))
        .map(|(_, app)| app)
        .collect();
    let listed = proof(set_up).and_then(|(proof, at)| proof.apps().map(|apps| (apps, at)));
    if let Some((missing, _)) = listed {
        lost.extend(missing.iter().map(String::as_str));
    }
    lost.sort_unstable();
    lost.dedup();
    let given_up = StepId::OF_APPS.into_iter().any(|id| {
        step(set_up, id).is_some_and(|s| matches!(s.status, StepStatus::Excepted { .. }))
    });
    match (lost.is_empty(), listed) {
        (false, _) => {
            let state = match verify_is_over(set_up) || given_up {
                true => MarkState::Missing,
                false => MarkState::Waiting,
            };
            make(NAME, state, format!("not managed: {}", lost.join(", ")))
                .seen(FactSource::Mdm, None)
        }
        (true, Some((_, at))) => make(
            NAME,
            MarkState::Proved,
            "it calls every app of the runbook managed",
        )
        .seen(FactSource::Mdm, at),
        (true, None) if given_up => {
            make(NAME, MarkState::Missing, "a step of its apps was given up")
        }
        (true, None) if verify_is_over(set_up) => {
            make(NAME, MarkState::NotWanted, "the runbook has no app for it")
        }
        (true, None) => make(
            NAME,
            MarkState::Waiting,
            "it has not listed its managed apps",
        ),
    }
}

fn key(set_up: &SetUp, own: Option<Timestamp>) -> Mark {
    const NAME: MarkName = MarkName::Key;
    if !set_up.platform.is_mac() {
        let why = "an iPhone or iPad has no recovery key";
        return make(NAME, MarkState::NotWanted, why);
    }
    let read = proof(set_up).map(|(proof, at)| (proof.key(), at));
    if let Some(at) = own.filter(|at| lacks_key(set_up) && *at >= set_up.began) {
        let why = "a new recovery key is in the vault: it came later than the proof";
        return make(NAME, MarkState::Proved, why).seen(FactSource::Mdm, at);
    }
    match read {
        Some((Some(Ok(what)), at)) => make(NAME, MarkState::Proved, what).seen(FactSource::Mdm, at),
        Some((Some(Err(what)), at)) => {
            let state = match verify_is_over(set_up) {
                true => MarkState::Missing,
                false => MarkState::Waiting,
            };
            make(NAME, state, what).seen(FactSource::Mdm, at)
        }
        _ if no_escrow(set_up) && verify_is_over(set_up) => make(
            NAME,
            MarkState::NotWanted,
            "the runbook escrows no recovery key",
        ),
        _ if verify_is_over(set_up) => make(
            NAME,
            MarkState::Missing,
            "the Mac has not told its security state",
        ),
        _ => make(
            NAME,
            MarkState::Waiting,
            "the Mac has not told its security state",
        ),
    }
}

/// Whether its proof saw no recovery key of a Mac.
pub(crate) fn lacks_key(set_up: &SetUp) -> bool {
    let key = proof(set_up).map(|(proof, _)| proof.key());
    set_up.platform.is_mac() && !matches!(key, Some(Some(Ok(_))))
}

/// The runbook has no escrow for it, or only for others.
fn no_escrow(set_up: &SetUp) -> bool {
    step(set_up, StepId::FvEscrow)
        .is_none_or(|state| matches!(state.status, StepStatus::Skipped { .. }))
}

/// What a reading at Apple says of the lock that a step was to make; nothing as long as the step goes on.
fn read_back(word: &str, status: Option<&StepStatus>) -> Option<(MarkState, String)> {
    let is_ours = status.is_some_and(was_asked);
    match word {
        "MDM" if is_ours => {}
        // Apple does not say whose code it is: one that was there before ours opens with none that is kept here.
        "MDM" if status.is_some_and(StepStatus::is_over) => {
            let why = "read back at Apple: MDM, a lock that is not of a code of ours";
            return Some((MarkState::Missing, why.to_owned()));
        }
        "MDM" => return None,
        _ => return Some((MarkState::Missing, format!("read back at Apple: {word}"))),
    }
    Some((MarkState::Proved, format!("read back at Apple: {word}")))
}

fn lock(device: &Device, set_up: &SetUp, plan: Option<&PinnedRunbook>) -> Mark {
    const NAME: MarkName = MarkName::Lock;
    let state = step(set_up, StepId::Lock);
    let wanted = plan.map_or(state.is_some(), |plan| {
        let step = plan.step(StepId::Lock);
        plan.lock && step.is_some_and(|step| step.is_for(&set_up.tags))
    });
    if !wanted {
        return make(NAME, MarkState::NotWanted, "the runbook wants no lock");
    }
    // Read back at Apple after it was asked for: that is the proof.
    let asked = state.and_then(|s| s.began).unwrap_or(set_up.began);
    let read = device.lock.apple.as_ref().filter(|r| r.at >= asked);
    if let Some(read) = read
        && let Some((held, why)) = read_back(&read.word, state.map(|s| &s.status))
    {
        return make(NAME, held, why).seen(FactSource::Api, read.at);
    }
    match state.map(|s| (&s.status, s.since)) {
        Some((StepStatus::Done { evidence }, at)) => {
            // Apple's answer is not the lock: that is read when the budget allows.
            let why = format!("asked, not yet read: {evidence}");
            make(NAME, MarkState::Waiting, why).seen(FactSource::Assignment, at)
        }
        Some((StepStatus::Skipped { why }, at)) => {
            make(NAME, MarkState::Waiting, why.as_str()).seen(FactSource::Assignment, at)
        }
        Some((StepStatus::Excepted { why }, at)) => {
            make(NAME, MarkState::Missing, why.as_str()).seen(FactSource::Assignment, at)
        }
        _ if set_up.is_ended() => make(NAME, MarkState::Missing, "it was never asked for"),
        _ => make(NAME, MarkState::Waiting, "not asked yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_proved_by_a_reading_only_where_it_was_asked_for() {
        let done = StepStatus::Done {
            evidence: "Apple took it".to_owned(),
        };
        let unsure = StepStatus::Skipped {
            why: "asked, and not proved".to_owned(),
        };
        let foreign = StepStatus::Excepted {
            why: "a lock of somebody else is on it".to_owned(),
        };
        let said = |word, status| read_back(word, status).map(|(state, _)| state);
        for asked in [&done, &unsure] {
            assert_eq!(said("MDM", Some(asked)), Some(MarkState::Proved));
            assert_eq!(said("NONE", Some(asked)), Some(MarkState::Missing));
        }
        // The vault has no code that opens it.
        let (state, why) = read_back("MDM", Some(&foreign)).unwrap();
        assert_eq!(state, MarkState::Missing);
        assert!(why.contains("not of a code of ours"), "{why}");
        assert_eq!(said("MDM", None), None);
    }
}
