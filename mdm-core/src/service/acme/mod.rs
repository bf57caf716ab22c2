//! The ACME door, at which devices obtain their identities: proves who speaks, that the message was made for this address and
//! has not been here before, and answers in the protocol's words. What is granted is bound to an enrolment session, as at the
//! SCEP door; the client identifier of an order is the session's one-time challenge.
//!
//! A nonce is handed out without being kept: it is sealed and says until when it is good. A used one is a row of the same batch
//! that the message leads to, so that of any number of processes one takes it. Where a message leads to nothing that is written,
//! this process alone remembers it: strangers fill no database. Nor is an account kept before it names an enrolment session.

mod accounts;
mod nonces;
mod orders;

pub(in crate::service) use nonces::UsedNonces;
pub(in crate::service) use orders::MOST_BEGUN;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::decision::Decision;
use super::{Answer, Org};
use crate::acme::{AcmeAccount, AcmeNonce};
use crate::ca::acme::{
    self, AccountKey, Addresses, JOSE_TYPE, Jws, PROBLEM_TYPE, Problem, ProblemKind, Signer,
};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{AcmeNonceId, Serial};
use crate::organisation::Issuer;
use crate::secret::{Secret, SecretKind};

/// For how long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_hours(1);
/// The name of the door in the record of refusals.
const DOOR: &str = "acme";
/// The media type of everything but certificates and problems.
const JSON: &str = "application/json";

/// A request to the ACME server, as it came.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct AcmeRequest<'a> {
    /// The sender's address, for the record of refusals.
    pub address: &'a str,
    /// What stands behind `/acme/` in the path: `new-order`, `order`, …
    pub resource: &'a str,
    /// The name behind that, if there is one.
    pub name: Option<&'a str>,
    /// The media type that the sender gave its body.
    pub media_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// What the ACME server answers; the host knows which status that is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcmeAnswer {
    /// How it went.
    pub outcome: AcmeOutcome,
    /// Media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// The header `Replay-Nonce`.
    pub nonce: Option<String>,
    /// The header `Location`.
    pub location: Option<String>,
    /// Links: each address with its relation.
    pub links: Vec<(String, &'static str)>,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol's four")]
pub enum AcmeOutcome {
    /// Done.
    Done,
    /// Done, and something is there that was not.
    Created,
    /// There is nothing to say but the headers.
    Empty,
    /// Refused; the body is a problem document.
    Refused(ProblemKind),
}

/// What a decision answers, before it has its headers.
struct Reply {
    created: bool,
    media_type: &'static str,
    body: Vec<u8>,
    location: Option<String>,
    up: Option<String>,
    /// What goes into the record of refusals though the request itself was answered.
    noted: Option<(String, Option<Serial>)>,
}

impl Reply {
    fn json(document: &Value) -> Self {
        Self {
            created: false,
            media_type: JSON,
            body: document.to_string().into_bytes(),
            location: None,
            up: None,
            noted: None,
        }
    }
}

/// A refusal, with the serial number of the device whose session was named.
struct Refused {
    problem: Problem,
    serial: Option<Serial>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            serial: None,
        }
    }
}

const fn problem(kind: ProblemKind, detail: &'static str) -> Problem {
    Problem::new(kind, detail)
}

fn used_already() -> Refused {
    problem(ProblemKind::BadNonce, "the nonce was used already").into()
}

/// Nested: outside what is not the client's fault, inside what is.
type Decided<T> = Result<Result<T, Refused>, Error>;

/// Who signed a message.
enum Speaker {
    /// Somebody with this key, who names no account.
    Key(AccountKey),
    /// An account that is good.
    Account(AcmeAccount),
}

impl Org {
    fn acme_addresses(&self) -> Addresses {
        let base = &self.settings().enrol_url;
        Addresses::below(format!("{base}/mdm/{}/acme", self.organisation.code))
    }

    /// The address of the directory of this organisation's ACME server.
    #[must_use]
    pub fn acme_directory_url(&self) -> String {
        self.acme_addresses().of("directory")
    }

    fn issues_by_acme(&self) -> Result<(), Error> {
        match self.organisation.issuer {
            Issuer::BuiltIn => Ok(()),
            _ => Err(Error::Precondition(
                "this organisation gets its identities elsewhere".to_owned(),
            )),
        }
    }

    /// What the ACME server says to whoever only looks: its directory, or a nonce. `resource` is what stands behind `/acme/`; `head`
    /// says that only the headers are wanted.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the organisation gets its identities elsewhere, the vault's.
    pub async fn acme_look(&self, resource: &str, head: bool) -> Result<Answer, Error> {
        self.issues_by_acme()?;
        let at = self.acme_addresses();
        let mut answer = AcmeAnswer {
            outcome: AcmeOutcome::Done,
            media_type: JSON,
            body: Vec::new(),
            nonce: None,
            location: None,
            links: vec![(at.of("directory"), "index")],
        };
        match resource {
            "directory" => {
                answer.body = acme::directory(&at).to_string().into_bytes();
                answer.links.clear();
            }
            "new-nonce" => {
                if !head {
                    answer.outcome = AcmeOutcome::Empty;
                }
                answer.nonce = Some(self.new_nonce().await?);
            }
            _ => {
                let problem = problem(ProblemKind::Malformed, "there is nothing to look at here");
                answer.outcome = AcmeOutcome::Refused(problem.kind);
                answer.media_type = PROBLEM_TYPE;
                answer.body = problem.document().to_string().into_bytes();
            }
        }
        Ok(Answer::Acme(Box::new(answer)))
    }

    /// Answers a signed request (RFC 8555). A refusal in the protocol's words succeeds here, with a problem document as its
    /// answer; refusals are on record.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the organisation gets its identities elsewhere; the vault's, the store's.
    pub async fn acme(&self, request: &AcmeRequest<'_>) -> Result<Answer, Error> {
        self.issues_by_acme()?;
        let at = self.acme_addresses();
        let decided = self
            .again_on_conflict(|| self.decide_acme(request, &at))
            .await?;
        let mut answer = AcmeAnswer {
            outcome: AcmeOutcome::Done,
            media_type: PROBLEM_TYPE,
            body: Vec::new(),
            nonce: Some(self.new_nonce().await?),
            location: None,
            links: vec![(at.of("directory"), "index")],
        };
        match decided {
            Ok(reply) => {
                if reply.created {
                    answer.outcome = AcmeOutcome::Created;
                }
                answer.media_type = reply.media_type;
                answer.body = reply.body;
                answer.location = reply.location;
                answer.links.extend(reply.up.map(|up| (up, "up")));
                if let Some((reason, serial)) = reply.noted {
                    self.record_refusal(DOOR, request.address, &reason, serial.as_ref())
                        .await;
                }
            }
            Err(refused) => {
                let kind = refused.problem.kind;
                answer.outcome = AcmeOutcome::Refused(kind);
                answer.body = refused.problem.document().to_string().into_bytes();
                // An old nonce is every client's first try after a pause.
                if kind != ProblemKind::BadNonce {
                    let reason = refused.problem.to_string();
                    self.record_refusal(DOOR, request.address, &reason, refused.serial.as_ref())
                        .await;
                }
            }
        }
        Ok(Answer::Acme(Box::new(answer)))
    }

    async fn decide_acme(&self, request: &AcmeRequest<'_>, at: &Addresses) -> Decided<Reply> {
        let given = request.media_type.unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default().trim();
        if !given.eq_ignore_ascii_case(JOSE_TYPE) {
            let kind = ProblemKind::Malformed;
            return Ok(Err(
                problem(kind, "the body must be application/jose+json").into()
            ));
        }
        let url = match request.name {
            Some(name) => at.named(request.resource, name),
            None => at.of(request.resource),
        };
        let jws = match Jws::read(request.body) {
            Ok(jws) => jws,
            Err(problem) => return Ok(Err(problem.into())),
        };
        let (speaker, payload) = match self.acme_speaker(&jws, &url, at).await? {
            Ok(proved) => proved,
            Err(refused) => return Ok(Err(refused)),
        };
        let now = self.now();
        let nonce = match self.take_nonce(jws.nonce(), now).await? {
            Ok(nonce) => nonce,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        let decided = self
            .answer_acme(&mut d, request, at, speaker, payload)
            .await?;
        if decided.is_err() || d.batch.writes.is_empty() {
            // Nothing of what was begun is written. The nonce is used all the same.
            let is_new = self.mdm.inner.nonces.take(&nonce, now);
            return Ok(if is_new { decided } else { Err(used_already()) });
        }
        d.batch.put(nonce);
        self.commit(d).await?;
        Ok(decided)
    }

    async fn answer_acme(
        &self,
        d: &mut Decision<'_>,
        request: &AcmeRequest<'_>,
        at: &Addresses,
        speaker: Speaker,
        payload: &[u8],
    ) -> Decided<Reply> {
        let refused = |kind, detail| Ok(Err(problem(kind, detail).into()));
        match (request.resource, request.name, speaker) {
            ("new-account", None, Speaker::Key(key)) => {
                self.new_acme_account(d, at, &key, payload).await
            }
            ("revoke-cert", None, speaker) => self.revoke_by_acme(d, &speaker, payload).await,
            ("new-account", None, _) => refused(
                ProblemKind::Malformed,
                "a new account comes with its key, not with a name",
            ),
            (_, _, Speaker::Key(_)) => refused(
                ProblemKind::Malformed,
                "this needs the name of an account, not a key",
            ),
            ("new-order", None, Speaker::Account(account)) => {
                self.new_acme_order(d, at, &account, payload).await
            }
            ("key-change", None, _) => refused(
                ProblemKind::Unauthorized,
                "the key of an account does not change here: make another account",
            ),
            ("account", Some(name), Speaker::Account(account)) => {
                Ok(self.acme_account(d, account, name, payload))
            }
            ("order" | "authz" | "certificate", Some(name), Speaker::Account(account)) => {
                self.look_at_order(at, &account, request.resource, name, payload)
                    .await
            }
            ("challenge", Some(name), Speaker::Account(account)) => {
                self.answer_challenge(d, at, &account, name, payload).await
            }
            ("finalize", Some(name), Speaker::Account(account)) => {
                self.finalise(d, at, account, name, payload).await
            }
            _ => refused(ProblemKind::Malformed, "there is nothing at this address"),
        }
    }

    /// Who signed, and what they say. Nothing was looked up for a message whose signature does not hold but its account.
    async fn acme_speaker<'a>(
        &self,
        jws: &'a Jws,
        url: &str,
        at: &Addresses,
    ) -> Decided<(Speaker, &'a [u8])> {
        let unknown = problem(ProblemKind::AccountDoesNotExist, "there is no such account");
        let speaker = match jws.signer() {
            Signer::Key(key) => {
                // Read again from its one form: the message keeps its own.
                match AccountKey::of_spki(key.spki()) {
                    Ok(key) => Speaker::Key(key),
                    Err(problem) => return Ok(Err(problem.into())),
                }
            }
            Signer::Account(address) => {
                let name = at.account_in(address).unwrap_or_default();
                match self.acme_account_named(name).await? {
                    Some(account) => Speaker::Account(account),
                    None => return Ok(Err(unknown.into())),
                }
            }
        };
        let verified = match &speaker {
            Speaker::Key(key) => jws.verify(key, url),
            Speaker::Account(account) => {
                let key = AccountKey::of_spki(&account.key.0)
                    .map_err(|_| Error::Crypto("the key of an account cannot be read"))?;
                jws.verify(&key, url)
            }
        };
        match verified {
            Ok(payload) => match &speaker {
                Speaker::Account(account) if account.deactivated => {
                    let kind = ProblemKind::Unauthorized;
                    Ok(Err(problem(kind, "this account was given up").into()))
                }
                _ => Ok(Ok((speaker, payload))),
            },
            Err(problem) => Ok(Err(problem.into())),
        }
    }

    /// A nonce, which says itself what it is.
    async fn new_nonce(&self) -> Result<String, Error> {
        let mut plain = [0_u8; 16];
        openssl::rand::rand_bytes(&mut plain[..8]).map_err(|_| Error::Crypto("no randomness"))?;
        let expires = (self.now() + NONCE_LIFE).as_millis();
        plain[8..].copy_from_slice(&expires.to_be_bytes());
        let sealed = self
            .seal_bytes(SecretKind::AcmeNonce, &Secret::new(plain.to_vec()))
            .await?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The row that uses a nonce up, if it is ours, still good and not used.
    async fn take_nonce(&self, text: &str, now: Timestamp) -> Decided<AcmeNonce> {
        let bad = |detail| Ok(Err(problem(ProblemKind::BadNonce, detail).into()));
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(text) else {
            return bad("the nonce is not one of this server's");
        };
        let Ok(plain) = self.open_bytes(SecretKind::AcmeNonce, &sealed).await else {
            return bad("the nonce is not one of this server's");
        };
        let Some((number, expires)) = plain.expose().split_first_chunk::<8>() else {
            return bad("the nonce is not one of this server's");
        };
        let Ok(expires) = <[u8; 8]>::try_from(expires) else {
            return bad("the nonce is not one of this server's");
        };
        let expires = Timestamp::from_millis(i64::from_be_bytes(expires));
        if expires <= now {
            return bad("the nonce is too old");
        }
        // Positive, as every id.
        let id = AcmeNonceId(i64::from_be_bytes(*number) & i64::MAX);
        let nonce = AcmeNonce::new(self.id(), id, expires);
        if self.mdm.inner.nonces.is_used(&nonce)
            || self.store().acme_nonce(self.id(), id).await?.is_some()
        {
            return Ok(Err(used_already()));
        }
        Ok(Ok(nonce))
    }
}
