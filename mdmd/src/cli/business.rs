//! `mdmd business add|status`: the organisation's account at Apple Business or School Manager.

use std::path::PathBuf;

use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, cell, secret_file, table};

/// The organisation's account at Apple Business or School Manager.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Business {
    /// Bring in an API account with its key. Apple is asked before it is kept.
    Add {
        /// `BUSINESSAPI.…` or `SCHOOLAPI.…`.
        #[arg(long)]
        client_id: String,
        /// The identifier of the key.
        #[arg(long)]
        key_id: String,
        /// The private key (PEM); `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Which account is in use.
    Status {
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Business) -> Done {
    match command {
        Business::Add {
            client_id,
            key_id,
            key,
            place,
        } => {
            let key = secret_file::read(key)?;
            let client = Client::acting(common, place).await?;
            let answer = client
                .post_hidden(
                    "/api/v1/business",
                    &json!({ "client_id": client_id, "key_id": key_id }),
                    &[("key", &key)],
                    "Apple is asked for the organisation's services with this account; its key is kept sealed.",
                )
                .await?;
            super::print(common, &answer, |answer| {
                println!("account {}; its services:", cell(&answer["client_id"]));
                table(&answer["services"], &[("ID", "id"), ("NAME", "name")]);
            });
        }
        Business::Status { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/business").await?;
            super::print(common, &answer, |answer| {
                println!("account {}", cell(&answer["client_id"]));
                println!("key     {}", cell(&answer["key_id"]));
            });
        }
    }
    Ok(())
}
