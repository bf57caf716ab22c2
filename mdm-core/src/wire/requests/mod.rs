//! The values of commands, one file per family. Each writes its keys into the command's dictionary;
//! what is `None` is left out, as Apple's defaults are meant to apply.

mod accounts;
mod applications;
mod information;
mod security;
mod settings;

pub use accounts::{AccountConfiguration, AdministratorAccount};
pub use applications::{
    AppSource, InstallApplication, InstallEnterpriseApplication, InstalledApplicationList,
    PackageSource, PurchaseMethod,
};
pub use information::{DeviceInformation, Query};
pub use security::{RestartDevice, RotateFileVaultKey, SetRecoveryLock};
pub use settings::Setting;
