//! Typed views of the answers that a migration needs, one file per family.
//!
//! A view is optional in every field: devices leave out what they do not know or may not tell, and
//! an absent key is never read as false. A view of a report that answers something else is `None`.

mod applications;
mod information;
mod profiles;
mod security;
mod settings;
mod users;

pub use applications::{InstallAnswer, InstalledApplication, ManagedApplication};
pub use information::{DeviceInformation, ServiceSubscription};
pub use profiles::{InstalledCertificate, InstalledProfile};
pub use security::{FileVaultInfo, ManagementStatus, SecurityInfo};
pub use settings::SettingResult;
pub use users::DeviceUser;

use plist::{Dictionary, Value};

fn text(of: &Dictionary, key: &str) -> Option<String> {
    of.get(key)?.as_string().map(str::to_owned)
}

fn boolean(of: &Dictionary, key: &str) -> Option<bool> {
    of.get(key)?.as_boolean()
}

fn integer(of: &Dictionary, key: &str) -> Option<i64> {
    of.get(key)?.as_signed_integer()
}

fn texts(of: &Dictionary, key: &str) -> Vec<String> {
    let Some(Value::Array(items)) = of.get(key) else {
        return Vec::new();
    };
    let texts = items.iter().filter_map(Value::as_string);
    texts.map(str::to_owned).collect()
}

/// The dictionaries of an array; other items are left out.
fn dictionaries<'a>(of: &'a Dictionary, key: &str) -> Option<impl Iterator<Item = &'a Dictionary>> {
    Some(
        of.get(key)?
            .as_array()?
            .iter()
            .filter_map(Value::as_dictionary),
    )
}

#[cfg(test)]
mod tests;
