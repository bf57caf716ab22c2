//! The organisation's devices: their assignment, migration, coverage and Activation Lock. The state of a device here
//! is the proof that an activity took effect; the activity's own result is not.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json_api::{Linkage, Page, PageCursor, Resource};
use super::servers::MdmServer;
use super::{BusinessClient, segment};
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::moment::Moment;
use crate::oauth1::percent_encode;
use crate::open_enum::open_enum;

const LIST: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/orgDevices");
const ONE: Endpoint = Endpoint::read(Service::Organisation, "GET /v1/orgDevices/{id}");
const SERVER_ID: Endpoint = Endpoint::read(
    Service::Organisation,
    "GET /v1/orgDevices/{id}/relationships/assignedServer",
);
const SERVER: Endpoint = Endpoint::read(
    Service::Organisation,
    "GET /v1/orgDevices/{id}/assignedServer",
);
const COVERAGE: Endpoint = Endpoint::read(
    Service::Organisation,
    "GET /v1/orgDevices/{id}/appleCareCoverage",
);
const LOCK: Endpoint = Endpoint::read(
    Service::Organisation,
    "GET /v1/orgDevices/{id}/activationLockStatus",
);

open_enum! {
    /// The family of a device.
    pub enum ProductFamily {
        /// iPhone.
        IPhone = "iPhone",
        /// iPad.
        IPad = "iPad",
        /// Mac.
        Mac = "Mac",
        /// Apple TV.
        AppleTv = "AppleTV",
        /// Apple Watch.
        Watch = "Watch",
        /// Apple Vision.
        Vision = "Vision",
    }
}

open_enum! {
    /// Whether a device is assigned to a server entry.
    pub enum AssignmentStatus {
        /// To some entry.
        Assigned = "ASSIGNED",
        /// To none.
        Unassigned = "UNASSIGNED",
    }
}

open_enum! {
    /// How far a migration has come. An absent value means that none was asked for.
    pub enum MigrationStatus {
        /// Asked for, not begun.
        Requested = "REQUESTED",
        /// The device has begun; it cannot be cancelled any more.
        Started = "STARTED",
        /// The device has completed it.
        Success = "SUCCESS",
        /// The device could not complete it, or it was cancelled: compare with your own records.
        Failed = "FAILED",
    }
}

open_enum! {
    /// Where a device was bought.
    pub enum PurchaseSource {
        /// From Apple.
        Apple = "APPLE",
        /// From a reseller.
        Reseller = "RESELLER",
        /// Added by hand, with Apple Configurator.
        ManuallyAdded = "MANUALLY_ADDED",
    }
}

open_enum! {
    /// Who has locked a device.
    pub enum LockType {
        /// A management service.
        Mdm = "MDM",
        /// A person.
        User = "USER",
        /// Nobody.
        None = "NONE",
    }
}

open_enum! {
    /// An attribute to ask for. The migration ones work although Apple's list does not name them.
    pub enum DeviceField {
        /// The serial number.
        SerialNumber = "serialNumber",
        /// When it was added.
        AddedToOrgDateTime = "addedToOrgDateTime",
        /// The last change.
        UpdatedDateTime = "updatedDateTime",
        /// The model.
        DeviceModel = "deviceModel",
        /// The family.
        ProductFamily = "productFamily",
        /// The type.
        ProductType = "productType",
        /// The storage.
        DeviceCapacity = "deviceCapacity",
        /// Apple's part number.
        PartNumber = "partNumber",
        /// The order.
        OrderNumber = "orderNumber",
        /// The colour.
        Color = "color",
        /// Assigned or not.
        Status = "status",
        /// When it was ordered.
        OrderDateTime = "orderDateTime",
        /// IMEI numbers.
        Imei = "imei",
        /// MEID numbers.
        Meid = "meid",
        /// The eSIM.
        Eid = "eid",
        /// The seller.
        PurchaseSourceId = "purchaseSourceId",
        /// The kind of seller.
        PurchaseSourceType = "purchaseSourceType",
        /// Wi-Fi addresses.
        WifiMacAddress = "wifiMacAddress",
        /// Bluetooth addresses.
        BluetoothMacAddress = "bluetoothMacAddress",
        /// Ethernet addresses.
        EthernetMacAddress = "ethernetMacAddress",
        /// Whether a migration is possible.
        IsMdmMigrationCapable = "isMdmMigrationCapable",
        /// How far a migration has come.
        MdmMigrationStatus = "mdmMigrationStatus",
        /// Until when it must begin.
        MdmMigrationDeadlineDateTime = "mdmMigrationDeadlineDateTime",
    }
}

/// A device of the organisation.
///
/// Apple: <https://developer.apple.com/documentation/applebusinessapi/orgdevice>
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrgDevice {
    /// The serial number.
    pub serial_number: Option<String>,
    /// When it was added to the organisation.
    pub added_to_org_date_time: Option<Moment>,
    /// When it left; in the answer for one device only.
    pub released_from_org_date_time: Option<Moment>,
    /// Who released it.
    pub releaser_id: Option<String>,
    /// What kind of entity released it.
    pub releaser_entity_type: Option<String>,
    /// The last change.
    pub updated_date_time: Option<Moment>,
    /// The model.
    pub device_model: Option<String>,
    /// Like `iPhone17,1`.
    pub product_type: Option<String>,
    /// The storage.
    pub device_capacity: Option<String>,
    /// The colour.
    pub color: Option<String>,
    /// Apple's part number.
    pub part_number: Option<String>,
    /// The family.
    pub product_family: Option<ProductFamily>,
    /// Whether it is assigned to a server entry.
    pub status: Option<AssignmentStatus>,
    /// The order.
    pub order_number: Option<String>,
    /// When it was ordered.
    pub order_date_time: Option<Moment>,
    /// Where it was bought.
    pub purchase_source_type: Option<PurchaseSource>,
    /// Who sold it.
    #[serde(alias = "purchaseSourceUid")]
    pub purchase_source_id: Option<String>,
    /// IMEI numbers.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub imei: Vec<String>,
    /// MEID numbers.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub meid: Vec<String>,
    /// The eSIM.
    pub eid: Option<String>,
    /// Wi-Fi addresses.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub wifi_mac_address: Vec<String>,
    /// Bluetooth addresses.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub bluetooth_mac_address: Vec<String>,
    /// Ethernet addresses.
    #[serde(deserialize_with = "answer::one_or_many")]
    pub ethernet_mac_address: Vec<String>,
    /// Whether a migration is possible. False also for a while after an assignment: ask again before believing it.
    pub is_mdm_migration_capable: Option<bool>,
    /// How far a migration has come.
    pub mdm_migration_status: Option<MigrationStatus>,
    /// Until when it must begin.
    pub mdm_migration_deadline_date_time: Option<Moment>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One coverage of a device by AppleCare.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct AppleCareCoverage {
    /// `ACTIVE` or `INACTIVE`.
    pub status: Option<String>,
    /// `ABE_SUBSCRIPTION`, `PAID_UP_FRONT`, `SUBSCRIPTION` or `NONE`.
    pub payment_type: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// The agreement.
    pub agreement_number: Option<String>,
    /// From when on.
    pub start_date_time: Option<Moment>,
    /// Until when.
    pub end_date_time: Option<Moment>,
    /// Whether it renews itself.
    pub is_renewable: Option<bool>,
    /// Whether it was cancelled.
    pub is_canceled: Option<bool>,
    /// When the contract was cancelled.
    pub contract_cancel_date_time: Option<Moment>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Whether and by whom a device is locked: the one trustworthy reading of that state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ActivationLockState {
    /// Whether it is locked.
    pub is_locked: Option<bool>,
    /// By whom.
    pub lock_type: Option<LockType>,
    /// Attributes that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn fields(fields: &[DeviceField]) -> Vec<(&'static str, String)> {
    if fields.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = fields.iter().map(DeviceField::as_str).collect();
    vec![("fields[orgDevices]", names.join(","))]
}

impl BusinessClient {
    /// One page of the organisation's devices. Without fields the service gives what it gives; store the page's `next`
    /// to go on later.
    ///
    /// # Errors
    /// [`is_cursor_expired`](Error::is_cursor_expired): begin again without a cursor.
    pub async fn devices(
        &self,
        wanted: &[DeviceField],
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<OrgDevice>>, Error> {
        self.list(LIST, "/v1/orgDevices", &fields(wanted), cursor)
            .await
    }

    /// One device by its serial number.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when it is not the organisation's.
    pub async fn device(
        &self,
        serial: &str,
        wanted: &[DeviceField],
    ) -> Result<Resource<OrgDevice>, Error> {
        let mut path = format!("/v1/orgDevices/{}", segment(ONE, serial)?);
        for (name, value) in fields(wanted) {
            path.push_str(&format!(
                "?{}={}",
                percent_encode(name),
                percent_encode(&value)
            ));
        }
        self.one(ONE, &path).await
    }

    /// The identifier of the server entry to which a device is assigned, or `None`. To map a fleet list
    /// [each server's devices](Self::server_devices) instead.
    ///
    /// # Errors
    /// As every call of the service. An unknown device and an unassigned one cannot always be told apart.
    pub async fn assigned_server_id(&self, serial: &str) -> Result<Option<String>, Error> {
        let path = format!(
            "/v1/orgDevices/{}/relationships/assignedServer",
            segment(SERVER_ID, serial)?
        );
        match self.one::<Option<Linkage>>(SERVER_ID, &path).await {
            Ok(linkage) => Ok(linkage.map(|server| server.id).filter(|id| !id.is_empty())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The server entry to which a device is assigned, or `None`.
    ///
    /// # Errors
    /// As [`assigned_server_id`](Self::assigned_server_id).
    pub async fn assigned_server(
        &self,
        serial: &str,
    ) -> Result<Option<Resource<MdmServer>>, Error> {
        let path = format!("/v1/orgDevices/{}/assignedServer", segment(SERVER, serial)?);
        match self.one::<Option<Resource<MdmServer>>>(SERVER, &path).await {
            Err(error) if error.is_not_found() => Ok(None),
            other => other,
        }
    }

    /// The AppleCare coverages of a device.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there are none to tell.
    pub async fn apple_care_coverage(
        &self,
        serial: &str,
        cursor: Option<&PageCursor>,
    ) -> Result<Page<Resource<AppleCareCoverage>>, Error> {
        let path = format!(
            "/v1/orgDevices/{}/appleCareCoverage",
            segment(COVERAGE, serial)?
        );
        self.list(COVERAGE, &path, &[], cursor).await
    }

    /// Whether and by whom a device is locked.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the organisation does not manage it. A
    /// [5xx](crate::ErrorKind::Unavailable) may stand for a state that has no public value.
    pub async fn activation_lock(&self, serial: &str) -> Result<ActivationLockState, Error> {
        let path = format!(
            "/v1/orgDevices/{}/activationLockStatus",
            segment(LOCK, serial)?
        );
        self.one::<Resource<ActivationLockState>>(LOCK, &path)
            .await
            .map(|lock| lock.attributes)
    }
}
