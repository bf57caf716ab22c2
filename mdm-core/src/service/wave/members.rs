//! Who is in a wave and when: members by serial number or by what they have in common, put in, taken out, moved to another wave,
//! given dates. What is at Apple already is touched by none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::super::Org;
use super::super::decision::{Decision, Tracked};
use super::super::sync::append;
use super::accept::sentence;
use super::against::Against;
use super::projects::still_open;
use super::{Member, WaveTerms, latest_deadline, platform_of, runbook_for};
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::ids::{DeviceId, ProjectId, Serial, WaveId};
use crate::migration::{Event, Move, MoveState};
use crate::organisation::check_name;
use crate::project::Project;
use crate::store::{Batch, Noun};
use crate::wave::{Preset, Wave, WaveState};

/// How long before its deadline a device is offered its migration, where nobody says otherwise.
pub(super) const LEAD: Duration = Duration::from_secs(7 * 86_400);
/// The deadline of a member for whom nobody has planned one yet.
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// Members of one commit.
pub(super) const CHUNK: usize = 500;
/// Devices that are read at a time.
const PAGE: u32 = 1000;

/// Devices by what they have in common; all of it holds for each. What is left out matters to none.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Candidates {
    /// Their platform.
    pub platform: Option<Platform>,
    /// A tag that they have.
    pub tag: Option<String>,
    /// The service that has them at Apple, by its identifier or its name there.
    pub service: Option<String>,
    /// A group of their owner.
    pub group: Option<String>,
    /// Their model at Apple begins with this, such as `iPhone16`.
    pub product: Option<String>,
    /// At most so many.
    pub most: Option<usize>,
}

/// The dates of members.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Dates {
    /// *Enforced after*.
    pub deadline: Option<Timestamp>,
    /// *Available from*.
    pub available_from: Option<Timestamp>,
}

impl Org {
    /// Makes a wave of a project, without members.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that another open wave has; [`Error::NotFound`], [`Error::Precondition`] for a closed
    /// project; the store's.
    pub async fn new_wave(
        &self,
        project: ProjectId,
        name: &str,
        preset: Option<Preset>,
    ) -> Result<Wave, Error> {
        self.new_wave_with(project, name, preset, &WaveTerms::default())
            .await
    }

    /// The same with what the wave has of its own.
    ///
    /// # Errors
    /// As [`Org::new_wave`]; [`Error::BadInput`] as [`WaveTerms::check`].
    pub async fn new_wave_with(
        &self,
        project: ProjectId,
        name: &str,
        preset: Option<Preset>,
        terms: &WaveTerms,
    ) -> Result<Wave, Error> {
        terms.check()?;
        let name = check_name(name)?;
        self.again_on_conflict(|| async {
            let project = self.open_project(project).await?;
            let waves = self.all_waves().await?;
            if waves.iter().any(|w| w.is_open() && w.name == name) {
                return Err(Error::bad_input("name", "is that of another open wave"));
            }
            let now = self.now();
            let id = WaveId(self.ids().next(now));
            let mut wave = Wave::draft(
                self.id(),
                id,
                name,
                project.destination,
                project.runbooks.clone(),
                now,
            );
            wave.project = Some(project.id);
            wave.preset = preset;
            wave.ade.clone_from(&terms.ade);
            wave.owner_texts.clone_from(&terms.owner_texts);
            let mut batch = Batch::new();
            if wave.ade.is_some() {
                self.put_assign_job(&mut batch, wave.destination).await?;
            }
            let detail =
                json!({ "wave": id, "name": name, "project": project.name, "preset": preset,
                    "ade": wave.ade, "owner_texts": wave.owner_texts.0.keys().collect::<Vec<_>>() });
            self.audit_into(&mut batch, "wave.new", detail);
            batch.put(wave.clone());
            self.store().commit(batch).await?;
            Ok(wave)
        })
        .await
    }

    async fn open_project(&self, id: ProjectId) -> Result<Project, Error> {
        let project = self.project(id).await?;
        still_open(&project)?;
        Ok(project)
    }

    pub(in crate::service) async fn wave_row(&self, id: WaveId) -> Result<Wave, Error> {
        let row = self.store().wave(self.id(), id).await?;
        row.ok_or(Error::NotFound("wave"))
    }

    /// A wave with which something can still be done. What comes after the end asks for its row alone: the signature of its gate, on
    /// which the next one waits, the word that the service that devices left lists them no more, and whatever only reads.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] for one that is closed, or whose project is; the store's.
    pub async fn open_wave(&self, id: WaveId) -> Result<Wave, Error> {
        let row = self.wave_row(id).await?;
        // First, for its waves are closed with it.
        if let Some(project) = self.project_of(&row).await? {
            still_open(&project)?;
        }
        if !row.is_open() {
            let why = "the wave is closed: all of its members have come to an end, and nothing is done with it any more";
            return Err(Error::Precondition(why.to_owned()));
        }
        Ok(row)
    }

    /// The devices that these words mean and that could be put into a wave: in no open one, known to Apple, not with us yet.
    ///
    /// # Errors
    /// [`Error::BadInput`] when nothing is said at all; the store's.
    pub async fn candidates(&self, of: &Candidates) -> Result<Vec<Serial>, Error> {
        let services = self.inventory().await?.map(|i| i.services);
        let services = services.unwrap_or_default();
        let service = of.service.as_ref().map(|name| {
            let known = services.iter().find(|(id, n)| id == name || n == name);
            known.map_or(name.as_str(), |(id, _)| id.as_str())
        });
        let ours: BTreeSet<String> = self
            .store()
            .servers(self.id())
            .await?
            .into_iter()
            .map(|s| s.uuid)
            .collect();
        let most = of.most.unwrap_or(usize::MAX);
        let (mut found, mut after) = (Vec::new(), DeviceId(0));
        while found.len() < most {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let meant = page.into_iter().filter(|d| is_meant(d, of, service, &ours));
            found.extend(meant.map(|d| d.serial));
        }
        found.truncate(most);
        Ok(found)
    }

    /// Puts devices into a wave that is open. Who comes into a wave that is submitted already is submitted with it the next time.
    /// Answers how many there were.
    ///
    /// # Errors
    /// [`Error::BadInput`] for devices that occur twice, are in an open wave, or have no platform or no runbook there: all of them are
    /// named, and nobody is put in; as for every wave.
    pub async fn add_members(
        &self,
        wave: WaveId,
        serials: &[Serial],
        dates: Dates,
    ) -> Result<usize, Error> {
        // What stands against one of them is said before anybody is put in; a thousand at a time are written.
        let row = self.open_wave(wave).await?;
        let project = self.project_of(&row).await?;
        let unique: BTreeSet<&Serial> = serials.iter().collect();
        if unique.len() != serials.len() || serials.is_empty() {
            let problem = "must be there, each once";
            return Err(Error::bad_input("serials", problem));
        }
        let known = self.devices_of(serials).await?;
        let mut against = Against::default();
        for serial in serials {
            match known.get(serial) {
                None => against.add(
                    serial,
                    "is not known here: read the organisation's devices first",
                ),
                Some(device) if device.open_move.is_some() => {
                    against.add(serial, "is in an open wave already");
                }
                Some(device) => against.take(serial, runbook_for(&row, device))?,
            }
        }
        against.none()?;
        let now = self.now();
        let end = project.as_ref().and_then(|p| p.window.not_after);
        let usual = end.unwrap_or(now + MONTH).min(latest_deadline(now));
        let deadline = dates.deadline.unwrap_or(usual);
        let available_from = dates
            .available_from
            .unwrap_or_else(|| self.usual_offer(project.as_ref(), deadline));
        for serials in serials.chunks(CHUNK) {
            self.again_on_conflict(|| async {
                let row = self.open_wave(wave).await?;
                let devices = self.devices_of(serials).await?;
                let mut members = Vec::with_capacity(serials.len());
                for serial in serials {
                    let device = devices.get(serial);
                    let reading = device.and_then(|d| d.reading.as_ref());
                    members.push(Member {
                        serial: serial.clone(),
                        deadline,
                        available_from,
                        original_server: reading.and_then(|r| r.assigned_server.clone()),
                    });
                }
                let mut batch = Batch::new();
                self.put_members(&mut batch, &row, &members).await?;
                // The wave must not be closed meanwhile.
                batch.put(row);
                Ok(self.store().commit(batch).await?)
            })
            .await?;
        }
        Ok(serials.len())
    }

    /// Takes devices out of a wave before anything of them is at Apple; all that can be taken out when none is named, and then a draft
    /// is closed. Answers how many there were.
    ///
    /// # Errors
    /// [`Error::BadInput`] for one that is not in it; [`Error::Precondition`] for one that is submitted: it is to be called back; and
    /// where none is named and all that are there are submitted: nobody is taken out then.
    pub async fn remove_members(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        reason: &str,
    ) -> Result<usize, Error> {
        sentence("reason", reason, false)?;
        let removed = self.each_planned(
            wave,
            serials,
            "submitted already: call it back with `mdmd wave cancel`",
            None,
            |d, attempt| {
                d.audit(
                    "move.withdrawn",
                    json!({ "wave": attempt.wave, "reason": reason }),
                );
                d.tell_move(&Event::WithdrawAsked);
                Ok(())
            },
        );
        let removed = removed.await?;
        if serials.is_none() {
            if removed == 0 {
                let submitted = self.submitted_members(wave).await?.len();
                if submitted > 0 {
                    let why = format!("nobody was taken out: {}", at_apple(submitted));
                    return Err(Error::Precondition(why));
                }
            }
            self.close_if_nobody(wave).await?;
        }
        Ok(removed)
    }

    /// Moves members to another open wave that goes to the same server entry. They keep their dates.
    ///
    /// # Errors
    /// As [`Org::remove_members`]; [`Error::BadInput`] for a wave that goes elsewhere or has no runbook for one of them.
    pub async fn move_members(
        &self,
        from: WaveId,
        to: WaveId,
        serials: &[Serial],
    ) -> Result<usize, Error> {
        let (source, target) = (self.open_wave(from).await?, self.open_wave(to).await?);
        if from == to || source.destination != target.destination {
            let problem = "must be another wave that goes to the same server entry";
            return Err(Error::bad_input("to", problem));
        }
        for device in self.devices_of(serials).await?.values() {
            runbook_for(&target, device)?;
        }
        let what = "submitted already: it goes with the wave that it is in";
        self.each_planned(from, Some(serials), what, Some(to), |d, _| {
            let device = d.device.as_ref().map(|t| &t.row);
            let device = device.ok_or(Error::NotFound("device"))?;
            let runbook = runbook_for(&target, device)?;
            d.audit(
                "move.moved",
                json!({ "from": source.name, "to": target.name }),
            );
            let mut ready = false;
            if let Some(tracked) = &mut d.attempt {
                tracked.row.wave = to;
                tracked.row.runbook = runbook;
                ready = matches!(tracked.row.state, MoveState::Ready);
            }
            // It was accepted as a member of the other.
            if ready {
                let blockers = Vec::new();
                d.tell_move(&Event::Checked { blockers });
            }
            Ok(())
        })
        .await
    }

    /// Gives members that are not at Apple yet these dates; all of them when none is named.
    ///
    /// # Errors
    /// As [`Org::remove_members`]; [`Error::BadInput`] for dates in the wrong order.
    pub async fn set_dates(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        deadline: Timestamp,
        available_from: Timestamp,
    ) -> Result<usize, Error> {
        if available_from > deadline {
            let problem = "is later than the deadline";
            return Err(Error::bad_input("available_from", problem));
        }
        if deadline <= self.now() {
            return Err(Error::bad_input("deadline", "has passed"));
        }
        let what = "submitted already: extend it";
        self.each_planned(wave, serials, what, None, |d, _| {
            place(d, deadline, available_from);
            Ok(())
        })
        .await
    }

    /// Gives members of a draft the runbooks of `wave`, as it would be.
    pub(super) async fn repin_members(&self, wave: &Wave) -> Result<(), Error> {
        self.each_planned(wave.id, None, "submitted already", None, |d, attempt| {
            let device = d.device.as_ref().map(|t| &t.row);
            let device = device.ok_or(Error::NotFound("device"))?;
            // One whose platform is not known any more is blocked, and keeps what it has.
            let runbook = runbook_for(wave, device).unwrap_or(attempt.runbook);
            if runbook != attempt.runbook {
                d.audit(
                    "move.runbook",
                    json!({ "wave": wave.name, "runbook": runbook }),
                );
            }
            if let Some(tracked) = &mut d.attempt {
                tracked.row.runbook = runbook;
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Does something with members that are not at Apple yet, some hundred in a commit: these, or all there are. Answers for how many
    /// that was; where one that is named was submitted, taken out or moved meanwhile, by somebody else, nothing is done for those of its
    /// commit.
    pub(super) async fn each_planned(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        otherwise: &str,
        with: Option<WaveId>,
        act: impl Fn(&mut Decision<'_>, &Move) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.open_wave(wave).await?;
        let members = self.members(wave).await?;
        let chosen: Vec<Move> = match serials {
            None => members.into_iter().filter(Move::is_planned).collect(),
            Some(serials) => {
                let mut open: BTreeMap<Serial, Move> = members
                    .into_iter()
                    .filter(|m| !m.is_ended())
                    .map(|m| (m.serial.clone(), m))
                    .collect();
                let mut chosen = Vec::with_capacity(serials.len());
                for serial in serials {
                    let attempt = open.remove(serial).ok_or_else(|| {
                        Error::bad_input(serial.as_str(), "is not in this wave, or named twice")
                    })?;
                    if !attempt.is_planned() {
                        return Err(Error::Precondition(format!("{serial}: {otherwise}")));
                    }
                    chosen.push(attempt);
                }
                chosen
            }
        };
        let mut done = 0_usize;
        for chunk in chosen.chunks(CHUNK) {
            let told = self.again_on_conflict(|| async {
                let (mut batch, mut told) = (Batch::new(), 0_usize);
                if let Some(other) = with {
                    // It must not be closed or changed meanwhile.
                    let row = self.open_wave(other).await?;
                    batch.expect(Noun::Wave, self.id(), other.0, row.version);
                }
                for before in chunk {
                    let attempt = self.store().attempt(self.id(), before.id).await?;
                    let here = attempt.filter(|a| a.wave == wave && !a.is_ended());
                    let why = match &here {
                        Some(attempt) if attempt.is_planned() => None,
                        Some(_) => Some(otherwise),
                        None => Some("is not in this wave any more"),
                    };
                    if let (Some(why), Some(_)) = (why, serials) {
                        let serial = &before.serial;
                        return Err(Error::Precondition(format!("{serial}: {why}")));
                    }
                    let Some(attempt) = here.filter(Move::is_planned) else {
                        continue;
                    };
                    told += 1;
                    let now = self.now();
                    let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
                    self.load_for_attempt(&mut d, attempt.clone()).await?;
                    act(&mut d, &attempt)?;
                    append(&mut batch, d.into_batch());
                }
                self.store().commit(batch).await?;
                Ok(told)
            });
            done += match told.await {
                Err(Error::Precondition(why)) if done > 0 => {
                    let why = format!("{why}; for {done} before it that was done");
                    return Err(Error::Precondition(why));
                }
                told => told?,
            };
        }
        Ok(done)
    }
}

/// Gives the attempt of a decision these dates.
pub(super) fn place(d: &mut Decision<'_>, deadline: Timestamp, available_from: Timestamp) {
    let Some(Tracked { row, .. }) = &mut d.attempt else {
        return;
    };
    if (row.deadline, row.available_from) == (deadline, available_from) {
        return;
    }
    (row.deadline, row.available_from) = (deadline, available_from);
    let ready = matches!(row.state, MoveState::Ready);
    d.audit(
        "move.planned",
        json!({ "deadline": deadline, "available_from": available_from }),
    );
    // It was accepted with other dates.
    if ready {
        let blockers = Vec::new();
        d.tell_move(&Event::Checked { blockers });
    }
}

fn is_meant(
    device: &Device,
    of: &Candidates,
    service: Option<&str>,
    ours: &BTreeSet<String>,
) -> bool {
    let Some(reading) = device.reading.as_ref().filter(|r| !r.unknown) else {
        return false;
    };
    let Some(at) = reading.assigned_server.as_deref() else {
        return false;
    };
    let product = reading
        .product
        .as_deref()
        .or(device.facts.product.as_deref());
    device.open_move.is_none()
        && !ours.contains(at)
        && platform_of(device).is_some()
        && of.platform.is_none_or(|p| platform_of(device) == Some(p))
        && of.tag.as_ref().is_none_or(|tag| device.tags.contains(tag))
        && of
            .group
            .as_ref()
            .is_none_or(|group| device.groups.contains(group))
        && service.is_none_or(|service| service == at)
        && of
            .product
            .as_ref()
            .is_none_or(|begin| product.is_some_and(|p| p.starts_with(begin.as_str())))
}

impl Wave {
    /// Whether anything of it was submitted.
    #[must_use]
    pub const fn is_submitted(&self) -> bool {
        matches!(self.state, WaveState::Submitted { .. })
    }
}

/// That nothing is done with members of which something is at Apple, and what can be done instead.
pub(super) fn at_apple(submitted: usize) -> String {
    format!(
        "{} {} submitted already: call {} back with `mdmd wave cancel`, or have no more offered their migration for now with `mdmd wave pause`",
        counted(submitted, "device"),
        agree(submitted, "is", "are"),
        agree(submitted, "it", "them")
    )
}

pub(super) fn nobody() -> Error {
    let why = "the wave has no member that is not submitted yet: there is nobody to do it for";
    Error::Precondition(why.to_owned())
}
