//! `bench --fleet`, small and without its clock: every question is asked in both fleets, and none fails. How much longer it takes in
//! the larger one is for a machine that has nothing else to do.

use std::process::Command;

/// The least that it takes: a page of Apple's list and waves of one member in its tenth.
const DEVICES: &str = "10060";

#[test]
fn every_question_is_asked_of_a_small_fleet_and_of_a_large_one() {
    let fleet = ["--fleet", DEVICES, "--members", "1", "--no-clock"];
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--database", "sqlite"])
        .args(fleet)
        .output()
        .unwrap();
    let (said, failed) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    // 4 is a verdict about time, and no failure.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{failed}");
    for question in [
        "sync: a page of 1,000",
        "wave: what-if",
        "wave: submission",
        "wave: counts of its standing",
        "wave: report",
        "devices: a page from the middle",
        "devices: everything about one",
        "commands: how many wait",
        "devices: all that could go, by a tag",
        "report: unheard",
        "report: at risk",
    ] {
        let line = said.lines().find(|line| line.starts_with(question));
        let line = line.unwrap_or_else(|| panic!("{question} was not asked:\n{said}"));
        let times = line[question.len()..].split_whitespace().take(2);
        let times: Vec<f64> = times.map(|time| time.parse().unwrap()).collect();
        assert_eq!(times.len(), 2, "{line}");
        // The clock is not judged here.
        assert!(!line.contains("a second"), "{line}");
    }
    let early = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--fleet", "100", "--database", "sqlite"])
        .output()
        .unwrap();
    assert_eq!(early.status.code(), Some(1), "a fleet that is too small");
}
