//! The master key of an installation: where it comes from, and wrapping data keys with it. It leaves this file only to
//! OpenSSL. A key file that others may read is refused, and a key is never made where one is expected.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::secret::Secret;
use mdm_core::vault::{KeyWrap, VaultError};
use openssl::sha::Sha256;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use crate::config::{Config, KeySource};

const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Master keys: the first one wraps, all of them unwrap, so that a new one can be put in front of the old.
pub(crate) struct MasterKeys(Vec<MasterKey>);

struct MasterKey {
    id: String,
    key: Secret,
}

impl std::fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.0.iter().map(|k| k.id.as_str()).collect();
        f.debug_tuple("MasterKeys").field(&ids).finish()
    }
}

impl MasterKeys {
    /// Reads them from where the configuration says.
    ///
    /// # Errors
    /// Names the file, variable or credential, never its content.
    pub(crate) fn load(config: &Config) -> anyhow::Result<Self> {
        let settings = &config.master_key;
        match settings.source {
            KeySource::File => {
                let path = config.path(&settings.file);
                Self::from_file(&path).with_context(|| format!("master key {}", path.display()))
            }
            KeySource::Environment => std::env::var(&settings.name)
                .map_err(|_| anyhow!("the variable is not set"))
                .and_then(|text| Self::parse(&Secret::from_text(text)))
                .with_context(|| format!("master key {}", settings.name)),
            KeySource::Credential => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").context(
                    "master key: CREDENTIALS_DIRECTORY is not set; the service manager sets it for LoadCredential=",
                )?;
                let path = Path::new(&directory).join(&settings.name);
                // The service manager answers for the mode of its own directory.
                std::fs::read(&path)
                    .map_err(Into::into)
                    .and_then(|bytes| Self::parse(&Secret::new(bytes)))
                    .with_context(|| format!("master key, credential {}", settings.name))
            }
        }
    }

    fn from_file(path: &Path) -> anyhow::Result<Self> {
        let data = std::fs::metadata(path)?;
        if !data.is_file() {
            bail!("is no file");
        }
        owners_alone(&data)?;
        Self::parse(&Secret::new(std::fs::read(path)?))
    }

    /// Makes a key file with mode 0600. Never replaces one.
    ///
    /// # Errors
    /// When it is there already or cannot be written.
    pub(crate) fn create(path: &Path) -> anyhow::Result<()> {
        let mut key = zeroize::Zeroizing::new([0_u8; KEY]);
        openssl::rand::rand_bytes(&mut *key)?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("master key {}", path.display()))?;
        let text = Secret::from_text(format!("{}\n", STANDARD.encode(key.as_slice())));
        file.write_all(text.expose())?;
        file.sync_all()?;
        Ok(())
    }

    /// One key a line, 32 bytes each as hexadecimal or base64; the first one wraps.
    fn parse(text: &Secret) -> anyhow::Result<Self> {
        let text = text.expose_text().context("must be text")?;
        let keys: Vec<MasterKey> = text
            .split_whitespace()
            .map(|word| {
                read_key(word)
                    .map(MasterKey::new)
                    .context("must be 32 bytes as hexadecimal or base64")
            })
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            bail!("is empty; must be 32 bytes as hexadecimal or base64");
        }
        Ok(Self(keys))
    }
}

/// Text that is a secret, from a file that its owner alone can read.
///
/// # Errors
/// Says what is wrong with the file, never what it holds.
pub(crate) fn read_secret_text(path: &Path) -> anyhow::Result<zeroize::Zeroizing<String>> {
    owners_alone(&std::fs::metadata(path)?)?;
    Ok(zeroize::Zeroizing::new(std::fs::read_to_string(path)?))
}

fn owners_alone(data: &std::fs::Metadata) -> anyhow::Result<()> {
    if data.mode() & 0o077 != 0 {
        bail!(
            "has mode {:04o}; must be 0600, so that nobody else can read it",
            data.mode() & 0o7777
        );
    }
    Ok(())
}

fn read_key(word: &str) -> Option<Secret> {
    let bytes = if word.len() == 2 * KEY && word.is_ascii() {
        (0..KEY)
            .map(|i| u8::from_str_radix(&word[2 * i..2 * i + 2], 16).ok())
            .collect::<Option<Vec<u8>>>()?
    } else {
        STANDARD.decode(word).ok()?
    };
    (bytes.len() == KEY).then(|| Secret::new(bytes))
}

impl MasterKey {
    fn new(key: Secret) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"mdmd master key\0");
        hash.update(key.expose());
        let id = hash.finish()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Self { id, key }
    }
}

#[async_trait]
impl KeyWrap for MasterKeys {
    fn key_id(&self) -> String {
        // `parse` refuses an empty list.
        self.0.first().map(|k| k.id.clone()).unwrap_or_default()
    }

    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError> {
        let master = self.0.first().ok_or(VaultError::Seal)?;
        let mut nonce = [0_u8; NONCE];
        openssl::rand::rand_bytes(&mut nonce).map_err(|_| VaultError::Seal)?;
        let mut tag = [0_u8; TAG];
        let sealed = encrypt_aead(
            Cipher::aes_256_gcm(),
            master.key.expose(),
            Some(&nonce),
            context,
            plain.expose(),
            &mut tag,
        )
        .map_err(|_| VaultError::Seal)?;
        Ok([nonce.as_slice(), &sealed, &tag].concat())
    }

    async fn unwrap(
        &self,
        key_id: &str,
        wrapped: &[u8],
        context: &[u8],
    ) -> Result<Secret, VaultError> {
        let master = self
            .0
            .iter()
            .find(|k| k.id == key_id)
            .ok_or(VaultError::Open)?;
        if wrapped.len() < NONCE + TAG {
            return Err(VaultError::Open);
        }
        let (nonce, rest) = wrapped.split_at(NONCE);
        let (sealed, tag) = rest.split_at(rest.len() - TAG);
        decrypt_aead(
            Cipher::aes_256_gcm(),
            master.key.expose(),
            Some(nonce),
            context,
            sealed,
            tag,
        )
        .map(Secret::new)
        .map_err(|_| VaultError::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn what_was_wrapped_opens_with_the_same_key_and_context_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        MasterKeys::create(&path).unwrap();
        let keys = MasterKeys::from_file(&path).unwrap();
        let data_key = Secret::new(vec![7; 32]);
        let wrapped = keys.wrap(&data_key, b"organisation 1").await.unwrap();
        let again = MasterKeys::from_file(&path).unwrap();
        let open = |id: String, wrapped: Vec<u8>, context: &'static [u8]| {
            let again = &again;
            async move { again.unwrap(&id, &wrapped, context).await }
        };
        let id = keys.key_id();
        assert!(
            open(id.clone(), wrapped.clone(), b"organisation 1")
                .await
                .unwrap()
                .matches(&[7; 32])
        );
        assert!(
            open(id.clone(), wrapped.clone(), b"organisation 2")
                .await
                .is_err()
        );
        assert!(
            open("other".into(), wrapped.clone(), b"organisation 1")
                .await
                .is_err()
        );
        let mut bent = wrapped;
        bent[NONCE] ^= 1;
        assert!(open(id.clone(), bent, b"organisation 1").await.is_err());
        assert!(open(id, vec![0; 5], b"organisation 1").await.is_err());
    }

    #[tokio::test]
    async fn a_new_key_in_front_of_the_old_opens_what_the_old_wrapped() {
        let old = MasterKeys::parse(&Secret::from_text("11".repeat(32))).unwrap();
        let text = format!("{}\n{}\n", "22".repeat(32), "11".repeat(32));
        let both = MasterKeys::parse(&Secret::from_text(text)).unwrap();
        let wrapped = old.wrap(&Secret::new(vec![1]), b"").await.unwrap();
        assert_ne!(both.key_id(), old.key_id());
        assert!(both.unwrap(&old.key_id(), &wrapped, b"").await.is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_there_already_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        MasterKeys::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(MasterKeys::create(&path).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKeys::from_file(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            "has mode 0640; must be 0600, so that nobody else can read it"
        );
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_showing_it() {
        for text in ["", "hunter2", &"aa".repeat(31), &"zz".repeat(32)] {
            let error = MasterKeys::parse(&Secret::from_text(text)).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.contains("32 bytes"), "{said}");
            assert!(text.is_empty() || !said.contains(text), "{said}");
        }
        let keys = MasterKeys::parse(&Secret::from_text("ab".repeat(32))).unwrap();
        assert!(!format!("{keys:?}").contains("abab"));
    }
}
