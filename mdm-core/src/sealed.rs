//! A secret as stored: sealed, with what binds it. Only `service` opens one.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{DeviceId, OrganisationId, SecretId};
use crate::organisation::Der;
use crate::secret::SecretKind;

/// A row of the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SealedSecret {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: SecretId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What kind; part of what the seal binds.
    #[serde(with = "kind_name")]
    pub kind: SecretKind,
    /// The device that it belongs to; part of what the seal binds.
    pub device: Option<DeviceId>,
    /// The sealed bytes: key id, nonce, ciphertext and tag in the vault's own form.
    pub sealed: Der,
    /// When it was sealed.
    pub created: Timestamp,
    /// When something newer took its place; kept all the same.
    pub replaced: Option<Timestamp>,
    /// When its content was overwritten, for one that is of no more use to anybody but a thief.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Timestamp>,
    /// When it was first about to leave the building, for those that do: a bypass code, as its hash in a lock request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
    /// As of when the service that the device left told it, for what came with a hand-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
    /// When whom it was sent to confirmed it: Apple, that the lock is on with this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
}

impl SealedSecret {
    /// A row just sealed.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: SecretId,
        kind: SecretKind,
        device: Option<DeviceId>,
        sealed: Vec<u8>,
        created: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            kind,
            device,
            sealed: Der(sealed),
            created,
            replaced: None,
            destroyed: None,
            told: None,
            used: None,
            confirmed: None,
        }
    }
}

mod kind_name {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::secret::SecretKind;

    pub(super) fn serialize<S: Serializer>(
        kind: &SecretKind,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretKind, D::Error> {
        let name = String::deserialize(deserializer)?;
        SecretKind::from_name(&name).ok_or_else(|| de::Error::custom("unknown kind of secret"))
    }
}
