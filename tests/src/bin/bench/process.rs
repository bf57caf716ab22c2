//! What processes used: processor time and memory of a process with all its children, as Linux tells. Elsewhere nothing
//! is told, and nothing is made up.

use std::time::Duration;

/// Linux counts processor time in hundredths of a second for everybody who asks.
const TICK: Duration = Duration::from_millis(10);

struct Stat {
    pid: u32,
    parent: u32,
    name: String,
    used: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    // Fields 4, 14 to 17 of the manual: parent, own time in user and kernel, and that of children that have ended.
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Stat {
        pid,
        parent: number(1)?,
        name,
        used: TICK * ticks,
    })
}

fn everybody() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// Processor time that this process has used.
pub(crate) fn own_time() -> Duration {
    stat(std::process::id()).map_or(Duration::ZERO, |s| s.used)
}

/// Processor time of a process and everything below it.
pub(crate) fn time_of(pid: u32) -> Duration {
    let all = everybody();
    let mut below = vec![pid];
    let mut at = 0;
    while at < below.len() {
        let parent = below[at];
        below.extend(all.iter().filter(|s| s.parent == parent).map(|s| s.pid));
        at += 1;
    }
    let of = |s: &&Stat| below.contains(&s.pid);
    all.iter().filter(of).map(|s| s.used).sum()
}

/// A child of ours by its name: the private PostgreSQL.
pub(crate) fn child_named(name: &str) -> Option<u32> {
    let own = std::process::id();
    let mut all = everybody().into_iter();
    all.find(|s| s.parent == own && s.name == name)
        .map(|s| s.pid)
}

/// Resident memory of one process, in bytes.
pub(crate) fn memory_of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
