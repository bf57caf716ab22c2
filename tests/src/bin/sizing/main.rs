//! `cargo run --release -p tests --bin sizing -- --from bench.json --devices 10000000`: what a fleet needs, worked out of what the
//! benchmark measured on this machine (`bench --json`), and with `--simulate` how long requests would take there. Invents nothing:
//! without a figure for a story there is no line for it.

mod simulation;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde_json::Value;

use simulation::{Kind, Plant, count, play};

/// How many commit at once where the benchmark counts the commits of a machine.
const COMMITTING: f64 = 32.0;
/// How many requests share a commit at most, as in the server.
const GROUP: usize = 512;

const DAY: f64 = 86_400.0;

/// Works out what a fleet needs of processors, disk and time, from the figures of the benchmark.
#[derive(Parser, Clone, Debug)]
#[command(name = "sizing")]
struct Options {
    /// What `bench --json` has printed.
    #[arg(long)]
    from: PathBuf,
    /// Devices of the fleet.
    #[arg(long, default_value_t = 10_000_000.0)]
    devices: f64,
    /// Polls of each device in a day that find nothing.
    #[arg(long, default_value_t = 8.0)]
    polls: f64,
    /// Commands of each device in a day.
    #[arg(long, default_value_t = 4.0)]
    commands: f64,
    /// New push tokens of each device in a day.
    #[arg(long, default_value_t = 0.1)]
    tokens: f64,
    /// Whole synchronisations of declarations of each device in a day.
    #[arg(long, default_value_t = 0.2)]
    synchronisations: f64,
    /// Days in which all of them enrol.
    #[arg(long, default_value_t = 30.0)]
    enrol_days: f64,
    /// How many times the average the busiest hour is.
    #[arg(long, default_value_t = 4.0)]
    peak: f64,
    /// The share of a processor that is used in the busiest hour.
    #[arg(long, default_value_t = 0.5)]
    used: f64,
    /// Bytes that the settled commands of one device take in the days that they are kept, beside its own rows.
    #[arg(long, default_value_t = 20_000.0)]
    history: f64,
    /// Also play so many seconds of the busiest hour on these processors, 600 if nothing else is said, and end with 4 when requests
    /// take longer than `--p99`.
    #[arg(long, num_args = 0..=1, default_missing_value = "600")]
    simulate: Option<u64>,
    /// With `--simulate`: the milliseconds that 99 of 100 requests are to be answered in.
    #[arg(long, default_value_t = 20.0, requires = "simulate")]
    p99: f64,
    /// With `--simulate`: processors of each server process, which has one commit under way at a time.
    #[arg(long, default_value_t = 4.0, requires = "simulate")]
    each: f64,
    /// With `--simulate`: milliseconds for which a commit is under way. Else those of the machine with 32 at once, as measured.
    #[arg(long, requires = "simulate")]
    flush: Option<f64>,
    /// With `--simulate`: another one is another hour.
    #[arg(long, default_value_t = 1, requires = "simulate")]
    seed: u64,
}

/// What was measured of a story: microseconds of a processor for each request, and requests of a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    server: f64,
    database: f64,
    requests: f64,
}

/// One kind of work in the busiest hour.
#[derive(Debug)]
struct Line {
    story: &'static str,
    units: f64,
    cost: Cost,
}

impl Line {
    fn requests(&self) -> f64 {
        self.units * self.cost.requests
    }

    /// Processors that are busy with it all the time.
    fn server(&self) -> f64 {
        self.requests() * self.cost.server / 1e6
    }

    fn database(&self) -> f64 {
        self.requests() * self.cost.database / 1e6
    }
}

/// Messages of one unit.
fn requests(story: &str) -> f64 {
    match story {
        "enrol" | "round" => 2.0,
        "ddm-sync" => 33.0,
        _ => 1.0,
    }
}

/// The part of its messages that is more than a question.
fn writes(story: &str) -> f64 {
    match story {
        "idle" => 0.0,
        // The report at its end.
        "ddm-sync" => 1.0 / requests(story),
        _ => 1.0,
    }
}

fn cost(run: &Value, story: &str) -> Option<Cost> {
    let stories = run["stories"].as_array()?;
    let found = stories.iter().find(|it| it["story"] == story)?;
    Some(Cost {
        server: found["server_us"].as_f64()?,
        database: found["database_us"].as_f64()?,
        requests: requests(story),
    })
}

/// The busiest hour: units of each story in a second.
fn lines(options: &Options, run: &Value) -> Vec<Line> {
    let a_second = |each_day: f64| options.devices * each_day / DAY * options.peak;
    [
        ("idle", a_second(options.polls)),
        ("round", a_second(options.commands)),
        ("token", a_second(options.tokens)),
        ("ddm-sync", a_second(options.synchronisations)),
        ("enrol", a_second(1.0 / options.enrol_days)),
    ]
    .into_iter()
    .filter_map(|(story, units)| {
        let cost = cost(run, story)?;
        Some(Line { story, units, cost })
    })
    .collect()
}

/// Says what a fleet needs, and whether that is enough as far as it was asked to be played.
fn tell(options: &Options, run: &Value) -> anyhow::Result<bool> {
    let lines = lines(options, run);
    let name = run["database"]
        .as_str()
        .context("a run names its database")?;
    ensure!(!lines.is_empty(), "{name}: no story was measured");
    println!(
        "\n{name}: {:.0} devices, the busiest hour at {} times the average, processors used to {:.0} %",
        options.devices,
        options.peak,
        options.used * 100.0
    );
    println!(
        "{:<10} {:>12} {:>12} {:>14} {:>14}",
        "story", "units/s", "requests/s", "server CPUs", "database CPUs"
    );
    for line in &lines {
        println!(
            "{:<10} {:>12.0} {:>12.0} {:>14.1} {:>14.1}",
            line.story,
            line.units,
            line.requests(),
            line.server() / options.used,
            line.database() / options.used
        );
    }
    let all = |each: fn(&Line) -> f64| lines.iter().map(each).sum::<f64>();
    println!(
        "{:<10} {:>12} {:>12.0} {:>14.1} {:>14.1}",
        "all",
        "",
        all(Line::requests),
        all(Line::server) / options.used,
        all(Line::database) / options.used
    );
    if let Some(bytes) = run["bytes_per_device"].as_f64() {
        let disk = options.devices * (bytes + options.history);
        println!("disk: {:.0} GiB", disk / f64::from(1_u32 << 30));
    }
    // All at once, when everybody is pushed: the processors of the busiest hour, wholly at this.
    let round = lines.iter().find(|line| line.story == "round");
    if let Some(round) = round {
        let processors = (all(Line::server) + all(Line::database)) / options.used;
        let each = (round.cost.server + round.cost.database) * round.cost.requests / 1e6;
        let hours = options.devices * each / processors / 3600.0;
        println!("one command for every device at once, on these processors: {hours:.1} hours");
    }
    match options.simulate {
        Some(seconds) => simulate(options, run, &lines, Duration::from_secs(seconds)),
        None => Ok(true),
    }
}

/// Plays the busiest hour on the processors that were worked out. Says whether 99 of 100 requests are answered in time.
fn simulate(
    options: &Options,
    run: &Value,
    lines: &[Line],
    span: Duration,
) -> anyhow::Result<bool> {
    let measured = run["machine"]["commits"].as_f64().filter(|n| *n > 0.0);
    let flush = match options.flush {
        Some(millis) => millis / 1e3,
        None => COMMITTING / measured.context("no commits were measured: say --flush")?,
    };
    let busy = |each: fn(&Line) -> f64| lines.iter().map(each).sum::<f64>();
    let servers = whole(busy(Line::server) / options.used);
    let plant = Plant {
        servers,
        databases: whole(busy(Line::database) / options.used),
        processes: whole(count(servers) / options.each),
        flush: Duration::from_secs_f64(flush),
        group: GROUP,
    };
    let kind = |line: &Line| Kind {
        rate: line.requests(),
        server: line.cost.server,
        database: line.cost.database,
        writes: writes(line.story),
    };
    let kinds: Vec<Kind> = lines.iter().map(kind).collect();
    let played = play(&kinds, &plant, span, options.seed);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "played {} s: {} requests on {} processors of {} server processes and {} of databases, a commit under way for {:.2} ms",
        span.as_secs(),
        played.requests,
        plant.servers,
        plant.processes,
        plant.databases,
        flush * 1e3
    );
    println!(
        "answered in {:.2} ms on average, p50 {:.2}, p99 {:.2}; processors used to {:.0} % and {:.0} %; {:.1} requests share a commit",
        millis(played.mean),
        millis(played.p50),
        millis(played.p99),
        played.servers_used * 100.0,
        played.databases_used * 100.0,
        played.group
    );
    let holds = millis(played.p99) <= options.p99;
    if !holds {
        println!("that is more than {} ms", options.p99);
    }
    Ok(holds)
}

/// So many whole ones, one at least.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "processors, of which nobody has 2^32"
)]
fn whole(n: f64) -> usize {
    n.ceil().clamp(1.0, f64::from(u32::MAX)) as usize
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    ensure!(
        options.used > 0.0 && options.used <= 1.0,
        "--used is a share: above 0, at most 1"
    );
    ensure!(options.enrol_days > 0.0, "--enrol-days must be above 0");
    ensure!(options.each > 0.0, "--each must be above 0");
    let flush = options.flush.unwrap_or_default();
    ensure!(
        (0.0..60_000.0).contains(&flush),
        "--flush is milliseconds of less than a minute"
    );
    let name = || options.from.display().to_string();
    let text = std::fs::read_to_string(&options.from).with_context(name)?;
    let runs: Vec<Value> = serde_json::from_str(&text).with_context(name)?;
    ensure!(!runs.is_empty(), "{}: no run is in it", name());
    let mut holds = true;
    for run in &runs {
        holds &= tell(&options, run)?;
    }
    Ok(ExitCode::from(if holds { 0 } else { 4 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_fleet_needs_follows_from_what_was_measured() {
        let options = Options::parse_from([
            "sizing",
            "--from",
            "x",
            "--devices",
            "86400",
            "--polls",
            "10",
            "--peak",
            "2",
        ]);
        let run = json!({ "database": "postgres", "stories": [
            { "story": "idle", "server_us": 50.0, "database_us": 100.0 },
            { "story": "round", "server_us": 200.0, "database_us": 300.0 },
        ] });
        let lines = lines(&options, &run);
        // Only what was measured.
        let stories: Vec<&str> = lines.iter().map(|line| line.story).collect();
        assert_eq!(stories, ["idle", "round"]);
        let near = |is: f64, wanted: f64| assert!((is - wanted).abs() < 1e-9, "{is}, not {wanted}");
        // One device a second, ten polls of each, twice that in the busiest hour: 20 requests of 50 and 100 microseconds.
        near(lines[0].units, 20.0);
        near(lines[0].server(), 0.001);
        near(lines[0].database(), 0.002);
        // Four commands of each: 8 rounds of two messages.
        near(lines[1].requests(), 16.0);
        near(lines[1].server(), 0.0032);
    }

    #[test]
    fn half_used_holds_what_wholly_used_does_not() {
        let played = |used: &str| {
            // Ten polls a second of one second each: ten processors, or twenty that are half used.
            let options = Options::parse_from([
                "sizing",
                "--from",
                "x",
                "--devices",
                "86400",
                "--polls",
                "10",
                "--peak",
                "1",
                "--simulate",
                "6000",
                "--p99",
                "7000",
                "--used",
                used,
            ]);
            let run = json!({ "database": "postgres", "machine": { "commits": 3200.0 }, "stories": [
                { "story": "idle", "server_us": 1e6, "database_us": 10.0 },
            ] });
            tell(&options, &run).unwrap()
        };
        assert!(played("0.5"));
        assert!(!played("1"));
    }

    #[test]
    fn how_long_a_commit_takes_is_measured_or_told() {
        let words = [
            "sizing",
            "--from",
            "x",
            "--devices",
            "86400",
            "--simulate",
            "10",
        ];
        let run = json!({ "database": "postgres", "machine": { "commits": 0.0 }, "stories": [
            { "story": "round", "server_us": 200.0, "database_us": 300.0 },
        ] });
        assert!(tell(&Options::parse_from(words), &run).is_err());
        let told = |millis: &str| {
            let more = ["--flush", millis];
            tell(&Options::parse_from(words.into_iter().chain(more)), &run).unwrap()
        };
        assert!(told("2"));
        assert!(!told("30"), "each waits for its own commit at least");
    }

    #[test]
    fn a_run_without_figures_is_no_answer() {
        let options = Options::parse_from(["sizing", "--from", "x"]);
        let run = json!({ "database": "sqlite", "stories": [] });
        assert!(tell(&options, &run).is_err());
    }
}
