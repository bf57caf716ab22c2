//! `mdmd business add|remove|status|services|sync|budget`: the organisation's account at Apple Business or School Manager.

use std::path::PathBuf;

use abm_client::ErrorKind;
use anyhow::anyhow;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::removal::{Removal, removed};
use super::{
    About as _, Common, Done, Exit, Means as _, cell, inventory, seconds_between, secret_file,
    span, table,
};

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
    /// Take the account away: its key is destroyed here. At Apple it stays until somebody revokes it there.
    Remove {
        /// The identifier of the account (`BUSINESSAPI.…`), typed once more: without it nothing is done (exit 3).
        #[arg(long, value_name = "CLIENT_ID")]
        confirm: Option<String>,
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
        /// End the pauses that Apple has asked for, before it is shown: somebody knows that they need not be kept.
        #[arg(long)]
        lift: bool,
        #[command(flatten)]
        place: Where,
    },
}

const SYNC: &str = "/api/v1/server-tokens/sync";
const LISTS: &str =
    "the device lists of our server entries are read now; nothing is changed at Apple.";

pub(crate) async fn run(common: &Common, command: &Business) -> Done {
    match command {
        Business::Add {
            client_id,
            key_id,
            key,
            place,
        } => {
            let file = key;
            let key = secret_file::read(file)?;
            if let Err(error) = abm_client::business::ApiAccount::new(client_id, key_id, &key) {
                let option = match error.kind() {
                    ErrorKind::InvalidInput { field, .. } if field == "client_id" => "--client-id",
                    ErrorKind::InvalidInput { field, .. } if field == "key_id" => "--key-id",
                    _ => return Err(error).means(Exit::BadInput).about(file),
                };
                return Err(anyhow!(error).context(option)).means(Exit::BadInput);
            }
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
        Business::Remove { confirm, place } => {
            return remove(common, confirm.as_deref(), place).await;
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
            let account = client.get("/api/v1/business").await?;
            let tokens = client.get("/api/v1/server-tokens").await?;
            let lists = tokens["servers"].as_array().map_or(0, Vec::len);
            if account["client_id"].is_null() {
                let what = match lists {
                    0 => {
                        "there is neither an account nor a server token yet, so nothing can be read: `mdmd business add` brings an account in, `mdmd token import` a token"
                    }
                    _ => {
                        "there is no account of Apple Business or School yet, so only the lists of our server entries are read: `mdmd business add` brings one in"
                    }
                };
                if lists == 0 {
                    return Err(anyhow!(what)).means(Exit::Precondition);
                }
                client.act(SYNC, &json!({}), LISTS).await?;
                return Err(anyhow!(what)).means(Exit::Precondition);
            }
            client.act(SYNC, &json!({}), LISTS).await?;
            return inventory::pull(common, &client, *wait).await;
        }
        Business::Budget { lift, place } => {
            let client = match lift {
                false => Client::looking(common, place).await?,
                true => {
                    let client = Client::acting(common, place).await?;
                    let path = "/api/v1/business/budget/lift";
                    let what = "requests leave again although Apple has asked for silence; what is used of the budget stays used.";
                    client.act(path, &json!({}), what).await?;
                    client
                }
            };
            let answer = client.get("/api/v1/business/budget").await?;
            super::print(common, &answer, show_budget);
        }
    }
    Ok(())
}

async fn remove(common: &Common, confirm: Option<&str>, place: &Where) -> Done {
    let client = Client::acting(common, place).await?;
    let account = client.get("/api/v1/business").await?;
    let Some(account) = account["client_id"].as_str() else {
        return Err(anyhow!(
            "there is no account: `mdmd business add` brings one in"
        ))
        .means(Exit::Precondition);
    };
    let means = format!(
        "the key of {account} is destroyed here, and migrations can neither be asked for nor read any more; at Apple the account stays until somebody revokes it there."
    );
    let removal = Removal {
        path: "/api/v1/business/remove",
        field: "client_id",
        typed: account,
        means: &means,
        gone: ("account ", "client_id"),
    };
    removed(common, &client, &removal, confirm).await
}

fn show_budget(answer: &Value) {
    for budget in answer["budgets"].as_array().into_iter().flatten() {
        let until = |key: &str| {
            let seconds = seconds_between(&answer["now"], &budget[key]);
            seconds.filter(|s| *s > 0).map(span)
        };
        if let Some(left) = until("paused_until") {
            println!(
                "{}: Apple wants silence for {left} more; `mdmd business budget --lift` ends it",
                cell(&budget["name"])
            );
        }
        if let Some(left) = until("lists_step_aside_until") {
            println!(
                "{}: acts wait for their reads; the reading of lists lets them go first for {left}",
                cell(&budget["name"])
            );
        }
    }
    let lines: Vec<Value> = answer["budgets"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|budget| {
            ["reads", "lists", "writes"].map(|what| {
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
