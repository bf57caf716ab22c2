//! Opens the encrypted token file: MIME text, base64, CMS enveloped data in BER or DER. Knows nothing of its content.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use openssl::cms::CmsContentInfo;
use openssl::x509::{X509Name, X509NameRef};

use super::{OPEN, TokenKeyPair};
use crate::error::{Error, ErrorKind};
use crate::secret::SecretBytes;

/// A real file has some 3 KB.
const LARGEST_FILE: usize = 256 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decrypts with the pair that the file was made for.
pub(super) fn decrypt(file: &[u8], pairs: &[TokenKeyPair]) -> Result<SecretBytes, Error> {
    let bad = |why: &str| Error::unreadable(OPEN, "server token file", why);
    if file.len() > LARGEST_FILE {
        return Err(bad("it is too large"));
    }
    let der = unwrap_text(file).ok_or_else(|| bad("neither S/MIME nor CMS"))?;
    let cms = CmsContentInfo::from_der(&der).map_err(|_| bad("no CMS message"))?;
    // Indefinite lengths are gone after this: what follows reads definite ones only.
    let normal = cms.to_der().map_err(|_| bad("no CMS message"))?;
    let recipients = recipients(&normal).ok_or_else(|| bad("no encrypted CMS message"))?;
    let fits = |pair: &&TokenKeyPair| recipients.iter().any(|recipient| recipient.is(pair));
    let mut chosen = pairs.iter().filter(fits).peekable();
    if chosen.peek().is_none() {
        let recipients = recipients.iter().map(Recipient::describe).collect();
        return Err(Error::new(
            OPEN,
            ErrorKind::MadeForAnotherCertificate { recipients },
        ));
    }
    chosen
        .find_map(|pair| cms.decrypt(&pair.key, &pair.certificate).ok())
        .map(SecretBytes::from)
        .ok_or_else(|| bad("it cannot be decrypted"))
}

/// The CMS bytes inside S/MIME, PEM or bare base64; binary input as it is.
fn unwrap_text(file: &[u8]) -> Option<Vec<u8>> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let start = file.iter().position(|b| !b.is_ascii_whitespace())?;
    let file = &file[start..];
    // A SEQUENCE with a long or indefinite length cannot be the beginning of a text.
    if file.len() > 1 && file[0] == 0x30 && file[1] >= 0x80 {
        return Some(file.to_vec());
    }
    let text = std::str::from_utf8(file).ok()?;
    let body = if text.lines().next().is_some_and(|line| line.contains(':')) {
        after_headers(text)
    } else {
        text
    };
    let mut packed: Vec<u8> = Vec::with_capacity(body.len());
    for line in body
        .lines()
        .filter(|line| !line.trim_start().starts_with("-----"))
    {
        packed.extend(line.bytes().filter(|b| !b.is_ascii_whitespace()));
    }
    BASE64.decode(packed).ok()
}

/// What follows the first blank line; the whole text when there is none. Line ends are LF or CRLF.
pub(super) fn after_headers(text: &str) -> &str {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if line.trim().is_empty() {
            return &text[at..];
        }
    }
    text
}

/// For whom a message is encrypted.
struct Recipient {
    /// Issuer (DER) and serial number, or the subject key identifier.
    name: Result<(Vec<u8>, Vec<u8>), Vec<u8>>,
}

impl Recipient {
    fn is(&self, pair: &TokenKeyPair) -> bool {
        match &self.name {
            Ok((issuer, serial)) => {
                let same_serial = pair
                    .certificate
                    .serial_number()
                    .to_bn()
                    .is_ok_and(|own| own.to_vec() == *serial);
                same_serial
                    && X509Name::from_der(issuer).is_ok_and(|issuer| {
                        pair.certificate
                            .issuer_name()
                            .try_cmp(&issuer)
                            .is_ok_and(std::cmp::Ordering::is_eq)
                    })
            }
            Err(key_id) => pair
                .certificate
                .subject_key_id()
                .is_some_and(|own| own.as_slice() == key_id),
        }
    }

    fn describe(&self) -> String {
        match &self.name {
            Ok((issuer, serial)) => match X509Name::from_der(issuer) {
                Ok(issuer) => describe(&issuer, serial),
                Err(_) => format!("serial {}", hex(serial)),
            },
            Err(key_id) => format!("subject key identifier {}", hex(key_id)),
        }
    }
}

/// `issuer CN=…, serial …`, fit for a screen.
pub(super) fn describe(issuer: &X509NameRef, serial: &[u8]) -> String {
    let mut parts = Vec::new();
    for entry in issuer.entries() {
        let key = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().unwrap_or_default();
        parts.push(format!("{key}={value}"));
    }
    crate::answer::shown(&format!(
        "issuer {}, serial {}",
        parts.join(" "),
        hex(serial)
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// The recipients of a DER `ContentInfo` with `EnvelopedData` (RFC 5652, section 6).
fn recipients(der: &[u8]) -> Option<Vec<Recipient>> {
    let (content_info, _) = expect(der, 0x30)?;
    let (_oid, rest) = expect(content_info, 0x06)?;
    let (explicit, _) = expect(rest, 0xa0)?;
    let (enveloped, _) = expect(explicit, 0x30)?;
    let (_version, mut rest) = expect(enveloped, 0x02)?;
    if let Some((_originator, after)) = expect(rest, 0xa0) {
        rest = after;
    }
    let (mut set, _) = expect(rest, 0x31)?;
    let mut found = Vec::new();
    while !set.is_empty() {
        let (tag, info, after) = element(set)?;
        set = after;
        // Only key transport (a plain SEQUENCE) can be meant for an RSA certificate.
        if tag != 0x30 {
            continue;
        }
        let (_version, info) = expect(info, 0x02)?;
        let (tag, id, _) = element(info)?;
        if tag == 0x80 {
            found.push(Recipient {
                name: Err(id.to_vec()),
            });
        } else if tag == 0x30 {
            let (_, issuer, after) = element(id)?;
            let issuer_der = &id[..id.len() - after.len()];
            let _ = issuer;
            let (serial, _) = expect(after, 0x02)?;
            let start = serial.iter().position(|b| *b != 0).unwrap_or(serial.len());
            found.push(Recipient {
                name: Ok((issuer_der.to_vec(), serial[start..].to_vec())),
            });
        }
    }
    Some(found)
}

/// Content and rest of the next element, if it has this tag.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and rest of the next element; definite lengths of at most four bytes.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_at_the_first_blank_line() {
        assert_eq!(
            after_headers("A: b\r\n c\r\n\r\nbody\r\n\r\nmore"),
            "body\r\n\r\nmore"
        );
        assert_eq!(after_headers("A: b\n\nbody"), "body");
        assert_eq!(after_headers("body only"), "body only");
    }

    #[test]
    fn rubbish_is_refused_without_a_panic() {
        let pair = TokenKeyPair::generate("mdmd", 1_795_190_400_000, 365).expect("a pair");
        for file in [
            &b""[..],
            b"\n\n",
            b"0\x80",
            b"0\x84\xff\xff\xff\xff",
            b"Content-Type: x\n\n????",
            b"AAAA",
            b"\xff\xfe",
        ] {
            let error = decrypt(file, std::slice::from_ref(&pair)).expect_err("rubbish");
            assert!(error.needs_person().is_some(), "{error}");
        }
        assert_eq!(element(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
        assert_eq!(element(&[0x30, 0x05, 1]), None);
    }
}
