//! `mdmd check`: the what-if. Looks at devices, a list, a wave or all with every check; nothing is sent, nothing is written.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::serials::Serials;
use super::{Common, Done, Ended, Exit, Means as _, apps, cell, table};
use crate::originals;

/// What stands for and against moving devices: every check with its fact, the fact's source and age, and who can mend it. Ends
/// with 3 when something stands against a device.
#[derive(clap::Args, Debug)]
pub(crate) struct Look {
    #[command(flatten)]
    plan: Plan,
    /// Every check of every device, passes too.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    place: Where,
}

/// What is looked at.
#[derive(clap::Args, Debug)]
pub(crate) struct Plan {
    #[command(flatten)]
    devices: Serials,
    /// A wave, by its name or number, with the deadlines and runbooks of its members.
    #[arg(long, value_name = "WAVE", conflicts_with_all = ["serials", "csv", "all"])]
    wave: Option<String>,
    /// Every device that is known.
    #[arg(long, conflicts_with_all = ["serials", "csv"])]
    all: bool,
    /// When Apple would enforce it; in thirty days when left out.
    #[arg(long, value_name = "TIME", conflicts_with = "wave")]
    deadline: Option<String>,
    /// Our server entry (its number in `token status`); the only one when left out.
    #[arg(long, value_name = "NUMBER", conflicts_with = "wave")]
    to: Option<i64>,
    /// The runbook of a platform (ios, ipados, macos): a file of JSON, or the name of one that the server keeps; the standard one
    /// when left out.
    #[arg(long, value_name = "PLATFORM=RUNBOOK", conflicts_with = "wave")]
    runbook: Vec<String>,
}

/// Asks for a report; `detail` as the API names it.
pub(super) async fn ask(client: &Client, plan: &Plan, detail: &str) -> Result<Value, Ended> {
    if let Some(wave) = &plan.wave {
        let wave = super::wave::number(client, wave).await?;
        return client
            .get(&format!("/api/v1/waves/{wave}/checks?detail={detail}"))
            .await;
    }
    let serials = if plan.all {
        let all = client.pages("/api/v1/devices", "devices").await?;
        let rows = all["devices"].as_array().into_iter().flatten();
        let serials: Vec<Value> = rows.map(|row| row["serial"].clone()).collect();
        if serials.is_empty() {
            return Err(anyhow!("no device is known yet: `mdmd inventory pull`"))
                .means(Exit::Precondition);
        }
        json!(serials)
    } else {
        json!(plan.devices.some()?)
    };
    let deadline = plan.deadline.as_deref().map(|text| {
        originals::moment(text)
            .ok_or_else(|| anyhow!("--deadline: must be a moment like 2026-12-10T17:00:00Z"))
            .means(Exit::BadInput)
    });
    let body = json!({
        "serials": serials,
        "deadline": deadline.transpose()?,
        "destination": plan.to,
        "runbooks": super::migration::runbooks(client, &plan.runbook).await?,
        "detail": detail,
    });
    client.post("/api/v1/checks", &body).await
}

pub(crate) async fn run(common: &Common, look: &Look) -> Done {
    let client = Client::looking(common, &look.place).await?;
    let detail = if look.explain {
        "everything"
    } else {
        "problems"
    };
    let report = ask(&client, &look.plan, detail).await?;
    super::print(common, &report, |report| show(report, look.explain));
    let blocked = report["blocked"].as_u64().unwrap_or(0);
    let server = rows(&report["server"])
        .filter(|f| f["result"] == "block")
        .count();
    if blocked > 0 || server > 0 {
        let why = anyhow!(
            "something stands against {blocked} devices, {server} things against all of them"
        );
        return Err(why).means(Exit::Precondition);
    }
    Ok(())
}

fn rows(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn show(report: &Value, explain: bool) {
    let reasons: Vec<Value> = rows(&report["matrix"]["rows"])
        .map(|row| {
            let devices: Vec<String> = rows(&row["devices"]).map(cell).collect();
            let mut named = devices
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join(" ");
            if devices.len() > 3 {
                named.push_str(" …");
            }
            json!({
                "counts": row["counts_as"],
                "check": row["check"],
                "found": row["result"],
                "devices": devices.len(),
                "which": named,
                "fact": row["fact"],
                "fix": rows(&row["fixes"]).map(cell).collect::<Vec<_>>().join("; "),
            })
        })
        .collect();
    table(
        &Value::Array(reasons),
        &[
            ("COUNTS AS", "counts"),
            ("CHECK", "check"),
            ("FOUND", "found"),
            ("DEVICES", "devices"),
            ("WHICH", "which"),
            ("FOR EXAMPLE", "fact"),
            ("WHAT WOULD MEND IT", "fix"),
        ],
    );
    for finding in rows(&report["server"]).filter(|f| explain || f["result"] != "pass") {
        println!(
            "{}  {}: {}",
            cell(&finding["result"]),
            cell(&finding["check"]),
            cell(&finding["fact"])
        );
    }
    if explain {
        for member in rows(&report["members"]) {
            println!(
                "\n{}  {}",
                cell(&member["serial"]),
                cell(&member["counts_as"])
            );
            table(
                &member["findings"],
                &[
                    ("CHECK", "check"),
                    ("FOUND", "result"),
                    ("FACT", "fact"),
                    ("SOURCE", "source"),
                    ("AS OF", "at"),
                    ("WHO", "who"),
                ],
            );
        }
        println!();
    }
    if rows(&report["forecast"]["apps"]).next().is_some() || explain {
        apps::show(&report["forecast"]);
    }
    println!(
        "{} devices blocked, {} with something to be known, {} clear",
        cell(&report["blocked"]),
        cell(&report["warned"]),
        cell(&report["clear"])
    );
}
