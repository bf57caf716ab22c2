//! The API of Apple Business and Apple School Manager: devices of the organisation with their migration, server
//! entries, activities, audit events, people and what Apple's built-in management knows. Every call goes through one
//! private function here, which owns the bearer token and asks the [`Gate`] first. Nothing is repeated except a
//! request whose token was refused, once; above all no `POST`.
//!
//! Apple: <https://developer.apple.com/documentation/apple-school-and-business-manager-api>

mod account;
mod activities;
mod audit;
mod catalogue;
mod deadline;
mod devices;
mod json_api;
mod people;
mod report;
mod servers;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer;
use crate::clock::Clock;
use crate::error::{Credential, Endpoint, Error, ErrorKind, Service};
use crate::gate::Gate;
use crate::limiter::RequestClass;
use crate::line::{Line, class_of};
use crate::oauth1::percent_encode;
use crate::secret::{SecretBytes, SecretText};
use crate::session::{Opened, Session, SessionPass};
use crate::transport::{Method, Request, Response, Transport};

pub use self::account::{AUDIENCE, ApiAccount, Portal};
pub use self::activities::{
    Activity, ActivityAttributes, ActivityStatus, ActivitySubStatus, ActivityType,
};
pub use self::audit::{AuditEvent, AuditEventType, AuditQuery};
pub use self::catalogue::{App, Blueprint, BuiltInDevice, Configuration, Package};
pub use self::deadline::{Deadline, Force};
pub use self::devices::{
    ActivationLockState, AppleCareCoverage, AssignmentStatus, DeviceField, LockType,
    MigrationStatus, OrgDevice, ProductFamily, PurchaseSource,
};
pub use self::json_api::{Page, PageCursor, Resource};
pub use self::people::{OrganizationalUnit, PhoneNumber, RoleInUnit, User, UserGroup};
pub use self::report::{ActivityReport, ReportRow};
pub use self::servers::{
    MdmServer, NewServer, ServerChange, ServerProductFamily, ServerStatus, ServerType,
};

/// Where bearer tokens are asked for.
pub const TOKEN_URL: &str = "https://account.apple.com/auth/oauth2/token";

const TOKEN: Endpoint = Endpoint::read(Service::Organisation, "POST /auth/oauth2/token");

/// A page of 1000 devices has some 1.5 MB.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// The largest page of a list.
const LARGEST_PAGE: u32 = 1000;

/// The organisation API with one API account. Clones share the bearer token and the gate.
///
/// ```no_run
/// # async fn example() -> Result<(), abm_client::Error> {
/// # #[cfg(feature = "hyper-transport")] {
/// use abm_client::business::{ApiAccount, BusinessClient};
/// use abm_client::{Budget, BudgetGate, HyperTransport, SystemClock};
///
/// let account = ApiAccount::new("BUSINESSAPI.…", "key id", &std::fs::read("key.pem").unwrap_or_default())?;
/// let apple = BusinessClient::new(HyperTransport::builder().build()?, account, "our-server/1.0", SystemClock)
///     .with_gate(BudgetGate::refusing(Budget::organisation_api(), SystemClock));
/// let mut next = None;
/// loop {
///     let page = apple.devices(&[], next.as_ref()).await?;
///     for device in &page.items {
///         println!("{} {:?}", device.id, device.attributes.mdm_migration_status);
///     }
///     // Store it: another process may go on from here.
///     next = page.next;
///     if next.is_none() {
///         break;
///     }
/// }
/// # }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BusinessClient {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    line: Line,
    account: ApiAccount,
    session: Arc<Session>,
    base_url: String,
    token_url: String,
    user_agent: String,
    activity_limit: usize,
    background: bool,
}

/// One request of this API.
struct Call<'a> {
    endpoint: Endpoint,
    method: Method,
    /// With its query.
    path: &'a str,
    /// Whether the path names a list rather than one thing.
    collection: bool,
}

impl BusinessClient {
    /// A client for one API account, whose portal decides the address. Put a [`BudgetGate`](crate::BudgetGate) before
    /// it with [`with_gate`](Self::with_gate): Apple's budget is small.
    pub fn new(
        transport: impl Transport + 'static,
        account: ApiAccount,
        user_agent: &str,
        clock: impl Clock + 'static,
    ) -> Self {
        let base_url = account.portal().base_url();
        Self::at(
            base_url,
            TOKEN_URL,
            Arc::new(transport),
            account,
            user_agent,
            Arc::new(clock),
        )
    }

    /// The same at other addresses.
    pub fn at(
        base_url: &str,
        token_url: &str,
        transport: Arc<dyn Transport>,
        account: ApiAccount,
        user_agent: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                line: Line::new(transport, clock),
                account,
                session: Arc::default(),
                base_url: base_url.trim_end_matches('/').to_owned(),
                token_url: token_url.to_owned(),
                user_agent: user_agent.to_owned(),
                activity_limit: 500,
                background: false,
            }),
        }
    }

    /// The same client behind a gate; it shares the bearer token with this one.
    #[must_use]
    pub fn with_gate(self, gate: impl Gate + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                line: self.inner.line.behind(gate),
                ..Inner::clone(&self.inner)
            }),
        }
    }

    /// The same client with another number of devices that go into one activity (default 500; Apple publishes none).
    #[must_use]
    pub fn with_activity_limit(self, devices: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                activity_limit: devices.max(1),
                ..Inner::clone(&self.inner)
            }),
        }
    }

    /// The same client for what nobody waits for, as a list of everything: its reads are
    /// [`Background`](RequestClass::Background) to the gate. It shares the bearer token and the gate with this one.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self {
            inner: Arc::new(Inner {
                background: true,
                ..Inner::clone(&self.inner)
            }),
        }
    }

    /// How many devices go into one activity.
    #[must_use]
    pub fn activity_limit(&self) -> usize {
        self.inner.activity_limit
    }

    /// Which portal this is.
    #[must_use]
    pub fn portal(&self) -> Portal {
        self.inner.account.portal()
    }

    /// Asks for a bearer token: proves that the account works, and changes nothing.
    ///
    /// # Errors
    /// [`CredentialRefused`](ErrorKind::CredentialRefused) when Apple does not accept the key.
    pub async fn open_session(&self) -> Result<(), Error> {
        self.bearer(None).await.map(|_| ())
    }

    fn now_ms(&self) -> i64 {
        self.inner.line.now_ms()
    }

    async fn bearer(&self, refused: Option<&SessionPass>) -> Result<SessionPass, Error> {
        self.inner
            .session
            .get(refused, self.now_ms(), || self.ask_for_token())
            .await
    }

    async fn ask_for_token(&self) -> Result<Opened, Error> {
        #[derive(serde::Deserialize)]
        struct Answer {
            access_token: SecretText,
            #[serde(default)]
            expires_in: Option<i64>,
        }
        let account = &self.inner.account;
        let now_ms = self.now_ms();
        let assertion = account.assertion(now_ms)?;
        // In the body rather than in the query: addresses end up in logs.
        let body = SecretBytes::new(format!(
            "grant_type=client_credentials&client_id={}&client_assertion_type={}&client_assertion={}&scope={}",
            percent_encode(account.client_id()),
            percent_encode("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            percent_encode(assertion.expose()),
            percent_encode(account.portal().scope()),
        ));
        let request = Request {
            method: Method::Post,
            url: self.inner.token_url.clone(),
            headers: vec![
                ("user-agent", self.inner.user_agent.as_str().into()),
                ("accept", "application/json".into()),
                ("content-type", "application/x-www-form-urlencoded".into()),
            ],
            body: Some(body),
            answer_limit: 64 * 1024,
        };
        // It has its turn like every other request; asking for a token in the middle of a pause would break the pause.
        let response = self.pass_gate(TOKEN, RequestClass::Read, request).await?;
        if !response.is_success() {
            return Err(self.token_refused(&response));
        }
        let answer: Answer = answer::json(TOKEN, response.body.expose())?;
        if answer.access_token.is_empty() {
            return Err(Error::malformed(TOKEN, "access_token", "empty"));
        }
        // At 80 % of its life, so that no request is on its way when it ends.
        let life_ms = answer.expires_in.unwrap_or(3600).clamp(1, 24 * 3600) * 1000;
        Ok(Opened {
            token: answer.access_token,
            renew_at_ms: Some(now_ms.saturating_add(life_ms / 5 * 4)),
        })
    }

    fn token_refused(&self, response: &Response) -> Error {
        #[derive(serde::Deserialize)]
        struct Answer {
            error: Option<String>,
        }
        let code = serde_json::from_slice::<Answer>(response.body.expose())
            .ok()
            .and_then(|answer| answer.error);
        let code = code
            .map(|code| answer::shown(&code))
            .filter(|code| !code.is_empty());
        let kind = match response.status {
            429 => ErrorKind::Throttled,
            status @ 500.. => ErrorKind::Unavailable { status },
            status if answer::says_nothing(status) => ErrorKind::Unavailable { status },
            _ => ErrorKind::CredentialRefused {
                credential: Credential::ApiKey,
                code,
            },
        };
        Error::new(TOKEN, kind)
            .waiting(answer::retry_after(response, self.now_ms()))
            .without(&[self.inner.account.client_id()])
    }

    /// Sends one request through the gate, with the bearer token; renews it and repeats once when it is refused.
    async fn call(
        &self,
        call: Call<'_>,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Response, Error> {
        let endpoint = call.endpoint;
        let body = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|_| Error::invalid(endpoint, "body", "it cannot be written as JSON"))?
            .map(SecretBytes::from);
        let mut pass = self.bearer(None).await?;
        let mut response = self.send(&call, body.clone(), &pass).await?;
        if response.status == 401 {
            pass = self.bearer(Some(&pass)).await?;
            response = self.send(&call, body, &pass).await?;
        }
        if response.is_success() {
            return Ok(response);
        }
        Err(
            json_api::refused(endpoint, &response, call.collection, self.now_ms())
                .without(&[pass.token.expose(), self.inner.account.client_id()]),
        )
    }

    async fn send(
        &self,
        call: &Call<'_>,
        body: Option<SecretBytes>,
        pass: &SessionPass,
    ) -> Result<Response, Error> {
        let class = match class_of(call.endpoint) {
            RequestClass::Read if self.inner.background => RequestClass::Background,
            class => class,
        };
        let mut headers: Vec<(&'static str, SecretText)> = vec![
            (
                "authorization",
                format!("Bearer {}", pass.token.expose()).into(),
            ),
            ("user-agent", self.inner.user_agent.as_str().into()),
            // Without it the service answers 406.
            ("accept", "application/json".into()),
        ];
        if body.is_some() {
            headers.push(("content-type", "application/json".into()));
        }
        let url = format!("{}{}", self.inner.base_url, call.path);
        let request = Request {
            method: call.method,
            url,
            headers,
            body,
            answer_limit: ANSWER_LIMIT,
        };
        self.pass_gate(call.endpoint, class, request).await
    }

    /// Sends a request when it is its turn.
    async fn pass_gate(
        &self,
        endpoint: Endpoint,
        class: RequestClass,
        request: Request,
    ) -> Result<Response, Error> {
        let line = &self.inner.line;
        let _permit = line.enter(endpoint, class).await?;
        line.pass(endpoint, request).await
    }

    /// One page of a list. `query` holds names and values, not yet encoded.
    async fn list<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        path: &str,
        query: &[(&str, String)],
        cursor: Option<&PageCursor>,
    ) -> Result<Page<T>, Error> {
        let mut parts: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        parts.push(format!("limit={LARGEST_PAGE}"));
        if let Some(cursor) = cursor {
            parts.push(format!("cursor={}", percent_encode(cursor.as_str())));
        }
        let path = format!("{path}?{}", parts.join("&"));
        // A list below one thing may be missing because the thing is.
        let collection = !endpoint.call().contains('{');
        let call = Call {
            endpoint,
            method: Method::Get,
            path: &path,
            collection,
        };
        let response = self.call(call, NO_BODY).await?;
        let page = json_api::page(endpoint, response.body.expose())?;
        if page.next.is_some() && page.next.as_ref() == cursor {
            let why = "it is the one that was asked with: the list does not go on";
            return Err(Error::malformed(endpoint, "meta.paging.nextCursor", why));
        }
        Ok(page)
    }

    /// One thing.
    async fn one<T: DeserializeOwned>(&self, endpoint: Endpoint, path: &str) -> Result<T, Error> {
        let call = Call {
            endpoint,
            method: Method::Get,
            path,
            collection: false,
        };
        let response = self.call(call, NO_BODY).await?;
        answer::json::<json_api::One<T>>(endpoint, response.body.expose()).map(|one| one.data)
    }
}

impl fmt::Debug for BusinessClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusinessClient")
            .field("base_url", &self.inner.base_url)
            .field("account", &self.inner.account)
            .finish_non_exhaustive()
    }
}

/// No body, for calls without one.
const NO_BODY: Option<&()> = None;

/// An identifier as one segment of a path; refused when it is empty or could name another path.
fn segment(endpoint: Endpoint, id: &str) -> Result<String, Error> {
    let id = id.trim();
    if id.is_empty() || id == "." || id == ".." {
        return Err(Error::invalid(endpoint, "id", "empty"));
    }
    Ok(percent_encode(id))
}
