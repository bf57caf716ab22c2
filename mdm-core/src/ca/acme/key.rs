//! The key of an account: read from a JSON Web Key, kept as SubjectPublicKeyInfo, named by its thumbprint. Says in ACME's words what
//! is wrong with one; which keys are any good at all, [`crate::jose`] knows.
//!
//! <https://www.rfc-editor.org/rfc/rfc8555#section-6.2>

use serde_json::{Map, Value};

use super::problem::{Problem, ProblemKind};
use super::request::one_form;
use crate::jose::{Algorithm, JoseError, PublicKey};

/// The longest RSA key that is accepted, in bits of the modulus.
const LONGEST: u32 = 4096;

/// The public key of an account, or of a certificate that asks for its own revocation.
pub struct AccountKey {
    key: PublicKey,
    spki: Vec<u8>,
    thumbprint: String,
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.thumbprint)
    }
}

fn refused(error: JoseError) -> Problem {
    let detail = match error {
        JoseError::Key(why) | JoseError::Malformed(why) => why,
        _ => "the key cannot be used",
    };
    Problem::new(ProblemKind::BadPublicKey, detail)
}

impl AccountKey {
    /// Reads a JSON Web Key.
    pub(super) fn of_jwk(jwk: &Map<String, Value>) -> Result<Self, Problem> {
        Self::of(PublicKey::of_jwk(jwk))
    }

    /// Takes a key that was kept, or that of a certificate (DER SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// [`ProblemKind::BadPublicKey`] for one of another kind than accounts may have.
    pub fn of_spki(spki: &[u8]) -> Result<Self, Problem> {
        Self::of(PublicKey::of_spki(spki))
    }

    fn of(key: Result<PublicKey, JoseError>) -> Result<Self, Problem> {
        let key = key.map_err(refused)?;
        if !key.is_elliptic() && key.key().bits() > LONGEST {
            return Err(refused(JoseError::Key("it must have 2048 to 4096 bits")));
        }
        let spki = one_form(key.key());
        let spki = spki.map_err(|_| refused(JoseError::Key("the key cannot be read")))?;
        Ok(Self {
            thumbprint: key.thumbprint().map_err(refused)?,
            key,
            spki,
        })
    }

    /// The key, DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether it is a key on a curve: the only kind that Apple's hardware makes.
    pub(super) fn is_elliptic(&self) -> bool {
        self.key.is_elliptic()
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
        self.key
            .verify(algorithm, message, signature)
            .map_err(|error| match error {
                JoseError::Key(_) => Problem::new(
                    ProblemKind::BadSignatureAlgorithm,
                    "the algorithm is not that of the key",
                ),
                _ => Problem::malformed("the signature does not hold"),
            })
    }
}
