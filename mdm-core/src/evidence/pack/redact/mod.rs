//! Pseudonyms in place of devices, owners and whoever has done something: the same one for the same word within one pack, so that what belongs together can still
//! be joined, and another one in the next. The key that makes them is kept nowhere.

mod dictionary;
mod groups;
#[cfg(test)]
mod tests;
mod texts;
mod values;

use std::collections::{BTreeSet, HashMap};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde::{Deserialize, Serialize};

use dictionary::Dictionary;
pub(crate) use dictionary::Word;
use groups::GROUP_WORD;

use crate::audit::NOBODY;
use crate::device::Device;
use crate::error::Error;
use crate::original::OriginalFacts;

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::exhaustive_enums,
    reason = "three, each replaced in its own way"
)]
pub enum Redact {
    /// Names and addresses of those who have the devices, their groups, and their local users; what devices are called.
    Owners,
    /// Serial numbers, the other numbers by which a device is known, and what devices are called.
    Serials,
    /// Whoever has done something: operators by name and address, tokens by name.
    Actors,
}

/// What makes pseudonyms for one pack.
pub struct Redaction {
    what: BTreeSet<Redact>,
    key: [u8; 32],
    /// What is replaced wherever it stands by itself.
    known: Dictionary,
    /// What is replaced in sentences that people have typed: there a part of a name is that person.
    typed: Dictionary,
    /// Names of one word of whoever has done something: such a word may be one of ours, and is replaced where it stands alone.
    alone: HashMap<String, String>,
    /// Groups whose names are so short that they are everybody's words in small letters: replaced in what people typed as they are
    /// written, and not otherwise.
    short: HashMap<String, String>,
    /// Groups as they are written, each once: as many devices have the same ones.
    grouped: BTreeSet<String>,
    /// Groups of owners. Their names are often words of ours: they are replaced where it is said that a group follows.
    groups: Dictionary,
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
/// So short a part of a name is none of anybody.
const SHORTEST_PART: usize = 3;

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
            known: Dictionary::default(),
            typed: Dictionary::default(),
            alone: HashMap::new(),
            short: HashMap::new(),
            grouped: BTreeSet::new(),
            groups: Dictionary::default(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    pub(crate) fn has(&self, what: Redact) -> bool {
        self.what.contains(&what)
    }

    fn names_devices(&self) -> bool {
        self.has(Redact::Serials) || self.has(Redact::Owners)
    }

    /// A device whose numbers are replaced from now on, wherever they stand.
    pub(crate) fn know_device(&mut self, device: &Device) {
        if !self.has(Redact::Serials) {
            return;
        }
        self.know_serial(device.serial.as_str());
        let facts = &device.facts;
        let attested = device.attested.as_ref().and_then(|a| a.udid.as_ref());
        for udid in facts.udid.iter().chain(attested) {
            self.know("udid", udid);
        }
        let radio = &facts.radio;
        for number in [&radio.imei, &radio.imei2, &radio.meid]
            .into_iter()
            .flatten()
        {
            self.know("number", number);
        }
    }

    pub(crate) fn know_serial(&mut self, serial: &str) {
        if self.has(Redact::Serials) {
            self.know("device", serial);
        }
    }

    fn know(&mut self, kind: &str, word: &str) {
        let stands = self.pseudonym(kind, word);
        self.known.add(word, stands);
    }

    /// Somebody who has done something.
    pub(crate) fn know_actor(&mut self, actor: &str) {
        let actor = actor.trim();
        if !self.has(Redact::Actors) || actor.is_empty() || NOBODY.contains(&actor) {
            return;
        }
        let stands = self.pseudonym("actor", actor);
        match actor.contains([' ', '@']) {
            true => self.known.add(actor, stands.clone()),
            false => drop(self.alone.insert(actor.to_owned(), stands.clone())),
        }
        // People who have signed in stand there as `name <address>`.
        let parts = match actor.split_once(" <") {
            Some((name, account)) => vec![name, account.trim_end_matches('>')],
            None => Vec::new(),
        };
        for part in parts {
            match part.contains([' ', '@']) {
                true => self.known.add(part, stands.clone()),
                false => drop(self.alone.insert(part.to_owned(), stands.clone())),
            }
            self.know_typed(part, &stands);
        }
        self.know_typed(actor, &stands);
    }

    /// The owner of a member: name and address are replaced everywhere, the parts of the name in what people typed.
    pub(crate) fn know_owner(&mut self, original: &OriginalFacts) {
        for Word { word, stands } in self.words_of(Some(original), None) {
            // One word may be a name and a key of ours; several, and an address, are somebody.
            if word.contains([' ', '@']) {
                self.known.add(&word, stands.clone());
            }
            self.know_typed(&word, &stands);
        }
        if let Some(owner) = &original.owner {
            self.know_groups(&owner.value.groups);
        }
    }

    fn know_typed(&mut self, name: &str, stands: &str) {
        self.typed.add(name, stands.to_owned());
        for part in name.split([' ', '@']) {
            if part.chars().count() >= SHORTEST_PART {
                self.typed.add(part, stands.to_owned());
            }
        }
    }

    fn pseudonym(&self, kind: &str, word: &str) -> String {
        // However a group is written it is one, as where it is found in sentences.
        let small = (kind == GROUP_WORD).then(|| word.to_ascii_lowercase());
        let word = small.as_deref().unwrap_or(word);
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

    /// The words by which the owner of one device is known, and those that it is called.
    pub(crate) fn words_of(
        &self,
        original: Option<&OriginalFacts>,
        device: Option<&Device>,
    ) -> Vec<Word> {
        let (mut words, mut groups) = (Vec::new(), Vec::new());
        if let Some(original) = original.filter(|_| self.has(Redact::Owners)) {
            if let Some(owner) = &original.owner {
                words.extend(owner.value.name.clone());
                words.extend(owner.value.email.clone());
                groups.extend(owner.value.groups.iter().cloned());
            }
            if let Some(user) = &original.managed_user {
                words.push(user.value.name.clone());
            }
        }
        if let Some(device) = device.filter(|_| self.has(Redact::Owners)) {
            // They stay when what was imported of people is forgotten.
            groups.extend(device.groups.iter().cloned());
        }
        if let Some(person) = device.and_then(|d| d.signed_in.as_ref())
            && self.has(Redact::Owners)
        {
            words.push(person.name.clone());
            words.extend(person.account.clone());
        }
        let kinds = [("owner", words), (GROUP_WORD, groups)].into_iter();
        let words = kinds.flat_map(|(kind, all)| all.into_iter().map(move |word| (kind, word)));
        let mut words: Vec<Word> = words
            .filter(|(_, word)| word.chars().count() >= SHORTEST)
            .map(|(kind, word)| Word {
                stands: self.pseudonym(kind, &word),
                word,
            })
            .collect();
        let name = device.and_then(|d| d.facts.name.as_ref());
        if let Some(name) = name.filter(|name| self.names_devices() && is_a_name(name)) {
            words.push(Word {
                stands: self.pseudonym("name", name),
                word: name.clone(),
            });
        }
        Word::order(&mut words);
        words
    }

    /// The word of somebody who has a device.
    pub(crate) fn owner(&self, name: &str) -> Option<Word> {
        self.has(Redact::Owners).then(|| Word {
            stands: self.pseudonym("owner", name),
            word: name.to_owned(),
        })
    }
}

/// Whether what a device is called is more than what it is.
fn is_a_name(name: &str) -> bool {
    const WHAT: [&str; 8] = [
        "iphone",
        "ipad",
        "ipod",
        "mac",
        "macbook",
        "macbook air",
        "macbook pro",
        "imac",
    ];
    name.chars().count() > SHORTEST && !WHAT.contains(&name.to_ascii_lowercase().as_str())
}
