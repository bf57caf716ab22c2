//! Setting Activation Lock through the assignment service. Keep the bypass code *before* asking, and never replace a
//! kept one because a repetition was refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AssignmentClient;
use crate::answer;
use crate::error::{Endpoint, Error, Service};
use crate::open_enum::open_enum;
use crate::transport::Method;

const LOCK: Endpoint = Endpoint::write(Service::DeviceAssignment, "POST /device/activationlock");

open_enum! {
    /// What became of the request. The service answers with HTTP 200 in every case.
    pub enum ActivationLockStatus {
        /// Locked.
        Success = "SUCCESS",
        /// Not assigned to us, or unknown.
        NotAccessible = "NOT_ACCESSIBLE",
        /// The device is not in the current programme.
        OrgNotSupported = "ORG_NOT_SUPPORTED",
        /// This type of device cannot be locked.
        DeviceNotSupported = "DEVICE_NOT_SUPPORTED",
        /// There is a lock already, a person's or the organisation's.
        DeviceAlreadyLocked = "DEVICE_ALREADY_LOCKED",
        /// Unexpected: retry once, then ask Apple.
        Failed = "FAILED",
    }
}

/// A request to lock one device.
///
/// Apple: <https://developer.apple.com/documentation/devicemanagement/activationlockrequest>
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActivationLockRequest {
    /// The serial number.
    pub device: String,
    /// The [escrow key](crate::BypassCode::escrow_key) of a bypass code. Without it the lock belongs to the person who
    /// created the server entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escrow_key: Option<crate::SecretText>,
    /// Shown on the locked device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_message: Option<String>,
}

impl ActivationLockRequest {
    /// Locks `device` so that the bypass code of `escrow_key` opens it.
    pub fn new(device: impl Into<String>, escrow_key: crate::SecretText) -> Self {
        Self {
            device: device.into(),
            escrow_key: Some(escrow_key),
            lost_message: None,
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActivationLockResult {
    /// The serial number.
    #[serde(default)]
    pub serial_number: String,
    /// What became of it.
    pub response_status: ActivationLockStatus,
    /// Keys that this version of the library does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl AssignmentClient {
    /// Turns Activation Lock on for one device.
    ///
    /// # Errors
    /// [`is_unknown_outcome`](Error::is_unknown_outcome): the device may be locked with this code; keep it.
    pub async fn lock_activation(
        &self,
        request: &ActivationLockRequest,
    ) -> Result<ActivationLockResult, Error> {
        if request.device.trim().is_empty() {
            return Err(Error::invalid(LOCK, "device", "a serial number is needed"));
        }
        let response = self
            .call(LOCK, Method::Post, "/device/activationlock", Some(request))
            .await?;
        answer::json(LOCK, response.body.expose())
    }
}
