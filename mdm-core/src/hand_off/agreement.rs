//! What two organisations have agreed on, so that devices which move from one to the other are handed over without a person each
//! time. Each side says its own half; neither holds without the other.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{HandOffId, SecretId};

/// At the destination: a service from which sealed hand-offs come by themselves. Its signer was confirmed by a person, once for
/// all of them; each still has a job, a key and an end of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "one half of an agreement")]
pub struct AgreedSource {
    /// Its number.
    pub id: HandOffId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the certificate whose signature is believed.
    pub signer: String,
    /// Who has confirmed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// At the original: where devices that have moved away are handed over to. It takes two persons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "the other half")]
pub struct AgreedDestination {
    /// Address of the other installation's API, without a trailing slash.
    pub url: String,
    /// An authority to trust for that address beside the system's, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The number of the agreement there.
    pub source: HandOffId,
    /// The token that opens just this door there, in the vault.
    pub token: SecretId,
    /// Who has set it up.
    pub asked_by: String,
    /// When that was confirmed.
    pub at: Timestamp,
    /// Who else has confirmed it.
    pub confirmed_by: String,
}
