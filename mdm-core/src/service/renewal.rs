//! Renews device identities before they end: a new enrolment profile with a challenge of its own, as a command in the queue.
//! A renewal voids nothing: the old identity speaks until the first TokenUpdate of the new one.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::enrollment::{Enrollment, IssuedCertificate};
use crate::error::Error;
use crate::ids::{CertificateId, CommandId};
use crate::organisation::IdentityProtocol;
use crate::queue::{Command, CommandState};
use crate::secret::Secret;
use crate::store::Batch;
use crate::wire::command::CommandBody;

/// How often a process looks for identities whose end is near.
const EVERY: Duration = Duration::from_hours(1);
/// Identities that are looked after at a time.
const AT_ONCE: u32 = 100;
/// For how long the profile of a renewal may be used: a device may be off for a while. After that it gets another.
const PROFILE_DAYS: u64 = 14;

/// Namespace of the commands that bring them.
const COMMANDS: Uuid = Uuid::from_u128(0x6d64_6d64_0000_5265_6e65_0000_7761_6c73);

impl Mdm {
    /// Looks after identities whose renewal is due, if it is time to look; answers how many it looked after.
    pub(super) async fn renew_identities(&self) -> Result<usize, Error> {
        let now = self.now();
        let due = *self.renewal_clock();
        if due.is_some_and(|at| at > now) {
            return Ok(0);
        }
        let put_off = &self.inner.unrenewed;
        let asked = AT_ONCE.saturating_add(put_off.len());
        let rows = self.inner.store.certificates_to_renew(now, asked).await?;
        let mut done = 0;
        for row in rows {
            if put_off.holds(row.organisation, row.id.0, now) {
                continue;
            }
            let renewed = match self.organisation_by_id(row.organisation).await {
                Ok(org) => org.again_on_conflict(|| org.renew(row.id)).await,
                // It keeps nobody else's from being renewed.
                Err(error) => Err(error),
            };
            match renewed {
                Ok(()) => {
                    put_off.succeeded(row.organisation, row.id.0);
                    done += 1;
                }
                // Its organisation was taken away, and it goes.
                Err(Error::NotFound("organisation")) => {
                    put_off.failed(row.organisation, row.id.0, now)
                }
                Err(error) => {
                    put_off.failed(row.organisation, row.id.0, now);
                    tracing::error!(organisation = %row.organisation, certificate = %row.id, %error, "an identity could not be renewed");
                }
            }
        }
        if done == 0 {
            *self.renewal_clock() = Some(now + EVERY);
        }
        Ok(done)
    }

    fn renewal_clock(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        let clock = self.inner.renew_at.lock();
        clock.unwrap_or_else(PoisonError::into_inner)
    }

    /// The next look is at once.
    pub(super) fn look_for_renewals(&self) {
        *self.renewal_clock() = None;
    }
}

impl Org {
    /// Queues the profile of a renewal, or notes that nobody speaks with this identity any more.
    async fn renew(&self, id: CertificateId) -> Result<(), Error> {
        let now = self.now();
        let Some(mut row) = self.store().certificate(self.id(), id).await? else {
            return Ok(());
        };
        if row.revoked.is_some() || row.renew_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        let enrollment = self.enrollment_of(&row).await?;
        let Some(enrollment) = enrollment.filter(Enrollment::is_live) else {
            row.renew_at = None;
            let mut batch = Batch::new();
            batch.put(row);
            return Ok(self.store().commit(batch).await?);
        };
        let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
        if let Some(device) = enrollment.device
            && let Some(device) = self.store().device(self.id(), device).await?
        {
            d.device = Some(Tracked::read(device));
        }
        let expires = now + Duration::from_secs(PROFILE_DAYS * 86_400);
        let (mut session, challenge) = self.new_session(&d, now)?;
        session.expires = expires;
        session.device = enrollment.device;
        session.serial.clone_from(&enrollment.serial);
        session.udid = Some(enrollment.key.clone());
        session.renews = Some(enrollment.id);
        let mut before = IdentityProtocol::Scep;
        if let Some(first) = self.store().session(self.id(), row.session).await? {
            // The device refuses a profile that changes these.
            session.told = first.told.or(session.told);
            before = first.protocol;
        }
        let device = d.device.as_ref().map(|device| &device.row);
        let choice = self.protocol_of(device, before);
        session.protocol = choice.protocol;
        let profile = self.enrolment_profile(&session, &challenge).await?;
        if let Some(last) = row.renewal.take() {
            self.withdraw(&mut d, &enrollment, &last).await?;
        }
        let uuid = Uuid::new_v5(&COMMANDS, session.code.as_bytes());
        let uuid = uuid.as_hyphenated().to_string().to_uppercase();
        let body = CommandBody::install_profile(Secret::new(profile));
        let command = CommandId(d.next_id());
        let mut queued = Command::queued(
            self.id(),
            command,
            enrollment.id,
            uuid.clone(),
            body.request_type(),
            body.encode(&uuid).to_vec(),
            now,
        );
        queued.expires = Some(expires);
        d.to_seal.insert(command);
        d.commands.insert(command, Tracked::new(queued));
        d.push(enrollment.id);
        d.audit(
            "identity.renewal-queued",
            json!({ "enrolment": enrollment.id, "certificate": row.sha256, "not_after": row.not_after, "command": uuid,
                "identity": choice.protocol, "fall_back": choice.fall_back }),
        );
        d.sessions.push(Tracked::new(session));
        d.track(enrollment);
        row.renewal = Some(uuid);
        row.renew_at = Some(expires);
        d.batch.put(row);
        self.commit(d).await
    }

    /// The device has refused the profile of a renewal, say because another authority issues by now: it gets another one
    /// soon, and later each time, for the next refusal will have the same reason.
    pub(super) async fn renewal_failed(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        uuid: &str,
    ) -> Result<(), Error> {
        for sha256 in &enrollment.certificates {
            let found = self.store().certificate_by_hash(self.id(), sha256).await;
            let ours = |row: &IssuedCertificate| row.renewal.as_deref() == Some(uuid);
            if let Some(mut row) = readable(found)?.filter(ours) {
                let wait = EVERY * 2_u32.pow(row.renewals_refused.min(8));
                row.renewals_refused = row.renewals_refused.saturating_add(1);
                row.renew_at = Some(row.renew_at.map_or(d.now + wait, |at| at.min(d.now + wait)));
                d.audit(
                    "identity.renewal-refused",
                    json!({ "enrolment": enrollment.id, "certificate": row.sha256, "again": row.renew_at }),
                );
                d.batch.put(row);
            }
        }
        Ok(())
    }

    /// Takes the command of an earlier renewal out of the queue: its profile is good no more.
    async fn withdraw(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        uuid: &str,
    ) -> Result<(), Error> {
        let found = self.store().command(self.id(), enrollment.id, uuid).await?;
        if let Some(command) = found.filter(|c| !c.state.is_final()) {
            let mut tracked = Tracked::read(command);
            tracked.row.state = CommandState::Cancelled;
            tracked.row.settled = Some(d.now);
            d.commands.insert(tracked.row.id, tracked);
        }
        Ok(())
    }

    /// The device-channel enrolment that speaks with an identity, or that a renewal has announced it for.
    pub(super) async fn enrollment_of(
        &self,
        identity: &IssuedCertificate,
    ) -> Result<Option<Enrollment>, Error> {
        let Some(session) = self.store().session(self.id(), identity.session).await? else {
            return Ok(None);
        };
        let candidates = match (session.renews, session.device, &session.udid) {
            (Some(renewed), _, _) => {
                let found = self.store().enrollment(self.id(), renewed).await?;
                found.into_iter().collect()
            }
            (None, Some(device), _) => {
                self.store()
                    .enrollments_of_device(self.id(), device)
                    .await?
            }
            (None, None, Some(key)) => self.store().enrollments_by_key(self.id(), key).await?,
            (None, None, None) => Vec::new(),
        };
        let mut newest = candidates.into_iter().rev();
        Ok(newest.find(|e| e.parent.is_none() && e.knows(&identity.sha256)))
    }
}
