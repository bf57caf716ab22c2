//! The what-if at work: gathers the facts that the checks look at, for a list of devices or a wave, with few statements
//! however many devices there are. Asks nobody outside, and writes nothing but what the next look at a list is compared with.

mod brings;
mod facts;
mod import;
mod look;
mod looked;
mod of_all;
mod past;
mod room;
mod since;
mod tries;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

pub use import::{ImportOutcome, KnownApp, NotTaken};
pub use since::Since;
pub(super) use since::found_now;

use super::Org;
use super::licences::Free;
use crate::check::{Check, CheckResult, Unknowns};
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::device::Platform;
use crate::error::Error;
use crate::ids::{Serial, ServerId, WaveId};
use crate::licences::LicenceNeed;
use crate::migration::PinnedRunbook;
use crate::migration::what_if::{
    CheckFinding, Forecast, Matrix, MatrixRow, ProfileTable, look_at_server,
};
use crate::organisation::Settings;
use crate::wave::{Waiver, Wave};

/// Devices of one question.
const MOST_SERIALS: usize = 100_000;
/// The most hours of notice that can be asked for: thirty days.
const MOST_NOTICE: u32 = 720;

/// A plan to be looked at, before anything of it is stored.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Question {
    /// Which devices.
    pub serials: Vec<Serial>,
    /// Our server entry, to which they would go.
    pub destination: ServerId,
    /// When Apple would enforce it.
    pub deadline: Timestamp,
    /// When our profile would be assigned.
    pub available_from: Timestamp,
    /// The runbook for each platform.
    pub runbooks: BTreeMap<Platform, PinnedRunbook>,
    /// Nobody has given that deadline: all are looked at as if they had one, but neither counted who would be in a hold at once, nor
    /// held against windows and days that are kept free.
    pub undated: bool,
}

/// How much of each device a report keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "three, from little to all")]
pub enum Detail {
    /// Nothing: counts, reasons and the forecast are enough.
    Counts,
    /// What is no pass.
    Problems,
    /// Every check.
    Everything,
}

/// What was found for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MemberReport {
    /// Which device.
    pub serial: Serial,
    /// Its platform, as far as anything tells.
    pub platform: Option<Platform>,
    /// The weightiest of it, unknowns weighed.
    pub counts_as: CheckResult,
    /// Every check.
    pub findings: Vec<CheckFinding>,
}

/// What stands for and against a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WhatIfReport {
    /// When it was looked at.
    pub at: Timestamp,
    /// What holds for all: certificates, tokens, Apple's budget, licences.
    pub server: Vec<CheckFinding>,
    /// Device by device, in the order of serial numbers.
    pub members: Vec<MemberReport>,
    /// Reasons by devices.
    pub matrix: Matrix,
    /// Apps that would be lost with their data.
    pub forecast: Forecast,
    /// What they need of licences, app by app, and have of them; none where no location of Apps and Books is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<LicenceNeed>>,
    /// What devices have from the service that they leave, against what they get from us.
    pub profiles: ProfileTable,
    /// Devices against which something stands.
    pub blocked: usize,
    /// Devices of which something should be known.
    pub warned: usize,
    /// Devices against which nothing stands.
    pub clear: usize,
    /// For a list of devices: what has come and gone since somebody last looked at it; none before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// For a wave of a project: the room of its members there.
    #[serde(skip)]
    room: Option<room::Room>,
    /// The room of its members in the gap.
    #[serde(skip)]
    gap: room::GapRoom,
}

/// What would tell what nobody has told, and whether an acceptance is bound to that.
type Untold<'a> = (bool, &'a BTreeSet<String>);

/// What should be known of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Warning {
    /// In plain words.
    pub(super) line: String,
    /// An acceptance is bound to it.
    pub(super) of_the_plan: bool,
}

impl MemberReport {
    /// What these findings come to for a device.
    pub(super) fn of(
        serial: Serial,
        platform: Option<Platform>,
        findings: Vec<CheckFinding>,
        rules: &Unknowns,
    ) -> Self {
        let counts_as = findings.iter().map(|f| f.counts_as(rules, platform)).max();
        Self {
            serial,
            platform,
            counts_as: counts_as.unwrap_or(CheckResult::Pass),
            findings,
        }
    }

    /// What stands against it, in plain words.
    pub(super) fn against(&self, rules: &Unknowns) -> Vec<String> {
        self.against_but(rules, |_| false)
    }

    /// Whether something stands against it that any other process finds as well.
    pub(super) fn stays(&self, rules: &Unknowns) -> bool {
        let mut found = self.findings.iter();
        found.any(|f| f.keeps_back(rules, self.platform))
    }

    /// The same, and nobody can waive it.
    fn stays_anyway(&self, rules: &Unknowns) -> bool {
        let mut found = self.findings.iter();
        found.any(|f| f.keeps_back(rules, self.platform) && !Waiver::is_possible(f.check))
    }

    /// What was found that is no pass, what it counts as, and the facts to which an acceptance is bound.
    pub(super) fn bound(&self, rules: &Unknowns) -> Vec<(Check, CheckResult, &str)> {
        let problems = self
            .findings
            .iter()
            .filter(|f| f.result != CheckResult::Pass && f.is_of_the_plan());
        problems
            .map(|f| (f.check, f.counts_as(rules, self.platform), f.bound()))
            .collect()
    }

    /// What stands against it and is not waived, in plain words.
    fn against_but(&self, rules: &Unknowns, waived: impl Fn(Check) -> bool) -> Vec<String> {
        let blocks = |f: &&CheckFinding| {
            f.counts_as(rules, self.platform) == CheckResult::Block && !waived(f.check)
        };
        self.findings
            .iter()
            .filter(blocks)
            .map(CheckFinding::line)
            .collect()
    }
}

impl WhatIfReport {
    /// What stands against each device, in plain words; devices against which nothing stands are left out.
    pub(super) fn blockers(&self, rules: &Unknowns) -> BTreeMap<Serial, Vec<String>> {
        self.staying(rules, &[])
    }

    /// Against whom something stands that nobody has waived.
    pub(super) fn staying(
        &self,
        rules: &Unknowns,
        waivers: &[Waiver],
    ) -> BTreeMap<Serial, Vec<String>> {
        let against = |member: &MemberReport| {
            let waived = |check| waivers.iter().any(|w| w.covers(check, &member.serial));
            (member.serial.clone(), member.against_but(rules, waived))
        };
        let all = self.members.iter().map(against);
        all.filter(|(_, against)| !against.is_empty()).collect()
    }

    /// What would stand against devices, and is waived.
    pub(super) fn waived(
        &self,
        rules: &Unknowns,
        waivers: &[Waiver],
    ) -> BTreeMap<Serial, Vec<String>> {
        let waived = |member: &MemberReport| {
            let holds = |check| !waivers.iter().any(|w| w.covers(check, &member.serial));
            (member.serial.clone(), member.against_but(rules, holds))
        };
        let all = self.members.iter().map(waived);
        all.filter(|(_, waived)| !waived.is_empty()).collect()
    }

    /// The checks that keep somebody back.
    pub(super) fn keeping(&self, rules: &Unknowns) -> BTreeSet<Check> {
        let of = |member: &MemberReport| {
            let platform = member.platform;
            let found = member.findings.iter();
            let blocks = found.filter(move |f| f.counts_as(rules, platform) == CheckResult::Block);
            blocks.map(|f| f.check).collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of).collect()
    }

    /// Whether a waiver lets anybody go: something that its check found keeps a device back for which it is.
    /// `keeping` are all that keep somebody back ([`WhatIfReport::keeping`]).
    pub(super) fn is_of_use(
        &self,
        rules: &Unknowns,
        keeping: &BTreeSet<Check>,
        waiver: &Waiver,
    ) -> bool {
        if waiver.serials.is_empty() || !keeping.contains(&waiver.check) {
            return keeping.contains(&waiver.check) && Waiver::is_possible(waiver.check);
        }
        let holds = |member: &MemberReport| {
            let blocks = |f: &CheckFinding| {
                f.counts_as(rules, member.platform) == CheckResult::Block
                    && waiver.covers(f.check, &member.serial)
            };
            member.findings.iter().any(blocks)
        };
        // They stand in the order of their serial numbers.
        let at = |serial| self.members.binary_search_by(|m| m.serial.cmp(serial)).ok();
        let mut named = waiver.serials.iter().filter_map(at);
        named.any(|at| holds(&self.members[at]))
    }

    /// What stands against it that all go but these, whom nobody has let go by a waiver.
    pub(super) fn over(&self, staying: &BTreeMap<Serial, Vec<String>>) -> Option<String> {
        let room = self.room.as_ref().and_then(|room| room.over(staying));
        let over: Vec<String> = room.into_iter().chain(self.gap.over(staying)).collect();
        (!over.is_empty()).then(|| over.join("; "))
    }

    /// What stands against all of them, unknowns weighed.
    pub(super) fn against_all(&self, rules: &Unknowns) -> Vec<String> {
        let blocks = self
            .server
            .iter()
            .filter(|f| f.counts_as(rules, None) == CheckResult::Block);
        blocks.map(CheckFinding::line).collect()
    }

    /// What should be known of the server.
    fn server_warnings(&self, rules: &Unknowns) -> impl Iterator<Item = &CheckFinding> {
        let found = self.server.iter();
        found.filter(move |f| f.counts_as(rules, None) == CheckResult::Warn)
    }

    /// The same as an acceptance is bound to it: without what changes by itself.
    pub(super) fn server_bound(&self, rules: &Unknowns) -> Vec<String> {
        let bound = self
            .server_warnings(rules)
            .filter(|f| f.is_of_the_plan())
            .map(|f| format!("{}: {}", f.check, f.bound()));
        bound.collect()
    }

    /// What an acceptance is bound to: of every device what was found and the facts of it, without ages and moments of reading;
    /// which apps would be lost where, and of which devices nobody knows. Wants a report that keeps at least the problems.
    pub(super) fn bound(&self, rules: &Unknowns) -> Value {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|m| (&m.serial, m.platform, m.bound(rules)))
            .collect();
        let lost: Vec<_> = self
            .forecast
            .apps
            .iter()
            .filter(|app| !app.lost.is_empty() || app.uncertain > 0)
            .map(|app| (&app.bundle_id, &app.lost, app.uncertain))
            .collect();
        json!([members, lost, self.forecast.unknown])
    }

    /// What should be known, of the server without these checks, and of how many devices.
    pub(super) fn warnings_but(&self, rules: &Unknowns, without: &[Check]) -> Vec<Warning> {
        let of_all = self.server_warnings(rules);
        let of_all = of_all.filter(|f| !without.contains(&f.check));
        let of_all = of_all.map(|f| Warning {
            line: f.line(),
            of_the_plan: f.is_of_the_plan(),
        });
        let warning = |row: &&MatrixRow| row.counts_as == CheckResult::Warn;
        let mut of_some = Vec::new();
        // What one file would tell is one sentence.
        let mut unknown: BTreeMap<Untold<'_>, (Vec<&str>, usize)> = BTreeMap::new();
        for row in self.matrix.rows.iter().filter(warning) {
            let (check, count) = (row.check.as_str(), row.devices.len());
            // Of single devices nothing is found that goes by others: the check says it for all of them.
            let of_the_plan = row.check.binds();
            if row.result == CheckResult::Unknown {
                let (checks, most) = unknown.entry((of_the_plan, &row.fixes)).or_default();
                checks.push(check);
                *most = count.max(*most);
                continue;
            }
            let devices = counted(count, "device");
            let line = format!("{check}: {devices}: {}", row.fact);
            of_some.push(Warning { line, of_the_plan });
        }
        for ((of_the_plan, fixes), (checks, most)) in unknown {
            let fixes: Vec<&str> = fixes.iter().map(String::as_str).collect();
            let line = format!(
                "not known of up to {}: {}; {}",
                counted(most, "device"),
                checks.join(", "),
                fixes.join("; ")
            );
            of_some.push(Warning { line, of_the_plan });
        }
        of_all.chain(of_some).collect()
    }
}

impl Org {
    /// Says what an unknown of these checks counts as: a warning or a blocker, and nothing takes a rule of one's own back. What is
    /// not named stays.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what an unknown can never count as; the store's.
    pub async fn set_unknowns(
        &self,
        rules: &BTreeMap<Check, Option<CheckResult>>,
    ) -> Result<Unknowns, Error> {
        let settings = self.set_what_if(rules, None).await?;
        Ok(settings.unknowns)
    }

    /// The same, and how many hours people have until a deadline, at the least: both or none of it.
    ///
    /// # Errors
    /// As [`Org::set_unknowns`]; [`Error::BadInput`] for no hour, and for more than thirty days of them.
    pub async fn set_what_if(
        &self,
        rules: &BTreeMap<Check, Option<CheckResult>>,
        notice_hours: Option<u32>,
    ) -> Result<Settings, Error> {
        let passes = |rule: &Option<CheckResult>| {
            matches!(rule, Some(CheckResult::Pass | CheckResult::Unknown))
        };
        if let Some((check, _)) = rules.iter().find(|(_, rule)| passes(rule)) {
            let problem = "an unknown counts as warn or block, and never as a pass";
            return Err(Error::bad_input(check.as_str(), problem));
        }
        if notice_hours.is_some_and(|hours| !(1..=MOST_NOTICE).contains(&hours)) {
            let problem = format!("must be from 1 to {MOST_NOTICE}");
            return Err(Error::bad_input("notice_hours", problem));
        }
        let (what, detail) = match notice_hours {
            None => ("what-if.unknowns", json!(rules)),
            Some(hours) => {
                let detail = json!({ "unknown": rules, "notice_hours": hours });
                ("what-if.rules", detail)
            }
        };
        self.change_organisation(what, detail, |organisation| {
            let settings = &mut organisation.settings;
            settings.notice_hours = notice_hours.unwrap_or(settings.notice_hours);
            let own = &mut settings.unknowns.0;
            for (check, rule) in rules {
                match rule {
                    Some(rule) => own.insert(*check, *rule),
                    None => own.remove(check),
                };
            }
            Ok(())
        })
        .await
        .map(|organisation| organisation.settings)
    }

    /// Looks at a plan with every check, as far as facts are known now.
    ///
    /// # Errors
    /// [`Error::BadInput`] for no devices, too many, or one that occurs twice, and for a runbook that is not whole, by platform,
    /// step and field; [`Error::NotFound`] without the server entry; [`Error::Precondition`] for another runbook than a template locks
    /// here; the vault's, the store's.
    pub async fn look_at(
        &self,
        question: &Question,
        detail: Detail,
    ) -> Result<WhatIfReport, Error> {
        let mut serials = question.serials.clone();
        serials.sort();
        if serials.is_empty() || serials.len() > MOST_SERIALS {
            return Err(Error::bad_input(
                "serials",
                format!("must be 1 to {MOST_SERIALS}"),
            ));
        }
        if serials.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::bad_input("serials", "a serial number occurs twice"));
        }
        let mut plan = self.plan_in_question(question).await?;
        if !question.undated {
            let at_once = self.count_at_once(&plan, &serials, &[]).await?;
            plan.at_once = at_once;
        }
        self.report_on(&plan, serials, detail).await
    }

    /// Looks at a wave with every check: each member with its own deadline and its pinned runbook. Members that have ended are
    /// left out.
    ///
    /// # Errors
    /// [`Error::NotFound`], the vault's, the store's.
    pub async fn look_at_wave(&self, wave: WaveId, detail: Detail) -> Result<WhatIfReport, Error> {
        let row = self.store().wave(self.id(), wave).await?;
        let row = row.ok_or(Error::NotFound("wave"))?;
        self.look_at_members(&row, false, detail).await
    }

    /// Looks at the members of a wave: with `planned` at those of which nothing is at Apple yet, otherwise at all that have not
    /// ended.
    pub(super) async fn look_at_members(
        &self,
        wave: &Wave,
        planned: bool,
        detail: Detail,
    ) -> Result<WhatIfReport, Error> {
        let plan = self.plan_of_wave(wave, planned).await?;
        let serials: Vec<Serial> = plan.members.keys().cloned().collect();
        self.report_on(&plan, serials, detail).await
    }

    /// Looks at the members of a wave of which nothing is at Apple yet, where whoever these waivers let go takes licences as all do that go.
    pub(super) async fn look_with(
        &self,
        wave: &Wave,
        waivers: &[Waiver],
    ) -> Result<WhatIfReport, Error> {
        let mut plan = self.plan_of_wave(wave, true).await?;
        plan.waivers = waivers.to_vec();
        let serials: Vec<Serial> = plan.members.keys().cloned().collect();
        self.report_on(&plan, serials, Detail::Problems).await
    }

    /// Licences as a plan may count on them; none without a location, where nothing can be said of them.
    async fn free_if_known(&self) -> Result<Option<Free>, Error> {
        Ok(match self.locations().await?.is_empty() {
            true => None,
            false => Some(self.free_licences().await?),
        })
    }

    async fn report_on(
        &self,
        plan: &facts::Plan,
        serials: Vec<Serial>,
        detail: Detail,
    ) -> Result<WhatIfReport, Error> {
        let now = self.now();
        let mut counts = look::Counts::new(self.free_if_known().await?);
        let how = look::How {
            detail,
            gates: true,
        };
        let looked = self.look_at_each(plan, &serials, &mut counts, how);
        let look::Looked {
            weights,
            staying,
            members,
            ..
        } = looked.await?;
        let room = plan.room();
        let weighed = serials.iter().zip(&staying).filter(|(_, stays)| **stays);
        let stays: BTreeSet<&Serial> = weighed.map(|(serial, _)| serial).collect();
        let gap = plan.gap_room(std::mem::take(&mut counts.groups));
        let rooms = (room.as_ref(), &gap);
        let of_all = self.server_facts(plan, &mut counts, &serials, rooms, &stays);
        let facts = of_all.await?;
        let server = look_at_server(&facts, plan.deadlines(now), now);
        let count = |of| weights.iter().filter(|weight| **weight == of).count();
        Ok(WhatIfReport {
            at: now,
            server,
            members,
            matrix: counts.matrix,
            forecast: counts.forecaster.finish(),
            needs: facts.needs,
            profiles: counts.profiles.finish(),
            blocked: count(CheckResult::Block),
            warned: count(CheckResult::Warn),
            clear: count(CheckResult::Pass),
            since: None,
            room,
            gap,
        })
    }
}
