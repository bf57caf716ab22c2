//! Accounts of devices, and the revocation that the holder of a key may ask for. The name of an account is its key: it is kept
//! from the first order on that names an enrolment session, for a day, or as long as the identity that it obtains. Whoever makes
//! thousands leaves nothing behind.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::x509::X509;
use serde_json::json;

use super::super::Org;
use super::super::decision::{Decision, Tracked};
use super::{Decided, Refused, Reply, Speaker, problem};
use crate::acme::AcmeAccount;
use crate::ca::acme::{
    self, AccountChange, AccountKey, Addresses, ProblemKind, read_account_change, read_new_account,
    read_revocation,
};
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::AcmeAccountId;
use crate::organisation::Der;

/// For how long an account stays that obtains nothing.
const ACCOUNT_LIFE: Duration = Duration::from_hours(24);
/// The number of an account that is not kept.
const NOT_KEPT: AcmeAccountId = AcmeAccountId(0);
/// What names of accounts begin with that are keys. Older ones are numbers.
const BY_KEY: char = 'k';

/// The name of the account of a key (DER SubjectPublicKeyInfo).
fn name_of(spki: &[u8]) -> String {
    format!("{BY_KEY}{}", URL_SAFE_NO_PAD.encode(spki))
}

impl Org {
    pub(super) async fn new_acme_account(
        &self,
        d: &mut Decision<'_>,
        at: &Addresses,
        key: &AccountKey,
        payload: &[u8],
    ) -> Decided<Reply> {
        let asked = match read_new_account(payload) {
            Ok(asked) => asked,
            Err(problem) => return Ok(Err(problem.into())),
        };
        let known = self
            .store()
            .acme_account_by_key(self.id(), key.thumbprint())
            .await?;
        let created = match known {
            Some(account) if account.deactivated => {
                let kind = ProblemKind::Unauthorized;
                return Ok(Err(problem(kind, "this account was given up").into()));
            }
            Some(account) if d.now < account.expires => false,
            _ if asked.only_return_existing => {
                let kind = ProblemKind::AccountDoesNotExist;
                return Ok(Err(
                    problem(kind, "there is no account with this key").into()
                ));
            }
            _ => true,
        };
        let mut reply = Reply::json(&acme::account(false));
        reply.created = created;
        reply.location = Some(at.named("account", &name_of(key.spki())));
        Ok(Ok(reply))
    }

    /// The account of this name, kept or not; `None` for a name that is none.
    pub(super) async fn acme_account_named(
        &self,
        name: &str,
    ) -> Result<Option<AcmeAccount>, Error> {
        let now = self.now();
        let Some(encoded) = name.strip_prefix(BY_KEY) else {
            // One that was named when every account was kept.
            let Ok(id) = name.parse() else {
                return Ok(None);
            };
            let kept = self.store().acme_account(self.id(), AcmeAccountId(id));
            return Ok(kept.await?.filter(|account| now < account.expires));
        };
        let spki = URL_SAFE_NO_PAD.decode(encoded).ok();
        let key = spki.and_then(|spki| AccountKey::of_spki(&spki).ok());
        let Some(key) = key.filter(|key| name == name_of(key.spki())) else {
            return Ok(None);
        };
        let kept = self
            .store()
            .acme_account_by_key(self.id(), key.thumbprint())
            .await?;
        Ok(Some(kept.unwrap_or_else(|| {
            let key_der = Der(key.spki().to_vec());
            let name = key.thumbprint().to_owned();
            AcmeAccount::new(self.id(), NOT_KEPT, name, key_der, now + ACCOUNT_LIFE)
        })))
    }

    /// The same account as it is kept from now on.
    pub(super) fn keep_acme_account(
        &self,
        d: &mut Decision<'_>,
        account: &AcmeAccount,
    ) -> AcmeAccount {
        let mut kept = account.clone();
        if kept.id == NOT_KEPT {
            kept.id = AcmeAccountId(d.next_id());
        } else if d.now < kept.expires {
            return kept;
        }
        kept.expires = d.now + ACCOUNT_LIFE;
        d.batch.put(kept.clone());
        kept
    }

    pub(super) fn acme_account(
        &self,
        d: &mut Decision<'_>,
        mut account: AcmeAccount,
        name: &str,
        payload: &[u8],
    ) -> Result<Reply, Refused> {
        if name != account.id.to_string() && name != name_of(&account.key.0) {
            return Err(problem(ProblemKind::Unauthorized, "this is another's account").into());
        }
        if read_account_change(payload)? == AccountChange::Deactivate {
            if account.id != NOT_KEPT {
                account.deactivated = true;
                d.batch.put(account);
            }
            // Of one that has ordered nothing there is nothing to give up.
            return Ok(Reply::json(&acme::account(true)));
        }
        Ok(Reply::json(&acme::account(false)))
    }

    /// Revokes an identity for whoever has its key, or the account that obtained it.
    pub(super) async fn revoke_by_acme(
        &self,
        d: &mut Decision<'_>,
        speaker: &Speaker,
        payload: &[u8],
    ) -> Decided<Reply> {
        let refused = |kind, detail| Ok(Err(problem(kind, detail).into()));
        let asked = match read_revocation(payload) {
            Ok(asked) => asked,
            Err(problem) => return Ok(Err(problem.into())),
        };
        let sha256 = sha256_hex(&asked.certificate);
        let found = self.store().certificate_by_hash(self.id(), &sha256).await?;
        let Some(mut row) = found else {
            return refused(ProblemKind::Malformed, "there is no such certificate");
        };
        let allowed = match speaker {
            Speaker::Key(key) => {
                let certified = X509::from_der(&row.der.0)
                    .and_then(|x509| x509.public_key())
                    .and_then(|key| key.public_key_to_der())
                    .map_err(|_| Error::Crypto("an identity cannot be read"))?;
                key.spki() == certified
            }
            Speaker::Account(account) => {
                let order = self.store().acme_order(self.id(), row.session).await?;
                order.is_some_and(|order| order.account == account.id)
            }
        };
        if !allowed {
            let kind = ProblemKind::Unauthorized;
            return refused(kind, "the certificate is another's");
        }
        if row.revoked.is_some() {
            return refused(ProblemKind::AlreadyRevoked, "it is revoked already");
        }
        if let Some(device) = row.device
            && let Some(device) = self.store().device(self.id(), device).await?
        {
            d.device = Some(Tracked::read(device));
        }
        row.revoked = Some(d.now);
        d.batch.put(row);
        // What was verified under the old version is verified again, in every process.
        d.batch.put(self.fresh().await?);
        d.audit(
            "identity.revoked",
            json!({ "certificates": [sha256], "by": "acme", "reason": asked.reason }),
        );
        let mut reply = Reply::json(&json!({}));
        reply.body.clear();
        Ok(Ok(reply))
    }
}
