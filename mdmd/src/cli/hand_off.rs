//! `mdmd hand-off`: both sides of a sealed hand-off. `key`, `confirm`, `list`, `show`, `import` and `close` speak to the server that
//! devices come to; `signer`, `export` and `schema` run anywhere and speak to nobody.

mod between;
mod jobs;
mod sealing;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use between::{between, fetch};
use jobs::{import, line, results, show};
use mdm_core::hand_off::SCHEMA;
use sealing::{seal, signer};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Ended, Exit, Means as _, table};

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
        /// Also where none of its devices is known here, or the lists of devices were never read to the end: those are left out for good.
        #[arg(long)]
        despite_unknown: bool,
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
            let consequence = "a bundle that this certificate signed will be taken for the job as long as it is open, with its keys and codes; one that was confirmed before is believed no longer.";
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
        HandOff::Import {
            job,
            file,
            despite_unknown,
            place,
        } => import(common, place, *job, file, *despite_unknown).await,
        HandOff::Close { job, place } => {
            let client = Client::acting(common, place).await?;
            let path = format!("/api/v1/hand-off/jobs/{job}/close");
            let consequence = "no bundle is taken for the job any more; its key is destroyed. What was taken stays; a bundle that was begun is taken for no other job.";
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

fn read(path: &Path) -> Result<Vec<u8>, Ended> {
    std::fs::read(path)
        .with_context(|| path.display().to_string())
        .means(Exit::BadInput)
}

fn cell_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
