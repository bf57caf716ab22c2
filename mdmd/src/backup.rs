//! The file of a backup: everything of an installation but its master key, sealed under it. Whoever has the file without the key
//! learns when it was made and how large it is. It is read to its end or not at all: what is cut off, altered or in another
//! order does not open.
//!
//! A line of JSON (the header), then sealed parts: length, whether it is the last one, AES-256-GCM under a key of this file
//! alone, which the master key has wrapped. Inside are lines of JSON: files, rows, and how many there were.

use std::io::{BufRead, Read, Write};

use anyhow::{Context as _, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::clock::Timestamp;
use mdm_core::secret::Secret;
use mdm_core::store::ArchivedRow;
use mdm_core::vault::KeyWrap;
use openssl::sha::Sha256;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

const FORMAT: &str = "mdmd backup";
const CONTEXT: &[u8] = b"mdmd backup";
/// Lines are sealed when they come to this many bytes.
const PART: usize = 256 * 1024;
/// No part is larger: a row holds at most one body.
const LARGEST: usize = 256 * 1024 * 1024;
const HEADER: u64 = 64 * 1024;
const KEY: usize = 32;
const TAG: usize = 16;

/// What a file says of itself to everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    format: String,
    version: u32,
    /// When it was made.
    pub(crate) made: Timestamp,
    /// The version of the tables whose rows are in it.
    pub(crate) schema: i64,
    /// Which master key has wrapped the key of the file.
    pub(crate) key_id: String,
    key: String,
}

/// A line inside.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A file of the data directory, by its name below it; its content follows in parts.
    File {
        name: String,
        mode: u32,
    },
    /// A package that devices install, by its name below the directory of packages, wherever that is.
    Package {
        name: String,
        mode: u32,
    },
    /// A part of a file, base64.
    Part(Hidden),
    Row(Box<ArchivedRow>),
    End {
        rows: u64,
        files: u64,
    },
}

/// What a file holds is for nobody's eyes.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(String);

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl Line {
    pub(crate) fn part(bytes: &[u8]) -> Self {
        Self::Part(Hidden(STANDARD.encode(bytes)))
    }
}

impl Hidden {
    pub(crate) fn bytes(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        Ok(STANDARD.decode(&self.0)?.into())
    }
}

struct Parts {
    key: Secret,
    header: [u8; 32],
    number: u64,
}

impl Parts {
    fn new(key: Secret, header: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(header);
        Self {
            key,
            header: hash.finish(),
            number: 0,
        }
    }

    /// Nonce and additional data of the next part: its place, whether it is the last one, and the file that it is of.
    fn next(&mut self, last: bool) -> ([u8; 12], Vec<u8>) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.number.to_be_bytes());
        let mut data = self.header.to_vec();
        data.extend(self.number.to_be_bytes());
        data.push(u8::from(last));
        self.number += 1;
        (nonce, data)
    }
}

/// Writes a file.
pub(crate) struct Sealer<W> {
    to: W,
    parts: Parts,
    lines: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    pub(crate) async fn begin(
        mut to: W,
        master: &impl KeyWrap,
        made: Timestamp,
        schema: i64,
    ) -> anyhow::Result<Self> {
        let mut key = vec![0; KEY];
        openssl::rand::rand_bytes(&mut key)?;
        let key = Secret::new(key);
        let header = Header {
            format: FORMAT.to_owned(),
            version: 1,
            made,
            schema,
            key_id: master.key_id(),
            key: STANDARD.encode(master.wrap(&key, CONTEXT).await?),
        };
        let mut text = serde_json::to_vec(&header)?;
        text.push(b'\n');
        to.write_all(&text)?;
        Ok(Self {
            to,
            parts: Parts::new(key, &text),
            lines: Zeroizing::default(),
        })
    }

    pub(crate) fn line(&mut self, line: &Line) -> anyhow::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(line)?);
        self.lines.extend_from_slice(&text);
        self.lines.push(b'\n');
        if self.lines.len() >= PART {
            self.part(false)?;
        }
        Ok(())
    }

    fn part(&mut self, last: bool) -> anyhow::Result<()> {
        let (nonce, data) = self.parts.next(last);
        let mut tag = [0; TAG];
        let key = self.parts.key.expose();
        let sealed = encrypt_aead(
            Cipher::aes_256_gcm(),
            key,
            Some(&nonce),
            &data,
            &self.lines,
            &mut tag,
        )
        .map_err(|_| anyhow!("a part cannot be sealed"))?;
        self.lines = Zeroizing::default();
        self.to
            .write_all(&u32::try_from(sealed.len())?.to_be_bytes())?;
        self.to.write_all(&[u8::from(last)])?;
        self.to.write_all(&sealed)?;
        self.to.write_all(&tag)?;
        Ok(())
    }

    /// The last part.
    pub(crate) fn end(mut self, rows: u64, files: u64) -> anyhow::Result<W> {
        self.line(&Line::End { rows, files })?;
        self.part(true)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
#[error("the master key at hand has not made this backup (it names the key {0})")]
pub(crate) struct OtherKey(pub(crate) String);

/// Reads a file.
pub(crate) struct Opener<R> {
    from: R,
    pub(crate) header: Header,
    parts: Option<Parts>,
    lines: std::io::Cursor<Zeroizing<Vec<u8>>>,
    text: Vec<u8>,
    over: bool,
}

impl<R: BufRead> Opener<R> {
    /// Reads what a file says of itself.
    pub(crate) fn begin(mut from: R) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        (&mut from).take(HEADER).read_until(b'\n', &mut text)?;
        let header = serde_json::from_slice::<Header>(&text)
            .ok()
            .filter(|header| header.format == FORMAT)
            .context("is no backup of mdmd")?;
        let version = header.version;
        ensure!(
            version == 1,
            "is a backup of version {version}; this mdmd reads 1"
        );
        Ok(Self {
            from,
            header,
            parts: None,
            lines: std::io::Cursor::default(),
            text,
            over: false,
        })
    }

    /// Unwraps the key of the file.
    pub(crate) async fn open(&mut self, master: &impl KeyWrap) -> anyhow::Result<()> {
        let wrapped = STANDARD.decode(&self.header.key).context("is damaged")?;
        let key = master.unwrap(&self.header.key_id, &wrapped, CONTEXT).await;
        let key = key.map_err(|_| OtherKey(self.header.key_id.clone()))?;
        self.parts = Some(Parts::new(key, &self.text));
        Ok(())
    }

    /// The next line; the last one is [`Line::End`], and after it there is none.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            let mut line = Zeroizing::new(Vec::new());
            self.lines.read_until(b'\n', &mut line)?;
            if !line.is_empty() {
                // The words of the parser could quote what is inside.
                let read = serde_json::from_slice(&line);
                return read
                    .map(Some)
                    .map_err(|_| anyhow!("holds a line that cannot be read"));
            }
            if self.over {
                ensure!(
                    self.from.fill_buf()?.is_empty(),
                    "is followed by something else"
                );
                return Ok(None);
            }
            self.part()?;
        }
    }

    fn part(&mut self) -> anyhow::Result<()> {
        let cut = "is cut off";
        let mut head = [0; 5];
        self.from.read_exact(&mut head).context(cut)?;
        let [a, b, c, d, last] = head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        ensure!(length <= LARGEST && last <= 1, "is damaged");
        let mut sealed = Vec::new();
        let whole = u64::try_from(length + TAG)?;
        (&mut self.from).take(whole).read_to_end(&mut sealed)?;
        ensure!(sealed.len() == length + TAG, cut);
        let Some(parts) = &mut self.parts else {
            bail!("is not opened");
        };
        let (nonce, data) = parts.next(last == 1);
        let (content, tag) = sealed.split_at(length);
        let opened = decrypt_aead(
            Cipher::aes_256_gcm(),
            parts.key.expose(),
            Some(&nonce),
            &data,
            content,
            tag,
        );
        let opened = opened.map_err(|_| anyhow!("is damaged"))?;
        self.over = last == 1;
        self.lines = std::io::Cursor::new(opened.into());
        Ok(())
    }
}
