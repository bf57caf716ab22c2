//! Everything that one decision writes, and the versions that it rests on: a plain value that pure code can build and a
//! test can print.

use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::approval::{Alone, Approval};
use crate::audit::{ApiToken, AuditEntry, Refusal};
use crate::audit_seal::{AuditSeal, FRESH, HELD};
use crate::budget::Budget;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    Declaration, DeclarationAssignment, DeclarationContent, DeclarationManifest, DeclarationSet,
    DeclaredChannel,
};
use crate::device::Device;
use crate::enrollment::{EnrolSession, Enrollment, IssuedCertificate};
use crate::errand::Errand;
use crate::hand_off::{HandOff, HandOffPart};
use crate::hook::{Hook, HookMessage};
use crate::ids::{AuditId, IdSource, JobId, OrganisationId};
use crate::inventory::Inventory;
use crate::job::Job;
use crate::library::LibraryItem;
use crate::licences::Location;
use crate::migration::{Move, Pinned, SetUp};
use crate::organisation::Organisation;
use crate::original::OriginalFacts;
use crate::person::{PersonSession, SignInAttempt};
use crate::project::{AcceptedPart, Project, WhatIfRun};
use crate::queue::Command;
use crate::repeat::Repeat;
use crate::runbook::KeptRunbook;
use crate::sealed::SealedSecret;
use crate::server_certificate::ServerCertificate;
use crate::template::Template;
use crate::wave::{Server, Wave};

/// The writes of one decision and what it rests on. All of it or nothing is applied.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// What is written, in order. A key occurs at most once per noun.
    pub writes: Vec<Write>,
    /// Rows that were read for the decision and are not written.
    pub expects: Vec<Expect>,
    /// Since when the ids of its lines of the record are drawn, where it has any and was handed over by this library.
    drawn: Option<Stopwatch>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write.
    pub fn put(&mut self, write: impl Into<Write>) -> &mut Self {
        self.writes.push(write.into());
        self
    }

    /// Adds an expectation on a row that is read and not written.
    pub fn expect(
        &mut self,
        noun: Noun,
        organisation: OrganisationId,
        key: i64,
        version: i64,
    ) -> &mut Self {
        self.expects.push(Expect {
            noun,
            organisation,
            key,
            version,
        });
        self
    }

    /// Whether it has lines of the record and was handed over more than a minute ago: it must not be written any more, for others may
    /// have sealed the record past its time. Whoever commits looks as the transaction begins and right before it ends, and answers
    /// [`StoreError::Late`](super::StoreError::Late).
    #[must_use]
    pub fn is_late(&self) -> bool {
        is_late(self.drawn)
    }

    /// Gives its lines of the record ids of this moment, if theirs are older, and keeps the moment: a decision may have taken its
    /// time, and what seals the record goes by the ids.
    pub(crate) fn draw(&mut self, ids: &IdSource, clock: &dyn Clock) {
        let lines = self.writes.iter_mut().filter_map(|write| match write {
            Write::Audit(line) => Some(line),
            _ => None,
        });
        let lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            return;
        }
        // Before the clock is read: what passes in between counts.
        self.drawn = Some(Stopwatch::start());
        let now = clock.now();
        let is_old = |id: AuditId| now.since(IdSource::time(id.0)) > FRESH;
        if lines.iter().any(|line| is_old(line.id)) {
            // All of them, in their order.
            for line in lines {
                line.id = AuditId(ids.next(now));
            }
        }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) const fn drawn(&self) -> Option<Stopwatch> {
        self.drawn
    }

    /// As if it had been handed over then.
    pub(crate) fn drawn_at(&mut self, drawn: Stopwatch) {
        self.drawn = Some(drawn);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.expects.is_empty()
    }
}

/// Whether what was drawn then must not be written any more.
pub(crate) fn is_late(drawn: Option<Stopwatch>) -> bool {
    drawn.is_some_and(|drawn| drawn.elapsed() > HELD)
}

/// One row to be written. A versioned noun carries the version that it was read with: 0 inserts and conflicts when the
/// key, or another unique column, is taken; `n` replaces version `n` with `n + 1` and conflicts when the row has another.
///
/// Within a batch, rows that change are written before new ones: a unique value may pass from an old row to a new one, and
/// two old rows cannot exchange theirs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Write {
    /// Versioned.
    Organisation(Box<Organisation>),
    /// Versioned; the serial number is unique in the organisation.
    Device(Box<Device>),
    /// Versioned; the id equals the device's.
    OriginalFacts(OriginalFacts),
    /// Versioned.
    HandOff(HandOff),
    /// Versioned, though never changed.
    HandOffPart(HandOffPart),
    /// Versioned.
    Enrollment(Enrollment),
    /// Versioned; code and challenge hash are unique in the organisation.
    Session(EnrolSession),
    /// Versioned; the hash is unique in the organisation.
    Certificate(IssuedCertificate),
    /// Versioned; the UUID is unique in the enrolment.
    Command(Command),
    /// Versioned; one set-up per enrolment.
    SetUp(SetUp),
    /// Versioned; one unfinished move per device.
    Move(Move),
    /// Versioned; the name is unique in the organisation.
    Project(Project),
    /// Versioned.
    Wave(Box<Wave>),
    /// Versioned; the id equals the wave's.
    WhatIfRun(WhatIfRun),
    /// A piece of what somebody accepted.
    AcceptedPart(AcceptedPart),
    /// Versioned; the id comes from the name.
    KeptRunbook(KeptRunbook),
    /// Versioned; the id comes from the name.
    Template(Template),
    /// Immutable: written once, and again with the same content without harm.
    Runbook(Pinned),
    /// Versioned.
    Server(Server),
    /// Versioned.
    Secret(SealedSecret),
    /// Versioned; the hash is unique in the installation.
    Token(ApiToken),
    /// Versioned.
    Errand(Errand),
    /// Versioned; the name is unique in the organisation.
    Budget(Budget),
    /// Versioned.
    Location(Location),
    /// Versioned.
    Inventory(Inventory),
    /// Versioned; the name is unique in the organisation.
    LibraryItem(LibraryItem),
    /// Versioned; the identifier is unique in the organisation.
    Declaration(Declaration),
    /// Versioned; the server token is unique in the organisation.
    DeclarationContent(DeclarationContent),
    /// Versioned; the name is unique in the organisation.
    DeclarationSet(DeclarationSet),
    /// Versioned; one of a set and target that has not ended.
    DeclarationAssignment(DeclarationAssignment),
    /// Versioned; the token is unique in the organisation.
    DeclarationManifest(DeclarationManifest),
    /// Versioned; the id equals the enrolment's.
    DeclaredChannel(DeclaredChannel),
    /// Versioned; the id equals the enrolment's.
    ChannelStatus(ChannelStatus),
    /// Versioned; the name is unique in the installation.
    ServerCertificate(ServerCertificate),
    /// Versioned; the name of the key is unique in the organisation.
    AcmeAccount(AcmeAccount),
    /// Versioned; the certified key is unique in the organisation.
    AcmeOrder(AcmeOrder),
    /// Versioned: a nonce that is used again conflicts.
    AcmeNonce(AcmeNonce),
    /// Versioned; the hash of the state is unique in the installation, and so is that of the one-time code.
    SignInAttempt(SignInAttempt),
    /// Versioned; the hash of the token is unique in the installation.
    PersonSession(PersonSession),
    /// Versioned.
    Approval(Approval),
    /// Versioned; the name is unique in the organisation.
    Alone(Alone),
    /// Versioned; the key is unique in the organisation.
    Repeat(Repeat),
    /// Versioned; the name is unique among those that are not removed.
    Hook(Hook),
    /// Versioned.
    HookMessage(HookMessage),
    /// A new job, or one that goes on later: replaces the job of that id and ends its lease.
    Job(Job),
    /// A job is done. Conflicts when the job is gone already or another worker has leased it since.
    JobDone {
        /// For whom.
        organisation: OrganisationId,
        /// Which.
        id: JobId,
        /// The lease under which it was claimed.
        lease: Lease,
    },
    /// A claimed job goes on later. Conflicts as `JobDone` does.
    JobLater {
        /// The job as it should be: due, tries and kind may differ.
        job: Job,
        /// The lease under which it was claimed.
        lease: Lease,
    },
    /// Appended.
    Audit(AuditEntry),
    /// Appended; the store keeps a bounded number per organisation.
    Refusal(Refusal),
    /// Versioned, though never changed: two that take one place in the chain conflict.
    AuditSeal(AuditSeal),
}

macro_rules! into_write {
    ($($noun:ident($ty:ty)),* $(,)?) => {$(
        impl From<$ty> for Write {
            fn from(row: $ty) -> Self {
                Self::$noun(row)
            }
        }
    )*};
}

impl From<Organisation> for Write {
    fn from(row: Organisation) -> Self {
        Self::Organisation(Box::new(row))
    }
}

impl From<Device> for Write {
    fn from(row: Device) -> Self {
        Self::Device(Box::new(row))
    }
}

impl From<Wave> for Write {
    fn from(row: Wave) -> Self {
        Self::Wave(Box::new(row))
    }
}

into_write! {
    OriginalFacts(OriginalFacts), HandOff(HandOff), HandOffPart(HandOffPart), Enrollment(Enrollment), Session(EnrolSession), Certificate(IssuedCertificate),
    Command(Command), SetUp(SetUp), Move(Move), Project(Project), WhatIfRun(WhatIfRun), AcceptedPart(AcceptedPart), KeptRunbook(KeptRunbook), Template(Template), Runbook(Pinned), Server(Server), Secret(SealedSecret),
    Token(ApiToken), Errand(Errand), Budget(Budget), Location(Location), Inventory(Inventory), LibraryItem(LibraryItem),
    Declaration(Declaration), DeclarationContent(DeclarationContent), DeclarationSet(DeclarationSet), DeclarationAssignment(DeclarationAssignment), DeclarationManifest(DeclarationManifest), DeclaredChannel(DeclaredChannel), ChannelStatus(ChannelStatus),
    ServerCertificate(ServerCertificate), AcmeAccount(AcmeAccount), AcmeOrder(AcmeOrder), AcmeNonce(AcmeNonce), SignInAttempt(SignInAttempt), PersonSession(PersonSession), Approval(Approval), Alone(Alone), Repeat(Repeat), Hook(Hook), HookMessage(HookMessage), Job(Job), Audit(AuditEntry), AuditSeal(AuditSeal), Refusal(Refusal),
}

/// Proof of a claim: the end of the lease as it was first given. A later claim has a later one. It stays what it is when the
/// claimed job is kept for longer ([`JobStore::renew_leases`](super::JobStore::renew_leases)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a moment with a meaning")]
pub struct Lease(pub Timestamp);

/// A job that somebody has claimed, and the proof of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an address and a proof")]
pub struct Claim {
    /// For whom.
    pub organisation: OrganisationId,
    /// Which.
    pub id: JobId,
    /// The lease under which it was claimed.
    pub lease: Lease,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Claim {
    /// Of what is stored.
    pub(super) const fn of((organisation, id, lease): (i64, i64, i64)) -> Self {
        Self {
            organisation: OrganisationId(organisation),
            id: JobId(id),
            lease: Lease(Timestamp::from_millis(lease)),
        }
    }
}

/// A row that was read for a decision and is not written by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an address and a version")]
pub struct Expect {
    /// Which kind of row.
    pub noun: Noun,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its id.
    pub key: i64,
    /// The version that it was read with; 0 when it must not exist.
    pub version: i64,
}

/// Kinds of versioned rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "one for each versioned table")]
pub enum Noun {
    /// Organisations; the key equals the organisation's id.
    Organisation,
    /// Devices.
    Device,
    /// What the original service knew of devices; the key equals the device's.
    OriginalFacts,
    /// Jobs for sealed hand-offs.
    HandOff,
    /// What became of devices of hand-offs.
    HandOffPart,
    /// Enrolments.
    Enrollment,
    /// Enrolment sessions.
    Session,
    /// Issued certificates.
    Certificate,
    /// Commands.
    Command,
    /// Set-ups.
    SetUp,
    /// Moves.
    Move,
    /// Seals of the chain over the record.
    AuditSeal,
    /// Projects.
    Project,
    /// Waves.
    Wave,
    /// What-ifs that somebody had run for waves; the key equals the wave's.
    WhatIfRun,
    /// Pieces of what somebody accepted.
    AcceptedPart,
    /// Runbooks that an organisation keeps under a name; the key comes from the name.
    KeptRunbook,
    /// Templates of the installation; the key comes from the name.
    Template,
    /// Server entries.
    Server,
    /// Secrets.
    Secret,
    /// API tokens.
    Token,
    /// Requests that change something at Apple.
    Errand,
    /// What is used of Apple's budgets.
    Budget,
    /// Locations of Apps and Books.
    Location,
    /// Readings of the organisation's device list.
    Inventory,
    /// Profiles and packages that are kept for devices.
    LibraryItem,
    /// Declarations; the identifier is unique in the organisation.
    Declaration,
    /// Contents of declarations; the server token is unique in the organisation.
    DeclarationContent,
    /// Sets of declarations; the name is unique in the organisation.
    DeclarationSet,
    /// For whom sets are; one of a set and target that has not ended.
    DeclarationAssignment,
    /// Lists of declarations; the token is unique in the organisation.
    DeclarationManifest,
    /// What channels were told of their declarations; the key equals the enrolment's.
    DeclaredChannel,
    /// What channels report; the key equals the enrolment's.
    ChannelStatus,
    /// Certificates of the installation's listeners.
    ServerCertificate,
    /// Accounts of devices at our ACME server.
    AcmeAccount,
    /// Orders of devices at our ACME server; the key is that of the session.
    AcmeOrder,
    /// Used nonces of our ACME server.
    AcmeNonce,
    /// Sign-ins under way.
    SignInAttempt,
    /// Sessions of people who have signed in.
    PersonSession,
    /// What takes two persons.
    Approval,
    /// What people did alone lately; the name is unique in the organisation.
    Alone,
    /// Requests of programs that may come twice.
    Repeat,
    /// Receivers of webhooks.
    Hook,
    /// Messages to them.
    HookMessage,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn lines_of_a_decision_that_took_its_time_get_new_ids_in_their_order() {
        let ids = IdSource::new(1);
        let decided = Timestamp::from_millis(1_800_000_000_000);
        let line = |what: &str| {
            let id = AuditId(ids.next(decided));
            let nothing = serde_json::Value::Null;
            AuditEntry::new(OrganisationId(1), id, decided, "Anna", what, None, nothing)
        };
        let (one, two) = (line("one"), line("two"));
        let told = |after: Duration| {
            let mut batch = Batch::new();
            batch.put(one.clone()).put(two.clone());
            batch.draw(&ids, &ManualClock::new(decided + after));
            assert!(batch.drawn.is_some() && !batch.is_late());
            let lines = batch.writes.iter().map(|write| match write {
                Write::Audit(line) => (line.id, line.at, line.what.clone()),
                other => panic!("{other:?}"),
            });
            lines.collect::<Vec<_>>()
        };
        let as_decided = [&one, &two].map(|line| (line.id, decided, line.what.clone()));
        assert_eq!(told(Duration::from_secs(1)), as_decided);
        let later = told(Duration::from_mins(10));
        assert_eq!((&*later[0].2, &*later[1].2), ("one", "two"));
        assert!(later[0].0 < later[1].0);
        for (id, at, _) in later {
            // What was decided when stays what it was.
            assert_eq!(at, decided);
            let drawn = IdSource::time(id.0);
            assert!(drawn >= decided + Duration::from_mins(10), "{drawn}");
        }
    }

    #[test]
    fn what_has_no_line_of_the_record_is_never_late() {
        let mut batch = Batch::new();
        batch.expect(Noun::Wave, OrganisationId(1), 1, 1);
        batch.draw(&IdSource::new(1), &ManualClock::default());
        assert!(batch.drawn.is_none() && !batch.is_late());
        batch.drawn_at(Stopwatch::running_for(HELD + Duration::from_secs(1)));
        assert!(batch.is_late());
    }
}
