//! The form that a vendor makes of an organisation's certificate request and that the portal for push certificates takes: the
//! request, the vendor's signature over it, and the vendor's chain. Makes no key and keeps none.
//!
//! <https://developer.apple.com/documentation/devicemanagement/setting-up-push-notifications-for-your-device-magagement-customers>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::x509::{X509, X509Req};
use plist::Dictionary;

use super::plist::write_dictionary;
use crate::secret::Secret;

/// Why there is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushRequestError {
    /// The request cannot be read, or its signature is not its own key's.
    #[error("the certificate request cannot be read")]
    Request,
    /// The key is no RSA key in PEM, without a passphrase.
    #[error("the vendor's key must be an RSA key in PEM without a passphrase")]
    Key,
    /// The chain is no list of PEM certificates whose first one has the key and whose others issued one another.
    #[error(
        "the vendor's chain must be PEM certificates: the one of this key first, then each one's issuer"
    )]
    Chain,
}

/// The file for the portal: base64 of a property list. `request` is DER, `vendor_key` PEM, `chain` PEM.
///
/// # Errors
/// [`PushRequestError`].
pub fn signed_form(
    request: &[u8],
    vendor_key: &Secret,
    chain: &[u8],
) -> Result<String, PushRequestError> {
    let parsed = X509Req::from_der(request).map_err(|_| PushRequestError::Request)?;
    let own = parsed.public_key().map_err(|_| PushRequestError::Request)?;
    if !parsed.verify(&own).unwrap_or(false) {
        return Err(PushRequestError::Request);
    }
    let key = PKey::private_key_from_pem_callback(vendor_key.expose(), |_| Ok(0))
        .map_err(|_| PushRequestError::Key)?;
    if key.rsa().is_err() {
        return Err(PushRequestError::Key);
    }
    let chain = chain_of(chain, &key).ok_or(PushRequestError::Chain)?;
    let sign = || -> Result<Vec<u8>, openssl::error::ErrorStack> {
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.sign_oneshot_to_vec(request)
    };
    let signature = sign().map_err(|_| PushRequestError::Key)?;
    let mut form = Dictionary::new();
    for (name, text) in [
        ("PushCertRequestCSR", STANDARD.encode(request)),
        ("PushCertCertificateChain", chain),
        ("PushCertSignature", STANDARD.encode(signature)),
    ] {
        form.insert(name.to_owned(), text.into());
    }
    Ok(STANDARD.encode(write_dictionary(&form)))
}

/// The chain written anew, in lines of 64 columns.
fn chain_of(pem: &[u8], key: &PKey<openssl::pkey::Private>) -> Option<String> {
    let certificates = X509::stack_from_pem(pem).ok()?;
    if !certificates.first()?.public_key().ok()?.public_eq(key) {
        return None;
    }
    for pair in certificates.windows(2) {
        let issuer = pair[1].public_key().ok()?;
        if !crate::identity::is_issued_by(&pair[0], &issuer) {
            return None;
        }
    }
    let mut text = String::new();
    for certificate in &certificates {
        text.push_str(std::str::from_utf8(&certificate.to_pem().ok()?).ok()?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Ca;
    use crate::clock::Timestamp;
    use openssl::rsa::Rsa;
    use openssl::sign::Verifier;
    use openssl::x509::{X509Name, X509ReqBuilder};

    fn request() -> Vec<u8> {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", "Acme").unwrap();
        let mut builder = X509ReqBuilder::new().unwrap();
        builder.set_subject_name(&name.build()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    }

    /// A vendor: a key with its certificate.
    fn vendor() -> (Secret, Vec<u8>) {
        let made = Ca::create("vendor", Timestamp::from_millis(1_796_000_000_000)).unwrap();
        let certificate = X509::from_der(made.certificate()).unwrap();
        let key = PKey::private_key_from_pkcs8(made.private_key().unwrap().expose()).unwrap();
        (
            Secret::new(key.private_key_to_pem_pkcs8().unwrap()),
            certificate.to_pem().unwrap(),
        )
    }

    #[test]
    fn the_form_holds_the_request_its_signature_and_the_chain() {
        let (request, (key, chain)) = (request(), vendor());
        let form = signed_form(&request, &key, &chain).unwrap();
        let form = STANDARD.decode(form).unwrap();
        let form = super::super::plist::read_dictionary(&form, 1 << 20).unwrap();
        let text = |name: &str| form.get(name).unwrap().as_string().unwrap().to_owned();
        assert_eq!(
            STANDARD.decode(text("PushCertRequestCSR")).unwrap(),
            request
        );
        let shown = text("PushCertCertificateChain");
        assert!(shown.lines().all(|line| line.len() <= 64), "{shown}");
        let certificate = X509::from_pem(shown.as_bytes()).unwrap();
        let public = certificate.public_key().unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &public).unwrap();
        let signature = STANDARD.decode(text("PushCertSignature")).unwrap();
        assert!(verifier.verify_oneshot(&signature, &request).unwrap());
    }

    #[test]
    fn what_apple_would_refuse_is_refused_here() {
        let (request, (key, chain)) = (request(), vendor());
        let (other_key, other_chain) = vendor();
        let check = |request: &[u8], key: &Secret, chain: &[u8], why: PushRequestError| {
            assert_eq!(signed_form(request, key, chain), Err(why));
        };
        check(b"none", &key, &chain, PushRequestError::Request);
        check(&request, &other_key, &chain, PushRequestError::Chain);
        let unrelated = [chain.clone(), other_chain].concat();
        check(&request, &key, &unrelated, PushRequestError::Chain);
        check(&request, &key, b"", PushRequestError::Chain);
        let curve = PKey::ec_gen("prime256v1").unwrap();
        let curve = Secret::new(curve.private_key_to_pem_pkcs8().unwrap());
        check(&request, &curve, &chain, PushRequestError::Key);
    }
}
