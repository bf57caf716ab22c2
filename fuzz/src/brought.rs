//! What people bring from elsewhere: hand-off bundles of another service, sealed and open, evidence packs that somebody may have
//! touched, profiles for devices, and manifests of apps where they lie. The key pair of the bundles is made anew for each run: nobody's seed can be signed by it.

use std::sync::OnceLock;

use mdm_core::checklist::SeenManifest;
use mdm_core::clock::Timestamp;
use mdm_core::evidence::pack::verify_pack;
use mdm_core::hand_off::bundle;
use mdm_core::hand_off::envelope::{self, KeyPair, Purpose};
use mdm_core::secret::Secret;
use mdm_core::wire::payloads::{profile_contents, profile_identifier};
use mdm_core::wire::requests::Manifest;

/// 2026-11-20T16:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_190_400_000);
/// The longest sentence of an error.
const LONGEST: usize = 400;
/// Packs that nobody has touched.
const WHOLE: [&[u8]; 2] = [
    include_bytes!("../corpus/pack/whole"),
    include_bytes!("../corpus/pack/other-key"),
];

fn planted(reached: bool) {
    if option_env!("FUZZ_PLANTED").is_some() {
        assert!(!reached, "the planted fault");
    }
}

fn pair() -> &'static KeyPair {
    static PAIR: OnceLock<KeyPair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let until = NOW + std::time::Duration::from_secs(86_400);
        KeyPair::create("fuzz", Purpose::Recipient, NOW, until).expect("a key pair")
    })
}

fn law_of_errors(error: &str, sent: &[u8]) {
    assert!(error.len() <= LONGEST && !error.contains('\n'), "{error}");
    let sent = String::from_utf8_lossy(sent);
    for secret in sent
        .split(['"', '<', '>'])
        .filter(|text| text.starts_with("secret-"))
    {
        assert!(!error.contains(secret), "{error}");
    }
}

/// What a bundle says, as it is; or a bundle from the outside, signed by whom nobody confirmed, or damaged; or one that is signed
/// and sealed as it should be. The first byte chooses.
pub fn bundles(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let opened = match choice % 3 {
        0 => Secret::new(bytes.to_vec()),
        1 => match envelope::open(bytes, &envelope::sha256(&pair().certificate), pair()) {
            Err(error) => return law_of_errors(&error.to_string(), bytes),
            Ok(_) => panic!("a bundle of nobody was opened"),
        },
        // Both ways take a hundred times as long as the reading: small ones only.
        _ if bytes.len() > 512 => return,
        _ => {
            let plain = Secret::new(bytes.to_vec());
            let sealed = envelope::seal(&plain, &pair().certificate, pair(), NOW).expect("sealed");
            let by = envelope::sha256(&pair().certificate);
            let opened = envelope::open(&sealed, &by, pair()).expect("what we sealed");
            assert_eq!(opened, plain);
            opened
        }
    };
    let read = match bundle::read(opened.expose()) {
        Err(error) => return law_of_errors(&error.to_string(), bytes),
        Ok(read) => read,
    };
    let shown = format!("{read:?}");
    for device in read.devices.iter().flatten() {
        for secret in device.secrets.values() {
            let text = secret.expose_text().unwrap_or_default();
            assert!(
                !text.starts_with("secret-") || !shown.contains(text),
                "shown"
            );
        }
    }
    let refused = read.devices.iter().filter(|d| d.is_err()).count();
    planted(refused > 1 && read.job.is_some());
    for device in read.devices.iter().filter_map(|d| d.as_ref().err()) {
        for note in &device.notes {
            law_of_errors(note, bytes);
        }
    }
    // What was taken is written and read again as the same.
    let taken: Vec<_> = read
        .devices
        .into_iter()
        .flatten()
        .filter(|d| d.said.is_ok())
        .collect();
    let Ok(written) = bundle::write("fuzz", read.taken, None, &taken) else {
        return;
    };
    let again = bundle::read(written.expose()).expect("what we wrote");
    assert_eq!(again.taken, read.taken);
    assert_eq!(again.devices.len(), taken.len());
    for (again, before) in again.devices.iter().zip(&taken) {
        let again = again.as_ref().expect("what we wrote");
        assert_eq!(again.serial(), before.serial());
        assert_eq!(again.secrets, before.secrets);
        let said = |device: &bundle::BundleDevice| {
            serde_json::to_value(device.said.as_ref().ok()).expect("JSON")
        };
        assert_eq!(said(again), said(before));
    }
}

/// An evidence pack: it is whole only if it is one that nobody has touched.
pub fn pack(data: &[u8]) {
    let report = match verify_pack(&mut &*data, None) {
        Err(error) => return law_of_errors(&error.to_string(), data),
        Ok(report) => report,
    };
    for sentence in &report.broken {
        assert!(
            sentence.len() <= 4 * LONGEST && !sentence.contains('\n'),
            "{sentence}"
        );
    }
    let whole = report.broken.is_empty() && report.manifest.is_some();
    assert!(!whole || WHOLE.contains(&data), "touched, and found whole");
    planted(report.files > 1 && !report.broken.is_empty() && report.manifest.is_some());
}

/// Where a manifest lies.
const ADDRESS: &str = "https://files.example.com/manifest.plist";

/// Profiles that people bring, and manifests of apps as they lie at an address elsewhere; the first byte chooses.
pub fn files(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    if choice % 2 == 0 {
        match profile_identifier(bytes) {
            Err(error) => law_of_errors(&error.to_string(), bytes),
            Ok((identifier, signed)) => {
                assert!((1..=255).contains(&identifier.len()));
                assert_eq!(signed, bytes.first() == Some(&0x30));
                let brings = profile_contents(bytes).expect("it was read");
                assert!(!brings.payloads.contains("com.apple.mdm"), "it manages");
            }
        }
        return;
    }
    let seen = SeenManifest::read(ADDRESS, NOW, bytes);
    assert!(seen.looked && seen.url == ADDRESS);
    if let Some(problem) = &seen.problem {
        return law_of_errors(problem, bytes);
    }
    planted(!seen.hashed);
    let files = Manifest::files(bytes).expect("it was read");
    let files = files.expect("it is a manifest");
    let https = |url: &str| {
        let start = url.get(..8);
        start.is_some_and(|start| start.eq_ignore_ascii_case("https://"))
    };
    assert!(!files.is_empty() && files.iter().all(|file| https(&file.url)));
    assert_eq!(seen.hashed, files.iter().all(|file| file.hashed));
}
