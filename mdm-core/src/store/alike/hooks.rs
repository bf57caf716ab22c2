//! Receivers of webhooks and messages to them.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::hook::{Hook, HookMessage};
use crate::ids::{DeviceId, HookId, HookMessageId, OrganisationId};
use crate::store::{HookStore, StoreError};

#[async_trait]
impl HookStore for ThisStore {
    async fn hook(
        &self,
        organisation: OrganisationId,
        id: HookId,
    ) -> Result<Option<Hook>, StoreError> {
        rows!(
            self,
            one,
            "hooks WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn hook_by_name(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Hook>, StoreError> {
        rows!(
            self,
            one,
            "hooks WHERE organisation = $1 AND name = $2",
            organisation.0,
            name
        )
    }

    async fn hooks(
        &self,
        organisation: OrganisationId,
        after: HookId,
        limit: u32,
    ) -> Result<Vec<Hook>, StoreError> {
        rows!(
            self,
            page limit,
            "hooks WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn hook_message(
        &self,
        organisation: OrganisationId,
        id: HookMessageId,
    ) -> Result<Option<HookMessage>, StoreError> {
        rows!(
            self,
            one,
            "hook_messages WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn open_hook_messages(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
        limit: u32,
    ) -> Result<Vec<HookMessage>, StoreError> {
        rows!(
            self,
            many,
            "hook_messages WHERE organisation = $1 AND open_device = $2 ORDER BY id LIMIT $3",
            organisation.0,
            device.0,
            i64::from(limit)
        )
    }

    async fn hook_messages(
        &self,
        organisation: OrganisationId,
        hook: HookId,
        before: HookMessageId,
        limit: u32,
    ) -> Result<Vec<HookMessage>, StoreError> {
        rows!(
            self,
            page limit,
            "hook_messages WHERE organisation = $1 AND hook = $2 AND id < $3 ORDER BY id DESC LIMIT $4",
            organisation.0,
            hook.0,
            before.0
        )
    }
}
