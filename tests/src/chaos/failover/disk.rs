//! A disk of PostgreSQL that is full for its tables, or slow: a small library under all its processes ([`disk.c`](disk.c)).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::preload;

const SOURCE: &str = include_str!("disk.c");

pub(super) struct Disk {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Disk {
    /// Compiles the library. The disk is well.
    pub(super) fn build() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // PostgreSQL does not run as root, and has to read it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let library = preload::build(folder.path(), "disk", SOURCE)?;
        Ok(Self { folder, library })
    }

    /// What the cluster is started with.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("DISK_STATE".to_owned(), text(&self.state())),
        ]
    }

    /// From now on no table and no index grows.
    pub(super) fn fill(&self) -> std::io::Result<()> {
        fs::write(self.state(), "full")
    }

    /// From now on each sync takes so long.
    pub(super) fn slow(&self, sync: Duration) -> std::io::Result<()> {
        fs::write(self.state(), format!("s{}", sync.as_micros()))
    }

    /// It is well again.
    pub(super) fn mend(&self) -> std::io::Result<()> {
        fs::remove_file(self.state())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}
