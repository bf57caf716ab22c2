//! Opening and sealing, for the service alone. What is opened here never enters an event, an effect, a batch or a log.

use std::sync::Arc;

use super::decision::Decision;
use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{DeviceId, OrganisationId, RunbookId, SecretId};
use crate::migration::{Move, Pinned, PinnedRunbook, SetUp};
use crate::organisation::Der;
use crate::queue::{BodyForm, Command};
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, StoreError};
use crate::vault::EscrowVault;
use crate::wire::command::CommandBody;

/// Organisations whose data keys are tried at the start.
const TRIED: u32 = 200;

impl Mdm {
    /// Whether the master key opens what is in the store: tries the data keys of the first organisations. For the start of a
    /// host, because with a wrong key everything looks well until the first device needs a secret.
    ///
    /// # Errors
    /// The vault's, with the name of an organisation whose keys do not open in the log; the store's.
    pub async fn check_vault(&self) -> Result<(), Error> {
        for organisation in self.organisations(OrganisationId(0), TRIED).await? {
            let (id, name) = (organisation.id, organisation.name.clone());
            let org = self.handle(organisation);
            let probe = Secret::new(b"probe".to_vec());
            if let Err(error) = org.seal_bytes(SecretKind::CommandBody, &probe).await {
                tracing::error!(organisation = %id, name, "the master key does not open the keys of an organisation");
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Org {
    /// Seals a secret into a row.
    pub(super) async fn seal(
        &self,
        id: SecretId,
        kind: SecretKind,
        device: Option<DeviceId>,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<SealedSecret, Error> {
        let sealed = self
            .mdm
            .inner
            .vault
            .seal(self.id(), &self.organisation.data_key, kind, device, secret)
            .await?;
        Ok(SealedSecret::new(self.id(), id, kind, device, sealed, now))
    }

    /// Opens a row.
    pub(super) async fn open_row(&self, row: &SealedSecret) -> Result<Secret, Error> {
        Ok(self
            .mdm
            .inner
            .vault
            .open(
                self.id(),
                &self.organisation.data_key,
                row.kind,
                row.device,
                &row.sealed.0,
            )
            .await?)
    }

    /// Opens a secret by id.
    pub(super) async fn open_secret(&self, id: SecretId) -> Result<Secret, Error> {
        let row = self
            .store()
            .secret(self.id(), id)
            .await?
            .ok_or(Error::NotFound("secret"))?;
        self.open_row(&row).await
    }

    /// Seals the bodies of a decision's new commands that may hold a secret.
    pub(super) async fn seal_commands(&self, d: &mut Decision<'_>) -> Result<(), Error> {
        while let Some(id) = d.to_seal.pop_first() {
            let Some(tracked) = d.commands.get_mut(&id) else {
                continue;
            };
            let plain = Secret::new(std::mem::take(&mut tracked.row.body.0));
            let sealed = self.seal_bytes(SecretKind::CommandBody, &plain).await?;
            tracked.row.body = Der(sealed);
            tracked.row.form = BodyForm::Sealed;
        }
        Ok(())
    }

    pub(super) async fn seal_bytes(
        &self,
        kind: SecretKind,
        plain: &Secret,
    ) -> Result<Vec<u8>, Error> {
        let (vault, key) = (&self.mdm.inner.vault, &self.organisation.data_key);
        Ok(vault.seal(self.id(), key, kind, None, plain).await?)
    }

    pub(super) async fn open_bytes(
        &self,
        kind: SecretKind,
        sealed: &[u8],
    ) -> Result<Secret, Error> {
        let (vault, key) = (&self.mdm.inner.vault, &self.organisation.data_key);
        Ok(vault.open(self.id(), key, kind, None, sealed).await?)
    }

    /// The bytes of a command as they go to the device.
    ///
    /// # Errors
    /// The vault's, when its body is sealed and does not open.
    pub(super) async fn open_command(&self, command: &Command) -> Result<Vec<u8>, Error> {
        match command.form {
            BodyForm::Plain => Ok(command.body.0.clone()),
            BodyForm::Sealed => {
                let body = self
                    .open_bytes(SecretKind::CommandBody, &command.body.0)
                    .await?;
                // A body from another row opens too; its UUID tells it apart.
                let uuid = command.uuid.as_bytes();
                if !body.expose().windows(uuid.len()).any(|part| part == uuid) {
                    return Err(Error::Crypto("a command's body belongs to another command"));
                }
                Ok(body.expose().to_vec())
            }
            BodyForm::SealedProfile => {
                let payload = self
                    .open_bytes(SecretKind::ProfileContent, &command.body.0)
                    .await?;
                let body = CommandBody::install_profile(payload);
                Ok(body.encode(&command.uuid).to_vec())
            }
        }
    }

    /// Opens one of the organisation's working keys; kept open, since it is needed all day.
    pub(super) async fn open_secret_cached(&self, id: SecretId) -> Result<Secret, Error> {
        let key = (self.id(), id);
        if let Some(secret) = self
            .mdm
            .inner
            .keys
            .lock()
            .ok()
            .and_then(|keys| keys.get(&key).cloned())
        {
            return Ok(secret);
        }
        let secret = self.open_secret(id).await?;
        if let Ok(mut keys) = self.mdm.inner.keys.lock() {
            if keys.len() >= 4096 {
                keys.clear();
            }
            keys.insert(key, secret.clone());
        }
        Ok(secret)
    }

    /// Keeps a working key open no longer in this process.
    pub(super) fn forget_secret(&self, id: SecretId) {
        if let Ok(mut keys) = self.mdm.inner.keys.lock() {
            keys.remove(&(self.id(), id));
        }
    }

    /// A pinned runbook.
    pub(super) async fn plan(&self, id: RunbookId) -> Result<Arc<PinnedRunbook>, Error> {
        let key = (self.id(), id);
        if let Some(plan) = self
            .mdm
            .inner
            .runbooks
            .lock()
            .ok()
            .and_then(|plans| plans.get(&key).cloned())
        {
            return Ok(plan);
        }
        let pinned = self
            .store()
            .runbook(self.id(), id)
            .await?
            .ok_or(Error::NotFound("runbook"))?;
        let plan = Arc::new(pinned.runbook);
        if let Ok(mut plans) = self.mdm.inner.runbooks.lock() {
            if plans.len() >= 4096 {
                plans.clear();
            }
            plans.insert(key, plan.clone());
        }
        Ok(plan)
    }

    /// The plan of a set-up; `None` when it cannot be read: such a set-up is released by the watchdog.
    pub(super) async fn readable_plan(&self, set_up: &SetUp) -> Option<Arc<PinnedRunbook>> {
        match self.plan(set_up.runbook).await {
            Ok(plan) => Some(plan),
            Err(error) => {
                tracing::error!(organisation = %self.id(), set_up = %set_up.id, %error, "the runbook of a set-up cannot be read");
                None
            }
        }
    }

    /// The plan of a Move; `None`, and a line in the log, when it cannot be read. A store that is away is an error: it comes
    /// back, and then everything can be decided.
    ///
    /// # Errors
    /// That the store is not available.
    pub(super) async fn readable_plan_of(
        &self,
        attempt: &Move,
    ) -> Result<Option<Arc<PinnedRunbook>>, Error> {
        match self.plan(attempt.runbook).await {
            Ok(plan) => Ok(Some(plan)),
            Err(error) if error.retry_after().is_some() => Err(error),
            Err(error) => {
                tracing::error!(organisation = %self.id(), attempt = %attempt.id, %error, "the runbook of a move cannot be read");
                Ok(None)
            }
        }
    }

    /// Pins a runbook and answers its id; the same content is pinned once. The contents of its profiles are sealed.
    ///
    /// # Errors
    /// [`Error::BadInput`] when the runbook is not valid, the store's otherwise.
    pub async fn pin(&self, name: &str, mut runbook: PinnedRunbook) -> Result<RunbookId, Error> {
        runbook.validate()?;
        // The id comes from the content, so that pinning again is harmless, also from two processes at once.
        let id = RunbookId(runbook.content_id());
        if self.store().runbook(self.id(), id).await?.is_none() {
            for profile in &mut runbook.profiles {
                // One that comes from a pinned runbook is sealed already.
                if !EscrowVault::is_sealed(&profile.content.0) {
                    let content = Secret::new(std::mem::take(&mut profile.content.0));
                    profile.content.0 = self
                        .seal_bytes(SecretKind::ProfileContent, &content)
                        .await?;
                }
            }
            let mut batch = Batch::new();
            batch.put(Pinned {
                organisation: self.id(),
                id,
                name: name.to_owned(),
                runbook,
            });
            match self.store().commit(batch).await {
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(id)
    }
}
