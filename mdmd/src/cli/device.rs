//! `mdmd device list|show`: what is known of devices, and the single-object report with its timeline.

use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, cell, table};

/// Devices.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Device {
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Everything about one.
    Show {
        /// Its serial number.
        serial: String,
        /// With everything that happened, oldest first.
        #[arg(long)]
        timeline: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Device) -> Done {
    match command {
        Device::List { place } => list(common, place).await,
        Device::Show {
            serial,
            timeline,
            place,
        } => show(common, place, serial, *timeline).await,
    }
}

async fn list(common: &Common, place: &Where) -> Done {
    let client = Client::looking(common, place).await?;
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = client
            .get(&format!("/api/v1/devices?limit=1000&after={after}"))
            .await?;
        all.extend(page["devices"].as_array().cloned().unwrap_or_default());
        match page["next"].as_i64() {
            Some(next) => after = next,
            None => break,
        }
    }
    super::print(common, &json!({ "devices": all }), |answer| {
        table(
            &answer["devices"],
            &[
                ("SERIAL", "serial"),
                ("PLATFORM", "platform"),
                ("OS", "os_version"),
                ("NAME", "name"),
                ("ENROLLED", "enrolled"),
                ("MIGRATING", "migrating"),
                ("PROFILE", "profile_status"),
            ],
        );
    });
    Ok(())
}

async fn show(common: &Common, place: &Where, serial: &str, timeline: bool) -> Done {
    let client = Client::looking(common, place).await?;
    let mut report = client.get(&format!("/api/v1/devices/{serial}")).await?;
    if !timeline && let Some(object) = report.as_object_mut() {
        object.remove("timeline");
    }
    super::print(common, &report, |report| {
        let device = &report["device"];
        let line = |name: &str, value: &Value| println!("{name:<16} {}", cell(value));
        line("serial number", &device["serial"]);
        line("state", &report["state"]);
        line("product", &device["facts"]["product"]);
        line("system", &device["facts"]["os_version"]);
        line("UDID", &device["facts"]["udid"]);
        line("facts learned", &device["facts"]["learned"]);
        line("profile", &device["record"]["profile_status"]);
        line("seen at Apple", &device["record"]["seen"]);
        let enrolments = report["enrollments"].as_array().map_or(0, Vec::len);
        line("enrolments", &json!(enrolments));
        line("set-up", &report["set_up"]["state"]);
        line("attempt", &report["attempt"]["state"]);
        for secret in report["secrets"].as_array().into_iter().flatten() {
            let old = if secret["replaced"].is_null() {
                ""
            } else {
                ", replaced"
            };
            println!(
                "{:<16} {} since {}{old}",
                "holds",
                cell(&secret["kind"]),
                cell(&secret["created"])
            );
        }
        if let Some(entries) = report["timeline"].as_array() {
            println!();
            for entry in entries {
                println!(
                    "{}  {:<10} {:<24} {}",
                    cell(&entry["at"]),
                    cell(&entry["actor"]),
                    cell(&entry["what"]),
                    entry["detail"]
                );
            }
        }
    });
    Ok(())
}
