//! Whoever follows the record misses nothing and is told nothing twice, also when the server is killed and comes back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn mdmd(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command.arg("--data").arg(data).args(arguments);
    command.env_remove("MDMD_TOKEN").env_remove("MDMD_URL");
    command
}

fn done(data: &Path, arguments: &[&str]) -> Output {
    let output = mdmd(data, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// Starts a server that listens on its socket only, and waits until it answers.
fn serve(data: &Path) -> Child {
    let mut server = mdmd(data, &["serve", "--set", "listener=[]"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        let asked = mdmd(data, &["api-token", "list"]).output().unwrap();
        if asked.status.success() && data.join("mdmd.sock").exists() {
            return server;
        }
        assert!(server.try_wait().unwrap().is_none(), "the server has ended");
        assert!(begun.elapsed() < Duration::from_secs(60), "{asked:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn ids(lines: &[u8]) -> Vec<i64> {
    let text = std::str::from_utf8(lines).unwrap();
    let entry = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines()
        .map(|line| entry(line)["id"].as_str().unwrap().parse::<i64>().unwrap())
        .collect()
}

fn make(data: &Path, names: std::ops::Range<u32>) {
    for name in names {
        done(
            data,
            &["api-token", "new", &format!("t{name}"), "--role", "viewer"],
        );
    }
}

#[test]
fn whoever_follows_misses_nothing_when_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data: PathBuf = folder.path().join("data");
    done(&data, &["init", "--organisation", "Followed"]);
    let mut server = serve(&data);
    make(&data, 0..3);
    let before = ids(&done(&data, &["events", "--json"]).stdout);
    assert!(before.len() >= 3, "{before:?}");
    let last = before.last().unwrap().to_string();
    // Two that follow: one from now on, and one from the beginning, who wants ten tokens.
    let follow = |more: &[&str]| {
        let words = [&["events", "--follow", "--json"][..], more].concat();
        let mut command = mdmd(&data, &words);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let new = follow(&["--what", "api-token.", "--most", "7", "--after", &last]);
    let all = follow(&["--after", "0", "--most", &(before.len() + 4).to_string()]);
    make(&data, 3..6);
    // Killed, not told to end; what is written while nobody serves is seen, too.
    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::remove_file(data.join("mdmd.sock")).ok();
    let mut server = serve(&data);
    make(&data, 6..10);
    let (new, all) = (
        new.wait_with_output().unwrap(),
        all.wait_with_output().unwrap(),
    );
    let named = |id: &i64| *id > *before.last().unwrap();
    let record = done(&data, &["events", "--json"]).stdout;
    let record_ids = ids(&record);
    let tokens: Vec<i64> = std::str::from_utf8(&record)
        .unwrap()
        .lines()
        .filter(|line| line.contains("\"what\":\"api-token."))
        .flat_map(|line| ids(line.as_bytes()))
        .filter(named)
        .collect();
    assert_eq!(tokens.len(), 7, "{tokens:?}");
    assert!(new.status.success(), "{new:?}");
    assert_eq!(ids(&new.stdout), tokens, "{new:?}");
    assert!(all.status.success(), "{all:?}");
    assert_eq!(ids(&all.stdout), record_ids[..before.len() + 4], "{all:?}");
    // A refusal is an end, and so is nobody who serves.
    let refused = mdmd(&data, &["events", "--after", "x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::remove_file(data.join("mdmd.sock")).ok();
    let alone = mdmd(&data, &["events", "--follow"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(3), "{alone:?}");
    // Without a server the record of a stopped data directory is read.
    let told = ids(&done(&data, &["events", "--json"]).stdout);
    assert!(told.len() >= record_ids.len(), "{told:?}");
}
