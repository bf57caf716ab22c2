//! Check-ins: from Authenticate to CheckOut. One message, one decision, one commit; nothing leaves the building here.

use serde_json::json;

use super::decision::{Decision, Tracked};
use super::hand_over::mark_moved;
use super::{Answer, Org, Speaker};
use crate::bootstrap_token::{self, Deposit};
use crate::clock::Timestamp;
use crate::enrollment::{Enrollment, EnrollmentState};
use crate::error::Error;
use crate::ids::{DeviceId, SecretId};
use crate::job::Job;
use crate::migration::Event;
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::store::StoreError;
use crate::wire::checkin::{self, CheckIn};

/// How many replaced secrets of a kind are kept of a device that may replace them as often as it likes.
const KEPT: usize = 8;

impl Org {
    /// Decides on one check-in and commits it. The identity of the speaker is proved already.
    pub(super) async fn decide_check_in(
        &self,
        speaker: &Speaker,
        message: &CheckIn,
    ) -> Result<Answer, Error> {
        match message {
            CheckIn::Authenticate(m) => self.authenticate(speaker, m).await,
            CheckIn::TokenUpdate(m) if m.envelope.channel.is_device() => {
                self.device_token_update(speaker, m).await
            }
            CheckIn::TokenUpdate(m) => self.user_token_update(speaker, m).await,
            CheckIn::CheckOut(m) => self.check_out(speaker, m).await,
            CheckIn::SetBootstrapToken(m) => self.set_bootstrap_token(speaker, m).await,
            CheckIn::GetBootstrapToken(m) => self.get_bootstrap_token(speaker, m).await,
            CheckIn::UserAuthenticate(m) => self.user_authenticate(speaker, m).await,
            CheckIn::DeclarativeManagement(m) => self.declarative(speaker, m).await,
            CheckIn::GetToken(m) => self.get_token(speaker, m).await,
            CheckIn::ReturnToService(m) => self.return_to_service(speaker, m).await,
            #[expect(
                unreachable_patterns,
                reason = "the enum may grow with Apple's protocol"
            )]
            other => Err(Error::bad_input(
                "check-in: MessageType",
                format!("{} is not offered", other.name()),
            )),
        }
    }

    async fn check_out(&self, speaker: &Speaker, m: &checkin::CheckOut) -> Result<Answer, Error> {
        let now = self.now();
        let channel = &m.envelope.channel;
        let enrollment = self
            .known_device(speaker, channel.device_key().as_str())
            .await?;
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        let users = self.store().user_channels(self.id(), enrollment.id).await?;
        if !channel.is_device() {
            let key = channel.key();
            if let Some(user) = users.into_iter().find(|u| u.key == key.as_str()) {
                let mut tracked = Tracked::read(user);
                leave(&mut tracked.row, now);
                self.end_declarations(&mut d, tracked.row.id).await?;
                d.enrollments.insert(tracked.row.id, tracked);
            }
            d.track(enrollment);
            self.commit(d).await?;
            return Ok(Answer::Empty);
        }
        self.load_device_side(&mut d, &enrollment).await?;
        for user in users {
            let mut tracked = Tracked::read(user);
            leave(&mut tracked.row, now);
            self.end_declarations(&mut d, tracked.row.id).await?;
            d.enrollments.insert(tracked.row.id, tracked);
        }
        self.end_declarations(&mut d, enrollment.id).await?;
        let already = enrollment.state == EnrollmentState::CheckedOut;
        let id = enrollment.id;
        let mut tracked = Tracked::read(enrollment);
        leave(&mut tracked.row, now);
        let tracked_device = tracked.row.device;
        d.enrollments.insert(id, tracked);
        if let Some(device) = &mut d.device
            && device.row.enrollment == Some(id)
        {
            device.row.enrollment = None;
        }
        if !already {
            d.audit("enrolment.checked-out", json!({ "enrolment": id }));
            d.tell_set_up(&Event::CheckedOut);
            // Its list has it no more: it has moved.
            if let Some(device) = &mut d.device
                && Some(device.row.id) == tracked_device
                && let Some(seen) = device
                    .row
                    .record
                    .as_ref()
                    .filter(|r| r.has_left())
                    .map(|r| r.seen)
                && let Some(detail) = mark_moved(&mut device.row, now.max(seen))
            {
                d.audit("device.moved-away", detail);
            }
            // Whether it has moved, its list will tell.
            if self.hands_over()
                && let Some(device) = tracked_device
            {
                let job = Job::hand_over(self.id(), device, now.next_minute());
                d.put_job(job);
            }
        }
        self.commit(d).await?;
        Ok(Answer::Empty)
    }

    async fn set_bootstrap_token(
        &self,
        speaker: &Speaker,
        m: &checkin::SetBootstrapToken,
    ) -> Result<Answer, Error> {
        let enrollment = self
            .enrolled_device(speaker, m.envelope.channel.device_key().as_str())
            .await?;
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
        self.load_device_side(&mut d, &enrollment).await?;
        d.track(enrollment.clone());
        let stored = match bootstrap_token::deposit(m)? {
            Deposit::Keep(token) => Some(
                self.keep_secret(
                    &mut d,
                    enrollment.bootstrap_token,
                    SecretKind::BootstrapToken,
                    enrollment.device,
                    &token,
                )
                .await?,
            ),
            Deposit::Remove => {
                if let Some(held) = enrollment.bootstrap_token {
                    self.replace_secret(&mut d, held).await?;
                }
                if let Some(tracked) = &mut d.set_up {
                    tracked.row.token_stored = None;
                }
                None
            }
        };
        if let Some(row) = d.enrollment_mut(enrollment.id) {
            row.bootstrap_token = stored;
            if m.awaiting_configuration.is_some() {
                row.awaiting = m.awaiting_configuration;
            }
        }
        d.audit("bootstrap-token", json!({ "stored": stored.is_some() }));
        if let Some(awaiting) = m.awaiting_configuration {
            d.tell_set_up(&Event::AwaitingTold { awaiting });
        }
        if stored.is_some() {
            d.tell_set_up(&Event::BootstrapTokenStored);
            self.expect_key(&mut d, &enrollment);
        }
        self.commit(d).await?;
        Ok(Answer::Empty)
    }

    async fn get_bootstrap_token(
        &self,
        speaker: &Speaker,
        m: &checkin::GetBootstrapToken,
    ) -> Result<Answer, Error> {
        let enrollment = self
            .enrolled_device(speaker, m.envelope.channel.device_key().as_str())
            .await?;
        let token = match enrollment.bootstrap_token {
            Some(id) => Some(self.open_secret(id).await?),
            None => None,
        };
        if let Some(awaiting) = m.awaiting_configuration {
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
            self.load_device_side(&mut d, &enrollment).await?;
            let id = enrollment.id;
            d.track(enrollment);
            if let Some(row) = d.enrollment_mut(id) {
                row.awaiting = Some(awaiting);
            }
            d.tell_set_up(&Event::AwaitingTold { awaiting });
            self.commit(d).await?;
        }
        Ok(Answer::Plist(bootstrap_token::answer(token.as_ref())))
    }

    /// A device in return-to-service mode asks how it comes back after it has erased itself: by the profile that Apple
    /// assigns to it, over the organisation's network, with its bootstrap token. One that Apple does not send to us would
    /// not come back, and is told not to.
    async fn return_to_service(
        &self,
        speaker: &Speaker,
        m: &checkin::ReturnToService,
    ) -> Result<Answer, Error> {
        let enrollment = self
            .enrolled_device(speaker, m.envelope.channel.device_key().as_str())
            .await?;
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
        d.device = self.device_of(&d, &enrollment).await?.map(Tracked::read);
        let record = d.device.as_ref().and_then(|d| d.row.record.as_ref());
        let comes_back = record.is_some_and(|record| !record.gone);
        let token = match enrollment.bootstrap_token.filter(|_| comes_back) {
            Some(id) => Some(self.open_secret(id).await?),
            None => None,
        };
        let network = match comes_back {
            true => self.network_profile().await?,
            false => None,
        };
        d.audit(
            "return-to-service",
            json!({ "enrolment": enrollment.id, "offered": comes_back }),
        );
        d.track(enrollment);
        self.commit(d).await?;
        let answer = checkin::return_to_service_answer(comes_back, token.as_ref(), network);
        Ok(Answer::Plist(answer))
    }

    /// The device-channel enrolment that this certificate may speak for, whatever its state. The certificate that a renewal
    /// has announced speaks beside the old one from its Authenticate on: the renewal proved that it is the same device's.
    pub(super) async fn known_device(
        &self,
        speaker: &Speaker,
        key: &str,
    ) -> Result<Enrollment, Error> {
        let known = self.channels(speaker, key).await?;
        let device = known
            .into_iter()
            .rev()
            // A user channel's key may look like a device's; it never speaks as one.
            .find(|e| e.parent.is_none() && e.knows(&speaker.sha256))
            .ok_or(Error::Refused(
                "this certificate does not speak for this device",
            ))?;
        if let Some(serial) = &device.serial {
            // Also when nothing is written.
            self.name_device(serial.as_str());
        }
        self.note_heard(device.device);
        Ok(device)
    }

    pub(super) async fn enrolled_device(
        &self,
        speaker: &Speaker,
        key: &str,
    ) -> Result<Enrollment, Error> {
        let enrollment = self.known_device(speaker, key).await?;
        if enrollment.is_live() {
            Ok(enrollment)
        } else {
            Err(Error::Refused("this device is not enrolled"))
        }
    }

    /// Loads device, set-up and Move of a device-channel enrolment into a decision.
    pub(super) async fn load_device_side(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<(), Error> {
        if let Some(device) = self.device_of(d, enrollment).await? {
            d.device = Some(Tracked::read(device));
        }
        if let Some(set_up) = self.set_up_of(d, enrollment).await? {
            d.set_up_plan = self.readable_plan(&set_up).await;
            // What belongs to the device's own side must go on when the plan of its Move cannot be read: a report that is
            // refused for it would keep the release from the device.
            if let Some(attempt) = set_up.move_id
                && let Some(attempt) = self.attempt_seen(d.seen.as_deref(), attempt).await?
                && let Some(plan) = self.readable_plan_of(&attempt).await?
            {
                d.attempt_plan = Some(plan);
                d.attempt = Some(Tracked::read(attempt));
            }
            d.set_up = Some(Tracked::read(set_up));
        }
        Ok(())
    }

    /// Seals a secret that a device gave us, unless we hold the same one already.
    pub(super) async fn keep_secret(
        &self,
        d: &mut Decision<'_>,
        held: Option<SecretId>,
        kind: SecretKind,
        device: Option<DeviceId>,
        secret: &Secret,
    ) -> Result<SecretId, Error> {
        if let Some(held) = held {
            match self.store().secret(self.id(), held).await {
                Ok(Some(row)) => {
                    match self.open_row(&row).await {
                        Ok(old) if old.matches(secret.expose()) => return Ok(held),
                        Ok(_) => {}
                        // What the device has just given us is good all the same: it becomes the newest version.
                        Err(error) if passes(&error) => return Err(error),
                        Err(error) => self.note_unreadable(d, held, kind, &error),
                    }
                    let mut tracked = Tracked::read(row);
                    tracked.row.replaced = Some(d.now);
                    d.secrets.insert(held, tracked);
                }
                Ok(None) => {}
                Err(error) => {
                    let error = Error::from(error);
                    if passes(&error) {
                        return Err(error);
                    }
                    self.note_unreadable(d, held, kind, &error);
                }
            }
        }
        if let Some(spent) = self.spent_secret(kind, device).await? {
            // The oldest gives its place to the newest: a device may bring others for ever.
            let id = spent.id;
            let row = self.seal(id, kind, device, secret, d.now).await?;
            let mut tracked = Tracked::read(spent);
            tracked.row.sealed = row.sealed;
            tracked.row.created = d.now;
            tracked.row.replaced = None;
            d.secrets.insert(id, tracked);
            return Ok(id);
        }
        let id = SecretId(d.next_id());
        let row = self.seal(id, kind, device, secret, d.now).await?;
        d.secrets.insert(id, Tracked::new(row));
        Ok(id)
    }

    /// Of a device's secrets of a kind that it may replace as often as it likes, and of which only the newest opens anything:
    /// the oldest that has been replaced, when as many are kept as need be.
    async fn spent_secret(
        &self,
        kind: SecretKind,
        device: Option<DeviceId>,
    ) -> Result<Option<SealedSecret>, Error> {
        let replaced_at_will = matches!(
            kind,
            SecretKind::UnlockToken
                | SecretKind::BootstrapToken
                | SecretKind::RecoveryKeyEnvelope
                | SecretKind::RedemptionCode
        );
        let Some(device) = device.filter(|_| replaced_at_will) else {
            return Ok(None);
        };
        // One that cannot be read makes none of them spent.
        let all = match self.store().secrets(self.id(), device).await {
            Ok(all) => all,
            Err(StoreError::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let replaced = all
            .into_iter()
            .filter(|s| s.kind == kind && s.replaced.is_some());
        let replaced: Vec<SealedSecret> = replaced.collect();
        let spent = replaced.len() >= KEPT;
        Ok(replaced
            .into_iter()
            .min_by_key(|s| (s.replaced, s.id))
            .filter(|_| spent))
    }

    /// A secret that we hold and cannot read is a matter for a person, and no reason to refuse a device.
    pub(super) fn note_unreadable(
        &self,
        d: &mut Decision<'_>,
        held: SecretId,
        kind: SecretKind,
        error: &Error,
    ) {
        tracing::error!(organisation = %self.id(), secret = %held, kind = kind.as_str(), %error, "a secret that is held cannot be read");
        d.audit(
            "secret.unreadable",
            json!({ "secret": held, "kind": kind.as_str(), "error": error.to_string() }),
        );
    }

    pub(super) fn check_topic(&self, field: &str, topic: &str) -> Result<(), Error> {
        match &self.organisation.push {
            Some(push) if push.topic == topic => Ok(()),
            _ => Err(Error::bad_input(
                field,
                "is not this organisation's push topic",
            )),
        }
    }
}

/// A row that cannot be read is as good as none to a device that waits: an error in the log, and nothing in its way.
pub(super) fn readable<T>(row: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match row {
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "a row is taken for absent");
            Ok(None)
        }
        other => other,
    }
}

/// Whether an error may pass by itself, so that the device had better come again.
pub(super) fn passes(error: &Error) -> bool {
    error.is_conflict() || error.retry_after().is_some()
}

fn leave(enrollment: &mut Enrollment, now: Timestamp) {
    if enrollment.state != EnrollmentState::CheckedOut {
        enrollment.state = EnrollmentState::CheckedOut;
        enrollment.ended = Some(now);
    }
}
