//! Words and what stands for them.

use std::collections::{BTreeSet, HashMap};

/// A word that is replaced, and what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(super) word: String,
    pub(super) stands: String,
}

/// Words of one pack, found at the begin of a run of letters and digits, however they are written.
#[derive(Default)]
pub(super) struct Dictionary {
    pub(super) words: HashMap<String, String>,
    /// The lengths of all of them, so that at each place only these are looked for.
    lengths: BTreeSet<usize>,
}

impl Word {
    /// The longer one first: an address may begin with a name.
    pub(crate) fn order(words: &mut Vec<Self>) {
        words.sort_by(|a, b| (b.word.len(), &b.word).cmp(&(a.word.len(), &a.word)));
        words.dedup();
    }
}

impl Dictionary {
    pub(super) fn add(&mut self, word: &str, stands: String) {
        self.lengths.insert(word.len());
        self.words
            .entry(word.to_ascii_lowercase())
            .or_insert(stands);
    }

    /// The longest word that begins here and ends where a run of letters and digits does; `text` has no capitals.
    pub(super) fn at<'a>(&'a self, text: &str) -> Option<(usize, &'a str)> {
        self.lengths.iter().rev().find_map(|length| {
            let word = text.get(..*length)?;
            let alone = text[*length..]
                .chars()
                .next()
                .is_none_or(|c| !c.is_alphanumeric());
            Some((*length, self.words.get(word).filter(|_| alone)?.as_str()))
        })
    }
}

/// A word where it stands by itself.
pub(super) fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let before = rest[..at]
            .chars()
            .next_back()
            .or_else(|| said.chars().next_back());
        let after = rest[at + word.len()..].chars().next();
        let alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        said.push_str(&rest[..at]);
        match alone(before) && alone(after) {
            true => said.push_str(by),
            false => said.push_str(word),
        }
        rest = &rest[at + word.len()..];
    }
    said.push_str(rest);
    said
}
