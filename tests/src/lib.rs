//! What the whole-system stories share: sentences about a rehearsal's rows, and the search after leaked secrets.
//! Holds no story itself; those are in `tests/`, one in each file.

mod search;
mod telling;

pub use search::{Haystack, Needles, Stolen};
pub use telling::{SOON, agreed, play, told};
