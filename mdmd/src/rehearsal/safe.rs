//! Everything that a rehearsal's house keeps secret, opened, for a search after leaks. Opens nothing for anybody else: a
//! person reveals one secret at a time, and that is in the record.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use mdm_core::ids::{DeviceId, SecretId};
use mdm_core::organisation::KeyedCertificate;
use mdm_core::sealed::SealedSecret;
use mdm_core::secret::Secret;
use mdm_core::vault::{EscrowVault, KeyWrap, VaultError};

use super::House;
use super::plan::WIFI_PASSWORD;
use crate::config::Config;
use crate::key_wrap::MasterKeys;

/// Private keys in files of the data directory.
const FILES: [&str; 3] = ["master.key", "tls/ca.key", "tls/server.key"];

/// A secret of the house with what it is and whose.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeptSecret {
    /// What it is and whose; never the secret.
    pub name: String,
    /// The secret.
    pub secret: Secret,
}

/// Master keys that remember which data keys they were asked for.
struct Overheard {
    keys: MasterKeys,
    heard: Arc<Mutex<Vec<Secret>>>,
}

#[async_trait]
impl KeyWrap for Overheard {
    fn key_id(&self) -> String {
        self.keys.key_id()
    }

    async fn wrap(&self, plain: &Secret, context: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.keys.wrap(plain, context).await
    }

    async fn unwrap(
        &self,
        key_id: &str,
        wrapped: &[u8],
        context: &[u8],
    ) -> Result<Secret, VaultError> {
        let plain = self.keys.unwrap(key_id, wrapped, context).await?;
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(plain.clone());
        Ok(plain)
    }
}

impl House {
    /// Every secret that this house holds: of its devices, of its organisation, the keys that seal them, the keys of its
    /// listeners, the password in its runbooks' profiles and its first administrator's token.
    ///
    /// # Errors
    /// The store's, the vault's, or a file that cannot be read.
    pub async fn kept_secrets(&self) -> anyhow::Result<Vec<KeptSecret>> {
        let heard = Arc::default();
        let vault = EscrowVault::new(Overheard {
            keys: MasterKeys::load(&Config::for_directory(&self.directory))?,
            heard: Arc::clone(&heard),
        });
        let store = self.app.mdm.store();
        let organisation = store
            .organisation(self.organisation)
            .await?
            .context("the organisation of the house")?;
        let mut all = Vec::new();
        let mut add = |name: String, secret: Secret| all.push(KeptSecret { name, secret });
        let mut rows: Vec<(String, SealedSecret)> = Vec::new();
        let mut after = DeviceId(0);
        loop {
            let page = store.devices(self.organisation, after, 500).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for device in &page {
                for row in store.secrets(self.organisation, device.id).await? {
                    rows.push((format!("{} of {}", row.kind, device.serial), row));
                }
            }
        }
        let keyed = |k: &Option<KeyedCertificate>| k.as_ref().map(|k| k.key);
        let mut own: Vec<SecretId> = organisation.identity_cas.iter().map(|c| c.key).collect();
        own.extend(keyed(&organisation.escrow));
        own.extend(keyed(&organisation.profile_signer));
        own.extend(organisation.push.as_ref().map(|p| p.identity.key));
        own.extend(organisation.token_keys.iter().map(|k| k.key));
        own.extend(organisation.api.as_ref().map(|a| a.key));
        for server in store.servers(self.organisation).await? {
            own.push(server.token);
        }
        for location in store.locations(self.organisation).await? {
            own.push(location.token);
        }
        for id in own {
            let row = store
                .secret(self.organisation, id)
                .await?
                .context("a secret of the organisation")?;
            rows.push((format!("{} of the organisation", row.kind), row));
        }
        for (name, row) in rows {
            let (data_key, sealed) = (&organisation.data_key, &row.sealed.0);
            let secret = vault
                .open(self.organisation, data_key, row.kind, row.device, sealed)
                .await?;
            add(name, secret);
        }
        for key in heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            add("data key".to_owned(), key);
        }
        for file in FILES {
            let path = self.directory.join(file);
            let content =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            add(file.to_owned(), Secret::from_text(content.trim()));
        }
        add(
            "Wi-Fi password in a profile".to_owned(),
            Secret::from_text(WIFI_PASSWORD),
        );
        if let Some(token) = &self.administrator_token {
            add("administrator token".to_owned(), token.clone());
        }
        Ok(all)
    }
}
