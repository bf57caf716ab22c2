//! The few certificates that `init` makes for a start: a small CA for our own listeners and a server certificate under it.
//! Issues nothing to devices; that is `mdm_core`'s.

use std::collections::BTreeSet;

use anyhow::Context as _;
use mdm_core::clock::Timestamp;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef, X509Ref, X509Req};

/// A certificate with its private key.
pub(crate) struct Pair {
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
}

impl Pair {
    /// The certificate as PEM.
    pub(crate) fn certificate_pem(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.certificate.to_pem()?)
    }

    /// The key as PKCS#8 PEM, to be zeroed by whoever holds it.
    pub(crate) fn key_pem(&self) -> anyhow::Result<zeroize::Zeroizing<Vec<u8>>> {
        Ok(zeroize::Zeroizing::new(
            self.key.private_key_to_pem_pkcs8()?,
        ))
    }
}

/// A P-256 CA that may issue server certificates.
pub(crate) fn authority(name: &str, days: u32, now: Timestamp) -> anyhow::Result<Pair> {
    let key = new_key()?;
    let subject = common_name(name)?;
    let mut builder = start(&subject, &subject, &key, days, now)?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    builder.append_extension(
        KeyUsage::new()
            .critical()
            .key_cert_sign()
            .crl_sign()
            .build()?,
    )?;
    let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(identifier)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Pair {
        certificate: builder.build(),
        key,
    })
}

/// A server certificate for these DNS names and addresses.
///
/// Apple's clients refuse more than 825 days.
/// <https://support.apple.com/en-us/103769>
pub(crate) fn server(
    authority: &Pair,
    names: &[String],
    days: u32,
    now: Timestamp,
) -> anyhow::Result<Pair> {
    let first = names.first().context("a server certificate needs a name")?;
    let key = new_key()?;
    let subject = common_name(first)?;
    let mut builder = start(
        &subject,
        authority.certificate.subject_name(),
        &key,
        days,
        now,
    )?;
    builder.append_extension(BasicConstraints::new().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        if name.parse::<std::net::IpAddr>().is_ok() {
            alternatives.ip(name);
        } else {
            alternatives.dns(name);
        }
    }
    let context = builder.x509v3_context(Some(&authority.certificate), None);
    let extensions = [
        alternatives.build(&context)?,
        SubjectKeyIdentifier::new().build(&context)?,
        AuthorityKeyIdentifier::new().keyid(true).build(&context)?,
    ];
    for extension in extensions {
        builder.append_extension(extension)?;
    }
    builder.sign(&authority.key, MessageDigest::sha256())?;
    Ok(Pair {
        certificate: builder.build(),
        key,
    })
}

/// From when until when a certificate is valid.
pub(crate) fn validity(certificate: &X509Ref) -> anyhow::Result<(Timestamp, Timestamp)> {
    let epoch = Asn1Time::from_unix(0)?;
    let moment = |time: &Asn1TimeRef| -> anyhow::Result<Timestamp> {
        let since = epoch.diff(time)?;
        let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
        Ok(Timestamp::from_millis(seconds * 1000))
    };
    Ok((
        moment(certificate.not_before())?,
        moment(certificate.not_after())?,
    ))
}

/// A certificate request for these DNS names, in DER.
pub(crate) fn request(key: &PKey<Private>, names: &BTreeSet<String>) -> anyhow::Result<Vec<u8>> {
    let mut builder = X509Req::builder()?;
    // No common name: it holds 64 characters, and nobody reads it any more.
    builder.set_subject_name(X509Name::builder()?.build().as_ref())?;
    builder.set_pubkey(key)?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        alternatives.dns(name);
    }
    let mut extensions = Stack::new()?;
    extensions.push(alternatives.build(&builder.x509v3_context(None))?)?;
    builder.add_extensions(&extensions)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build().to_der()?)
}

fn start(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    key: &PKey<Private>,
    days: u32,
    now: Timestamp,
) -> anyhow::Result<X509Builder> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    // An hour back: clocks of devices differ.
    let from = Asn1Time::from_unix(now.as_secs() - 3600)?;
    let to = Asn1Time::from_unix(now.as_secs() + i64::from(days) * 86_400)?;
    builder.set_not_before(&from)?;
    builder.set_not_after(&to)?;
    Ok(builder)
}

/// A P-256 key.
pub(crate) fn new_key() -> anyhow::Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

fn common_name(name: &str) -> anyhow::Result<X509Name> {
    let mut builder = X509Name::builder()?;
    // An X.509 common name holds at most 64 characters; the full name is in the alternative names.
    let short: String = name.chars().take(64).collect();
    builder.append_entry_by_nid(Nid::COMMONNAME, &short)?;
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdm_core::clock::{Clock as _, SystemClock};
    use openssl::x509::store::X509StoreBuilder;
    use openssl::x509::verify::X509VerifyParam;
    use openssl::x509::{X509PurposeId, X509StoreContext};

    #[test]
    fn the_server_certificate_chains_to_its_authority_for_its_names_only() {
        let now = SystemClock.now();
        let ca = authority("test CA", 3650, now).unwrap();
        let names = ["mdm.example.com".to_owned(), "127.0.0.1".to_owned()];
        let server = server(&ca, &names, 397, now).unwrap();
        let check = |host: &str| {
            let mut param = X509VerifyParam::new().unwrap();
            param.set_host(host).unwrap();
            let mut store = X509StoreBuilder::new().unwrap();
            store.add_cert(ca.certificate.clone()).unwrap();
            store.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
            store.set_param(&param).unwrap();
            X509StoreContext::new()
                .unwrap()
                .init(
                    &store.build(),
                    &server.certificate,
                    &Stack::new().unwrap(),
                    |c| c.verify_cert(),
                )
                .unwrap()
        };
        assert!(check("mdm.example.com"));
        assert!(!check("other.example.com"));
    }
}
