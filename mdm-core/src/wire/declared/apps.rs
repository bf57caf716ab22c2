//! Apps by declaration: installed, kept, configured. Written from the table of Apple's keys; refuses nothing.

use plist::Value;

use crate::wire::keys::{Free, one_of, record, words};

one_of! {
    /// Which application: exactly one of these keys.
    pub enum ManagedApplication {
        /// Text.
        AppStoreId(String) = "AppStoreID",
        /// Text.
        BundleId(String) = "BundleID",
        /// An address.
        ManifestUrl(String) = "ManifestURL",
        /// Text. Since macOS 26.0.
        AppComposedIdentifier(String) = "AppComposedIdentifier",
    }
}

words! {
    /// What `Install` may be.
    pub enum AppInstall {
        /// One of them.
        Optional = "Optional",
        /// One of them.
        Required = "Required",
    }
}

words! {
    /// What `Assignment` may be.
    pub enum LicenseAssignment {
        /// One of them.
        Device = "Device",
        /// One of them.
        User = "User",
    }
}

record! {
    /// `License` of `com.apple.configuration.app.managed`.
    pub struct AppLicense {
        optional {
            /// One of a closed set.
            assignment: LicenseAssignment = "Assignment",
            /// One of a closed set.
            vpp_type: LicenseAssignment = "VPPType",
        }
    }
}

words! {
    /// What `AllowDownloadsOverCellular` may be.
    pub enum AppStorePolicy {
        /// One of them.
        AlwaysOn = "AlwaysOn",
        /// One of them.
        AlwaysOff = "AlwaysOff",
        /// One of them.
        StoreSettings = "StoreSettings",
    }
}

record! {
    /// `InstallBehavior` of `com.apple.configuration.app.managed`.
    pub struct InstallBehavior {
        optional {
            /// One of a closed set.
            install: AppInstall = "Install",
            /// A dictionary.
            license: AppLicense = "License",
            /// A whole number. Since iOS 26.0, macOS 26.0.
            version: i64 = "Version",
            /// One of a closed set. Since iOS 26.0.
            allow_downloads_over_cellular: AppStorePolicy = "AllowDownloadsOverCellular",
        }
    }
}

record! {
    /// `Attributes` of `com.apple.configuration.app.managed`.
    pub struct AppAttributes {
        optional {
            /// A list.
            associated_domains: Vec<String> = "AssociatedDomains",
            /// Yes or no.
            associated_domains_enable_direct_downloads: bool = "AssociatedDomainsEnableDirectDownloads",
            /// Text.
            cellular_slice_uuid: String = "CellularSliceUUID",
            /// Text.
            content_filter_uuid: String = "ContentFilterUUID",
            /// Text.
            dns_proxy_uuid: String = "DNSProxyUUID",
            /// Text.
            relay_uuid: String = "RelayUUID",
            /// Yes or no.
            tap_to_pay_screen_lock: bool = "TapToPayScreenLock",
            /// Text.
            vpnuuid: String = "VPNUUID",
        }
    }
}

record! {
    /// `UpdateBehavior` of `com.apple.configuration.app.managed`.
    pub struct UpdateBehavior {
        optional {
            /// One of a closed set. Since iOS 26.0, macOS 26.0.
            automatic_app_updates: AppStorePolicy = "AutomaticAppUpdates",
        }
    }
}

record! {
    /// `AppConfig` of `com.apple.configuration.app.managed`.
    pub struct AppConfig {
        optional {
            /// Identifier of an asset.
            data_asset_reference: String = "DataAssetReference",
            /// A list.
            passwords: Vec<Value> = "Passwords",
            /// A list.
            identities: Vec<Value> = "Identities",
            /// A list.
            certificates: Vec<Value> = "Certificates",
        }
    }
}

record! {
    /// `InstallBehavior` of `com.apple.configuration.package`.
    pub struct PackageBehavior {
        optional {
            /// One of a closed set.
            install: AppInstall = "Install",
        }
    }
}

record! {
    /// `com.apple.configuration.package`. Since macOS 26.0.
    pub struct Package {
        new {
            /// An address.
            manifest_url: String = "ManifestURL",
        }
        optional {
            /// A dictionary.
            install_behavior: PackageBehavior = "InstallBehavior",
        }
    }
}

record! {
    /// `com.apple.configuration.app.managed`. Since iOS 17.2, macOS 26.0, visionOS 2.4.
    pub struct ManagedApp {
        new {
        }
        choice {
            /// Which application.
            application: ManagedApplication,
        }
        optional {
            /// A dictionary.
            install_behavior: InstallBehavior = "InstallBehavior",
            /// Yes or no.
            include_in_backup: bool = "IncludeInBackup",
            /// A dictionary.
            attributes: AppAttributes = "Attributes",
            /// A dictionary. Since iOS 26.0, macOS 26.0.
            update_behavior: UpdateBehavior = "UpdateBehavior",
            /// A dictionary. Since iOS 18.4, macOS 27.0.
            app_config: AppConfig = "AppConfig",
            /// A dictionary. Since iOS 18.4, macOS 27.0.
            extension_configs: Free = "ExtensionConfigs",
            /// Identifier of an asset. Since iOS 18.4, macOS 27.0.
            legacy_app_config_asset_reference: String = "LegacyAppConfigAssetReference",
            /// Yes or no. Since macOS 26.0.
            ios_app: bool = "iOSApp",
        }
    }
}
