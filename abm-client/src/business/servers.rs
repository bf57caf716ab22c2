//! The server entries of the organisation. The server token cannot be had here: its download is a person's work.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json_api::{Linkage, One, Page, PageCursor, Resource};
use super::{BusinessClient, Call, segment};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;
use crate::open_enum::open_enum;
use crate::transport::Method;

const LIST: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/mdmServers");
const ONE: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/mdmServers/{id}");
const DEVICES: Endpoint = Endpoint::read(
    Service::Organisation,
    "GET /v1/mdmServers/{id}/relationships/devices",
);
const CREATE: Endpoint = Endpoint::write(Service::Organisation, "POST /v1/mdmServers");
const UPDATE: Endpoint = Endpoint::write(Service::Organisation, "PATCH /v1/mdmServers/{id}");

open_enum! {
    /// What kind of service an entry is.
    pub enum ServerType {
        /// A management service like ours.
        Mdm = "MDM",
        /// Apple Configurator.
        AppleConfigurator = "APPLE_CONFIGURATOR",
        /// Apple's built-in management; it takes no part in migrations.
        AppleMdm = "APPLE_MDM",
    }
}

open_enum! {
    /// Whether an entry is in use.
    pub enum ServerStatus {
        /// In use.
        Active = "ACTIVE",
        /// Not in use.
        Inactive = "INACTIVE",
        /// Deleted.
        Deleted = "DELETED",
    }
}

open_enum! {
    /// A family of devices that goes to an entry without being assigned.
    pub enum ServerProductFamily {
        /// Apple TV.
        AppleTv = "APPLE_TV",
        /// iPad.
        IPad = "IPAD",
        /// iPhone.
        IPhone = "IPHONE",
        /// iPod touch.
        IPod = "IPOD",
        /// Mac.
        Mac = "MAC",
        /// Apple Vision.
        Vision = "VISION",
        /// Apple Watch.
        Watch = "WATCH",
    }
}

/// A server entry.
///
/// Apple: <https://developer.apple.com/documentation/applebusinessapi/get-mdm-servers>
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct MdmServer {
    /// Its name in the portal.
    pub server_name: Option<String>,
    /// What kind of service it is.
    pub server_type: Option<ServerType>,
    /// Whether it is in use.
    pub status: Option<ServerStatus>,
    /// How many devices are assigned to it.
    pub device_count: Option<u64>,
    /// Whether it may release devices from the organisation.
    pub enable_mdm_disown_flag: Option<bool>,
    /// Families that go to it without being assigned.
    #[serde(deserialize_with = "answer::null_is_default")]
    pub default_product_families: Vec<ServerProductFamily>,
    /// When Apple saw it last.
    pub last_connected_date_time: Option<Moment>,
    /// From where.
    pub last_connected_ip: Option<String>,
    /// When it was made.
    pub created_date_time: Option<Moment>,
    /// The last change.
    pub updated_date_time: Option<Moment>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An entry to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewServer {
    /// Its name in the portal.
    pub name: String,
    /// Name of the certificate file.
    pub certificate_name: String,
    /// The certificate of the [key pair](crate::TokenKeyPair), PEM.
    pub certificate_pem: Vec<u8>,
    /// Whether it may release devices from the organisation.
    pub enable_disown: bool,
}

impl NewServer {
    /// An entry that may not release devices.
    pub fn new(name: impl Into<String>, certificate_pem: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            certificate_name: "certificate.pem".into(),
            certificate_pem: certificate_pem.into(),
            enable_disown: false,
        }
    }
}

/// What to change of an entry; only what is set is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerChange {
    /// A new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whether it may release devices from the organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_mdm_disown_flag: Option<bool>,
    /// Families that go to it without being assigned: the complete list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_product_families: Option<Vec<ServerProductFamily>>,
}

impl BusinessClient {
    /// One page of the server entries.
    ///
    /// # Errors
    /// As every call of the service; changes nothing.
    pub async fn servers(
        &self,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<MdmServer>>, Error> {
        self.list(LIST, "/v1/mdmServers", &[], cursor).await
    }

    /// One server entry.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn server(&self, id: &str) -> Result<Resource<MdmServer>, Error> {
        self.one(ONE, &format!("/v1/mdmServers/{}", segment(ONE, id)?))
            .await
    }

    /// One page of the serial numbers that are assigned to an entry.
    ///
    /// # Errors
    /// [`is_cursor_expired`](Error::is_cursor_expired): begin again without a cursor.
    pub async fn server_devices(
        &self,
        id: &str,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<String>, Error> {
        let path = format!(
            "/v1/mdmServers/{}/relationships/devices",
            segment(DEVICES, id)?
        );
        let page: Page<Linkage> = self.list(DEVICES, &path, &[], cursor).await?;
        let items = page.items.into_iter().map(|device| device.id).collect();
        Ok(Page {
            items,
            next: page.next,
            total: page.total,
        })
    }

    /// Makes a server entry. A person downloads its token in the portal afterwards.
    ///
    /// # Errors
    /// [`is_unknown_outcome`](Error::is_unknown_outcome): look it up by name before another attempt.
    pub async fn create_server(&self, server: &NewServer) -> Result<Resource<MdmServer>, Error> {
        if server.name.trim().is_empty() {
            return Err(Error::invalid(CREATE, "serverName", "empty"));
        }
        let body = serde_json::json!({ "data": {
            "type": "mdmServers",
            "attributes": {
                "serverName": server.name,
                "serverCertificate": {
                    "name": server.certificate_name,
                    "data": STANDARD.encode(&server.certificate_pem),
                },
                "enableMdmDisownFlag": server.enable_disown,
            },
        } });
        let call = Call {
            endpoint: CREATE,
            method: Method::Post,
            path: "/v1/mdmServers",
            collection: true,
        };
        let response = self.call(call, Some(&body)).await?;
        answer::json::<One<_>>(CREATE, response.body.expose()).map(|one| one.data)
    }

    /// Changes a server entry.
    ///
    /// # Errors
    /// [`is_unknown_outcome`](Error::is_unknown_outcome): read it before another attempt.
    pub async fn update_server(
        &self,
        id: &str,
        change: &ServerChange,
    ) -> Result<Resource<MdmServer>, Error> {
        if *change == ServerChange::default() {
            return Err(Error::invalid(UPDATE, "attributes", "nothing to change"));
        }
        let path = format!("/v1/mdmServers/{}", segment(UPDATE, id)?);
        let body = serde_json::json!({ "data": { "type": "mdmServers", "id": id.trim(), "attributes": change } });
        let call = Call {
            endpoint: UPDATE,
            method: Method::Patch,
            path: &path,
            collection: false,
        };
        let response = self.call(call, Some(&body)).await?;
        answer::json::<One<_>>(UPDATE, response.body.expose()).map(|one| one.data)
    }
}
