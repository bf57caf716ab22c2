//! `mdmd licences token|list|assign|status|remove`: licences of Apps and Books.

use std::path::PathBuf;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::act::{self, Acceptance};
use super::client::{Client, Where};
use super::removal::{Listed, remove_listed};
use super::serials::Serials;
use super::{About as _, Common, Done, Exit, Means as _, cell, secret_file, table};

/// Licences of Apps and Books.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Licences {
    /// Bring in a content token (`.vpptoken`). Its location is claimed for this server.
    Token {
        /// The token as downloaded; `-` reads standard input.
        file: PathBuf,
        /// Displace another management service that has claimed the location; the two would take each other's licences.
        #[arg(long)]
        take_over: bool,
        #[command(flatten)]
        place: Where,
    },
    /// List locations and what they have.
    List {
        /// Read the stock of this location at Apple first (its number).
        #[arg(long, value_name = "NUMBER")]
        refresh: Option<i64>,
        #[command(flatten)]
        place: Where,
    },
    /// Give licences to devices, or take them back.
    Assign {
        /// Store identifier of an app; may be given several times.
        #[arg(long, value_name = "NUMBER", required = true)]
        app: Vec<u64>,
        /// The location (its number in `licences list`); the only one when left out.
        #[arg(long, value_name = "NUMBER")]
        location: Option<i64>,
        /// Take them back instead.
        #[arg(long)]
        take_back: bool,
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Give up a location: its token is destroyed here. Licences stay at Apple with the devices that have them.
    Remove {
        /// Its number in `licences list`.
        number: i64,
        /// The name of the location, typed once more: without it nothing is done (exit 3).
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// What the devices of a wave need, have and lack, by app. Ends with 3 when something lacks.
    Status {
        /// The wave, by its name or number.
        #[arg(long)]
        wave: String,
        #[command(flatten)]
        place: Where,
    },
}

const PATH: &str = "/api/v1/licences";

pub(crate) async fn run(common: &Common, command: &Licences) -> Done {
    match command {
        Licences::Token {
            file,
            take_over,
            place,
        } => {
            let token = secret_file::read(file)?;
            // What is no token is said before anything else is.
            abm_client::apps::ContentToken::read(&token)
                .means(Exit::BadInput)
                .about(file)?;
            let client = Client::acting(common, place).await?;
            let consequence = if *take_over {
                "the location is claimed for this server; the service that had it loses its licences."
            } else {
                "the location is claimed for this server unless another service has it; the token is kept sealed."
            };
            let answer = client
                .post_hidden(
                    &format!("{PATH}/tokens"),
                    &json!({ "take_over": take_over }),
                    &[("token", &token)],
                    consequence,
                )
                .await
                .about(file)?;
            super::print(common, &answer, |answer| {
                println!("location {}", cell(&answer["location"]));
            });
        }
        Licences::List { refresh, place } => return list(common, *refresh, place).await,
        Licences::Assign {
            app,
            location,
            take_back,
            devices,
            acceptance,
            place,
        } => {
            let serials = devices.some()?;
            let client = Client::acting(common, place).await?;
            let location = match location {
                Some(number) => json!(number),
                None => only_location(&client).await?,
            };
            let body = json!({
                "location": location,
                "apps": app,
                "take_back": take_back,
                "serials": serials,
            });
            return act::run(common, &client, PATH, body, acceptance).await;
        }
        Licences::Remove {
            number,
            confirm,
            place,
        } => return remove(common, *number, confirm.as_deref(), place).await,
        Licences::Status { wave, place } => return status(common, wave, place).await,
    }
    Ok(())
}

async fn list(common: &Common, refresh: Option<i64>, place: &Where) -> Done {
    let client = match refresh {
        Some(number) => {
            let client = Client::acting(common, place).await?;
            client
                .act_patiently(
                    &format!("{PATH}/{number}/refresh"),
                    &json!({}),
                    "the stock of the location is read at Apple.",
                )
                .await?;
            client
        }
        None => Client::looking(common, place).await?,
    };
    let answer = client.get(PATH).await?;
    super::print(common, &answer, |answer| {
        for location in answer["locations"].as_array().into_iter().flatten() {
            println!(
                "location {}: {}, token until {}, read {}",
                cell(&location["id"]),
                cell(&location["name"]),
                cell(&location["token_expires"]),
                cell(&location["stock_read"])
            );
            for (key, word) in [
                ("claimed_by_other", "claimed by"),
                ("needs_person", "needs"),
            ] {
                if !location[key].is_null() {
                    println!("  {word}: {}", cell(&location[key]));
                }
            }
            let before = &location["taken_over"];
            if !before.is_null() {
                let (from, at) = (cell(&before["from"]), cell(&before["at"]));
                println!("  taken over: from {from}, {at}");
            }
            table(
                &location["stock"],
                &[
                    ("APP", "app"),
                    ("TOTAL", "total"),
                    ("GIVEN", "assigned"),
                    ("LEFT", "available"),
                    ("UNLIMITED", "unlimited"),
                    ("FOR DEVICES", "device_assignable"),
                ],
            );
        }
    });
    Ok(())
}

async fn remove(common: &Common, number: i64, confirm: Option<&str>, place: &Where) -> Done {
    let list = Listed {
        path: PATH,
        rows: "locations",
        called: ("location", "mdmd licences list"),
    };
    let means = |name: &str| {
        format!(
            "the token of {name} is destroyed here, and nothing is given or taken back there any more; licences stay at Apple with the devices that have them, and the location stays claimed for this server until another service takes it over."
        )
    };
    remove_listed(common, place, &list, (number, confirm), means).await
}

async fn only_location(client: &Client) -> Result<Value, super::Ended> {
    let answer = client.get(PATH).await?;
    match answer["locations"].as_array().map(Vec::as_slice) {
        Some([only]) => Ok(only["id"].clone()),
        Some([_, _, ..]) => Err(anyhow!(
            "there are several locations: name one with --location"
        ))
        .means(Exit::BadInput),
        _ => Err(anyhow!(
            "there is no location yet: `mdmd licences token` brings one in"
        ))
        .means(Exit::Precondition),
    }
}

async fn status(common: &Common, wave: &str, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let wave = super::wave::number(&client, wave).await?;
    let answer = client
        .get(&format!("/api/v1/waves/{wave}/licences"))
        .await?;
    super::print(common, &answer, |answer| {
        table(
            &answer["apps"],
            &[
                ("APP", "app"),
                ("NEEDED", "needs"),
                ("THERE", "has"),
                ("LEFT", "available"),
                ("LACKING", "lacks"),
                ("WANTED ELSEWHERE", "others"),
                ("UNLIMITED", "unlimited"),
                ("FOR PEOPLE ONLY", "user_only"),
            ],
        );
    });
    let lacking = answer["apps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|app| app["lacks"].as_u64().unwrap_or(0) > 0)
        .count();
    if lacking > 0 {
        let why = anyhow!(
            "licences of {} are lacking: buy or transfer them before the deadline",
            counted(lacking, "app")
        );
        return Err(why).means(Exit::Precondition);
    }
    Ok(())
}
