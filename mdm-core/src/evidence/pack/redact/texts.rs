//! Texts with pseudonyms: of a device, of whoever acted, of groups; and sentences that people have typed.

use super::dictionary::{Word, replace_word};
use super::groups::GROUP_WORD;
use super::{Redact, Redaction};
use crate::migration::GROUP;

/// What stands before the name of somebody whose sign-in is waited for.
const SIGN_IN: &str = "waiting for the sign-in of ";

impl Redaction {
    /// A text with pseudonyms; `words` are those of its device, `typed` whether somebody has typed it.
    pub(super) fn text_of(&self, text: &str, words: &[Word], typed: bool) -> String {
        if let Some(stands) = self.alone.get(text.trim()) {
            return stands.clone();
        }
        if self.has(Redact::Owners)
            && let Some(name) = text.strip_prefix(GROUP)
        {
            // Whatever it is called, and whether or not anybody is in it by now.
            return format!("{GROUP}{}", self.pseudonym(GROUP_WORD, name));
        }
        let mut text = text.to_owned();
        for Word { word, stands } in words {
            text = replace_word(&text, word, stands);
        }
        if self.has(Redact::Owners)
            && let Some((before, name)) = text.split_once(SIGN_IN)
            && !name.starts_with("owner-")
        {
            let (name, after) = name
                .split_once(';')
                .map_or((name, ""), |(name, after)| (name, after));
            let name = self.pseudonym("owner", name.trim());
            let joint = if after.is_empty() { "" } else { ";" };
            text = format!("{before}{SIGN_IN}{name}{joint}{after}");
        }
        self.without_known(&self.without_groups(&text), typed)
    }

    pub(super) fn key_of(&self, name: &str, words: &[Word]) -> String {
        match self.alone.contains_key(name) {
            true => name.to_owned(),
            false => self.text_of(name, words, false),
        }
    }

    /// A text that nobody has typed.
    pub(crate) fn text(&self, text: &str, words: &[Word]) -> String {
        self.text_of(text, words, false)
    }

    /// Every known word that begins where a run of letters and digits does.
    fn without_known(&self, text: &str, typed: bool) -> String {
        let of_typed = !self.typed.words.is_empty() || !self.short.is_empty();
        if self.known.words.is_empty() && !(of_typed && typed) {
            return text.to_owned();
        }
        // As long as the text itself, byte by byte.
        let small = text.to_ascii_lowercase();
        let mut said = String::with_capacity(text.len());
        let mut from = 0;
        while let Some(first) = text[from..].chars().next() {
            if first.is_alphanumeric() {
                let here = self.known.at(&small[from..]);
                let here = here.or_else(|| self.typed.at(&small[from..]).filter(|_| typed));
                if let Some((length, stands)) = here {
                    said.push_str(stands);
                    from += length;
                    continue;
                }
                let rest = &text[from..];
                let end = rest.find(|c: char| !c.is_alphanumeric());
                let run = &rest[..end.unwrap_or(rest.len())];
                let short = self.short.get(run).filter(|_| typed);
                said.push_str(short.map_or(run, String::as_str));
                from += run.len();
            } else {
                said.push(first);
                from += first.len_utf8();
            }
        }
        said
    }
}
