//! `com.apple.mdm`: who manages the device.

use uuid::Uuid;

use super::payload_type;
use crate::wire::keys::{record, words};

/// Every access right. They cannot be extended later, so a migration asks for all.
pub const ALL_ACCESS_RIGHTS: u32 = 8191;

words! {
    /// What the service promises to understand.
    pub enum ServerCapability {
        /// Channels of users. It can neither be added nor removed later.
        PerUserConnections = "com.apple.mdm.per-user-connections",
        /// Bootstrap tokens; without it a migrating Mac makes no new recovery key.
        BootstrapToken = "com.apple.mdm.bootstraptoken",
        /// `GetToken`.
        Token = "com.apple.mdm.token",
    }
}

words! {
    /// How an account-driven enrolment treats the device.
    pub enum EnrollmentMode {
        /// As the user's own.
        Byod = "BYOD",
        /// As the organisation's.
        Adde = "ADDE",
    }
}

record! {
    /// The management payload; one per profile, one such profile per device. Topic and addresses can
    /// never be changed by an update.
    /// <https://developer.apple.com/documentation/devicemanagement/mdm>
    pub struct MdmPayload {
        of {
            /// The payload that brings the device's identity.
            identity: Uuid = "IdentityCertificateUUID",
            /// The topic of the push certificate.
            topic: String = "Topic",
            /// For commands.
            server_url: String = "ServerURL",
        }
        optional {
            /// For check-ins; without it as for commands.
            check_in_url: String = "CheckInURL",
            /// Bits: see [`ALL_ACCESS_RIGHTS`].
            access_rights: u32 = "AccessRights",
            /// Every request carries a signature.
            sign_message: bool = "SignMessage",
            /// A farewell is tried when the profile is removed.
            check_out_when_removed: bool = "CheckOutWhenRemoved",
            /// What the service understands.
            capabilities: Vec<ServerCapability> = "ServerCapabilities",
            /// Never with certificates of Apple's portal.
            use_development_apns: bool = "UseDevelopmentAPNS",
            /// Account-driven, gone since iOS 18 and macOS 15.
            managed_apple_id: String = "ManagedAppleID",
            /// The account of an account-driven enrolment. Since iOS 15 and macOS 14.
            assigned_managed_apple_id: String = "AssignedManagedAppleID",
            /// Of an account-driven enrolment. Since iOS 15 and macOS 14.
            enrollment_mode: EnrollmentMode = "EnrollmentMode",
            /// Payloads with certificates, one of which must be that of the command address.
            server_url_pinning: Vec<Uuid> = "ServerURLPinningCertificateUUIDs",
            /// Payloads with certificates, one of which must be that of the check-in address.
            check_in_url_pinning: Vec<Uuid> = "CheckInURLPinningCertificateUUIDs",
            /// Whether revocation is checked against these pins.
            pinning_revocation_check_required: bool = "PinningRevocationCheckRequired",
            /// The store's number of the application that an account-driven enrolment needs.
            required_app_id: u64 = "RequiredAppIDForMDM",
            /// A Mac asks its user before it uses the token; not one that is assigned.
            prompt_user_to_allow_bootstrap_token: bool = "PromptUserToAllowBootstrapTokenForAuthentication",
        }
    }
}

payload_type!(MdmPayload = "com.apple.mdm");

impl MdmPayload {
    /// All rights, signed requests, a farewell, users, bootstrap tokens and tokens for services.
    pub fn new(
        identity: Uuid,
        topic: impl Into<String>,
        server_url: impl Into<String>,
        check_in_url: impl Into<String>,
    ) -> Self {
        Self::of(identity, topic, server_url)
            .check_in_url(check_in_url)
            .access_rights(ALL_ACCESS_RIGHTS)
            .sign_message(true)
            .check_out_when_removed(true)
            .capabilities([
                ServerCapability::PerUserConnections,
                ServerCapability::BootstrapToken,
                ServerCapability::Token,
            ])
    }
}
