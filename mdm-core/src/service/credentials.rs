//! Credentials that are handed out or made ready: tokens of our own API, and the key pairs for which Apple's portal encrypts
//! server tokens. A token is shown once and kept as a hash; a private key never leaves the vault.

mod removed;

use std::collections::BTreeSet;
use std::time::Duration;

use abm_client::{ServerToken, TokenKeyPair};
use openssl::x509::X509;
use serde_json::json;

use super::Org;
use super::enrol::random_text;
use super::ports::{Account, ApiKey, ServerCredential};
use crate::audit::{ApiToken, NOBODY, Role};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{JobId, SecretId, ServerId, TokenId};
use crate::job::{Job, JobKind};
use crate::line;
use crate::organisation::{ApiCredential, Der, Organisation, TokenKey};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, Noun};
use crate::wave::Server;

/// Key pairs kept at once. Each rotation adds one; nobody needs so many.
const MOST_KEYS: usize = 20;
/// Days for which the certificate of a key pair is valid. Apple's portal does not look at it.
const KEY_DAYS: u32 = 730;
/// Clocks of two servers, of which one makes a pair and the other takes the token, differ by less.
const CLOCKS_DIFFER: Duration = Duration::from_hours(24);
/// A token of the API just made.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewApiToken {
    /// The row.
    pub token: ApiToken,
    /// What its holder shows. Kept by us only as a hash.
    pub secret: Secret,
}

/// What the names of partners begin with, in the record too.
pub(super) const PARTNER: &str = "partner ";

impl Org {
    /// Makes a token of the API.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that is empty, taken or reserved and for an end that has passed; the store's.
    pub async fn new_api_token(
        &self,
        name: &str,
        role: Role,
        scopes: BTreeSet<String>,
        expires: Option<Timestamp>,
    ) -> Result<NewApiToken, Error> {
        let name = name.trim();
        // Brackets are in the names of people who have signed in.
        if name.to_lowercase().starts_with(PARTNER) {
            let problem = "must not begin like that of a partner";
            return Err(Error::bad_input("name", problem));
        }
        line::check_filled("name", name, 100)?;
        if name.contains(['<', '>']) {
            return Err(Error::bad_input("name", "must be without < and >"));
        }
        let now = self.now();
        if expires.is_some_and(|end| end <= now) {
            return Err(Error::bad_input("expires", "must lie in the future"));
        }
        let secret = Secret::from_text(random_text(32)?);
        let hash = crate::identity::sha256_hex(secret.expose());
        let token = self
            .again_on_conflict(|| async {
                // The record names who did something: two holders of one name could not be told apart. Of two who take it at the
                // same moment the row of the organisation lets one through, and the other looks again.
                let organisation = self.fresh().await?;
                let all = self.api_tokens().await?;
                if NOBODY.iter().any(|r| r.eq_ignore_ascii_case(name))
                    || all.iter().any(|t| t.is_of(name, now))
                {
                    return Err(Error::bad_input("name", "is taken: choose another"));
                }
                let id = TokenId(self.ids().next(now));
                let mut token = ApiToken::new(self.id(), id, name, role, hash.clone(), now);
                token.expires = expires;
                token.scopes.clone_from(&scopes);
                let mut batch = Batch::new();
                batch.put(organisation);
                batch.put(token.clone());
                self.audit_into(
                    &mut batch,
                    "api-token.made",
                    json!({ "token": token.id, "name": name, "role": role, "scopes": token.scopes, "expires": expires }),
                );
                self.store().commit(batch).await?;
                Ok(token)
            })
            .await?;
        Ok(NewApiToken { token, secret })
    }

    /// All tokens of the API, revoked ones included.
    ///
    /// # Errors
    /// The store's.
    pub async fn api_tokens(&self) -> Result<Vec<ApiToken>, Error> {
        Ok(self.store().tokens(self.id()).await?)
    }

    /// Revokes a token of the API; the next request that shows it is refused. Again does no harm.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn revoke_api_token(&self, id: TokenId) -> Result<ApiToken, Error> {
        self.again_on_conflict(|| async {
            let mut token = self
                .api_tokens()
                .await?
                .into_iter()
                .find(|t| t.id == id)
                .ok_or(Error::NotFound("API token"))?;
            if token.revoked.is_some() {
                return Ok(token);
            }
            token.revoked = Some(self.now());
            let mut batch = Batch::new();
            batch.put(token.clone());
            let detail = json!({ "token": token.id, "name": token.name });
            self.audit_into(&mut batch, "api-token.revoked", detail);
            self.store().commit(batch).await?;
            Ok(token)
        })
        .await
    }

    /// Brings in an account of the organisation API with its private key (PEM).
    ///
    /// # Errors
    /// The vault's, the store's.
    pub async fn import_api(
        &self,
        client_id: &str,
        key_id: &str,
        key: &Secret,
    ) -> Result<(), Error> {
        let replaced = self
            .again_on_conflict(|| async {
                let now = self.now();
                let mut organisation = self.fresh().await?;
                let id = SecretId(self.ids().next(now));
                let mut batch = Batch::new();
                let sealed = self.seal(id, SecretKind::ApiPrivateKey, None, key, now);
                batch.put(sealed.await?);
                let before = organisation.api.replace(ApiCredential {
                    client_id: client_id.to_owned(),
                    key_id: key_id.to_owned(),
                    key: id,
                });
                let before = before.map(|account| account.key);
                if let Some(old) = before {
                    // Apple takes it until somebody revokes it there, and nothing here asks with it any more.
                    self.destroy_secret(&mut batch, old).await?;
                }
                batch.put(organisation);
                let detail = json!({ "client_id": client_id });
                self.audit_into(&mut batch, "api.imported", detail);
                self.store().commit(batch).await?;
                Ok(before)
            })
            .await?;
        if let Some(old) = replaced {
            self.forget_secret(old);
        }
        Ok(())
    }

    /// Brings in a server token (Apple's JSON), after it has shown whose it is. A renewal must be for the same server entry;
    /// the old token is kept until the new one has worked, which is what this checks. The list is read anew at once.
    ///
    /// # Errors
    /// The port's when Apple does not accept it, [`Error::Precondition`] when it is for another server entry than `renews`.
    pub async fn import_server_token(
        &self,
        token: &Secret,
        renews: Option<ServerId>,
    ) -> Result<ServerId, Error> {
        let (credential, account) = self.entry_of(token, renews).await?;
        self.keep_account(token, &account, &credential, renews, None)
            .await
    }

    /// Keeps a token of which Apple has said whose it is.
    pub(super) async fn keep_account(
        &self,
        token: &Secret,
        account: &Account,
        shown: &ServerCredential,
        renews: Option<ServerId>,
        made_for: Option<Option<SecretId>>,
    ) -> Result<ServerId, Error> {
        let new = shown.server;
        self.again_on_conflict(|| self.keep_server_token(token, account, new, renews, made_for))
            .await
    }

    /// Keeps a token that has worked, with what Apple said of its server entry.
    async fn keep_server_token(
        &self,
        token: &Secret,
        account: &Account,
        new: ServerId,
        renews: Option<ServerId>,
        made_for: Option<Option<SecretId>>,
    ) -> Result<ServerId, Error> {
        let now = self.now();
        let secret = SecretId(self.ids().next(now));
        let mut batch = Batch::new();
        batch.put(
            self.seal(secret, SecretKind::ServerToken, None, token, now)
                .await?,
        );
        let mut organisation = self.fresh().await?;
        let pair = made_for.flatten();
        if pair.is_some_and(|key| !organisation.token_keys.iter().any(|kept| kept.key == key)) {
            let why = "the key pair that this token was made for has been removed meanwhile";
            return Err(Error::Precondition(why.to_owned()));
        }
        let known = self.store().servers(self.id()).await?;
        let known = known.into_iter().find(|s| s.uuid == account.server_uuid);
        let other = |row: &Server| renews.is_some_and(|id| id != row.id);
        if renews.is_some() && known.as_ref().is_none_or(other) {
            return Err(Error::Precondition(format!(
                "this token is for another server entry, {}",
                account.server_name
            )));
        }
        let mut replaced = None;
        let mut server = match known {
            Some(mut known) => {
                // Apple has just taken the new one: nobody knows whether the old one would end by that.
                self.destroy_secret(&mut batch, known.token).await?;
                replaced = Some(known.token);
                known.token = secret;
                if pair.is_some() {
                    // Whoever removes the pair writes that row.
                    let own = self.id();
                    batch.expect(Noun::Organisation, own, own.0, organisation.version);
                }
                known
            }
            None => {
                let (name, uuid) = (&account.server_name, &account.server_uuid);
                self.must_not_be_left(account).await?;
                let mut server = Server::new(self.id(), new, name, uuid, secret);
                server.sync_job = JobId(self.ids().next(now));
                server.assign_job = JobId(self.ids().next(now));
                let kind = JobKind::Assign { server: new };
                batch.put(Job::new(self.id(), server.assign_job, now, kind));
                organisation.servers.push(new);
                batch.put(organisation);
                server
            }
        };
        // First the list, then the profiles of those in it.
        let kind = JobKind::Sync { server: server.id };
        batch.put(Job::new(self.id(), server.sync_job, now, kind));
        server.name.clone_from(&account.server_name);
        server.token_expires = account.token_expires;
        server.token_key = made_for.unwrap_or(server.token_key);
        server.needs_person = None;
        let id = server.id;
        self.audit_into(
            &mut batch,
            "token.imported",
            json!({ "server": server.name, "expires": server.token_expires }),
        );
        batch.put(server);
        self.store().commit(batch).await?;
        if let Some(old) = replaced {
            self.forget_secret(old);
        }
        Ok(id)
    }

    /// The token of a service that an open project leaves is not for us: all of its devices would be given our ADE profile.
    pub(super) async fn must_not_be_left(&self, account: &Account) -> Result<(), Error> {
        let projects = self.store().projects(self.id()).await?;
        let left = projects
            .iter()
            .find(|p| p.closed.is_none() && p.originals.contains(&account.server_uuid));
        match left {
            None => Ok(()),
            Some(project) => Err(Error::Precondition(format!(
                "{} is a service that devices leave in the project {}: its token is not for us",
                account.server_name, project.name
            ))),
        }
    }

    /// Drops the oldest key pair that no token of ours was made for: nothing is opened with it any more, and its private key is
    /// destroyed. Answers whose that was.
    async fn drop_oldest_key(
        &self,
        organisation: &mut Organisation,
        batch: &mut Batch,
    ) -> Result<SecretId, Error> {
        let servers = self.store().servers(self.id()).await?;
        let newest = organisation.token_keys.last().map(|key| key.key);
        // Of a token that came in opened already nobody knows: it may have been made for any pair that there was then. The newest signs
        // for its entry.
        let mut unknown: Option<(Timestamp, &str)> = None;
        for server in servers.iter().filter(|s| s.token_key.is_none()) {
            let token = self.store().secret(self.id(), server.token).await?;
            let imported = token.map_or(self.now(), |token| token.created);
            unknown = unknown.max(Some((imported, server.name.as_str())));
        }
        let used = |key: &TokenKey| {
            let may_be = unknown.is_some_and(|(imported, _)| {
                key.created <= imported + CLOCKS_DIFFER || newest == Some(key.key)
            });
            may_be || servers.iter().any(|s| s.token_key == Some(key.key))
        };
        let Some(oldest) = organisation.token_keys.iter().position(|key| !used(key)) else {
            let of = match unknown {
                Some((_, name)) => format!(
                    "of {MOST_KEYS} key pairs each is in use, or may be: for which one the token of {name} was made nobody knows"
                ),
                None => format!("{MOST_KEYS} key pairs are in use"),
            };
            return Err(Error::Precondition(format!(
                "{of}; no more are made before one is taken away that nobody needs (`mdmd token remove-key`)"
            )));
        };
        let dropped = organisation.token_keys.remove(oldest);
        self.destroy_secret(batch, dropped.key).await?;
        let detail = json!({ "certificate": dropped.described });
        self.audit_into(batch, "token-key.removed", detail);
        Ok(dropped.key)
    }

    /// Trusts a device CA beside Apple's for machine information: simulated devices.
    ///
    /// # Errors
    /// The store's.
    pub async fn trust_device_ca(&self, certificate: Vec<u8>) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            organisation.device_cas.push(Der(certificate.clone()));
            let mut batch = Batch::new();
            batch.put(organisation);
            self.audit_into(&mut batch, "device-ca.trusted", json!({}));
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Brings in an account of the organisation API with its private key (PEM), after Apple has answered it. Answers the
    /// organisation's services: identifier and name.
    ///
    /// # Errors
    /// The port's when Apple does not accept the account, which is then not kept; [`Error::Precondition`] when it is of an
    /// organisation that has none of our server entries; the vault's, the store's.
    pub async fn add_api_account(
        &self,
        client_id: &str,
        key_id: &str,
        key: &Secret,
    ) -> Result<Vec<(String, String)>, Error> {
        let account = ApiKey {
            organisation: self.id(),
            client_id: client_id.to_owned(),
            key_id: key_id.to_owned(),
            key: key.clone(),
            allowance: self.allowance(),
        };
        let services = self.ports().api.servers(&account).await?;
        let ours = self.store().servers(self.id()).await?;
        let known = |s: &Server| {
            services
                .iter()
                .any(|(id, name)| *id == s.uuid || *name == s.name)
        };
        if !ours.is_empty() && !ours.iter().any(known) {
            return Err(Error::Precondition(
                "none of our server entries is among the services of this account: it is another organisation's"
                    .to_owned(),
            ));
        }
        self.import_api(client_id, key_id, key).await?;
        Ok(services)
    }

    /// Makes a key pair for which Apple's portal encrypts server tokens. Earlier ones stay: a token that is downloaded before
    /// the new certificate is uploaded still opens.
    ///
    /// # Errors
    /// [`Error::Crypto`], [`Error::Precondition`] when there are too many, the vault's, the store's.
    pub async fn new_token_key(&self) -> Result<TokenKey, Error> {
        let broken = |_| Error::Crypto("a key pair could not be made");
        let now = self.now();
        let pair = TokenKeyPair::generate("mdmd server token", now.as_millis(), KEY_DAYS)
            .map_err(broken)?;
        let pem = pair.certificate_pem().map_err(broken)?;
        let certificate = X509::from_pem(pem.as_bytes())
            .and_then(|c| c.to_der())
            .map_err(|_| Error::Crypto("a key pair could not be made"))?;
        let private = pair.private_key_pem().map_err(broken)?;
        let private = Secret::new(private.expose());
        let made = TokenKey {
            certificate: Der(certificate),
            key: SecretId(self.ids().next(now)),
            described: pair.describe(),
            created: now,
        };
        let dropped = self
            .again_on_conflict(|| async {
                let mut organisation = self.fresh().await?;
                let mut batch = Batch::new();
                let mut dropped = None;
                if organisation.token_keys.len() >= MOST_KEYS {
                    let oldest = self.drop_oldest_key(&mut organisation, &mut batch);
                    dropped = Some(oldest.await?);
                }
                organisation.token_keys.push(made.clone());
                let kind = SecretKind::ServerTokenPrivateKey;
                let sealed = self.seal(made.key, kind, None, &private, now);
                batch.put(sealed.await?);
                batch.put(organisation);
                let detail = json!({ "certificate": made.described });
                self.audit_into(&mut batch, "token-key.made", detail);
                self.store().commit(batch).await?;
                Ok(dropped)
            })
            .await?;
        if let Some(dropped) = dropped {
            self.forget_secret(dropped);
        }
        Ok(made)
    }

    /// The key pairs kept for server tokens, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn token_keys(&self) -> Result<Vec<TokenKey>, Error> {
        Ok(self.fresh().await?.token_keys)
    }

    /// Decrypts a server token file (`.p7m`) with whichever kept key pair it was made for.
    ///
    /// # Errors
    /// [`Error::Precondition`] names issuer and serial number of the certificate that the file was made for, and those that
    /// we have; [`Error::BadInput`] when it is no such file.
    pub async fn open_token_file(&self, file: &[u8]) -> Result<Secret, Error> {
        Ok(self.open_token_made_for(file).await?.0)
    }

    pub(super) async fn open_token_made_for(
        &self,
        file: &[u8],
    ) -> Result<(Secret, Option<SecretId>), Error> {
        let keys = self.token_keys().await?;
        let mut pairs = Vec::with_capacity(keys.len());
        for key in &keys {
            let private = self.open_secret(key.key).await?;
            let certificate = X509::from_der(&key.certificate.0)
                .and_then(|c| c.to_pem())
                .map_err(|_| Error::Crypto("the certificate of a key pair cannot be read"))?;
            let pair = TokenKeyPair::from_pem(&certificate, private.expose())
                .map_err(|_| Error::Crypto("a kept key pair cannot be read"))?;
            pairs.push(pair);
        }
        let token = ServerToken::open(file, &pairs).map_err(|error| match error.kind() {
            abm_client::ErrorKind::MadeForAnotherCertificate { recipients } => {
                let ours: Vec<&str> = keys.iter().map(|k| k.described.as_str()).collect();
                let ours = if ours.is_empty() {
                    "none; `mdmd token key` makes one".to_owned()
                } else {
                    ours.join("; ")
                };
                Error::Precondition(format!(
                    "this token was made for another certificate ({}); ours: {ours}. Upload our certificate to the server entry in Apple's portal and download the token again",
                    recipients.join("; ")
                ))
            }
            _ => Error::bad_input("file", error.to_string()),
        })?;
        let json = token
            .to_json()
            .map_err(|_| Error::Crypto("the token cannot be written"))?;
        // The pair that opens it alone is the one that it was made for.
        let made_for = pairs
            .into_iter()
            .position(|pair| ServerToken::open(file, &[pair]).is_ok());
        let made_for = made_for.and_then(|at| keys.get(at)).map(|k| k.key);
        Ok((Secret::new(json.expose()), made_for))
    }

    /// Has the device lists of all server entries read now. Answers how many there are.
    ///
    /// # Errors
    /// The store's.
    pub async fn sync_now(&self) -> Result<usize, Error> {
        let now = self.now();
        let servers = self.store().servers(self.id()).await?;
        let mut batch = Batch::new();
        for server in &servers {
            let kind = JobKind::Sync { server: server.id };
            batch.put(Job::new(self.id(), server.sync_job, now, kind));
        }
        let detail = json!({ "servers": servers.len() });
        self.audit_into(&mut batch, "sync.asked", detail);
        self.store().commit(batch).await?;
        Ok(servers.len())
    }
}
