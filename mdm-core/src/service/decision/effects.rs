//! What the machines ask of the outside becomes commands, jobs and messages of the batch. Sends nothing.

use serde_json::json;

use super::super::asks::{self, Body};
use super::{Decision, RELEASE, Tracked, command_uuid, own_app};
use crate::ddm::own;
use crate::errand::LAG;
use crate::hook::HookMessage;
use crate::ids::{CommandId, EnrollmentId, HookMessageId};
use crate::job::{Job, JobKind};
use crate::migration::{Ask, Effect, EffectKey, Event, MoveState, Notice};
use crate::queue::{BodyForm, Command, CommandOrigin};

impl Decision<'_> {
    /// Turns what the machines ask for into rows and jobs.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Command {
                step,
                part,
                attempt,
                ask,
            } => {
                let Some(set_up) = self.set_up.as_ref().map(|s| s.row.clone()) else {
                    return;
                };
                let uuid = command_uuid(&set_up, step, part, attempt);
                if self.commands.values().any(|c| c.row.uuid == uuid) {
                    return;
                }
                let body = asks::build(
                    &ask,
                    self.organisation,
                    self.set_up_plan.as_deref(),
                    set_up.platform,
                );
                // A password is kept for a device that is known, or not at all.
                let lost = matches!(body, Some(Body::RecoveryLock)) && set_up.device.is_none();
                let Some(body) = body.filter(|_| !lost) else {
                    let why =
                        "what the command needs is missing from organisation or runbook".to_owned();
                    self.tell_set_up(&Event::EffectFailed {
                        effect: EffectKey::Command(step),
                        why,
                    });
                    return;
                };
                self.declare_for(set_up.enrollment, &ask);
                let id = CommandId(self.next_id());
                let (request_type, bytes, form) = match body {
                    Body::Made(body) => {
                        if body.carries_secret() {
                            self.to_seal.insert(id);
                        }
                        let bytes = body.encode(&uuid).to_vec();
                        (body.request_type().to_owned(), bytes, BodyForm::Plain)
                    }
                    Body::RecoveryLock => {
                        self.to_seal.insert(id);
                        let sets = ask == Ask::SetRecoveryLock;
                        self.passwords.push((id, sets, attempt));
                        let kind = if sets {
                            "SetRecoveryLock"
                        } else {
                            "VerifyRecoveryLock"
                        };
                        (kind.to_owned(), Vec::new(), BodyForm::Plain)
                    }
                    Body::SealedProfile(sealed) => (
                        "InstallProfile".to_owned(),
                        sealed.0,
                        BodyForm::SealedProfile,
                    ),
                };
                let mut command = Command::queued(
                    self.organisation.id,
                    id,
                    set_up.enrollment,
                    uuid,
                    &request_type,
                    bytes,
                    now,
                );
                command.form = form;
                command.origin = Some(CommandOrigin {
                    set_up: set_up.id,
                    step,
                    part,
                    attempt,
                });
                // The release overtakes whatever else is queued: nothing may keep a person waiting longer.
                command.priority = if step == crate::migration::StepId::Release {
                    RELEASE
                } else {
                    0
                };
                self.commands.insert(id, Tracked::new(command));
                self.push(set_up.enrollment);
            }
            Effect::Push => {
                if let Some(enrollment) = self.set_up.as_ref().map(|s| s.row.enrollment) {
                    self.push(enrollment);
                }
            }
            Effect::DropCommands { step } => {
                let Some(set_up) = self.set_up.as_ref().map(|s| &s.row) else {
                    return;
                };
                let (channel, set_up) = (set_up.enrollment, set_up.id);
                self.dropped.insert((channel, set_up, step));
                for tracked in self.commands.values_mut() {
                    tracked.take_back(set_up, step, now);
                }
            }
            Effect::Lock => {
                if let Some(set_up) = self.set_up.as_ref().map(|s| s.row.id) {
                    self.job(now, JobKind::Lock { set_up });
                }
            }
            Effect::ReadDevice => {
                if let Some(device) = self.device.as_ref().map(|d| d.row.id) {
                    // At the turn of the minute, so that readings of many devices share Apple's small budget.
                    self.job(now.next_minute(), JobKind::ReadDevice { device });
                }
            }
            Effect::AskWho => {
                if let Some(attempt) = self.attempt.as_ref().map(|m| m.row.id) {
                    // What Apple does shows a while later in what it tells.
                    self.job(now + LAG, JobKind::AskWho { attempt });
                }
            }
            Effect::Cancel | Effect::MoveDeadline { .. } if self.gathered.is_some() => {
                if let Some(gathered) = &mut self.gathered {
                    gathered.push(effect);
                }
            }
            Effect::Cancel => {
                if let Some(attempt) = self.attempt.as_ref().map(|m| m.row.id) {
                    self.job(now, JobKind::Cancel { attempt });
                }
            }
            Effect::MoveDeadline { deadline } => {
                if let Some(attempt) = self.attempt.as_ref().map(|m| m.row.id) {
                    self.job(now, JobKind::MoveDeadline { attempt, deadline });
                }
            }
            Effect::Offer { from } => {
                // Without a defined profile the assigner fills it in as soon as there is one.
                if let Some(device) = &mut self.device {
                    device.row.assignment.from = Some(from);
                    // One that was offered it keeps it; no other is offered it now.
                    let begins = self
                        .attempt
                        .as_ref()
                        .is_some_and(|a| matches!(a.row.state, MoveState::Scheduled { .. }));
                    device.row.assignment.wanted = match self.offers_paused && begins {
                        true => None,
                        false => self.profile.clone(),
                    };
                }
            }
            Effect::Tag { tags } => {
                let Some(device) = &mut self.device else {
                    return;
                };
                let mut all = device.row.tags.clone();
                all.extend(tags);
                // More than a device may have are not given.
                if all == device.row.tags || crate::library::tags(&all).is_err() {
                    return;
                }
                device.row.tags.clone_from(&all);
                let id = device.row.id;
                self.audit("device.tagged", json!({ "tags": all }));
                self.job(now, JobKind::LibraryOf { device: id });
                self.job(now, JobKind::DeclareOf { device: id });
            }
            Effect::Notify(notice) => {
                if let Some(device) = self.device.as_ref().map(|d| d.row.id) {
                    self.job(now, JobKind::Notify { notice, device });
                    self.tell(notice);
                }
            }
        }
    }

    /// Puts what receivers of webhooks are to be told into the batch of its cause.
    fn tell(&mut self, notice: Notice) {
        let Some(device) = self.device.as_ref().map(|d| &d.row) else {
            return;
        };
        let wanted: Vec<_> = self
            .organisation
            .hooks
            .iter()
            .filter(|hook| hook.wants(notice))
            .map(|hook| hook.id)
            .collect();
        if wanted.is_empty() {
            return;
        }
        let (id, serial) = (device.id, device.serial.clone());
        // Written by a process whose clock is ahead, or before the clock was set back.
        if let Some(last) = device.last_message {
            self.ids.past(last.0);
        }
        let mut newest = None;
        let attempt = self.attempt.as_ref().map(|a| &a.row);
        let of = attempt.map(|a| (a.id, a.wave, a.deadline));
        for hook in wanted {
            let key = HookMessageId(self.next_id());
            newest = Some(key);
            let mut message = HookMessage::new(
                self.organisation.id,
                key,
                hook,
                id,
                serial.clone(),
                notice,
                self.now,
            );
            if let Some((attempt, wave, deadline)) = of {
                message.attempt = Some(attempt);
                message.wave = Some(wave);
                message.deadline = Some(deadline);
            }
            self.batch.put(message);
        }
        if let Some(device) = &mut self.device {
            device.row.last_message = newest;
        }
        if !self.telling {
            self.telling = true;
            let job = Job::tell(self.organisation.id, id, self.now);
            self.batch.put(job);
        }
    }

    /// Notes what the device is to find declared when it looks, because of what a step asks.
    fn declare_for(&mut self, channel: EnrollmentId, ask: &Ask) {
        let Some(plan) = &self.set_up_plan else {
            return;
        };
        match ask {
            Ask::Declare => self.own.items.extend(plan.status.keys().cloned()),
            Ask::DeclareApps { identifiers } => {
                let named = plan.apps.iter();
                let named = named.filter(|app| identifiers.contains(&app.bundle_id));
                self.own.apps = Some(named.map(own_app).collect());
                self.own.items.insert(own::APPS.to_owned());
            }
            _ => return,
        }
        self.own.channel = Some(channel);
    }
}
