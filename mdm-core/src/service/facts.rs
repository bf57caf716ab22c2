//! What a device says of itself, kept fresh: one that comes by, has nothing else to do and was not asked for a day is asked
//! again, and one that does not come is woken. What it answers to anybody's question is learned, whoever asked. Once it is asked for
//! its own Activation Lock bypass code, too: after its set-up, for nothing waits for that, and while it still gives it.

use std::time::Duration;

use uuid::Uuid;

use super::decision::{Decision, Tracked};
use super::{Mdm, Org};
use crate::activation_lock::device_gives_code_until;
use crate::apps;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::enrollment::{ChannelKind, Enrollment};
use crate::error::Error;
use crate::ids::{CommandId, DeviceId, OrganisationId};
use crate::job::Job;
use crate::original::{BY_DEVICE, MOST_ENTRIES, OriginalApp, OriginalFacts, Told};
use crate::queue::Command;
use crate::store::{Batch, StoreError};
use crate::wire::command::CommandBody;
use crate::wire::report::CommandReport;
use crate::wire::requests::{DeviceInformation, ManagedApplicationList, Query};

/// Namespace of the UUIDs of these commands.
const COMMANDS: Uuid = Uuid::from_u128(0x6d64_6d64_0000_4661_6374_0000_7300_0000);

/// Of the questions, that about apps.
const APPS: &str = "/apps";
/// Of the questions, that for the device's own bypass code.
const CODE: &str = "/bypass-code";
/// The code of one that was in no hold, or did not give it there, is asked for so long after it enrolled, if its facts are not
/// asked for sooner.
const CODE_AFTER: Duration = Duration::from_hours(24);
/// Devices that are looked at, and woken, at a time.
const PAGE: u32 = 500;

impl Mdm {
    /// Wakes devices of which we know nothing newer than their organisation wants, so that they come and can be asked. A push
    /// that is lost, or one too many, does no harm: the next round is some hours away.
    pub(super) async fn wake_the_forgotten(&self, now: Timestamp) -> Result<(), Error> {
        let mut after = OrganisationId(0);
        loop {
            let page = self.inner.store.organisations(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            for organisation in page {
                if organisation.push.is_some() {
                    self.handle(organisation).wake_stale(now).await?;
                }
            }
        }
    }
}

impl Org {
    async fn wake_stale(&self, now: Timestamp) -> Result<(), Error> {
        let hours = u64::from(self.organisation.settings.facts_hours);
        let stale = now - Duration::from_hours(hours);
        let mut after = DeviceId(0);
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            let mut batch = Batch::new();
            for device in &page {
                let old = hours > 0 && device.facts.learned.is_none_or(|at| at < stale);
                let old = old || self.owes_code(device, now).await?;
                if let Some(enrollment) = device.enrollment.filter(|_| old) {
                    batch.put(Job::push(self.id(), enrollment, now));
                }
            }
            if !batch.is_empty() {
                self.store().commit(batch).await?;
            }
        }
    }

    /// Whether it still gives its own bypass code, and was not asked for it, though it came a day ago.
    async fn owes_code(&self, device: &Device, now: Timestamp) -> Result<bool, Error> {
        // Whoever has told what it is since then was asked in the same session.
        let learned = device.facts.learned;
        let came =
            learned.filter(|at| *at + CODE_AFTER <= now && now < device_gives_code_until(*at));
        let (Some(_), Some(id)) = (came, device.enrollment) else {
            return Ok(false);
        };
        let enrollment = self.store().enrollment(self.id(), id).await?;
        Ok(enrollment.is_some_and(|it| {
            let later = it.enrolled.unwrap_or(it.authenticated) + CODE_AFTER;
            it.owes_code(later, now)
        }))
    }

    /// Puts a question to the device into its queue, if what we know of it is old; says whether it did.
    pub(super) fn ask_facts(&self, d: &mut Decision<'_>, enrollment: &Enrollment) -> bool {
        let hours = self.organisation.settings.facts_hours;
        let Some(since) = enrollment.asked_facts.or(enrollment.enrolled) else {
            return false;
        };
        let span = Duration::from_hours(u64::from(hours));
        let now = d.now;
        let old = hours > 0 && now.since(since) >= span;
        let code = code_until(enrollment, now);
        // Whoever wants to know nothing else of it needs its code all the same, and no device gives it for long.
        let settled = enrollment
            .enrolled
            .is_some_and(|enrolled| now.since(enrolled) >= CODE_AFTER);
        if enrollment.channel != ChannelKind::Device || !old && (code.is_none() || !settled) {
            return false;
        }
        let information: CommandBody = DeviceInformation::of([
            Query::SerialNumber,
            Query::ProductName,
            Query::DeviceName,
            Query::OsVersion,
            Query::BuildVersion,
        ])
        .into();
        let apps = CommandBody::ManagedApplicationList(ManagedApplicationList::of(&[]));
        // The next time it is asked anew.
        let mut questions = match old {
            true => vec![("", information, now + span), (APPS, apps, now + span)],
            false => Vec::new(),
        };
        if let Some(until) = code {
            questions.push((CODE, CommandBody::ActivationLockBypassCode, until));
        }
        for (what, body, expires) in questions {
            self.put_question(d, enrollment, (what, body), expires);
        }
        if let Some(row) = d.enrollment_mut(enrollment.id) {
            if old {
                row.asked_facts = Some(now);
            }
            if code.is_some() {
                row.asked_code = Some(now);
                row.code_refused = false;
            }
        }
        true
    }

    /// A device that has just heard that its hold is over gives its own code before its user can lock it: a code that is fetched
    /// after that does not open this lock.
    pub(super) fn ask_code(&self, d: &mut Decision<'_>, enrollment: &Enrollment) {
        let now = d.now;
        let until = code_until(enrollment, now);
        let (Some(until), ChannelKind::Device) = (until, &enrollment.channel) else {
            return;
        };
        let code = CommandBody::ActivationLockBypassCode;
        self.put_question(d, enrollment, (CODE, code), until);
        if let Some(row) = d.enrollment_mut(enrollment.id) {
            row.asked_code = Some(now);
        }
    }

    fn put_question(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        (what, body): (&str, CommandBody),
        expires: Timestamp,
    ) {
        let now = d.now;
        let id = CommandId(d.next_id());
        let uuid = uuid_of(enrollment, now, what);
        let bytes = body.encode(&uuid).to_vec();
        let mut command = Command::queued(
            self.id(),
            id,
            enrollment.id,
            uuid,
            body.request_type(),
            bytes,
            now,
        );
        command.expires = Some(expires);
        d.commands.insert(id, Tracked::new(command));
    }

    /// Keeps the list that a device gives of all its managed apps, when it was asked for all of them. It is what is known of them when it
    /// goes back, or comes again.
    async fn learn_apps(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
        command: &Command,
    ) -> Result<(), Error> {
        let asked = enrollment
            .asked_facts
            .map(|at| uuid_of(enrollment, at, APPS));
        // A person may have asked before the day is over.
        let whole = asked.as_deref() == Some(&command.uuid) || asks_for_all(command);
        let (Some(device), true) = (enrollment.device, whole) else {
            return Ok(());
        };
        let Some(states) = apps::managed_states(report) else {
            return Ok(());
        };
        let there = states.into_iter().filter(|(_, state)| state.is_taken_on());
        let mut value: Vec<OriginalApp> = there.map(|(id, _)| OriginalApp::new(&id)).collect();
        value.sort();
        value.truncate(MOST_ENTRIES);
        let known = match self.store().original(self.id(), device).await {
            // Refusing the report would make the device repeat it for ever, with everything behind it waiting.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "what the original told of a device cannot be read, and its apps are not kept");
                return Ok(());
            }
            known => known?,
        };
        let mut row = known.unwrap_or_else(|| OriginalFacts::new(self.id(), device));
        row.reported_apps = Some(Told {
            value,
            at: d.now,
            by: BY_DEVICE.to_owned(),
        });
        d.batch.put(row);
        Ok(())
    }

    /// Learns what an answer says of the device. An answer of another device than it should be teaches nothing.
    pub(super) async fn learn_facts(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
        command: &Command,
    ) -> Result<(), Error> {
        if enrollment.channel != ChannelKind::Device {
            return Ok(());
        }
        let (told, security) = match command.request_type.as_str() {
            "DeviceInformation" => (report.device_information(), None),
            "SecurityInfo" => (None, report.security_info()),
            "ManagedApplicationList" => {
                return self.learn_apps(d, enrollment, report, command).await;
            }
            _ => return Ok(()),
        };
        self.load_device_of(d, enrollment).await?;
        self.learn_lock(d, enrollment, report);
        let Some(device) = &mut d.device else {
            return Ok(());
        };
        let other = |serial: &String| serial != device.row.serial.as_str();
        let facts = &mut device.row.facts;
        if let Some(on) = security.and_then(|s| s.file_vault.enabled) {
            facts.filevault_on = Some(on);
        }
        if let Some(told) = told.filter(|t| !t.serial.as_ref().is_some_and(other)) {
            facts.learned = Some(d.now);
            for (fact, told) in [
                (&mut facts.product, told.product_name),
                (&mut facts.name, told.device_name),
                (&mut facts.os_version, told.os_version),
                (&mut facts.build, told.build_version),
            ] {
                if told.is_some() {
                    *fact = told;
                }
            }
        }
        Ok(())
    }
}

/// Until when it gives its own bypass code, where it is still to be asked for it.
fn code_until(enrollment: &Enrollment, now: Timestamp) -> Option<Timestamp> {
    let enrolled = enrollment.enrolled?;
    let until = device_gives_code_until(enrolled);
    (enrollment.owes_code(enrolled + CODE_AFTER, now) && now < until).then_some(until)
}

/// The device gave no code when it was asked for it: a day after it has come it is asked once more.
pub(super) fn note_no_code(d: &mut Decision<'_>, enrollment: &Enrollment, uuid: &str) {
    let asked = enrollment
        .asked_code
        .map(|at| uuid_of(enrollment, at, CODE));
    if asked.as_deref() == Some(uuid)
        && let Some(row) = d.enrollment_mut(enrollment.id)
    {
        row.code_refused = true;
    }
}

/// The UUID of a question of that moment; the same question asked twice is one command.
fn uuid_of(enrollment: &Enrollment, asked: Timestamp, what: &str) -> String {
    let name = format!("{}/{}{what}", enrollment.id, asked.as_millis());
    let uuid = Uuid::new_v5(&COMMANDS, name.as_bytes());
    uuid.hyphenated().to_string().to_ascii_uppercase()
}

/// Whether a command of a person asks for all managed apps, and not for some.
fn asks_for_all(command: &Command) -> bool {
    let asked = CommandBody::read(&command.body.0);
    let all = |asked: &ManagedApplicationList| asked.identifiers.as_ref().is_none_or(Vec::is_empty);
    command.origin.is_none()
        && matches!(asked, Ok(CommandBody::ManagedApplicationList(asked)) if all(&asked))
}
