//! The key pair for which the portal encrypts the server token. It signs service tokens for devices too.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Name};

use super::{OPEN, envelope, refused};
use crate::error::Error;
use crate::secret::{SecretBytes, SecretText};

/// An RSA key and its self-signed certificate; the certificate is what is uploaded to the portal.
///
/// Keep it as long as the server entry exists: renewals are encrypted for it, and it signs the service tokens of
/// Managed Apple Accounts. After a change of certificate keep the old pair until a new token has been opened.
#[derive(Clone)]
pub struct TokenKeyPair {
    pub(super) key: PKey<Private>,
    pub(super) certificate: X509,
}

impl TokenKeyPair {
    /// Makes an RSA-2048 key and a certificate for `name`, valid from `now_ms` for `days`.
    ///
    /// The portal encrypts with RSA, so that no other kind of key can be used; it builds no chain.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when OpenSSL refuses, for example a name of more than 64 characters.
    pub fn generate(name: &str, now_ms: i64, days: u32) -> Result<Self, Error> {
        Self::make(name, now_ms, days).map_err(refused("name for a certificate"))
    }

    fn make(name: &str, now_ms: i64, days: u32) -> Result<Self, ErrorStack> {
        let key = PKey::from_rsa(Rsa::generate(2048)?)?;
        let mut subject = X509Name::builder()?;
        subject.append_entry_by_text("CN", name)?;
        let subject = subject.build();
        let mut serial = [0_u8; 16];
        openssl::rand::rand_bytes(&mut serial)?;
        // Positive and not shortened by leading zeros.
        serial[0] = serial[0] & 0x7f | 0x40;
        let start = now_ms.div_euclid(1000);

        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*Asn1Integer::from_bn(&*BigNum::from_slice(&serial)?)?)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(&subject)?;
        builder.set_pubkey(&key)?;
        builder.set_not_before(&*Asn1Time::from_unix(start)?)?;
        builder.set_not_after(&*Asn1Time::from_unix(
            start.saturating_add(i64::from(days) * 86_400),
        )?)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(
            KeyUsage::new()
                .critical()
                .digital_signature()
                .key_encipherment()
                .build()?,
        )?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            key,
            certificate: builder.build(),
        })
    }

    /// Reads a pair from PEM, as [`certificate_pem`](Self::certificate_pem) and
    /// [`private_key_pem`](Self::private_key_pem) write it.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when one is no PEM, no RSA, or they do not belong together.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, Error> {
        let certificate = X509::from_pem(certificate).map_err(refused("PEM certificate"))?;
        // An empty passphrase rather than none: OpenSSL would otherwise ask on the terminal.
        let key = PKey::private_key_from_pem_passphrase(private_key, b"")
            .map_err(refused("PEM private key"))?;
        if key.id() != Id::RSA {
            return Err(Error::unreadable(
                OPEN,
                "private key",
                "the portal encrypts for RSA keys only",
            ));
        }
        let public = certificate.public_key().map_err(refused("certificate"))?;
        if !public.public_eq(&key) {
            return Err(Error::unreadable(
                OPEN,
                "certificate",
                "the private key belongs to another one",
            ));
        }
        Ok(Self { key, certificate })
    }

    /// The certificate in PEM: upload this to the portal.
    ///
    /// # Errors
    /// None in practice: OpenSSL has made or read it before.
    pub fn certificate_pem(&self) -> Result<String, Error> {
        let pem = self.certificate.to_pem().map_err(refused("certificate"))?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }

    /// The private key in PEM (PKCS#8), to be sealed and stored by the caller.
    ///
    /// # Errors
    /// None in practice: OpenSSL has made or read it before.
    pub fn private_key_pem(&self) -> Result<SecretBytes, Error> {
        self.key
            .private_key_to_pem_pkcs8()
            .map(SecretBytes::from)
            .map_err(refused("private key"))
    }

    /// Issuer and serial number, as an error about a token for another certificate names them.
    #[must_use]
    pub fn describe(&self) -> String {
        let serial = self
            .certificate
            .serial_number()
            .to_bn()
            .map(|n| n.to_vec())
            .unwrap_or_default();
        envelope::describe(self.certificate.issuer_name(), &serial)
    }

    /// A service token for a device that asks with `GetToken`: a JWT, RS256.
    ///
    /// `server_uuid` is the identifier of our server entry from `/account`; `service_type` is `com.apple.maid`. Each
    /// call makes a new `jti`, since a service takes each only once.
    ///
    /// Apple: <https://developer.apple.com/documentation/devicemanagement/get-token>
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when OpenSSL cannot sign.
    pub fn service_token(
        &self,
        server_uuid: &str,
        service_type: &str,
        now_ms: i64,
    ) -> Result<SecretText, Error> {
        self.sign_token(server_uuid, service_type, now_ms)
            .map_err(refused("key for a service token"))
    }

    fn sign_token(
        &self,
        server_uuid: &str,
        service_type: &str,
        now_ms: i64,
    ) -> Result<SecretText, ErrorStack> {
        let claims = serde_json::json!({
            "iss": server_uuid,
            "iat": now_ms.div_euclid(1000),
            "jti": crate::random_uuid()?,
            "service_type": service_type,
        });
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = Signer::new(MessageDigest::sha256(), &self.key)?
            .sign_oneshot_to_vec(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

impl fmt::Debug for TokenKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenKeyPair")
            .field(&self.describe())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_190_400_000;

    #[test]
    fn a_pair_survives_its_pem_and_foreign_keys_are_refused() {
        let pair = TokenKeyPair::generate("mdmd", NOW, 365).expect("a pair");
        let (certificate, key) = (
            pair.certificate_pem().expect("PEM"),
            pair.private_key_pem().expect("PEM"),
        );
        let again =
            TokenKeyPair::from_pem(certificate.as_bytes(), key.expose()).expect("the same pair");
        assert_eq!(again.describe(), pair.describe());
        assert!(
            pair.describe().starts_with("issuer CN=mdmd, serial "),
            "{}",
            pair.describe()
        );
        let other = TokenKeyPair::generate("mdmd", NOW, 365).expect("a pair");
        assert_ne!(other.describe(), pair.describe());
        let mixed = TokenKeyPair::from_pem(
            certificate.as_bytes(),
            other.private_key_pem().expect("PEM").expose(),
        );
        assert!(
            mixed
                .expect_err("mixed")
                .to_string()
                .contains("belongs to another one")
        );
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_service_token_is_signed_and_never_the_same_twice() {
        let pair = TokenKeyPair::generate("mdmd", NOW, 365).expect("a pair");
        let make = || {
            pair.service_token("0123456789ABCDEF0123456789ABCDEF", "com.apple.maid", NOW)
                .expect("signed")
        };
        let (one, two) = (make(), make());
        assert!(!one.matches(two.expose()));
        let parts: Vec<_> = one.expose().split('.').collect();
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims["iat"], 1_795_190_400);
        assert_eq!(claims["service_type"], "com.apple.maid");
        let public = pair.certificate.public_key().expect("public key");
        let mut verifier =
            openssl::sign::Verifier::new(MessageDigest::sha256(), &public).expect("verifier");
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64url");
        let signed = format!("{}.{}", parts[0], parts[1]);
        assert!(
            verifier
                .verify_oneshot(&signature, signed.as_bytes())
                .expect("verifies")
        );
    }
}
