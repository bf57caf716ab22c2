//! What we ask of a device: a body with its UUID, as bytes.
//!
//! The values of the requests are in [`crate::wire::requests`]. Nothing here knows when to ask.
//! What is newer than this library goes through [`CommandBody::Raw`].
//!
//! <https://developer.apple.com/documentation/devicemanagement/commands-and-queries>

use plist::{Dictionary, Value};
use zeroize::Zeroizing;

use super::plist::write_dictionary;
use super::requests::{
    AccountConfiguration, DeviceInformation, InstallApplication, InstallEnterpriseApplication,
    InstalledApplicationList, RestartDevice, RotateFileVaultKey, SetRecoveryLock, Setting,
};
use crate::secret::Secret;

/// A command without its UUID.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CommandBody {
    /// Ask for facts about the device.
    DeviceInformation(DeviceInformation),
    /// Ask for FileVault, passcode, management status.
    SecurityInfo,
    /// Ask what is installed, whoever installed it.
    InstalledApplicationList(InstalledApplicationList),
    /// Ask what this service manages; empty means all.
    ManagedApplicationList {
        /// Bundle identifiers.
        identifiers: Vec<String>,
    },
    /// Install an application, or take over one that is there.
    InstallApplication(InstallApplication),
    /// Install a Mac package.
    InstallEnterpriseApplication(InstallEnterpriseApplication),
    /// Remove a managed application and its data.
    RemoveApplication {
        /// The bundle identifier.
        identifier: String,
    },
    /// Install or replace a configuration profile.
    InstallProfile {
        /// The profile, signed or plain. It may hold passwords and challenges.
        payload: Secret,
    },
    /// Remove a configuration profile.
    RemoveProfile {
        /// The `PayloadIdentifier` of the profile.
        identifier: String,
    },
    /// List the profiles.
    ProfileList {
        /// Only those that this service installed.
        managed_only: bool,
    },
    /// List the certificates.
    CertificateList {
        /// Only those that this service installed.
        managed_only: bool,
    },
    /// Leave the hold.
    DeviceConfigured,
    /// Set values such as names and options.
    Settings(Vec<Setting>),
    /// List the users.
    UserList,
    /// Ask for the device's own bypass code.
    ActivationLockBypassCode,
    /// Make the device forget its own bypass code.
    ClearActivationLockBypassCode,
    /// Set or clear the password before recoveryOS.
    SetRecoveryLock(SetRecoveryLock),
    /// Ask whether this is the password before recoveryOS.
    VerifyRecoveryLock {
        /// The password in question.
        password: Secret,
    },
    /// Make a new personal recovery key.
    RotateFileVaultKey(RotateFileVaultKey),
    /// Restart.
    RestartDevice(RestartDevice),
    /// Tell the device that its declarations changed.
    DeclarativeManagement {
        /// The tokens as JSON, which save the device one request.
        tokens: Option<Vec<u8>>,
    },
    /// Set up the first account of a Mac. Only during the hold.
    AccountConfiguration(AccountConfiguration),
    /// Any other command: the inner dictionary with its `RequestType`.
    Raw(Dictionary),
}

impl CommandBody {
    /// The `RequestType`. Empty only for a raw command that has none.
    #[must_use]
    pub fn request_type(&self) -> &str {
        match self {
            Self::DeviceInformation(_) => "DeviceInformation",
            Self::SecurityInfo => "SecurityInfo",
            Self::InstalledApplicationList(_) => "InstalledApplicationList",
            Self::ManagedApplicationList { .. } => "ManagedApplicationList",
            Self::InstallApplication(_) => "InstallApplication",
            Self::InstallEnterpriseApplication(_) => "InstallEnterpriseApplication",
            Self::RemoveApplication { .. } => "RemoveApplication",
            Self::InstallProfile { .. } => "InstallProfile",
            Self::RemoveProfile { .. } => "RemoveProfile",
            Self::ProfileList { .. } => "ProfileList",
            Self::CertificateList { .. } => "CertificateList",
            Self::DeviceConfigured => "DeviceConfigured",
            Self::Settings(_) => "Settings",
            Self::UserList => "UserList",
            Self::ActivationLockBypassCode => "ActivationLockBypassCode",
            Self::ClearActivationLockBypassCode => "ClearActivationLockBypassCode",
            Self::SetRecoveryLock(_) => "SetRecoveryLock",
            Self::VerifyRecoveryLock { .. } => "VerifyRecoveryLock",
            Self::RotateFileVaultKey(_) => "RotateFileVaultKey",
            Self::RestartDevice(_) => "RestartDevice",
            Self::DeclarativeManagement { .. } => "DeclarativeManagement",
            Self::AccountConfiguration(_) => "AccountConfiguration",
            Self::Raw(raw) => raw
                .get("RequestType")
                .and_then(Value::as_string)
                .unwrap_or_default(),
        }
    }

    /// Whether the encoded bytes hold a secret, so that they must not be stored unsealed.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        match self {
            Self::InstallProfile { .. }
            | Self::SetRecoveryLock(_)
            | Self::VerifyRecoveryLock { .. }
            | Self::RotateFileVaultKey(_)
            | Self::AccountConfiguration(_)
            // Nobody knows what is in it.
            | Self::Raw(_) => true,
            Self::InstallApplication(app) => app.configuration.is_some(),
            Self::InstallEnterpriseApplication(app) => app.configuration.is_some(),
            _ => false,
        }
    }

    /// The property list that answers a device's request, as XML bytes that are zeroed when dropped.
    #[must_use]
    pub fn encode(&self, uuid: &str) -> Zeroizing<Vec<u8>> {
        let mut envelope = Dictionary::new();
        envelope.insert("Command".into(), Value::Dictionary(self.to_dictionary()));
        envelope.insert("CommandUUID".into(), uuid.into());
        Zeroizing::new(write_dictionary(&envelope))
    }

    /// The inner dictionary, with its `RequestType`.
    fn to_dictionary(&self) -> Dictionary {
        let mut d = Dictionary::new();
        d.insert("RequestType".into(), self.request_type().into());
        match self {
            Self::DeviceInformation(request) => request.write(&mut d),
            Self::InstalledApplicationList(request) => request.write(&mut d),
            Self::InstallApplication(request) => request.write(&mut d),
            Self::InstallEnterpriseApplication(request) => request.write(&mut d),
            Self::SetRecoveryLock(request) => request.write(&mut d),
            Self::RotateFileVaultKey(request) => request.write(&mut d),
            Self::RestartDevice(request) => request.write(&mut d),
            Self::AccountConfiguration(request) => request.write(&mut d),
            Self::ManagedApplicationList { identifiers } => {
                if !identifiers.is_empty() {
                    d.insert("Identifiers".into(), texts(identifiers));
                }
            }
            Self::RemoveApplication { identifier } | Self::RemoveProfile { identifier } => {
                d.insert("Identifier".into(), identifier.as_str().into());
            }
            Self::InstallProfile { payload } => {
                let payload = Value::Data(payload.expose().to_vec());
                d.insert("Payload".into(), payload);
            }
            Self::ProfileList { managed_only } | Self::CertificateList { managed_only } => {
                d.insert("ManagedOnly".into(), (*managed_only).into());
            }
            Self::Settings(settings) => {
                let items = settings.iter().map(Setting::to_value).collect();
                d.insert("Settings".into(), Value::Array(items));
            }
            Self::VerifyRecoveryLock { password } => {
                d.insert("Password".into(), secret_text(password));
            }
            Self::DeclarativeManagement { tokens } => {
                if let Some(tokens) = tokens {
                    d.insert("Data".into(), Value::Data(tokens.clone()));
                }
            }
            Self::Raw(raw) => d = raw.clone(),
            Self::SecurityInfo
            | Self::DeviceConfigured
            | Self::UserList
            | Self::ActivationLockBypassCode
            | Self::ClearActivationLockBypassCode => {}
        }
        d
    }
}

pub(super) fn texts(items: &[String]) -> Value {
    Value::Array(items.iter().map(|t| Value::String(t.clone())).collect())
}

/// A password as text. Passwords are made by us or typed by a person, hence always UTF-8; one that
/// is not would be sent as an empty text, which every device refuses.
pub(super) fn secret_text(secret: &Secret) -> Value {
    Value::String(secret.expose_text().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
