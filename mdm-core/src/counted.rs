//! How many of something, in words for people: `1 device`, `2 devices`. Knows English alone.

use std::fmt::Display;

/// A number with what is counted: `one` is the word for one of it, and the others have an `s` behind it.
#[must_use]
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    format!("{count} {one}{}", agree(count, "", "s"))
}

/// The word that goes with one of something, or that with any other number of it.
#[must_use]
pub fn agree<'a, N: PartialEq + From<u8>>(count: N, one: &'a str, others: &'a str) -> &'a str {
    if count == N::from(1) { one } else { others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_is_not_said_as_several() {
        for (count, said) in [
            (0, "0 devices are"),
            (1, "1 device is"),
            (2, "2 devices are"),
        ] {
            let verb = agree(count, "is", "are");
            assert_eq!(format!("{} {verb}", counted(count, "device")), said);
        }
        assert_eq!(counted(1_u64, "request"), "1 request");
    }
}
