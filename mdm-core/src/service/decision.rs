//! One decision in the making: the rows that it has loaded, what the machines made of them, and the one [`Batch`] that
//! comes of it. Does no IO; whoever made it loads before and commits after.

mod effects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::cause;
use super::door::Sight;
use super::licences::store_apps;
use super::worker::LOCK_SHOWS;
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::ddm::own::OwnApp;
use crate::device::Device;
use crate::enrollment::{EnrolSession, Enrollment};
use crate::ids::{AuditId, CommandId, EnrollmentId, IdSource, JobId, SecretId, SetUpId};
use crate::job::{Job, JobKind};
use crate::migration::steps::lock;
use crate::migration::{
    AppPlan, Attention, Before, Effect, Event, Move, MoveState, Outcome, PinnedRunbook, SetUp,
    SetUpEnd, SetUpState, StepId, StepStatus, advance_move, advance_set_up, advance_unreadable,
};
use crate::organisation::Organisation;
use crate::queue::{Command, CommandState};
use crate::sealed::SealedSecret;
use crate::store::{Batch, Noun, Write};

/// Namespace of command UUIDs: the same set-up, step, part and try always give the same UUID.
const COMMANDS: Uuid = Uuid::from_u128(0x6d64_6d64_0000_4d6f_7665_0000_5365_7455);

/// The release overtakes whatever else is queued.
const RELEASE: i32 = 100;

/// Declarations of this server's own that a decision asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnDeclarations {
    /// For which channel.
    pub(crate) channel: Option<EnrollmentId>,
    /// Apps to be declared, in place of those before.
    pub(crate) apps: Option<Vec<OwnApp>>,
    /// Status items to be subscribed to besides.
    pub(crate) items: BTreeSet<String>,
}

/// A row with what it was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Tracked<T> {
    original: Option<T>,
    pub(crate) row: T,
}

impl<T: Clone + PartialEq> Tracked<T> {
    pub(crate) fn read(row: T) -> Self {
        Self {
            original: Some(row.clone()),
            row,
        }
    }

    pub(crate) fn new(row: T) -> Self {
        Self {
            original: None,
            row,
        }
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.original.as_ref() != Some(&self.row)
    }
}

impl Tracked<Command> {
    /// Cancels it when it is an open one of this step of this set-up.
    fn take_back(&mut self, set_up: SetUpId, step: StepId, now: Timestamp) {
        let origin = self.row.origin.as_ref();
        let ours = origin.is_some_and(|o| o.step == step && o.set_up == set_up);
        if ours && !self.row.state.is_final() {
            self.row.state = CommandState::Cancelled;
            self.row.settled = Some(now);
        }
    }
}

/// Everything that one decision has read and will write.
pub(crate) struct Decision<'a> {
    pub(crate) organisation: &'a Organisation,
    pub(crate) now: Timestamp,
    pub(crate) actor: &'a str,
    ids: &'a IdSource,
    pub(crate) enrollments: BTreeMap<EnrollmentId, Tracked<Enrollment>>,
    pub(crate) sessions: Vec<Tracked<EnrolSession>>,
    pub(crate) device: Option<Tracked<Device>>,
    pub(crate) set_up: Option<Tracked<SetUp>>,
    pub(crate) attempt: Option<Tracked<Move>>,
    pub(crate) set_up_plan: Option<Arc<PinnedRunbook>>,
    pub(crate) attempt_plan: Option<Arc<PinnedRunbook>>,
    /// Open commands of the channel in question, and new ones.
    pub(crate) commands: BTreeMap<CommandId, Tracked<Command>>,
    /// Of the new ones, those whose body may hold a secret: sealed before they are written.
    pub(crate) to_seal: BTreeSet<CommandId>,
    /// Of these, those that carry the password before recoveryOS: whether it is set, and at which try.
    pub(crate) passwords: Vec<(CommandId, bool, u16)>,
    /// Steps whose open commands are taken back, by channel and set-up: also those that were not loaded here, which is
    /// for whoever commits.
    pub(crate) dropped: BTreeSet<(EnrollmentId, SetUpId, StepId)>,
    pub(crate) secrets: BTreeMap<SecretId, Tracked<SealedSecret>>,
    /// What this server declares by itself to the channel that is decided on: its rows are added by whoever commits.
    pub(crate) own: OwnDeclarations,
    /// The ADE profile that an offer brings in force.
    pub(crate) profile: Option<String>,
    /// No more devices of the attempt's wave are offered their migration.
    pub(crate) offers_paused: bool,
    /// The channel that is speaking right now: what is queued for it needs no push.
    pub(crate) in_session: Option<EnrollmentId>,
    /// Takes the effects that are errands for many devices, where the caller makes one of all of them.
    pub(crate) gathered: Option<Vec<Effect>>,
    /// What was read for the message that is decided on.
    pub(super) seen: Option<Arc<Sight>>,
    /// The job that sends messages is in the batch already.
    telling: bool,
    pub(crate) batch: Batch,
}

impl<'a> Decision<'a> {
    pub(crate) fn new(
        organisation: &'a Organisation,
        ids: &'a IdSource,
        now: Timestamp,
        actor: &'a str,
    ) -> Self {
        Self {
            organisation,
            now,
            actor,
            ids,
            enrollments: BTreeMap::new(),
            sessions: Vec::new(),
            device: None,
            set_up: None,
            attempt: None,
            set_up_plan: None,
            attempt_plan: None,
            commands: BTreeMap::new(),
            to_seal: BTreeSet::new(),
            passwords: Vec::new(),
            dropped: BTreeSet::new(),
            secrets: BTreeMap::new(),
            own: OwnDeclarations::default(),
            profile: None,
            offers_paused: false,
            in_session: None,
            gathered: None,
            seen: None,
            telling: false,
            batch: Batch::new(),
        }
    }

    pub(crate) fn next_id(&self) -> i64 {
        self.ids.next(self.now)
    }

    pub(crate) fn track(&mut self, enrollment: Enrollment) {
        self.enrollments
            .entry(enrollment.id)
            .or_insert_with(|| Tracked::read(enrollment));
    }

    pub(crate) fn enrollment_mut(&mut self, id: EnrollmentId) -> Option<&mut Enrollment> {
        self.enrollments.get_mut(&id).map(|t| &mut t.row)
    }

    /// Ends the commands whose time is over; says whether there were any.
    pub(crate) fn expire_commands(&mut self) -> bool {
        let mut any = false;
        for command in self.commands.values_mut() {
            any |= command.row.expire(self.now);
        }
        any
    }

    /// Adds a line to the record.
    pub(crate) fn audit(&mut self, what: &str, detail: serde_json::Value) {
        let device = self.device.as_ref().map(|d| d.row.id);
        let entry = AuditEntry::new(
            self.organisation.id,
            AuditId(self.next_id()),
            self.now,
            self.actor,
            what,
            device,
            detail,
        );
        self.batch.put(entry);
    }

    /// Adds a job that is due at `due`.
    pub(crate) fn job(&mut self, due: Timestamp, kind: JobKind) {
        let job = Job::new(self.organisation.id, JobId(self.next_id()), due, kind);
        self.batch.put(job);
    }

    /// Adds a job under a key of its own.
    pub(crate) fn put_job(&mut self, job: Job) {
        self.batch.put(job);
    }

    /// Tells the set-up, performs what it asks for, and tells its Move of a new phase.
    pub(crate) fn tell_set_up(&mut self, event: &Event) {
        let Some(tracked) = &self.set_up else { return };
        let before = tracked.row.clone();
        let transition = match &self.set_up_plan {
            Some(plan) => advance_set_up(&before, plan, event, self.now),
            None => advance_unreadable(&before, event, self.now),
        };
        self.take_set_up(
            &before,
            transition.next,
            transition.effects,
            &name_of(event),
            cause::evidence(event, Some(&before)),
        );
    }

    /// Takes a transition of the set-up, whoever made it (the runner or the watchdog).
    pub(crate) fn take_set_up(
        &mut self,
        before: &SetUp,
        next: SetUp,
        effects: Vec<Effect>,
        cause: &str,
        evidence: serde_json::Value,
    ) {
        let (from, to) = (name_of(&before.state), name_of(&next.state));
        let steps = changed_steps(before, &next);
        if from != to
            || !steps.is_empty()
            || before.attention != next.attention
            || before.exceptions.len() != next.exceptions.len()
        {
            self.audit(
                "set-up",
                json!({
                    "from": from,
                    "to": to,
                    "cause": cause,
                    "evidence": evidence,
                    "steps": steps,
                    "attention": next.attention,
                    "exceptions": next.exceptions.get(before.exceptions.len()..).unwrap_or_default(),
                }),
            );
        }
        let phase = (before.phase() != next.phase() || before.version == 0).then(|| next.phase());
        let id = next.id;
        let out = before.released.is_none() && next.released.is_some();
        let lock = next.steps_or_proofs().get(&StepId::Lock);
        // Also where Apple refused it, or somebody else's is on it: nobody else finds out what is there now.
        let unsure = |status: &StepStatus| {
            lock::was_asked(status) || matches!(status, StepStatus::Excepted { .. })
        };
        let asked = out && lock.is_some_and(|lock| unsure(&lock.status));
        let through = |state: &SetUpState| {
            use SetUpEnd::{Proved, ProvedWithExceptions};
            matches!(state, SetUpState::Ended(Proved | ProvedWithExceptions))
        };
        if next.move_id.is_none() && through(&next.state) && !through(&before.state) {
            // It came without an attempt of ours, and no attempt will record that it is through. Not before: whoever enrols anew in
            // the middle still has everything to lose.
            for deadline in &next.deadlines {
                self.device
                    .iter_mut()
                    .for_each(|device| device.row.completed(*deadline));
            }
        }
        if let Some(tracked) = &mut self.set_up {
            tracked.row = next;
        }
        self.perform(effects);
        if let Some(device) = self.device.as_ref().map(|d| d.row.id).filter(|_| asked) {
            // No hold waits for it; until then its lock counts as asked for, and no more.
            let due = (self.now + LOCK_SHOWS).next_minute();
            self.job(due, JobKind::ReadLock { device });
        }
        if let Some(phase) = phase {
            self.tell_move(&Event::SetUpChanged { set_up: id, phase });
        }
    }

    /// Tells the Move and performs what it asks for.
    pub(crate) fn tell_move(&mut self, event: &Event) {
        let (Some(tracked), Some(plan)) = (&self.attempt, self.attempt_plan.clone()) else {
            return;
        };
        let before = tracked.row.clone();
        let transition = advance_move(&before, &plan, event, self.now);
        let mut next = transition.next;
        if matches!(event, Event::SubmitAsked { .. })
            && let Some(device) = &self.device
        {
            next.before = Some(Before::of(&device.row, self.now));
        }
        // What is not offered because somebody paused it is refused by nobody: no person is called for it.
        if self.offers_paused
            && matches!(next.state, MoveState::Scheduled { .. })
            && next.attention == Some(Attention::ProfileNotInForce)
        {
            next.attention = None;
        }
        let (from, to) = (name_of(&before.state), name_of(&next.state));
        if from != to
            || before.attention != next.attention
            || before.exceptions.len() != next.exceptions.len()
        {
            self.audit(
                "move",
                json!({
                    "from": from,
                    "to": to,
                    "cause": name_of(event),
                    "evidence": cause::evidence(event, None),
                    "attention": next.attention,
                    "exceptions": next.exceptions.get(before.exceptions.len()..).unwrap_or_default(),
                }),
            );
        }
        let mut return_licences = None;
        if let (MoveState::Ended(outcome), false) =
            (&next.state, matches!(before.state, MoveState::Ended(_)))
            && let Some(device) = &mut self.device
        {
            device.row.open_move = None;
            device.row.last_move = Some(next.id);
            let completed = matches!(outcome, Outcome::Migrated | Outcome::MigratedWithExceptions);
            // Recorded per deadline, so that a later deadline on a finished device is not an old migration.
            if completed {
                device.row.completed(next.deadline);
                // Somebody may have moved it in the portal, and that is the one that Apple's list goes on to show.
                if let Some(shown) = next.shown_deadline {
                    device.row.completed(shown);
                }
            }
            if completed {
                // What was given for it, or for an earlier attempt, is the device's own now.
                for held in &mut device.row.licences {
                    held.ours = false;
                }
            }
            let withdrawn = matches!(outcome, Outcome::Cancelled | Outcome::Withdrawn);
            // For which attempt each was given is looked at when they go back.
            let lent = withdrawn && device.row.licences.iter().any(|l| l.ours);
            let submitted = !matches!(
                before.state,
                MoveState::Planned | MoveState::Blocked { .. } | MoveState::Ready
            );
            // One whose app never came may have been promised a licence that others want.
            let promised = submitted && !completed && !store_apps(&plan).is_empty();
            return_licences = (lent || promised).then_some(device.row.id);
        }
        if let Some(device) = return_licences {
            // At the turn of the minute, so that those of many devices go back together.
            self.job(self.now.next_minute(), JobKind::ReturnLicences { device });
        }
        if let Some(tracked) = &mut self.attempt {
            tracked.row = next;
        }
        self.perform(transition.effects);
    }

    /// Queues the end of a hold for a device whose set-up is over. Each call is a command of its own: the last one may have
    /// been answered already, and a device that is not held answers one too many without harm.
    pub(crate) fn release_without_set_up(&mut self, enrollment: EnrollmentId) {
        let id = CommandId(self.next_id());
        let name = format!("{}/{enrollment}/late-release/{id}", self.organisation.id);
        let uuid = Uuid::new_v5(&COMMANDS, name.as_bytes())
            .hyphenated()
            .to_string()
            .to_ascii_uppercase();
        let body = crate::wire::command::CommandBody::DeviceConfigured;
        let bytes = body.encode(&uuid).to_vec();
        let mut command = Command::queued(
            self.organisation.id,
            id,
            enrollment,
            uuid,
            body.request_type(),
            bytes,
            self.now,
        );
        command.priority = RELEASE;
        self.commands.insert(id, Tracked::new(command));
        self.audit("hold.late-release", json!({ "enrolment": enrollment }));
        self.push(enrollment);
    }

    /// Takes in open commands of a channel: what is here already stays as it is here, and what its step has taken back
    /// before it was loaded is taken back now.
    pub(crate) fn load_commands(&mut self, open: Vec<Command>) {
        for command in open {
            let mut tracked = Tracked::read(command);
            let row = &tracked.row;
            let asked_by = row.origin.as_ref().map(|o| (o.set_up, o.step));
            if let Some((set_up, step)) = asked_by
                && self.dropped.contains(&(row.enrollment, set_up, step))
            {
                tracked.take_back(set_up, step, self.now);
            }
            self.commands.entry(tracked.row.id).or_insert(tracked);
        }
    }

    /// Wakes a channel, unless it is speaking already or a wake for it is in this batch.
    pub(crate) fn push(&mut self, enrollment: EnrollmentId) {
        if self.in_session == Some(enrollment) {
            return;
        }
        let queued = self
            .batch
            .writes
            .iter()
            .any(|w| matches!(w, Write::Job(j) if j.kind == JobKind::Push { enrollment }));
        if !queued {
            let push = Job::push(self.organisation.id, enrollment, self.now);
            self.batch.put(push);
        }
    }

    /// The batch: what changed is written, what was only read is expected.
    pub(crate) fn into_batch(mut self) -> Batch {
        let organisation = self.organisation.id;
        for tracked in self.enrollments.into_values() {
            finish(
                &mut self.batch,
                tracked,
                |r| (Noun::Enrollment, r.id.0, r.version),
                organisation,
            );
        }
        for tracked in self.sessions {
            finish(
                &mut self.batch,
                tracked,
                |r| (Noun::Session, r.id.0, r.version),
                organisation,
            );
        }
        for (id, tracked) in self.commands {
            if self.to_seal.contains(&id) {
                // Nothing that may hold a secret is written as it is; whoever forgot to seal it loses the command.
                tracing::error!(command = %id, "a command that was not sealed is left out");
                continue;
            }
            // A queue may be long; commands that were only looked at carry no decision but their own.
            if tracked.is_changed() {
                self.batch.put(tracked.row);
            }
        }
        for tracked in self.secrets.into_values() {
            finish(
                &mut self.batch,
                tracked,
                |r| (Noun::Secret, r.id.0, r.version),
                organisation,
            );
        }
        if let Some(tracked) = self.device {
            finish(
                &mut self.batch,
                tracked,
                |r| (Noun::Device, r.id.0, r.version),
                organisation,
            );
        }
        if let Some(tracked) = self.set_up {
            finish(
                &mut self.batch,
                tracked,
                |r| (Noun::SetUp, r.id.0, r.version),
                organisation,
            );
        }
        if let Some(tracked) = self.attempt {
            finish(
                &mut self.batch,
                tracked,
                |r| (Noun::Move, r.id.0, r.version),
                organisation,
            );
        }
        self.batch
    }
}

/// An app of a runbook's table as it is declared.
pub(crate) fn own_app(app: &AppPlan) -> OwnApp {
    OwnApp {
        bundle_id: app.bundle_id.clone(),
        store_id: app.store_id,
        manifest_url: app.manifest_url.clone(),
    }
}

fn finish<T: Clone + PartialEq + Into<Write>>(
    batch: &mut Batch,
    tracked: Tracked<T>,
    address: impl Fn(&T) -> (Noun, i64, i64),
    organisation: crate::ids::OrganisationId,
) {
    if tracked.is_changed() {
        batch.put(tracked.row);
    } else {
        let (noun, key, version) = address(&tracked.row);
        batch.expect(noun, organisation, key, version);
    }
}

/// The UUID of a step's command.
pub(crate) fn command_uuid(
    set_up: &SetUp,
    step: crate::migration::StepId,
    part: u16,
    attempt: u16,
) -> String {
    let name = format!(
        "{}/{}/{step}/{part}/{attempt}",
        set_up.organisation, set_up.id
    );
    Uuid::new_v5(&COMMANDS, name.as_bytes())
        .hyphenated()
        .to_string()
        .to_ascii_uppercase()
}

/// The first word of a value as its document spells it: the name of a state or an event.
pub(crate) fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(map)) => map
            .into_iter()
            .next()
            .map(|(name, _)| name)
            .unwrap_or_default(),
        _ => String::new(),
    }
}

fn changed_steps(before: &SetUp, after: &SetUp) -> serde_json::Map<String, serde_json::Value> {
    let empty = crate::migration::Steps::new();
    let old = before.steps().unwrap_or(&empty);
    let new = after.steps_or_proofs();
    new.iter()
        .filter(|(id, state)| old.get(id).map(|s| &s.status) != Some(&state.status))
        .map(|(id, state)| {
            (
                id.to_string(),
                serde_json::to_value(&state.status).unwrap_or_default(),
            )
        })
        .collect()
}
