//! Account-driven enrolment: the address to which Apple sends devices whose own domain does not answer. Public, and no
//! part of a migration.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ade_profile::is_https;
use super::{AssignmentClient, NO_BODY};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;
use crate::transport::Method;

const PATH: &str = "/account-driven-enrollment/profile";
const GET: Endpoint = Endpoint::read(
    Service::DeviceAssignment,
    "GET /account-driven-enrollment/profile",
);
const SET: Endpoint = Endpoint::write(
    Service::DeviceAssignment,
    "POST /account-driven-enrollment/profile",
);
const REMOVE: Endpoint = Endpoint::write(
    Service::DeviceAssignment,
    "DELETE /account-driven-enrollment/profile",
);

/// The address that the organisation has set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceDiscovery {
    /// The service-discovery document.
    pub mdm_service_discovery_url: String,
    /// When it was set.
    #[serde(default)]
    pub last_updated_timestamp: Option<Moment>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AssignmentClient {
    /// The address, or `None` when none is set.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) for organisations that cannot have one.
    pub async fn service_discovery(&self) -> Result<Option<ServiceDiscovery>, Error> {
        match self.call(GET, Method::Get, PATH, NO_BODY).await {
            Ok(response) => answer::json(GET, response.body.expose()).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the address. It changes how people enrol their own devices.
    ///
    /// # Errors
    /// [`is_invalid_input`](Error::is_invalid_input) when it is not https.
    pub async fn set_service_discovery(&self, url: &str) -> Result<(), Error> {
        if !is_https(url) {
            return Err(Error::invalid(
                SET,
                "mdm_service_discovery_url",
                "not an https address",
            ));
        }
        let body = serde_json::json!({ "mdm_service_discovery_url": url });
        self.call(SET, Method::Post, PATH, Some(&body))
            .await
            .map(|_| ())
    }

    /// Removes the address.
    ///
    /// # Errors
    /// As every call of the service.
    pub async fn remove_service_discovery(&self) -> Result<(), Error> {
        self.call(REMOVE, Method::Delete, PATH, NO_BODY)
            .await
            .map(|_| ())
    }
}
