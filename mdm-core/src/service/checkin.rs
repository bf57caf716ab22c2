//! Check-ins: from Authenticate to CheckOut. One message, one decision, one commit; nothing leaves the building here.

use serde_json::json;

use super::decision::{Decision, Tracked};
use super::login::check_login;
use super::{Answer, Org, Speaker};
use crate::bootstrap_token::{self, Deposit};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrollment::{ChannelKind, EnrolSession, Enrollment, EnrollmentState, PushTarget};
use crate::error::Error;
use crate::ids::{DeviceId, EnrollmentId, SecretId, Serial, SetUpId};
use crate::job::JobKind;
use crate::migration::{
    Attention, Event, SetUp, VerdictFacts, advance_set_up, advance_unreadable, judge,
};
use crate::secret::{Secret, SecretKind};
use crate::store::StoreError;
use crate::wire::checkin::{self, CheckIn};

/// How many user channels one enrolment may have: far more than people on a device, and a bound all the same.
const MAX_USERS: usize = 1_000;

/// More open commands than any channel has. Whoever takes back commands must see all of them.
pub(super) const ALL_COMMANDS: u32 = 1_000_000;

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
            CheckIn::DeclarativeManagement(m) => {
                let enrollment = self
                    .enrolled_device(speaker, m.envelope.channel.device_key().as_str())
                    .await?;
                check_login(&enrollment, &m.envelope.channel)?;
                if m.endpoint == "status" && m.envelope.channel.is_device() {
                    let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "device");
                    d.seen.clone_from(&speaker.seen);
                    self.load_device_side(&mut d, &enrollment).await?;
                    d.track(enrollment);
                    d.tell_set_up(&Event::StatusReported);
                    self.commit(d).await?;
                }
                declarative(&m.endpoint, self.now())
            }
            CheckIn::GetToken(m) => self.get_token(speaker, m).await,
            CheckIn::ReturnToService(_) => Err(Error::bad_input(
                "check-in: MessageType",
                "ReturnToService is not offered",
            )),
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

    async fn authenticate(
        &self,
        speaker: &Speaker,
        m: &checkin::Authenticate,
    ) -> Result<Answer, Error> {
        let now = self.now();
        let channel = &m.envelope.channel;
        if !channel.is_device() {
            return Err(Error::bad_input(
                "Authenticate: UserID",
                "only a device authenticates",
            ));
        }
        self.check_topic("Authenticate: Topic", &m.topic)?;
        let key = channel.key().as_str().to_owned();
        let known = self.channels(speaker, &key).await?;
        let (session, adopted) = self.session_of(speaker).await?;
        check_session(&session, m.serial.as_deref(), &key)?;

        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        let mut used = Tracked::read(session.clone());
        // The spelling of the first Authenticate is the one that counts: one certificate is one channel.
        if let Some(spelt) = session.udid.as_ref().filter(|spelt| **spelt != key) {
            let others = self.store().enrollments_by_key(self.id(), spelt).await?;
            if others.iter().any(|e| e.knows(&speaker.sha256)) {
                return Err(Error::Refused(
                    "this certificate speaks for another spelling of this UDID",
                ));
            }
            used.row.udid = Some(key.clone());
        }
        if session.udid.is_none() {
            used.row.udid = Some(key.clone());
        }
        if let Some(row) = adopted {
            d.audit(
                "identity.adopted",
                json!({ "certificate": row.sha256, "not_after": row.not_after }),
            );
            used.row.certificate = Some(row.id);
            used.row.used_by = Some(("elsewhere".to_owned(), row.sha256.clone()));
            d.batch.put(row);
        }
        d.sessions.push(used);
        if known.iter().any(|e| e.knows(&speaker.sha256)) {
            // The same certificate again: a repeat of a message that we have answered already.
            return Ok(Answer::Empty);
        }
        if let Some(renewed) = session.renews {
            let Some(enrollment) = known.into_iter().find(|e| e.id == renewed) else {
                return Err(Error::Refused(
                    "the enrolment that this identity renews is not this device's",
                ));
            };
            // A renewal voids nothing: the new certificate is good beside the old one until its TokenUpdate.
            let mut tracked = Tracked::read(enrollment);
            tracked.row.pending_certificate = Some(speaker.sha256.clone());
            d.enrollments.insert(tracked.row.id, tracked);
            d.audit(
                "identity.renewal-announced",
                json!({ "certificate": speaker.sha256 }),
            );
            self.commit(d).await?;
            return Ok(Answer::Empty);
        }

        let id = EnrollmentId(d.next_id());
        let mut enrollment = Enrollment::pending(
            self.id(),
            id,
            key,
            ChannelKind::Device,
            speaker.sha256.clone(),
            now,
        );
        enrollment.session = Some(session.id);
        enrollment.device = session.device;
        enrollment.serial = session.serial.clone();
        enrollment.awaiting = session.awaits;
        for old in known {
            if old.state == EnrollmentState::Pending {
                // It never completed: the device rolled its profile back and begins anew. Nobody will hear of it again,
                // so its set-up ends here.
                self.end_superseded_set_up(&mut d, old.id).await?;
                let mut tracked = Tracked::read(old);
                tracked.row.state = EnrollmentState::Superseded;
                tracked.row.ended = Some(now);
                d.enrollments.insert(tracked.row.id, tracked);
            } else {
                d.track(old);
            }
        }
        let device = self.device_of_session(speaker, &session).await?;
        let platform = platform_of(m, device.as_ref());
        let attempt = match device.as_ref().and_then(|dev| dev.open_move) {
            Some(open) => self.attempt_seen(speaker.seen.as_deref(), open).await?,
            None => None,
        };
        let verdict = judge(VerdictFacts {
            device: device.as_ref(),
            open_attempt: attempt.is_some(),
        });
        let (runbook, plan) = self
            .runbook_for(attempt.as_ref(), platform, verdict.kind.variant())
            .await?;
        let attempt_id = attempt.as_ref().map(|a| a.id);
        if let Some(device) = device {
            let mut tracked = Tracked::read(device);
            learn(&mut tracked.row, m, now);
            d.device = Some(tracked);
        }
        if let Some(attempt) = attempt
            && let Some(plan) = self.readable_plan_of(&attempt).await?
        {
            d.attempt_plan = Some(plan);
            d.attempt = Some(Tracked::read(attempt));
        }
        let mut set_up = SetUp::begin(
            self.id(),
            SetUpId(d.next_id()),
            &enrollment,
            platform,
            attempt_id,
            runbook,
            verdict,
            now,
        );
        if plan.is_none() {
            // It enrols all the same: its hold lasts until its ceiling, and a person has that long to mend the runbook.
            set_up.attention = Some(Attention::RunbookUnreadable);
        }
        d.audit(
            "enrolment.authenticated",
            json!({ "enrolment": id, "verdict": set_up.verdict, "os": m.os_version, "product": m.product_name }),
        );
        let before = set_up.clone();
        d.set_up_plan = plan;
        d.set_up = Some(Tracked::new(set_up.clone()));
        d.enrollments.insert(id, Tracked::new(enrollment));
        d.take_set_up(&before, set_up, Vec::new(), "authenticate");
        self.commit(d).await?;
        Ok(Answer::Empty)
    }

    async fn device_token_update(
        &self,
        speaker: &Speaker,
        m: &checkin::TokenUpdate,
    ) -> Result<Answer, Error> {
        let now = self.now();
        self.check_topic("TokenUpdate: Topic", &m.topic)?;
        let key = m.envelope.channel.key().as_str().to_owned();
        let known = self.channels(speaker, &key).await?;
        let Some(current) = known
            .iter()
            .find(|e| e.parent.is_none() && e.knows(&speaker.sha256))
            .cloned()
        else {
            return Err(Error::Refused(
                "TokenUpdate of a device that has not authenticated with this certificate",
            ));
        };
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        d.seen.clone_from(&speaker.seen);
        let first = current.state == EnrollmentState::Pending;
        let id = current.id;
        self.load_device_side(&mut d, &current).await?;
        d.track(current.clone());

        let target = PushTarget {
            topic: m.topic.clone(),
            token: hex(&m.token),
            magic: m.push_magic.clone(),
            since: now,
        };
        let unlock = match &m.unlock_token {
            // A missing one does not invalidate what we hold.
            Some(token) if !token.is_empty() => Some(
                self.keep_secret(
                    &mut d,
                    current.unlock_token,
                    SecretKind::UnlockToken,
                    current.device,
                    token,
                )
                .await?,
            ),
            _ => None,
        };
        if let Some(enrollment) = d.enrollment_mut(id) {
            enrollment.state = EnrollmentState::Enrolled;
            enrollment.ended = None;
            enrollment.push_dead_since = None;
            let unchanged = enrollment.push.as_ref().is_some_and(|p| {
                p.topic == target.topic && p.token == target.token && p.magic == target.magic
            });
            if !unchanged {
                enrollment.push = Some(target);
            }
            enrollment.unlock_token = unlock.or(enrollment.unlock_token);
            if m.awaiting_configuration.is_some() {
                enrollment.awaiting = m.awaiting_configuration;
            }
            enrollment.enrolled = enrollment.enrolled.or(Some(now));
            if enrollment.pending_certificate.as_deref() == Some(speaker.sha256.as_str()) {
                // The renewal is complete: from here on the new identity alone speaks.
                enrollment.certificates = vec![speaker.sha256.clone()];
                enrollment.pending_certificate = None;
            }
        }
        // Also when it comes back after a CheckOut: this channel is the device's again.
        if let Some(device) = &mut d.device {
            device.row.enrollment = Some(id);
        }
        if first {
            let mut older = known;
            if let Some(device) = current.device {
                // A device whose UDID has changed (a new logic board) leaves no second channel behind.
                let all = self.generations_of(speaker, device).await?;
                older.extend(all.into_iter().filter(|e| {
                    e.parent.is_none()
                        && e.key != current.key
                        && e.state != EnrollmentState::Superseded
                }));
            }
            self.supersede_older(&mut d, &older, id).await?;
            if let Some(tagged) = d.device.as_ref().filter(|d| !d.row.tags.is_empty()) {
                let device = tagged.row.id;
                d.job(now, JobKind::LibraryOf { device });
            }
            let profile_awaits = self.session_awaits(speaker, &current).await?;
            d.audit(
                "enrolment.completed",
                json!({ "enrolment": id, "awaiting": m.awaiting_configuration }),
            );
            d.tell_set_up(&Event::Enrolled {
                awaiting: m.awaiting_configuration,
                profile_awaits,
            });
        } else if let Some(awaiting) = m.awaiting_configuration {
            let ended = d.set_up.as_ref().is_some_and(|s| s.row.is_ended());
            d.tell_set_up(&Event::AwaitingTold { awaiting });
            if awaiting && ended {
                // Its set-up is over (it checked out, and came back without a new Authenticate), and yet it waits: nobody
                // else would ever end that hold.
                d.release_without_set_up(id);
            }
        }
        self.commit(d).await?;
        Ok(Answer::Empty)
    }

    /// Everything that belonged to older generations is void from the first TokenUpdate of the new one on, and no earlier.
    async fn supersede_older(
        &self,
        d: &mut Decision<'_>,
        known: &[Enrollment],
        new: EnrollmentId,
    ) -> Result<(), Error> {
        let now = d.now;
        for old in known.iter().filter(|e| e.id != new) {
            for user in self.store().user_channels(self.id(), old.id).await? {
                self.void_commands(d, user.id).await?;
                let mut tracked = Tracked::read(user);
                void(&mut tracked.row, now);
                d.enrollments.insert(tracked.row.id, tracked);
            }
            self.void_commands(d, old.id).await?;
            for secret in [old.bootstrap_token, old.unlock_token]
                .into_iter()
                .flatten()
            {
                self.replace_secret(d, secret).await?;
            }
            self.end_superseded_set_up(d, old.id).await?;
            let mut tracked = Tracked::read(old.clone());
            void(&mut tracked.row, now);
            d.enrollments.insert(old.id, tracked);
        }
        Ok(())
    }

    /// Takes every open command of a channel out of its queue.
    async fn void_commands(
        &self,
        d: &mut Decision<'_>,
        channel: EnrollmentId,
    ) -> Result<(), Error> {
        for command in self
            .store()
            .open_commands(self.id(), channel, ALL_COMMANDS)
            .await?
        {
            let mut tracked = Tracked::read(command);
            tracked.row.state = crate::queue::CommandState::Cancelled;
            tracked.row.settled = Some(d.now);
            d.commands.insert(tracked.row.id, tracked);
        }
        Ok(())
    }

    /// Its own small decision, merged: the older set-up ends, and its Move hears only of the newer one.
    async fn end_superseded_set_up(
        &self,
        d: &mut Decision<'_>,
        old: EnrollmentId,
    ) -> Result<(), Error> {
        let Some(set_up) = self.store().set_up_of(self.id(), old).await? else {
            return Ok(());
        };
        // That its runbook cannot be read must not keep the device from completing its new enrolment.
        let transition = match self.readable_plan(&set_up).await {
            Some(plan) => advance_set_up(&set_up, &plan, &Event::Superseded, d.now),
            None => advance_unreadable(&set_up, &Event::Superseded, d.now),
        };
        if transition.next != set_up {
            d.batch.put(transition.next);
        }
        Ok(())
    }

    /// Marks a secret as one that has had its day; it stays in the vault.
    async fn replace_secret(&self, d: &mut Decision<'_>, held: SecretId) -> Result<(), Error> {
        if let Some(row) = self.store().secret(self.id(), held).await? {
            let mut tracked = Tracked::read(row);
            tracked.row.replaced = tracked.row.replaced.or(Some(d.now));
            d.secrets.insert(held, tracked);
        }
        Ok(())
    }

    async fn user_token_update(
        &self,
        speaker: &Speaker,
        m: &checkin::TokenUpdate,
    ) -> Result<Answer, Error> {
        let now = self.now();
        self.check_topic("TokenUpdate: Topic", &m.topic)?;
        let channel = &m.envelope.channel;
        let parent = self
            .enrolled_device(speaker, channel.device_key().as_str())
            .await?;
        check_login(&parent, channel)?;
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        self.load_device_side(&mut d, &parent).await?;
        let key = channel.key().as_str().to_owned();
        let users = self.store().user_channels(self.id(), parent.id).await?;
        let count = users.len();
        let existing = users.into_iter().find(|e| e.key == key);
        if existing.is_none() && count >= MAX_USERS {
            return Err(Error::bad_input(
                "TokenUpdate: UserID",
                "is one more than the user channels that a device may have",
            ));
        }
        let is_new = existing.is_none();
        let mut tracked = match existing {
            Some(row) => Tracked::read(row),
            None => {
                let kind = ChannelKind::User {
                    short_name: channel.short_name.clone(),
                    long_name: channel.long_name.clone(),
                };
                let mut row = Enrollment::pending(
                    self.id(),
                    EnrollmentId(d.next_id()),
                    key,
                    kind,
                    speaker.sha256.clone(),
                    now,
                );
                row.parent = Some(parent.id);
                row.device = parent.device;
                row.serial.clone_from(&parent.serial);
                Tracked::new(row)
            }
        };
        let row = &mut tracked.row;
        row.state = EnrollmentState::Enrolled;
        row.enrolled = row.enrolled.or(Some(now));
        row.ended = None;
        row.push_dead_since = None;
        row.push = Some(PushTarget {
            topic: m.topic.clone(),
            token: hex(&m.token),
            magic: m.push_magic.clone(),
            since: now,
        });
        let id = row.id;
        d.enrollments.insert(id, tracked);
        d.track(parent);
        if is_new {
            d.audit("enrolment.user-channel", json!({ "enrolment": id }));
            d.tell_set_up(&Event::UserEnrolled);
        }
        self.commit(d).await?;
        Ok(Answer::Empty)
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
            d.enrollments.insert(tracked.row.id, tracked);
        }
        let already = enrollment.state == EnrollmentState::CheckedOut;
        let id = enrollment.id;
        let mut tracked = Tracked::read(enrollment);
        leave(&mut tracked.row, now);
        d.enrollments.insert(id, tracked);
        if let Some(device) = &mut d.device
            && device.row.enrollment == Some(id)
        {
            device.row.enrollment = None;
        }
        if !already {
            d.audit("enrolment.checked-out", json!({ "enrolment": id }));
            d.tell_set_up(&Event::CheckedOut);
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

    /// The device-channel enrolment that this certificate may speak for, whatever its state.
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
            // For the log of a host whose span around the request has such a field: also when nothing is written.
            tracing::Span::current().record("serial", tracing::field::display(serial));
        }
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
        let id = SecretId(d.next_id());
        let row = self.seal(id, kind, device, secret, d.now).await?;
        d.secrets.insert(id, Tracked::new(row));
        Ok(id)
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

    fn check_topic(&self, field: &str, topic: &str) -> Result<(), Error> {
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

/// An Authenticate must name the device that the session was given to.
fn check_session(session: &EnrolSession, serial: Option<&str>, udid: &str) -> Result<(), Error> {
    if let (Some(expected), Some(told)) = (&session.serial, serial)
        && Serial::parse(told).ok().as_ref() != Some(expected)
    {
        return Err(Error::bad_input(
            "Authenticate: SerialNumber",
            "is not the one that the enrolment profile was given to",
        ));
    }
    if let Some(expected) = &session.udid
        && !expected.eq_ignore_ascii_case(udid)
    {
        return Err(Error::bad_input(
            "Authenticate: UDID",
            "is not the one that the enrolment profile was given to",
        ));
    }
    Ok(())
}

fn platform_of(m: &checkin::Authenticate, device: Option<&Device>) -> Platform {
    m.product_name
        .as_deref()
        .and_then(Platform::of_product)
        .or_else(|| device.and_then(Device::platform))
        // Only a Mac must send its name in Authenticate.
        .unwrap_or(if m.device_name.is_some() {
            Platform::Macos
        } else {
            Platform::Ios
        })
}

fn learn(device: &mut Device, m: &checkin::Authenticate, now: Timestamp) {
    let facts = &mut device.facts;
    facts.learned = Some(now);
    facts.udid = Some(m.envelope.channel.device.clone());
    for (fact, told) in [
        (&mut facts.product, &m.product_name),
        (&mut facts.os_version, &m.os_version),
        (&mut facts.build, &m.build_version),
        (&mut facts.name, &m.device_name),
    ] {
        if told.is_some() {
            fact.clone_from(told);
        }
    }
}

fn void(enrollment: &mut Enrollment, now: Timestamp) {
    enrollment.state = EnrollmentState::Superseded;
    enrollment.ended = enrollment.ended.or(Some(now));
    enrollment.push = None;
    enrollment.bootstrap_token = None;
    enrollment.unlock_token = None;
    enrollment.pending_certificate = None;
}

fn leave(enrollment: &mut Enrollment, now: Timestamp) {
    if enrollment.state != EnrollmentState::CheckedOut {
        enrollment.state = EnrollmentState::CheckedOut;
        enrollment.ended = Some(now);
    }
}

/// Declarations of a channel that has none. An answer of *not found* would delete a declaration, so it is given only for
/// a declaration that certainly does not exist.
fn declarative(endpoint: &str, now: Timestamp) -> Result<Answer, Error> {
    const NONE: &str = "none";
    let body = match endpoint {
        "tokens" => json!({ "SyncTokens": { "DeclarationsToken": NONE, "Timestamp": now } }),
        "declaration-items" => json!({
            "DeclarationsToken": NONE,
            "Declarations": { "Activations": [], "Assets": [], "Configurations": [], "Management": [] },
        }),
        "status" => return Ok(Answer::Empty),
        other if other.starts_with("declaration/") => return Ok(Answer::NoSuchDeclaration),
        _ => {
            return Err(Error::bad_input(
                "DeclarativeManagement: Endpoint",
                "is none that the protocol knows",
            ));
        }
    };
    Ok(Answer::Json(body.to_string().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
}
