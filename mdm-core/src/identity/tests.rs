use super::*;
use crate::testing::{Made, NOW, certificate, key};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn authority() -> Vec<u8> {
    let made = Made {
        name: "CA",
        ca: true,
        client: false,
        ..Made::default()
    };
    certificate(key(3), &made).to_der().unwrap()
}

fn leaf() -> Made<'static> {
    Made {
        name: "session-1",
        issuer: Some(("CA", key(3))),
        ..Made::default()
    }
}

fn identify(made: &Made<'_>) -> Result<Identity, IdentityError> {
    let der = certificate(key(0), made).to_der().unwrap();
    Authorities::new([authority().as_slice()])
        .unwrap()
        .identify(&der)
}

#[test]
fn a_certificate_of_ours_is_identified() {
    let identity = identify(&leaf()).unwrap();
    assert_eq!(identity.common_name.as_deref(), Some("session-1"));
    assert_eq!(identity.serial, Some(7));
    assert_eq!(identity.sha256.len(), 64);
    assert_eq!(identity.validity(at(NOW)), Validity::Good);
    assert_eq!(identity.validity(at(NOW - 90_000)), Validity::NotYet);
    let late = at(NOW + 86_400 * 365 + 60);
    let since = Duration::from_secs(60);
    assert_eq!(identity.validity(late), Validity::Expired { since });
}

#[test]
fn a_refusal_leaves_nothing_for_the_next_connection_of_this_thread() {
    let made = Made {
        issuer: Some(("CA", key(1))),
        ..leaf()
    };
    assert_eq!(identify(&made), Err(IdentityError::Foreign));
    assert!(openssl::error::ErrorStack::get().errors().is_empty());
}

#[test]
fn an_authority_of_the_same_name_is_another_one() {
    let made = Made {
        issuer: Some(("CA", key(1))),
        ..leaf()
    };
    assert_eq!(identify(&made), Err(IdentityError::Foreign));
    let made = Made {
        issuer: Some(("Other", key(3))),
        ..leaf()
    };
    assert_eq!(identify(&made), Err(IdentityError::Foreign));
    let made = Made {
        issuer: None,
        ..leaf()
    };
    assert_eq!(identify(&made), Err(IdentityError::Foreign));
}

#[test]
fn an_authority_that_was_read_before_vouches_for_its_own_only() {
    let other = Made {
        name: "CA",
        ca: true,
        client: false,
        ..Made::default()
    };
    let other = certificate(key(1), &other).to_der().unwrap();
    let der = certificate(key(0), &leaf()).to_der().unwrap();
    for _ in 0..2 {
        let foreign = Authorities::new([other.as_slice()]).unwrap();
        assert_eq!(foreign.identify(&der), Err(IdentityError::Foreign));
        let ours = Authorities::new([authority().as_slice()]).unwrap();
        assert!(ours.identify(&der).is_ok());
    }
    assert!(Authorities::new([&b"x"[..]]).is_err());
}

#[test]
fn only_a_client_may_speak() {
    assert_eq!(
        identify(&Made {
            client: false,
            ..leaf()
        }),
        Err(IdentityError::Purpose)
    );
    assert_eq!(
        identify(&Made { ca: true, ..leaf() }),
        Err(IdentityError::Purpose)
    );
    let authorities = Authorities::new([authority().as_slice()]).unwrap();
    assert_eq!(authorities.identify(b"x"), Err(IdentityError::Certificate));
    let mut longer = certificate(key(0), &leaf()).to_der().unwrap();
    longer.push(0);
    assert_eq!(
        authorities.identify(&longer),
        Err(IdentityError::Certificate)
    );
}

#[test]
fn both_headers_of_proxies_are_read() {
    let x509 = certificate(key(0), &leaf());
    let der = x509.to_der().unwrap();
    let structured = format!(":{}:", STANDARD.encode(&der));
    assert_eq!(certificate_from_header(&structured), Ok(der.clone()));
    let pem = String::from_utf8(x509.to_pem().unwrap()).unwrap();
    let mut escaped = String::new();
    for byte in pem.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    assert_eq!(certificate_from_header(&escaped), Ok(der));
    // `+` belongs to the base64 of a PEM.
    let lax = pem.replace('\n', "%0A").replace(' ', "%20");
    assert!(certificate_from_header(&lax).is_ok());
    for bad in [
        "",
        ":",
        "::",
        ":AAAA:",
        ":%%:",
        "%4",
        "%zz",
        "hello",
        &structured[..90],
    ] {
        assert_eq!(
            certificate_from_header(bad),
            Err(IdentityError::Header),
            "{bad}"
        );
    }
}

#[test]
fn a_hash_is_written_as_everybody_writes_it() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_hex(b"abc"), abc);
}

#[test]
fn serial_numbers_are_read_as_numbers() {
    assert_eq!(serial(&[0x00, 0xff]), Some(255));
    assert_eq!(serial(&[0xff]), Some(-1));
    assert_eq!(serial(&[1; 9]), None);
    assert_eq!(serial(&[]), None);
}

#[test]
fn the_topic_is_in_the_push_certificate() {
    use crate::testing::{Files, tool};
    assert_eq!(push_topic(&authority()), Err(IdentityError::Purpose));
    assert_eq!(push_topic(b"x"), Err(IdentityError::Certificate));
    let files = Files::new();
    let private = files.put_key("push.key", key(0));
    let make = |subject: &str| {
        let args = [
            "req", "-x509", "-new", "-key", &private, "-subj", subject, "-days", "365", "-outform",
            "DER",
        ];
        tool("openssl", &args, b"").map(|der| der.unwrap())
    };
    let Some(der) = make("/UID=com.apple.mgmt.External.7b1f/CN=APSP:7b1f/C=US") else {
        return;
    };
    let (topic, end) = push_topic(&der).unwrap();
    assert_eq!(topic, "com.apple.mgmt.External.7b1f");
    assert!(end > at(NOW));
    let other = make("/UID=com.example.app/CN=x").unwrap();
    assert_eq!(push_topic(&other), Err(IdentityError::Purpose));
}
