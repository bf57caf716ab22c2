//! Uploaded packages as files: received piece by piece, hashed on the way, given out by a name that nobody can guess, one
//! folder for each organisation. Knows no items of a library and no HTTP; decides nobody's rights.
//!
//! Several servers on one database share the directory (`packages.directory`): a file is written under another name, forced
//! to the disk and renamed, so that none of them ever sees half of one.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mdm_core::ids::OrganisationId;
use mdm_core::library::KeptFile;
use openssl::sha::Sha256;

use crate::config::Config;

/// Bytes of a package that have a hash of their own.
pub(crate) const PART: usize = 10 * 1024 * 1024;
/// With what every flat package begins.
pub(crate) const MAGIC: &[u8] = b"xar!";
/// How long a file may lie about that is in no library: an upload is that for a moment.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// The directory of packages.
#[derive(Debug)]
pub(crate) struct Packages {
    directory: PathBuf,
    largest: u64,
    together: u64,
}

/// Why a file was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// Larger than one may be.
    #[error("must be at most {0} bytes")]
    TooLarge(u64),
    /// More than an organisation may have.
    #[error("the packages of this organisation may have {0} bytes together; remove some first")]
    TooMuch(u64),
    /// Something else than a package.
    #[error("must be a package (.pkg): a flat one begins with xar!")]
    NoPackage,
    /// The disk.
    #[error("could not be written")]
    Disk(#[from] io::Error),
}

impl Packages {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            directory: config.path(&config.packages.directory),
            largest: config.packages.largest_bytes,
            together: config.packages.organisation_bytes,
        }
    }

    /// The largest file that is taken, in bytes.
    pub(crate) const fn largest(&self) -> u64 {
        self.largest
    }

    fn folder(&self, of: OrganisationId) -> PathBuf {
        self.directory.join(of.0.to_string())
    }

    /// Where a file lies. `None` for a name that is none: nothing else becomes part of a path.
    pub(crate) fn path(&self, of: OrganisationId, name: &str) -> Option<PathBuf> {
        KeptFile::is_name(name).then(|| self.folder(of).join(name))
    }

    /// Begins a file. Blocking, as everything here.
    pub(crate) fn begin(&self, of: OrganisationId, name: &str) -> Result<Incoming, NotKept> {
        let folder = self.folder(of);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let mut held = 0;
        for entry in std::fs::read_dir(&folder)? {
            held += entry?.metadata().map_or(0, |about| about.len());
        }
        let place = self
            .path(of, name)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let unfinished = place.with_extension("part");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        Ok(Incoming {
            file,
            unfinished: Some(unfinished),
            place,
            largest: self.largest,
            together: self.together,
            left: self.together.saturating_sub(held),
            size: 0,
            begins: Vec::new(),
            parts: Vec::new(),
            hash: Sha256::new(),
            in_part: 0,
        })
    }

    /// Puts a file that was received again in the place of the one that has the same bytes: should that one be lost or torn, it
    /// is whole again.
    pub(crate) fn renew(&self, of: OrganisationId, received: &str, kept: &str) {
        let (Some(from), Some(to)) = (self.path(of, received), self.path(of, kept)) else {
            return;
        };
        if let Err(error) = std::fs::rename(&from, &to) {
            tracing::warn!(%error, path = %to.display(), "a package could not be renewed");
            self.remove(of, received);
        }
    }

    /// Takes a file away; one that is not there is gone already.
    pub(crate) fn remove(&self, of: OrganisationId, name: &str) {
        let Some(path) = self.path(of, name) else {
            return;
        };
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a package could not be removed");
            }
        }
    }

    /// Takes away every file of an organisation; one that has none is left alone. Answers whether there was anything.
    pub(crate) fn remove_all(&self, of: OrganisationId) -> bool {
        let folder = self.folder(of);
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(%error, path = %folder.display(), "packages could not be removed; it is tried again");
                false
            }
        }
    }

    /// Takes away what has lain about for long and is in no library: what a crash left of uploads and removals.
    pub(crate) fn sweep(&self, of: OrganisationId, kept: &BTreeSet<String>, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(self.folder(of)) else {
            return;
        };
        for entry in entries.flatten() {
            let known = entry.file_name().to_str().is_some_and(|n| kept.contains(n));
            let since = entry.metadata().and_then(|about| about.modified());
            let age = since.map(|since| now.duration_since(since).unwrap_or_default());
            if !known && age.is_ok_and(|age| age > FORGOTTEN) {
                tracing::info!(organisation = %of, "a forgotten package is removed");
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Every finished package of every organisation, by its name below the directory, in order. None where there is no directory.
pub(crate) fn all_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let read = |folder: &Path| match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>(),
    };
    let mut found = Vec::new();
    for folder in read(directory)? {
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for entry in read(&folder.path())? {
            if entry.file_name().to_str().is_some_and(KeptFile::is_name) {
                found.push(Path::new(&folder.file_name()).join(entry.file_name()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A file on its way in. Dropped before its end, it leaves nothing.
pub(crate) struct Incoming {
    file: std::fs::File,
    unfinished: Option<PathBuf>,
    place: PathBuf,
    largest: u64,
    together: u64,
    left: u64,
    size: u64,
    begins: Vec<u8>,
    parts: Vec<String>,
    hash: Sha256,
    in_part: usize,
}

impl Incoming {
    /// Its next piece.
    pub(crate) fn write(&mut self, mut piece: &[u8]) -> Result<(), NotKept> {
        self.size += piece.len() as u64;
        let missing = MAGIC.len() - self.begins.len();
        self.begins.extend(piece.iter().take(missing));
        if !MAGIC.starts_with(&self.begins) {
            return Err(NotKept::NoPackage);
        }
        if self.size > self.largest {
            return Err(NotKept::TooLarge(self.largest));
        }
        if self.size > self.left {
            return Err(NotKept::TooMuch(self.together));
        }
        self.file.write_all(piece)?;
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(PART - self.in_part));
            self.hash.update(now);
            self.in_part += now.len();
            piece = later;
            if self.in_part == PART {
                self.end_part();
            }
        }
        Ok(())
    }

    fn end_part(&mut self) {
        let digest = std::mem::take(&mut self.hash).finish();
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        self.parts.push(hex.collect());
        self.in_part = 0;
    }

    /// All of it is there: on the disk, under its name.
    pub(crate) fn end(mut self, name: String) -> Result<KeptFile, NotKept> {
        if self.begins != MAGIC {
            return Err(NotKept::NoPackage);
        }
        if self.in_part > 0 {
            self.end_part();
        }
        self.file.sync_all()?;
        if let Some(unfinished) = &self.unfinished {
            std::fs::rename(unfinished, &self.place)?;
        }
        self.unfinished = None;
        let folder = self.place.parent().unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()?;
        Ok(KeptFile {
            name,
            size: self.size,
            part_size: PART as u64,
            sha256s: std::mem::take(&mut self.parts),
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            let _ = std::fs::remove_file(unfinished);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: OrganisationId = OrganisationId(7);

    fn packages(directory: &Path) -> Packages {
        let mut config = Config::for_directory(directory);
        config.packages.largest_bytes = 2 * PART as u64;
        config.packages.organisation_bytes = 3 * PART as u64;
        Packages::new(&config)
    }

    fn files(directory: &Path) -> Vec<String> {
        let all = std::fs::read_dir(directory.join("packages/7")).unwrap();
        let names = all.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn all_files_of_an_organisation_go_and_none_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let packages = packages(directory.path());
        let other = OrganisationId(8);
        for of in [OURS, other] {
            let name = KeptFile::new_name().unwrap();
            let mut incoming = packages.begin(of, &name).unwrap();
            incoming.write(MAGIC).unwrap();
            incoming.end(name).unwrap();
        }
        assert!(packages.remove_all(OURS));
        assert!(!directory.path().join("packages/7").exists());
        assert_eq!(
            all_below(&directory.path().join("packages")).unwrap().len(),
            1
        );
        assert!(!packages.remove_all(OURS));
    }

    #[test]
    fn a_file_is_whole_or_not_there_and_each_part_has_its_hash() {
        let directory = tempfile::tempdir().unwrap();
        let packages = packages(directory.path());
        let bytes = (0..PART + 1).map(|n| n.to_le_bytes()[0]);
        let content: Vec<u8> = MAGIC.iter().copied().chain(bytes).collect();
        let name = KeptFile::new_name().unwrap();
        let mut incoming = packages.begin(OURS, &name).unwrap();
        // In pieces that end nowhere in particular.
        for piece in content.chunks(1_000_003) {
            incoming.write(piece).unwrap();
        }
        assert_eq!(files(directory.path()), [format!("{name}.part")]);
        let kept = incoming.end(name.clone()).unwrap();
        let whole = |bytes: &[u8]| -> String {
            let hash = openssl::sha::sha256(bytes);
            hash.iter().map(|b| format!("{b:02x}")).collect()
        };
        assert_eq!(kept.size, content.len() as u64);
        assert_eq!(
            kept.sha256s,
            [whole(&content[..PART]), whole(&content[PART..])]
        );
        let path = packages.path(OURS, &name).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content);
        // One that breaks off leaves nothing.
        let mut incoming = packages.begin(OURS, &"a".repeat(64)).unwrap();
        incoming.write(b"xa").unwrap();
        incoming.write(b"r! and half").unwrap();
        drop(incoming);
        assert_eq!(files(directory.path()), std::slice::from_ref(&name));
        // Something else than a package is seen at once, or at its end.
        let mut incoming = packages.begin(OURS, &"b".repeat(64)).unwrap();
        assert!(matches!(incoming.write(b"root:"), Err(NotKept::NoPackage)));
        drop(incoming);
        let mut incoming = packages.begin(OURS, &"c".repeat(64)).unwrap();
        incoming.write(b"xar").unwrap();
        let short = incoming.end("c".repeat(64));
        assert!(matches!(short, Err(NotKept::NoPackage)));
        packages.remove(OURS, &name);
        packages.remove(OURS, &name);
        assert!(files(directory.path()).is_empty());
    }

    #[test]
    fn files_have_a_largest_size_alone_and_together() {
        let directory = tempfile::tempdir().unwrap();
        let packages = packages(directory.path());
        let piece: Vec<u8> = MAGIC.iter().copied().cycle().take(PART).collect();
        let keep = |letter: &str, parts: usize| {
            let name = letter.repeat(64);
            let mut incoming = packages.begin(OURS, &name)?;
            for _ in 0..parts {
                incoming.write(&piece)?;
            }
            incoming.end(name)
        };
        assert!(matches!(keep("a", 3), Err(NotKept::TooLarge(_))));
        keep("b", 2).unwrap();
        assert!(matches!(keep("c", 2), Err(NotKept::TooMuch(_))));
        keep("d", 1).unwrap();
        assert_eq!(files(directory.path()), ["b".repeat(64), "d".repeat(64)]);
    }

    #[test]
    fn nothing_but_a_name_becomes_part_of_a_path_and_what_is_forgotten_goes() {
        let directory = tempfile::tempdir().unwrap();
        let packages = packages(directory.path());
        for name in ["..", "../mdmd.sqlite", "", &"A".repeat(64), &"a".repeat(65)] {
            assert_eq!(packages.path(OURS, name), None, "{name}");
            assert!(packages.begin(OURS, name).is_err(), "{name}");
        }
        let (known, forgotten) = ("a".repeat(64), "b".repeat(64));
        for name in [&known, &forgotten] {
            let mut incoming = packages.begin(OURS, name).unwrap();
            incoming.write(MAGIC).unwrap();
            incoming.end(name.clone()).unwrap();
        }
        let kept = BTreeSet::from([known.clone()]);
        let written = std::fs::metadata(packages.path(OURS, &forgotten).unwrap());
        let written = written.unwrap().modified().unwrap();
        packages.sweep(OURS, &kept, written + Duration::from_secs(60));
        assert_eq!(files(directory.path()), [known.clone(), forgotten]);
        packages.sweep(OURS, &kept, written + FORGOTTEN + Duration::from_secs(60));
        assert_eq!(files(directory.path()), [known]);
    }
}
