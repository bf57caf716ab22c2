//! What a channel should have, and telling those whose list has become another: a command that says nothing but *look*, so that
//! it is never out of date, and a push. A page of channels costs the same few statements as one channel. A channel that has
//! such a command waiting needs no second one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ddm::manifest::{Catalogue, declarations_token, scopes};
use crate::ddm::status::ChannelStatus;
use crate::ddm::{Declaration, DeclarationManifest, DeclaredChannel, ManifestItem};
use crate::device::Device;
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::ids::{
    CommandId, DeclarationId, DeclarationSetId, DeviceId, EnrollmentId, JobId, ManifestId,
    OrganisationId,
};
use crate::job::{Job, JobKind};
use crate::migration::StepId;
use crate::queue::{Command, CommandState};
use crate::service::Org;
use crate::service::checkin::readable;
use crate::service::decision::Decision;
use crate::service::worker::done;
use crate::store::{Batch, Lease, Write};
use crate::wire::command::CommandBody;
use crate::wire::requests::DeclarativeManagement;

/// Channels that one turn goes through.
const PAGE: u32 = 500;
/// Namespace of the UUIDs of commands: the same channel, list and turn give the same one.
const COMMANDS: Uuid = Uuid::from_u128(0x6d64_6d64_0000_4465_636c_0000_6172_6500);

/// Between two looks whether the walk before is through.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// The key of the walk that is under way. Below zero no other job has its key.
fn walk_key(organisation: OrganisationId) -> JobId {
    JobId(-organisation.0)
}

/// The key of the one that comes after it.
pub(super) fn next_key(organisation: OrganisationId) -> JobId {
    JobId(i64::MIN + organisation.0)
}

/// What a channel should have.
pub(super) struct Wanted {
    /// The `DeclarationsToken`.
    pub(super) token: String,
    /// What is in it.
    pub(super) items: Vec<ManifestItem>,
    /// Types that are left out of it: the channel does not know them.
    pub(super) lacks: BTreeSet<String>,
}

impl Org {
    /// What is assigned under these words, and what this server declares by itself: three statements, or fewer.
    pub(super) async fn catalogue(
        &self,
        words: &BTreeSet<String>,
        own: &BTreeSet<DeclarationId>,
    ) -> Result<(Catalogue, Vec<Declaration>), Error> {
        let (store, id) = (self.store(), self.id());
        let words: Vec<String> = words.iter().cloned().collect();
        let assigned = store.declaration_assignments_under(id, &words).await?;
        let sets: BTreeSet<DeclarationSetId> = assigned.iter().map(|a| a.set).collect();
        let sets: Vec<_> = sets.into_iter().collect();
        let sets = if sets.is_empty() {
            Vec::new()
        } else {
            store.declaration_sets_of(id, &sets).await?
        };
        let members: BTreeSet<_> = sets
            .iter()
            .flat_map(|s| &s.members)
            .chain(own)
            .copied()
            .collect();
        let members: Vec<_> = members.into_iter().collect();
        let declarations = if members.is_empty() {
            Vec::new()
        } else {
            store.declarations_of(id, &members).await?
        };
        let all = Catalogue::new(&assigned, sets, declarations.clone());
        Ok((all, declarations))
    }

    /// What one channel should have now.
    pub(super) async fn wanted(
        &self,
        channel: &Enrollment,
        device: Option<&Device>,
    ) -> Result<Wanted, Error> {
        let words = scopes(channel, device);
        let told = self.store().declared_channel(self.id(), channel.id).await?;
        let own = told.as_ref().map(DeclaredChannel::own).unwrap_or_default();
        let said = readable(self.store().channel_status(self.id(), channel.id).await)?;
        let said: Option<ChannelStatus> = said.filter(|said| said.ended.is_none());
        let (all, _) = self
            .catalogue(&words.iter().cloned().collect(), &own)
            .await?;
        let sets = all.sets(&words);
        let known = said.as_ref().and_then(ChannelStatus::supported);
        let lacks = known.map(|known| all.lacks(&sets, &own, &known));
        // One that has not said it again has not changed.
        let lacks = lacks
            .or_else(|| told.map(|row| row.lacks))
            .unwrap_or_default();
        let items = all.items(&sets, &own, &lacks);
        Ok(Wanted {
            token: declarations_token(&items),
            items,
            lacks,
        })
    }

    /// Notes at a set-up that waits for declarations whether people have any for its device: what this server declares by itself
    /// is the steps' own. What cannot be read keeps nobody in a hold.
    pub(in crate::service) async fn learn_declared(
        &self,
        d: &mut Decision<'_>,
        channel: &Enrollment,
    ) -> Result<(), Error> {
        let plan = d.set_up_plan.as_ref();
        if plan.is_none_or(|plan| plan.step(StepId::Declare).is_none()) {
            return Ok(());
        }
        let words = scopes(channel, d.device.as_ref().map(|device| &device.row));
        let asked = words.iter().cloned().collect();
        let declared = match self.catalogue(&asked, &BTreeSet::new()).await {
            Ok((all, _)) => {
                let sets = all.sets(&words);
                let items = all.items(&sets, &BTreeSet::new(), &BTreeSet::new());
                !items.is_empty()
            }
            Err(error) if error.retry_after().is_some() => return Err(error),
            Err(error) => {
                tracing::error!(organisation = %self.id(), channel = %channel.id, %error, "what is declared to a device cannot be read");
                false
            }
        };
        if let Some(set_up) = &mut d.set_up {
            set_up.row.declared = Some(declared);
        }
        Ok(())
    }

    /// Begins a walk, unless one is under way: then this one comes after it.
    pub(in crate::service) async fn declare_all_job(
        &self,
        job: &Job,
        lease: Lease,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let times = self.store().job_times(self.id(), job.id).await?;
            if times.is_none_or(|times| times.lease != Some(lease)) {
                // A newer change has put another in its place.
                return Ok(());
            }
            let mut batch = Batch::new();
            let key = walk_key(self.id());
            if self.store().job_times(self.id(), key).await?.is_some() {
                let mut later = job.clone();
                later.due = self.now() + AFTERWARDS;
                batch.put(Write::JobLater { job: later, lease });
            } else {
                let after = EnrollmentId(0);
                let walk = JobKind::Declare { after };
                batch.put(done(job, lease));
                batch.put(Job::new(self.id(), key, self.now(), walk));
            }
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// One page of channels, then the next.
    pub(in crate::service) async fn declare_job(
        &self,
        job: &Job,
        lease: Lease,
        after: EnrollmentId,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let times = self.store().job_times(self.id(), job.id).await?;
            if times.is_none_or(|times| times.lease != Some(lease)) {
                // It was put anew, or is somebody else's by now.
                return Ok(());
            }
            let page = self.store().channels(self.id(), after, PAGE).await?;
            let mut batch = Batch::new();
            let Some(last) = page.last() else {
                batch.put(done(job, lease));
                return Ok(self.store().commit(batch).await?);
            };
            let mut later = job.clone();
            later.kind = JobKind::Declare { after: last.id };
            later.due = self.now();
            batch.put(Write::JobLater { job: later, lease });
            self.notify_into(&mut batch, &page, job).await?;
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The channels of one device.
    pub(in crate::service) async fn declare_of_job(
        &self,
        job: &Job,
        lease: Lease,
        device: DeviceId,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            batch.put(done(job, lease));
            let device = self.store().device(self.id(), device).await?;
            if let Some(enrolment) = device.and_then(|device| device.enrollment) {
                let mut channels = self.store().user_channels(self.id(), enrolment).await?;
                channels.extend(self.store().enrollment(self.id(), enrolment).await?);
                self.notify_into(&mut batch, &channels, job).await?;
            }
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Adds, for each of these channels whose list is another than the one that it was given, the command that has it look.
    async fn notify_into(
        &self,
        batch: &mut Batch,
        channels: &[Enrollment],
        job: &Job,
    ) -> Result<(), Error> {
        let (store, now) = (self.store(), self.now());
        let mut live: Vec<&Enrollment> = channels.iter().filter(|c| c.is_live()).collect();
        if live.is_empty() {
            return Ok(());
        }
        let devices: BTreeSet<DeviceId> = live.iter().filter_map(|c| c.device).collect();
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let devices = store.devices_of(self.id(), &devices).await?;
        let devices: BTreeMap<DeviceId, Device> = devices.into_iter().map(|d| (d.id, d)).collect();
        // Without its row nobody knows the tags and groups of a device; it is left as it is, and the others are not kept waiting for it.
        live.retain(|c| c.device.is_none_or(|id| devices.contains_key(&id)));
        let words: Vec<Vec<String>> = live
            .iter()
            .map(|c| scopes(c, c.device.and_then(|id| devices.get(&id))))
            .collect();
        let ids: Vec<EnrollmentId> = live.iter().map(|c| c.id).collect();
        let told = store.declared_channels_of(self.id(), &ids).await?;
        let mut own: BTreeMap<EnrollmentId, (BTreeSet<DeclarationId>, BTreeSet<String>)> = told
            .iter()
            .map(|row| (row.id, (row.own(), row.lacks.clone())))
            .collect();
        let (all, _) = self
            .catalogue(
                &words.iter().flatten().cloned().collect(),
                &own.values().flat_map(|(own, _)| own).copied().collect(),
            )
            .await?;
        // Channels of the same sets, with the same of our own, that lack the same, share a list.
        type Of = (
            BTreeSet<DeclarationSetId>,
            BTreeSet<DeclarationId>,
            BTreeSet<String>,
        );
        let mut lists: BTreeMap<Of, Wanted> = BTreeMap::new();
        let sets: Vec<Of> = live
            .iter()
            .zip(&words)
            .map(|(channel, words)| {
                let (own, lacks) = own.remove(&channel.id).unwrap_or_default();
                (all.sets(words), own, lacks)
            })
            .collect();
        for of in &sets {
            if !lists.contains_key(of) {
                let items = all.items(&of.0, &of.1, &of.2);
                let token = declarations_token(&items);
                let lacks = of.2.clone();
                let list = Wanted {
                    token,
                    items,
                    lacks,
                };
                lists.insert(of.clone(), list);
            }
        }
        let mut doubted: BTreeMap<EnrollmentId, DeclaredChannel> = BTreeMap::new();
        let mut has_list: BTreeMap<EnrollmentId, ManifestId> = BTreeMap::new();
        for row in told.into_iter().filter(|row| row.ended.is_none()) {
            has_list.extend(row.manifest.map(|list| (row.id, list)));
            if row.doubted {
                doubted.insert(row.id, row);
            }
        }
        let tokens: BTreeSet<String> = lists.values().map(|l| l.token.clone()).collect();
        let tokens: Vec<String> = tokens.into_iter().collect();
        let known = store.declaration_manifests_of(self.id(), &tokens).await?;
        let mut known: BTreeMap<String, ManifestId> =
            known.into_iter().map(|m| (m.token, m.id)).collect();
        let mut behind = Vec::new();
        for (channel, of) in live.iter().zip(&sets) {
            let Some(wanted) = lists.get(of) else {
                continue;
            };
            let has = has_list.get(&channel.id).copied();
            let differs = match has {
                _ if doubted.contains_key(&channel.id) => true,
                Some(has) => known.get(&wanted.token) != Some(&has),
                // One that never asked has nothing: an empty list is no news to it.
                None => !wanted.items.is_empty(),
            };
            if !differs {
                continue;
            }
            behind.push(channel.id);
            // Written here, before thousands ask for it at once and all would write it.
            if !known.contains_key(&wanted.token) {
                let id = ManifestId(self.ids().next(now));
                let items = wanted.items.clone();
                batch.put(DeclarationManifest::new(self.id(), id, items, now));
                known.insert(wanted.token.clone(), id);
            }
        }
        if behind.is_empty() {
            return Ok(());
        }
        let body = CommandBody::from(DeclarativeManagement::default());
        let kind = body.request_type();
        let waiting = store
            .open_commands_of_type(self.id(), &behind, kind)
            .await?;
        // What the device has in its hands may have been looked after already; what it has not will be later than now.
        let waiting: BTreeSet<EnrollmentId> = waiting
            .into_iter()
            .filter(|c| matches!(c.state, CommandState::Queued | CommandState::NotNow))
            .map(|c| c.enrollment)
            .collect();
        behind.retain(|id| !waiting.contains(id));
        for id in &behind {
            batch.put(self.notice(*id, job, &body, now));
            if let Some(mut row) = doubted.remove(id) {
                row.doubted = false;
                batch.put(row);
            }
            batch.put(Job::push(self.id(), *id, now));
        }
        if !behind.is_empty() {
            let detail = json!({ "channels": behind.len() });
            self.audit_into(batch, "declarations.announced", detail);
        }
        Ok(())
    }

    fn notice(&self, to: EnrollmentId, job: &Job, body: &CommandBody, now: Timestamp) -> Command {
        let id = CommandId(self.ids().next(now));
        // The id makes each turn another command: the same list may come to be wanted again.
        let name = format!("{}/{to}/{}/{id}", self.id(), job.id);
        let uuid = Uuid::new_v5(&COMMANDS, name.as_bytes()).hyphenated();
        let uuid = uuid.to_string().to_ascii_uppercase();
        let bytes = body.encode(&uuid).to_vec();
        Command::queued(self.id(), id, to, uuid, body.request_type(), bytes, now)
    }

    /// An unenrolment ends everything declarative of a channel: what it was told, and what it said. What cannot be read keeps no
    /// device from enrolling anew.
    pub(in crate::service) async fn end_declarations(
        &self,
        d: &mut Decision<'_>,
        channel: EnrollmentId,
    ) -> Result<(), Error> {
        let told: Option<DeclaredChannel> =
            readable(self.store().declared_channel(self.id(), channel).await)?;
        if let Some(mut row) = told.filter(|row| row.ended.is_none()) {
            row.end(d.now);
            d.batch.put(row);
        }
        let said: Option<ChannelStatus> =
            readable(self.store().channel_status(self.id(), channel).await)?;
        if let Some(mut row) = said.filter(|row| row.ended.is_none()) {
            row.ended = Some(d.now);
            d.batch.put(row);
        }
        Ok(())
    }
}
