//! `GET /account`: which server entry and organisation a token belongs to, and the page limits.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AssignmentClient, NO_BODY};
use crate::answer;
use crate::error::{Endpoint, Error, ErrorKind, Service};
use crate::open_enum::open_enum;
use crate::transport::Method;

const ACCOUNT: Endpoint = Endpoint::read(Service::DeviceAssignment, "GET /account");

open_enum! {
    /// The kind of organisation.
    pub enum OrganisationType {
        /// A school: its organisation API is at another host.
        Education = "edu",
        /// A business.
        Business = "org",
        /// A provider of television.
        TvProvider = "tvprovider",
    }
}

/// The answer of `/account`.
///
/// Apple: <https://developer.apple.com/documentation/devicemanagement/accountdetail>
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountDetail {
    /// Name of the server entry in the portal, unique in the organisation.
    pub server_name: String,
    /// Identifier of the server entry: 32 upper-case hexadecimal digits as far as seen.
    pub server_uuid: String,
    /// Who made the token in use. A lock that is set without an escrow key belongs to this person.
    #[serde(default)]
    pub admin_id: Option<String>,
    /// Deprecated twin of `admin_id`.
    #[serde(default)]
    pub facilitator_id: Option<String>,
    /// Name of the organisation.
    #[serde(default)]
    pub org_name: Option<String>,
    /// Its e-mail address.
    #[serde(default)]
    pub org_email: Option<String>,
    /// Its telephone number.
    #[serde(default)]
    pub org_phone: Option<String>,
    /// Its postal address.
    #[serde(default)]
    pub org_address: Option<String>,
    /// Identifier of the organisation. A change of it is an alarm.
    #[serde(default)]
    pub org_id: Option<String>,
    /// A hash of an identifier of the organisation.
    #[serde(default)]
    pub org_id_hash: Option<String>,
    /// School or business.
    #[serde(default)]
    pub org_type: Option<OrganisationType>,
    /// `v1` for the old deployment programmes, `v2` for today's portals.
    #[serde(default)]
    pub org_version: Option<String>,
    /// The calls that the service offers, with their limits.
    #[serde(default, deserialize_with = "answer::null_is_default")]
    pub urls: Vec<AccountUrl>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One call that the service offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountUrl {
    /// Its path.
    pub uri: String,
    /// Its methods.
    #[serde(default, deserialize_with = "answer::one_or_many")]
    pub http_method: Vec<String>,
    /// How many devices go into one request or answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<PageLimit>,
}

/// How many devices go into one request or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PageLimit {
    /// Without a `limit` in the request.
    #[serde(default)]
    pub default: Option<u32>,
    /// At most.
    #[serde(default)]
    pub maximum: Option<u32>,
}

impl AccountDetail {
    /// The largest page or request of a call, where the service says it.
    #[must_use]
    pub fn maximum(&self, uri: &str) -> Option<u32> {
        maximum(&self.urls, uri)
    }
}

pub(super) fn maximum(urls: &[AccountUrl], uri: &str) -> Option<u32> {
    urls.iter()
        .find(|url| url.uri == uri)?
        .limit?
        .maximum
        .filter(|most| *most > 0)
}

impl AssignmentClient {
    /// Asks which server entry and organisation this is. The client remembers the limits.
    ///
    /// # Errors
    /// As every call of the service; changes nothing.
    pub async fn account(&self) -> Result<AccountDetail, Error> {
        let response = self.call(ACCOUNT, Method::Get, "/account", NO_BODY).await?;
        let account: AccountDetail = answer::json(ACCOUNT, response.body.expose())?;
        *self.limits() = account.urls.clone();
        Ok(account)
    }

    /// Proves that this client's token works and belongs to `server_uuid`, the entry in use. Only then may it replace
    /// the token that was in use so far.
    ///
    /// # Errors
    /// [`OtherServer`](ErrorKind::OtherServer) when it belongs to another entry.
    pub async fn verify_renewal(&self, server_uuid: &str) -> Result<AccountDetail, Error> {
        let account = self.account().await?;
        if !account.server_uuid.eq_ignore_ascii_case(server_uuid) {
            let (expected, found) = (
                answer::shown(server_uuid),
                answer::shown(&account.server_uuid),
            );
            return Err(Error::new(
                ACCOUNT,
                ErrorKind::OtherServer { expected, found },
            ));
        }
        Ok(account)
    }

    /// The largest number of devices in one request or page of a call: what the service said in `/account`, else
    /// 1000. Never more than 5000.
    #[must_use]
    pub fn chunk_size(&self, uri: &str) -> usize {
        let most = maximum(&self.limits(), uri).unwrap_or(1000).min(5000);
        usize::try_from(most).unwrap_or(1000)
    }
}
