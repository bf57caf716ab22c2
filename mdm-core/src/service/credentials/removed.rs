//! Credentials of Apple's that are taken away again: the account of the organisation API, and key pairs that no token was made for. What
//! something goes by stays, and is named. Changes nothing at Apple.

use serde_json::json;

use crate::error::Error;
use crate::inventory::PullPhase;
use crate::organisation::TokenKey;
use crate::service::Org;
use crate::shell;
use crate::store::Batch;
use crate::wave::Server;

impl Org {
    /// Takes the account of the organisation API away: its key is destroyed, and nothing is asked of Apple with it any more. At Apple it
    /// stays until somebody revokes it there. `client_id` is that of the account, typed by whoever wants it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::BadInput`] for another one; [`Error::Precondition`] names the wave whose members
    /// have not ended, or the request, that needs it; the store's.
    pub async fn remove_api_account(&self, client_id: &str) -> Result<(), Error> {
        let key = self
            .again_on_conflict(|| async {
                let mut organisation = self.fresh().await?;
                let account = organisation.api.take();
                let account = account.ok_or(Error::NotFound("API account"))?;
                if account.client_id != client_id {
                    let problem = format!("must be that of the account, {}", account.client_id);
                    return Err(Error::bad_input("client_id", problem));
                }
                if let Some(user) = self.asks_with_account().await? {
                    return Err(Error::Precondition(format!(
                        "{} cannot be removed: {user}",
                        account.client_id
                    )));
                }
                let mut batch = Batch::new();
                self.destroy_secret(&mut batch, account.key).await?;
                // Nobody reads on, and who has another account brought in begins anew.
                if let Some(mut row) = self.inventory().await? {
                    (row.phase, row.wanted, row.everything) = (PullPhase::Idle, None, false);
                    row.needs_person = None;
                    batch.put(row);
                }
                let detail = json!({ "client_id": account.client_id });
                self.audit_into(&mut batch, "api.removed", detail);
                batch.put(organisation);
                self.store().commit(batch).await?;
                Ok(account.key)
            })
            .await?;
        self.forget_secret(key);
        Ok(())
    }

    /// What is asked of Apple with the account, in words, and what ends that.
    async fn asks_with_account(&self) -> Result<Option<String>, Error> {
        for wave in self.all_waves().await? {
            if !wave.is_submitted() {
                continue;
            }
            // A wave whose members have all ended is over, though nobody has closed it yet.
            let Some(open) = self.first_open_member(wave.id).await? else {
                continue;
            };
            let (name, serial, typed) = (&wave.name, &open.serial, shell::word(&wave.name));
            return Ok(Some(format!(
                "the wave {name} is submitted, and what becomes of its members that have not come to an end ({serial} is one) is read with \
                 this account: `mdmd business add` puts another in its place; or wait, call them back (`mdmd wave cancel {typed}`), take out those that Apple was not asked for \
                 (`mdmd wave withdraw {typed}`), or give up those that never come (`mdmd device give-up`)"
            )));
        }
        let open = self.open_errands().await?;
        let asking = open.iter().find(|errand| !errand.kind.is_licence());
        Ok(asking.map(|errand| {
            format!(
                "the request {} to Apple has not ended: `mdmd report requests` shows it",
                errand.id
            )
        }))
    }

    /// Takes a key pair away that no token of ours was made for: its private key is destroyed, and a token that is made for its
    /// certificate opens here no more. `serial` is the number of its certificate, [`TokenKey::serial`], with or
    /// without colons.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] names the server entry whose token was made for it, or, of the newest pair, may have been: of older ones a person decides; the store's.
    pub async fn remove_token_key(&self, serial: &str) -> Result<TokenKey, Error> {
        let wanted = serial.replace(':', "");
        let gone = self
            .again_on_conflict(|| async {
                let mut organisation = self.fresh().await?;
                let mut keys = organisation.token_keys.iter();
                let at = keys.position(|key| {
                    let serial = key.serial();
                    !serial.is_empty() && serial.eq_ignore_ascii_case(&wanted)
                });
                let at = at.ok_or(Error::NotFound("key pair"))?;
                let is_newest = at + 1 == organisation.token_keys.len();
                let gone = organisation.token_keys.remove(at);
                let servers = self.store().servers(self.id()).await?;
                let made_for = |s: &&Server| s.token_key == Some(gone.key);
                // Of a token that came in opened already nobody knows: the newest pair stands for it.
                let may_be = |s: &&Server| is_newest && s.token_key.is_none();
                let why = match servers.iter().find(made_for) {
                    Some(server) => Some((server, "was made for it")),
                    None => {
                        let found = servers.iter().find(may_be);
                        found.map(|server| (server, "may have been made for it"))
                    }
                };
                if let Some((server, why)) = why {
                    return Err(Error::Precondition(format!(
                        "the key pair cannot be removed: the token of {} {why}; import one that was made for another first",
                        server.name
                    )));
                }
                let mut batch = Batch::new();
                self.destroy_secret(&mut batch, gone.key).await?;
                let detail = json!({ "certificate": gone.described });
                self.audit_into(&mut batch, "token-key.removed", detail);
                batch.put(organisation);
                self.store().commit(batch).await?;
                Ok(gone)
            })
            .await?;
        self.forget_secret(gone.key);
        Ok(gone)
    }
}
