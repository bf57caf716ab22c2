//! What our ACME server keeps of the devices that obtain their identities from it: accounts, orders, used nonces. Holds no
//! secret itself; the client identifier of an order is sealed.
//!
//! Of a session there is one order at a time: whoever shows the client identifier again begins anew in its place. Rows that are
//! over go by themselves.

use serde::{Deserialize, Serialize};

use crate::attested::AttestedFacts;
use crate::ca::acme::ProblemKind;
use crate::clock::Timestamp;
use crate::ids::{AcmeAccountId, AcmeNonceId, CertificateId, OrganisationId, SessionId};
use crate::organisation::Der;

/// An account of a device: a key, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AcmeAccount {
    /// Whose server it is an account of.
    pub organisation: OrganisationId,
    /// Its key; also its name in its address.
    pub id: AcmeAccountId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The name of its key (RFC 7638); unique in the organisation.
    pub thumbprint: String,
    /// The public key, DER SubjectPublicKeyInfo.
    pub key: Der,
    /// It was given up: nothing more is done for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deactivated: bool,
    /// When it goes. Moved back when it obtains an identity.
    pub expires: Timestamp,
}

impl AcmeAccount {
    /// A new account.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: AcmeAccountId,
        thumbprint: String,
        key: Der,
        expires: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            thumbprint,
            key,
            deactivated: false,
            expires,
        }
    }
}

/// The order for the identity of one enrolment session, with its authorisation and its challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AcmeOrder {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key: the session whose client identifier it names.
    pub id: SessionId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Its name in addresses: the session's number and a random part, which an order in its place does not share.
    pub name: String,
    /// Who ordered.
    pub account: AcmeAccountId,
    /// The client identifier, sealed.
    pub identifier: Der,
    /// The token of its challenge.
    pub token: String,
    /// How many orders this session has seen, this one included.
    pub begun: u32,
    /// How far it is.
    pub state: AcmeOrderState,
    /// SHA-256 of the public key that was certified, lower-case hex; unique in the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<String>,
    /// When it can no longer be used, or, once the identity is issued, when that ends.
    pub expires: Timestamp,
}

/// How far an order is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocol's states, each decided on"
)]
pub enum AcmeOrderState {
    /// Its challenge is open.
    Pending,
    /// Its challenge was met: a certificate request may come.
    Ready {
        /// When.
        at: Timestamp,
        /// What was attested; `None` where the organisation takes a device that attests nothing.
        attested: Option<Box<AttestedFacts>>,
        /// The attested key, DER SubjectPublicKeyInfo: the only one that will be certified.
        key: Option<Der>,
    },
    /// The identity is issued.
    Valid {
        /// When its challenge was met.
        at: Timestamp,
        /// The identity.
        certificate: CertificateId,
    },
    /// It came to nothing.
    Invalid {
        /// Why, in the protocol's word.
        kind: ProblemKind,
        /// Why, as a sentence.
        detail: String,
    },
}

impl AcmeOrder {
    /// A new order.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is required and of its own kind"
    )]
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: SessionId,
        name: String,
        account: AcmeAccountId,
        identifier: Der,
        token: String,
        begun: u32,
        expires: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name,
            account,
            identifier,
            token,
            begun,
            state: AcmeOrderState::Pending,
            certified: None,
            expires,
        }
    }
}

/// A nonce that was used. Handing one out keeps nothing: it says itself, sealed, that it is ours and until when it is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AcmeNonce {
    /// Whose server it was used at.
    pub organisation: OrganisationId,
    /// Its random number.
    pub id: AcmeNonceId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// When it would have been refused anyway.
    pub expires: Timestamp,
}

impl AcmeNonce {
    /// A nonce, used now.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: AcmeNonceId, expires: Timestamp) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            expires,
        }
    }
}
