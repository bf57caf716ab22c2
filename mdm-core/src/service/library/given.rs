//! Brings devices to what the library has for them, page after page: queues what one lacks, takes back what it has too much,
//! and notes what it was given. Opens nothing: the content of a profile goes sealed into its command.

use serde_json::json;
use uuid::Uuid;

use crate::error::Error;
use crate::ids::{CommandId, DeviceId};
use crate::job::{Job, JobKind};
use crate::library::{Change, Given, LibraryContent, LibraryItem, Undo, changes};
use crate::organisation::Der;
use crate::queue::{BodyForm, Command};
use crate::service::Org;
use crate::service::checkin::passes;
use crate::service::decision::{Decision, Tracked};
use crate::service::worker::done;
use crate::store::{Batch, Lease, Write};
use crate::wire::command::CommandBody;
use crate::wire::requests::{
    InstallEnterpriseApplication, PackageSource, RemoveApplication, RemoveProfile,
};

/// Devices that one turn of the job goes through.
const PAGE: u32 = 200;
/// Namespace of the UUIDs of commands: the same item, revision, enrolment and version of the device's row give the same one.
const COMMANDS: Uuid = Uuid::from_u128(0x6d64_6d64_0000_4c69_6272_0000_6172_7900);

impl Org {
    /// One page of devices, then the next.
    pub(in crate::service) async fn library_job(
        &self,
        job: &Job,
        lease: Lease,
        after: DeviceId,
    ) -> Result<(), Error> {
        let page = self.store().devices(self.id(), after, PAGE).await?;
        let items = self.library().await?;
        for device in &page {
            let sorted = !device.tags.is_empty() || !device.groups.is_empty();
            let concerned = sorted || !device.given.is_empty();
            if concerned && device.enrollment.is_some() {
                let brought = self
                    .again_on_conflict(|| self.bring_up_to_date(device.id, &items, None))
                    .await;
                match brought {
                    // What may pass is tried again with its page; anything else keeps nobody behind it waiting.
                    Err(error) if passes(&error) => return Err(error),
                    Err(error) => {
                        tracing::error!(organisation = %self.id(), device = %device.id, %error, "a device does not get what the library has for it");
                    }
                    Ok(()) => {}
                }
            }
        }
        let Some(last) = page.last() else {
            return self.job_done(job, lease).await;
        };
        let mut later = job.clone();
        later.kind = JobKind::Library { after: last.id };
        later.due = self.now();
        let mut batch = Batch::new();
        batch.put(Write::JobLater { job: later, lease });
        Ok(self.store().commit(batch).await?)
    }

    /// One device.
    pub(in crate::service) async fn library_of_job(
        &self,
        job: &Job,
        lease: Lease,
        device: DeviceId,
    ) -> Result<(), Error> {
        let items = self.library().await?;
        let ends = Some((job, lease));
        self.again_on_conflict(|| self.bring_up_to_date(device, &items, ends))
            .await
    }

    /// Queues what a device lacks, and takes back what it has too much, in one commit with the note of it.
    async fn bring_up_to_date(
        &self,
        device: DeviceId,
        items: &[LibraryItem],
        ends: Option<(&Job, Lease)>,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
        if let Some((job, lease)) = ends {
            d.batch.put(done(job, lease));
        }
        let device = self.store().device(self.id(), device).await?;
        let enrollment = match device.as_ref().and_then(|dev| dev.enrollment) {
            Some(id) => self.store().enrollment(self.id(), id).await?,
            None => None,
        };
        let (Some(device), Some(enrollment)) = (device, enrollment.filter(|e| e.is_live())) else {
            return self.commit(d).await;
        };
        let mut tracked = Tracked::read(device);
        if tracked.row.given_to != Some(enrollment.id) {
            // What an earlier enrolment got went with it.
            tracked.row.given.clear();
            tracked.row.given_to = Some(enrollment.id);
        }
        let as_it_was = tracked.row.clone();
        // Each change of the device's row is another turn: what comes again has another UUID.
        let turn = tracked.row.version;
        let mut noted = Vec::new();
        for change in changes(items, &as_it_was) {
            let made = match change {
                Change::Give(item) => self.giving(item, enrollment.id.0, turn).await?,
                Change::Take(given) => Self::taking(given, enrollment.id.0),
            };
            let item = match change {
                Change::Give(item) => item.id,
                Change::Take(given) => given.item,
            };
            tracked.row.given.retain(|g| g.item != item);
            let Some((uuid, request_type, body, form, seals)) = made else {
                continue;
            };
            let id = CommandId(d.next_id());
            let mut command = Command::queued(
                self.id(),
                id,
                enrollment.id,
                uuid.clone(),
                &request_type,
                body,
                now,
            );
            command.form = form;
            if seals {
                d.to_seal.insert(id);
            }
            if let Change::Give(item) = change {
                tracked.row.given.push(Given {
                    item: item.id,
                    revision: item.revision,
                    undo: item.undo(),
                    command: uuid.clone(),
                    at: now,
                    failed: None,
                });
            }
            noted.push(json!({ "item": item, "request": request_type, "uuid": uuid }));
            d.commands.insert(id, Tracked::new(command));
        }
        d.device = Some(tracked);
        if !noted.is_empty() {
            d.push(enrollment.id);
            d.audit("library.queued", json!({ "commands": noted }));
        }
        d.track(enrollment);
        self.commit(d).await
    }

    /// The command that gives an item.
    async fn giving(&self, item: &LibraryItem, to: i64, turn: i64) -> Result<Option<Made>, Error> {
        let uuid = uuid_of(&format!("{}/{}/{to}/{turn}", item.id, item.revision));
        match &item.content {
            LibraryContent::Profile { content, .. } => {
                let row = self.store().secret(self.id(), *content).await?;
                let Some(row) = row else {
                    tracing::error!(organisation = %self.id(), item = %item.id, "the content of a profile is gone");
                    return Ok(None);
                };
                let Der(sealed) = row.sealed;
                let form = BodyForm::SealedProfile;
                Ok(Some((
                    uuid,
                    "InstallProfile".to_owned(),
                    sealed,
                    form,
                    false,
                )))
            }
            LibraryContent::Package(package) => {
                let source = match &package.file {
                    Some(file) => {
                        PackageSource::Url(format!("{}/manifest", self.package_url(file)))
                    }
                    None => PackageSource::Inline(package.manifest().into()),
                };
                let request = if package.managed {
                    InstallEnterpriseApplication::taking_over(source)
                } else {
                    InstallEnterpriseApplication::new(source)
                };
                Ok(Some(plain(uuid, &request.into())))
            }
        }
    }

    /// The command that takes an item away, if there is one.
    fn taking(given: &Given, from: i64) -> Option<Made> {
        let uuid = uuid_of(&format!("{}/away/{}/{from}", given.item, given.command));
        let body: CommandBody = match &given.undo {
            Undo::Profile(identifier) => RemoveProfile::new(identifier).into(),
            Undo::Application(identifier) => RemoveApplication::new(identifier).into(),
            Undo::Nothing => return None,
        };
        Some(plain(uuid, &body))
    }
}

/// UUID, request type, body, form, and whether it must be sealed.
type Made = (String, String, Vec<u8>, BodyForm, bool);

fn plain(uuid: String, body: &CommandBody) -> Made {
    let bytes = body.encode(&uuid).to_vec();
    let kind = body.request_type().to_owned();
    (uuid, kind, bytes, BodyForm::Plain, body.carries_secret())
}

fn uuid_of(name: &str) -> String {
    let uuid = Uuid::new_v5(&COMMANDS, name.as_bytes());
    uuid.hyphenated().to_string().to_ascii_uppercase()
}
