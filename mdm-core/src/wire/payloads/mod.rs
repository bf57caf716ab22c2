//! Configuration profiles and the payloads that a migration needs, one file per payload.
//!
//! A payload knows its keys; when and for whom a profile is made is decided elsewhere. The encoded
//! bytes may hold passwords and challenges, hence they are zeroed when dropped.

mod certificate;
mod escrow;
mod mdm;
mod profile;
mod scep;
mod wifi;

pub use certificate::{CertificateKind, CertificatePayload};
pub use escrow::EscrowPayload;
pub use mdm::{ALL_ACCESS_RIGHTS, MdmPayload, ServerCapability};
pub use profile::{ConfigurationProfile, Payload, PayloadScope};
pub use scep::ScepPayload;
pub use wifi::WifiPayload;

#[cfg(test)]
mod tests;
