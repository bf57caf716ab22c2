//! The certificate of the listeners, from a public authority by ACME (RFC 8555), and its renewal. All processes on one
//! database share one row: one of them orders, any of them answers the authority, all of them write what was issued beside
//! their other keys and show it. Whatever fails, what is shown stays.

mod challenge;
mod client;
mod jose;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use abm_client::HyperTransport;
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::ids::ServerCertificateId;
use mdm_core::organisation::Der;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::server_certificate::{
    Account, INSTALLATION, Issued, Next, ORDER_LEASE, ServerCertificate, Wish,
};
use mdm_core::store::{Batch, Store, StoreError};
use mdm_core::vault::EscrowVault;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use tokio_util::sync::CancellationToken;

use self::client::{AcmeError, Binding, Client};
use self::jose::AccountKey;
use crate::config::Config;
use crate::metrics;
use crate::pki;
use crate::tls::Certificates;

pub(crate) use self::challenge::{Answers, routes};

/// The row of the certificate that listeners without one of their own show.
const NAME: &str = "listeners";
/// Its key. There is one row, so that two processes cannot both make it.
const ROW: ServerCertificateId = ServerCertificateId(1);
/// An order must be done well before somebody else may begin one.
const ORDER_TIME: Duration = Duration::from_secs(ORDER_LEASE.as_secs() - 60);
/// However seldom the files are to be looked at, the row is looked at this often.
const LOOK_AT_LEAST: Duration = Duration::from_secs(3600);

/// Looks after the certificate of one process.
pub(crate) struct Keeper {
    store: Arc<dyn Store>,
    vault: EscrowVault,
    clock: Arc<dyn Clock>,
    transport: HyperTransport,
    wish: Wish,
    contact: Option<String>,
    binding: Option<Binding>,
    /// Where the certificate is written for the listeners.
    file: PathBuf,
    /// Whether this process orders, or only shows what others ordered.
    orders: bool,
    every: Duration,
    certificates: Certificates,
    /// The version of the row whose certificate lies in the file.
    written: Mutex<Option<i64>>,
}

impl Keeper {
    /// `None` when no authority is configured.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub(crate) fn new(
        config: &Config,
        store: Arc<dyn Store>,
        vault: EscrowVault,
        clock: Arc<dyn Clock>,
        certificates: Certificates,
    ) -> anyhow::Result<Option<Self>> {
        let Some(directory) = config.acme.directory.clone() else {
            return Ok(None);
        };
        let mut transport = HyperTransport::builder().timeout(Duration::from_secs(30));
        if let Some(ca) = &config.acme.ca {
            let path = config.path(ca);
            let name = || format!("acme.ca {}", path.display());
            let pem = std::fs::read(&path).with_context(name)?;
            transport = transport.trust_pem(&pem).with_context(name)?;
        }
        let binding = match (&config.acme.account_key_id, &config.acme.account_key_file) {
            (Some(key_id), Some(file)) => {
                let path = config.path(file);
                let mac_key = mac_key(&path)
                    .with_context(|| format!("acme.account_key_file {}", path.display()))?;
                Some(Binding {
                    key_id: key_id.clone(),
                    mac_key,
                })
            }
            _ => None,
        };
        Ok(Some(Self {
            store,
            vault,
            clock,
            transport: transport.build()?,
            wish: Wish {
                directory,
                names: config.acme_names(),
            },
            contact: config.acme.contact.clone(),
            binding,
            file: config.issued_certificate(),
            orders: config.workers.enabled,
            every: Duration::from_secs(config.tls.reload_seconds).min(LOOK_AT_LEAST),
            certificates,
            written: Mutex::default(),
        }))
    }

    /// Looks again and again until it is told to stop. An order under way is then given up, for another process.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match AssertUnwindSafe(self.look(&stop)).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let why = format!("{error:#}");
                    tracing::error!(
                        why,
                        "the certificate of the listeners cannot be looked after"
                    );
                }
                // The panic's message may hold a value.
                Err(_) => {
                    tracing::error!("looking after the certificate of the listeners panicked")
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    /// What this process answers the authority.
    pub(crate) fn answers(&self) -> Arc<Answers> {
        Answers::new(Arc::clone(&self.store))
    }

    /// Takes what was issued already, perhaps to another process.
    ///
    /// # Errors
    /// The store's, the vault's and the file's.
    pub(crate) async fn bring(&self) -> anyhow::Result<()> {
        match self.row().await? {
            Some(row) => self.show(&row).await,
            None => Ok(()),
        }
    }

    async fn look(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let row = self.row().await?;
        if let Some(row) = &row {
            metrics::certificate_failures(row.failures);
            self.show(row).await?;
        }
        let now = self.clock.now();
        let waits = row
            .as_ref()
            .is_some_and(|row| row.next(&self.wish, now) != Next::Order);
        if waits || !self.orders {
            return Ok(());
        }
        let mut row = match row {
            Some(row) => row,
            None => {
                let data_key = self.vault.new_data_key(INSTALLATION).await?;
                ServerCertificate::new(ROW, NAME, data_key, self.wish.clone())
            }
        };
        row.begin(&self.wish, now);
        match self.save(&mut row).await {
            // It is somebody else's order.
            Err(StoreError::Conflict) => return Ok(()),
            done => done?,
        }
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(ORDER_TIME, self.order(&mut row)) => {
                outcome.unwrap_or(Err(AcmeError::Late))
            }
            () = stop.cancelled() => {
                row.give_up();
                return Ok(self.save(&mut row).await?);
            }
        };
        match outcome {
            Ok(issued) => {
                let until = issued.not_after;
                row.succeed(issued, self.clock.now());
                self.save(&mut row).await?;
                metrics::certificate_ordered("issued");
                metrics::certificate_failures(0);
                tracing::info!(%until, "the listeners have a new certificate");
                self.show(&row).await
            }
            Err(error) => {
                if error.account_is_gone() {
                    row.account = None;
                }
                row.fail(self.clock.now(), error.retry_after());
                metrics::certificate_ordered("failed");
                metrics::certificate_failures(row.failures);
                let again = row.pause_until.unwrap_or_default();
                tracing::error!(%error, %again, "no certificate for the listeners; what they show stays");
                Ok(self.save(&mut row).await?)
            }
        }
    }

    async fn order(&self, row: &mut ServerCertificate) -> Result<Issued, AcmeError> {
        let (key, account) = match &row.account {
            Some(account) => {
                let sealed = &account.key.0;
                let key = self.open(row, SecretKind::AcmeAccountKey, sealed).await?;
                (key, Some(account.url.clone()))
            }
            None => (pki::new_key().map_err(here)?, None),
        };
        let known = account.is_some();
        let mut client = Client::open(
            &self.transport,
            &self.wish.directory,
            AccountKey::new(key.clone())?,
            account,
        )
        .await?;
        if !known {
            let url = client
                .register(self.contact.as_deref(), self.binding.as_ref())
                .await?;
            let key = self.seal(row, SecretKind::AcmeAccountKey, &key).await?;
            row.account = Some(Account { url, key });
            self.save(row).await?;
        }
        let order = client.order(&self.wish.names).await?;
        let proofs = client.proofs(&order).await?;
        row.challenges.clone_from(&proofs.answers);
        // Before the authority is told: any process may be asked.
        self.save(row).await?;
        client.prove(&proofs).await?;
        // A key of its own for each certificate.
        let key = pki::new_key().map_err(here)?;
        let request = pki::request(&key, &self.wish.names).map_err(here)?;
        let chain = client.finish(&order, &request).await?;
        let (not_before, not_after) = fits(&chain, &key, &self.wish.names)?;
        Ok(Issued {
            chain,
            key: self
                .seal(row, SecretKind::ServerCertificateKey, &key)
                .await?,
            not_before,
            not_after,
            wish: self.wish.clone(),
        })
    }

    /// Writes the row's certificate for the listeners, unless it lies there.
    async fn show(&self, row: &ServerCertificate) -> anyhow::Result<()> {
        let Some(issued) = &row.current else {
            return Ok(());
        };
        let seen = *self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if seen == Some(row.version) && self.file.exists() {
            return Ok(());
        }
        let sealed = &issued.key.0;
        let key = self
            .open(row, SecretKind::ServerCertificateKey, sealed)
            .await?;
        let mut content = zeroize::Zeroizing::new(key.private_key_to_pem_pkcs8()?);
        content.extend_from_slice(issued.chain.as_bytes());
        let name = || format!("certificate file {}", self.file.display());
        if std::fs::read(&self.file)
            .map(zeroize::Zeroizing::new)
            .ok()
            .as_ref()
            != Some(&content)
        {
            replace(&self.file, &content).with_context(name)?;
        }
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(row.version);
        self.certificates.look();
        Ok(())
    }

    async fn row(&self) -> anyhow::Result<Option<ServerCertificate>> {
        Ok(self.store.server_certificate(INSTALLATION, NAME).await?)
    }

    /// Commits the row; fails when somebody else has changed it since.
    async fn save(&self, row: &mut ServerCertificate) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(row.clone());
        self.store.commit(batch).await?;
        row.version += 1;
        Ok(())
    }

    async fn seal(
        &self,
        row: &ServerCertificate,
        kind: SecretKind,
        key: &PKey<Private>,
    ) -> Result<Der, AcmeError> {
        let plain = Secret::new(key.private_key_to_der()?);
        let sealed = self
            .vault
            .seal(INSTALLATION, &row.data_key, kind, None, &plain)
            .await;
        sealed.map(Der).map_err(here)
    }

    async fn open(
        &self,
        row: &ServerCertificate,
        kind: SecretKind,
        sealed: &[u8],
    ) -> Result<PKey<Private>, AcmeError> {
        let plain = self
            .vault
            .open(INSTALLATION, &row.data_key, kind, None, sealed)
            .await
            .map_err(here)?;
        Ok(PKey::private_key_from_der(plain.expose())?)
    }
}

fn here(error: impl std::fmt::Display) -> AcmeError {
    AcmeError::Here(error.to_string())
}

/// From when until when the chain's first certificate holds, if it is for our key and all names.
fn fits(
    chain: &str,
    key: &PKey<Private>,
    names: &BTreeSet<String>,
) -> Result<(Timestamp, Timestamp), AcmeError> {
    let chain = X509::stack_from_pem(chain.as_bytes())
        .map_err(|_| AcmeError::Odd("a certificate that is no PEM"))?;
    let leaf = chain
        .first()
        .ok_or(AcmeError::Odd("a chain without a certificate"))?;
    if !leaf.public_key()?.public_eq(key) {
        return Err(AcmeError::Odd("a certificate for another key"));
    }
    let certified: BTreeSet<String> = leaf
        .subject_alt_names()
        .iter()
        .flatten()
        .filter_map(|name| Some(name.dnsname()?.to_ascii_lowercase()))
        .collect();
    if !certified.is_superset(names) {
        return Err(AcmeError::Odd("a certificate for other names"));
    }
    pki::validity(leaf).map_err(here)
}

/// The HMAC key of an account elsewhere.
fn mac_key(path: &Path) -> anyhow::Result<Secret> {
    let text = crate::key_wrap::read_secret_text(path)?;
    let key = URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .ok()
        .filter(|key| key.len() >= 16);
    key.map(Secret::new)
        .context("must be at least 16 bytes as base64url")
}

/// Puts a file in the place of another at once, readable by its owner only. A reader sees the old one or the new one.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        // Left over from a process that was killed.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_file_is_its_owners_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme/listeners.pem");
        for content in ["first", "second"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        }
        let all = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(all.count(), 1);
        assert_eq!(
            path.parent().unwrap().metadata().unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_certificate_for_another_key_or_other_names_is_not_shown() {
        let (certificate, key) = crate::testing::certificate("mdm.test", None);
        let chain = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let (from, to) = fits(&chain, &key, &names(&["mdm.test"])).unwrap();
        assert_eq!(to.since(from).as_secs(), 30 * 86_400 + 3600);
        let other = pki::new_key().unwrap();
        for (chain, key, wanted, why) in [
            (chain.as_str(), &other, &["mdm.test"][..], "another key"),
            (&chain, &key, &["mdm.test", "enrol.test"], "other names"),
            ("nothing", &key, &["mdm.test"], "without a certificate"),
        ] {
            let error = fits(chain, key, &names(wanted)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_key_of_an_account_that_others_can_read_is_refused_and_never_shown() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(
            &path,
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(mac_key(&path).unwrap_err().to_string().contains("0600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(mac_key(&path).unwrap().len(), 48);
        std::fs::write(&path, "hunter2!").unwrap();
        let error = mac_key(&path).unwrap_err().to_string();
        assert!(
            error.contains("base64url") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
