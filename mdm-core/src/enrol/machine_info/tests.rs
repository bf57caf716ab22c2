use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::sha::sha256;

use super::*;
use crate::testing::{Files, Made, NOW, certificate, key, tool};

const INFO: &str = "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>\
    <key>SERIAL</key><string>C02XL0GTJGH6</string><key>UDID</key><string>0F3A</string>\
    <key>PRODUCT</key><string>Mac15,7</string><key>VERSION</key><string>25A100</string>\
    <key>MDM_CAN_REQUEST_SOFTWARE_UPDATE</key><true/><key>NEW</key><integer>1</integer></dict></plist>";

fn world() -> X509 {
    // Expired in 2014, as the real one.
    let made = Made {
        name: "Device CA",
        ca: true,
        client: false,
        until: 1_400_000_000,
        from: 1_200_000_000,
        ..Made::default()
    };
    certificate(key(3), &made)
}

fn device() -> Made<'static> {
    Made {
        name: "device",
        issuer: Some(("Device CA", key(3))),
        client: false,
        ..Made::default()
    }
}

fn trusted() -> Vec<DeviceAuthority> {
    let der = world().to_der().unwrap();
    vec![
        DeviceAuthority::apple(),
        DeviceAuthority::from_der(&der).unwrap(),
    ]
}

fn sign(made: &Made<'_>, content: &str) -> Vec<u8> {
    let x509 = certificate(key(0), made);
    let flags = CMSOptions::BINARY;
    CmsContentInfo::sign(
        Some(&x509),
        Some(key(0)),
        None,
        Some(content.as_bytes()),
        flags,
    )
    .unwrap()
    .to_der()
    .unwrap()
}

#[test]
fn the_embedded_certificate_is_the_one_that_we_name() {
    let der = X509::from_pem(APPLE).unwrap().to_der().unwrap();
    let hex: String = sha256(&der).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "76f27d00e1333bc88de0e2916c38c9a7f2b75774c25a794c092a80e3c4c66cce"
    );
    let _ = DeviceAuthority::apple();
}

#[test]
fn signed_information_is_read() {
    let info = receive(&sign(&device(), INFO), &trusted()).unwrap();
    assert_eq!(info.serial.to_string(), "C02XL0GTJGH6");
    assert_eq!(info.udid, "0F3A");
    assert!(info.is_mac() && info.can_update_first && !info.must_update);
    assert!(info.raw.contains_key("NEW"));
    assert_eq!(info.os_version, None);
}

#[test]
fn the_key_decides_and_not_the_name() {
    let check = |made: &Made<'_>| {
        assert_eq!(
            receive(&sign(made, INFO), &trusted()),
            Err(MachineInfoError::Untrusted)
        );
    };
    check(&Made {
        issuer: Some(("Device CA", key(1))),
        ..device()
    });
    check(&Made {
        issuer: Some(("Other CA", key(3))),
        ..device()
    });
    check(&Made {
        issuer: None,
        ..device()
    });
    // The authority itself is no device.
    let flags = CMSOptions::BINARY;
    let own = CmsContentInfo::sign(
        Some(&world()),
        Some(key(3)),
        None,
        Some(INFO.as_bytes()),
        flags,
    );
    let own = own.unwrap().to_der().unwrap();
    assert_eq!(receive(&own, &trusted()), Err(MachineInfoError::Untrusted));
    assert_eq!(
        receive(&sign(&device(), INFO), &[DeviceAuthority::apple()]),
        Err(MachineInfoError::Untrusted)
    );
}

#[test]
fn two_signers_and_none_are_refused() {
    let files = Files::new();
    let one = files.put_certificate("1.pem", &certificate(key(0), &device()));
    let two = files.put_certificate(
        "2.pem",
        &certificate(
            key(1),
            &Made {
                serial: 8,
                ..device()
            },
        ),
    );
    let (k0, k1) = (
        files.put_key("0.key", key(0)),
        files.put_key("1.key", key(1)),
    );
    let both = [
        "cms",
        "-sign",
        "-binary",
        "-nodetach",
        "-outform",
        "DER",
        "-signer",
        &one,
        "-inkey",
        &k0,
        "-signer",
        &two,
        "-inkey",
        &k1,
    ];
    if let Some(message) = tool("openssl", &both, INFO.as_bytes()) {
        let refused = receive(&message.unwrap(), &trusted());
        let expected = MachineInfoError::Signature(SignatureError::NotOneSigner);
        assert_eq!(refused, Err(expected));
        // The same with one signer, BER, SHA-1 and without attributes is fine.
        let single = [
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-stream",
            "-noattr",
            "-md",
            "sha1",
            "-outform",
            "DER",
            "-signer",
            &one,
            "-inkey",
            &k0,
        ];
        let message = tool("openssl", &single, INFO.as_bytes()).unwrap().unwrap();
        assert!(receive(&message, &trusted()).is_ok());
    }
    let unsigned = MachineInfoError::Signature(SignatureError::NotSignedData);
    assert_eq!(receive(INFO.as_bytes(), &trusted()), Err(unsigned));
}

#[test]
fn content_that_does_not_fit_is_refused_by_name() {
    let check = |content: &str, expected: &str| {
        let error = receive(&sign(&device(), content), &trusted()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    let gone = INFO.replace("SERIAL", "OTHER");
    check(&gone, "SERIAL is missing or not valid");
    let odd = INFO.replace("C02XL0GTJGH6", "C02 /../x");
    check(&odd, "SERIAL is missing or not valid");
    check("hello", "the body is not an XML property list");
}

#[test]
fn the_header_may_be_in_either_alphabet() {
    let bytes = [0xfb, 0xff, 0xfe, 0x01];
    for text in ["+//+AQ==", "-__-AQ==", "-__-AQ", " +//+\n AQ== "] {
        assert_eq!(from_header(text), Ok(bytes.to_vec()), "{text}");
    }
    assert_eq!(from_header("*"), Err(MachineInfoError::Header));
}

#[test]
fn now_is_long_after_the_authority_expired() {
    use openssl::asn1::Asn1Time;
    let now = Asn1Time::from_unix(NOW).unwrap();
    assert!(world().not_after() < now);
}
