//! Rows to try a store with: each noun with every optional part filled in, and how to change, name and read it back.

mod declared;
mod doors;
mod people;

use std::collections::BTreeMap;

pub(super) use declared::{
    channel_status, declaration, declaration_assignment, declaration_content, declaration_manifest,
    declaration_set, declared_channel,
};
pub(super) use doors::{acme_account, acme_nonce, acme_order, server_certificate};
pub(super) use people::{person, person_session, sign_in};

use super::at;
use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::approval::{Alone, Approval, Wanted};
use crate::audit::{ApiToken, Role};
use crate::audit_seal::AuditSeal;
use crate::budget::{Allowance, Budget, RequestClass};
use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    Declaration, DeclarationAssignment, DeclarationContent, DeclarationManifest, DeclarationSet,
    DeclaredChannel,
};
use crate::device::{Device, DeviceRecord, OrgReading, Platform};
use crate::enrollment::{
    ChannelKind, EnrolSession, Enrollment, EnrollmentState, IssuedCertificate, PushTarget,
};
use crate::errand::{Errand, ErrandKind, ErrandMember};
use crate::gap::{GapGroup, GapPlace};
use crate::hand_off::{HandOff, HandOffPart, HandOffState, HandedOver};
use crate::hook::{Hook, HookMessage};
use crate::ids::{
    AcceptedId, AcmeAccountId, AcmeNonceId, AloneId, ApprovalId, AssignmentId, AuditId,
    AuditSealId, BudgetId, CertificateId, CommandId, ContentId, DeclarationId, DeclarationSetId,
    DeviceId, EnrollmentId, ErrandId, HandOffId, HandOffPartId, HookId, HookMessageId, InventoryId,
    JobId, LibraryId, LocationId, ManifestId, MoveId, OrganisationCode, OrganisationId,
    PersonSessionId, ProjectId, RepeatId, RunbookId, SecretId, Serial, ServerCertificateId,
    ServerId, SessionId, SetUpId, SignInId, TemplateId, TokenId, WaveId,
};
use crate::inventory::{Inventory, PullPhase};
use crate::job::{Job, JobKind};
use crate::library::{Audience, LibraryContent, LibraryItem};
use crate::licences::{Location, Stock, TakenOver};
use crate::migration::{
    Attention, Exception, Move, MoveState, Notice, Outcome, Owner, Pinned, PinnedRunbook, SetUp,
    SetUpState, StepId, StepPlan, Variant, Verdict, VerdictKind,
};
use crate::organisation::{Der, Organisation, WrappedKey};
use crate::original::{OriginalApp, OriginalFacts, Said, Told};
use crate::person::{PersonSession, SignInAttempt};
use crate::project::{AcceptedPart, Project, RunRow, WhatIfRun};
use crate::queue::Command;
use crate::repeat::{Repeat, RepeatState};
use crate::runbook::KeptRunbook;
use crate::sealed::SealedSecret;
use crate::secret::SecretKind;
use crate::server_certificate::ServerCertificate;
use crate::store::{Noun, Store, StoreError, Write};
use crate::template::Template;
use crate::wave::{Server, SyncCursor, Wave, WaveState};

/// A versioned noun as the suite handles it.
pub(super) trait Sample: Clone + PartialEq + std::fmt::Debug + Into<Write> {
    const NOUN: Noun;
    /// A row of this id, version 0; rows of other ids share no unique value with it.
    fn sample(organisation: OrganisationId, id: i64) -> Self;
    fn set_version(&mut self, version: i64);
    /// Changes something that is not unique.
    fn change(&mut self);
    /// Reads the row of this id that [`Sample::sample`] made.
    async fn read(
        store: &impl Store,
        organisation: OrganisationId,
        id: i64,
    ) -> Result<Option<Self>, StoreError>;
}

macro_rules! samples {
    ($($noun:ident: $id:ident, $sample:ident, |$it:ident| $change:expr, |$store:ident, $org:ident, $key:ident| $read:expr;)*) => {$(
        impl Sample for $noun {
            const NOUN: Noun = samples!(@noun $noun);
            fn sample(organisation: OrganisationId, id: i64) -> Self { $sample(organisation, $id(id)) }
            fn set_version(&mut self, version: i64) { self.version = version; }
            fn change(&mut self) { let $it = self; $change; }
            async fn read($store: &impl Store, $org: OrganisationId, id: i64) -> Result<Option<Self>, StoreError> {
                let $key = $id(id);
                $read
            }
        }
    )*};
    (@noun EnrolSession) => { Noun::Session };
    (@noun IssuedCertificate) => { Noun::Certificate };
    (@noun SealedSecret) => { Noun::Secret };
    (@noun ApiToken) => { Noun::Token };
    (@noun $noun:ident) => { Noun::$noun };
}

samples! {
    Device: DeviceId, device, |it| it.facts.name = Some("Anna\u{2019}s Mac".to_owned()), |store, org, id| store.device(org, id).await;
    OriginalFacts: DeviceId, original, |it| it.shared = Some(Told { value: true, at: at(94), by: "export".to_owned() }),
        |store, org, id| store.original(org, id).await;
    HandOff: HandOffId, hand_off, |it| it.state = HandOffState::Closed { at: at(95), by: "Bo".to_owned(), bundle: None },
        |store, org, id| store.hand_off(org, id).await;
    HandOffPart: HandOffPartId, hand_off_part, |it| it.devices.clear(),
        |store, org, id| Ok(store.hand_off_parts(org, HandOffId(3), HandOffPartId(id.0 - 1), 1).await?.into_iter().find(|p| p.id == id));
    Enrollment: EnrollmentId, enrollment, |it| it.awaiting = Some(false), |store, org, id| store.enrollment(org, id).await;
    EnrolSession: SessionId, session, |it| it.certificate = Some(CertificateId(9)), |store, org, id| store.session(org, id).await;
    IssuedCertificate: CertificateId, certificate, |it| it.revoked = Some(at(77)), |store, org, id| store.certificate(org, id).await;
    Command: CommandId, command, |it| it.sent = Some(at(78)),
        |store, org, id| store.command(org, EnrollmentId(5), &uuid(id)).await;
    SetUp: SetUpId, set_up, |it| it.attention = Some(Attention::HoldLong), |store, org, id| store.set_up(org, id).await;
    Move: MoveId, attempt, |it| it.attention = Some(Attention::SilentForDays), |store, org, id| store.attempt(org, id).await;
    Wave: WaveId, wave, |it| it.state = WaveState::Closed { at: at(79) }, |store, org, id| store.wave(org, id).await;
    AuditSeal: AuditSealId, audit_seal, |it| it.at = at(99),
        |store, org, id| Ok(store.audit_seals(org, AuditSealId(id.0 - 1), 1).await?.into_iter().find(|s| s.id == id));
    Project: ProjectId, project, |it| it.on = true, |store, org, id| store.project(org, id).await;
    Approval: ApprovalId, approval, |it| it.reason = Some("other".to_owned()), |store, org, id| store.approval(org, id).await;
    Alone: AloneId, alone, |it| it.lately.clear(), |store, org, id| store.alone(org, &format!("reveals of {id}")).await;
    KeptRunbook: RunbookId, kept_runbook, |it| it.platform = Platform::Macos, |store, org, id| store.kept_runbook(org, id).await;
    Template: TemplateId, template, |it| it.revision += 1, |store, org, id| store.template(org, id).await;
    AcceptedPart: AcceptedId, accepted_part, |it| it.part += 1,
        |store, org, id| Ok(store.accepted_parts(org, WaveId(3), AcceptedId(id.0 - 1), 1).await?.into_iter().find(|p| p.id == id));
    WhatIfRun: WaveId, what_if_run, |it| it.by = "Bo".to_owned(), |store, org, id| store.what_if_run(org, id).await;
    Server: ServerId, server, |it| it.cursor = SyncCursor::Changes { cursor: "c2".to_owned() },
        |store, org, id| store.server(org, id).await;
    SealedSecret: SecretId, secret, |it| it.replaced = Some(at(80)), |store, org, id| store.secret(org, id).await;
    ApiToken: TokenId, token, |it| it.revoked = Some(at(81)),
        |store, org, id| Ok(store.tokens(org).await?.into_iter().find(|t| t.id == id));
    Errand: ErrandId, errand, |it| it.asked(1, at(82)), |store, org, id| store.errand(org, id).await;
    Budget: BudgetId, budget, |it| spend(it, 83), |store, org, id| store.budget(org, &format!("api {id}")).await;
    LibraryItem: LibraryId, library_item, |it| it.revision += 1, |store, org, id| store.library_item(org, id).await;
    ServerCertificate: ServerCertificateId, server_certificate, |it| it.failures += 1,
        |store, org, id| store.server_certificate(org, &format!("certificate {id}")).await;
    AcmeAccount: AcmeAccountId, acme_account, |it| it.deactivated = true, |store, org, id| store.acme_account(org, id).await;
    AcmeOrder: SessionId, acme_order, |it| it.begun += 1, |store, org, id| store.acme_order(org, id).await;
    AcmeNonce: AcmeNonceId, acme_nonce, |it| it.expires = at(86), |store, org, id| store.acme_nonce(org, id).await;
    Location: LocationId, location, |it| it.stock_read = Some(at(84)), |store, org, id| store.location(org, id).await;
    Inventory: InventoryId, inventory, |it| it.phase = PullPhase::Devices { begun: at(85), cursor: None },
        |store, org, id| store.inventory(org, id).await;
    Declaration: DeclarationId, declaration, |it| it.removed = Some(at(86)), |store, org, id| store.declaration(org, id).await;
    DeclarationContent: ContentId, declaration_content, |it| it.created = at(87),
        |store, org, id| store.declaration_content(org, id).await;
    DeclarationSet: DeclarationSetId, declaration_set, |it| it.removed = Some(at(88)),
        |store, org, id| store.declaration_set(org, id).await;
    DeclarationAssignment: AssignmentId, declaration_assignment, |it| it.ended = Some(at(89)),
        |store, org, id| store.declaration_assignment(org, id).await;
    DeclarationManifest: ManifestId, declaration_manifest, |it| it.created = at(90),
        |store, org, id| store.declaration_manifest(org, id).await;
    DeclaredChannel: EnrollmentId, declared_channel, |it| it.tell(ManifestId(9), at(91)),
        |store, org, id| store.declared_channel(org, id).await;
    SignInAttempt: SignInId, sign_in, |it| it.used = Some(at(92)), |store, org, id| store.sign_in(org, id).await;
    Repeat: RepeatId, repeat, |it| it.state = RepeatState::Acted, |store, org, id| store.repeat(org, &format!("key {id}")).await;
    Hook: HookId, hook, |it| it.trouble = Some("500".to_owned()), |store, org, id| store.hook(org, id).await;
    HookMessage: HookMessageId, hook_message, |it| it.tries += 1, |store, org, id| store.hook_message(org, id).await;
    PersonSession: PersonSessionId, person_session, |it| it.revoked = Some(at(93)), |store, org, id| store.person_session(org, id).await;
    ChannelStatus: EnrollmentId, channel_status, |it| it.reports += 1, |store, org, id| store.channel_status(org, id).await;
}

/// A part of the suite for every noun that belongs to an organisation: `of_every_noun!(versions(store))` is
/// `versions::<Device>(store).await?`, and so on.
macro_rules! of_every_noun {
    ($part:ident $arguments:tt) => {
        $part::<$crate::device::Device> $arguments.await?;
        $part::<$crate::enrollment::Enrollment> $arguments.await?;
        $part::<$crate::enrollment::EnrolSession> $arguments.await?;
        $part::<$crate::enrollment::IssuedCertificate> $arguments.await?;
        $part::<$crate::queue::Command> $arguments.await?;
        $part::<$crate::migration::SetUp> $arguments.await?;
        $part::<$crate::migration::Move> $arguments.await?;
        $part::<$crate::wave::Wave> $arguments.await?;
        $part::<$crate::project::Project> $arguments.await?;
        $part::<$crate::audit_seal::AuditSeal> $arguments.await?;
        $part::<$crate::project::WhatIfRun> $arguments.await?;
        $part::<$crate::project::AcceptedPart> $arguments.await?;
        $part::<$crate::approval::Approval> $arguments.await?;
        $part::<$crate::approval::Alone> $arguments.await?;
        $part::<$crate::runbook::KeptRunbook> $arguments.await?;
        $part::<$crate::template::Template> $arguments.await?;
        $part::<$crate::wave::Server> $arguments.await?;
        $part::<$crate::sealed::SealedSecret> $arguments.await?;
        $part::<$crate::audit::ApiToken> $arguments.await?;
        $part::<$crate::errand::Errand> $arguments.await?;
        $part::<$crate::budget::Budget> $arguments.await?;
        $part::<$crate::licences::Location> $arguments.await?;
        $part::<$crate::library::LibraryItem> $arguments.await?;
        $part::<$crate::original::OriginalFacts> $arguments.await?;
        $part::<$crate::hand_off::HandOff> $arguments.await?;
        $part::<$crate::hand_off::HandOffPart> $arguments.await?;
        $part::<$crate::server_certificate::ServerCertificate> $arguments.await?;
        $part::<$crate::repeat::Repeat> $arguments.await?;
        $part::<$crate::hook::Hook> $arguments.await?;
        $part::<$crate::hook::HookMessage> $arguments.await?;
        $part::<$crate::acme::AcmeAccount> $arguments.await?;
        $part::<$crate::acme::AcmeOrder> $arguments.await?;
        $part::<$crate::acme::AcmeNonce> $arguments.await?;
        $part::<$crate::person::SignInAttempt> $arguments.await?;
        $part::<$crate::person::PersonSession> $arguments.await?;
        $part::<$crate::inventory::Inventory> $arguments.await?;
        $part::<$crate::ddm::Declaration> $arguments.await?;
        $part::<$crate::ddm::DeclarationContent> $arguments.await?;
        $part::<$crate::ddm::DeclarationSet> $arguments.await?;
        $part::<$crate::ddm::DeclarationAssignment> $arguments.await?;
        $part::<$crate::ddm::DeclarationManifest> $arguments.await?;
        $part::<$crate::ddm::DeclaredChannel> $arguments.await?;
        $part::<$crate::ddm::status::ChannelStatus> $arguments.await?;
    };
}
pub(super) use of_every_noun;

impl Sample for Organisation {
    const NOUN: Noun = Noun::Organisation;
    /// An organisation's own id is `id`: there is no other organisation that it could belong to.
    fn sample(_: OrganisationId, id: i64) -> Self {
        organisation(OrganisationId(id))
    }
    fn set_version(&mut self, version: i64) {
        self.version = version;
    }
    fn change(&mut self) {
        self.ordinary_runbook = Some(RunbookId(8));
    }
    async fn read(
        store: &impl Store,
        _: OrganisationId,
        id: i64,
    ) -> Result<Option<Self>, StoreError> {
        store.organisation(OrganisationId(id)).await
    }
}

pub(super) fn organisation(id: OrganisationId) -> Organisation {
    let key = WrappedKey {
        key_id: "k1".to_owned(),
        wrapped: Der(vec![0, 1, 254, 255]),
    };
    let mut it = Organisation::new(id, code(id), "Sch\u{fc}le \"7\"".to_owned(), key, at(1));
    it.servers = vec![ServerId(3), ServerId(4)];
    it
}

pub(super) fn code(id: OrganisationId) -> OrganisationCode {
    OrganisationCode::parse(&format!("organisation{:0>8}", id.0))
        .unwrap_or_else(|_| unreachable!("letters and digits, at most 32"))
}

pub(super) fn serial(text: &str) -> Serial {
    Serial::parse(text).unwrap_or_else(|_| unreachable!("written in this suite"))
}

pub(super) fn device(organisation: OrganisationId, id: DeviceId) -> Device {
    let mut it = Device::new(organisation, id, serial(&format!("SERIAL{id}")));
    let mut record = DeviceRecord::new(ServerId(3), at(100 + id.0));
    record.family = "Mac".to_owned();
    record.deadline = Some(at(1_796_922_000_123));
    record
        .more
        .insert("big".to_owned(), serde_json::json!([u64::MAX, -1.5, null]));
    it.record = Some(record);
    it.reading = Some(OrgReading {
        seen: at(5),
        capable: Some(true),
        ..OrgReading::default()
    });
    it.completed_deadlines = vec![at(2), at(3)];
    it
}

pub(super) fn enrollment(organisation: OrganisationId, id: EnrollmentId) -> Enrollment {
    let mut it = Enrollment::pending(
        organisation,
        id,
        format!("UDID-{id}"),
        ChannelKind::Device,
        "ab12".to_owned(),
        at(10),
    );
    it.state = EnrollmentState::Enrolled;
    it.device = Some(DeviceId(40));
    it.serial = Some(serial("SERIAL40"));
    it.push = Some(PushTarget {
        topic: "com.apple.mgmt.External.x".to_owned(),
        token: "00ff".to_owned(),
        magic: "M".to_owned(),
        since: at(11),
    });
    it
}

pub(super) fn session(organisation: OrganisationId, id: SessionId) -> EnrolSession {
    let (code, hash) = (format!("code{id}"), format!("hash{id}"));
    EnrolSession::new(organisation, id, code, hash, at(12), at(13))
}

pub(super) fn certificate(organisation: OrganisationId, id: CertificateId) -> IssuedCertificate {
    let hash = format!("sha{id}");
    IssuedCertificate::new(
        organisation,
        id,
        hash,
        Der(vec![48, 0]),
        &session(organisation, SessionId(1)),
        at(14),
    )
}

pub(super) fn uuid(id: CommandId) -> String {
    format!("UUID-{id}")
}

pub(super) fn command(organisation: OrganisationId, id: CommandId) -> Command {
    let body = b"<plist/>".to_vec();
    let of = EnrollmentId(5);
    Command::queued(organisation, id, of, uuid(id), "ProfileList", body, at(15))
}

pub(super) fn set_up(organisation: OrganisationId, id: SetUpId) -> SetUp {
    let verdict = Verdict {
        kind: VerdictKind::Migration,
        reasons: vec!["it is a member of an open wave".to_owned()],
    };
    let mut it = SetUp::begin(
        organisation,
        id,
        &enrollment(organisation, EnrollmentId(id.0)),
        Platform::Macos,
        Some(MoveId(6)),
        RunbookId(7),
        verdict,
        at(19),
    );
    it.state = SetUpState::Holding {
        since: at(20),
        steps: BTreeMap::new(),
    };
    it.hold_began = Some(at(20));
    it.wake_at = Some(at(30));
    it.ceiling_at = Some(at(40));
    it.exceptions = vec![Exception::new("fv-escrow", "no key", Owner::Device, at(21))];
    it
}

pub(super) fn attempt(organisation: OrganisationId, id: MoveId) -> Move {
    let mut it = Move::plan(
        organisation,
        id,
        WaveId(2),
        DeviceId(id.0),
        serial(&format!("SERIAL{id}")),
        RunbookId(7),
        at(60),
        at(50),
        Some("THEIRS".to_owned()),
        at(49),
    );
    it.state = MoveState::Offered { since: at(51) };
    it.gap = Some(GapPlace {
        since: at(51),
        groups: [GapGroup::Tag("till".to_owned())].into(),
    });
    it.wake_at = Some(at(52));
    it
}

pub(super) fn ended(mut it: Move) -> Move {
    it.state = MoveState::Ended(Outcome::Withdrawn);
    it.wake_at = None;
    it.ended = Some(at(90));
    it
}

pub(super) fn audit_seal(organisation: OrganisationId, id: AuditSealId) -> AuditSeal {
    AuditSeal {
        organisation,
        id,
        version: 0,
        at: at(46),
        previous: "0e".to_owned(),
        entries: vec![(AuditId(7), "0d".to_owned())],
        hash: format!("{id}"),
        signature: Der(vec![1, 2, 3]),
    }
}

pub(super) fn kept_runbook(organisation: OrganisationId, id: RunbookId) -> KeptRunbook {
    let name = format!("runbook {id}");
    let mut it = KeptRunbook::new(organisation, &name, Platform::Ios);
    // The suite chooses the ids.
    it.id = id;
    it.edited(RunbookId(id.0 + 1), "Ada", at(48), "a longer time for apps");
    it
}

pub(super) fn template(organisation: OrganisationId, id: TemplateId) -> Template {
    let mut it = Template::new(&format!("template {id}"));
    // The suite chooses whose it is, and its id.
    (it.organisation, it.id) = (organisation, id);
    it.content.on = Some(true);
    it.edited("Ada", at(49), "begun");
    it
}

pub(super) fn project(organisation: OrganisationId, id: ProjectId) -> Project {
    let mut it = Project::new(
        organisation,
        id,
        &format!("Project {id}"),
        ServerId(3),
        at(47),
    );
    it.prerequisites.insert("wifi-placed".to_owned());
    it
}

pub(super) fn approval(organisation: OrganisationId, id: ApprovalId) -> Approval {
    let wanted = Wanted::Cancel {
        serials: vec![serial("SERIAL7")],
        digest: "0f".to_owned(),
        going: BTreeMap::from([(serial("SERIAL7"), MoveId(7))]),
    };
    Approval::new(organisation, id, wanted, "Anna".to_owned(), at(95), None)
}

pub(super) fn alone(organisation: OrganisationId, id: AloneId) -> Alone {
    let mut it = Alone::new(organisation, id, &format!("reveals of {id}"));
    it.lately.push((at(96), 1));
    it
}

pub(super) fn accepted_part(organisation: OrganisationId, id: AcceptedId) -> AcceptedPart {
    let content = serde_json::json!({ "warnings": ["capable: \u{2019}"] });
    AcceptedPart::new((organisation, id), WaveId(3), "0f", 0, content)
}

pub(super) fn what_if_run(organisation: OrganisationId, id: WaveId) -> WhatIfRun {
    let row = RunRow {
        check: crate::check::Check::Capable,
        result: crate::check::CheckResult::Unknown,
        devices: [serial("SERIAL7")].into(),
        facts: [("0123456789abcdef".to_owned(), [serial("SERIAL7")].into())].into(),
    };
    let found = crate::project::Found {
        rows: vec![row],
        of_all: Some(Vec::new()),
        lost: None,
    };
    WhatIfRun::new(organisation, id, at(49), "Anna", "0f", found)
}

pub(super) fn wave(organisation: OrganisationId, id: WaveId) -> Wave {
    let runbooks = BTreeMap::from([(Platform::Macos, RunbookId(7))]);
    Wave::draft(organisation, id, "First", ServerId(3), runbooks, at(48))
}

pub(super) fn server(organisation: OrganisationId, id: ServerId) -> Server {
    Server::new(organisation, id, "Ours", &format!("U{id}"), SecretId(1))
}

pub(super) fn secret(organisation: OrganisationId, id: SecretId) -> SealedSecret {
    let of = Some(DeviceId(40));
    SealedSecret::new(
        organisation,
        id,
        SecretKind::RecoveryKey,
        of,
        vec![1, 2, 3],
        at(70),
    )
}

/// Its hash differs between organisations, for it is unique over all of them.
pub(super) fn token(organisation: OrganisationId, id: TokenId) -> ApiToken {
    let hash = format!("token{organisation}/{id}");
    ApiToken::new(organisation, id, "anna", Role::Planner, hash, at(71))
}

pub(super) fn pinned(organisation: OrganisationId, id: RunbookId) -> Pinned {
    Pinned {
        organisation,
        id,
        name: "Standard".to_owned(),
        runbook: PinnedRunbook {
            revision: 1,
            variant: Variant::Migration,
            steps: vec![StepPlan {
                only: ["lab".to_owned(), "group:Sales".to_owned()].into(),
                tags: std::collections::BTreeSet::new(),
                id: StepId::Identify,
                requires: Vec::new(),
                required: true,
                timeout_secs: 60,
                retries: 2,
                on_timeout: crate::migration::Policy::Skip,
            }],
            apps: Vec::new(),
            profiles: Vec::new(),
            lock: true,
            soft_ceiling_secs: 600,
            hard_ceiling_secs: 3600,
            status: BTreeMap::new(),
        },
    }
}

pub(super) fn job(organisation: OrganisationId, id: i64, due: i64) -> Job {
    let kind = JobKind::Sync {
        server: ServerId(id),
    };
    Job::new(organisation, crate::ids::JobId(id), at(due), kind)
}

pub(super) fn errand(organisation: OrganisationId, id: ErrandId) -> Errand {
    let member = ErrandMember {
        device: DeviceId(40),
        serial: serial("SERIAL40"),
        attempt: Some(MoveId(7)),
    };
    let kind = ErrandKind::Schedule {
        server: "OURS".to_owned(),
        deadline: at(1_796_922_000_123),
    };
    let mut it = Errand::new(organisation, id, kind, vec![member], "Zo\u{eb}", at(60));
    it.wave = Some(WaveId(2));
    it.result = Some(Der(vec![0, 13, 10, 255]));
    it
}

pub(super) fn budget(organisation: OrganisationId, id: BudgetId) -> Budget {
    let mut it = Budget::new(organisation, id, &format!("api {id}"));
    spend(&mut it, 61);
    it
}

fn spend(budget: &mut Budget, now_ms: i64) {
    let mut limiter = budget.limiter(Allowance::organisation_api());
    // A used-up budget leaves it as it is, which no sample comes to.
    let _ = limiter.take(RequestClass::Write, now_ms);
    budget.state = limiter.state().clone();
}

pub(super) fn location(organisation: OrganisationId, id: LocationId) -> Location {
    let mut it = Location::new(organisation, id, "Library", "U1", SecretId(6), JobId(62));
    it.stock.insert(u64::MAX, Stock::default());
    it.taken_over = Some(TakenOver {
        from: "Old MDM".to_owned(),
        at: at(66),
    });
    it
}

pub(super) fn original(organisation: OrganisationId, id: DeviceId) -> OriginalFacts {
    let mut it = OriginalFacts::new(organisation, id);
    let mut said = Said::nothing(serial(&format!("SERIAL{}", id.0)));
    said.apps = Some(vec![OriginalApp::new("com.example.app")]);
    said.more.insert("asset_tag".to_owned(), "A-17".into());
    it.take(said, at(63), "export");
    it
}

pub(super) fn hand_off(organisation: OrganisationId, id: HandOffId) -> HandOff {
    let key = (vec![0, 255], SecretId(6));
    let mut it = HandOff::new((organisation, id), "Old MDM", key, (at(64), at(65)), "Anna");
    it.signer = Some(crate::hand_off::ConfirmedSigner {
        sha256: "0f".repeat(32),
        by: "Anna".to_owned(),
        at: at(64),
    });
    it
}

pub(super) fn hand_off_part(organisation: OrganisationId, id: HandOffPartId) -> HandOffPart {
    let one = HandedOver::rejected("SERIAL7", "serial: is not known");
    HandOffPart::new((organisation, id), HandOffId(3), vec![one])
}

pub(super) fn library_item(organisation: OrganisationId, id: LibraryId) -> LibraryItem {
    let content = LibraryContent::Profile {
        identifier: "com.example.wifi".to_owned(),
        content: SecretId(6),
        signed_here: true,
    };
    let whom = Audience {
        tags: ["lab".to_owned()].into(),
        groups: ["Sales".to_owned()].into(),
    };
    LibraryItem::new(
        organisation,
        id,
        &format!("item {id}"),
        content,
        whom,
        at(65),
    )
}

pub(super) fn repeat(organisation: OrganisationId, id: RepeatId) -> Repeat {
    let key = format!("key {id}");
    Repeat::new(
        organisation,
        id,
        key,
        "0a".to_owned(),
        at(95),
        at(195),
        at(96),
    )
}

pub(super) fn hook(organisation: OrganisationId, id: HookId) -> Hook {
    let notices = [Notice::Released].into();
    let name = format!("hook {id}");
    Hook::new(
        organisation,
        id,
        &name,
        "https://hooks.example",
        notices,
        vec![0, 255, 4],
        at(97),
    )
}

pub(super) fn hook_message(organisation: OrganisationId, id: HookMessageId) -> HookMessage {
    let serial = self::serial("C02HOOK");
    HookMessage::new(
        organisation,
        id,
        HookId(7),
        DeviceId(5),
        serial,
        Notice::Holding,
        at(98),
    )
}

pub(super) fn inventory(organisation: OrganisationId, id: InventoryId) -> Inventory {
    let mut it = Inventory::new(organisation, JobId(63));
    it.id = id;
    it.wanted = Some(at(64));
    it.services = vec![("OURS".to_owned(), "Ours".to_owned())];
    it
}
