//! Signing in: what is set, the way to the provider and back, once each. Decides who somebody is; the doors decide what they get
//! for it. Nothing that somebody shows is kept but as a hash.

mod setting;

use std::time::Duration;

use serde_json::Value;

pub use self::setting::{NewSignIn, shown};
use super::enrol::random_text;
use super::ports::Redemption;
use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::SignInId;
use crate::jose::{JoseError, JwkSet};
use crate::line::is_obeyed;
use crate::organisation::Der;
use crate::person::{Person, Purpose, SignIn, SignInAttempt};
use crate::secret::{Secret, SecretKind, same};
use crate::sign_in::provider::{Authorization, Provider, document_of};
use crate::sign_in::token::{Expected, TokenError, read};
use crate::sign_in::{escape, form, pkce};
use crate::store::Batch;

/// The one address where providers send people back to, below the enrolment host.
pub const RETURN: &str = "/sign-in/return";
/// How long somebody may take at the provider.
const PATIENCE: Duration = Duration::from_mins(10);
/// Sign-ins of an organisation under way at a time.
const MOST_OPEN: u32 = 5_000;

/// A browser on its way to the provider.
#[derive(Debug)]
#[non_exhaustive]
pub struct Departure {
    /// Where it is sent.
    pub to: String,
}

/// What a browser brings back from the provider.
#[derive(Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "built by the host's door")]
pub struct Return {
    /// What we gave along.
    pub state: String,
    /// The code, when the provider let them in.
    pub code: Option<Secret>,
    /// The provider's word for why not.
    pub error: Option<String>,
    /// How the provider names itself, if it does.
    pub issuer: Option<String>,
    /// What this browser holds since it left.
    pub browser: Option<String>,
    /// Its address, for the record of refusals.
    pub address: String,
}

/// Somebody is back, proved.
#[derive(Debug)]
#[non_exhaustive]
pub struct Arrival {
    /// At whose provider.
    pub org: Org,
    /// The sign-in, used up.
    pub attempt: SignInAttempt,
    /// Who.
    pub person: Person,
}

/// Nobody arrived.
#[derive(Debug)]
#[non_exhaustive]
pub struct TurnedAway {
    /// Why.
    pub error: Error,
    /// Where the browser goes to say so: to the program that waits for it, if one does.
    pub to: Option<String>,
}

impl From<Error> for TurnedAway {
    fn from(error: Error) -> Self {
        Self { error, to: None }
    }
}

impl SignInAttempt {
    /// With what the browser goes back to the program that waits, when there is no code for it.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1>
    #[must_use]
    pub fn turned_away(&self, error: Error) -> TurnedAway {
        let Purpose::CommandLine {
            redirect, state, ..
        } = &self.purpose
        else {
            return error.into();
        };
        let why = match &error {
            Error::Refused(_)
            | Error::BadInput { .. }
            | Error::Precondition(_)
            | Error::Busy(_)
            | Error::Port(_) => error.to_string(),
            _ => "the server could not finish it; its log says why".to_owned(),
        };
        let pairs = [
            ("error", "access_denied"),
            ("error_description", why.as_str()),
            ("state", state.as_str()),
        ];
        TurnedAway {
            to: Some(format!("{redirect}?{}", form(pairs))),
            error,
        }
    }
}

impl Org {
    /// Where providers send people back to.
    #[must_use]
    pub fn return_url(&self) -> String {
        format!("{}{RETURN}", self.settings().enrol_url)
    }

    /// Sends a browser off. `address` is where it comes from; `browser` is what it holds from now on and shows again when it
    /// comes back.
    ///
    /// # Errors
    /// [`Error::Precondition`] without a sign-in that is set; [`Error::Busy`] while
    /// this address, or everybody together, has begun too many; the port's, the store's.
    pub async fn begin_sign_in(
        &self,
        address: &str,
        purpose: Purpose,
        browser: &str,
        login_hint: Option<&str>,
    ) -> Result<Departure, Error> {
        // A device has proved what it is; everybody else is a stranger.
        let is_proved = matches!(purpose, Purpose::WebView { .. });
        let (now, begun) = (self.now(), &self.mdm.inner.begun);
        if !is_proved && !begun.begin(self.id(), address, now, now + PATIENCE) {
            return Err(Error::Busy(
                "too many sign-ins from this address are under way",
            ));
        }
        let departed = self.depart(purpose, browser, login_hint).await;
        // What did not begin, because the provider or the database was away, is counted against nobody.
        if !is_proved && departed.is_err() {
            begun.give_back(self.id(), address);
        }
        departed
    }

    async fn depart(
        &self,
        purpose: Purpose,
        browser: &str,
        login_hint: Option<&str>,
    ) -> Result<Departure, Error> {
        let setting = self.sign_in()?;
        let now = self.now();
        let open = self
            .store()
            .open_sign_ins(self.id(), now, MOST_OPEN)
            .await?;
        if open >= u64::from(MOST_OPEN) {
            return Err(Error::Busy("too many sign-ins are under way"));
        }
        let provider = self.provider(&setting.issuer).await?;
        let (state, nonce, verifier) = (random_text(32)?, random_text(32)?, random_text(32)?);
        let challenge = pkce::challenge(&verifier);
        let verifier = Secret::from_text(verifier);
        let sealed = self.seal_bytes(SecretKind::CodeVerifier, &verifier).await?;
        let attempt = SignInAttempt {
            organisation: self.id(),
            id: SignInId(self.ids().next(now)),
            version: 0,
            state_hash: sha256_hex(state.as_bytes()),
            nonce_hash: sha256_hex(nonce.as_bytes()),
            browser_hash: sha256_hex(browser.as_bytes()),
            verifier: Der(sealed),
            issuer: setting.issuer.clone(),
            purpose,
            created: now,
            expires: now + PATIENCE,
            used: None,
            granted: None,
        };
        let mut batch = Batch::new();
        batch.put(attempt);
        self.store().commit(batch).await?;
        let mut scope = "openid".to_owned();
        for word in &setting.scopes {
            scope.push(' ');
            scope.push_str(word);
        }
        let to = provider.authorization(&Authorization {
            client_id: &setting.client_id,
            redirect_uri: &self.return_url(),
            scope: &scope,
            state: &state,
            nonce: &nonce,
            challenge: &challenge,
            login_hint: login_hint.filter(|h| h.len() <= 320 && !h.chars().any(is_obeyed)),
        });
        Ok(Departure { to })
    }

    /// The provider's document.
    async fn provider(&self, issuer: &str) -> Result<Provider, Error> {
        let address = document_of(issuer);
        let document = self.ports().people.document(&address, false).await?;
        Provider::parse(&document, issuer)
    }

    async fn keys_of(&self, provider: &Provider, fresh: bool) -> Result<JwkSet, Error> {
        let document = self
            .ports()
            .people
            .document(&provider.jwks_uri, fresh)
            .await?;
        JwkSet::parse(&document)
            .map_err(|error| Error::Precondition(format!("the provider: {error}")))
    }

    /// Redeems the code and reads who it is.
    async fn redeem(&self, attempt: &SignInAttempt, code: &Secret) -> Result<Person, Error> {
        let setting = self.sign_in()?;
        let provider = self.provider(&attempt.issuer).await?;
        let kind = SecretKind::CodeVerifier;
        let verifier = self.open_bytes(kind, &attempt.verifier.0).await?;
        let secret = self.open_secret(setting.secret).await?;
        let text = |secret: &Secret| secret.expose_text().map(str::to_owned).unwrap_or_default();
        let redirect = self.return_url();
        let (code, verifier, secret) = (text(code), text(&verifier), text(&secret));
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", redirect.as_str()),
            ("code_verifier", verifier.as_str()),
        ];
        let mut authorization = None;
        if provider.secret_in_form {
            pairs.push(("client_id", &setting.client_id));
            pairs.push(("client_secret", &secret));
        } else {
            // Each half form-encoded: RFC 6749, section 2.3.1.
            use base64::Engine as _;
            let both = format!("{}:{}", escape(&setting.client_id), escape(&secret));
            let both = base64::engine::general_purpose::STANDARD.encode(both);
            authorization = Some(Secret::from_text(format!("Basic {both}")));
        }
        let redemption = Redemption {
            url: provider.token_endpoint.clone(),
            form: Secret::from_text(form(pairs)),
            authorization,
        };
        let answer = self.ports().people.redeem(&redemption).await?;
        let answer: Value = serde_json::from_slice(answer.expose()).map_err(|_| {
            Error::Precondition("the provider's answer to a code must be JSON".to_owned())
        })?;
        let token = answer["id_token"].as_str().ok_or_else(|| {
            Error::Precondition("the provider's answer to a code has no identity token".to_owned())
        })?;
        let expected = Expected {
            issuer: &setting.issuer,
            client_id: &setting.client_id,
            nonce_hash: &attempt.nonce_hash,
            access_token: answer["access_token"].as_str(),
            groups_claim: &setting.groups_claim,
            account_claim: &setting.account_claim,
        };
        let now = self.now();
        let mut read_with = read(
            token,
            &self.keys_of(&provider, false).await?,
            &expected,
            now,
        );
        if let Err(TokenError::Signature(JoseError::UnknownKey)) = read_with {
            // The provider has changed its keys since they were read.
            read_with = read(token, &self.keys_of(&provider, true).await?, &expected, now);
        }
        read_with.map_err(|error| Error::bad_input("sign-in", error.to_string()))
    }
}

impl Mdm {
    /// Takes the way back, once: whatever comes of it, the same answer of the provider is never taken again.
    ///
    /// # Errors
    /// [`Error::Refused`] for a state that is not ours, not this browser's, used or over; [`Error::BadInput`] for a token that
    /// is refused; the port's, the store's. Of a sign-in that was this browser's, with the way to the program that waits.
    pub async fn finish_sign_in(&self, back: &Return) -> Result<Arrival, TurnedAway> {
        let (org, attempt) = self.take_back(back).await?;
        let result = org.arrive(&attempt, back).await;
        // Into the bounded record of refusals: strangers can come back from a provider as often as they like.
        let person = org
            .note_refusal("sign-in", &back.address, None, result)
            .await;
        match person {
            Ok(person) => Ok(Arrival {
                org,
                attempt,
                person,
            }),
            Err(error) => Err(attempt.turned_away(error)),
        }
    }

    /// The sign-in that a browser comes back from, used up.
    async fn take_back(&self, back: &Return) -> Result<(Org, SignInAttempt), Error> {
        const UNKNOWN: Error = Error::Refused("this sign-in is unknown, used or over; begin again");
        let now = self.now();
        let state = sha256_hex(back.state.as_bytes());
        let mut attempt = self
            .store()
            .sign_in_by_state(&state)
            .await?
            .filter(|a| a.used.is_none() && now < a.expires)
            .ok_or(UNKNOWN)?;
        let browser = back.browser.as_deref().unwrap_or_default();
        // Somebody else's browser does not even use it up.
        if !same(sha256_hex(browser.as_bytes()), &attempt.browser_hash) {
            return Err(UNKNOWN);
        }
        let org = self.organisation_by_id(attempt.organisation).await?;
        attempt.used = Some(now);
        let mut batch = Batch::new();
        batch.put(attempt.clone());
        match org.store().commit(batch).await {
            Err(crate::store::StoreError::Conflict) => return Err(UNKNOWN),
            other => other?,
        }
        attempt.version += 1;
        if !matches!(attempt.purpose, Purpose::WebView { .. }) {
            self.inner.begun.ended(org.id(), &back.address);
        }
        Ok((org, attempt))
    }
}

impl Org {
    async fn arrive(&self, attempt: &SignInAttempt, back: &Return) -> Result<Person, Error> {
        let setting = self.sign_in()?;
        if setting.issuer != attempt.issuer {
            return Err(Error::Refused(
                "the provider was changed meanwhile; begin again",
            ));
        }
        let provider = self.provider(&attempt.issuer).await?;
        match &back.issuer {
            Some(issuer) if *issuer != provider.issuer => {
                return Err(Error::Refused("another provider answered"));
            }
            None if provider.names_itself => {
                return Err(Error::Refused(
                    "the answer does not say which provider it is of",
                ));
            }
            _ => {}
        }
        if back.error.is_some() {
            return Err(Error::Refused("the provider let nobody in"));
        }
        let code = back
            .code
            .as_ref()
            .ok_or(Error::Refused("the answer has no code"))?;
        self.redeem(attempt, code).await
    }
}

/// When a session of this kind that begins now ends.
pub(super) fn ends(setting: &SignIn, device: bool, now: Timestamp) -> Timestamp {
    let seconds = match device {
        false => u64::from(setting.session_hours) * 3_600,
        true => u64::from(setting.device_days) * 86_400,
    };
    now + Duration::from_secs(seconds)
}
