//! `mdmd audit tail|verify|checkpoint`: the record, whether anybody has touched it, and what to take along so that it shows.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::audit_seal::Checkpoint;
use mdm_core::evidence::pack::verify_pack;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::new_file::NewFile;
use super::{Common, Done, Exit, Means as _, cell, table};

/// The record: what happened, by whom and why.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Audit {
    /// Its newest lines.
    Tail {
        /// So many.
        #[arg(long, short = 'n', value_name = "LINES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        #[command(flatten)]
        place: Where,
    },
    /// Look through the chain over it; exit 4 when anybody has changed, removed or reordered a line. Of an evidence pack it
    /// asks no server.
    Verify {
        /// An evidence pack, to be looked through instead of the server's record.
        #[arg(value_name = "PACK")]
        pack: Option<PathBuf>,
        /// The fingerprint that the pack's key must have, as you know it from elsewhere.
        #[arg(long, value_name = "FINGERPRINT", requires = "pack")]
        key: Option<String>,
        /// A checkpoint that was taken along earlier: finds an end that was cut off, and a chain that was replaced.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
    /// Seal what has come, and write the newest seal to a file that is kept elsewhere.
    Checkpoint {
        /// The file; must not be there.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Audit) -> Done {
    match command {
        Audit::Tail { lines, place } => {
            let client = Client::looking(common, place).await?;
            let answer = client
                .get(&format!("/api/v1/audit?newest=true&limit={lines}"))
                .await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["entries"],
                    &[
                        ("AT", "at"),
                        ("WHO", "actor"),
                        ("WHAT", "what"),
                        ("DETAIL", "detail"),
                    ],
                );
            });
            Ok(())
        }
        Audit::Verify {
            pack: Some(pack),
            key,
            checkpoint,
            ..
        } => verify_file(common, pack, key.as_deref(), checkpoint.as_deref()),
        Audit::Verify {
            checkpoint, place, ..
        } => {
            let mut body = json!({});
            if let Some(file) = checkpoint {
                let content = std::fs::read(file)
                    .with_context(|| file.display().to_string())
                    .means(Exit::BadInput)?;
                body["checkpoint"] = serde_json::from_slice(&content)
                    .with_context(|| file.display().to_string())
                    .means(Exit::BadInput)?;
            }
            let client = Client::looking(common, place).await?;
            let report = client.post("/api/v1/audit/verification", &body).await?;
            super::print(common, &report, show);
            match report["broken"].as_array().map_or(0, Vec::len) {
                0 => Ok(()),
                _ => Err(anyhow!("the record is not as it was sealed")).means(Exit::Disagrees),
            }
        }
        Audit::Checkpoint { out, place } => {
            let client = Client::exporting(common, place).await?;
            let file = NewFile::open(out, 0o644)?;
            let checkpoint = client.post("/api/v1/audit/checkpoints", &json!({})).await?;
            file.fill(format!("{checkpoint:#}\n").as_bytes())?;
            super::print(common, &checkpoint, |checkpoint| {
                println!(
                    "seal {} of {} is in {}: keep it where nobody of this server writes",
                    cell(&checkpoint["seal"]),
                    cell(&checkpoint["at"]),
                    out.display()
                );
            });
            Ok(())
        }
    }
}

/// A fingerprint as people write it: 64 hexadecimal digits, with whatever stands between them.
fn fingerprint(text: &str) -> anyhow::Result<String> {
    let digits = text.chars().filter(char::is_ascii_hexdigit);
    let digits: String = digits.map(|c| c.to_ascii_lowercase()).collect();
    anyhow::ensure!(
        digits.len() == 64,
        "--key: must be a whole fingerprint: 64 hexadecimal digits"
    );
    Ok(digits)
}

/// Looks through an evidence pack, by itself.
pub(super) fn verify_file(
    common: &Common,
    pack: &Path,
    key: Option<&str>,
    checkpoint: Option<&Path>,
) -> Done {
    let name = || pack.display().to_string();
    let wanted = key.map(fingerprint).transpose().means(Exit::BadInput)?;
    let earlier: Option<Checkpoint> = match checkpoint {
        Some(file) => {
            let content = std::fs::read(file);
            let content = content.with_context(|| file.display().to_string());
            let read = serde_json::from_slice(&content.means(Exit::BadInput)?);
            let read = read.with_context(|| file.display().to_string());
            Some(read.means(Exit::BadInput)?)
        }
        None => None,
    };
    let file = std::fs::File::open(pack)
        .with_context(name)
        .means(Exit::BadInput)?;
    let mut file = std::io::BufReader::new(file);
    // Something else than a pack was not changed by anybody: it is the wrong file.
    let mut head = Vec::new();
    let read = file.by_ref().take(512).read_to_end(&mut head);
    read.with_context(name).means(Exit::BadInput)?;
    if head.get(257..262) != Some(b"ustar".as_slice()) {
        let why = anyhow!("{}: is no evidence pack", name());
        return Err(why).means(Exit::BadInput);
    }
    let mut file = std::io::Cursor::new(head).chain(file);
    let report = verify_pack(&mut file, earlier.as_ref()).with_context(name);
    let report = report.means(Exit::BadInput)?;
    let mut shown = serde_json::to_value(&report)?;
    let mut against = report.broken.clone();
    if let Some(wanted) = wanted
        && report.key.as_ref() != Some(&wanted)
    {
        against.push("the pack is signed by another key than the one that you named".to_owned());
    }
    shown["broken"] = json!(against);
    shown["manifest"]["files"] = json!(report.manifest.as_ref().map(|m| m.files.len()));
    super::print(common, &shown, |shown| {
        let manifest = &shown["manifest"];
        println!(
            "pack       {} of {}",
            cell(&manifest["wave_name"]),
            cell(&manifest["name"])
        );
        println!(
            "made       {} by {}, {}",
            cell(&manifest["at"]),
            cell(&manifest["by"]),
            cell(&manifest["server"])
        );
        println!("key        {}", cell(&shown["key"]));
        println!(
            "files      {} of {}",
            cell(&shown["files"]),
            cell(&manifest["files"])
        );
        show(&json!({
            "seals": shown["chain"]["seals"], "sealed": shown["chain"]["sealed"],
            "unsealed": shown["chain"]["unsealed"], "unsealed_since": shown["chain"]["unsealed_since"], "late": shown["chain"]["late"],
            "broken": shown["broken"],
        }));
        if shown["others"].as_u64() != Some(0) {
            println!(
                "others     {}  (of other waves, the server says: only their places in the chain are in the pack)",
                cell(&shown["others"])
            );
        }
        if shown["redacted"].as_u64() != Some(0) {
            println!(
                "redacted   {}  (entries whose place is proved by the chain, and whose words by the pack alone)",
                cell(&shown["redacted"])
            );
        }
    });
    match against.is_empty() {
        true => Ok(()),
        false => Err(anyhow!("the pack is not as it was made")).means(Exit::Disagrees),
    }
}

fn show(report: &Value) {
    println!("seals      {}", cell(&report["seals"]));
    println!("sealed     {}", cell(&report["sealed"]));
    match &report["unsealed_since"] {
        Value::Null => println!("unsealed   {}", cell(&report["unsealed"])),
        since => println!(
            "unsealed   {}  (the tail that has come since {})",
            cell(&report["unsealed"]),
            cell(since)
        ),
    }
    println!(
        "late       {}  (came after the record was sealed up to their time)",
        cell(&report["late"])
    );
    if report["left"].is_object() {
        let version = match &report["left"]["version"] {
            Value::Null => String::new(),
            version => format!(", by version {}", cell(version)),
        };
        println!(
            "left       {} with {}{version}",
            cell(&report["left"]["at"]),
            cell(&report["left"]["with"])
        );
    }
    for sentence in report["broken"].as_array().into_iter().flatten() {
        println!("broken     {}", cell(sentence));
    }
}
