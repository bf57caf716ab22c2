//! Apps and Books: the licences of one location. Whoever is to write here claims the location first, and this client
//! stops writing when another service claims it. Every call goes through one private function; nothing is repeated.
//!
//! Apple: <https://developer.apple.com/documentation/devicemanagement/app-book-and-subscription-management>

mod assets;
mod config;
mod content_token;
mod events;
mod notifications;
mod refusal;
mod users;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answer;
use crate::clock::Clock;
use crate::error::{Endpoint, Error, ErrorKind};
use crate::gate::Gate;
use crate::line::{Line, class_of};
use crate::moment::Moment;
use crate::oauth1::percent_encode;
use crate::secret::{SecretBytes, SecretText};
use crate::transport::{Method, Request, Response, Transport};

pub use self::assets::{
    Asset, AssetQuery, AssetRef, Assignment, AssignmentQuery, Batch, Listing, ProductType, Targets,
    UNLIMITED, batches,
};
pub use self::config::{ClientConfig, ClientConfigChange, Limits, MdmInfo, ServiceConfig};
pub use self::content_token::ContentToken;
pub use self::events::{
    EventFailure, EventState, EventStatus, EventType, FailureInfo, FollowUp, follow_up,
};
pub use self::notifications::{AssetCount, AssetManagement, Notification, NotificationType};
pub use self::refusal::meaning;
pub use self::users::{NewUser, VppUser};

/// Where the service is.
pub const BASE_URL: &str = "https://vpp.itunes.apple.com/mdm/v2";

const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

/// Apps and Books with one content token. Clones share what is known of the location and its limits.
///
/// ```no_run
/// # async fn example(file: &[u8]) -> Result<(), abm_client::Error> {
/// # #[cfg(feature = "hyper-transport")] {
/// use abm_client::apps::{AppsClient, AssetRef, ContentToken, MdmInfo, Targets};
/// use abm_client::{HyperTransport, SystemClock};
///
/// let us = MdmInfo::new("0b5f", "our-server", "{}");
/// let transport = HyperTransport::builder().build()?;
/// let apple = AppsClient::new(transport, ContentToken::read(file)?, "our-server/1.0", SystemClock).as_service(us);
/// apple.claim(false).await?;
/// let event = apple.associate(&[AssetRef::new("361309726")], &Targets::serials(["C02X"])).await?;
/// println!("{:?}", apple.event(&event).await?.status);
/// # }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AppsClient {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    line: Line,
    token: ContentToken,
    base_url: String,
    user_agent: String,
    us: Option<MdmInfo>,
    known: Arc<Mutex<Known>>,
}

/// What the answers have told so far.
#[derive(Default)]
struct Known {
    limits: Limits,
    owner: Owner,
    token_expiration: Option<Moment>,
    library: Option<String>,
}

/// Who has claimed the location, by the last answer that said so.
#[derive(Default, Clone, PartialEq)]
enum Owner {
    #[default]
    Unknown,
    Nobody,
    Claimed(MdmInfo),
}

/// What many answers carry beside their own content.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default, deserialize_with = "apart")]
    error_number: Option<i64>,
    #[serde(default, deserialize_with = "apart")]
    mdm_info: Option<Claimant>,
    #[serde(default, deserialize_with = "apart")]
    u_id: Option<String>,
    #[serde(default, deserialize_with = "apart")]
    token_expiration_date: Option<Moment>,
}

/// Who has claimed the location: its identifier counts, whatever the rest of it looks like.
#[derive(Deserialize)]
struct Claimant {
    #[serde(default, deserialize_with = "apart")]
    id: Option<String>,
    #[serde(default, deserialize_with = "apart")]
    name: Option<String>,
    #[serde(default, deserialize_with = "apart")]
    metadata: Option<String>,
}

/// A part that cannot be read hides no other.
fn apart<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

impl AppsClient {
    /// A client for one location. It reads only, until [`as_service`](Self::as_service) says who writes.
    pub fn new(
        transport: impl Transport + 'static,
        token: ContentToken,
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

    /// The same at another address, which includes the path before `/assets`.
    pub fn at(
        base_url: &str,
        transport: Arc<dyn Transport>,
        token: ContentToken,
        user_agent: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                line: Line::new(transport, clock),
                token,
                base_url: base_url.trim_end_matches('/').to_owned(),
                user_agent: user_agent.to_owned(),
                us: None,
                known: Arc::default(),
            }),
        }
    }

    /// The same client as this management service. Writing needs it, and the location [claimed](Self::claim) by it.
    #[must_use]
    pub fn as_service(self, us: MdmInfo) -> Self {
        Self {
            inner: Arc::new(Inner {
                us: Some(us),
                ..Inner::clone(&self.inner)
            }),
        }
    }

    /// The same client behind a gate. [`Budget::apps`](crate::Budget::apps) with
    /// [`max_request_per_second`](Limits::max_request_per_second) is for all requests of one location.
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
    pub fn token(&self) -> &ContentToken {
        &self.inner.token
    }

    /// The limits of requests: those of the last [`service_config`](Self::service_config), else those of 2026.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.known().limits.clone()
    }

    /// The other service that claims this location, if the last answer that spoke of it named one.
    #[must_use]
    pub fn taken_over_by(&self) -> Option<MdmInfo> {
        match &self.known().owner {
            Owner::Claimed(owner) if self.inner.us.as_ref().is_some_and(|us| us.id != owner.id) => {
                Some(owner.clone())
            }
            _ => None,
        }
    }

    /// When the token ends, if an answer has said so; the service does when 15 days or less are left.
    #[must_use]
    pub fn token_expiration(&self) -> Option<Moment> {
        self.known().token_expiration.clone()
    }

    /// The identifier of the library, if an answer has given it. Two tokens with one library see the same licences.
    #[must_use]
    pub fn library(&self) -> Option<String> {
        self.known().library.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each part is replaced whole: a panic cannot leave half of one.
        self.inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.inner.line.now_ms()
    }

    /// Refuses to write for a location that is not ours.
    async fn must_be_ours(&self, endpoint: Endpoint) -> Result<(), Error> {
        let Some(us) = &self.inner.us else {
            return Err(Error::invalid(
                endpoint,
                "mdmInfo",
                "a service must be named before anything is changed",
            ));
        };
        if self.known().owner == Owner::Unknown {
            self.client_config().await?;
        }
        match self.known().owner.clone() {
            Owner::Claimed(owner) if owner.id == us.id => Ok(()),
            Owner::Claimed(owner) => Err(taken_over(endpoint, &owner)),
            _ => Err(Error::invalid(
                endpoint,
                "mdmInfo",
                "the location must be claimed first",
            )),
        }
    }

    /// A request with a query; names and values are not yet encoded.
    async fn get<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        let mut path = path.to_owned();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query.join("&"));
        }
        let response = self.call(endpoint, Method::Get, &path, None).await?;
        answer::json(endpoint, response.body.expose())
    }

    /// A request that changes something.
    async fn post<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|_| Error::invalid(endpoint, "body", "it cannot be written as JSON"))?
            .into();
        let response = self.call(endpoint, Method::Post, path, Some(body)).await?;
        answer::json(endpoint, response.body.expose())
    }

    async fn call(
        &self,
        endpoint: Endpoint,
        method: Method,
        path: &str,
        body: Option<SecretBytes>,
    ) -> Result<Response, Error> {
        let response = {
            let line = &self.inner.line;
            let _permit = line.enter(endpoint, class_of(endpoint)).await?;
            let mut headers: Vec<(&'static str, SecretText)> = vec![
                (
                    "authorization",
                    format!("Bearer {}", self.inner.token.bearer().expose()).into(),
                ),
                ("user-agent", self.inner.user_agent.as_str().into()),
                ("accept", "application/json".into()),
            ];
            if body.is_some() {
                headers.push(("content-type", "application/json".into()));
            }
            let url = format!("{}{path}", self.inner.base_url);
            let request = Request {
                method,
                url,
                headers,
                body,
                answer_limit: ANSWER_LIMIT,
            };
            line.pass(endpoint, request).await?
        };
        let envelope: Option<Envelope> = serde_json::from_slice(response.body.expose()).ok();
        let number = envelope
            .as_ref()
            .and_then(|envelope| envelope.error_number)
            .filter(|number| *number != 0);
        if let Some(envelope) = envelope {
            self.observe(envelope);
        }
        // An error number decides even when the status says that all is well.
        if response.is_success() && number.is_none() {
            return Ok(response);
        }
        let bearer = self.inner.token.bearer();
        let error = refusal::read(endpoint, &response, self.now_ms()).without(&[bearer.expose()]);
        // An error number asks for it too, whatever the status.
        if let (ErrorKind::Throttled, Some(wait)) = (error.kind(), error.retry_after())
            && response.status != 429
        {
            self.inner.line.pause(wait).await;
        }
        Err(error)
    }

    fn observe(&self, envelope: Envelope) {
        let mut known = self.known();
        if let Some(owner) = envelope.mdm_info
            && let Some(id) = owner.id.filter(|id| !id.is_empty())
        {
            known.owner = Owner::Claimed(MdmInfo {
                id,
                name: owner.name.unwrap_or_default(),
                metadata: owner.metadata.unwrap_or_default(),
            });
        }
        known.token_expiration = envelope
            .token_expiration_date
            .or(known.token_expiration.take());
        known.library = envelope.u_id.or(known.library.take());
    }
}

fn taken_over(endpoint: Endpoint, owner: &MdmInfo) -> Error {
    let kind = ErrorKind::TakenOver {
        id: answer::shown(&owner.id),
        name: answer::shown(&owner.name),
    };
    Error::new(endpoint, kind)
}

impl fmt::Debug for AppsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppsClient")
            .field("base_url", &self.inner.base_url)
            .field("token", &self.inner.token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_part_of_an_answer_hides_no_other() {
        let answer = r#"{"errorNumber": 9622, "tokenExpirationDate": 17, "uId": ["?"],
            "mdmInfo": {"id": "other", "name": null, "metadata": 5}}"#;
        let envelope: Envelope = serde_json::from_str(answer).unwrap();
        assert_eq!(envelope.error_number, Some(9622));
        assert_eq!(envelope.mdm_info.unwrap().id.as_deref(), Some("other"));
        assert!(envelope.u_id.is_none() && envelope.token_expiration_date.is_none());
    }
}
