use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

use super::*;
use crate::testing::{Files, Made, certificate, key, tool};

const BODY: &[u8] = b"<plist><dict/></plist>\r\n\n and \0 more";

/// Signs with OpenSSL's command line.
fn sign(files: &Files, extra: &[&str]) -> Option<Vec<u8>> {
    let body = files.put("body", BODY);
    let mut args = vec!["cms", "-sign", "-binary", "-outform", "DER", "-in", &body];
    args.extend(extra);
    tool("openssl", &args, b"").map(|result| result.unwrap())
}

#[test]
fn every_form_that_devices_use_is_accepted() {
    let files = Files::new();
    let mine = certificate(key(0), &Made::default());
    let victim = certificate(
        key(1),
        &Made {
            name: "victim",
            ..Made::default()
        },
    );
    let rsa_key = files.put_key("rsa.key", key(0));
    let rsa = files.put_certificate("rsa.pem", &mine);
    let others = files.put_certificate("victim.pem", &victim);
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let ec = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let ec_certificate = certificate(
        &ec,
        &Made {
            name: "ec",
            ..Made::default()
        },
    );
    let ec_key = files.put_key("ec.key", &ec);
    let ec_pem = files.put_certificate("ec.pem", &ec_certificate);
    for (pem, key, expected) in [(&rsa, &rsa_key, &mine), (&ec_pem, &ec_key, &ec_certificate)] {
        for digest in ["sha1", "sha256", "sha384", "sha512"] {
            for more in [
                &[][..],
                &["-noattr"],
                &["-keyid"],
                &["-stream"],
                &["-nosmimecap"],
            ] {
                let mut args = vec![
                    "-signer",
                    pem,
                    "-inkey",
                    key,
                    "-md",
                    digest,
                    "-certfile",
                    &others,
                ];
                args.extend(more);
                let Some(message) = sign(&files, &args) else {
                    return;
                };
                let signer = verify_detached(&message, BODY)
                    .unwrap_or_else(|e| panic!("{digest} {more:?}: {e}"));
                assert_eq!(signer, expected.to_der().unwrap(), "{digest} {more:?}");
                let other = verify_detached(&message, b"another body");
                assert_eq!(other, Err(SignatureError::Invalid));
                let header = STANDARD.encode(&message);
                assert_eq!(verify_header(&header, BODY), Ok(signer));
            }
        }
    }
}

#[test]
fn what_is_not_one_good_signature_is_refused() {
    let files = Files::new();
    let mine = certificate(key(0), &Made::default());
    // Another key under the same issuer and serial number: whose certificate would it be?
    let twin = certificate(key(1), &Made::default());
    let second = certificate(
        key(1),
        &Made {
            name: "second",
            serial: 8,
            ..Made::default()
        },
    );
    let (k0, k1) = (
        files.put_key("0.key", key(0)),
        files.put_key("1.key", key(1)),
    );
    let a = files.put_certificate("a.pem", &mine);
    let b = files.put_certificate("b.pem", &second);
    let t = files.put_certificate("t.pem", &twin);
    let check = |extra: &[&str], expected: SignatureError| {
        if let Some(message) = sign(&files, extra) {
            assert_eq!(verify_detached(&message, BODY), Err(expected), "{extra:?}");
        }
    };
    let one = ["-signer", &a, "-inkey", &k0];
    let with = |more: &[&'static str]| [&one[..], more].concat();
    check(
        &[&one[..], &["-signer", &b, "-inkey", &k1]].concat(),
        SignatureError::NotOneSigner,
    );
    check(
        &[&one[..], &["-certfile", &t]].concat(),
        SignatureError::NoSignerCertificate,
    );
    check(&with(&["-nocerts"]), SignatureError::NoSignerCertificate);
    check(&with(&["-md", "md5"]), SignatureError::WeakDigest);
    // The key of one, the certificate of another.
    if let Some(message) = sign(&files, &one) {
        let mut altered = message.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert_eq!(
            verify_detached(&altered, BODY),
            Err(SignatureError::Invalid)
        );
        let cut = &message[..message.len() - 20];
        assert_eq!(
            verify_detached(cut, BODY),
            Err(SignatureError::NotSignedData)
        );
    }
    assert_eq!(verify_detached(b"", BODY), Err(SignatureError::Absent));
    assert_eq!(
        verify_detached(b"hello", BODY),
        Err(SignatureError::NotSignedData)
    );
    assert_eq!(
        verify_header("not base64!", BODY),
        Err(SignatureError::NotBase64)
    );
    let long = "A".repeat(HEADER_LIMIT + 1);
    let limit = HEADER_LIMIT;
    assert_eq!(
        verify_header(&long, BODY),
        Err(SignatureError::TooLarge { limit })
    );
}

#[test]
fn other_kinds_of_cms_are_no_signature() {
    let files = Files::new();
    let pem = files.put_certificate("a.pem", &certificate(key(0), &Made::default()));
    for args in [
        vec![
            "cms", "-encrypt", "-binary", "-outform", "DER", "-aes128", &pem,
        ],
        vec!["cms", "-data_create", "-outform", "DER"],
        vec!["crl2pkcs7", "-nocrl", "-certfile", &pem, "-outform", "DER"],
    ] {
        let Some(message) = tool("openssl", &args, BODY) else {
            return;
        };
        assert!(
            verify_detached(&message.unwrap(), BODY).is_err(),
            "{args:?}"
        );
    }
}

#[test]
fn an_altered_signature_never_names_another_signer() {
    let files = Files::new();
    let mine = certificate(key(0), &Made::default());
    let pem = files.put_certificate("a.pem", &mine);
    let private = files.put_key("a.key", key(0));
    let Some(good) = sign(&files, &["-signer", &pem, "-inkey", &private]) else {
        return;
    };
    let der = mine.to_der().unwrap();
    let public = mine.public_key().unwrap();
    let mut refused = 0;
    for at in 0..good.len() {
        let mut altered = good.clone();
        altered[at] ^= 0x04;
        match verify_detached(&altered, BODY) {
            // Bytes of the certificate that its own issuer signed and we leave to the chain.
            Ok(signer) if signer != der => {
                let x509 = openssl::x509::X509::from_der(&signer).unwrap();
                assert!(x509.public_key().unwrap().public_eq(&public), "byte {at}");
                assert!(!x509.verify(&public).unwrap_or(false), "byte {at}");
            }
            Ok(_) => {}
            Err(_) => refused += 1,
        }
    }
    assert!(refused > good.len() / 3, "{refused}");
}
