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
        let mut recipients = Stack::new().unwrap();
        recipients
            .push(X509::from_der(ca().certificate()).unwrap())
            .unwrap();
        let envelope = CmsContentInfo::encrypt(
            &recipients,
            &self.request(),
            self.cipher,
            CMSOptions::BINARY,
        );
        self.sign(&envelope.unwrap().to_der().unwrap())
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
            "SHA512" => "2.16.840.1.101.3.4.2.3",
            _ => "2.16.840.1.101.3.4.2.1",
        };
        let digest_algorithm = tlv(0x30, &[oid(digest_oid), vec![5, 0]].concat());
        let rsa = tlv(0x30, &[oid("1.2.840.113549.1.1.1"), vec![5, 0]].concat());
        let own = self.certificate();
        let issuer = name("requester").unwrap().to_der().unwrap();
        let id = tlv(0x30, &[issuer, vec![2, 1, 7]].concat());
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
    match receive(&client.message(), ca()).unwrap() {
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
    let verified = signed::verify(answer, None, LIMIT).unwrap();
    assert_eq!(verified.signer, ca().certificate());
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
        let answer = request.grant(ca(), &certificate).unwrap();
        assert_eq!(status(&answer), ("0".into(), None, "7A6B".into()));
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
    assert_eq!(status(&again.grant(ca(), &certificate).unwrap()).0, "0");
    // But never somebody else's.
    let other = request(&Client {
        key: key(1),
        signer: key(1),
        ..Client::default()
    });
    assert!(other.grant(ca(), &certificate).is_err());
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
        .refuse(ca(), FailInfo::BadRequest, "not granted")
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
        let Received::Refused { answer, .. } = receive(&client.message(), ca()).unwrap() else {
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
    check(
        &Client {
            kind: "17",
            ..Client::default()
        },
        "2",
    );
    check(
        &Client {
            kind: "22",
            ..Client::default()
        },
        "2",
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
    let Received::Refused { answer, .. } = receive(&message, ca()).unwrap() else {
        panic!("not refused");
    };
    assert_eq!(status(&answer).1.as_deref(), Some("1"));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    assert!(matches!(
        receive(b"", ca()),
        Err(ScepError::Signature(SignatureError::Absent))
    ));
    assert!(matches!(
        receive(b"hello", ca()),
        Err(ScepError::Signature(SignatureError::NotSignedData))
    ));
    let good = Client::default().message();
    let altered: Vec<u8> = {
        let mut m = good.clone();
        let at = m.len() - 5;
        m[at] ^= 1;
        m
    };
    assert!(matches!(
        receive(&altered, ca()),
        Err(ScepError::Signature(SignatureError::Invalid))
    ));
    let long = "x".repeat(300);
    let message = Client {
        transaction: &long,
        ..Client::default()
    }
    .message();
    assert!(matches!(
        receive(&message, ca()),
        Err(ScepError::Attribute("transactionID"))
    ));
    let message = Client {
        kind: "",
        ..Client::default()
    }
    .message();
    assert!(matches!(
        receive(&message, ca()),
        Err(ScepError::Attribute("messageType"))
    ));
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
        match receive(&altered, ca()) {
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
