//! Devices by serial number, those that the sync has to look at, and when each spoke last.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{ThisStore, by_bytes, failed, ids, list, rows, texts};
use crate::clock::Timestamp;
use crate::device::{Device, LastHeard};
use crate::ids::{DeviceId, OrganisationId, Serial, ServerId};
use crate::store::row::Row;
use crate::store::{DeviceStore, StoreError};

#[async_trait]
impl DeviceStore for ThisStore {
    async fn device(
        &self,
        organisation: OrganisationId,
        id: DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        rows!(
            self,
            one,
            "devices WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn device_by_serial(
        &self,
        organisation: OrganisationId,
        serial: &Serial,
    ) -> Result<Option<Device>, StoreError> {
        rows!(
            self,
            one,
            "devices WHERE organisation = $1 AND serial = $2",
            organisation.0,
            serial.as_str()
        )
    }

    async fn devices_by_serial(
        &self,
        organisation: OrganisationId,
        serials: &[Serial],
    ) -> Result<Vec<Device>, StoreError> {
        let wanted = list(serials.iter().map(|s| s.as_str().to_owned()));
        rows!(
            self,
            list_of,
            concat!(
                "devices WHERE organisation = $1 AND serial ",
                texts!(2),
                " ORDER BY ",
                by_bytes!(serial)
            ),
            organisation.0,
            wanted
        )
    }

    async fn devices(
        &self,
        organisation: OrganisationId,
        after: DeviceId,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        rows!(
            self,
            readable limit,
            "devices WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn devices_unseen_since(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        rows!(
            self,
            readable limit,
            "devices WHERE organisation = $1 AND listed = $2 AND seen < $3 ORDER BY seen, id LIMIT $4",
            organisation.0,
            server.0,
            before.as_millis()
        )
    }

    async fn devices_to_assign(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        rows!(
            self,
            readable limit,
            "devices WHERE organisation = $1 AND listed = $2 AND assign_at <= $3 ORDER BY id LIMIT $4",
            organisation.0,
            server.0,
            now.as_millis()
        )
    }

    async fn next_assignment(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar(
            "SELECT min(assign_at) FROM devices WHERE organisation = $1 AND listed = $2 AND assign_at > $3",
        )
        .bind(organisation.0)
        .bind(server.0)
        .bind(now.as_millis())
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        Ok(next.map(Timestamp::from_millis))
    }

    async fn keep_heard(
        &self,
        organisation: OrganisationId,
        heard: &[(DeviceId, Timestamp)],
    ) -> Result<(), StoreError> {
        // Each device once, and in the order of ids: two who write the same devices never wait for each other in a circle.
        let mut latest = BTreeMap::new();
        for (id, at) in heard {
            let kept = latest.entry(*id).or_insert(*at);
            *kept = (*kept).max(*at);
        }
        let rows = latest.into_iter().map(|(id, at)| {
            let row = Row::of(&LastHeard::new(organisation, id, at))?;
            Ok((id.0, at.as_millis(), row.doc))
        });
        let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        self.write_heard(organisation, rows).await
    }

    async fn last_heard(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<LastHeard>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            all_readable,
            concat!(
                "last_heard WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }
}
