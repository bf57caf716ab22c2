//! The migration library: everything that a destination MDM server needs to take over Apple devices without erasing them,
//! for embedding into a server that exists or under `mdmd`.
//!
//! An organisation sets a deadline at Apple; its devices leave their old MDM, enrol at the new one, and are held until they
//! are told to go on. That hold is the one moment in which apps with their data can be kept, and the best one for recovery
//! keys and Activation Lock. This library plans the move, works through that moment step by step, proves what
//! it did, and releases every device, also when a step fails.
//!
//! # How it works
//!
//! **Decide in pure functions, write everything a decision needs in one commit, and let a worker do the talking
//! afterwards.** A message of a device is parsed ([`wire`]), rows are loaded, two small machines are advanced
//! ([`migration`]), and the result is one [`Batch`](store::Batch). While a device is being answered nothing leaves the
//! building: what must leave is a [`Job`](job::Job) of that batch, and [`Mdm::work`](service::Mdm::work) does it later,
//! under a lease. Every effect may be done twice without harm, so a process that is killed loses nothing.
//!
//! An answer that says success says *committed*, and committed says *on disk* ([`store`]).
//!
//! # Embedding
//!
//! A host supplies a store (SQLite and PostgreSQL are here, others pass [`store::contract`]), a
//! [`KeyWrap`](vault::KeyWrap) for its master key, a [`Clock`](clock::Clock), and [`Ports`](service::Ports) to Apple; what it
//! does not supply refuses. It calls two functions from its own HTTP server and one from its own scheduler.
//!
//! ```
//! use std::sync::Arc;
//!
//! use mdm_core::clock::SystemClock;
//! use mdm_core::service::{Mdm, MdmSettings, Peer, Ports};
//! # #[cfg(feature = "sqlite")]
//! use mdm_core::store::SqliteStore;
//! use mdm_core::vault::EscrowVault;
//! # use mdm_core::secret::Secret;
//! # use mdm_core::vault::{KeyWrap, VaultError};
//! # struct OurKms;
//! # #[async_trait::async_trait]
//! # impl KeyWrap for OurKms {
//! #     fn key_id(&self) -> String { "example".to_owned() }
//! #     // A doctest keeps nothing worth a real key service.
//! #     async fn wrap(&self, plain: &Secret, _: &[u8]) -> Result<Vec<u8>, VaultError> { Ok(plain.expose().to_vec()) }
//! #     async fn unwrap(&self, _: &str, wrapped: &[u8], _: &[u8]) -> Result<Secret, VaultError> { Ok(Secret::new(wrapped)) }
//! # }
//!
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mdm = Mdm::new(
//!     Arc::new(SqliteStore::in_memory().await?), // `open(path)`, `PostgresStore`, or a `Store` of your own
//!     EscrowVault::new(OurKms),
//!     Arc::new(SystemClock),
//!     Ports::refusing(), // Ports { push, assignment, api, ..Ports::refusing() }
//!     MdmSettings {
//!         device_url: "https://mdm.example.com".to_owned(),
//!         enrol_url: "https://enrol.example.com".to_owned(),
//!         sign_messages: false,
//!     },
//! );
//! let customer = mdm.create_organisation("Acme", Vec::new()).await?;
//! let code = customer.org.organisation().code.clone();
//!
//! // PUT /mdm/{code}/checkin, and `report` in the same way for PUT /mdm/{code}/command. Nothing about the peer is trusted
//! // yet: this one shows no certificate.
//! let refused = mdm.organisation(&code).await?.check_in(&Peer::default(), b"<plist/>").await;
//! assert!(refused.is_err_and(|error| error.is_callers_fault()));
//!
//! // In the scheduler: whatever is due. A task of its own calls `mdm.watch`, which releases holds past their ceiling.
//! while mdm.work(50).await? > 0 {}
//! # Ok(()) }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! The example `embed` goes on from here, with push, Apple, a wave and a device of it, in forty lines; the example `axum` puts
//! the endpoints into an axum application of one's own.
//!
//! # The doors
//!
//! What devices ask for and which function of [`Org`](service::Org) answers. The paths are those that profiles name; nothing
//! but the path says whose device it is, so a host takes the organisation's code from there and hands the rest over.
//!
//! | request | function | who |
//! |---|---|---|
//! | `PUT /mdm/{code}/checkin` | [`check_in`](service::Org::check_in) | [`Peer`](service::Peer): TLS client certificate, `Mdm-Signature`, a proxy's header |
//! | `PUT /mdm/{code}/command` | [`report`](service::Org::report) | the same |
//! | `GET /mdm/{code}/files/{name}` | [`declaration_file`](service::Org::declaration_file) | the same |
//! | `POST /mdm/{code}/enrol` | [`enrol`](service::Org::enrol) | signed machine information in the body |
//! | `POST /mdm/{code}/download` | [`accept_invitation`](service::Org::accept_invitation) | the code of an invitation |
//! | `GET`, `POST /mdm/{code}/scep` | [`scep`](service::Org::scep) | the challenge of a profile |
//! | `/mdm/{code}/acme/{resource}` | [`acme_look`](service::Org::acme_look), [`acme`](service::Org::acme) | the identifier in a profile |
//! | `GET /mdm/{code}/crl/{authority}` | [`revocation_list`](service::Org::revocation_list) | anybody |
//! | `GET /mdm/{code}/package/{file}` | [`kept_package`](service::Org::kept_package) names the file, which the host keeps | anybody who knows the name |
//!
//! A host has four duties that no function can take from it. It ends TLS, *asks* for a client certificate at the first three
//! doors, and refuses none there: whom a certificate belongs to is decided here. It fills [`Peer`](service::Peer) from the
//! connection, or from a header of a proxy that it has on a list, and from nobody else. It bounds bodies, headers and
//! time before it calls. And it turns an [`Answer`](service::Answer) or an [`Error`](error::Error) into a status, as the
//! example `axum` does in one function.
//!
//! # Reading order
//!
//! 1. [`wire`]: check-ins, commands, reports and payloads in Apple's words; the only place with property-list keys.
//! 2. The nouns: [`organisation`], [`device`], [`enrollment`], [`wave`]; their keys in [`ids`].
//! 3. [`migration`]: the two machines, their events and effects, the runbook and its steps.
//! 4. [`store`]: reading by narrow traits, writing by one method, and the contract of every back end.
//! 5. [`service`]: [`Mdm`](service::Mdm) and [`Org`](service::Org), which tie them together; [`service::ports`].
//!
//! Features know *what* to say to a device, the steps of a runbook *when*: [`filevault`], [`activation_lock`], [`apps`],
//! [`bootstrap_token`], [`enrol`], [`ca`] (SCEP and ACME, bytes in, bytes out), [`identity`], [`queue`], [`ddm`], [`library`] (profiles
//! and packages by tag), [`licences`], [`inventory`], [`sign_in`] and [`person`], [`vault`], [`audit`].
//!
//! # What it refuses to do
//!
//! It opens no listener and speaks no TLS. Below [`service`] nothing does IO (but the back ends of [`store`]), and no rule
//! reads a clock: `now` is an argument. No secret is in a log, an error, a `Debug` output or an unsealed column. Everything
//! belongs to one organisation; a handle cannot ask across.
//!
//! # Errors
//!
//! [`Error`](error::Error) answers the caller's questions: whether the sender did wrong
//! ([`is_callers_fault`](error::Error::is_callers_fault): a 4xx, and never 401, at which a device would drop its
//! enrolment; the one answer that is a 401, [`Answer::SignIn`](service::Answer::SignIn), is for the address of account-driven
//! enrolment alone), whether to decide again ([`is_conflict`](error::Error::is_conflict)), and when to come back
//! ([`retry_after`](error::Error::retry_after)). Refusals worth knowing are values, stored and shown, not errors.
//!
//! # Runtime and versions
//!
//! Stores and workers need a Tokio runtime with time; several threads are an advantage, none is started here. [`Mdm`](service::Mdm)
//! and [`Org`](service::Org) are cheap to clone, `Send` and `Sync`. Several processes may share one database: works are claimed
//! under leases of seconds that are renewed while they go on ([`Mdm::let_go`](service::Mdm::let_go) at the end of a process gives them back), writes are guarded by versions. The schema of a database is brought up to date when its store is opened, and a
//! process of an older version then refuses it.
//!
//! Public are [`Mdm`](service::Mdm), [`Org`](service::Org), [`Ports`](service::Ports), [`Store`](store::Store) and the values that
//! they speak of; a change of these stands in the changelog. Enums that Apple may extend are `#[non_exhaustive]`.
//!
//! # Cargo features
//!
//! | feature | on | what |
//! |---|---|---|
//! | `sqlite` | yes | [`store::SqliteStore`], in a file or in memory |
//! | `postgres` | yes | [`store::PostgresStore`] |
//! | `vendored-openssl` | no | OpenSSL built from source, where the system has none to link |
//! | `testing` | no | for tests of a host: a store that fails at a chosen commit, a PostgreSQL to throw away, what is known of devices elsewhere, an assignment service that answers in part |

pub mod acme;
pub mod activation_lock;
pub mod app_state;
pub mod approval;
pub mod apps;
pub mod attested;
pub mod audit;
pub mod audit_seal;
pub mod bootstrap_token;
pub mod budget;
pub mod ca;
pub mod calendar;
pub mod check;
pub mod checklist;
pub mod clock;
pub mod counted;
pub mod ddm;
pub mod device;
pub mod device_lock;
pub mod enrol;
pub mod enrollment;
pub mod errand;
pub mod error;
pub mod evidence;
pub mod failure;
pub mod filevault;
pub mod gap;
pub mod hand_off;
pub mod hook;
pub mod identity;
pub mod ids;
pub mod inventory;
pub mod job;
pub mod jose;
pub mod library;
pub mod licences;
mod line;
pub mod migration;
pub mod organisation;
pub mod original;
pub mod person;
pub mod project;
pub mod queue;
pub mod removal;
pub mod repeat;
pub mod runbook;
#[cfg(feature = "schema")]
mod schema;
pub mod sealed;
pub mod secret;
pub mod server_certificate;
pub mod service;
pub mod shell;
pub mod sign_in;
pub mod store;
pub mod template;
pub mod texts;
pub mod vault;
pub mod views;
pub mod wave;
pub mod wire;

#[cfg(test)]
mod testing;
