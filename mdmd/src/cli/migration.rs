//! `mdmd migration assign|extend|force|cancel|status`: migrations of a list of devices. Each is an ad-hoc wave: there is no
//! second path beside the waves.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mdm_core::clock::Timestamp;
use serde_json::{Map, Value, json};

use super::act::{self, Acceptance};
use super::client::{Client, Where};
use super::serials::Serials;
use super::{Common, Done, Ended, Exit, Means as _, cell, table};

/// Migrations of a list of devices.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Migration {
    /// Start migrations to a server entry of ours.
    Assign {
        #[command(flatten)]
        devices: Serials,
        /// When Apple enforces it, e.g. 2026-12-10T17:00:00Z; at most 90 days ahead.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        /// From when the users are asked; at once when left out.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Our server entry (its number in `token status`); the only one when left out.
        #[arg(long, value_name = "NUMBER")]
        to: Option<i64>,
        /// The runbook of a platform (ios, ipados, macos): a file of JSON, or the name of one that the server keeps; the standard one
        /// when left out.
        #[arg(long, value_name = "PLATFORM=RUNBOOK")]
        runbook: Vec<String>,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: Option<String>,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Give more time: a later deadline.
    Extend {
        #[command(flatten)]
        devices: Serials,
        /// The later deadline.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Take time away: an earlier or past deadline, after which users can no longer postpone.
    Force {
        #[command(flatten)]
        devices: Serials,
        /// The earlier deadline; it may have passed.
        #[arg(long, value_name = "TIME")]
        deadline: String,
        /// Why; goes into the record.
        #[arg(long, value_name = "SENTENCE", value_parser = super::sentence)]
        reason: String,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Call migrations back that have not begun, and prove the return to the original service.
    Cancel {
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        acceptance: Acceptance,
        #[command(flatten)]
        place: Where,
    },
    /// Where migrations stand; of all open ones when no device is named.
    Status {
        #[command(flatten)]
        devices: Serials,
        #[command(flatten)]
        place: Where,
    },
}

const PATH: &str = "/api/v1/migrations";

pub(crate) async fn run(common: &Common, command: &Migration) -> Done {
    let (body, acceptance, place) = match command {
        Migration::Assign {
            devices,
            deadline,
            from,
            to,
            runbook,
            reason,
            acceptance,
            place,
        } => {
            let client = Client::acting(common, place).await?;
            let body = json!({
                "act": "assign",
                "serials": devices.some()?,
                "deadline": moment("--deadline", deadline)?,
                "available_from": from.as_deref().map(|f| moment("--from", f)).transpose()?,
                "destination": to,
                "runbooks": runbooks(&client, runbook).await?,
                "reason": reason,
            });
            (body, acceptance, place)
        }
        Migration::Extend {
            devices,
            deadline,
            acceptance,
            place,
        } => {
            let deadline = moment("--deadline", deadline)?;
            let body = json!({ "act": "extend", "serials": devices.some()?, "deadline": deadline });
            (body, acceptance, place)
        }
        Migration::Force {
            devices,
            deadline,
            reason,
            acceptance,
            place,
        } => {
            let body = json!({
                "act": "force",
                "serials": devices.some()?,
                "deadline": moment("--deadline", deadline)?,
                "reason": reason,
            });
            (body, acceptance, place)
        }
        Migration::Cancel {
            devices,
            acceptance,
            place,
        } => {
            let body = json!({ "act": "cancel", "serials": devices.some()? });
            (body, acceptance, place)
        }
        Migration::Status { devices, place } => return status(common, devices, place).await,
    };
    let client = Client::acting(common, place).await?;
    act::run(common, &client, PATH, body, acceptance).await
}

async fn status(common: &Common, devices: &Serials, place: &Where) -> Done {
    let body = json!({ "serials": devices.any()? });
    let client = Client::looking(common, place).await?;
    let answer = client.post(&format!("{PATH}/status"), &body).await?;
    super::print(common, &answer, |answer| {
        table(
            &answer["migrations"],
            &[
                ("SERIAL", "serial"),
                ("STATE", "state"),
                ("DEADLINE", "deadline"),
                ("AT APPLE", "apple"),
                ("READ", "read"),
                ("ATTENTION", "attention"),
            ],
        );
    });
    let without = answer["without"].as_array().map_or(&[][..], Vec::as_slice);
    if without.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = without.iter().take(20).map(cell).collect();
    let more = match without.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = anyhow!("there is no migration of: {}{more}", names.join(", "));
    Err(why).means(Exit::Precondition)
}

pub(super) fn moment(flag: &str, text: &str) -> Result<Timestamp, Ended> {
    Timestamp::parse(text)
        .ok_or_else(|| anyhow!("{flag}: must be a moment with its zone, such as 2026-12-10T17:00:00Z or 2026-12-10T18:00:00+01:00"))
        .means(Exit::BadInput)
}

/// Runbooks by platform, from files or by the names under which the server keeps them; `standard` and `none` are the usual one, and the
/// name of no other. What is in them is checked by the server.
pub(super) async fn runbooks(client: &Client, files: &[String]) -> Result<Value, Ended> {
    let mut all = Map::new();
    for file in files {
        let (platform, path) = file
            .split_once('=')
            .filter(|(platform, _)| ["ios", "ipados", "macos"].contains(platform))
            .with_context(|| {
                format!("--runbook {file}: must be ios=, ipados= or macos= and a file or the name of a kept runbook")
            })
            .means(Exit::BadInput)?;
        let path = PathBuf::from(path);
        if path.to_str().is_some_and(is_standard) {
            let usual = super::runbook::content(client, platform, None, None).await?;
            insert(&mut all, platform, usual)?;
            continue;
        }
        let content = match std::fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content)
                .with_context(|| path.display().to_string())
                .means(Exit::BadInput)?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                let name = path.display().to_string();
                kept_runbook(client, platform, &name).await?
            }
            Err(why) => {
                return Err(why)
                    .with_context(|| path.display().to_string())
                    .means(Exit::BadInput);
            }
        };
        insert(&mut all, platform, content)?;
    }
    Ok(Value::Object(all))
}

fn insert(all: &mut Map<String, Value>, platform: &str, runbook: Value) -> Result<(), Ended> {
    match all.insert(platform.to_owned(), runbook) {
        None => Ok(()),
        Some(_) => Err(anyhow!("--runbook {platform}: is given twice")).means(Exit::BadInput),
    }
}

/// Whether a word means the usual runbook of a platform, which whoever names none has.
pub(super) fn is_standard(word: &str) -> bool {
    ["standard", "none"].contains(&word)
}

/// What the server keeps under a name, for this platform.
async fn kept_runbook(client: &Client, platform: &str, name: &str) -> Result<Value, Ended> {
    let found = super::runbook::kept(client, name, None).await;
    let mut found = found.map_err(|ended| match ended.not_found {
        true => Ended {
            exit: Exit::BadInput,
            why: anyhow!("--runbook {platform}={name}: there is no such file, and the server keeps no runbook of this name"),
            ..ended
        },
        false => ended,
    })?;
    let of = cell(&found["kept"]["platform"]);
    if of != platform {
        let why = anyhow!("--runbook {platform}={name}: that runbook is for {of}");
        return Err(why).means(Exit::BadInput);
    }
    Ok(found["runbook"].take())
}
