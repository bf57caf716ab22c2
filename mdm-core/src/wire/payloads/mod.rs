//! Configuration profiles and their payloads, one file per family.
//!
//! A payload knows its keys; when and for whom a profile is made is decided elsewhere. The encoded
//! bytes may hold passwords and challenges, hence they are zeroed when dropped. A payload of another
//! type is made with [`Payload::new`] from a dictionary.
//!
//! <https://developer.apple.com/documentation/devicemanagement/profile-specific-payload-keys>

mod acme;
mod certificate;
mod escrow;
mod extensions;
mod filevault;
mod identify;
mod login_items;
mod mdm;
mod notifications;
mod passcode;
mod privacy;
mod profile;
mod scep;
mod sso;
mod vpn;
mod wifi;

pub use acme::{AcmeKeyType, AcmePayload};
pub use certificate::{Certificate, CertificateKind, CertificatePayload, Pkcs12Payload};
pub use escrow::EscrowPayload;
pub use extensions::{KernelExtensionPayload, SystemExtensionPayload};
pub use filevault::{FileVaultOptionsPayload, FileVaultPayload, FileVaultSwitch};
pub(crate) use identify::signed_content;
pub use identify::{ProfileContents, ProfileError, profile_contents, profile_identifier};
pub use login_items::{
    LoginItem, LoginItemsPayload, ServiceManagementPayload, ServiceRule, ServiceRuleType,
};
pub use mdm::{ALL_ACCESS_RIGHTS, EnrollmentMode, MdmPayload, ServerCapability};
pub use notifications::{
    AlertType, GroupingType, NotificationSettings, NotificationsPayload, PreviewType,
};
pub use passcode::{PasscodePayload, PasscodeRule};
pub use privacy::{Authorization, CodeIdentity, CodeIdentityType, PrivacyPayload, PrivacyServices};
pub use profile::{ConfigurationProfile, Payload, PayloadScope};
pub use scep::{ScepKeySize, ScepPayload, SubjectAltName};
pub use sso::{
    PlatformAuthentication, PlatformLoginPolicy, PlatformSso, ScreenLockedBehavior, SsoPayload,
    SsoType, TokenToUserMapping, UserAuthorizationMode,
};
pub use vpn::{
    CertificateType, DeadPeerDetection, DnsProtocol, DomainAction, EncryptionAlgorithm, Ikev2,
    Ikev2Authentication, IntegrityAlgorithm, InterfaceType, OnDemandAction, OnDemandParameters,
    OnDemandRule, ProviderType, SecurityAssociation, Switch, TlsVersion, VpnAuthentication, VpnDns,
    VpnPayload, VpnProvider, VpnProxies, VpnType,
};
pub use wifi::{
    EapConfiguration, EapType, ProxyType, QosMarkingPolicy, SetupMode, TtlsInnerAuthentication,
    WifiEncryption, WifiPayload,
};

/// Gives a record its `PayloadType`.
macro_rules! payload_type {
    ($name:ident = $kind:literal) => {
        impl $name {
            #[doc = concat!("`", $kind, "`.")]
            pub const TYPE: &'static str = $kind;

            /// As a payload of a profile.
            #[must_use]
            pub fn payload(&self, profile: ::uuid::Uuid, identifier: &str) -> super::Payload {
                let content = $crate::wire::keys::Keys::to_dictionary(self);
                super::Payload::new(profile, Self::TYPE, identifier, content)
            }
        }
    };
}
use payload_type;

#[cfg(test)]
mod tests;
