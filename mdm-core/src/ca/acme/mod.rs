//! An ACME server for devices (RFC 8555) with the challenge `device-attest-01`, bytes in, bytes out: what a request says,
//! whether its signature holds, what an attestation proves, and how the answers read.
//!
//! Who may have a certificate is the caller's decision; nothing here keeps anything, knows a status code or reads a clock. It
//! is the server that *devices* get their identities from. How the certificates of our own listeners are obtained has nothing
//! to do with it.
//!
//! What is left out, on purpose: contacts (not kept), external account binding, pre-authorisation, lists of orders, and the
//! change of an account's key, which is refused: an account is as good as the one identity that it obtained.
//!
//! <https://www.rfc-editor.org/rfc/rfc8555>,
//! <https://datatracker.ietf.org/doc/draft-ietf-acme-device-attest/>,
//! <https://developer.apple.com/documentation/devicemanagement/acmecertificate>

mod attestation;
mod documents;
mod jws;
mod key;
mod problem;
mod request;

pub use attestation::{
    APPLE_ROOT_SHA256, Attestation, AttestationError, Attested, Roots, apple_root,
};
pub use documents::{Addresses, OrderView, account, authorization, challenge, directory, order};
pub use jws::{JOSE_TYPE, Jws, Signer};
pub use key::AccountKey;
pub use problem::{PROBLEM_TYPE, Problem, ProblemKind};
pub use request::{
    AccountChange, ChallengeAnswer, NewAccount, OrderAsked, Revocation, csr_key,
    read_account_change, read_challenge, read_csr, read_new_account, read_order, read_revocation,
};

/// The media type of a certificate with its chain.
pub const CHAIN_TYPE: &str = "application/pem-certificate-chain";

/// The one type of identifier that is certified here.
pub const PERMANENT_IDENTIFIER: &str = "permanent-identifier";

/// The one challenge that is set here.
pub const DEVICE_ATTEST: &str = "device-attest-01";

#[cfg(test)]
mod tests;
