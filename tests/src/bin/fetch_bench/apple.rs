//! The simulated Apple of the benchmark: `mdmd world` as a process of its own. It is ended with its handle.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::process;

/// A running `mdmd world`.
pub(crate) struct SimulatedApple {
    child: Child,
    papers: PathBuf,
}

impl SimulatedApple {
    pub(crate) fn start(mdmd: &Path, papers: &Path, devices: u32) -> anyhow::Result<Self> {
        let mut child = Command::new(mdmd)
            .args(["world", "--at", "destination", "--session", "3600", "--out"])
            .arg(papers)
            .args(["--devices", &devices.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let ready = lines.any(|line| line.is_ok_and(|l| l == "ready"));
        ensure!(ready, "the simulated Apple did not start");
        Ok(Self {
            child,
            papers: papers.to_owned(),
        })
    }

    /// Processor time that it has used.
    pub(crate) fn processor(&self) -> Duration {
        process::time_of(self.child.id())
    }

    /// A file that it wrote.
    pub(crate) fn paper(&self, name: &str) -> PathBuf {
        self.papers.join(name)
    }

    /// The address of one of its services.
    pub(crate) fn address(&self, service: &str) -> anyhow::Result<String> {
        let told: Value = serde_json::from_slice(&std::fs::read(self.paper("world.json"))?)?;
        let address = told["addresses"][service].as_str();
        Ok(address.context("an address is missing")?.to_owned())
    }
}

impl Drop for SimulatedApple {
    fn drop(&mut self) {
        // Ours, by its handle; it keeps nothing that must be put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
