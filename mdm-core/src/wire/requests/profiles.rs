//! Configuration profiles, certificates, provisioning profiles.

use crate::wire::keys::{SecretData, record};

record! {
    /// Installs or replaces a configuration profile.
    /// <https://developer.apple.com/documentation/devicemanagement/installprofilecommand>
    pub struct InstallProfile {
        new {
            /// The profile, plain, signed or encrypted. It may hold passwords and challenges.
            payload: SecretData = "Payload",
        }
    }
}

record! {
    /// Removes a configuration profile.
    /// <https://developer.apple.com/documentation/devicemanagement/removeprofilecommand>
    pub struct RemoveProfile {
        new {
            /// The `PayloadIdentifier` of the profile.
            identifier: String = "Identifier",
        }
    }
}

record! {
    /// Lists the configuration profiles.
    /// <https://developer.apple.com/documentation/devicemanagement/profilelistcommand>
    pub struct ProfileList {
        optional {
            /// Only those that this service installed. Since iOS 13 and macOS 10.15.
            managed_only: bool = "ManagedOnly",
        }
    }
}

record! {
    /// Lists the certificates, without those that declarations installed.
    /// <https://developer.apple.com/documentation/devicemanagement/certificatelistcommand>
    pub struct CertificateList {
        optional {
            /// Only those that this service installed. Since iOS 13 and macOS 10.15.
            managed_only: bool = "ManagedOnly",
        }
    }
}

record! {
    /// Installs a provisioning profile: the permission for applications of one's own.
    /// <https://developer.apple.com/documentation/devicemanagement/installprovisioningprofilecommand>
    pub struct InstallProvisioningProfile {
        new {
            /// The provisioning profile.
            provisioning_profile: Vec<u8> = "ProvisioningProfile",
        }
    }
}

record! {
    /// Removes a provisioning profile.
    /// <https://developer.apple.com/documentation/devicemanagement/removeprovisioningprofilecommand>
    pub struct RemoveProvisioningProfile {
        new {
            /// Its UUID.
            uuid: String = "UUID",
        }
    }
}

record! {
    /// Lists the provisioning profiles.
    /// <https://developer.apple.com/documentation/devicemanagement/provisioningprofilelistcommand>
    pub struct ProvisioningProfileList {
        optional {
            /// Only those that this service installed. Since iOS 13.
            managed_only: bool = "ManagedOnly",
        }
    }
}
