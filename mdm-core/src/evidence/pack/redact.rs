//! Pseudonyms in place of serial numbers and owners: the same one for the same word within one pack, so that what belongs together can still
//! be joined, and another one in the next. The key that makes them is kept nowhere.

use std::collections::BTreeSet;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::original::OriginalFacts;

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "two, each replaced in its own way")]
pub enum Redact {
    /// Names and addresses of those who have the devices, and of their local users.
    Owners,
    /// Serial numbers.
    Serials,
}

/// What makes pseudonyms for one pack.
pub struct Redaction {
    what: BTreeSet<Redact>,
    key: [u8; 32],
    /// All serial numbers that are replaced wherever they stand.
    serials: BTreeSet<String>,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redaction")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

/// A word of a person that is shorter stands in too many others.
const SHORTEST: usize = 2;
/// What stands before the name of somebody whose sign-in is waited for.
const SIGN_IN: &str = "waiting for the sign-in of ";

impl Redaction {
    /// One with a key of its own.
    ///
    /// # Errors
    /// [`Error::Crypto`] without randomness.
    pub(crate) fn new(what: impl IntoIterator<Item = Redact>) -> Result<Self, Error> {
        let mut key = [0; 32];
        openssl::rand::rand_bytes(&mut key)
            .map_err(|_| Error::Crypto("randomness could not be had"))?;
        Ok(Self {
            what: what.into_iter().collect(),
            key,
            serials: BTreeSet::new(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    pub(crate) fn has(&self, what: Redact) -> bool {
        self.what.contains(&what)
    }

    /// Serial numbers that are replaced from now on.
    pub(crate) fn know(&mut self, serials: impl IntoIterator<Item = String>) {
        if self.has(Redact::Serials) {
            self.serials.extend(serials);
        }
    }

    fn pseudonym(&self, kind: &str, word: &str) -> String {
        let mac = || -> Result<Vec<u8>, openssl::error::ErrorStack> {
            let key = PKey::hmac(&self.key)?;
            let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
            signer.update(kind.as_bytes())?;
            signer.update(b"\0")?;
            signer.update(word.as_bytes())?;
            signer.sign_to_vec()
        };
        // Without a pseudonym the word is gone all the same.
        let mac = mac().unwrap_or_default();
        let hex: String = mac.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("{kind}-{hex}")
    }

    /// The words by which the owner of one device is known.
    pub(crate) fn words_of(&self, original: Option<&OriginalFacts>) -> Vec<String> {
        let Some(original) = original.filter(|_| self.has(Redact::Owners)) else {
            return Vec::new();
        };
        let mut words = Vec::new();
        if let Some(owner) = &original.owner {
            words.extend(owner.value.name.clone());
            words.extend(owner.value.email.clone());
            words.extend(owner.value.groups.iter().cloned());
        }
        if let Some(user) = &original.managed_user {
            words.push(user.value.name.clone());
        }
        words.retain(|word| word.chars().count() >= SHORTEST);
        // The longer one first: an address may begin with a name.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words
    }

    /// A text with pseudonyms; `words` are those of its device's owner.
    pub(crate) fn text(&self, text: &str, words: &[String]) -> String {
        let mut text = text.to_owned();
        if self.has(Redact::Owners) {
            for word in words {
                text = replace_word(&text, word, &self.pseudonym("owner", word));
            }
            if let Some((before, name)) = text.split_once(SIGN_IN)
                && !name.starts_with("owner-")
            {
                let (name, after) = name
                    .split_once(';')
                    .map_or((name, ""), |(name, after)| (name, after));
                let name = self.pseudonym("owner", name.trim());
                let joint = if after.is_empty() { "" } else { ";" };
                text = format!("{before}{SIGN_IN}{name}{joint}{after}");
            }
        }
        if !self.serials.is_empty() {
            text = self.without_serials(&text);
        }
        text
    }

    /// Every run of letters and digits that is a serial number is replaced.
    fn without_serials(&self, text: &str) -> String {
        let mut said = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            match self.serials.contains(run) {
                true => said.push_str(&self.pseudonym("device", run)),
                false => said.push_str(run),
            }
            let mut signs = after
                .char_indices()
                .skip_while(|(_, c)| !c.is_ascii_alphanumeric());
            let next = signs.next().map_or(after.len(), |(at, _)| at);
            said.push_str(&after[..next]);
            rest = &after[next..];
        }
        said
    }

    /// The same of every text in a value, the names of its keys among them; says whether anything was replaced.
    pub(crate) fn value(&self, value: &mut Value, words: &[String]) -> bool {
        match value {
            Value::String(text) => {
                let other = self.text(text, words);
                let changed = other != *text;
                *text = other;
                changed
            }
            Value::Array(all) => {
                let mut changed = false;
                for one in all {
                    changed |= self.value(one, words);
                }
                changed
            }
            Value::Object(all) => {
                let mut changed = false;
                for (name, mut one) in std::mem::take(all) {
                    let other = self.text(&name, words);
                    changed |= other != name;
                    changed |= match name.as_str() {
                        // Whoever signed in at the device.
                        "signed_in" if self.has(Redact::Owners) && !one.is_null() => {
                            let word = one.to_string();
                            one = self.pseudonym("owner", &word).into();
                            true
                        }
                        _ => self.value(&mut one, words),
                    };
                    all.insert(other, one);
                }
                changed
            }
            _ => false,
        }
    }
}

/// A word where it stands by itself.
fn replace_word(text: &str, word: &str, by: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, OrganisationId};
    use serde_json::json;

    #[test]
    fn what_belongs_together_stays_together_and_nobody_is_named() {
        let mut redaction = Redaction::new([Redact::Owners, Redact::Serials]).unwrap();
        redaction.know(["C02A".to_owned()]);
        let owner = json!({ "organisation": 1, "id": 2, "owner": { "value": { "name": "Eva Ander", "email": "eva@example.com" }, "at": "2026-01-01T00:00:00Z", "by": "x" },
            "managed_user": { "value": { "name": "eva" }, "at": "2026-01-01T00:00:00Z", "by": "x" } });
        let original: OriginalFacts = serde_json::from_value(owner).unwrap();
        assert_eq!(
            (original.organisation, original.id),
            (OrganisationId(1), DeviceId(2))
        );
        let words = redaction.words_of(Some(&original));
        let mut value = json!({
            "C02A": ["C02A", "of Eva Ander <eva@example.com>", "C02AB", "xC02A"],
            "user": "waiting for the sign-in of eva", "n": 7, "evaluate": "evaluated",
        });
        let before = value.clone();
        assert!(redaction.value(&mut value, &words));
        let text = value.to_string();
        for gone in ["Eva", "Ander", "eva@", "\"C02A\"", "of eva"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        let device = redaction.pseudonym("device", "C02A");
        assert_eq!(value[&device][0], device);
        assert_eq!(
            value[&device].as_array().unwrap()[2..],
            before["C02A"].as_array().unwrap()[2..]
        );
        assert_eq!(value["evaluate"], "evaluated");
        // Another pack has other pseudonyms.
        let other = Redaction::new([Redact::Serials]).unwrap();
        assert_ne!(other.pseudonym("device", "C02A"), device);
        assert!(!format!("{redaction:?}").contains("C02A"));
    }
}
