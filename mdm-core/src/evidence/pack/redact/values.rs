//! Values with pseudonyms: every text and every key in them, and whole what stands under keys of numbers and names.

use serde_json::Value;

use super::dictionary::Word;
use super::groups::GROUPS;
use super::{Redact, Redaction};

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
const AT_APPLE: [&str; 3] = ["deviceassignedby", "profileassignedby", "appleactor"];

impl Redaction {
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

    pub(super) fn replace_whole(&self, kind: &str, value: &mut Value) -> bool {
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
