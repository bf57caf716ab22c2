//! Waves: made for a project, filled, planned, looked at, accepted by name, submitted, steered.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Extension;
use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::errand::ErrandKind;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, ErrandId, MoveId, ProjectId, Serial, WaveId};
use mdm_core::migration::{Move, MoveState};
use mdm_core::organisation::AdeOptions;
use mdm_core::service::{Candidates, Dates, Org, WaveTerms};
use mdm_core::texts::OwnerTexts;
use mdm_core::wave::{Preset, Waiver, Wave};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::Refusal;
use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::tagged::Version;
use super::{About, Answer, By, Office, Page, refused, shown};

/// Hours of an offer before its deadline: Apple takes deadlines for 90 days.
const MOST_LEAD: u32 = 90 * 24;

pub(super) async fn list(About { office, org, which }: About<Page>) -> Answer<impl Shows> {
    let rows = office
        .mdm
        .store()
        .waves(org.organisation().id, WaveId(which.after.0), which.limit())
        .await
        .map_err(|error| refused(error.into()))?;
    let next = super::next_page(&which, rows.iter().map(|wave| wave.id.0));
    shown(told! { waves: rows, next: next })
}

pub(super) async fn row(office: &Office, org: &Org, id: i64) -> Result<Wave, Refusal> {
    let store = office.mdm.store();
    let found = store.wave(org.organisation().id, WaveId(id)).await;
    let found = found.map_err(|error| refused(error.into()))?;
    found.ok_or_else(|| refused(Error::NotFound("wave")))
}

pub(super) async fn show(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Result<Versioned<impl Shows>, Refusal> {
    let wave = row(&office, &org, id).await?;
    let members = org.members(wave.id).await.map_err(refused)?;
    let version = Version::of_row(wave.version);
    Ok(Versioned::of(
        version,
        told! { wave: wave, members: members },
    ))
}

pub(super) async fn members(
    About { office, org, which }: About<Page>,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let wave = row(&office, &org, id).await?;
    let store = office.mdm.store();
    let own = org.organisation().id;
    let page = store.attempts(own, wave.id, MoveId(which.after.0), which.limit());
    let members = page.await.map_err(|error| refused(error.into()))?;
    let next = super::next_page(&which, members.iter().map(|member| member.id.0));
    shown(told! { members: members, next: next })
}

pub(super) async fn later(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let wave = row(&office, &org, id).await?;
    let proposals = org.later_deadlines(wave.id).await.map_err(refused)?;
    shown(told! { wave: wave.id, name: wave.name, proposals: proposals })
}

pub(super) async fn standing(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    shown(org.standing(WaveId(id)).await.map_err(refused)?)
}

/// A new one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    project: ProjectId,
    name: String,
    preset: Option<Preset>,
    ade: Option<AdeOptions>,
    #[serde(default)]
    owner_texts: OwnerTexts,
}

pub(super) async fn new(
    About { office, org, .. }: About,
    Sent(sent): Sent<New>,
) -> Answer<impl Shows> {
    let terms = WaveTerms {
        ade: sent.ade,
        owner_texts: sent.owner_texts,
    };
    let made = org.new_wave_with(sent.project, &sent.name, sent.preset, &terms);
    let made = made.await;
    office.poke.notify_one();
    shown(made.map_err(refused)?)
}

/// What a wave's ADE profile says; nothing takes it back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnAde {
    // Named even where it is null, so that nobody takes it back by a misspelt key.
    #[serde(deserialize_with = "Option::deserialize")]
    options: Option<AdeOptions>,
}

pub(super) async fn set_ade(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<OwnAde>,
) -> Answer<impl Shows> {
    let done = org.set_wave_ade_profile(WaveId(id), sent.options.as_ref());
    let done = done.await;
    office.poke.notify_one();
    shown(done.map_err(refused)?)
}

/// Who comes in: by serial number, or by what they have in common.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Adding {
    #[serde(default)]
    serials: Vec<Serial>,
    candidates: Option<Candidates>,
    deadline: Option<Timestamp>,
    available_from: Option<Timestamp>,
    /// Only says who would.
    #[serde(default)]
    dry: bool,
}

pub(super) async fn add(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Adding>,
) -> Answer<impl Shows> {
    let serials = match (sent.candidates, sent.serials.is_empty()) {
        (Some(of), true) => org.candidates(&of).await.map_err(refused)?,
        (None, false) => sent.serials,
        _ => {
            let problem = "either serial numbers or candidates must be there";
            return Err(refused(Error::bad_input("serials", problem)));
        }
    };
    if sent.dry || serials.is_empty() {
        // Whose wave it is comes first, and whether anybody can be put into it.
        org.open_wave(WaveId(id)).await.map_err(refused)?;
        return shown(Added { added: 0, serials });
    }
    let dates = Dates {
        deadline: sent.deadline,
        available_from: sent.available_from,
    };
    let added = org.add_members(WaveId(id), &serials, dates).await;
    let added = added.map_err(refused)?;
    shown(Added { added, serials })
}

/// Who came in.
#[derive(Serialize, JsonSchema)]
struct Added {
    added: usize,
    serials: Vec<Serial>,
}

/// Who goes out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Removing {
    #[serde(default)]
    serials: Vec<Serial>,
    /// Everybody who is not submitted.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    reason: String,
}

/// These, or all who are not submitted; never all because a list was empty.
fn chosen(serials: &[Serial], all: bool) -> Result<Option<&[Serial]>, Error> {
    match (serials.is_empty(), all) {
        (false, false) => Ok(Some(serials)),
        (true, true) => Ok(None),
        _ => Err(Error::bad_input(
            "serials",
            "either serial numbers or `all` must be there",
        )),
    }
}

pub(super) async fn remove(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Removing>,
) -> Answer<impl Shows> {
    let who = chosen(&sent.serials, sent.all).map_err(refused)?;
    let removed = org.remove_members(WaveId(id), who, &sent.reason).await;
    shown(told! { removed: removed.map_err(refused)? })
}

/// Who goes into another wave.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Moving {
    to: WaveId,
    serials: Vec<Serial>,
}

pub(super) async fn relocate(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Moving>,
) -> Answer<impl Shows> {
    let moved = org.move_members(WaveId(id), sent.to, &sent.serials).await;
    shown(told! { moved: moved.map_err(refused)? })
}

/// Dates of members that are not submitted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dating {
    #[serde(default)]
    serials: Vec<Serial>,
    #[serde(default)]
    all: bool,
    deadline: Timestamp,
    /// From when on users are asked; a week before, not in the past and not before the project's window begins where it is left out.
    available_from: Option<Timestamp>,
}

pub(super) async fn dates(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Dating>,
) -> Answer<impl Shows> {
    let who = chosen(&sent.serials, sent.all).map_err(refused)?;
    let (wave, deadline) = (WaveId(id), sent.deadline);
    let dated = match sent.available_from {
        Some(from) => org.set_dates(wave, who, deadline, from).await,
        None => org.set_deadline(wave, who, deadline).await,
    };
    shown(told! { planned: dated.map_err(refused)? })
}

/// How members are spread over deadlines.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Planning {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    buckets: Option<u32>,
    lead_hours: Option<u32>,
    #[serde(default)]
    dry: bool,
}

pub(super) async fn plan(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Planning>,
) -> Answer<impl Shows> {
    if sent.lead_hours.is_some_and(|hours| hours > MOST_LEAD) {
        let problem = format!("must be at most {MOST_LEAD}");
        return Err(refused(Error::bad_input("lead_hours", problem)));
    }
    let lead = sent
        .lead_hours
        .map(|h| Duration::from_secs(u64::from(h) * 3600));
    let placed = org
        .plan_dates(
            WaveId(id),
            sent.first,
            sent.last,
            sent.buckets,
            lead,
            sent.dry,
        )
        .await
        .map_err(refused)?;
    let budget = org.budget_of(&placed).await.map_err(refused)?;
    shown(told! { members: placed, dry: sent.dry, budget: budget })
}

/// What was done at the original service.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Meeting {
    name: String,
    /// What shows that it was done.
    evidence: Option<String>,
    /// In its place: why the word that it was done is taken back.
    not: Option<String>,
    #[serde(default)]
    serials: Vec<Serial>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn meet(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Meeting>,
) -> Answer<impl Shows> {
    let who = chosen(&sent.serials, sent.all).map_err(refused)?;
    let wave = WaveId(id);
    match (&sent.evidence, &sent.not) {
        (Some(evidence), None) => {
            let met = org.meet(wave, who, &sent.name, evidence).await;
            shown(Word::met(met.map_err(refused)?))
        }
        (None, Some(why)) => {
            let back = org.unmeet(wave, who, &sent.name, why).await;
            shown(Word::taken_back(back.map_err(refused)?))
        }
        _ => {
            let problem = "must be there, or `not` with why the word is taken back";
            Err(refused(Error::bad_input("evidence", problem)))
        }
    }
}

/// Of how many members something was said, or taken back.
#[derive(Default, Serialize, JsonSchema)]
struct Word {
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_back: Option<usize>,
}

impl Word {
    fn met(members: usize) -> Self {
        Self {
            met: Some(members),
            ..Self::default()
        }
    }

    fn taken_back(members: usize) -> Self {
        Self {
            taken_back: Some(members),
            ..Self::default()
        }
    }
}

/// That devices are out of the list of the service that they left.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CleanedUp {
    /// What shows it.
    evidence: Option<String>,
    /// In its place: why that word is taken back.
    not: Option<String>,
    #[serde(default)]
    serials: Vec<Serial>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn clean_up(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<CleanedUp>,
) -> Answer<impl Shows> {
    let who = chosen(&sent.serials, sent.all).map_err(refused)?;
    let wave = WaveId(id);
    let done = match (&sent.evidence, &sent.not) {
        (Some(evidence), None) => org.removed_at_original(wave, who, evidence).await,
        (None, Some(why)) => org.listed_at_original(wave, who, why).await,
        _ => {
            let problem = "must be there, or `not` with why the word is taken back";
            return Err(refused(Error::bad_input("evidence", problem)));
        }
    };
    shown(told! { cleaned: done.map_err(refused)? })
}

pub(super) async fn what_if(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    shown(org.run_what_if(WaveId(id)).await.map_err(refused)?)
}

/// What is accepted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Accepting {
    digest: String,
    #[serde(default)]
    waivers: Vec<Waiver>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn accept(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Accepting>,
) -> Answer<impl Shows> {
    let accepted = org
        .accept(WaveId(id), &sent.digest, &sent.waivers, &sent.reason)
        .await;
    shown(accepted.map_err(refused)?)
}

/// The requests of a wave that start migrations.
async fn scheduling(
    office: &Office,
    org: &Org,
    wave: WaveId,
) -> Result<BTreeSet<ErrandId>, Refusal> {
    let (mut all, mut after) = (BTreeSet::new(), ErrandId(0));
    loop {
        let owner = org.organisation().id;
        let page = office.mdm.store().errands_of(owner, wave, after, 500).await;
        let page = page.map_err(|error| refused(error.into()))?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        after = last.id;
        let schedules = page
            .iter()
            .filter(|e| matches!(e.kind, ErrandKind::Schedule { .. }));
        all.extend(schedules.map(|e| e.id));
    }
}

/// The name of the wave, typed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Submitting {
    name: String,
    /// Of the what-if whose requests were shown to who typed it: nothing is sent where something else was accepted since.
    digest: Option<String>,
    /// When that was accepted; with `digest` only.
    accepted_at: Option<Timestamp>,
}

pub(super) async fn submit(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Submitting>,
) -> Answer<impl Shows> {
    let before = scheduling(&office, &org, WaveId(id)).await?;
    let submitted = match (&sent.digest, sent.accepted_at) {
        (Some(digest), at) => org.submit_shown(WaveId(id), &sent.name, digest, at).await,
        (None, None) => org.submit_accepted(WaveId(id), &sent.name).await,
        (None, Some(_)) => {
            let problem = "must be there with accepted_at";
            return Err(refused(Error::bad_input("digest", problem)));
        }
    };
    let members = submitted.map_err(refused)?;
    office.poke.notify_one();
    let errands: Vec<ErrandId> = scheduling(&office, &org, WaveId(id))
        .await?
        .difference(&before)
        .copied()
        .collect();
    let all = org.members(WaveId(id)).await.map_err(refused)?;
    let blocked = |member: &&Move| matches!(member.state, MoveState::Blocked { .. });
    let blocked = all.iter().filter(blocked).count();
    shown(told! { members: members, errands: errands, blocked: blocked })
}

/// Why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signing {
    reason: String,
    /// Open the gate though the wave does not stand as was wanted.
    #[serde(default)]
    despite: bool,
}

pub(super) async fn sign(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Signing>,
) -> Answer<impl Shows> {
    let signed = org.sign_gate(WaveId(id), &sent.reason, sent.despite).await;
    shown(signed.map_err(refused)?)
}

/// Whether no more devices are offered their migration, and why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pausing {
    paused: bool,
    reason: String,
}

pub(super) async fn pause(
    About { office, org, .. }: About,
    Extension(caller): By,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Pausing>,
) -> Answer<impl Shows> {
    // Whoever may change the rule may have the offers go on that it has stopped.
    let overrules = caller.role >= Role::Approver;
    let paused = org
        .pause_wave(WaveId(id), sent.paused, &sent.reason, overrules)
        .await;
    office.poke.notify_one();
    shown(paused.map_err(refused)?)
}

pub(super) async fn failures(
    About { org, which, .. }: About<Page>,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let after = MoveId(which.after.0);
    let found = org.failures_of_wave(WaveId(id), after, which.limit()).await;
    let found = found.map_err(refused)?;
    let next = (found.devices.len() == which.limit() as usize)
        .then(|| found.devices.last().map(|(id, _, _)| *id))
        .flatten();
    let devices: Vec<_> = found
        .devices
        .into_iter()
        .map(|(_, serial, failures)| told! { serial: serial, failures: failures })
        .collect();
    shown(told! {
        name: found.name,
        at: found.at,
        banners: found.banners,
        counts: found.counts,
        devices: devices,
        next: next,
    })
}
