//! Encrypted token files made by tools that nobody here wrote: OpenSSL's command line, in every layout it has.

use std::path::Path;
use std::process::Command;

use abm_client::{ErrorKind, ServerToken, TokenKeyPair};

const NOW: i64 = 1_795_190_400_000;
const MESSAGE: &str = "Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN MESSAGE-----\n{\"consumer_key\":\"CK_1\",\"consumer_secret\":\"CS_1\",\"access_token\":\"AT_1\",\"access_secret\":\"AS_1\",\"access_token_expiry\":\"2027-11-20T09:41:00Z\"}\n-----END MESSAGE-----\n";

fn pair(name: &str) -> TokenKeyPair {
    TokenKeyPair::generate(name, NOW, 365).expect("a pair")
}

/// Runs `openssl cms -encrypt` over the message with more arguments.
fn encrypt(folder: &Path, pairs: &[&TokenKeyPair], arguments: &[&str]) -> Vec<u8> {
    let message = folder.join("message");
    std::fs::write(&message, MESSAGE).expect("written");
    let mut command = Command::new("openssl");
    command
        .args(["cms", "-encrypt", "-binary", "-in"])
        .arg(&message)
        .args(arguments);
    for (n, pair) in pairs.iter().enumerate() {
        let file = folder.join(format!("{n}.pem"));
        std::fs::write(&file, pair.certificate_pem().expect("PEM")).expect("written");
        command.arg(file);
    }
    let made = command.output().expect("openssl is installed");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    made.stdout
}

fn opens(file: &[u8], pairs: &[TokenKeyPair]) {
    let token = ServerToken::open(file, pairs).expect("a token");
    assert_eq!(
        (token.consumer_key.expose(), token.access_secret.expose()),
        ("CK_1", "AS_1")
    );
}

#[test]
fn every_layout_and_cipher_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = pair("ours");
    for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
        for layout in [
            &["-outform", "SMIME"][..],
            &["-outform", "PEM"],
            &["-outform", "DER"],
            &["-outform", "DER", "-stream"],
            &["-outform", "SMIME", "-stream"],
        ] {
            let arguments = [&[cipher][..], layout].concat();
            opens(
                &encrypt(folder.path(), &[&ours], &arguments),
                std::slice::from_ref(&ours),
            );
        }
    }
}

#[test]
fn a_streamed_file_is_ber_with_indefinite_lengths() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = pair("ours");
    let file = encrypt(
        folder.path(),
        &[&ours],
        &["-aes128", "-outform", "DER", "-stream"],
    );
    assert_eq!(file[..2], [0x30, 0x80], "the test is about this encoding");
    opens(&file, std::slice::from_ref(&ours));
}

#[test]
fn folded_headers_and_both_line_ends_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = pair("ours");
    let file = encrypt(
        folder.path(),
        &[&ours],
        &["-aes128", "-outform", "SMIME", "-stream"],
    );
    let text = String::from_utf8(file).expect("text").replace("\r\n", "\n");
    let (_, body) = text.split_once("\n\n").expect("a blank line");
    let headers = "Content-Type: application/pkcs7-mime; name=\"smime.p7m\";\n\tsmime-type=enveloped-data\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment;\n filename=\"smime.p7m\"\nContent-Description: S/MIME Encrypted Message\n\n";
    let lf = format!("{headers}{body}");
    opens(lf.as_bytes(), std::slice::from_ref(&ours));
    opens(
        lf.replace('\n', "\r\n").as_bytes(),
        std::slice::from_ref(&ours),
    );
    opens(
        format!("\n\r\n{lf}").as_bytes(),
        std::slice::from_ref(&ours),
    );
}

#[test]
fn the_right_one_of_several_key_pairs_is_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (pair("ours"), pair("ours"));
    let all = [old.clone(), new.clone()];
    opens(&encrypt(folder.path(), &[&old], &["-aes128"]), &all);
    opens(&encrypt(folder.path(), &[&new], &["-aes128"]), &all);
}

#[test]
fn a_token_for_another_certificate_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs, third) = (pair("ours"), pair("theirs"), pair("third"));
    let file = encrypt(folder.path(), &[&theirs, &third], &["-aes128"]);
    let error = ServerToken::open(&file, std::slice::from_ref(&ours)).expect_err("not ours");
    let ErrorKind::MadeForAnotherCertificate { recipients } = error.kind() else {
        panic!("{error}")
    };
    // A SET is sorted: the order says nothing.
    let mut recipients = recipients.clone();
    recipients.sort_by_key(|name| name.contains("third"));
    assert_eq!(recipients, [theirs.describe(), third.describe()]);
    assert!(
        recipients[0].starts_with("issuer CN=theirs, serial "),
        "{recipients:?}"
    );
    let both = encrypt(folder.path(), &[&theirs, &ours], &["-aes128"]);
    opens(&both, std::slice::from_ref(&ours));
}

#[test]
fn a_damaged_file_is_refused_alike_wherever_it_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = pair("ours");
    let file = encrypt(folder.path(), &[&ours], &["-aes128", "-outform", "DER"]);
    let mut reasons = std::collections::BTreeSet::new();
    for at in (file.len() - 40..file.len()).chain(file.len() / 2..file.len() / 2 + 40) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x55;
        if let Err(error) = ServerToken::open(&damaged, std::slice::from_ref(&ours)) {
            assert!(
                error.needs_person().is_some() || error.retry_after().is_some(),
                "{error}"
            );
            reasons.insert(error.to_string());
        }
    }
    assert!(!reasons.is_empty());
    for end in 0..file.len() {
        ServerToken::open(&file[..end], std::slice::from_ref(&ours)).expect_err("cut short");
    }
}
