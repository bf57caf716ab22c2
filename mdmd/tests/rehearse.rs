//! `mdmd rehearse` as a person runs it: its exit status says what the world said.
#![cfg(feature = "world")]

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

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
    ]
    .map(|wrong| wrong.to_vec())
    .into_iter()
    .chain([vec!["--waves", "4", "--devices", "3"]])
    {
        let output = rehearse(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn what_is_broken_off_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let things = || std::fs::read_dir(place.path()).unwrap().count();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args(["rehearse", "--devices", "2000", "--json"])
        .env("TMPDIR", place.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while things() == 0 && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(things(), 1, "a directory of its own");
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(things(), 0);
}

/// Nothing that is there is touched by a rehearsal, and what it cannot use is told with the status that it means.
#[test]
fn a_place_that_a_rehearsal_cannot_have_is_refused_as_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], status: i32, sentence: &str| {
        let before = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .current_dir(directory.path())
            .args(["rehearse", "--devices", "1"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(before.elapsed() < Duration::from_secs(20), "{arguments:?}");
    };
    let files = || std::fs::read_dir(directory.path()).unwrap().count();

    for wrong in [
        "nonsense",
        "sqlite",
        "sqlite:other.sqlite",
        "mysql://u:hunter2@h/d",
    ] {
        refused(&["--database", wrong], 2, "must be a postgres:// URL");
    }
    assert_eq!(files(), 0);
    // A port that is closed: told at once, with what the system says.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let url = format!("postgres://u:hunter2@127.0.0.1:{port}/d");
    refused(&["--database", &url], 3, "refused");

    let kept = directory.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("master.key"), "another's").unwrap();
    let kept = kept.to_str().unwrap();
    refused(&["--keep", kept], 3, "is there already");
    std::fs::write(directory.path().join("file"), "").unwrap();
    refused(&["--keep", "file/kept"], 3, "file/kept");
}

/// The directory that is kept may be named from where one is, and is read again from there.
#[test]
fn what_a_rehearsal_keeps_lies_where_it_was_told_from_here() {
    let place = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .current_dir(place.path())
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    for kept in ["kept", "./dotted"] {
        run(&["rehearse", "--devices", "1", "--keep", kept]);
        let listed = run(&["device", "list", "--data", kept]);
        assert!(listed.lines().count() > 1, "{listed}");
    }
}
