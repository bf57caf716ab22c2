//! Command reports: settle the command, lift the secrets out, tell the machines, hand out the next command. One commit.

use std::collections::BTreeSet;

use serde_json::json;

use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::declarations::declared_apps;
use super::door::QUEUE_WINDOW;
use super::facts::note_no_code;
use super::login::check_login;
use super::token_update::ALL_COMMANDS;
use super::{Answer, Org, Speaker};
use crate::activation_lock;
use crate::app_state::{AppState, is_same_app};
use crate::apps;
use crate::audit::Refusal;
use crate::ddm::own;
use crate::device::Platform;
use crate::enrollment::{ChannelKind, Enrollment};
use crate::error::Error;
use crate::ids::{CommandId, EnrollmentId, RefusalId, SecretId};
use crate::migration::{AppReading, Event, KeyReading, SetUp, StepId, Told};
use crate::queue::{self, Command, CommandOrigin, ReportStatus};
use crate::secret::SecretKind;
use crate::store::StoreError;
use crate::wire::report::{CommandReport, Status};

impl Org {
    /// Decides on one report and commits it. The identity of the speaker is proved already.
    pub(super) async fn decide_report(
        &self,
        speaker: &Speaker,
        report: &CommandReport,
    ) -> Result<Answer, Error> {
        let device = self
            .known_device(speaker, report.channel.device_key().as_str())
            .await?;
        let enrollment = if report.channel.is_device() {
            device
        } else {
            check_login(
                self.organisation.settings.user_logins,
                &device,
                &report.channel,
            )?;
            let key = report.channel.key();
            let users = self.store().user_channels(self.id(), device.id).await?;
            users
                .into_iter()
                .find(|u| u.key == key.as_str())
                .ok_or(Error::Refused("this user channel has not enrolled"))?
        };
        let now = self.now();
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        d.in_session = Some(enrollment.id);
        // Whatever is written here rests on this channel still being the one that it was.
        d.track(enrollment.clone());
        d.load_commands(self.queue_of(speaker, &enrollment).await?);
        if let (Some(status), Some(uuid)) = (status_of(report.status), &report.command_uuid) {
            self.settle(&mut d, &enrollment, report, status, uuid)
                .await?;
        }
        let answer = if enrollment.is_live() {
            let not_now = report.status == Status::NotNow;
            if d.expire_commands() && d.commands.len() >= QUEUE_WINDOW as usize {
                // What is over may have hidden what is not.
                self.load_queue(&mut d, enrollment.id, ALL_COMMANDS).await?;
                d.expire_commands();
            }
            if report.status == Status::Idle {
                self.note_unanswered(&mut d, &enrollment).await?;
            }
            self.before_release(&mut d, &enrollment, not_now).await?;
            match self.hand_out(&mut d, not_now).await {
                Answer::Empty if !not_now && self.ask_facts(&mut d, &enrollment) => {
                    self.hand_out(&mut d, not_now).await
                }
                answer => answer,
            }
        } else {
            // Between Authenticate and TokenUpdate, and after CheckOut, nothing is delivered.
            Answer::Empty
        };
        self.commit(d).await?;
        Ok(answer)
    }

    /// The next command as the answer; it is marked as sent in the same commit. One whose body does not open stays where it
    /// is, for its step's time to judge, and keeps nothing behind it.
    async fn hand_out(&self, d: &mut Decision<'_>, answering_not_now: bool) -> Answer {
        let mut shut = BTreeSet::new();
        while let Some(id) = choose(d, answering_not_now, &shut) {
            let now = d.now;
            let Some(tracked) = d.commands.get_mut(&id) else {
                break;
            };
            match self.open_command(&tracked.row).await {
                Ok(bytes) => {
                    tracked.row.hand_out(now);
                    return Answer::Plist(bytes);
                }
                Err(error) => {
                    tracing::error!(organisation = %self.id(), command = %id, %error, "a command cannot be opened and is not handed out");
                    shut.insert(id);
                }
            }
        }
        Answer::Empty
    }

    /// The device asks for commands: what it was handed a while ago and has not answered gives way to the rest. A step that it
    /// leaves without an answer again and again hears of that.
    async fn note_unanswered(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<(), Error> {
        let now = d.now;
        let mut mute = Vec::new();
        for tracked in d.commands.values_mut() {
            if tracked.row.pass_over(now) {
                mute.extend(tracked.row.origin.clone());
            }
        }
        if mute.is_empty() {
            return Ok(());
        }
        if d.set_up.is_none() {
            self.load_readable_side(d, enrollment).await?;
        }
        for origin in mute {
            if d.set_up.as_ref().map(|s| s.row.id) == Some(origin.set_up) {
                d.tell_set_up(&Event::Unanswered {
                    step: origin.step,
                    part: origin.part,
                    attempt: origin.attempt,
                });
            }
        }
        Ok(())
    }

    /// Tells a set-up that its release would go out now: something may have to go before it.
    async fn before_release(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        answering_not_now: bool,
    ) -> Result<(), Error> {
        let open = d.commands.values().map(|c| &c.row);
        let release = queue::next(open, answering_not_now, d.now)
            .and_then(|c| c.origin.as_ref())
            .filter(|o| o.step == StepId::Release)
            .map(|o| o.set_up);
        let Some(set_up) = release else { return Ok(()) };
        if d.set_up.is_none() {
            self.load_readable_side(d, enrollment).await?;
        }
        let row = d.set_up.as_ref().map(|s| &s.row);
        if row.is_some_and(|s| s.id == set_up && s.last_chance.is_some()) {
            d.tell_set_up(&Event::BeforeRelease);
        }
        let now = d.now;
        if d.set_up.as_ref().is_some_and(|s| s.row.release_yields(now))
            && d.commands.len() >= QUEUE_WINDOW as usize
        {
            // What only the hold can save may stand behind the head, and goes first now.
            self.load_queue(d, enrollment.id, ALL_COMMANDS).await?;
        }
        Ok(())
    }

    /// As [`Org::load_device_side`], but a set-up that cannot be read is as good as none: refusing the report would make the
    /// device repeat it for ever, and nothing that a person queues would reach it.
    async fn load_readable_side(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
    ) -> Result<(), Error> {
        match self.load_device_side(d, enrollment).await {
            Err(Error::Store(error @ StoreError::Corrupt { .. })) => {
                tracing::error!(organisation = %self.id(), enrolment = %enrollment.id, %error, "a set-up cannot be read");
                Ok(())
            }
            other => other,
        }
    }

    /// Loads the head of a channel's queue, `limit` long.
    pub(super) async fn load_queue(
        &self,
        d: &mut Decision<'_>,
        channel: EnrollmentId,
        limit: u32,
    ) -> Result<(), Error> {
        let open = self
            .store()
            .open_commands(self.id(), channel, limit)
            .await?;
        d.load_commands(open);
        Ok(())
    }

    async fn settle(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
        status: ReportStatus,
        uuid: &str,
    ) -> Result<(), Error> {
        let open = d
            .commands
            .values()
            .find(|c| c.row.uuid == uuid)
            .map(|c| c.row.clone());
        let command = match open {
            Some(command) => command,
            None => match readable(self.store().command(self.id(), enrollment.id, uuid).await)? {
                Some(command) => command,
                None => {
                    // A command of another generation, or not ours: an error would make the device repeat it for ever.
                    self.note_unknown(d, enrollment, report);
                    return Ok(());
                }
            },
        };
        let Some(next) = queue::settle(&command, status, report.redacted_xml(), d.now) else {
            return Ok(());
        };
        let origin = command.origin.clone();
        d.commands
            .entry(next.id)
            .or_insert_with(|| Tracked::read(command))
            .row = next.clone();
        // Whoever asked, and whatever has become of the asking since: a secret comes once.
        let key = match status {
            ReportStatus::Acknowledged => self.keep_lifted(d, enrollment, report).await?,
            _ => None,
        };
        if next.request_type == "DeviceConfigured" && status == ReportStatus::Acknowledged {
            self.ask_code(d, enrollment);
        }
        if next.request_type == "ActivationLockBypassCode"
            && status != ReportStatus::NotNow
            && activation_lock::device_code(report).is_none()
        {
            note_no_code(d, enrollment, &next.uuid);
        }
        let Some(origin) = origin else {
            match status {
                ReportStatus::Acknowledged => {
                    self.learn_facts(d, enrollment, report, &next).await?;
                    if report.is_rotation_answer() && key == Some(KeyReading::NotEscrowed) {
                        self.ask_new_key(d, enrollment, &next.uuid);
                    }
                }
                ReportStatus::Error | ReportStatus::CommandFormatError => {
                    self.note_failed(d, enrollment, report, &next).await?;
                }
                ReportStatus::NotNow => {}
            }
            return Ok(());
        };
        self.load_readable_side(d, enrollment).await?;
        // Of what its set-up has given up it hears no more.
        if next.given_up.is_some() || d.set_up.as_ref().map(|s| s.row.id) != Some(origin.set_up) {
            return Ok(());
        }
        let told = read_told(report, status, &next, key);
        let asked = self.declared_too(d, enrollment, &origin, status, told);
        let (status, told) = Box::pin(asked).await?;
        if let (Some(device), Told::Identity { os_version, .. }) = (&mut d.device, &told) {
            device.row.facts.learned = Some(d.now);
            if os_version.is_some() {
                device.row.facts.os_version.clone_from(os_version);
            }
        }
        if let (
            Some(device),
            Told::Security {
                filevault_on: Some(on),
                ..
            },
        ) = (&mut d.device, &told)
        {
            device.row.facts.filevault_on = Some(*on);
        }
        if matches!(told, Told::Identity { .. }) {
            self.learn_silicon(d, report);
            self.learn_lock(d, enrollment, report);
            Box::pin(self.learn_declared(d, enrollment)).await?;
        }
        if let Told::Identity {
            awaiting: Some(awaiting),
            ..
        } = told
            && let Some(row) = d.enrollment_mut(enrollment.id)
        {
            row.awaiting = Some(awaiting);
        }
        if origin.step == StepId::Release
            && status == ReportStatus::Acknowledged
            && let Some(row) = d.enrollment_mut(enrollment.id)
        {
            // It has said itself that it goes on.
            row.awaiting = Some(false);
        }
        d.tell_set_up(&Event::Reported {
            step: origin.step,
            part: origin.part,
            attempt: origin.attempt,
            status,
            told,
        });
        if origin.step == StepId::Declare && status == ReportStatus::Acknowledged {
            // A device tells what has changed, and nothing twice: what it said before the step began counts as well.
            let said = readable(self.store().channel_status(self.id(), enrollment.id).await)?;
            if let (Some(said), Some(plan)) = (said.filter(|s| s.ended.is_none()), &d.set_up_plan)
                && plan.status_unmet(|item| said.value(item)).is_none()
            {
                d.tell_set_up(&Event::StatusReported { unmet: None });
            }
        }
        if origin.step == StepId::DeclareApps && status == ReportStatus::Acknowledged {
            let said = readable(self.store().channel_status(self.id(), enrollment.id).await)?;
            let said = said.filter(|said| said.ended.is_none());
            if let Some(readings) = said.and_then(|said| declared_apps(d, &said)) {
                d.tell_set_up(&Event::AppsDeclared { readings });
            }
        }
        Ok(())
    }

    /// A device leaves apps that are declared to it out of its list of managed apps, and refuses commands for them. What it
    /// says of them in its status counts as the answer.
    async fn declared_too(
        &self,
        d: &Decision<'_>,
        enrollment: &Enrollment,
        origin: &CommandOrigin,
        status: ReportStatus,
        told: Told,
    ) -> Result<(ReportStatus, Told), Error> {
        let of_apps = [
            StepId::AppsRequired,
            StepId::AppsKeep,
            StepId::Apps,
            StepId::Verify,
        ];
        let is_list = matches!(told, Told::Managed(_));
        let is_refusal = matches!(told, Told::Failure { .. });
        if !of_apps.contains(&origin.step) || !(is_list || is_refusal) {
            return Ok((status, told));
        }
        let said = readable(self.store().channel_status(self.id(), enrollment.id).await)?;
        let declared = said
            .filter(|said| said.ended.is_none())
            .map(|said| own::app_states(&said))
            .unwrap_or_default();
        let there: Vec<&String> = declared
            .iter()
            .filter(|(_, state)| state.is_managed())
            .map(|(id, _)| id)
            .collect();
        let managed = |bundle_id: &str| there.iter().any(|id| is_same_app(id, bundle_id));
        Ok(match told {
            Told::Managed(mut readings) => {
                readings.retain(|it| !managed(&it.bundle_id));
                readings.extend(there.iter().map(|id| AppReading {
                    bundle_id: (*id).clone(),
                    state: AppState::Managed,
                }));
                (status, Told::Managed(readings))
            }
            told => {
                let plan = d.set_up_plan.as_ref();
                let app = plan.and_then(|plan| plan.apps.get(usize::from(origin.part)));
                match app.filter(|app| managed(&app.bundle_id)) {
                    Some(app) => {
                        let reading = AppReading {
                            bundle_id: app.bundle_id.clone(),
                            state: AppState::Managed,
                        };
                        (ReportStatus::Acknowledged, Told::App(reading))
                    }
                    None => (status, told),
                }
            }
        })
    }

    /// A result of a command that nobody here has asked this channel is on record, and no more: it is bounded as refusals are.
    fn note_unknown(&self, d: &mut Decision<'_>, of: &Enrollment, report: &CommandReport) {
        tracing::info!(organisation = %self.id(), enrolment = %of.id, "report of an unknown command");
        let id = RefusalId(d.next_id());
        let reason = format!(
            "{} of a command that is not known on this channel",
            report.status.as_str()
        );
        let mut noted = Refusal::new(self.id(), id, d.now, &of.key, "command", &reason);
        noted.serial.clone_from(&of.serial);
        d.batch.put(noted);
    }

    /// What somebody's command has come to nothing, where something else counts on it.
    async fn note_failed(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
        command: &Command,
    ) -> Result<(), Error> {
        if enrollment.channel != ChannelKind::Device {
            return Ok(());
        }
        if command.request_type == "InstallProfile" {
            self.renewal_failed(d, enrollment, &command.uuid).await?;
        }
        self.load_device_of(d, enrollment).await?;
        if command.request_type == "RotateFileVaultKey" {
            let why = json!({ "uuid": command.uuid, "why": why_failed(report) });
            d.audit("recovery-key.rotation-refused", why);
        }
        if let Some(device) = &mut d.device {
            let given = &mut device.row.given;
            if let Some(given) = given.iter_mut().find(|g| g.command == command.uuid) {
                given.failed = Some(why_failed(report));
            }
        }
        Ok(())
    }

    /// The newest secret of a kind of this device that nothing has replaced.
    pub(super) async fn newest_secret(
        &self,
        enrollment: &Enrollment,
        kind: SecretKind,
    ) -> Result<Option<SecretId>, Error> {
        let Some(device) = enrollment.device else {
            return Ok(None);
        };
        let all = match self.store().secrets(self.id(), device).await {
            Ok(all) => all,
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(organisation = %self.id(), %device, %error, "the secrets of a device cannot be read");
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        Ok(all
            .into_iter()
            .find(|s| s.kind == kind && s.replaced.is_none())
            .map(|s| s.id))
    }
}

/// What the report told, for the steps. Its secrets are in the vault already; `key` says what became of the recovery key.
fn read_told(
    report: &CommandReport,
    status: ReportStatus,
    command: &Command,
    key: Option<KeyReading>,
) -> Told {
    if status == ReportStatus::NotNow {
        return Told::Nothing;
    }
    if command.request_type == "InstallApplication" {
        let bundle_id = report
            .install_answer()
            .and_then(|a| a.identifier)
            .unwrap_or_default();
        return match apps::state_after_install(report) {
            Some(AppState::Failed(why)) => Told::Failure { why },
            Some(state) => Told::App(AppReading { bundle_id, state }),
            None => Told::Nothing,
        };
    }
    if matches!(
        status,
        ReportStatus::Error | ReportStatus::CommandFormatError
    ) {
        return Told::Failure {
            why: why_failed(report),
        };
    }
    let told = match command.request_type.as_str() {
        "DeviceInformation" => report.device_information().map(|info| Told::Identity {
            serial: info.serial,
            awaiting: info.awaiting_configuration,
            platform: info.product_name.as_deref().and_then(Platform::of_product),
            os_version: info.os_version,
        }),
        "ProfileList" => report.profiles().map(|profiles| {
            Told::Profiles(profiles.into_iter().filter_map(|p| p.identifier).collect())
        }),
        "InstalledApplicationList" => report
            .installed_applications()
            .map(|apps| Told::Installed(apps.into_iter().filter_map(|a| a.identifier).collect())),
        "ManagedApplicationList" => apps::managed_states(report).map(|states| {
            let reading = |(bundle_id, state)| AppReading { bundle_id, state };
            Told::Managed(states.into_iter().map(reading).collect())
        }),
        "VerifyRecoveryLock" => report
            .recovery_lock_verified()
            .map(|verified| Told::RecoveryLock { verified }),
        "SecurityInfo" => report.security_info().map(|info| Told::Security {
            filevault_on: info.file_vault.enabled,
            key: key.unwrap_or(KeyReading::NotTold),
        }),
        // Everything else says nothing to a step but that it was done.
        _ => None,
    };
    told.unwrap_or(Told::Nothing)
}

/// The reason that the device gave, in a few words.
fn why_failed(report: &CommandReport) -> String {
    match report.error_chain.first() {
        Some(first) => format!("{} {}", first.domain, first.code),
        None => "the device gave no reason".to_owned(),
    }
}

/// The command to hand out next, leaving out those that could not be opened.
fn choose(
    d: &Decision<'_>,
    answering_not_now: bool,
    shut: &BTreeSet<CommandId>,
) -> Option<CommandId> {
    let now = d.now;
    let yields = d.set_up.as_ref().is_some_and(|s| s.row.release_yields(now));
    let open = || {
        let rows = d.commands.values().map(|c| &c.row);
        rows.filter(|c| !shut.contains(&c.id))
    };
    let step = |c: &Command| c.origin.as_ref().map(|o| o.step);
    let next = if yields {
        // First what only the hold can save, then whatever else there is; the release itself waits.
        let saves = |c: &&Command| step(c).is_some_and(SetUp::goes_before_release);
        queue::next(open().filter(saves), answering_not_now, now).or_else(|| {
            let others = open().filter(|c| step(c) != Some(StepId::Release));
            queue::next(others, answering_not_now, now)
        })
    } else {
        queue::next(open(), answering_not_now, now)
    };
    next.map(|c| c.id)
}

fn status_of(status: Status) -> Option<ReportStatus> {
    match status {
        Status::Idle => None,
        Status::Acknowledged => Some(ReportStatus::Acknowledged),
        Status::Error => Some(ReportStatus::Error),
        Status::CommandFormatError => Some(ReportStatus::CommandFormatError),
        Status::NotNow => Some(ReportStatus::NotNow),
    }
}
