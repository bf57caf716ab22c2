use std::sync::OnceLock;

use base64::Engine as _;

use super::*;
use crate::testing::{Files, NOW, tool};
use crate::wire::plist::read_dictionary;

const KEY: &str = "AB12-CD34-EF56-GH78-JK90-LM12";

fn escrow(n: usize) -> &'static EscrowKey {
    static KEYS: [OnceLock<EscrowKey>; 2] = [const { OnceLock::new() }; 2];
    let now = Timestamp::from_millis(NOW * 1000);
    KEYS[n].get_or_init(|| EscrowKey::create("Example Recovery Keys", now).unwrap())
}

/// Encrypts as a Mac would, with OpenSSL's command line.
fn envelope(n: usize, content: &str, more: &[&str]) -> Option<Vec<u8>> {
    let files = Files::new();
    let x509 = X509::from_der(&escrow(n).certificate).unwrap();
    let pem = files.put_certificate("escrow.pem", &x509);
    let mut args = vec!["cms", "-encrypt", "-binary", "-outform", "DER"];
    args.extend(more);
    args.push(&pem);
    tool("openssl", &args, content.as_bytes()).map(|result| result.unwrap())
}

fn report(body: &str) -> CommandReport {
    let text = format!(
        "<plist version=\"1.0\"><dict><key>UDID</key><string>A</string><key>CommandUUID</key>\
         <string>c</string><key>Status</key><string>Acknowledged</string>{body}</dict></plist>"
    );
    CommandReport::parse(text.as_bytes()).unwrap()
}

fn security(enabled: bool, envelope: Option<&[u8]>) -> CommandReport {
    let cms = envelope.map_or(String::new(), |bytes| {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("<key>FDE_PersonalRecoveryKeyCMS</key><data>{data}</data>")
    });
    report(&format!(
        "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><{enabled}/>{cms}</dict>"
    ))
}

#[test]
fn every_cipher_that_a_mac_may_choose_opens() {
    let keys = [escrow(0).clone(), escrow(1).clone()];
    for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
        for more in [&[cipher][..], &[cipher, "-stream"]] {
            let Some(cms) = envelope(1, &format!(" {KEY}\n\0"), more) else {
                return;
            };
            let Opened::Key { key, by } = open_envelope(&cms, &keys) else {
                panic!("{more:?}");
            };
            assert!(key.matches(KEY.as_bytes()));
            assert_eq!(by, 1);
        }
    }
}

#[test]
fn each_row_of_the_table_has_its_verdict() {
    let ours = [escrow(0).clone()];
    let known = Secret::from_text(KEY);
    let Some(mine) = envelope(0, KEY, &["-aes128"]) else {
        return;
    };
    let foreign = envelope(1, KEY, &["-aes128"]).unwrap();
    let odd = envelope(0, "a password", &["-aes128"]).unwrap();
    let judge = |report: &CommandReport, on_record| evaluate(report, &ours, on_record);
    assert_eq!(judge(&report(""), None), KeyVerdict::NotTold);
    assert_eq!(judge(&security(false, None), None), KeyVerdict::Off);
    assert_eq!(judge(&security(true, None), None), KeyVerdict::NotEscrowed);
    assert_eq!(
        judge(&security(true, Some(&foreign)), None),
        KeyVerdict::ForeignCertificate
    );
    assert_eq!(
        judge(&security(true, Some(b"junk")), None),
        KeyVerdict::ForeignCertificate
    );
    assert_eq!(
        judge(&security(true, Some(&odd)), None),
        KeyVerdict::BadForm
    );
    let new = KeyVerdict::New {
        key: known.clone(),
        by: 0,
    };
    assert_eq!(judge(&security(true, Some(&mine)), None), new);
    let old = Secret::from_text("ZZZZ-CD34-EF56-GH78-JK90-LM12");
    assert_eq!(judge(&security(true, Some(&mine)), Some(&old)), new);
    assert_eq!(
        judge(&security(true, Some(&mine)), Some(&known)),
        KeyVerdict::Unchanged
    );
    let rotation = "<key>RotateResult</key><dict/>";
    assert_eq!(judge(&report(rotation), None), KeyVerdict::NotEscrowed);
    assert!(!format!("{new:?}").contains(KEY));
}

#[test]
fn a_damaged_envelope_is_foreign_whatever_the_damage() {
    let Some(cms) = envelope(0, KEY, &["-aes256"]) else {
        return;
    };
    let keys = [escrow(0).clone()];
    for len in [0, 1, 20, cms.len() / 2, cms.len() - 1] {
        assert_eq!(open_envelope(&cms[..len], &keys), Opened::Foreign, "{len}");
    }
    // The wrapped content key: 256 bytes for RSA-2048, before algorithm, nonce and content.
    let wrapped = cms
        .windows(4)
        .position(|w| w == [0x04, 0x82, 0x01, 0x00])
        .unwrap();
    let mut altered = cms.clone();
    altered[wrapped + 100] ^= 1;
    assert!(!matches!(
        open_envelope(&altered, &keys),
        Opened::Key { .. }
    ));
    let large = vec![0; ENVELOPE_LIMIT + 1];
    assert_eq!(open_envelope(&large, &keys), Opened::Foreign);
    assert_eq!(open_envelope(&cms, &[]), Opened::Foreign);
}

#[test]
fn only_the_form_of_a_recovery_key_is_one() {
    for good in [
        KEY,
        "0000-1111-2222-3333-4444-5555",
        "\n AB12-CD34-EF56-GH78-JK90-LM12\0\0",
    ] {
        assert!(recovery_key(good.as_bytes()).is_some(), "{good}");
    }
    for bad in [
        "",
        " ",
        "AB12-CD34-EF56-GH78-JK90",
        "ab12-CD34-EF56-GH78-JK90-LM12",
        "AB12-CD34-EF56-GH78-JK90-LM123",
        "AB12CD34-EF56-GH78-JK90-LM12--",
        "AB12-CD34-EF56-GH78-JK90-LM1\u{e9}",
        "AB12 CD34 EF56 GH78 JK90 LM12",
    ] {
        assert!(recovery_key(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn the_escrow_profile_names_its_own_certificate() {
    let uuid = Uuid::from_u128(1);
    let profile = escrow_profile(
        "net.example.escrow",
        uuid,
        "Example",
        &escrow(0).certificate,
    );
    let encoded = profile.encode();
    assert_eq!(
        *encoded,
        *escrow_profile(
            "net.example.escrow",
            uuid,
            "Example",
            &escrow(0).certificate
        )
        .encode()
    );
    let read = read_dictionary(&encoded, 1 << 20).unwrap();
    assert_eq!(
        read.get("PayloadScope").unwrap().as_string(),
        Some("System")
    );
    let parts = read.get("PayloadContent").unwrap().as_array().unwrap();
    let part = |n: usize, key: &str| parts[n].as_dictionary().unwrap().get(key).unwrap();
    assert_eq!(part(1, "EncryptCertPayloadUUID"), part(0, "PayloadUUID"));
    assert_eq!(
        part(0, "PayloadType").as_string(),
        Some("com.apple.security.pkcs1")
    );
    assert_eq!(
        part(0, "PayloadContent").as_data(),
        Some(&escrow(0).certificate[..])
    );
}

/// An independent reader: Python's plistlib.
#[test]
fn python_reads_the_escrow_profile() {
    let profile = escrow_profile(
        "net.example.escrow",
        Uuid::from_u128(1),
        "A & B",
        &[0x30, 0],
    );
    let script = "import sys,plistlib;p=plistlib.loads(sys.stdin.buffer.read());\
        c,e=p['PayloadContent'];print(c['PayloadContent'].hex(),e['Location'],\
        e['EncryptCertPayloadUUID']==c['PayloadUUID'])";
    if let Some(read) = tool("python3", &["-c", script], &profile.encode()) {
        assert_eq!(
            String::from_utf8(read.unwrap()).unwrap(),
            "3000 A & B True\n"
        );
    }
}

#[test]
fn a_key_that_does_not_fit_its_certificate_is_found_by_trying() {
    let (ours, other) = (escrow(0).clone(), escrow(1).clone());
    assert!(ours.opens_what_it_seals());
    let mixed = EscrowKey::new(other.certificate, ours.key);
    assert!(!mixed.opens_what_it_seals());
    let nothing = EscrowKey::new(Vec::new(), Secret::from_text("no key"));
    assert!(!nothing.opens_what_it_seals());
}
