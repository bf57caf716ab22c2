//! Asking for a page, also for the next one while the one before is kept. Reading changes nothing.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::error::PortError;
use crate::service::ports::{DeviceAssignment, DevicePage, ServerCredential};
use crate::service::sync::page::Folded;
use crate::wave::SyncCursor;

/// Asks for the page at a place in the list.
pub(super) async fn ask(
    assignment: &dyn DeviceAssignment,
    credential: &ServerCredential,
    cursor: &SyncCursor,
    now: Timestamp,
) -> Result<DevicePage, PortError> {
    match cursor {
        SyncCursor::Start => assignment.fetch(credential, None, now).await,
        SyncCursor::Full { cursor, .. } => assignment.fetch(credential, Some(cursor), now).await,
        SyncCursor::Changes { cursor } | SyncCursor::Sweeping { cursor, .. } => {
            assignment.sync(credential, cursor, now).await
        }
    }
}

/// The page that comes after the one that was just kept, or why there is none.
pub(super) struct Ahead {
    pub(super) of: SyncCursor,
    /// When it was asked for.
    pub(super) asked: Timestamp,
    pub(super) answered: Result<(DevicePage, Option<Folded>), PortError>,
}

/// A page that is asked for while the one before is kept. Given up when it is dropped; reading changes nothing.
pub(super) struct Asked(JoinSet<Result<DevicePage, PortError>>);

impl Asked {
    pub(super) fn ask(
        assignment: &Arc<dyn DeviceAssignment>,
        credential: &ServerCredential,
        cursor: &SyncCursor,
        now: Timestamp,
    ) -> Self {
        let (assignment, credential) = (Arc::clone(assignment), credential.clone());
        let cursor = cursor.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { ask(assignment.as_ref(), &credential, &cursor, now).await });
        Self(task)
    }

    pub(super) async fn answer(mut self) -> Result<DevicePage, PortError> {
        match self.0.join_next().await {
            Some(Ok(page)) => page,
            Some(Err(_)) | None => Err(PortError::retry("the device list was not read")),
        }
    }
}
