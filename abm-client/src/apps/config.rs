//! What the service tells of itself, and what it knows of the management service that has claimed the location.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::notifications::NotificationType;
use super::{AppsClient, Owner, taken_over};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;
use crate::secret::SecretText;

const SERVICE: Endpoint = Endpoint::read(Service::Apps, "GET /service/config");
const CLIENT: Endpoint = Endpoint::read(Service::Apps, "GET /client/config");
const CHANGE: Endpoint = Endpoint::write(Service::Apps, "POST /client/config");

/// How much goes into one request. The defaults are the values of 2026; the service may change them at any time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Limits {
    /// Assets in a request to associate or disassociate.
    pub max_assets: usize,
    /// Serial numbers in such a request.
    pub max_serial_numbers: usize,
    /// Users in such a request.
    pub max_client_user_ids: usize,
    /// Users in a request to create, update or retire.
    pub max_users: usize,
    /// Serial numbers in a request to revoke.
    pub max_revoke_serial_numbers: usize,
    /// Users in a request to revoke.
    pub max_revoke_client_user_ids: usize,
    /// Characters of the notification address or token.
    pub max_notification_length: usize,
    /// Characters of the service's identifier.
    pub max_mdm_id_length: usize,
    /// Characters of its name.
    pub max_mdm_name_length: usize,
    /// Characters of its metadata.
    pub max_mdm_metadata_length: usize,
    /// Requests a second of one location, of every kind together.
    pub max_request_per_second: u32,
    /// Limits that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_assets: 25,
            max_serial_numbers: 1000,
            max_client_user_ids: 1000,
            max_users: 100,
            max_revoke_serial_numbers: 100,
            max_revoke_client_user_ids: 100,
            max_notification_length: 512,
            max_mdm_id_length: 100,
            max_mdm_name_length: 100,
            max_mdm_metadata_length: 255,
            max_request_per_second: 15,
            extra: Map::new(),
        }
    }
}

/// What the service tells of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceConfig {
    /// How much goes into one request.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub limits: Limits,
    /// Its addresses by name. This client keeps to the address that it was given.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub urls: BTreeMap<String, Value>,
    /// Every error number with its meaning.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub error_codes: Vec<Value>,
    /// The kinds of notifications that it sends.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub notification_types: Vec<Value>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A management service, as it names itself to a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct MdmInfo {
    /// Its identifier: by this one it is told from others.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Anything; must not be empty.
    pub metadata: String,
}

impl MdmInfo {
    /// All three are needed.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        metadata: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            metadata: metadata.into(),
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), Error> {
        for (field, value, most) in [
            ("mdmInfo.id", &self.id, limits.max_mdm_id_length),
            ("mdmInfo.name", &self.name, limits.max_mdm_name_length),
            (
                "mdmInfo.metadata",
                &self.metadata,
                limits.max_mdm_metadata_length,
            ),
        ] {
            if value.is_empty() || value.chars().count() > most {
                return Err(Error::invalid(
                    CHANGE,
                    field,
                    format!("1 to {most} characters are needed"),
                ));
            }
        }
        Ok(())
    }
}

/// What a location knows of the service that has claimed it.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientConfig {
    /// Who has claimed it; absent when nobody has.
    pub mdm_info: Option<MdmInfo>,
    /// Where notifications go.
    pub notification_url: Option<String>,
    /// What notifications are authorised with; the service gives it back in clear.
    pub notification_auth_token: Option<SecretText>,
    /// Which notifications are sent.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub subscribed_notification_types: Vec<NotificationType>,
    /// Country of the store.
    #[serde(rename = "countryISO2ACode")]
    pub country: Option<String>,
    /// The store, for looking up metadata.
    pub default_platform: Option<String>,
    /// The store on the web.
    #[serde(rename = "websiteURL")]
    pub website_url: Option<String>,
    /// Name of the location.
    pub location_name: Option<String>,
    /// Identifier of the library.
    pub u_id: Option<String>,
    /// When the token ends.
    pub token_expiration_date: Option<Moment>,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("mdm_info", &self.mdm_info)
            .field("location_name", &self.location_name)
            .field("u_id", &self.u_id)
            .finish_non_exhaustive()
    }
}

/// What to change; only what is set is sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfigChange {
    /// Who claims the location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mdm_info: Option<MdmInfo>,
    /// Where notifications go: `https://host/path`, reachable, without a query. Only together with the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_url: Option<String>,
    /// What they are authorised with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_auth_token: Option<SecretText>,
    /// Which ones are sent: the complete list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_types: Option<Vec<NotificationType>>,
}

impl ClientConfigChange {
    fn check(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(info) = &self.mdm_info {
            info.check(limits)?;
        }
        match (&self.notification_url, &self.notification_auth_token) {
            (None, None) => Ok(()),
            (Some(url), Some(token)) => {
                let long = url.len().max(token.expose().len()) > limits.max_notification_length;
                if long {
                    Err(Error::invalid(
                        CHANGE,
                        "notificationUrl",
                        "the address or its token is too long",
                    ))
                } else if !url.starts_with("https://") || url.contains(['?', '#']) {
                    Err(Error::invalid(
                        CHANGE,
                        "notificationUrl",
                        "not like https://host/path",
                    ))
                } else {
                    Ok(())
                }
            }
            _ => Err(Error::invalid(
                CHANGE,
                "notificationUrl",
                "address and token belong together",
            )),
        }
    }
}

impl AppsClient {
    /// What the service tells of itself; the client remembers the limits. Ask every few minutes.
    ///
    /// # Errors
    /// As every call of the service; changes nothing.
    pub async fn service_config(&self) -> Result<ServiceConfig, Error> {
        let config: ServiceConfig = self.get(SERVICE, "/service/config", &[]).await?;
        self.known().limits = config.limits.clone();
        Ok(config)
    }

    /// What the location knows of the service that has claimed it.
    ///
    /// # Errors
    /// As every call of the service; changes nothing.
    pub async fn client_config(&self) -> Result<ClientConfig, Error> {
        let config: ClientConfig = self.get(CLIENT, "/client/config", &[]).await?;
        self.known().owner = match &config.mdm_info {
            Some(info) if !info.id.is_empty() => Owner::Claimed(info.clone()),
            _ => Owner::Nobody,
        };
        Ok(config)
    }

    /// Claims the location for [this service](Self::as_service): the first act before writing. A location that another
    /// service has claimed is taken over only with `even_from_another`, which is a person's decision.
    ///
    /// # Errors
    /// [`TakenOver`](crate::ErrorKind::TakenOver) names the other service.
    pub async fn claim(&self, even_from_another: bool) -> Result<ClientConfig, Error> {
        let us = self.inner.us.clone();
        let us =
            us.ok_or_else(|| Error::invalid(CHANGE, "mdmInfo", "a service must be named first"))?;
        us.check(&self.limits())?;
        let config = self.client_config().await?;
        match &config.mdm_info {
            Some(owner) if *owner == us => return Ok(config),
            Some(owner) if !owner.id.is_empty() && owner.id != us.id && !even_from_another => {
                return Err(taken_over(CHANGE, owner));
            }
            _ => {}
        }
        let change = ClientConfigChange {
            mdm_info: Some(us),
            ..ClientConfigChange::default()
        };
        let claimed = self.change(&change).await?;
        // Read back what an answer leaves out: from here on we write.
        if claimed.mdm_info.is_none() {
            self.client_config().await
        } else {
            Ok(claimed)
        }
    }

    /// Changes where notifications go and which are sent.
    ///
    /// # Errors
    /// [`TakenOver`](crate::ErrorKind::TakenOver) when the location is not ours; else as every call.
    pub async fn change_client_config(
        &self,
        change: &ClientConfigChange,
    ) -> Result<ClientConfig, Error> {
        if change.mdm_info.is_some() {
            return Err(Error::invalid(
                CHANGE,
                "mdmInfo",
                "a location is claimed, not changed",
            ));
        }
        change.check(&self.limits())?;
        self.must_be_ours(CHANGE).await?;
        self.change(change).await
    }

    async fn change(&self, change: &ClientConfigChange) -> Result<ClientConfig, Error> {
        self.post(CHANGE, "/client/config", change).await
    }
}
