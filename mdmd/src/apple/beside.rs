//! How the clock of this machine stands beside Apple's: each answer brings Apple's (`Date`), and the last one is kept. Sends nothing.

use std::sync::{Mutex, PoisonError};

use mdm_core::checklist::ClockBeside;
use mdm_core::clock::Timestamp;

/// Of the machine, and so of the whole process.
static SEEN: Mutex<Option<ClockBeside>> = Mutex::new(None);

/// An answer that was asked for and came then, and what it says of its own time.
pub(super) fn note(date: &str, asked: Timestamp, came: Timestamp) {
    let Some(said) = crate::probe::moment(date) else {
        return;
    };
    let ahead = ahead(said, asked.as_secs(), came.as_secs());
    let seen = ClockBeside { at: came, ahead };
    // One value, whole at every point where a panic could occur.
    *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
}

/// What the last answer has shown.
pub(crate) fn seen() -> Option<ClockBeside> {
    *SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By how many seconds the clock here is ahead. An answer was made somewhere between the question and its coming, and its time has
/// no parts of a second: only what lies outside of that says something.
const fn ahead(said: i64, asked: i64, came: i64) -> i64 {
    if said < asked - 1 {
        asked - said
    } else if said > came {
        came - said
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_way_cannot_explain_is_the_clocks() {
        for (said, asked, came, expected) in [
            (100, 100, 100, 0),
            (99, 100, 100, 0),
            // It took half a minute.
            (110, 100, 130, 0),
            (40, 100, 101, 60),
            (220, 100, 130, -90),
        ] {
            assert_eq!(ahead(said, asked, came), expected, "{said} {asked} {came}");
        }
    }
}
