//! What ACME needs of JOSE beside what [`mdm_core::jose`] does: the flattened form, and HS256 for the binding to an account
//! elsewhere (RFC 8555 7.3.4). Verifies nothing.

use mdm_core::jose::{JoseError, PublicKey, encode, sign_es256};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};

/// A key with which an account signs; P-256.
pub(super) struct AccountKey {
    key: PKey<Private>,
    public: Value,
    thumbprint: String,
}

impl AccountKey {
    /// Takes a P-256 key.
    ///
    /// # Errors
    /// For any other key.
    pub(super) fn new(key: PKey<Private>) -> Result<Self, JoseError> {
        let public = PublicKey::half_of(&key)?;
        Ok(Self {
            public: public.jwk()?,
            thumbprint: public.thumbprint()?,
            key,
        })
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        self.public.clone()
    }

    /// Names the key (RFC 7638).
    pub(super) fn thumbprint(&self) -> String {
        self.thumbprint.clone()
    }

    /// A flattened JWS. `protected` is its header without the algorithm; `payload` is empty for a reading POST.
    ///
    /// # Errors
    /// When the key does not sign.
    pub(super) fn sign(&self, mut protected: Value, payload: &str) -> Result<Value, JoseError> {
        protected["alg"] = json!("ES256");
        let (protected, payload) = (encode(protected.to_string()), encode(payload));
        let signature = sign_es256(&self.key, format!("{protected}.{payload}").as_bytes())?;
        Ok(flat(protected, payload, &signature))
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
    let protected = encode(json!({ "alg": "HS256", "kid": key_id, "url": url }).to_string());
    let payload = encode(key.public.to_string());
    let mac_key = PKey::hmac(mac_key)?;
    let mac = Signer::new(MessageDigest::sha256(), &mac_key)?
        .sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes())?;
    Ok(flat(protected, payload, &mac))
}

fn flat(protected: String, payload: String, signature: &[u8]) -> Value {
    json!({ "protected": protected, "payload": payload, "signature": encode(signature) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::ecdsa::EcdsaSig;
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
        assert_eq!(text("payload"), encode("{}"));
    }
}
