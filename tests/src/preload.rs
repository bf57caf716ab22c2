//! Small libraries in C that are loaded before the C library of a process, and show it another clock or another disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Compiles one of this name into a folder.
pub(crate) fn build(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let source = folder.join(name).with_extension("c");
    let library = source.with_extension("so");
    fs::write(&source, text)?;
    let made = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .context("cc: a C compiler is needed for other clocks and disks")?;
    ensure!(
        made.status.success(),
        "cc: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(library)
}
