//! Looks through a pack without the server that made it: every byte of the archive is the one that it must be, every file is that of the
//! manifest, the manifest is signed, and the record in it is whole and in its order. Keeps one file of it in memory at most.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};

use openssl::sha::Sha256;
use serde::{Deserialize, Serialize};

use super::{
    BLOCK, FORMAT, MANIFEST, Manifest, PackFile, SIGNATURE, fingerprint, header, padding, signed,
};
use crate::audit::AuditEntry;
use crate::audit_seal::{AuditSeal, ChainReport, ChainWalk, Checkpoint, entry_hash, is_signed};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::AuditId;
use crate::organisation::Der;

/// The longest file that is read whole: a page of the record, the manifest. Others are only hashed.
const LONGEST: u64 = 256 * 1024 * 1024;
/// Pieces in which other files are read.
const PIECE: usize = 64 * 1024;
/// The most sentences of a report.
const MOST_SENTENCES: usize = 100;

/// What looking through a pack found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PackReport {
    /// What the pack says of itself; nothing that could not be read.
    pub manifest: Option<Manifest>,
    /// SHA-256 of the key that signed it: compare it with one that you have from elsewhere.
    pub key: Option<String>,
    /// Files that are as they were.
    pub files: u64,
    /// What the chain of the record says.
    pub chain: ChainReport,
    /// Entries with pseudonyms in them: their place in the chain is proved, their words by the signature of the pack alone.
    pub redacted: u64,
    /// Entries of other waves and of nothing that the pack is about: only their places in the chain are in it.
    pub others: u64,
    /// What is not as it should be, in sentences; empty for a pack that nobody has touched.
    pub broken: Vec<String>,
}

impl PackReport {
    fn broken(&mut self, sentence: String) {
        if self.broken.len() < MOST_SENTENCES {
            self.broken.push(sentence);
        }
    }
}

/// A line of the record in a pack.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PackedEntry {
    /// One of the wave.
    Whole(WholeEntry),
    /// One of something else: its place in the chain, and not what it says.
    Place(EntryPlace),
}

/// An entry with its words.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WholeEntry {
    pub(crate) entry: AuditEntry,
    /// The hash that was sealed, where pseudonyms have changed the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<String>,
}

/// An entry without its words.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryPlace {
    pub(crate) id: AuditId,
    pub(crate) sealed: String,
}

/// Looks through a pack. `earlier` is a checkpoint that was taken along before: it finds a record that was replaced as a whole.
/// What is wrong with the pack stands in the report.
///
/// # Errors
/// [`Error::BadInput`] when it cannot be read at all; never for what it says.
pub fn verify_pack(from: &mut dyn Read, earlier: Option<&Checkpoint>) -> Result<PackReport, Error> {
    let mut walk = Walk {
        from,
        report: PackReport::default(),
        files: Vec::new(),
        moment: None,
        seals: Vec::new(),
        entries: Vec::new(),
    };
    let manifest = walk.archive()?;
    let (files, moment) = (walk.files, walk.moment);
    let (seals, entries) = (walk.seals, walk.entries);
    let mut report = walk.report;
    let Some(manifest) = manifest else {
        return Ok(report);
    };
    check_files(&mut report, &manifest, &files, moment);
    check_chain(&mut report, &manifest, &seals, &entries, earlier);
    for sentence in manifest.broken.clone() {
        report.broken(format!("when the pack was made: {sentence}"));
    }
    report.key = Some(fingerprint(&manifest.public_key));
    report.manifest = Some(manifest);
    Ok(report)
}

struct Walk<'a> {
    from: &'a mut dyn Read,
    report: PackReport,
    files: Vec<PackFile>,
    /// The moment that all headers name.
    moment: Option<u64>,
    seals: Vec<AuditSeal>,
    /// Id, hash that must have been sealed, in the order of the pack.
    entries: Vec<(AuditId, String)>,
}

impl Walk<'_> {
    /// Fills the buffer; says how much there was.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut have = 0;
        while have < buffer.len() {
            match self.from.read(&mut buffer[have..]) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::bad_input("pack", error.to_string())),
            }
        }
        Ok(have)
    }

    /// Goes through the whole archive; answers the manifest when there is one that was signed.
    fn archive(&mut self) -> Result<Option<Manifest>, Error> {
        let mut manifest: Option<Vec<u8>> = None;
        let mut number = 0_u64;
        loop {
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? != BLOCK {
                self.report
                    .broken("the pack ends before its end: it is not whole".to_owned());
                return Ok(None);
            }
            number += 1;
            if block == [0; BLOCK] {
                self.report
                    .broken("the pack has no signature: it is not whole".to_owned());
                return Ok(None);
            }
            let Some((name, size, moment)) = read_header(&block) else {
                let sentence = format!("the heading of file {number} is not in the form of a pack");
                self.report.broken(sentence);
                return Ok(None);
            };
            if *self.moment.get_or_insert(moment) != moment {
                self.report
                    .broken(format!("{name} has the time of another pack"));
            }
            let keep = name == MANIFEST || name == SIGNATURE || name.starts_with("audit/");
            if keep && size > LONGEST {
                self.report
                    .broken(format!("{name} is larger than it can be"));
                return Ok(None);
            }
            let Some((content, sha256)) = self.content(size, keep)? else {
                self.report
                    .broken(format!("the pack ends within {name}: it is not whole"));
                return Ok(None);
            };
            match (name.as_str(), &manifest) {
                (SIGNATURE, Some(text)) => {
                    let text = text.clone();
                    self.the_end()?;
                    return Ok(self.manifest(&text, &content));
                }
                (MANIFEST, None) => manifest = Some(content),
                (_, Some(_)) => {
                    self.report
                        .broken(format!("{name} stands behind the manifest"));
                    return Ok(None);
                }
                _ => {
                    self.record(&name, &content);
                    self.files.push(PackFile { name, size, sha256 });
                }
            }
        }
    }

    /// The content of a file, if it is kept, and its hash; `None` when it is not all there.
    fn content(&mut self, size: u64, keep: bool) -> Result<Option<(Vec<u8>, String)>, Error> {
        let (mut kept, mut hash) = (Vec::new(), Sha256::new());
        let mut left = size;
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            if self.fill(&mut piece[..want])? != want {
                return Ok(None);
            }
            hash.update(&piece[..want]);
            if keep {
                kept.extend_from_slice(&piece[..want]);
            }
            left -= want as u64;
        }
        let mut zeros = vec![0; padding(size)];
        if self.fill(&mut zeros)? != zeros.len() {
            return Ok(None);
        }
        if zeros.iter().any(|b| *b != 0) {
            self.report
                .broken("there is something between two files".to_owned());
        }
        let hash = hash.finish();
        let hex = hash.iter().map(|b| format!("{b:02x}")).collect();
        Ok(Some((kept, hex)))
    }

    /// Two empty blocks, and nothing.
    fn the_end(&mut self) -> Result<(), Error> {
        let mut end = vec![0; 2 * BLOCK + 1];
        let have = self.fill(&mut end)?;
        if have != 2 * BLOCK || end[..have].iter().any(|b| *b != 0) {
            self.report
                .broken("the end of the pack is not that of a pack".to_owned());
        }
        Ok(())
    }

    fn manifest(&mut self, text: &[u8], signature: &[u8]) -> Option<Manifest> {
        let manifest: Manifest = match serde_json::from_slice(text) {
            Ok(manifest) => manifest,
            Err(_) => {
                self.report
                    .broken("the manifest cannot be read: it was changed".to_owned());
                return None;
            }
        };
        if manifest.format != FORMAT {
            self.report
                .broken("the manifest is of a format that is not known here".to_owned());
        }
        let signature = Der(signature.to_vec());
        if !is_signed(&manifest.public_key, &signed(text), &signature) {
            let sentence = "the manifest is not signed by the key that it names: it was changed";
            self.report.broken(sentence.to_owned());
        }
        Some(manifest)
    }

    /// Takes what a file says of the record.
    fn record(&mut self, name: &str, content: &[u8]) {
        if !name.starts_with("audit/") {
            return;
        }
        let lines = content
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty());
        for line in lines {
            let read = if name.ends_with("-seals.jsonl") {
                serde_json::from_slice(line).map(|seal| self.seals.push(seal))
            } else if name.ends_with("-entries.jsonl") {
                serde_json::from_slice::<PackedEntry>(line).map(|line| {
                    let (id, hash) = match line {
                        PackedEntry::Place(place) => {
                            self.report.others += 1;
                            (place.id, place.sealed)
                        }
                        PackedEntry::Whole(whole) => {
                            let hash = match whole.sealed {
                                Some(sealed) => {
                                    self.report.redacted += 1;
                                    sealed
                                }
                                None => entry_hash(&whole.entry),
                            };
                            (whole.entry.id, hash)
                        }
                    };
                    self.entries.push((id, hash));
                })
            } else {
                return;
            };
            if read.is_err() {
                self.report
                    .broken(format!("{name} has a line that cannot be read"));
                return;
            }
        }
    }
}

/// Name, size and moment of a header that has the one form.
fn read_header(block: &[u8; BLOCK]) -> Option<(String, u64, u64)> {
    let end = block[..100].iter().position(|b| *b == 0).unwrap_or(100);
    let name = std::str::from_utf8(&block[..end]).ok()?.to_owned();
    let octal = |from: usize| {
        let digits = std::str::from_utf8(&block[from..from + 11]).ok()?;
        u64::from_str_radix(digits, 8).ok()
    };
    let (size, moment) = (octal(124)?, octal(136)?);
    let at = Timestamp::from_millis(i64::try_from(moment).ok()? * 1000);
    (header(&name, size, at)? == *block).then_some((name, size, moment))
}

fn check_files(
    report: &mut PackReport,
    manifest: &Manifest,
    found: &[PackFile],
    moment: Option<u64>,
) {
    let at = u64::try_from(manifest.at.as_secs()).unwrap_or(0) & 0x1_ffff_ffff;
    if moment != Some(at) {
        report.broken("the files have the time of another pack".to_owned());
    }
    let there: BTreeMap<&str, &PackFile> = found.iter().map(|f| (f.name.as_str(), f)).collect();
    for wanted in &manifest.files {
        match there.get(wanted.name.as_str()) {
            None => report.broken(format!("{} is not there", wanted.name)),
            Some(file) if *file != wanted => report.broken(format!("{} was changed", wanted.name)),
            Some(_) => report.files += 1,
        }
    }
    let wanted: BTreeMap<&str, ()> = manifest
        .files
        .iter()
        .map(|f| (f.name.as_str(), ()))
        .collect();
    for file in found
        .iter()
        .filter(|f| !wanted.contains_key(f.name.as_str()))
    {
        report.broken(format!("{} was put in", file.name));
    }
    let names = |of: &[PackFile]| of.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    if report.broken.is_empty() && names(found) != names(&manifest.files) {
        report.broken("the files stand in another order, or one of them twice".to_owned());
    }
}

fn check_chain(
    report: &mut PackReport,
    manifest: &Manifest,
    seals: &[AuditSeal],
    entries: &[(AuditId, String)],
    earlier: Option<&Checkpoint>,
) {
    if entries.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        report.broken("entries of the record do not stand in their order".to_owned());
    }
    let mut walk = ChainWalk::new(manifest.public_key.clone());
    let mut next = entries.iter().peekable();
    for seal in seals {
        walk.seal(seal);
        let upto = seal.entries.iter().map(|(id, _)| *id).max();
        while let Some((id, hash)) = next.next_if(|(id, _)| Some(*id) <= upto) {
            walk.entry(*id, hash.clone());
        }
    }
    for (id, hash) in next {
        walk.entry(*id, hash.clone());
    }
    report.chain = walk.finish();
    for sentence in report.chain.broken.clone() {
        report.broken(sentence);
    }
    let newest = seals.last();
    match (&manifest.checkpoint, newest) {
        (None, None) => {}
        (Some(checkpoint), Some(newest))
            if checkpoint.seal == newest.id
                && checkpoint.hash == newest.hash
                && checkpoint.organisation == manifest.organisation
                && checkpoint.public_key == manifest.public_key
                && checkpoint.is_signed() => {}
        _ => report
            .broken("the record does not end with the seal that the manifest names".to_owned()),
    }
    let Some(earlier) = earlier else { return };
    if earlier.public_key != manifest.public_key || earlier.organisation != manifest.organisation {
        report.broken("the checkpoint is of another organisation or audit key".to_owned());
    } else if !earlier.is_signed() {
        report.broken("the checkpoint is not signed by the key that it names".to_owned());
    } else {
        match seals.iter().find(|seal| seal.id == earlier.seal) {
            Some(seal) if seal.hash == earlier.hash => {}
            Some(_) => report.broken(format!(
                "seal {} is another than that of the checkpoint",
                earlier.seal
            )),
            None => report.broken(format!(
                "seal {} of the checkpoint is not in the pack",
                earlier.seal
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packer;
    use super::*;
    use crate::audit_seal::new_key;
    use crate::ids::{AuditId, IdSource, OrganisationId, WaveId};
    use crate::secret::Secret;

    const A: OrganisationId = OrganisationId(1);
    const AT: Timestamp = Timestamp::from_millis(1_796_112_000_123);

    struct Made {
        key: Secret,
        public: Der,
        seals: Vec<AuditSeal>,
        entries: Vec<AuditEntry>,
    }

    fn made() -> Made {
        let (key, public) = new_key().unwrap();
        let entry = |n: i64| {
            let detail = serde_json::json!({ "n": n });
            AuditEntry::new(
                A,
                AuditId(IdSource::floor(AT) + n),
                AT,
                "Anna",
                "wave.submitted",
                None,
                detail,
            )
        };
        let entries: Vec<AuditEntry> = (1..=5).map(entry).collect();
        let mut seals: Vec<AuditSeal> = Vec::new();
        // The third came late.
        for ids in [vec![0_usize, 1, 3], vec![2, 4]] {
            let named = ids
                .iter()
                .map(|n| (entries[*n].id, entry_hash(&entries[*n])));
            let seal = AuditSeal::make(A, seals.last(), named.collect(), AT, &key);
            seals.push(seal.unwrap());
        }
        Made {
            key,
            public,
            seals,
            entries,
        }
    }

    /// The pack of this record, signed by this key.
    fn pack(made: &Made, signer: &Secret, public: &Der) -> Vec<u8> {
        let mut packer = Packer::new(AT);
        let mut bytes = packer.add("README.txt", b"hello").unwrap();
        let lines = |all: Vec<String>| all.join("\n") + "\n";
        let seals = made.seals.iter().map(|s| serde_json::to_string(s).unwrap());
        let seals = lines(seals.collect());
        bytes.extend(
            packer
                .add("audit/000001-seals.jsonl", seals.as_bytes())
                .unwrap(),
        );
        let entries = made.entries.iter().map(|entry| {
            let (entry, sealed) = (entry.clone(), None);
            serde_json::to_string(&PackedEntry::Whole(WholeEntry { entry, sealed })).unwrap()
        });
        let entries = lines(entries.collect());
        let name = "audit/000001-001-entries.jsonl";
        bytes.extend(packer.add(name, entries.as_bytes()).unwrap());
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            organisation: "code".to_owned(),
            name: "Town".to_owned(),
            wave: WaveId(7),
            wave_name: "pilot".to_owned(),
            at: AT,
            server: "mdmd".to_owned(),
            by: "Anna".to_owned(),
            redacted: Vec::new(),
            broken: Vec::new(),
            checkpoint: made.seals.last().map(|s| s.checkpoint("code", public)),
            public_key: public.clone(),
            files: Vec::new(),
        };
        bytes.extend(packer.finish(manifest, signer).unwrap());
        bytes
    }

    fn broken(bytes: &[u8]) -> Vec<String> {
        verify_pack(&mut &*bytes, None).unwrap().broken
    }

    /// `WRITE_CORPUS=1` writes the first seeds of the fuzzer anew.
    #[test]
    fn the_fuzzers_seeds_are_packs() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/pack");
        let seed = |name: &str| std::path::Path::new(directory).join(name);
        if std::env::var_os("WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(directory).unwrap();
            for name in ["whole", "other-key"] {
                let made = made();
                std::fs::write(seed(name), pack(&made, &made.key, &made.public)).unwrap();
            }
            let whole = std::fs::read(seed("whole")).unwrap();
            std::fs::write(seed("cut"), &whole[..whole.len() - 700]).unwrap();
            std::fs::write(seed("first-file"), &whole[..1024]).unwrap();
        }
        for name in ["whole", "other-key"] {
            let bytes = std::fs::read(seed(name)).unwrap();
            assert_eq!(broken(&bytes), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn an_untouched_pack_is_whole_and_names_its_key() {
        let made = made();
        let bytes = pack(&made, &made.key, &made.public);
        let earlier = made.seals[0].checkpoint("code", &made.public);
        let report = verify_pack(&mut &*bytes, Some(&earlier)).unwrap();
        assert_eq!(report.broken, Vec::<String>::new());
        assert_eq!(
            (report.files, report.chain.sealed, report.chain.unsealed),
            (3, 5, 0)
        );
        assert_eq!(report.key, Some(fingerprint(&made.public)));
    }

    #[test]
    fn any_single_changed_byte_is_found() {
        let made = made();
        let bytes = pack(&made, &made.key, &made.public);
        for at in 0..bytes.len() {
            for flip in [1_u8, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                assert!(
                    !broken(&changed).is_empty(),
                    "byte {at} of {} by {flip}",
                    bytes.len()
                );
            }
        }
        for cut in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            assert!(!broken(&bytes[..cut]).is_empty(), "cut at {cut}");
        }
        assert!(
            !broken(&[&bytes[..], &[0]].concat()).is_empty(),
            "something behind it"
        );
        assert!(!broken(&[&bytes[..], &bytes[..]].concat()).is_empty());
    }

    #[test]
    fn whoever_holds_the_key_of_the_pack_cannot_leave_entries_out_or_turn_them_around() {
        let check = |word: &str, touch: &dyn Fn(&mut Made)| {
            let mut made = made();
            touch(&mut made);
            let found = broken(&pack(&made, &made.key, &made.public)).join("; ");
            assert!(found.contains(word), "{word}: {found}");
        };
        for n in 0..5 {
            check("is not there any more", &|m| drop(m.entries.remove(n)));
        }
        for n in 0..4 {
            check("do not stand in their order", &|m| m.entries.swap(n, n + 1));
        }
        check("was changed after it was sealed", &|m| {
            m.entries[2].actor = "Bo".to_owned()
        });
        check("seal 1 is not there", &|m| drop(m.seals.remove(0)));
        check("is not there any more", &|m| {
            m.entries.remove(4);
            m.entries.remove(2);
        });
        // The newest seal with its entries: whole by itself, and short of the checkpoint that somebody took along.
        let mut short = made();
        let earlier = short.seals[1].checkpoint("code", &short.public);
        short.seals.pop();
        short.entries = [0, 1, 3].map(|n| short.entries[n].clone()).into();
        let bytes = pack(&short, &short.key, &short.public);
        assert!(broken(&bytes).is_empty());
        let report = verify_pack(&mut &*bytes, Some(&earlier)).unwrap();
        assert!(
            report.broken[0].contains("is not in the pack"),
            "{report:?}"
        );
    }

    #[test]
    fn another_key_signs_another_pack() {
        let made = made();
        let (other, public) = new_key().unwrap();
        // In the name of the first key.
        assert!(!broken(&pack(&made, &other, &made.public)).is_empty());
        // In its own name the record is not its own.
        assert!(!broken(&pack(&made, &other, &public)).is_empty());
    }

    #[test]
    fn nonsense_is_no_pack() {
        for bytes in [&b""[..], b"x", &[0; 512], &[0; 4096], &[0xff; 2048]] {
            assert!(!broken(bytes).is_empty());
        }
    }
}
