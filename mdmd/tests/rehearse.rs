//! `mdmd rehearse` as a person runs it: its exit status says what the world said.
#![cfg(feature = "world")]

use std::process::{Command, Output};

fn rehearse(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("rehearse")
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .output()
        .unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn world_and_records_agree_and_the_table_says_so() {
    let output = rehearse(&["--devices", "2"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.contains("2 devices, 2 without exception"), "{table}");
    assert!(table.contains("agree on every device"), "{table}");
}

/// Each sabotage has its exit status, and the report names devices and says why.
#[test]
fn every_sabotage_has_its_exit_status_and_names_devices() {
    let cases = [
        ("skip-apps", 4, "the record does not name them"),
        ("release-early", 4, "the record does not name them"),
        ("wrong-key", 4, "verify: recovery key"),
        ("forget-lock", 4, "the lock at Apple does not open"),
        ("double-lock", 4, "the lock at Apple does not open"),
        ("never-release", 5, ""),
    ];
    for (sabotage, status, sentence) in cases {
        let output = rehearse(&["--devices", "2", "--sabotage", sabotage, "--json"]);
        assert_eq!(output.status.code(), Some(status), "{sabotage}");
        let report = report(&output);
        let word = if status == 5 {
            "never_ended"
        } else {
            "disagrees"
        };
        assert_eq!(report["verdict"], word, "{sabotage}: {report:#}");
        let named: Vec<&serde_json::Value> = report["devices"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["never_ended"] == true || d["disagreements"] != serde_json::json!([]))
            .collect();
        assert!(!named.is_empty(), "{sabotage}: {report:#}");
        let says = |d: &&serde_json::Value| d["disagreements"].to_string().contains(sentence);
        assert!(named.iter().any(says), "{sabotage}: {report:#}");
        if status == 5 {
            for device in named {
                assert_eq!(device["whereabouts"], "held", "{report:#}");
            }
        }
    }
}

/// What is printed before `wall`, the last member and the only one that real time is in.
fn before_wall(output: &Output) -> &[u8] {
    const WALL: &[u8] = b"\n  \"wall\": {";
    let end = output.stdout.windows(WALL.len()).position(|w| w == WALL);
    let (before, after) = output.stdout.split_at(end.expect("a member `wall`"));
    let after = String::from_utf8_lossy(after);
    assert_eq!(after.matches("\n  \"").count(), 1, "{after}");
    before
}

#[test]
fn two_runs_of_one_seed_print_the_same_bytes() {
    let story = [
        "--devices",
        "6",
        "--seed",
        "9",
        "--faults",
        "many",
        "--json",
    ];
    let (first, second) = (rehearse(&story), rehearse(&story));
    let text = String::from_utf8_lossy(&first.stdout);
    assert_eq!(first.status.code(), Some(0), "{text}");
    assert_eq!(before_wall(&first), before_wall(&second), "{text}");
    let other = rehearse(&["--devices", "6", "--seed", "9", "--json"]);
    assert_ne!(before_wall(&first), before_wall(&other));
    let wall = &report(&first)["wall"];
    assert!(
        wall["peak_mib"].as_u64().is_some_and(|mib| mib > 1),
        "{wall}"
    );
}

#[test]
fn what_cannot_be_rehearsed_is_bad_input() {
    for wrong in [
        ["--devices", "0"],
        ["--faults", "plenty"],
        ["--sabotage", "sleep"],
    ] {
        let output = rehearse(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}
