//! Stores that hand every read on to another one: shared ones, and the failing one of the tests.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    AcmeStore, AppleStore, AuditStore, Batch, ChannelAsk, ChannelView, Claim, CommandStore,
    CommandsWaiting, CommitFigures, DeclarationStore, DeviceStore, EnrollmentStore, History,
    HistoryStore, HookStore, JobStore, JobTimes, Lease, LibraryStore, MoveStore, OrganisationStore,
    OriginalStore, PersonStore, RemovalStore, RepeatStore, Replication, SecretStore,
    ServerCertificateStore, SetUpStore, Store, StoreError, UnreadableRow, WaveStore,
};
use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::approval::{Alone, Approval};
use crate::audit::{ApiToken, AuditEntry, Refusal};
use crate::audit_seal::AuditSeal;
use crate::budget::Budget;
use crate::clock::Timestamp;
use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    Declaration, DeclarationAssignment, DeclarationContent, DeclarationManifest, DeclarationSet,
    DeclaredChannel,
};
use crate::device::{Device, LastHeard};
use crate::enrollment::{EnrolSession, Enrollment, IssuedCertificate};
use crate::errand::Errand;
use crate::hand_off::{HandOff, HandOffPart};
use crate::hook::{Hook, HookMessage};
use crate::ids::{
    AcmeAccountId, AcmeNonceId, ApprovalId, AssignmentId, AuditId, AuditSealId, CertificateId,
    CommandId, ContentId, DeclarationId, DeclarationSetId, DeviceId, EnrollmentId, ErrandId,
    HandOffId, HandOffPartId, HookId, HookMessageId, InventoryId, JobId, LibraryId, LocationId,
    ManifestId, MoveId, OrganisationCode, OrganisationId, PersonSessionId, ProjectId, RunbookId,
    SecretId, Serial, ServerId, SessionId, SetUpId, SignInId, TemplateId, WaveId,
};
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
use crate::removal::Removal;
use crate::repeat::Repeat;
use crate::runbook::KeptRunbook;
use crate::sealed::SealedSecret;
use crate::server_certificate::ServerCertificate;
use crate::template::Template;
use crate::wave::{Server, Wave};

macro_rules! hand_on_reads {
    ([$($g:tt)+] $ty:ty, $inner:expr) => {
        #[async_trait]
        impl<$($g)+> OrganisationStore for $ty {
            async fn organisation(&self, id: OrganisationId) -> Result<Option<Organisation>, StoreError> {
                ($inner)(self).organisation(id).await
            }
            async fn organisation_by_code(&self, code: &OrganisationCode) -> Result<Option<Organisation>, StoreError> {
                ($inner)(self).organisation_by_code(code).await
            }
            async fn organisations(&self, after: OrganisationId, limit: u32) -> Result<Vec<Organisation>, StoreError> {
                ($inner)(self).organisations(after, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> DeviceStore for $ty {
            async fn device(&self, organisation: OrganisationId, id: DeviceId) -> Result<Option<Device>, StoreError> {
                ($inner)(self).device(organisation, id).await
            }
            async fn device_by_serial(&self, organisation: OrganisationId, serial: &Serial) -> Result<Option<Device>, StoreError> {
                ($inner)(self).device_by_serial(organisation, serial).await
            }
            async fn devices_by_serial(&self, organisation: OrganisationId, serials: &[Serial]) -> Result<Vec<Device>, StoreError> {
                ($inner)(self).devices_by_serial(organisation, serials).await
            }
            async fn devices(&self, organisation: OrganisationId, after: DeviceId, limit: u32) -> Result<Vec<Device>, StoreError> {
                ($inner)(self).devices(organisation, after, limit).await
            }
            async fn devices_unseen_since(&self, organisation: OrganisationId, server: ServerId, before: Timestamp, limit: u32) -> Result<Vec<Device>, StoreError> {
                ($inner)(self).devices_unseen_since(organisation, server, before, limit).await
            }
            async fn devices_to_assign(&self, organisation: OrganisationId, server: ServerId, now: Timestamp, limit: u32) -> Result<Vec<Device>, StoreError> {
                ($inner)(self).devices_to_assign(organisation, server, now, limit).await
            }
            async fn next_assignment(&self, organisation: OrganisationId, server: ServerId, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
                ($inner)(self).next_assignment(organisation, server, now).await
            }
            async fn keep_heard(&self, organisation: OrganisationId, heard: &[(DeviceId, Timestamp)]) -> Result<(), StoreError> {
                ($inner)(self).keep_heard(organisation, heard).await
            }
            async fn last_heard(&self, organisation: OrganisationId, ids: &[DeviceId]) -> Result<Vec<LastHeard>, StoreError> {
                ($inner)(self).last_heard(organisation, ids).await
            }
        }
        #[async_trait]
        impl<$($g)+> EnrollmentStore for $ty {
            async fn enrollment(&self, organisation: OrganisationId, id: EnrollmentId) -> Result<Option<Enrollment>, StoreError> {
                ($inner)(self).enrollment(organisation, id).await
            }
            async fn enrollments_of(&self, organisation: OrganisationId, ids: &[EnrollmentId]) -> Result<Vec<Enrollment>, StoreError> {
                ($inner)(self).enrollments_of(organisation, ids).await
            }
            async fn enrollments_by_key(&self, organisation: OrganisationId, key: &str) -> Result<Vec<Enrollment>, StoreError> {
                ($inner)(self).enrollments_by_key(organisation, key).await
            }
            async fn user_channels(&self, organisation: OrganisationId, parent: EnrollmentId) -> Result<Vec<Enrollment>, StoreError> {
                ($inner)(self).user_channels(organisation, parent).await
            }
            async fn enrollments_of_device(&self, organisation: OrganisationId, device: DeviceId) -> Result<Vec<Enrollment>, StoreError> {
                ($inner)(self).enrollments_of_device(organisation, device).await
            }
            async fn session(&self, organisation: OrganisationId, id: SessionId) -> Result<Option<EnrolSession>, StoreError> {
                ($inner)(self).session(organisation, id).await
            }
            async fn session_by_challenge(&self, organisation: OrganisationId, hash: &str) -> Result<Option<EnrolSession>, StoreError> {
                ($inner)(self).session_by_challenge(organisation, hash).await
            }
            async fn certificate(&self, organisation: OrganisationId, id: CertificateId) -> Result<Option<IssuedCertificate>, StoreError> {
                ($inner)(self).certificate(organisation, id).await
            }
            async fn certificate_by_hash(&self, organisation: OrganisationId, sha256: &str) -> Result<Option<IssuedCertificate>, StoreError> {
                ($inner)(self).certificate_by_hash(organisation, sha256).await
            }
            async fn session_by_code(&self, organisation: OrganisationId, code: &str) -> Result<Option<EnrolSession>, StoreError> {
                ($inner)(self).session_by_code(organisation, code).await
            }
            async fn certificates(&self, organisation: OrganisationId, after: CertificateId, limit: u32) -> Result<Vec<IssuedCertificate>, StoreError> {
                ($inner)(self).certificates(organisation, after, limit).await
            }
            async fn open_sessions_of_device(&self, organisation: OrganisationId, device: DeviceId) -> Result<Vec<EnrolSession>, StoreError> {
                ($inner)(self).open_sessions_of_device(organisation, device).await
            }
            async fn certificates_of_device(&self, organisation: OrganisationId, device: DeviceId) -> Result<Vec<IssuedCertificate>, StoreError> {
                ($inner)(self).certificates_of_device(organisation, device).await
            }
            async fn revoked_certificates(&self, organisation: OrganisationId, after: CertificateId, limit: u32) -> Result<Vec<IssuedCertificate>, StoreError> {
                ($inner)(self).revoked_certificates(organisation, after, limit).await
            }
            async fn identities_ending(&self, by: Timestamp) -> Result<(Option<Timestamp>, u64), StoreError> {
                ($inner)(self).identities_ending(by).await
            }
            async fn certificates_to_renew(&self, now: Timestamp, limit: u32) -> Result<Vec<IssuedCertificate>, StoreError> {
                ($inner)(self).certificates_to_renew(now, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> CommandStore for $ty {
            async fn command(&self, organisation: OrganisationId, enrollment: EnrollmentId, uuid: &str) -> Result<Option<Command>, StoreError> {
                ($inner)(self).command(organisation, enrollment, uuid).await
            }
            async fn open_commands(&self, organisation: OrganisationId, enrollment: EnrollmentId, limit: u32) -> Result<Vec<Command>, StoreError> {
                ($inner)(self).open_commands(organisation, enrollment, limit).await
            }
            async fn commands_waiting(&self) -> Result<CommandsWaiting, StoreError> {
                ($inner)(self).commands_waiting().await
            }
            async fn commands(&self, organisation: OrganisationId, enrollment: EnrollmentId, before: CommandId, limit: u32) -> Result<Vec<Command>, StoreError> {
                ($inner)(self).commands(organisation, enrollment, before, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> SetUpStore for $ty {
            async fn set_up(&self, organisation: OrganisationId, id: SetUpId) -> Result<Option<SetUp>, StoreError> {
                ($inner)(self).set_up(organisation, id).await
            }
            async fn set_up_of(&self, organisation: OrganisationId, enrollment: EnrollmentId) -> Result<Option<SetUp>, StoreError> {
                ($inner)(self).set_up_of(organisation, enrollment).await
            }
            async fn set_ups_of_enrollments(&self, organisation: OrganisationId, enrollments: &[EnrollmentId]) -> Result<Vec<SetUp>, StoreError> {
                ($inner)(self).set_ups_of_enrollments(organisation, enrollments).await
            }
            async fn set_ups_of(&self, organisation: OrganisationId, ids: &[SetUpId]) -> Result<Vec<SetUp>, StoreError> {
                ($inner)(self).set_ups_of(organisation, ids).await
            }
            async fn set_ups(&self, organisation: OrganisationId, after: SetUpId, limit: u32) -> Result<Vec<SetUp>, StoreError> {
                ($inner)(self).set_ups(organisation, after, limit).await
            }
            async fn due_set_ups(&self, now: Timestamp, limit: u32) -> Result<Vec<SetUp>, StoreError> {
                ($inner)(self).due_set_ups(now, limit).await
            }
            async fn set_ups_past_ceiling(&self, now: Timestamp, limit: u32) -> Result<Vec<SetUp>, StoreError> {
                ($inner)(self).set_ups_past_ceiling(now, limit).await
            }
            async fn holds(&self, organisation: OrganisationId, after: Option<(Timestamp, SetUpId)>, limit: u32) -> Result<Vec<SetUp>, StoreError> {
                ($inner)(self).holds(organisation, after, limit).await
            }
            async fn runbook(&self, organisation: OrganisationId, id: RunbookId) -> Result<Option<Pinned>, StoreError> {
                ($inner)(self).runbook(organisation, id).await
            }
            async fn runbooks(&self, organisation: OrganisationId, limit: u32) -> Result<Vec<Pinned>, StoreError> {
                ($inner)(self).runbooks(organisation, limit).await
            }
            async fn kept_runbook(&self, organisation: OrganisationId, id: RunbookId) -> Result<Option<KeptRunbook>, StoreError> {
                ($inner)(self).kept_runbook(organisation, id).await
            }
            async fn kept_runbooks(&self, organisation: OrganisationId) -> Result<Vec<KeptRunbook>, StoreError> {
                ($inner)(self).kept_runbooks(organisation).await
            }
        }
        #[async_trait]
        impl<$($g)+> MoveStore for $ty {
            async fn attempt(&self, organisation: OrganisationId, id: MoveId) -> Result<Option<Move>, StoreError> {
                ($inner)(self).attempt(organisation, id).await
            }
            async fn open_attempt(&self, organisation: OrganisationId, device: DeviceId) -> Result<Option<Move>, StoreError> {
                ($inner)(self).open_attempt(organisation, device).await
            }
            async fn attempts(&self, organisation: OrganisationId, wave: WaveId, after: MoveId, limit: u32) -> Result<Vec<Move>, StoreError> {
                ($inner)(self).attempts(organisation, wave, after, limit).await
            }
            async fn all_attempts(&self, organisation: OrganisationId, after: MoveId, limit: u32) -> Result<Vec<Move>, StoreError> {
                ($inner)(self).all_attempts(organisation, after, limit).await
            }
            async fn attempts_in_gap(&self, organisation: OrganisationId, after: MoveId, limit: u32) -> Result<Vec<Move>, StoreError> {
                ($inner)(self).attempts_in_gap(organisation, after, limit).await
            }
            async fn due_attempts(&self, now: Timestamp, limit: u32) -> Result<Vec<Move>, StoreError> {
                ($inner)(self).due_attempts(now, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> WaveStore for $ty {
            async fn project(&self, organisation: OrganisationId, id: ProjectId) -> Result<Option<Project>, StoreError> {
                ($inner)(self).project(organisation, id).await
            }
            async fn projects(&self, organisation: OrganisationId) -> Result<Vec<Project>, StoreError> {
                ($inner)(self).projects(organisation).await
            }
            async fn what_if_run(&self, organisation: OrganisationId, wave: WaveId) -> Result<Option<WhatIfRun>, StoreError> {
                ($inner)(self).what_if_run(organisation, wave).await
            }
            async fn accepted_parts(&self, organisation: OrganisationId, wave: WaveId, after: crate::ids::AcceptedId, limit: u32) -> Result<Vec<AcceptedPart>, StoreError> {
                ($inner)(self).accepted_parts(organisation, wave, after, limit).await
            }
            async fn first_accepted(&self, organisation: OrganisationId, wave: WaveId, after: crate::ids::AcceptedId, limit: u32) -> Result<Vec<AcceptedPart>, StoreError> {
                ($inner)(self).first_accepted(organisation, wave, after, limit).await
            }
            async fn wave(&self, organisation: OrganisationId, id: WaveId) -> Result<Option<Wave>, StoreError> {
                ($inner)(self).wave(organisation, id).await
            }
            async fn waves(&self, organisation: OrganisationId, after: WaveId, limit: u32) -> Result<Vec<Wave>, StoreError> {
                ($inner)(self).waves(organisation, after, limit).await
            }
            async fn server(&self, organisation: OrganisationId, id: ServerId) -> Result<Option<Server>, StoreError> {
                ($inner)(self).server(organisation, id).await
            }
            async fn servers(&self, organisation: OrganisationId) -> Result<Vec<Server>, StoreError> {
                ($inner)(self).servers(organisation).await
            }
        }
        #[async_trait]
        impl<$($g)+> SecretStore for $ty {
            async fn secret(&self, organisation: OrganisationId, id: SecretId) -> Result<Option<SealedSecret>, StoreError> {
                ($inner)(self).secret(organisation, id).await
            }
            async fn secrets_of(&self, organisation: OrganisationId, devices: &[DeviceId]) -> Result<Vec<SealedSecret>, StoreError> {
                ($inner)(self).secrets_of(organisation, devices).await
            }
            async fn secrets(&self, organisation: OrganisationId, device: DeviceId) -> Result<Vec<SealedSecret>, StoreError> {
                ($inner)(self).secrets(organisation, device).await
            }
        }
        #[async_trait]
        impl<$($g)+> AuditStore for $ty {
            async fn audit_of(&self, organisation: OrganisationId, device: DeviceId, after: AuditId, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
                ($inner)(self).audit_of(organisation, device, after, limit).await
            }
            async fn audit(&self, organisation: OrganisationId, after: AuditId, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
                ($inner)(self).audit(organisation, after, limit).await
            }
            async fn unsealed_audit(&self, organisation: OrganisationId, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
                ($inner)(self).unsealed_audit(organisation, limit).await
            }
            async fn next_unsealed_audit(&self, after: OrganisationId) -> Result<Option<AuditEntry>, StoreError> {
                ($inner)(self).next_unsealed_audit(after).await
            }
            async fn audit_seals(&self, organisation: OrganisationId, after: AuditSealId, limit: u32) -> Result<Vec<AuditSeal>, StoreError> {
                ($inner)(self).audit_seals(organisation, after, limit).await
            }
            async fn newest_audit_seals(&self, organisation: OrganisationId, limit: u32) -> Result<Vec<AuditSeal>, StoreError> {
                ($inner)(self).newest_audit_seals(organisation, limit).await
            }
            async fn refusals(&self, organisation: OrganisationId, limit: u32) -> Result<Vec<Refusal>, StoreError> {
                ($inner)(self).refusals(organisation, limit).await
            }
            async fn token_by_hash(&self, hash: &str) -> Result<Option<ApiToken>, StoreError> {
                ($inner)(self).token_by_hash(hash).await
            }
            async fn tokens(&self, organisation: OrganisationId) -> Result<Vec<ApiToken>, StoreError> {
                ($inner)(self).tokens(organisation).await
            }
        }
        #[async_trait]
        impl<$($g)+> AppleStore for $ty {
            async fn errand(&self, organisation: OrganisationId, id: ErrandId) -> Result<Option<Errand>, StoreError> {
                ($inner)(self).errand(organisation, id).await
            }
            async fn errands(&self, organisation: OrganisationId, after: ErrandId, limit: u32) -> Result<Vec<Errand>, StoreError> {
                ($inner)(self).errands(organisation, after, limit).await
            }
            async fn errands_of(&self, organisation: OrganisationId, wave: WaveId, after: ErrandId, limit: u32) -> Result<Vec<Errand>, StoreError> {
                ($inner)(self).errands_of(organisation, wave, after, limit).await
            }
            async fn open_errands(&self, organisation: OrganisationId, after: ErrandId, limit: u32) -> Result<Vec<Errand>, StoreError> {
                ($inner)(self).open_errands(organisation, after, limit).await
            }
            async fn budget(&self, organisation: OrganisationId, name: &str) -> Result<Option<Budget>, StoreError> {
                ($inner)(self).budget(organisation, name).await
            }
            async fn budgets(&self, organisation: OrganisationId) -> Result<Vec<Budget>, StoreError> {
                ($inner)(self).budgets(organisation).await
            }
            async fn location(&self, organisation: OrganisationId, id: LocationId) -> Result<Option<Location>, StoreError> {
                ($inner)(self).location(organisation, id).await
            }
            async fn locations(&self, organisation: OrganisationId) -> Result<Vec<Location>, StoreError> {
                ($inner)(self).locations(organisation).await
            }
            async fn inventory(&self, organisation: OrganisationId, id: InventoryId) -> Result<Option<Inventory>, StoreError> {
                ($inner)(self).inventory(organisation, id).await
            }
        }
        #[async_trait]
        impl<$($g)+> RepeatStore for $ty {
            async fn repeat(&self, organisation: OrganisationId, key: &str) -> Result<Option<Repeat>, StoreError> {
                ($inner)(self).repeat(organisation, key).await
            }
            async fn prune_repeats(&self, organisation: OrganisationId, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
                ($inner)(self).prune_repeats(organisation, now, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> HookStore for $ty {
            async fn hook(&self, organisation: OrganisationId, id: HookId) -> Result<Option<Hook>, StoreError> {
                ($inner)(self).hook(organisation, id).await
            }
            async fn hook_by_name(&self, organisation: OrganisationId, name: &str) -> Result<Option<Hook>, StoreError> {
                ($inner)(self).hook_by_name(organisation, name).await
            }
            async fn hooks(&self, organisation: OrganisationId, after: HookId, limit: u32) -> Result<Vec<Hook>, StoreError> {
                ($inner)(self).hooks(organisation, after, limit).await
            }
            async fn hook_message(&self, organisation: OrganisationId, id: HookMessageId) -> Result<Option<HookMessage>, StoreError> {
                ($inner)(self).hook_message(organisation, id).await
            }
            async fn open_hook_messages(&self, organisation: OrganisationId, device: DeviceId, limit: u32) -> Result<Vec<HookMessage>, StoreError> {
                ($inner)(self).open_hook_messages(organisation, device, limit).await
            }
            async fn hook_messages(&self, organisation: OrganisationId, hook: HookId, before: HookMessageId, limit: u32) -> Result<Vec<HookMessage>, StoreError> {
                ($inner)(self).hook_messages(organisation, hook, before, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> ServerCertificateStore for $ty {
            async fn server_certificate(&self, organisation: OrganisationId, name: &str) -> Result<Option<ServerCertificate>, StoreError> {
                ($inner)(self).server_certificate(organisation, name).await
            }
        }

        #[async_trait]
        impl<$($g)+> OriginalStore for $ty {
            async fn original(&self, organisation: OrganisationId, id: DeviceId) -> Result<Option<OriginalFacts>, StoreError> {
                ($inner)(self).original(organisation, id).await
            }
            async fn originals_of(&self, organisation: OrganisationId, ids: &[DeviceId]) -> Result<Vec<OriginalFacts>, StoreError> {
                ($inner)(self).originals_of(organisation, ids).await
            }
            async fn originals(&self, organisation: OrganisationId, after: DeviceId, limit: u32) -> Result<Vec<OriginalFacts>, StoreError> {
                ($inner)(self).originals(organisation, after, limit).await
            }
            async fn hand_off(&self, organisation: OrganisationId, id: HandOffId) -> Result<Option<HandOff>, StoreError> {
                ($inner)(self).hand_off(organisation, id).await
            }
            async fn hand_offs(&self, organisation: OrganisationId, after: HandOffId, limit: u32) -> Result<Vec<HandOff>, StoreError> {
                ($inner)(self).hand_offs(organisation, after, limit).await
            }
            async fn hand_off_parts(&self, organisation: OrganisationId, job: HandOffId, after: HandOffPartId, limit: u32) -> Result<Vec<HandOffPart>, StoreError> {
                ($inner)(self).hand_off_parts(organisation, job, after, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> LibraryStore for $ty {
            async fn library_item(&self, organisation: OrganisationId, id: LibraryId) -> Result<Option<LibraryItem>, StoreError> {
                ($inner)(self).library_item(organisation, id).await
            }
            async fn library_item_by_name(&self, organisation: OrganisationId, name: &str) -> Result<Option<LibraryItem>, StoreError> {
                ($inner)(self).library_item_by_name(organisation, name).await
            }
            async fn library(&self, organisation: OrganisationId) -> Result<Vec<LibraryItem>, StoreError> {
                ($inner)(self).library(organisation).await
            }
            async fn template(&self, organisation: OrganisationId, id: TemplateId) -> Result<Option<Template>, StoreError> {
                ($inner)(self).template(organisation, id).await
            }
            async fn templates(&self, organisation: OrganisationId) -> Result<Vec<Template>, StoreError> {
                ($inner)(self).templates(organisation).await
            }
        }
        #[async_trait]
        impl<$($g)+> PersonStore for $ty {
            async fn sign_in(&self, organisation: OrganisationId, id: SignInId) -> Result<Option<SignInAttempt>, StoreError> {
                ($inner)(self).sign_in(organisation, id).await
            }
            async fn sign_in_by_state(&self, hash: &str) -> Result<Option<SignInAttempt>, StoreError> {
                ($inner)(self).sign_in_by_state(hash).await
            }
            async fn sign_in_by_code(&self, hash: &str) -> Result<Option<SignInAttempt>, StoreError> {
                ($inner)(self).sign_in_by_code(hash).await
            }
            async fn open_sign_ins(&self, organisation: OrganisationId, at: Timestamp, limit: u32) -> Result<u64, StoreError> {
                ($inner)(self).open_sign_ins(organisation, at, limit).await
            }
            async fn person_session(&self, organisation: OrganisationId, id: PersonSessionId) -> Result<Option<PersonSession>, StoreError> {
                ($inner)(self).person_session(organisation, id).await
            }
            async fn person_session_by_token(&self, hash: &str) -> Result<Option<PersonSession>, StoreError> {
                ($inner)(self).person_session_by_token(hash).await
            }
            async fn person_sessions(&self, organisation: OrganisationId, at: Timestamp, after: PersonSessionId, limit: u32) -> Result<Vec<PersonSession>, StoreError> {
                ($inner)(self).person_sessions(organisation, at, after, limit).await
            }
            async fn approval(&self, organisation: OrganisationId, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
                ($inner)(self).approval(organisation, id).await
            }
            async fn approvals(&self, organisation: OrganisationId, at: Timestamp, after: ApprovalId, limit: u32) -> Result<Vec<Approval>, StoreError> {
                ($inner)(self).approvals(organisation, at, after, limit).await
            }
            async fn alone(&self, organisation: OrganisationId, name: &str) -> Result<Option<Alone>, StoreError> {
                ($inner)(self).alone(organisation, name).await
            }
            async fn prune_people(&self, organisation: OrganisationId, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
                ($inner)(self).prune_people(organisation, before, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> DeclarationStore for $ty {
            async fn declaration(&self, organisation: OrganisationId, id: DeclarationId) -> Result<Option<Declaration>, StoreError> {
                ($inner)(self).declaration(organisation, id).await
            }
            async fn declaration_by_identifier(&self, organisation: OrganisationId, identifier: &str) -> Result<Option<Declaration>, StoreError> {
                ($inner)(self).declaration_by_identifier(organisation, identifier).await
            }
            async fn declarations(&self, organisation: OrganisationId, after: DeclarationId, limit: u32) -> Result<Vec<Declaration>, StoreError> {
                ($inner)(self).declarations(organisation, after, limit).await
            }
            async fn declarations_of(&self, organisation: OrganisationId, ids: &[DeclarationId]) -> Result<Vec<Declaration>, StoreError> {
                ($inner)(self).declarations_of(organisation, ids).await
            }
            async fn declaration_content(&self, organisation: OrganisationId, id: ContentId) -> Result<Option<DeclarationContent>, StoreError> {
                ($inner)(self).declaration_content(organisation, id).await
            }
            async fn declaration_content_by_token(&self, organisation: OrganisationId, token: &str) -> Result<Option<DeclarationContent>, StoreError> {
                ($inner)(self).declaration_content_by_token(organisation, token).await
            }
            async fn declaration_content_by_file(&self, organisation: OrganisationId, name: &str) -> Result<Option<DeclarationContent>, StoreError> {
                ($inner)(self).declaration_content_by_file(organisation, name).await
            }
            async fn declaration_set(&self, organisation: OrganisationId, id: DeclarationSetId) -> Result<Option<DeclarationSet>, StoreError> {
                ($inner)(self).declaration_set(organisation, id).await
            }
            async fn declaration_sets(&self, organisation: OrganisationId) -> Result<Vec<DeclarationSet>, StoreError> {
                ($inner)(self).declaration_sets(organisation).await
            }
            async fn declaration_sets_of(&self, organisation: OrganisationId, ids: &[DeclarationSetId]) -> Result<Vec<DeclarationSet>, StoreError> {
                ($inner)(self).declaration_sets_of(organisation, ids).await
            }
            async fn declaration_assignment(&self, organisation: OrganisationId, id: AssignmentId) -> Result<Option<DeclarationAssignment>, StoreError> {
                ($inner)(self).declaration_assignment(organisation, id).await
            }
            async fn declaration_assignments_under(&self, organisation: OrganisationId, scopes: &[String]) -> Result<Vec<DeclarationAssignment>, StoreError> {
                ($inner)(self).declaration_assignments_under(organisation, scopes).await
            }
            async fn declaration_assignments_of(&self, organisation: OrganisationId, set: DeclarationSetId) -> Result<Vec<DeclarationAssignment>, StoreError> {
                ($inner)(self).declaration_assignments_of(organisation, set).await
            }
            async fn declaration_manifest(&self, organisation: OrganisationId, id: ManifestId) -> Result<Option<DeclarationManifest>, StoreError> {
                ($inner)(self).declaration_manifest(organisation, id).await
            }
            async fn declaration_manifests_of(&self, organisation: OrganisationId, tokens: &[String]) -> Result<Vec<DeclarationManifest>, StoreError> {
                ($inner)(self).declaration_manifests_of(organisation, tokens).await
            }
            async fn declared_channel(&self, organisation: OrganisationId, id: EnrollmentId) -> Result<Option<DeclaredChannel>, StoreError> {
                ($inner)(self).declared_channel(organisation, id).await
            }
            async fn declared_channels_of(&self, organisation: OrganisationId, ids: &[EnrollmentId]) -> Result<Vec<DeclaredChannel>, StoreError> {
                ($inner)(self).declared_channels_of(organisation, ids).await
            }
            async fn channel_status(&self, organisation: OrganisationId, id: EnrollmentId) -> Result<Option<ChannelStatus>, StoreError> {
                ($inner)(self).channel_status(organisation, id).await
            }
            async fn channel_statuses(&self, organisation: OrganisationId, after: EnrollmentId, limit: u32) -> Result<Vec<ChannelStatus>, StoreError> {
                ($inner)(self).channel_statuses(organisation, after, limit).await
            }
            async fn channels(&self, organisation: OrganisationId, after: EnrollmentId, limit: u32) -> Result<Vec<Enrollment>, StoreError> {
                ($inner)(self).channels(organisation, after, limit).await
            }
            async fn devices_of(&self, organisation: OrganisationId, ids: &[DeviceId]) -> Result<Vec<Device>, StoreError> {
                ($inner)(self).devices_of(organisation, ids).await
            }
            async fn open_commands_of_type(&self, organisation: OrganisationId, channels: &[EnrollmentId], request_type: &str) -> Result<Vec<Command>, StoreError> {
                ($inner)(self).open_commands_of_type(organisation, channels, request_type).await
            }
        }
        #[async_trait]
        impl<$($g)+> AcmeStore for $ty {
            async fn acme_account(&self, organisation: OrganisationId, id: AcmeAccountId) -> Result<Option<AcmeAccount>, StoreError> {
                ($inner)(self).acme_account(organisation, id).await
            }
            async fn acme_account_by_key(&self, organisation: OrganisationId, thumbprint: &str) -> Result<Option<AcmeAccount>, StoreError> {
                ($inner)(self).acme_account_by_key(organisation, thumbprint).await
            }
            async fn acme_order(&self, organisation: OrganisationId, session: SessionId) -> Result<Option<AcmeOrder>, StoreError> {
                ($inner)(self).acme_order(organisation, session).await
            }
            async fn acme_order_by_key(&self, organisation: OrganisationId, certified: &str) -> Result<Option<AcmeOrder>, StoreError> {
                ($inner)(self).acme_order_by_key(organisation, certified).await
            }
            async fn acme_nonce(&self, organisation: OrganisationId, id: AcmeNonceId) -> Result<Option<AcmeNonce>, StoreError> {
                ($inner)(self).acme_nonce(organisation, id).await
            }
            async fn forget_acme(&self, organisation: OrganisationId, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
                ($inner)(self).forget_acme(organisation, now, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> RemovalStore for $ty {
            async fn removal(&self, id: OrganisationId) -> Result<Option<Removal>, StoreError> {
                ($inner)(self).removal(id).await
            }
            async fn removals(&self, after: OrganisationId, limit: u32) -> Result<Vec<Removal>, StoreError> {
                ($inner)(self).removals(after, limit).await
            }
            async fn begin_removal(&self, removal: &Removal) -> Result<(), StoreError> {
                ($inner)(self).begin_removal(removal).await
            }
            async fn undo_removal(&self, removal: &Removal) -> Result<(), StoreError> {
                ($inner)(self).undo_removal(removal).await
            }
            async fn keep_removal(&self, removal: &Removal) -> Result<Removal, StoreError> {
                ($inner)(self).keep_removal(removal).await
            }
            async fn erase(&self, removal: &Removal, limit: u32) -> Result<Removal, StoreError> {
                ($inner)(self).erase(removal, limit).await
            }
        }
        #[async_trait]
        impl<$($g)+> HistoryStore for $ty {
            fn connections_made(&self) -> u64 {
                ($inner)(self).connections_made()
            }
            async fn history(&self) -> Result<Option<History>, StoreError> {
                ($inner)(self).history().await
            }
            async fn note_history(&self, history: &History) -> Result<(), StoreError> {
                ($inner)(self).note_history(history).await
            }
            async fn replication(&self) -> Result<Option<Replication>, StoreError> {
                ($inner)(self).replication().await
            }
        }
        #[async_trait]
        impl<$($g)+> JobStore for $ty {
            async fn claim_jobs(&self, now: Timestamp, lease: Lease, limit: u32) -> Result<Vec<Job>, StoreError> {
                ($inner)(self).claim_jobs(now, lease, limit).await
            }
            async fn renew_leases(&self, claims: &[(Claim, Timestamp)]) -> Result<Vec<Claim>, StoreError> {
                ($inner)(self).renew_leases(claims).await
            }
            async fn due_at_once(&self, now: Timestamp, lease: Lease, limit: u32, sure: bool) -> Result<u64, StoreError> {
                ($inner)(self).due_at_once(now, lease, limit, sure).await
            }
            async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
                ($inner)(self).next_due().await
            }
            async fn prune(&self, organisation: OrganisationId, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
                ($inner)(self).prune(organisation, before, limit).await
            }
            async fn job_times(&self, organisation: OrganisationId, id: JobId) -> Result<Option<JobTimes>, StoreError> {
                ($inner)(self).job_times(organisation, id).await
            }
            async fn jobs_waiting(&self) -> Result<u64, StoreError> {
                ($inner)(self).jobs_waiting().await
            }
        }
    };
}

hand_on_reads!([T: Store + ?Sized] Arc<T>, <Self as Deref>::deref);
hand_on_reads!([T: Store] super::riding::RidingStore<T>, Self::inner);
#[cfg(feature = "testing")]
hand_on_reads!([T: Store] super::testing::FailingStore<T>, Self::read);

#[async_trait]
impl<T: Store + ?Sized> Store for Arc<T> {
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        (**self).commit(batch).await
    }

    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        (**self).channel(ask).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        (**self).close().await
    }

    fn commit_figures(&self) -> Option<CommitFigures> {
        (**self).commit_figures()
    }

    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        (**self).unreadable().await
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }
}
