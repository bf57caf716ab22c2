//! Devices: the list, and everything about one with its timeline.

use mdm_core::ids::{DeviceId, Serial};
use serde_json::{Value, json};

use super::asked::Path;
use super::{About, Answer, refused, shown};

pub(super) async fn list(About { office, org, which }: About) -> Answer {
    let rows = office
        .mdm
        .store()
        .devices(org.organisation().id, DeviceId(which.after), which.limit())
        .await
        .map_err(|error| refused(error.into()))?;
    let next = (rows.len() == which.limit() as usize)
        .then(|| rows.last().map(|d| d.id))
        .flatten();
    let rows: Vec<Value> = rows
        .iter()
        .map(|device| {
            json!({
                "id": device.id,
                "serial": device.serial,
                "platform": device.platform().map(mdm_core::device::Platform::as_str),
                "os_version": device.facts.os_version,
                "name": device.facts.name,
                "enrolled": device.enrollment.is_some(),
                "migrating": device.open_move.is_some(),
                "profile_status": device.record.as_ref().map(|r| r.profile_status.clone()),
            })
        })
        .collect();
    shown(json!({ "devices": rows, "next": next }))
}

pub(super) async fn show(About { org, .. }: About, Path(serial): Path<String>) -> Answer {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let report = org.device_report(&serial).await.map_err(refused)?;
    let failures = org.failures_of(&serial).await.map_err(refused)?;
    let mut report = serde_json::to_value(report).unwrap_or_default();
    report["failures"] = json!(failures);
    shown(report)
}
