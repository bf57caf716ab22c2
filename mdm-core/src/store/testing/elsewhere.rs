//! What is known of an iPhone that another service manages and that nothing keeps back from migrating: for fleets that are planned.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::device::OrgReading;
use crate::ids::Serial;
use crate::original::{OriginalEnrolment, Said};

/// How Apple shows it now: assigned to the service `THEIRS`.
#[must_use]
pub fn shown_elsewhere(now: Timestamp) -> OrgReading {
    OrgReading {
        seen: now,
        assigned_server: Some("THEIRS".to_owned()),
        capable: Some(true),
        product: Some("iPhone17,1".to_owned()),
        added_by_hand: Some(false),
        ..OrgReading::default()
    }
}

/// Everything that a good export of the other service tells of it, without apps, networks and profiles; it spoke a day ago.
#[must_use]
pub fn told_elsewhere(serial: Serial, now: Timestamp) -> Said {
    let mut said = Said::nothing(serial);
    said.system = Some("26.1".to_owned());
    said.last_seen = Some(now - Duration::from_hours(24));
    said.enrolment = Some(OriginalEnrolment::Automated);
    said.apps = Some(Vec::new());
    said.networks = Some(Vec::new());
    said.profiles = Some(Vec::new());
    said.declarations = Some(Vec::new());
    said
}
