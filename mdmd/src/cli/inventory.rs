//! `mdmd inventory pull|list|export`: what is known of each device from three sides (Apple's organisation API, Apple's
//! assignment service, our own enrolment), how old each fact is, and where they contradict each other.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::anyhow;
use mdm_core::clock::Timestamp;
use mdm_core::counted::counted;
use mdm_core::ids::Serial;
use serde_json::{Value, json};

use super::client::{Client, LOOK, Where, until};
use super::new_file::create;
use super::serials::Serials;
use super::{Common, Done, Ended, Exit, Means as _, cell, original, table};
use crate::reports::SERVER;
use crate::{csv, out};

/// What is known of each device from three sides.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Inventory {
    /// Read every device of the organisation at Apple, within Apple's budget.
    Pull {
        /// Wait so many seconds for its end; it goes on all the same.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        wait: u64,
        #[command(flatten)]
        place: Where,
    },
    /// Bring in what the service that devices leave knows of them: CSV or JSON. It is the source of the what-if.
    Import {
        #[command(flatten)]
        file: original::File,
        #[command(flatten)]
        place: Where,
    },
    /// List the three views of devices, all of them when none is named.
    List {
        #[command(flatten)]
        devices: Serials,
        /// Only devices whose views contradict each other.
        #[arg(long)]
        contradictions: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Write all of it, with the age of every fact, as CSV or JSON (one object a line).
    Export {
        /// The form; CSV when left out, or with --json JSON on standard output.
        #[arg(long)]
        format: Option<Format>,
        /// The new file; standard output when left out.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        place: Where,
    },
}

/// Forms of an export.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    Json,
}

/// Columns of the export, and where each stands in a view.
const COLUMNS: [(&str, &str); 18] = [
    ("serial", "/serial"),
    ("api_seen", "/api/seen"),
    ("api_unknown", "/api/unknown"),
    ("api_service", "/api/service"),
    ("api_service_name", "/api/service_name"),
    ("api_capable", "/api/capable"),
    ("api_migration", "/api/migration"),
    ("api_deadline", "/api/deadline"),
    ("list_seen", "/assignment/seen"),
    ("list_server", "/assignment/server"),
    ("list_gone", "/assignment/gone"),
    ("list_profile_status", "/assignment/profile_status"),
    ("list_profile", "/assignment/profile"),
    ("list_deadline", "/assignment/deadline"),
    ("no_profile_because", "/no_profile/sentence"),
    ("enrolment_state", "/enrolment/state"),
    ("enrolment_since", "/enrolment/since"),
    ("contradictions", "/contradictions"),
];

/// Where a view has the moments of its three sources.
const SEEN: [&str; 3] = ["/api/seen", "/assignment/seen", "/enrolment/since"];
/// Columns behind those: how old each source is, when it was read, and by which server. In every row, for rows are copied out of
/// their files.
const OF_EXPORT: [&str; 5] = [
    "api_age_s",
    "list_age_s",
    "enrolment_age_s",
    "report_at",
    "server",
];

pub(crate) async fn run(common: &Common, command: &Inventory) -> Done {
    match command {
        Inventory::Pull { wait, place } => {
            let client = Client::acting(common, place).await?;
            pull(common, &client, *wait).await
        }
        Inventory::Import { file, place } => original::import(common, file, place, false).await,
        Inventory::List {
            devices,
            contradictions,
            place,
        } => list(common, place, devices, *contradictions).await,
        Inventory::Export { format, out, place } => {
            // Of a file, --json is about what is answered of it.
            let format = match (format, common.json && out.is_none()) {
                (Some(format), _) => *format,
                (None, true) => Format::Json,
                (None, false) => Format::Csv,
            };
            export(common, place, format, out.as_deref()).await
        }
    }
}

/// Begins a reading and waits for its end.
pub(super) async fn pull(common: &Common, client: &Client, wait: u64) -> Done {
    let asked = client
        .act(
            "/api/v1/inventory/pull",
            &json!({}),
            "every device of the organisation is read at Apple, as fast as Apple's budget allows; nothing is changed there.",
        )
        .await?;
    let end = until(wait);
    let mut told = Value::Null;
    let answer = loop {
        let answer = client.get_by("/api/v1/inventory", end).await?;
        if reached(&answer["complete"], &asked["wanted"]) {
            break answer;
        }
        if answer["needs_person"] != told && !answer["needs_person"].is_null() {
            told = answer["needs_person"].clone();
            eprintln!("mdmd: waits for a person: {}", cell(&told));
        }
        if Instant::now() >= end {
            super::print(common, &answer, show);
            let why = held_by(client).await.unwrap_or_default();
            return Err(anyhow!(
                "it is not read to its end yet; the reading goes on{why}"
            ))
            .means(Exit::NeverEnded);
        }
        tokio::time::sleep(LOOK).await;
    };
    super::print(common, &answer, show);
    Ok(())
}

/// What holds a reading up, as far as the budget of the organisation API tells.
async fn held_by(client: &Client) -> Result<String, Ended> {
    let answer = client.get("/api/v1/business/budget").await?;
    let budgets = answer["budgets"].as_array().into_iter().flatten();
    let mut own = budgets.filter(|b| {
        let name = b["name"].as_str().unwrap_or_default();
        name.starts_with("organisation-api")
    });
    let paused = |b: &Value| b["paused_until"].as_str().map(str::to_owned);
    Ok(match own.find_map(paused) {
        Some(until) => format!("; Apple has asked for silence until {until}"),
        None => "; `mdmd business budget` shows what is left of Apple's budget".to_owned(),
    })
}

fn show(answer: &Value) {
    println!("devices   {}", cell(&answer["devices"]));
    println!("pages     {}", cell(&answer["pages"]));
    println!("complete  {}", cell(&answer["complete"]));
    table(
        &answer["services"],
        &[("ID", "id"), ("SERVICE", "name"), ("OURS", "ours")],
    );
}

/// Whether a moment of an answer is not before another one.
fn reached(moment: &Value, wanted: &Value) -> bool {
    let read = |value: &Value| value.as_str().and_then(Timestamp::parse);
    match (read(moment), read(wanted)) {
        (Some(moment), Some(wanted)) => moment >= wanted,
        _ => false,
    }
}

/// Goes through all views, a page at a time.
pub(super) async fn each(
    client: &Client,
    mut take: impl FnMut(&Value) -> Result<(), Ended>,
) -> Result<(), Ended> {
    each_from(client, "", |view, _| take(view)).await.map(drop)
}

/// The same with the moment at which they are taken along, the first page asked for with more words; answers the record's seal
/// that it told.
async fn each_from(
    client: &Client,
    words: &str,
    mut take: impl FnMut(&Value, &Value) -> Result<(), Ended>,
) -> Result<Value, Ended> {
    let mut after = json!(0);
    let mut first: Option<(Value, Value)> = None;
    loop {
        let words = if first.is_none() { words } else { "" };
        let page = client
            .get(&format!(
                "/api/v1/inventory/views?limit=1000&after={}{words}",
                cell(&after)
            ))
            .await?;
        let (_, at) = first.get_or_insert_with(|| (page["record"].clone(), page["at"].clone()));
        for view in page["views"].as_array().into_iter().flatten() {
            take(view, at)?;
        }
        after = page["next"].clone();
        if after.is_null() {
            return Ok(first.map(|(record, _)| record).unwrap_or_default());
        }
    }
}

/// Devices whose views are asked for one by one; more are looked for among all.
const FEW: usize = 100;

/// The views of these devices, or of all; and those that are not known.
pub(super) async fn views(
    client: &Client,
    serials: &[Serial],
) -> Result<(Vec<Value>, Vec<Serial>), Ended> {
    let mut all = Vec::new();
    if serials.is_empty() || serials.len() > FEW {
        let mut wanted: BTreeSet<&str> = serials.iter().map(Serial::as_str).collect();
        each(client, |view| {
            let serial = view["serial"].as_str().unwrap_or_default();
            if serials.is_empty() || wanted.remove(serial) {
                all.push(view.clone());
            }
            Ok(())
        })
        .await?;
        let unknown = serials.iter().filter(|s| wanted.contains(s.as_str()));
        return Ok((all, unknown.cloned().collect()));
    }
    let mut unknown = Vec::new();
    for serial in serials {
        let path = format!("/api/v1/inventory/views/{serial}");
        match client.get(&path).await {
            Ok(view) => all.push(view),
            Err(ended) if ended.not_found => unknown.push(serial.clone()),
            Err(ended) => return Err(ended),
        }
    }
    Ok((all, unknown))
}

/// Who is not known here is named, after what is known was shown.
pub(super) fn all_known(unknown: &[Serial]) -> Done {
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = unknown.iter().take(20).map(Serial::as_str).collect();
    let more = match unknown.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(anyhow!("not known here: {}{more}", names.join(", "))).means(Exit::Precondition)
}

async fn list(common: &Common, place: &Where, devices: &Serials, contradictions: bool) -> Done {
    let serials = devices.any()?;
    let client = Client::looking(common, place).await?;
    let (mut all, unknown) = views(&client, &serials).await?;
    if contradictions {
        all.retain(|view| {
            view["contradictions"]
                .as_array()
                .is_some_and(|c| !c.is_empty())
        });
    }
    super::print(common, &json!({ "views": all }), |answer| {
        let lines: Vec<Value> = answer["views"]
            .as_array()
            .into_iter()
            .flatten()
            .map(line)
            .collect();
        table(
            &Value::Array(lines),
            &[
                ("SERIAL", "serial"),
                ("SERVICE", "service"),
                ("MIGRATION", "status"),
                ("DEADLINE", "deadline"),
                ("IN LIST", "list"),
                ("ENROLMENT", "enrolment"),
                ("CONTRADICTIONS", "contradictions"),
            ],
        );
    });
    all_known(&unknown)
}

/// A view for people.
fn line(view: &Value) -> Value {
    let list = match &view["assignment"] {
        Value::Null => json!("not in ours"),
        record if record["gone"] == true => json!("has left"),
        record => record["profile_status"].clone(),
    };
    let service = match (&view["api"]["service_name"], &view["api"]["service"]) {
        (Value::Null, id) => id.clone(),
        (name, _) => name.clone(),
    };
    json!({
        "serial": view["serial"],
        "service": service,
        "status": view["api"]["migration"],
        "deadline": view["api"]["deadline"],
        "list": list,
        "enrolment": view["enrolment"]["state"],
        "contradictions": joined(&view["contradictions"]),
    })
}

/// Contradictions as one text.
fn joined(list: &Value) -> Value {
    let all: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| cell(&c["kind"]))
        .collect();
    if all.is_empty() {
        Value::Null
    } else {
        json!(all.join("; "))
    }
}

async fn export(
    common: &Common,
    place: &Where,
    format: Format,
    file: Option<&std::path::Path>,
) -> Done {
    // The record says that it was taken along, and is sealed for that.
    let client = Client::exporting(common, place).await?;
    let mut sink: Box<dyn std::io::Write> = match file {
        None => Box::new(std::io::BufWriter::new(out::Paper)),
        Some(path) => Box::new(std::io::BufWriter::new(create(path, 0o666)?)),
    };
    if format == Format::Csv {
        let columns = COLUMNS.iter().map(|(name, _)| *name);
        let columns: Vec<&str> = columns.chain(OF_EXPORT).collect();
        writeln!(sink, "{}", columns.join(","))?;
    }
    let mut count = 0_u64;
    let record = each_from(&client, "&export=true", |view, at| {
        count += 1;
        match format {
            Format::Json => {
                let mut view = view.clone();
                view["report_at"] = at.clone();
                view["server"] = json!(SERVER);
                writeln!(sink, "{view}")?;
            }
            Format::Csv => writeln!(sink, "{}", row(view, at))?,
        }
        Ok(())
    })
    .await?;
    sink.flush()?;
    if let Some(path) = file {
        let answer = json!({ "file": path, "devices": count, "record": record });
        super::print(common, &answer, |_| {
            println!("{} in {}", counted(count, "device"), path.display());
            if !record.is_null() {
                println!(
                    "the record is sealed up to seal {} ({})",
                    cell(&record["seal"]),
                    cell(&record["hash"])
                );
            }
        });
    }
    Ok(())
}

/// How many seconds before a moment another one was; nothing where one is not known.
pub(super) fn age(seen: Option<&Value>, at: &Value) -> String {
    let read = |value: &Value| value.as_str().and_then(Timestamp::parse);
    match (seen.and_then(read), read(at)) {
        (Some(seen), Some(at)) => at.since(seen).as_secs().to_string(),
        _ => String::new(),
    }
}

/// A view as a line of the export, read at a moment.
fn row(view: &Value, at: &Value) -> String {
    let own = SEEN.map(|place| age(view.pointer(place), at));
    let own = own.into_iter().chain([cell(at), SERVER.to_owned()]);
    let cells: Vec<String> = COLUMNS
        .iter()
        .map(|(_, place)| {
            let value = view.pointer(place).unwrap_or(&Value::Null);
            let text = match value {
                Value::Null => String::new(),
                Value::Array(_) => joined(value).as_str().unwrap_or_default().to_owned(),
                other => cell(other),
            };
            csv::cell(&text)
        })
        .chain(own.map(|text| csv::cell(&text)))
        .collect();
    cells.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_becomes_a_row_with_as_many_cells_as_the_heading() {
        let view = json!({
            "serial": "C02A",
            "api": { "seen": "2026-12-10T17:00:00Z", "service_name": "A, B" },
            "contradictions": [{ "kind": "one-thing" }, { "kind": "another" }],
        });
        let columns = COLUMNS.iter().map(|(name, _)| *name).chain(OF_EXPORT);
        let columns: Vec<&str> = columns.collect();
        let line = row(&view, &json!("2026-12-10T18:00:00Z"));
        let text = format!("{}\n{line}\n", columns.join(","));
        let rows = csv::rows(text.as_bytes()).unwrap();
        assert_eq!(rows[1].cells.len(), columns.len());
        assert_eq!(rows[1].cells[18], "3600", "the age of what the API said");
        assert_eq!(rows[1].cells[19], "", "of what nobody said");
        assert_eq!(rows[1].cells[21..], ["2026-12-10T18:00:00Z", SERVER]);
        assert_eq!(rows[1].cells[4], "A, B");
        assert_eq!(rows[1].cells[17], "one-thing; another");
    }

    #[test]
    fn a_reading_that_ended_before_it_was_asked_for_is_not_it() {
        let at = |text: &str| json!(text);
        assert!(reached(
            &at("2026-12-10T17:00:00Z"),
            &at("2026-12-10T17:00:00Z")
        ));
        assert!(!reached(
            &at("2026-12-10T16:59:59Z"),
            &at("2026-12-10T17:00:00Z")
        ));
        assert!(!reached(&Value::Null, &at("2026-12-10T17:00:00Z")));
    }
}
