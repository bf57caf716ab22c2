//! What happened, by whom and why: rows of the same batch as their cause. Never holds a secret.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AuditId, DeviceId, OrganisationId};

/// Who stands as actor in the record without being a person or a token; nobody gets such a name.
pub(crate) const NOBODY: [&str; 10] = [
    "device",
    "worker",
    "watchdog",
    "operator",
    "retention",
    "backup",
    "stop rule",
    "sign-in",
    "local administrator",
    "first administrator",
];

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AuditEntry {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key; ascends with time.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who: `device`, `worker`, `watchdog`, or a person's or token's name.
    pub actor: String,
    /// What happened, e.g. `set-up.released`.
    pub what: String,
    /// The device that it is about.
    pub device: Option<DeviceId>,
    /// From, to, cause, evidence: whatever explains it.
    pub detail: serde_json::Value,
}

impl AuditEntry {
    /// A line about `what`.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: AuditId,
        at: Timestamp,
        actor: &str,
        what: &str,
        device: Option<DeviceId>,
        detail: serde_json::Value,
    ) -> Self {
        Self {
            organisation,
            id,
            at,
            actor: actor.to_owned(),
            what: what.to_owned(),
            device,
            detail,
        }
    }
}

/// What is wrong with a message that shows nobody's identity, as its refusal ends.
pub(crate) const NO_IDENTITY: &str = "neither a client certificate nor Mdm-Signature";

/// A request that was refused before anybody was identified: bounded and pruned, for the operator who looks for a lost device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Refusal {
    /// The organisation of the path, if there is one.
    pub organisation: OrganisationId,
    /// Its key; ascends with time.
    pub id: crate::ids::RefusalId,
    /// When.
    pub at: Timestamp,
    /// From where.
    pub address: String,
    /// Which door: `enrol`, `scep`, `checkin`, `command`; `tls` before any.
    pub door: String,
    /// The field and what was wrong; never the content.
    pub reason: String,
    /// Only if it was proved.
    pub serial: Option<crate::ids::Serial>,
}

impl Refusal {
    /// A refusal at a door.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: crate::ids::RefusalId,
        at: Timestamp,
        address: &str,
        door: &str,
        reason: &str,
    ) -> Self {
        Self {
            organisation,
            id,
            at,
            address: address.to_owned(),
            door: door.to_owned(),
            reason: reason.to_owned(),
            serial: None,
        }
    }

    /// Whose refusals it counts among: those of the device that was proved, else those of the address. Of an IPv6 address the
    /// first half, for the other one is whoever has it to choose.
    #[must_use]
    pub fn sender(&self) -> String {
        if let Some(serial) = &self.serial {
            return format!("serial {serial}");
        }
        match self.address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => address.to_string(),
                None => {
                    let half = u128::from(address) >> 64 << 64;
                    format!("{}/64", std::net::Ipv6Addr::from(half))
                }
            },
            _ => self.address.chars().take(64).collect(),
        }
    }

    /// The sender as the store keeps it. Whoever shows nothing at all is a stranger: they are many on every network that anybody
    /// reaches, and must not push out what says why a device fails.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn kept_as(&self) -> String {
        let shows_nothing = self.door == "tls" || self.reason.ends_with(NO_IDENTITY);
        match self.serial.is_none() && shows_nothing {
            true => format!("nobody {}", self.sender()),
            false => self.sender(),
        }
    }
}

/// A token of the REST API, kept as a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ApiToken {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: crate::ids::TokenId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Who holds it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The parts of the host's API that it is for, in the host's words; where none is named, those that need no naming.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<String>,
    /// The organisations in which a partner of the installation may act, and no other; empty for a token of one organisation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub partner_of: BTreeSet<OrganisationId>,
    /// SHA-256 of the token, lower-case hex.
    pub hash: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl ApiToken {
    /// Whether it is good now, and this is the name of whoever holds it.
    pub(crate) fn is_of(&self, name: &str, now: Timestamp) -> bool {
        let is_good = self.revoked.is_none() && self.expires.is_none_or(|end| now < end);
        is_good && self.name.eq_ignore_ascii_case(name)
    }

    /// A token just made.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: crate::ids::TokenId,
        name: &str,
        role: Role,
        hash: String,
        created: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            role,
            scopes: BTreeSet::new(),
            partner_of: BTreeSet::new(),
            hash,
            created,
            expires: None,
            revoked: None,
        }
    }
}

/// What a person may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::exhaustive_enums,
    reason = "five roles, each decided on at every route"
)]
pub enum Role {
    /// May look.
    Viewer,
    /// May help one device: view, release, retry.
    Helpdesk,
    /// May plan waves.
    Planner,
    /// May accept, submit and open gates.
    Approver,
    /// May do everything else.
    Admin,
}
