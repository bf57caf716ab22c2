//! `DeviceInformation`.

use plist::{Dictionary, Value};

/// A query of `DeviceInformation`. A device leaves out what it does not know or may not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// `UDID`.
    Udid,
    /// `SerialNumber`.
    SerialNumber,
    /// `DeviceName`.
    DeviceName,
    /// `ProductName`.
    ProductName,
    /// `ModelName`.
    ModelName,
    /// `OSVersion`.
    OsVersion,
    /// `BuildVersion`.
    BuildVersion,
    /// `AwaitingConfiguration`: whether the device waits for `DeviceConfigured`.
    AwaitingConfiguration,
    /// `IsSupervised`.
    IsSupervised,
    /// `IsAppleSilicon`.
    IsAppleSilicon,
    /// `IsActivationLockSupported`.
    IsActivationLockSupported,
    /// `ProvisioningUDID`.
    ProvisioningUdid,
    /// `ActiveManagedUsers`.
    ActiveManagedUsers,
    /// `CurrentConsoleManagedUser`.
    CurrentConsoleManagedUser,
    /// `MDMOptions`.
    MdmOptions,
    /// `ServiceSubscriptions`.
    ServiceSubscriptions,
    /// Any other query, by Apple's name.
    Other(String),
}

impl Query {
    /// Apple's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Udid => "UDID",
            Self::SerialNumber => "SerialNumber",
            Self::DeviceName => "DeviceName",
            Self::ProductName => "ProductName",
            Self::ModelName => "ModelName",
            Self::OsVersion => "OSVersion",
            Self::BuildVersion => "BuildVersion",
            Self::AwaitingConfiguration => "AwaitingConfiguration",
            Self::IsSupervised => "IsSupervised",
            Self::IsAppleSilicon => "IsAppleSilicon",
            Self::IsActivationLockSupported => "IsActivationLockSupported",
            Self::ProvisioningUdid => "ProvisioningUDID",
            Self::ActiveManagedUsers => "ActiveManagedUsers",
            Self::CurrentConsoleManagedUser => "CurrentConsoleManagedUser",
            Self::MdmOptions => "MDMOptions",
            Self::ServiceSubscriptions => "ServiceSubscriptions",
            Self::Other(name) => name,
        }
    }
}

/// `DeviceInformation`.
/// <https://developer.apple.com/documentation/devicemanagement/deviceinformationcommand>
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeviceInformation {
    /// What is asked.
    pub queries: Vec<Query>,
    /// `DeviceAttestationNonce`, at most 32 bytes.
    pub attestation_nonce: Option<Vec<u8>>,
}

impl DeviceInformation {
    /// Asks for these facts.
    pub fn of(queries: impl IntoIterator<Item = Query>) -> Self {
        Self {
            queries: queries.into_iter().collect(),
            attestation_nonce: None,
        }
    }

    /// Asks for what a set-up wants to know of a device, on either platform.
    #[must_use]
    pub fn for_set_up() -> Self {
        Self::of([
            Query::Udid,
            Query::SerialNumber,
            Query::DeviceName,
            Query::ProductName,
            Query::ModelName,
            Query::OsVersion,
            Query::BuildVersion,
            Query::AwaitingConfiguration,
            Query::IsSupervised,
            Query::IsAppleSilicon,
            Query::IsActivationLockSupported,
            Query::ActiveManagedUsers,
            Query::MdmOptions,
            Query::ServiceSubscriptions,
        ])
    }

    pub(crate) fn write(&self, d: &mut Dictionary) {
        let names = self.queries.iter().map(|q| q.as_str().into()).collect();
        d.insert("Queries".into(), Value::Array(names));
        if let Some(nonce) = &self.attestation_nonce {
            d.insert("DeviceAttestationNonce".into(), Value::Data(nonce.clone()));
        }
    }
}
