//! The evidence pack: one archive whose every byte is accounted for. It is a tar in one fixed form (so that headers and padding say nothing of
//! their own), its last files are a manifest with the hash of every other file and a signature over that by the key that signs the
//! record. Does no IO.

mod redact;
mod verify;

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub(crate) use redact::Word;
pub use redact::{Redact, Redaction};
pub(crate) use verify::{EntryPlace, PackedEntry, WholeEntry};
pub use verify::{PackReport, verify_pack};

use super::report::{ReportHead, ReportRow};
use crate::audit_seal::{Checkpoint, sign};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::WaveId;
use crate::organisation::Der;
use crate::secret::Secret;

/// What a manifest calls its format.
pub(crate) const FORMAT: &str = "mdmd-evidence-1";
/// Before what is signed, so that a signature over something else is none over a manifest.
const DOMAIN: &[u8] = b"mdmd evidence manifest\n";
/// The manifest, last but one.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Its signature, the last file.
pub(crate) const SIGNATURE: &str = "manifest.sig";
/// The size of a block of a tar.
pub(crate) const BLOCK: usize = 512;
/// The longest name of a file.
const LONGEST_NAME: usize = 100;

/// What a pack says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Always `mdmd-evidence-1`.
    pub format: String,
    /// The organisation's code.
    pub organisation: String,
    /// Its name.
    pub name: String,
    /// The wave.
    pub wave: WaveId,
    /// What the wave is called.
    pub wave_name: String,
    /// When it was made.
    pub at: Timestamp,
    /// By which server.
    pub server: String,
    /// By whom.
    pub by: String,
    /// What of people and devices stands in it as pseudonyms.
    pub redacted: Vec<Redact>,
    /// What was wrong with the record when the pack was made; empty for one that nobody has touched.
    pub broken: Vec<String>,
    /// The newest seal of the record.
    pub checkpoint: Option<Checkpoint>,
    /// The public key that checks signature and record (SubjectPublicKeyInfo, DER).
    pub public_key: Der,
    /// Every other file, in the order of the archive.
    pub files: Vec<PackFile>,
}

/// A file of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "three facts")]
pub struct PackFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// SHA-256 of a public key (DER), lower-case hex: what people compare.
#[must_use]
pub fn fingerprint(public_key: &Der) -> String {
    sha256_hex(&public_key.0)
}

/// The one header that a file of this name and size has.
pub(crate) fn header(name: &str, size: u64, at: Timestamp) -> Option<[u8; BLOCK]> {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && name.is_ascii();
    // Eleven octal digits.
    if !fits || size >= 1 << 33 {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    let seconds = u64::try_from(at.as_secs()).unwrap_or(0) & 0x1_ffff_ffff;
    put(136, format!("{seconds:011o}\0").as_bytes());
    // While the sum is taken its place is blank.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// How many zeros follow so many bytes.
pub(crate) const fn padding(size: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "less than a block")]
    let over = (size % BLOCK as u64) as usize;
    match over {
        0 => 0,
        over => BLOCK - over,
    }
}

/// Takes the bytes of a pack in their order.
#[async_trait]
pub trait PackSink: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When nobody wants the rest.
    async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error>;
}

/// Writes one report in one format, for the reports within a pack.
pub trait ReportText: Send {
    /// The beginning; `None` where the format has none for this report.
    fn head(&mut self, head: &ReportHead) -> Option<String>;
    /// Some rows.
    fn rows(&mut self, rows: &[ReportRow]) -> String;
    /// The end.
    fn end(&self) -> String;
}

/// Makes what writes one report.
pub type MakeReport = fn() -> Box<dyn ReportText>;

/// What is wanted of a pack.
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct PackAsk {
    /// Of which wave.
    pub wave: WaveId,
    /// What stands in it as pseudonyms.
    pub redact: BTreeSet<Redact>,
    /// What the server calls itself.
    pub server: String,
    /// Formats of the reports in it: the end of a file's name, and what writes it.
    pub formats: Vec<(&'static str, MakeReport)>,
}

/// A pack in the making: answers the bytes that go out next.
#[derive(Debug)]
pub(crate) struct Packer {
    at: Timestamp,
    files: Vec<PackFile>,
}

impl Packer {
    pub(crate) const fn new(at: Timestamp) -> Self {
        Self {
            at,
            files: Vec::new(),
        }
    }

    fn bytes(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, Error> {
        let size = content.len() as u64;
        let head = header(name, size, self.at)
            .ok_or_else(|| Error::Precondition(format!("{name} does not fit into a pack")))?;
        let mut bytes = Vec::with_capacity(content.len() + 2 * BLOCK);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + padding(size), 0);
        Ok(bytes)
    }

    /// A file.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) -> Result<Vec<u8>, Error> {
        let bytes = self.bytes(name, content)?;
        self.files.push(PackFile {
            name: name.to_owned(),
            size: content.len() as u64,
            sha256: sha256_hex(content),
        });
        Ok(bytes)
    }

    /// Manifest, signature and the end.
    pub(crate) fn finish(self, mut manifest: Manifest, key: &Secret) -> Result<Vec<u8>, Error> {
        manifest.files.clone_from(&self.files);
        let mut text = serde_json::to_vec_pretty(&manifest)
            .map_err(|_| Error::Precondition("the manifest cannot be written".to_owned()))?;
        text.push(b'\n');
        let signature = sign(key, &signed(&text))
            .map_err(|_| Error::Crypto("the manifest could not be signed"))?;
        let mut bytes = self.bytes(MANIFEST, &text)?;
        bytes.extend(self.bytes(SIGNATURE, &signature)?);
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        Ok(bytes)
    }
}

/// An archive of these files in the same form, without a manifest.
///
/// # Errors
/// [`Error::Precondition`] for a name or a size that does not fit.
pub fn plain_archive(files: &[(&str, &[u8])], at: Timestamp) -> Result<Vec<u8>, Error> {
    let mut packer = Packer::new(at);
    let mut bytes = Vec::new();
    for (name, content) in files {
        bytes.extend(packer.add(name, content)?);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    Ok(bytes)
}

/// What is signed of a manifest.
pub(crate) fn signed(manifest: &[u8]) -> Vec<u8> {
    [DOMAIN, manifest].concat()
}
