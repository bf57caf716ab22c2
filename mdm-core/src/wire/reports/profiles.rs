//! The answers to `ProfileList`, `CertificateList` and `ProvisioningProfileList`.

use plist::Date;

use crate::wire::keys::{Field, answer};
use crate::wire::report::CommandReport;

answer! {
    /// The answer to `ProfileList`.
    /// <https://developer.apple.com/documentation/devicemanagement/profilelistresponse>
    pub struct ProfileListAnswer {
        /// The profiles on the device.
        profiles: Vec<InstalledProfile> = "ProfileList",
    }
}

answer! {
    /// One configuration profile on the device.
    /// <https://developer.apple.com/documentation/devicemanagement/profilelistresponse>
    pub struct InstalledProfile {
        /// The same one replaces it.
        identifier: String = "PayloadIdentifier",
        /// The UUID of this version.
        uuid: String = "PayloadUUID",
        /// The version of the format, 1.
        version: i64 = "PayloadVersion",
        /// The name for people.
        display_name: String = "PayloadDisplayName",
        /// Whose it is.
        organization: String = "PayloadOrganization",
        /// What it is for.
        description: String = "PayloadDescription",
        /// The user cannot remove it.
        removal_disallowed: bool = "PayloadRemovalDisallowed",
        /// Removal asks for a passcode.
        has_removal_passcode: bool = "HasRemovalPasscode",
        /// It came encrypted.
        is_encrypted: bool = "IsEncrypted",
        /// The chain of the signer, DER.
        signer_certificates: Vec<Vec<u8>> = "SignerCertificates",
        /// The service installed it. Not on a Mac.
        is_managed: bool = "IsManaged",
        /// Who manages it, such as `Declarative Device Management`. Since iOS 18 and macOS 15.
        source: String = "Source",
        /// What is in it.
        payloads: Vec<InstalledPayload> = "PayloadContent",
    }
}

answer! {
    /// One payload of a profile on the device, without its values.
    pub struct InstalledPayload {
        /// What it is.
        kind: String = "PayloadType",
        /// The version of the format, 1.
        version: i64 = "PayloadVersion",
        /// Its identifier in the profile.
        identifier: String = "PayloadIdentifier",
        /// Its UUID. Since iOS 17 and macOS 14.
        uuid: String = "PayloadUUID",
        /// The name for people.
        display_name: String = "PayloadDisplayName",
        /// What it is for.
        description: String = "PayloadDescription",
        /// Whose it is.
        organization: String = "PayloadOrganization",
    }
}

impl InstalledProfile {
    /// The `PayloadType` of each payload in it.
    pub fn payload_types(&self) -> impl Iterator<Item = &str> {
        self.payloads
            .iter()
            .flatten()
            .filter_map(|p| p.kind.as_deref())
    }
}

answer! {
    /// The answer to `CertificateList`.
    /// <https://developer.apple.com/documentation/devicemanagement/certificatelistresponse>
    pub struct CertificateListAnswer {
        /// The certificates on the device.
        certificates: Vec<InstalledCertificate> = "CertificateList",
    }
}

answer! {
    /// One certificate on the device.
    /// <https://developer.apple.com/documentation/devicemanagement/certificatelistresponse>
    pub struct InstalledCertificate {
        /// The common name of its subject.
        common_name: String = "CommonName",
        /// The certificate, DER.
        der: Vec<u8> = "Data",
        /// Its private key is there too.
        is_identity: bool = "IsIdentity",
    }
}

answer! {
    /// The answer to `ProvisioningProfileList`.
    /// <https://developer.apple.com/documentation/devicemanagement/provisioningprofilelistresponse>
    pub struct ProvisioningProfileListAnswer {
        /// The provisioning profiles on the device.
        profiles: Vec<ProvisioningProfile> = "ProvisioningProfileList",
    }
}

answer! {
    /// One provisioning profile on the device.
    pub struct ProvisioningProfile {
        /// Its name.
        name: String = "Name",
        /// Its UUID.
        uuid: String = "UUID",
        /// When it ends.
        expiry_date: Date = "ExpiryDate",
    }
}

impl CommandReport {
    /// The profiles on the device.
    #[must_use]
    pub fn profiles(&self) -> Option<Vec<InstalledProfile>> {
        Some(Vec::of_value(self.redacted().get("ProfileList")?)?.0)
    }

    /// The certificates on the device.
    #[must_use]
    pub fn certificates(&self) -> Option<Vec<InstalledCertificate>> {
        Some(Vec::of_value(self.redacted().get("CertificateList")?)?.0)
    }
}
