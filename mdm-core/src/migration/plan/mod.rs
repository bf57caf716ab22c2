//! The plan of a move: deadlines spread over the days on which somebody is there, how a wave stands, when the next one may go and
//! when no more devices are offered theirs. Pure: reads no store and no clock.

mod later;
mod spread;
mod tally;

pub(crate) use later::{Bounds, Waiting, later};
pub use later::{LaterBecause, LaterDeadline};
pub use spread::{Gaps, Placed, Spread, Taken, spread};
pub(crate) use tally::ProgressCount;
pub use tally::{Progress, Tally};
