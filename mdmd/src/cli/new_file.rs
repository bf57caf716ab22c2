//! A file that a command makes: opened before anything is asked of the server, so that what was made there is never lost for want of a
//! place, and gone again when nothing came.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Done, Ended, Exit, Means as _};

/// A new file, still empty. Dropped without [`NewFile::fill`], it is taken away.
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    filled: bool,
}

impl NewFile {
    /// Makes it, which fails where there is one already.
    pub(super) fn open(path: &Path, mode: u32) -> Result<Self, Ended> {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .with_context(|| path.display().to_string())
            .means(Exit::Precondition)?;
        Ok(Self {
            file,
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
