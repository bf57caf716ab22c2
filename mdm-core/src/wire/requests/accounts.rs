//! `AccountConfiguration`, for a fresh Mac. A migrating Mac has its accounts.

use plist::{Dictionary, Value};

use crate::secret::Secret;

/// The first administrator that Setup Assistant makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdministratorAccount {
    /// `shortName`.
    pub short_name: String,
    /// `fullName`.
    pub full_name: Option<String>,
    /// `hidden`.
    pub hidden: bool,
    /// `passwordHash`: a binary property list with a salted PBKDF2 hash.
    pub password_hash: Secret,
}

impl AdministratorAccount {
    /// A visible administrator.
    pub fn new(short_name: impl Into<String>, password_hash: Secret) -> Self {
        Self {
            short_name: short_name.into(),
            full_name: None,
            hidden: false,
            password_hash,
        }
    }
}

/// `AccountConfiguration`, Mac only and only during the hold.
/// <https://developer.apple.com/documentation/devicemanagement/accountconfigurationcommand>
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AccountConfiguration {
    /// `SkipPrimarySetupAccountCreation`.
    pub skip_primary_account: bool,
    /// `SetPrimarySetupAccountAsRegularUser`.
    pub primary_is_regular_user: bool,
    /// `LockPrimaryAccountInfo`.
    pub lock_primary_info: bool,
    /// `PrimaryAccountFullName`.
    pub primary_full_name: Option<String>,
    /// `PrimaryAccountUserName`.
    pub primary_user_name: Option<String>,
    /// `ManagedLocalUserShortName`.
    pub managed_user_short_name: Option<String>,
    /// `AutoSetupAdminAccounts`: the first item is used, so there is one.
    pub administrator: Option<AdministratorAccount>,
}

impl AccountConfiguration {
    pub(crate) fn write(&self, d: &mut Dictionary) {
        for (key, value) in [
            ("SkipPrimarySetupAccountCreation", self.skip_primary_account),
            (
                "SetPrimarySetupAccountAsRegularUser",
                self.primary_is_regular_user,
            ),
            ("LockPrimaryAccountInfo", self.lock_primary_info),
        ] {
            if value {
                d.insert(key.into(), true.into());
            }
        }
        for (key, value) in [
            ("PrimaryAccountFullName", &self.primary_full_name),
            ("PrimaryAccountUserName", &self.primary_user_name),
            ("ManagedLocalUserShortName", &self.managed_user_short_name),
        ] {
            if let Some(value) = value {
                d.insert(key.into(), value.as_str().into());
            }
        }
        if let Some(admin) = &self.administrator {
            let mut account = Dictionary::new();
            account.insert("shortName".into(), admin.short_name.as_str().into());
            if let Some(name) = &admin.full_name {
                account.insert("fullName".into(), name.as_str().into());
            }
            account.insert("hidden".into(), admin.hidden.into());
            let hash = Value::Data(admin.password_hash.expose().to_vec());
            account.insert("passwordHash".into(), hash);
            let accounts = Value::Array(vec![Value::Dictionary(account)]);
            d.insert("AutoSetupAdminAccounts".into(), accounts);
        }
    }
}
