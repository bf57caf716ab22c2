//! What the fuzzer plays with at the ACME server, and what must hold whatever it sends. Also played by `cargo test`.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mdm_core::ca::acme::{
    Attestation, Jws, Roots, Signer, csr_key, read_account_change, read_challenge, read_csr,
    read_new_account, read_order, read_revocation,
};
use mdm_core::clock::Timestamp;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};

const URL: &str = "https://mdm.example/acme/new-order";
const TOKEN: &str = "token";
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// What an attestation may say, by number; the last of them no seed says.
const FACTS: [&str; 10] = [
    "1.2.840.113635.100.8.9.1",
    "1.2.840.113635.100.8.9.2",
    "1.2.840.113635.100.8.10.1",
    "1.2.840.113635.100.8.11.1",
    "1.2.840.113635.100.8.10.2",
    "1.2.840.113635.100.8.13.1",
    "1.2.840.113635.100.8.13.2",
    "1.2.840.113635.100.8.99.9",
    "2.5.29.37",
    "1.2.840.113635.100.8.13.3",
];

/// Built with `FUZZ_PLANTED` set, each target has one fault that no seed reaches.
fn planted(reached: bool) {
    if option_env!("FUZZ_PLANTED").is_some() {
        assert!(!reached, "the planted panic");
    }
}

fn key() -> &'static EcKey<Private> {
    static KEY: OnceLock<EcKey<Private>> = OnceLock::new();
    KEY.get_or_init(|| {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        EcKey::generate(&group).expect("a key")
    })
}

/// The key as a message names it.
#[must_use]
pub fn jwk() -> String {
    let (mut x, mut y) = (BigNum::new().expect("zero"), BigNum::new().expect("zero"));
    let mut context = BigNumContext::new().expect("room");
    let point = key().public_key();
    point
        .affine_coordinates(key().group(), &mut x, &mut y, &mut context)
        .expect("a point");
    let part = |number: &BigNum| URL_SAFE_NO_PAD.encode(number.to_vec_padded(32).expect("it fits"));
    format!(
        r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#,
        part(&x),
        part(&y)
    )
}

/// A message that is signed as it should be.
#[must_use]
pub fn signed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let (protected, payload) = (
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload),
    );
    let digest = sha256(format!("{protected}.{payload}").as_bytes());
    let signature = EcdsaSig::sign(&digest, key()).expect("signed");
    let mut raw = signature.r().to_vec_padded(32).expect("it fits");
    raw.extend(signature.s().to_vec_padded(32).expect("it fits"));
    let signature = URL_SAFE_NO_PAD.encode(raw);
    format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#)
        .into_bytes()
}

/// A protected header as it should be.
#[must_use]
pub fn header() -> String {
    format!(
        r#"{{"alg":"ES256","nonce":"bm9uY2U","url":"{URL}","jwk":{}}}"#,
        jwk()
    )
}

/// Messages: whole, or the header, or the payload of one that is signed as it should be; the first byte chooses.
pub fn jws(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let message = match choice % 3 {
        0 => bytes.to_vec(),
        1 => signed(bytes, b"{}"),
        _ => signed(header().as_bytes(), bytes),
    };
    let jws = match Jws::read(&message) {
        Ok(jws) => jws,
        Err(problem) => {
            assert!(problem.detail.len() < 200 && !problem.detail.contains('\n'));
            return;
        }
    };
    let Signer::Key(named) = jws.signer() else {
        return;
    };
    let Ok(payload) = jws.verify(named, URL) else {
        return;
    };
    // Nothing that is believed was signed by another key than the one that it names.
    assert_eq!(named.thumbprint().len(), 43);
    if choice % 3 == 2 {
        assert_eq!(payload, bytes);
    }
    let _ = (read_new_account(payload), read_account_change(payload));
    let _ = read_challenge(payload);
    // What no seed says, in a message that is believed.
    planted(read_revocation(payload).is_ok_and(|it| it.reason == 1));
    if let Ok(csr) = read_csr(payload) {
        let _ = csr_key(&csr);
    }
    if let Ok(order) = read_order(payload) {
        assert_eq!(format!("{order:?}"), "OrderAsked(..)");
    }
}

/// Statements of attestation as CBOR.
pub fn cbor(data: &[u8]) {
    match Attestation::read(data) {
        Err(error) => assert_eq!(error.sentence(), error.to_string()),
        Ok(read) => {
            planted(
                read.as_ref()
                    .is_some_and(|it| format!("{it:?}") == "Attestation(3)"),
            );
            assert_eq!(Attestation::read(data).expect("it was read before"), read);
        }
    }
}

struct Voucher {
    certificate: X509,
    key: PKey<Private>,
}

fn name(text: &str) -> openssl::x509::X509Name {
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_nid(Nid::COMMONNAME, text)
        .expect("a name");
    name.build()
}

fn begun(subject: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().expect("a certificate");
    builder.set_version(2).expect("version 3");
    let serial = BigNum::from_u32(7).and_then(|n| n.to_asn1_integer());
    builder
        .set_serial_number(&serial.expect("a number"))
        .expect("a number");
    builder.set_subject_name(&name(subject)).expect("a name");
    builder.set_issuer_name(&name("Root")).expect("a name");
    builder.set_pubkey(key).expect("a key");
    let moment = |days: i64| Asn1Time::from_unix(NOW.as_secs() + days * 86_400).expect("a time");
    builder.set_not_before(&moment(-9)).expect("a time");
    builder.set_not_after(&moment(9)).expect("a time");
    builder
}

fn voucher() -> &'static Voucher {
    static VOUCHER: OnceLock<Voucher> = OnceLock::new();
    VOUCHER.get_or_init(|| {
        let key = PKey::from_ec_key(key().clone()).expect("a key");
        let mut builder = begun("Root", &key);
        let ca = BasicConstraints::new().critical().ca().build();
        builder
            .append_extension(ca.expect("an extension"))
            .expect("an extension");
        builder.sign(&key, MessageDigest::sha256()).expect("signed");
        Voucher {
            certificate: builder.build(),
            key,
        }
    })
}

/// An attestation object around these certificates.
#[must_use]
pub fn object(chain: &[&[u8]]) -> Vec<u8> {
    let mut out = b"\xa2\x63fmt\x65apple\x67attStmt\xa1\x63x5c".to_vec();
    out.push(0x80 | u8::try_from(chain.len().min(23)).unwrap_or(23));
    for one in chain {
        out.push(0x59);
        out.extend(u16::try_from(one.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(one);
    }
    out
}

/// A leaf that the root vouches for and that says what it is told: number, length, value, and again.
fn leaf(mut told: &[u8]) -> Option<Vec<u8>> {
    let voucher = voucher();
    let mut builder = begun("Device", &voucher.key);
    while let Some(([which, length], rest)) = told.split_first_chunk::<2>() {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        told = rest;
        // The freshness code that fits is too much to guess.
        let fresh = sha256(TOKEN.as_bytes());
        let value = if *which == 3 && value == b"fresh" {
            &fresh[..]
        } else {
            value
        };
        let oid = Asn1Object::from_str(FACTS.get(usize::from(*which))?).ok()?;
        let value = Asn1OctetString::new_from_bytes(value).ok()?;
        let extension = X509Extension::new_from_der(&oid, false, &value).ok()?;
        builder.append_extension(extension).ok()?;
    }
    builder.sign(&voucher.key, MessageDigest::sha256()).ok()?;
    builder.build().to_der().ok()
}

/// Attestations: certificates as they are, or what a trusted root says; the first byte chooses.
pub fn attestation(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let root = voucher().certificate.to_der().expect("DER");
    let roots = Roots::new([root.as_slice()]).expect("a root");
    let told = choice % 2 == 1;
    let certificate = match told {
        true => match leaf(bytes) {
            Some(leaf) => leaf,
            None => return,
        },
        false => bytes.to_vec(),
    };
    let read = Attestation::read(&object(&[&certificate]));
    let Ok(Some(read)) = read else {
        panic!("an object of ours is not read");
    };
    match read.verify(&roots, TOKEN, NOW) {
        Err(error) => assert_eq!(error.sentence(), error.to_string()),
        Ok(attested) => {
            // Nothing is believed that the root did not say, and nothing without its code.
            assert!(told);
            assert!(bytes.windows(5).any(|run| run == b"fresh"));
            let facts = format!("{:?}", attested.facts);
            assert!(!facts.chars().any(char::is_control), "{facts}");
            planted(attested.facts.kernel_extensions.is_some());
        }
    }
}
