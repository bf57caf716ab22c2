//! What the requests say, read out of their verified payloads. Members that are not known are passed over, as the protocol
//! demands; what this server cannot do as it is asked is refused rather than done otherwise.

use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::x509::X509Req;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::PERMANENT_IDENTIFIER;
use super::attestation::Attestation;
use super::problem::{Problem, ProblemKind};
use crate::jose;

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(payload).map_err(|_| Problem::malformed("the payload cannot be read"))
}

/// What is asked of a new account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::exhaustive_structs, reason = "a payload's one meaning")]
pub struct NewAccount {
    /// Only to be told of one that there is.
    pub only_return_existing: bool,
}

/// Reads a request for an account. Contacts are not kept.
///
/// # Errors
/// [`ProblemKind::Malformed`].
pub fn read_new_account(payload: &[u8]) -> Result<NewAccount, Problem> {
    read(payload)
}

/// What is to change of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol's two")]
pub enum AccountChange {
    /// Nothing that is kept here: contacts, or a mere look.
    Nothing,
    /// It is given up.
    Deactivate,
}

/// Reads a request about an account.
///
/// # Errors
/// [`ProblemKind::Malformed`].
pub fn read_account_change(payload: &[u8]) -> Result<AccountChange, Problem> {
    #[derive(Deserialize)]
    struct Change {
        status: Option<String>,
    }
    if payload.is_empty() {
        return Ok(AccountChange::Nothing);
    }
    match read::<Change>(payload)?.status.as_deref() {
        None | Some("valid") => Ok(AccountChange::Nothing),
        Some("deactivated") => Ok(AccountChange::Deactivate),
        Some(_) => Err(Problem::malformed("an account can only be deactivated")),
    }
}

/// The one identifier of an order. It is a secret until it is used: whoever shows it may ask.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "one value")]
pub struct OrderAsked {
    /// The client identifier of the enrolment profile.
    pub client_identifier: String,
}

impl std::fmt::Debug for OrderAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrderAsked(..)")
    }
}

/// Reads a request for an order.
///
/// # Errors
/// [`ProblemKind::UnsupportedIdentifier`] for another type of identifier, [`ProblemKind::Malformed`] for none or several, and
/// for wishes about the validity, which is ours to say.
pub fn read_order(payload: &[u8]) -> Result<OrderAsked, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Order {
        identifiers: Vec<Identifier>,
        not_before: Option<serde::de::IgnoredAny>,
        not_after: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Identifier {
        r#type: String,
        value: String,
    }
    let mut order: Order = read(payload)?;
    if order.not_before.is_some() || order.not_after.is_some() {
        return Err(Problem::malformed(
            "the validity of a certificate cannot be chosen",
        ));
    }
    if order
        .identifiers
        .iter()
        .any(|it| it.r#type != PERMANENT_IDENTIFIER)
    {
        return Err(Problem::new(
            ProblemKind::UnsupportedIdentifier,
            "the identifier must be a permanent-identifier",
        ));
    }
    match (order.identifiers.pop(), order.identifiers.is_empty()) {
        (Some(one), true) => Ok(OrderAsked {
            client_identifier: one.value,
        }),
        _ => Err(Problem::malformed("an order has exactly one identifier")),
    }
}

/// What a device says to its challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "what the challenge can be answered with"
)]
pub enum ChallengeAnswer {
    /// A mere look at it.
    Look,
    /// It attests nothing: an old device, one that was told not to, or one that could not.
    Nothing,
    /// It says that it failed.
    Failed,
    /// The statement of an authority about it, unverified.
    Attested(Attestation),
}

/// Reads the answer to a challenge.
///
/// # Errors
/// [`ProblemKind::Malformed`] for another payload, [`ProblemKind::BadAttestationStatement`] for a statement that cannot be read.
pub fn read_challenge(payload: &[u8]) -> Result<ChallengeAnswer, Problem> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "attObj")]
        statement: Option<String>,
        error: Option<serde::de::IgnoredAny>,
    }
    if payload.is_empty() {
        return Ok(ChallengeAnswer::Look);
    }
    let answer: Answer = read(payload)?;
    let bad = |detail| Problem::new(ProblemKind::BadAttestationStatement, detail);
    match (answer.statement, answer.error) {
        (_, Some(_)) => Ok(ChallengeAnswer::Failed),
        (None, None) => Ok(ChallengeAnswer::Nothing),
        (Some(text), None) => {
            let bytes = jose::decode(&text)
                .map_err(|_| bad("the statement is not base64url without padding"))?;
            let read = Attestation::read(&bytes).map_err(|error| bad(error.sentence()))?;
            Ok(read.map_or(ChallengeAnswer::Nothing, ChallengeAnswer::Attested))
        }
    }
}

fn bad_csr(detail: &'static str) -> Problem {
    let _ = ErrorStack::get();
    Problem::new(ProblemKind::BadCsr, detail)
}

/// Reads the certificate request (PKCS#10, DER) of a request to finalise.
///
/// # Errors
/// [`ProblemKind::Malformed`].
pub fn read_csr(payload: &[u8]) -> Result<Vec<u8>, Problem> {
    #[derive(Deserialize)]
    struct Finalise {
        csr: String,
    }
    let Finalise { csr } = read(payload)?;
    jose::decode(&csr)
        .map_err(|_| Problem::malformed("the certificate request is not base64url without padding"))
}

/// The public key (DER SubjectPublicKeyInfo) of a certificate request that proves to have the private one. Nothing else of it
/// is asked: the subject of what is issued is ours to say.
///
/// # Errors
/// [`ProblemKind::BadCsr`] for one that cannot be read, whose signature does not hold, or whose key is neither P-256, P-384 nor
/// RSA with 2048 to 4096 bits.
pub fn csr_key(csr: &[u8]) -> Result<Vec<u8>, Problem> {
    let unreadable = |_| bad_csr("the certificate request cannot be read");
    let request = X509Req::from_der(csr).map_err(unreadable)?;
    let key: PKey<Public> = request.public_key().map_err(unreadable)?;
    let fits = match key.id() {
        Id::EC => key.ec_key().is_ok_and(|key| {
            let curve = key.group().curve_name();
            matches!(curve, Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1))
        }),
        Id::RSA => (2048..=4096).contains(&key.bits()),
        _ => false,
    };
    if !fits {
        return Err(bad_csr(
            "the key must be P-256, P-384 or RSA with 2048 to 4096 bits",
        ));
    }
    if !request.verify(&key).unwrap_or(false) {
        return Err(bad_csr(
            "the signature of the certificate request does not hold",
        ));
    }
    one_form(&key).map_err(unreadable)
}

/// The key, DER SubjectPublicKeyInfo, in one form: a point on a curve can be written in two, and a key has one identity.
pub(super) fn one_form(key: &PKey<Public>) -> Result<Vec<u8>, ErrorStack> {
    let Ok(ec) = key.ec_key() else {
        return key.public_key_to_der();
    };
    let curve = ec.group().curve_name().ok_or_else(ErrorStack::get)?;
    let (group, mut context) = (EcGroup::from_curve_name(curve)?, BigNumContext::new()?);
    let whole = PointConversionForm::UNCOMPRESSED;
    let bytes = ec.public_key().to_bytes(&group, whole, &mut context)?;
    let point = EcPoint::from_bytes(&group, &bytes, &mut context)?;
    PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?.public_key_to_der()
}

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a payload's two parts")]
pub struct Revocation {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Why, as RFC 5280 numbers it.
    pub reason: u8,
}

/// Reads a request for a revocation.
///
/// # Errors
/// [`ProblemKind::Malformed`], [`ProblemKind::BadRevocationReason`] for a number that RFC 5280 does not have, or that only an
/// authority may give.
pub fn read_revocation(payload: &[u8]) -> Result<Revocation, Problem> {
    #[derive(Deserialize)]
    struct Revoke {
        certificate: String,
        #[serde(default)]
        reason: i64,
    }
    let revoke: Revoke = read(payload)?;
    let certificate = jose::decode(&revoke.certificate)
        .map_err(|_| Problem::malformed("the certificate is not base64url without padding"))?;
    // 0 unspecified, 1 key compromise, 3 affiliation changed, 4 superseded, 5 cessation of operation.
    let Ok(reason @ (0 | 1 | 3 | 4 | 5)) = u8::try_from(revoke.reason) else {
        return Err(Problem::new(
            ProblemKind::BadRevocationReason,
            "the reason must be 0, 1, 3, 4 or 5",
        ));
    };
    Ok(Revocation {
        certificate,
        reason,
    })
}
