//! The results, for people and as JSON: what was done per second, beside what the machine and the field's pattern do.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::machine::Machine;
use crate::options::{Options, Story};
use tests::fleet::client::Measured;
use tests::fleet::devices::Mode;

/// A megabyte, as promises are made.
const MEGA: u64 = 1_000_000;
/// The largest share of all processor time that the load may take for a figure to be the server's.
const MOST_LOAD: f64 = 0.2;

/// What came of one story.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) measured: Measured,
    /// Processor time of the server, the database's own processes, and the load.
    pub(crate) server: Duration,
    pub(crate) database: Duration,
    pub(crate) load: Duration,
    /// Statements for each request, counted in a run of their own.
    pub(crate) statements: Option<f64>,
}

impl Figures {
    /// Adds another run of the same.
    pub(crate) fn merge(&mut self, other: Self) {
        self.measured.units += other.measured.units;
        self.measured.time += other.measured.time;
        self.measured.latencies.extend(other.measured.latencies);
        self.measured.latencies.sort_unstable();
        self.server += other.server;
        self.database += other.database;
        self.load += other.load;
    }

    fn per_second(&self) -> f64 {
        count(self.measured.units) / self.measured.time.as_secs_f64().max(1e-9)
    }

    /// Finished units per second, whole ones.
    pub(crate) fn rate(&self) -> u64 {
        let millis = self.measured.time.as_millis().max(1);
        u64::try_from(self.measured.units as u128 * 1000 / millis).unwrap_or(u64::MAX)
    }

    /// Requests (or units, where they are not requests).
    pub(crate) fn requests(&self) -> usize {
        match self.measured.latencies.len() {
            0 => self.measured.units,
            some => some,
        }
    }

    /// Microseconds of a processor for each request.
    fn each(&self, used: Duration) -> f64 {
        used.as_secs_f64() * 1e6 / count(self.requests()).max(1.0)
    }

    fn share_of_load(&self) -> f64 {
        let all = (self.server + self.database + self.load).as_secs_f64();
        if all > 0.0 {
            self.load.as_secs_f64() / all
        } else {
            0.0
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

/// A story whose load took more of the processor than it may.
fn heavy((story, figures): &(Story, Figures)) -> Option<String> {
    (figures.share_of_load() > MOST_LOAD).then(|| story.name())
}

/// One server on one database.
#[derive(Debug)]
pub(crate) struct Run {
    database: String,
    pub(crate) machine: Machine,
    stories: Vec<(Story, Figures)>,
    /// Commands that each device was given.
    pub(crate) queued: usize,
    /// How long the server took to start, and on how many rows.
    pub(crate) started: Option<(Duration, usize)>,
    /// Enrolments among few and among many.
    pub(crate) crowds: Vec<Crowd>,
    /// Resident bytes of the server at the end.
    pub(crate) memory: Option<u64>,
    pub(crate) bytes_per_device: u64,
}

impl Run {
    pub(crate) fn new(database: &str) -> Self {
        Self {
            database: database.to_owned(),
            machine: Machine::default(),
            stories: Vec::new(),
            queued: 0,
            started: None,
            crowds: Vec::new(),
            memory: None,
            bytes_per_device: 0,
        }
    }

    pub(crate) fn add(&mut self, story: Story, figures: Figures) {
        self.stories.push((story, figures));
    }

    /// How many units of a story there were per second.
    pub(crate) fn rate_of(&self, story: Story) -> Option<u64> {
        let of_story = |(of, figures): &(Story, Figures)| (*of == story).then(|| figures.rate());
        self.stories.iter().find_map(of_story)
    }

    /// So many statements were counted for so many requests of a story.
    pub(crate) fn counted(&mut self, story: Story, statements: usize, requests: usize) {
        let each = count(statements) / count(requests).max(1.0);
        let of_story = self.stories.iter_mut().filter(|(of, _)| *of == story);
        of_story.for_each(|(_, figures)| figures.statements = Some(each));
    }

    /// What the machine does of what a story needs most: point reads where nothing is written, else single-row commits.
    fn of_machine(&self, story: Story) -> Option<f64> {
        let found = match story {
            Story::Idle | Story::Offered | Story::Ddm | Story::DdmSync => self.machine.reads,
            Story::Enrol | Story::Enqueue | Story::Round | Story::Token | Story::Day => {
                self.machine.commits
            }
        };
        (found > 0.0).then_some(found)
    }

    /// What the same machine does with the field's pattern, or with single-row commits where there is none.
    fn yardstick(&self, story: Story) -> Option<f64> {
        let machine = &self.machine;
        let found = match story {
            Story::Enrol => machine.enrol,
            Story::Idle => machine.idle,
            Story::Round => machine.round,
            Story::Enqueue => machine.commits,
            Story::Token | Story::Ddm | Story::DdmSync | Story::Day | Story::Offered => {
                return None;
            }
        };
        (found > 0.0).then_some(found)
    }

    /// For people.
    pub(crate) fn text(&self, options: &Options) -> String {
        let mut out = String::new();
        let mode = match (options.mode, options.tls) {
            (Mode::Signature, true) => "Mdm-Signature over TLS",
            (Mode::Signature, false) => "Mdm-Signature over plain HTTP",
            (Mode::Header, true) => "certificate in a header over TLS",
            (Mode::Header, false) => "certificate in a header over plain HTTP",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "\n{}: {} devices, {} connections, {mode}, {:?}",
            self.database, options.devices, options.connections, options.key
        );
        let m = &self.machine;
        if m.commits > 0.0 {
            let _ = writeln!(
                out,
                "machine: {:.0} single-row commits/s, {:.0} point reads/s, {:.0} signature checks/s\n\
                 the field's pattern here: {:.0} enrolments/s, {:.0} polls/s, {:.0} rounds/s",
                m.commits, m.reads, m.checks, m.enrol, m.idle, m.round
            );
        }
        let _ = writeln!(
            out,
            "{:<8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>9} {:>9} {:>6}",
            "story",
            "per s",
            "pattern",
            "machine",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "stmts",
            "server us",
            "db us",
            "load"
        );
        for (story, figures) in &self.stories {
            let times = |yardstick: Option<f64>, digits: usize| match yardstick {
                Some(yardstick) => format!("{:.digits$} x", figures.per_second() / yardstick),
                None => String::new(),
            };
            let statements = figures.statements.map(|each| format!("{each:.2}"));
            let measured = &figures.measured;
            let _ = writeln!(
                out,
                "{:<8} {:>9.0} {:>8} {:>8} {:>8.2} {:>8.2} {:>8.2} {:>6} {:>9.1} {:>9.1} {:>5.0}%",
                story.name(),
                figures.per_second(),
                times(self.yardstick(*story), 1),
                times(self.of_machine(*story), 2),
                measured.percentile(0.5),
                measured.percentile(0.99),
                measured.percentile(0.999),
                statements.unwrap_or_default(),
                figures.each(figures.server),
                figures.each(figures.database),
                figures.share_of_load() * 100.0
            );
            if *story == Story::Enqueue {
                let (n, time) = (measured.units, measured.time.as_secs_f64());
                let _ = writeln!(out, "         {n} queued in {time:.3} s");
            }
        }
        if let Some((time, rows)) = self.started {
            let seconds = time.as_secs_f64();
            let _ = writeln!(out, "started in {seconds:.2} s on {rows} rows");
        }
        let heavy: Vec<String> = self.stories.iter().filter_map(heavy).collect();
        if !heavy.is_empty() {
            let _ = writeln!(
                out,
                "the load took more than a fifth of the processor time of {}: the server could do more",
                heavy.join(", ")
            );
        }
        let empty = self.crowds.first().map(|crowd| crowd.enrol.per_second());
        for crowd in &self.crowds {
            let _ = writeln!(
                out,
                "{} present: {:.0} enrolments/s ({:.2} of the empty database's), p99 {:.2} ms; started in {:.2} s on {} rows, {} MB",
                crowd.present,
                crowd.enrol.per_second(),
                crowd.enrol.per_second() / empty.unwrap_or(1.0),
                crowd.enrol.measured.percentile(0.99),
                crowd.start_up.as_secs_f64(),
                crowd.rows,
                crowd.bytes / MEGA
            );
        }
        if let Some(memory) = self.memory {
            let _ = writeln!(
                out,
                "server's memory {} MB; {} bytes per device on disk",
                memory.div_ceil(MEGA),
                self.bytes_per_device
            );
        }
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let m = &self.machine;
        let stories: Vec<Value> = self
            .stories
            .iter()
            .map(|(story, figures)| {
                let measured = &figures.measured;
                json!({
                    "story": story.name(),
                    "per_second": figures.per_second(),
                    "to_pattern": self.yardstick(*story).map(|y| figures.per_second() / y),
                    "to_machine": self.of_machine(*story).map(|y| figures.per_second() / y),
                    "statements": figures.statements,
                    "units": measured.units,
                    "seconds": measured.time.as_secs_f64(),
                    "p50_ms": measured.percentile(0.5),
                    "p99_ms": measured.percentile(0.99),
                    "p999_ms": measured.percentile(0.999),
                    "server_us": figures.each(figures.server),
                    "database_us": figures.each(figures.database),
                    "load_share": figures.share_of_load(),
                })
            })
            .collect();
        let crowds: Vec<Value> = self
            .crowds
            .iter()
            .map(|crowd| {
                json!({
                    "present": crowd.present,
                    "enrolments_per_second": crowd.enrol.per_second(),
                    "p99_ms": crowd.enrol.measured.percentile(0.99),
                    "start_seconds": crowd.start_up.as_secs_f64(),
                    "rows": crowd.rows,
                    "bytes": crowd.bytes,
                })
            })
            .collect();
        json!({
            "database": self.database,
            "machine": {
                "commits": m.commits, "reads": m.reads, "signature_checks": m.checks,
                "pattern_enrolments": m.enrol, "pattern_polls": m.idle, "pattern_rounds": m.round,
            },
            "stories": stories,
            "started": self.started.map(|(time, rows)| json!({ "seconds": time.as_secs_f64(), "rows": rows })),
            "present": crowds,
            "memory_bytes": self.memory,
            "bytes_per_device": self.bytes_per_device,
        })
    }
}
