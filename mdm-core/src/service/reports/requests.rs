//! The ledger of requests to Apple that change something: who asked for what, when it left, what Apple called it and what came of it.

use serde_json::{Value, json};

use super::{PAGE, cell};
use crate::clock::Timestamp;
use crate::errand::{Errand, ErrandState};
use crate::error::Error;
use crate::evidence::{ReportKind, ReportRow, ReportSink};
use crate::ids::{ErrandId, WaveId};
use crate::service::Org;
use crate::service::gate::{BudgetReport, Spent};

const COLUMNS: &[&str] = &[
    "request",
    "wave",
    "kind",
    "by",
    "reason",
    "decided",
    "devices",
    "state",
    "since",
    "sendings",
    "last sent",
    "activity",
    "Apple's last word",
    "failed",
    "ended",
    "age s",
    "needs a person",
];

/// What is used of Apple's budgets, for each kind of requests.
const OF_BUDGETS: &[&str] = &[
    "budget",
    "requests",
    "used",
    "left",
    "waiting",
    "none before",
    "Apple wants silence until",
];

impl Org {
    pub(super) async fn report_requests(
        &self,
        wave: Option<WaveId>,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let title = self.title_of(wave, "Requests to Apple", None).await?;
        let mut head = self.report_head(ReportKind::Requests, title, now);
        head.columns = COLUMNS;
        let budgets = self.budgets().await?;
        let of_budgets = budgets.iter().flat_map(|budget| of_budget(budget, now));
        head.table("budgets", OF_BUDGETS, of_budgets.collect());
        sink.head(head).await?;
        let mut after = ErrandId(0);
        loop {
            let page = self.errands_after(wave, after).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            sink.rows(page.iter().map(|e| row(e, now)).collect())
                .await?;
        }
    }

    /// The next requests of a wave, or of all.
    pub(in crate::service) async fn errands_after(
        &self,
        wave: Option<WaveId>,
        after: ErrandId,
    ) -> Result<Vec<Errand>, Error> {
        // A request has up to a thousand devices.
        let limit = PAGE / 10;
        Ok(match wave {
            Some(wave) => {
                self.store()
                    .errands_of(self.id(), wave, after, limit)
                    .await?
            }
            None => self.store().errands(self.id(), after, limit).await?,
        })
    }
}

/// The rows of a budget. Where Apple names no number, nothing is counted, and only pauses are kept.
fn of_budget(budget: &BudgetReport, now: Timestamp) -> Vec<ReportRow> {
    let row = |what: &str, spent: &Spent, waiting: u32| {
        let counted = spent.allowed.is_some();
        let next = Timestamp::from_millis(spent.status.next_at_ms);
        vec![
            json!(budget.name),
            json!(what),
            cell(counted.then_some(spent.status.used)),
            cell(counted.then_some(spent.status.left)),
            json!(waiting),
            cell((next > now).then_some(next)),
            cell(budget.paused_until),
        ]
    };
    vec![
        row("reads", &budget.reads, 0),
        row("lists", &budget.lists, 0),
        row("writes", &budget.writes, budget.waiting_writes),
    ]
}

fn row(errand: &Errand, now: Timestamp) -> ReportRow {
    let (state, since): (&str, Option<Timestamp>) = match &errand.state {
        ErrandState::Waiting => ("waiting", Some(errand.created)),
        ErrandState::Asked { at } => ("asked", Some(*at)),
        ErrandState::Posted { at, .. } => ("taken by Apple", Some(*at)),
        ErrandState::Proving { since } => ("being proved", Some(*since)),
        ErrandState::Done => ("done", errand.ended),
        ErrandState::Refused { .. } => ("refused", errand.ended),
    };
    let sent: Vec<&crate::errand::Sending> =
        errand.sendings.iter().filter(|s| s.devices > 0).collect();
    let activity = errand
        .sendings
        .iter()
        .rev()
        .find_map(|s| s.activity.as_deref());
    let word = match &errand.state {
        ErrandState::Refused { why } => Some(why.as_str()),
        _ => errand.status.as_deref(),
    };
    let row: Vec<Value> = vec![
        cell(errand.id),
        cell(errand.wave),
        json!(errand.kind.as_str()),
        json!(errand.by),
        cell(&errand.reason),
        cell(errand.created),
        json!(errand.members.len()),
        json!(state),
        cell(since),
        json!(sent.len()),
        cell(sent.last().map(|s| s.at)),
        cell(activity),
        cell(word),
        json!(errand.failed.len()),
        cell(errand.ended),
        cell(since.map(|at| now.since(at).as_secs())),
        cell(&errand.needs_person),
    ];
    row
}
