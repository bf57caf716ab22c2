//! Devices: the list, and everything about one with its timeline.

use mdm_core::failure::Failure;
use mdm_core::ids::{DeviceId, Serial};
use mdm_core::service::DeviceReport;
use schemars::JsonSchema;
use serde::Serialize;

use super::asked::Path;
use super::described::{Shows, told};
use super::{About, Answer, Page, refused, shown};

pub(super) async fn list(About { office, org, which }: About<Page>) -> Answer<impl Shows> {
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
    let rows: Vec<_> = rows
        .iter()
        .map(|device| {
            told! {
                id: device.id,
                serial: device.serial.clone(),
                platform: device.platform().map(mdm_core::device::Platform::as_str),
                os_version: device.facts.os_version.clone(),
                name: device.facts.name.clone(),
                enrolled: device.enrollment.is_some(),
                migrating: device.open_move.is_some(),
                profile_status: device.record.as_ref().map(|r| r.profile_status.clone()),
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
