//! What the whole-system stories share: sentences about a rehearsal's rows, a client that may send anything, the captured
//! log, and the search after leaked secrets. Holds no story itself; those are in `tests/`, one in each file.

mod asking;
pub mod chaos;
pub mod fleet;
mod log;
mod search;
pub mod soak;
mod telling;

pub use asking::{Reply, Request};
pub use log::Log;
pub use search::{Haystack, Needles, Stolen};
pub use telling::{SOON, agreed, play, told};
