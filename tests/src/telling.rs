//! Plays rehearsals quietly, and says of one what a person would want to read when it did not end as it should.

use std::time::Duration;

use mdmd::rehearsal::{self, Rehearsal, Row, Summary, Timetable, Verdict};
use serde_json::Value;

/// Offered in half an hour, moved within four hours: for stories in which the days before a deadline say nothing.
pub const SOON: Timetable = Timetable {
    offer: Duration::from_secs(1800),
    deadline: Duration::from_secs(4 * 3600),
    days: 1,
};

/// Plays a rehearsal without progress on the screen.
///
/// # Panics
/// When it could not be played.
pub async fn play(mut rehearsal: Rehearsal) -> Summary {
    rehearsal.quiet = true;
    match rehearsal::run(&rehearsal).await {
        Ok(summary) => summary,
        Err(error) => panic!("{rehearsal:?}: {error:#}"),
    }
}

/// Asserts that world and records agree on every device.
///
/// # Panics
/// When they do not; the message holds the rows on which they do not.
pub fn agreed(summary: &Summary) {
    let odd: Vec<&Row> = summary
        .rows
        .iter()
        .filter(|row| row.never_ended || !row.disagreements.is_empty())
        .collect();
    assert!(
        summary.verdict() == Verdict::Agrees && odd.is_empty(),
        "seed {}, faults {}: {:?}; planned and never met: {:?}; {odd:#?}",
        summary.seed,
        summary.faults,
        summary.verdict(),
        summary.missing_faults,
    );
}

/// What a rehearsal tells, without what real time has in it.
///
/// # Panics
/// When it tells nothing of real time: then this function leaves out too little or the report changed.
#[must_use]
pub fn told(summary: &Summary) -> Value {
    let mut told = summary.json();
    let wall = told.as_object_mut().and_then(|all| all.remove("wall"));
    assert!(wall.is_some(), "the report has no member `wall`");
    told
}
