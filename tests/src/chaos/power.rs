//! The power cut: a small library under the server keeps what unsynced writes have replaced ([`power.c`](power.c)), and here
//! the files are given back as a disk may have them afterwards. What was synced is there. Of the rest, sector by sector, any
//! beginning of what was written to it: nothing at all, half the time.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::rng::Rng;
use crate::preload;

const SOURCE: &str = include_str!("power.c");
const MAGIC: u32 = 0x5257_5750;
const WRITE: u32 = 1;
const SIZE: u32 = 2;
const HEAD: usize = 40;
/// A disk writes sectors whole.
const SECTOR: usize = 512;
/// What marks a file that was made and whose name was not synced.
const CREATED: &str = ".created";
/// What marks a note about a file that was renamed or removed, and whose name was not synced.
const NAMES: &str = ".names";

pub(super) struct Power {
    library: PathBuf,
    journals: PathBuf,
    state: PathBuf,
    lies: bool,
}

/// Why a disk takes no write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Full,
    ReadOnly,
}

struct Record {
    offset: usize,
    length: usize,
    before: usize,
    kept: Vec<u8>,
    kind: u32,
}

impl Power {
    /// Compiles the library.
    pub(super) fn build(folder: &Path, lies: bool) -> anyhow::Result<Self> {
        let journals = folder.join("journals");
        fs::create_dir(&journals)?;
        let library = preload::build(folder, "power", SOURCE)?;
        Ok(Self {
            library,
            journals,
            state: folder.join("state"),
            lies,
        })
    }

    /// From now on the disk takes no write.
    pub(super) fn refuse(&self, why: Refusal) -> std::io::Result<()> {
        let word = match why {
            Refusal::Full => "full",
            Refusal::ReadOnly => "read-only",
        };
        fs::write(&self.state, word)
    }

    /// From now on each sync takes so long. Whatever is said to be on the disk is.
    pub(super) fn slow(&self, sync: Duration) -> std::io::Result<()> {
        // In one step: a file without its number would be another ill.
        let whole = self.state.with_extension("new");
        fs::write(&whole, format!("s{}", sync.as_micros()))?;
        fs::rename(whole, &self.state)
    }

    /// It is well again.
    pub(super) fn allow(&self) -> std::io::Result<()> {
        fs::remove_file(&self.state)
    }

    /// What the server is started with, so that the power of this directory can be cut.
    pub(super) fn environment(&self, directory: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut all = vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("POWER_DIRECTORY".to_owned(), text(directory)),
            ("POWER_JOURNAL".to_owned(), text(&self.journals)),
            ("POWER_STATE".to_owned(), text(&self.state)),
        ];
        if self.lies {
            all.push(("POWER_LIES".to_owned(), "1".to_owned()));
        }
        all
    }

    /// Gives the files of a directory back as they may be after the power failed; the server is dead. Answers how many writes
    /// were not synced.
    pub(super) fn cut(&self, directory: &Path, rng: &mut Rng) -> anyhow::Result<usize> {
        let nothing_survives = rng.below(2) == 0;
        let (mut lost, mut notes) = (0, Vec::new());
        for entry in fs::read_dir(&self.journals)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(NAMES) {
                notes.push(entry.path());
                continue;
            }
            let of = name.strip_suffix(CREATED);
            let file = directory.join(of.unwrap_or(&name).replace('%', "/"));
            if of.is_none() {
                let records = read(&fs::read(entry.path())?)?;
                lost += records.len();
                if file.exists() && !records.is_empty() {
                    give_back(&file, &records, nothing_survives, rng)?;
                }
            }
        }
        // After the bytes the names.
        take_back_names(directory, notes, nothing_survives, rng)?;
        // A file whose name was not synced may be gone as a whole.
        for entry in fs::read_dir(&self.journals)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(of) = name.strip_suffix(CREATED)
                && rng.below(2) == 0
            {
                let _ = fs::remove_file(directory.join(of.replace('%', "/")));
            }
            fs::remove_file(entry.path())?;
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-shm") {
                fs::remove_file(path)?;
            }
        }
        Ok(lost)
    }
}

/// Files that were renamed or removed: any number of the last changes has not happened.
fn take_back_names(
    directory: &Path,
    mut notes: Vec<PathBuf>,
    nothing_survives: bool,
    rng: &mut Rng,
) -> anyhow::Result<()> {
    notes.sort();
    let survive = match nothing_survives {
        true => 0,
        false => rng.place(notes.len() + 1),
    };
    for note in notes.iter().skip(survive).rev() {
        let bytes = fs::read(note)?;
        let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
        let mut line = || lines.next().map(|line| String::from_utf8_lossy(line));
        let (Some(from), Some(to), Some(length)) = (line(), line(), line()) else {
            continue;
        };
        let gone = lines.next().unwrap_or_default();
        // The last one may be cut off: then its change is one that has happened.
        if !length.is_empty() && length.parse::<usize>() != Ok(gone.len()) {
            continue;
        }
        let old = directory.join(&*from);
        let new = (!to.is_empty()).then(|| directory.join(&*to));
        if let Some(new) = &new
            && new.exists()
            && !old.exists()
        {
            fs::rename(new, &old)?;
        }
        let place = new.as_ref().unwrap_or(&old);
        if !length.is_empty() && !place.exists() {
            fs::write(place, gone)?;
        }
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 8)?.try_into().ok()?;
    usize::try_from(u64::from_ne_bytes(word)).ok()
}

fn read(bytes: &[u8]) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at + HEAD <= bytes.len() {
        let word = |from: usize| {
            bytes[at + from..at + from + 4]
                .try_into()
                .map(u32::from_ne_bytes)
        };
        ensure!(word(0)? == MAGIC, "a journal is torn");
        let field = |from: usize| number(bytes, at + from).context("a journal is torn");
        let kept = field(32)?;
        // The last one may be cut off: then its write has not happened.
        let Some(old) = bytes.get(at + HEAD..at + HEAD + kept) else {
            break;
        };
        records.push(Record {
            kind: word(4)?,
            offset: field(8)?,
            length: field(16)?,
            before: field(24)?,
            kept: old.to_vec(),
        });
        at += HEAD + kept;
    }
    Ok(records)
}

fn sectors(record: &Record) -> std::ops::Range<usize> {
    match record.kind {
        WRITE if record.length > 0 => {
            record.offset / SECTOR..(record.offset + record.length).div_ceil(SECTOR)
        }
        _ => 0..0,
    }
}

fn give_back(
    file: &Path,
    records: &[Record],
    nothing_survives: bool,
    rng: &mut Rng,
) -> anyhow::Result<()> {
    let mut content = fs::read(file)?;
    let size = content.len();
    let Some(first) = records.first() else {
        return Ok(());
    };
    // A file that was made shorter: all of it, or none.
    let shorter = records.iter().any(|r| r.kind == SIZE && r.before > size);
    if shorter && !nothing_survives {
        return Ok(());
    }
    let mut writes: HashMap<usize, u64> = HashMap::new();
    for sector in records.iter().flat_map(sectors) {
        *writes.entry(sector).or_default() += 1;
    }
    let survive: HashMap<usize, u64> = writes
        .iter()
        .map(|(sector, count)| {
            (
                *sector,
                if nothing_survives {
                    0
                } else {
                    rng.below(count + 1)
                },
            )
        })
        .collect();
    let most = records.iter().map(|r| r.before).max().unwrap_or(0);
    content.resize(size.max(most), 0);
    for record in records.iter().rev() {
        for sector in sectors(record) {
            // How many writes to this sector are still to be undone.
            let left = writes.entry(sector).or_default();
            let undo = *left > survive.get(&sector).copied().unwrap_or(0);
            *left = left.saturating_sub(1);
            if !undo {
                continue;
            }
            let from = (sector * SECTOR).max(record.offset);
            let to = ((sector + 1) * SECTOR)
                .min(record.offset + record.length)
                .min(content.len());
            for (place, byte) in content.iter_mut().enumerate().take(to).skip(from) {
                let kept = record.kept.get(place - record.offset);
                *byte = kept.copied().unwrap_or(0);
            }
        }
    }
    let survived = survive
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(sector, _)| (sector + 1) * SECTOR)
        .max()
        .unwrap_or(0);
    content.truncate(
        first
            .before
            .max(survived.min(size))
            .max(if shorter { most } else { 0 }),
    );
    fs::write(file, content)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    fn write(offset: usize, length: usize, before: usize, kept: &[u8]) -> Record {
        Record {
            offset,
            length,
            before,
            kept: kept.to_vec(),
            kind: WRITE,
        }
    }

    /// What comes of it when these programs work in a directory, and the power fails: what each file holds then.
    fn after(power: &Power, programs: &[&[&str]], seed: u64) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        for name in ["old", "new"] {
            fs::write(directory.join(name), name).unwrap();
        }
        for words in programs {
            let done = Command::new(words[0])
                .args(words[1..].iter().map(|word| directory.join(word)))
                .envs(power.environment(directory))
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        power.cut(directory, &mut Rng::new(seed)).unwrap();
        let mut all: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    fn files(all: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, held): &(&str, &str)| ((*name).to_owned(), (*held).to_owned());
        all.iter().map(owned).collect()
    }

    #[test]
    fn a_name_that_was_not_synced_is_the_old_one_or_the_new_one() {
        let papers = tempfile::tempdir().unwrap();
        let power = Power::build(papers.path(), false).unwrap();
        let seen = |programs: &[&[&str]]| -> BTreeSet<Vec<(String, String)>> {
            (0..32).map(|seed| after(&power, programs, seed)).collect()
        };
        let before = files(&[("new", "new"), ("old", "old")]);
        let renamed = files(&[("old", "new")]);
        let removed = files(&[("new", "new")]);
        let either = |one: &Vec<(String, String)>| BTreeSet::from([before.clone(), one.clone()]);
        assert_eq!(seen(&[&["mv", "new", "old"]]), either(&renamed));
        assert_eq!(seen(&[&["rm", "old"]]), either(&removed));
        // An empty word is the directory itself.
        let synced = seen(&[&["mv", "new", "old"], &["sync", ""]]);
        assert_eq!(synced, BTreeSet::from([renamed]), "a synced name was lost");
    }

    #[test]
    fn what_was_not_synced_is_taken_back_to_the_first_byte() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, b"HELLO world\0\0tail").unwrap();
        let records = [write(0, 5, 11, b"hello"), write(13, 4, 11, b"")];
        give_back(&file, &records, true, &mut Rng::new(1)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"hello world");
    }

    #[test]
    fn a_sector_keeps_a_beginning_of_its_writes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            fs::write(&file, b"cc").unwrap();
            let records = [write(0, 2, 2, b"aa"), write(0, 2, 2, b"bb")];
            give_back(&file, &records, false, &mut Rng::new(seed)).unwrap();
            seen.insert(fs::read(&file).unwrap());
        }
        let all = [b"aa".to_vec(), b"bb".to_vec(), b"cc".to_vec()];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }
}
