//! Waves for people: how one stands, what a what-if found, what would be sent.

use std::io::Write;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use crate::cli::{Done, Exit, Means as _, apps, cell, check, many, rows, table};

/// The columns of [`row`].
pub(in crate::cli) const COLUMNS: [(&str, &str); 9] = [
    ("NUMBER", "id"),
    ("NAME", "name"),
    ("FOR", "preset"),
    ("STATE", "state"),
    ("MEMBERS", "members"),
    ("PLANNED", "planned"),
    ("UNDER WAY", "under_way"),
    ("MIGRATED", "migrated"),
    ("FAILED", "failed"),
];

/// `draft`, `submitted`, `closed`, and whether it is paused.
fn state(wave: &Value) -> String {
    let word = match &wave["state"] {
        Value::String(word) => word.clone(),
        Value::Object(state) => state.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    match wave["paused"].is_null() {
        true => word,
        false => format!("{word}, paused"),
    }
}

/// How a wave stands, as a row of a table.
pub(in crate::cli) fn row(standing: &Value) -> Value {
    let (wave, tally) = (&standing["wave"], &standing["tally"]);
    let sum = |names: &[&str]| -> u64 { names.iter().filter_map(|n| tally[*n].as_u64()).sum() };
    json!({
        "id": wave["id"],
        "name": wave["name"],
        "preset": wave["preset"],
        "state": state(wave),
        "members": tally["members"],
        "planned": tally["planned"],
        "under_way": sum(&["submitting", "scheduled", "offered", "overdue", "moving", "stalled"]),
        "migrated": sum(&["migrated", "with_exceptions"]),
        "failed": sum(&["failed", "abandoned"]),
    })
}

pub(super) fn list(all: &Value) {
    let lines: Vec<Value> = rows(&all["waves"])
        .map(|wave| {
            json!({
                "id": wave["id"], "name": wave["name"], "preset": wave["preset"], "state": state(wave),
                "made": wave["created"],
                "accepted": wave["acceptance"]["by"],
            })
        })
        .collect();
    table(
        &Value::Array(lines),
        &[
            ("NUMBER", "id"),
            ("NAME", "name"),
            ("FOR", "preset"),
            ("STATE", "state"),
            ("MADE", "made"),
            ("ACCEPTED BY", "accepted"),
        ],
    );
}

pub(super) fn standing(standing: &Value) {
    let (wave, tally) = (&standing["wave"], &standing["tally"]);
    let line = |name: &str, value: String| println!("{name:<16} {value}");
    line(
        "wave",
        format!("{} ({})", cell(&wave["name"]), cell(&wave["id"])),
    );
    line("project", cell(&standing["project"]));
    line("state", state(wave));
    if !wave["paused"].is_null() {
        line(
            "paused",
            format!(
                "by {} at {}: {}",
                cell(&wave["paused"]["by"]),
                cell(&wave["paused"]["at"]),
                cell(&wave["paused"]["why"])
            ),
        );
    }
    let words = [
        ("members", "members"),
        ("planned", "planned"),
        ("blocked", "  of these blocked"),
        ("ready", "  of these ready"),
        ("submitting", "asked of Apple"),
        ("scheduled", "scheduled"),
        ("offered", "offered"),
        ("overdue", "overdue"),
        ("moving", "moving"),
        ("stalled", "silent"),
        ("long_holds", "held for long"),
        ("migrated", "migrated"),
        ("with_exceptions", "with exceptions"),
        ("failed", "failed"),
        ("abandoned", "abandoned"),
        ("cancelled", "called back"),
        ("withdrawn", "withdrawn"),
    ];
    for (key, name) in words {
        if key == "members" || tally[key].as_u64() != Some(0) {
            line(name, cell(&tally[key]));
        }
    }
    let wave = &standing["wave"];
    if !wave["ade"].is_null() {
        line("ADE profile", format!("its own: {}", wave["ade"]));
    }
    if let Some(texts) = wave["owner_texts"].as_object() {
        let languages: Vec<&str> = texts.keys().map(String::as_str).collect();
        line(
            "texts for owners",
            format!("its own in {}", languages.join(", ")),
        );
    }
    for sentence in rows(&standing["drift"]) {
        line("drift", cell(sentence));
    }
    if standing["moved_elsewhere"].as_u64() != Some(0) {
        line(
            "changed outside",
            format!(
                "{} with another deadline at Apple than planned",
                many(&standing["moved_elsewhere"], "device")
            ),
        );
    }
    if !standing["gate"].is_null() {
        gate(&standing["gate"]);
    }
    for name in ["registered", "user", "updated", "apps", "key", "lock"] {
        let of = &standing["marks"][name];
        let count = |state: &str| of[state].as_u64().filter(|n| *n > 0);
        let states = ["proved", "waiting", "missing", "not_wanted"];
        let said: Vec<String> = states
            .iter()
            .filter_map(|state| Some(format!("{} {}", count(state)?, state.replace('_', " "))))
            .collect();
        if !said.is_empty() {
            line(name, said.join(", "));
        }
    }
    for (name, key) in [("ended by", "ended"), ("expected by", "expected")] {
        for point in rows(&standing["progress"][key]) {
            line(name, format!("{}  {}", cell(&point[0]), cell(&point[1])));
        }
    }
    let stuck = standing["progress"]["not_expected"].as_u64();
    if let Some(stuck) = stuck.filter(|n| *n > 0) {
        let why = "blocked, or their requests failed";
        line("not expected", format!("{stuck}: {why}"));
    }
    let failures = &standing["failures"];
    if let Some(counts) = failures["counts"].as_object() {
        for (mode, count) in counts {
            line("goes wrong", format!("{mode} on {}", cell(count)));
        }
    }
    if let Some(known) = failures["known"].as_object() {
        for (mode, count) in known {
            line("known", format!("{mode} on {}", cell(count)));
        }
    }
    super::super::failures::show(&failures["banners"]);
}

pub(super) fn gate(gate: &Value) {
    if gate.is_null() {
        println!("gate             none: the wave is of no project");
        return;
    }
    let mut against = rows(&gate["against"]).peekable();
    if against.peek().is_none() {
        println!("gate             open");
    }
    for sentence in against {
        println!("gate             {}", cell(sentence));
    }
    if !gate["signed"].is_null() {
        let signed = &gate["signed"];
        println!(
            "signed           by {} at {}: {}",
            cell(&signed["by"]),
            cell(&signed["at"]),
            cell(&signed["reason"])
        );
    }
}

/// What would be sent, as it would be sent.
pub(super) fn requests(what_if: &Value, out: &mut dyn Write) {
    for request in rows(&what_if["requests"]) {
        // A reader that has gone away is no failure of the act.
        drop(writeln!(
            out,
            "{} {}  ({})\n{:#}",
            cell(&request["method"]),
            cell(&request["path"]),
            many(&request["devices"], "device"),
            request["body"]
        ));
    }
}

pub(super) fn what_if(what_if: &Value, with_requests: bool) {
    let report = &what_if["report"];
    check::show_reasons(report, false);
    check::show_of_all(report, false);
    for budget in rows(&report["server"]).filter(|f| f["check"] == "post.budget") {
        println!(
            "requests to Apple  {}: {}",
            cell(&budget["result"]),
            cell(&budget["fact"])
        );
    }
    for sentence in rows(&what_if["against_all"]) {
        println!("against all: {}", cell(sentence));
    }
    for warning in rows(&what_if["warnings"]) {
        println!("note: {}", cell(warning));
    }
    for (serial, findings) in what_if["blockers"].as_object().into_iter().flatten() {
        let findings: Vec<String> = rows(findings).map(cell).collect();
        println!("stays behind: {serial}: {}", findings.join("; "));
    }
    for (serial, findings) in what_if["waived"].as_object().into_iter().flatten() {
        let findings: Vec<String> = rows(findings).map(cell).collect();
        println!("goes, waived: {serial}: {}", findings.join("; "));
    }
    for sentence in rows(&what_if["drift"]) {
        println!("drift: {}", cell(sentence));
    }
    for line in check::since(&what_if["since"]) {
        println!("{line}");
    }
    if rows(&report["forecast"]["apps"]).next().is_some() {
        apps::show(&report["forecast"], &report["needs"]);
    }
    if with_requests {
        requests(what_if, &mut std::io::stdout());
    }
    println!(
        "{}; {} blocked, {} with something to be known, {} clear",
        counted(rows(&what_if["requests"]).count(), "request"),
        counted(blocked(what_if), "device"),
        cell(&report["warned"]),
        cell(&report["clear"])
    );
    if what_if["accepted"].is_null() {
        println!("digest {}", cell(&what_if["digest"]));
    } else {
        let accepted = &what_if["accepted"];
        println!(
            "digest {}, accepted by {} at {}",
            cell(&what_if["digest"]),
            cell(&accepted["by"]),
            cell(&accepted["at"])
        );
    }
}

/// What stands against all of them, with what would mend it where that is known.
pub(super) fn against_all(what_if: &Value) -> Vec<String> {
    let mended = |sentence: &Value| {
        let sentence = cell(sentence);
        let found = rows(&what_if["report"]["server"])
            .find(|f| sentence == format!("{}: {}", cell(&f["check"]), cell(&f["fact"])));
        match found.and_then(|found| found["fix"].as_str()) {
            Some(fix) => format!("{sentence} ({fix})"),
            None => sentence,
        }
    };
    rows(&what_if["against_all"]).map(mended).collect()
}

/// Devices against which something stands that nobody has waived.
fn blocked(what_if: &Value) -> usize {
    what_if["blockers"]
        .as_object()
        .map_or(0, serde_json::Map::len)
}

/// Whether every member that could be submitted stays behind.
pub(super) fn nobody_goes(what_if: &Value) -> bool {
    let count = |name: &str| what_if["report"][name].as_u64().unwrap_or(0);
    let all = count("blocked") + count("warned") + count("clear");
    all > 0 && u64::try_from(blocked(what_if)).is_ok_and(|staying| staying >= all)
}

/// Ends well only when nothing stands against anybody.
pub(super) fn verdict(what_if: &Value) -> Done {
    let blocked = blocked(what_if);
    let all = rows(&what_if["against_all"]).count();
    let count = |name: &str| what_if["report"][name].as_u64().unwrap_or(0);
    if count("blocked") + count("warned") + count("clear") == 0 {
        let why = "the wave has no member that is not submitted yet: nobody was looked at";
        return Err(anyhow!(why)).means(Exit::Precondition);
    }
    if blocked == 0 && all == 0 {
        return Ok(());
    }
    let why = anyhow!(
        "something stands against {}, {} against all of them",
        counted(blocked, "device"),
        counted(all, "thing")
    );
    Err(why).means(Exit::Precondition)
}
