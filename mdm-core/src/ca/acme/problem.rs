//! Why a request of an ACME client is refused, in the protocol's words. Which status code goes with it is not known here, and
//! no sentence repeats what the client sent.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jws::ALGORITHMS;

/// The media type of a problem document.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// The protocol's types of problems, as far as this server has them.
///
/// <https://www.rfc-editor.org/rfc/rfc8555#section-6.7>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ProblemKind {
    /// There is no such account, or no more.
    AccountDoesNotExist,
    /// The certificate is revoked already.
    AlreadyRevoked,
    /// The attestation proves something else, or nothing.
    BadAttestationStatement,
    /// The certificate request cannot be granted.
    #[serde(rename = "badCSR")]
    BadCsr,
    /// The nonce is not ours, too old, or used.
    BadNonce,
    /// A key of a kind that is not accepted.
    BadPublicKey,
    /// No such reason for a revocation.
    BadRevocationReason,
    /// A signature of a kind that is not accepted.
    BadSignatureAlgorithm,
    /// The message is not one of the protocol's.
    Malformed,
    /// The order is not ready for this.
    OrderNotReady,
    /// Too much was asked.
    RateLimited,
    /// No certificate for this identifier, or no second one.
    RejectedIdentifier,
    /// Not allowed to this client.
    Unauthorized,
    /// Another type of identifier than [`super::PERMANENT_IDENTIFIER`].
    UnsupportedIdentifier,
}

impl ProblemKind {
    /// The type as a problem document and a metric name it, without the protocol's prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountDoesNotExist => "accountDoesNotExist",
            Self::AlreadyRevoked => "alreadyRevoked",
            Self::BadAttestationStatement => "badAttestationStatement",
            Self::BadCsr => "badCSR",
            Self::BadNonce => "badNonce",
            Self::BadPublicKey => "badPublicKey",
            Self::BadRevocationReason => "badRevocationReason",
            Self::BadSignatureAlgorithm => "badSignatureAlgorithm",
            Self::Malformed => "malformed",
            Self::OrderNotReady => "orderNotReady",
            Self::RateLimited => "rateLimited",
            Self::RejectedIdentifier => "rejectedIdentifier",
            Self::Unauthorized => "unauthorized",
            Self::UnsupportedIdentifier => "unsupportedIdentifier",
        }
    }
}

/// A refusal: its type, and a sentence for people that is ours from the first word to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.as_str())]
#[non_exhaustive]
pub struct Problem {
    /// The type.
    pub kind: ProblemKind,
    /// The sentence.
    pub detail: &'static str,
}

impl Problem {
    /// A problem.
    #[must_use]
    pub const fn new(kind: ProblemKind, detail: &'static str) -> Self {
        Self { kind, detail }
    }

    pub(super) const fn malformed(detail: &'static str) -> Self {
        Self::new(ProblemKind::Malformed, detail)
    }

    /// The problem document (RFC 7807).
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = described(self.kind, self.detail);
        if self.kind == ProblemKind::BadSignatureAlgorithm {
            document["algorithms"] = json!(ALGORITHMS);
        }
        document
    }
}

/// A problem as a document of its own or inside another one.
pub(super) fn described(kind: ProblemKind, detail: &str) -> Value {
    json!({ "type": format!("urn:ietf:params:acme:error:{}", kind.as_str()), "detail": detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_name_is_the_name_on_the_wire() {
        for kind in [
            ProblemKind::AccountDoesNotExist,
            ProblemKind::BadAttestationStatement,
            ProblemKind::BadCsr,
            ProblemKind::BadNonce,
            ProblemKind::BadPublicKey,
            ProblemKind::UnsupportedIdentifier,
        ] {
            assert_eq!(json!(kind), kind.as_str());
        }
    }

    #[test]
    fn whoever_signs_with_something_else_is_told_what_would_do() {
        let problem = Problem::new(ProblemKind::BadSignatureAlgorithm, "x").document();
        assert_eq!(problem["algorithms"], json!(["ES256", "ES384", "RS256"]));
        assert_eq!(
            problem["type"],
            "urn:ietf:params:acme:error:badSignatureAlgorithm"
        );
    }
}
