//! A device that has left us: it has checked out, and our list does not have it any more. Then it has moved, and what we know of it
//! goes to the destination on which both sides have agreed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{DAY, Org};
use crate::audit::AuditEntry;
use crate::error::{Error, PortError};
use crate::hand_off::agreement::AgreedDestination;
use crate::hand_off::envelope;
use crate::ids::{AuditId, DeviceId, HandOffId};
use crate::job::Job;
use crate::service::ports::HandOverTo;
use crate::service::worker::done;
use crate::store::{Batch, Lease};

/// Between two looks at a device that our list still has.
const LOOK: Duration = Duration::from_secs(15 * 60);
/// A device that is in our list for so long after it checked out did not move: somebody unenrolled it.
const MOST_LOOKS: u32 = 7 * 96;

impl Org {
    /// Whether what we know of a device that leaves is to be handed over: by the organisation as it is in this process, for a
    /// message of a device is answered at once.
    pub(in crate::service) fn hands_over(&self) -> bool {
        self.organisation.agreed_destination.is_some()
    }

    /// Hands a device over that has left.
    pub(in crate::service) async fn hand_over_job(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
    ) -> Result<(), Error> {
        let agreed = self.fresh().await?.agreed_destination;
        let device = self.store().device(self.id(), id).await?;
        let (Some(agreed), Some(mut device)) = (agreed, device) else {
            return self.job_done(job, lease).await;
        };
        // It has come back meanwhile.
        if device.enrollment.is_some() || job.tries > MOST_LOOKS {
            return self.job_done(job, lease).await;
        }
        if device.record.as_ref().is_none_or(|record| !record.gone) {
            return self.job_later(job, lease, LOOK).await;
        }
        let told = match self.hand_over(&agreed, &device.serial).await {
            Ok(told) => told,
            Err(Error::Port(PortError::Refused(why))) => {
                // Nobody is at the other end with whom this was agreed on: a person must see to it, and it is tried again.
                tracing::error!(organisation = %self.id(), url = agreed.url, why, "a device could not be handed over");
                return self.job_later(job, lease, DAY / 4).await;
            }
            Err(error) => return Err(error),
        };
        let now = self.now();
        device.handed_over = Some(now);
        let mut batch = Batch::new();
        batch.put(AuditEntry::new(
            self.id(),
            AuditId(self.ids().next(now)),
            now,
            "worker",
            "device.handed-over",
            Some(id),
            json!({ "to": agreed.url, "job": told["job"]["id"], "accepted": told["accepted"], "notes": told["results"][0]["notes"] }),
        ));
        batch.put(device);
        batch.put(done(job, lease));
        Ok(self.store().commit(batch).await?)
    }

    /// Asks for a job there, seals, and brings the bundle. Twice does no harm: each time there is another job, and what is the
    /// same is not taken twice.
    async fn hand_over(
        &self,
        agreed: &AgreedDestination,
        serial: &crate::ids::Serial,
    ) -> Result<Value, Error> {
        let to = HandOverTo {
            url: agreed.url.clone(),
            ca: agreed.ca.clone(),
            token: self.open_secret(agreed.token).await?,
        };
        let port = &self.ports().hand_over;
        let path = format!("/api/v1/hand-off/sources/{}/jobs", agreed.source);
        let offered = port.post(&to, &path, b"{}".to_vec()).await?;
        let strange = || Error::Port(PortError::Refused("it answers with no job".to_owned()));
        let offered: Value = serde_json::from_slice(&offered).map_err(|_| strange())?;
        let job = HandOffId::deserialize(&offered["id"]).map_err(|_| strange())?;
        let certificate = offered["certificate"].as_str().ok_or_else(strange)?;
        let recipient = envelope::certificate(certificate.as_bytes(), "certificate")?;
        let serials = std::slice::from_ref(serial);
        let sealed = self.seal_bundle(serials, recipient, Some(job)).await?;
        let path = format!("/api/v1/hand-off/sources/{}/bundles", agreed.source);
        let body = json!({ "job": job, "bundle": STANDARD.encode(&sealed.bundle) });
        let told = port.post(&to, &path, body.to_string().into_bytes()).await?;
        serde_json::from_slice(&told).map_err(|_| strange())
    }
}
