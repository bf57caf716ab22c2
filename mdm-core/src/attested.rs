//! What Apple's attestation service says of a device: facts that neither the device nor whoever holds it can choose. Kept as
//! they stood in the certificate; nothing is concluded from them here.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What an attestation says. What is missing, Apple could not determine, or keeps to itself.
///
/// <https://developer.apple.com/documentation/devicemanagement/validating-a-managed-device-attestation-attestation>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AttestedFacts {
    /// When we verified it.
    pub at: Timestamp,
    /// SHA-256 of the root certificate that it goes back to, lower-case hex.
    pub root: String,
    /// The serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The UDID; of a Mac its provisioning UDID, which is another one than that of its check-ins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udid: Option<String>,
    /// The version of the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The version of the Secure Enclave's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sep_os_version: Option<String>,
    /// The version of the low-level boot loader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_loader_version: Option<String>,
    /// The device as the software update service names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_update_id: Option<String>,
    /// System Integrity Protection of a Mac, in Apple's word: `0` is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_integrity: Option<String>,
    /// The level of a Mac's secure boot, in Apple's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<String>,
    /// Whether a Mac may load kernel extensions of others, in Apple's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_extensions: Option<String>,
}

impl AttestedFacts {
    /// An attestation that goes back to this root and says nothing.
    #[must_use]
    pub fn new(at: Timestamp, root: String) -> Self {
        Self {
            at,
            root,
            serial: None,
            udid: None,
            os_version: None,
            sep_os_version: None,
            boot_loader_version: None,
            software_update_id: None,
            system_integrity: None,
            secure_boot: None,
            kernel_extensions: None,
        }
    }
}
