//! Extensions of the system that a Mac lets in without asking its user.

use std::collections::BTreeMap;

use super::payload_type;
use crate::wire::keys::record;

record! {
    /// System extensions, by the identifier of their developer's team. Since macOS 10.15.
    /// <https://developer.apple.com/documentation/devicemanagement/systemextensions>
    pub struct SystemExtensionPayload {
        optional {
            /// The user may let in others.
            allow_user_overrides: bool = "AllowUserOverrides",
            /// Teams whose extensions are all let in.
            allowed_team_identifiers: Vec<String> = "AllowedTeamIdentifiers",
            /// By team: `DriverExtension`, `NetworkExtension`, `EndpointSecurityExtension`.
            allowed_types: BTreeMap<String, Vec<String>> = "AllowedSystemExtensionTypes",
            /// By team: bundle identifiers.
            allowed: BTreeMap<String, Vec<String>> = "AllowedSystemExtensions",
            /// By team: those that may remove themselves. Since macOS 12.
            removable: BTreeMap<String, Vec<String>> = "RemovableSystemExtensions",
            /// By team: those that nobody removes. Since macOS 15.
            non_removable: BTreeMap<String, Vec<String>> = "NonRemovableSystemExtensions",
            /// By team: those that the user does not remove in the settings. Since macOS 15.
            non_removable_from_ui: BTreeMap<String, Vec<String>> = "NonRemovableFromUISystemExtensions",
        }
    }
}

payload_type!(SystemExtensionPayload = "com.apple.system-extension-policy");

record! {
    /// Kernel extensions, which are going away.
    /// <https://developer.apple.com/documentation/devicemanagement/systempolicykernelextensions>
    pub struct KernelExtensionPayload {
        optional {
            /// Users who are no administrators may let in others. Since macOS 11.
            allow_non_admin_user_approvals: bool = "AllowNonAdminUserApprovals",
            /// The user may let in others.
            allow_user_overrides: bool = "AllowUserOverrides",
            /// Teams whose extensions are all let in.
            allowed_team_identifiers: Vec<String> = "AllowedTeamIdentifiers",
            /// By team, or an empty text for extensions that are signed in the old way: bundle identifiers.
            allowed: BTreeMap<String, Vec<String>> = "AllowedKernelExtensions",
        }
    }
}

payload_type!(KernelExtensionPayload = "com.apple.syspolicy.kernel-extension-policy");
