//! A whole project as people play it: its waves one after the other, each brought up to date, planned over its deadlines, looked at,
//! accepted, submitted by its typed name, and signed once its gate wants nothing else. Uses no other doors than they have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fixtures::verdict::{DeviceVerdict, Whereabouts};
use fixtures::world::World;
use mdm_core::check::Check;
use mdm_core::clock::Timestamp;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::project::{Gate, StopRule};
use mdm_core::service::{Dates, Org, ProjectChange};
use mdm_core::wave::{Preset, Waiver};
use serde::Serialize;

use super::judge::Row;
use super::sabotage::Sabotage;
use super::short::{LicenceEnd, SHORT, Short};
use super::stops::{self, Stops};
use super::{Faults, Stage, account, plan};

/// From the offer of a migration to its deadline: half a day more than the notice that is owed, for an offer may wait until somebody has
/// looked at why it is paused.
const LEAD: Duration = Duration::from_secs(36 * 3_600);
/// From the submission of a wave to its first deadline, and from there to its last.
const FIRST: Duration = Duration::from_secs(48 * 3_600);
const SPAN: Duration = Duration::from_secs(4 * 86_400);

/// The waves in the order in which they go, and how many of a hundred devices are in each when there are all four.
const WAVES: [(Preset, &str, usize); 4] = [
    (Preset::Pilot, "pilot", 5),
    (Preset::Early, "early", 15),
    (Preset::Main, "main", 50),
    (Preset::Rest, "rest", 30),
];

/// A project on its way.
pub(super) struct Course {
    project: ProjectId,
    legs: Vec<Leg>,
    /// The app of which there are too few licences, where many things go wrong.
    short: Option<Short>,
    stops: Stops,
    faults: Faults,
    /// Apps that each iPhone and iPad was forecast to lose with their data.
    pub(super) forecast: BTreeMap<String, BTreeSet<String>>,
}

struct Leg {
    wave: WaveId,
    name: &'static str,
    serials: Vec<Serial>,
    buckets: u32,
    /// Its members are in it.
    filled: bool,
    submitted: bool,
    /// Its gate is signed and open: nobody looks at it again.
    passed: bool,
}

/// How a wave ended: by the report of the server, and by the world.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct WaveEnd {
    /// Its name.
    pub name: &'static str,
    /// Its members.
    pub members: u32,
    /// Deadlines, one request to Apple for each.
    pub buckets: u32,
    /// Migrated, by the report.
    pub migrated: u32,
    /// Migrated with exceptions, by the report.
    pub with_exceptions: u32,
    /// Given up, by the report.
    pub failed: u32,
    /// Out of their holds and enrolled, by the world.
    pub free: u32,
    /// So often the stop rule paused its offers, and somebody had them go on.
    pub stopped: usize,
}

/// How many devices may be in their holds at once, where `count` devices share so many deadlines.
fn room(count: usize, buckets: u32) -> usize {
    let share = count.div_ceil(usize::try_from(buckets).unwrap_or(1).max(1));
    (2 * share).min(count).max(20)
}

impl Course {
    /// Makes the project with its waves, and turns it on; nothing is submitted. Its waves stop by the usual rule, but where something of
    /// the server is switched off: what that does nobody is to look at and go on. With many faults there are too few licences of an app.
    pub(super) async fn plan(
        stage: &Stage,
        waves: u32,
        buckets: u32,
        sabotage: Option<Sabotage>,
        faults: Faults,
    ) -> anyhow::Result<Self> {
        let org = stage.org().await?;
        let world = &stage.world;
        let mut serials = Vec::new();
        for device in world.original().export() {
            serials.push(Serial::parse(&device.identity.serial)?);
        }
        let count = serials.len();
        let waves = usize::try_from(waves)?.clamp(1, WAVES.len());
        ensure!(count >= waves, "a wave would have no device");
        org.pull(&serials).await?;
        let too_few = faults == Faults::Many && sabotage.is_none();
        let without = plan::Without {
            phones: Some(plan::LEFT_BEHIND),
            macs: too_few.then_some(SHORT),
        };
        plan::expect_apps(world, &BTreeMap::new(), without);
        let mut runbooks = plan::runbooks(world, sabotage);
        plan::leave_behind(&mut runbooks, without);
        plan::say_unknowns(&org, false).await?;
        let short = match too_few {
            true => Some(Short::begin(stage, &runbooks).await?),
            false => None,
        };
        let mut gate = Gate::default();
        // Exceptions are what some faults must lead to; the signature is what the gate is about here.
        gate.most_failed_percent = 100;
        let mut stop = StopRule::default();
        if sabotage.is_some() {
            stop.failed = u32::MAX;
            stop.long_holds = u32::MAX;
        }
        let change = ProjectChange {
            // Room for two deadlines' devices at once, not for the fleet: no wave has one with more.
            capacity: Some(u32::try_from(room(count, buckets))?),
            gate: Some(gate),
            stop: Some(stop),
            runbooks,
            ..ProjectChange::default()
        };
        let made = org
            .new_project("rehearsal", stage.house.destination, &change)
            .await?;
        org.switch_project(made.id, true).await?;
        let shares: usize = WAVES[..waves].iter().map(|(_, _, share)| share).sum();
        let mut left = serials.into_iter();
        let mut legs = Vec::new();
        for (n, (preset, name, share)) in WAVES[..waves].iter().enumerate() {
            // Every wave has somebody; the last one has whoever is left.
            let after = waves - n - 1;
            let most = left.len() - after;
            let size = match after {
                0 => most,
                _ => (count * share / shares).clamp(1, most),
            };
            let serials: Vec<Serial> = left.by_ref().take(size).collect();
            let wave = org.new_wave(made.id, name, Some(*preset)).await?;
            let own = usize::try_from(buckets)? * size / count;
            legs.push(Leg {
                wave: wave.id,
                name,
                buckets: u32::try_from(own.clamp(1, size))?,
                serials,
                filled: false,
                submitted: false,
                passed: false,
            });
        }
        Ok(Self {
            project: made.id,
            legs,
            short,
            stops: Stops::default(),
            faults,
            forecast: BTreeMap::new(),
        })
    }

    /// Its waves.
    pub(super) fn waves(&self) -> Vec<WaveId> {
        self.legs.iter().map(|leg| leg.wave).collect()
    }

    /// Whether every wave was submitted.
    pub(super) fn is_under_way(&self) -> bool {
        self.legs.iter().all(|leg| leg.submitted)
    }

    /// What people do when they look: have offers go on that the stop rule has paused, sign a gate that wants nothing else, and send the
    /// next wave. Says whether they did.
    pub(super) async fn go_on(&mut self, world: &World, org: &Org) -> anyhow::Result<bool> {
        let mut acted = self.stops.resume(org, self.project).await?;
        for n in 0..self.legs.len() {
            let (wave, submitted) = (self.legs[n].wave, self.legs[n].submitted);
            if self.legs[n].passed {
                continue;
            }
            if submitted {
                let standing = org.standing(wave).await?;
                let gate = standing.gate.context("the gate of a wave")?;
                if gate.signed.is_none() && gate.against.len() == 1 {
                    org.sign_gate(wave, "it went as it should", false).await?;
                    acted = true;
                } else if !gate.against.is_empty() {
                    // The waves after it wait.
                    return Ok(acted);
                }
                self.legs[n].passed = true;
                continue;
            }
            self.submit(world, org, n).await?;
            return Ok(true);
        }
        Ok(acted)
    }

    async fn submit(&mut self, world: &World, org: &Org, n: usize) -> anyhow::Result<()> {
        let leg = &mut self.legs[n];
        let now = Timestamp::from_millis(world.clock().now_ms());
        let own: BTreeSet<&Serial> = leg.serials.iter().collect();
        let mut said = plan::original(world, now, true)?;
        said.retain(|said| own.contains(&said.serial));
        for said in said.chunks(10_000) {
            org.import_originals("the original", now, said.to_vec())
                .await?;
        }
        // Whoever is in a wave without a date lies on one day with all the others: a wave is filled when its turn has come.
        if !leg.filled {
            let none = Dates {
                deadline: None,
                available_from: None,
            };
            org.add_members(leg.wave, &leg.serials, none).await?;
            leg.filled = true;
        }
        org.plan_dates(
            leg.wave,
            Some(now + FIRST),
            Some(now + FIRST + SPAN),
            Some(leg.buckets),
            Some(LEAD),
            false,
        )
        .await?;
        // Nobody decided anything about one app, and of another one licences are short: what the forecast says of them is accepted by
        // name, and nothing else.
        let mut what_if = org.run_what_if(leg.wave).await?;
        let mut waivers = Vec::new();
        // A wave of Macs alone has nothing to waive: there it is a warning.
        let loses = |why: &String| why.starts_with(&format!("{}:", Check::AppsMapped));
        let mut found = what_if.blockers.values().chain(what_if.waived.values());
        if found.any(|why| why.iter().any(loses)) {
            waivers.push(Waiver {
                check: Check::AppsMapped,
                serials: BTreeSet::new(),
                reason: format!("nobody needs {} any more", plan::LEFT_BEHIND),
            });
        }
        if let Some(short) = &mut self.short {
            // Who goes without that app takes licences of the other one, and who gets none then is seen with that accepted.
            let first = org.accept(leg.wave, &what_if.digest, &waivers, "as planned");
            first.await?;
            what_if = org.run_what_if(leg.wave).await?;
            let of = (leg.wave, leg.name);
            waivers.extend(short.accept(world, org, of, &what_if).await?);
        }
        let accepted = org
            .accept(leg.wave, &what_if.digest, &waivers, "as planned")
            .await?;
        ensure!(
            what_if.against_all.is_empty() && accepted.staying == 0,
            "something stands against the wave {}: {:?} {:?}",
            leg.name,
            what_if.against_all,
            what_if.blockers.iter().next()
        );
        let report = org.run_what_if(leg.wave).await?.report;
        for app in report.forecast.apps {
            for serial in app.lost.into_keys() {
                let apps = self.forecast.entry(serial.to_string()).or_default();
                apps.insert(app.bundle_id.clone());
            }
        }
        org.submit_accepted(leg.wave, leg.name).await?;
        leg.submitted = true;
        Ok(())
    }

    /// What the what-ifs said of licences that are too few.
    pub(super) fn licences(&self) -> Vec<LicenceEnd> {
        self.short
            .iter()
            .flat_map(|short| &short.ends)
            .cloned()
            .collect()
    }

    /// What a project with many faults must meet and did not: a wave that the stop rule pauses, an app that is lost for want of licences.
    pub(super) fn unmet(&self) -> Vec<&'static str> {
        let stopped = self.legs.iter().any(|leg| self.stops.count(leg.wave) > 0);
        let short = self.licences().iter().any(|end| end.losing > 0);
        let met = [("stop-rule", stopped), ("too-few-licences", short)];
        let unmet = met.into_iter().filter(|(_, met)| !met);
        unmet.map(|(name, _)| name).collect()
    }

    /// The final report against the world: how each wave ended, and where their numbers differ.
    pub(super) async fn ends(
        &self,
        world: &World,
        org: &Org,
        verdicts: &[DeviceVerdict],
        rows: &[Row],
    ) -> anyhow::Result<(Vec<WaveEnd>, Vec<String>)> {
        let of: BTreeMap<&str, &DeviceVerdict> =
            verdicts.iter().map(|v| (v.serial.as_str(), v)).collect();
        let judged: BTreeMap<&str, (&Row, &DeviceVerdict)> = rows
            .iter()
            .map(|row| row.serial.as_str())
            .zip(rows)
            .filter_map(|(serial, row)| Some((serial, (row, *of.get(serial)?))))
            .collect();
        let free: BTreeSet<&str> = verdicts
            .iter()
            .filter(|v| v.whereabouts == Whereabouts::Free)
            .map(|v| v.serial.as_str())
            .collect();
        let (mut ends, mut odd) = (Vec::new(), self.stops.odd().to_vec());
        if let Some(short) = &self.short {
            odd.extend(short.differences(world, verdicts, &self.forecast));
        }
        let offers = stops::first_offers(world);
        for leg in &self.legs {
            odd.extend(
                self.stops
                    .offered_meanwhile(leg.wave, &leg.serials, &offers),
            );
            let stopped = self.stops.count(leg.wave);
            if stopped > 0 && self.faults == Faults::None {
                odd.push(format!(
                    "the wave {} was paused, and nothing went wrong",
                    leg.name
                ));
            }
            let members = leg.serials.iter().map(Serial::as_str);
            let members = members.filter_map(|s| Some((s, *judged.get(s)?))).collect();
            let differences = account::differences(org, leg.wave, &members).await?;
            odd.extend(
                differences
                    .iter()
                    .map(|odd| format!("wave {}: {odd}", leg.name)),
            );
            let tally = org.standing(leg.wave).await?.tally;
            let out = leg.serials.iter().filter(|s| free.contains(s.as_str()));
            let end = WaveEnd {
                name: leg.name,
                members: tally.members,
                buckets: leg.buckets,
                migrated: tally.migrated,
                with_exceptions: tally.with_exceptions,
                failed: tally.failed,
                free: u32::try_from(out.count())?,
                stopped,
            };
            if end.migrated + end.with_exceptions != end.free {
                odd.push(format!(
                    "the report of the wave {} counts {} as migrated, and {} are out in the world",
                    end.name,
                    end.migrated + end.with_exceptions,
                    end.free
                ));
            }
            if usize::try_from(end.members)? != leg.serials.len() || !tally.is_over() {
                odd.push(format!("the wave {} has not come to its end", end.name));
            }
            ends.push(end);
        }
        // Only a project whose devices have all come to an end is closed.
        if odd.is_empty() {
            org.close_project(self.project).await?;
        }
        Ok((ends, odd))
    }
}
