//! `mdmd profile add|list|equivalence`: configuration profiles of the library, and whether devices get again what they have from
//! the service that they leave.

use anyhow::anyhow;
use mdm_core::counted::{agree, counted};
use serde_json::{Value, json};

use super::check::{Plan, ask};
use super::client::{Client, Where};
use super::library::{self, NewProfile};
use super::{Common, Done, Exit, Means as _, cell, many, table};

/// Configuration profiles, and whether devices get again what they have from the service that they leave.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Profile {
    /// Put a configuration profile into the library, or a new revision of the item of this name.
    Add(NewProfile),
    /// List the profiles of the library.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// What the service that devices leave delivered (networks, VPN, identities, approvals) against what we deliver, with the
    /// devices that would go without; exit 4 when there are any.
    Equivalence {
        #[command(flatten)]
        plan: Box<Plan>,
        /// Name every device of a gap.
        #[arg(long)]
        explain: bool,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Profile) -> Done {
    match command {
        Profile::Add(new) => library::put_profile(common, new).await,
        Profile::List { place } => {
            let client = Client::looking(common, place).await?;
            let mut answer = client.pages("/api/v1/library", "items").await?;
            if let Some(items) = answer["items"].as_array_mut() {
                items.retain(|item| item["content"]["kind"] == "profile");
            }
            super::print(common, &answer, library::show);
            Ok(())
        }
        Profile::Equivalence {
            plan,
            explain,
            place,
        } => {
            let client = Client::looking(common, place).await?;
            let report = ask(&client, plan, "counts", false).await?;
            let answer = json!({ "at": report["at"], "profiles": report["profiles"] });
            super::print(common, &answer, |answer| {
                show(&answer["profiles"], *explain)
            });
            let rows = answer["profiles"]["rows"].as_array().into_iter().flatten();
            let gaps = rows.filter(|row| row["gap"].as_array().is_some_and(|g| !g.is_empty()));
            match gaps.count() {
                0 => Ok(()),
                gaps => Err(anyhow!(
                    "{} that devices have now would be missing",
                    counted(gaps, "thing")
                ))
                .means(Exit::Disagrees),
            }
        }
    }
}

fn show(profiles: &Value, explain: bool) {
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let joined = |value: &Value| all(value).iter().map(cell).collect::<Vec<_>>().join(", ");
    let rows: Vec<Value> = all(&profiles["rows"])
        .iter()
        .map(|row| {
            let gap = all(&row["gap"]);
            let without = match (gap.len(), explain) {
                (0, _) => String::new(),
                (1..=3, _) | (_, true) => joined(&row["gap"]),
                (more, false) => format!("{}, and {} more", cell(&gap[0]), more - 1),
            };
            json!({
                "kind": row["kind"], "what": row["what"], "devices": row["devices"],
                "by": if row["delivered_by"] == json!([]) { json!("nothing") } else { json!(joined(&row["delivered_by"])) },
                "gap": gap.len(), "without": without,
            })
        })
        .collect();
    let columns = [
        ("KIND", "kind"),
        ("WHAT", "what"),
        ("DEVICES", "devices"),
        ("DELIVERED BY", "by"),
        ("GAP", "gap"),
        ("WITHOUT IT", "without"),
    ];
    table(&Value::Array(rows), &columns);
    println!("profiles known of {}", many(&profiles["known"], "device"));
    let unknown = all(&profiles["unknown"]).len();
    if unknown > 0 {
        println!(
            "nobody has told which profiles {} {}: nothing above speaks of these",
            counted(unknown, "device"),
            agree(unknown, "has", "have")
        );
    }
}
