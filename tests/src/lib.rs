//! What the whole-system stories share: sentences about a rehearsal's rows, a client that may send anything, the captured
//! log, the time of a simulated world, the search after leaked secrets, and the `main` of those that are their own server. Holds
//! no story itself; those are in `tests/`, one in each file.

mod asking;
pub mod chaos;
pub mod fleet;
mod log;
mod preload;
mod program;
mod search;
pub mod soak;
mod telling;
mod world_time;

pub use asking::{Reply, Request};
pub use log::Log;
pub use program::{by_hand, database, program, without_postgres};
pub use search::{Haystack, Needles, Stolen};
pub use telling::{SOON, agreed, play, told};
pub use world_time::WorldTime;
