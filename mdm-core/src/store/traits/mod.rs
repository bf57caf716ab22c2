//! The reading traits, one file for each noun, and the store that is all of them. Only signatures: nothing here does anything.

mod acme;
mod apple;
mod audit;
mod commands;
mod declarations;
mod devices;
mod enrollments;
mod jobs;
mod library;
mod moves;
mod organisations;
mod originals;
mod people;
mod secrets;
mod server_certificates;
mod set_ups;
mod waves;
mod whole;

pub use acme::AcmeStore;
pub use apple::AppleStore;
pub use audit::AuditStore;
pub use commands::{CommandStore, CommandsWaiting};
pub use declarations::DeclarationStore;
pub use devices::DeviceStore;
pub use enrollments::EnrollmentStore;
pub use jobs::{JobStore, JobTimes};
pub use library::LibraryStore;
pub use moves::MoveStore;
pub use organisations::OrganisationStore;
pub use originals::OriginalStore;
pub use people::PersonStore;
pub use secrets::SecretStore;
pub use server_certificates::ServerCertificateStore;
pub use set_ups::SetUpStore;
pub use waves::WaveStore;
pub use whole::{CommitFigures, Store};
