//! Text at a terminal: names in the commands that are suggested to people, as a shell takes them for one word, and what a terminal would
//! obey instead of showing it. Runs nothing.

pub use crate::line::is_obeyed;

/// A name as it is typed into a command: as it is where that is one word, and between quotation marks otherwise.
#[must_use]
pub fn word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.:,@%+/".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_one_word_stands_between_quotation_marks() {
        for (name, typed) in [
            ("pilot", "pilot"),
            ("Büro-2.b", "Büro-2.b"),
            ("Main wave", "'Main wave'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
            ("a;b", "'a;b'"),
            ("Anna's", r"'Anna'\''s'"),
        ] {
            assert_eq!(word(name), typed);
        }
    }
}
