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
    if value.len() > HEADER_LIMIT {
        return Err(SignatureError::TooLarge {
            limit: HEADER_LIMIT,
        });
    }
    // Some proxies fold long headers.
    let compact: String = value.split_ascii_whitespace().collect();
    let message = STANDARD
        .decode(compact)
        .map_err(|_| SignatureError::NotBase64)?;
    verify_detached(&message, body)
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
