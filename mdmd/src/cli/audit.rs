//! `mdmd audit tail|verify|checkpoint`: the record, whether anybody has touched it, and what to take along so that it shows.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::client::{Client, Where};
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
    /// Look through the chain over it; exit 4 when anybody has changed, removed or reordered a line.
    Verify {
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
        Audit::Verify { checkpoint, place } => {
            let mut body = json!({});
            if let Some(file) = checkpoint {
                let content = std::fs::read(file)
                    .with_context(|| file.display().to_string())
                    .means(Exit::BadInput)?;
                body["checkpoint"] = serde_json::from_slice(&content)
                    .with_context(|| file.display().to_string())
                    .means(Exit::BadInput)?;
            }
            let client = Client::acting(common, place).await?;
            let report = client.post("/api/v1/audit/verification", &body).await?;
            super::print(common, &report, show);
            match report["broken"].as_array().map_or(0, Vec::len) {
                0 => Ok(()),
                _ => Err(anyhow!("the record is not as it was sealed")).means(Exit::Disagrees),
            }
        }
        Audit::Checkpoint { out, place } => {
            let client = Client::acting(common, place).await?;
            let checkpoint = client.post("/api/v1/audit/checkpoints", &json!({})).await?;
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(out)
                .with_context(|| out.display().to_string())
                .means(Exit::BadInput)?;
            std::io::Write::write_all(&mut file, format!("{checkpoint:#}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| out.display().to_string())?;
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

fn show(report: &Value) {
    println!("seals      {}", cell(&report["seals"]));
    println!("sealed     {}", cell(&report["sealed"]));
    println!(
        "unsealed   {}  (the tail that has come since)",
        cell(&report["unsealed"])
    );
    println!(
        "late       {}  (sealed more than an hour after their own time)",
        cell(&report["late"])
    );
    for sentence in report["broken"].as_array().into_iter().flatten() {
        println!("broken     {}", cell(sentence));
    }
}
