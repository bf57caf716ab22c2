//! Managed Device Attestation: reads the statement of a device (CBOR, format `apple`), follows its certificates to a root that
//! is trusted, and checks that it was made for this challenge. Whose serial number it must name is for the caller to say.
//!
//! A statement without a freshness code is refused, though others accept it: it could be anybody's recording. Dates are judged
//! at the caller's `now`.
//!
//! <https://developer.apple.com/documentation/devicemanagement/validating-a-managed-device-attestation-attestation>,
//! <https://www.w3.org/TR/webauthn-2/#sctn-apple-anonymous-attestation> for the form

use std::fmt::Write as _;
use std::sync::LazyLock;

use ciborium::Value;
use openssl::error::ErrorStack;
use openssl::sha::sha256;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509StoreContext};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::key::AccountKey;
use crate::attested::AttestedFacts;
use crate::clock::Timestamp;
use crate::identity::sha256_hex;
use crate::secret::same;

/// SHA-256 of Apple's root certificate, lower-case hex: whose attestations are of real devices.
pub const APPLE_ROOT_SHA256: &str =
    "ccf59ef8fcb3017d97f8b5fa6fa90e7a3f9283f76b55ac6cf6eda8b8b949f05b";

/// Apple Enterprise Attestation Root CA. Copied from a public project's test data and checked to be signed by itself, not
/// compared with Apple's own publication: an organisation can do without it and bring its own copy.
const APPLE: &[u8] = include_bytes!("../../../assets/apple-enterprise-attestation-root.pem");

/// Everything that Apple says of a device lies below this one.
const APPLES: &str = "1.2.840.113635.100.8.";
/// Levels of CBOR: a statement has three.
const DEPTH: usize = 8;
/// Certificates in one statement.
const MOST: usize = 8;
/// Certificates between leaf and root.
const BETWEEN: i32 = 4;
/// The longest text that is kept of an attestation, in bytes.
const LONGEST: usize = 200;

/// Apple's root certificate, DER.
#[must_use]
pub fn apple_root() -> &'static [u8] {
    static DER: LazyLock<Vec<u8>> = LazyLock::new(|| {
        // It is part of this source, and a test reads it.
        X509::from_pem(APPLE)
            .and_then(|root| root.to_der())
            .expect("the embedded certificate can be read")
    });
    &DER
}

/// Why an attestation proves nothing. The sentences are for people; none repeats what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// No CBOR, or another structure.
    #[error("the statement is no attestation object")]
    Malformed,
    /// Another format than `apple`.
    #[error("the format of the statement is not apple")]
    Format,
    /// No certificate, or one that cannot be read.
    #[error("the statement has no certificates that can be read")]
    Certificates,
    /// It goes back to nobody who is trusted, or is over, or was altered.
    #[error("the certificates lead to no root that is trusted")]
    Untrusted,
    /// It has no freshness code.
    #[error("the statement does not say what it was made for")]
    NoFreshness,
    /// It was made for another challenge.
    #[error("the statement was made for another challenge")]
    Stale,
    /// One of its facts stands there twice, or says in no text which device it is.
    #[error("a fact of the statement cannot be read")]
    Fact,
    /// It certifies a key of a kind that is not accepted.
    #[error("the attested key must be P-256 or P-384")]
    Key,
}

impl AttestationError {
    /// The sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Malformed => "the statement is no attestation object",
            Self::Format => "the format of the statement is not apple",
            Self::Certificates => "the statement has no certificates that can be read",
            Self::Untrusted => "the certificates lead to no root that is trusted",
            Self::NoFreshness => "the statement does not say what it was made for",
            Self::Stale => "the statement was made for another challenge",
            Self::Fact => "a fact of the statement cannot be read",
            Self::Key => "the attested key must be P-256 or P-384",
        }
    }
}

/// The roots that attestations may go back to.
pub struct Roots(Vec<X509>);

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roots(..)")
    }
}

impl Roots {
    /// Takes the certificates (DER) of roots.
    ///
    /// # Errors
    /// [`AttestationError::Untrusted`] when one cannot be read: then nobody is trusted.
    pub fn new<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, AttestationError> {
        let roots: Result<Vec<X509>, ErrorStack> = roots.into_iter().map(X509::from_der).collect();
        roots.map(Self).map_err(|_| untrusted())
    }

    /// As OpenSSL wants them, judging dates at `now`.
    fn store(&self, now: Timestamp) -> Result<X509Store, ErrorStack> {
        let mut how = X509VerifyParam::new()?;
        // Apple's leaves are made for no purpose that OpenSSL knows.
        how.set_purpose(X509PurposeId::ANY)?;
        how.set_time(now.as_secs());
        how.set_depth(BETWEEN);
        let mut builder = X509StoreBuilder::new()?;
        for root in &self.0 {
            builder.add_cert(root.clone())?;
        }
        builder.set_param(&how)?;
        Ok(builder.build())
    }
}

/// OpenSSL's notes would meet the next connection of this thread.
fn untrusted() -> AttestationError {
    let _ = ErrorStack::get();
    AttestationError::Untrusted
}

/// A statement that was read and not verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The leaf first, each DER.
    certificates: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Attestation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attestation({})", self.certificates.len())
    }
}

/// What a verified statement proves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attested {
    /// What it says of the device.
    pub facts: AttestedFacts,
    /// The key that the device made in its hardware, DER SubjectPublicKeyInfo.
    pub key: Vec<u8>,
}

impl Attestation {
    /// Reads a statement; `None` for one that attests nothing.
    ///
    /// # Errors
    /// [`AttestationError::Malformed`], [`AttestationError::Format`], [`AttestationError::Certificates`].
    pub fn read(mut bytes: &[u8]) -> Result<Option<Self>, AttestationError> {
        use AttestationError as E;
        if bytes.is_empty() {
            return Ok(None);
        }
        let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, DEPTH)
            .map_err(|_| E::Malformed)?;
        let Value::Map(object) = value else {
            return Err(E::Malformed);
        };
        if !bytes.is_empty() {
            return Err(E::Malformed);
        }
        if object.is_empty() {
            return Ok(None);
        }
        match member(&object, "fmt")? {
            Some(Value::Text(format)) if format == "apple" => {}
            Some(Value::Text(_)) => return Err(E::Format),
            _ => return Err(E::Malformed),
        }
        let Some(Value::Map(statement)) = member(&object, "attStmt")? else {
            return Err(E::Malformed);
        };
        let Some(Value::Array(chain)) = member(statement, "x5c")? else {
            return Err(E::Certificates);
        };
        if chain.is_empty() || chain.len() > MOST {
            return Err(E::Certificates);
        }
        let certificates = chain.iter().map(|one| match one {
            Value::Bytes(der) => Ok(der.clone()),
            _ => Err(E::Certificates),
        });
        let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self { certificates }))
    }

    /// Checks that a trusted root vouches for it, at `now`, and that it was made for the challenge with this token.
    ///
    /// # Errors
    /// See [`AttestationError`].
    pub fn verify(
        &self,
        roots: &Roots,
        token: &str,
        now: Timestamp,
    ) -> Result<Attested, AttestationError> {
        let (leaf, others) = self
            .certificates
            .split_first()
            .ok_or(AttestationError::Certificates)?;
        let root = chain(leaf, others, roots, now)?;
        let (rest, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| AttestationError::Certificates)?;
        if !rest.is_empty() {
            return Err(AttestationError::Certificates);
        }
        let mut facts = AttestedFacts::new(now, root);
        let freshness = take_facts(&parsed, &mut facts)?.ok_or(AttestationError::NoFreshness)?;
        let expected = sha256(token.as_bytes());
        if !same(freshness, expected) {
            return Err(AttestationError::Stale);
        }
        let key = AccountKey::of_spki(parsed.public_key().raw)
            .ok()
            .filter(|key| key.is_elliptic())
            .ok_or(AttestationError::Key)?;
        Ok(Attested {
            facts,
            key: key.spki().to_vec(),
        })
    }
}

/// The value of a member; twice the same one is no map.
fn member<'a>(
    map: &'a [(Value, Value)],
    name: &str,
) -> Result<Option<&'a Value>, AttestationError> {
    let mut found = map
        .iter()
        .filter(|(key, _)| matches!(key, Value::Text(text) if text == name));
    match (found.next(), found.next()) {
        (one, None) => Ok(one.map(|(_, value)| value)),
        _ => Err(AttestationError::Malformed),
    }
}

/// Follows the certificates to a root; gives SHA-256 of that.
fn chain(
    leaf: &[u8],
    others: &[Vec<u8>],
    roots: &Roots,
    now: Timestamp,
) -> Result<String, AttestationError> {
    let unreadable = |_| {
        let _ = ErrorStack::get();
        AttestationError::Certificates
    };
    let leaf = X509::from_der(leaf).map_err(unreadable)?;
    let mut between = Stack::new().map_err(unreadable)?;
    for der in others {
        let other = X509::from_der(der).map_err(unreadable)?;
        between.push(other).map_err(unreadable)?;
    }
    let verified = || -> Result<Option<Vec<u8>>, ErrorStack> {
        let store = roots.store(now)?;
        let mut context = X509StoreContext::new()?;
        context.init(&store, &leaf, &between, |context| {
            if !context.verify_cert()? {
                return Ok(None);
            }
            let root = context.chain().and_then(|all| all.iter().last());
            root.map(|root| root.to_der()).transpose()
        })
    };
    match verified() {
        Ok(Some(root)) => Ok(sha256_hex(&root)),
        Ok(None) | Err(_) => Err(untrusted()),
    }
}

/// Reads Apple's facts out of the leaf; gives the freshness code.
fn take_facts<'a>(
    leaf: &X509Certificate<'a>,
    facts: &mut AttestedFacts,
) -> Result<Option<&'a [u8]>, AttestationError> {
    let mut freshness = None;
    let mut seen = Vec::new();
    for extension in leaf.extensions() {
        let oid = extension.oid.to_id_string();
        let Some(which) = oid.strip_prefix(APPLES) else {
            continue;
        };
        if seen.iter().any(|other| other == which) {
            return Err(AttestationError::Fact);
        }
        seen.push(which.to_owned());
        let fact = match which {
            "11.1" => {
                freshness = Some(extension.value);
                continue;
            }
            "9.1" => {
                facts.serial = text(extension.value).map_err(|_| AttestationError::Fact)?;
                continue;
            }
            "9.2" => {
                facts.udid = text(extension.value).map_err(|_| AttestationError::Fact)?;
                continue;
            }
            "9.4" => &mut facts.software_update_id,
            "10.1" => &mut facts.os_version,
            "10.2" => &mut facts.sep_os_version,
            "10.3" => &mut facts.boot_loader_version,
            "13.1" => &mut facts.system_integrity,
            "13.2" => &mut facts.secure_boot,
            "13.3" => &mut facts.kernel_extensions,
            // Apple may say more in time.
            _ => continue,
        };
        // Nothing is decided by these: one in another form than is known keeps no device from its identity.
        *fact = match text(extension.value) {
            Ok(fact) => fact,
            Err(Unreadable) => {
                let bytes = extension.value;
                let shown = bytes.iter().take(LONGEST / 2);
                let mut fact = "hex:".to_owned();
                for byte in shown {
                    let _ = write!(fact, "{byte:02x}");
                }
                Some(fact)
            }
        };
    }
    Ok(freshness)
}

/// A fact in another form.
struct Unreadable;

/// A fact as text: the bytes themselves, without a type of their own. Blank is unknown.
fn text(bytes: &[u8]) -> Result<Option<String>, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable)?;
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(Unreadable);
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
