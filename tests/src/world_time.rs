//! The clock of a simulated world, as ours ask for it.

use fixtures::clock::WorldClock;
use mdm_core::clock::Timestamp;

/// What the server takes for its clock, and the clients of Apple's services for theirs.
#[derive(Clone)]
pub struct WorldTime(pub WorldClock);

impl mdm_core::clock::Clock for WorldTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now_ms())
    }
}

impl abm_client::Clock for WorldTime {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
}
