//! Authenticate: a device begins a new generation beside the one that is there. Voids nothing: that is for the TokenUpdate
//! which completes it.

use serde_json::json;

use super::account;
use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::{Answer, Org, Speaker};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrollment::{ChannelKind, EnrolSession, Enrollment, EnrollmentState};
use crate::error::Error;
use crate::ids::{EnrollmentId, Serial, SetUpId};
use crate::migration::{Attention, Move, SetUp, VerdictFacts, VerdictKind, judge};
use crate::organisation::IdentityProtocol;
use crate::wire::checkin::{self};

impl Org {
    /// An identity that was issued for an attested device speaks for no other UDID. A Mac is attested under another one than that
    /// of its check-ins; an invitation may have been given out without any.
    async fn check_attested(
        &self,
        speaker: &Speaker,
        session: &EnrolSession,
        udid: &str,
    ) -> Result<(), Error> {
        let Some(id) = session
            .certificate
            .filter(|_| session.protocol != IdentityProtocol::Scep)
        else {
            return Ok(());
        };
        let row = readable(self.store().certificate(self.id(), id).await)?;
        let attested = row.and_then(|row| row.attested).and_then(|it| it.udid);
        let Some(attested) = attested.filter(|it| !it.eq_ignore_ascii_case(udid)) else {
            return Ok(());
        };
        let device = self.device_of_session(speaker, session).await?;
        if device
            .and_then(|it| it.platform())
            .is_some_and(Platform::is_mac)
        {
            return Ok(());
        }
        tracing::warn!(organisation = %self.id(), session = %session.id, attested, "another UDID than the attested one");
        Err(Error::bad_input(
            "Authenticate: UDID",
            "is not the one that was attested",
        ))
    }

    pub(super) async fn authenticate(
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
        self.check_attested(speaker, &session, &key).await?;

        // An invitation proves no UDID. Whoever holds one may not take the place of another device.
        let others = |e: &Enrollment| {
            let stands = matches!(
                e.state,
                EnrollmentState::Pending | EnrollmentState::Enrolled
            );
            stands && e.device.is_some() && e.device != session.device
        };
        if session.udid.is_none() && known.iter().any(others) {
            return Err(Error::Refused("this UDID is another device's"));
        }
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

        let device = self.device_of_session(speaker, &session).await?;
        let platform = platform_of(m, device.as_ref());
        let attempt = match device.as_ref().and_then(|dev| dev.open_move) {
            Some(open) => self.attempt_seen(speaker.seen.as_deref(), open).await?,
            None => None,
        };
        // Later generations have larger ids, also after a restart with a clock that was set back.
        let earlier = known
            .iter()
            .map(|e| e.id.0)
            .chain(device.as_ref().and_then(|dev| dev.enrollment).map(|e| e.0))
            .chain(attempt.as_ref().and_then(Move::set_up).map(|s| s.0));
        earlier.for_each(|id| self.ids().past(id));
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
        if let Some(person) = &speaker.account {
            account::begin(&mut d.batch, &mut enrollment, person);
        }
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
        d.set_up_plan.clone_from(&plan);
        set_up.tags = Self::tags_of(&d);
        if let Some(device) = d.device.as_ref().map(|device| &device.row)
            && attempt_id.is_none()
            && set_up.verdict.kind != VerdictKind::Ordinary
        {
            let told = device.reading.as_ref().and_then(|r| r.deadline);
            let shown = device.record.as_ref().and_then(|r| r.deadline);
            set_up.deadlines.extend(told.into_iter().chain(shown));
        }
        set_up.user_expected = self.expects_user(&set_up).await?;
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
        let evidence = json!({ "message": "Authenticate", "enrolment": id });
        d.take_set_up(&before, set_up, Vec::new(), "authenticate", evidence);
        self.commit(d).await?;
        Ok(Answer::Empty)
    }
}

impl Org {
    /// Whether a Mac that migrates had a local user whose account the service that it left managed: that user's channel is part of the
    /// proof.
    async fn expects_user(&self, set_up: &SetUp) -> Result<bool, Error> {
        let migrates = set_up.move_id.is_some() && set_up.platform.is_mac();
        let Some(device) = set_up.device.filter(|_| migrates) else {
            return Ok(false);
        };
        let original = super::checkin::readable(self.store().original(self.id(), device).await)?;
        let user = original.and_then(|o| o.managed_user);
        Ok(user.is_some_and(|told| !told.value.name.is_empty()))
    }
}

/// An Authenticate must name the device that the session was given to.
fn check_session(session: &EnrolSession, serial: Option<&str>, udid: &str) -> Result<(), Error> {
    // Who asked for the profile by machine information has its UDID in the session, too. An invitation has only the serial
    // number: silence about it would let it pass for any device.
    let told = serial.map(|told| Serial::parse(told).ok());
    let other = match (&session.serial, &told) {
        (Some(expected), Some(told)) => told.as_ref() != Some(expected),
        (Some(_), None) => session.udid.is_none(),
        (None, _) => false,
    };
    if other {
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
