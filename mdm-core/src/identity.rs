//! Whose certificate is this: reads a client certificate, however it arrived, and checks that one
//! of the organisation's authorities issued it.
//!
//! Nothing here asks OpenSSL for the time: validity is a question with a `now`. The facts of a
//! certificate do not change, so that callers may keep an [`Identity`] by its SHA-256. Whether the
//! certificate belongs to an enrolment is for the enrolment to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, PKeyRef, Public};
use openssl::sha::sha256;
use openssl::x509::{X509, X509Ref};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::clock::Timestamp;

/// The longest header with a certificate that is read, in bytes.
const HEADER_LIMIT: usize = 64 * 1024;

/// How many authorities are kept, read: each of as many organisations as are kept may have its own, and a few older or other ones.
const KEPT: usize = 8_192;

/// The attribute `userId` of RFC 4519.
const USER_ID: &str = "0.9.2342.19200300.100.1.1";

/// Why a certificate was refused. An answer of 400, never 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A proxy's header that holds no certificate.
    #[error("the client certificate header cannot be read")]
    Header,
    /// Bytes that are no certificate.
    #[error("the client certificate cannot be read")]
    Certificate,
    /// Issued by somebody else.
    #[error("the client certificate was not issued by this organisation")]
    Foreign,
    /// Not made for a client, or itself an authority.
    #[error("the client certificate is not made for a device")]
    Purpose,
}

/// What a certificate that one of our authorities issued says. It holds at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// SHA-256 of the certificate (DER), lower-case hexadecimal: what enrolments are tied to.
    pub sha256: String,
    /// The common name: the code of the enrolment session.
    pub common_name: Option<String>,
    /// The serial number, if it fits; ours do.
    pub serial: Option<i64>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

/// What a moment means for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "before, within, after")]
pub enum Validity {
    /// It is not valid yet.
    NotYet,
    /// It is valid.
    Good,
    /// It was valid until this long ago. Devices go on using it.
    Expired {
        /// How long ago.
        since: Duration,
    },
}

impl Identity {
    /// What `now` means for this certificate.
    #[must_use]
    pub fn validity(&self, now: Timestamp) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now <= self.not_after {
            Validity::Good
        } else {
            Validity::Expired {
                since: now.since(self.not_after),
            }
        }
    }
}

/// The organisation's authorities, each parsed once in a process.
#[derive(Clone)]
pub struct Authorities(Vec<Arc<Authority>>);

struct Authority {
    subject: Vec<u8>,
    key: PKey<Public>,
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

impl Authority {
    /// The authority of a certificate (DER). What a certificate says never changes, so that it is kept by its SHA-256: to read
    /// one takes OpenSSL as long as a signature does, and each device that is new to a process would have it done again.
    fn of(der: &[u8]) -> Result<Arc<Self>, IdentityError> {
        static READ: Mutex<BTreeMap<[u8; 32], Arc<Authority>>> = Mutex::new(BTreeMap::new());
        let hash = sha256(der);
        if let Ok(read) = READ.lock()
            && let Some(authority) = read.get(&hash)
        {
            return Ok(Arc::clone(authority));
        }
        let authority = Arc::new(Self::read(der)?);
        if let Ok(mut read) = READ.lock() {
            if read.len() >= KEPT {
                read.clear();
            }
            read.insert(hash, Arc::clone(&authority));
        }
        Ok(authority)
    }

    fn read(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        let key = X509::from_der(der)
            .and_then(|x509| x509.public_key())
            .map_err(|_| IdentityError::Certificate)?;
        Ok(Self {
            subject: parsed.subject().as_raw().to_vec(),
            key,
        })
    }
}

impl Authorities {
    /// Takes the authorities' certificates (DER). Their own dates are not asked: an authority is
    /// trusted as long as the organisation lists it.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] if one of them cannot be read.
    pub fn new<'a>(
        certificates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, IdentityError> {
        let all: Result<Vec<_>, _> = certificates.into_iter().map(Authority::of).collect();
        Ok(Self(all?))
    }

    /// Checks that one of the authorities issued this certificate (DER) to a client.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn identify(&self, der: &[u8]) -> Result<Identity, IdentityError> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::Certificate);
        }
        let x509 = X509::from_der(der).map_err(|_| IdentityError::Certificate)?;
        // By key and not by name alone: two authorities may have one name.
        let issued = self.0.iter().any(|authority| {
            authority.subject == parsed.issuer().as_raw() && is_issued_by(&x509, &authority.key)
        });
        if !issued {
            return Err(IdentityError::Foreign);
        }
        let client = parsed
            .extended_key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.client_auth);
        if !client || parsed.is_ca() {
            return Err(IdentityError::Purpose);
        }
        let moment = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_millis(time.timestamp().saturating_mul(1000))
        };
        let mut names = parsed.subject().iter_common_name();
        Ok(Identity {
            sha256: sha256_hex(der),
            common_name: names
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            serial: serial(parsed.raw_serial()),
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
        })
    }
}

/// Reads the certificate (DER) out of the header of a TLS-terminating proxy: RFC 9440
/// (`:base64:`), or PEM with percent escapes as nginx writes it.
///
/// # Errors
/// [`IdentityError::Header`].
pub fn certificate_from_header(value: &str) -> Result<Vec<u8>, IdentityError> {
    let value = value.trim();
    if value.len() > HEADER_LIMIT {
        return Err(IdentityError::Header);
    }
    let der = if let Some(rest) = value.strip_prefix(':') {
        let encoded = rest.strip_suffix(':').ok_or(IdentityError::Header)?;
        STANDARD
            .decode(encoded)
            .map_err(|_| IdentityError::Header)?
    } else {
        let pem = unescape(value).ok_or(IdentityError::Header)?;
        X509::from_pem(&pem)
            .and_then(|x509| x509.to_der())
            .map_err(|_| IdentityError::Header)?
    };
    match X509Certificate::from_der(&der) {
        Ok(([], _)) => Ok(der),
        _ => Err(IdentityError::Header),
    }
}

/// The push topic that a push certificate (DER) speaks for, and the end of its validity. The topic is
/// the user id in its subject and begins with `com.apple.mgmt.`.
///
/// # Errors
/// [`IdentityError::Certificate`] if it cannot be read, [`IdentityError::Purpose`] if it is no push
/// certificate for device management.
pub fn push_topic(der: &[u8]) -> Result<(String, Timestamp), IdentityError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
    let topic = parsed
        .subject()
        .iter_attributes()
        .filter(|a| a.attr_type().to_id_string() == USER_ID)
        .find_map(|a| a.as_str().ok())
        .filter(|topic| topic.starts_with("com.apple.mgmt."))
        .ok_or(IdentityError::Purpose)?;
    let end = parsed.validity().not_after.timestamp();
    let end = Timestamp::from_millis(end.saturating_mul(1000));
    Ok((topic.to_owned(), end))
}

/// When a certificate ends; none for bytes that are no certificate.
#[must_use]
pub fn ends(der: &[u8]) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let end = parsed.validity().not_after.timestamp();
    Some(Timestamp::from_millis(end.saturating_mul(1000)))
}

/// The common name of a certificate's subject; empty where it has none.
#[must_use]
pub fn name_of(der: &[u8]) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else {
        return String::new();
    };
    let mut names = parsed.subject().iter_common_name();
    let name = names.next().and_then(|name| name.as_str().ok());
    name.unwrap_or_default().to_owned()
}

/// Whether `key` signed this certificate.
///
/// OpenSSL notes why a signature does not fit in a list of the thread, and its answer *no* leaves the note there: the next
/// TLS connection that this thread serves would take it for its own failure and end without an answer. So it is emptied.
pub(crate) fn is_issued_by(certificate: &X509Ref, key: &PKeyRef<Public>) -> bool {
    let fits = certificate.verify(key).unwrap_or(false);
    let _ = ErrorStack::get();
    fits
}

/// SHA-256 in lower-case hexadecimal, as certificates and challenges are named in the store.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hexadecimal(&sha256(bytes))
}

/// Lower-case hexadecimal of a hash, without the machinery of formatting: each message says one.
pub(crate) fn hexadecimal(hash: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(64);
    for byte in hash {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Percent escapes only: `+` is part of base64 and stays what it is.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: u8| char::from(b).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn serial(raw: &[u8]) -> Option<i64> {
    // Big-endian two's complement.
    if raw.is_empty() || raw.len() > 8 {
        return None;
    }
    let mut bytes = [if raw[0] & 0x80 == 0 { 0 } else { 0xff }; 8];
    bytes[8 - raw.len()..].copy_from_slice(raw);
    Some(i64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
