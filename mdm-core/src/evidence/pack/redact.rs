//! Pseudonyms in place of devices, owners and whoever has done something: the same one for the same word within one pack, so that what belongs together can still
//! be joined, and another one in the next. The key that makes them is kept nowhere.

use std::collections::{BTreeSet, HashMap};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::NOBODY;
use crate::device::Device;
use crate::error::Error;
use crate::migration::GROUP;
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

/// A word that is replaced, and what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    word: String,
    stands: String,
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
/// A group of one word that is no longer is called as words of every sentence are: `IT`, `All`.
const SHORT_GROUP: usize = 3;
/// What stands before the name of somebody whose sign-in is waited for.
const SIGN_IN: &str = "waiting for the sign-in of ";
/// What stands before the name of a group, in sentences of ours and in what steps know devices by.
const GROUP_WORD: &str = "group";
/// Keys whose values are groups by their names, or have these as keys.
const GROUPS: [&str; 2] = ["group", "groups"];
/// Keys whose values people have typed.
const TYPED: [&str; 7] = [
    "reason", "evidence", "why", "waivers", "note", "despite", "met",
];
/// Keys of numbers and names by which a device is known, in our words and in Apple's, without signs and capitals.
const HARDWARE: [(&str, Redact); 21] = [
    ("serialnumber", Redact::Serials),
    ("udid", Redact::Serials),
    ("provisioningudid", Redact::Serials),
    ("imei", Redact::Serials),
    ("imei2", Redact::Serials),
    ("meid", Redact::Serials),
    ("meid2", Redact::Serials),
    ("eid", Redact::Serials),
    ("iccid", Redact::Serials),
    ("wifimac", Redact::Serials),
    ("wifimacaddress", Redact::Serials),
    ("bluetoothmac", Redact::Serials),
    ("bluetoothmacaddress", Redact::Serials),
    ("ethernetmac", Redact::Serials),
    ("ethernetmacs", Redact::Serials),
    ("ethernetmacaddress", Redact::Serials),
    ("assettag", Redact::Serials),
    ("ordernumber", Redact::Serials),
    ("devicename", Redact::Owners),
    ("hostname", Redact::Owners),
    ("localhostname", Redact::Owners),
];
/// Keys of whoever has done something at Apple.
const AT_APPLE: [&str; 2] = ["deviceassignedby", "profileassignedby"];

/// Words of one pack, found at the begin of a run of letters and digits, however they are written.
#[derive(Default)]
struct Dictionary {
    words: HashMap<String, String>,
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
    fn add(&mut self, word: &str, stands: String) {
        self.lengths.insert(word.len());
        self.words
            .entry(word.to_ascii_lowercase())
            .or_insert(stands);
    }

    /// The longest word that begins here and ends where a run of letters and digits does; `text` has no capitals.
    fn at<'a>(&'a self, text: &str) -> Option<(usize, &'a str)> {
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

    /// Groups of owners: whoever is in one may be told by it.
    pub(crate) fn know_groups<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        if !self.has(Redact::Owners) {
            return;
        }
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            if !self.grouped.contains(name) {
                self.know_group(name);
                self.grouped.insert(name.clone());
            }
        }
    }

    fn know_group(&mut self, name: &str) {
        let stands = self.pseudonym(GROUP_WORD, name);
        if name.contains([' ', '@']) {
            self.known.add(name, stands.clone());
        }
        let length = name.chars().count();
        if length > SHORT_GROUP || name.contains(' ') {
            self.typed.add(name, stands.clone());
        } else if length >= SHORTEST {
            self.short.insert(name.to_owned(), stands.clone());
        }
        self.groups.add(name, stands);
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

    /// A text with pseudonyms; `words` are those of its device, `typed` whether somebody has typed it.
    fn text_of(&self, text: &str, words: &[Word], typed: bool) -> String {
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

    /// The name of every group that is called one: `the group Sales`, `group:Sales`.
    fn without_groups(&self, text: &str) -> String {
        if self.groups.words.is_empty() {
            return text.to_owned();
        }
        // As long as the text itself, byte by byte.
        let small = text.to_ascii_lowercase();
        let (mut said, mut from) = (String::with_capacity(text.len()), 0);
        while let Some(at) = small[from..].find(GROUP_WORD) {
            let mut end = from + at + GROUP_WORD.len();
            if small[end..].starts_with([' ', ':']) {
                end += 1;
            }
            said.push_str(&text[from..end]);
            from = end;
            if let Some((length, stands)) = self.groups.at(&small[from..])
                && !small[..from].ends_with(GROUP_WORD)
            {
                said.push_str(stands);
                from += length;
            }
        }
        said.push_str(&text[from..]);
        said
    }

    fn key_of(&self, name: &str, words: &[Word]) -> String {
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

    /// The same of every text in a value, the names of its keys among them; says whether anything was replaced.
    pub(crate) fn value(&self, value: &mut Value, words: &[Word]) -> bool {
        self.value_of(value, words, false)
    }

    fn value_of(&self, value: &mut Value, words: &[Word], typed: bool) -> bool {
        match value {
            Value::String(text) => {
                let other = self.text_of(text, words, typed);
                let changed = other != *text;
                *text = other;
                changed
            }
            Value::Array(all) => {
                let mut changed = false;
                for one in all {
                    changed |= self.value_of(one, words, typed);
                }
                changed
            }
            Value::Object(all) => {
                let mut changed = false;
                // What a device says of itself calls what it is called a name.
                let facts = all.contains_key("udid") && all.contains_key("os_version");
                for (name, mut one) in std::mem::take(all) {
                    // Keys are words of ours and of devices: whoever has acted is none of them.
                    let other = self.key_of(&name, words);
                    changed |= other != name;
                    let groups = self.has(Redact::Owners) && GROUPS.contains(&name.as_str());
                    changed |= match self.whole(&name, facts) {
                        Some(kind) if !one.is_null() => self.replace_whole(kind, &mut one),
                        _ if groups && self.replace_groups(&mut one) => true,
                        _ => {
                            let typed = typed || TYPED.contains(&name.as_str());
                            self.value_of(&mut one, words, typed)
                        }
                    };
                    all.insert(other, one);
                }
                changed
            }
            _ => false,
        }
    }

    /// What kind of word the value of this key is, whatever it is.
    fn whole(&self, key: &str, facts: bool) -> Option<&'static str> {
        // Whoever signed in at the device.
        if key == "signed_in" {
            return self.has(Redact::Owners).then_some("owner");
        }
        if facts && key == "name" {
            return self.names_devices().then_some("name");
        }
        let plain: String = key
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if AT_APPLE.contains(&plain.as_str()) {
            return self.has(Redact::Actors).then_some("actor");
        }
        let (name, what) = HARDWARE.iter().find(|(name, _)| *name == plain)?;
        let hidden = match what {
            Redact::Owners => self.names_devices(),
            other => self.has(*other),
        };
        hidden.then_some(match (*name, what) {
            ("serialnumber", _) => "device",
            ("udid" | "provisioningudid", _) => "udid",
            (_, Redact::Owners) => "name",
            _ => "number",
        })
    }

    /// Groups by their names: one, a list, or so many of each. `false` for anything else, which stays as it is.
    fn replace_groups(&self, value: &mut Value) -> bool {
        let names = match &*value {
            Value::String(_) => true,
            Value::Array(all) => !all.is_empty() && all.iter().all(Value::is_string),
            _ => false,
        };
        if names {
            return self.replace_whole(GROUP_WORD, value);
        }
        let Value::Object(all) = value else {
            return false;
        };
        if all.is_empty() || !all.values().all(Value::is_number) {
            return false;
        }
        for (name, n) in std::mem::take(all) {
            let mut stands = self.pseudonym(GROUP_WORD, &name);
            // Written otherwise it is counted for itself, and no count is lost.
            while all.contains_key(&stands) {
                stands.push('\'');
            }
            all.insert(stands, n);
        }
        true
    }

    fn replace_whole(&self, kind: &str, value: &mut Value) -> bool {
        match value {
            Value::Array(all) => {
                let mut changed = false;
                for one in all {
                    changed |= self.replace_whole(kind, one);
                }
                changed
            }
            Value::String(word) if word.is_empty() => false,
            other => {
                let word = other
                    .as_str()
                    .map_or_else(|| other.to_string(), str::to_owned);
                *other = self.pseudonym(kind, &word).into();
                true
            }
        }
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
        redaction.know_serial("C02A");
        let owner = json!({ "organisation": 1, "id": 2, "owner": { "value": { "name": "Eva Ander", "email": "eva@example.com" }, "at": "2026-01-01T00:00:00Z", "by": "x" },
            "managed_user": { "value": { "name": "eva" }, "at": "2026-01-01T00:00:00Z", "by": "x" } });
        let original: OriginalFacts = serde_json::from_value(owner).unwrap();
        assert_eq!(
            (original.organisation, original.id),
            (OrganisationId(1), DeviceId(2))
        );
        let words = redaction.words_of(Some(&original), None);
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

    #[test]
    fn a_device_is_known_by_more_than_its_serial_number() {
        let check = |what: &[Redact], gone: &[&str], stay: &[&str]| {
            let mut redaction = Redaction::new(what.iter().copied()).unwrap();
            let serial = crate::ids::Serial::parse("C02A").unwrap();
            let mut device = Device::new(OrganisationId(1), DeviceId(2), serial);
            device.facts.udid = Some("00008140-00AA11".to_owned());
            device.facts.name = Some("Anna's MacBook".to_owned());
            device.facts.radio.imei = Some("35 123".to_owned());
            redaction.know_device(&device);
            let words = redaction.words_of(None, Some(&device));
            let mut value = json!({
                "facts": { "udid": "00008140-00AA11", "os_version": "26.1", "name": "Anna's MacBook", "family": "Mac" },
                "says": "00008140-00AA11 is Anna's MacBook with 35 123",
                "raw": { "LocalHostName": "annas-mac", "WiFiMAC": "aa:bb", "EthernetMACs": ["cc:dd"], "MEID": "A1", "IsSupervised": true },
            });
            redaction.value(&mut value, &words);
            let text = value.to_string();
            for word in gone {
                assert!(!text.contains(word), "{what:?} {word}: {text}");
            }
            for word in stay {
                assert!(text.contains(word), "{what:?} {word}: {text}");
            }
        };
        let numbers = ["00008140-00AA11", "35 123", "aa:bb", "cc:dd", "A1"];
        let names = ["Anna", "annas-mac"];
        let always = ["26.1", "\"Mac\"", "IsSupervised"];
        check(
            &[Redact::Serials],
            &[&numbers[..], &names].concat(),
            &always,
        );
        check(&[Redact::Owners], &names, &[&numbers[..], &always].concat());
        check(
            &[Redact::Actors],
            &[],
            &[&numbers[..], &names, &always].concat(),
        );
    }

    #[test]
    fn a_group_of_one_word_is_nowhere_and_words_of_ours_stay() {
        let mut redaction = Redaction::new([Redact::Owners]).unwrap();
        // Called as keys of ours are, and as our sentences begin.
        let names = ["Sales", "apps", "Night Shift"].map(str::to_owned);
        redaction.know_groups(&names);
        let mut value = json!({
            "gap": { "each_group": 2, "groups": { "Sales": 3, "Gone": 1 }, "tags": { "till": 1 } },
            "place": { "groups": [{ "group": "Sales" }, { "tag": "till" }] },
            "device": { "groups": ["Sales", "Night Shift", "Gone"] },
            "only": ["group:Sales", "group:Gone", "lab"],
            "why": "only for devices with lab, group:apps",
            "says": "5 devices of the group Sales around 2026, of the group Night Shift and groups with limits",
            "apps": "apps are apps", "told": "the Night Shift", "reason": "Sales asked",
        });
        assert!(redaction.value(&mut value, &[]));
        let text = value.to_string();
        for gone in ["Sales", "Night", "Shift", "Gone", "group:apps"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        let sales = redaction.pseudonym(GROUP_WORD, "Sales");
        assert_eq!(value["gap"]["groups"][&sales], 3);
        assert_eq!(value["gap"]["each_group"], 2);
        assert_eq!(value["gap"]["tags"]["till"], 1);
        assert_eq!(value["place"]["groups"][0]["group"], sales);
        assert_eq!(value["place"]["groups"][1]["tag"], "till");
        assert_eq!(value["device"]["groups"][0], sales);
        assert_eq!(value["only"][0], format!("group:{sales}"));
        assert_eq!(value["only"][2], "lab");
        let says = value["says"].as_str().unwrap();
        assert!(says.starts_with(&format!("5 devices of the group {sales} around")));
        assert!(says.ends_with(" and groups with limits"), "{says}");
        assert_eq!(value["apps"], "apps are apps");
        // Within the words of its device, too, and joined with the others.
        let mut device = Device::new(
            OrganisationId(1),
            DeviceId(2),
            crate::ids::Serial::parse("C02A").unwrap(),
        );
        device.groups.insert("Sales".to_owned());
        let words = redaction.words_of(None, Some(&device));
        assert_eq!(redaction.text("of Sales", &words), format!("of {sales}"));
        // Nobody asked for that: groups stay.
        let mut other = Redaction::new([Redact::Serials]).unwrap();
        other.know_groups(&names);
        let kept = json!({ "groups": ["Sales"], "only": ["group:Sales"], "says": "group Sales" });
        let mut value = kept.clone();
        assert!(!other.value(&mut value, &[]));
        assert_eq!(value, kept);
    }

    #[test]
    fn a_group_that_is_called_as_a_word_of_every_sentence_is_replaced_where_it_is_a_name() {
        let mut redaction = Redaction::new([Redact::Owners]).unwrap();
        let names = ["IT", "A", "All", "Sales", "sales", "R & D"].map(str::to_owned);
        redaction.know_groups(&names);
        let mut value = json!({
            "reason": "A user of IT tried it, all of it, as a test; All may. SALES asked R & D",
            "note": "for the group it and the group A",
            "only": ["group:IT"], "groups": ["All", "Sales", "sales"],
            "says": "it is a sentence of ours: all is well",
        });
        assert!(redaction.value(&mut value, &[]));
        let name = |group| redaction.pseudonym(GROUP_WORD, group);
        let (it, all, sales) = (name("IT"), name("All"), name("Sales"));
        assert_eq!(
            value["reason"],
            format!(
                "A user of {it} tried it, all of it, as a test; {all} may. {sales} asked {}",
                name("R & D")
            )
        );
        assert_eq!(
            value["note"],
            format!("for the group {it} and the group {}", name("A"))
        );
        assert_eq!(value["only"][0], format!("group:{it}"));
        // One group, however it is written.
        assert_eq!(value["groups"], json!([all, sales, sales]));
        assert_eq!(value["says"], "it is a sentence of ours: all is well");
        let mut counts = json!({ "groups": { "Sales": 3, "sales": 1 } });
        assert!(redaction.value(&mut counts, &[]));
        let kept = counts["groups"].as_object().unwrap();
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert_eq!(kept[&sales], 3);
    }

    #[test]
    fn whoever_acted_is_one_pseudonym_and_sentences_that_people_typed_name_nobody() {
        let mut redaction = Redaction::new([Redact::Actors, Redact::Owners]).unwrap();
        redaction.know_actor("Anna Approver <anna@example.com>");
        redaction.know_actor("nightly-sync");
        redaction.know_actor("worker");
        redaction.know_actor("sign-in");
        redaction.know_actor("schedule");
        let owner = json!({ "organisation": 1, "id": 2, "owner": { "value": { "name": "Eva Ander", "email": "eva@example.com" }, "at": "2026-01-01T00:00:00Z", "by": "x" } });
        redaction.know_owner(&serde_json::from_value(owner).unwrap());
        let mut value = json!({
            "by": "Anna Approver <anna@example.com>", "actor": "worker", "token": "nightly-sync",
            "text": "signed by Anna Approver, mail anna@example.com, for Eva Ander",
            "reason": "Eva asked Anna; see Ander", "Eva": "evaluate Eva", "note": "EVA told anna, ANNA@example.com",
            "schedule": "schedule at once", "asked_by": "schedule",
            "device_assigned_by": "boss@example.com",
        });
        assert!(redaction.value(&mut value, &[]));
        let anna = value["by"].as_str().unwrap().to_owned();
        assert!(anna.starts_with("actor-"));
        assert_eq!(value["actor"], "worker");
        assert_eq!(value["token"].as_str().unwrap().len(), anna.len());
        let text = value["text"].as_str().unwrap();
        assert!(
            text.starts_with(&format!("signed by {anna}, mail {anna}, for owner-")),
            "{text}"
        );
        let reason = value["reason"].as_str().unwrap();
        assert!(
            reason.contains(&format!("asked {anna}; see owner-")),
            "{reason}"
        );
        let note = value["note"].as_str().unwrap();
        assert!(
            note.starts_with("owner-") && note.ends_with(&format!("told {anna}, {anna}")),
            "{note}"
        );
        // The name of a token may be a word of ours.
        assert_eq!(value["schedule"], "schedule at once");
        assert!(value["asked_by"].as_str().unwrap().starts_with("actor-"));
        // One word of nobody's sentence is no name.
        assert_eq!(value["Eva"], "evaluate Eva");
        assert!(!value.to_string().contains("example.com"), "{value}");
    }
}
