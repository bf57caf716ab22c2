//! How the clock of this machine stands beside Apple's: each answer brings Apple's (`Date`), and the last one is kept. What has set the
//! clock since counts without another answer. Sends nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mdm_core::checklist::ClockBeside;
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};

/// Of the machine, and so of the whole process: what an answer has shown, and when that was by the clock that nobody sets.
static SEEN: Mutex<Option<(ClockBeside, Instant)>> = Mutex::new(None);

/// An answer that was asked for and came then, and what it says of its own time.
pub(super) fn note(date: &str, asked: Timestamp, came: Timestamp) {
    let Some(said) = crate::probe::moment(date) else {
        return;
    };
    let ahead = ahead(said, asked.as_secs(), came.as_secs());
    let seen = ClockBeside { at: came, ahead };
    // One value, whole at every point where a panic could occur.
    *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen, Instant::now()));
}

/// What the last answer has shown, as it is after whatever has set the clock since.
pub(crate) fn seen() -> Option<ClockBeside> {
    let (seen, process) = (*SEEN.lock().unwrap_or_else(PoisonError::into_inner))?;
    let wall = SystemClock.now().as_millis() - seen.at.as_millis();
    let process = i64::try_from(process.elapsed().as_millis()).unwrap_or(i64::MAX);
    let ahead = set(seen.ahead, (wall - process) / 1000);
    Some(ClockBeside { ahead, ..seen })
}

/// By how many seconds a clock is ahead that was so by `ahead`, and has gone on by `leapt` seconds more than time did. Back it goes only
/// when it is set. Ahead it goes, too, while the machine sleeps: so far as that would mend it, it was set.
fn set(ahead: i64, leapt: i64) -> i64 {
    match leapt {
        ..0 => ahead + leapt,
        _ if ahead < 0 => (ahead + leapt).min(0),
        _ => ahead,
    }
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
    fn a_clock_that_was_set_counts_without_another_answer_and_one_that_slept_was_not_set() {
        for (ahead, leapt, expected) in [
            (120, 0, 120),
            (120, -120, 0),
            (120, -180, -60),
            (0, -7200, -7200),
            (-120, 120, 0),
            (-120, 60, -60),
            // It was set, and slept.
            (-120, 3600, 0),
            (0, 3600, 0),
            (120, 3600, 120),
        ] {
            assert_eq!(set(ahead, leapt), expected, "{ahead} {leapt}");
        }
    }

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
