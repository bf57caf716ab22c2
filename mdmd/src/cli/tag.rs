//! `mdmd tag list|set`: tags of devices and groups of their owners, and who exactly has a tag.

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::serials::Serials;
use super::{Common, Done, Exit, Means as _, cell, table};

/// Tags of devices, by which the library, declarations, waves and steps of runbooks find them.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Tag {
    /// List tags, and the groups of devices' owners, with how many devices have each.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Give a tag to exactly these devices: others lose it. `device tag` adds and takes.
    Set {
        /// The tag.
        tag: String,
        #[command(flatten)]
        devices: Serials,
        /// And the devices whose owners are in this group now, as the original service told.
        #[arg(long)]
        group: Option<String>,
        /// No device has it any more.
        #[arg(long, conflicts_with_all = ["serials", "csv", "group"])]
        nobody: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Tag) -> Done {
    match command {
        Tag::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client
                .pages_with("/api/v1/tags", &["tags", "groups"])
                .await?;
            super::print(common, &answer, |answer| {
                let rows = |kind: &str, all: &Value| -> Vec<Value> {
                    let all = all.as_object().into_iter().flatten();
                    all.map(|(name, n)| json!({ "kind": kind, "name": name, "devices": n }))
                        .collect()
                };
                let mut all = rows("tag", &answer["tags"]);
                all.extend(rows("group", &answer["groups"]));
                let columns = [("KIND", "kind"), ("NAME", "name"), ("DEVICES", "devices")];
                table(&Value::Array(all), &columns);
            });
            Ok(())
        }
        Tag::Set {
            tag,
            devices,
            group,
            nobody,
            place,
        } => {
            let serials = match *nobody || group.is_some() {
                true => devices.any()?,
                false => devices.some()?,
            };
            let client = Client::acting(common, place).await?;
            let body = match group {
                Some(group) => json!({ "tag": tag, "serials": serials, "group": group }),
                None => json!({ "tag": tag, "serials": serials }),
            };
            let said =
                "these devices get what the library has for the tag, and all others lose it.";
            let answer = client.act("/api/v1/tags", &body, said).await?;
            super::print(common, &answer, |answer| {
                println!(
                    "added {}, taken {}",
                    cell(&answer["added"]),
                    cell(&answer["taken"])
                );
                for serial in answer["unknown"].as_array().into_iter().flatten() {
                    println!("unknown {}", cell(serial));
                }
            });
            match answer["unknown"].as_array().map_or(0, Vec::len) {
                0 => Ok(()),
                unknown => {
                    Err(anyhow!("{} not known", counted(unknown, "device"))).means(Exit::Disagrees)
                }
            }
        }
    }
}
