//! JSON Web Signatures and the public keys that check them: four listed algorithms and nothing else. Encrypts
//! nothing, fetches nothing, and takes no word of a token for which algorithm its key is.
//!
//! <https://www.rfc-editor.org/rfc/rfc7515>, <https://www.rfc-editor.org/rfc/rfc7517>, <https://www.rfc-editor.org/rfc/rfc7518>

mod jwk;
mod key;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub use jwk::{Jwk, JwkSet};
pub use key::{PublicKey, sign_es256};

/// Bytes of a compact token above which it is not looked at.
pub const LONGEST_TOKEN: usize = 64 * 1024;

/// An algorithm that is accepted. There is no `none` here, and nothing with a shared secret: a public key can never be taken
/// for one.
///
/// <https://www.rfc-editor.org/rfc/rfc7518#section-3.1>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and MGF1 with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384];

    /// Its registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// The algorithm of a name, in exactly its letters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }
}

/// Why a token, a key or a signature is not accepted. Says no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoseError {
    /// Not of the form that it must have.
    #[error("{0}")]
    Malformed(&'static str),
    /// An algorithm that is not listed.
    #[error("the algorithm is not one of those that are accepted")]
    Algorithm,
    /// A key that cannot be used: too short, of another kind, off its curve.
    #[error("the key cannot be used: {0}")]
    Key(&'static str),
    /// No key of the set has the token's name.
    #[error("no key of the set is the token's")]
    UnknownKey,
    /// The signature is not of this key over these bytes.
    #[error("the signature does not match")]
    Signature,
}

/// Base64url without padding, as JOSE wants it.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Undoes base64url without padding, as JOSE wants it.
///
/// # Errors
/// [`JoseError::Malformed`].
pub fn decode(text: &str) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| JoseError::Malformed("must be base64url without padding"))
}

/// A token in three parts whose signature nobody has checked yet. Its claims cannot be had before.
#[derive(Debug)]
pub struct Unproved<'a> {
    header: Map<String, Value>,
    algorithm: Algorithm,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> Unproved<'a> {
    /// Takes a compact token apart.
    ///
    /// # Errors
    /// [`JoseError`], also for critical extensions, of which none is understood here.
    pub fn parse(token: &'a str) -> Result<Self, JoseError> {
        if token.len() > LONGEST_TOKEN {
            return Err(JoseError::Malformed("the token is too long"));
        }
        let parts = JoseError::Malformed("a token has three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(parts)?;
        let (header, payload) = signed.split_once('.').ok_or(parts)?;
        if payload.contains('.') {
            return Err(parts);
        }
        let header: Map<String, Value> = serde_json::from_slice(&decode(header)?)
            .map_err(|_| JoseError::Malformed("the header must be a JSON object"))?;
        if header.contains_key("crit") {
            return Err(JoseError::Malformed("critical extensions are not known"));
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::from_name)
            .ok_or(JoseError::Algorithm)?;
        Ok(Self {
            algorithm,
            signed,
            payload,
            signature: decode(signature)?,
            header,
        })
    }

    /// Its algorithm, as it says itself.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of the key that it was signed with, as it says itself.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// The claims, once a key of the set has proved them. A key's own `alg` binds; keys that a token brings along are not
    /// looked at.
    ///
    /// # Errors
    /// [`JoseError::UnknownKey`] when no key has the token's name (the set may be old), [`JoseError`] otherwise.
    pub fn claims(&self, keys: &JwkSet) -> Result<Map<String, Value>, JoseError> {
        let mut tried = 0;
        for key in keys.candidates(self.key_id(), self.algorithm) {
            tried += 1;
            if key
                .verify(self.algorithm, self.signed.as_bytes(), &self.signature)
                .is_ok()
            {
                return serde_json::from_slice(&decode(self.payload)?)
                    .map_err(|_| JoseError::Malformed("the claims must be a JSON object"));
            }
        }
        Err(match tried {
            0 => JoseError::UnknownKey,
            _ => JoseError::Signature,
        })
    }
}

#[cfg(test)]
mod tests;
