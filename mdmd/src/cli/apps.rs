//! `mdmd apps import|list|diff`: the apps that devices have from the service that they leave, and what would become of them.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::check::{self, Plan};
use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _, cell, original, table};

/// Apps that devices have from the service that they leave.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Apps {
    /// Bring in an export of that service: CSV with a row for each app of each device, or JSON.
    Import {
        #[command(flatten)]
        file: original::File,
        #[command(flatten)]
        place: Where,
    },
    /// List the apps that are known, and how many devices have each.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// What would become of each app: kept, dropped as decided, or lost with its data. Ends with 3 when something would be lost
    /// or is not known.
    Diff {
        #[command(flatten)]
        plan: Plan,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Apps) -> Done {
    match command {
        Apps::Import { file, place } => original::import(common, file, place, true).await,
        Apps::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/apps").await?;
            super::print(common, &answer, |answer| {
                table(
                    &answer["apps"],
                    &[
                        ("APP", "bundle_id"),
                        ("NAME", "name"),
                        ("STORE", "store_id"),
                        ("DEVICES", "devices"),
                    ],
                );
                println!("of {} devices the apps are known", cell(&answer["devices"]));
            });
            Ok(())
        }
        Apps::Diff { plan, place } => diff(common, plan, place).await,
    }
}

async fn diff(common: &Common, plan: &Plan, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let report = check::ask(&client, plan, "counts").await?;
    let forecast = &report["forecast"];
    super::print(common, forecast, show);
    let losing = forecast["losing"].as_array().map_or(0, Vec::len);
    let unknown = forecast["unknown"].as_array().map_or(0, Vec::len);
    if losing + unknown > 0 {
        let why = anyhow!(
            "{losing} devices would lose apps with their data, of {unknown} nobody has told which they have"
        );
        return Err(why).means(Exit::Precondition);
    }
    Ok(())
}

/// The forecast for people.
pub(super) fn show(forecast: &Value) {
    let rows: Vec<Value> = forecast["apps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|app| {
            let lost = app["lost"].as_object();
            let people = app["people"].as_array().map_or(0, Vec::len);
            let why: std::collections::BTreeSet<&str> =
                lost.into_iter().flat_map(|l| l.values()).filter_map(Value::as_str).collect();
            json!({
                "app": app["bundle_id"],
                "name": app["name"],
                "runbook": app["actions"].as_array().map(|a| a.iter().map(cell).collect::<Vec<_>>().join(", ")),
                "present": app["present"],
                "kept": app["kept"],
                "dropped": app["dropped"],
                "lost": lost.map_or(0, serde_json::Map::len),
                "uncertain": app["uncertain"],
                "people": people,
                "why": why.into_iter().collect::<Vec<_>>().join(", "),
            })
        })
        .collect();
    table(
        &Value::Array(rows),
        &[
            ("APP", "app"),
            ("NAME", "name"),
            ("RUNBOOK", "runbook"),
            ("DEVICES", "present"),
            ("KEPT", "kept"),
            ("DROPPED", "dropped"),
            ("LOST", "lost"),
            ("NOT KNOWN", "uncertain"),
            ("PEOPLE", "people"),
            ("WHY", "why"),
        ],
    );
    println!(
        "{} iPhones and iPads whose apps are known, {} of which nobody has told",
        cell(&forecast["known"]),
        forecast["unknown"].as_array().map_or(0, Vec::len)
    );
}
