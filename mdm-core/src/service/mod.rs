//! The façade: load, decide, commit; and the worker that talks afterwards. Knows no listeners and no TLS.
//!
//! [`Mdm`] is the installation, [`Org`] the handle of one organisation: whatever is asked through a handle stays within its
//! organisation. A host calls [`Org::check_in`] and [`Org::report`] from its two endpoints, [`Mdm::work`] from its scheduler,
//! [`Mdm::watch`] from a task of its own, and [`Mdm::keep_heard`] every half minute.

mod account;
mod acme;
mod act;
mod apart;
mod approvals;
mod asks;
mod authenticate;
mod begun;
mod cause;
mod checkin;
mod checklist;
mod commands;
mod credentials;
mod decision;
mod declarations;
mod door;
mod enqueue;
mod enrol;
mod errands;
mod facts;
mod failures;
mod foreseen;
mod gate;
mod give_up;
mod hand_off;
mod hand_over;
mod heard;
mod history;
mod hooks;
mod identities;
mod inquiry;
mod invitation;
mod leases;
mod let_out;
mod library;
mod licences;
mod lifted;
mod locks;
mod login;
mod manifests;
mod message;
mod operator;
mod partners;
mod people;
pub mod ports;
mod purge;
mod push_certificate;
mod put_off;
mod reading;
mod record;
mod recovery_lock;
mod refusals;
mod release;
mod removal;
mod renewal;
mod repeats;
mod report;
mod reports;
mod restored;
mod retention;
mod retry;
mod rotation;
mod rounds;
mod runbooks;
mod safe;
mod scep;
mod server_entries;
mod service_token;
mod set_back;
pub mod sign_in;
mod still_open;
mod sync;
mod tags;
mod templates;
mod token_update;
mod turns;
mod unplanned;
mod unreadable;
mod views;
mod watchdog;
mod wave;
mod web_view;
mod what_if;
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

pub use account::AccountServer;
pub use acme::{AcmeAnswer, AcmeOutcome, AcmeRequest};
pub use act::{Act, ActDone, ActPlan, ActProof, MigrationAct, PlannedRequest};
pub use approvals::{Confirmed, Revealed};
pub use commands::{Cancel, Cancelled, CommandDetail, CommandSummary};
pub use credentials::NewApiToken;
pub use declarations::{
    Activation, AssignmentView, ChannelDeclarations, NewDeclaration, NewFile, SetView,
    WantedDeclaration,
};
pub use enqueue::{Enqueued, NewCommand};
pub use failures::WaveFailures;
pub use gate::{BudgetReport, ClientClock, PauseGate, SharedGate, Spent};
pub use give_up::{GivenUp, GivingUp, WasGivenUp};
pub use hand_off::{HandOffOutcome, HandOffView};
pub use hand_over::{Agreements, SealedExport, SignerView};
pub use hooks::{HookChange, HookTest, NewHook};
pub use identities::{IdentityReport, IdentitySettings, IdentityState, NewIssuer};
pub use invitation::{EnrolmentChange, Invitation, NetworkChange};
pub use library::Put;
pub use licences::LicenceAct;
pub use locks::{ClearAsked, LockView};
pub use message::{Answer, Peer};
pub use operator::{DeviceReport, HeldSecret, NewOrganisation};
pub use people::{Holder, NewSession, actor_of, person_of};
pub use ports::Ports;
pub use purge::{KeptSecret, Purge};
pub use record::{Leaving, RecordReport};
pub use release::Release;
pub use repeats::{Coming, OnlyIf, Repeated};
pub use rotation::Rotation;
pub use runbooks::{RunbookUse, RunbookView};
pub use server_entries::{EntryTaken, TokenTerms};
pub use still_open::{GoingApp, StillOpen, WhyGoing};
pub use tags::{TagSet, TagsInUse};
pub use templates::{TemplatePush, TemplateView};
pub use wave::{
    Accepted, CalendarPiece, Candidates, Dates, GateView, MarkCounts, Member, OwnerNotice,
    OwnerNotices, PLAN_FORM, PlanFile, PlanTaken, PlannedMember, PlannedMet, PlannedProject,
    PlannedWave, ProjectChange, Standing, WaveTerms, WhatIf,
};
pub use what_if::{
    Detail, ImportOutcome, KnownApp, MemberReport, NotTaken, Question, Since, WhatIfReport,
};

use self::licences::HolderMemory;
use crate::clock::{Clock, Timestamp};
use crate::device::Platform;
use crate::error::Error;
use crate::ids::{EnrollmentId, IdSource, OrganisationCode, OrganisationId, RunbookId, SecretId};
use crate::migration::{PinnedRunbook, Variant};
use crate::organisation::Organisation;
use crate::secret::Secret;
use crate::store::riding::RidingStore;
use crate::store::{Store, Write};
use crate::vault::EscrowVault;

use apart::Apart;
use decision::Decision;
use door::{Chain, ChainKey, Speaker};
use history::Followed;
use leases::Leases;
use message::LARGE_AT_ONCE;
use put_off::PutOff;
use scep::{Authority, AuthorityKey, Lists};
use turns::{TRIES, Turns};

/// Settings of the installation that the library itself needs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "hosts fill in every field")]
pub struct MdmSettings {
    /// Where devices reach check-in and command endpoints, without a trailing slash: `https://mdm.example.com`.
    pub device_url: String,
    /// Where devices reach enrolment and SCEP, without a trailing slash. May equal `device_url` when that never asks for a
    /// client certificate.
    pub enrol_url: String,
    /// Whether devices sign their messages (`Mdm-Signature`); needed behind proxies that end TLS.
    pub sign_messages: bool,
}

/// The installation: a store, a vault, a clock and ports, for any number of organisations.
#[derive(Clone)]
pub struct Mdm {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    vault: EscrowVault,
    clock: Arc<dyn Clock>,
    ports: Ports,
    settings: MdmSettings,
    ids: Arc<IdSource>,
    /// Pinned runbooks are immutable: once read, always right.
    nonces: acme::UsedNonces,
    runbooks: Mutex<HashMap<(OrganisationId, RunbookId), Arc<PinnedRunbook>>>,
    /// Keys that sign and decrypt all day: CA, escrow, profile signer, push.
    keys: Mutex<HashMap<(OrganisationId, SecretId), Secret>>,
    /// CAs with their keys, loaded.
    cas: Mutex<HashMap<AuthorityKey, Arc<Authority>>>,
    /// Revocation lists as they were last made; bounded.
    lists: Mutex<Lists>,
    /// When this process looks for identities to renew next.
    renew_at: Mutex<Option<Timestamp>>,
    /// Identities whose renewal failed.
    unrenewed: PutOff,
    /// Certificates whose chain is verified, with the end of their validity; bounded. The version of the organisation is
    /// part of the key: a CA that it no longer lists vouches for nobody, and a revocation is seen at once.
    chains: Mutex<HashMap<ChainKey, Chain>>,
    /// Hashes of bypass codes with which Apple was asked for a lock, bounded.
    escrow_keys: Mutex<HashMap<(OrganisationId, SecretId), String>>,
    /// Organisations as last seen, for devices' messages, which check the version in the read that they make; bounded.
    organisations: Mutex<HashMap<OrganisationCode, Arc<Organisation>>>,
    /// Which domains of accounts are served.
    domains: Mutex<account::Domains>,
    begun: begun::Begun,
    /// Standard runbooks that are pinned; bounded.
    standards: Mutex<HashMap<Standard, (RunbookId, Arc<PinnedRunbook>)>>,
    /// Who holds licences, for open errands; bounded.
    holders: HolderMemory,
    /// Which devices have spoken since that was written down; bounded.
    heard: heard::Heard,
    /// Places for large messages that are being read.
    large: Semaphore,
    /// Whose messages are being decided on.
    turns: Turns,
    /// Jobs that go on beside the rounds.
    apart: Apart,
    /// Until when what is under way is ours.
    leases: Leases,
    followed: Followed,
    /// Something was committed that the worker may have to do with.
    stirred: AtomicBool,
    /// Machines that could not be woken, and holds that the watchdog could not release: apart, for one way out must not
    /// wait for the other.
    unwoken: PutOff,
    /// When this process clears away what is over next; `None` until it has worked once.
    clear_at: Mutex<Option<Timestamp>>,
    /// When this process looks next for organisations that were taken away.
    erase_at: Mutex<Option<Timestamp>>,
    /// When organisations were read anew for somebody unknown, the last time.
    read_anew: Mutex<HashMap<OrganisationId, Timestamp>>,
    /// When the records are sealed next.
    seal_at: Mutex<Option<Timestamp>>,
    unreleased: PutOff,
    /// The clock as the watchdog has seen it.
    set_back: set_back::SetBack,
    /// What the host has seen of its doors from outside, by organisation.
    outside: Mutex<HashMap<OrganisationId, crate::checklist::Outside>>,
    /// How the host's clock stands beside Apple's, as it was seen last.
    clock_beside: Mutex<Option<crate::checklist::ClockBeside>>,
    /// What the host has seen of manifests of apps, by organisation.
    manifests: manifests::ManifestMemory,
    /// ADE profiles with which devices did not wait, as they were counted last.
    unheld: Mutex<HashMap<OrganisationId, (Timestamp, failures::Unheld)>>,
}

/// Which standard runbook.
type Standard = (OrganisationId, Platform, Variant);

impl std::fmt::Debug for Mdm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mdm")
            .field("store", &self.inner.store.name())
            .finish_non_exhaustive()
    }
}

/// Handle of one organisation.
#[derive(Clone)]
pub struct Org {
    mdm: Mdm,
    organisation: Arc<Organisation>,
    /// In whose name a person's acts are recorded.
    actor: Arc<str>,
    /// Who that is, whatever they are called: what tells two persons apart.
    person: Arc<str>,
    /// While a device's message is answered: whether the host's span knows the serial number.
    named: Option<Arc<AtomicBool>>,
    /// Addresses that stand only in what somebody has just sent may be looked at.
    may_send_us: bool,
}

impl std::fmt::Debug for Org {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Org")
            .field("id", &self.organisation.id)
            .finish_non_exhaustive()
    }
}

impl Mdm {
    /// Puts an installation together. `node` tells processes on one database apart; any number will do.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        vault: EscrowVault,
        clock: Arc<dyn Clock>,
        ports: Ports,
        settings: MdmSettings,
    ) -> Self {
        let mut node = [0_u8; 2];
        // Without randomness ids of two processes may collide, which the store answers with a conflict: harmless.
        let _ = openssl::rand::rand_bytes(&mut node);
        let ids = Arc::new(IdSource::new(u16::from_be_bytes(node)));
        let store = RidingStore::new(store, Arc::clone(&clock), Arc::clone(&ids));
        Self {
            inner: Arc::new(Inner {
                store: Arc::new(store),
                vault,
                clock,
                ports,
                settings,
                ids,
                nonces: acme::UsedNonces::default(),
                runbooks: Mutex::default(),
                keys: Mutex::default(),
                cas: Mutex::default(),
                lists: Mutex::default(),
                renew_at: Mutex::default(),
                unrenewed: PutOff::default(),
                chains: Mutex::default(),
                escrow_keys: Mutex::default(),
                organisations: Mutex::default(),
                domains: Mutex::default(),
                begun: begun::Begun::default(),
                standards: Mutex::default(),
                holders: HolderMemory::default(),
                heard: heard::Heard::default(),
                large: Semaphore::new(LARGE_AT_ONCE),
                turns: Turns::default(),
                apart: Apart::default(),
                leases: Leases::default(),
                followed: Followed::default(),
                stirred: AtomicBool::new(false),
                unwoken: PutOff::default(),
                clear_at: Mutex::default(),
                erase_at: Mutex::default(),
                read_anew: Mutex::default(),
                seal_at: Mutex::default(),
                unreleased: PutOff::default(),
                set_back: set_back::SetBack::default(),
                outside: Mutex::default(),
                clock_beside: Mutex::default(),
                manifests: manifests::ManifestMemory::default(),
                unheld: Mutex::default(),
            }),
        }
    }

    /// The handle of an organisation, by the code in a device's path.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's.
    pub async fn organisation(&self, code: &OrganisationCode) -> Result<Org, Error> {
        let organisation = self
            .inner
            .store
            .organisation_by_code(code)
            .await?
            .ok_or(Error::NotFound("organisation"))?;
        Ok(self.handle(organisation))
    }

    /// The handle of an organisation, by id.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's.
    pub async fn organisation_by_id(&self, id: OrganisationId) -> Result<Org, Error> {
        let organisation = self
            .inner
            .store
            .organisation(id)
            .await?
            .ok_or(Error::NotFound("organisation"))?;
        Ok(self.handle(organisation))
    }

    /// All organisations, in the order of ids, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn organisations(
        &self,
        after: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Organisation>, Error> {
        Ok(self.inner.store.organisations(after, limit).await?)
    }

    /// The store that it works on.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    /// The present moment of its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// When [`Mdm::work`] will have something to do; may lie in the past. `None`: nothing waits.
    ///
    /// # Errors
    /// The store's.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.inner.store.next_due().await?)
    }

    /// Whether something was committed since the last question that [`Mdm::work`] may have to do with. For a host that
    /// wakes its workers after a device's message: most messages leave nothing to do.
    #[must_use]
    pub fn stirred(&self) -> bool {
        self.inner.stirred.swap(false, Ordering::Relaxed)
    }

    fn handle(&self, organisation: Organisation) -> Org {
        self.handle_of(Arc::new(organisation))
    }

    fn handle_of(&self, organisation: Arc<Organisation>) -> Org {
        Org {
            mdm: self.clone(),
            organisation,
            actor: Arc::from("operator"),
            person: Arc::from("operator"),
            named: None,
            may_send_us: true,
        }
    }
}

impl Org {
    /// The same handle in the name of a person or a program: what it does for people is in the record under `actor`
    /// (`operator` when nobody was named). Proves nothing; whoever calls has.
    #[must_use]
    pub fn acting_for(mut self, actor: &str) -> Self {
        self.actor = Arc::from(actor);
        self.person = Arc::clone(&self.actor);
        self
    }

    /// The same handle, and who it is that acts, whatever they are called now: the same for one person however often their name
    /// changes, another for everybody else. What takes two persons takes two of these. Without it the name decides.
    #[must_use]
    pub fn being(mut self, person: &str) -> Self {
        self.person = Arc::from(person);
        self
    }

    /// The same handle for somebody at whose word nobody is to look at an address: of those that stand in a runbook of a question, the
    /// ones are looked at that plans or kept runbooks name too.
    #[must_use]
    pub fn looking_at_ours_alone(mut self) -> Self {
        self.may_send_us = false;
        self
    }

    /// Who it is that acts.
    pub(crate) fn person(&self) -> &str {
        &self.person
    }

    /// In whose name a person's acts are recorded.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    /// The organisation as it was when the handle was made.
    #[must_use]
    pub fn organisation(&self) -> &Organisation {
        &self.organisation
    }

    pub(crate) fn id(&self) -> OrganisationId {
        self.organisation.id
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.mdm.now()
    }

    pub(crate) fn ids(&self) -> &IdSource {
        &self.mdm.inner.ids
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.mdm.store()
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.mdm.inner.ports
    }

    pub(crate) fn settings(&self) -> &MdmSettings {
        &self.mdm.inner.settings
    }

    /// For the log of a host whose span around the request has a field `serial`: once for each message, however often it is
    /// decided on.
    pub(crate) fn name_device(&self, serial: &str) {
        let named = self.named.as_ref();
        if !named.is_some_and(|named| named.swap(true, Ordering::Relaxed)) {
            tracing::Span::current().record("serial", serial);
        }
    }

    /// Commits what a decision came to; nothing is sent to the store when it came to nothing.
    pub(crate) async fn commit(&self, mut d: Decision<'_>) -> Result<(), Error> {
        if !d.passwords.is_empty() {
            // Seldom: on a heap of its own.
            Box::pin(self.fill_passwords(&mut d)).await?;
        }
        self.seal_commands(&mut d).await?;
        if d.own.channel.is_some() {
            // Seldom, and large: on a heap of its own.
            Box::pin(self.own_declarations_into(&mut d)).await?;
        }
        let channels: BTreeSet<EnrollmentId> = d.dropped.iter().map(|(of, ..)| *of).collect();
        for channel in channels {
            // Of those that a step takes back, all; most of them are in nobody's hands here.
            self.load_queue(&mut d, channel, token_update::ALL_COMMANDS)
                .await?;
        }
        if let Some(device) = &d.device {
            self.name_device(device.row.serial.as_str());
        }
        let batch = d.into_batch();
        if batch.writes.is_empty() {
            return Ok(());
        }
        let stirs = batch
            .writes
            .iter()
            .any(|w| matches!(w, Write::Job(_) | Write::SetUp(_) | Write::Move(_)));
        self.store().commit(batch).await?;
        if stirs {
            self.mdm.inner.stirred.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
