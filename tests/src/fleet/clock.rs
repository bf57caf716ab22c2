//! Lets real processes live in the simulated world's time: a small library under each of them ([`clock.c`](clock.c)) shows it
//! what stands in a file, and here the file is written.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::preload;

const SOURCE: &str = include_str!("clock.c");

/// The clock of all servers of a run.
#[derive(Debug)]
pub struct ToldClock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl ToldClock {
    /// Compiles the library, and begins at this moment (milliseconds since 1970).
    ///
    /// # Errors
    /// When there is no C compiler, or no room.
    pub fn build(folder: &Path, now_ms: i64) -> anyhow::Result<Self> {
        let library = preload::build(folder, "clock", SOURCE)?;
        let path = folder.join("clock");
        let file = File::create(&path)?;
        let clock = Self {
            library,
            path,
            file,
        };
        clock.tell(now_ms)?;
        Ok(clock)
    }

    /// Moves it.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn tell(&self, now_ms: i64) -> std::io::Result<()> {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&now_ms.to_ne_bytes());
        words[8..].copy_from_slice(&(!now_ms).to_ne_bytes());
        self.file.write_all_at(&words, 0)
    }

    /// What a process is started with, so that it goes by this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("CLOCK_TOLD".to_owned(), text(&self.path)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_shows_the_time_that_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        // 2031-02-03T04:05:06Z
        let clock = ToldClock::build(folder.path(), 1_927_857_906_000).unwrap();
        let date = || {
            let said = Command::new("date")
                .args(["-u", "+%FT%TZ"])
                .envs(clock.environment())
                .output()
                .unwrap();
            String::from_utf8(said.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(date(), "2031-02-03T04:05:06Z");
        clock.tell(1_927_857_967_000).unwrap();
        assert_eq!(date(), "2031-02-03T04:06:07Z");
    }
}
