//! The key of an account: read from a JSON Web Key, kept as SubjectPublicKeyInfo, named by its thumbprint. Points that are not
//! on their curve, short and overlong RSA keys and keys that come with their private half are refused.
//!
//! <https://www.rfc-editor.org/rfc/rfc7517>, <https://www.rfc-editor.org/rfc/rfc7638>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::sign::Verifier;
use serde::Deserialize;

use super::problem::{Problem, ProblemKind};

/// RSA keys that are accepted, in bits of the modulus.
const RSA_BITS: std::ops::RangeInclusive<i32> = 2048..=4096;
/// The longest RSA exponent in bytes. A longer one makes a signature dear to check.
const EXPONENT: usize = 4;

/// How signatures are made with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Es256,
    Es384,
    Rs256,
}

impl Algorithm {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "RS256" => Some(Self::Rs256),
            // HS256 and `none` among them: a message is signed, by a key of its own.
            _ => None,
        }
    }

    /// Bytes of a coordinate, and of each half of a signature.
    const fn width(self) -> usize {
        match self {
            Self::Es384 => 48,
            Self::Es256 | Self::Rs256 => 32,
        }
    }
}

/// A JSON Web Key as far as it is read. What else stands in it says nothing here.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// The public key of an account, or of a certificate that asks for its own revocation.
pub struct AccountKey {
    key: PKey<Public>,
    algorithm: Algorithm,
    spki: Vec<u8>,
    thumbprint: String,
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.thumbprint)
    }
}

fn refused(detail: &'static str) -> Problem {
    let _ = ErrorStack::get();
    Problem::new(ProblemKind::BadPublicKey, detail)
}

impl AccountKey {
    /// Reads a JSON Web Key.
    pub(super) fn of_jwk(jwk: &Jwk) -> Result<Self, Problem> {
        if jwk.d.is_some() {
            return Err(refused(
                "the key came with its private half: it is nobody's any more",
            ));
        }
        match jwk.kty.as_str() {
            "EC" => Self::of_point(jwk),
            "RSA" => Self::of_modulus(jwk),
            _ => Err(refused("the key must be EC or RSA")),
        }
    }

    fn of_point(jwk: &Jwk) -> Result<Self, Problem> {
        let (curve, algorithm) = match jwk.crv.as_deref() {
            Some("P-256") => (Nid::X9_62_PRIME256V1, Algorithm::Es256),
            Some("P-384") => (Nid::SECP384R1, Algorithm::Es384),
            _ => return Err(refused("the curve must be P-256 or P-384")),
        };
        let wrong = || refused("the key is no point of its curve");
        let (x, y) = (bytes(jwk.x.as_ref()), bytes(jwk.y.as_ref()));
        let (x, y) = (x.ok_or_else(wrong)?, y.ok_or_else(wrong)?);
        if x.len() != algorithm.width() || y.len() != algorithm.width() {
            return Err(wrong());
        }
        let key = || -> Result<PKey<Public>, ErrorStack> {
            let group = EcGroup::from_curve_name(curve)?;
            let (x, y) = (BigNum::from_slice(&x)?, BigNum::from_slice(&y)?);
            let key = EcKey::from_public_key_affine_coordinates(&group, &x, &y)?;
            key.check_key()?;
            PKey::from_ec_key(key)
        };
        Self::of_key(key().map_err(|_| wrong())?)
    }

    fn of_modulus(jwk: &Jwk) -> Result<Self, Problem> {
        let wrong = || refused("an RSA key must have 2048 to 4096 bits and a short exponent");
        let (n, e) = (bytes(jwk.n.as_ref()), bytes(jwk.e.as_ref()));
        let (n, e) = (n.ok_or_else(wrong)?, e.ok_or_else(wrong)?);
        if n.len() > 1024 || e.len() > EXPONENT {
            return Err(wrong());
        }
        let key = || -> Result<PKey<Public>, ErrorStack> {
            let (n, e) = (BigNum::from_slice(&n)?, BigNum::from_slice(&e)?);
            PKey::from_rsa(Rsa::from_public_components(n, e)?)
        };
        Self::of_key(key().map_err(|_| wrong())?)
    }

    /// Takes a key that was kept, or that of a certificate (DER SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// [`ProblemKind::BadPublicKey`] for one of another kind than accounts may have.
    pub fn of_spki(spki: &[u8]) -> Result<Self, Problem> {
        let key = PKey::public_key_from_der(spki).map_err(|_| refused("the key cannot be read"))?;
        Self::of_key(key)
    }

    fn of_key(key: PKey<Public>) -> Result<Self, Problem> {
        let unreadable = |_| refused("the key cannot be read");
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, canonical) = match key.id() {
            Id::EC => {
                let ec = key.ec_key().map_err(unreadable)?;
                let (algorithm, name) = match ec.group().curve_name() {
                    Some(Nid::X9_62_PRIME256V1) => (Algorithm::Es256, "P-256"),
                    Some(Nid::SECP384R1) => (Algorithm::Es384, "P-384"),
                    _ => return Err(refused("the curve must be P-256 or P-384")),
                };
                let (x, y) = coordinates(&ec, algorithm).map_err(unreadable)?;
                let (x, y) = (base64(&x), base64(&y));
                let text = format!(r#"{{"crv":"{name}","kty":"EC","x":"{x}","y":"{y}"}}"#);
                (algorithm, text)
            }
            Id::RSA => {
                let rsa = key.rsa().map_err(unreadable)?;
                let exponent = rsa.e();
                if !RSA_BITS.contains(&rsa.n().num_bits())
                    || !exponent.is_bit_set(0)
                    || exponent.num_bits() < 2
                    || exponent.num_bytes() > 4
                {
                    return Err(refused(
                        "an RSA key must have 2048 to 4096 bits and a short exponent",
                    ));
                }
                let (n, e) = (base64(&rsa.n().to_vec()), base64(&exponent.to_vec()));
                (
                    Algorithm::Rs256,
                    format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
                )
            }
            _ => return Err(refused("the key must be EC or RSA")),
        };
        let spki = key.public_key_to_der().map_err(unreadable)?;
        Ok(Self {
            key,
            algorithm,
            spki,
            thumbprint: base64(&sha256(canonical.as_bytes())),
        })
    }

    /// The key, DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether it is a key on a curve: the only kind that Apple's hardware makes.
    pub(super) fn is_elliptic(&self) -> bool {
        self.algorithm != Algorithm::Rs256
    }

    /// Its name: SHA-256 over its canonical form, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether this key made the signature. The name of the algorithm in the message must be that of the key: a message
    /// never chooses how it is checked.
    pub(super) fn check(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Problem> {
        if algorithm != self.algorithm {
            return Err(Problem::new(
                ProblemKind::BadSignatureAlgorithm,
                "the algorithm is not that of the key",
            ));
        }
        let holds = match algorithm {
            Algorithm::Rs256 => Verifier::new(MessageDigest::sha256(), &self.key)
                .and_then(|mut verifier| verifier.verify_oneshot(signature, message)),
            Algorithm::Es256 => self.check_ecdsa(&sha256(message), signature),
            Algorithm::Es384 => self.check_ecdsa(&openssl::sha::sha384(message), signature),
        };
        // OpenSSL's note of why a signature does not fit would meet the next connection of this thread.
        let _ = ErrorStack::get();
        match holds {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Problem::malformed("the signature does not hold")),
        }
    }

    fn check_ecdsa(&self, digest: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let width = self.algorithm.width();
        if signature.len() != 2 * width {
            return Ok(false);
        }
        let (r, s) = signature.split_at(width);
        let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
        let signature = EcdsaSig::from_private_components(r, s)?;
        signature.verify(digest, self.key.ec_key()?.as_ref())
    }
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
}

fn coordinates(
    key: &openssl::ec::EcKeyRef<Public>,
    algorithm: Algorithm,
) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    let point = key.public_key();
    point.affine_coordinates(key.group(), &mut x, &mut y, &mut context)?;
    // A coordinate is below the field's prime, so it fits.
    let width = i32::try_from(algorithm.width()).unwrap_or(i32::MAX);
    Ok((x.to_vec_padded(width)?, y.to_vec_padded(width)?))
}
