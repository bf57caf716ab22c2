//! Seals what a service knows of devices, and signs it. Speaks to nobody.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::counted::counted;
use mdm_core::hand_off::bundle::BundleDevice;
use mdm_core::hand_off::envelope::{KeyPair, Purpose};
use mdm_core::hand_off::{HandedOver, bundle, envelope, fingerprint};
use mdm_core::ids::HandOffId;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Export, read};
use crate::cli::new_file::NewFile;
use crate::cli::{Common, Done, Ended, Exit, Means as _, cell};
use crate::originals;

/// The largest export of another service that is read.
const LARGEST: u64 = 256 * 1024 * 1024;
/// For how long a signer's certificate is made.
const SIGNER_DAYS: u64 = 365;

pub(super) fn signer(common: &Common, name: &str, certificate: &Path, key: &Path) -> Done {
    let now = SystemClock.now();
    let until = now + std::time::Duration::from_secs(SIGNER_DAYS * 86_400);
    let pair = KeyPair::create(name, Purpose::Signer, now, until)?;
    // Both places before either is filled. The key first: a certificate without its key helps nobody.
    let (kept, shown) = (
        NewFile::open(key, 0o600)?,
        NewFile::open(certificate, 0o644)?,
    );
    kept.fill(pair.key_pem()?.expose())?;
    shown.fill(pair.certificate_pem().as_bytes())?;
    let sha256 = envelope::sha256(&pair.certificate);
    let answer =
        json!({ "certificate": certificate, "key": key, "sha256": sha256, "until": until });
    crate::cli::print(common, &answer, |_| {
        println!("certificate  {}", certificate.display());
        println!("key          {}  (keep it to yourself)", key.display());
        println!("SHA-256      {sha256}");
    });
    Ok(())
}

pub(super) fn seal(common: &Common, export: &Export) -> Done {
    let bad = |error: mdm_core::error::Error, path: &Path| {
        Err(anyhow!("{}: {error}", path.display())).means(Exit::BadInput)
    };
    let (Some(file), Some(to), Some(signed_by), Some(key)) =
        (&export.file, &export.recipient, &export.signer, &export.key)
    else {
        let why = "a file, --recipient, --signer and --key, or --approval, must be there";
        return Err(anyhow!(why)).means(Exit::BadInput);
    };
    let recipient = read(to)?;
    let recipient = match envelope::certificate(&recipient, "recipient") {
        Ok(recipient) => recipient,
        Err(error) => return bad(error, to),
    };
    let found = envelope::sha256(&recipient);
    if let Some(told) = &export.recipient_sha256 {
        let told = fingerprint(told)
            .map_err(|_| {
                anyhow!("--recipient-sha256: must be the SHA-256 of the recipient's certificate: 64 hexadecimal digits")
            })
            .means(Exit::BadInput)?;
        if told != found {
            let why = "is not the certificate that the other side told of: nothing was sealed";
            return Err(anyhow!("{}: {why} (SHA-256 {found})", to.display()))
                .means(Exit::Precondition);
        }
    }
    let certificate = read(signed_by)?;
    let key = crate::cli::secret_file::read(key)?;
    let signer = match KeyPair::from_pem(&certificate, &key) {
        Ok(signer) => signer,
        Err(error) => return bad(error, signed_by),
    };
    let (devices, unknown, age) = devices(file)?;
    let taken = crate::cli::original::taken(export.taken.as_deref(), age, &unknown)?;
    if taken > SystemClock.now() {
        // The clock that counts is the destination's: this one may be behind.
        eprintln!(
            "mdmd: --taken: {taken} lies in the future by the clock of this machine; the other side refuses what does by its own"
        );
    }
    let plain = match bundle::write(&export.from, taken, export.job.map(HandOffId), &devices) {
        Ok(plain) => plain,
        Err(error) => return bad(error, file),
    };
    let sealed = match envelope::seal(&plain, &recipient, &signer, SystemClock.now()) {
        Ok(sealed) => sealed,
        Err(error) => return bad(error, to),
    };
    NewFile::open(&export.out, 0o600)?.fill(&sealed)?;
    let secrets: usize = devices.iter().map(|device| device.secrets.len()).sum();
    let answer = json!({
        "file": export.out, "devices": devices.len(), "secrets": secrets, "taken": taken,
        "sha256": envelope::sha256(&sealed), "recipient": found,
        "signer": envelope::sha256(&signer.certificate),
    });
    crate::cli::print(common, &answer, |answer| {
        println!(
            "{} with {secrets} keys and codes in {}",
            counted(devices.len(), "device"),
            export.out.display()
        );
        println!("signer's SHA-256  {}", cell(&answer["signer"]));
    });
    Ok(())
}

type Read = (Vec<BundleDevice>, Vec<String>, Option<Timestamp>);

/// The devices of a file, with their secrets. A file that is wrong anywhere is refused whole: its owner can mend it.
fn devices(file: &Path) -> Result<Read, Ended> {
    use std::io::Read as _;
    let name = || file.display().to_string();
    let mut content = Zeroizing::new(Vec::new());
    let age = if file.as_os_str() == "-" {
        let mut limited = std::io::stdin().take(LARGEST);
        limited
            .read_to_end(&mut content)
            .with_context(name)
            .means(Exit::BadInput)?;
        None
    } else {
        let opened = std::fs::File::open(file)
            .with_context(name)
            .means(Exit::BadInput)?;
        let about = opened.metadata().ok();
        let length = about
            .as_ref()
            .map_or(0, std::fs::Metadata::len)
            .min(LARGEST);
        content.reserve_exact(usize::try_from(length).unwrap_or(0) + 1);
        let modified = about.and_then(|about| about.modified().ok());
        let mut limited = opened.take(LARGEST);
        limited
            .read_to_end(&mut content)
            .with_context(name)
            .means(Exit::BadInput)?;
        let since = modified.and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
        since.and_then(|s| Some(Timestamp::from_millis(i64::try_from(s.as_millis()).ok()?)))
    };
    if !matches!(content.trim_ascii_start().first(), Some(b'[' | b'{')) {
        let (devices, unknown) = originals::read_csv_with_secrets(&content)
            .with_context(name)
            .means(Exit::BadInput)?;
        return Ok((devices, unknown, age));
    }
    let whole: Value = serde_json::from_slice(&content)
        .map_err(|error| {
            anyhow!(
                "{}: line {}, column {}: is no JSON",
                name(),
                error.line(),
                error.column()
            )
        })
        .means(Exit::BadInput)?;
    let list = match whole {
        Value::Array(list) => list,
        Value::Object(mut map) => match map.remove("devices") {
            Some(Value::Array(list)) => list,
            _ => return Err(anyhow!("{}: devices: must be a list", name())).means(Exit::BadInput),
        },
        _ => Vec::new(),
    };
    let now = SystemClock.now();
    let mut devices = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let refuse =
            |why: String| Err(anyhow!("{}: devices[{at}]: {why}", name())).means(Exit::BadInput);
        let mut device = match BundleDevice::read(value, at) {
            Ok(device) => device,
            Err(HandedOver { notes, .. }) => return refuse(notes.join("; ")),
        };
        if !device.notes.is_empty() {
            return refuse(device.notes.join("; "));
        }
        device.said = match device.said {
            Ok(said) => match said.checked(now) {
                Ok(said) => Ok(said),
                Err(error) => return refuse(error.to_string()),
            },
            Err((_, why)) => return refuse(why),
        };
        devices.push(device);
    }
    Ok((devices, Vec::new(), age))
}
