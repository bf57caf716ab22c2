//! `mdmd push import|status`: the push certificate, which comes as PEM files.

use std::path::PathBuf;

use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, cell, secret_file};

/// The push certificate.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Push {
    /// Bring it in with its key. A renewal must be for the same topic, or every device would have to enrol again.
    Import {
        /// The certificate (PEM).
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key (PEM, no passphrase); `-` reads standard input.
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

pub(crate) async fn run(common: &Common, command: &Push) -> Done {
    match command {
        Push::Import {
            certificate,
            key,
            place,
        } => {
            let certificate = secret_file::read(certificate)?;
            let key = secret_file::read(key)?;
            let client = Client::acting(common, place).await?;
            let answer = client
                .post_hidden(
                    "/api/v1/push-certificate",
                    &json!({ "certificate": String::from_utf8_lossy(&certificate) }),
                    &[("key", &key)],
                    "devices are woken with this certificate from now on; its key is kept sealed.",
                )
                .await?;
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
