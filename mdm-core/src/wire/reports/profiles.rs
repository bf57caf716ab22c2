//! The answers to `ProfileList` and `CertificateList`.

use plist::Value;

use super::{boolean, dictionaries, text};
use crate::wire::report::CommandReport;

/// One configuration profile on the device.
/// <https://developer.apple.com/documentation/devicemanagement/profilelistresponse>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstalledProfile {
    /// `PayloadIdentifier`.
    pub identifier: String,
    /// `PayloadUUID`.
    pub uuid: Option<String>,
    /// `PayloadDisplayName`.
    pub display_name: Option<String>,
    /// `PayloadOrganization`.
    pub organization: Option<String>,
    /// `IsManaged`.
    pub is_managed: Option<bool>,
    /// The `PayloadType` of each payload in it.
    pub payload_types: Vec<String>,
}

/// One certificate on the device.
/// <https://developer.apple.com/documentation/devicemanagement/certificatelistresponse>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstalledCertificate {
    /// `CommonName`.
    pub common_name: Option<String>,
    /// `Data`: the certificate, DER.
    pub der: Vec<u8>,
    /// `IsIdentity`.
    pub is_identity: Option<bool>,
}

impl CommandReport {
    /// The profiles on the device.
    #[must_use]
    pub fn profiles(&self) -> Option<Vec<InstalledProfile>> {
        let items = dictionaries(self.redacted(), "ProfileList")?;
        Some(
            items
                .filter_map(|profile| {
                    Some(InstalledProfile {
                        identifier: text(profile, "PayloadIdentifier")?,
                        uuid: text(profile, "PayloadUUID"),
                        display_name: text(profile, "PayloadDisplayName"),
                        organization: text(profile, "PayloadOrganization"),
                        is_managed: boolean(profile, "IsManaged"),
                        payload_types: dictionaries(profile, "PayloadContent")
                            .into_iter()
                            .flatten()
                            .filter_map(|payload| text(payload, "PayloadType"))
                            .collect(),
                    })
                })
                .collect(),
        )
    }

    /// The certificates on the device.
    #[must_use]
    pub fn certificates(&self) -> Option<Vec<InstalledCertificate>> {
        let items = dictionaries(self.redacted(), "CertificateList")?;
        Some(
            items
                .filter_map(|certificate| {
                    Some(InstalledCertificate {
                        common_name: text(certificate, "CommonName"),
                        der: certificate.get("Data").and_then(Value::as_data)?.to_vec(),
                        is_identity: boolean(certificate, "IsIdentity"),
                    })
                })
                .collect(),
        )
    }
}
