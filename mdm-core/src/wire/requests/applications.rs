//! Installing and removing applications: `InstallApplication`, `InstallEnterpriseApplication`,
//! `InstalledApplicationList`, `RemoveApplication`, `ApplyRedemptionCode`.

use crate::secret::Secret;
use crate::wire::keys::{Free, numbers, one_of, record, words};

one_of! {
    /// Where an application comes from.
    pub enum AppSource {
        /// The store's number.
        StoreId(u64) = "iTunesStoreID",
        /// The bundle identifier of an application of the store.
        BundleId(String) = "Identifier",
        /// The manifest of an application of one's own.
        Manifest(String) = "ManifestURL",
    }
}

numbers! {
    /// How a store application is licensed.
    pub enum PurchaseMethod {
        /// Free, or by the old redemption codes.
        Legacy = 0,
        /// By volume assignment.
        VolumeAssignment = 1,
    }
}

numbers! {
    /// What becomes of a managed application. Zero is nothing of it.
    pub enum ManagementFlags {
        /// Nothing.
        None = 0,
        /// It is removed together with the management profile.
        RemoveWithProfile = 1,
        /// It is not backed up.
        PreventBackup = 4,
        /// Both.
        RemoveAndPreventBackup = 5,
    }
}

words! {
    /// What becomes of an application that is there already.
    pub enum ChangeManagementState {
        /// It is taken over, with its data.
        Managed = "Managed",
    }
}

record! {
    /// `Options` of an installation.
    pub struct AppOptions {
        optional {
            /// Without it: free, or by code.
            purchase_method: PurchaseMethod = "PurchaseMethod",
        }
    }
}

record! {
    /// What surrounds a managed application on an iPhone or iPad.
    pub struct AppAttributes {
        optional {
            /// The per-app VPN, by the `VPNUUID` of its payload.
            vpn_uuid: String = "VPNUUID",
            /// The content filter, by its `ContentFilterUUID`. Since iOS 16.
            content_filter_uuid: String = "ContentFilterUUID",
            /// The DNS proxy, by its `DNSProxyUUID`. Since iOS 16.
            dns_proxy_uuid: String = "DNSProxyUUID",
            /// The relay, by its `RelayUUID`. Since iOS 17.
            relay_uuid: String = "RelayUUID",
            /// Domains that the application may claim. Since iOS 13.
            associated_domains: Vec<String> = "AssociatedDomains",
            /// Whether the device asks those domains itself and not Apple. Since iOS 14.
            associated_domains_enable_direct_downloads: bool = "AssociatedDomainsEnableDirectDownloads",
            /// Whether the user may remove it. Since iOS 14.
            removable: bool = "Removable",
            /// Whether the screen locks after a payment by Tap to Pay. Since iOS 16.4.
            tap_to_pay_screen_lock: bool = "TapToPayScreenLock",
            /// The slice of the cellular network: a data network name or a category. Since iOS 17.
            cellular_slice_uuid: String = "CellularSliceUUID",
            /// Whether the user may hide it. Since iOS 18.1.
            hideable: bool = "Hideable",
            /// Whether the user may lock it. Since iOS 18.1.
            lockable: bool = "Lockable",
        }
    }
}

record! {
    /// Installs an application, or takes over one that is there.
    /// <https://developer.apple.com/documentation/devicemanagement/installapplicationcommand>
    pub struct InstallApplication {
        new {}
        choice {
            /// Which application.
            source: AppSource,
        }
        optional {
            /// Needed on a Mac (since macOS 11) and unknown elsewhere.
            install_as_managed: bool = "InstallAsManaged",
            /// Whether one that is there already is taken over.
            change_management_state: ChangeManagementState = "ChangeManagementState",
            /// What becomes of it later.
            management_flags: ManagementFlags = "ManagementFlags",
            /// The licence.
            options: AppOptions = "Options",
            /// The managed configuration. It may hold passwords.
            configuration: Free = "Configuration",
            /// Not on a Mac.
            attributes: AppAttributes = "Attributes",
            /// An application for iPhone or iPad on a Mac.
            ios_app: bool = "iOSApp",
        }
    }
}

impl InstallApplication {
    /// Installs and takes over what is there already, which is what a migration needs: a kept
    /// application is on the device and unmanaged at that moment.
    #[must_use]
    pub fn taking_over(source: AppSource) -> Self {
        let licensed = !matches!(source, AppSource::Manifest(_));
        let request = Self::new(source)
            .change_management_state(ChangeManagementState::Managed)
            .management_flags(ManagementFlags::RemoveWithProfile);
        if licensed {
            let options = AppOptions::default().purchase_method(PurchaseMethod::VolumeAssignment);
            request.options(options)
        } else {
            request
        }
    }

    /// The same for a Mac, where management must be asked for.
    #[must_use]
    pub fn for_mac(self) -> Self {
        self.install_as_managed(true)
    }
}

one_of! {
    /// Where a Mac package is described.
    pub enum PackageSource {
        /// An address.
        Url(String) = "ManifestURL",
        /// The manifest in the command itself.
        Inline(Free) = "Manifest",
    }
}

record! {
    /// Installs a package, Mac only.
    /// <https://developer.apple.com/documentation/devicemanagement/installenterpriseapplicationcommand>
    pub struct InstallEnterpriseApplication {
        new {}
        choice {
            /// The manifest.
            manifest: PackageSource,
        }
        optional {
            /// One of these certificates (DER) must be that of the manifest's host.
            pinning_certificates: Vec<Vec<u8>> = "ManifestURLPinningCerts",
            /// Whether revocation is checked against these pins. Since macOS 10.15.
            pinning_revocation_check_required: bool = "PinningRevocationCheckRequired",
            /// Keep track of it. Since macOS 11.
            install_as_managed: bool = "InstallAsManaged",
            /// Whether one that is there already is taken over; with `InstallAsManaged` only.
            change_management_state: ChangeManagementState = "ChangeManagementState",
            /// What becomes of it later; with `InstallAsManaged` only.
            management_flags: ManagementFlags = "ManagementFlags",
            /// The managed configuration. It may hold passwords.
            configuration: Free = "Configuration",
            /// An application for iPhone or iPad on a Mac with Apple silicon.
            ios_app: bool = "iOSApp",
        }
    }
}

impl InstallEnterpriseApplication {
    /// Installs the package and manages it, also one that is there.
    #[must_use]
    pub fn taking_over(manifest: PackageSource) -> Self {
        Self::new(manifest)
            .install_as_managed(true)
            .change_management_state(ChangeManagementState::Managed)
    }
}

words! {
    /// A key of the answer to [`InstalledApplicationList`]; what it means, says
    /// [`InstalledApplication`](crate::wire::reports::InstalledApplication).
    pub enum ApplicationKey {
        /// Signed without an identity.
        AdHocCodeSigned = "AdHocCodeSigned",
        /// Of the store.
        AppStoreVendable = "AppStoreVendable",
        /// From a test.
        BetaApp = "BetaApp",
        /// Its size.
        BundleSize = "BundleSize",
        /// Licensed to the device.
        DeviceBasedVpp = "DeviceBasedVPP",
        /// Its marketplace.
        DistributorIdentifier = "DistributorIdentifier",
        /// The size of its data.
        DynamicSize = "DynamicSize",
        /// The store's number of the version.
        ExternalVersionIdentifier = "ExternalVersionIdentifier",
        /// There is a newer one.
        HasUpdateAvailable = "HasUpdateAvailable",
        /// Its bundle identifier, which always comes.
        Identifier = "Identifier",
        /// Not whole yet.
        Installing = "Installing",
        /// A clip.
        IsAppClip = "IsAppClip",
        /// It may run.
        IsValidated = "IsValidated",
        /// Its name.
        Name = "Name",
        /// Its version for people.
        ShortVersion = "ShortVersion",
        /// Who manages it.
        Source = "Source",
        /// Its build.
        Version = "Version",
    }
}

record! {
    /// What is installed, whoever installed it.
    /// <https://developer.apple.com/documentation/devicemanagement/installedapplicationlistcommand>
    pub struct InstalledApplicationList {
        optional {
            /// Only these; without it all.
            identifiers: Vec<String> = "Identifiers",
            /// Only what this service manages.
            managed_only: bool = "ManagedAppsOnly",
            /// The keys wanted; without it the device's choice. The sizes come only if they are
            /// named, since iOS 26 and macOS 26.
            items: Vec<ApplicationKey> = "Items",
        }
    }
}

impl InstalledApplicationList {
    /// Everything on the device, with the few keys that a migration reads: a short answer.
    #[must_use]
    pub fn for_migration() -> Self {
        Self::default().items([
            ApplicationKey::Identifier,
            ApplicationKey::Name,
            ApplicationKey::Version,
            ApplicationKey::ShortVersion,
            ApplicationKey::Installing,
            ApplicationKey::DeviceBasedVpp,
            ApplicationKey::Source,
        ])
    }
}

record! {
    /// Removes a managed application and its data. It fails for what declarations manage; since
    /// iOS 26 it also removes unmanaged ones from supervised devices.
    /// <https://developer.apple.com/documentation/devicemanagement/removeapplicationcommand>
    pub struct RemoveApplication {
        new {
            /// The bundle identifier.
            identifier: String = "Identifier",
        }
    }
}

record! {
    /// Redeems a code for an application in the state `NeedsRedemption`. Not on a Mac.
    /// <https://developer.apple.com/documentation/devicemanagement/applyredemptioncodecommand>
    pub struct ApplyRedemptionCode {
        new {
            /// The bundle identifier.
            identifier: String = "Identifier",
            /// The code.
            redemption_code: Secret = "RedemptionCode",
        }
    }
}
