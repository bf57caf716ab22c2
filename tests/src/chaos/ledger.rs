//! What devices and clients were told, and what they asked without hearing an answer; compared with what is found after a kill.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use mdm_core::enrollment::{Enrollment, EnrollmentState};
use mdm_core::queue::CommandState;
use mdm_core::service::Mdm;

use super::Report;
use super::load::Voice;
use crate::fleet::devices::{Device, push_token};
use crate::fleet::house::House;

/// What is certain, and what may have come after it.
#[derive(Clone, Debug)]
pub(super) struct Fact<T> {
    pub(super) sure: T,
    pub(super) maybe: Vec<T>,
}

impl<T: Clone + PartialEq> Fact<T> {
    const fn new(sure: T) -> Self {
        let maybe = Vec::new();
        Self { sure, maybe }
    }

    pub(super) fn ask(&mut self, value: T) {
        self.maybe.push(value);
    }

    pub(super) fn told(&mut self, value: T) {
        self.sure = value;
        self.maybe.clear();
    }

    /// Whether that can be; from now on it is certain.
    fn found(&mut self, value: &T) -> bool {
        let fits = self.sure == *value || self.maybe.contains(value);
        self.told(value.clone());
        fits
    }
}

/// A command that a client queued.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Whether it is queued.
    pub(super) queued: Fact<bool>,
    /// Whether the device has answered it.
    pub(super) answered: Fact<bool>,
    /// Others with its UUID, which are queued all together or not at all.
    pub(super) together: bool,
}

impl Sent {
    pub(super) const fn asked(together: bool) -> Self {
        Self {
            queued: Fact::new(false),
            answered: Fact::new(false),
            together,
        }
    }
}

/// One device.
pub(super) struct Entry {
    pub(super) device: Device,
    /// Something was said to or about it since it was looked up.
    pub(super) touched: bool,
    pub(super) authenticated: Fact<bool>,
    /// The version of its push token; `None` before its first TokenUpdate.
    pub(super) token: Fact<Option<u8>>,
    pub(super) bootstrap: Fact<Option<u64>>,
    pub(super) commands: BTreeMap<String, Sent>,
}

/// A command for one device.
pub(super) struct Asked {
    pub(super) udid: String,
    pub(super) uuid: String,
}

pub(super) struct Ledger {
    entries: Vec<Mutex<Entry>>,
    acknowledged: AtomicUsize,
    unanswered: AtomicUsize,
    put_off: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    /// Of devices that are enrolled (with version 0 of their push tokens) and of some that are not.
    pub(super) fn new(enrolled: Vec<Device>, invited: Vec<Device>) -> Self {
        let entry = |device, enrolled: bool| {
            Mutex::new(Entry {
                device,
                touched: false,
                authenticated: Fact::new(enrolled),
                token: Fact::new(enrolled.then_some(0)),
                bootstrap: Fact::new(None),
                commands: BTreeMap::new(),
            })
        };
        let old = enrolled.into_iter().map(|device| entry(device, true));
        let new = invited.into_iter().map(|device| entry(device, false));
        Self {
            entries: old.chain(new).collect(),
            acknowledged: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            put_off: AtomicUsize::new(0),
            wrong: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entry(&self, at: usize) -> MutexGuard<'_, Entry> {
        self.entries[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer that said "later" and when.
    pub(super) fn put_off(&self) {
        self.put_off.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wrong(&self, what: String) {
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(what);
    }

    pub(super) fn count(&self, report: &mut Report) {
        report.acknowledged = self.acknowledged.load(Ordering::Relaxed);
        report.unanswered = self.unanswered.load(Ordering::Relaxed);
        report.put_off = self.put_off.load(Ordering::Relaxed);
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        report.wrong.append(&mut all);
    }

    /// Commands of which somebody was told that they are queued.
    pub(super) fn queued(&self) -> Vec<Asked> {
        let mut all = Vec::new();
        for at in 0..self.len() {
            let entry = self.entry(at);
            for (uuid, sent) in &entry.commands {
                if sent.queued.sure {
                    all.push(entry.asked(uuid));
                }
            }
        }
        all
    }

    /// The same of those that were queued for several devices together, by their UUIDs.
    pub(super) fn together(&self) -> Vec<(String, Vec<Asked>)> {
        let mut all: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        for at in 0..self.len() {
            let entry = self.entry(at);
            for (uuid, sent) in &entry.commands {
                if sent.together && sent.queued.sure {
                    all.entry(uuid.clone()).or_default().push(entry.asked(uuid));
                }
            }
        }
        all.retain(|_, asked| asked.len() > 1);
        all.into_iter().collect()
    }

    /// Compares what was told with what is found: of the devices that were spoken of since the last time, or of all.
    pub(super) async fn look_up(
        &self,
        house: &House,
        all: bool,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        house.orphans_ended().await?;
        let mdm = house.beside().await?;
        let result = self.look_up_with(house, &mdm, all, report).await;
        mdm.store().close().await?;
        self.count(report);
        result
    }

    async fn look_up_with(
        &self,
        house: &House,
        mdm: &Mdm,
        all: bool,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut voice = Voice::open(house).await?;
        // UUID of what was queued together: for how many devices it is there, and for how many it was asked.
        let mut together: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for at in 0..self.len() {
            let mut entry = {
                let mut entry = self.entry(at);
                if !entry.touched && !all {
                    continue;
                }
                entry.touched = false;
                entry.clone_facts()
            };
            self.device(house, mdm, &mut entry, report).await?;
            for (uuid, sent) in &entry.commands {
                if sent.together && (!sent.queued.maybe.is_empty() || sent.queued.sure) {
                    let of = together.entry(uuid.clone()).or_default();
                    of.1 += 1;
                    of.0 += usize::from(sent.queued.sure);
                }
            }
            if !entry.bootstrap.maybe.is_empty() || (all && entry.bootstrap.sure.is_some()) {
                let found = voice.which_bootstrap_token(&entry.device).await?;
                report.looked_up += 1;
                if !entry.bootstrap.clone().found(&found) {
                    report.lost.push(format!(
                        "{}: the bootstrap token is {found:?}, not {:?}",
                        entry.device.serial, entry.bootstrap
                    ));
                }
                entry.bootstrap.told(found);
            }
            let mut kept = self.entry(at);
            kept.authenticated = entry.authenticated;
            kept.token = entry.token;
            kept.bootstrap = entry.bootstrap;
            kept.commands = entry.commands;
        }
        if all {
            for (uuid, (there, asked)) in together {
                if there != 0 && there != asked {
                    report.wrong.push(format!(
                        "{uuid} was to be queued for all of {asked} devices or none, and is for {there}"
                    ));
                }
            }
        }
        Ok(())
    }

    async fn device(
        &self,
        house: &House,
        mdm: &Mdm,
        entry: &mut Entry,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (store, id) = (mdm.store(), house.organisation());
        let known = store.enrollments_by_key(id, &entry.device.udid).await?;
        let newest = known.last();
        report.looked_up += 2;
        let authenticated = newest.is_some();
        if !entry.authenticated.found(&authenticated) {
            let serial = &entry.device.serial;
            report
                .lost
                .push(format!("{serial}: its Authenticate is gone"));
        }
        let version = newest.and_then(|channel| version(channel, &entry.device));
        let told = entry.token.clone();
        if !entry.token.found(&version) {
            report.lost.push(format!(
                "{}: its TokenUpdate is of version {version:?}, not {told:?}",
                entry.device.serial
            ));
        }
        let Some(channel) = newest else {
            return Ok(());
        };
        for (uuid, sent) in &mut entry.commands {
            let found = store.command(id, channel.id, uuid).await?;
            report.looked_up += 1;
            let serial = &entry.device.serial;
            if !sent.queued.found(&found.is_some()) {
                let queued = sent.queued.sure;
                report
                    .lost
                    .push(format!("{serial}: command {uuid}: queued is {queued}"));
            }
            let state = found.map(|command| command.state);
            let answered = state == Some(CommandState::Acknowledged);
            if !sent.answered.found(&answered) {
                report
                    .lost
                    .push(format!("{serial}: command {uuid} is {state:?}"));
            }
        }
        Ok(())
    }
}

impl Entry {
    fn asked(&self, uuid: &str) -> Asked {
        Asked {
            udid: self.device.udid.clone(),
            uuid: uuid.to_owned(),
        }
    }

    fn clone_facts(&self) -> Self {
        Self {
            device: self.device.clone(),
            touched: self.touched,
            authenticated: self.authenticated.clone(),
            token: self.token.clone(),
            bootstrap: self.bootstrap.clone(),
            commands: self.commands.clone(),
        }
    }
}

/// Which version of its push token an enrolment has: the seeded one is 0.
fn version(channel: &Enrollment, device: &Device) -> Option<u8> {
    let enrolled = channel.state == EnrollmentState::Enrolled;
    let token = &channel.push.as_ref().filter(|_| enrolled)?.token;
    if *token == format!("{:064x}", device.number) {
        return Some(0);
    }
    let last = token.get(62..).context("a push token");
    let version = last.ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())?;
    let hex: String = push_token(device, version)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    (hex == *token).then_some(version)
}
