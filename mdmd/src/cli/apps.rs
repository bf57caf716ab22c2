//! `mdmd apps import|list|diff`: the apps that devices have from the service that they leave, and what would become of them.

use std::cmp::Reverse;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::check::{self, Plan};
use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _, cell, many, original, table};

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
    /// or is not known; that licences come from elsewhere is said with `organisation what-if --unknown apps.licences=warn`.
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
            let mut answer = client.pages("/api/v1/apps", "apps").await?;
            most_first(&mut answer["apps"]);
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
                println!(
                    "of {} the apps are known",
                    many(&answer["devices"], "device")
                );
            });
            Ok(())
        }
        Apps::Diff { plan, place } => diff(common, plan, place).await,
    }
}

/// Pages come by identifier; people look for what most devices have.
fn most_first(apps: &mut Value) {
    if let Some(apps) = apps.as_array_mut() {
        apps.sort_by_key(|app| Reverse(app["devices"].as_u64()));
    }
}

async fn diff(common: &Common, plan: &Plan, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let report = check::ask(&client, plan, "counts", false).await?;
    let mut forecast = report["forecast"].clone();
    if !report["needs"].is_null() {
        forecast["needs"] = report["needs"].clone();
    }
    super::print(common, &forecast, |forecast| {
        show(forecast, &report["needs"]);
    });
    let losing = forecast["losing"].as_array().map_or(0, Vec::len);
    let unknown = forecast["unknown"].as_array().map_or(0, Vec::len);
    let uncertain = uncertain(&report);
    if losing > 0 || unknown > 0 || uncertain > 0 {
        let why = anyhow!(
            "{} would lose apps with their data, of {unknown} nobody has told which they have, of {uncertain} nobody knows \
             whether there are licences for them",
            counted(losing, "device")
        );
        return Err(why).means(Exit::Precondition);
    }
    Ok(())
}

/// How many devices have apps whose licences come from elsewhere, if at all, while nobody has said that this is as it should be.
fn uncertain(report: &Value) -> usize {
    super::rows(&report["matrix"]["rows"])
        .filter(|row| row["check"] == "apps.licences" && row["result"] == "unknown")
        .filter(|row| row["counts_as"] == "block")
        .map(|row| super::rows(&row["devices"]).count())
        .sum()
}

/// What is needed of licences, and what there is of them.
fn licences(needs: &Value) {
    let rows: Vec<Value> = super::rows(needs)
        .map(|need| {
            let bundles: Vec<String> = super::rows(&need["bundles"]).map(cell).collect();
            let left = match need["unlimited"] == true {
                true => "as many as one likes".to_owned(),
                false => cell(&need["available"]),
            };
            json!({
                "app": bundles.join(", "), "store": need["app"], "needs": need["needs"], "has": need["has"], "left": left,
                "lacks": need["lacks"], "behind": need["behind"],
            })
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    table(
        &Value::Array(rows),
        &[
            ("LICENCES OF", "app"),
            ("STORE", "store"),
            ("NEEDED", "needs"),
            ("ASSIGNED", "has"),
            ("LEFT", "left"),
            ("SHORT", "lacks"),
            ("STAY BEHIND", "behind"),
        ],
    );
}

/// The forecast for people, with what it needs of licences where a location is known.
pub(super) fn show(forecast: &Value, needs: &Value) {
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
    licences(needs);
    println!(
        "{} iPhones and iPads whose apps are known, {} of which nobody has told",
        cell(&forecast["known"]),
        forecast["unknown"].as_array().map_or(0, Vec::len)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_devices_have_comes_first() {
        let app = |id: &str, devices: u64| json!({ "bundle_id": id, "devices": devices });
        let mut apps = json!([app("a", 9), app("b", 10), app("c", 9), app("d", 100)]);
        most_first(&mut apps);
        assert_eq!(
            apps,
            json!([app("d", 100), app("b", 10), app("a", 9), app("c", 9)])
        );
    }
}
