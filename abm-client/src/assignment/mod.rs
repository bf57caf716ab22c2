//! Apple's device-assignment service: which devices are ours, with which profile they enrol, their Activation Lock.
//! Every call goes through one private function here, which owns the session and asks the [`Gate`] first. Nothing is repeated
//! except a request whose session was refused, once; patience is the caller's, who is told how much by the [`Error`].
//!
//! Apple: <https://developer.apple.com/documentation/devicemanagement/device-assignment>

mod account;
mod activation_lock;
mod ade_profile;
mod beta;
mod devices;
mod discovery;
mod profiles;
mod record;
mod refusal;
mod skip_keys;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::clock::Clock;
use crate::error::{Endpoint, Error, ErrorKind, Service};
use crate::gate::Gate;
use crate::line::{Line, class_of};
use crate::oauth1::SignedRequest;
use crate::secret::{SecretBytes, SecretText};
use crate::server_token::ServerToken;
use crate::session::{HEADER, Opened, Session, SessionPass};
use crate::transport::{Method, Request, Response, Transport};
use crate::{answer, random_hex};

pub use self::account::{AccountDetail, AccountUrl, OrganisationType, PageLimit};
pub use self::activation_lock::{
    ActivationLockRequest, ActivationLockResult, ActivationLockStatus,
};
pub use self::ade_profile::AdeProfile;
pub use self::beta::BetaToken;
pub use self::devices::{DevicePage, PageSize, ReplacementDetails, SyncCursor, latest_per_serial};
pub use self::discovery::ServiceDiscovery;
pub use self::profiles::{AssignReport, AssignmentOutcome, DefinedProfile};
pub use self::record::{
    DeviceFamily, DeviceRecord, OpType, OperatingSystem, ProfileStatus, ResponseStatus,
};
pub use self::skip_keys::SkipKey;

/// Where the service is.
pub const BASE_URL: &str = "https://mdmenrollment.apple.com";

/// The version of the protocol that this library speaks; it decides which fields the service shows.
pub const PROTOCOL_VERSION: u32 = 10;

/// A page of 1000 devices has some 700 KB; 5000 have been seen as a limit.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

const JSON: &str = "application/json;charset=UTF8";

const SESSION: Endpoint = Endpoint::read(Service::DeviceAssignment, "GET /session");

/// The device-assignment service with one server token. Clones share the session, the page limits and the gate.
///
/// ```no_run
/// # async fn example(token: abm_client::ServerToken) -> Result<(), abm_client::Error> {
/// # #[cfg(feature = "hyper-transport")] {
/// use abm_client::assignment::AssignmentClient;
/// use abm_client::{HyperTransport, SystemClock};
///
/// let apple = AssignmentClient::new(HyperTransport::builder().build()?, token, "our-server/1.0", SystemClock);
/// println!("{}", apple.account().await?.server_name);
/// let mut page = apple.fetch_devices(None).await?;
/// loop {
///     for device in &page.devices {
///         println!("{}", device.serial_number);
///     }
///     if !page.more_to_follow {
///         break;
///     }
///     page = apple.fetch_devices(page.cursor.as_ref()).await?;
/// }
/// # }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AssignmentClient {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    line: Line,
    token: ServerToken,
    session: Arc<Session>,
    base_url: String,
    user_agent: String,
    /// Learnt from `/account`; the reference page's numbers until then.
    limits: Arc<Mutex<Vec<AccountUrl>>>,
}

impl AssignmentClient {
    /// A client for one server token. `user_agent` names the product, for example `our-server/1.0`; the service
    /// refuses requests without one.
    pub fn new(
        transport: impl Transport + 'static,
        token: ServerToken,
        user_agent: &str,
        clock: impl Clock + 'static,
    ) -> Self {
        Self::at(
            BASE_URL,
            Arc::new(transport),
            token,
            user_agent,
            Arc::new(clock),
        )
    }

    /// The same at another address: a simulated service, or a proxy that speaks for Apple.
    pub fn at(
        base_url: &str,
        transport: Arc<dyn Transport>,
        token: ServerToken,
        user_agent: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                line: Line::new(transport, clock),
                token,
                session: Arc::default(),
                base_url: base_url.trim_end_matches('/').to_owned(),
                user_agent: user_agent.to_owned(),
                limits: Arc::default(),
            }),
        }
    }

    /// The same client behind a gate; it shares the session with this one. Apple publishes no budget for this service, but
    /// asks for pauses: behind one gate they hold for every task that uses the token.
    #[must_use]
    pub fn with_gate(self, gate: impl Gate + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                line: self.inner.line.behind(gate),
                ..Inner::clone(&self.inner)
            }),
        }
    }

    /// The token in use.
    #[must_use]
    pub fn token(&self) -> &ServerToken {
        &self.inner.token
    }

    /// Asks for a session, unless one is open: proves that the token has worked, and changes nothing. Whether it still works
    /// says [`account`](Self::account).
    ///
    /// # Errors
    /// [`CredentialRefused`](ErrorKind::CredentialRefused) when the token is expired, replaced or unknown.
    pub async fn open_session(&self) -> Result<(), Error> {
        self.inner
            .session
            .get(None, 0, || self.login())
            .await
            .map(|_| ())
    }

    async fn login(&self) -> Result<Opened, Error> {
        #[derive(serde::Deserialize)]
        struct Answer {
            auth_session_token: SecretText,
        }
        let inner = &self.inner;
        let url = format!("{}/session", inner.base_url);
        let crypto = |_| Error::unreadable(SESSION, "server token", "OpenSSL refuses HMAC-SHA1");
        let nonce = random_hex(16).map_err(crypto)?;
        let authorization = SignedRequest {
            method: "GET",
            base_uri: &url,
            consumer_key: inner.token.consumer_key.expose(),
            consumer_secret: inner.token.consumer_secret.expose(),
            token: inner.token.access_token.expose(),
            token_secret: inner.token.access_secret.expose(),
            timestamp: inner.line.now_ms().div_euclid(1000),
            nonce: &nonce,
        }
        .authorization()
        .map_err(crypto)?;
        let mut request = self.request(Method::Get, url, None);
        request.headers.push(("authorization", authorization));
        let sent = {
            let _permit = inner.line.enter(SESSION, class_of(SESSION)).await?;
            inner.line.pass(SESSION, request).await?
        };
        if !sent.is_success() {
            return Err(self.refused(SESSION, &sent));
        }
        let answer: Answer = answer::json(SESSION, sent.body.expose())?;
        if answer.auth_session_token.is_empty() {
            return Err(Error::malformed(SESSION, "auth_session_token", "empty"));
        }
        Ok(Opened {
            token: answer.auth_session_token,
            renew_at_ms: None,
        })
    }

    /// Every call but `/session`: with the session, renewed and repeated once when it is refused.
    async fn call(
        &self,
        endpoint: Endpoint,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Response, Error> {
        let response = self.exchange(endpoint, method, path, body).await?;
        if response.is_success() {
            Ok(response)
        } else {
            Err(self.refused(endpoint, &response))
        }
    }

    /// Like [`call`](Self::call), and hands every other status to the caller.
    async fn exchange(
        &self,
        endpoint: Endpoint,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Response, Error> {
        let body = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|_| Error::invalid(endpoint, "body", "it cannot be written as JSON"))?
            .map(SecretBytes::from);
        let session = &self.inner.session;
        let pass = session.get(None, 0, || self.login()).await?;
        let (used, first) = self
            .send(endpoint, method, path, body.clone(), pass, None)
            .await?;
        if !refusal::is_session_refused(&first) {
            return Ok(first);
        }
        let pass = session.get(Some(&used), 0, || self.login()).await?;
        let (_, second) = self
            .send(endpoint, method, path, body, pass, Some(&used))
            .await?;
        if refusal::is_session_refused(&second) {
            return Err(Error::new(endpoint, ErrorKind::SessionRefused));
        }
        Ok(second)
    }

    /// Sends with a session: the newest one when its turn has come, for an answer that came meanwhile may have replaced
    /// `pass`. Answers which one it was, too.
    async fn send(
        &self,
        endpoint: Endpoint,
        method: Method,
        path: &str,
        body: Option<SecretBytes>,
        pass: SessionPass,
        refused: Option<&SessionPass>,
    ) -> Result<(SessionPass, Response), Error> {
        let line = &self.inner.line;
        let _permit = line.enter(endpoint, class_of(endpoint)).await?;
        let session = &self.inner.session;
        let pass = session.newest(pass, refused);
        let mut request = self.request(method, format!("{}{path}", self.inner.base_url), body);
        request.headers.push((HEADER, pass.token.clone()));
        let response = line.pass(endpoint, request).await?;
        // Before the next one is let in.
        session.observe(&pass, &response);
        Ok((pass, response))
    }

    fn request(&self, method: Method, url: String, body: Option<SecretBytes>) -> Request {
        let mut headers: Vec<(&'static str, SecretText)> = vec![
            ("user-agent", self.inner.user_agent.as_str().into()),
            ("accept", JSON.into()),
            (
                "x-server-protocol-version",
                PROTOCOL_VERSION.to_string().into(),
            ),
        ];
        if body.is_some() {
            headers.push(("content-type", JSON.into()));
        }
        Request {
            method,
            url,
            headers,
            body,
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// The error that an answer stands for; it repeats none of our credentials.
    fn refused(&self, endpoint: Endpoint, response: &Response) -> Error {
        let token = &self.inner.token;
        let session = self.inner.session.current().unwrap_or_default();
        refusal::read(endpoint, response, self.inner.line.now_ms()).without(&[
            token.consumer_key.expose(),
            token.consumer_secret.expose(),
            token.access_token.expose(),
            token.access_secret.expose(),
            session.expose(),
        ])
    }

    fn limits(&self) -> MutexGuard<'_, Vec<AccountUrl>> {
        // A list is replaced whole: a panic cannot leave half of one.
        self.inner
            .limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AssignmentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssignmentClient")
            .field("base_url", &self.inner.base_url)
            .field("token", &self.inner.token)
            .finish_non_exhaustive()
    }
}

/// No body, for calls without one.
const NO_BODY: Option<&()> = None;

/// Serial numbers without repetition, in the order given; refused when none are left or there are too many.
pub(crate) fn distinct(
    endpoint: Endpoint,
    serials: &[String],
    most: usize,
) -> Result<Vec<&str>, Error> {
    let mut seen = std::collections::HashSet::new();
    let distinct: Vec<&str> = serials
        .iter()
        .map(|s| s.trim())
        .filter(|s| !s.is_empty() && seen.insert(*s))
        .collect();
    if distinct.is_empty() {
        return Err(Error::invalid(
            endpoint,
            "devices",
            "at least one serial number is needed",
        ));
    }
    if distinct.len() > most {
        return Err(Error::invalid(
            endpoint,
            "devices",
            format!("at most {most} serial numbers at once"),
        ));
    }
    Ok(distinct)
}
