//! Every file of the fuzzers' corpora, played again: what once was found stays mended. The targets are the fuzzers' own.
//! `WRITE_CORPUS=1` writes the first seeds anew.

#[path = "../../fuzz/src/brought.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzers, which are a crate of their own"
)]
mod brought;
#[path = "../../fuzz/src/mdm.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "public for the fuzzers, which are a crate of their own"
)]
mod targets;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::MessageDigest;
use openssl::x509::X509Req;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name)
}

/// Hands every file to its target; seeds are those that must be there.
fn replay(name: &str, target: fn(&[u8]), seeds: Vec<(&str, Vec<u8>)>) {
    let directory = corpus(name);
    if std::env::var_os("WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&directory).expect("a directory");
        for (seed, bytes) in seeds {
            std::fs::write(directory.join(seed), bytes).expect("written");
        }
    }
    let mut played = 0;
    for file in std::fs::read_dir(&directory).expect("a corpus") {
        let path = file.expect("a file").path();
        let data = std::fs::read(&path).expect("readable");
        // Says which file it was, should it panic.
        println!("{}", path.display());
        let begun = Instant::now();
        target(&data);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{}",
            path.display()
        );
        played += 1;
    }
    assert!(played > 3, "{name}: {played} files");
}

#[test]
fn evidence_packs() {
    replay("pack", brought::pack, Vec::new());
}

#[test]
fn hand_off_bundles() {
    replay("bundles", brought::bundles, Vec::new());
}

#[test]
fn people() {
    replay("people", targets::people, Vec::new());
    // The seed of a good token is one: what the fuzzer begins with lies behind the signature.
    let claims = std::fs::read(corpus("people").join("claims")).expect("a seed");
    let token = targets::token_of(&claims[1..]);
    assert_eq!(token.split('.').count(), 3);
}

fn with(choice: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&[choice][..], bytes.as_ref()].concat()
}

#[test]
fn declarations() {
    let two = "{\"StatusItems\":{\"device\":{\"model\":{\"family\":\"Mac\"}}},\"Errors\":[]}\n\
               {\"StatusItems\":{\"app\":{\"managed\":{\"list\":[{\"identifier\":\"a\"}]}}},\"FullReport\":true}";
    let errors =
        "{\"Errors\":[{\"StatusItem\":\"a.b\",\"Reasons\":[{\"Code\":\"Error.Unknown\"}]}]}";
    let app = "com.apple.configuration.app.managed\n\
               {\"AppStoreID\":\"1\",\"InstallBehavior\":{\"Install\":\"Required\"}}";
    let item =
        "softwareupdate.install-reason\n{\"reason\":[\"declaration\"],\"declaration-id\":\"d\"}";
    replay(
        "declarations",
        targets::declarations,
        vec![
            ("tokens", with(0, "tokens")),
            ("declaration", with(0, "declaration/asset/com.example.a")),
            ("type", with(0, "com.apple.management.properties")),
            ("reports", with(1, two)),
            ("errors", with(1, errors)),
            (
                "deep",
                with(1, format!("{{\"StatusItems\":{}", "{\"a\":".repeat(200))),
            ),
            ("app", with(2, app)),
            (
                "newer",
                with(2, "com.apple.configuration.x\n{\"a\":[null,0.5]}"),
            ),
            ("item", with(3, item)),
        ],
    );
}

fn dictionary(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>{inner}</dict></plist>\n"
    )
}

#[test]
fn property_lists() {
    let all = "<key>a</key><string>x &amp; y</string><key>b</key><integer>-9223372036854775808</integer>\
               <key>c</key><integer>18446744073709551615</integer><key>d</key><real>1e300</real><key>e</key><true/>\
               <key>f</key><date>2026-11-20T16:00:00Z</date><key>g</key><data>AAEC</data>\
               <key>h</key><array><dict/><array/></array>";
    let nested = format!(
        "<key>a</key>{}{}",
        "<array>".repeat(64),
        "</array>".repeat(64)
    );
    replay(
        "plist",
        targets::plist,
        vec![
            ("all", dictionary(all).into_bytes()),
            ("nested", dictionary(&nested).into_bytes()),
            (
                "entity",
                b"<!DOCTYPE plist [<!ENTITY a \"b\">]><plist><string>&a;</string></plist>".to_vec(),
            ),
            (
                "cdata",
                b"<plist><string><![CDATA[x]]></string></plist>".to_vec(),
            ),
            ("binary", b"bplist00\xa1\x01".to_vec()),
            ("ascii", b"{ a = b; }".to_vec()),
        ],
    );
}

#[test]
fn messages() {
    let check_in = |message: &str, more: &str| {
        with(
            0,
            dictionary(&format!(
                "<key>MessageType</key><string>{message}</string><key>UDID</key><string>0F3A11B2-77C4</string>\
                 <key>Topic</key><string>com.apple.mgmt.External.1</string>{more}"
            )),
        )
    };
    let report = |status: &str, more: &str| {
        with(
            1,
            dictionary(&format!(
                "<key>Status</key><string>{status}</string><key>UDID</key><string>0F3A11B2-77C4</string>\
                 <key>CommandUUID</key><string>5C1B7C26</string>{more}"
            )),
        )
    };
    let token = "<key>PushMagic</key><string>m</string><key>Token</key><data>AAEC</data>\
                 <key>UnlockToken</key><data>c2VjcmV0LXRva2Vu</data><key>AwaitingConfiguration</key><true/>";
    let user = "<key>UserID</key><string>2E9B6E0C</string><key>UserShortName</key><string>rkeller</string>\
                <key>NotOnConsole</key><false/>";
    let chain = "<key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>12021</integer>\
                 <key>ErrorDomain</key><string>MCMDMErrorDomain</string>\
                 <key>LocalizedDescription</key><string>x</string></dict></array>";
    let parameters = "<key>TokenServiceType</key><string>com.apple.watch.pairing</string>\
                      <key>TokenParameters</key><dict><key>SecurityToken</key><string>secret-a</string></dict>";
    replay(
        "messages",
        targets::messages,
        vec![
            (
                "authenticate",
                check_in(
                    "Authenticate",
                    "<key>SerialNumber</key><string>C02X</string>",
                ),
            ),
            ("token_update", check_in("TokenUpdate", token)),
            (
                "user_token_update",
                check_in("TokenUpdate", &format!("{token}{user}")),
            ),
            ("check_out", check_in("CheckOut", "")),
            (
                "set_bootstrap",
                check_in(
                    "SetBootstrapToken",
                    "<key>BootstrapToken</key><data>c2VjcmV0LWI=</data>",
                ),
            ),
            ("get_bootstrap", check_in("GetBootstrapToken", "")),
            (
                "user_authenticate",
                check_in(
                    "UserAuthenticate",
                    &format!("{user}<key>DigestResponse</key><string>secret-d</string>"),
                ),
            ),
            (
                "declarative",
                check_in(
                    "DeclarativeManagement",
                    "<key>Endpoint</key><string>status</string><key>Data</key><data>e30=</data>",
                ),
            ),
            ("get_token", check_in("GetToken", parameters)),
            ("return_to_service", check_in("ReturnToService", "")),
            ("idle", report("Idle", "")),
            (
                "acknowledged",
                report(
                    "Acknowledged",
                    "<key>QueryResponses</key><dict><key>OSVersion</key><string>26.1</string></dict>",
                ),
            ),
            ("answers", report("Acknowledged", ANSWERS)),
            ("error", report("Error", chain)),
            ("not_now", report("NotNow", user)),
        ],
    );
}

/// What a device may say to several commands, in one report.
const ANSWERS: &str = "<key>QueryResponses</key><dict><key>OSVersion</key><string>26.1</string><key>DeviceCapacity</key>\
    <real>245.1</real><key>ServiceSubscriptions</key><array><dict><key>Slot</key><string>CTSubscriptionSlotOne</string></dict>\
    </array></dict><key>SecurityInfo</key><dict><key>FDE_Enabled</key><true/><key>FDE_PersonalRecoveryKeyCMS</key><data>MAA=</data>\
    <key>FirewallSettings</key><dict><key>FirewallEnabled</key><true/><key>Applications</key><array><dict><key>BundleID</key>\
    <string>a.b</string><key>Allowed</key><true/></dict></array></dict></dict><key>InstalledApplicationList</key><array><dict>\
    <key>Identifier</key><string>a.b</string><key>BundleSize</key><integer>9</integer></dict><string>odd</string></array>\
    <key>ManagedApplicationList</key><dict><key>a.b</key><dict><key>Status</key><string>Managed</string></dict></dict>\
    <key>ProfileList</key><array><dict><key>PayloadIdentifier</key><string>p</string><key>PayloadContent</key><array><dict>\
    <key>PayloadType</key><string>com.apple.mdm</string></dict></array></dict></array><key>CertificateList</key><array><dict>\
    <key>CommonName</key><string>x</string><key>Data</key><data>AQI=</data><key>IsIdentity</key><true/></dict></array>\
    <key>Users</key><array><dict><key>UserName</key><string>rk</string><key>DataUsed</key><integer>7</integer></dict></array>\
    <key>Settings</key><array><dict><key>Item</key><string>DeviceName</string><key>Status</key><string>Acknowledged</string></dict>\
    </array><key>OSUpdateStatus</key><array><dict><key>ProductKey</key><string>k</string><key>DownloadPercentComplete</key>\
    <real>0.5</real></dict></array><key>MessageResult</key><string>Success</string><key>Unknown</key><date>2026-11-20T16:00:00Z</date>";

fn signature(flags: CMSOptions) -> Vec<u8> {
    let paper = targets::device();
    CmsContentInfo::sign(
        Some(&paper.certificate),
        Some(&paper.key),
        None,
        Some(targets::BODY),
        flags | CMSOptions::BINARY | CMSOptions::DETACHED,
    )
    .and_then(|cms| cms.to_der())
    .expect("a signature")
}

#[test]
fn signatures_and_certificates() {
    let usual = signature(CMSOptions::empty());
    let plain = signature(CMSOptions::NOATTR);
    let certificate = targets::device().certificate.to_der().expect("DER");
    let pem =
        String::from_utf8(targets::device().certificate.to_pem().expect("PEM")).expect("text");
    let escaped = pem
        .replace('\n', "%0A")
        .replace('+', "%2B")
        .replace(' ', "%20");
    replay(
        "cms",
        targets::cms,
        vec![
            ("attributes", with(0, &usual)),
            ("no_attributes", with(0, &plain)),
            ("header", with(1, STANDARD.encode(&usual))),
            (
                "client_cert",
                with(2, format!(":{}:", STANDARD.encode(&certificate))),
            ),
            ("escaped_pem", with(2, escaped)),
            ("certificate", with(3, &certificate)),
            (
                "authority",
                with(3, targets::authority().certificate.to_der().expect("DER")),
            ),
        ],
    );
}

/// A recovery key in its form.
const KEY: &str = "AB12-CD34-EF56-GH78-JK90-LM12";

#[test]
fn envelopes_of_recovery_keys() {
    let other = targets::device().certificate.clone();
    let mut to = openssl::stack::Stack::new().expect("a stack");
    to.push(other).expect("room");
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let first = CmsContentInfo::encrypt(&to, KEY.as_bytes(), cipher, CMSOptions::BINARY)
        .and_then(|cms| cms.to_der())
        .expect("an envelope");
    replay(
        "escrow",
        targets::escrow,
        vec![
            (
                "to_the_second_key",
                with(0, targets::encrypt(KEY.as_bytes())),
            ),
            ("to_the_first_key", with(0, first)),
            ("key", with(1, KEY)),
            ("blank_around", with(1, format!(" {KEY}\n\0"))),
            ("no_key", with(1, "AB12-CD34")),
        ],
    );
}

#[test]
fn profiles_and_manifests() {
    let profile = dictionary(
        "<key>PayloadType</key><string>Configuration</string><key>PayloadIdentifier</key><string>com.example.wifi</string>\
         <key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.wifi.managed</string>\
         <key>SSID_STR</key><string>Office</string></dict></array>",
    );
    let paper = targets::device();
    let signed = CmsContentInfo::sign(
        Some(&paper.certificate),
        Some(&paper.key),
        None,
        Some(profile.as_bytes()),
        CMSOptions::BINARY,
    )
    .and_then(|cms| cms.to_der())
    .expect("a signature");
    let manifest = |hash: &str| {
        dictionary(&format!(
            "<key>items</key><array><dict><key>assets</key><array><dict><key>kind</key><string>software-package</string>\
             <key>url</key><string>https://files.example.com/a.pkg</string>{hash}</dict></array></dict></array>"
        ))
    };
    let parts = "<key>sha256-size</key><integer>1024</integer><key>sha256s</key><array><string>00ff</string></array>";
    replay(
        "files",
        brought::files,
        vec![
            ("profile", with(0, &profile)),
            ("signed_profile", with(0, signed)),
            (
                "manifest",
                with(1, manifest("<key>sha256</key><string>00ff</string>")),
            ),
            ("manifest_of_parts", with(1, manifest(parts))),
        ],
    );
}

#[test]
fn certificate_requests() {
    let paper = targets::device();
    let mut builder = X509Req::builder().expect("a request");
    builder
        .set_subject_name(paper.certificate.subject_name())
        .expect("a name");
    builder.set_pubkey(&paper.key).expect("a key");
    builder
        .sign(&paper.key, MessageDigest::sha256())
        .expect("signed");
    let request = builder.build().to_der().expect("DER");
    let envelope = targets::encrypt(&request);
    replay(
        "scep",
        targets::scep,
        vec![
            ("message", with(0, targets::sign(&envelope))),
            ("envelope", with(1, &envelope)),
            ("request", with(2, &request)),
            ("nothing_inside", with(2, b"x")),
        ],
    );
}

#[test]
fn machine_information() {
    let info = dictionary(
        "<key>SERIAL</key><string>C02XFUZZ</string><key>UDID</key><string>0F3A</string>\
         <key>PRODUCT</key><string>iPhone17,2</string><key>VERSION</key><string>23B85</string>\
         <key>OS_VERSION</key><string>26.1</string><key>LANGUAGE</key><string>en</string>\
         <key>MDM_CAN_REQUEST_SOFTWARE_UPDATE</key><true/>",
    );
    let signed = targets::signed_by_device(info.as_bytes());
    replay(
        "machine_info",
        targets::machine_info,
        vec![
            ("message", with(0, &signed)),
            ("header", with(1, STANDARD.encode(&signed))),
            ("content", with(2, &info)),
            ("empty", with(2, b"")),
        ],
    );
}
