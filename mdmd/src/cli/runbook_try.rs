//! `mdmd runbook try`: plays an edited runbook on simulated devices, through the real server in a directory of its own, and shows what
//! happened to each of them. Touches no installation; contents of profiles are stand-ins, since those are sealed where they are kept.

use std::collections::BTreeMap;

use anyhow::anyhow;
use mdm_core::counted::counted;
use mdm_core::migration::{PinnedRunbook, SentRunbook, VisibleState};
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _, cell};
use crate::rehearsal::{self, Faults, Rehearsal, Row, Timetable, Verdict};

/// Which runbook, on which devices.
#[derive(clap::Args, Debug)]
pub(crate) struct Try {
    /// Its name at the server, a platform for the standard one, or a file with --platform.
    runbook: String,
    /// The runbook is a file (JSON) for this platform.
    #[arg(long, value_name = "PLATFORM", value_parser = ["ios", "ipados", "macos"])]
    platform: Option<String>,
    /// Another edit than the one in force.
    #[arg(long)]
    revision: Option<u32>,
    /// How many devices.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=200))]
    devices: u32,
    /// One seed tells one story.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What goes wrong in the world.
    #[arg(long, value_enum, default_value_t = Faults::None)]
    faults: Faults,
    #[command(flatten)]
    place: Where,
}

/// Runs it; 4 when a device ended with an exception or was kept back before, or the world disagrees with our records; 5 when something never ended.
pub(crate) async fn run(common: &Common, args: &Try) -> Done {
    let (platform, runbook) = match &args.platform {
        Some(platform) => (platform.clone(), super::runbook::from_file(&args.runbook)?),
        None if ["ios", "ipados", "macos"].contains(&args.runbook.as_str()) => {
            let client = Client::looking(common, &args.place).await?;
            let name = &args.runbook;
            let standard = super::runbook::content(&client, name, None, None).await?;
            (name.clone(), standard)
        }
        None => {
            let client = Client::looking(common, &args.place).await?;
            let mut kept = super::runbook::kept(&client, &args.runbook, args.revision).await?;
            (cell(&kept["kept"]["platform"]), kept["runbook"].take())
        }
    };
    let platform = super::runbook::platform_of(&platform)?;
    let runbook: SentRunbook = serde_json::from_value(runbook)
        .map_err(|why| anyhow!("the runbook: {why}"))
        .means(Exit::BadInput)?;
    let runbook = PinnedRunbook::from(runbook);
    let mut rehearsal = Rehearsal::new(args.devices, args.seed);
    rehearsal.faults = args.faults;
    rehearsal.own = BTreeMap::from([(platform, runbook)]);
    for (platform, own) in &rehearsal.own {
        own.validate_for(*platform).means(Exit::BadInput)?;
    }
    // Its deadline is soon: what is before the hold is not what is tried.
    rehearsal.timetable = Timetable {
        offer: std::time::Duration::from_secs(3600),
        deadline: std::time::Duration::from_secs(25 * 3600),
        days: 1,
    };
    rehearsal.timelines = true;
    rehearsal.quiet = true;
    let summary = rehearsal::run(&rehearsal).await?;
    if common.json {
        println!("{:#}", summary.json());
    } else {
        for row in &summary.rows {
            show(row);
        }
    }
    let excepted = summary.rows.iter().any(|row| !row.exceptions.is_empty());
    let blocked = |row: &&Row| row.outcome == Some(VisibleState::Blocked);
    let blocked = summary.rows.iter().filter(blocked).count();
    if blocked > 0 {
        return Err(anyhow!(
            "nothing was tried on {} of {}: what the look before a migration found is shown above",
            blocked,
            counted(summary.rows.len(), "device")
        ))
        .means(Exit::Disagrees);
    }
    match summary.verdict() {
        Verdict::NeverEnded => Err(anyhow!("something never ended")).means(Exit::NeverEnded),
        Verdict::Disagrees => {
            Err(anyhow!("the world and the record disagree")).means(Exit::Disagrees)
        }
        _ if excepted => Err(anyhow!("not everything came true")).means(Exit::Disagrees),
        Verdict::Agrees | Verdict::NotInjected => Ok(()),
    }
}

/// What happened to one device, from the beginning of its set-up on.
fn show(row: &Row) {
    println!(
        "{} ({}): {}, held for {}",
        row.serial,
        row.platform,
        row.outcome
            .map_or_else(|| "nothing came of it".to_owned(), |o| format!("{o:?}")),
        counted(row.hold_minutes, "minute")
    );
    let begun = row.timeline.iter().position(|entry| entry.what == "set-up");
    let entries = &row.timeline[begun.unwrap_or(0)..];
    let start = entries.first().map(|entry| entry.at);
    for entry in entries {
        let secs = start.map_or(0, |start| entry.at.since(start).as_secs());
        let at = format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60);
        let mut said = Vec::new();
        if entry.detail["from"] != entry.detail["to"] {
            said.push(format!(
                "{} -> {}",
                cell(&entry.detail["from"]),
                cell(&entry.detail["to"])
            ));
        }
        if let Some(steps) = entry.detail["steps"].as_object() {
            said.extend(steps.iter().map(|(name, status)| step(name, status)));
        }
        let blockers = entry.detail["evidence"]["blockers"].as_array();
        said.extend(blockers.into_iter().flatten().map(cell));
        for exception in entry.detail["exceptions"].as_array().into_iter().flatten() {
            said.push(format!(
                "EXCEPTION {}: {} ({})",
                cell(&exception["what"]),
                cell(&exception["why"]),
                cell(&exception["owner"])
            ));
        }
        if !said.is_empty() {
            println!("  {at:>9}  {:<8} {}", entry.what, said.join("; "));
        }
    }
    for exception in &row.exceptions {
        println!(
            "  not true: {}: {} ({})",
            exception.what,
            exception.why,
            cell(&json!(exception.owner))
        );
    }
    for disagreement in &row.disagreements {
        println!("  {disagreement}");
    }
}

/// A step and where it stands.
fn step(name: &str, status: &Value) -> String {
    match status {
        Value::Object(inner) => {
            let Some((word, detail)) = inner.iter().next() else {
                return name.to_owned();
            };
            let detail = detail["evidence"].as_str().or(detail["why"].as_str());
            format!("{name} {word}: {}", detail.unwrap_or_default())
        }
        other => format!("{name} {}", cell(other)),
    }
}
