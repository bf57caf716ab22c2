//! Groups of owners. Their names are often words of ours: they are replaced where it is said that a group follows, and in what people
//! typed where they are no word of every sentence.

use serde_json::Value;

use super::{Redact, Redaction, SHORTEST};

/// A group of one word that is no longer is called as words of every sentence are: `IT`, `All`.
const SHORT_GROUP: usize = 3;
/// What stands before the name of a group, in sentences of ours and in what steps know devices by.
pub(super) const GROUP_WORD: &str = "group";
/// Keys whose values are groups by their names, or have these as keys.
pub(super) const GROUPS: [&str; 2] = ["group", "groups"];

impl Redaction {
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

    /// The name of every group that is called one: `the group Sales`, `group:Sales`.
    pub(super) fn without_groups(&self, text: &str) -> String {
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

    /// Groups by their names: one, a list, or so many of each. `false` for anything else, which stays as it is.
    pub(super) fn replace_groups(&self, value: &mut Value) -> bool {
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
}
