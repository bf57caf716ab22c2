//! What is accepted and, mostly, what is not. The published examples are of RFC 7515.

use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::json;

use super::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_jwk(key: &PKey<Private>) -> Value {
    let rsa = key.rsa().unwrap();
    json!({ "kty": "RSA", "kid": "r", "n": encode(rsa.n().to_vec()), "e": encode(rsa.e().to_vec()) })
}

fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn ec_jwk(key: &PKey<Private>, crv: &str, size: i32) -> Value {
    let ec = key.ec_key().unwrap();
    let (mut x, mut y) = (
        openssl::bn::BigNum::new().unwrap(),
        openssl::bn::BigNum::new().unwrap(),
    );
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    ec.public_key()
        .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)
        .unwrap();
    let padded = |n: &openssl::bn::BigNum| encode(n.to_vec_padded(size).unwrap());
    json!({ "kty": "EC", "crv": crv, "kid": "e", "x": padded(&x), "y": padded(&y) })
}

fn signed(algorithm: &str, kid: &str, key: &PKey<Private>) -> String {
    let head = encode(json!({ "alg": algorithm, "kid": kid }).to_string());
    let text = format!("{head}.{}", encode(r#"{"sub":"7"}"#));
    let digest = match algorithm {
        "ES384" => MessageDigest::sha384(),
        _ => MessageDigest::sha256(),
    };
    let mut signer = Signer::new(digest, key).unwrap();
    if algorithm == "PS256" {
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer
            .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
            .unwrap();
    }
    let mut signature = signer.sign_oneshot_to_vec(text.as_bytes()).unwrap();
    if let Some(half) = match algorithm {
        "ES256" => Some(32),
        "ES384" => Some(48),
        _ => None,
    } {
        let pair = EcdsaSig::from_der(&signature).unwrap();
        signature = pair.r().to_vec_padded(half).unwrap();
        signature.extend(pair.s().to_vec_padded(half).unwrap());
    }
    format!("{text}.{}", encode(signature))
}

fn set(keys: &[Value]) -> JwkSet {
    JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims(token: &str, keys: &JwkSet) -> Result<Map<String, Value>, JoseError> {
    Unproved::parse(token)?.claims(keys)
}

/// RFC 7515, appendices A.2 and A.3.
#[test]
fn the_published_signatures_are_accepted() {
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    assert_eq!(claims(token, &set(&[rsa])).unwrap()["iss"], "joe");
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_eq!(claims(token, &set(&[ec])).unwrap()["iss"], "joe");
}

#[test]
fn each_listed_algorithm_with_its_own_kind_of_key_and_no_other() {
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let (p256, p384) = (ec_key(Nid::X9_62_PRIME256V1), ec_key(Nid::SECP384R1));
    let sets = [
        set(&[rsa_jwk(&rsa)]),
        set(&[ec_jwk(&p256, "P-256", 32)]),
        set(&[ec_jwk(&p384, "P-384", 48)]),
    ];
    let cases = [
        ("RS256", "r", &rsa, 0),
        ("PS256", "r", &rsa, 0),
        ("ES256", "e", &p256, 1),
        ("ES384", "e", &p384, 2),
    ];
    for (algorithm, kid, key, own) in cases {
        let token = signed(algorithm, kid, key);
        for (n, keys) in sets.iter().enumerate() {
            assert_eq!(claims(&token, keys).is_ok(), n == own, "{algorithm} {n}");
        }
        // One bit of the claims, and one of the signature.
        for at in [token.find('.').unwrap() + 3, token.len() - 8] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(claims(&changed, &sets[own]).is_err(), "{algorithm} at {at}");
        }
    }
    // What the key says of itself binds.
    let mut only_pss = rsa_jwk(&rsa);
    only_pss["alg"] = "PS256".into();
    let keys = set(&[only_pss]);
    assert_eq!(
        claims(&signed("RS256", "r", &rsa), &keys),
        Err(JoseError::UnknownKey)
    );
    assert!(claims(&signed("PS256", "r", &rsa), &keys).is_ok());
}

#[test]
fn no_algorithm_and_no_shared_secret_is_ever_accepted() {
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let keys = set(&[rsa_jwk(&rsa)]);
    let pem = PKey::hmac(&rsa.public_key_to_pem().unwrap()).unwrap();
    for name in [
        "none", "None", "HS256", "HS384", "HS512", "RS512", "rs256", "",
    ] {
        let text = format!(
            "{}.{}",
            encode(json!({ "alg": name, "kid": "r" }).to_string()),
            encode(r#"{"sub":"7"}"#)
        );
        let mac = Signer::new(MessageDigest::sha256(), &pem)
            .unwrap()
            .sign_oneshot_to_vec(text.as_bytes())
            .unwrap();
        for signature in [Vec::new(), mac] {
            let token = format!("{text}.{}", encode(signature));
            assert_eq!(claims(&token, &keys), Err(JoseError::Algorithm), "{name}");
        }
    }
    // Not even from a key set: a shared key is none.
    let shared = json!({ "kty": "oct", "kid": "r", "k": encode("secret") });
    assert!(set(&[shared]).is_empty());
}

#[test]
fn a_key_that_is_short_private_for_encryption_or_off_its_curve_is_none() {
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let good = rsa_jwk(&rsa);
    assert!(Jwk::parse(&good).is_ok());
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        Jwk::parse(&key).err()
    };
    assert!(with("use", "enc".into()).is_some());
    assert!(with("key_ops", json!(["encrypt"])).is_some());
    assert!(with("d", "AQAB".into()).is_some());
    assert!(with("alg", "ES256".into()).is_some());
    assert!(with("alg", "none".into()).is_some());
    assert!(with("e", "AQ".into()).is_some());
    assert!(with("e", "AQAA".into()).is_some());
    assert!(with("n", "AQAB".into()).is_some());
    assert!(with("n", "not base64!".into()).is_some());
    let short = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    assert!(Jwk::parse(&rsa_jwk(&short)).is_err());
    let ec = ec_jwk(&ec_key(Nid::X9_62_PRIME256V1), "P-256", 32);
    assert!(Jwk::parse(&ec).is_ok());
    let other = ec_jwk(&ec_key(Nid::X9_62_PRIME256V1), "P-256", 32);
    let mut mixed = ec.clone();
    mixed["y"] = other["y"].clone();
    assert!(Jwk::parse(&mixed).is_err());
    let mut curve = ec.clone();
    curve["crv"] = "P-384".into();
    assert!(Jwk::parse(&curve).is_err());
    // One key that is unusable does not take the others along.
    assert_eq!(set(&[mixed, good]).len(), 1);
}

#[test]
fn what_is_no_token_is_malformed_and_critical_extensions_are_refused() {
    let check = |token: &str| Unproved::parse(token).err();
    for token in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "e30.e30.e30.e30",
        "bnVsbA..",
        "e30=.e30.AA",
    ] {
        assert!(check(token).is_some(), "{token}");
    }
    assert!(check(&"a".repeat(LONGEST_TOKEN + 1)).is_some());
    let head = encode(json!({ "alg": "RS256", "crit": ["b64"], "b64": false }).to_string());
    assert!(check(&format!("{head}.e30.AA")).is_some());
    assert_eq!(
        JwkSet::parse(b"{}").unwrap_err(),
        JoseError::Malformed("a key set must have keys")
    );
    assert!(JwkSet::parse(b"[").is_err());
}
