//! A project for people.

use serde_json::{Value, json};

use crate::cli::{cell, many, table, wave};

pub(super) fn show(shown: &Value) {
    let project = &shown["project"];
    let line = |name: &str, value: String| println!("{name:<14} {value}");
    let joined = |value: &Value| -> String {
        let all: Vec<String> = value.as_array().into_iter().flatten().map(cell).collect();
        all.join(" ")
    };
    line(
        "project",
        format!("{} ({})", cell(&project["name"]), cell(&project["id"])),
    );
    line("on", cell(&project["on"]));
    line("revision", cell(&project["revision"]));
    line(
        "leaves",
        match joined(&project["originals"]) {
            all if all.is_empty() => "any service but ours".to_owned(),
            all => all,
        },
    );
    let window = &project["window"];
    line(
        "window",
        format!(
            "{} to {}",
            cell(&window["not_before"]),
            cell(&window["not_after"])
        ),
    );
    let calendar = &project["calendar"];
    line(
        "deadlines",
        format!(
            "{} from {} until {}, {} where nothing else is known",
            joined(&calendar["days"]),
            cell(&calendar["from"]),
            cell(&calendar["until"]),
            cell(&calendar["zone"])
        ),
    );
    for free in calendar["blackouts"].as_array().into_iter().flatten() {
        line(
            "kept free",
            format!(
                "{} to {}  {}",
                cell(&free["first"]),
                cell(&free["last"]),
                cell(&free["why"])
            ),
        );
    }
    line(
        "at once",
        format!("{} in a hold", many(&project["capacity"], "device")),
    );
    let gap = &project["gap"];
    for (kind, all) in [("group", &gap["groups"]), ("tag", &gap["tags"])] {
        for (name, most) in all.as_object().into_iter().flatten() {
            line(
                "in the gap",
                format!("{} of the {kind} {}", cell(most), cell(&json!(name))),
            );
        }
    }
    if gap["each_group"].is_u64() {
        line(
            "in the gap",
            format!("{} of each other group", cell(&gap["each_group"])),
        );
    }
    for (platform, runbook) in project["runbooks"].as_object().into_iter().flatten() {
        line(
            "runbook",
            format!("{platform}, pinned as {}", cell(runbook)),
        );
    }
    let gate = &project["gate"];
    line(
        "gate",
        format!(
            "{} of a hundred migrated, at most {} failed or with exceptions{}",
            cell(&gate["settled_percent"]),
            cell(&gate["most_failed_percent"]),
            if gate["sign_off"] == true {
                ", signed"
            } else {
                ""
            }
        ),
    );
    let stop = &project["stop"];
    line(
        "stops",
        format!(
            "at {} failed or with exceptions that are {} of a hundred, at {} held for long{}",
            cell(&stop["failed"]),
            cell(&stop["failed_percent"]),
            cell(&stop["long_holds"]),
            if stop["expiries"] == true {
                ", and when something ends before the last deadline"
            } else {
                ""
            }
        ),
    );
    if project["prerequisites"]
        .as_array()
        .is_some_and(|p| !p.is_empty())
    {
        line("prerequisites", joined(&project["prerequisites"]));
    }
    let waves: Vec<Value> = shown["waves"]
        .as_array()
        .into_iter()
        .flatten()
        .map(wave::row)
        .collect();
    if !waves.is_empty() {
        println!();
        table(&Value::Array(waves), &wave::COLUMNS);
    }
}
