//! The documents of the answers, and the addresses of this server. Every address is made here, so that what a client is told
//! and what its signature is checked against cannot differ.

use serde_json::{Value, json};

use super::problem::{ProblemKind, described};
use super::{DEVICE_ATTEST, PERMANENT_IDENTIFIER};
use crate::clock::Timestamp;

/// The addresses of one organisation's server.
#[derive(Clone, Debug)]
pub struct Addresses {
    base: String,
}

impl Addresses {
    /// Below this one, which has no slash at its end.
    #[must_use]
    pub fn below(base: String) -> Self {
        Self { base }
    }

    /// A resource without a name.
    #[must_use]
    pub fn of(&self, resource: &str) -> String {
        format!("{}/{resource}", self.base)
    }

    /// A resource with a name.
    #[must_use]
    pub fn named(&self, resource: &str, name: &str) -> String {
        format!("{}/{resource}/{name}", self.base)
    }

    /// The name in the address of an account, if it is one of this server's.
    #[must_use]
    pub fn account_in<'a>(&self, address: &'a str) -> Option<&'a str> {
        address
            .strip_prefix(self.base.as_str())?
            .strip_prefix("/account/")
    }
}

/// Where everything is.
#[must_use]
pub fn directory(at: &Addresses) -> Value {
    json!({
        "newNonce": at.of("new-nonce"),
        "newAccount": at.of("new-account"),
        "newOrder": at.of("new-order"),
        "revokeCert": at.of("revoke-cert"),
        "keyChange": at.of("key-change"),
        "meta": { "externalAccountRequired": false },
    })
}

/// An account.
#[must_use]
pub fn account(deactivated: bool) -> Value {
    json!({ "status": if deactivated { "deactivated" } else { "valid" } })
}

/// What the documents about an order are made of.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct OrderView<'a> {
    /// Its name in addresses.
    pub name: &'a str,
    /// The client identifier; only whoever has shown it gets to see it.
    pub identifier: &'a str,
    /// The token of its challenge.
    pub token: &'a str,
    /// When it can no longer be used.
    pub expires: Timestamp,
    /// When its challenge was met.
    pub validated: Option<Timestamp>,
    /// Whether its certificate is there.
    pub issued: bool,
    /// Why it came to nothing.
    pub failed: Option<(ProblemKind, &'a str)>,
}

impl OrderView<'_> {
    fn authorized(&self) -> &'static str {
        match (self.failed, self.validated) {
            (Some(_), _) => "invalid",
            (None, Some(_)) => "valid",
            (None, None) => "pending",
        }
    }
}

fn identifier(view: &OrderView<'_>) -> Value {
    json!({ "type": PERMANENT_IDENTIFIER, "value": view.identifier })
}

/// An order.
#[must_use]
pub fn order(at: &Addresses, view: &OrderView<'_>) -> Value {
    let status = match (view.failed, view.issued, view.validated) {
        (Some(_), _, _) => "invalid",
        (None, true, _) => "valid",
        (None, false, Some(_)) => "ready",
        (None, false, None) => "pending",
    };
    let mut order = json!({
        "status": status,
        "expires": view.expires,
        "identifiers": [identifier(view)],
        "authorizations": [at.named("authz", view.name)],
        "finalize": at.named("finalize", view.name),
    });
    if view.issued {
        order["certificate"] = json!(at.named("certificate", view.name));
    }
    if let Some((kind, detail)) = view.failed {
        order["error"] = described(kind, detail);
    }
    order
}

/// The authorisation of an order.
#[must_use]
pub fn authorization(at: &Addresses, view: &OrderView<'_>) -> Value {
    json!({
        "status": view.authorized(),
        "expires": view.expires,
        "identifier": identifier(view),
        "challenges": [challenge(at, view)],
    })
}

/// The challenge of an authorisation.
#[must_use]
pub fn challenge(at: &Addresses, view: &OrderView<'_>) -> Value {
    let mut challenge = json!({
        "type": DEVICE_ATTEST,
        "url": at.named("challenge", view.name),
        "status": view.authorized(),
        "token": view.token,
    });
    if let Some(at) = view.validated {
        challenge["validated"] = json!(at);
    }
    if let Some((kind, detail)) = view.failed {
        challenge["error"] = described(kind, detail);
    }
    challenge
}
