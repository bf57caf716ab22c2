//! Public keys as JSON, and sets of them. Private ones, symmetric ones, and those for encryption are no keys here.
//!
//! <https://www.rfc-editor.org/rfc/rfc7517>

use serde_json::Value;

use super::{Algorithm, JoseError, PublicKey};

/// Bytes of a key set above which it is not looked at.
const LONGEST_SET: usize = 256 * 1024;
/// Keys of a set that are looked at.
const MOST_KEYS: usize = 100;

/// One public key with what its owner says of it.
#[derive(Clone, Debug)]
pub struct Jwk {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    key: PublicKey,
}

impl Jwk {
    /// Reads a key.
    ///
    /// # Errors
    /// [`JoseError::Key`] says which rule it breaks; [`JoseError::Malformed`] for what is no key at all.
    pub fn parse(value: &Value) -> Result<Self, JoseError> {
        let map = value
            .as_object()
            .ok_or(JoseError::Malformed("a key must be a JSON object"))?;
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Err(JoseError::Key("it is not for signatures"));
        }
        let operations = map.get("key_ops").and_then(Value::as_array);
        if operations.is_some_and(|all| !all.iter().any(|o| o == "verify")) {
            return Err(JoseError::Key("it is not for signatures"));
        }
        let key = PublicKey::of_jwk(map)?;
        let algorithm = match map.get("alg") {
            None => None,
            Some(name) => Some(
                name.as_str()
                    .and_then(Algorithm::from_name)
                    .filter(|a| key.may(*a))
                    .ok_or(JoseError::Algorithm)?,
            ),
        };
        Ok(Self {
            kid: text("kid").map(str::to_owned),
            algorithm,
            key,
        })
    }

    /// Its name in the set.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether it may check signatures of this algorithm.
    #[must_use]
    pub fn may(&self, algorithm: Algorithm) -> bool {
        self.key.may(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
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
        self.key.verify(algorithm, signed, signature)
    }
}

/// The public keys of somebody, as published.
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

impl JwkSet {
    /// Reads a set. A key in it that cannot be used here is passed over: others may have use for it.
    ///
    /// # Errors
    /// [`JoseError::Malformed`].
    pub fn parse(document: &[u8]) -> Result<Self, JoseError> {
        if document.len() > LONGEST_SET {
            return Err(JoseError::Malformed("the key set is too large"));
        }
        let document: Value = serde_json::from_slice(document)
            .map_err(|_| JoseError::Malformed("a key set must be JSON"))?;
        let keys = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(JoseError::Malformed("a key set must have keys"))?;
        let keys = keys.iter().take(MOST_KEYS);
        Ok(Self {
            keys: keys.filter_map(|key| Jwk::parse(key).ok()).collect(),
        })
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that may have signed: those of this name, or all when the token names none.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Jwk> {
        self.keys
            .iter()
            .filter(move |key| key.may(algorithm) && (kid.is_none() || key.key_id() == kid))
            // Without a name each try costs a verification.
            .take(8)
    }
}
