//! `com.apple.security.FDERecoveryKeyEscrow`: to whom a Mac encrypts its recovery key.

use uuid::Uuid;

use super::payload_type;
use crate::wire::keys::record;

record! {
    /// The escrow payload. There is one per system; a second one is an error of the device.
    /// <https://developer.apple.com/documentation/devicemanagement/fderecoverykeyescrow>
    pub struct EscrowPayload {
        new {
            /// Where the key is kept, as the user reads it.
            location: String = "Location",
            /// The certificate payload of the same profile for which the key is encrypted.
            certificate: Uuid = "EncryptCertPayloadUUID",
        }
        optional {
            /// Help to find the key; without it the device uses its serial number.
            device_key: String = "DeviceKey",
        }
    }
}

payload_type!(EscrowPayload = "com.apple.security.FDERecoveryKeyEscrow");
