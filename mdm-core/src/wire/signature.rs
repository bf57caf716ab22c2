//! `Mdm-Signature`: the header by which a device signs each request, when its enrolment profile says
//! `SignMessage`.
//!
//! What is returned is the certificate that signed exactly these bytes. Whether it may speak for
//! anybody is decided by [`crate::identity`] and the enrolment. TLS guards against replay: the
//! signature has no challenge in it.
//!
//! <https://developer.apple.com/documentation/devicemanagement/managing-certificates-for-device-management-services-and-devices>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use super::cms::SignatureError;
use super::cms::verify;

/// The longest header value that is read, in bytes. Real ones have about 2,000.
pub const HEADER_LIMIT: usize = 64 * 1024;

/// Checks the header's value over the exact bytes of the body; gives the signer's certificate (DER).
///
/// # Errors
/// Each [`SignatureError`] is a refusal of the request: an answer of 400, never 401.
pub fn verify_header(value: &str, body: &[u8]) -> Result<Vec<u8>, SignatureError> {
    verify_detached(&decode(value)?, body)
}

/// The certificate (DER) that the header's value names as its signer's. **Nothing is proved by it**: it tells, before a body
/// is read, whether its sender can be anybody who is known.
///
/// # Errors
/// As [`verify_header`].
pub fn claimed_signer(value: &str) -> Result<Vec<u8>, SignatureError> {
    super::cms::claimed_signer(&decode(value)?, HEADER_LIMIT)
}

fn decode(value: &str) -> Result<Vec<u8>, SignatureError> {
    if value.len() > HEADER_LIMIT {
        return Err(SignatureError::TooLarge {
            limit: HEADER_LIMIT,
        });
    }
    // Some proxies fold long headers.
    let compact: String = value.split_ascii_whitespace().collect();
    STANDARD
        .decode(compact)
        .map_err(|_| SignatureError::NotBase64)
}

/// Checks a detached signature (DER or BER) over `body`; gives the signer's certificate (DER).
///
/// # Errors
/// See [`SignatureError`].
pub fn verify_detached(message: &[u8], body: &[u8]) -> Result<Vec<u8>, SignatureError> {
    verify(message, Some(body), HEADER_LIMIT).map(|verified| verified.signer)
}

#[cfg(test)]
mod tests;
