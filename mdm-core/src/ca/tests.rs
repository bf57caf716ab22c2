use super::*;
use crate::identity::{Authorities, IdentityError, Validity};
use crate::testing::{Files, NOW, key, tool};

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

#[test]
fn what_is_issued_is_an_identity_and_openssl_agrees() {
    let ca = Ca::create("Example Device CA", now()).unwrap();
    let public = key(0).public_key_to_der().unwrap();
    let issue = Issue::new(42, "session-9f2c", &public, now(), 730);
    let der = ca.issue(&issue).unwrap();
    let identity = Authorities::new([ca.certificate()])
        .unwrap()
        .identify(&der)
        .unwrap();
    assert_eq!(identity.common_name.as_deref(), Some("session-9f2c"));
    assert_eq!(identity.serial, Some(42));
    assert_eq!(identity.validity(now()), Validity::Good);
    assert_eq!(identity.not_after.as_secs(), NOW + 730 * 86_400);

    let files = Files::new();
    let root = files.put("root.pem", &ca.own.certificate.to_pem().unwrap());
    let leaf = files.put("leaf.pem", &X509::from_der(&der).unwrap().to_pem().unwrap());
    let at = NOW.to_string();
    let args = [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-attime",
        &at,
        "-CAfile",
        &root,
        &leaf,
    ];
    if let Some(result) = tool("openssl", &args, b"") {
        result.unwrap();
    }
    let text = tool("openssl", &["x509", "-noout", "-text", "-in", &leaf], b"");
    if let Some(text) = text {
        let text = String::from_utf8(text.unwrap()).unwrap();
        assert!(text.contains("CA:FALSE"), "{text}");
        assert!(
            text.contains("Digital Signature, Key Encipherment"),
            "{text}"
        );
        assert!(text.contains("TLS Web Client Authentication"), "{text}");
    }
}

#[test]
fn an_authority_comes_back_from_its_parts_and_no_others() {
    let ca = Ca::create("Example", now()).unwrap();
    let key = ca.private_key().unwrap();
    let again = Ca::load(ca.certificate(), &key).unwrap();
    assert_eq!(again.certificate(), ca.certificate());
    let other = Secret::new(crate::testing::key(0).private_key_to_pkcs8().unwrap());
    assert!(Ca::load(ca.certificate(), &other).is_err());
    assert!(Ca::load(b"x", &key).is_err());
}

#[test]
fn a_profile_signer_is_no_device() {
    let ca = Ca::create("Example", now()).unwrap();
    let (der, _) = ca
        .issue_profile_signer(3, "Example Profiles", now(), 365)
        .unwrap();
    let refused = Authorities::new([ca.certificate()]).unwrap().identify(&der);
    assert_eq!(refused, Err(IdentityError::Purpose));
}

#[test]
fn serial_numbers_are_positive_and_keys_are_keys() {
    let ca = Ca::create("Example", now()).unwrap();
    let public = key(0).public_key_to_der().unwrap();
    assert!(ca.issue(&Issue::new(0, "x", &public, now(), 1)).is_err());
    assert!(ca.issue(&Issue::new(-1, "x", &public, now(), 1)).is_err());
    assert!(ca.issue(&Issue::new(1, "x", b"no key", now(), 1)).is_err());
}
