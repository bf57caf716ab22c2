//! Removing an Activation Lock with its bypass code. The push certificate is the client certificate, so that the
//! transport given here must be one of its own, with that [identity](crate::ClientIdentity).
//!
//! Apple: <https://developer.apple.com/documentation/devicemanagement/creating-and-using-bypass-codes>

use std::fmt;
use std::sync::Arc;

use crate::answer;
use crate::bypass_code::BypassCode;
use crate::clock::{Clock, SharedClock};
use crate::error::{Endpoint, Error, ErrorKind, Refusal, Service};
use crate::oauth1::percent_encode;
use crate::secret::{SecretBytes, SecretText};
use crate::transport::{Method, Request, Response, Transport};

/// Where the service is.
pub const BASE_URL: &str = "https://deviceservices-external.apple.com";

const PATH: &str = "/deviceservicesworkers/escrowKeyUnlock";
const UNLOCK: Endpoint = Endpoint::write(
    Service::LockRemoval,
    "POST /deviceservicesworkers/escrowKeyUnlock",
);

/// Which device to unlock, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnlockRequest {
    /// The serial number.
    pub serial: String,
    /// Like `iPhone17,1`; not the marketing name.
    pub product_type: String,
    /// IMEI of the first slot; on cellular devices only.
    pub imei: Option<String>,
    /// IMEI of the second slot.
    pub imei2: Option<String>,
    /// MEID of the first slot.
    pub meid: Option<String>,
    /// The organisation, for Apple's records.
    pub organisation: String,
    /// A stable identifier of the person who asked, for Apple's records.
    pub person: String,
}

impl UnlockRequest {
    /// A request for a device without cellular connection.
    pub fn new(
        serial: impl Into<String>,
        product_type: impl Into<String>,
        organisation: impl Into<String>,
        person: impl Into<String>,
    ) -> Self {
        Self {
            serial: serial.into(),
            product_type: product_type.into(),
            imei: None,
            imei2: None,
            meid: None,
            organisation: organisation.into(),
            person: person.into(),
        }
    }

    fn query(&self) -> Result<String, Error> {
        let needed = [
            ("serial", &self.serial),
            ("productType", &self.product_type),
            ("orgName", &self.organisation),
            ("guid", &self.person),
        ];
        if let Some((name, _)) = needed.iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(Error::invalid(UNLOCK, *name, "empty"));
        }
        let mut query = format!(
            "serial={}&productType={}",
            percent_encode(&self.serial),
            percent_encode(&self.product_type)
        );
        for (name, value) in [
            ("imei", &self.imei),
            ("imei2", &self.imei2),
            ("meid", &self.meid),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                query.push_str(&format!("&{name}={}", percent_encode(value)));
            }
        }
        Ok(query)
    }
}

/// What became of one code.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unlock {
    /// The lock is gone.
    Unlocked,
    /// The service does not take this code for this device: try the other one. If it takes none and the status is
    /// 401 or 403, look at the push certificate.
    CodeRefused {
        /// The HTTP status; Apple publishes no list.
        status: u16,
        /// Apple's words, shortened, if they can be shown.
        words: Option<String>,
    },
}

/// Removes Activation Locks.
#[derive(Clone)]
pub struct LockRemovalClient {
    transport: Arc<dyn Transport>,
    clock: SharedClock,
    base_url: String,
    user_agent: String,
}

impl LockRemovalClient {
    /// A client whose transport shows the push certificate.
    pub fn new(
        transport: impl Transport + 'static,
        user_agent: &str,
        clock: impl Clock + 'static,
    ) -> Self {
        Self::at(BASE_URL, Arc::new(transport), user_agent, Arc::new(clock))
    }

    /// The same at another address.
    pub fn at(
        base_url: &str,
        transport: Arc<dyn Transport>,
        user_agent: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            transport,
            clock,
            base_url: base_url.trim_end_matches('/').to_owned(),
            user_agent: user_agent.to_owned(),
        }
    }

    /// Removes the lock with a code that the device or we have made, as text with dashes.
    ///
    /// # Errors
    /// [`is_unknown_outcome`](Error::is_unknown_outcome): read the state of the lock before another attempt.
    pub async fn unlock(
        &self,
        request: &UnlockRequest,
        bypass_code: &SecretText,
    ) -> Result<Unlock, Error> {
        if bypass_code.expose().trim().is_empty() {
            return Err(Error::invalid(UNLOCK, "escrowKey", "empty"));
        }
        let url = format!("{}{PATH}?{}", self.base_url, request.query()?);
        let body = format!(
            "orgName={}&guid={}&escrowKey={}",
            percent_encode(&request.organisation),
            percent_encode(&request.person),
            percent_encode(bypass_code.expose().trim())
        );
        let sent = Request {
            method: Method::Post,
            url,
            headers: vec![
                ("user-agent", self.user_agent.as_str().into()),
                ("content-type", "application/x-www-form-urlencoded".into()),
            ],
            body: Some(SecretBytes::new(body)),
            answer_limit: 64 * 1024,
        };
        let response = self
            .transport
            .send(sent)
            .await
            .map_err(|error| Error::transport(UNLOCK, error))?;
        self.read(&response, bypass_code)
    }

    /// The same with a code of ours.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock).
    pub async fn unlock_with(
        &self,
        request: &UnlockRequest,
        code: &BypassCode,
    ) -> Result<Unlock, Error> {
        self.unlock(request, &code.code()).await
    }

    fn read(&self, response: &Response, bypass_code: &SecretText) -> Result<Unlock, Error> {
        let kind = match response.status {
            200..300 => return Ok(Unlock::Unlocked),
            429 => ErrorKind::Throttled,
            status @ 500.. => ErrorKind::Unavailable { status },
            status @ 400.. => {
                let body = response.body.expose();
                let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
                let words = answer::shown(&text);
                // An answer that repeats our code is not kept.
                let repeats = plain(&text).contains(&plain(bypass_code.expose()));
                let words = Some(words).filter(|words| !words.is_empty() && !repeats);
                return Ok(Unlock::CodeRefused { status, words });
            }
            status => ErrorKind::Refused {
                status,
                refusals: Vec::<Refusal>::new(),
            },
        };
        Err(Error::new(UNLOCK, kind).waiting(answer::retry_after(response, self.clock.now_ms())))
    }
}

/// Letters and digits only, for comparing however a text is written.
fn plain(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

impl fmt::Debug for LockRemovalClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRemovalClient")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}
