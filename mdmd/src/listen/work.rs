//! What goes on in one connection, so that an idle one can be told from a slow answer. Closes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts requests under way, so that an idle connection can be told from a slow answer.
#[derive(Default)]
pub(super) struct Work {
    under_way: AtomicUsize,
    begun: AtomicUsize,
    changed: Notify,
    arrived: Notify,
}

impl Work {
    /// Until the guard is dropped a request is under way.
    pub(super) fn begin(self: &Arc<Self>) -> WorkGuard {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.arrived.notify_one();
        WorkGuard(Arc::clone(self))
    }

    /// Whether there ever was a request.
    pub(super) fn any(&self) -> bool {
        self.begun.load(Ordering::SeqCst) > 0
    }

    /// Returns when there was a request, or after so long without one.
    pub(super) async fn first_within(&self, span: Duration) {
        let begun = async {
            while !self.any() {
                self.arrived.notified().await;
            }
        };
        // Without one there is nothing to wait for.
        let _ = tokio::time::timeout(span, begun).await;
    }

    /// Returns when nothing was under way for a whole `span`.
    pub(super) async fn idle_for(&self, span: Duration) {
        loop {
            let begun = self.begun.load(Ordering::SeqCst);
            if self.under_way.load(Ordering::SeqCst) > 0 {
                self.changed.notified().await;
                continue;
            }
            tokio::time::sleep(span).await;
            let still = self.under_way.load(Ordering::SeqCst) == 0;
            if still && self.begun.load(Ordering::SeqCst) == begun {
                return;
            }
        }
    }
}

/// For an answer that takes long to read: each piece that is taken of it shows that its reader is not idle.
#[derive(Clone)]
pub(crate) struct Progress(pub(super) Arc<Work>);

impl Progress {
    /// A piece was taken.
    pub(crate) fn made(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) struct WorkGuard(Arc<Work>);

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}
