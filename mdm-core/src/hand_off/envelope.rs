//! What is around a bundle: CMS EnvelopedData for the certificate of one job, inside CMS SignedData. Either side can be OpenSSL's
//! command line. Why an envelope does not open is not told apart.

use openssl::asn1::Asn1Time;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};

use crate::ca::{name, start};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::secret::Secret;
use crate::wire::cms::{SignatureError, verify};

/// The largest bundle, sealed and signed, in bytes.
pub const LARGEST: usize = 32 * 1024 * 1024;
/// The largest certificate or key that is read.
const LARGEST_PEM: usize = 256 * 1024;

/// The tag with which a DER sequence begins.
const SEQUENCE: u8 = 0x30;
/// What a bundle must be.
const NOT_SIGNED: &str = "must be CMS SignedData over the envelope (`openssl cms -sign -nodetach -outform DER`), and whole";

/// A certificate with its private key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyPair {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS#8 DER.
    pub key: Secret,
}

/// What a key pair is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the two sides of a hand-off")]
pub enum Purpose {
    /// A bundle is sealed to it.
    Recipient,
    /// It signs bundles.
    Signer,
}

impl KeyPair {
    /// From its parts.
    #[must_use]
    pub const fn new(certificate: Vec<u8>, key: Secret) -> Self {
        Self { certificate, key }
    }

    /// Makes one (RSA, 3072 bits: what every OpenSSL and LibreSSL can seal to), self-signed.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn create(
        common_name: &str,
        purpose: Purpose,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Self, Error> {
        make(common_name, purpose, now, until)
            .map_err(|_| Error::Crypto("the key of the hand-off cannot be made"))
    }

    /// From PEM: a certificate, and a private key that belongs to it.
    ///
    /// # Errors
    /// [`Error::BadInput`] names which of both is wrong.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let certificate = read_certificate(certificate, "certificate")?;
        let wrong = |why: &str| Error::bad_input("key", why);
        if key.len() > LARGEST_PEM {
            return Err(wrong("is too large to be a private key"));
        }
        // A pass phrase is never asked for: nobody may be there to type it.
        let key = PKey::private_key_from_pem_callback(key, |_| Ok(0))
            .map_err(|_| wrong("must be a private key (PEM) without a pass phrase"))?;
        let belongs = certificate
            .public_key()
            .is_ok_and(|own| own.public_eq(&key));
        if !belongs {
            return Err(wrong("does not belong to the certificate"));
        }
        let parts = || Ok::<_, ErrorStack>((certificate.to_der()?, key.private_key_to_pkcs8()?));
        let (certificate, key) = parts().map_err(|_| wrong("cannot be used"))?;
        Ok(Self::new(certificate, Secret::new(key)))
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem_of(&self.certificate)
    }

    /// The private key as PEM, for a file of its owner.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn key_pem(&self) -> Result<Secret, Error> {
        let pem = PKey::private_key_from_der(self.key.expose())
            .and_then(|key| key.private_key_to_pem_pkcs8());
        pem.map(Secret::new)
            .map_err(|_| Error::Crypto("the key cannot be written"))
    }

    fn parts(&self) -> Result<(PKey<Private>, X509), ErrorStack> {
        Ok((
            PKey::private_key_from_der(self.key.expose())?,
            X509::from_der(&self.certificate)?,
        ))
    }
}

fn make(
    common_name: &str,
    purpose: Purpose,
    now: Timestamp,
    until: Timestamp,
) -> Result<KeyPair, ErrorStack> {
    let key = PKey::from_rsa(Rsa::generate(3072)?)?;
    let common_name: String = common_name.chars().take(60).collect();
    let subject = name(&common_name)?;
    let mut random = [0; 8];
    openssl::rand::rand_bytes(&mut random)?;
    let serial = u64::from_be_bytes(random) >> 1 | 1;
    let mut builder = start(
        &subject,
        &subject,
        serial,
        now.as_secs() - 86_400,
        until.as_secs(),
    )?;
    builder.set_pubkey(&key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    let mut usage = KeyUsage::new();
    usage.critical();
    match purpose {
        Purpose::Recipient => usage.key_encipherment(),
        Purpose::Signer => usage.digital_signature(),
    };
    builder.append_extension(usage.build()?)?;
    let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(id)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(KeyPair {
        certificate: builder.build().to_der()?,
        key: Secret::new(key.private_key_to_pkcs8()?),
    })
}

/// A certificate (PEM or DER) as DER.
///
/// # Errors
/// [`Error::BadInput`] for `field`.
pub fn certificate(bytes: &[u8], field: &'static str) -> Result<Vec<u8>, Error> {
    read_certificate(bytes, field)?
        .to_der()
        .map_err(|_| Error::bad_input(field, "must be a certificate"))
}

fn read_certificate(bytes: &[u8], field: &'static str) -> Result<X509, Error> {
    let wrong = || Error::bad_input(field, "must be one certificate, PEM or DER");
    if bytes.len() > LARGEST_PEM {
        return Err(wrong());
    }
    let is_pem = bytes.trim_ascii_start().starts_with(b"-----");
    let read = match is_pem {
        true => X509::from_pem(bytes),
        false => X509::from_der(bytes),
    };
    read.map_err(|_| wrong())
}

/// A certificate (DER) as PEM.
#[must_use]
pub fn pem_of(certificate: &[u8]) -> String {
    X509::from_der(certificate)
        .and_then(|x509| x509.to_pem())
        .map(|pem| String::from_utf8_lossy(&pem).into_owned())
        .unwrap_or_default()
}

/// SHA-256 of a certificate (DER), in small hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    crate::identity::sha256_hex(bytes)
}

/// Seals what a bundle says to the certificate of a job and signs the envelope: DER.
///
/// # Errors
/// [`Error::BadInput`] for a recipient to which nothing can be sealed or whose validity has ended, and for too much;
/// [`Error::Crypto`] if OpenSSL fails.
pub fn seal(
    plain: &Secret,
    recipient: &[u8],
    signer: &KeyPair,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let to = X509::from_der(recipient)
        .map_err(|_| Error::bad_input("recipient", "must be one certificate"))?;
    let ended = Asn1Time::from_unix(now.as_secs()).is_ok_and(|now| *to.not_after() < now);
    if ended {
        return Err(Error::bad_input(
            "recipient",
            "the certificate of the job has ended: have another job made",
        ));
    }
    let sealed = || -> Result<Vec<u8>, ErrorStack> {
        let mut stack = Stack::new()?;
        stack.push(to)?;
        let cipher = Cipher::aes_256_cbc();
        let envelope = CmsContentInfo::encrypt(&stack, plain.expose(), cipher, CMSOptions::BINARY)?
            .to_der()?;
        let (key, certificate) = signer.parts()?;
        let how = CMSOptions::BINARY | CMSOptions::NOSMIMECAP;
        CmsContentInfo::sign(Some(&certificate), Some(&key), None, Some(&envelope), how)?.to_der()
    };
    let sealed = sealed().map_err(|_| Error::Crypto("the bundle cannot be sealed and signed"))?;
    if sealed.len() > LARGEST {
        return Err(Error::bad_input("devices", too_large()));
    }
    Ok(sealed)
}

fn too_large() -> String {
    format!(
        "make a bundle of more than {} MiB: divide them, with a job for each",
        LARGEST / (1024 * 1024)
    )
}

/// Where the outermost structure ends by its own word; `None` where it says no length ahead, as BER may.
fn end_of(der: &[u8]) -> Option<usize> {
    let (_, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let more = match first {
        0..=0x7f => return Some(2 + usize::from(*first)),
        0x81..=0x84 => usize::from(first & 0x7f),
        _ => return None,
    };
    let length = rest.get(..more)?;
    let length = length
        .iter()
        .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    length.checked_add(2 + more)
}

/// Opens a bundle: its signature must be that of the certificate with this SHA-256, and it must be sealed to this key.
///
/// # Errors
/// [`Error::BadInput`] says of the bundle what is wrong with it; an envelope that does not open is one sentence, whatever the
/// cause.
pub fn open(bundle: &[u8], signer: &str, recipient: &KeyPair) -> Result<Secret, Error> {
    let wrong = |why: String| Err(Error::bad_input("bundle", why));
    if bundle.trim_ascii_start().starts_with(b"-----")
        || bundle.trim_ascii_start().starts_with(b"MIME-")
    {
        return wrong("must be DER: give OpenSSL `-outform DER`".to_owned());
    }
    // Every DER that is CMS begins with a sequence: a list that nobody sealed is told from a bundle that was added to.
    if bundle.len() <= LARGEST && bundle.first().is_some_and(|first| *first != SEQUENCE) {
        return wrong(format!(
            "{NOT_SIGNED}: this is no bundle. A list that is not sealed comes in with `mdmd inventory import`"
        ));
    }
    if bundle.len() <= LARGEST && end_of(bundle).is_some_and(|end| end < bundle.len()) {
        return wrong("has something behind its end, which nobody signed".to_owned());
    }
    let signed = match verify(bundle, None, LARGEST) {
        Ok(signed) => signed,
        Err(SignatureError::TooLarge { limit }) => {
            return wrong(format!("must be at most {limit} bytes"));
        }
        Err(SignatureError::Absent | SignatureError::NotSignedData) => {
            return wrong(NOT_SIGNED.to_owned());
        }
        Err(error) => return wrong(error.to_string()),
    };
    let found = sha256(&signed.signer);
    if found != signer {
        return wrong(format!(
            "is signed by another certificate (SHA-256 {found}) than the one that was confirmed (SHA-256 {signer})"
        ));
    }
    if signed.sha1 {
        return wrong("is signed over SHA-1: give OpenSSL `-md sha256`".to_owned());
    }
    let opened = || -> Result<Vec<u8>, ErrorStack> {
        let (key, certificate) = recipient.parts()?;
        CmsContentInfo::from_der(&signed.content)?.decrypt(&key, &certificate)
    };
    match opened() {
        Ok(plain) => Ok(Secret::new(plain)),
        Err(_) => wrong(
            "its envelope does not open: it is not sealed to this job's certificate, or is damaged"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

    fn pair(purpose: Purpose) -> KeyPair {
        KeyPair::create("test", purpose, NOW, NOW + DAY).unwrap()
    }

    #[test]
    fn what_is_sealed_and_signed_opens_for_its_job_alone() {
        let (job, other, signer) = (
            pair(Purpose::Recipient),
            pair(Purpose::Recipient),
            pair(Purpose::Signer),
        );
        let plain = Secret::from_text("the bundle");
        let bundle = seal(&plain, &job.certificate, &signer, NOW).unwrap();
        let by = sha256(&signer.certificate);
        assert_eq!(open(&bundle, &by, &job).unwrap(), plain);
        let behind = [&bundle[..], b"xx"].concat();
        let why = open(&behind, &by, &job).unwrap_err().to_string();
        assert!(why.contains("behind its end"), "{why}");
        let why =
            |bundle: &[u8], by: &str, job: &KeyPair| open(bundle, by, job).unwrap_err().to_string();
        assert!(why(&bundle, &by, &other).contains("does not open"));
        assert!(why(&bundle, &"0".repeat(64), &job).contains("another certificate"));
        assert!(why(&bundle[..bundle.len() - 9], &by, &job).contains("whole"));
        assert!(why(b"", &by, &job).contains("SignedData"));
        // A list that nobody sealed is no bundle with something behind it.
        for list in ["serial,os\nC02X,18.5\n", "{\"devices\":[]}", "[]"] {
            let why = why(list.as_bytes(), &by, &job);
            assert!(
                why.contains("this is no bundle") && why.contains("inventory import"),
                "{why}"
            );
        }
        assert!(why(b"-----BEGIN CMS-----", &by, &job).contains("DER"));
        // A changed byte in the envelope breaks the signature over it, whoever it is sealed to.
        let mut changed = bundle.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert!(open(&changed, &by, &job).is_err());
        // The envelope alone is signed by nobody.
        let stack = {
            let mut stack = Stack::new().unwrap();
            stack
                .push(X509::from_der(&job.certificate).unwrap())
                .unwrap();
            stack
        };
        let cipher = Cipher::aes_256_cbc();
        let alone = CmsContentInfo::encrypt(&stack, b"x", cipher, CMSOptions::BINARY)
            .and_then(|cms| cms.to_der())
            .unwrap();
        assert!(
            why(&alone, &by, &job).contains("sign"),
            "{}",
            why(&alone, &by, &job)
        );
    }

    #[test]
    fn nothing_is_sealed_to_a_job_that_has_ended() {
        let signer = pair(Purpose::Signer);
        let job = pair(Purpose::Recipient);
        let late = seal(
            &Secret::from_text("x"),
            &job.certificate,
            &signer,
            NOW + DAY + DAY,
        );
        assert!(late.unwrap_err().to_string().starts_with("recipient: "));
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let (one, two) = (pair(Purpose::Signer), pair(Purpose::Signer));
        let key = |pair: &KeyPair| pair.key_pem().unwrap();
        let pem = one.certificate_pem();
        KeyPair::from_pem(pem.as_bytes(), key(&one).expose()).unwrap();
        let why = KeyPair::from_pem(pem.as_bytes(), key(&two).expose()).unwrap_err();
        assert!(why.to_string().contains("does not belong"), "{why}");
        let why = KeyPair::from_pem(b"none", key(&one).expose()).unwrap_err();
        assert!(why.to_string().starts_with("certificate: "), "{why}");
    }
}
