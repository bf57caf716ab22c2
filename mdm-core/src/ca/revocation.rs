//! The revocation list of the built-in authority (RFC 5280), and the address of it that stands in every certificate issued.
//!
//! Bytes out; which certificates are revoked is for the caller to know. Our own doors never read this list: they look into
//! the store, so that a revocation counts with the next message. It is for others who trust the authority.
//!
//! <https://www.rfc-editor.org/rfc/rfc5280#section-5>

use der::asn1::{Ia5String, ObjectIdentifier, OctetString, Uint};
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::x509::{X509CrlBuilder, X509Extension, X509RevokedBuilder};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, CrlDistributionPoints, crl::dp::DistributionPoint,
};

use super::{Ca, CaError};
use crate::clock::Timestamp;

/// The content type of a revocation list.
pub const LIST_TYPE: &str = "application/pkix-crl";

const DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const AUTHORITY_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// A certificate that is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a number and a moment")]
pub struct RevokedEntry {
    /// Its serial number; positive.
    pub serial: i64,
    /// When it was revoked.
    pub at: Timestamp,
}

impl Ca {
    /// The revocation list (DER), good from `now` until `next`. `number` must not fall from list to list.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn revocation_list(
        &self,
        entries: &[RevokedEntry],
        number: u64,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<Vec<u8>, CaError> {
        self.list(entries, number, now, next)
            .map_err(CaError::of("the revocation list cannot be made"))
    }

    fn list(
        &self,
        entries: &[RevokedEntry],
        number: u64,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<Vec<u8>, ErrorStack> {
        let mut builder = X509CrlBuilder::new()?;
        builder.set_issuer_name(self.own.certificate.subject_name())?;
        let (from, to) = (
            Asn1Time::from_unix(now.as_secs())?,
            Asn1Time::from_unix(next.as_secs())?,
        );
        builder.set_last_update(&from)?;
        builder.set_next_update(&to)?;
        for entry in entries {
            let serial = BigNum::from_slice(&entry.serial.unsigned_abs().to_be_bytes())?;
            let serial = serial.to_asn1_integer()?;
            let mut revoked = X509RevokedBuilder::new()?;
            revoked.set_serial_number(&serial)?;
            let at = Asn1Time::from_unix(entry.at.as_secs())?;
            revoked.set_revocation_date(&at)?;
            builder.add_revoked(revoked.build())?;
        }
        builder.sort()?;
        if let Some(id) = self.own.certificate.subject_key_id() {
            let id = AuthorityKeyIdentifier {
                key_identifier: OctetString::new(id.as_slice()).ok(),
                authority_cert_issuer: None,
                authority_cert_serial_number: None,
            };
            builder.append_extension(extension(AUTHORITY_KEY, &encoded(&id)?)?)?;
        }
        let number = Uint::new(&number.to_be_bytes()).map_err(|_| ErrorStack::get())?;
        builder.append_extension(extension(CRL_NUMBER, &encoded(&number)?)?)?;
        builder.sign(&self.own.key, MessageDigest::sha256())?;
        builder.build()?.to_der()
    }
}

/// The extension that says where the revocation list is.
pub(super) fn distribution_point(url: &str) -> Result<X509Extension, ErrorStack> {
    let name = Ia5String::new(url).map_err(|_| ErrorStack::get())?;
    let name = GeneralName::UniformResourceIdentifier(name);
    let point = DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![name])),
        reasons: None,
        crl_issuer: None,
    };
    let points = CrlDistributionPoints(vec![point]);
    extension(DISTRIBUTION_POINTS, &encoded(&points)?)
}

fn encoded(value: &impl der::Encode) -> Result<Vec<u8>, ErrorStack> {
    // Lengths of ours only: it cannot fail.
    value.to_der().map_err(|_| ErrorStack::get())
}

fn extension(oid: ObjectIdentifier, der: &[u8]) -> Result<X509Extension, ErrorStack> {
    let oid = Asn1Object::from_str(&oid.to_string())?;
    X509Extension::new_from_der(&oid, false, &*Asn1OctetString::new_from_bytes(der)?)
}

#[cfg(test)]
mod tests {
    use openssl::x509::X509;

    use super::*;
    use crate::ca::Issue;
    use crate::testing::{Files, NOW, key, tool};

    #[test]
    fn openssl_finds_the_address_and_refuses_what_is_on_the_list_only() {
        let now = Timestamp::from_millis(NOW * 1000);
        let ca = Ca::create("Example", now)
            .unwrap()
            .with_revocation_list_at("https://mdm.example.com/mdm/x/crl/1");
        let public = key(0).public_key_to_der().unwrap();
        let issue = |serial| {
            let der = ca
                .issue(&Issue::new(serial, "x", &public, now, 365))
                .unwrap();
            X509::from_der(&der).unwrap().to_pem().unwrap()
        };
        let entry = RevokedEntry {
            serial: 1 << 40,
            at: now,
        };
        let week = std::time::Duration::from_secs(7 * 86_400);
        let list = ca.revocation_list(&[entry], 7, now, now + week).unwrap();
        let files = Files::new();
        let root = files.put("root.pem", &ca.own.certificate.to_pem().unwrap());
        let pem = openssl::x509::X509Crl::from_der(&list).unwrap();
        let pem = files.put("list.pem", &pem.to_pem().unwrap());
        let (bad, good) = (issue(1 << 40), issue(1 << 41));
        let (bad, good) = (files.put("bad.pem", &bad), files.put("good.pem", &good));
        let at = (NOW + 60).to_string();
        let verify = |leaf: &str| {
            let args = [
                "verify",
                "-x509_strict",
                "-crl_check",
                "-attime",
                &at,
                "-CAfile",
                &root,
                "-CRLfile",
                &pem,
                leaf,
            ];
            tool("openssl", &args, b"")
        };
        let Some(answer) = verify(&good) else { return };
        answer.unwrap();
        let refused = verify(&bad).unwrap().unwrap_err();
        assert!(refused.contains("certificate revoked"), "{refused}");
        let text = |args: &[&str]| {
            String::from_utf8(tool("openssl", args, b"").unwrap().unwrap()).unwrap()
        };
        let shown = text(&["x509", "-noout", "-text", "-in", &good]);
        assert!(
            shown.contains("URI:https://mdm.example.com/mdm/x/crl/1"),
            "{shown}"
        );
        let shown = text(&["crl", "-noout", "-text", "-crlnumber", "-in", &pem]);
        assert!(
            shown.contains("crlNumber=0x07") || shown.contains("crlNumber=07"),
            "{shown}"
        );
        // A list of nobody is a list.
        assert!(ca.revocation_list(&[], 8, now, now + week).is_ok());
    }
}
