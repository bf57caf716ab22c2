//! How stories of one store begin whose devices never speak: a process that serves it, by a clock that the test moves.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part of it"
)]

use std::sync::Arc;
use std::time::Duration;

use mdm_core::clock::{Clock as _, ManualClock};
use mdm_core::service::ports::Ports;
use mdm_core::service::{Mdm, MdmSettings};
use mdm_core::store::Store;
use mdm_core::vault::{EscrowVault, PlainKeys};

/// A process that serves this store.
pub(crate) fn process(store: Arc<dyn Store>, clock: &ManualClock, ports: Ports) -> Mdm {
    let settings = MdmSettings {
        device_url: "https://mdm.example.com".to_owned(),
        enrol_url: "https://mdm.example.com".to_owned(),
        sign_messages: false,
    };
    let vault = EscrowVault::new(PlainKeys);
    Mdm::new(store, vault, Arc::new(clock.clone()), ports, settings)
}

/// Lets so much time pass, and everything that is due on the way happen.
pub(crate) async fn pass(mdm: &Mdm, clock: &ManualClock, time: Duration) {
    let end = clock.now() + time;
    loop {
        while mdm.work(100).await.unwrap() > 0 {}
        match mdm.next_due().await.unwrap() {
            Some(next) if next <= end => clock.set(next.max(clock.now())),
            _ => break,
        }
    }
    clock.set(end);
}
