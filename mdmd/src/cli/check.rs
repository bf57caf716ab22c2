//! `mdmd check`: the what-if. Looks at devices, a list, a wave or all with every check, and says what has come and gone since the last
//! look at the same list; nothing is sent, and nothing is written but what the next look is compared with.

use anyhow::anyhow;
use mdm_core::clock::Timestamp;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::serials::Serials;
use super::{Common, Done, Ended, Exit, Means as _, apps, cell, many, rows, table};
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

/// Asks for a report; `detail` as the API names it. With `keep` the next one says what has come and gone since.
pub(super) async fn ask(
    client: &Client,
    plan: &Plan,
    detail: &str,
    keep: bool,
) -> Result<Value, Ended> {
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
        "keep": keep,
        // All are not the same ones for ever.
        "list": plan.all.then_some("all"),
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
    let keep = !client.only_looks();
    let report = ask(&client, &look.plan, detail, keep).await?;
    super::print(common, &report, |report| show(report, look.explain));
    let blocked = report["blocked"].as_u64().unwrap_or(0);
    let server = rows(&report["server"])
        .filter(|f| f["result"] == "block")
        .count();
    if blocked > 0 || server > 0 {
        let why = anyhow!(
            "something stands against {}, {} against all of them",
            counted(blocked, "device"),
            counted(server, "thing")
        );
        return Err(why).means(Exit::Precondition);
    }
    Ok(())
}

/// The columns of a finding: what it is, where it comes from and how old it is, what would mend it and who can.
const FINDING: [(&str, &str); 8] = [
    ("CHECK", "check"),
    ("FOUND", "result"),
    ("FACT", "fact"),
    ("SOURCE", "source"),
    ("AS OF", "at"),
    ("AGE", "age"),
    ("WHAT WOULD MEND IT", "fix"),
    ("WHO", "who"),
];

/// A finding with how old its fact was when it was looked at.
fn aged(finding: &Value, now: Option<Timestamp>) -> Value {
    let mut finding = finding.clone();
    let at = finding["at"].as_str().and_then(Timestamp::parse);
    if let (Some(at), Some(now)) = (at, now) {
        finding["age"] = json!(age(now.since(at).as_secs()));
    }
    finding
}

/// Seconds in the largest unit that says something.
fn age(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs / 60),
        3600..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// What holds for all of them, passes too where everything is asked for.
pub(super) fn show_of_all(report: &Value, everything: bool) {
    let now = report["at"].as_str().and_then(Timestamp::parse);
    let found = rows(&report["server"]).filter(|f| everything || f["result"] != "pass");
    let found: Vec<Value> = found.map(|finding| aged(finding, now)).collect();
    if !found.is_empty() {
        println!("for all of them:");
        table(&Value::Array(found), &FINDING);
    }
}

/// What has come and gone since the last run, a line each.
pub(super) fn since(since: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let of_devices = [
        ("new", "appeared"),
        ("gone", "gone"),
        ("another fact", "facts"),
    ];
    for (word, key) in of_devices {
        for change in rows(&since[key]) {
            lines.push(format!(
                "{word} since the last run: {} {} of {}",
                cell(&change[0]),
                cell(&change[1]),
                counted(rows(&change[2]).count(), "device")
            ));
        }
    }
    for (word, key) in [("new", "of_all_appeared"), ("gone", "of_all_gone")] {
        for change in rows(&since[key]) {
            lines.push(format!(
                "{word} since the last run, of all: {} {}: {}",
                cell(&change[0]),
                cell(&change[1]),
                cell(&change[2])
            ));
        }
    }
    for (word, key) in [("new", "lost_appeared"), ("gone", "lost_gone")] {
        for (app, devices) in since[key].as_object().into_iter().flatten() {
            lines.push(format!(
                "{word} since the last run: {app} would be lost with its data on {}",
                counted(rows(devices).count(), "device")
            ));
        }
    }
    lines
}

/// What was found, a reason a row: with the first devices of each where they are to be named.
pub(super) fn show_reasons(report: &Value, named: bool) {
    let reasons: Vec<Value> = rows(&report["matrix"]["rows"])
        .map(|row| {
            let devices: Vec<String> = rows(&row["devices"]).map(cell).collect();
            let mut which = devices
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join(" ");
            if devices.len() > 3 {
                which.push_str(" …");
            }
            json!({
                "counts": row["counts_as"],
                "check": row["check"],
                "found": row["result"],
                "devices": devices.len(),
                "which": which,
                "fact": row["fact"],
                "fix": rows(&row["fixes"]).map(cell).collect::<Vec<_>>().join("; "),
            })
        })
        .collect();
    let mut columns = vec![
        ("COUNTS AS", "counts"),
        ("CHECK", "check"),
        ("FOUND", "found"),
        ("DEVICES", "devices"),
        ("WHICH", "which"),
        ("FOR EXAMPLE", "fact"),
        ("WHAT WOULD MEND IT", "fix"),
    ];
    columns.retain(|(_, of)| named || *of != "which");
    table(&Value::Array(reasons), &columns);
}

fn show(report: &Value, explain: bool) {
    show_reasons(report, true);
    show_of_all(report, explain);
    if explain {
        let now = report["at"].as_str().and_then(Timestamp::parse);
        for member in rows(&report["members"]) {
            println!(
                "\n{}  {}",
                cell(&member["serial"]),
                cell(&member["counts_as"])
            );
            let findings: Value = rows(&member["findings"]).map(|f| aged(f, now)).collect();
            table(&findings, &FINDING);
        }
        println!();
    }
    for line in since(&report["since"]) {
        println!("{line}");
    }
    if rows(&report["forecast"]["apps"]).next().is_some() || explain {
        apps::show(&report["forecast"], &report["needs"]);
    }
    println!(
        "{} blocked, {} with something to be known, {} clear",
        many(&report["blocked"], "device"),
        cell(&report["warned"]),
        cell(&report["clear"])
    );
}
