//! A short form of what `cargo run --release -p tests --bin soak` does for a simulated week with 20,000 devices: one day of a small
//! fleet, with faults, before a real server on SQLite. Everything that was due is done, and everything that a week is judged by is
//! noted; what grows only over days is not seen here.

use std::process::ExitCode;

use tests::soak::{self, Options};

/// Devices that are enrolled at the beginning.
const DEVICES: usize = 60;

fn main() -> ExitCode {
    tests::program("soak", day())
}

async fn day() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        // The told clock is loaded under the server as Linux does it.
        return Ok(());
    }
    let options = Options {
        devices: DEVICES,
        days: 1,
        database: "sqlite".to_owned(),
        connections: 4,
        server: None,
        seed: 7,
    };
    let mut told = Vec::new();
    let days = soak::run(&options, |day| told.push(day.told())).await?;
    for line in &told {
        println!("{line}");
    }
    anyhow::ensure!(told.len() == 1, "a day is told once");
    let wrong = soak::judge(&days).wrong;
    anyhow::ensure!(wrong.is_empty(), "{wrong:?}");
    let day = &days[0];
    let rows = |table: &str| day.rows.get(table).copied().unwrap_or(0);
    anyhow::ensure!(
        day.memory.len() == 24 && day.memory.iter().all(|mb| *mb > 1.0) && day.bytes > 0,
        "memory and disk are not noted: {day:?}"
    );
    // Nobody is away from morning to evening but the few in a drawer, and a client asked everybody once.
    anyhow::ensure!(
        day.requests > 4 * DEVICES && day.p50 > 0.0 && day.p99 >= day.p50,
        "hardly anybody spoke: {day:?}"
    );
    let (commands, open) = (rows("commands"), day.open_commands);
    anyhow::ensure!(
        commands >= i64::try_from(DEVICES)? && open < commands / 2,
        "of {commands} commands {open} are open"
    );
    anyhow::ensure!(
        rows("enrollments") > i64::try_from(DEVICES)?,
        "nobody has enrolled"
    );
    Ok(())
}
