//! `mdmd assignment list|ade-profile|assign`: which ADE profile each device has, and why not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::counted::{agree, counted};
use serde_json::{Value, json};

use super::client::{Client, LOOK, Where, until};
use super::serials::Serials;
use super::{Common, Done, Exit, Means as _, cell, inventory, table};

/// Which ADE profile each device has.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Assignment {
    /// List devices with their profile, and the reason of each that has none.
    List {
        #[command(flatten)]
        devices: Serials,
        /// Only devices without the profile that they should have.
        #[arg(long)]
        missing: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Show what is defined at Apple and proved by reading it back; with --change, change it.
    AdeProfile {
        /// What profiles say from now on, as JSON; `await_device_configured` is always true and cannot be set.
        #[arg(long, value_name = "FILE")]
        change: Option<PathBuf>,
        /// After a change: wait so many seconds until it is defined at every server entry and read back.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// Have the wanted profiles of devices assigned now, and prove it by reading them back. Who is throttled by Apple still
    /// waits; who by its plan can have none while this waits is not waited for (exit 4).
    Assign {
        #[command(flatten)]
        devices: Serials,
        /// Wait so many seconds for the proof.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Assignment) -> Done {
    match command {
        Assignment::List {
            devices,
            missing,
            place,
        } => {
            let serials = devices.any()?;
            let client = Client::looking(common, place).await?;
            let (mut all, unknown) = inventory::views(&client, &serials).await?;
            // A device that stands in none of our lists can have no profile of ours.
            all.retain(|view| !view["assignment"].is_null());
            if *missing {
                all.retain(|view| !view["no_profile"].is_null());
            }
            super::print(common, &json!({ "devices": all }), |answer| {
                show(&answer["devices"])
            });
            inventory::all_known(&unknown)
        }
        Assignment::AdeProfile {
            change,
            wait,
            place,
        } => match change {
            None => {
                let client = Client::looking(common, place).await?;
                let answer = client.get("/api/v1/ade-profiles").await?;
                super::print(common, &answer, profiles);
                Ok(())
            }
            Some(file) => {
                let content = std::fs::read(file)
                    .with_context(|| file.display().to_string())
                    .means(Exit::BadInput)?;
                let content: Value = serde_json::from_slice(&content)
                    .with_context(|| file.display().to_string())
                    .means(Exit::BadInput)?;
                let client = Client::acting(common, place).await?;
                client
                    .act(
                        "/api/v1/ade-profiles",
                        &content,
                        "a new profile is defined at Apple and read back; every device gets it at its next assignment.",
                    )
                    .await?;
                proved(common, &client, *wait).await
            }
        },
        Assignment::Assign {
            devices,
            wait,
            place,
        } => assign(common, devices, *wait, place).await,
    }
}

/// Waits until what was changed is defined everywhere and read back.
async fn proved(common: &Common, client: &Client, wait: u64) -> Done {
    let end = until(wait);
    let lacks = |answer: &Value| -> Vec<Value> {
        let servers = answer["servers"].as_array().into_iter().flatten();
        servers.filter(|s| s["proved"] != true).cloned().collect()
    };
    let answer = loop {
        let answer = client.get_by("/api/v1/ade-profiles", end).await?;
        if lacks(&answer).is_empty() || Instant::now() >= end {
            break answer;
        }
        tokio::time::sleep(LOOK).await;
    };
    super::print(common, &answer, profiles);
    match lacks(&answer).first() {
        None => Ok(()),
        Some(server) => {
            let why = match server["needs_person"].as_str() {
                Some(what) => what.to_owned(),
                None => "it is not defined at Apple and read back yet".to_owned(),
            };
            let why = anyhow!("server entry {}: {why}", cell(&server["name"]));
            Err(why).means(Exit::NeverEnded)
        }
    }
}

async fn assign(common: &Common, devices: &Serials, wait: u64, place: &Where) -> Done {
    let serials = devices.some()?;
    let client = Client::acting(common, place).await?;
    let consequence = format!(
        "{} {} the ADE profile that they should have; those in a wave once their migration is offered, and are asked to migrate from then on.",
        counted(serials.len(), "device"),
        agree(serials.len(), "gets", "get")
    );
    client
        .act(
            "/api/v1/assignments",
            &json!({ "serials": serials }),
            &consequence,
        )
        .await?;
    let end = until(wait);
    let ends = SystemClock.now() + std::time::Duration::from_secs(wait);
    let mut pause = LOOK;
    let mut told = BTreeMap::new();
    let all = loop {
        // Whether the server can be asked again by now.
        client.get_by("/api/v1/ade-profiles", end).await?;
        match inventory::views(&client, &serials).await {
            Ok((all, _)) => {
                let mut open = all.iter().filter(|v| !v["no_profile"].is_null());
                // What cannot come while somebody waits is not waited for.
                if open.clone().all(|v| is_later(v, ends)) || Instant::now() >= end {
                    break all;
                }
                let mut why: BTreeMap<String, usize> = BTreeMap::new();
                open.by_ref().for_each(|v| {
                    *why.entry(cell(&v["no_profile"]["sentence"])).or_default() += 1;
                });
                if why != told {
                    for (sentence, count) in &why {
                        let devices = counted(*count, "device");
                        eprintln!("mdmd: waits for {devices}: {sentence}");
                    }
                    told = why;
                }
            }
            Err(ended) if Instant::now() >= end => return Err(ended.why).means(Exit::NeverEnded),
            Err(_) => {}
        }
        tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        // Many devices are many answers: less and less often.
        pause = (pause * 2).min(LOOK * 15);
    };
    let missing = all.iter().filter(|v| !v["no_profile"].is_null()).count();
    super::print(common, &json!({ "devices": all }), |answer| {
        show(&answer["devices"])
    });
    if missing > 0 {
        let why = anyhow!(
            "{} without a profile yet; the list says why",
            counted(missing, "device")
        );
        let mut open = all.iter().filter(|v| !v["no_profile"].is_null());
        return match open.all(|v| is_later(v, ends)) {
            true => Err(why).means(Exit::Disagrees),
            false => Err(why).means(Exit::NeverEnded),
        };
    }
    Ok(())
}

/// Whether it is known that a device gets none before this moment: its plan says so.
fn is_later(view: &Value, ends: Timestamp) -> bool {
    let why = &view["no_profile"]["reason"];
    match why["reason"].as_str() {
        Some("not-offered" | "too-late") => true,
        Some("not-yet") => {
            let from = why["from"].as_str().and_then(Timestamp::parse);
            from.is_some_and(|from| from > ends)
        }
        _ => false,
    }
}

fn show(devices: &Value) {
    let lines: Vec<Value> = devices
        .as_array()
        .into_iter()
        .flatten()
        .map(|view| {
            json!({
                "serial": view["serial"],
                "status": view["assignment"]["profile_status"],
                "profile": view["assignment"]["profile"],
                "seen": view["assignment"]["seen"],
                "why": view["no_profile"]["sentence"],
            })
        })
        .collect();
    table(
        &Value::Array(lines),
        &[
            ("SERIAL", "serial"),
            ("STATUS", "status"),
            ("PROFILE", "profile"),
            ("READ", "seen"),
            ("NONE BECAUSE", "why"),
        ],
    );
}

fn profiles(answer: &Value) {
    println!("{:#}", answer["options"]);
    for server in answer["servers"].as_array().into_iter().flatten() {
        println!();
        println!(
            "server entry {} ({})",
            cell(&server["id"]),
            cell(&server["name"])
        );
        table(
            &server["profiles"],
            &[
                ("PROFILE", "uuid"),
                ("IN USE", "current"),
                ("AWAITS CONFIGURATION, READ BACK", "proved_awaiting"),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_plan_puts_off_is_not_waited_for() {
        let ends = Timestamp::parse("2026-12-10T09:00:00Z").unwrap();
        let check = |reason: Value, later: bool| {
            let view = json!({ "no_profile": { "reason": reason, "sentence": "…" } });
            assert_eq!(is_later(&view, ends), later, "{view}");
        };
        check(json!({ "reason": "not-offered" }), true);
        check(json!({ "reason": "too-late", "why": "x" }), true);
        check(
            json!({ "reason": "not-yet", "from": "2026-12-10T09:00:01Z" }),
            true,
        );
        check(
            json!({ "reason": "not-yet", "from": "2026-12-10T09:00:00Z" }),
            false,
        );
        check(json!({ "reason": "due" }), false);
        check(json!({ "reason": "not-listed" }), false);
        check(
            json!({ "reason": "throttled", "until": "2027-12-10T09:00:00Z" }),
            false,
        );
    }
}
