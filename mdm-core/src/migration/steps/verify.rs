//! The proof after release, by what the device itself says: profiles listed, apps managed, the recovery key in our vault, the channel of
//! a Mac's managed user, and the lock as Apple shows it.
//! Waits patiently, and names each check that did not come true.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Next, Own, Progress, Signal, StepContext, StepState, StepStatus, lock};
use crate::app_state::is_same_app;
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::migration::{
    AppAction, Ask, ESCROW_PROFILE, EffectKey, Event, Exception, KeyReading, Owner, StepId, Told,
};

const PROFILES: u16 = 0;
const APPS: u16 = 1;
const SECURITY: u16 = 2;
const FIRST_LOOK: Duration = Duration::from_mins(1);
const LAST_LOOK: Duration = Duration::from_mins(60);

/// What is proved so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Proof {
    /// Profiles that the device does not list; `None` before the first list.
    #[serde(default)]
    profiles: Option<BTreeSet<String>>,
    /// Apps that it does not call managed; `None` before the first list.
    #[serde(default)]
    apps: Option<BTreeSet<String>>,
    /// The recovery key.
    #[serde(default)]
    key: Key,
    /// How often it was looked.
    #[serde(default)]
    looks: u32,
}

impl Proof {
    /// Profiles that the device does not list; `None` before its first list.
    pub(crate) const fn profiles(&self) -> Option<&BTreeSet<String>> {
        self.profiles.as_ref()
    }

    /// Apps that it does not call managed; `None` before its first list.
    pub(crate) const fn apps(&self) -> Option<&BTreeSet<String>> {
        self.apps.as_ref()
    }

    /// What proves the recovery key, or what was seen instead; `None` while nothing is known.
    pub(crate) fn key(&self) -> Option<Result<&str, &str>> {
        match &self.key {
            Key::Unknown => None,
            Key::Proved(what) => Some(Ok(what)),
            Key::Missing(what) => Some(Err(what)),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum Key {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// In the vault, or nothing to keep; the evidence.
    Proved(String),
    /// What was seen instead.
    Missing(String),
}

/// What the device said when it refused a profile for good.
fn refused<'a>(ctx: &'a StepContext<'_>, step: StepId, identifier: &str) -> Option<&'a String> {
    match ctx.steps.get(&step).map(|s| &s.own) {
        Some(Own::Profiles(way)) => way.refused.get(identifier),
        _ => None,
    }
}

/// Profiles that the device has refused in a step that is not required. Asking again brings none of them; they are named by this proof
/// or by nobody.
fn refused_unnamed(ctx: &StepContext<'_>) -> Vec<(String, String)> {
    let unnamed = |step: StepId| ctx.plan.step(step).is_some_and(|step| !step.required);
    let profiles = ctx.plan.profiles.iter();
    let mut all = profiles
        .map(|p| (p.role.step(), p.identifier.as_str()))
        .collect::<Vec<_>>();
    all.push((StepId::FvEscrow, ESCROW_PROFILE));
    all.into_iter()
        .filter(|(step, _)| unnamed(*step))
        .filter_map(|(step, id)| Some((id.to_owned(), refused(ctx, step, id)?.clone())))
        .collect()
}

/// How a profile that the device has refused is named.
pub(crate) const REFUSED: &str = "the device has refused the profile";

fn refusals(ctx: &StepContext<'_>, now: Timestamp) -> Vec<Exception> {
    let named = refused_unnamed(ctx).into_iter().map(|(id, said)| {
        let why = format!("{REFUSED}: {said}");
        ctx.exception(Some(&id), why, Owner::Destination, now)
    });
    named.collect()
}

/// Profiles that should be there: all but those that the device has refused for good.
fn wanted_profiles(ctx: &StepContext<'_>) -> BTreeSet<String> {
    let refused = |step: StepId, identifier: &str| refused(ctx, step, identifier).is_some();
    let in_plan = |step: StepId| {
        ctx.plan.step(step).is_some()
            && !matches!(
                ctx.steps.get(&step).map(|s| &s.status),
                Some(StepStatus::Skipped { .. })
            )
    };
    let mut wanted: BTreeSet<String> = ctx
        .plan
        .profiles
        .iter()
        .filter(|p| in_plan(p.role.step()) && !refused(p.role.step(), &p.identifier))
        .map(|p| p.identifier.clone())
        .collect();
    if wants_key(ctx) && !refused(StepId::FvEscrow, ESCROW_PROFILE) {
        wanted.insert(ESCROW_PROFILE.to_owned());
    }
    wanted
}

/// Steps that bring apps onto a device.
const BRING: [StepId; 2] = [StepId::AppsRequired, StepId::Apps];

/// Apps that should be managed: those to be installed, and those that were taken over. Those that a required step has given up
/// are named already; what another step gave up, or never came to, is named by this proof or by nobody.
fn wanted_apps(ctx: &StepContext<'_>) -> BTreeSet<String> {
    let way = |id: StepId| match ctx.steps.get(&id).map(|s| &s.own) {
        Some(Own::Apps(way)) => Some(way),
        _ => None,
    };
    let required = |id: StepId| ctx.plan.step(id).is_some_and(|step| step.required);
    let brings = BRING.iter().any(|id| {
        let status = ctx.steps.get(id).map(|s| &s.status);
        let unread = matches!(status, Some(StepStatus::Excepted { .. })) && required(*id);
        let skipped = matches!(status, None | Some(StepStatus::Skipped { .. }));
        way(*id).is_some() || ctx.plan.step(*id).is_some() && !skipped && !unread
    });
    let installed = ctx
        .plan
        .apps
        .iter()
        .filter(|a| a.action == AppAction::Install);
    let mut wanted: BTreeSet<String> = installed
        .filter(|_| brings)
        .map(|a| a.bundle_id.clone())
        .collect();
    for way in StepId::OF_APPS.into_iter().filter_map(way) {
        wanted.extend(way.apps.keys().cloned());
    }
    for id in StepId::OF_APPS.into_iter().filter(|id| required(*id)) {
        for (bundle_id, app) in way(id).iter().flat_map(|way| &way.apps) {
            if app.failed.is_some() {
                wanted.remove(bundle_id);
            }
        }
    }
    wanted
}

/// How the device spells an app, where a step has heard that.
fn spelled(ctx: &StepContext<'_>, bundle_id: String) -> String {
    let heard = StepId::OF_APPS.iter().find_map(|id| {
        let Own::Apps(way) = &ctx.steps.get(id)?.own else {
            return None;
        };
        let name = way.apps.get(&bundle_id)?.name(&bundle_id);
        (name != bundle_id).then(|| name.to_owned())
    });
    heard.unwrap_or(bundle_id)
}

/// Why an app is not there, and whose it is to mend that: the step that was to bring it may have been told.
fn why_missing(ctx: &StepContext<'_>, bundle_id: &str) -> (String, Owner) {
    let why = "the device does not call the app managed";
    let failed = StepId::OF_APPS.iter().find_map(|id| {
        let Own::Apps(way) = &ctx.steps.get(id)?.own else {
            return None;
        };
        way.apps.get(bundle_id)?.failed.as_ref()
    });
    match failed {
        Some(failed) => (format!("{why}; {}", failed.why), failed.owner),
        None => (why.to_owned(), Owner::Device),
    }
}

fn wants_key(ctx: &StepContext<'_>) -> bool {
    let step = ctx.plan.step(StepId::FvEscrow);
    ctx.platform.is_mac() && step.is_some_and(|step| step.is_for(ctx.tags))
}

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    look(Proof::default(), None, ctx, None)
}

/// Asks for whatever is not proved.
fn look(
    mut proof: Proof,
    state: Option<&StepState>,
    ctx: &StepContext<'_>,
    now: Option<Timestamp>,
) -> Progress {
    let open = |part| state.is_some_and(|s| s.is_open(part));
    let mut asks = Vec::new();
    if profiles_missing(&proof, ctx) && !open(PROFILES) {
        asks.push((PROFILES, Ask::Profiles));
    }
    if apps_missing(&proof, ctx) && !open(APPS) {
        let wanted = wanted_apps(ctx).into_iter();
        let identifiers = wanted.map(|id| spelled(ctx, id)).collect();
        asks.push((APPS, Ask::ManagedApps { identifiers }));
    }
    if key_missing(&proof, ctx) && !open(SECURITY) {
        asks.push((SECURITY, Ask::Security));
    }
    proof.looks = proof.looks.saturating_add(1);
    let nothing_asked = asks.is_empty() && !(open(PROFILES) || open(APPS) || open(SECURITY));
    if nothing_asked && !outside_missing(ctx) {
        match now {
            Some(now) => return done(proof, ctx, now),
            None if refused_unnamed(ctx).is_empty() => {
                return done(proof, ctx, Timestamp::default());
            }
            // What it has refused is named at the first look, a moment later.
            None => {}
        }
    }
    // Nothing that could be asked makes a person sign in: it is looked again.
    let look_in = nothing_asked.then(|| spacing(&proof));
    Progress {
        own: Some(Own::Proof(proof)),
        asks,
        look_in,
        ..Progress::default()
    }
}

fn profiles_missing(proof: &Proof, ctx: &StepContext<'_>) -> bool {
    match &proof.profiles {
        None => !wanted_profiles(ctx).is_empty(),
        Some(missing) => !missing.is_empty(),
    }
}

fn apps_missing(proof: &Proof, ctx: &StepContext<'_>) -> bool {
    match &proof.apps {
        None => !wanted_apps(ctx).is_empty(),
        Some(missing) => !missing.is_empty(),
    }
}

/// A local user was managed where the Mac came from, and has no channel with us yet.
const fn user_missing(ctx: &StepContext<'_>) -> bool {
    ctx.platform.is_mac() && ctx.user_expected && !ctx.user_seen
}

/// What no question to the device brings.
fn outside_missing(ctx: &StepContext<'_>) -> bool {
    user_missing(ctx) || ctx.lock_unread || lock_late(ctx)
}

/// Apple's answer to the lock request is still to come; the hold did not wait for it any longer.
fn lock_late(ctx: &StepContext<'_>) -> bool {
    lock::is_late(ctx.steps.get(&StepId::Lock).map(|step| &step.status))
}

/// How long until the next look: soon at first, seldom later.
fn spacing(proof: &Proof) -> Duration {
    FIRST_LOOK
        .saturating_mul(1_u32 << proof.looks.saturating_sub(1).min(6))
        .min(LAST_LOOK)
}

fn key_missing(proof: &Proof, ctx: &StepContext<'_>) -> bool {
    wants_key(ctx) && !matches!(proof.key, Key::Proved(_))
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    let Own::Proof(proof) = &state.own else {
        return Progress::wait();
    };
    let mut proof = proof.clone();
    match signal {
        Signal::Answer { part, ok, told } => {
            match (part, told) {
                (PROFILES, Told::Profiles(there)) if ok => {
                    let mut missing = wanted_profiles(ctx);
                    missing.retain(|id| !there.contains(id));
                    proof.profiles = Some(missing);
                }
                (APPS, Told::Managed(readings)) if ok => {
                    let mut missing = wanted_apps(ctx);
                    missing.retain(|id| {
                        !readings
                            .iter()
                            .any(|r| is_same_app(&r.bundle_id, id) && r.state.is_managed())
                    });
                    proof.apps = Some(missing);
                }
                (SECURITY, Told::Security { filevault_on, key }) if ok => {
                    proof.key = read_key(*filevault_on, key);
                }
                // An error or an answer of another kind proves nothing; it is asked again.
                _ => {}
            }
            let open = [PROFILES, APPS, SECURITY].iter().any(|p| state.is_open(*p));
            let complete = !profiles_missing(&proof, ctx)
                && !apps_missing(&proof, ctx)
                && !key_missing(&proof, ctx)
                && !outside_missing(ctx);
            if complete && !open {
                return done(proof, ctx, now);
            }
            let look_in = (!open).then(|| spacing(&proof));
            Progress {
                own: Some(Own::Proof(proof)),
                look_in,
                ..Progress::default()
            }
        }
        Signal::Due => look(proof, Some(state), ctx, Some(now)),
        // What it may have waited for has come: it looks soon, however seldom it did by now.
        Signal::Event(
            Event::BootstrapTokenStored
            | Event::LockAnswered { .. }
            | Event::EffectFailed {
                effect: EffectKey::Lock,
                ..
            },
        ) => {
            proof.looks = 0;
            let later = state.look_at.is_some_and(|at| at > now + FIRST_LOOK);
            Progress {
                own: Some(Own::Proof(proof)),
                look_in: later.then_some(FIRST_LOOK),
                ..Progress::default()
            }
        }
        Signal::TimeUp => incomplete(&proof, ctx, now),
        // Out of turn, or for other steps.
        _ => Progress::wait(),
    }
}

fn read_key(filevault_on: Option<bool>, key: &KeyReading) -> Key {
    match (filevault_on, key) {
        (_, KeyReading::Escrowed { changed, .. }) => Key::Proved(if *changed {
            "a new recovery key opens and is in the vault".to_owned()
        } else {
            "the recovery key in the vault is the Mac's".to_owned()
        }),
        (Some(false), _) => Key::Proved("FileVault is off, there is no key to keep".to_owned()),
        (_, KeyReading::NotTold) => {
            Key::Missing("the Mac says nothing of a recovery key".to_owned())
        }
        (_, KeyReading::NotEscrowed) => {
            Key::Missing("the Mac has a recovery key and has not escrowed it to us".to_owned())
        }
        (_, KeyReading::ForeignCertificate) => Key::Missing(
            "the recovery key is escrowed to a certificate that is not ours".to_owned(),
        ),
        (_, KeyReading::BadForm) => {
            Key::Missing("what was escrowed has not the form of a recovery key".to_owned())
        }
    }
}

fn done(proof: Proof, ctx: &StepContext<'_>, now: Timestamp) -> Progress {
    let mut evidence = Vec::new();
    let exceptions = refusals(ctx, now);
    if proof.profiles.is_some() {
        evidence.push(match exceptions.len() {
            0 => "every profile is listed".to_owned(),
            n => format!("every profile is listed but {n} that it has refused"),
        });
    }
    if proof.apps.is_some() {
        evidence.push("every app is managed".to_owned());
    }
    if let Key::Proved(what) = &proof.key {
        evidence.push(what.clone());
    }
    if ctx.user_seen {
        evidence.push("the user channel is there".to_owned());
    }
    if ctx.lock_unread {
        evidence.push("the lock is asked for, not yet read".to_owned());
    }
    if evidence.is_empty() {
        evidence.push("the runbook leaves nothing to prove".to_owned());
    }
    Progress {
        next: Next::Done(evidence.join("; ")),
        own: Some(Own::Proof(proof)),
        exceptions,
        ..Progress::default()
    }
}

fn incomplete(proof: &Proof, ctx: &StepContext<'_>, now: Timestamp) -> Progress {
    let mut exceptions = refusals(ctx, now);
    let named = exceptions.len();
    let profiles = proof
        .profiles
        .clone()
        .unwrap_or_else(|| wanted_profiles(ctx));
    for id in &profiles {
        let why = "the device does not list the profile";
        exceptions.push(ctx.exception(Some(id), why, Owner::Device, now));
    }
    let apps = proof.apps.clone().unwrap_or_else(|| wanted_apps(ctx));
    for id in &apps {
        let (why, owner) = why_missing(ctx, id);
        exceptions.push(ctx.exception(Some(id), why, owner, now));
    }
    if key_missing(proof, ctx) {
        let why = match &proof.key {
            Key::Missing(why) => why.clone(),
            _ => "the Mac has not told its security state".to_owned(),
        };
        exceptions.push(ctx.exception(Some("recovery key"), why, Owner::Device, now));
    }
    if user_missing(ctx) {
        let why = "its managed user has not signed in since it came: no user channel has enrolled";
        exceptions.push(ctx.exception(Some("user channel"), why, Owner::User, now));
    }
    if ctx.lock_unread && ctx.lock_off {
        let why = "Apple does not show the lock that it was asked for";
        exceptions.push(ctx.exception(Some("lock"), why, Owner::Apple, now));
    }
    if exceptions.len() == named && (lock_late(ctx) || ctx.lock_unread) {
        // That it was never answered is named by its own step already. One that nobody has read is no fault of anybody's: it is read
        // when the budget of readings allows, and stands there as not yet read until then.
        return done(proof.clone(), ctx, now);
    }
    let why = format!("{} did not come true", counted(exceptions.len(), "check"));
    Progress {
        exceptions,
        ..Progress::except(why, Owner::Device)
    }
}
