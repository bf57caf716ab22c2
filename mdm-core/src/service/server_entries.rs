//! Server entries as a whole: what is looked at before a new one is taken, for all of its devices get our ADE profile, and
//! how one is given up again. Changes nothing at Apple.

use std::collections::BTreeSet;

use serde_json::json;

use super::Org;
use super::ports::{Account, ServerCredential};
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::device::Device;
use crate::errand::ErrandKind;
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, ErrandId, SecretId, Serial, ServerId, WaveId};
use crate::job::{Job, JobKind};
use crate::secret::Secret;
use crate::store::{Batch, Lease};
use crate::wave::{Server, SyncCursor};

/// Devices of an entry that was given up that are looked at together.
const TOGETHER: u32 = 500;

/// On what terms a server token is brought in.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "built by whoever brings it in")]
pub struct TokenTerms {
    /// The entry that it must be for.
    pub renews: Option<ServerId>,
    /// A new entry is taken although its devices look like those of another service.
    pub take_over: bool,
}

/// A server entry whose token was brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryTaken {
    /// Its key.
    pub server: ServerId,
    /// Apple's name of it.
    pub name: String,
    /// The organisation, as Apple names it.
    pub organisation: Option<String>,
    /// How many devices the first page of its list has; `None` of an entry that was here before.
    pub devices: Option<usize>,
    /// There are more than these.
    pub more: bool,
}

/// The first page of an entry's list.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    devices: usize,
    more: bool,
}

impl Org {
    /// Brings in a server token (Apple's JSON) as [`Org::import_server_token`] does. Of an entry that is new here its list is
    /// looked at first: where its devices look like those of another service, it takes [`TokenTerms::take_over`].
    ///
    /// # Errors
    /// [`Error::Precondition`] for such an entry, and as [`Org::import_server_token`].
    pub async fn take_server_token(
        &self,
        token: &Secret,
        terms: TokenTerms,
    ) -> Result<EntryTaken, Error> {
        self.take_token_made_for(token, terms, None).await
    }

    /// The same with a server token file (`.p7m`) that was made for one of the kept key pairs, which is then known to be the
    /// one that the portal has for this entry.
    ///
    /// # Errors
    /// As [`Org::open_token_file`] and [`Org::take_server_token`].
    pub async fn take_token_file(
        &self,
        file: &[u8],
        terms: TokenTerms,
    ) -> Result<EntryTaken, Error> {
        let (token, key) = self.open_token_made_for(file).await?;
        self.take_token_made_for(&token, terms, Some(key)).await
    }

    async fn take_token_made_for(
        &self,
        token: &Secret,
        terms: TokenTerms,
        made_for: Option<Option<SecretId>>,
    ) -> Result<EntryTaken, Error> {
        let (credential, account) = self.entry_of(token, terms.renews).await?;
        let known = self.store().servers(self.id()).await?;
        let is_new = !known.iter().any(|s| s.uuid == account.server_uuid);
        if is_new && terms.renews.is_none() {
            // Before anybody is asked for a word that would help nothing.
            self.must_not_be_left(&account).await?;
        }
        let looked = match is_new && terms.renews.is_none() {
            true => Some(
                self.look_at_list(&credential, &account, &known, terms.take_over)
                    .await?,
            ),
            false => None,
        };
        let server = self
            .keep_account(token, &account, &credential, terms.renews, made_for)
            .await?;
        Ok(EntryTaken {
            server,
            name: account.server_name,
            organisation: account.organisation,
            devices: looked.map(|l| l.devices),
            more: looked.is_some_and(|l| l.more),
        })
    }

    /// Looks at the beginning of the list of a new entry. Another service stands there when more devices have its ADE profile in
    /// force than are ours, or when none of them is ours while other entries are; a first entry may have devices that are new.
    async fn look_at_list(
        &self,
        credential: &ServerCredential,
        account: &Account,
        entries: &[Server],
        take_over: bool,
    ) -> Result<Looked, Error> {
        let assignment = &self.ports().assignment;
        let page = assignment.fetch(credential, None, self.now()).await?;
        let mut serials: Vec<Serial> = page.devices.iter().map(|(s, _)| s.clone()).collect();
        serials.sort_unstable();
        serials.dedup();
        let looked = Looked {
            devices: serials.len(),
            more: page.more,
        };
        if take_over || serials.is_empty() {
            return Ok(looked);
        }
        let here = self.store().devices_by_serial(self.id(), &serials).await?;
        let mut profiles = Vec::new();
        for server in here.iter().filter_map(|d| Some(d.record.as_ref()?.server)) {
            if !profiles.iter().any(|(id, _)| *id == server) {
                // One that was given up too: what was defined there is still ours.
                profiles.push((server, self.store().server(self.id(), server).await?));
            }
        }
        let defined = |uuid: &str| {
            let mut rows = profiles.iter().filter_map(|(_, row)| row.as_ref());
            rows.any(|row| {
                let mut all = row.profiles.values().chain(&row.profile);
                all.any(|p| p.uuid == uuid)
            })
        };
        let listed = |device: &Device| {
            let record = device.record.as_ref().filter(|r| !r.gone);
            record.is_some_and(|r| entries.iter().any(|s| s.id == r.server))
        };
        let known = here
            .iter()
            .filter_map(|d| (d.enrollment.is_some() || listed(d)).then_some(&d.serial));
        let known: BTreeSet<&Serial> = known.collect();
        let (mut ours, mut foreign) = (BTreeSet::new(), BTreeSet::new());
        for (serial, record) in &page.devices {
            let in_force = record.profile_in_force();
            if in_force.is_some_and(&defined) || known.contains(serial) {
                ours.insert(serial);
            } else if in_force.is_some() {
                foreign.insert(serial);
            }
        }
        // One that came to us by invitation says nothing of all the others.
        let is_ours = match foreign.len() {
            0 => !ours.is_empty() || entries.is_empty(),
            others => others <= ours.len(),
        };
        if is_ours {
            return Ok(looked);
        }
        let more = if looked.more { "more than " } else { "" };
        let what = match foreign.len() {
            0 => "none of them is ours".to_owned(),
            some => format!("{some} of them have the ADE profile of another service"),
        };
        let whose = account.organisation.as_deref().unwrap_or("-");
        Err(Error::Precondition(format!(
            "{} ({whose}) has {more}{} in its list, and {what}: is it the service that they leave? Nothing was kept. \
             All of them would get our ADE profile; `take_over` (`--take-over`) wants just that",
            account.server_name,
            counted(looked.devices, "device")
        )))
    }

    /// Gives up a server entry: its token is destroyed, its list is read no more, and its devices are in none of our lists
    /// from then on. Nothing changes at Apple: devices keep the ADE profile that they were assigned there. `name` is what the
    /// entry is called, typed by whoever wants it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::BadInput`] for another name; [`Error::Precondition`] names the project, the wave, the
    /// request or the enrolled devices that still need it; the store's.
    pub async fn remove_server_entry(&self, id: ServerId, name: &str) -> Result<Server, Error> {
        self.again_on_conflict(|| async {
            let row = self.store().server(self.id(), id).await?;
            let mut row = row.ok_or(Error::NotFound("server entry"))?;
            if row.removed.is_some() {
                return Ok(row);
            }
            if row.name != name {
                let problem = format!("must be the name of the server entry, {}", row.name);
                return Err(Error::bad_input("name", problem));
            }
            if let Some(user) = self.user_of(&row).await? {
                return Err(Error::Precondition(format!(
                    "{} cannot be removed: {user}",
                    row.name
                )));
            }
            let now = self.now();
            let mut batch = Batch::new();
            self.destroy_secret(&mut batch, row.token).await?;
            // Whoever begins something there writes the entry's row as well (`hold_entry`): what is begun meanwhile is seen.
            let mut organisation = self.fresh().await?;
            organisation.servers.retain(|other| *other != id);
            batch.put(organisation);
            row.removed = Some(now);
            row.needs_person = None;
            row.profiles_need = None;
            // Whoever is reading the list now does not stand here any more.
            row.cursor = SyncCursor::Sweeping {
                cursor: String::new(),
                begun: now,
            };
            let kind = JobKind::Sync { server: id };
            batch.put(Job::new(self.id(), row.sync_job, now, kind));
            let detail = json!({ "server": row.name, "id": id, "uuid": row.uuid });
            self.audit_into(&mut batch, "server-entry.removed", detail);
            batch.put(row.clone());
            self.store().commit(batch).await?;
            self.forget_secret(row.token);
            Ok(row)
        })
        .await
    }

    /// A server entry that was not given up.
    pub(super) async fn server_entry(&self, id: ServerId) -> Result<Option<Server>, Error> {
        let row = self.store().server(self.id(), id).await?;
        Ok(row.filter(|row| row.removed.is_none()))
    }

    /// A server entry at which something begins, whose row is written with that: it is not given up meanwhile.
    pub(super) async fn hold_entry(
        &self,
        batch: &mut Batch,
        id: ServerId,
    ) -> Result<Server, Error> {
        let row = self.server_entry(id).await?;
        let row = row.ok_or(Error::NotFound("server entry"))?;
        batch.put(row.clone());
        Ok(row)
    }

    /// What still needs a server entry, in words.
    async fn user_of(&self, row: &Server) -> Result<Option<String>, Error> {
        let projects = self.store().projects(self.id()).await?;
        let open = |p: &&crate::project::Project| p.closed.is_none() && p.destination == row.id;
        if let Some(project) = projects.iter().find(open) {
            return Ok(Some(format!(
                "it is the destination of the project {}; close that first",
                project.name
            )));
        }
        let mut after = WaveId(0);
        loop {
            let page = self.store().waves(self.id(), after, 500).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let mut page = page.iter();
            if let Some(wave) = page.find(|w| w.is_open() && w.destination == row.id) {
                return Ok(Some(format!(
                    "the wave {} goes there and is open",
                    wave.name
                )));
            }
        }
        let mut after = ErrandId(0);
        loop {
            let page = self.store().open_errands(self.id(), after, 500).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let to = |kind: &ErrandKind| match kind {
                ErrandKind::Schedule { server, .. } | ErrandKind::Return { server } => {
                    *server == row.uuid
                }
                _ => false,
            };
            if let Some(errand) = page.iter().find(|e| to(&e.kind)) {
                return Ok(Some(format!(
                    "the request {} to Apple about it has not ended: `mdmd report requests` shows it",
                    errand.id
                )));
            }
        }
        let enrolled = self.enrolled_in_list(row.id).await?;
        Ok((enrolled > 0).then(|| {
            format!("{enrolled} of its devices are enrolled here: move them to another entry first")
        }))
    }

    /// How many devices of an entry's list are enrolled here.
    async fn enrolled_in_list(&self, server: ServerId) -> Result<usize, Error> {
        let (mut count, mut after) = (0, DeviceId(0));
        loop {
            let page = self.store().devices(self.id(), after, TOGETHER).await?;
            let Some(last) = page.last() else {
                return Ok(count);
            };
            after = last.id;
            let listed = page.iter().filter(|device| {
                let record = device.record.as_ref();
                record.is_some_and(|record| record.server == server && !record.gone)
            });
            count += listed.filter(|device| device.enrollment.is_some()).count();
        }
    }

    /// Marks the devices of an entry that was given up as gone from its list, so many at a time.
    pub(super) async fn leave_list(
        &self,
        job: &Job,
        lease: Lease,
        server: ServerId,
    ) -> Result<(), Error> {
        let ever = Timestamp::from_millis(i64::MAX);
        loop {
            let last = self
                .again_on_conflict(|| async {
                    let now = self.now();
                    let listed = self.store();
                    let listed = listed
                        .devices_unseen_since(self.id(), server, ever, TOGETHER)
                        .await?;
                    let mut batch = Batch::new();
                    for mut device in listed {
                        if let Some(record) = device.record.as_mut() {
                            record.gone = true;
                            record.given_up = true;
                            record.op_date = None;
                            record.seen = now;
                        }
                        // What a wave toward another entry of ours wants of it stays.
                        if device.open_move.is_none() {
                            device.assignment.wanted = None;
                        }
                        batch.put(device);
                    }
                    if batch.is_empty() {
                        return Ok(true);
                    }
                    self.store().commit(batch).await?;
                    Ok(false)
                })
                .await?;
            if last {
                return self.job_done(job, lease).await;
            }
        }
    }

    /// Whom a token opens, as Apple says it.
    pub(super) async fn entry_of(
        &self,
        token: &Secret,
        renews: Option<ServerId>,
    ) -> Result<(ServerCredential, Account), Error> {
        if let Some(renewed) = renews
            && self.server_entry(renewed).await?.is_none()
        {
            // Before the token is shown to anybody.
            return Err(Error::bad_input(
                "renews",
                format!("there is no server entry {renewed}: `mdmd token status` lists them"),
            ));
        }
        let credential = ServerCredential {
            organisation: self.id(),
            server: renews.unwrap_or_else(|| ServerId(self.ids().next(self.now()))),
            token: token.clone(),
        };
        let account = self.ports().assignment.account(&credential).await;
        let account = account.map_err(|error| match error {
            PortError::NeedsPerson(what) => PortError::NeedsPerson(format!(
                "{what} It was not kept here: import it again then."
            )),
            error => error,
        })?;
        Ok((credential, account))
    }
}
