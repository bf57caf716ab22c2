//! Reading by narrow traits, writing by one method. Knows no service; only the back ends contain SQL.
//!
//! **Acknowledged means on disk.** `commit` answers after the transaction that holds the batch is durable: SQLite in WAL
//! mode with `synchronous=FULL`, PostgreSQL with `fsync`, `synchronous_commit` and `full_page_writes` on.
//!
//! A row that cannot be read is [`StoreError::Corrupt`] with its address, for whoever asked for it. Where rows of all
//! organisations are read (what is due, past its ceiling, claimed) it is logged and left out instead, so that one bad row
//! stops nobody else; it may then still make [`JobStore::next_due`] lie in the past.

mod archive;
mod batch;
mod channel;
pub mod contract;
mod delegate;
mod group_commit;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod statements;
#[cfg(feature = "testing")]
pub mod testing;

use async_trait::async_trait;

pub use archive::{Archive, ArchivedRow};
pub use batch::{Batch, Expect, Lease, Noun, Write};
pub use channel::{ChannelAsk, ChannelView, Depth};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder};
use crate::audit::{ApiToken, AuditEntry, Refusal};
use crate::budget::Budget;
use crate::clock::Timestamp;
use crate::ddm::status::ChannelStatus;
use crate::ddm::{
    Declaration, DeclarationAssignment, DeclarationContent, DeclarationManifest, DeclarationSet,
    DeclaredChannel,
};
use crate::device::Device;
use crate::enrollment::{EnrolSession, Enrollment, IssuedCertificate};
use crate::errand::Errand;
use crate::ids::{
    AcmeAccountId, AcmeNonceId, AssignmentId, AuditId, CertificateId, ContentId, DeclarationId,
    DeclarationSetId, DeviceId, EnrollmentId, ErrandId, InventoryId, JobId, LibraryId, LocationId,
    ManifestId, MoveId, OrganisationCode, OrganisationId, RunbookId, SecretId, Serial, ServerId,
    SessionId, SetUpId, WaveId,
};
use crate::inventory::Inventory;
use crate::job::Job;
use crate::library::LibraryItem;
use crate::licences::Location;
use crate::migration::{Move, Pinned, SetUp};
use crate::organisation::Organisation;
use crate::queue::Command;
use crate::sealed::SealedSecret;
use crate::server_certificate::ServerCertificate;
use crate::wave::{Server, Wave};

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A version was stale, or a unique value is taken: load and decide again.
    #[error("conflict: what the decision rested on has changed")]
    Conflict,
    /// The database cannot be reached, is full or is shutting down; later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row cannot be read.
    #[error("corrupt row in {table}.{column}, key {key}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The primary key as text.
        key: String,
    },
    /// The database refuses its set-up or a statement of ours.
    #[error("database: {0}")]
    Database(String),
}

/// Reads organisations.
#[async_trait]
pub trait OrganisationStore: Send + Sync {
    /// By id.
    async fn organisation(&self, id: OrganisationId) -> Result<Option<Organisation>, StoreError>;
    /// By the code in a device's path.
    async fn organisation_by_code(
        &self,
        code: &OrganisationCode,
    ) -> Result<Option<Organisation>, StoreError>;
    /// In the order of ids, after `after`.
    async fn organisations(
        &self,
        after: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Organisation>, StoreError>;
}

/// Reads devices.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// By id.
    async fn device(
        &self,
        organisation: OrganisationId,
        id: DeviceId,
    ) -> Result<Option<Device>, StoreError>;
    /// By serial number.
    async fn device_by_serial(
        &self,
        organisation: OrganisationId,
        serial: &Serial,
    ) -> Result<Option<Device>, StoreError>;
    /// By serial numbers, those that exist, in the order of serial numbers.
    async fn devices_by_serial(
        &self,
        organisation: OrganisationId,
        serials: &[Serial],
    ) -> Result<Vec<Device>, StoreError>;
    /// In the order of ids, after `after`.
    async fn devices(
        &self,
        organisation: OrganisationId,
        after: DeviceId,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// Devices whose assignment-service record stands in `server`'s list, is not gone, and was last seen before `before`:
    /// those that a full list did not show.
    async fn devices_unseen_since(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// Devices in `server`'s list whose wanted ADE profile is not in force and may be assigned at `now`, in the order of ids.
    async fn devices_to_assign(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// The earliest moment after `now` at which such a device may be assigned.
    async fn next_assignment(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;
}

/// Reads channels, their sessions and certificates.
#[async_trait]
pub trait EnrollmentStore: Send + Sync {
    /// By id.
    async fn enrollment(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<Enrollment>, StoreError>;
    /// All that are pending, enrolled or checked out under a normalised channel id, oldest first; not superseded ones.
    async fn enrollments_by_key(
        &self,
        organisation: OrganisationId,
        key: &str,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// User channels of a device-channel enrolment.
    async fn user_channels(
        &self,
        organisation: OrganisationId,
        parent: EnrollmentId,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// Every generation of a device's device channel, oldest first.
    async fn enrollments_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// By id.
    async fn session(
        &self,
        organisation: OrganisationId,
        id: SessionId,
    ) -> Result<Option<EnrolSession>, StoreError>;
    /// By SHA-256 of its challenge.
    async fn session_by_challenge(
        &self,
        organisation: OrganisationId,
        hash: &str,
    ) -> Result<Option<EnrolSession>, StoreError>;
    /// By id.
    async fn certificate(
        &self,
        organisation: OrganisationId,
        id: CertificateId,
    ) -> Result<Option<IssuedCertificate>, StoreError>;
    /// By SHA-256 of its DER.
    async fn certificate_by_hash(
        &self,
        organisation: OrganisationId,
        sha256: &str,
    ) -> Result<Option<IssuedCertificate>, StoreError>;
    /// By the code in its certificate's name.
    async fn session_by_code(
        &self,
        organisation: OrganisationId,
        code: &str,
    ) -> Result<Option<EnrolSession>, StoreError>;
    /// Identities of an organisation, in the order of ids, after `after`.
    async fn certificates(
        &self,
        organisation: OrganisationId,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Sessions of a device in which an identity may still be issued ([`EnrolSession::is_open`]), oldest first.
    async fn open_sessions_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<EnrolSession>, StoreError>;
    /// Every identity that was issued in a session of a device, oldest first.
    async fn certificates_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Those of them that are revoked, in the order of ids, after `after`.
    async fn revoked_certificates(
        &self,
        organisation: OrganisationId,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Of all organisations: identities whose renewal is to be looked after, by (moment, id).
    async fn certificates_to_renew(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Of the identities of all organisations with which somebody speaks ([`IssuedCertificate::speaks`]): when the first one
    /// ends, and how many end until `by`.
    async fn identities_ending(
        &self,
        by: Timestamp,
    ) -> Result<(Option<Timestamp>, u64), StoreError>;
}

/// Reads commands.
#[async_trait]
pub trait CommandStore: Send + Sync {
    /// By UUID.
    async fn command(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        uuid: &str,
    ) -> Result<Option<Command>, StoreError>;
    /// Those without a final report, in the order in which they go out: by [`Command::turn`], then by id. One that cannot be
    /// read is logged and left out: it must keep nothing behind it from its device.
    async fn open_commands(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError>;
    /// All, newest first.
    async fn commands(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Command>, StoreError>;
}

/// Reads set-ups and pinned runbooks.
#[async_trait]
pub trait SetUpStore: Send + Sync {
    /// By id.
    async fn set_up(
        &self,
        organisation: OrganisationId,
        id: SetUpId,
    ) -> Result<Option<SetUp>, StoreError>;
    /// Of an enrolment.
    async fn set_up_of(
        &self,
        organisation: OrganisationId,
        enrollment: EnrollmentId,
    ) -> Result<Option<SetUp>, StoreError>;
    /// Of all organisations: those whose wake has come, by (wake, id).
    async fn due_set_ups(&self, now: Timestamp, limit: u32) -> Result<Vec<SetUp>, StoreError>;
    /// Of all organisations: those in a hold past their ceiling whose release is not under way. The watchdog's one query.
    async fn set_ups_past_ceiling(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError>;
    /// Those that are in a hold or being released, by ([`SetUp::held_since`], id), after these. A row that cannot be read is
    /// left out.
    async fn holds(
        &self,
        organisation: OrganisationId,
        after: Option<(Timestamp, SetUpId)>,
        limit: u32,
    ) -> Result<Vec<SetUp>, StoreError>;
    /// A pinned runbook.
    async fn runbook(
        &self,
        organisation: OrganisationId,
        id: RunbookId,
    ) -> Result<Option<Pinned>, StoreError>;
    /// All pinned runbooks, newest first.
    async fn runbooks(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Pinned>, StoreError>;
}

/// Reads moves.
#[async_trait]
pub trait MoveStore: Send + Sync {
    /// By id.
    async fn attempt(
        &self,
        organisation: OrganisationId,
        id: MoveId,
    ) -> Result<Option<Move>, StoreError>;
    /// The unfinished one of a device.
    async fn open_attempt(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Option<Move>, StoreError>;
    /// Members of a wave in the order of ids, after `after`.
    async fn attempts(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError>;
    /// Of all organisations: those whose wake has come, by (wake, id).
    async fn due_attempts(&self, now: Timestamp, limit: u32) -> Result<Vec<Move>, StoreError>;
}

/// Reads waves and server entries.
#[async_trait]
pub trait WaveStore: Send + Sync {
    /// By id.
    async fn wave(
        &self,
        organisation: OrganisationId,
        id: WaveId,
    ) -> Result<Option<Wave>, StoreError>;
    /// In the order of ids, after `after`.
    async fn waves(
        &self,
        organisation: OrganisationId,
        after: WaveId,
        limit: u32,
    ) -> Result<Vec<Wave>, StoreError>;
    /// By id.
    async fn server(
        &self,
        organisation: OrganisationId,
        id: ServerId,
    ) -> Result<Option<Server>, StoreError>;
    /// All of an organisation.
    async fn servers(&self, organisation: OrganisationId) -> Result<Vec<Server>, StoreError>;
}

/// Reads sealed secrets.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// By id.
    async fn secret(
        &self,
        organisation: OrganisationId,
        id: SecretId,
    ) -> Result<Option<SealedSecret>, StoreError>;
    /// All of a device, newest first.
    async fn secrets(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<SealedSecret>, StoreError>;
}

/// Reads the record, refusals and API tokens.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Of a device, oldest first, after `after`.
    async fn audit_of(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
        after: AuditId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
    /// Of the organisation, oldest first, after `after`.
    async fn audit(
        &self,
        organisation: OrganisationId,
        after: AuditId,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
    /// Newest first.
    async fn refusals(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Refusal>, StoreError>;
    /// By SHA-256 of the token.
    async fn token_by_hash(&self, hash: &str) -> Result<Option<ApiToken>, StoreError>;
    /// All of an organisation.
    async fn tokens(&self, organisation: OrganisationId) -> Result<Vec<ApiToken>, StoreError>;
}

/// Reads what goes on at Apple's services: requests that change something, budgets, locations, the device list.
#[async_trait]
pub trait AppleStore: Send + Sync {
    /// By id.
    async fn errand(
        &self,
        organisation: OrganisationId,
        id: ErrandId,
    ) -> Result<Option<Errand>, StoreError>;
    /// All of an organisation, in the order of ids, after `after`.
    async fn errands(
        &self,
        organisation: OrganisationId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError>;
    /// Those of a wave, in the order of ids, after `after`.
    async fn errands_of(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError>;
    /// Those that have not ended, in the order of ids, after `after`.
    async fn open_errands(
        &self,
        organisation: OrganisationId,
        after: ErrandId,
        limit: u32,
    ) -> Result<Vec<Errand>, StoreError>;
    /// By name.
    async fn budget(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Budget>, StoreError>;
    /// All of an organisation, by name.
    async fn budgets(&self, organisation: OrganisationId) -> Result<Vec<Budget>, StoreError>;
    /// By id.
    async fn location(
        &self,
        organisation: OrganisationId,
        id: LocationId,
    ) -> Result<Option<Location>, StoreError>;
    /// All of an organisation, in the order of ids.
    async fn locations(&self, organisation: OrganisationId) -> Result<Vec<Location>, StoreError>;
    /// By id.
    async fn inventory(
        &self,
        organisation: OrganisationId,
        id: InventoryId,
    ) -> Result<Option<Inventory>, StoreError>;
}

/// Reads profiles and packages that are kept for devices.
#[async_trait]
pub trait LibraryStore: Send + Sync {
    /// By id.
    async fn library_item(
        &self,
        organisation: OrganisationId,
        id: LibraryId,
    ) -> Result<Option<LibraryItem>, StoreError>;
    /// All of an organisation, in the order of ids.
    async fn library(&self, organisation: OrganisationId) -> Result<Vec<LibraryItem>, StoreError>;
}

/// Reads declarations, sets, for whom they are, and what channels were told and say.
#[async_trait]
pub trait DeclarationStore: Send + Sync {
    /// By id.
    async fn declaration(
        &self,
        organisation: OrganisationId,
        id: DeclarationId,
    ) -> Result<Option<Declaration>, StoreError>;
    /// By identifier.
    async fn declaration_by_identifier(
        &self,
        organisation: OrganisationId,
        identifier: &str,
    ) -> Result<Option<Declaration>, StoreError>;
    /// In the order of ids, after `after`.
    async fn declarations(
        &self,
        organisation: OrganisationId,
        after: DeclarationId,
        limit: u32,
    ) -> Result<Vec<Declaration>, StoreError>;
    /// Those of these ids that exist, in the order of ids.
    async fn declarations_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeclarationId],
    ) -> Result<Vec<Declaration>, StoreError>;
    /// By id.
    async fn declaration_content(
        &self,
        organisation: OrganisationId,
        id: ContentId,
    ) -> Result<Option<DeclarationContent>, StoreError>;
    /// By server token.
    async fn declaration_content_by_token(
        &self,
        organisation: OrganisationId,
        token: &str,
    ) -> Result<Option<DeclarationContent>, StoreError>;
    /// By id.
    async fn declaration_set(
        &self,
        organisation: OrganisationId,
        id: DeclarationSetId,
    ) -> Result<Option<DeclarationSet>, StoreError>;
    /// All of an organisation, in the order of ids.
    async fn declaration_sets(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<DeclarationSet>, StoreError>;
    /// Those of these ids that exist, in the order of ids.
    async fn declaration_sets_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeclarationSetId],
    ) -> Result<Vec<DeclarationSet>, StoreError>;
    /// By id.
    async fn declaration_assignment(
        &self,
        organisation: OrganisationId,
        id: AssignmentId,
    ) -> Result<Option<DeclarationAssignment>, StoreError>;
    /// Those under these words ([`DeclarationAssignment::scope`]) that have not ended, in the order of ids.
    async fn declaration_assignments_under(
        &self,
        organisation: OrganisationId,
        scopes: &[String],
    ) -> Result<Vec<DeclarationAssignment>, StoreError>;
    /// Those of a set, also those that have ended, in the order of ids.
    async fn declaration_assignments_of(
        &self,
        organisation: OrganisationId,
        set: DeclarationSetId,
    ) -> Result<Vec<DeclarationAssignment>, StoreError>;
    /// By id.
    async fn declaration_manifest(
        &self,
        organisation: OrganisationId,
        id: ManifestId,
    ) -> Result<Option<DeclarationManifest>, StoreError>;
    /// Those of these tokens that exist, in the order of ids.
    async fn declaration_manifests_of(
        &self,
        organisation: OrganisationId,
        tokens: &[String],
    ) -> Result<Vec<DeclarationManifest>, StoreError>;
    /// What a channel was told.
    async fn declared_channel(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<DeclaredChannel>, StoreError>;
    /// What these channels were told, as far as they were, in the order of ids.
    async fn declared_channels_of(
        &self,
        organisation: OrganisationId,
        ids: &[EnrollmentId],
    ) -> Result<Vec<DeclaredChannel>, StoreError>;
    /// What a channel reported.
    async fn channel_status(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<ChannelStatus>, StoreError>;
    /// What channels reported, in the order of ids, after `after`.
    async fn channel_statuses(
        &self,
        organisation: OrganisationId,
        after: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<ChannelStatus>, StoreError>;
    /// Channels that are not superseded, of devices and of users, in the order of ids, after `after`.
    async fn channels(
        &self,
        organisation: OrganisationId,
        after: EnrollmentId,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// Those of these devices that exist, in the order of ids.
    async fn devices_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<Device>, StoreError>;
    /// Commands of this request type without a final report in the queues of these channels, in the order of ids.
    async fn open_commands_of_type(
        &self,
        organisation: OrganisationId,
        channels: &[EnrollmentId],
        request_type: &str,
    ) -> Result<Vec<Command>, StoreError>;
}

/// Reads the certificate of the listeners, which the processes of an installation share.
#[async_trait]
pub trait ServerCertificateStore: Send + Sync {
    /// By name.
    async fn server_certificate(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<ServerCertificate>, StoreError>;
}

/// Reads what our ACME server keeps of devices, and clears that away.
#[async_trait]
pub trait AcmeStore: Send + Sync {
    /// By id.
    async fn acme_account(
        &self,
        organisation: OrganisationId,
        id: AcmeAccountId,
    ) -> Result<Option<AcmeAccount>, StoreError>;
    /// By the name of its key.
    async fn acme_account_by_key(
        &self,
        organisation: OrganisationId,
        thumbprint: &str,
    ) -> Result<Option<AcmeAccount>, StoreError>;
    /// By the session that it is for.
    async fn acme_order(
        &self,
        organisation: OrganisationId,
        session: SessionId,
    ) -> Result<Option<AcmeOrder>, StoreError>;
    /// By SHA-256 of the key that was certified.
    async fn acme_order_by_key(
        &self,
        organisation: OrganisationId,
        certified: &str,
    ) -> Result<Option<AcmeOrder>, StoreError>;
    /// By its number, if it was used.
    async fn acme_nonce(
        &self,
        organisation: OrganisationId,
        id: AcmeNonceId,
    ) -> Result<Option<AcmeNonce>, StoreError>;
    /// Deletes accounts, orders and nonces that expired before `now`. At most `limit` rows of each kind, the oldest first;
    /// answers how many.
    async fn forget_acme(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
}

/// What became of batches since a store was opened, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "figures that a vendor's store makes too"
)]
pub struct CommitFigures {
    /// Batches that were applied.
    pub done: u64,
    /// Batches that rested on what had changed meanwhile.
    pub conflicts: u64,
    /// Batches that the database did not take.
    pub failed: u64,
    /// How long all of them together waited for their answer.
    pub waited: std::time::Duration,
}

/// Claims jobs, and clears away what is over.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Leases up to `limit` due jobs until `lease`, by (due, id), fairly over organisations. A leased job is not given out
    /// again before its lease ends.
    async fn claim_jobs(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;
    /// The earliest moment at which a job is due or a machine wants to be woken, over everything; may lie in the past.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Deletes what nobody needs any more and was over before `before`: settled commands with their reports, superseded
    /// enrolments, enrolment sessions in which no certificate was issued. At most `limit` rows of each kind, the oldest first;
    /// answers how many.
    async fn prune(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
    /// When a job is due, and until when its lease runs; `None` when there is no such job.
    async fn job_times(
        &self,
        organisation: OrganisationId,
        id: JobId,
    ) -> Result<Option<JobTimes>, StoreError>;
    /// How many jobs wait, leased ones included.
    async fn jobs_waiting(&self) -> Result<u64, StoreError>;
}

/// The times of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two times")]
pub struct JobTimes {
    /// Not before.
    pub due: Timestamp,
    /// Until then it is somebody's, who is at it or has died over it; in the past when it is nobody's.
    pub leased_until: Timestamp,
}

/// Everything that the service needs of a database.
#[async_trait]
pub trait Store:
    OrganisationStore
    + DeviceStore
    + EnrollmentStore
    + CommandStore
    + SetUpStore
    + MoveStore
    + WaveStore
    + SecretStore
    + AuditStore
    + AppleStore
    + LibraryStore
    + DeclarationStore
    + ServerCertificateStore
    + AcmeStore
    + JobStore
    + 'static
{
    /// Applies every write or none, and answers once that is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a version is stale or a unique value is taken; nothing was written then.
    async fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// What a message of a channel is decided on, in as few statements as the database allows.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when one of the rows cannot be read; what stands for every read.
    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        channel::one_by_one(self, ask).await
    }

    /// Accepts no further batch, answers those that it accepted, and closes the database. Closing twice does no harm.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database could not be left tidy; what was acknowledged is durable all the same.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What became of batches since the store was opened; `None` of a store that does not count.
    fn commit_figures(&self) -> Option<CommitFigures> {
        None
    }

    /// A word for people: `sqlite`, `postgres`, …
    fn name(&self) -> &'static str;
}
