//! `mdmd replay` as a person runs it: its exit status and what it prints.
#![cfg(feature = "world")]

use std::process::{Command, Output};

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("replay")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_refusal_is_a_result_and_an_unreadable_path_is_not() {
    let recordings = fixtures::recorded::directory();
    let signed = recordings.join("signed");
    let played = replay(&["--json", signed.to_str().unwrap()]);
    let complaint = String::from_utf8_lossy(&played.stderr).into_owned();
    assert_eq!(played.status.code(), Some(0), "{complaint}");
    let answer: serde_json::Value = serde_json::from_slice(&played.stdout).unwrap();
    assert_eq!(answer["played"].as_array().unwrap().len(), 10);
    assert!(answer["refused"].as_u64().unwrap() >= 8, "{answer:#}");

    let file = recordings.join("iphone/01-authenticate.plist");
    let played = replay(&[file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&played.stdout).into_owned();
    assert_eq!(played.status.code(), Some(0));
    assert!(said.contains("answered  200 empty"), "{said}");
    assert!(said.contains("stored    enrolment 1: pending"), "{said}");
    assert!(said.contains("1 played, 1 accepted, 0 refused"), "{said}");

    let missing = replay(&["no/such/place"]);
    assert_eq!(missing.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(complaint.contains("no/such/place"), "{complaint}");
}
