//! `InstallApplication`, `InstallEnterpriseApplication`, `InstalledApplicationList`.

use plist::{Dictionary, Value};

use crate::wire::command::texts;

/// Where an application comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppSource {
    /// `iTunesStoreID`: the store's number.
    StoreId(u64),
    /// `Identifier`: the bundle identifier of an application of the store.
    BundleId(String),
    /// `ManifestURL`: an application of one's own.
    Manifest(String),
}

/// How a store application is licensed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PurchaseMethod {
    /// Free, or by the old redemption codes.
    Legacy,
    /// By volume assignment.
    VolumeAssignment,
}

/// `InstallApplication`.
/// <https://developer.apple.com/documentation/devicemanagement/installapplicationcommand>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct InstallApplication {
    /// Which application.
    pub source: AppSource,
    /// `InstallAsManaged`, needed on a Mac and unknown elsewhere.
    pub install_as_managed: Option<bool>,
    /// `ChangeManagementState` = `Managed`: take over an application that is there already.
    pub take_over: bool,
    /// Bit 1 of `ManagementFlags`: removed together with the management profile.
    pub remove_with_profile: bool,
    /// Bit 4 of `ManagementFlags`: not backed up.
    pub prevent_backup: bool,
    /// `Options.PurchaseMethod`.
    pub purchase_method: Option<PurchaseMethod>,
    /// `Configuration`: the managed configuration. It may hold passwords.
    pub configuration: Option<Dictionary>,
    /// `Attributes`, iOS only.
    pub attributes: Option<Dictionary>,
    /// `iOSApp`: an application for iPhone or iPad on a Mac.
    pub ios_app: Option<bool>,
}

impl InstallApplication {
    /// Installs and takes over what is there already, which is what a migration needs: a kept
    /// application is on the device and unmanaged at that moment.
    #[must_use]
    pub fn taking_over(source: AppSource) -> Self {
        let purchase_method = match source {
            AppSource::Manifest(_) => None,
            AppSource::StoreId(_) | AppSource::BundleId(_) => {
                Some(PurchaseMethod::VolumeAssignment)
            }
        };
        Self {
            source,
            install_as_managed: None,
            take_over: true,
            remove_with_profile: true,
            prevent_backup: false,
            purchase_method,
            configuration: None,
            attributes: None,
            ios_app: None,
        }
    }

    /// The same for a Mac, where management must be asked for.
    #[must_use]
    pub fn for_mac(mut self) -> Self {
        self.install_as_managed = Some(true);
        self
    }

    /// With a managed configuration.
    #[must_use]
    pub fn with_configuration(mut self, configuration: Dictionary) -> Self {
        self.configuration = Some(configuration);
        self
    }

    pub(crate) fn write(&self, d: &mut Dictionary) {
        match &self.source {
            AppSource::StoreId(id) => {
                d.insert("iTunesStoreID".into(), Value::Integer((*id).into()))
            }
            AppSource::BundleId(id) => d.insert("Identifier".into(), id.as_str().into()),
            AppSource::Manifest(url) => d.insert("ManifestURL".into(), url.as_str().into()),
        };
        if let Some(managed) = self.install_as_managed {
            d.insert("InstallAsManaged".into(), managed.into());
        }
        if self.take_over {
            d.insert("ChangeManagementState".into(), "Managed".into());
        }
        let flags = u64::from(self.remove_with_profile) | (u64::from(self.prevent_backup) << 2);
        d.insert("ManagementFlags".into(), Value::Integer(flags.into()));
        if let Some(method) = self.purchase_method {
            let number: u64 = match method {
                PurchaseMethod::Legacy => 0,
                PurchaseMethod::VolumeAssignment => 1,
            };
            let mut options = Dictionary::new();
            options.insert("PurchaseMethod".into(), Value::Integer(number.into()));
            d.insert("Options".into(), Value::Dictionary(options));
        }
        for (key, inner) in [
            ("Configuration", &self.configuration),
            ("Attributes", &self.attributes),
        ] {
            if let Some(inner) = inner {
                d.insert(key.into(), Value::Dictionary(inner.clone()));
            }
        }
        if let Some(ios) = self.ios_app {
            d.insert("iOSApp".into(), ios.into());
        }
    }
}

/// Where a Mac package is described.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PackageSource {
    /// `ManifestURL`.
    Url(String),
    /// `Manifest` in the command itself.
    Inline(Dictionary),
}

/// `InstallEnterpriseApplication`, Mac only.
/// <https://developer.apple.com/documentation/devicemanagement/installenterpriseapplicationcommand>
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct InstallEnterpriseApplication {
    /// The manifest.
    pub manifest: PackageSource,
    /// `ManifestURLPinningCerts`, DER.
    pub pinning_certificates: Vec<Vec<u8>>,
    /// `InstallAsManaged`: keep track of it and take over one that is there.
    pub managed: bool,
    /// Removed together with the management profile; needs `managed`.
    pub remove_with_profile: bool,
    /// `Configuration`: the managed configuration. It may hold passwords.
    pub configuration: Option<Dictionary>,
}

impl InstallEnterpriseApplication {
    /// Installs the package without managing it.
    #[must_use]
    pub fn new(manifest: PackageSource) -> Self {
        Self {
            manifest,
            pinning_certificates: Vec::new(),
            managed: false,
            remove_with_profile: false,
            configuration: None,
        }
    }

    pub(crate) fn write(&self, d: &mut Dictionary) {
        match &self.manifest {
            PackageSource::Url(url) => d.insert("ManifestURL".into(), url.as_str().into()),
            PackageSource::Inline(manifest) => {
                d.insert("Manifest".into(), Value::Dictionary(manifest.clone()))
            }
        };
        if !self.pinning_certificates.is_empty() {
            let pins = self.pinning_certificates.iter().cloned().map(Value::Data);
            d.insert(
                "ManifestURLPinningCerts".into(),
                Value::Array(pins.collect()),
            );
        }
        if self.managed {
            d.insert("InstallAsManaged".into(), true.into());
            d.insert("ChangeManagementState".into(), "Managed".into());
            if self.remove_with_profile {
                d.insert("ManagementFlags".into(), Value::Integer(1u64.into()));
            }
        }
        if let Some(configuration) = &self.configuration {
            d.insert(
                "Configuration".into(),
                Value::Dictionary(configuration.clone()),
            );
        }
    }
}

/// `InstalledApplicationList`.
/// <https://developer.apple.com/documentation/devicemanagement/installedapplicationlistcommand>
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InstalledApplicationList {
    /// `Identifiers`; empty means all.
    pub identifiers: Vec<String>,
    /// `ManagedAppsOnly`.
    pub managed_only: bool,
    /// `Items`: the keys wanted; empty means the device's choice.
    pub items: Vec<String>,
}

impl InstalledApplicationList {
    /// Everything on the device, with the few keys that a migration reads: a short answer.
    #[must_use]
    pub fn for_migration() -> Self {
        let items = [
            "Identifier",
            "Name",
            "Version",
            "ShortVersion",
            "Installing",
            "DeviceBasedVPP",
            "Source",
        ];
        Self {
            identifiers: Vec::new(),
            managed_only: false,
            items: items.map(str::to_owned).to_vec(),
        }
    }

    pub(crate) fn write(&self, d: &mut Dictionary) {
        if !self.identifiers.is_empty() {
            d.insert("Identifiers".into(), texts(&self.identifiers));
        }
        if self.managed_only {
            d.insert("ManagedAppsOnly".into(), true.into());
        }
        if !self.items.is_empty() {
            d.insert("Items".into(), texts(&self.items));
        }
    }
}
