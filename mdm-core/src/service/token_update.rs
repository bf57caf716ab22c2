//! TokenUpdate of device and user channels: completes a generation and only then voids what the one before it held.

use serde_json::json;

use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::login::{check_login, note_local_user};
use super::{Answer, Org, Speaker};
use crate::clock::Timestamp;
use crate::ddm::own;
use crate::enrollment::{ChannelKind, Enrollment, EnrollmentState, PushTarget};
use crate::error::Error;
use crate::ids::{DeviceId, EnrollmentId, SecretId};
use crate::job::JobKind;
use crate::migration::{Event, advance_set_up, advance_unreadable};
use crate::secret::SecretKind;
use crate::wire::checkin::{self, Channel};

/// How many user channels one enrolment may have: far more than people on a device, and a bound all the same.
const MAX_USERS: usize = 1_000;

/// More open commands than any channel has. Whoever takes back commands must see all of them.
pub(super) const ALL_COMMANDS: u32 = 1_000_000;

impl Org {
    pub(super) async fn device_token_update(
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
        self.note_heard(current.device);
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        d.seen.clone_from(&speaker.seen);
        // Also after a CheckOut that came between: what is older is not void before this.
        let first = current.enrolled.is_none();
        let id = current.id;
        self.load_device_side(&mut d, &current).await?;
        d.track(current.clone());

        let target = PushTarget {
            topic: m.topic.clone(),
            token: hex(&m.token),
            magic: m.push_magic.clone(),
            since: now,
        };
        let renewed = current.pending_certificate.as_deref() == Some(speaker.sha256.as_str());
        if renewed {
            // The renewal is complete: from here on the new identity alone speaks.
            self.replace_identities(&mut d, &current, &speaker.sha256)
                .await?;
        }
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
            // Also the same token: it was good at this moment, whatever was said of it before.
            enrollment.push = Some(target);
            enrollment.unlock_token = unlock.or(enrollment.unlock_token);
            if m.awaiting_configuration.is_some() {
                enrollment.awaiting = m.awaiting_configuration;
            }
            enrollment.enrolled = enrollment.enrolled.or(Some(now));
            if renewed {
                enrollment.certificates = vec![speaker.sha256.clone()];
                enrollment.pending_certificate = None;
            }
        }
        // Also when it comes back after a CheckOut: this channel is the device's again.
        if let Some(device) = &mut d.device {
            device.row.enrollment = Some(id);
        }
        if (first || !current.is_live())
            && let Some(device) = current.device
        {
            // Whether anything is declared to it, the job finds out: an enrolment never waits for that. One that comes back
            // after a CheckOut has deleted what it had.
            d.job(now, JobKind::DeclareOf { device });
        }
        let system = d
            .device
            .as_ref()
            .and_then(|d| d.row.facts.os_version.as_deref());
        if m.awaiting_configuration == Some(true) && own::tells_of_holds(system) {
            // The end of its hold is seen by what it says of itself, too.
            d.own.channel = Some(id);
            d.own.items.insert(own::AWAITING.to_owned());
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
            self.supersede_older(&mut d, &older, id, &speaker.sha256)
                .await?;
            if let Some(tagged) = d.device.as_ref().filter(|d| {
                // Either may be what the library goes by.
                !d.row.tags.is_empty() || !d.row.groups.is_empty()
            }) {
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
                // Its set-up is over (it checked out, or was restored from a backup of itself, and came back without a new
                // Authenticate), and yet it waits: nobody else would ever end that hold. What it had of us may be gone.
                d.release_without_set_up(id);
                d.audit("enrolment.waits-again", json!({ "enrolment": id }));
                if let Some(device) = current.device {
                    d.job(now, JobKind::DeclareOf { device });
                    d.job(now, JobKind::LibraryOf { device });
                }
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
        speaks: &str,
    ) -> Result<(), Error> {
        let now = d.now;
        for old in known.iter().filter(|e| e.id != new) {
            self.replace_identities(d, old, speaks).await?;
            for user in self.store().user_channels(self.id(), old.id).await? {
                self.void_commands(d, user.id).await?;
                self.end_declarations(d, user.id).await?;
                let mut tracked = Tracked::read(user);
                void(&mut tracked.row, now);
                d.enrollments.insert(tracked.row.id, tracked);
            }
            self.void_commands(d, old.id).await?;
            self.end_declarations(d, old.id).await?;
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

    /// Marks the identities of an enrolment as replaced, but for the one that speaks: without its row an Authenticate under
    /// them would begin a generation of their own.
    async fn replace_identities(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        speaks: &str,
    ) -> Result<(), Error> {
        let announced = &enrollment.pending_certificate;
        for sha256 in enrollment.certificates.iter().chain(announced) {
            if sha256 == speaks {
                continue;
            }
            let found = self.store().certificate_by_hash(self.id(), sha256).await?;
            if let Some(mut row) = found.filter(|row| row.replaced.is_none()) {
                row.replaced = Some(d.now);
                row.renew_at = None;
                d.batch.put(row);
            }
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
    pub(super) async fn end_superseded_set_up(
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
    pub(super) async fn replace_secret(
        &self,
        d: &mut Decision<'_>,
        held: SecretId,
    ) -> Result<(), Error> {
        if let Some(row) = self.store().secret(self.id(), held).await? {
            let mut tracked = Tracked::read(row);
            tracked.row.replaced = tracked.row.replaced.or(Some(d.now));
            d.secrets.insert(held, tracked);
        }
        Ok(())
    }

    pub(super) async fn user_token_update(
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
        check_login(self.organisation.settings.user_logins, &parent, channel)?;
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
        let was_away = !row.is_live();
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
        if was_away && let Some(device) = parent.device {
            d.job(now, JobKind::DeclareOf { device });
        }
        d.enrollments.insert(id, tracked);
        let (device_channel, device) = (parent.id, parent.device);
        d.track(parent);
        let mut is_local = true;
        if let Some(device) = d.enrollment_mut(device_channel) {
            note_local_user(device, channel);
            is_local = device.local_user.is_none() || device.local_user == channel.user;
        }
        if is_new {
            d.audit("enrolment.user-channel", json!({ "enrolment": id }));
        }
        // A network user who logs in is not the one whom the Mac had before.
        if is_new && is_local {
            let is_other = match device {
                Some(device) => self.is_another_user(device, channel).await?,
                None => false,
            };
            d.tell_set_up(&Event::UserEnrolled);
            if let Some(set_up) = &mut d.set_up {
                set_up.row.user_is_other = is_other;
            }
        }
        self.commit(d).await?;
        Ok(Answer::Empty)
    }
}

impl Org {
    /// Whether the service that the device left had told another user of it, by the short name.
    async fn is_another_user(&self, device: DeviceId, channel: &Channel) -> Result<bool, Error> {
        let Some(name) = &channel.short_name else {
            return Ok(false);
        };
        let told = readable(self.store().original(self.id(), device).await)?;
        let told = told.and_then(|told| told.managed_user);
        Ok(told.is_some_and(|user| {
            !user.value.name.is_empty() && !user.value.name.eq_ignore_ascii_case(name)
        }))
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        })
}
