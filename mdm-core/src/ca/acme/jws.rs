//! A signed request: JSON Web Signature in its flattened form, with the protected header that ACME demands. Read first, then
//! verified with a key that the caller found; nothing of it is to be believed before that.
//!
//! <https://www.rfc-editor.org/rfc/rfc8555#section-6.2>, <https://www.rfc-editor.org/rfc/rfc7515>

use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::AccountKey;
use super::problem::{Problem, ProblemKind};
use crate::jose::{Algorithm, decode};

/// The media type of a request.
pub const JOSE_TYPE: &str = "application/jose+json";

/// The signatures that are accepted.
pub(super) const ALGORITHMS: [&str; 3] = ["ES256", "ES384", "RS256"];

/// The largest protected header in characters: a key of 4096 bits with an address and a nonce is a quarter of it.
const HEADER_LIMIT: usize = 8 * 1024;

/// The three parts, and nothing beside them: an unprotected header or more than one signature is another form of message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

#[derive(Deserialize)]
struct Protected {
    alg: String,
    nonce: Option<String>,
    url: Option<String>,
    jwk: Option<Map<String, Value>>,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

/// Who says to have signed.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a key or a name, never both")]
pub enum Signer {
    /// Whoever has this key.
    Key(AccountKey),
    /// The account at this address.
    Account(String),
}

/// A request that was read and not verified.
#[derive(Debug)]
pub struct Jws {
    algorithm: Algorithm,
    signer: Signer,
    nonce: String,
    url: String,
    payload: Vec<u8>,
    signed: String,
    signature: Vec<u8>,
}

impl Jws {
    /// Reads a request.
    ///
    /// # Errors
    /// [`ProblemKind::Malformed`], [`ProblemKind::BadSignatureAlgorithm`], [`ProblemKind::BadPublicKey`] or
    /// [`ProblemKind::BadNonce`] for a request without one.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let parts: Flattened = serde_json::from_slice(body)
            .map_err(|_| Problem::malformed("the body is no flattened JSON Web Signature"))?;
        if parts.protected.len() > HEADER_LIMIT {
            return Err(Problem::malformed("the protected header is too long"));
        }
        let part = |text: &str| {
            decode(text).map_err(|_| Problem::malformed("a part is not base64url without padding"))
        };
        let header: Protected = serde_json::from_slice(&part(&parts.protected)?)
            .map_err(|_| Problem::malformed("the protected header cannot be read"))?;
        if header.crit.is_some() {
            return Err(Problem::malformed(
                "an extension is critical that is not known here",
            ));
        }
        // HS256 and `none` are not listed: a message is signed, by a key of its own.
        let algorithm = Algorithm::from_name(&header.alg);
        let listed = algorithm.filter(|a| ALGORITHMS.contains(&a.as_str()));
        let algorithm = listed.ok_or(Problem::new(
            ProblemKind::BadSignatureAlgorithm,
            "the signature must be ES256, ES384 or RS256",
        ))?;
        let signer = match (header.jwk, header.kid) {
            (Some(jwk), None) => Signer::Key(AccountKey::of_jwk(&jwk)?),
            (None, Some(kid)) => Signer::Account(kid),
            _ => return Err(Problem::malformed("either jwk or kid must be there")),
        };
        let nonce = header
            .nonce
            .ok_or(Problem::new(ProblemKind::BadNonce, "there is no nonce"))?;
        let url = header.url.ok_or(Problem::malformed("there is no url"))?;
        Ok(Self {
            algorithm,
            signer,
            nonce,
            url,
            payload: part(&parts.payload)?,
            signature: part(&parts.signature)?,
            signed: format!("{}.{}", parts.protected, parts.payload),
        })
    }

    /// Who says to have signed it.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The nonce as it was sent.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Checks the signature with this key, and that the message was made for this address. Gives what it says; empty for a
    /// request that only reads (POST-as-GET).
    ///
    /// # Errors
    /// [`ProblemKind::Malformed`] for a signature that does not hold, [`ProblemKind::BadSignatureAlgorithm`] for one that is
    /// not of the key's kind, [`ProblemKind::Unauthorized`] for another address.
    pub fn verify(&self, key: &AccountKey, url: &str) -> Result<&[u8], Problem> {
        key.check(self.algorithm, self.signed.as_bytes(), &self.signature)?;
        if self.url != url {
            return Err(Problem::new(
                ProblemKind::Unauthorized,
                "the message was made for another address",
            ));
        }
        Ok(&self.payload)
    }
}
