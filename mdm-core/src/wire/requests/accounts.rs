//! Accounts of a Mac: `AccountConfiguration`, for a fresh one (a migrating Mac has its accounts),
//! `SetAutoAdminPassword`, `DeleteUser`, `UnlockUserAccount`.

use crate::wire::keys::{SecretData, record};

record! {
    /// The first administrator that Setup Assistant makes.
    pub struct AdministratorAccount {
        new {
            /// The name of the account and of its home folder.
            short_name: String = "shortName",
        }
        optional {
            /// The name that people see.
            full_name: String = "fullName",
            /// Whether the login window leaves the account out.
            hidden: bool = "hidden",
            /// A binary property list with a salted PBKDF2 hash under `SALTED-SHA512-PBKDF2`.
            password_hash: SecretData = "passwordHash",
        }
    }
}

record! {
    /// Sets up the first accounts of a Mac. Only during the hold.
    /// <https://developer.apple.com/documentation/devicemanagement/accountconfigurationcommand>
    pub struct AccountConfiguration {
        optional {
            /// Setup Assistant makes no account; then there must be an administrator here.
            skip_primary_account: bool = "SkipPrimarySetupAccountCreation",
            /// The account that Setup Assistant makes is none of an administrator.
            primary_is_regular_user: bool = "SetPrimarySetupAccountAsRegularUser",
            /// The names below are kept from the form instead of filling it.
            dont_auto_populate: bool = "DontAutoPopulatePrimaryAccountInfo",
            /// The user cannot change the names in the form.
            lock_primary_info: bool = "LockPrimaryAccountInfo",
            /// What the form is filled with.
            primary_full_name: String = "PrimaryAccountFullName",
            /// What the form is filled with.
            primary_user_name: String = "PrimaryAccountUserName",
            /// The short name of the local user that is managed, if it is none of the first two.
            managed_user_short_name: String = "ManagedLocalUserShortName",
            /// Of these, the first is used.
            administrators: Vec<AdministratorAccount> = "AutoSetupAdminAccounts",
        }
    }
}

record! {
    /// Replaces the password of the administrator that Setup Assistant made, Mac only.
    /// <https://developer.apple.com/documentation/devicemanagement/setautoadminpasswordcommand>
    pub struct SetAutoAdminPassword {
        new {
            /// The account, as `DeviceInformation` names it under `AutoSetupAdminAccounts`.
            guid: String = "GUID",
            /// As in [`AdministratorAccount::password_hash`].
            password_hash: SecretData = "passwordHash",
        }
    }
}

record! {
    /// Removes a user: of a Mac, or of a Shared iPad with what is on it.
    /// <https://developer.apple.com/documentation/devicemanagement/deleteusercommand>
    pub struct DeleteUser {
        optional {
            /// Whom; needed unless all are removed.
            user_name: String = "UserName",
            /// Also when data has not reached the cloud yet. Shared iPad only.
            force_deletion: bool = "ForceDeletion",
            /// Everybody. Shared iPad only.
            delete_all_users: bool = "DeleteAllUsers",
        }
    }
}

record! {
    /// Unlocks a user's account after too many wrong passwords, Mac only.
    /// <https://developer.apple.com/documentation/devicemanagement/unlockuseraccountcommand>
    pub struct UnlockUserAccount {
        new {
            /// The short name.
            user_name: String = "UserName",
        }
    }
}

impl AdministratorAccount {
    /// A visible administrator with a password.
    #[must_use]
    pub fn with_password_hash(
        short_name: impl Into<String>,
        password_hash: impl Into<SecretData>,
    ) -> Self {
        Self::new(short_name)
            .hidden(false)
            .password_hash(password_hash)
    }
}
