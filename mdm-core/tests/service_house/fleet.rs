//! Devices at the old service, as projects and waves want them: Apple shows them there, and the export of that service tells
//! everything that keeps nobody back.

use mdm_core::device::Device;
use mdm_core::ids::{DeviceId, Serial};
use mdm_core::original::Said;
use mdm_core::service::Org;
use mdm_core::store::Batch;
use mdm_core::store::testing::{shown_elsewhere, told_elsewhere};

use super::{House, START};

/// The serial number of the device of a fleet that comes at this place, counted from 0.
pub(crate) fn serial(n: usize) -> Serial {
    Serial::parse(&format!("C02WAVE{n:03}")).unwrap()
}

pub(crate) fn serials(range: std::ops::Range<usize>) -> Vec<Serial> {
    range.map(serial).collect()
}

impl House {
    /// So many iPhones at the old service, each with what makes it another than those. Who acts is Anna.
    pub(crate) async fn fleet(
        &self,
        count: usize,
        differs: impl Fn(usize, &mut Device, &mut Said),
    ) -> Org {
        let org = self.org().await;
        let mut batch = Batch::new();
        let mut rows = Vec::with_capacity(count);
        for n in 0..count {
            let id = DeviceId(self.next_id());
            let mut device = Device::new(org.organisation().id, id, serial(n));
            device.reading = Some(shown_elsewhere(START));
            let mut said = told_elsewhere(serial(n), START);
            differs(n, &mut device, &mut said);
            batch.put(device);
            rows.push(said);
        }
        self.mdm.store().commit(batch).await.unwrap();
        org.import_originals("Old MDM", START, rows).await.unwrap();
        org.acting_for("Anna")
    }
}
