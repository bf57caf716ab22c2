//! What ACME needs of JOSE, and nothing more: ES256 under an account's key (RFC 7515, 7518), the thumbprint of that key
//! (RFC 7638), and HS256 for the binding to an account elsewhere (RFC 8555 7.3.4). Verifies nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNumContext;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};

/// Bytes of a coordinate of P-256.
const COORDINATE: usize = 32;

/// Base64url without padding.
pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key with which an account signs; P-256.
pub(super) struct AccountKey {
    key: PKey<Private>,
    x: String,
    y: String,
}

impl AccountKey {
    /// Takes a P-256 key.
    ///
    /// # Errors
    /// OpenSSL's, for any other key.
    pub(super) fn new(key: PKey<Private>) -> Result<Self, ErrorStack> {
        let ec = key.ec_key()?;
        let mut context = BigNumContext::new()?;
        let (mut x, mut y) = (openssl::bn::BigNum::new()?, openssl::bn::BigNum::new()?);
        ec.public_key()
            .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)?;
        let coordinate =
            |n: &openssl::bn::BigNum| Ok::<_, ErrorStack>(base64url(n.to_vec_padded(32)?));
        Ok(Self {
            x: coordinate(&x)?,
            y: coordinate(&y)?,
            key,
        })
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        json!({ "crv": "P-256", "kty": "EC", "x": self.x, "y": self.y })
    }

    /// Names the key. By RFC 7638 the members stand in the order of the alphabet, without space between.
    pub(super) fn thumbprint(&self) -> String {
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            self.x, self.y
        );
        base64url(openssl::sha::sha256(canonical.as_bytes()))
    }

    /// A flattened JWS. `protected` is its header without the algorithm; `payload` is empty for a reading POST.
    ///
    /// # Errors
    /// OpenSSL's.
    pub(super) fn sign(&self, mut protected: Value, payload: &str) -> Result<Value, ErrorStack> {
        protected["alg"] = json!("ES256");
        let (protected, payload) = (base64url(protected.to_string()), base64url(payload));
        let der = Signer::new(MessageDigest::sha256(), &self.key)?
            .sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes())?;
        let pair = EcdsaSig::from_der(&der)?;
        let mut raw = pair.r().to_vec_padded(COORDINATE as i32)?;
        raw.extend(pair.s().to_vec_padded(COORDINATE as i32)?);
        Ok(flat(protected, payload, &raw))
    }
}

/// Binds the account of `key` to the one that `mac_key` belongs to elsewhere: a JWS over the public key.
///
/// # Errors
/// OpenSSL's.
pub(super) fn bind(
    key: &AccountKey,
    key_id: &str,
    mac_key: &[u8],
    url: &str,
) -> Result<Value, ErrorStack> {
    let protected = base64url(json!({ "alg": "HS256", "kid": key_id, "url": url }).to_string());
    let payload = base64url(key.jwk().to_string());
    let mac_key = PKey::hmac(mac_key)?;
    let mac = Signer::new(MessageDigest::sha256(), &mac_key)?
        .sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes())?;
    Ok(flat(protected, payload, &mac))
}

fn flat(protected: String, payload: String, signature: &[u8]) -> Value {
    json!({ "protected": protected, "payload": payload, "signature": base64url(signature) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;

    /// The key of RFC 7515, appendix A.3.
    fn published() -> AccountKey {
        let number =
            |text: &str| BigNum::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let (x, y) = (
            number("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
            number("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
        );
        let public = EcKey::from_public_key_affine_coordinates(&group, &x, &y).unwrap();
        let d = number("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
        let key = EcKey::from_private_components(&group, &d, public.public_key()).unwrap();
        AccountKey::new(PKey::from_ec_key(key).unwrap()).unwrap()
    }

    #[test]
    fn the_public_key_is_the_published_one_and_its_thumbprint_that_of_the_openssl_command() {
        let key = published();
        assert_eq!(
            key.jwk()["x"],
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
        );
        // printf of the canonical form | openssl dgst -sha256 -binary | base64url.
        assert_eq!(
            key.thumbprint(),
            "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
        );
    }

    #[test]
    fn what_is_signed_verifies_over_header_and_payload_as_they_were_sent() {
        let key = published();
        let jws = key
            .sign(json!({ "nonce": "n", "url": "https://a.example" }), "{}")
            .unwrap();
        let text = |name: &str| jws[name].as_str().unwrap().to_owned();
        let raw = URL_SAFE_NO_PAD.decode(text("signature")).unwrap();
        assert_eq!(raw.len(), 64);
        let number = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
        let pair = EcdsaSig::from_private_components(number(&raw[..32]), number(&raw[32..]));
        let signed = format!("{}.{}", text("protected"), text("payload"));
        let digest = openssl::sha::sha256(signed.as_bytes());
        let ec = key.key.ec_key().unwrap();
        assert!(pair.unwrap().verify(&digest, &ec).unwrap());
        let header = URL_SAFE_NO_PAD.decode(text("protected")).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["alg"], "ES256");
        assert_eq!(text("payload"), base64url("{}"));
    }
}
