//! Reads receivers of webhooks and what they are to be told.

use async_trait::async_trait;

use crate::hook::{Hook, HookMessage};
use crate::ids::{DeviceId, HookId, HookMessageId, OrganisationId};
use crate::store::StoreError;

/// Reads receivers of webhooks and messages to them.
#[async_trait]
pub trait HookStore: Send + Sync {
    /// A receiver, by id.
    async fn hook(
        &self,
        organisation: OrganisationId,
        id: HookId,
    ) -> Result<Option<Hook>, StoreError>;
    /// One that is not removed, by name.
    async fn hook_by_name(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Hook>, StoreError>;
    /// In the order of ids, after `after`; removed ones too.
    async fn hooks(
        &self,
        organisation: OrganisationId,
        after: HookId,
        limit: u32,
    ) -> Result<Vec<Hook>, StoreError>;
    /// A message, by id.
    async fn hook_message(
        &self,
        organisation: OrganisationId,
        id: HookMessageId,
    ) -> Result<Option<HookMessage>, StoreError>;
    /// Messages about a device that are not over, oldest first.
    async fn open_hook_messages(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
        limit: u32,
    ) -> Result<Vec<HookMessage>, StoreError>;
    /// Messages to a receiver, newest first, before `before`.
    async fn hook_messages(
        &self,
        organisation: OrganisationId,
        hook: HookId,
        before: HookMessageId,
        limit: u32,
    ) -> Result<Vec<HookMessage>, StoreError>;
}
