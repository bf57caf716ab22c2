//! An act that was accepted: the rows and errands that make it so, in one commit.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::Org;
use super::super::decision::{Decision, Tracked};
use super::super::sync::append;
use super::super::wave::platform_of;
use super::{Act, ActDone, ActPlan, Found, Looked, MigrationAct, nobody};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::errand::{ErrandKind, ErrandMember};
use crate::error::Error;
use crate::ids::{MoveId, ServerId, WaveId};
use crate::migration::{Event, Move, PinnedRunbook};
use crate::store::Batch;
use crate::wave::{Wave, WaveState};

impl Org {
    pub(super) async fn assign(
        &self,
        act: &Act,
        looked: &Looked,
        destination: ServerId,
        (deadline, from): (Timestamp, Timestamp),
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
        plan: &ActPlan,
    ) -> Result<ActDone, Error> {
        let digest = plan.digest.as_str();
        let now = self.now();
        let name = format!("ad hoc {now}");
        let mut pinned = BTreeMap::new();
        for (platform, runbook) in runbooks {
            let name = format!("{name} {}", platform.as_str());
            pinned.insert(*platform, self.pin(&name, runbook.clone()).await?);
        }
        let id = WaveId(self.ids().next(now));
        let mut wave = Wave::draft(self.id(), id, &name, destination, pinned.clone(), now);
        wave.ad_hoc = true;
        wave.state = WaveState::Submitted {
            by: self.actor().to_owned(),
            at: now,
            digest: digest.to_owned(),
        };
        let mut batch = Batch::new();
        let (mut members, mut moves) = (Vec::new(), Vec::new());
        for found in looked.found.iter().filter(|f| f.findings.is_empty()) {
            let Some(device) = found.device.clone() else {
                continue;
            };
            let Some(runbook) = platform_of(&device).and_then(|p| pinned.get(&p).copied()) else {
                continue;
            };
            let original = device
                .reading
                .as_ref()
                .and_then(|r| r.assigned_server.clone());
            let attempt = Move::plan(
                self.id(),
                MoveId(self.ids().next(now)),
                id,
                device.id,
                found.serial.clone(),
                runbook,
                deadline,
                from,
                original,
                now,
            );
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            let mut tracked = Tracked::read(device);
            tracked.row.open_move = Some(attempt.id);
            // It is to come again.
            tracked.row.leaving = None;
            tracked.row.assignment.wanted = None;
            tracked.row.assignment.from = None;
            tracked.row.assignment.waits = None;
            tracked.row.assignment.too_late = None;
            d.device = Some(tracked);
            d.attempt_plan = Some(self.plan(runbook).await?);
            d.audit("move.planned", json!({ "wave": name, "deadline": deadline, "available_from": from, "reason": act.reason }));
            members.push(ErrandMember {
                device: attempt.device,
                serial: attempt.serial.clone(),
                attempt: Some(attempt.id),
            });
            d.attempt = Some(Tracked::new(attempt));
            d.tell_move(&Event::Accepted);
            d.tell_move(&Event::SubmitAsked { deadline });
            if let Some(attempt) = &d.attempt {
                moves.push(attempt.row.clone());
            }
            append(&mut batch, d.into_batch());
        }
        if members.is_empty() {
            return Err(nobody());
        }
        self.put_licence_errands(&mut batch, id, &moves).await?;
        let devices = moves.iter().map(|attempt| attempt.device).collect();
        self.take_from_returns(&mut batch, &devices).await?;
        // As late as can be: whoever reads its list writes this row, too.
        let server = self.hold_entry(&mut batch, destination).await?;
        let kind = ErrandKind::Schedule {
            server: server.uuid,
            deadline,
        };
        let errands = self.put_errands(
            &mut batch,
            Some(id),
            &kind,
            &members,
            act.reason.as_deref(),
            self.actor(),
        );
        self.audit_into(
            &mut batch,
            "migration.assign",
            json!({ "wave": id, "devices": members.len(), "digest": digest, "reason": act.reason }),
        );
        self.expect_open(&mut batch, &looked.projects);
        self.put_look_after(&mut batch, &wave).await?;
        batch.put(wave);
        self.keep_accepted(&mut batch, id, digest, plan)?;
        self.store().commit(batch).await?;
        Ok(ActDone {
            wave: Some(id),
            errands,
            members: looked.found.len(),
            blocked: looked.found.len() - members.len(),
            left_out: BTreeMap::new(),
            approval: None,
        })
    }

    /// Tells an event to the attempts of all devices, and makes one errand of what they ask for; in one commit with what `batch`
    /// holds already.
    pub(super) async fn tell_all(
        &self,
        act: &Act,
        found: &[Found],
        event: &Event,
        digest: &str,
        mut batch: Batch,
    ) -> Result<ActDone, Error> {
        let mut alike: BTreeMap<WaveId, Vec<ErrandMember>> = BTreeMap::new();
        let mut count = 0;
        for found in found.iter().filter(|f| f.findings.is_empty()) {
            let Some(attempt) = found.attempt.clone() else {
                continue;
            };
            count += 1;
            let (wave, member) = (
                attempt.wave,
                ErrandMember {
                    device: attempt.device,
                    serial: attempt.serial.clone(),
                    attempt: Some(attempt.id),
                },
            );
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            d.gathered = Some(Vec::new());
            self.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(event);
            if d.gathered.as_ref().is_some_and(|g| !g.is_empty()) {
                alike.entry(wave).or_default().push(member);
            }
            append(&mut batch, d.into_batch());
        }
        if count == 0 {
            return Err(nobody());
        }
        let (name, kind, reason) = match &act.what {
            MigrationAct::Force { deadline } => (
                "migration.force",
                ErrandKind::MoveDeadline {
                    deadline: *deadline,
                },
                act.reason.as_deref(),
            ),
            MigrationAct::Extend { deadline } => (
                "migration.extend",
                ErrandKind::MoveDeadline {
                    deadline: *deadline,
                },
                None,
            ),
            MigrationAct::Cancel | MigrationAct::Assign { .. } | MigrationAct::Return { .. } => {
                ("migration.cancel", ErrandKind::Cancel, None)
            }
        };
        let mut errands = Vec::new();
        for (wave, members) in alike {
            let wave = Some(wave);
            errands.extend(self.put_errands(
                &mut batch,
                wave,
                &kind,
                &members,
                reason,
                self.actor(),
            ));
        }
        self.audit_into(
            &mut batch,
            name,
            json!({ "devices": count, "digest": digest, "reason": act.reason }),
        );
        self.store().commit(batch).await?;
        Ok(ActDone {
            wave: None,
            errands,
            members: found.len(),
            blocked: found.len() - count,
            left_out: BTreeMap::new(),
            approval: None,
        })
    }
}
