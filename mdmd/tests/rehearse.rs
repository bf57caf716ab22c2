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

#[test]
fn a_forgotten_lock_is_a_disagreement() {
    let output = rehearse(&["--devices", "1", "--sabotage", "forget-lock", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let report = report(&output);
    assert_eq!(report["verdict"], "disagrees");
    let said = &report["devices"][0]["disagreements"];
    assert!(!said.as_array().unwrap().is_empty(), "{report:#}");
}

#[test]
fn a_device_that_is_not_released_never_ended() {
    let output = rehearse(&["--devices", "1", "--sabotage", "never-release", "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let report = report(&output);
    assert_eq!(report["verdict"], "never_ended");
    for device in report["devices"].as_array().unwrap() {
        assert_eq!(device["never_ended"], true, "{report:#}");
        assert_eq!(device["whereabouts"], "held", "{report:#}");
    }
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
