//! `mdmd hold list|release`: who waits for us, and letting one go.

use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, table};

/// Devices that wait for us during their set-up.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Hold {
    /// List them, oldest first.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Let one go now, whatever is missing.
    Release {
        /// Its serial number.
        serial: String,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Hold) -> Done {
    match command {
        Hold::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/holds?limit=1000").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["holds"],
                    &[
                        ("SERIAL", "serial"),
                        ("STATE", "state"),
                        ("CEILING", "ceiling_at"),
                        ("ATTENTION", "attention"),
                    ],
                );
            });
        }
        Hold::Release { serial, place } => {
            eprintln!(
                "POST /api/v1/holds/{serial}/release: the device leaves its set-up; what is missing becomes an exception."
            );
            let client = Client::acting(common, place).await?;
            let answer = client
                .post(&format!("/api/v1/holds/{serial}/release"), &json!({}))
                .await?;
            super::print(common, &answer, |_| {
                println!(
                    "asked; `mdmd device show {serial}` shows when the device has confirmed it"
                );
            });
        }
    }
    Ok(())
}
