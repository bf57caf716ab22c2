//! A client written by hand, byte by byte, so that our encoder does not agree with itself; what it
//! gets back is opened with OpenSSL's command line.

use std::sync::OnceLock;

use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;

use super::*;
use crate::ca::{Ca, Issue, name};
use crate::clock::Timestamp;
use crate::testing::{Files, Made, NOW, certificate, key, tool};

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        n @ 0..=127 => out.push(n as u8),
        n @ 128..=255 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(content);
    out
}

fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

fn ca() -> &'static Ca {
    static CA: OnceLock<Ca> = OnceLock::new();
    CA.get_or_init(|| Ca::create("Example", Timestamp::from_millis(NOW * 1000)).unwrap())
}

struct Client<'a> {
    key: &'a PKey<Private>,
    signer: &'a PKey<Private>,
    challenge: Option<&'a str>,
    kind: &'a str,
    transaction: &'a str,
    cipher: Cipher,
    digest: &'a str,
    broken_request: bool,
    /// Whether the content encryption is called single DES.
    weak_cipher: bool,
    /// For whom the request is encrypted; the authority when left out.
    recipient: Option<&'a [u8]>,
    /// The certificate that the message shows for its signer; self-signed when left out.
    identity: Option<&'a [u8]>,
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self {
            key: key(0),
            signer: key(0),
            challenge: Some("one-time-value"),
            kind: "19",
            transaction: "7A6B",
            cipher: Cipher::aes_128_cbc(),
            digest: "SHA256",
            broken_request: false,
            weak_cipher: false,
            recipient: None,
            identity: None,
        }
    }
}

impl Client<'_> {
    fn request(&self) -> Vec<u8> {
        let spki = self.key.public_key_to_der().unwrap();
        let subject = name("anybody").unwrap().to_der().unwrap();
        let mut attributes = Vec::new();
        if let Some(challenge) = self.challenge {
            let value = tlv(0x31, &tlv(0x13, challenge.as_bytes()));
            attributes = tlv(0x30, &[oid("1.2.840.113549.1.9.7"), value].concat());
        }
        let version = vec![2, 1, 0];
        let info = tlv(
            0x30,
            &[version, subject, spki, tlv(0xa0, &attributes)].concat(),
        );
        let mut signer = Signer::new(MessageDigest::sha256(), self.key).unwrap();
        let mut signature = signer.sign_oneshot_to_vec(&info).unwrap();
        if self.broken_request {
            signature[10] ^= 1;
        }
        let algorithm = tlv(0x30, &[oid("1.2.840.113549.1.1.11"), vec![5, 0]].concat());
        let bits = tlv(3, &[&[0][..], &signature].concat());
        tlv(0x30, &[info, algorithm, bits].concat())
    }

    fn message(&self) -> Vec<u8> {
        self.sign(&self.enveloped())
    }

    fn enveloped(&self) -> Vec<u8> {
        let mut recipients = Stack::new().unwrap();
        recipients
            .push(X509::from_der(self.recipient.unwrap_or(ca().certificate())).unwrap())
            .unwrap();
        let envelope = CmsContentInfo::encrypt(
            &recipients,
            &self.request(),
            self.cipher,
            CMSOptions::BINARY,
        );
        let mut envelope = envelope.unwrap().to_der().unwrap();
        if self.weak_cipher {
            let (aes, des) = (oid("2.16.840.1.101.3.4.1.2"), oid("1.3.14.3.2.7"));
            let at = envelope.windows(aes.len()).position(|w| w == aes).unwrap();
            // The same length, so that nothing around it moves: the rest of the identifier is no further than its end.
            let mut other = des;
            other.resize(aes.len(), 1);
            other[1] = aes[1];
            envelope[at..at + aes.len()].copy_from_slice(&other);
        }
        envelope
    }

    fn sign(&self, envelope: &[u8]) -> Vec<u8> {
        let md = MessageDigest::from_name(self.digest).unwrap();
        let digest = hash(md, envelope).unwrap();
        let attribute =
            |id: &str, value: Vec<u8>| tlv(0x30, &[oid(id), tlv(0x31, &value)].concat());
        let mut attributes = [
            attribute("1.2.840.113549.1.9.3", oid("1.2.840.113549.1.7.1")),
            attribute("1.2.840.113549.1.9.4", tlv(4, &digest)),
            attribute("2.16.840.1.113733.1.9.2", tlv(0x13, self.kind.as_bytes())),
            attribute("2.16.840.1.113733.1.9.5", tlv(4, b"0123456789abcdef")),
            attribute(
                "2.16.840.1.113733.1.9.7",
                tlv(0x13, self.transaction.as_bytes()),
            ),
        ];
        attributes.sort();
        let attributes = attributes.concat();
        let mut signer = Signer::new(md, self.signer).unwrap();
        let signature = signer.sign_oneshot_to_vec(&tlv(0x31, &attributes)).unwrap();
        let digest_oid = match self.digest {
            "SHA1" => "1.3.14.3.2.26",
            "MD5" => "1.2.840.113549.2.5",
            "SHA512" => "2.16.840.1.101.3.4.2.3",
            _ => "2.16.840.1.101.3.4.2.1",
        };
        let digest_algorithm = tlv(0x30, &[oid(digest_oid), vec![5, 0]].concat());
        let rsa = tlv(0x30, &[oid("1.2.840.113549.1.1.1"), vec![5, 0]].concat());
        let own = self.certificate();
        let issuer = own.issuer_name().to_der().unwrap();
        let serial = own.serial_number().to_bn().unwrap().to_vec();
        let id = tlv(0x30, &[issuer, tlv(2, &serial)].concat());
        let info = tlv(
            0x30,
            &[
                vec![2, 1, 1],
                id,
                digest_algorithm.clone(),
                tlv(0xa0, &attributes),
                rsa,
                tlv(4, &signature),
            ]
            .concat(),
        );
        let content = tlv(
            0x30,
            &[oid("1.2.840.113549.1.7.1"), tlv(0xa0, &tlv(4, envelope))].concat(),
        );
        let data = tlv(
            0x30,
            &[
                vec![2, 1, 1],
                tlv(0x31, &digest_algorithm),
                content,
                tlv(0xa0, &own.to_der().unwrap()),
                tlv(0x31, &info),
            ]
            .concat(),
        );
        tlv(
            0x30,
            &[oid("1.2.840.113549.1.7.2"), tlv(0xa0, &data)].concat(),
        )
    }

    fn certificate(&self) -> X509 {
        if let Some(der) = self.identity {
            return X509::from_der(der).unwrap();
        }
        certificate(
            self.signer,
            &Made {
                name: "requester",
                client: false,
                ..Made::default()
            },
        )
    }
}

fn request(client: &Client<'_>) -> ScepRequest {
    match receive(&client.message(), ca().responder()).unwrap() {
        Received::Request(request) => *request,
        Received::Refused { reason, .. } => panic!("{reason}"),
    }
}

fn issued(request: &ScepRequest, serial: i64) -> Vec<u8> {
    let now = Timestamp::from_millis(NOW * 1000);
    ca().issue(&Issue::new(
        serial,
        "session-1",
        request.public_key(),
        now,
        365,
    ))
    .unwrap()
}

/// The attributes of an answer, checked with our own reader: status, and failure if there is one.
fn status(answer: &[u8]) -> (String, Option<String>, String) {
    status_by(answer, ca().certificate())
}

fn status_by(answer: &[u8], by: &[u8]) -> (String, Option<String>, String) {
    let verified = signed::verify(answer, None, LIMIT).unwrap();
    assert_eq!(verified.signer, by);
    let text = |oid: &ObjectIdentifier| {
        let bytes = verified.attribute(oid.as_bytes())?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    };
    assert_eq!(
        verified.attribute(RECIPIENT_NONCE.as_bytes()),
        Some(&b"0123456789abcdef"[..])
    );
    assert_eq!(text(&MESSAGE_TYPE).as_deref(), Some("3"));
    (
        text(&PKI_STATUS).unwrap(),
        text(&FAIL_INFO),
        text(&TRANSACTION_ID).unwrap(),
    )
}

#[test]
fn an_enrolment_is_granted_and_openssl_reads_the_answer() {
    for (cipher, digest) in [
        (Cipher::aes_128_cbc(), "SHA256"),
        (Cipher::aes_256_cbc(), "SHA512"),
        (Cipher::des_ede3_cbc(), "SHA1"),
    ] {
        let client = Client {
            cipher,
            digest,
            ..Client::default()
        };
        let request = request(&client);
        assert_eq!(request.transaction(), "7A6B");
        assert!(request.challenge().unwrap().matches(b"one-time-value"));
        assert_eq!(
            request.public_key(),
            client.key.public_key_to_der().unwrap()
        );
        let certificate = issued(&request, 42);
        let answer = request.grant(ca().responder(), &certificate).unwrap();
        assert_eq!(status(&answer), ("0".into(), None, "7A6B".into()));
        // In the digest that the client asks with, never a weaker one.
        let read = signed::verify(&answer, None, LIMIT).unwrap();
        assert_eq!(read.sha1, digest == "SHA1");
        assert!(!format!("{request:?}").contains("one-time-value"));

        let files = Files::new();
        let own = files.put_certificate("own.pem", &client.certificate());
        let private = files.put_key("own.key", client.key);
        let root = files.put(
            "root.pem",
            &X509::from_der(ca().certificate())
                .unwrap()
                .to_pem()
                .unwrap(),
        );
        let at = NOW.to_string();
        let verify = [
            "cms", "-verify", "-binary", "-inform", "DER", "-CAfile", &root, "-attime", &at,
            "-purpose", "any",
        ];
        let Some(envelope) = tool("openssl", &verify, &answer) else {
            return;
        };
        let decrypt = [
            "cms", "-decrypt", "-binary", "-inform", "DER", "-recip", &own, "-inkey", &private,
        ];
        let bag = tool("openssl", &decrypt, &envelope.unwrap())
            .unwrap()
            .unwrap();
        let print = ["pkcs7", "-inform", "DER", "-print_certs"];
        let pem = tool("openssl", &print, &bag).unwrap().unwrap();
        let certificates = X509::stack_from_pem(&pem).unwrap();
        assert_eq!(certificates.len(), 1);
        assert_eq!(certificates[0].to_der().unwrap(), certificate);
    }
}

#[test]
fn a_repeated_request_gets_the_same_certificate() {
    let first = request(&Client::default());
    let certificate = issued(&first, 43);
    let again = request(&Client::default());
    assert_eq!(again.transaction(), first.transaction());
    assert_eq!(again.key_hash(), first.key_hash());
    assert_eq!(again.challenge_hash(), first.challenge_hash());
    assert_eq!(
        status(&again.grant(ca().responder(), &certificate).unwrap()).0,
        "0"
    );
    // But never somebody else's.
    let other = request(&Client {
        key: key(1),
        signer: key(1),
        ..Client::default()
    });
    assert!(other.grant(ca().responder(), &certificate).is_err());
}

#[test]
fn a_refusal_is_an_answer() {
    let request = request(&Client {
        challenge: None,
        ..Client::default()
    });
    assert_eq!(request.challenge(), None);
    assert_eq!(request.challenge_hash(), None);
    let answer = request
        .refuse(ca().responder(), FailInfo::BadRequest, "not granted")
        .unwrap();
    assert_eq!(
        status(&answer),
        ("2".into(), Some("2".into()), "7A6B".into())
    );
    let verify = ["cms", "-verify", "-binary", "-inform", "DER", "-noverify"];
    if let Some(content) = tool("openssl", &verify, &answer) {
        assert_eq!(content.unwrap(), b"");
    }
}

#[test]
fn a_message_in_a_query_is_read_however_it_was_escaped() {
    let bytes = vec![0xfb, 0xff, 0xfe, 0x01];
    for text in ["+//+AQ==", " // AQ==", "-__-AQ==", "+//+\r\nAQ=="] {
        assert_eq!(message_from_query(text), Ok(bytes.clone()), "{text}");
    }
    assert!(message_from_query("*").is_err());
}

#[test]
fn what_can_be_read_but_never_granted_is_answered_with_a_failure() {
    let check = |client: &Client<'_>, code: &str| {
        let Received::Refused { answer, .. } =
            receive(&client.message(), ca().responder()).unwrap()
        else {
            panic!("not refused");
        };
        assert_eq!(status(&answer).1.as_deref(), Some(code));
    };
    check(
        &Client {
            signer: key(1),
            ..Client::default()
        },
        "1",
    );
    check(
        &Client {
            broken_request: true,
            ..Client::default()
        },
        "1",
    );
    // A renewal that no identity signs; nothing that is pending; what is not offered; what nobody knows.
    for (kind, code) in [
        ("17", "1"),
        ("20", "4"),
        ("21", "2"),
        ("22", "2"),
        ("99", "2"),
    ] {
        check(
            &Client {
                kind,
                ..Client::default()
            },
            code,
        );
    }
    check(
        &Client {
            weak_cipher: true,
            ..Client::default()
        },
        "0",
    );
    check(
        &Client {
            digest: "MD5",
            ..Client::default()
        },
        "0",
    );
    let weak = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    check(
        &Client {
            key: &weak,
            signer: &weak,
            ..Client::default()
        },
        "0",
    );
    // Nothing that we could open.
    let message = Client::default().sign(b"hello");
    let Received::Refused { answer, .. } = receive(&message, ca().responder()).unwrap() else {
        panic!("not refused");
    };
    assert_eq!(status(&answer).1.as_deref(), Some("1"));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    assert!(matches!(
        receive(b"", ca().responder()),
        Err(ScepError::Signature(SignatureError::Absent))
    ));
    assert!(matches!(
        receive(b"hello", ca().responder()),
        Err(ScepError::Signature(SignatureError::NotSignedData))
    ));
    // A broken signature over a message that does not even name its transaction.
    let mut m = Client {
        transaction: "",
        ..Client::default()
    }
    .message();
    let at = m.len() - 5;
    m[at] ^= 1;
    assert!(matches!(
        receive(&m, ca().responder()),
        Err(ScepError::Signature(SignatureError::Invalid))
    ));
    let long = "x".repeat(300);
    let message = Client {
        transaction: &long,
        ..Client::default()
    }
    .message();
    assert!(matches!(
        receive(&message, ca().responder()),
        Err(ScepError::Attribute("transactionID"))
    ));
    let message = Client {
        kind: "",
        ..Client::default()
    }
    .message();
    assert!(matches!(
        receive(&message, ca().responder()),
        Err(ScepError::Attribute("messageType"))
    ));
}

#[test]
fn whoever_alters_what_is_encrypted_learns_nothing_of_its_decryption() {
    let client = Client::default();
    let good = client.enveloped();
    let recipient = good.windows(2).position(|w| w == [0x04, 0x82]).unwrap() + 4;
    // In the key, in every block of the content, and its padding.
    let content = (good.len() - 200..good.len()).step_by(7);
    for at in (recipient..recipient + 256)
        .step_by(32)
        .chain(content)
        .chain([good.len() - 1])
    {
        let mut altered = good.clone();
        altered[at] ^= 0x04;
        match receive(&client.sign(&altered), ca().responder()).unwrap() {
            Received::Refused { reason, answer } => {
                assert_eq!(reason, "the request cannot be opened", "byte {at}");
                assert_eq!(status(&answer).1.as_deref(), Some("1"));
            }
            Received::Request(_) => panic!("byte {at} is not looked at"),
        }
    }
}

#[test]
fn an_altered_message_never_becomes_another_request() {
    let client = Client::default();
    let good = client.message();
    let key = client.key.public_key_to_der().unwrap();
    let mut refused = 0;
    for at in (0..good.len()).step_by(11) {
        let mut altered = good.clone();
        altered[at] ^= 0x04;
        match receive(&altered, ca().responder()) {
            Ok(Received::Request(request)) => {
                // What no signature covers, as the self-signature of the requester's certificate.
                assert_eq!(request.public_key(), key, "byte {at}");
                assert_eq!(request.transaction(), "7A6B", "byte {at}");
                assert!(request.challenge().unwrap().matches(b"one-time-value"));
            }
            Ok(Received::Refused { .. }) | Err(_) => refused += 1,
        }
    }
    assert!(refused > good.len() / 11 / 2, "{refused}");
}

#[test]
fn a_broken_signature_is_told_in_the_protocol_and_nothing_of_the_message_is_believed() {
    let mut altered = Client::default().message();
    let at = altered.len() - 5;
    altered[at] ^= 1;
    let Received::Refused { answer, reason } = receive(&altered, ca().responder()).unwrap() else {
        panic!("not refused");
    };
    assert_eq!(
        status(&answer),
        ("2".into(), Some("1".into()), "7A6B".into())
    );
    assert_eq!(reason, "the signature does not verify");
}

#[test]
fn a_registration_authority_answers_for_the_authority() {
    let now = Timestamp::from_millis(NOW * 1000);
    let (der, private) = ca()
        .issue_registration_authority(9, "Example requests", now, 365)
        .unwrap();
    let registration = Responder::load(&der, &private).unwrap();
    assert!(registration.can_decrypt());
    let client = Client {
        recipient: Some(&der),
        ..Client::default()
    };
    let Received::Request(request) = receive(&client.message(), &registration).unwrap() else {
        panic!("refused");
    };
    let certificate = issued(&request, 44);
    let answer = request.grant(&registration, &certificate).unwrap();
    assert_eq!(status_by(&answer, &der).0, "0");
    // What is encrypted for it the authority cannot open, and the other way round.
    let closed = |message: &[u8], responder: &Responder, by: &[u8]| {
        let Received::Refused { answer, .. } = receive(message, responder).unwrap() else {
            panic!("opened");
        };
        assert_eq!(status_by(&answer, by).1.as_deref(), Some("1"));
    };
    closed(&client.message(), ca().responder(), ca().certificate());
    closed(&Client::default().message(), &registration, &der);
    // It speaks for no device.
    let trusted = crate::identity::Authorities::new([ca().certificate()]).unwrap();
    assert_eq!(
        trusted.identify(&der),
        Err(crate::identity::IdentityError::Purpose)
    );
    let all = certificates([der.as_slice(), ca().certificate()]).unwrap();
    if let Some(pem) = tool(
        "openssl",
        &["pkcs7", "-inform", "DER", "-print_certs"],
        &all,
    ) {
        let read = X509::stack_from_pem(&pem.unwrap()).unwrap();
        let mut read: Vec<_> = read.iter().map(|c| c.to_der().unwrap()).collect();
        let mut sent = vec![der, ca().certificate().to_vec()];
        read.sort();
        sent.sort();
        assert_eq!(read, sent);
    }
    assert!(certificates([&b"x"[..]]).is_err());
}

#[test]
fn an_identity_speaks_for_its_own_renewal() {
    let old = issued(&request(&Client::default()), 45);
    for (kind, new) in [("17", 1), ("19", 1), ("17", 0)] {
        let renewal = request(&Client {
            kind,
            key: key(new),
            identity: Some(&old),
            ..Client::default()
        });
        assert_eq!(renewal.proof(), Proof::Identity(&old), "{kind} {new}");
        assert_eq!(renewal.public_key(), key(new).public_key_to_der().unwrap());
        let certificate = issued(&renewal, 46);
        // For the key of the old certificate.
        assert_eq!(
            status(&renewal.grant(ca().responder(), &certificate).unwrap()).0,
            "0"
        );
    }
    assert_eq!(request(&Client::default()).proof(), Proof::Challenge);
}
