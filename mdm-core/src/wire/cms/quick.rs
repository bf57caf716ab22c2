//! The usual form of a detached signature, checked without the whole CMS machinery, which costs several times the signature
//! itself. It may only say yes: whatever it does not know or does not accept, the machinery judges, and its refusals hold.
//!
//! Usual means: DER, one signer, that signer's certificate and no other, no revocation lists, no unsigned attributes; RSA
//! (PKCS #1) or a curve, with SHA-1 or SHA-2. With signed attributes, content type and digest stand among them exactly once.

use std::sync::{Arc, Mutex, OnceLock};

use der::{Reader as _, Tag};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::{Md, MdRef};
use openssl::pkey::{Id, PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::sha::sha256;
use openssl::x509::X509;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{SignerId, content, inside};

/// id-signedData and id-data (RFC 5652) as the DER content of their identifiers.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// The attributes content type and message digest.
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// rsaEncryption, under which signers write the key's algorithm instead of the signature's.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// How many signers' keys are kept; each takes about 3 KiB.
const KEPT: usize = 16_384;

/// A digest that is accepted, and the signature algorithms that name it.
struct Digest {
    oid: &'static [u8],
    rsa: &'static [u8],
    ecdsa: &'static [u8],
    hash: fn() -> MessageDigest,
    md: fn() -> &'static MdRef,
}

const DIGESTS: [Digest; 4] = [
    Digest {
        oid: super::DIGESTS[0],
        rsa: &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
        ecdsa: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
        hash: MessageDigest::sha1,
        md: Md::sha1,
    },
    Digest {
        oid: super::DIGESTS[1],
        rsa: &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b],
        ecdsa: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
        hash: MessageDigest::sha256,
        md: Md::sha256,
    },
    Digest {
        oid: super::DIGESTS[2],
        rsa: &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c],
        ecdsa: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
        hash: MessageDigest::sha384,
        md: Md::sha384,
    },
    Digest {
        oid: super::DIGESTS[3],
        rsa: &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d],
        ecdsa: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04],
        hash: MessageDigest::sha512,
        md: Md::sha512,
    },
];

/// The signer's certificate (DER), if `message` is a usual signature over `body` and it fits.
pub(super) fn accepts(message: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let usual = Usual::read(message).ok()?;
    let digest = DIGESTS.iter().find(|d| d.oid == usual.digest)?;
    let signer = signer(usual.certificate)?;
    if !signer.is(&usual.id) {
        return None;
    }
    let named = usual.algorithm;
    let fits = match signer.key.id() {
        Id::RSA => named == RSA || named == digest.rsa,
        Id::EC => named == digest.ecdsa,
        _ => false,
    };
    if !fits {
        return None;
    }
    let of_body = openssl::hash::hash((digest.hash)(), body).ok()?;
    let hash = match usual.attributes {
        None => of_body,
        Some(attributes) => {
            if !speak_of(attributes, &of_body).ok()? {
                return None;
            }
            // Signed as a SET OF, though it travels under a tag of its context.
            let mut signed = attributes.to_vec();
            *signed.first_mut()? = 0x31;
            openssl::hash::hash((digest.hash)(), &signed).ok()?
        }
    };
    let verified = verify(&signer.key, (digest.md)(), &hash, usual.signature);
    if !verified.unwrap_or(false) {
        // OpenSSL notes why in a list of the thread, where the next TLS connection would find it.
        let _ = ErrorStack::get();
        return None;
    }
    Some(usual.certificate.to_vec())
}

fn verify(
    key: &PKey<Public>,
    md: &MdRef,
    hash: &[u8],
    signature: &[u8],
) -> Result<bool, ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    context.verify_init()?;
    context.set_signature_md(md)?;
    context.verify(hash, signature)
}

/// Whether content type and digest stand among the attributes once each, say what they must, and no attribute stands twice.
fn speak_of(attributes: &[u8], digest: &[u8]) -> der::Result<bool> {
    let mut seen: Vec<&[u8]> = Vec::with_capacity(8);
    let (mut typed, mut digested) = (false, false);
    let mut set = inside(attributes)?;
    while !set.is_finished() {
        let mut attribute = inside(set.tlv_bytes()?)?;
        let oid = content(attribute.tlv_bytes()?)?;
        let mut values = inside(attribute.tlv_bytes()?)?;
        if !attribute.is_finished() || seen.contains(&oid) {
            return Ok(false);
        }
        seen.push(oid);
        if oid != CONTENT_TYPE && oid != MESSAGE_DIGEST {
            continue;
        }
        let tag = values.peek_tag()?;
        let value = content(values.tlv_bytes()?)?;
        if !values.is_finished() {
            return Ok(false);
        }
        if oid == CONTENT_TYPE {
            typed = tag == Tag::ObjectIdentifier && value == DATA;
        } else {
            digested = tag == Tag::OctetString && value == digest;
        }
    }
    Ok(typed && digested)
}

/// The parts of a usual message.
struct Usual<'a> {
    certificate: &'a [u8],
    id: SignerId<'a>,
    digest: &'a [u8],
    /// The whole of them under the tag that they travel with.
    attributes: Option<&'a [u8]>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Usual<'a> {
    fn read(message: &'a [u8]) -> der::Result<Self> {
        let unusual = || der::Error::from(der::ErrorKind::Failed);
        let only = |fine: bool| if fine { Ok(()) } else { Err(unusual()) };
        let mut info = inside(message)?;
        only(content(info.tlv_bytes()?)? == SIGNED_DATA)?;
        let mut explicit = inside(info.tlv_bytes()?)?;
        let mut data = inside(explicit.tlv_bytes()?)?;
        only(info.is_finished() && explicit.is_finished())?;
        let _version = data.tlv_bytes()?;
        // No signature covers this list. One that names anything but the signer's digest is not usual.
        let mut digests = inside(data.tlv_bytes()?)?;
        let listed = content(inside(digests.tlv_bytes()?)?.tlv_bytes()?)?;
        only(digests.is_finished())?;
        let mut contained = inside(data.tlv_bytes()?)?;
        only(content(contained.tlv_bytes()?)? == DATA && contained.is_finished())?;
        only(
            matches!(data.peek_tag()?, Tag::ContextSpecific { number, .. } if number.value() == 0),
        )?;
        let mut bag = inside(data.tlv_bytes()?)?;
        let certificate = bag.tlv_bytes()?;
        only(bag.is_finished() && data.peek_tag()? == Tag::Set)?;
        let mut signers = inside(data.tlv_bytes()?)?;
        let mut signer = inside(signers.tlv_bytes()?)?;
        only(signers.is_finished() && data.is_finished())?;

        let _version = signer.tlv_bytes()?;
        let id = SignerId::walk(&mut signer)?;
        let digest = content(inside(signer.tlv_bytes()?)?.tlv_bytes()?)?;
        only(listed == digest)?;
        let attributes = match signer.peek_tag()? {
            Tag::ContextSpecific { number, .. } if number.value() == 0 => Some(signer.tlv_bytes()?),
            _ => None,
        };
        only(signer.peek_tag()? == Tag::Sequence)?;
        let algorithm = content(inside(signer.tlv_bytes()?)?.tlv_bytes()?)?;
        only(signer.peek_tag()? == Tag::OctetString)?;
        let signature = content(signer.tlv_bytes()?)?;
        only(signer.is_finished())?;
        Ok(Self {
            certificate,
            id,
            digest,
            attributes,
            algorithm,
            signature,
        })
    }
}

/// What is needed of a certificate that signed before.
struct Signer {
    issuer: Vec<u8>,
    serial: Vec<u8>,
    key_id: Option<Vec<u8>>,
    key: PKey<Public>,
}

impl Signer {
    fn read(der: &[u8]) -> Option<Self> {
        use x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier;
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut extensions = parsed.extensions().iter();
        Some(Self {
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: parsed.raw_serial().to_vec(),
            key_id: extensions.find_map(|e| match e.parsed_extension() {
                SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            }),
            key: X509::from_der(der)
                .and_then(|x509| x509.public_key())
                .ok()?,
        })
    }

    fn is(&self, id: &SignerId<'_>) -> bool {
        match id {
            SignerId::IssuerAndSerial(issuer, serial) => {
                self.issuer == *issuer && self.serial == *serial
            }
            SignerId::KeyId(id) => self.key_id.as_deref() == Some(*id),
        }
    }
}

/// One place for each certificate, found by its hash and taken by whoever comes last: bounded, and nobody waits for long.
type Places = Vec<Mutex<Option<([u8; 32], Arc<Signer>)>>>;

/// The signer of a certificate (DER). What a certificate says never changes, so that it may be kept by its SHA-256.
fn signer(der: &[u8]) -> Option<Arc<Signer>> {
    static PLACES: OnceLock<Places> = OnceLock::new();
    let places = PLACES.get_or_init(|| (0..KEPT).map(|_| Mutex::default()).collect());
    let hash = sha256(der);
    let place = places.get(usize::from(u16::from_be_bytes([hash[0], hash[1]])) % KEPT)?;
    if let Ok(kept) = place.lock()
        && let Some((of, signer)) = &*kept
        && *of == hash
    {
        return Some(Arc::clone(signer));
    }
    let read = Signer::read(der);
    if read.is_none() {
        let _ = ErrorStack::get();
    }
    let read = Arc::new(read?);
    if let Ok(mut kept) = place.lock() {
        *kept = Some((hash, Arc::clone(&read)));
    }
    Some(read)
}
