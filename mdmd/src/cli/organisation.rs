//! `mdmd organisation new|list`.

use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, table};

/// Organisations of this installation.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Organisation {
    /// Make one; shows its first administrator token, once.
    New {
        /// What people call it.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Organisation) -> Done {
    match command {
        Organisation::New { name, place } => {
            let client = Client::acting(common, place).await?;
            let made = client
                .post("/api/v1/organisations", &json!({ "name": name }))
                .await?;
            super::print(common, &made, |made| {
                println!(
                    "organisation         {} ({})",
                    text(&made["name"]),
                    text(&made["code"])
                );
                println!(
                    "administrator token  {}",
                    text(&made["administrator_token"])
                );
                println!("                     shown this once; only its hash is kept");
            });
        }
        Organisation::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/organisations?limit=1000").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["organisations"],
                    &[
                        ("CODE", "code"),
                        ("NAME", "name"),
                        ("SERVERS", "servers"),
                        ("PUSH UNTIL", "push_until"),
                    ],
                );
            });
        }
    }
    Ok(())
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}
