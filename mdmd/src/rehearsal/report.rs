//! The end of a rehearsal: a table for people, JSON for programs, and the exit status.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::forecast::AppEnd;
use super::judge::{Proof, Row};
use super::project::WaveEnd;
use super::short::LicenceEnd;

/// What a rehearsal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "each has an exit status")]
pub enum Verdict {
    /// Record and world agree on every device, and every device ended as planned.
    Agrees,
    /// They disagree on a device, or nothing explains an exception.
    Disagrees,
    /// A device has not ended, or is still held.
    NeverEnded,
    /// A kind of fault that was planned never occurred, or a device met fewer than its level promises.
    NotInjected,
}

/// Everything of a rehearsal that is told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// The level of faults.
    pub faults: String,
    /// Each device.
    pub rows: Vec<Row>,
    /// Injected faults by kind.
    pub injected: BTreeMap<&'static str, usize>,
    /// Kinds that should have fired and did not.
    pub missing_faults: Vec<&'static str>,
    /// So many kinds of faults must have fired on each device.
    pub least_faults: usize,
    /// Each app that was forecast as lost or that was lost: on how many devices.
    pub apps: Vec<AppEnd>,
    /// What the what-if of each wave said of an app of which there are too few licences.
    pub licences: Vec<LicenceEnd>,
    /// How each wave of a project ended, by its report and by the world.
    pub waves: Vec<WaveEnd>,
    /// Where the reports of a project and the world differ.
    pub disagreements: Vec<String>,
    /// Simulated time from start to end, in minutes.
    pub simulated_minutes: i64,
    /// Real time.
    pub wall: std::time::Duration,
    /// The most memory that the process has had, in MiB; `None` where the system does not tell.
    pub peak_mib: Option<u64>,
    /// The store.
    pub database: &'static str,
}

impl Summary {
    /// What it came to: a device that never ended weighs more than a disagreement, that more than a fault not injected.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.rows.iter().any(|r| r.never_ended) {
            Verdict::NeverEnded
        } else if self.rows.iter().any(|r| !r.disagreements.is_empty())
            || !self.disagreements.is_empty()
        {
            Verdict::Disagrees
        } else if !self.missing_faults.is_empty() || self.spared().next().is_some() {
            Verdict::NotInjected
        } else {
            Verdict::Agrees
        }
    }

    /// Devices that met fewer kinds of faults than the level promises each of them.
    pub fn spared(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| row.faults.len() < self.least_faults)
    }

    /// Everything as JSON; only `wall` differs between two runs of one seed.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        json!({
            "seed": self.seed,
            "faults": self.faults,
            "devices": self.rows,
            "by_lost_app": self.apps,
            "licences": self.licences,
            "by_wave": self.waves,
            "disagreements": self.disagreements,
            "injected_faults": self.injected,
            "missing_faults": self.missing_faults,
            "spared_devices": self.spared().map(|row| &row.serial).collect::<Vec<_>>(),
            "simulated_minutes": self.simulated_minutes,
            "verdict": self.verdict(),
            "wall": {
                "seconds": self.wall.as_secs_f64(),
                "database": self.database,
                "peak_mib": self.peak_mib,
            },
        })
    }

    /// The table for people.
    pub fn print(&self) {
        println!();
        println!(
            "{:<14} {:<8} {:<24} {:>5} {:>5} {:<10} {:<10} {:>6}  exceptions (owner)",
            "device", "platform", "outcome", "kept", "lost", "key", "lock", "hold"
        );
        for row in &self.rows {
            let outcome = row
                .outcome
                .map_or_else(|| "none".to_owned(), |o| format!("{o:?}"));
            let exceptions: Vec<String> = row
                .exceptions
                .iter()
                .map(|e| {
                    format!(
                        "{}: {} ({})",
                        e.what,
                        e.why,
                        serde_json::to_value(e.owner)
                            .ok()
                            .and_then(|v| v.as_str().map(str::to_owned))
                            .unwrap_or_default()
                    )
                })
                .collect();
            println!(
                "{:<14} {:<8} {:<24} {:>5} {:>5} {:<10} {:<10} {:>5}m  {}",
                row.serial,
                row.platform,
                outcome,
                row.apps_kept,
                row.apps_lost.len(),
                word(row.recovery_key),
                word(row.lock),
                row.hold_minutes,
                exceptions.join("; ")
            );
        }
        println!();
        let count = |f: &dyn Fn(&Row) -> bool| self.rows.iter().filter(|r| f(r)).count();
        println!(
            "{} devices, {} without exception, {} apps lost, {} with exceptions, {} never ended",
            self.rows.len(),
            count(&|r| r.exceptions.is_empty() && !r.never_ended),
            self.rows.iter().map(|r| r.apps_lost.len()).sum::<usize>(),
            count(&|r| !r.exceptions.is_empty()),
            count(&|r| r.never_ended),
        );
        for app in &self.apps {
            println!(
                "app {}: forecast as lost on {}, lost on {}, of which {} are exceptions",
                app.bundle_id, app.forecast, app.lost, app.excepted
            );
        }
        for end in &self.licences {
            println!(
                "licences of {} in wave {}: {} needed, {} assigned, {} short; {} devices lose it with its data",
                end.bundle_id, end.wave, end.needed, end.assigned, end.short, end.losing
            );
        }
        for wave in &self.waves {
            println!(
                "wave {}: {} members, {} deadlines; {} migrated, {} with exceptions, {} failed; {} out in the world; offers paused {} times",
                wave.name,
                wave.members,
                wave.buckets,
                wave.migrated,
                wave.with_exceptions,
                wave.failed,
                wave.free,
                wave.stopped
            );
        }
        for disagreement in &self.disagreements {
            println!("{disagreement}");
        }
        if !self.injected.is_empty() {
            let kinds: Vec<String> = self
                .injected
                .iter()
                .map(|(k, n)| format!("{k} {n}"))
                .collect();
            println!("injected faults: {}", kinds.join(", "));
        }
        if !self.missing_faults.is_empty() {
            println!(
                "faults that should have occurred and did not: {}",
                self.missing_faults.join(", ")
            );
        }
        for row in self.spared() {
            println!(
                "{} met fewer than {} kinds of faults; planned and never met: {}",
                row.serial,
                self.least_faults,
                row.unmet.join(", ")
            );
        }
        println!(
            "{} simulated in {:.1} s on {}{}",
            span(self.simulated_minutes),
            self.wall.as_secs_f64(),
            self.database,
            self.peak_mib
                .map_or_else(String::new, |mib| format!(", at most {mib} MiB"))
        );
        for row in self
            .rows
            .iter()
            .filter(|r| !r.disagreements.is_empty() || r.never_ended)
        {
            println!();
            println!("{} ({}):", row.serial, row.whereabouts);
            if row.never_ended {
                println!("  never ended");
            }
            for disagreement in &row.disagreements {
                println!("  {disagreement}");
            }
        }
        println!();
        match self.verdict() {
            Verdict::Agrees => println!("The world and our records agree on every device."),
            Verdict::Disagrees => println!("The world and our records DISAGREE."),
            Verdict::NeverEnded => println!("Something NEVER ENDED."),
            Verdict::NotInjected => println!("Not every fault that should have occurred did."),
        }
    }
}

fn word(proof: Proof) -> &'static str {
    match proof {
        Proof::Proved => "proved",
        Proof::NotNeeded => "-",
        Proof::Missing => "MISSING",
    }
}

fn span(minutes: i64) -> String {
    format!(
        "{} days {:02}:{:02}",
        minutes / 1440,
        minutes % 1440 / 60,
        minutes % 60
    )
}
