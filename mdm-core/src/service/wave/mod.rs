//! Waves: planned, checked, accepted, submitted as errands of few requests. Sends nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::Org;
use super::decision::{Decision, Tracked};
use super::ports::ApiKey;
use super::sync::append;
use super::what_if::{Detail, WhatIfReport};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::errand::{ErrandKind, ErrandMember};
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, RunbookId, Serial, ServerId, WaveId};
use crate::migration::{Event, Move, PinnedRunbook};
use crate::organisation::AdeOptions;
use crate::store::Batch;
use crate::wave::{Wave, WaveState};

/// Apple's limit for a deadline.
const NINETY_DAYS: Duration = Duration::from_secs(90 * 86_400);

/// A member as planned.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Member {
    /// Which device.
    pub serial: Serial,
    /// When Apple enforces it.
    pub deadline: Timestamp,
    /// When our profile is assigned.
    pub available_from: Timestamp,
    /// The server entry that it leaves, when known.
    pub original_server: Option<String>,
}

/// What stands against a submission, and the digest of what would be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhatIf {
    /// The wave.
    pub wave: WaveId,
    /// What blocks, by serial number.
    pub blockers: BTreeMap<Serial, Vec<String>>,
    /// What stands against all of them: nothing is submitted before it is mended.
    pub against_all: Vec<String>,
    /// What does not block and should be known.
    pub warnings: Vec<String>,
    /// Binds members, deadlines, runbooks and findings: an acceptance of anything else is void.
    pub digest: String,
    /// All of it, check by check.
    pub report: WhatIfReport,
}

impl Org {
    /// Plans a wave: its members, each with the runbook of its platform.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a serial number that is not ours, is in an open wave, or whose platform is not known.
    pub async fn plan_wave(
        &self,
        name: &str,
        destination: ServerId,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
        members: &[Member],
    ) -> Result<WaveId, Error> {
        let mut pinned = BTreeMap::new();
        for (platform, runbook) in runbooks {
            pinned.insert(
                *platform,
                self.pin(&format!("{name} {}", platform.as_str()), runbook.clone())
                    .await?,
            );
        }
        self.again_on_conflict(|| self.draft(name, destination, &pinned, members))
            .await
    }

    async fn draft(
        &self,
        name: &str,
        destination: ServerId,
        pinned: &BTreeMap<Platform, RunbookId>,
        members: &[Member],
    ) -> Result<WaveId, Error> {
        let now = self.now();
        let id = WaveId(self.ids().next(now));
        let mut batch = Batch::new();
        batch.put(Wave::draft(
            self.id(),
            id,
            name,
            destination,
            pinned.clone(),
            now,
        ));
        // Who holds which licence is read for what is planned, and before anybody asks what is lacking.
        self.put_stock_jobs(&mut batch, &self.locations().await?);
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let unique: BTreeSet<&Serial> = serials.iter().collect();
        if unique.len() != serials.len() {
            return Err(Error::bad_input("members", "a serial number occurs twice"));
        }
        let devices: BTreeMap<Serial, Device> = self
            .store()
            .devices_by_serial(self.id(), &serials)
            .await?
            .into_iter()
            .map(|d| (d.serial.clone(), d))
            .collect();
        for member in members {
            let known = devices.get(&member.serial);
            let mut tracked = match known {
                Some(device) if device.open_move.is_some() => {
                    return Err(Error::bad_input(
                        member.serial.as_str(),
                        "is in an open wave already",
                    ));
                }
                Some(device) => Tracked::read(device.clone()),
                // The device is not in our list yet: that is what the migration is for.
                None => Tracked::new(Device::new(
                    self.id(),
                    DeviceId(self.ids().next(now)),
                    member.serial.clone(),
                )),
            };
            let platform = platform_of(&tracked.row).ok_or_else(|| {
                Error::bad_input(
                    member.serial.as_str(),
                    "its platform is not known: read it at the organisation API first",
                )
            })?;
            let runbook = *pinned.get(&platform).ok_or_else(|| {
                Error::bad_input(
                    member.serial.as_str(),
                    format!("the wave has no runbook for {}", platform.as_str()),
                )
            })?;
            let attempt = Move::plan(
                self.id(),
                MoveId(self.ids().next(now)),
                id,
                tracked.row.id,
                member.serial.clone(),
                runbook,
                member.deadline,
                member.available_from,
                member.original_server.clone(),
                now,
            );
            tracked.row.open_move = Some(attempt.id);
            tracked.row.assignment.wanted = None;
            tracked.row.assignment.from = None;
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            d.device = Some(tracked);
            d.audit("move.planned", json!({ "wave": name, "deadline": member.deadline, "available_from": member.available_from }));
            d.batch.put(attempt);
            append(&mut batch, d.into_batch());
        }
        self.store().commit(batch).await?;
        Ok(id)
    }

    /// What would happen if the wave were submitted now: every check of every member.
    ///
    /// # Errors
    /// [`Error::NotFound`], the vault's, the store's.
    pub async fn what_if(&self, wave: WaveId) -> Result<WhatIf, Error> {
        let row = self.store().wave(self.id(), wave).await?;
        let row = row.ok_or(Error::NotFound("wave"))?;
        let report = self.look_at_wave(wave, Detail::Problems).await?;
        let rules = &self.organisation.settings.unknowns;
        let found: BTreeMap<&Serial, Vec<_>> = report
            .members
            .iter()
            .map(|member| (&member.serial, member.weighed(rules)))
            .collect();
        let mut bound = Vec::new();
        for attempt in self.members(wave).await? {
            bound.push(json!([
                attempt.serial,
                attempt.deadline,
                attempt.available_from,
                attempt.runbook,
                found.get(&attempt.serial),
            ]));
        }
        let (against_all, mut warnings) = (report.against_all(), report.warnings());
        warnings.extend(self.app_warnings(&row).await?);
        let digest = crate::identity::sha256_hex(
            json!([
                row.name,
                row.runbooks,
                row.ade,
                bound,
                against_all,
                warnings
            ])
            .to_string()
            .as_bytes(),
        );
        Ok(WhatIf {
            wave,
            blockers: report.blockers(rules),
            against_all,
            warnings,
            digest,
            report,
        })
    }

    /// Submits a wave whose what-if was accepted: writes the requests as jobs, and nothing more. Blocked members stay behind.
    ///
    /// # Errors
    /// [`Error::Precondition`] when members, findings or runbooks are no longer those that were accepted.
    pub async fn submit(&self, wave: WaveId, digest: &str, actor: &str) -> Result<usize, Error> {
        self.again_on_conflict(|| self.submit_once(wave, digest, actor))
            .await
    }

    async fn submit_once(&self, wave: WaveId, digest: &str, actor: &str) -> Result<usize, Error> {
        let what_if = self.what_if(wave).await?;
        if what_if.digest != digest {
            return Err(Error::Precondition(
                "members, findings or runbooks have changed since they were accepted".to_owned(),
            ));
        }
        if !what_if.against_all.is_empty() {
            return Err(Error::Precondition(what_if.against_all.join("; ")));
        }
        let mut row = self
            .store()
            .wave(self.id(), wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        if row.state != WaveState::Draft {
            return Err(Error::Precondition(
                "the wave is submitted already".to_owned(),
            ));
        }
        let now = self.now();
        let mut batch = Batch::new();
        let mut buckets: BTreeMap<Timestamp, Vec<ErrandMember>> = BTreeMap::new();
        let mut going = Vec::new();
        for attempt in self.members(wave).await? {
            let blockers = what_if
                .blockers
                .get(&attempt.serial)
                .cloned()
                .unwrap_or_default();
            let deadline = attempt.deadline;
            let blocked = !blockers.is_empty();
            if !blocked {
                going.push(attempt.clone());
                buckets.entry(deadline).or_default().push(ErrandMember {
                    device: attempt.device,
                    serial: attempt.serial.clone(),
                    attempt: Some(attempt.id),
                });
            }
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            self.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(&Event::Checked { blockers });
            if !blocked {
                d.tell_move(&Event::Accepted);
                d.tell_move(&Event::SubmitAsked { deadline });
            }
            append(&mut batch, d.into_batch());
        }
        let server = self
            .store()
            .server(self.id(), row.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        // Licences first: a device may come as soon as it is offered its migration.
        self.put_licence_errands(&mut batch, wave, &going).await?;
        for (deadline, members) in buckets {
            let kind = ErrandKind::Schedule {
                server: server.uuid.clone(),
                deadline,
            };
            self.put_errands(&mut batch, Some(wave), &kind, &members, None, actor);
        }
        row.state = WaveState::Submitted {
            by: actor.to_owned(),
            at: now,
            digest: digest.to_owned(),
        };
        batch.put(row);
        self.store().commit(batch).await?;
        Ok(going.len())
    }

    /// All members of a wave.
    ///
    /// # Errors
    /// The store's.
    pub async fn members(&self, wave: WaveId) -> Result<Vec<Move>, Error> {
        let mut all = Vec::new();
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, after, 1000).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page);
        }
    }

    /// Gives a wave an ADE profile of its own; `None` takes it away. Devices that are offered their migration already get the
    /// new one.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn set_wave_ade_profile(
        &self,
        wave: WaveId,
        options: Option<&AdeOptions>,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut row = self
                .store()
                .wave(self.id(), wave)
                .await?
                .ok_or(Error::NotFound("wave"))?;
            row.ade = options.cloned();
            let mut batch = Batch::new();
            self.audit_into(
                &mut batch,
                "wave.ade-profile",
                json!({ "wave": row.name, "options": row.ade }),
            );
            self.put_assign_job(&mut batch, row.destination).await?;
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    pub(super) async fn api_key(&self) -> Result<ApiKey, Error> {
        let api = self.organisation.api.as_ref().ok_or(Error::Precondition(
            "no account of Apple Business or School is there yet: `mdmd business add` brings one in"
                .to_owned(),
        ))?;
        let key = self.open_secret_cached(api.key).await?;
        Ok(ApiKey {
            organisation: self.id(),
            client_id: api.client_id.clone(),
            key_id: api.key_id.clone(),
            key,
            allowance: self.allowance(),
        })
    }
}

/// The latest deadline that Apple takes, with room for what lies between asking and sending.
pub(super) fn latest_deadline(now: Timestamp) -> Timestamp {
    now + NINETY_DAYS - Duration::from_secs(3600)
}

/// The platform, by what the device says, the assignment service, or the organisation API.
pub(super) fn platform_of(device: &Device) -> Option<Platform> {
    device.platform().or_else(|| {
        let product = device.reading.as_ref().and_then(|r| r.product.as_deref());
        product.and_then(Platform::of_product)
    })
}
