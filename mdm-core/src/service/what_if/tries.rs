//! What a what-if tries instead of believing it: whether keys open what was sealed to them, and codes come out of the vault as they went in.

use super::facts::Plan;
use crate::activation_lock;
use crate::error::Error;
use crate::filevault::EscrowKey;
use crate::secret::SecretKind;
use crate::service::Org;

impl Org {
    /// Tries the way of a bypass code into the vault and back, where a runbook wants a lock. The code is thrown away.
    pub(super) async fn try_codes(&self, plan: &mut Plan) -> Result<(), Error> {
        let mut runbooks = plan.by_platform.values().chain(plan.by_id.values());
        if !runbooks.any(|whole| whole.runbook.lock) {
            return Ok(());
        }
        plan.codes = Some(self.codes_work().await?);
        Ok(())
    }

    /// Whether a bypass code finds its way into the vault and back. The code is thrown away.
    pub(in crate::service) async fn codes_work(&self) -> Result<bool, Error> {
        let works = async || -> Result<bool, Error> {
            let Ok(code) = activation_lock::new_code() else {
                return Ok(false);
            };
            let kind = SecretKind::ServerBypassCode;
            let sealed = self.seal_bytes(kind, &code).await?;
            let opened = self.open_bytes(kind, &sealed).await?;
            let hash = |code| activation_lock::escrow_key(code).ok();
            Ok(hash(&opened).is_some() && hash(&opened) == hash(&code))
        };
        match works().await {
            Ok(works) => Ok(works),
            Err(error) if error.retry_after().is_some() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Whether what is sealed to the escrow certificate opens with the key that we hold; none without a certificate.
    pub(super) async fn escrow_works(&self) -> Result<Option<bool>, Error> {
        let Some(escrow) = &self.organisation.escrow else {
            return Ok(None);
        };
        Ok(Some(match self.open_secret_cached(escrow.key).await {
            Ok(key) => EscrowKey::new(escrow.certificate.0.clone(), key).opens_what_it_seals(),
            Err(Error::Store(crate::store::StoreError::Unavailable(why))) => {
                return Err(Error::Store(crate::store::StoreError::Unavailable(why)));
            }
            Err(_) => false,
        }))
    }
}
