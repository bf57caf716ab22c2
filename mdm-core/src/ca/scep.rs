//! A SCEP server (RFC 8894), bytes in, bytes out.
//!
//! [`receive`] checks the outer signature, decrypts, and checks the request; who may have a
//! certificate is the caller's decision, who then calls [`ScepRequest::grant`] or
//! [`ScepRequest::refuse`]. A repeated request is answered by granting the same certificate again.
//! What can be read but not granted gets an answer that says so, and so does a message whose
//! signature does not hold; only what cannot be read is an error. An answer is signed with SHA-256,
//! and with SHA-1 for who asks with it: a client that could do better would have. Before anything
//! that the client chose, each answer has a random nonce of ours, so that nobody can have prepared
//! a second text of the same SHA-1; certificates are never signed with it.
//!
//! Two forms: the authority answers itself, or a [`Responder`] of its own (a registration authority)
//! decrypts and signs for it, and the authority's key is needed for issuing alone.
//!
//! <https://www.rfc-editor.org/rfc/rfc8894>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use der::asn1::{
    Any, AnyRef, ObjectIdentifier, OctetString, PrintableStringRef, SetOfVec, Utf8StringRef,
};
use der::{Decode as _, Encode as _, Reader as _};
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::MessageDigest;
use openssl::pkey::Id;
use openssl::sha::{sha1, sha256};
use openssl::sign::Signer;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::{X509, X509Req};
use x509_cert::attr::Attribute;
use x509_cert::certificate::Certificate;
use x509_cert::request::CertReq;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::{CaError, Responder};
use crate::identity::sha256_hex;
use crate::secret::Secret;
use crate::wire::cms as signed;
use crate::wire::signature::SignatureError;

/// The answer to `GetCACaps`, of type `text/plain`.
pub const CAPABILITIES: &str =
    "AES\nDES3\nSHA-256\nSHA-512\nPOSTPKIOperation\nRenewal\nSCEPStandard\n";

/// The content type of an answer to `PKIOperation`.
pub const ANSWER_TYPE: &str = "application/x-pki-message";

/// The content type of the answer to `GetCACert` when it is one certificate, the authority's.
pub const CERTIFICATE_TYPE: &str = "application/x-x509-ca-cert";

/// The content type of the answer to `GetCACert` when there are several: see [`certificates`].
pub const CERTIFICATES_TYPE: &str = "application/x-x509-ca-ra-cert";

/// The largest request that is read, in bytes. Real ones have less than 8,000.
const LIMIT: usize = 256 * 1024;

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
const MESSAGE_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.2");
const PKI_STATUS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.3");
const FAIL_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.4");
const SENDER_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.5");
const RECIPIENT_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.6");
const TRANSACTION_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.7");
const FAIL_INFO_TEXT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.24.1");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why a request is not granted, in the protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "RFC 8894, section 3.2.1.4.5 has five"
)]
pub enum FailInfo {
    /// An algorithm that is not accepted.
    BadAlg,
    /// The message cannot be opened or does not hold together.
    BadMessageCheck,
    /// The request is not allowed.
    BadRequest,
    /// The time is wrong.
    BadTime,
    /// No such certificate.
    BadCertId,
}

impl FailInfo {
    const fn code(self) -> &'static str {
        match self {
            Self::BadAlg => "0",
            Self::BadMessageCheck => "1",
            Self::BadRequest => "2",
            Self::BadTime => "3",
            Self::BadCertId => "4",
        }
    }
}

/// Bytes that are no SCEP message: the one case in which there is no answer in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScepError {
    /// The outer signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// An attribute that every message must have.
    #[error("SCEP: the {0} attribute is missing or malformed")]
    Attribute(&'static str),
    /// A failure of ours.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// What came of a message.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a request, or the answer that refuses it"
)]
pub enum Received {
    /// A sound request. The caller decides.
    Request(Box<ScepRequest>),
    /// A message that was read and cannot be granted whoever asks.
    Refused {
        /// The answer.
        answer: Vec<u8>,
        /// What is wrong, for the log.
        reason: &'static str,
    },
}

/// A request whose signature, encryption and key were checked; only its right is not.
#[derive(Debug)]
pub struct ScepRequest {
    envelope: Envelope,
    opened: Opened,
}

/// What speaks for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a shared word, or a certificate that there is"
)]
pub enum Proof<'a> {
    /// Only the challenge in it: the message is signed with the key that asks for a certificate.
    Challenge,
    /// The certificate (DER) that signed the message, which is to be renewed. Whose it is, is for the caller to judge.
    Identity(&'a [u8]),
}

/// What every answer needs of the message that it answers.
#[derive(Debug)]
struct Envelope {
    transaction: String,
    sender_nonce: Vec<u8>,
    signer: Vec<u8>,
    sha1: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentCipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

/// Reads a `PKIOperation` message (DER or BER) with the key and in the name of `responder`.
///
/// # Errors
/// [`ScepError`] if it cannot even be answered.
pub fn receive(message: &[u8], responder: &Responder) -> Result<Received, ScepError> {
    let bytes = message;
    let (message, broken) = match signed::verify(bytes, None, LIMIT) {
        Ok(message) => (message, None),
        // A message that names its transaction gets its answer in the protocol. Nothing else of it is believed.
        Err(error @ (SignatureError::Invalid | SignatureError::WeakDigest)) => {
            let told = signed::claimed(bytes, LIMIT)?;
            let failure = match error {
                SignatureError::WeakDigest => (
                    FailInfo::BadAlg,
                    "the digest of the signature is not accepted",
                ),
                _ => (FailInfo::BadMessageCheck, "the signature does not verify"),
            };
            (told, Some((failure, error)))
        }
        Err(error) => return Err(error.into()),
    };
    let named = named(&message);
    let (kind, envelope) = match (named, &broken) {
        (Ok(named), _) => named,
        (Err(_), Some((_, error))) => return Err((*error).into()),
        (Err(error), None) => return Err(error),
    };
    let opened = match broken {
        Some((failure, _)) => Err(failure),
        None => open(&kind, &message, responder),
    };
    match opened {
        Ok(opened) => Ok(Received::Request(Box::new(ScepRequest {
            envelope,
            opened,
        }))),
        Err((info, reason)) => Ok(Received::Refused {
            answer: envelope.failure(responder, info, reason)?,
            reason,
        }),
    }
}

/// The kind of a message, and what an answer to it needs.
fn named(message: &signed::Verified) -> Result<(String, Envelope), ScepError> {
    let text = |oid: &ObjectIdentifier, what: &'static str| {
        let bytes = message.attribute(oid.as_bytes());
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .filter(|text| !text.is_empty() && text.len() <= 255)
            .map(str::to_owned)
            .ok_or(ScepError::Attribute(what))
    };
    let kind = text(&MESSAGE_TYPE, "messageType")?;
    let transaction = text(&TRANSACTION_ID, "transactionID")?;
    if PrintableStringRef::new(&transaction).is_err() {
        return Err(ScepError::Attribute("transactionID"));
    }
    let sender_nonce = message
        .attribute(SENDER_NONCE.as_bytes())
        .filter(|nonce| !nonce.is_empty() && nonce.len() <= 64)
        .ok_or(ScepError::Attribute("senderNonce"))?
        .to_vec();
    let envelope = Envelope {
        transaction,
        sender_nonce,
        signer: message.signer.clone(),
        sha1: message.sha1,
    };
    Ok((kind, envelope))
}

/// The answer to `GetCACert` when there are several certificates (DER): the responder's, the authority's, those above it.
///
/// # Errors
/// If one of them cannot be read.
pub fn certificates<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, CaError> {
    let encoded = || -> der::Result<Vec<u8>> {
        let mut set = SetOfVec::new();
        for der in all {
            let certificate = CertificateChoices::Certificate(Certificate::from_der(der)?);
            set.insert(certificate)?;
        }
        let data = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::new(),
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: ID_DATA,
                econtent: None,
            },
            certificates: Some(CertificateSet(set)),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::new()),
        };
        ContentInfo {
            content_type: ID_SIGNED_DATA,
            content: Any::encode_from(&data)?,
        }
        .to_der()
    };
    encoded().map_err(|_| CaError("a certificate of the authority cannot be read"))
}

/// The message of a GET request, as the query has it after URL decoding: base64, whose `+` many
/// clients do not escape, so that it arrives as a space.
///
/// # Errors
/// [`SignatureError::NotBase64`].
pub fn message_from_query(value: &str) -> Result<Vec<u8>, ScepError> {
    let text: String = value
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .map(|c| match c {
            ' ' | '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    STANDARD
        .decode(text)
        .map_err(|_| ScepError::Signature(SignatureError::NotBase64))
}

/// What was in a request.
#[derive(Debug)]
struct Opened {
    challenge: Option<Secret>,
    public_key: Vec<u8>,
    cipher: ContentCipher,
    renews: bool,
}

fn open(
    kind: &str,
    message: &signed::Verified,
    responder: &Responder,
) -> Result<Opened, (FailInfo, &'static str)> {
    match kind {
        // PKCSReq and RenewalReq.
        "19" | "17" => {}
        // Nothing is ever pending here, so there is nothing to poll for.
        "20" => return Err((FailInfo::BadCertId, "no such request is pending")),
        "21" | "22" => return Err((FailInfo::BadRequest, "this is not offered by SCEP")),
        _ => return Err((FailInfo::BadRequest, "the kind of message is unknown")),
    }
    // One reason for all that can go wrong from decryption to the request's own structure: whoever
    // sends altered messages learns nothing of the decryption.
    let closed = (FailInfo::BadMessageCheck, "the request cannot be opened");
    let cipher = cipher_of(&message.content)
        .map_err(|_| closed)?
        .ok_or((FailInfo::BadAlg, "the content encryption is not accepted"))?;
    let plain = CmsContentInfo::from_der(&message.content)
        .and_then(|cms| cms.decrypt(&responder.key, &responder.certificate))
        .map_err(|_| closed)?;
    let plain = zeroize::Zeroizing::new(plain);
    let request = X509Req::from_der(&plain).map_err(|_| closed)?;
    let key = request.public_key().map_err(|_| closed)?;
    let fits = request.verify(&key).unwrap_or(false);
    // The answer *no* leaves its reason in the thread's list of errors, where a TLS connection would find it.
    let _ = openssl::error::ErrorStack::get();
    if !fits {
        return Err(closed);
    }
    let signer = X509::from_der(&message.signer).map_err(|_| closed)?;
    let own = signer.public_key().map_err(|_| closed)?.public_eq(&key);
    let issued = signer.subject_name().to_der().ok() != signer.issuer_name().to_der().ok();
    // Some clients renew with a PKCSReq that the old certificate signs.
    let renews = kind == "17" || !own;
    if renews && !issued {
        return Err((
            FailInfo::BadMessageCheck,
            "the signer is neither the requester nor an identity",
        ));
    }
    if key.id() != Id::RSA || !(2048..=4096).contains(&key.bits()) {
        return Err((
            FailInfo::BadAlg,
            "the key must be RSA with 2048 to 4096 bits",
        ));
    }
    let challenge = challenge(&plain).map_err(|_| closed)?;
    let public_key = key.public_key_to_der().map_err(|_| closed)?;
    Ok(Opened {
        challenge,
        public_key,
        cipher,
        renews,
    })
}

/// The content encryption of an EnvelopedData message; `None` for one that is not accepted.
fn cipher_of(envelope: &[u8]) -> der::Result<Option<ContentCipher>> {
    // Senders may write BER; OpenSSL makes DER of it.
    let normal = CmsContentInfo::from_der(envelope)
        .and_then(|cms| cms.to_der())
        .map_err(|_| der::Tag::Sequence.value_error())?;
    let mut info = signed::inside(&normal)?;
    let _content_type = info.tlv_bytes()?;
    let mut explicit = signed::inside(info.tlv_bytes()?)?;
    let mut data = signed::inside(explicit.tlv_bytes()?)?;
    let _version = data.tlv_bytes()?;
    // An originator may stand before the set of recipients.
    while data.tlv_bytes()?.first() != Some(&0x31) {}
    let mut content = signed::inside(data.tlv_bytes()?)?;
    let _type = content.tlv_bytes()?;
    let mut algorithm = signed::inside(content.tlv_bytes()?)?;
    let oid = ObjectIdentifier::from_der(algorithm.tlv_bytes()?)?;
    Ok(match oid.to_string().as_str() {
        "2.16.840.1.101.3.4.1.2" => Some(ContentCipher::Aes128),
        "2.16.840.1.101.3.4.1.22" => Some(ContentCipher::Aes192),
        "2.16.840.1.101.3.4.1.42" => Some(ContentCipher::Aes256),
        "1.2.840.113549.3.7" => Some(ContentCipher::TripleDes),
        // Single DES, RC2, authenticated modes.
        _ => None,
    })
}

fn challenge(request: &[u8]) -> der::Result<Option<Secret>> {
    let request = CertReq::from_der(request)?;
    let mut attributes = request.info.attributes.iter();
    let Some(attribute) = attributes.find(|a| a.oid == CHALLENGE_PASSWORD) else {
        return Ok(None);
    };
    let value = attribute.values.get(0).map(Any::value);
    Ok(value.map(Secret::new))
}

impl ScepRequest {
    /// The transaction, which a client repeats when it did not hear the answer.
    #[must_use]
    pub fn transaction(&self) -> &str {
        &self.envelope.transaction
    }

    /// What speaks for it.
    #[must_use]
    pub fn proof(&self) -> Proof<'_> {
        if self.opened.renews {
            Proof::Identity(&self.envelope.signer)
        } else {
            Proof::Challenge
        }
    }

    /// The challenge that the client was given with its profile.
    #[must_use]
    pub fn challenge(&self) -> Option<&Secret> {
        self.opened.challenge.as_ref()
    }

    /// SHA-256 of the challenge in lower-case hexadecimal, as sessions keep it.
    #[must_use]
    pub fn challenge_hash(&self) -> Option<String> {
        self.challenge().map(|c| sha256_hex(c.expose()))
    }

    /// The public key, DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.opened.public_key
    }

    /// SHA-256 of the public key in lower-case hexadecimal.
    #[must_use]
    pub fn key_hash(&self) -> String {
        sha256_hex(&self.opened.public_key)
    }

    /// The answer that brings `certificate` (DER), encrypted for the requester with the algorithm
    /// that the request used.
    ///
    /// # Errors
    /// If the certificate is not for the requester's key, or OpenSSL fails.
    pub fn grant(&self, responder: &Responder, certificate: &[u8]) -> Result<Vec<u8>, CaError> {
        let failed = CaError("the answer cannot be made");
        let parsed = Certificate::from_der(certificate).map_err(|_| failed.clone())?;
        let for_key = parsed.tbs_certificate.subject_public_key_info.to_der();
        if for_key.map_err(|_| failed.clone())? != self.opened.public_key {
            return Err(CaError("the certificate is for another key"));
        }
        // Only the issued one: clients take the first of a set whose order is not ours to choose.
        let bag = ContentInfo::try_from(parsed)
            .and_then(|info| info.to_der())
            .map_err(|_| failed.clone())?;
        let cipher = match self.opened.cipher {
            ContentCipher::Aes128 => Cipher::aes_128_cbc(),
            ContentCipher::Aes192 => Cipher::aes_192_cbc(),
            ContentCipher::Aes256 => Cipher::aes_256_cbc(),
            ContentCipher::TripleDes => Cipher::des_ede3_cbc(),
        };
        let mut recipients = Stack::new().map_err(|_| failed.clone())?;
        X509::from_der(&self.envelope.signer)
            .and_then(|x509| recipients.push(x509))
            .map_err(|_| failed.clone())?;
        let enveloped = CmsContentInfo::encrypt(&recipients, &bag, cipher, CMSOptions::BINARY)
            .and_then(|cms| cms.to_der())
            .map_err(|_| failed)?;
        self.envelope.answer(responder, "0", None, Some(&enveloped))
    }

    /// The answer that refuses. `text` is shown to people at the device's end, so it tells no more
    /// than that.
    ///
    /// # Errors
    /// Only if OpenSSL fails.
    pub fn refuse(
        &self,
        responder: &Responder,
        info: FailInfo,
        text: &str,
    ) -> Result<Vec<u8>, CaError> {
        self.envelope.failure(responder, info, text)
    }
}

impl Envelope {
    fn failure(
        &self,
        responder: &Responder,
        info: FailInfo,
        text: &str,
    ) -> Result<Vec<u8>, CaError> {
        self.answer(responder, "2", Some((info, text)), None)
    }

    fn answer(
        &self,
        responder: &Responder,
        status: &str,
        failure: Option<(FailInfo, &str)>,
        content: Option<&[u8]>,
    ) -> Result<Vec<u8>, CaError> {
        let attributes = self
            .attributes(status, failure, content)
            .map_err(|_| CaError("the answer cannot be encoded"))?;
        // With the tag of a set: exactly the bytes that are signed.
        let to_sign = attributes
            .to_der()
            .map_err(|_| CaError("the answer cannot be encoded"))?;
        let digest = if self.sha1 {
            MessageDigest::sha1()
        } else {
            MessageDigest::sha256()
        };
        let signature = Signer::new(digest, &responder.key)
            .and_then(|mut signer| signer.sign_oneshot_to_vec(&to_sign))
            .map_err(|_| CaError("the answer cannot be signed"))?;
        let digest = if self.sha1 { SHA1 } else { SHA256 };
        cert_rep(responder, attributes, &signature, content, digest)
            .map_err(|_| CaError("the answer cannot be encoded"))
    }

    fn attributes(
        &self,
        status: &str,
        failure: Option<(FailInfo, &str)>,
        content: Option<&[u8]>,
    ) -> der::Result<SetOfVec<Attribute>> {
        let mut nonce = [0; 16];
        openssl::rand::rand_bytes(&mut nonce).map_err(|_| der::Tag::OctetString.value_error())?;
        let content = content.unwrap_or_default();
        let digest = if self.sha1 {
            sha1(content).to_vec()
        } else {
            sha256(content).to_vec()
        };
        let printable = |text: &str| Any::encode_from(&PrintableStringRef::new(text)?);
        let octets = |bytes: &[u8]| Any::encode_from(&OctetString::new(bytes)?);
        let mut all = vec![
            (CONTENT_TYPE, Any::encode_from(&ID_DATA)?),
            (MESSAGE_DIGEST, octets(&digest)?),
            (MESSAGE_TYPE, printable("3")?),
            (PKI_STATUS, printable(status)?),
            (SENDER_NONCE, octets(&nonce)?),
            (RECIPIENT_NONCE, octets(&self.sender_nonce)?),
            (TRANSACTION_ID, printable(&self.transaction)?),
        ];
        if let Some((info, text)) = failure {
            all.push((FAIL_INFO, printable(info.code())?));
            all.push((
                FAIL_INFO_TEXT,
                Any::encode_from(&Utf8StringRef::new(text)?)?,
            ));
        }
        let mut set = SetOfVec::new();
        for (oid, value) in all {
            let mut values = SetOfVec::new();
            values.insert(value)?;
            set.insert(Attribute { oid, values })?;
        }
        Ok(set)
    }
}

fn cert_rep(
    responder: &Responder,
    signed_attrs: SetOfVec<Attribute>,
    signature: &[u8],
    content: Option<&[u8]>,
    digest: ObjectIdentifier,
) -> der::Result<Vec<u8>> {
    let certificate = Certificate::from_der(responder.certificate())?;
    let digest = AlgorithmIdentifierOwned {
        oid: digest,
        parameters: None,
    };
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: digest.clone(),
        signed_attrs: Some(signed_attrs),
        signature_algorithm: AlgorithmIdentifierOwned {
            oid: RSA_ENCRYPTION,
            parameters: Some(Any::from(AnyRef::NULL)),
        },
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    // Without an envelope the content is there and empty, as common servers send it: then every CMS
    // library can check the signature.
    let econtent = Any::encode_from(&OctetString::new(content.unwrap_or_default())?)?;
    let mut digest_algorithms = SetOfVec::new();
    digest_algorithms.insert(digest)?;
    let mut certificates = SetOfVec::new();
    certificates.insert(CertificateChoices::Certificate(certificate))?;
    let mut signer_infos = SetOfVec::new();
    signer_infos.insert(signer)?;
    let data = SignedData {
        version: CmsVersion::V1,
        digest_algorithms,
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: ID_DATA,
            econtent: Some(econtent),
        },
        certificates: Some(CertificateSet(certificates)),
        crls: None,
        signer_infos: SignerInfos(signer_infos),
    };
    ContentInfo {
        content_type: ID_SIGNED_DATA,
        content: Any::encode_from(&data)?,
    }
    .to_der()
}

#[cfg(test)]
mod tests;
