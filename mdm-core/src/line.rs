//! One line that people write: a name, a reason, a sentence for the record. Says which of two things is wrong with it, and repeats
//! nothing of it.

use crate::error::Error;

/// What no line may have: a terminal or a log would obey it.
const ONE_LINE: &str = "must be without control characters, such as line breaks, tabs and marks that change the direction of text";

/// What a terminal or a log would obey instead of showing it: control characters, and those that end a line or turn the text behind them
/// round, so that it reads as another one. Marks that only belong to a script, such as the joiners, turn nothing.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// That it is one line of at most so many bytes.
///
/// # Errors
/// [`Error::BadInput`] for one that is longer, and for one with what a terminal obeys ([`is_obeyed`]).
pub(crate) fn check(field: &str, text: &str, most: usize) -> Result<(), Error> {
    bounded(field, text, 0, most)
}

/// The same, and that there is something in it.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_filled(field: &str, text: &str, most: usize) -> Result<(), Error> {
    bounded(field, text, 1, most)
}

fn bounded(field: &str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    if text.chars().any(is_obeyed) {
        return Err(Error::bad_input(field, ONE_LINE));
    }
    if text.len() > most || text.trim().len() < least {
        let problem = match least {
            0 => format!("must be at most {most} bytes"),
            _ => format!("must be {least} to {most} bytes"),
        };
        return Err(Error::bad_input(field, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_empty_and_a_control_character_are_told_apart() {
        let said = |text: &str| {
            let refused = check_filled("name", text, 5).err();
            refused.map(|error| error.to_string())
        };
        let long = Some("name: must be 1 to 5 bytes".to_owned());
        let control = Some(format!("name: {ONE_LINE}"));
        for (text, told) in [
            ("abcde", &None),
            ("abcdef", &long),
            ("", &long),
            ("  ", &long),
            ("äöü", &long),
            ("a\u{1b}b", &control),
            ("a\nb", &control),
            ("a\0", &control),
            ("a\u{202a}", &control),
            ("a\u{202e}", &control),
            ("a\u{2066}", &control),
            ("a\u{2069}", &control),
            ("a\u{2028}", &control),
            ("a\u{2029}", &control),
            // What a name in Persian, or of a family of emoji, is written with.
            ("a\u{200c}b", &None),
            ("a\u{200d}b", &None),
            ("a\u{200f}b", &None),
        ] {
            assert_eq!(said(text), *told, "{text:?}");
        }
        check("why", "", 5).unwrap();
        let refused = check("why", "abcdef", 5).unwrap_err().to_string();
        assert_eq!(refused, "why: must be at most 5 bytes");
        assert!(check("why", "\t", 5).is_err());
    }
}
