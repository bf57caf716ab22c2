//! `mdmd push import|status` and `mdmd api import`: credentials that come as PEM files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use zeroize::Zeroizing;

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell};

/// The push certificate.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Push {
    /// Bring it in with its key. A renewal must be for the same topic, or every device would have to enrol again.
    Import {
        /// The certificate (PEM).
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key (PEM, no passphrase).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Its topic and when it ends.
    Status {
        #[command(flatten)]
        place: Where,
    },
}

/// The organisation API of Apple Business or School Manager.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Api {
    /// Bring in an API account with its key.
    Import {
        /// `BUSINESSAPI.…` or `SCHOOLAPI.…`.
        #[arg(long)]
        client_id: String,
        /// The identifier of the key.
        #[arg(long)]
        key_id: String,
        /// The private key (PEM).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Push) -> Done {
    match command {
        Push::Import {
            certificate,
            key,
            place,
        } => {
            let certificate = read(certificate)?;
            let key = read(key)?;
            let body = json!({ "certificate": certificate.as_str(), "key": key.as_str() });
            let client = Client::acting(common, place).await?;
            let answer = client.post("/api/v1/push-certificate", &body).await?;
            super::print(common, &answer, |answer| {
                println!(
                    "topic {} until {}",
                    cell(&answer["topic"]),
                    cell(&answer["until"])
                );
            });
        }
        Push::Status { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/push-certificate").await?;
            super::print(common, &answer, |answer| {
                println!(
                    "topic {} until {}",
                    cell(&answer["topic"]),
                    cell(&answer["until"])
                );
            });
        }
    }
    Ok(())
}

pub(crate) async fn run_api(common: &Common, command: &Api) -> Done {
    let Api::Import {
        client_id,
        key_id,
        key,
        place,
    } = command;
    let key = read(key)?;
    let body = json!({ "client_id": client_id, "key_id": key_id, "key": key.as_str() });
    let client = Client::acting(common, place).await?;
    let answer = client.post("/api/v1/api-account", &body).await?;
    super::print(common, &answer, |answer| {
        println!("account {}", cell(&answer["client_id"]));
    });
    Ok(())
}

fn read(path: &Path) -> Result<Zeroizing<String>, Ended> {
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| path.display().to_string())
        .means(Exit::BadInput)
}
