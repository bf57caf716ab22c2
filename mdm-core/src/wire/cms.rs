//! Signed messages (CMS SignedData, RFC 5652), as devices and certificate clients send them.
//!
//! One rule above all: the certificate that is returned is the one under which the signature was
//! checked. It is found by the signer's identifier, must be found once, and is the only one that
//! OpenSSL may use; a bag may hold any number of others. Refused: no signer, two signers, digests
//! other than SHA-1 and SHA-2. Trust in the certificate is not judged here.

mod quick;

use der::{Decode as _, Header, Reader as _, SliceReader, Tag};
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::stack::Stack;
use openssl::x509::X509;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a signed message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There was no signature at all.
    #[error("there is no signature")]
    Absent,
    /// The text form is not base64.
    #[error("the signature is not base64")]
    NotBase64,
    /// More bytes than any signature needs.
    #[error("the signed message is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are no CMS SignedData.
    #[error("the signature is not a CMS SignedData message")]
    NotSignedData,
    /// There is not exactly one signer.
    #[error("the message must have exactly one signer")]
    NotOneSigner,
    /// The signer's certificate is not in the message, or more than once.
    #[error("the signer's certificate is not in the message exactly once")]
    NoSignerCertificate,
    /// A digest that nobody should use.
    #[error("the digest of the signature is not SHA-1 or SHA-2")]
    WeakDigest,
    /// The signature does not fit the content and the certificate.
    #[error("the signature does not verify")]
    Invalid,
}

/// A message whose signature was checked.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    /// The signer's certificate, DER.
    pub(crate) signer: Vec<u8>,
    /// The content; empty if it was detached.
    pub(crate) content: Vec<u8>,
    /// The signed attributes: object identifier (DER content) and the first value (whole DER).
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The signature is over SHA-1.
    pub(crate) sha1: bool,
}

/// SHA-1, as DER content.
const SHA1: &[u8] = &[0x2b, 14, 3, 2, 26];

impl Verified {
    /// The content bytes of a signed attribute's only value, by the DER content of its identifier.
    pub(crate) fn attribute(&self, oid: &[u8]) -> Option<&[u8]> {
        let mut found = self.attributes.iter().filter(|(id, _)| id == oid);
        let (_, value) = found.next()?;
        // An attribute that stands twice says two things.
        if found.next().is_some() {
            return None;
        }
        let mut reader = SliceReader::new(value).ok()?;
        let header = Header::decode(&mut reader).ok()?;
        reader.read_slice(header.length).ok()
    }
}

/// Checks a message that carries its content (`body` is `None`) or one that is about `body`.
pub(crate) fn verify(
    message: &[u8],
    body: Option<&[u8]>,
    limit: usize,
) -> Result<Verified, SignatureError> {
    if message.is_empty() {
        return Err(SignatureError::Absent);
    }
    if message.len() > limit {
        return Err(SignatureError::TooLarge { limit });
    }
    if let Some(body) = body
        && let Some(signer) = quick::accepts(message, body)
    {
        return Ok(Verified {
            signer,
            content: Vec::new(),
            attributes: Vec::new(),
            sha1: false,
        });
    }
    let mut cms = CmsContentInfo::from_der(message).map_err(|_| SignatureError::NotSignedData)?;
    // Senders may write BER with indefinite lengths; from here on it is DER, as OpenSSL sees it.
    let normal = cms.to_der().map_err(|_| SignatureError::NotSignedData)?;
    let signed = SignedData::read(&normal)?;
    let [signer] = signed.signers.as_slice() else {
        return Err(SignatureError::NotOneSigner);
    };
    if !DIGESTS.contains(&signer.digest) {
        return Err(SignatureError::WeakDigest);
    }
    let certificate = signed.certificate_of(signer)?;
    let mut only = Stack::new().map_err(|_| SignatureError::Invalid)?;
    X509::from_der(certificate)
        .and_then(|x509| only.push(x509))
        .map_err(|_| SignatureError::NoSignerCertificate)?;
    let mut content = Vec::new();
    cms.verify(
        Some(&only),
        None,
        body,
        Some(&mut content),
        CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY | CMSOptions::NOINTERN,
    )
    .map_err(|_| SignatureError::Invalid)?;
    if body.is_some() {
        content.clear();
    }
    Ok(Verified {
        signer: certificate.to_vec(),
        content,
        attributes: signer.attributes.clone(),
        sha1: signer.digest == SHA1,
    })
}

/// What a message with content says of itself, its signature not looked at: for an answer that tells its sender that the
/// signature does not hold, and for nothing else. It has no content.
pub(crate) fn claimed(message: &[u8], limit: usize) -> Result<Verified, SignatureError> {
    unverified(message, limit, |_, signer| {
        Ok(Verified {
            signer: Vec::new(),
            content: Vec::new(),
            attributes: signer.attributes.clone(),
            sha1: signer.digest == SHA1,
        })
    })
}

/// The certificate that a message names as its signer's, the signature not looked at. Anybody can write one: it says whose
/// message is worth reading, and proves nothing.
pub(crate) fn claimed_signer(message: &[u8], limit: usize) -> Result<Vec<u8>, SignatureError> {
    unverified(message, limit, |signed, signer| {
        signed.certificate_of(signer).map(<[u8]>::to_vec)
    })
}

/// Hands the one signer of a message to `look`, with no signature checked.
fn unverified<T>(
    message: &[u8],
    limit: usize,
    look: impl FnOnce(&SignedData<'_>, &Signer<'_>) -> Result<T, SignatureError>,
) -> Result<T, SignatureError> {
    if message.len() > limit {
        return Err(SignatureError::TooLarge { limit });
    }
    let normal = CmsContentInfo::from_der(message)
        .and_then(|cms| cms.to_der())
        .map_err(|_| SignatureError::NotSignedData)?;
    let signed = SignedData::read(&normal)?;
    let [signer] = signed.signers.as_slice() else {
        return Err(SignatureError::NotOneSigner);
    };
    look(&signed, signer)
}

/// SHA-1, SHA-256, SHA-384, SHA-512 as the DER content of their identifiers.
const DIGESTS: [&[u8]; 4] = [
    &[0x2b, 0x0e, 0x03, 0x02, 0x1a],
    &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
    &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
    &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
];

/// The parts of a SignedData that we look at. Certificates stay bytes until one is chosen, as a
/// strict parser would refuse a whole message for one odd certificate beside the signer's.
struct SignedData<'a> {
    certificates: Vec<&'a [u8]>,
    signers: Vec<Signer<'a>>,
}

struct Signer<'a> {
    /// Issuer (whole DER) and serial number (content), or the subject key identifier.
    id: SignerId<'a>,
    digest: &'a [u8],
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

enum SignerId<'a> {
    IssuerAndSerial(&'a [u8], &'a [u8]),
    KeyId(&'a [u8]),
}

impl<'a> SignerId<'a> {
    fn walk(signer: &mut SliceReader<'a>) -> der::Result<Self> {
        if signer.peek_tag()? == Tag::Sequence {
            let mut id = inside(signer.tlv_bytes()?)?;
            let issuer = id.tlv_bytes()?;
            Ok(Self::IssuerAndSerial(issuer, content(id.tlv_bytes()?)?))
        } else {
            Ok(Self::KeyId(content(signer.tlv_bytes()?)?))
        }
    }
}

impl<'a> SignedData<'a> {
    fn read(der: &'a [u8]) -> Result<Self, SignatureError> {
        Self::walk(der).map_err(|_| SignatureError::NotSignedData)
    }

    fn walk(der: &'a [u8]) -> der::Result<Self> {
        let mut info = inside(der)?;
        let _content_type = info.tlv_bytes()?;
        let mut explicit = inside(info.tlv_bytes()?)?;
        let mut data = inside(explicit.tlv_bytes()?)?;
        let _version = data.tlv_bytes()?;
        let _digests = data.tlv_bytes()?;
        let _content = data.tlv_bytes()?;
        let mut certificates = Vec::new();
        let mut signers = Vec::new();
        while !data.is_finished() {
            let tag = data.peek_tag()?;
            let part = data.tlv_bytes()?;
            match tag {
                Tag::ContextSpecific { number, .. } if number.value() == 0 => {
                    let mut set = inside(part)?;
                    while !set.is_finished() {
                        certificates.push(set.tlv_bytes()?);
                    }
                }
                Tag::Set => {
                    let mut set = inside(part)?;
                    while !set.is_finished() {
                        signers.push(Signer::walk(set.tlv_bytes()?)?);
                    }
                }
                // Revocation lists.
                _ => {}
            }
        }
        Ok(Self {
            certificates,
            signers,
        })
    }

    fn certificate_of(&self, signer: &Signer<'_>) -> Result<&'a [u8], SignatureError> {
        let mut found = self.certificates.iter().filter(|der| {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                return false;
            };
            match signer.id {
                SignerId::IssuerAndSerial(issuer, serial) => {
                    certificate.issuer().as_raw() == issuer && certificate.raw_serial() == serial
                }
                SignerId::KeyId(id) => certificate.extensions().iter().any(|extension| {
                    use x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier;
                    matches!(extension.parsed_extension(), SubjectKeyIdentifier(own) if own.0 == id)
                }),
            }
        });
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(SignatureError::NoSignerCertificate),
        }
    }
}

impl<'a> Signer<'a> {
    fn walk(der: &'a [u8]) -> der::Result<Self> {
        let mut signer = inside(der)?;
        let _version = signer.tlv_bytes()?;
        let id = SignerId::walk(&mut signer)?;
        let mut digest = inside(signer.tlv_bytes()?)?;
        let digest = content(digest.tlv_bytes()?)?;
        let mut attributes = Vec::new();
        if signer.peek_tag()? != Tag::Sequence {
            let mut set = inside(signer.tlv_bytes()?)?;
            while !set.is_finished() {
                let mut attribute = inside(set.tlv_bytes()?)?;
                let oid = content(attribute.tlv_bytes()?)?.to_vec();
                let mut values = inside(attribute.tlv_bytes()?)?;
                if !values.is_finished() {
                    attributes.push((oid, values.tlv_bytes()?.to_vec()));
                }
            }
        }
        Ok(Self {
            id,
            digest,
            attributes,
        })
    }
}

/// The content bytes of one DER value.
pub(crate) fn content(der: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let header = Header::decode(&mut reader)?;
    reader.read_slice(header.length)
}

/// A reader over the content of one DER value.
pub(crate) fn inside(der: &[u8]) -> der::Result<SliceReader<'_>> {
    SliceReader::new(content(der)?)
}
