//! What we ask of a device: a body with its UUID, as bytes.
//!
//! Every command that Apple documents is a variant of [`CommandBody`]; the values of their keys are
//! in [`crate::wire::requests`]. Nothing here knows when to ask. What is newer than this library
//! goes through [`CommandBody::Raw`], and a body that was written elsewhere is read by
//! [`CommandBody::from_dictionary`].
//!
//! <https://developer.apple.com/documentation/devicemanagement/commands-and-queries>

use plist::{Dictionary, Value};
use zeroize::Zeroizing;

use super::json::{self, JsonError};
use super::keys::misfit::{of_keys, optional};
use super::keys::{Free, Keys, Misfit};
use super::plist::{CHECK_IN_LIMIT, PlistError, read_dictionary, write_dictionary};
use super::requests::*;
use crate::secret::Secret;

/// Makes the enum of commands. The name of a variant is its `RequestType`.
macro_rules! commands {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            plain { $($(#[$pdoc:meta])* $plain:ident,)* }
            keyed { $($(#[$kdoc:meta])* $keyed:ident,)* }
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$pdoc])* $plain,)*
            $($(#[$kdoc])* $keyed($keyed),)*
            /// Any other command: the inner dictionary with its `RequestType`.
            Raw(Free),
        }

        $(
            impl From<$keyed> for $name {
                fn from(request: $keyed) -> Self {
                    Self::$keyed(request)
                }
            }
        )*

        impl $name {
            /// The `RequestType` of every command that is a typed value.
            pub const REQUEST_TYPES: &'static [&'static str] =
                &[$(stringify!($plain),)* $(stringify!($keyed),)*];

            /// The `RequestType`. Empty only for a raw command that has none.
            #[must_use]
            pub fn request_type(&self) -> &str {
                match self {
                    $(Self::$plain => stringify!($plain),)*
                    $(Self::$keyed(_) => stringify!($keyed),)*
                    Self::Raw(raw) => raw
                        .0
                        .get("RequestType")
                        .and_then(Value::as_string)
                        .unwrap_or_default(),
                }
            }

            /// Whether the encoded bytes hold a secret, so that they must not be stored unsealed:
            /// a password, a token, a profile, the configuration of an application, or what nobody
            /// knows.
            #[must_use]
            pub fn carries_secret(&self) -> bool {
                match self {
                    $(Self::$plain => false,)*
                    $(Self::$keyed(request) => request.carries_secret(),)*
                    Self::Raw(_) => true,
                }
            }

            /// The inner dictionary, with its `RequestType`. It may hold secrets in clear.
            #[must_use]
            pub fn to_dictionary(&self) -> Dictionary {
                let mut d = Dictionary::new();
                if let Self::Raw(raw) = self {
                    return raw.0.clone();
                }
                d.insert("RequestType".into(), self.request_type().into());
                match self {
                    $(Self::$keyed(request) => request.write(&mut d),)*
                    $(Self::$plain => {})*
                    Self::Raw(_) => {}
                }
                d
            }

            fn typed(request_type: &str, keys: &Dictionary) -> Option<Self> {
                match request_type {
                    $(stringify!($plain) => keys.is_empty().then_some(Self::$plain),)*
                    $(stringify!($keyed) => Keys::from_dictionary(keys).map(Self::$keyed),)*
                    // Newer than this library.
                    _ => None,
                }
            }

            fn misfit(request_type: &str, keys: &Dictionary) -> Option<Misfit> {
                match request_type {
                    $(stringify!($keyed) => of_keys::<$keyed>(keys, ""),)*
                    _ => None,
                }
            }

            /// The type of a key of a command, in the words of property lists (`string`, `integer`, …): for who has a text
            /// and must know what it stands for. `None`: no such command or key is known here.
            #[must_use]
            pub fn kind_of_key(request_type: &str, key: &str) -> Option<&'static str> {
                let kinds = match request_type {
                    $(stringify!($keyed) => <$keyed as Keys>::kinds(),)*
                    _ => return None,
                };
                let found = kinds.into_iter().find(|(known, _)| *known == key);
                found.map(|(_, kind)| kind)
            }
        }
    };
}

/// Why no command comes of type and keys that are written as JSON. Names no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A value has no place in a property list.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A key of this command cannot be as it is.
    #[error(transparent)]
    Key(#[from] Misfit),
    /// The type differs from that of a command in nothing but capital and small letters.
    #[error("is written {0}")]
    Type(&'static str),
}

commands! {
    /// A command without its UUID.
    pub enum CommandBody {
        plain {
            /// Ask for the device's own bypass code.
            ActivationLockBypassCode,
            /// Make the device forget its own bypass code.
            ClearActivationLockBypassCode,
            /// Ask for FileVault, passcode, management status.
            SecurityInfo,
            /// Leave the hold.
            DeviceConfigured,
            /// Let a user of a Shared iPad go on, on the user's channel.
            UserConfigured,
            /// List the users.
            UserList,
            /// Log out the user of a Shared iPad.
            LogOutUser,
            /// Shut down.
            ShutDownDevice,
            /// End Lost Mode.
            DisableLostMode,
            /// Play a sound, in Lost Mode only.
            PlayLostModeSound,
            /// Ask where the device is, in Lost Mode only.
            DeviceLocation,
            /// Take away the password for restrictions and the restrictions that the user set.
            ClearRestrictionsPassword,
            /// Ask for the token that clears the passcode. The answer is a secret.
            RequestUnlockToken,
            /// End AirPlay.
            StopMirroring,
            /// Turn Remote Desktop off, Mac only.
            DisableRemoteDesktop,
            /// Turn Remote Desktop on, Mac only.
            EnableRemoteDesktop,
            /// List the updates that fit.
            AvailableOSUpdates,
            /// Ask how far the scheduled updates are.
            OSUpdateStatus,
            /// List the books that this service manages.
            ManagedMediaList,
            /// List the extensions by their points, Mac only.
            NSExtensionMappings,
            /// Ask about the content cache, Mac only.
            ContentCachingInformation,
            /// Ask for the addresses for lights-out management, Mac only.
            LOMSetupRequest,
        }
        keyed {
            /// Ask for facts about the device.
            DeviceInformation,
            /// Ask what is installed, whoever installed it.
            InstalledApplicationList,
            /// Ask what this service manages.
            ManagedApplicationList,
            /// Install an application, or take over one that is there.
            InstallApplication,
            /// Install a Mac package.
            InstallEnterpriseApplication,
            /// Remove a managed application and its data.
            RemoveApplication,
            /// Redeem a code for an application.
            ApplyRedemptionCode,
            /// Renew the permission of applications of one's own to run.
            ValidateApplications,
            /// Ask for the attributes of managed applications.
            ManagedApplicationAttributes,
            /// Ask for the configurations of managed applications.
            ManagedApplicationConfiguration,
            /// Ask what managed applications left to read.
            ManagedApplicationFeedback,
            /// Invite the user to the programme for licences.
            InviteToProgram,
            /// List the extensions that run, Mac only.
            ActiveNSExtensions,
            /// Install a book.
            InstallMedia,
            /// Remove a book.
            RemoveMedia,
            /// Install or replace a configuration profile.
            InstallProfile,
            /// Remove a configuration profile.
            RemoveProfile,
            /// List the configuration profiles.
            ProfileList,
            /// List the certificates.
            CertificateList,
            /// Install a provisioning profile.
            InstallProvisioningProfile,
            /// Remove a provisioning profile.
            RemoveProvisioningProfile,
            /// List the provisioning profiles.
            ProvisioningProfileList,
            /// Set values such as names and options.
            Settings,
            /// Ask for the restrictions in force.
            Restrictions,
            /// Set or clear the password before recoveryOS.
            SetRecoveryLock,
            /// Ask whether this is the password before recoveryOS.
            VerifyRecoveryLock,
            /// Set or clear the firmware password.
            SetFirmwarePassword,
            /// Ask whether this is the firmware password.
            VerifyFirmwarePassword,
            /// Make a new recovery key.
            RotateFileVaultKey,
            /// Remove the passcode.
            ClearPasscode,
            /// Lock the device.
            DeviceLock,
            /// Erase the device.
            EraseDevice,
            /// Lock the device until the service unlocks it.
            EnableLostMode,
            /// Restart.
            RestartDevice,
            /// Fetch the plans of an eSIM.
            RefreshCellularPlans,
            /// Share the screen by AirPlay.
            RequestMirroring,
            /// Turn other Macs on or off.
            LOMDeviceRequest,
            /// Turn declarations on, or tell that they changed.
            DeclarativeManagement,
            /// Set up the first accounts of a Mac. Only during the hold.
            AccountConfiguration,
            /// Replace the password of the administrator that Setup Assistant made.
            SetAutoAdminPassword,
            /// Remove a user.
            DeleteUser,
            /// Unlock a user's account after wrong passwords.
            UnlockUserAccount,
            /// Install updates.
            ScheduleOSUpdate,
            /// Look for updates.
            ScheduleOSUpdateScan,
        }
    }
}

impl CommandBody {
    /// Installs a profile (plain, signed or encrypted).
    #[must_use]
    pub fn install_profile(profile: Secret) -> Self {
        Self::InstallProfile(InstallProfile::new(profile))
    }

    /// The property list that answers a device's request, as XML bytes that are zeroed when dropped.
    #[must_use]
    pub fn encode(&self, uuid: &str) -> Zeroizing<Vec<u8>> {
        let mut envelope = Dictionary::new();
        envelope.insert("Command".into(), Value::Dictionary(self.to_dictionary()));
        envelope.insert("CommandUUID".into(), uuid.into());
        Zeroizing::new(write_dictionary(&envelope))
    }

    /// Reads a command that was written elsewhere, as XML: its inner dictionary, or with `Command` around it. A
    /// `CommandUUID` beside that is not read.
    ///
    /// # Errors
    /// [`PlistError`] when the bytes are no property list, or `Command` is none of a dictionary.
    pub fn read(bytes: &[u8]) -> Result<Self, PlistError> {
        let mut read = read_dictionary(bytes, CHECK_IN_LIMIT)?;
        Ok(Self::from_dictionary(match read.remove("Command") {
            Some(Value::Dictionary(inner)) => inner,
            Some(_) => return Err(PlistError::NotADictionary),
            None => read,
        }))
    }

    /// A command whose keys are written as JSON; see [`crate::wire::json`]. A command that is newer than this library, and
    /// keys that are, go out as they are. What contradicts what is known does not: the device would refuse it, or do
    /// something else without the key that it does not find. [`Self::read`] asks for none of this.
    ///
    /// # Errors
    /// [`KeysError`] when a value has no place in a property list, or when a known command lacks a key, has one of another
    /// type, or one that is spelt in other letters.
    pub fn of_json(request_type: &str, keys: &serde_json::Value) -> Result<Self, KeysError> {
        let mut keys = json::to_dictionary(keys)?;
        let mut known = Self::REQUEST_TYPES.iter();
        if let Some(right) = known.find(|known| known.eq_ignore_ascii_case(request_type)) {
            if *right != request_type {
                return Err(KeysError::Type(right));
            }
            let tether = optional::<bool>(&keys, "", "RequestRequiresNetworkTether");
            if let Some(misfit) = tether.or_else(|| Self::misfit(request_type, &keys)) {
                return Err(misfit.into());
            }
        }
        keys.insert("RequestType".to_owned(), request_type.into());
        Ok(Self::from_dictionary(keys))
    }

    /// The command of an inner dictionary, the counterpart of [`Self::to_dictionary`]. What is newer
    /// than this library, lacks a key, or has one of another type is [`CommandBody::Raw`]: the
    /// device will say what it thinks of it.
    #[must_use]
    pub fn from_dictionary(command: Dictionary) -> Self {
        let mut keys = command.clone();
        let request_type = keys.remove("RequestType");
        request_type
            .as_ref()
            .and_then(Value::as_string)
            .and_then(|name| Self::typed(name, &keys))
            .unwrap_or_else(|| Self::Raw(command.into()))
    }
}

#[cfg(test)]
mod tests;
