//! What Apple's built-in management knows: apps, packages, configurations, blueprints and its devices. Only read: a
//! source of truth when a move away from it is planned.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json_api::{Page, PageCursor, Resource};
use super::{BusinessClient, segment};
use crate::answer;
use crate::error::{Endpoint, Error, Service};

const APPS: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/apps");
const APP: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/apps/{id}");
const PACKAGES: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/packages");
const CONFIGURATIONS: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/configurations");
const CONFIGURATION: Endpoint =
    Endpoint::read(Service::Organisation, "GET /v1/configurations/{id}");
const BLUEPRINTS: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/blueprints");
const BUILT_IN: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/mdmDevices");

/// An app that the organisation has.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct App {
    /// Its name.
    pub name: Option<String>,
    /// Its bundle identifier.
    pub bundle_id: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The systems on which it runs.
    #[serde(rename = "supportedOS", deserialize_with = "answer::one_or_many")]
    pub supported_os: Vec<String>,
    /// Whether it was made for this organisation.
    pub is_custom_app: Option<bool>,
    /// Its page in the store.
    pub app_store_url: Option<String>,
    /// Its page on the web.
    pub website_url: Option<String>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Package {
    /// Its name.
    pub name: Option<String>,
    /// Where it is.
    pub url: Option<String>,
    /// Its hash.
    pub hash: Option<String>,
    /// Bundle identifiers in it.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub bundle_ids: Vec<String>,
    /// Its version.
    pub version: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A configuration. Its settings may hold passwords: `Debug` does not show them.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Configuration {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// The systems that it is for.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub configured_for_platforms: Vec<String>,
    /// The settings of a custom one: the configuration profile and its file name.
    pub custom_settings_values: Option<Value>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl std::fmt::Debug for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configuration")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A blueprint: what a set of devices or people gets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Blueprint {
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its state.
    pub status: Option<String>,
    /// Whether licences are lacking.
    pub app_license_deficient: Option<bool>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A device under Apple's built-in management, as far as it is told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct BuiltInDevice {
    /// The serial number.
    pub serial_number: Option<String>,
    /// Its name.
    pub device_name: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl BusinessClient {
    /// One page of the apps.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn apps(&self, cursor: Option<&PageCursor>) -> Result<Page<Resource<App>>, Error> {
        self.list(APPS, "/v1/apps", &[], cursor).await
    }

    /// One app.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn app(&self, id: &str) -> Result<Resource<App>, Error> {
        self.one(APP, &format!("/v1/apps/{}", segment(APP, id)?))
            .await
    }

    /// One page of the packages.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn packages(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<Package>>, Error> {
        self.list(PACKAGES, "/v1/packages", &[], cursor).await
    }

    /// One page of the configurations.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn configurations(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<Configuration>>, Error> {
        self.list(CONFIGURATIONS, "/v1/configurations", &[], cursor)
            .await
    }

    /// One configuration with its settings.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn configuration(&self, id: &str) -> Result<Resource<Configuration>, Error> {
        self.one(
            CONFIGURATION,
            &format!("/v1/configurations/{}", segment(CONFIGURATION, id)?),
        )
        .await
    }

    /// One page of the blueprints.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn blueprints(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<Blueprint>>, Error> {
        self.list(BLUEPRINTS, "/v1/blueprints", &[], cursor).await
    }

    /// One page of the devices under Apple's built-in management.
    ///
    /// # Errors
    /// [`feature_missing`](Error::feature_missing) where the organisation has no such list.
    pub async fn built_in_devices(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<BuiltInDevice>>, Error> {
        self.list(BUILT_IN, "/v1/mdmDevices", &[], cursor).await
    }
}
