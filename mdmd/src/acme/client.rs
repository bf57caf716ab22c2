//! A client of ACME (RFC 8555): account, order, proof by HTTP (8.3), certificate. Speaks by the transport that it is given,
//! keeps nothing and shows nobody the proof: the caller does both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use abm_client::{Method, Request, Response, SecretBytes, Transport, TransportError};
use openssl::error::ErrorStack;
use serde_json::{Value, json};

use super::jose::{self, AccountKey};

/// The longest answer that is read; chains have some kilobytes.
const ANSWER: usize = 1024 * 1024;
/// So often a request is said again whose nonce was not taken (RFC 8555 6.5).
const NONCE_TRIES: u32 = 10;
/// Between two looks at something that the authority is working on, unless it says otherwise.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// It may ask for more, but not for ever.
const LOOK_AT_MOST: Duration = Duration::from_secs(30);
/// Of an authority's own words so many characters are shown.
const SHOWN: usize = 300;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// The authority cannot be reached.
    #[error("the authority did not answer: {0}")]
    Transport(#[from] TransportError),
    /// It said no.
    #[error("the authority refused: {kind}: {detail} (status {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The last part of the problem's type (RFC 8555 6.7), `rateLimited` for example.
        kind: String,
        /// Its own words.
        detail: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It did not accept the proof for a name.
    #[error("the authority did not find the proof for {name}: {why}")]
    NotProved {
        /// The name.
        name: String,
        /// Its own words.
        why: String,
    },
    /// What it said is no ACME.
    #[error("the authority's answer cannot be used: {0}")]
    Odd(&'static str),
    /// It took too long.
    #[error("the authority took too long")]
    Late,
    /// The account is to be bound to one elsewhere, and which one is not configured.
    #[error("the authority wants acme.account_key_id and acme.account_key_file")]
    Unbound,
    /// Keys or signatures failed here.
    #[error("keys: {0}")]
    Crypto(#[from] ErrorStack),
    /// The account's key does not sign.
    #[error("the account's key cannot be used: {0}")]
    Key(#[from] mdm_core::jose::JoseError),
    /// The row cannot be kept, or is another process's by now.
    #[error(transparent)]
    Store(#[from] mdm_core::store::StoreError),
    /// Something else failed here.
    #[error("{0}")]
    Here(String),
}

impl AcmeError {
    /// When the authority wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The account that was used is none, or none any more.
    pub(super) fn account_is_gone(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == "accountDoesNotExist")
    }

    fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == "badNonce")
    }
}

/// A binding to an account elsewhere (RFC 8555 7.3.4).
pub(super) struct Binding {
    pub(super) key_id: String,
    pub(super) mac_key: mdm_core::secret::Secret,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").finish_non_exhaustive()
    }
}

/// An order under way.
pub(super) struct Order {
    url: String,
    authorizations: Vec<String>,
    finalize: String,
}

/// Where each name of an order is proved.
pub(super) struct Proofs {
    /// By token, what the authority must find.
    pub(super) answers: BTreeMap<String, String>,
    /// Authorization, and its challenge by HTTP.
    open: Vec<(String, String)>,
}

/// One authority, and one account there.
pub(super) struct Client<'a> {
    transport: &'a dyn Transport,
    key: AccountKey,
    account: Option<String>,
    new_nonce: String,
    new_account: String,
    new_order: String,
    binding_needed: bool,
    nonce: Mutex<Option<String>>,
}

impl<'a> Client<'a> {
    /// Reads the authority's directory. `account` is the address of the key's account, where there is one already.
    pub(super) async fn open(
        transport: &'a dyn Transport,
        directory: &str,
        key: AccountKey,
        account: Option<String>,
    ) -> Result<Self, AcmeError> {
        let answer = transport
            .send(request(Method::Get, directory, None))
            .await?;
        let directory = object(&answer)?;
        Ok(Self {
            transport,
            key,
            account,
            new_nonce: address(&directory, "newNonce")?,
            new_account: address(&directory, "newAccount")?,
            new_order: address(&directory, "newOrder")?,
            binding_needed: directory["meta"]["externalAccountRequired"] == true,
            nonce: Mutex::default(),
        })
    }

    /// Makes the account of the key, or finds it where it was made before; answers its address.
    pub(super) async fn register(
        &mut self,
        contact: Option<&str>,
        binding: Option<&Binding>,
    ) -> Result<String, AcmeError> {
        let mut asked = json!({ "termsOfServiceAgreed": true });
        if let Some(contact) = contact {
            asked["contact"] = json!([format!("mailto:{contact}")]);
        }
        match binding {
            Some(binding) => {
                let key = binding.mac_key.expose();
                asked["externalAccountBinding"] =
                    jose::bind(&self.key, &binding.key_id, key, &self.new_account)?;
            }
            None if self.binding_needed => return Err(AcmeError::Unbound),
            None => {}
        }
        let answer = self.post(&self.new_account, &asked.to_string()).await?;
        let account = location(&answer)?;
        self.account = Some(account.clone());
        Ok(account)
    }

    /// Orders a certificate for these names.
    pub(super) async fn order(&self, names: &BTreeSet<String>) -> Result<Order, AcmeError> {
        let identifiers: Vec<Value> = names
            .iter()
            .map(|name| json!({ "type": "dns", "value": name }))
            .collect();
        let asked = json!({ "identifiers": identifiers }).to_string();
        let answer = self.post(&self.new_order, &asked).await?;
        let order = object(&answer)?;
        let authorizations = order["authorizations"]
            .as_array()
            .ok_or(AcmeError::Odd("an order without authorizations"))?;
        Ok(Order {
            url: location(&answer)?,
            authorizations: authorizations
                .iter()
                .filter_map(|url| Some(url.as_str()?.to_owned()))
                .collect(),
            finalize: address(&order, "finalize")?,
        })
    }

    /// What the authority is going to look for. Names that it holds for proved are left out.
    pub(super) async fn proofs(&self, order: &Order) -> Result<Proofs, AcmeError> {
        let mut proofs = Proofs {
            answers: BTreeMap::new(),
            open: Vec::new(),
        };
        for url in &order.authorizations {
            let authorization = object(&self.post(url, "").await?)?;
            if authorization["status"] == "valid" {
                continue;
            }
            let challenge = authorization["challenges"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|challenge| challenge["type"] == "http-01")
                .ok_or(AcmeError::Odd("it takes no proof by HTTP for a name"))?;
            let token = challenge["token"]
                .as_str()
                .filter(|token| is_token(token))
                .ok_or(AcmeError::Odd("a challenge without a token"))?;
            let answer = format!("{token}.{}", self.key.thumbprint());
            proofs.answers.insert(token.to_owned(), answer);
            proofs.open.push((url.clone(), address(challenge, "url")?));
        }
        Ok(proofs)
    }

    /// Lets the authority look, once [`Proofs::answers`] can be found; returns when it has accepted all of them.
    pub(super) async fn prove(&self, proofs: &Proofs) -> Result<(), AcmeError> {
        for (_, challenge) in &proofs.open {
            self.post(challenge, "{}").await?;
        }
        for (authorization, _) in &proofs.open {
            self.until(authorization, |seen| match seen["status"].as_str() {
                Some("valid") => Ok(Some(())),
                Some("pending" | "processing") => Ok(None),
                _ => Err(not_proved(seen)),
            })
            .await?;
        }
        Ok(())
    }

    /// Hands the certificate request in and fetches the certificate: PEM, leaf first.
    pub(super) async fn finish(&self, order: &Order, request: &[u8]) -> Result<String, AcmeError> {
        self.until(&order.url, |seen| match seen["status"].as_str() {
            Some("ready" | "valid" | "processing") => Ok(Some(())),
            Some("pending") => Ok(None),
            _ => Err(problem(&seen["error"], 200, None)),
        })
        .await?;
        let asked = json!({ "csr": mdm_core::jose::encode(request) }).to_string();
        self.post(&order.finalize, &asked).await?;
        let certificate = self
            .until(&order.url, |seen| match seen["status"].as_str() {
                Some("valid") => Ok(Some(address(seen, "certificate")?)),
                Some("processing" | "ready") => Ok(None),
                _ => Err(problem(&seen["error"], 200, None)),
            })
            .await?;
        let answer = self.post(&certificate, "").await?;
        String::from_utf8(answer.body.expose().to_vec())
            .map_err(|_| AcmeError::Odd("a certificate that is no PEM"))
    }

    /// Looks at an object of the authority until `done` says so. Whoever calls sets the limit in time.
    async fn until<T>(
        &self,
        url: &str,
        done: impl Fn(&Value) -> Result<Option<T>, AcmeError>,
    ) -> Result<T, AcmeError> {
        loop {
            let answer = self.post(url, "").await?;
            if let Some(found) = done(&object(&answer)?)? {
                return Ok(found);
            }
            let wait = retry_after(&answer).unwrap_or(LOOK_EVERY);
            tokio::time::sleep(wait.clamp(LOOK_EVERY, LOOK_AT_MOST)).await;
        }
    }

    async fn post(&self, url: &str, payload: &str) -> Result<Response, AcmeError> {
        let mut tries = 1;
        loop {
            let nonce = self.fresh_nonce().await?;
            let mut protected = json!({ "nonce": nonce, "url": url });
            match &self.account {
                Some(account) if url != self.new_account => protected["kid"] = json!(account),
                _ => protected["jwk"] = self.key.jwk(),
            }
            let body = self.key.sign(protected, payload)?.to_string();
            let answer = self
                .transport
                .send(request(Method::Post, url, Some(body)))
                .await?;
            self.keep_nonce(&answer);
            match refusal(&answer) {
                None => return Ok(answer),
                Some(error) if error.is_bad_nonce() && tries < NONCE_TRIES => tries += 1,
                Some(error) => return Err(error),
            }
        }
    }

    /// The nonce of the last answer, or a new one.
    async fn fresh_nonce(&self) -> Result<String, AcmeError> {
        if let Some(nonce) = self.kept().take() {
            return Ok(nonce);
        }
        // By GET, which RFC 8555 7.2 allows beside HEAD.
        let answer = self
            .transport
            .send(request(Method::Get, &self.new_nonce, None))
            .await?;
        self.keep_nonce(&answer);
        self.kept()
            .take()
            .ok_or(AcmeError::Odd("it gives no nonce"))
    }

    fn keep_nonce(&self, answer: &Response) {
        if let Some(nonce) = answer.header("replay-nonce") {
            *self.kept() = Some(nonce.to_owned());
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What may stand in the address that the authority looks at: base64url, and no more than anybody needs.
pub(super) fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn request(method: Method, url: &str, body: Option<String>) -> Request {
    let mut headers = vec![(
        "user-agent",
        concat!("mdmd/", env!("CARGO_PKG_VERSION")).into(),
    )];
    if body.is_some() {
        headers.push(("content-type", "application/jose+json".into()));
    }
    Request {
        method,
        url: url.to_owned(),
        headers,
        body: body.map(|text| SecretBytes::new(text.into_bytes())),
        answer_limit: ANSWER,
    }
}

fn object(answer: &Response) -> Result<Value, AcmeError> {
    if let Some(error) = refusal(answer) {
        return Err(error);
    }
    serde_json::from_slice(answer.body.expose())
        .ok()
        .filter(Value::is_object)
        .ok_or(AcmeError::Odd("it is no JSON object"))
}

fn address(object: &Value, name: &str) -> Result<String, AcmeError> {
    object[name]
        .as_str()
        .map(str::to_owned)
        .ok_or(AcmeError::Odd("an address is missing"))
}

fn location(answer: &Response) -> Result<String, AcmeError> {
    answer
        .header("location")
        .map(str::to_owned)
        .ok_or(AcmeError::Odd("it does not say where"))
}

fn refusal(answer: &Response) -> Option<AcmeError> {
    if answer.is_success() {
        return None;
    }
    let said = serde_json::from_slice(answer.body.expose()).unwrap_or_default();
    Some(problem(&said, answer.status, retry_after(answer)))
}

fn problem(said: &Value, status: u16, retry_after: Option<Duration>) -> AcmeError {
    let kind = said["type"].as_str().unwrap_or("no reason given");
    AcmeError::Refused {
        status,
        kind: shown(kind.rsplit(':').next().unwrap_or(kind)),
        detail: shown(said["detail"].as_str().unwrap_or_default()),
        retry_after,
    }
}

fn not_proved(authorization: &Value) -> AcmeError {
    let why = authorization["challenges"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|challenge| challenge["error"]["detail"].as_str())
        .unwrap_or_default();
    AcmeError::NotProved {
        name: shown(
            authorization["identifier"]["value"]
                .as_str()
                .unwrap_or_default(),
        ),
        why: shown(why),
    }
}

/// In seconds; the form with a date is left to the pause that grows by itself.
fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Somebody else's words, fit for a line of the log.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
