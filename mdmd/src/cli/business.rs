//! `mdmd business add|status|services|sync|budget`: the organisation's account at Apple Business or School Manager.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, cell, inventory, seconds_between, secret_file, span, table};

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
    /// The organisation's device-management services, as Apple names them now, and which are ours.
    Services {
        #[command(flatten)]
        place: Where,
    },
    /// Bring everything up to date now: the lists of our server entries and every device of the organisation.
    Sync {
        /// Wait so many seconds for its end; it goes on all the same.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// What is used of Apple's budget, what is left, and when everything that waits will have left.
    Budget {
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
        Business::Services { place } => {
            let client = Client::acting(common, place).await?;
            let answer = client.get("/api/v1/business/services").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["services"],
                    &[("ID", "id"), ("NAME", "name"), ("OURS", "ours")],
                );
            });
        }
        Business::Sync { wait, place } => {
            let client = Client::acting(common, place).await?;
            client
                .act(
                    "/api/v1/server-tokens/sync",
                    &json!({}),
                    "the device lists of our server entries are read now; nothing is changed at Apple.",
                )
                .await?;
            return inventory::pull(common, &client, *wait).await;
        }
        Business::Budget { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/business/budget").await?;
            super::print(common, &answer, show_budget);
        }
    }
    Ok(())
}

fn show_budget(answer: &Value) {
    let lines: Vec<Value> = answer["budgets"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|budget| {
            ["reads", "writes"].map(|what| {
                let status = &budget[what];
                let until = |key: &str| {
                    seconds_between(&answer["now"], &status[key]).map(|s| {
                        if s <= 0 {
                            "now".to_owned()
                        } else {
                            format!("in {}", span(s))
                        }
                    })
                };
                json!({
                    "name": budget["name"],
                    "what": what,
                    "used": status["used"],
                    "left": status["left"],
                    "waiting": status["waiting"],
                    "next": until("next_at"),
                    "drained": until("drained_at"),
                })
            })
        })
        .collect();
    table(
        &Value::Array(lines),
        &[
            ("BUDGET", "name"),
            ("REQUESTS", "what"),
            ("USED", "used"),
            ("LEFT", "left"),
            ("WAITING", "waiting"),
            ("NEXT", "next"),
            ("QUEUE EMPTY", "drained"),
        ],
    );
}
