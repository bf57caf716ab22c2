//! What goes on beside rows that cannot be read: they are told on the checklist, and a device whose row is one of them keeps no other of
//! a page of Apple's. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Org;
use crate::checklist::ItemState::Missing;
use crate::checklist::{ChecklistItem, Stage};
use crate::device::Device;
use crate::error::Error;
use crate::ids::Serial;
use crate::store::{StoreError, UnreadableRow};

/// So many are named; how many there are is said of all.
const NAMED: usize = 20;

/// Which devices have a row here. One whose row cannot be read is neither known nor new.
#[derive(Default)]
pub(super) struct Known {
    pub(super) devices: BTreeMap<Serial, Device>,
    /// Those whose rows are there and cannot be read: who made them anew would find their serial numbers taken.
    unreadable: BTreeSet<Serial>,
}

impl Known {
    pub(super) fn is_unreadable(&self, serial: &Serial) -> bool {
        self.unreadable.contains(serial)
    }

    /// Whether it has a row, if only one that cannot be read.
    pub(super) fn has(&self, serial: &Serial) -> bool {
        self.devices.contains_key(serial) || self.is_unreadable(serial)
    }
}

impl Org {
    /// Rows of this organisation that this process met, and that cannot be read.
    ///
    /// # Errors
    /// The store's.
    pub async fn unreadable(&self) -> Result<Vec<UnreadableRow>, Error> {
        let mut rows = self.store().unreadable().await?;
        rows.retain(|row| row.organisation == self.id());
        Ok(rows)
    }

    /// The same for the checklist; nothing where all is well.
    pub(super) async fn unreadable_item(&self) -> Result<Option<ChecklistItem>, Error> {
        let rows = self.unreadable().await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let named: Vec<String> = rows.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if rows.len() > NAMED {
            ", and others"
        } else {
            ""
        };
        let fact = format!("{}: {}{more}", rows.len(), named.join(", "));
        let fix = "lists are shown without them and what they are needed for stands still: put them back as they were from a backup, or ask who knows the tables";
        let item = ChecklistItem::not(
            Missing,
            Stage::Install,
            "rows that cannot be read",
            fact,
            fix,
        );
        Ok(Some(item))
    }

    /// Devices by serial number, for whoever takes a page of Apple's.
    pub(super) async fn known(&self, serials: &[Serial]) -> Result<Known, Error> {
        let mut known = Known::default();
        match self.store().devices_by_serial(self.id(), serials).await {
            Err(StoreError::Corrupt { .. }) => {}
            devices => {
                let devices = devices?.into_iter();
                known.devices = devices.map(|d| (d.serial.clone(), d)).collect();
                return Ok(known);
            }
        }
        // Which of them it is, is seen one by one.
        for serial in serials {
            match self.store().device_by_serial(self.id(), serial).await {
                Err(StoreError::Corrupt { .. }) => {
                    tracing::warn!(organisation = %self.id(), %serial, "what Apple says of a device is not kept: its row cannot be read");
                    known.unreadable.insert(serial.clone());
                }
                device => {
                    let device = device?.map(|d| (d.serial.clone(), d));
                    known.devices.extend(device);
                }
            }
        }
        Ok(known)
    }
}
