//! An API account of the organisation: its identifiers, its private key, and the assertion that it signs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use crate::error::{Endpoint, Error, Service};
use crate::secret::SecretText;

const READ: Endpoint = Endpoint::read(Service::Local, "API account");

/// The audience of every assertion, whichever address the token is asked from.
pub const AUDIENCE: &str = "https://account.apple.com/auth/oauth2/v2/token";

/// How long an assertion is good for. Apple allows 180 days; a fresh one is made for every token.
const ASSERTION_SECONDS: i64 = 600;

/// Which of Apple's two portals an account belongs to; it decides address and scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Portal {
    /// Apple Business.
    Business,
    /// Apple School Manager.
    School,
}

impl Portal {
    /// Where its API is.
    #[must_use]
    pub fn base_url(self) -> &'static str {
        match self {
            Self::Business => "https://api-business.apple.com",
            Self::School => "https://api-school.apple.com",
        }
    }

    /// The scope of its bearer tokens.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Business => "business.api",
            Self::School => "school.api",
        }
    }
}

/// The credential of the organisation API: client identifier, key identifier and P-256 key.
#[derive(Clone)]
pub struct ApiAccount {
    portal: Portal,
    client_id: String,
    key_id: String,
    key: PKey<Private>,
}

impl ApiAccount {
    /// Reads an account. The key is PEM, as downloaded: `EC PRIVATE KEY` or `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) or [`Unreadable`](crate::ErrorKind::Unreadable) say which part
    /// cannot be used.
    pub fn new(client_id: &str, key_id: &str, private_key_pem: &[u8]) -> Result<Self, Error> {
        let (client_id, key_id) = (client_id.trim(), key_id.trim());
        let portal = if client_id.starts_with("BUSINESSAPI.") {
            Portal::Business
        } else if client_id.starts_with("SCHOOLAPI.") {
            Portal::School
        } else {
            return Err(Error::invalid(
                READ,
                "client_id",
                "it begins with neither BUSINESSAPI. nor SCHOOLAPI.",
            ));
        };
        if key_id.is_empty() {
            return Err(Error::invalid(READ, "key_id", "empty"));
        }
        let bad = |why: &str| Error::unreadable(READ, "private key", why);
        // An empty passphrase rather than none: OpenSSL would otherwise ask on the terminal.
        let key = PKey::private_key_from_pem_passphrase(private_key_pem, b"")
            .map_err(|_| bad("no PEM private key"))?;
        let curve = key.ec_key().ok().and_then(|ec| ec.group().curve_name());
        if curve != Some(Nid::X9_62_PRIME256V1) {
            return Err(bad("no key on the curve P-256"));
        }
        Ok(Self {
            portal,
            client_id: client_id.to_owned(),
            key_id: key_id.to_owned(),
            key,
        })
    }

    /// Which portal it belongs to.
    #[must_use]
    pub fn portal(&self) -> Portal {
        self.portal
    }

    /// The client identifier.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// A fresh client assertion: a JWT, ES256, with the signature as two numbers of 32 bytes.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when OpenSSL cannot sign.
    pub fn assertion(&self, now_ms: i64) -> Result<SecretText, Error> {
        self.sign(now_ms)
            .map_err(|_| Error::unreadable(READ, "private key", "OpenSSL cannot sign with it"))
    }

    fn sign(&self, now_ms: i64) -> Result<SecretText, ErrorStack> {
        let now = now_ms.div_euclid(1000);
        let header = serde_json::json!({ "alg": "ES256", "kid": self.key_id, "typ": "JWT" });
        let claims = serde_json::json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now.saturating_add(ASSERTION_SECONDS),
            "jti": crate::random_uuid()?,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let der = Signer::new(MessageDigest::sha256(), &self.key)?
            .sign_oneshot_to_vec(signed.as_bytes())?;
        let pair = EcdsaSig::from_der(&der)?;
        let mut raw = pair.r().to_vec_padded(32)?;
        raw.extend(pair.s().to_vec_padded(32)?);
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw)).into())
    }
}

impl fmt::Debug for ApiAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Client identifiers count as secret here.
        f.debug_struct("ApiAccount")
            .field("portal", &self.portal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};

    use super::*;

    const NOW: i64 = 1_795_190_400_000;

    fn key(curve: Nid) -> EcKey<Private> {
        EcKey::generate(&EcGroup::from_curve_name(curve).expect("a curve")).expect("a key")
    }

    #[test]
    fn the_assertion_is_signed_in_raw_form_and_carries_every_claim() {
        let ec = key(Nid::X9_62_PRIME256V1);
        let pem = ec.private_key_to_pem().expect("PEM");
        let account = ApiAccount::new("BUSINESSAPI.1234", "KEY1", &pem).expect("an account");
        // A short r or s must be padded: often enough one of sixty begins with a zero byte.
        for _ in 0..60 {
            let jwt = account.assertion(NOW).expect("signed");
            let parts: Vec<_> = jwt.expose().split('.').collect();
            let raw = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64url");
            assert_eq!(raw.len(), 64);
            let number = |bytes| BigNum::from_slice(bytes).expect("a number");
            let pair = EcdsaSig::from_private_components(number(&raw[..32]), number(&raw[32..]))
                .expect("a pair");
            let digest = openssl::sha::sha256(format!("{}.{}", parts[0], parts[1]).as_bytes());
            assert!(pair.verify(&digest, &ec).expect("verifies"));
        }
        let jwt = account.assertion(NOW).expect("signed");
        let mut parts = jwt
            .expose()
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
        let mut json = || {
            serde_json::from_slice::<serde_json::Value>(&parts.next().expect("a part"))
                .expect("JSON")
        };
        assert_eq!(
            json(),
            serde_json::json!({ "alg": "ES256", "kid": "KEY1", "typ": "JWT" })
        );
        let claims = json();
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&"BUSINESSAPI.1234".into(), &"BUSINESSAPI.1234".into())
        );
        assert_eq!(
            claims["aud"],
            "https://account.apple.com/auth/oauth2/v2/token"
        );
        assert_eq!(claims["iat"], 1_795_190_400);
        assert_eq!(claims["exp"], 1_795_191_000);
        assert_eq!(claims["jti"].as_str().map(str::len), Some(36));
    }

    #[test]
    fn both_forms_of_the_key_are_read_and_others_are_refused() {
        let ec = key(Nid::X9_62_PRIME256V1);
        let pkcs8 = PKey::from_ec_key(ec.clone())
            .and_then(|key| key.private_key_to_pem_pkcs8())
            .expect("PEM");
        let school = ApiAccount::new(" SCHOOLAPI.1 ", "K", &pkcs8).expect("an account");
        assert_eq!(
            (school.portal().scope(), school.portal().base_url()),
            ("school.api", "https://api-school.apple.com")
        );
        ApiAccount::new("BUSINESSAPI.1", "K", &ec.private_key_to_pem().expect("PEM"))
            .expect("an account");
        let other = key(Nid::SECP384R1).private_key_to_pem().expect("PEM");
        assert!(ApiAccount::new("BUSINESSAPI.1", "K", &other).is_err());
        assert!(ApiAccount::new("SOMETHING.1", "K", &pkcs8).is_err());
        assert!(ApiAccount::new("BUSINESSAPI.1", " ", &pkcs8).is_err());
        assert!(ApiAccount::new("BUSINESSAPI.1", "K", b"nothing").is_err());
        assert!(!format!("{school:?}").contains("SCHOOLAPI.1"));
    }
}
