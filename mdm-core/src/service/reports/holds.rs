//! How holds went: how long they took, which step took what, what ended them; then every one of them.

use serde_json::{Value, json};

use super::cell;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{HoldFigures, Percentiles, ReportHead, ReportKind, ReportRow, ReportSink};
use crate::ids::{MoveId, SetUpId, WaveId};
use crate::migration::{LetOutBy, SetUp, StepId, StepStatus, visible_state};
use crate::service::Org;

const COLUMNS: &[&str] = &[
    "serial",
    "platform",
    "verdict",
    "state",
    "authenticated",
    "enrolled",
    "hold began",
    "let out at",
    "let out by",
    "out",
    "held s",
    "slowest step",
    "slowest step s",
    "given up",
];

const SPANS: &[&str] = &["what", "how many", "p50 s", "p90 s", "p99 s", "longest s"];

impl Org {
    pub(super) async fn report_holds(
        &self,
        wave: Option<WaveId>,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let title = self.title_of(wave, "Holds", None).await?;
        let mut figures = HoldFigures::default();
        let mut place = Place::default();
        while let Some(page) = self.next_set_ups(wave, &mut place).await? {
            page.iter().for_each(|set_up| figures.add(set_up));
        }
        let mut head = self.report_head(ReportKind::Holds, title, now);
        head.columns = COLUMNS;
        describe(&mut head, &figures);
        sink.head(head).await?;
        let mut place = Place::default();
        while let Some(page) = self.next_set_ups(wave, &mut place).await? {
            sink.rows(page.iter().map(|s| row(s, now)).collect())
                .await?;
        }
        Ok(())
    }

    /// The next set-ups of a wave's members, or of all devices.
    async fn next_set_ups(
        &self,
        wave: Option<WaveId>,
        place: &mut Place,
    ) -> Result<Option<Vec<SetUp>>, Error> {
        let Some(wave) = wave else {
            let page = self.set_ups_after(place.set_up).await?;
            return Ok(page.map(|(page, last)| {
                place.set_up = last;
                page
            }));
        };
        let page = self.members_after(Some(wave), place.member).await?;
        Ok(page.map(|(page, last)| {
            place.member = last;
            page.set_ups.into_values().collect()
        }))
    }
}

/// How far it has been read.
#[derive(Default)]
struct Place {
    set_up: SetUpId,
    member: MoveId,
}

fn spans(what: &str, of: &Percentiles) -> ReportRow {
    let mut row = vec![json!(what), json!(of.count())];
    row.extend([50, 90, 99, 100].map(|percent| cell(of.percentile(percent))));
    row
}

fn describe(head: &mut ReportHead, figures: &HoldFigures) {
    head.fact("held now", figures.still_held);
    head.fact("enrolled without a hold", figures.without);
    head.table(
        "durations",
        SPANS,
        vec![
            spans("from Authenticate to TokenUpdate", &figures.enrolling),
            spans(
                "from the begin of the hold until the device was out",
                &figures.held,
            ),
            spans(
                "from the decision to release until the device was out",
                &figures.leaving,
            ),
        ],
    );
    let by = [
        LetOutBy::Evidence,
        LetOutBy::Policy,
        LetOutBy::Ceiling,
        LetOutBy::Person,
        LetOutBy::Device,
    ];
    let count = |by: LetOutBy| figures.let_out.get(&by).copied().unwrap_or(0);
    head.table(
        "let out by",
        &["what", "how many"],
        by.map(|by| vec![json!(by.as_str()), json!(count(by))])
            .into(),
    );
    let steps = StepId::ALL.into_iter().filter_map(|id| {
        let of = figures.steps.get(&id)?;
        let mut row = spans(id.as_str(), &of.took);
        row.extend([of.done, of.given_up, of.skipped].map(Value::from));
        Some(row)
    });
    head.table(
        "steps",
        &[
            "step",
            "how many",
            "p50 s",
            "p90 s",
            "p99 s",
            "longest s",
            "proved",
            "given up",
            "did not apply",
        ],
        steps.collect(),
    );
}

fn row(set_up: &SetUp, now: Timestamp) -> ReportRow {
    let until = set_up.released.or((!set_up.is_ended()).then_some(now));
    let held = set_up
        .hold_began
        .and_then(|from| Some(until?.since(from).as_secs()));
    let before = |id: &StepId| !matches!(id, StepId::Release | StepId::Verify | StepId::Tell);
    let steps = set_up.steps_or_proofs();
    let slowest = steps
        .iter()
        .filter(|(id, _)| before(id))
        .filter_map(|(id, state)| {
            let end = state.status.is_over().then_some(state.since).or(until)?;
            Some((end.since(state.began?).as_secs(), *id))
        })
        .max();
    let given_up: Vec<&str> = steps
        .iter()
        .filter(|(_, state)| matches!(state.status, StepStatus::Excepted { .. }))
        .map(|(id, _)| id.as_str())
        .collect();
    vec![
        cell(&set_up.serial),
        json!(set_up.platform.as_str()),
        cell(set_up.verdict.kind),
        cell(visible_state(None, Some(set_up))),
        cell(set_up.began),
        cell(set_up.enrolled),
        cell(set_up.hold_began),
        cell(set_up.let_out.map(|out| out.at)),
        cell(set_up.let_out.map(|out| out.by.as_str())),
        cell(set_up.released),
        cell(held),
        cell(slowest.map(|(_, id)| id)),
        cell(slowest.map(|(seconds, _)| seconds)),
        json!(given_up.join(", ")),
    ]
}
