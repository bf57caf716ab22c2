//! The results, for people and as JSON: what was done per second, beside what the machine and the field's pattern do.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::options::{Options, Story};
use tests::fleet::client::Measured;
use tests::fleet::devices::Mode;

/// What came of one story.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) measured: Measured,
    /// Processor time of the server, the database's own processes, and the load.
    pub(crate) server: Duration,
    pub(crate) database: Duration,
    pub(crate) load: Duration,
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

    /// Microseconds of a processor for each request (or unit, where there is no request).
    fn each(&self, used: Duration) -> f64 {
        let requests = match self.measured.latencies.len() {
            0 => self.measured.units,
            some => some,
        };
        used.as_secs_f64() * 1e6 / count(requests).max(1.0)
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

/// One server on one database.
#[derive(Debug)]
pub(crate) struct Run {
    database: String,
    pub(crate) machine: Machine,
    stories: Vec<(Story, Figures)>,
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
            memory: None,
            bytes_per_device: 0,
        }
    }

    pub(crate) fn add(&mut self, story: Story, figures: Figures) {
        self.stories.push((story, figures));
    }

    /// What the same machine does with the field's pattern, or with single-row commits where there is none.
    fn yardstick(&self, story: Story) -> Option<f64> {
        let machine = &self.machine;
        let found = match story {
            Story::Enrol => machine.enrol,
            Story::Idle => machine.idle,
            Story::Round => machine.round,
            Story::Enqueue => machine.commits,
            Story::Token | Story::Ddm | Story::DdmSync | Story::Day => return None,
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
            "{:<8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>6}",
            "story", "per s", "pattern", "p50 ms", "p99 ms", "p99.9", "server us", "db us", "load"
        );
        for (story, figures) in &self.stories {
            let times = match self.yardstick(*story) {
                Some(yardstick) => format!("{:.1} x", figures.per_second() / yardstick),
                None => String::new(),
            };
            let measured = &figures.measured;
            let _ = writeln!(
                out,
                "{:<8} {:>9.0} {:>8} {:>8.2} {:>8.2} {:>8.2} {:>9.1} {:>9.1} {:>5.0}%",
                story.name(),
                figures.per_second(),
                times,
                measured.percentile(0.5),
                measured.percentile(0.99),
                measured.percentile(0.999),
                figures.each(figures.server),
                figures.each(figures.database),
                figures.share_of_load() * 100.0
            );
            if *story == Story::Enqueue {
                let (n, time) = (measured.units, measured.time.as_secs_f64());
                let _ = writeln!(out, "         {n} queued in {time:.3} s");
            }
        }
        if let Some(memory) = self.memory {
            let _ = writeln!(
                out,
                "server's memory {} MiB; {} bytes per device on disk",
                memory >> 20,
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
        json!({
            "database": self.database,
            "machine": {
                "commits": m.commits, "reads": m.reads, "signature_checks": m.checks,
                "pattern_enrolments": m.enrol, "pattern_polls": m.idle, "pattern_rounds": m.round,
            },
            "stories": stories,
            "memory_bytes": self.memory,
            "bytes_per_device": self.bytes_per_device,
        })
    }
}
