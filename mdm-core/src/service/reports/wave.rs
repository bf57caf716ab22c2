//! The report of a wave: its funnel, its days, its states, its deadlines, its marks, and every member.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{aged, cell};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{
    MarkName, MarkState, ReportHead, ReportKind, ReportRow, ReportSink, next_action,
};
use crate::ids::{MoveId, WaveId};
use crate::migration::{Move, MoveState, Outcome, Owner, SetUp, VisibleState, visible_state};
use crate::service::reports::page::MemberRows;
use crate::service::{Org, Standing};

const COLUMNS: &[&str] = &[
    "serial",
    "platform",
    "state",
    "deadline",
    "deadline at Apple",
    "available from",
    "ended",
    "system",
    "system told at",
    "system age s",
    "Apple's status",
    "Apple read at",
    "Apple age s",
    "profile status",
    "profile seen at",
    "profile age s",
    "owner",
    "owner told at",
    "owner age s",
    "registered",
    "user",
    "updated",
    "apps",
    "key",
    "lock",
    "proof",
    "held s",
    "let out by",
    "attention",
    "exceptions",
    "next action",
];

/// How far a member has come at least.
const STAGES: [&str; 7] = [
    "members",
    "asked of Apple",
    "confirmed by Apple",
    "begun",
    "enrolled",
    "released",
    "migrated",
];

#[derive(Default)]
struct Counts {
    stages: [u64; 7],
    states: BTreeMap<VisibleState, u64>,
    buckets: BTreeMap<Timestamp, [u64; 4]>,
    owners: BTreeMap<Owner, u64>,
    held: u64,
}

impl Counts {
    fn add(&mut self, attempt: &Move, set_up: Option<&SetUp>) {
        for (count, reached) in self.stages.iter_mut().zip(reached(attempt, set_up)) {
            *count += u64::from(reached);
        }
        if let Some(state) = visible_state(Some(attempt), set_up) {
            *self.states.entry(state).or_default() += 1;
            self.held += u64::from(matches!(
                state,
                VisibleState::Holding | VisibleState::Releasing
            ));
        }
        let gone = matches!(
            attempt.state,
            MoveState::Ended(Outcome::Withdrawn | Outcome::Cancelled)
        );
        if !gone {
            let bucket = self.buckets.entry(attempt.deadline).or_default();
            let done = matches!(
                attempt.state,
                MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions)
            );
            bucket[0] += 1;
            bucket[1] += u64::from(done);
            bucket[2] += u64::from(attempt.is_ended() && !done);
            bucket[3] += u64::from(!attempt.is_ended());
        }
        for exception in &attempt.exceptions {
            *self.owners.entry(exception.owner).or_default() += 1;
        }
    }
}

/// Which stages a member has reached. Whoever reached a later one has been at the earlier ones.
fn reached(attempt: &Move, set_up: Option<&SetUp>) -> [bool; 7] {
    let migrated = matches!(
        attempt.state,
        MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions)
    );
    let released = migrated || set_up.is_some_and(|s| s.released.is_some());
    let enrolled = released || set_up.is_some_and(|s| s.enrolled.is_some());
    let begun = enrolled
        || attempt.enrolled_as.is_some()
        || matches!(
            attempt.state,
            MoveState::Started { .. } | MoveState::Stalled { .. }
        );
    let confirmed = begun || attempt.shown_deadline.is_some();
    let asked = confirmed
        || matches!(
            attempt.state,
            MoveState::Submitting { .. }
                | MoveState::SubmitFailed { .. }
                | MoveState::Cancelling { .. }
        );
    [true, asked, confirmed, begun, enrolled, released, migrated]
}

impl Org {
    pub(super) async fn report_wave(
        &self,
        wave: WaveId,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let standing = self.standing(wave).await?;
        let now = standing.at;
        let mut counts = Counts::default();
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(Some(wave), after).await? {
            after = last;
            for attempt in &page.attempts {
                counts.add(attempt, page.set_up(attempt));
            }
        }
        let title = format!("Wave {}", standing.wave.name);
        let mut head = self.report_head(ReportKind::Wave, title, now);
        head.columns = COLUMNS;
        facts(&mut head, &standing, &counts);
        tables(&mut head, &standing, &counts);
        sink.head(head).await?;
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(Some(wave), after).await? {
            after = last;
            let rows = page.attempts.iter().map(|m| row(m, &page, now));
            sink.rows(rows.collect()).await?;
        }
        Ok(())
    }
}

fn facts(head: &mut ReportHead, standing: &Standing, counts: &Counts) {
    let wave = &standing.wave;
    head.fact("wave", wave.id);
    head.fact("name", &wave.name);
    head.fact("project", &standing.project);
    head.fact("state", &wave.state);
    head.fact("accepted", &wave.acceptance);
    head.fact("gate", &standing.gate);
    head.fact("offers paused", &wave.paused);
    head.fact("changed since the submission", &standing.drift);
    head.fact("members", standing.tally.members);
    head.fact("in a hold now", counts.held);
    head.fact("held for long", standing.tally.long_holds);
    head.fact(
        "in no completion curve, for they are blocked or their requests failed",
        standing.progress.not_expected,
    );
    head.fact(
        "deadline at Apple otherwise than planned",
        standing.moved_elsewhere,
    );
}

fn tables(head: &mut ReportHead, standing: &Standing, counts: &Counts) {
    let funnel = STAGES.iter().zip(counts.stages);
    head.table(
        "funnel",
        &["stage", "devices"],
        funnel
            .map(|(stage, n)| vec![json!(stage), json!(n)])
            .collect(),
    );
    let days = |of: &[(Timestamp, u32)], what: &str| -> Vec<ReportRow> {
        of.iter()
            .map(|(at, n)| vec![cell(at), json!(what), json!(n)])
            .collect()
    };
    let mut curve = days(&standing.progress.ended, "ended");
    curve.extend(days(&standing.progress.expected, "expected at the latest"));
    head.table("completion", &["by", "what", "devices"], curve);
    let states = counts.states.iter();
    head.table(
        "states",
        &["state", "devices"],
        states
            .map(|(state, n)| vec![cell(state), json!(n)])
            .collect(),
    );
    let buckets = counts.buckets.iter();
    head.table(
        "deadlines",
        &["deadline", "members", "migrated", "ended otherwise", "open"],
        buckets
            .map(|(at, n)| {
                let mut row = vec![cell(at)];
                row.extend(n.iter().map(|n| json!(n)));
                row
            })
            .collect(),
    );
    let marks = MarkName::ALL.into_iter().map(|mark| {
        let of = standing.marks.get(&mark);
        let n = |state| of.and_then(|of| of.get(&state)).copied().unwrap_or(0);
        vec![
            json!(mark.as_str()),
            json!(n(MarkState::Proved)),
            json!(n(MarkState::Waiting)),
            json!(n(MarkState::Missing)),
            json!(n(MarkState::NotWanted)),
        ]
    });
    head.table(
        "marks",
        &["mark", "proved", "waiting", "missing", "not wanted"],
        marks.collect(),
    );
    let owners = counts.owners.iter();
    head.table(
        "exceptions by owner",
        &["owner", "exceptions"],
        owners
            .map(|(owner, n)| vec![cell(owner), json!(n)])
            .collect(),
    );
}

fn row(attempt: &Move, page: &MemberRows, now: Timestamp) -> ReportRow {
    let device = page.devices.get(&attempt.device);
    let set_up = page.set_up(attempt);
    let facts = device.map(|d| &d.facts);
    let reading = device.and_then(|d| d.reading.as_ref());
    let record = device.and_then(|d| d.record.as_ref());
    let owner = page.originals.get(&attempt.device);
    let owner = owner.and_then(|o| o.owner.as_ref());
    let mut row: Vec<Value> = vec![
        json!(attempt.serial.as_str()),
        cell(
            device
                .and_then(crate::device::Device::platform)
                .map(crate::device::Platform::as_str),
        ),
        cell(visible_state(Some(attempt), set_up)),
        cell(attempt.deadline),
        cell(attempt.shown_deadline),
        cell(attempt.available_from),
        cell(attempt.ended),
        cell(facts.and_then(|f| f.os_version.as_deref())),
    ];
    row.extend(aged(facts.and_then(|f| f.learned), now));
    row.push(cell(reading.and_then(|r| r.status.as_ref())));
    row.extend(aged(reading.map(|r| r.seen), now));
    row.push(cell(record.map(|r| r.profile_status.as_str())));
    row.extend(aged(record.map(|r| r.seen), now));
    row.push(cell(owner.and_then(|o| {
        o.value.name.as_deref().or(o.value.email.as_deref())
    })));
    row.extend(aged(owner.map(|o| o.at), now));
    let marks = page.marks(attempt);
    for name in MarkName::ALL {
        let mark = marks.iter().find(|m| m.mark == name);
        row.push(cell(mark.map(|m| m.state.as_str())));
    }
    let wanted = marks.iter().filter(|m| m.state != MarkState::NotWanted);
    let proof: Vec<String> = match set_up {
        Some(_) => wanted
            .map(|m| format!("{}: {}", m.mark.as_str(), m.why))
            .collect(),
        None => Vec::new(),
    };
    row.push(json!(proof.join("; ")));
    row.push(cell(
        set_up.and_then(|s| Some(s.released?.since(s.hold_began?).as_secs())),
    ));
    row.push(cell(
        set_up.and_then(|s| s.let_out).map(|out| out.by.as_str()),
    ));
    let attention = attempt.attention.as_ref();
    row.push(cell(attention));
    let exceptions: Vec<String> = attempt
        .exceptions
        .iter()
        .map(|e| {
            format!(
                "{}: {} ({})",
                e.what,
                e.why,
                cell(e.owner).as_str().unwrap_or_default()
            )
        })
        .collect();
    row.push(json!(exceptions.join("; ")));
    let under_way = set_up.is_some_and(|s| !s.is_ended());
    let next = next_action(attention, attempt.exceptions.first(), under_way);
    row.push(json!(next));
    row
}
