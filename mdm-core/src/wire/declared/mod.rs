//! Declarations and status items as values: a type for each that Apple's schema has, by its name. What is newer than this
//! library, or has a key that it does not know, stays the JSON that it was. Decides nothing.
//!
//! <https://developer.apple.com/documentation/devicemanagement/declarations>

mod accounts;
mod apps;
mod assets;
mod credentials;
mod management;
mod security;
mod settings;
mod status;
mod status_accounts;

use plist::Dictionary;
use serde_json::{Map, Value};

use super::json::{of_dictionary, to_dictionary};
use super::keys::{Field, Keys, field_of_keys};

pub use accounts::{
    AccountCaldav, AccountCarddav, AccountExchange, AccountGoogle, AccountLdap, AccountMail,
    AccountSubscribedCalendar, ExchangeOauth, ExchangeProtocol, IncomingMailServer, LdapScope,
    LdapSearch, MailAuthentication, MailServerType, OutgoingMailServer, Smime, SmimeEncryption,
    SmimeSigning,
};
pub use apps::{
    AppAttributes, AppConfig, AppInstall, AppLicense, AppStorePolicy, InstallBehavior,
    LicenseAssignment, ManagedApp, ManagedApplication, Package, PackageBehavior, UpdateBehavior,
};
pub use assets::{
    Accessible, Authentication, AuthenticationType, CredentialAcmeAsset,
    CredentialCertificateAsset, CredentialIdentityAsset, CredentialScepAsset, DataAsset, Reference,
    UserIdentity, UserPasswordAsset,
};
pub use credentials::{
    AcmeCredential, AcmeKeyType, IdentityCredential, ScepCredential, ScepKeySize, SubjectAltName,
    UserNameAndPassword,
};
pub use management::{
    InteractiveLegacyConfiguration, LegacyConfiguration, LegacyProfile, OrganizationInfo,
    OrganizationProof, ServerCapabilities, SimpleActivation, StatusSubscriptions, Subscription,
    TestConfiguration, TestStatus,
};
pub use security::{
    PasscodeRegex, PasscodeSettings, SecurityCertificate, SecurityIdentity,
    SecurityPasskeyAttestation, WatchEnrollment,
};
pub use settings::{
    AutomaticActions, BetaProgram, BetaPrograms, Calculator,
    ComAppleConfigurationMathSettingsBasicMode, ComAppleConfigurationMathSettingsInputModes,
    ComAppleConfigurationMathSettingsScientificMode, DiskRestrictions, DiskmanagementSettings,
    DisplayConfiguration, DisplayType, LaunchdConfiguration, LaunchdContext, MathSettings,
    MathSystemBehavior, MigrationAssistantSettings, Permission, RapidSecurityResponse,
    RecommendedCadence, SafariExtension, SafariExtensionsSettings, ScreensharingConnection,
    ScreensharingConnectionGroup, ScreensharingHostSettings, ServicesBackgroundTasks,
    ServicesConfigurationFiles, SoftwareupdateEnforcementSpecific, SoftwareupdateSettings,
    StorageAccess, UpdateDeferrals,
};
pub use status::{
    AppManagedItem, AppState, AppUpdateState, BackgroundTaskState, BackgroundTaskType,
    BatteryHealth, DeclarationStatus, DeclarationValidity, EnrollmentKind, LaunchdJob,
    LaunchdManagement, ManagementClientCapabilities, ManagementDeclarations, MdmAppItem,
    MdmAppState, MigrationAssistantState, PackageItem, PackageState, Reason,
    ScreensharingConnectionGroupUnresolvedConnectionItem, SecurityCertificateItem,
    ServicesBackgroundTaskItem, SoftwareupdateFailureReason, SoftwareupdateInstallReason,
    SoftwareupdatePendingVersion, SupportedDeclarations, SupportedPayloads, TestArrayValueItem,
    TestDictionaryValue, UpdateInstallReason, UpdateInstallState,
};
pub use status_accounts::{
    AccountCaldavItem, AccountCarddavItem, AccountExchangeItem, AccountGoogleItem, AccountLdapItem,
    AccountMailIncomingItem, AccountSubscribedCalendarItem,
};

/// `com.apple.management.properties`: whatever predicates ask for by `@property(name)`.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "it says one thing of one value")]
pub struct Properties(pub Dictionary);

impl Keys for Properties {
    fn carries_secret(&self) -> bool {
        false
    }

    fn write(&self, d: &mut Dictionary) {
        for (key, value) in &self.0 {
            d.insert(key.clone(), value.clone());
        }
    }

    fn read(of: &Dictionary) -> Option<(Self, bool)> {
        Some((Self(of.clone()), true))
    }

    fn knows(_: &str) -> bool {
        true
    }
}

field_of_keys!(Properties);

/// A dictionary as JSON.
fn json_of(dictionary: &Dictionary) -> Map<String, Value> {
    match of_dictionary(dictionary) {
        Value::Object(map) => map,
        // A dictionary is an object.
        _ => Map::new(),
    }
}

/// A value of this type, if it says everything that the JSON says.
fn exactly<T: Keys>(payload: &Map<String, Value>) -> Option<T> {
    let read = T::from_dictionary(&to_dictionary(&Value::Object(payload.clone())).ok()?)?;
    (json_of(&read.to_dictionary()) == *payload).then_some(read)
}

/// What Apple's schema rules out, as far as that can be told from a key that is newer than it.
fn fault_of<T: Keys>(payload: &Map<String, Value>) -> Option<String> {
    let dictionary = to_dictionary(&Value::Object(payload.clone())).ok()?;
    let Some((read, exact)) = T::read(&dictionary) else {
        return Some("lacks a key that must be there, or has it with another type".to_owned());
    };
    let back = read.to_dictionary();
    let mut lost = dictionary
        .keys()
        .filter(|key| T::knows(key) && !back.contains_key(key));
    let lost = lost.next().filter(|_| !exact)?;
    Some(format!(
        "has {lost} with another type than Apple's, or beside what excludes it"
    ))
}

macro_rules! payloads {
    ($($type:literal $variant:ident;)*) => {
        /// The payload of a declaration.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Payload {
            $(#[doc = concat!("`", $type, "`.")] $variant(Box<$variant>),)*
            /// One of a type that this library does not know, or with keys that it does not know.
            Raw {
                /// `Type`.
                declaration_type: String,
                /// `Payload`.
                payload: Map<String, Value>,
            },
        }

        impl Payload {
            /// Types that have a value of their own.
            pub const TYPES: &[&str] = &[$($type),*];

            /// `Type`.
            #[must_use]
            pub fn declaration_type(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $type,)*
                    Self::Raw { declaration_type, .. } => declaration_type,
                }
            }

            /// The value of a payload.
            #[must_use]
            pub fn read(declaration_type: &str, payload: &Map<String, Value>) -> Self {
                let typed = match declaration_type {
                    $($type => exactly(payload).map(|it| Self::$variant(Box::new(it))),)*
                    _ => None,
                };
                typed.unwrap_or_else(|| Self::Raw {
                    declaration_type: declaration_type.to_owned(),
                    payload: payload.clone(),
                })
            }

            /// `Payload`, without what is `None`.
            #[must_use]
            pub fn to_json(&self) -> Map<String, Value> {
                match self {
                    $(Self::$variant(it) => json_of(&it.to_dictionary()),)*
                    Self::Raw { payload, .. } => payload.clone(),
                }
            }
        }

        $(impl From<$variant> for Payload {
            fn from(it: $variant) -> Self {
                Self::$variant(Box::new(it))
            }
        })*

        /// What Apple's schema rules out in a payload: a key that must be there and is not, or one of another type. Of a type
        /// or a key that this library does not know nothing is said.
        #[must_use]
        pub fn fault(declaration_type: &str, payload: &Map<String, Value>) -> Option<String> {
            match declaration_type {
                $($type => fault_of::<$variant>(payload),)*
                _ => None,
            }
        }
    };
}

macro_rules! status_items {
    ($($name:literal $variant:ident($type:ty);)*) => {
        /// A status item with its value.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum StatusItem {
            $(#[doc = concat!("`", $name, "`.")] $variant($type),)*
            /// One that this library does not know, or whose value says more than it knows.
            Raw {
                /// Its name, with dots.
                name: String,
                /// Its value.
                value: Value,
            },
        }

        impl StatusItem {
            /// Items that have a value of their own.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Its name, with dots: what subscriptions call it.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Raw { name, .. } => name,
                }
            }

            /// The value of an item.
            #[must_use]
            pub fn read(name: &str, value: &Value) -> Self {
                let typed = match name {
                    $($name => field(value).map(Self::$variant),)*
                    _ => None,
                };
                typed.unwrap_or_else(|| Self::Raw {
                    name: name.to_owned(),
                    value: value.clone(),
                })
            }

            /// As devices report it.
            #[must_use]
            pub fn to_json(&self) -> Value {
                match self {
                    $(Self::$variant(it) => json_of_field(it),)*
                    Self::Raw { value, .. } => value.clone(),
                }
            }
        }
    };
}

/// A value that stands alone goes there and back in a dictionary around it.
fn field<T: Field>(value: &Value) -> Option<T> {
    const AROUND: &str = "value";
    let around = Value::Object([(AROUND.to_owned(), value.clone())].into_iter().collect());
    let dictionary = to_dictionary(&around).ok()?;
    let (read, exact) = T::of_value(dictionary.get(AROUND)?)?;
    (exact && json_of_field(&read) == *value).then_some(read)
}

fn json_of_field<T: Field>(value: &T) -> Value {
    let mut around = Dictionary::new();
    around.insert(String::new(), value.to_value());
    json_of(&around).remove("").unwrap_or_default()
}

/// A credential as the file of its asset.
#[must_use]
pub fn credential<T: Keys>(credential: &T) -> crate::secret::Secret {
    let json = of_dictionary(&credential.to_dictionary());
    crate::secret::Secret::from_text(json.to_string())
}

payloads! {
    "com.apple.configuration.account.caldav" AccountCaldav;
    "com.apple.configuration.account.carddav" AccountCarddav;
    "com.apple.configuration.account.exchange" AccountExchange;
    "com.apple.configuration.account.google" AccountGoogle;
    "com.apple.configuration.account.ldap" AccountLdap;
    "com.apple.configuration.account.mail" AccountMail;
    "com.apple.configuration.account.subscribed-calendar" AccountSubscribedCalendar;
    "com.apple.configuration.app.managed" ManagedApp;
    "com.apple.configuration.package" Package;
    "com.apple.asset.credential.acme" CredentialAcmeAsset;
    "com.apple.asset.credential.certificate" CredentialCertificateAsset;
    "com.apple.asset.credential.identity" CredentialIdentityAsset;
    "com.apple.asset.credential.scep" CredentialScepAsset;
    "com.apple.asset.credential.userpassword" UserPasswordAsset;
    "com.apple.asset.data" DataAsset;
    "com.apple.asset.useridentity" UserIdentity;
    "com.apple.activation.simple" SimpleActivation;
    "com.apple.configuration.legacy" LegacyConfiguration;
    "com.apple.configuration.legacy.interactive" InteractiveLegacyConfiguration;
    "com.apple.configuration.management.status-subscriptions" StatusSubscriptions;
    "com.apple.configuration.management.test" TestConfiguration;
    "com.apple.management.organization-info" OrganizationInfo;
    "com.apple.management.properties" Properties;
    "com.apple.management.server-capabilities" ServerCapabilities;
    "com.apple.configuration.passcode.settings" PasscodeSettings;
    "com.apple.configuration.security.certificate" SecurityCertificate;
    "com.apple.configuration.security.identity" SecurityIdentity;
    "com.apple.configuration.security.passkey.attestation" SecurityPasskeyAttestation;
    "com.apple.configuration.watch.enrollment" WatchEnrollment;
    "com.apple.configuration.diskmanagement.settings" DiskmanagementSettings;
    "com.apple.configuration.math.settings" MathSettings;
    "com.apple.configuration.safari.extensions.settings" SafariExtensionsSettings;
    "com.apple.configuration.screensharing.connection" ScreensharingConnection;
    "com.apple.configuration.screensharing.connection.group" ScreensharingConnectionGroup;
    "com.apple.configuration.screensharing.host.settings" ScreensharingHostSettings;
    "com.apple.configuration.services.background-tasks" ServicesBackgroundTasks;
    "com.apple.configuration.services.configuration-files" ServicesConfigurationFiles;
    "com.apple.configuration.migration-assistant.settings" MigrationAssistantSettings;
    "com.apple.configuration.softwareupdate.enforcement.specific" SoftwareupdateEnforcementSpecific;
    "com.apple.configuration.softwareupdate.settings" SoftwareupdateSettings;
}

status_items! {
    "account.list.caldav" AccountListCaldav(Vec<AccountCaldavItem>);
    "account.list.carddav" AccountListCarddav(Vec<AccountCarddavItem>);
    "account.list.exchange" AccountListExchange(Vec<AccountExchangeItem>);
    "account.list.google" AccountListGoogle(Vec<AccountGoogleItem>);
    "account.list.ldap" AccountListLdap(Vec<AccountLdapItem>);
    "account.list.mail.incoming" AccountListMailIncoming(Vec<AccountMailIncomingItem>);
    "account.list.mail.outgoing" AccountListMailOutgoing(Vec<AccountCarddavItem>);
    "account.list.subscribed-calendar" AccountListSubscribedCalendar(Vec<AccountSubscribedCalendarItem>);
    "app.managed.list" AppManagedList(Vec<AppManagedItem>);
    "device.identifier.serial-number" DeviceIdentifierSerialNumber(String);
    "device.identifier.udid" DeviceIdentifierUdid(String);
    "device.model.family" DeviceModelFamily(String);
    "device.model.identifier" DeviceModelIdentifier(String);
    "device.model.marketing-name" DeviceModelMarketingName(String);
    "device.model.number" DeviceModelNumber(String);
    "device.operating-system.build-version" DeviceOperatingSystemBuildVersion(String);
    "device.operating-system.family" DeviceOperatingSystemFamily(String);
    "device.operating-system.marketing-name" DeviceOperatingSystemMarketingName(String);
    "device.operating-system.supplemental.build-version" DeviceOperatingSystemSupplementalBuildVersion(String);
    "device.operating-system.supplemental.extra-version" DeviceOperatingSystemSupplementalExtraVersion(String);
    "device.operating-system.version" DeviceOperatingSystemVersion(String);
    "device.power.battery-health" DevicePowerBatteryHealth(BatteryHealth);
    "diskmanagement.filevault.enabled" DiskmanagementFilevaultEnabled(bool);
    "management.client-capabilities" ManagementClientCapabilities(ManagementClientCapabilities);
    "management.declarations" ManagementDeclarations(ManagementDeclarations);
    "mdm.app" MdmApp(Vec<MdmAppItem>);
    "migration-assistant.state" MigrationAssistantState(MigrationAssistantState);
    "package.list" PackageList(Vec<PackageItem>);
    "passcode.is-compliant" PasscodeIsCompliant(bool);
    "passcode.is-present" PasscodeIsPresent(bool);
    "screensharing.connection.group.unresolved-connection" ScreensharingConnectionGroupUnresolvedConnection(Vec<ScreensharingConnectionGroupUnresolvedConnectionItem>);
    "security.certificate.list" SecurityCertificateList(Vec<SecurityCertificateItem>);
    "services.background-task" ServicesBackgroundTask(Vec<ServicesBackgroundTaskItem>);
    "softwareupdate.beta-enrollment" SoftwareupdateBetaEnrollment(String);
    "softwareupdate.device-id" SoftwareupdateDeviceId(String);
    "softwareupdate.failure-reason" SoftwareupdateFailureReason(SoftwareupdateFailureReason);
    "softwareupdate.install-reason" SoftwareupdateInstallReason(SoftwareupdateInstallReason);
    "softwareupdate.install-state" SoftwareupdateInstallState(UpdateInstallState);
    "softwareupdate.pending-version" SoftwareupdatePendingVersion(SoftwareupdatePendingVersion);
    "test.array-value" TestArrayValue(Vec<TestArrayValueItem>);
    "test.boolean-value" TestBooleanValue(bool);
    "test.dictionary-value" TestDictionaryValue(TestDictionaryValue);
    "test.error-value" TestErrorValue(String);
    "test.integer-value" TestIntegerValue(i64);
    "test.real-value" TestRealValue(f64);
    "test.string-value" TestStringValue(String);
    "mdm.enrollment-type" MdmEnrollmentType(EnrollmentKind);
    "mdm.is-awaiting-configuration" MdmIsAwaitingConfiguration(bool);
    "mdm.is-return-to-service" MdmIsReturnToService(bool);
    "mdm.is-shared-ipad" MdmIsSharedIpad(bool);
    "mdm.push-magic" MdmPushMagic(String);
    "mdm.push-token" MdmPushToken(String);
}
