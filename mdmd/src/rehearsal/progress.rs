//! Live progress by state: bars on a terminal, lines elsewhere. Goes to standard error; standard output is the report's.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use mdm_core::migration::VisibleState;

/// Shows how many devices are in which state.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    quiet: bool,
}

impl Progress {
    pub(super) fn new(devices: usize, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(u64::try_from(devices).unwrap_or(u64::MAX));
            if let Ok(style) =
                ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {wide_msg}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            last: String::new(),
            quiet,
        }
    }

    /// A sentence about what is being done.
    pub(super) fn say(&self, what: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(what),
            None => eprintln!("{what}"),
        }
    }

    /// The states after `elapsed_ms` of simulated time.
    pub(super) fn show(&mut self, elapsed_ms: i64, states: &BTreeMap<VisibleState, usize>) {
        let minutes = elapsed_ms / 60_000;
        let clock = format!(
            "day {} {:02}:{:02}",
            minutes / 1440,
            minutes % 1440 / 60,
            minutes % 60
        );
        let words: Vec<String> = states
            .iter()
            .map(|(state, n)| format!("{state:?} {n}"))
            .collect();
        let words = words.join(", ");
        let over = states
            .iter()
            .filter(|(s, _)| {
                matches!(
                    s,
                    VisibleState::Migrated
                        | VisibleState::MigratedWithExceptions
                        | VisibleState::Cancelled
                        | VisibleState::Withdrawn
                        | VisibleState::Failed
                        | VisibleState::Abandoned
                )
            })
            .map(|(_, n)| n)
            .sum::<usize>();
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(clock);
                bar.set_position(u64::try_from(over).unwrap_or(u64::MAX));
                bar.set_message(words);
            }
            None if !self.quiet && words != self.last => {
                eprintln!("{clock}  {words}");
                self.last = words;
            }
            None => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
