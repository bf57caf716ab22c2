//! What is fuzzed of `mdm-core`: everything that it reads before it knows who speaks. Each target is a function over bytes that
//! panics when a law is broken; the fuzzer calls them, and so does a test of `mdm-core` with every file of the corpus.
//!
//! The laws: nobody panics; an error is one short line and repeats nothing of what was sent; what is accepted is what an
//! independent look at the same bytes accepts too. The keys in `papers/` are nobody's and belong to the corpus.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mdm_core::ca::Responder;
use mdm_core::ca::scep::{self, FailInfo, Received};
use mdm_core::clock::Timestamp;
use mdm_core::ddm::status::ChannelStatus;
use mdm_core::ddm::{DeclarationKind, server_token};
use mdm_core::enrol::machine_info::{self, DeviceAuthority};
use mdm_core::filevault::{EscrowKey, Opened, open_envelope, recovery_key};
use mdm_core::identity::{Authorities, certificate_from_header};
use mdm_core::ids::{EnrollmentId, OrganisationId};
use mdm_core::jose::{JwkSet, Unproved};
use mdm_core::secret::Secret;
use mdm_core::sign_in::provider::Provider;
use mdm_core::sign_in::token::{self, Expected};
use mdm_core::wire::checkin::CheckIn;
use mdm_core::wire::declarations::{Endpoint, StatusReport};
use mdm_core::wire::declared::{Payload, StatusItem, fault};
use mdm_core::wire::plist as property_list;
use mdm_core::wire::report::CommandReport;
use mdm_core::wire::reports::Answer;
use mdm_core::wire::signature::{verify_detached, verify_header};
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;

const CA: &[u8] = include_bytes!("../papers/ca.pem");
const CA_KEY: &[u8] = include_bytes!("../papers/ca.key");
const DEVICE: &[u8] = include_bytes!("../papers/device.pem");
const DEVICE_KEY: &[u8] = include_bytes!("../papers/device.key");

/// What the signed body of the target `cms` says.
pub const BODY: &[u8] = b"<plist version=\"1.0\"><dict/></plist>\n";

/// The longest sentence of an error.
const LONGEST: usize = 300;

/// Whose key and certificate.
pub struct Paper {
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

fn paper(certificate: &[u8], key: &[u8]) -> Paper {
    Paper {
        certificate: X509::from_pem(certificate).expect("a certificate of ours"),
        key: PKey::private_key_from_pem(key).expect("a key of ours"),
    }
}

/// The authority: of certificates and of machine information.
pub fn authority() -> &'static Paper {
    static AUTHORITY: OnceLock<Paper> = OnceLock::new();
    AUTHORITY.get_or_init(|| paper(CA, CA_KEY))
}

/// A device that the authority vouches for.
pub fn device() -> &'static Paper {
    static DEVICE_PAPER: OnceLock<Paper> = OnceLock::new();
    DEVICE_PAPER.get_or_init(|| paper(DEVICE, DEVICE_KEY))
}

fn responder() -> &'static Responder {
    static RESPONDER: OnceLock<Responder> = OnceLock::new();
    RESPONDER.get_or_init(|| {
        let paper = authority();
        let key = Secret::new(paper.key.private_key_to_pkcs8().expect("a key"));
        let der = paper.certificate.to_der().expect("a certificate");
        Responder::load(&der, &key).expect("they belong together")
    })
}

/// One short line that has no run of what was sent.
fn law_of_errors(error: &str, sent: &[u8]) {
    assert!(error.len() <= LONGEST, "{error}");
    assert!(!error.contains('\n'), "{error}");
    // Names of messages and keys are ours to repeat; a run of twenty bytes of something else is not.
    for run in error.as_bytes().windows(20) {
        let known = run.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        assert!(known, "{error}");
    }
    if let Ok(text) = std::str::from_utf8(sent) {
        for value in text.split(['<', '>']).filter(|v| v.starts_with("secret-")) {
            assert!(!error.contains(value), "{error}");
        }
    }
}

/// Built with `FUZZ_PLANTED` set, each target has one fault that no seed reaches: whether the fuzzer finds it says whether it
/// gets anywhere.
fn planted(reached: bool) {
    if option_env!("FUZZ_PLANTED").is_some() {
        assert!(!reached, "the planted fault");
    }
}

/// Property lists, as every body and profile is one.
pub fn plist(data: &[u8]) {
    match property_list::read(data, 1 << 20) {
        Err(error) => law_of_errors(&error.to_string(), data),
        Ok(value) => {
            // What was read is written and read again as the same.
            planted(
                value
                    .as_dictionary()
                    .is_some_and(|all| all.contains_key("")),
            );
            let written = property_list::write(&value);
            let again = property_list::read(&written, written.len() + 1).expect("what we wrote");
            assert_eq!(property_list::write(&again), written);
        }
    }
}

/// Check-ins and reports; the first byte chooses.
pub fn messages(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    if choice % 2 == 0 {
        match CheckIn::parse(body) {
            Err(error) => law_of_errors(&error.to_string(), body),
            Ok(message) => {
                if let CheckIn::TokenUpdate(update) = &message {
                    planted(update.awaiting_configuration.is_none());
                }
                let channel = &message.envelope().channel;
                assert!(!channel.key().as_str().is_empty());
                assert!(!channel.device_key().as_str().is_empty());
                // A token or password is not in what a log would show: text under a key that means one, and nowhere else.
                let shown = format!("{message:?}");
                let top = property_list::read_dictionary(body, 1 << 20).expect("it was read");
                let sent = String::from_utf8_lossy(body);
                for key in ["AuthToken", "DigestResponse"] {
                    let value = top.get(key).and_then(|value| value.as_string());
                    if let Some(value) = value.filter(|value| value.starts_with("secret-"))
                        && sent.matches(value).count() == 1
                    {
                        assert!(!shown.contains(value), "{shown}");
                    }
                }
            }
        }
    } else {
        match CommandReport::parse(body) {
            Err(error) => law_of_errors(&error.to_string(), body),
            Ok(report) => {
                assert!(!report.channel.key().as_str().is_empty());
                answers(&report, body);
            }
        }
    }
}

/// A device may answer anything to any command. Whatever it was: each view says under every name what was received, and lacks what
/// every report has and nothing else.
fn answers(report: &CommandReport, body: &[u8]) {
    // A number that is none equals nothing, not even itself.
    let no_number = body.windows(3).any(|at| at.eq_ignore_ascii_case(b"nan"));
    let received = report.redacted();
    let mut lacks = None;
    for name in Answer::REQUEST_TYPES {
        let answer = report.answer(name).expect("every answer is read");
        let said = answer.to_dictionary();
        for (key, value) in &said {
            assert!(no_number || received.get(key) == Some(value), "{name}");
        }
        let lacking = received.len() - said.len();
        assert_eq!(*lacks.get_or_insert(lacking), lacking, "{name}");
    }
}

/// What is sealed here has fewer bytes.
const MOST_SEALED: usize = 32 * 1024;

fn escrow_keys() -> &'static [EscrowKey; 2] {
    static KEYS: OnceLock<[EscrowKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [device(), authority()].map(|paper| {
            let key = paper.key.private_key_to_pkcs8().expect("a key");
            let certificate = paper.certificate.to_der().expect("a certificate");
            EscrowKey::new(certificate, Secret::new(key))
        })
    })
}

/// The envelope in which a Mac sends its recovery key, as it comes, or what stands in one that is sealed to the second of our keys;
/// the first byte chooses.
pub fn escrow(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let ours = choice % 2 == 1;
    if ours && !(1..MOST_SEALED).contains(&bytes.len()) {
        return;
    }
    let sealed = match ours {
        true => encrypt(bytes),
        false => bytes.to_vec(),
    };
    let opened = open_envelope(&sealed, escrow_keys());
    let shown = format!("{opened:?}");
    match opened {
        Opened::Key { key, by } => {
            planted(key.expose().starts_with(b"9"));
            assert_eq!(recovery_key(key.expose()).as_ref(), Some(&key));
            let text = key.expose_text().expect("letters and digits");
            assert!(!shown.contains(text), "{shown}");
            assert!(!ours || (by == 1 && String::from_utf8_lossy(bytes).contains(text)));
        }
        Opened::BadForm { by } => assert!(!ours || (by == 1 && recovery_key(bytes).is_none())),
        Opened::Foreign => assert!(!ours, "what is sealed to us does not open"),
    }
}

/// The seeds of `cms` whose signature is accepted.
const ACCEPTED: [&[u8]; 3] = [
    include_bytes!("../corpus/cms/attributes"),
    include_bytes!("../corpus/cms/no_attributes"),
    include_bytes!("../corpus/cms/found-crash-73188690ce734f"),
];

/// Signatures over a body that is known, certificates in headers, and certificates as such; the first byte chooses.
pub fn cms(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let signer = match choice % 4 {
        0 => verify_detached(bytes, BODY).map_err(|e| e.to_string()),
        1 => match std::str::from_utf8(bytes) {
            Ok(text) => verify_header(text, BODY).map_err(|e| e.to_string()),
            Err(_) => return,
        },
        2 => match std::str::from_utf8(bytes) {
            Ok(text) => certificate_from_header(text).map_err(|e| e.to_string()),
            Err(_) => return,
        },
        _ => Ok(bytes.to_vec()),
    };
    let signer = match signer {
        Ok(signer) => signer,
        Err(error) => return law_of_errors(&error, bytes),
    };
    // What no signature covers (most of the signer's certificate, for its chain is judged elsewhere) may be another than in a seed.
    planted(choice % 4 == 0 && !ACCEPTED.iter().any(|seed| seed.get(1..) == Some(bytes)));
    if choice % 4 < 2 {
        // What our short way accepts, OpenSSL's own long way accepts under the certificate that we name.
        let message = match choice % 4 {
            0 => bytes.to_vec(),
            _ => {
                let text: String = String::from_utf8_lossy(bytes)
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .collect();
                STANDARD.decode(text).expect("it was accepted")
            }
        };
        // The frame around signature and signed attributes is covered by no signature: where OpenSSL cannot read that, there is
        // nothing to compare.
        let Ok(mut again) = CmsContentInfo::from_der(&message) else {
            return;
        };
        let mut only = Stack::new().expect("a stack");
        only.push(X509::from_der(&signer).expect("it was accepted"))
            .expect("room");
        let flags = CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY | CMSOptions::NOINTERN;
        again
            .verify(Some(&only), None, Some(BODY), None, flags)
            .expect("a signature that OpenSSL does not accept was accepted");
    }
    let ca = authority().certificate.to_der().expect("a certificate");
    let trusted = Authorities::new([ca.as_slice()]).expect("ours");
    if let Ok(identity) = trusted.identify(&signer) {
        let x509 = X509::from_der(&signer).expect("it was accepted");
        assert!(x509.verify(&authority().key).expect("a key of ours"));
        assert_eq!(identity.sha256.len(), 64);
    }
}

/// SCEP messages: as they are, or as the insides of one that is encrypted and signed as it should be; the first byte chooses.
pub fn scep(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let message = match choice % 3 {
        0 => bytes.to_vec(),
        // The envelope is the fuzzer's.
        1 => sign(bytes),
        // The certificate request is.
        _ => sign(&encrypt(bytes)),
    };
    match scep::receive(&message, responder()) {
        Err(error) => law_of_errors(&error.to_string(), bytes),
        Ok(Received::Refused { answer, reason }) => {
            law_of_errors(reason, bytes);
            planted(reason == "the signature does not verify");
            is_ours(&answer);
        }
        Ok(Received::Request(request)) => {
            assert_eq!(request.key_hash().len(), 64);
            assert!(!format!("{request:?}").contains("secret-"));
            let refused = request.refuse(responder(), FailInfo::BadRequest, "no");
            is_ours(&refused.expect("a refusal"));
        }
    }
}

/// An answer that OpenSSL takes as signed by the authority.
fn is_ours(answer: &[u8]) {
    let mut only = Stack::new().expect("a stack");
    only.push(authority().certificate.clone()).expect("room");
    CmsContentInfo::from_der(answer)
        .expect("an answer is CMS")
        .verify(
            Some(&only),
            None,
            None,
            Some(&mut Vec::new()),
            CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY,
        )
        .expect("an answer is signed");
}

/// For the authority, with AES.
pub fn encrypt(content: &[u8]) -> Vec<u8> {
    let mut recipients = Stack::new().expect("a stack");
    recipients
        .push(authority().certificate.clone())
        .expect("room");
    CmsContentInfo::encrypt(
        &recipients,
        content,
        Cipher::aes_128_cbc(),
        CMSOptions::BINARY,
    )
    .and_then(|cms| cms.to_der())
    .expect("an envelope")
}

/// With the attributes of a PKCSReq, by the device's key: written byte by byte, for no library of ours writes requests.
pub fn sign(content: &[u8]) -> Vec<u8> {
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            n @ 0..=127 => out.push(n as u8),
            n => {
                let bytes = n.to_be_bytes();
                let used = bytes.iter().skip_while(|b| **b == 0).count();
                out.push(0x80 | used as u8);
                out.extend(&bytes[bytes.len() - used..]);
            }
        }
        out.extend(content);
        out
    }
    const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    const SIGNED: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    const SHA256: &[u8] = b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00";
    const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let attribute =
        |oid: &[u8], value: Vec<u8>| tlv(0x30, &[tlv(6, oid), tlv(0x31, &value)].concat());
    let pkcs9 = |last: u8| [b"\x2a\x86\x48\x86\xf7\x0d\x01\x09".as_slice(), &[last]].concat();
    let verisign =
        |last: u8| [b"\x60\x86\x48\x01\x86\xf8\x45\x01\x09".as_slice(), &[last]].concat();
    let digest = openssl::sha::sha256(content);
    let mut attributes = [
        attribute(&pkcs9(3), DATA.to_vec()),
        attribute(&pkcs9(4), tlv(4, &digest)),
        attribute(&verisign(2), tlv(0x13, b"19")),
        attribute(&verisign(5), tlv(4, b"0123456789abcdef")),
        attribute(&verisign(7), tlv(0x13, b"7A6B")),
    ];
    attributes.sort();
    let attributes = attributes.concat();
    let paper = device();
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &paper.key)
        .expect("a key of ours");
    let signature = signer
        .sign_oneshot_to_vec(&tlv(0x31, &attributes))
        .expect("a signature");
    let issuer = paper.certificate.issuer_name().to_der().expect("a name");
    let id = tlv(0x30, &[issuer, vec![2, 1, 7]].concat());
    let info = [
        vec![2, 1, 1],
        id,
        SHA256.to_vec(),
        tlv(0xa0, &attributes),
        RSA.to_vec(),
        tlv(4, &signature),
    ];
    let certificate = paper.certificate.to_der().expect("a certificate");
    let data = [
        vec![2, 1, 1],
        tlv(0x31, SHA256),
        tlv(0x30, &[DATA.to_vec(), tlv(0xa0, &tlv(4, content))].concat()),
        tlv(0xa0, &certificate),
        tlv(0x31, &tlv(0x30, &info.concat())),
    ];
    let data = tlv(0x30, &data.concat());
    tlv(0x30, &[SIGNED.to_vec(), tlv(0xa0, &data)].concat())
}

/// Machine information: as it is, as a header, or as the content of a message that a trusted device signs; the first byte
/// chooses.
pub fn machine_info(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let message = match choice % 3 {
        0 => bytes.to_vec(),
        1 => match std::str::from_utf8(bytes).map(machine_info::from_header) {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return law_of_errors(&error.to_string(), bytes),
            Err(_) => return,
        },
        _ => signed_by_device(bytes),
    };
    let authorities = [DeviceAuthority::from_pem(CA).expect("ours")];
    match machine_info::receive(&message, &authorities) {
        Err(error) => law_of_errors(&error.to_string(), bytes),
        Ok(info) => {
            planted(info.os_version.is_none());
            assert!(!info.serial.as_str().is_empty());
            assert!(!info.udid.is_empty() && !info.product.is_empty());
        }
    }
}

/// What a device asks of its declarations, and what it reports; and declarations as people hand them in. The first byte
/// chooses.
pub fn declarations(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => {
            let Ok(path) = std::str::from_utf8(bytes) else {
                return;
            };
            match Endpoint::parse(path) {
                // What was read is the whole path.
                Some(Endpoint::Declaration { kind, identifier }) => {
                    planted(kind == "asset" && identifier.contains("//"));
                    assert_eq!(format!("declaration/{kind}/{identifier}"), path);
                    let known = DeclarationKind::of_word(kind);
                    assert!(known.is_none_or(|known| known.as_str() == kind));
                }
                Some(_) => assert!(!path.contains('/')),
                None => {}
            }
            let kind = DeclarationKind::of_type(path);
            assert!(
                kind.is_none_or(|kind| path.starts_with(&format!("com.apple.{}.", kind.as_str())))
            );
        }
        // Reports one after the other, as lines: each folded into what was known.
        1 => {
            let mut status = ChannelStatus::new(
                OrganisationId(1),
                EnrollmentId(2),
                Timestamp::from_millis(0),
            );
            for line in bytes.split(|b| *b == b'\n').take(8) {
                match StatusReport::parse(line) {
                    Err(error) => law_of_errors(&error.to_string(), line),
                    Ok(report) => {
                        planted(report.full && report.errors.len() > 1);
                        let again = report.clone();
                        status.take(report, Timestamp::from_millis(1));
                        // The same full report again changes nothing of what is known.
                        if again.full {
                            let before = status.items.clone();
                            status.take(again, Timestamp::from_millis(2));
                            assert_eq!(status.items, before);
                        }
                    }
                }
            }
            let kept = serde_json::to_vec(&status).expect("JSON");
            let read: ChannelStatus = serde_json::from_slice(&kept).expect("what we wrote");
            assert_eq!(serde_json::to_vec(&read).expect("JSON"), kept);
            let _ = status.declarations();
        }
        // A declaration: what was read says everything that came.
        2 => {
            let mut parts = bytes.splitn(2, |b| *b == b'\n');
            let (Some(name), Some(json)) = (parts.next(), parts.next()) else {
                return;
            };
            let (Ok(name), Ok(payload)) = (std::str::from_utf8(name), serde_json::from_slice(json))
            else {
                return;
            };
            let read = Payload::read(name, &payload);
            planted(!matches!(read, Payload::Raw { .. }) && payload.len() > 4);
            assert_eq!(read.declaration_type(), name);
            assert_eq!(read.to_json(), payload);
            if !matches!(read, Payload::Raw { .. }) {
                assert_eq!(fault(name, &payload), None);
            }
            // Its token is that of the same content in any order.
            let token = server_token(name, "a", &payload);
            assert_eq!(token.len(), 64);
            assert_ne!(token, server_token(name, "b", &payload));
        }
        _ => {
            let mut parts = bytes.splitn(2, |b| *b == b'\n');
            let (Some(name), Some(json)) = (parts.next(), parts.next()) else {
                return;
            };
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), serde_json::from_slice(json))
            else {
                return;
            };
            let item = StatusItem::read(name, &value);
            assert_eq!(item.name(), name);
            assert_eq!(item.to_json(), value);
        }
    }
}

/// As a device signs what it says of itself.
pub fn signed_by_device(content: &[u8]) -> Vec<u8> {
    let paper = device();
    CmsContentInfo::sign(
        Some(&paper.certificate),
        Some(&paper.key),
        None,
        Some(content),
        CMSOptions::BINARY,
    )
    .and_then(|cms| cms.to_der())
    .expect("a signature")
}

/// The provider of the target `people`.
pub const ISSUER: &str = "https://id.example.com";
/// The nonce of its sign-in.
pub const NONCE: &str = "n1";
/// Its present moment, in seconds.
pub const NOW_S: i64 = 1_800_000_000;

/// What an identity provider, or somebody in its place, says: a document, a key set, a token, or the claims of a token that is
/// signed as it should be; the first byte chooses.
pub fn people(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    match choice % 4 {
        0 => match Provider::parse(bytes, ISSUER) {
            Err(error) => law_of_errors(&error.to_string(), bytes),
            Ok(provider) => {
                planted(provider.names_itself);
                for address in [
                    &provider.authorization_endpoint,
                    &provider.token_endpoint,
                    &provider.jwks_uri,
                ] {
                    assert!(address.starts_with("https://"), "{address}");
                    assert!(address.bytes().all(|b| b.is_ascii_graphic()), "{address}");
                }
                assert!(text.contains("id.example.com") || text.contains('\\'));
            }
        },
        1 => match JwkSet::parse(bytes) {
            Err(error) => law_of_errors(&error.to_string(), bytes),
            Ok(keys) => {
                // Nobody's signature is over this.
                let token = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#));
                let unproved = Unproved::parse(&token).expect("a token of ours");
                assert!(unproved.claims(&keys).is_err(), "{} keys", keys.len());
            }
        },
        2 => accepts(text, bytes, false),
        _ => accepts(&token_of(bytes), bytes, true),
    }
}

fn accepts(token: &str, sent: &[u8], signed: bool) {
    let nonce_hash = mdm_core::identity::sha256_hex(NONCE.as_bytes());
    let expected = Expected {
        issuer: ISSUER,
        client_id: "mdmd",
        nonce_hash: &nonce_hash,
        access_token: Some("access"),
        groups_claim: "groups",
        account_claim: "email",
    };
    let now = Timestamp::from_millis(NOW_S * 1_000);
    match token::read(token, keys(), &expected, now) {
        Err(error) => law_of_errors(&error.to_string(), sent),
        Ok(person) => {
            // Only what was signed with the key is anybody: no byte of a corpus is.
            assert!(signed, "a token that nobody signed");
            planted(person.account.is_none());
            assert!(!person.subject.is_empty() && person.subject.len() <= 255);
            assert!(!person.name.is_empty());
            assert!(person.groups.iter().all(|g| !g.is_empty()));
        }
    }
}

fn keys() -> &'static JwkSet {
    static KEYS: OnceLock<JwkSet> = OnceLock::new();
    KEYS.get_or_init(|| {
        let rsa = device().key.rsa().expect("an RSA key");
        let (n, e) = (rsa.n().to_vec(), rsa.e().to_vec());
        let set = format!(
            r#"{{"keys":[{{"kty":"RSA","n":"{}","e":"{}"}}]}}"#,
            URL_SAFE_NO_PAD.encode(n),
            URL_SAFE_NO_PAD.encode(e)
        );
        let keys = JwkSet::parse(set.as_bytes()).expect("a set of ours");
        assert_eq!(keys.len(), 1);
        keys
    })
}

/// A token with these claims, signed by the key of [`device`].
pub fn token_of(claims: &[u8]) -> String {
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
    let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &device().key);
    let signature = signer
        .and_then(|mut signer| signer.sign_oneshot_to_vec(text.as_bytes()))
        .expect("a signature");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
