//! `Settings`: one value per item, each answered apart.

use plist::{Dictionary, Value};

/// One item of `Settings`.
/// <https://developer.apple.com/documentation/devicemanagement/settingscommand>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// The name that the device shows.
    DeviceName(String),
    /// The host name, Mac only.
    HostName(String),
    /// Who owns the device.
    OrganizationInfo {
        /// `OrganizationName`.
        name: String,
        /// `OrganizationEmail`.
        email: Option<String>,
        /// `OrganizationPhone`.
        phone: Option<String>,
    },
    /// `MDMOptions.ActivationLockAllowedWhileSupervised`: whether a user may lock.
    ActivationLockAllowed(bool),
    /// Any other item, with its `Item` key.
    Other(Dictionary),
}

impl Setting {
    pub(crate) fn to_value(&self) -> Value {
        let mut d = Dictionary::new();
        match self {
            Self::DeviceName(name) => {
                d.insert("Item".into(), "DeviceName".into());
                d.insert("DeviceName".into(), name.as_str().into());
            }
            Self::HostName(name) => {
                d.insert("Item".into(), "HostName".into());
                d.insert("HostName".into(), name.as_str().into());
            }
            Self::OrganizationInfo { name, email, phone } => {
                let mut info = Dictionary::new();
                info.insert("OrganizationName".into(), name.as_str().into());
                for (key, value) in [("OrganizationEmail", email), ("OrganizationPhone", phone)] {
                    if let Some(value) = value {
                        info.insert(key.into(), value.as_str().into());
                    }
                }
                d.insert("Item".into(), "OrganizationInfo".into());
                d.insert("OrganizationInfo".into(), Value::Dictionary(info));
            }
            Self::ActivationLockAllowed(allowed) => {
                let mut options = Dictionary::new();
                options.insert(
                    "ActivationLockAllowedWhileSupervised".into(),
                    (*allowed).into(),
                );
                d.insert("Item".into(), "MDMOptions".into());
                d.insert("MDMOptions".into(), Value::Dictionary(options));
            }
            Self::Other(item) => d = item.clone(),
        }
        Value::Dictionary(d)
    }
}
