//! The vault: secrets as stored.
//!
//! Envelope encryption. Each organisation has one data key; it is kept only wrapped by a master key
//! that a [`KeyWrap`] holds: a file, the environment, a key-management service. Each secret is
//! sealed with AES-256-GCM under the data key, bound to organisation, device and kind, so that a
//! sealed value put into another row does not open. Whatever the cause, the error is one sentence.
//! Nothing here stores anything, and nothing but the process's memory holds an open data key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use crate::ids::{DeviceId, OrganisationId};
use crate::organisation::{Der, WrappedKey};
use crate::secret::{Secret, SecretKind};

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const KEY_ID_LEN: usize = 8;
/// The form of sealed bytes: this byte, the data key's id, nonce, ciphertext, tag.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// How many open data keys are kept. An organisation above it costs an unwrapping, nothing else.
const CACHE: usize = 4096;

/// Why the vault did not do it. Which of many causes it was is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A sealed secret or a wrapped key was not opened.
    #[error("cannot be opened")]
    Open,
    /// A secret was not sealed, or a key not wrapped.
    #[error("cannot be sealed")]
    Seal,
}

/// Wraps data keys with a master key that never leaves its holder.
#[async_trait]
pub trait KeyWrap: Send + Sync + 'static {
    /// Names the master key that wraps now. It is stored beside what was wrapped.
    fn key_id(&self) -> String;

    /// Wraps a data key, bound to `context`.
    ///
    /// # Errors
    /// [`VaultError::Seal`].
    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// Unwraps what the master key `key_id` wrapped under the same `context`.
    ///
    /// # Errors
    /// [`VaultError::Open`], whatever the cause.
    async fn unwrap(
        &self,
        key_id: &str,
        wrapped: &[u8],
        context: &[u8],
    ) -> Result<Secret, VaultError>;
}

/// Keys that nobody attacks: what is wrapped stands there in plain. For tests of a host alone.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "nothing to hold")]
pub struct PlainKeys;

#[cfg(feature = "testing")]
#[async_trait]
impl KeyWrap for PlainKeys {
    fn key_id(&self) -> String {
        "plain".to_owned()
    }

    async fn wrap(&self, plain: &Secret, _: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(plain.expose().to_vec())
    }

    async fn unwrap(&self, _: &str, wrapped: &[u8], _: &[u8]) -> Result<Secret, VaultError> {
        Ok(Secret::new(wrapped))
    }
}

/// Seals and opens secrets. Cheap to clone; clones share the open data keys.
#[derive(Clone)]
pub struct EscrowVault {
    wrap: Arc<dyn KeyWrap>,
    open_keys: Arc<Mutex<OpenKeys>>,
}

/// By organisation and SHA-256 of the wrapped key, so that a wrapped key of another organisation
/// never finds an entry.
type OpenKeys = HashMap<(OrganisationId, [u8; 32]), Arc<DataKey>>;

struct DataKey {
    key: Secret,
    id: [u8; KEY_ID_LEN],
}

impl std::fmt::Debug for EscrowVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EscrowVault(..)")
    }
}

impl EscrowVault {
    /// A vault whose data keys this master key wraps.
    pub fn new(wrap: impl KeyWrap) -> Self {
        Self {
            wrap: Arc::new(wrap),
            open_keys: Arc::default(),
        }
    }

    /// Makes the data key of a new organisation.
    ///
    /// # Errors
    /// [`VaultError::Seal`].
    pub async fn new_data_key(
        &self,
        organisation: OrganisationId,
    ) -> Result<WrappedKey, VaultError> {
        let mut bytes = vec![0; KEY_LEN];
        openssl::rand::rand_bytes(&mut bytes).map_err(|_| VaultError::Seal)?;
        self.wrapped(organisation, &Secret::new(bytes)).await
    }

    /// Wraps the same data key with the master key in force: the way to change the master key.
    ///
    /// # Errors
    /// [`VaultError::Open`] if the old master key is not at hand, [`VaultError::Seal`].
    pub async fn rewrap(
        &self,
        organisation: OrganisationId,
        data_key: &WrappedKey,
    ) -> Result<WrappedKey, VaultError> {
        let open = self.data_key(organisation, data_key).await?;
        self.wrapped(organisation, &open.key).await
    }

    /// Seals a secret for a row of this organisation, kind and device.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn seal(
        &self,
        organisation: OrganisationId,
        data_key: &WrappedKey,
        kind: SecretKind,
        device: Option<DeviceId>,
        secret: &Secret,
    ) -> Result<Vec<u8>, VaultError> {
        let key = self.data_key(organisation, data_key).await?;
        let mut nonce = [0; NONCE_LEN];
        openssl::rand::rand_bytes(&mut nonce).map_err(|_| VaultError::Seal)?;
        let bound = bound_to(organisation, &key.id, kind, device);
        let mut tag = [0; TAG_LEN];
        let ciphertext = encrypt_aead(
            Cipher::aes_256_gcm(),
            key.key.expose(),
            Some(&nonce),
            &bound,
            secret.expose(),
            &mut tag,
        )
        .map_err(|_| VaultError::Seal)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + ciphertext.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend(key.id);
        sealed.extend(nonce);
        sealed.extend(ciphertext);
        sealed.extend(tag);
        Ok(sealed)
    }

    /// Opens a secret that was sealed for the same organisation, kind and device.
    ///
    /// # Errors
    /// [`VaultError::Open`], whatever the cause.
    pub async fn open(
        &self,
        organisation: OrganisationId,
        data_key: &WrappedKey,
        kind: SecretKind,
        device: Option<DeviceId>,
        sealed: &[u8],
    ) -> Result<Secret, VaultError> {
        let key = self.data_key(organisation, data_key).await?;
        let (header, rest) = sealed
            .split_at_checked(HEADER_LEN)
            .ok_or(VaultError::Open)?;
        let at = rest.len().checked_sub(TAG_LEN).ok_or(VaultError::Open)?;
        let (ciphertext, tag) = rest.split_at(at);
        let (key_id, nonce) = header[1..].split_at(KEY_ID_LEN);
        if header[0] != VERSION || key_id != key.id {
            return Err(VaultError::Open);
        }
        let bound = bound_to(organisation, &key.id, kind, device);
        decrypt_aead(
            Cipher::aes_256_gcm(),
            key.key.expose(),
            Some(nonce),
            &bound,
            ciphertext,
            tag,
        )
        .map(Secret::new)
        .map_err(|_| VaultError::Open)
    }

    /// Whether these bytes have the form of sealed ones. No property list, CMS message or text begins as they do.
    #[must_use]
    pub fn is_sealed(bytes: &[u8]) -> bool {
        bytes.first() == Some(&VERSION) && bytes.len() >= HEADER_LEN + TAG_LEN
    }

    /// Forgets every open data key, so that the master key is asked again.
    pub fn forget(&self) {
        self.keys().clear();
    }

    /// Forgets the open data keys of one organisation.
    pub fn forget_organisation(&self, organisation: OrganisationId) {
        self.keys().retain(|(of, _), _| *of != organisation);
    }

    async fn wrapped(
        &self,
        organisation: OrganisationId,
        plain: &Secret,
    ) -> Result<WrappedKey, VaultError> {
        let wrapped = self.wrap.wrap(plain, &context(organisation)).await?;
        Ok(WrappedKey {
            key_id: self.wrap.key_id(),
            wrapped: Der(wrapped),
        })
    }

    async fn data_key(
        &self,
        organisation: OrganisationId,
        data_key: &WrappedKey,
    ) -> Result<Arc<DataKey>, VaultError> {
        let entry = (organisation, sha256(&data_key.wrapped.0));
        if let Some(open) = self.keys().get(&entry) {
            return Ok(Arc::clone(open));
        }
        // Two callers may unwrap at once; they get the same key.
        let key = self
            .wrap
            .unwrap(
                &data_key.key_id,
                &data_key.wrapped.0,
                &context(organisation),
            )
            .await?;
        if key.len() != KEY_LEN {
            return Err(VaultError::Open);
        }
        let id = key_id(&key)?;
        let open = Arc::new(DataKey { key, id });
        let mut keys = self.keys();
        if keys.len() >= CACHE {
            keys.clear();
        }
        keys.insert(entry, Arc::clone(&open));
        Ok(open)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, OpenKeys> {
        // A map of whole values: a panic elsewhere leaves nothing half done in it.
        self.open_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells data keys apart without revealing them, and stays when the key is wrapped anew.
fn key_id(key: &Secret) -> Result<[u8; KEY_ID_LEN], VaultError> {
    let id = || {
        let key = PKey::hmac(key.expose())?;
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.sign_oneshot_to_vec(b"mdm vault: id of a data key")
    };
    let id = id().map_err(|_| VaultError::Open)?;
    id.first_chunk().copied().ok_or(VaultError::Open)
}

fn context(organisation: OrganisationId) -> Vec<u8> {
    let mut context = b"mdm vault: data key of organisation ".to_vec();
    context.extend(organisation.0.to_be_bytes());
    context
}

/// Every part has a fixed length but the last, so that no two meanings give the same bytes.
fn bound_to(
    organisation: OrganisationId,
    key_id: &[u8; KEY_ID_LEN],
    kind: SecretKind,
    device: Option<DeviceId>,
) -> Vec<u8> {
    let mut bound = b"mdm vault: secret".to_vec();
    bound.push(VERSION);
    bound.extend(key_id);
    bound.extend(organisation.0.to_be_bytes());
    bound.push(u8::from(device.is_some()));
    bound.extend(device.map_or(0, |d| d.0).to_be_bytes());
    bound.extend(kind.as_str().as_bytes());
    bound
}

/// A master key in memory: AES-256-GCM. Where its 32 bytes come from is the host's affair.
pub struct MasterKey {
    id: String,
    key: Secret,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl MasterKey {
    /// Takes 32 bytes; its id is derived from them, so that the wrong key is told by name.
    ///
    /// # Errors
    /// [`VaultError::Open`] if there are not exactly 32.
    pub fn new(key: Secret) -> Result<Self, VaultError> {
        if key.len() != KEY_LEN {
            return Err(VaultError::Open);
        }
        let id = key_id(&key)?;
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, key })
    }

    /// Makes 32 fresh bytes, to be kept by the host.
    ///
    /// # Errors
    /// [`VaultError::Seal`] if the operating system gives no randomness.
    pub fn generate() -> Result<Secret, VaultError> {
        let mut bytes = vec![0; KEY_LEN];
        openssl::rand::rand_bytes(&mut bytes).map_err(|_| VaultError::Seal)?;
        Ok(Secret::new(bytes))
    }
}

#[async_trait]
impl KeyWrap for MasterKey {
    fn key_id(&self) -> String {
        self.id.clone()
    }

    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut wrapped = vec![0; NONCE_LEN];
        openssl::rand::rand_bytes(&mut wrapped).map_err(|_| VaultError::Seal)?;
        let mut tag = [0; TAG_LEN];
        let ciphertext = encrypt_aead(
            Cipher::aes_256_gcm(),
            self.key.expose(),
            Some(&wrapped),
            context,
            plain.expose(),
            &mut tag,
        )
        .map_err(|_| VaultError::Seal)?;
        wrapped.extend(ciphertext);
        wrapped.extend(tag);
        Ok(wrapped)
    }

    async fn unwrap(
        &self,
        key_id: &str,
        wrapped: &[u8],
        context: &[u8],
    ) -> Result<Secret, VaultError> {
        if key_id != self.id || wrapped.len() != NONCE_LEN + KEY_LEN + TAG_LEN {
            return Err(VaultError::Open);
        }
        let (nonce, rest) = wrapped.split_at(NONCE_LEN);
        let (ciphertext, tag) = rest.split_at(KEY_LEN);
        decrypt_aead(
            Cipher::aes_256_gcm(),
            self.key.expose(),
            Some(nonce),
            context,
            ciphertext,
            tag,
        )
        .map(Secret::new)
        .map_err(|_| VaultError::Open)
    }
}

#[cfg(test)]
mod tests;
