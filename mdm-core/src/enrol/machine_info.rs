//! MachineInfo: what a device says of itself when it asks for its enrolment profile.
//!
//! The signature is the only proof of the serial number before a certificate is issued. The leaf
//! must have been issued by a pinned key: the name of the issuer counts for nothing, another
//! authority of the same name is refused, and so is a message with two signers. Dates are not
//! judged, as Apple's issuing certificate expired in 2014 and goes on issuing.
//!
//! <https://developer.apple.com/documentation/devicemanagement/machineinfo>

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use plist::{Dictionary, Value};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ids::Serial;
use crate::wire::cms::verify;
use crate::wire::plist::{PlistError, read_dictionary};
use crate::wire::signature::SignatureError;

/// The largest message that is read, in bytes. Real ones have less than 8,000.
pub const LIMIT: usize = 256 * 1024;

const APPLE: &[u8] = include_bytes!("../../assets/apple-iphone-device-ca.pem");

/// Why machine information was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineInfoError {
    /// The text form of the header is not base64.
    #[error("the header is not base64")]
    Header,
    /// The signature.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// Signed by somebody whom no pinned authority certified.
    #[error("signed under an authority that is not trusted")]
    Untrusted,
    /// The content is no property list that we read.
    #[error("{0}")]
    Plist(#[from] PlistError),
    /// A required key is absent or unfit.
    #[error("{0} is missing or not valid")]
    Field(&'static str),
}

/// An authority whose key certifies devices.
#[derive(Clone)]
pub struct DeviceAuthority {
    subject: Vec<u8>,
    key: PKey<Public>,
}

impl std::fmt::Debug for DeviceAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceAuthority(..)")
    }
}

impl DeviceAuthority {
    /// Apple's own.
    #[must_use]
    pub fn apple() -> Self {
        // Proved by a test: the file is part of this library.
        Self::from_pem(APPLE).expect("the embedded certificate can be read")
    }

    /// From a certificate (PEM).
    #[must_use]
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        Self::of(&X509::from_pem(pem).ok()?)
    }

    /// From a certificate (DER): a simulated world's authority, say.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        Self::of(&X509::from_der(der).ok()?)
    }

    fn of(x509: &X509) -> Option<Self> {
        let der = x509.to_der().ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        Some(Self {
            subject: parsed.subject().as_raw().to_vec(),
            key: x509.public_key().ok()?,
        })
    }

    fn issued(&self, issuer: &[u8], leaf: &X509) -> bool {
        // Name first, as it is cheap; the key decides. The authority itself is no device.
        self.subject == issuer
            && crate::identity::is_issued_by(leaf, &self.key)
            && !leaf.public_key().is_ok_and(|own| own.public_eq(&self.key))
    }
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MachineInfo {
    /// `SERIAL`.
    pub serial: Serial,
    /// `UDID`.
    pub udid: String,
    /// `PRODUCT`, such as `iPhone17,2` or `Mac15,7`.
    pub product: String,
    /// `VERSION`, the build.
    pub build: Option<String>,
    /// `OS_VERSION`.
    pub os_version: Option<String>,
    /// `SUPPLEMENTAL_BUILD_VERSION`.
    pub supplemental_build: Option<String>,
    /// `SOFTWARE_UPDATE_DEVICE_ID`.
    pub software_update_device: Option<String>,
    /// `IMEI`.
    pub imei: Option<String>,
    /// `MEID`.
    pub meid: Option<String>,
    /// `LANGUAGE`.
    pub language: Option<String>,
    /// `MDM_CAN_REQUEST_SOFTWARE_UPDATE`: an answer may ask for an update first.
    pub can_update_first: bool,
    /// `MANDATORY_SOFTWARE_UPDATE_REQUIRED`: the device will update anyway.
    pub must_update: bool,
    /// `MDM_CAN_REQUEST_PSSO_CONFIG`: an answer may ask for single sign-on first.
    pub can_sign_on_first: bool,
    /// The dictionary as received; unknown keys are kept.
    pub raw: Dictionary,
}

impl MachineInfo {
    /// Whether this is a Mac.
    #[must_use]
    pub fn is_mac(&self) -> bool {
        self.product.contains("Mac")
    }

    /// Reads a property list without signature. It proves nothing; [`receive`] does.
    ///
    /// # Errors
    /// If it cannot be read, or serial number, UDID or product are missing.
    pub fn parse(plist: &[u8]) -> Result<Self, MachineInfoError> {
        let raw = read_dictionary(plist, LIMIT)?;
        let text = |key: &str| text_of(&raw, key);
        let flag = |key: &str| raw.get(key).and_then(Value::as_boolean).unwrap_or(false);
        let need = |key: &'static str| text(key).ok_or(MachineInfoError::Field(key));
        Ok(Self {
            serial: Serial::parse(&need("SERIAL")?)
                .map_err(|_| MachineInfoError::Field("SERIAL"))?,
            udid: need("UDID")?,
            product: need("PRODUCT")?,
            build: text("VERSION"),
            os_version: text("OS_VERSION"),
            supplemental_build: text("SUPPLEMENTAL_BUILD_VERSION"),
            software_update_device: text("SOFTWARE_UPDATE_DEVICE_ID"),
            imei: text("IMEI").map(|t| t.replace(' ', "")),
            meid: text("MEID").map(|t| t.replace(' ', "")),
            language: text("LANGUAGE"),
            can_update_first: flag("MDM_CAN_REQUEST_SOFTWARE_UPDATE"),
            must_update: flag("MANDATORY_SOFTWARE_UPDATE_REQUIRED"),
            can_sign_on_first: flag("MDM_CAN_REQUEST_PSSO_CONFIG"),
            raw,
        })
    }
}

/// What a device says of itself that an account brings: one that belongs to its user names neither serial number nor UDID.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountInfo {
    /// `SERIAL`.
    pub serial: Option<Serial>,
    /// `UDID`.
    pub udid: Option<String>,
    /// `PRODUCT`.
    pub product: String,
    /// `OS_VERSION`.
    pub os_version: Option<String>,
}

impl AccountInfo {
    /// Reads a property list without signature. It proves nothing; [`receive_of_account`] does.
    ///
    /// # Errors
    /// If it cannot be read, or the product is missing, or a serial number is none.
    pub fn parse(plist: &[u8]) -> Result<Self, MachineInfoError> {
        let raw = read_dictionary(plist, LIMIT)?;
        let text = |key: &str| text_of(&raw, key);
        let serial = text("SERIAL")
            .map(|serial| Serial::parse(&serial))
            .transpose();
        Ok(Self {
            serial: serial.map_err(|_| MachineInfoError::Field("SERIAL"))?,
            udid: text("UDID"),
            product: text("PRODUCT").ok_or(MachineInfoError::Field("PRODUCT"))?,
            os_version: text("OS_VERSION"),
        })
    }
}

fn text_of(raw: &Dictionary, key: &str) -> Option<String> {
    let text = raw.get(key).and_then(Value::as_string).map(str::trim);
    text.filter(|t| !t.is_empty() && t.len() <= 512)
        .map(str::to_owned)
}

/// Checks a signed message (DER or BER) against the authorities and reads its content.
///
/// # Errors
/// See [`MachineInfoError`].
pub fn receive(
    message: &[u8],
    authorities: &[DeviceAuthority],
) -> Result<MachineInfo, MachineInfoError> {
    MachineInfo::parse(&content(message, authorities)?)
}

/// The same of a device that an account brings.
///
/// # Errors
/// See [`MachineInfoError`].
pub fn receive_of_account(
    message: &[u8],
    authorities: &[DeviceAuthority],
) -> Result<AccountInfo, MachineInfoError> {
    AccountInfo::parse(&content(message, authorities)?)
}

/// What one of the authorities' devices has signed.
fn content(message: &[u8], authorities: &[DeviceAuthority]) -> Result<Vec<u8>, MachineInfoError> {
    let verified = verify(message, None, LIMIT)?;
    let leaf = X509::from_der(&verified.signer).map_err(|_| MachineInfoError::Untrusted)?;
    let (_, parsed) =
        X509Certificate::from_der(&verified.signer).map_err(|_| MachineInfoError::Untrusted)?;
    let issuer = parsed.issuer().as_raw();
    if !authorities.iter().any(|a| a.issued(issuer, &leaf)) {
        return Err(MachineInfoError::Untrusted);
    }
    Ok(verified.content.clone())
}

/// The message in the `x-apple-aspen-deviceinfo` header, which is base64 in either alphabet.
///
/// # Errors
/// [`MachineInfoError::Header`].
pub fn from_header(value: &str) -> Result<Vec<u8>, MachineInfoError> {
    if value.len() > LIMIT {
        return Err(MachineInfoError::Header);
    }
    let compact: String = value.split_ascii_whitespace().collect();
    STANDARD
        .decode(&compact)
        .or_else(|_| URL_SAFE.decode(&compact))
        .or_else(|_| URL_SAFE_NO_PAD.decode(&compact))
        .map_err(|_| MachineInfoError::Header)
}

#[cfg(test)]
mod tests;
