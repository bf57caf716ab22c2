//! A file that a command makes: opened before anything is asked of the server, so that what was made there is never lost for want of a
//! place, and gone again when nothing came.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::{Done, Ended, Exit, Means as _};

/// Makes a file that is not there yet. What is there is never written over: it may be all there is of it.
pub(super) fn create(path: &Path, mode: u32) -> Result<File, Ended> {
    if path.as_os_str() == "-" {
        let why = anyhow!(
            "--out -: names no file. Where --out may be left out, the command prints without it; `./-` is a file of that name"
        );
        return Err(why).means(Exit::BadInput);
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|error| is_there(path, error))
        .means(Exit::Precondition)
}

/// Why something could not be made, with what to do where that is in its place.
pub(super) fn is_there(path: &Path, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AlreadyExists => anyhow!(
            "{}: is there already, and is left as it is; name another, or move that one away",
            path.display()
        ),
        _ => anyhow!(error).context(path.display().to_string()),
    }
}

/// A new file, still empty. Dropped without [`NewFile::fill`], it is taken away.
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    filled: bool,
}

impl NewFile {
    /// Makes it, which fails where there is one already.
    pub(super) fn open(path: &Path, mode: u32) -> Result<Self, Ended> {
        Ok(Self {
            file: create(path, mode)?,
            path: path.to_owned(),
            filled: false,
        })
    }

    /// The same where the command was given a path.
    pub(super) fn maybe(path: Option<&Path>, mode: u32) -> Result<Option<Self>, Ended> {
        path.map(|path| Self::open(path, mode)).transpose()
    }

    /// Writes all of it, to the disk. What could not be written whole stays: it may be all there is.
    pub(super) fn fill(mut self, content: &[u8]) -> Done {
        self.filled = true;
        self.file
            .write_all(content)
            .and_then(|()| self.file.sync_all())
            .with_context(|| self.path.display().to_string())?;
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.filled {
            // Still empty.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
