//! A public key that checks signatures, and the name that it gives itself. Points off their curve, short and overlong RSA keys and
//! exponents that keep a processor busy are no keys here; whose key it is, the caller knows.
//!
//! <https://www.rfc-editor.org/rfc/rfc7518>, <https://www.rfc-editor.org/rfc/rfc7638>

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sha::sha256;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};
use serde_json::{Map, Value, json};

use super::{Algorithm, JoseError, decode, encode};

/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<i32> = 2048..=8192;
/// Bits of an RSA exponent: 65537 is usual, a longer one makes a signature dear to check.
const EXPONENT_BITS: std::ops::RangeInclusive<i32> = 2..=33;

/// What a key can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
}

impl Kind {
    /// Bytes of a coordinate; of RSA none.
    const fn width(self) -> usize {
        match self {
            Self::Rsa => 0,
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    const fn curve(self) -> &'static str {
        match self {
            Self::P384 => "P-384",
            Self::P256 | Self::Rsa => "P-256",
        }
    }
}

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    kind: Kind,
    key: PKey<Public>,
}

/// OpenSSL's note of what is wrong would meet the next connection of this thread.
fn forget<T>(value: T) -> T {
    let _ = ErrorStack::get();
    value
}

fn unusable(_: ErrorStack) -> JoseError {
    forget(JoseError::Key("its numbers cannot be used"))
}

impl PublicKey {
    /// Reads the numbers of a JSON Web Key.
    ///
    /// # Errors
    /// [`JoseError::Key`] says which rule it breaks; [`JoseError::Malformed`] for what is no key at all.
    pub fn of_jwk(map: &Map<String, Value>) -> Result<Self, JoseError> {
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        if map.contains_key("d") || map.contains_key("k") {
            return Err(JoseError::Key("it is a private or a shared one"));
        }
        let number = |name: &str| {
            let missing = JoseError::Malformed("a number of the key is missing");
            decode(text(name).ok_or(missing)?)
        };
        let key = match text("kty") {
            Some("RSA") => {
                let (n, e) = (number("n")?, number("e")?);
                // What is far too long is not even made a number.
                if n.len() > 2_048 || e.len() > 8 {
                    return Err(JoseError::Key("its numbers have the wrong length"));
                }
                let key = || -> Result<PKey<Public>, ErrorStack> {
                    let (n, e) = (BigNum::from_slice(&n)?, BigNum::from_slice(&e)?);
                    PKey::from_rsa(Rsa::from_public_components(n, e)?)
                };
                key().map_err(unusable)?
            }
            Some("EC") => {
                let (curve, width) = match text("crv") {
                    Some("P-256") => (Nid::X9_62_PRIME256V1, 32),
                    Some("P-384") => (Nid::SECP384R1, 48),
                    _ => return Err(JoseError::Key("its curve is not accepted")),
                };
                let (x, y) = (number("x")?, number("y")?);
                if x.len() != width || y.len() != width {
                    return Err(JoseError::Key("its numbers have the wrong length"));
                }
                let key = || -> Result<PKey<Public>, ErrorStack> {
                    let group = EcGroup::from_curve_name(curve)?;
                    let (x, y) = (BigNum::from_slice(&x)?, BigNum::from_slice(&y)?);
                    PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y)?)
                };
                key().map_err(unusable)?
            }
            _ => return Err(JoseError::Key("its kind is not accepted")),
        };
        Self::of(key)
    }

    /// Reads a SubjectPublicKeyInfo (DER), such as that of a certificate.
    ///
    /// # Errors
    /// As [`PublicKey::of_jwk`].
    pub fn of_spki(spki: &[u8]) -> Result<Self, JoseError> {
        Self::of(PKey::public_key_from_der(spki).map_err(unusable)?)
    }

    /// The public half of a key.
    ///
    /// # Errors
    /// As [`PublicKey::of_jwk`].
    pub fn half_of(key: &PKeyRef<impl HasPublic>) -> Result<Self, JoseError> {
        Self::of_spki(&key.public_key_to_der().map_err(unusable)?)
    }

    fn of(key: PKey<Public>) -> Result<Self, JoseError> {
        let kind = match key.id() {
            Id::RSA => {
                let rsa = key.rsa().map_err(unusable)?;
                let (n, e) = (rsa.n(), rsa.e());
                if !RSA_BITS.contains(&n.num_bits()) || !n.is_bit_set(0) {
                    return Err(JoseError::Key("it must have 2048 to 8192 bits"));
                }
                if !e.is_bit_set(0) || !EXPONENT_BITS.contains(&e.num_bits()) {
                    return Err(JoseError::Key("its exponent cannot be used"));
                }
                Kind::Rsa
            }
            Id::EC => {
                let ec = key.ec_key().map_err(unusable)?;
                // The point lies on the curve and is of its order.
                ec.check_key().map_err(unusable)?;
                match ec.group().curve_name() {
                    Some(Nid::X9_62_PRIME256V1) => Kind::P256,
                    Some(Nid::SECP384R1) => Kind::P384,
                    _ => return Err(JoseError::Key("its curve is not accepted")),
                }
            }
            _ => return Err(JoseError::Key("its kind is not accepted")),
        };
        Ok(Self { kind, key })
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &PKey<Public> {
        &self.key
    }

    /// Whether it is a key on a curve: the only kind that Apple's hardware makes.
    #[must_use]
    pub fn is_elliptic(&self) -> bool {
        self.kind != Kind::Rsa
    }

    /// Whether it checks signatures of this algorithm.
    #[must_use]
    pub fn may(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self.kind, algorithm),
            (Kind::Rsa, Algorithm::Rs256 | Algorithm::Ps256)
                | (Kind::P256, Algorithm::Es256)
                | (Kind::P384, Algorithm::Es384)
        )
    }

    /// The key as JSON, with the members that its thumbprint is made of.
    ///
    /// # Errors
    /// [`JoseError::Key`].
    pub fn jwk(&self) -> Result<Value, JoseError> {
        if self.kind == Kind::Rsa {
            let rsa = self.key.rsa().map_err(unusable)?;
            let (n, e) = (encode(rsa.n().to_vec()), encode(rsa.e().to_vec()));
            return Ok(json!({ "e": e, "kty": "RSA", "n": n }));
        }
        let coordinates = || -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
            let ec = self.key.ec_key()?;
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            let mut context = BigNumContext::new()?;
            let point = ec.public_key();
            point.affine_coordinates(ec.group(), &mut x, &mut y, &mut context)?;
            // A coordinate is below the field's prime, so it fits.
            let width = i32::try_from(self.kind.width()).unwrap_or(i32::MAX);
            Ok((x.to_vec_padded(width)?, y.to_vec_padded(width)?))
        };
        let (x, y) = coordinates().map_err(unusable)?;
        Ok(json!({ "crv": self.kind.curve(), "kty": "EC", "x": encode(x), "y": encode(y) }))
    }

    /// Its name: SHA-256 over those members in the order of the alphabet, base64url.
    ///
    /// # Errors
    /// [`JoseError::Key`].
    pub fn thumbprint(&self) -> Result<String, JoseError> {
        let jwk = self.jwk()?;
        let member = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let canonical = match self.kind {
            Kind::Rsa => format!(
                r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                member("e"),
                member("n")
            ),
            _ => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                self.kind.curve(),
                member("x"),
                member("y")
            ),
        };
        Ok(encode(sha256(canonical.as_bytes())))
    }

    /// Checks a signature over `signed`.
    ///
    /// # Errors
    /// [`JoseError::Key`] for an algorithm that is not the key's, [`JoseError::Signature`].
    pub fn verify(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), JoseError> {
        if !self.may(algorithm) {
            return Err(JoseError::Key("the algorithm is not the key's"));
        }
        let matches = forget(self.check(algorithm, signed, signature));
        if matches.unwrap_or(false) {
            return Ok(());
        }
        Err(JoseError::Signature)
    }

    fn check(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        let digest = match algorithm {
            Algorithm::Es384 => MessageDigest::sha384(),
            _ => MessageDigest::sha256(),
        };
        let mut verifier = Verifier::new(digest, &self.key)?;
        match algorithm {
            Algorithm::Rs256 => verifier.verify_oneshot(signature, signed),
            Algorithm::Ps256 => {
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_mgf1_md(MessageDigest::sha256())?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                verifier.verify_oneshot(signature, signed)
            }
            Algorithm::Es256 | Algorithm::Es384 => {
                // JOSE has the two numbers side by side, OpenSSL wants them as DER.
                let width = self.kind.width();
                if signature.len() != 2 * width {
                    return Ok(false);
                }
                let (r, s) = signature.split_at(width);
                let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
                let pair = EcdsaSig::from_private_components(r, s)?;
                verifier.verify_oneshot(&pair.to_der()?, signed)
            }
        }
    }
}

/// Signs with ES256, the two numbers side by side.
///
/// # Errors
/// [`JoseError::Key`] for a key that is not on P-256.
pub fn sign_es256(key: &PKeyRef<Private>, message: &[u8]) -> Result<Vec<u8>, JoseError> {
    if !PublicKey::half_of(key)?.may(Algorithm::Es256) {
        return Err(JoseError::Key("the algorithm is not the key's"));
    }
    let signed = || -> Result<Vec<u8>, ErrorStack> {
        let der = Signer::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(message)?;
        let pair = EcdsaSig::from_der(&der)?;
        Ok([pair.r().to_vec_padded(32)?, pair.s().to_vec_padded(32)?].concat())
    };
    signed().map_err(unusable)
}
