//! Requests and statements, right and wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Extension, X509NameBuilder, X509Req, X509ReqBuilder};
use serde_json::{Value as Json, json};

use super::*;
use crate::clock::Timestamp;
use crate::identity::sha256_hex;

const URL: &str = "https://mdm.example/mdm/o/acme/new-order";
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn curve(nid: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(nid).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn jwk(key: &PKey<Private>) -> Json {
    let ec = key.ec_key().unwrap();
    let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let point = ec.public_key();
    point
        .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)
        .unwrap();
    let (name, width) = match ec.group().curve_name() {
        Some(Nid::SECP384R1) => ("P-384", 48),
        _ => ("P-256", 32),
    };
    let (x, y) = (
        x.to_vec_padded(width).unwrap(),
        y.to_vec_padded(width).unwrap(),
    );
    json!({ "kty": "EC", "crv": name, "x": b64(x), "y": b64(y) })
}

/// A message as a client makes it.
fn message(key: &PKey<Private>, header: &Json, payload: &[u8]) -> Json {
    let (protected, payload) = (b64(header.to_string()), b64(payload));
    let input = format!("{protected}.{payload}");
    let ec = key.ec_key().unwrap();
    let (digest, width) = match ec.group().curve_name() {
        Some(Nid::SECP384R1) => (openssl::sha::sha384(input.as_bytes()).to_vec(), 48),
        _ => (sha256(input.as_bytes()).to_vec(), 32),
    };
    let signature = EcdsaSig::sign(&digest, &ec).unwrap();
    let mut raw = signature.r().to_vec_padded(width).unwrap();
    raw.extend(signature.s().to_vec_padded(width).unwrap());
    json!({ "protected": protected, "payload": payload, "signature": b64(raw) })
}

fn header(key: &PKey<Private>) -> Json {
    json!({ "alg": "ES256", "nonce": "n", "url": URL, "jwk": jwk(key) })
}

fn read(message: &Json) -> Result<Jws, Problem> {
    Jws::read(message.to_string().as_bytes())
}

fn verified(message: &Json) -> Result<Vec<u8>, Problem> {
    let jws = read(message)?;
    let Signer::Key(key) = jws.signer() else {
        panic!("it carries a key");
    };
    jws.verify(key, URL).map(<[u8]>::to_vec)
}

#[test]
fn a_thumbprint_is_that_of_rfc_7638() {
    let jwk = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    });
    let key = AccountKey::of_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
    assert_eq!(
        key.thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    let again = AccountKey::of_spki(key.spki()).unwrap();
    assert_eq!(again.thumbprint(), key.thumbprint());
}

#[test]
fn a_signature_is_that_of_rfc_7515() {
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let key = AccountKey::of_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
    let input = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let check = |input: &str, signature: &[u8]| {
        key.check(crate::jose::Algorithm::Es256, input.as_bytes(), signature)
    };
    check(input, &signature).unwrap();
    let mut other = signature.clone();
    other[40] ^= 1;
    assert_eq!(
        check(input, &other).unwrap_err().kind,
        ProblemKind::Malformed
    );
    assert!(check(&format!("{input}x"), &signature).is_err());
    assert!(check(input, &signature[..63]).is_err());
}

#[test]
fn a_message_says_what_was_signed() {
    for nid in [Nid::X9_62_PRIME256V1, Nid::SECP384R1] {
        let key = curve(nid);
        let mut header = header(&key);
        if nid == Nid::SECP384R1 {
            header["alg"] = json!("ES384");
        }
        let sent = message(&key, &header, b"{\"a\":1}");
        assert_eq!(verified(&sent).unwrap(), b"{\"a\":1}");
    }
    let named = json!({ "alg": "ES256", "nonce": "n", "url": URL, "kid": "https://x/account/1" });
    let key = curve(Nid::X9_62_PRIME256V1);
    let jws = read(&message(&key, &named, b"")).unwrap();
    assert!(matches!(jws.signer(), Signer::Account(kid) if kid == "https://x/account/1"));
    let public = AccountKey::of_spki(&key.public_key_to_der().unwrap()).unwrap();
    assert_eq!(jws.verify(&public, URL).unwrap(), b"");
}

#[test]
fn a_message_that_is_wrong_is_refused_in_the_protocols_word() {
    use ProblemKind as K;
    let key = curve(Nid::X9_62_PRIME256V1);
    let other = curve(Nid::X9_62_PRIME256V1);
    let good = header(&key);
    let with = |name: &str, value: Json| {
        let mut header = good.clone();
        header[name] = value;
        header
    };
    let without = |name: &str| {
        let mut header = good.clone();
        header.as_object_mut().unwrap().remove(name);
        header
    };
    for (kind, header) in [
        (K::BadSignatureAlgorithm, with("alg", json!("none"))),
        (K::BadSignatureAlgorithm, with("alg", json!("HS256"))),
        (K::BadSignatureAlgorithm, with("alg", json!("ES384"))),
        (K::BadSignatureAlgorithm, with("alg", json!("RS256"))),
        (K::BadNonce, without("nonce")),
        (K::Malformed, without("url")),
        (K::Malformed, without("alg")),
        (K::Malformed, without("jwk")),
        (K::Malformed, with("kid", json!("https://x/account/1"))),
        (K::Malformed, with("crit", json!(["exp"]))),
        (K::Malformed, with("jwk", jwk(&other))),
        (K::Unauthorized, with("url", json!(format!("{URL}/x")))),
        (
            K::BadPublicKey,
            with("jwk", json!({ "kty": "oct", "k": "AA" })),
        ),
        (
            K::BadPublicKey,
            with("jwk", json!({ "kty": "EC", "crv": "P-521" })),
        ),
    ] {
        let sent = message(&key, &header, b"{}");
        let got = verified(&sent).expect_err(&header.to_string());
        assert_eq!(got.kind, kind, "{header}");
    }
    let mut off_curve = jwk(&key);
    off_curve["x"] = json!(b64([7; 32]));
    let mut private = jwk(&key);
    private["d"] = json!(b64([7; 32]));
    for bad in [off_curve, private] {
        let sent = message(&key, &with("jwk", bad), b"{}");
        assert_eq!(verified(&sent).unwrap_err().kind, K::BadPublicKey);
    }
    let good = message(&key, &good, b"{}");
    let with = |name: &str, value: Json| {
        let mut sent = good.clone();
        sent[name] = value;
        sent
    };
    for sent in [
        with("payload", json!(b64(b"{ }"))),
        with("signature", json!(b64([1; 64]))),
        with("signature", json!("x=")),
        with("header", json!({})),
        with("signatures", json!([])),
        with("protected", json!(b64("[]"))),
        with("protected", json!(b64(vec![b' '; 9000]))),
        json!([]),
    ] {
        assert_eq!(verified(&sent).unwrap_err().kind, K::Malformed, "{sent}");
    }
}

#[test]
fn short_rsa_keys_are_refused() {
    let of = |bits: u32| {
        let key = Rsa::generate(bits).unwrap();
        let jwk = json!({ "kty": "RSA", "n": b64(key.n().to_vec()), "e": b64(key.e().to_vec()) });
        AccountKey::of_jwk(&serde_json::from_value(jwk).unwrap())
    };
    assert!(of(2048).is_ok());
    assert_eq!(of(1024).unwrap_err().kind, ProblemKind::BadPublicKey);
}

#[test]
fn an_order_has_one_permanent_identifier() {
    use ProblemKind as K;
    let one = json!({ "type": "permanent-identifier", "value": "secret" });
    let order = |payload: Json| read_order(payload.to_string().as_bytes());
    let read = order(json!({ "identifiers": [one] })).unwrap();
    assert_eq!(read.client_identifier, "secret");
    assert_eq!(format!("{read:?}"), "OrderAsked(..)");
    let dns = json!({ "type": "dns", "value": "example.org" });
    for (kind, payload) in [
        (K::UnsupportedIdentifier, json!({ "identifiers": [dns] })),
        (
            K::UnsupportedIdentifier,
            json!({ "identifiers": [one, dns] }),
        ),
        (K::Malformed, json!({ "identifiers": [one, one] })),
        (K::Malformed, json!({ "identifiers": [] })),
        (K::Malformed, json!({})),
        (
            K::Malformed,
            json!({ "identifiers": [one], "notAfter": "2030-01-01T00:00:00Z" }),
        ),
    ] {
        assert_eq!(order(payload.clone()).unwrap_err().kind, kind, "{payload}");
    }
}

#[test]
fn a_request_proves_its_key_and_nothing_else() {
    let key = curve(Nid::SECP384R1);
    let request = |key: &PKey<Private>, signer: &PKey<Private>| {
        let mut builder = X509ReqBuilder::new().unwrap();
        builder.set_pubkey(key).unwrap();
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    };
    let spki = csr_key(&request(&key, &key)).unwrap();
    assert_eq!(spki, key.public_key_to_der().unwrap());
    let refused = |csr: &[u8]| assert_eq!(csr_key(csr).unwrap_err().kind, ProblemKind::BadCsr);
    refused(&request(&key, &curve(Nid::SECP384R1)));
    refused(b"no request");
    let short = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    refused(&request(&short, &short));
    let odd = curve(Nid::SECP521R1);
    refused(&request(&odd, &odd));
}

/// One key in two requests: its point written whole, and compressed.
const WHOLE: &str = "MIHHMG4CAQAwDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGTbrJLXao6mjfWqwc1QsILCDDIrcPniWBme\
         vJWyqTJYUMxKAJye6mAQL5wU9Nu0vocZJhI3X6ugc3GXzQBzrWmgADAKBggqhkjOPQQDAgNJADBGAiEAn1wicz5N8NORpwuYcxgb\
         SJ8HVgcoew6FHdnrdDh8Sp8CIQD6BorRitSdwoGCeeOxmWx1zaHL3ApSYTeAufqMutt7bg==";
const COMPRESSED: &str = "MIGnME4CAQAwDDEKMAgGA1UEAwwBeDA5MBMGByqGSM49AgEGCCqGSM49AwEHAyIAA2TbrJLXao6mjfWqwc1QsILCDDIrcPniWBme\
         vJWyqTJYoAAwCgYIKoZIzj0EAwIDSQAwRgIhANOgUvYv0E18g0FMFKRo7YkmO+d5IkBLJFctagOLphFIAiEA7bJvLOz8jDtBcbKx\
         WshTGNAj7fiKjIrfDXlmqigoqzU=";

#[test]
fn a_key_is_the_same_however_its_point_is_written() {
    let der = |text: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap()
    };
    let whole = csr_key(&der(WHOLE)).unwrap();
    assert_eq!(whole.len(), 91);
    assert_eq!(csr_key(&der(COMPRESSED)).unwrap(), whole);
    let (request, mut short) = (X509Req::from_der(&der(COMPRESSED)).unwrap(), Vec::new());
    short.extend(request.public_key().unwrap().public_key_to_der().unwrap());
    assert_ne!(short, whole, "it is compressed indeed");
    assert_eq!(AccountKey::of_spki(&short).unwrap().spki(), whole);
}

#[test]
fn a_revocation_has_a_reason_that_a_device_may_give() {
    let revoke = |reason: Json| {
        let payload = json!({ "certificate": b64(b"der"), "reason": reason });
        read_revocation(payload.to_string().as_bytes())
    };
    assert_eq!(revoke(json!(4)).unwrap().reason, 4);
    for reason in [json!(2), json!(7), json!(11), json!(-1), json!(256)] {
        let kind = revoke(reason).unwrap_err().kind;
        assert_eq!(kind, ProblemKind::BadRevocationReason);
    }
}

/// An authority that vouches for devices, with one between.
struct Voucher {
    root: (X509, PKey<Private>),
    between: (X509, PKey<Private>),
}

fn certificate(
    name: &str,
    key: &PKey<Private>,
    issuer: Option<&(X509, PKey<Private>)>,
    extensions: &[(&str, &[u8])],
    days: i64,
) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_slice(&sha256(name.as_bytes())[..8]).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    builder.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(subject.as_ref(), |(cert, _)| cert.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_pubkey(key).unwrap();
    let moment = |days: i64| Asn1Time::from_unix(NOW.as_secs() + days * 86_400).unwrap();
    builder.set_not_before(&moment(-400)).unwrap();
    builder.set_not_after(&moment(days)).unwrap();
    if extensions.is_empty() {
        let ca = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(ca).unwrap();
    }
    for (oid, value) in extensions {
        let oid = Asn1Object::from_str(oid).unwrap();
        let value = Asn1OctetString::new_from_bytes(value).unwrap();
        let extension = X509Extension::new_from_der(&oid, false, &value).unwrap();
        builder.append_extension(extension).unwrap();
    }
    let signer = issuer.map_or(key, |(_, key)| key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}

impl Voucher {
    fn new() -> Self {
        let key = curve(Nid::SECP384R1);
        let root = (certificate("Root", &key, None, &[], 9000), key);
        let key = curve(Nid::SECP384R1);
        let between = (certificate("Between", &key, Some(&root), &[], 900), key);
        Self { root, between }
    }

    fn roots(&self) -> Roots {
        let der = self.root.0.to_der().unwrap();
        Roots::new([apple_root(), &der]).unwrap()
    }

    fn chain(&self, key: &PKey<Private>, facts: &[(&str, &[u8])], days: i64) -> Vec<Vec<u8>> {
        let leaf = certificate("Device", key, Some(&self.between), facts, days);
        vec![leaf.to_der().unwrap(), self.between.0.to_der().unwrap()]
    }
}

fn object(format: &str, chain: &[Vec<u8>]) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let chain = chain.iter().cloned().map(Value::Bytes).collect();
    let statement = Value::Map(vec![(text("x5c"), Value::Array(chain))]);
    encoded(&Value::Map(vec![
        (text("fmt"), text(format)),
        (text("attStmt"), statement),
        (text("authData"), Value::Bytes(Vec::new())),
    ]))
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

const SERIAL: &str = "1.2.840.113635.100.8.9.1";
const OS: &str = "1.2.840.113635.100.8.10.1";
const FRESHNESS: &str = "1.2.840.113635.100.8.11.1";

#[test]
fn an_attestation_gives_the_devices_facts_and_its_key() {
    let voucher = Voucher::new();
    let key = curve(Nid::SECP384R1);
    let fresh = sha256(b"token");
    let facts: [(&str, &[u8]); 6] = [
        (SERIAL, b"C02XY"),
        ("1.2.840.113635.100.8.9.2", b"0000-UDID"),
        ("1.2.840.113635.100.8.13.1", b"\x00\x01"),
        (OS, b" "),
        (FRESHNESS, &fresh),
        ("1.2.840.113635.100.8.99.1", b"\xff"),
    ];
    let bytes = object("apple", &voucher.chain(&key, &facts, 300));
    let read = Attestation::read(&bytes).unwrap().unwrap();
    let proved = read.verify(&voucher.roots(), "token", NOW).unwrap();
    assert_eq!(proved.facts.serial.as_deref(), Some("C02XY"));
    assert_eq!(proved.facts.udid.as_deref(), Some("0000-UDID"));
    assert_eq!(proved.facts.os_version, None, "blank is unknown");
    assert_eq!(
        proved.facts.system_integrity.as_deref(),
        Some("hex:0001"),
        "a fact in another form keeps nobody out"
    );
    assert_eq!(proved.key, key.public_key_to_der().unwrap());
    assert_eq!(
        proved.facts.root,
        sha256_hex(&voucher.root.0.to_der().unwrap())
    );
}

#[test]
fn an_attestation_that_proves_nothing_says_why() {
    use AttestationError as E;
    let voucher = Voucher::new();
    let key = curve(Nid::X9_62_PRIME256V1);
    let (fresh, stale) = (sha256(b"token"), sha256(b"earlier"));
    let good: [(&str, &[u8]); 2] = [(SERIAL, b"C02XY"), (FRESHNESS, &fresh)];
    let check = |chain: &[Vec<u8>], roots: &Roots, expected: E| {
        let read = Attestation::read(&object("apple", chain)).unwrap().unwrap();
        let got = read.verify(roots, "token", NOW).unwrap_err();
        assert_eq!(got, expected);
    };
    let roots = voucher.roots();
    let apple = Roots::new([apple_root()]).unwrap();
    check(&voucher.chain(&key, &good, 300), &apple, E::Untrusted);
    check(&voucher.chain(&key, &good, 300)[..1], &roots, E::Untrusted);
    check(&voucher.chain(&key, &good, -1), &roots, E::Untrusted);
    let mut altered = voucher.chain(&key, &good, 300);
    let last = altered[0].len() - 1;
    altered[0][last] ^= 1;
    check(&altered, &roots, E::Untrusted);
    check(&[b"no certificate".to_vec()], &roots, E::Certificates);
    let other: [(&str, &[u8]); 1] = [(FRESHNESS, &stale)];
    check(&voucher.chain(&key, &other, 300), &roots, E::Stale);
    let short: [(&str, &[u8]); 1] = [(FRESHNESS, &fresh[..31])];
    check(&voucher.chain(&key, &short, 300), &roots, E::Stale);
    let none: [(&str, &[u8]); 1] = [(SERIAL, b"C02XY")];
    check(&voucher.chain(&key, &none, 300), &roots, E::NoFreshness);
    let odd: [(&str, &[u8]); 2] = [(SERIAL, b"\xff\xfe"), (FRESHNESS, &fresh)];
    check(&voucher.chain(&key, &odd, 300), &roots, E::Fact);
    let twice: [(&str, &[u8]); 3] = [(SERIAL, b"A"), (SERIAL, b"B"), (FRESHNESS, &fresh)];
    check(&voucher.chain(&key, &twice, 300), &roots, E::Fact);
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    check(&voucher.chain(&rsa, &good, 300), &roots, E::Key);
}

#[test]
fn a_statement_that_is_none_is_refused_and_an_empty_one_says_nothing() {
    use AttestationError as E;
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(Attestation::read(b"").unwrap(), None);
    assert_eq!(Attestation::read(&[0xa0]).unwrap(), None);
    let check = |bytes: &[u8], expected: E| {
        assert_eq!(
            Attestation::read(bytes).unwrap_err(),
            expected,
            "{bytes:x?}"
        );
    };
    check(b"\xff", E::Malformed);
    check(&[0xa1, 0x63], E::Malformed);
    check(&encoded(&text("apple")), E::Malformed);
    check(&object("packed", &[vec![1]]), E::Format);
    check(&object("apple", &[]), E::Certificates);
    check(&object("apple", &vec![vec![1]; 9]), E::Certificates);
    let mut trailing = object("apple", &[vec![1]]);
    trailing.push(0);
    check(&trailing, E::Malformed);
    let format = (text("fmt"), text("apple"));
    check(&encoded(&Value::Map(vec![format.clone()])), E::Malformed);
    check(
        &encoded(&Value::Map(vec![format.clone(), format.clone()])),
        E::Malformed,
    );
    let numbers = Value::Array(vec![Value::from(1)]);
    let statement = Value::Map(vec![(text("x5c"), numbers)]);
    check(
        &encoded(&Value::Map(vec![format, (text("attStmt"), statement)])),
        E::Certificates,
    );
    // Nested deeper than a statement is, and longer than it says.
    check(
        &[&[0xa1, 0x61, 0x61][..], &[0x81; 5000]].concat(),
        E::Malformed,
    );
    check(
        &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        E::Malformed,
    );
}

#[test]
fn apples_root_is_the_one_that_it_is_said_to_be() {
    assert_eq!(sha256_hex(apple_root()), APPLE_ROOT_SHA256);
    let root = X509::from_der(apple_root()).unwrap();
    assert!(root.verify(&root.public_key().unwrap()).unwrap());
}

#[test]
fn the_answer_to_a_challenge_is_read() {
    let read = |payload: &[u8]| read_challenge(payload);
    assert_eq!(read(b"").unwrap(), ChallengeAnswer::Look);
    assert_eq!(read(b"{}").unwrap(), ChallengeAnswer::Nothing);
    assert_eq!(read(br#"{"attObj":""}"#).unwrap(), ChallengeAnswer::Nothing);
    assert_eq!(read(br#"{"error":"x"}"#).unwrap(), ChallengeAnswer::Failed);
    let kind = |payload: &[u8]| read(payload).unwrap_err().kind;
    assert_eq!(kind(b"["), ProblemKind::Malformed);
    let bad = ProblemKind::BadAttestationStatement;
    assert_eq!(kind(br#"{"attObj":"%"}"#), bad);
    assert_eq!(kind(br#"{"attObj":"_w"}"#), bad);
}
