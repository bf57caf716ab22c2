//! Looks for secrets in bytes: as they are, in hexadecimal of both cases, and in base64 wherever its groups of three may
//! begin, of both alphabets. Blanks and line ends in what is searched hide nothing. Decodes nothing and guesses nothing.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// So many bytes of a needle are looked up at once; a needle is never shorter.
const PREFIX: usize = 8;

/// A secret that was found where it must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a finding for a message")]
pub struct Stolen {
    /// What it is and whose; never the secret.
    pub secret: String,
    /// How it was written.
    pub form: String,
    /// Where it was found.
    pub place: String,
}

struct Needle {
    secret: usize,
    form: String,
    bytes: Vec<u8>,
}

/// Every form of every secret.
#[derive(Default)]
pub struct Needles {
    names: Vec<String>,
    seen: BTreeSet<Vec<u8>>,
    all: Vec<Needle>,
    by_prefix: HashMap<[u8; PREFIX], Vec<usize>>,
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Needles")
            .field("secrets", &self.names)
            .finish_non_exhaustive()
    }
}

impl Needles {
    /// Nothing to look for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many different secrets are looked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Looks for this secret too. A key in PEM is looked for as the bytes within as well.
    ///
    /// # Panics
    /// When it is too short to be told from chance.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(
            secret.len() >= PREFIX,
            "{name} has only {} bytes",
            secret.len()
        );
        if !self.seen.insert(secret.to_vec()) {
            return;
        }
        if let Some(within) = within_pem(secret) {
            self.add(name, &within);
        }
        self.names.push(name.to_owned());
        let index = self.names.len() - 1;
        for (form, bytes) in forms(secret) {
            // What ends a group of three depends on what follows: a short secret may have little left.
            if bytes.len() < PREFIX {
                continue;
            }
            let mut prefix = [0; PREFIX];
            prefix.copy_from_slice(&bytes[..PREFIX]);
            self.by_prefix
                .entry(prefix)
                .or_default()
                .push(self.all.len());
            self.all.push(Needle {
                secret: index,
                form,
                bytes,
            });
        }
    }

    /// What is found in these bytes, and in them without blanks and line ends.
    #[must_use]
    pub fn search(&self, hay: &Haystack) -> Vec<Stolen> {
        let mut found = BTreeSet::new();
        for (place, bytes) in &hay.parts {
            self.scan(place, bytes, &mut found);
            let dense: Vec<u8> = bytes
                .iter()
                .copied()
                .filter(|b| !b.is_ascii_whitespace())
                .collect();
            self.scan(place, &dense, &mut found);
        }
        found.into_iter().collect()
    }

    fn scan(&self, place: &str, hay: &[u8], found: &mut BTreeSet<Stolen>) {
        let mut first_two = vec![false; 1 << 16];
        let pair = |a: u8, b: u8| usize::from(a) << 8 | usize::from(b);
        for prefix in self.by_prefix.keys() {
            first_two[pair(prefix[0], prefix[1])] = true;
        }
        for (at, window) in hay.windows(PREFIX).enumerate() {
            if !first_two[pair(window[0], window[1])] {
                continue;
            }
            let Some(candidates) = self.by_prefix.get(window) else {
                continue;
            };
            for needle in candidates.iter().map(|i| &self.all[*i]) {
                if hay[at..].starts_with(&needle.bytes) {
                    found.insert(Stolen {
                        secret: self.names[needle.secret].clone(),
                        form: needle.form.clone(),
                        place: place.to_owned(),
                    });
                }
            }
        }
    }
}

/// The DER within a PEM text; `None` for anything else.
fn within_pem(secret: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(secret).ok()?;
    let body = text.trim().strip_prefix("-----BEGIN ")?;
    let body = body.split_once("-----")?.1.split_once("-----END")?.0;
    let body: String = body.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

/// Every way to write a secret that is looked for, with a name.
fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut lower = String::new();
    for byte in secret {
        // Writing to a String cannot fail.
        let _ = write!(lower, "{byte:02x}");
    }
    let mut forms = vec![
        ("raw".to_owned(), secret.to_vec()),
        (
            "hex, upper case".to_owned(),
            lower.to_uppercase().into_bytes(),
        ),
        ("hex, lower case".to_owned(), lower.into_bytes()),
    ];
    // Text without blanks is found in text whose blanks were taken out.
    let dense: Vec<u8> = secret
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    if dense.len() != secret.len() && std::str::from_utf8(secret).is_ok() {
        forms.push(("raw, without blanks".to_owned(), dense));
    }
    for (alphabet, engine) in [
        ("base64", &STANDARD_NO_PAD),
        ("base64url", &URL_SAFE_NO_PAD),
    ] {
        for before in 0..3 {
            let mut padded = vec![0; before];
            padded.extend_from_slice(secret);
            let text = engine.encode(&padded);
            // Symbols that hold bits of what stands before or after are not the secret's own.
            let first = [0, 2, 3][before];
            let whole = text.len() - usize::from(padded.len() % 3 != 0);
            forms.push((
                format!("{alphabet}, {before} bytes into a group"),
                text.as_bytes()[first..whole].to_vec(),
            ));
        }
    }
    forms
}

/// What is searched: bytes, each part with a name.
#[derive(Debug, Default)]
pub struct Haystack {
    parts: Vec<(String, Vec<u8>)>,
}

impl Haystack {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn add(&mut self, place: &str, bytes: Vec<u8>) {
        self.parts.push((place.to_owned(), bytes));
    }

    /// Adds every file below a directory but those for which `apart` says that secrets belong there. Sockets are no files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn add_directory(
        &mut self,
        directory: &Path,
        apart: impl Fn(&Path) -> bool,
    ) -> std::io::Result<()> {
        let mut waiting: Vec<PathBuf> = vec![directory.to_owned()];
        while let Some(next) = waiting.pop() {
            for entry in std::fs::read_dir(&next)? {
                let path = entry?.path();
                let within = path.strip_prefix(directory).unwrap_or(&path);
                if path.is_dir() {
                    waiting.push(path);
                } else if path.is_file() && !apart(within) {
                    let place = within.display().to_string();
                    self.add(&place, std::fs::read(&path)?);
                }
            }
        }
        Ok(())
    }

    /// Takes the parts of another one over, each named `when: part`.
    pub fn take(&mut self, when: &str, other: Self) {
        for (name, bytes) in other.parts {
            self.add(&format!("{when}: {name}"), bytes);
        }
    }

    /// Names and sizes of its parts.
    pub fn parts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.parts.iter().map(|(name, b)| (name.as_str(), b.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    const SECRET: &[u8] = b"\x00\xffM7Q2-PX9K-\xfb\xef 3H\x80z";

    fn found_in(hay: &[u8]) -> Vec<String> {
        let mut needles = Needles::new();
        needles.add("the secret", SECRET);
        let mut haystack = Haystack::new();
        haystack.add("here", hay.to_vec());
        needles
            .search(&haystack)
            .into_iter()
            .map(|s| s.form)
            .collect()
    }

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        for before in 0..4 {
            for after in 0..4 {
                let around = |body: &[u8]| {
                    let mut all = vec![b'x'; before];
                    all.extend_from_slice(body);
                    all.extend(std::iter::repeat_n(b'y', after));
                    all
                };
                let within = around(SECRET);
                let hex: String = SECRET.iter().map(|b| format!("{b:02x}")).collect();
                let group = before % 3;
                for (hay, form) in [
                    (within.clone(), "raw".to_owned()),
                    (around(hex.as_bytes()), "hex, lower case".to_owned()),
                    (
                        around(hex.to_uppercase().as_bytes()),
                        "hex, upper case".to_owned(),
                    ),
                    (
                        STANDARD.encode(&within).into_bytes(),
                        format!("base64, {group} bytes into a group"),
                    ),
                    (
                        URL_SAFE_NO_PAD.encode(&within).into_bytes(),
                        format!("base64url, {group} bytes into a group"),
                    ),
                ] {
                    assert_eq!(found_in(&hay), [form], "{before} before, {after} after");
                }
            }
        }
    }

    #[test]
    fn line_ends_hide_nothing_and_half_a_secret_is_none() {
        let text = STANDARD.encode(SECRET);
        let (a, b) = text.split_at(9);
        assert_eq!(found_in(format!("{a}\n\t{b}").as_bytes()).len(), 1);
        assert!(found_in(a.as_bytes()).is_empty());
        assert!(found_in(&SECRET[1..]).is_empty());
    }

    #[test]
    fn a_key_in_pem_is_looked_for_as_the_bytes_within_too() {
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(SECRET)
        );
        let mut needles = Needles::new();
        needles.add("key", pem.as_bytes());
        let mut hay = Haystack::new();
        hay.add("der", SECRET.to_vec());
        hay.add("pem", pem.clone().into_bytes());
        let places: BTreeSet<String> = needles.search(&hay).into_iter().map(|s| s.place).collect();
        assert_eq!(places.len(), 2, "{places:?}");
    }
}
