//! `mdmd hand-off`: both sides of a sealed hand-off. `key`, `confirm`, `list`, `show`, `import` and `close` speak to the server that
//! devices come to; `signer`, `export` and `schema` run anywhere and speak to nobody.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::hand_off::bundle::{self, BundleDevice};
use mdm_core::hand_off::envelope::{self, KeyPair, Purpose};
use mdm_core::hand_off::{HandedOver, SCHEMA, fingerprint};
use mdm_core::ids::HandOffId;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Ended, Exit, Means as _, cell, table};
use crate::originals;

/// The largest export of another service that is read.
const LARGEST: u64 = 256 * 1024 * 1024;
/// For how long a signer's certificate is made.
const SIGNER_DAYS: u64 = 365;

/// What the service that devices leave hands over, sealed: inventory, apps, networks, owners, keys and codes.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum HandOff {
    /// Make a job with a key for one bundle: its certificate goes to whoever exports.
    Key {
        /// What the source is called: it is shown beside each fact.
        #[arg(long, value_name = "NAME")]
        from: String,
        /// For how many days it takes a bundle.
        #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=90))]
        days: u32,
        /// SHA-256 of the certificate that will sign the bundle, as the exporter told it and you have compared it. Without it
        /// `confirm` says it later; nothing is taken before.
        #[arg(long, value_name = "SHA-256")]
        signer: Option<String>,
        /// The new file for the certificate (PEM); standard output when left out.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Say whose signature a job believes, after you have compared it with what the exporter told you.
    Confirm {
        /// Which job.
        job: i64,
        /// SHA-256 of the signer's certificate.
        #[arg(long, value_name = "SHA-256")]
        signer: String,
        #[command(flatten)]
        place: Where,
    },
    /// List jobs.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Show a job, and what became of each device of its bundle.
    Show {
        /// Which job.
        job: i64,
        #[command(flatten)]
        place: Where,
    },
    /// Take the bundle of a job, once; exit 4 when some of its devices were not taken. After a crash the same file goes on.
    Import {
        /// Which job.
        job: i64,
        /// The bundle.
        file: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Take no bundle for a job any more, and destroy its key.
    Close {
        /// Which job.
        job: i64,
        #[command(flatten)]
        place: Where,
    },
    /// Make a key and certificate to sign bundles with; tell the other side its SHA-256 by telephone or in person.
    Signer {
        /// Whose it is.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// The new file for the certificate (PEM).
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// The new file for its private key (PEM).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Seal what a service knows of devices, from CSV or JSON of it, to the certificate of a job, and sign it.
    Export(Export),
    /// Print the JSON schema of what is sealed.
    Schema,
    /// Show the certificate with which this installation signs what it hands over itself.
    Ours {
        #[command(flatten)]
        place: Where,
    },
    /// At the destination: take hand-offs of another installation without a person each time, after you have compared the SHA-256 of
    /// its signer (`ours` there). It comes with a token of the role helpdesk and the
    /// scope hand-off, which you make for it.
    Agree {
        /// What the source is called.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// SHA-256 of its certificate.
        #[arg(long, value_name = "SHA-256")]
        signer: String,
        /// For how many days.
        #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        #[command(flatten)]
        place: Where,
    },
    /// At the original: hand devices that move away over to another installation by itself, once another person has
    /// confirmed it (`mdmd approval confirm`).
    To {
        /// Address of the other installation's API.
        #[arg(long, value_name = "URL")]
        address: String,
        /// An authority to trust for that address (PEM) beside the system's.
        #[arg(long, value_name = "FILE")]
        address_ca: Option<PathBuf>,
        /// The number of the agreement there.
        #[arg(long, value_name = "NUMBER")]
        source: i64,
        /// A token of there with the scope hand-off; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        token: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Show what was agreed on.
    Agreements {
        #[command(flatten)]
        place: Where,
    },
    /// Hand nothing over any more; or take nothing of an agreement any more.
    End {
        /// Which agreement, at the destination.
        #[arg(long, value_name = "NUMBER")]
        source: Option<i64>,
        #[command(flatten)]
        place: Where,
    },
    /// Ask for an export of what this installation knows of its devices, keys and codes included; another person
    /// confirms it (`mdmd approval confirm`).
    Ask {
        #[command(flatten)]
        devices: super::serials::Serials,
        /// The certificate of the job (PEM), from whoever takes the bundle.
        #[arg(long, value_name = "FILE")]
        recipient: PathBuf,
        /// SHA-256 of that certificate, as the other side told it.
        #[arg(long, value_name = "SHA-256")]
        recipient_sha256: String,
        /// The number of the job there.
        #[arg(long, value_name = "NUMBER")]
        job: Option<i64>,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE")]
        reason: String,
        #[command(flatten)]
        place: Where,
    },
    /// Write an export that was confirmed to a file, once.
    Fetch {
        /// The number of its approval.
        approval: i64,
        /// The new file for the bundle.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        place: Where,
    },
}

/// Seals and signs.
#[derive(clap::Args, Debug)]
pub(crate) struct Export {
    /// CSV, or JSON: a list of devices, or an object with one under `devices`. `-` reads standard input.
    #[arg(required_unless_present = "approval", conflicts_with = "approval")]
    file: Option<PathBuf>,
    /// From this installation itself, running or stopped: the number of an export that was asked for (`hand-off ask`) and that another
    /// person has confirmed. A backup is restored to a directory of its own first, so that the export is in a record.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["recipient", "recipient_sha256", "job", "from", "taken", "signer", "key"])]
    approval: Option<i64>,
    /// The certificate of the job (PEM), from whoever takes the bundle.
    #[arg(long, value_name = "FILE", required_unless_present = "approval")]
    recipient: Option<PathBuf>,
    /// SHA-256 of that certificate, as the other side told it: another one is refused.
    #[arg(long, value_name = "SHA-256")]
    recipient_sha256: Option<String>,
    /// The number of the job: a bundle that names it is refused by every other one.
    #[arg(long, value_name = "NUMBER")]
    job: Option<i64>,
    /// What the source calls itself.
    #[arg(long, value_name = "NAME", default_value = "")]
    from: String,
    /// When the export was made; the age of the file when left out.
    #[arg(long, value_name = "TIME")]
    taken: Option<String>,
    /// The certificate that signs (PEM).
    #[arg(long, value_name = "FILE", required_unless_present = "approval")]
    signer: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", required_unless_present = "approval")]
    key: Option<PathBuf>,
    /// The new file for the bundle.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(common: &Common, command: &HandOff) -> Done {
    match command {
        HandOff::Key {
            from,
            days,
            signer,
            out,
            place,
        } => {
            let body = json!({ "from": from, "days": days, "signer": signer });
            let client = Client::acting(common, place).await?;
            let file = NewFile::maybe(out.as_deref(), 0o644)?;
            let consequence =
                "a key for one bundle is made here and stays sealed; nothing is sent to anybody.";
            let job = client
                .act("/api/v1/hand-off/jobs", &body, consequence)
                .await?;
            if let Some(file) = file {
                file.fill(cell_text(&job["certificate"]).as_bytes())?;
            }
            super::print(common, &job, |job| {
                show(job);
                match out {
                    Some(out) => println!("certificate in {}", out.display()),
                    None => print!("{}", cell_text(&job["certificate"])),
                }
            });
            Ok(())
        }
        HandOff::Confirm { job, signer, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/hand-off/jobs/{job}/signer");
            let consequence = "a bundle that this certificate signed will be taken for the job, with its keys and codes.";
            let job = client
                .act(&path, &json!({ "sha256": signer }), consequence)
                .await?;
            super::print(common, &job, show);
            Ok(())
        }
        HandOff::List { place } => {
            let client = Client::looking(common, place).await?;
            let jobs = client.pages("/api/v1/hand-off/jobs", "jobs").await?;
            super::print(common, &jobs, |jobs| {
                let rows: Vec<Value> = jobs["jobs"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(line)
                    .collect();
                let columns = [
                    ("JOB", "id"),
                    ("FROM", "from"),
                    ("EXPIRES", "expires"),
                    ("SIGNER", "signer"),
                    ("STATE", "state"),
                ];
                table(&Value::Array(rows), &columns);
            });
            Ok(())
        }
        HandOff::Show { job, place } => {
            let client = Client::looking(common, place).await?;
            let mut answer = client.get(&format!("/api/v1/hand-off/jobs/{job}")).await?;
            let path = format!("/api/v1/hand-off/jobs/{job}/results");
            answer["devices"] = client.pages(&path, "devices").await?["devices"].take();
            super::print(common, &answer, |answer| {
                show(answer);
                results(&answer["devices"]);
            });
            Ok(())
        }
        HandOff::Import { job, file, place } => import(common, place, *job, file).await,
        HandOff::Close { job, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/hand-off/jobs/{job}/close");
            let consequence = "no bundle is taken for the job any more; its key is destroyed. What was taken stays.";
            let job = client.act(&path, &json!({}), consequence).await?;
            super::print(common, &job, show);
            Ok(())
        }
        HandOff::Signer {
            name,
            certificate,
            key,
        } => signer(common, name, certificate, key),
        HandOff::Export(export) => match export.approval {
            Some(approval) => {
                let client = Client::exporting(common, &export.place).await?;
                fetch(common, &client, approval, &export.out).await
            }
            None => seal(common, export),
        },
        HandOff::Schema => {
            print!("{SCHEMA}");
            Ok(())
        }
        other => between(common, other).await,
    }
}

/// Says what waits for another person.
fn waits(answer: &Value) {
    let number = cell(&answer["approval"]);
    println!("waits for another person: `mdmd approval confirm {number}`");
}

/// What two installations do with each other.
async fn between(common: &Common, command: &HandOff) -> Done {
    const API: &str = "/api/v1/hand-off";
    let (place, path, body, consequence) = match command {
        HandOff::Ours { place } => (
            place,
            "signer".to_owned(),
            json!({}),
            "a key to sign with is made when there is none; nothing is sent to anybody.",
        ),
        HandOff::Agree {
            name,
            signer,
            days,
            place,
        } => (
            place,
            "sources".to_owned(),
            json!({ "name": name, "signer": signer, "days": days }),
            "bundles that this certificate signed are taken without a person each time, with their keys and codes.",
        ),
        HandOff::To {
            address,
            address_ca,
            source,
            token,
            place,
        } => {
            let ca = address_ca.as_deref().map(read).transpose()?;
            let ca = ca.map(|pem| String::from_utf8_lossy(&pem).into_owned());
            let token = super::secret_file::read(token)?;
            let open = json!({ "url": address, "source": source, "ca": ca });
            let client = Client::acting(common, place).await?;
            let consequence = "once another person has confirmed it, what is known of each device that moves away is sealed, signed and sent there.";
            let secrets = [("token_base64", token.trim_ascii())];
            let answer = client
                .post_hidden(&format!("{API}/destination"), &open, &secrets, consequence)
                .await?;
            super::print(common, &answer, waits);
            return Ok(());
        }
        HandOff::End { source, place } => (
            place,
            match source {
                Some(source) => format!("sources/{source}/end"),
                None => "destination/end".to_owned(),
            },
            json!({}),
            "nothing goes this way any more.",
        ),
        HandOff::Ask {
            devices,
            recipient,
            recipient_sha256,
            job,
            reason,
            place,
        } => {
            let certificate = String::from_utf8_lossy(&read(recipient)?).into_owned();
            let body = json!({
                "certificate": certificate, "sha256": recipient_sha256, "job": job,
                "serials": devices.any()?, "reason": reason,
            });
            let consequence = "once another person has confirmed it, what is known of these devices, keys and codes included, may be written to a sealed file.";
            let client = Client::acting(common, place).await?;
            let path = format!("{API}/exports");
            let answer = client.act(&path, &body, consequence).await?;
            super::print(common, &answer, waits);
            return Ok(());
        }
        HandOff::Fetch {
            approval,
            out,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            return fetch(common, &client, *approval, out).await;
        }
        HandOff::Agreements { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get(&format!("{API}/agreements")).await?;
            super::print(common, &answer, agreed);
            return Ok(());
        }
        // Those above this function.
        _ => return Ok(()),
    };
    let client = Client::acting(common, place).await?;
    let answer = client
        .act(&format!("{API}/{path}"), &body, consequence)
        .await?;
    super::print(common, &answer, |answer| match &answer["certificate"] {
        Value::Null if answer["sources"].is_null() => {
            println!("agreement  {}", cell(&answer["id"]));
            println!("name       {}", cell(&answer["name"]));
            println!("signer     {}", cell(&answer["signer"]));
            println!("until      {}", cell(&answer["until"]));
        }
        Value::Null => agreed(answer),
        certificate => {
            println!("signer's SHA-256  {}", cell(&answer["sha256"]));
            print!("{}", cell_text(certificate));
        }
    });
    Ok(())
}

/// What was agreed on, in both directions.
fn agreed(answer: &Value) {
    let columns = [
        ("AGREEMENT", "id"),
        ("COMES FROM", "name"),
        ("SIGNER", "signer"),
        ("CONFIRMED BY", "by"),
        ("UNTIL", "until"),
    ];
    table(&answer["sources"], &columns);
    let to = &answer["destination"];
    if to.is_null() {
        println!("nothing is handed over from here");
    } else {
        println!(
            "handed over to {}, agreement {} there; asked for by {}, confirmed by {} at {}",
            cell(&to["url"]),
            cell(&to["source"]),
            cell(&to["asked_by"]),
            cell(&to["confirmed_by"]),
            cell(&to["at"])
        );
    }
}

/// Has an export made that was confirmed, and writes it to a file.
async fn fetch(common: &Common, client: &Client, approval: i64, out: &Path) -> Done {
    // It is made once: a place where it cannot be written would lose it.
    let file = NewFile::open(out, 0o600)?;
    let path = format!("/api/v1/hand-off/exports/{approval}/bundle");
    let consequence = "the export is made, once, and is in the record.";
    let answer = client.act(&path, &json!({}), consequence).await?;
    file.fill(&STANDARD.decode(cell_text(&answer["bundle"]))?)?;
    let shown = json!({
        "file": out, "devices": answer["devices"], "signer": answer["signer"],
        "record": answer["record"],
    });
    super::print(common, &shown, |shown| {
        println!("{} devices in {}", cell(&shown["devices"]), out.display());
        println!("signer's SHA-256  {}", cell(&shown["signer"]));
    });
    Ok(())
}

async fn import(common: &Common, place: &Where, job: i64, file: &Path) -> Done {
    let client = Client::acting(common, place).await?;
    let path = format!("/api/v1/hand-off/jobs/{job}/bundle");
    let consequence = "facts go to what the what-if knows, keys and codes into the vault; the job is used up by it.";
    let answer = client.upload(&path, file, consequence).await?;
    super::print(common, &answer, |answer| {
        println!("devices     {}", cell(&answer["devices"]));
        println!("accepted    {}", cell(&answer["accepted"]));
        println!("rejected    {}", cell(&answer["rejected"]));
        if answer["done_before"] != 0 {
            println!("done before {}", cell(&answer["done_before"]));
        }
        results(&answer["results"]);
    });
    match answer["rejected"].as_u64().unwrap_or(0) {
        0 => Ok(()),
        rejected => Err(anyhow!(
            "{rejected} devices of the bundle were not, or not wholly, taken"
        ))
        .means(Exit::Disagrees),
    }
}

fn signer(common: &Common, name: &str, certificate: &Path, key: &Path) -> Done {
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
    super::print(common, &answer, |_| {
        println!("certificate  {}", certificate.display());
        println!("key          {}  (keep it to yourself)", key.display());
        println!("SHA-256      {sha256}");
    });
    Ok(())
}

fn seal(common: &Common, export: &Export) -> Done {
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
            .map_err(|error| anyhow!("--recipient-sha256: {error}"))
            .means(Exit::BadInput)?;
        if told != found {
            let why = "is not the certificate that the other side told of: nothing was sealed";
            return Err(anyhow!("{}: {why} (SHA-256 {found})", to.display()))
                .means(Exit::Precondition);
        }
    }
    let certificate = read(signed_by)?;
    let key = super::secret_file::read(key)?;
    let signer = match KeyPair::from_pem(&certificate, &key) {
        Ok(signer) => signer,
        Err(error) => return bad(error, signed_by),
    };
    let (devices, unknown, age) = devices(file)?;
    let taken = super::original::taken(export.taken.as_deref(), age, &unknown)?;
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
    super::print(common, &answer, |answer| {
        println!(
            "{} devices with {secrets} keys and codes in {}",
            devices.len(),
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

fn read(path: &Path) -> Result<Vec<u8>, Ended> {
    std::fs::read(path)
        .with_context(|| path.display().to_string())
        .means(Exit::BadInput)
}

fn cell_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn state(job: &Value) -> String {
    if job["expired"] == true {
        return "expired".to_owned();
    }
    match &job["state"] {
        Value::Object(map) => match map.iter().next() {
            Some((name, at)) if name == "importing" => {
                format!(
                    "importing: {} of {}",
                    cell(&at["done"]),
                    cell(&at["devices"])
                )
            }
            Some((name, _)) => name.clone(),
            None => String::new(),
        },
        other => cell(other),
    }
}

fn line(job: &Value) -> Value {
    let mut row = job.clone();
    row["state"] = state(job).into();
    row["signer"] = job["signer"]["sha256"].clone();
    row
}

fn show(job: &Value) {
    println!("job      {}", cell(&job["id"]));
    println!("from     {}", cell(&job["from"]));
    println!("expires  {}", cell(&job["expires"]));
    println!("state    {}", state(job));
    println!(
        "SHA-256  {}  (of the certificate to seal to)",
        cell(&job["sha256"])
    );
    match &job["signer"] {
        Value::Null => println!("signer   nobody has confirmed one: nothing is taken before"),
        signer => println!(
            "signer   {}, confirmed by {}",
            cell(&signer["sha256"]),
            cell(&signer["by"])
        ),
    }
}

fn results(devices: &Value) {
    let joined = |value: &Value| {
        let all = value.as_array().into_iter().flatten().map(cell);
        all.collect::<Vec<_>>().join("; ")
    };
    let rows: Vec<Value> = devices
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| {
            json!({
                "serial": device["serial"],
                "accepted": device["accepted"],
                "facts": device["facts"],
                "secrets": joined(&device["secrets"]),
                "notes": joined(&device["notes"]),
            })
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let columns = [
        ("SERIAL", "serial"),
        ("TAKEN", "accepted"),
        ("NEW FACTS", "facts"),
        ("SECRETS", "secrets"),
        ("NOTES", "notes"),
    ];
    table(&Value::Array(rows), &columns);
}
