//! Devices: the list, and everything about one with its timeline.

use mdm_core::error::Error;
use mdm_core::failure::Failure;
use mdm_core::ids::{AnyId, AuditId, DeviceId, Serial};
use mdm_core::service::DeviceReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asked::Path;
use super::described::{Shows, told};
use super::{About, Answer, Most, Page, refused, shown};

/// Which page of the devices.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Listed {
    /// Behind this id.
    #[serde(default)]
    after: AnyId,
    /// So many at most: 1 to 1000, 100 when left out.
    limit: Option<Most>,
    /// Only those that have left for another service for good. A page has only those of so many devices that it looked at.
    #[serde(default)]
    moved: bool,
}

pub(super) async fn list(About { office, org, which }: About<Listed>) -> Answer<impl Shows> {
    let only_moved = which.moved;
    let which = Page {
        after: which.after,
        limit: which.limit,
    };
    let rows = office
        .mdm
        .store()
        .devices(
            org.organisation().id,
            DeviceId(which.after.0),
            which.limit(),
        )
        .await
        .map_err(|error| refused(error.into()))?;
    let next = (rows.len() == which.limit() as usize)
        .then(|| rows.last().map(|d| d.id))
        .flatten();
    let moved = org.moved_away(&rows).await.map_err(refused)?;
    let rows: Vec<_> = rows
        .iter()
        .filter(|device| !only_moved || moved.contains_key(&device.id))
        .map(|device| {
            told! {
                id: device.id,
                serial: device.serial.clone(),
                platform: device.platform_told().map(mdm_core::device::Platform::as_str),
                os_version: device.facts.os_version.clone(),
                name: device.facts.name.clone(),
                enrolled: device.enrollment.is_some(),
                migrating: device.open_move.is_some(),
                profile_status: device.record.as_ref().map(|r| r.profile_status.clone()),
                moved: moved.get(&device.id).copied(),
            }
        })
        .collect();
    shown(told! { devices: rows, next: next })
}

/// One device, and what goes wrong with it.
#[derive(Serialize, JsonSchema)]
struct Device {
    #[serde(flatten)]
    report: DeviceReport,
    failures: Vec<Failure>,
}

pub(super) async fn show(
    About { org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let report = org.device_report(&serial).await.map_err(refused)?;
    let failures = org.failures_of(&serial).await.map_err(refused)?;
    shown(Device { report, failures })
}

pub(super) async fn timeline(
    About { office, org, which }: About<Page>,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let (store, own) = (office.mdm.store(), org.organisation().id);
    let found = store.device_by_serial(own, &serial).await;
    let found = found.map_err(|error| refused(error.into()))?;
    let device = found.ok_or_else(|| refused(Error::NotFound("device")))?;
    let page = store.audit_of(own, device.id, AuditId(which.after.0), which.limit());
    let timeline = page.await.map_err(|error| refused(error.into()))?;
    let next = super::next_page(&which, timeline.iter().map(|entry| entry.id.0));
    shown(told! { timeline: timeline, next: next })
}
