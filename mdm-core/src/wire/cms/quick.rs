//! The usual form of a detached signature, checked without the whole CMS machinery, which costs several times the signature
//! itself. It may only say yes: whatever it does not know or does not accept, the machinery judges, and its refusals hold.
//!
//! Usual means: DER, one signer, that signer's certificate and no other, no revocation lists, no unsigned attributes; RSA
//! (PKCS #1) or a curve, with SHA-1 or SHA-2. With signed attributes, content type and digest stand among them exactly once.

use std::sync::{Arc, Mutex, OnceLock};

use der::{Reader as _, Tag};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::{Md, MdRef};
use openssl::pkey::{Id, PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Rsa;
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

/// How many signers' keys are kept: so many sets, found by a certificate's hash, of so many places. Each takes about 600 bytes. With
/// one place for each hash, four of ten of 10,000 signers would have another one's place and be read anew with every message.
const SETS: usize = 2_048;
const PLACES: usize = 8;

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
    let (signer, key) = signer(usual.certificate)?;
    if !signer.is(&usual.id) {
        return None;
    }
    let named = usual.algorithm;
    let fits = match key.id() {
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
    let verified = verify(&key, (digest.md)(), &hash, usual.signature);
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
    issuer: Box<[u8]>,
    serial: Box<[u8]>,
    key_id: Option<Box<[u8]>>,
    key: Kept,
}

/// A key as it is kept. As OpenSSL's it would take 2 KiB more than as its numbers; to make that of them again takes 6 us, while the
/// certificate takes more than twice that.
enum Kept {
    /// Modulus and exponent, big-endian.
    Rsa(Box<[u8]>, Box<[u8]>),
    /// The whole of it (DER, `SubjectPublicKeyInfo`).
    Other(Box<[u8]>),
}

impl Kept {
    fn of(key: &PKey<Public>) -> Result<Self, ErrorStack> {
        Ok(match key.id() {
            Id::RSA => {
                let rsa = key.rsa()?;
                Self::Rsa(rsa.n().to_vec().into(), rsa.e().to_vec().into())
            }
            _ => Self::Other(key.public_key_to_der()?.into()),
        })
    }

    fn key(&self) -> Result<PKey<Public>, ErrorStack> {
        match self {
            Self::Rsa(n, e) => {
                let (n, e) = (BigNum::from_slice(n)?, BigNum::from_slice(e)?);
                PKey::from_rsa(Rsa::from_public_components(n, e)?)
            }
            Self::Other(der) => PKey::public_key_from_der(der),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Rsa(n, e) => n.len() + e.len(),
            Self::Other(der) => der.len(),
        }
    }
}

impl Signer {
    /// What is to be kept of a certificate (DER), and the key in it.
    fn read(der: &[u8]) -> Option<(Self, PKey<Public>)> {
        use x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier;
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut extensions = parsed.extensions().iter();
        let key = X509::from_der(der).and_then(|x509| x509.public_key());
        let key = key.ok()?;
        let signer = Self {
            issuer: parsed.issuer().as_raw().into(),
            serial: parsed.raw_serial().into(),
            key_id: extensions.find_map(|e| match e.parsed_extension() {
                SubjectKeyIdentifier(id) => Some(id.0.into()),
                _ => None,
            }),
            key: Kept::of(&key).ok()?,
        };
        Some((signer, key))
    }

    /// Whether it takes no more memory than signers usually do.
    fn is_short(&self) -> bool {
        let key_id = self.key_id.as_ref().map_or(0, |id| id.len());
        self.issuer.len() + self.serial.len() + key_id + self.key.len() <= 2_048
    }

    fn is(&self, id: &SignerId<'_>) -> bool {
        match id {
            SignerId::IssuerAndSerial(issuer, serial) => {
                *self.issuer == **issuer && *self.serial == **serial
            }
            SignerId::KeyId(id) => self.key_id.as_deref() == Some(*id),
        }
    }
}

/// The signers whose hashes fall into one set: bounded, and nobody waits for long.
#[derive(Default)]
struct Set {
    kept: Vec<([u8; 32], Arc<Signer>)>,
    drawn: u32,
}

impl Set {
    fn find(&self, hash: &[u8; 32]) -> Option<Arc<Signer>> {
        let found = self.kept.iter().find(|(of, _)| of == hash);
        found.map(|(_, signer)| Arc::clone(signer))
    }

    /// Takes a free place, else one that is drawn: whoever speaks no more is out of it after a while. Not the oldest, for where those
    /// of a set that is too full speak in turn, that one is always the next to speak. Nothing hangs on who can guess it.
    fn keep(&mut self, hash: [u8; 32], signer: &Arc<Signer>) {
        if self.find(&hash).is_some() {
            return;
        }
        let new = (hash, Arc::clone(signer));
        if self.kept.len() < PLACES {
            self.kept.push(new);
        } else {
            let drawn = self.drawn.wrapping_add(u32::from(hash[2]));
            self.drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Of such a sequence only the high bits are worth anything.
            self.kept[(self.drawn >> 24) as usize % PLACES] = new;
        }
    }
}

/// The signer of a certificate (DER), and its key. What a certificate says never changes, so that it may be kept by its SHA-256.
fn signer(der: &[u8]) -> Option<(Arc<Signer>, PKey<Public>)> {
    static SIGNERS: OnceLock<Vec<Mutex<Set>>> = OnceLock::new();
    let sets = SIGNERS.get_or_init(|| (0..SETS).map(|_| Mutex::default()).collect());
    let hash = sha256(der);
    let set = sets.get(usize::from(u16::from_be_bytes([hash[0], hash[1]])) % SETS)?;
    let kept = set.lock().ok().and_then(|set| set.find(&hash));
    if let Some(signer) = kept
        && let Ok(key) = signer.key.key()
    {
        return Some((signer, key));
    }
    let read = Signer::read(der);
    if read.is_none() {
        let _ = ErrorStack::get();
    }
    let (read, key) = read?;
    let read = Arc::new(read);
    // Whose signature this is has not been found out yet: nobody fills the memory with what is long.
    if read.is_short()
        && let Ok(mut set) = set.lock()
    {
        set.keep(hash, &read);
    }
    Some((read, key))
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;

    use super::*;
    use crate::testing::{Made, certificate, key};

    #[test]
    fn a_set_keeps_as_many_as_it_has_places_and_each_under_its_own_hash() {
        let signer = |serial| {
            let made = Made {
                serial,
                ..Made::default()
            };
            let der = certificate(key(0), &made).to_der().unwrap();
            Arc::new(Signer::read(&der).unwrap().0)
        };
        let hash = |n: usize| [u8::try_from(n).unwrap(); 32];
        let signers: Vec<_> = (0..=PLACES).map(|n| signer(n as u64 + 1)).collect();
        let mut set = Set::default();
        for (n, signer) in signers.iter().enumerate().take(PLACES) {
            set.keep(hash(n), signer);
            // Two that read the same one at once.
            set.keep(hash(n), signer);
        }
        // The one who read it at the same time takes nobody's place in a set that is full either.
        set.keep(hash(0), &signers[0]);
        set.keep(hash(PLACES), &signers[PLACES]);
        assert_eq!(set.kept.len(), PLACES);
        let found = set.find(&hash(PLACES)).unwrap();
        assert!(Arc::ptr_eq(&found, &signers[PLACES]));
        let others = (0..PLACES).filter_map(|n| Some((n, set.find(&hash(n))?)));
        let others: Vec<_> = others.collect();
        assert_eq!(others.len(), PLACES - 1);
        assert!(others.iter().all(|(n, s)| Arc::ptr_eq(s, &signers[*n])));
    }

    #[test]
    fn a_signer_is_read_once() {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let curve = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        for (name, pair) in [("read once", key(1)), ("read once, a curve", &curve)] {
            let made = Made {
                name,
                ..Made::default()
            };
            let der = certificate(pair, &made).to_der().unwrap();
            let (first, read) = signer(&der).unwrap();
            let (again, kept) = signer(&der).unwrap();
            assert!(Arc::ptr_eq(&first, &again), "{name}");
            assert!(pair.public_eq(&read) && pair.public_eq(&kept), "{name}");
            assert_eq!(kept.id(), pair.id(), "{name}");
        }
        assert!(signer(b"no certificate").is_none());
        assert!(ErrorStack::get().errors().is_empty());
    }
}
