//! Migrations of a list of devices: planned with the exact requests, done with the digest of the plan, proved by re-reading.

use std::collections::{BTreeMap, BTreeSet};

use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::{ErrandId, Serial, ServerId, WaveId};
use mdm_core::migration::{Move, PinnedRunbook, sent_runbooks, visible_state};
use mdm_core::service::{Act, MigrationAct, Org};
use mdm_core::wave::{Wave, WaveState};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::described::{Sent, Shows, told};
use super::{About, Answer, Office, Page, refused, shown};

/// The acts by name.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    Assign,
    Extend,
    Force,
    Cancel,
    Return,
}

/// An act as it is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    act: Name,
    #[serde(default)]
    serials: Vec<Serial>,
    /// In place of serial numbers: every member of a wave that is at Apple.
    wave: Option<WaveId>,
    deadline: Option<Timestamp>,
    available_from: Option<Timestamp>,
    destination: Option<ServerId>,
    #[serde(default, deserialize_with = "sent_runbooks")]
    runbooks: BTreeMap<Platform, PinnedRunbook>,
    reason: Option<String>,
    /// The service to return to, by its identifier at Apple.
    to: Option<String>,
    /// That of the plan; only where it is done.
    digest: Option<String>,
}

impl Asked {
    /// The act as the library knows it.
    async fn act(self, office: &Office, org: &Org) -> Result<Act, Refusal> {
        let bad = |field: &str, problem: &str| refused(Error::bad_input(field, problem));
        if self.act != Name::Assign
            && (self.available_from.is_some()
                || self.destination.is_some()
                || !self.runbooks.is_empty())
        {
            return Err(bad(
                "act",
                "takes a destination, runbooks and an offer only to assign",
            ));
        }
        if self.act == Name::Cancel && self.deadline.is_some() {
            return Err(bad("deadline", "must not be there to cancel"));
        }
        if self.act != Name::Return && self.to.is_some() {
            return Err(bad("to", "is for a return only"));
        }
        let deadline =
            |sent: Option<Timestamp>| sent.ok_or_else(|| bad("deadline", "must be there"));
        let what = match self.act {
            Name::Assign => {
                let runbooks = org.runbooks_of_list(self.runbooks).await;
                let runbooks = runbooks.map_err(refused)?;
                let destination = match self.destination {
                    Some(destination) => destination,
                    None => only_server(office, org).await?,
                };
                MigrationAct::Assign {
                    destination,
                    deadline: deadline(self.deadline)?,
                    available_from: self.available_from,
                    runbooks,
                }
            }
            Name::Extend => MigrationAct::Extend {
                deadline: deadline(self.deadline)?,
            },
            Name::Force => MigrationAct::Force {
                deadline: deadline(self.deadline)?,
            },
            Name::Cancel => MigrationAct::Cancel,
            Name::Return => MigrationAct::Return {
                deadline: self.deadline,
                to: self.to,
            },
        };
        let serials = match (self.wave, self.serials.is_empty()) {
            (None, _) => self.serials,
            // Taking time away from people takes a list of them.
            (Some(wave), true) if matches!(self.act, Name::Extend | Name::Cancel) => {
                org.submitted_members(wave).await.map_err(refused)?
            }
            _ => {
                let problem = "takes the place of serial numbers, to extend and to cancel";
                return Err(bad("wave", problem));
            }
        };
        Ok(Act {
            what,
            serials,
            reason: self.reason,
        })
    }
}

/// Our server entry, where there is only one.
pub(super) async fn only_server(office: &Office, org: &Org) -> Result<ServerId, Refusal> {
    let servers = office
        .mdm
        .store()
        .servers(org.organisation().id)
        .await
        .map_err(|error| refused(error.into()))?;
    match servers.as_slice() {
        [only] => Ok(only.id),
        [] => Err(refused(Error::Precondition(
            "there is no server entry yet: bring in a server token first".to_owned(),
        ))),
        _ => Err(refused(Error::bad_input(
            "destination",
            "there are several server entries; name one by its number",
        ))),
    }
}

pub(super) async fn plan(
    About { office, org, .. }: About,
    Sent(sent): Sent<Asked>,
) -> Answer<impl Shows> {
    let act = sent.act(&office, &org).await?;
    shown(org.plan_act(&act).await.map_err(refused)?)
}

pub(super) async fn act(
    About { office, org, .. }: About,
    Sent(mut sent): Sent<Asked>,
) -> Answer<impl Shows> {
    let digest = sent.digest.take().ok_or_else(|| {
        let problem = "must be that of the plan that was accepted";
        refused(Error::bad_input("digest", problem))
    })?;
    let act = sent.act(&office, &org).await?;
    let done = org.do_act(&act, &digest).await.map_err(refused)?;
    office.poke.notify_one();
    shown(done)
}

/// Which requests a proof is asked of.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Proving {
    /// Their numbers, with commas between them, such as `1,2`.
    #[serde(default)]
    errands: String,
}

pub(super) async fn proof(About { org, which, .. }: About<Proving>) -> Answer<impl Shows> {
    let errands: Result<Vec<ErrandId>, _> = which
        .errands
        .split(',')
        .map(|text| text.trim().parse().map(ErrandId))
        .collect();
    let errands = errands.map_err(|_| {
        refused(Error::bad_input(
            "errands",
            "must be numbers with commas between them",
        ))
    })?;
    shown(org.act_proof(&errands).await.map_err(refused)?)
}

/// For which devices; none for all of which something is under way.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusOf {
    #[serde(default)]
    serials: Vec<Serial>,
}

pub(super) async fn status(
    About { office, org, .. }: About,
    Sent(of): Sent<StatusOf>,
) -> Answer<impl Shows> {
    let attempts = if of.serials.is_empty() {
        open_attempts(&office, &org).await
    } else {
        attempts_of(&office, &org, &of.serials).await
    };
    let mut rows = Vec::new();
    let mut without: BTreeSet<Serial> = of.serials.iter().cloned().collect();
    for attempt in attempts.map_err(refused)? {
        without.remove(&attempt.serial);
        rows.push(row(&office, &org, &attempt).await.map_err(refused)?);
    }
    shown(told! { migrations: rows, without: without })
}

/// Calls `take` with every member of every wave that `keep` lets through, oldest first.
async fn each_member(
    office: &Office,
    org: &Org,
    keep: impl Fn(&Wave) -> bool,
    mut take: impl FnMut(Move),
) -> Result<(), Error> {
    let store = office.mdm.store();
    let id = org.organisation().id;
    let mut after = WaveId(0);
    loop {
        let waves = store.waves(id, after, 100).await?;
        let Some(last) = waves.last() else {
            return Ok(());
        };
        after = last.id;
        for wave in waves.iter().filter(|wave| keep(wave)) {
            org.members(wave.id).await?.into_iter().for_each(&mut take);
        }
    }
}

async fn open_attempts(office: &Office, org: &Org) -> Result<Vec<Move>, Error> {
    let mut all = Vec::new();
    let open = |wave: &Wave| !matches!(wave.state, WaveState::Closed { .. });
    each_member(office, org, open, |attempt| {
        if !attempt.is_ended() {
            all.push(attempt);
        }
    })
    .await?;
    Ok(all)
}

/// The newest attempt of each device: the open one, or else the last in any wave.
async fn attempts_of(office: &Office, org: &Org, serials: &[Serial]) -> Result<Vec<Move>, Error> {
    let store = office.mdm.store();
    let id = org.organisation().id;
    let mut found: BTreeMap<Serial, Move> = BTreeMap::new();
    for chunk in serials.chunks(1000) {
        for device in store.devices_by_serial(id, chunk).await? {
            let open = match device.open_move {
                Some(open) => store.attempt(id, open).await?,
                None => None,
            };
            if let Some(attempt) = open {
                found.insert(device.serial, attempt);
            }
        }
    }
    let ended: BTreeSet<&Serial> = serials.iter().filter(|s| !found.contains_key(s)).collect();
    if !ended.is_empty() {
        let mut last = BTreeMap::new();
        each_member(
            office,
            org,
            |_| true,
            |attempt| {
                if ended.contains(&attempt.serial) {
                    last.insert(attempt.serial.clone(), attempt);
                }
            },
        )
        .await?;
        found.extend(last);
    }
    Ok(serials.iter().filter_map(|s| found.remove(s)).collect())
}

/// Where one attempt stands, and what Apple last said of its device.
async fn row(office: &Office, org: &Org, attempt: &Move) -> Result<impl Shows + use<>, Error> {
    let set_up = match attempt.set_up() {
        Some(id) => org.set_up(id).await?,
        None => None,
    };
    let device = office
        .mdm
        .store()
        .device(org.organisation().id, attempt.device)
        .await?;
    let reading = device.as_ref().and_then(|d| d.reading.as_ref());
    Ok(told! {
        serial: attempt.serial.clone(),
        wave: attempt.wave,
        state: visible_state(Some(attempt), set_up.as_ref()),
        deadline: attempt.deadline,
        available_from: attempt.available_from,
        apple: reading.and_then(|r| r.status.clone()),
        service: reading.and_then(|r| r.assigned_server.clone()),
        read: reading.map(|r| r.seen),
        attention: attempt.attention.clone(),
        exceptions: attempt.exceptions.clone(),
        ended: attempt.ended,
    })
}

pub(super) async fn requests(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let rows = org
        .errands(ErrandId(which.after.0), which.limit())
        .await
        .map_err(refused)?;
    let next = super::next_page(&which, rows.iter().map(|e| e.id.0));
    shown(told! { requests: rows, next: next })
}
