//! The organisation's certificate authority: makes itself, issues device identities.
//!
//! Bytes in, bytes out. The subject of what is issued is ours to say, never the request's; nothing
//! that is issued can issue in turn; all dates come from the caller's `now`.

pub mod acme;
mod revocation;
pub mod scep;

use revocation::distribution_point;
pub use revocation::{LIST_TYPE, RevokedEntry};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder, X509NameRef};

use crate::clock::Timestamp;
use crate::secret::Secret;

/// The authority's key in bits. It stands for ten years and decrypts certificate requests, which
/// Apple's client allows for RSA only.
const CA_KEY_BITS: u32 = 3072;

/// How far a device's clock may be behind ours and still accept a fresh certificate, in seconds.
const BACKDATE_SECS: i64 = 3600;

/// A cryptographic operation of ours failed. It says nothing about a device's input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("certificate authority: {0}")]
pub struct CaError(&'static str);

impl CaError {
    pub(crate) fn of(what: &'static str) -> impl Fn(ErrorStack) -> Self {
        move |_| Self(what)
    }
}

/// Who answers certificate requests: decrypts them and signs the answers. An authority is one for itself; a registration
/// authority is one that an authority vouches for, and can issue nothing.
pub struct Responder {
    key: PKey<Private>,
    certificate: X509,
    der: Vec<u8>,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Responder(..)")
    }
}

impl Responder {
    /// Takes one from its certificate (DER) and its opened private key (PKCS#8 DER).
    ///
    /// # Errors
    /// If one of them cannot be read, or they do not belong together.
    pub fn load(certificate: &[u8], key: &Secret) -> Result<Self, CaError> {
        let failed = CaError::of("certificate or key cannot be read");
        let key = PKey::private_key_from_der(key.expose()).map_err(&failed)?;
        let certificate = X509::from_der(certificate).map_err(&failed)?;
        let own = certificate.public_key().map_err(&failed)?;
        if !own.public_eq(&key) {
            return Err(CaError("certificate and key do not belong together"));
        }
        let der = certificate.to_der().map_err(&failed)?;
        Ok(Self {
            key,
            certificate,
            der,
        })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    /// Whether it can decrypt requests: SCEP's key transport is RSA's. An authority with another key needs a registration
    /// authority beside it.
    #[must_use]
    pub fn can_decrypt(&self) -> bool {
        self.key.id() == Id::RSA
    }
}

/// A certificate authority with its key in memory.
pub struct Ca {
    own: Responder,
    /// Where its revocation list is, for the certificates that it issues.
    list_url: Option<String>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ca(..)")
    }
}

/// What to issue to a device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Issue<'a> {
    /// The X.509 serial number; positive, never used before by this authority.
    pub serial: i64,
    /// The common name: the code of the enrolment session.
    pub common_name: &'a str,
    /// The public key, DER SubjectPublicKeyInfo.
    pub public_key: &'a [u8],
    /// From when.
    pub now: Timestamp,
    /// For how many days.
    pub days: u32,
}

impl<'a> Issue<'a> {
    /// An identity for this key under this name.
    #[must_use]
    pub fn new(
        serial: i64,
        common_name: &'a str,
        public_key: &'a [u8],
        now: Timestamp,
        days: u32,
    ) -> Self {
        Self {
            serial,
            common_name,
            public_key,
            now,
            days,
        }
    }
}

impl Ca {
    /// Makes a key and a self-signed certificate that is good for ten years.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn create(common_name: &str, now: Timestamp) -> Result<Self, CaError> {
        let failed = CaError::of("the authority cannot be made");
        let key = Rsa::generate(CA_KEY_BITS)
            .and_then(PKey::from_rsa)
            .map_err(&failed)?;
        let certificate = self_signed(&key, common_name, now).map_err(&failed)?;
        let der = certificate.to_der().map_err(&failed)?;
        Ok(Self::of(Responder {
            key,
            certificate,
            der,
        }))
    }

    /// Takes an authority from its certificate (DER) and its opened private key (PKCS#8 DER).
    ///
    /// # Errors
    /// If one of them cannot be read, or they do not belong together.
    pub fn load(certificate: &[u8], key: &Secret) -> Result<Self, CaError> {
        Responder::load(certificate, key).map(Self::of)
    }

    fn of(own: Responder) -> Self {
        Self {
            own,
            list_url: None,
        }
    }

    /// With the address of its revocation list, which stands in every certificate that it issues from now on.
    #[must_use]
    pub fn with_revocation_list_at(mut self, url: impl Into<String>) -> Self {
        self.list_url = Some(url.into());
        self
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.own.certificate()
    }

    /// Itself, as who answers certificate requests.
    #[must_use]
    pub fn responder(&self) -> &Responder {
        &self.own
    }

    /// The private key (PKCS#8 DER), for the vault.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn private_key(&self) -> Result<Secret, CaError> {
        let der = self.own.key.private_key_to_pkcs8();
        der.map(Secret::new)
            .map_err(CaError::of("the key cannot be written"))
    }

    /// Issues a device identity; gives the certificate, DER.
    ///
    /// # Errors
    /// If the public key cannot be read, or OpenSSL fails.
    pub fn issue(&self, issue: &Issue<'_>) -> Result<Vec<u8>, CaError> {
        let failed = CaError::of("the certificate cannot be issued");
        let key = PKey::public_key_from_der(issue.public_key).map_err(&failed)?;
        if issue.serial <= 0 {
            return Err(CaError("a serial number must be positive"));
        }
        self.issue_to(issue, &key)
            .and_then(|certificate| certificate.to_der())
            .map_err(&failed)
    }

    /// Issues a certificate that signs profiles, with a fresh key; gives the certificate (DER) and
    /// the private key (PKCS#8 DER). It is no device identity: it may not speak as a client.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn issue_profile_signer(
        &self,
        serial: i64,
        common_name: &str,
        now: Timestamp,
        days: u32,
    ) -> Result<(Vec<u8>, Secret), CaError> {
        let usage = |usage: &mut KeyUsage| {
            usage.digital_signature();
        };
        self.issue_own(serial, common_name, now, days, usage)
            .map_err(CaError::of("the signing certificate cannot be issued"))
    }

    /// Issues the certificate of a registration authority, which answers certificate requests in place of this authority,
    /// with a fresh RSA key; gives the certificate (DER) and the private key (PKCS#8 DER). It is no device identity.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn issue_registration_authority(
        &self,
        serial: i64,
        common_name: &str,
        now: Timestamp,
        days: u32,
    ) -> Result<(Vec<u8>, Secret), CaError> {
        let usage = |usage: &mut KeyUsage| {
            // Signs the answers, decrypts the requests.
            usage.digital_signature().key_encipherment();
        };
        self.issue_own(serial, common_name, now, days, usage)
            .map_err(CaError::of("the registration authority cannot be issued"))
    }

    /// A certificate for a fresh key of ours, which is no device identity.
    fn issue_own(
        &self,
        serial: i64,
        common_name: &str,
        now: Timestamp,
        days: u32,
        usage: impl Fn(&mut KeyUsage),
    ) -> Result<(Vec<u8>, Secret), ErrorStack> {
        let key = Rsa::generate(2048).and_then(PKey::from_rsa)?;
        let from = now.as_secs() - BACKDATE_SECS;
        let until = now.as_secs() + i64::from(days) * 86_400;
        let subject = name(common_name)?;
        let issuer = self.own.certificate.subject_name();
        let serial = serial.unsigned_abs();
        let mut builder = start(&subject, issuer, serial, from, until)?;
        builder.set_pubkey(&key)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        let mut allowed = KeyUsage::new();
        allowed.critical();
        usage(&mut allowed);
        builder.append_extension(allowed.build()?)?;
        let authority_id = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&builder.x509v3_context(Some(&self.own.certificate), None))?;
        builder.append_extension(authority_id)?;
        builder.sign(&self.own.key, MessageDigest::sha256())?;
        let key = Secret::new(key.private_key_to_pkcs8()?);
        Ok((builder.build().to_der()?, key))
    }

    fn issue_to<K: HasPublic>(
        &self,
        issue: &Issue<'_>,
        key: &PKeyRef<K>,
    ) -> Result<X509, ErrorStack> {
        let from = issue.now.as_secs() - BACKDATE_SECS;
        let until = issue.now.as_secs() + i64::from(issue.days) * 86_400;
        let serial = u64::try_from(issue.serial).unwrap_or_default();
        let subject = name(issue.common_name)?;
        let mut builder = start(
            &subject,
            self.own.certificate.subject_name(),
            serial,
            from,
            until,
        )?;
        builder.set_pubkey(key)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        if key.id() == Id::RSA {
            // Nothing can be encrypted to a key on a curve.
            usage.key_encipherment();
        }
        builder.append_extension(usage.build()?)?;
        builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
        let subject_id = SubjectKeyIdentifier::new()
            .build(&builder.x509v3_context(Some(&self.own.certificate), None))?;
        builder.append_extension(subject_id)?;
        let authority_id = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&builder.x509v3_context(Some(&self.own.certificate), None))?;
        builder.append_extension(authority_id)?;
        if let Some(url) = &self.list_url {
            builder.append_extension(distribution_point(url)?)?;
        }
        builder.sign(&self.own.key, MessageDigest::sha256())?;
        Ok(builder.build())
    }
}

fn self_signed(key: &PKey<Private>, common_name: &str, now: Timestamp) -> Result<X509, ErrorStack> {
    let name = name(common_name)?;
    // A day of slack: an authority is made once, on a machine whose clock may be off.
    let from = now.as_secs() - 86_400;
    let until = now.as_secs() + 3653 * 86_400;
    let mut random = [0; 8];
    openssl::rand::rand_bytes(&mut random)?;
    let serial = u64::from_be_bytes(random) >> 1 | 1;
    let mut builder = start(&name, &name, serial, from, until)?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        // It answers certificate requests itself: signs the answer, decrypts the request.
        .digital_signature()
        .key_encipherment()
        .build()?;
    builder.append_extension(usage)?;
    let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(id)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

pub(crate) fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    // X.520 allows 64 characters.
    let short: String = common_name.chars().take(64).collect();
    name.append_entry_by_nid(Nid::COMMONNAME, &short)?;
    Ok(name.build())
}

/// A version 3 certificate without key and extensions.
pub(crate) fn start(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    serial: u64,
    from: i64,
    until: i64,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_slice(&serial.to_be_bytes())?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    let from = Asn1Time::from_unix(from)?;
    builder.set_not_before(&from)?;
    let until = Asn1Time::from_unix(until)?;
    builder.set_not_after(&until)?;
    Ok(builder)
}

#[cfg(test)]
mod tests;
