//! The answer to `DeviceInformation`.

use plist::Dictionary;

use super::{boolean, dictionaries, text, texts};
use crate::wire::report::CommandReport;

/// `QueryResponses`. What was not asked, not known or not allowed is absent.
/// <https://developer.apple.com/documentation/devicemanagement/deviceinformationresponse>
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DeviceInformation {
    /// `UDID`.
    pub udid: Option<String>,
    /// `SerialNumber`.
    pub serial: Option<String>,
    /// `DeviceName`.
    pub device_name: Option<String>,
    /// `ProductName`, such as `iPhone17,2`.
    pub product_name: Option<String>,
    /// `ModelName`.
    pub model_name: Option<String>,
    /// `OSVersion`.
    pub os_version: Option<String>,
    /// `BuildVersion`.
    pub build_version: Option<String>,
    /// `AwaitingConfiguration`: whether the device waits for `DeviceConfigured`.
    pub awaiting_configuration: Option<bool>,
    /// `IsSupervised`.
    pub is_supervised: Option<bool>,
    /// `IsAppleSilicon`, Mac only.
    pub is_apple_silicon: Option<bool>,
    /// `IsActivationLockSupported`, Mac only.
    pub is_activation_lock_supported: Option<bool>,
    /// `ProvisioningUDID`, Mac only.
    pub provisioning_udid: Option<String>,
    /// `ActiveManagedUsers`: the GUIDs of managed users.
    pub active_managed_users: Vec<String>,
    /// `CurrentConsoleManagedUser`.
    pub console_managed_user: Option<String>,
    /// `MDMOptions.ActivationLockAllowedWhileSupervised`.
    pub activation_lock_allowed: Option<bool>,
    /// `ServiceSubscriptions`: the cellular identifiers.
    pub subscriptions: Vec<ServiceSubscription>,
    /// The dictionary as received.
    pub all: Dictionary,
}

/// One cellular slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceSubscription {
    /// `Slot`, such as `CTSubscriptionSlotOne`.
    pub slot: Option<String>,
    /// `IMEI`, without the spaces that some devices write.
    pub imei: Option<String>,
    /// `MEID`.
    pub meid: Option<String>,
}

impl CommandReport {
    /// The view of a `DeviceInformation` answer.
    #[must_use]
    pub fn device_information(&self) -> Option<DeviceInformation> {
        let all = self.redacted().get("QueryResponses")?.as_dictionary()?;
        let options = all.get("MDMOptions").and_then(plist::Value::as_dictionary);
        let subscriptions = dictionaries(all, "ServiceSubscriptions")
            .into_iter()
            .flatten()
            .map(|slot| ServiceSubscription {
                slot: text(slot, "Slot"),
                imei: text(slot, "IMEI").map(|t| t.replace(' ', "")),
                meid: text(slot, "MEID").map(|t| t.replace(' ', "")),
            })
            .collect();
        Some(DeviceInformation {
            udid: text(all, "UDID"),
            serial: text(all, "SerialNumber"),
            device_name: text(all, "DeviceName"),
            product_name: text(all, "ProductName"),
            model_name: text(all, "ModelName"),
            os_version: text(all, "OSVersion"),
            build_version: text(all, "BuildVersion"),
            awaiting_configuration: boolean(all, "AwaitingConfiguration"),
            is_supervised: boolean(all, "IsSupervised"),
            is_apple_silicon: boolean(all, "IsAppleSilicon"),
            is_activation_lock_supported: boolean(all, "IsActivationLockSupported"),
            provisioning_udid: text(all, "ProvisioningUDID"),
            active_managed_users: texts(all, "ActiveManagedUsers"),
            console_managed_user: text(all, "CurrentConsoleManagedUser"),
            activation_lock_allowed: options
                .and_then(|o| boolean(o, "ActivationLockAllowedWhileSupervised")),
            subscriptions,
            all: all.clone(),
        })
    }
}
