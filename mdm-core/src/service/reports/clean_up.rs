//! The clean-up list for the service that devices have left: which of them it may still list, since when, who removes them there, and
//! which of them somebody has said are removed. Nobody tells us that; so a row stays open until a person has.

use std::collections::BTreeMap;

use serde_json::json;

use super::cell;
use super::page::MemberRows;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{ReportKind, ReportRow, ReportSink};
use crate::ids::{MoveId, WaveId};
use crate::migration::{Move, Owner};
use crate::service::Org;

const COLUMNS: &[&str] = &[
    "serial",
    "wave",
    "service that it left",
    "service id",
    "since",
    "age s",
    "who removes it",
    "removed",
    "said by",
    "what shows it",
    "next action",
];
const NEXT: &str = "remove it from the list of the service that it left, and say so with `mdmd wave cleaned`: that service may never have heard that it is gone";

/// Services by Apple's identifier.
type Names = BTreeMap<String, String>;

/// How people call a service; Apple's identifier where nobody has told.
fn name_of<'a>(names: &'a Names, id: Option<&'a String>) -> &'a str {
    id.map_or("", |id| names.get(id).unwrap_or(id))
}

fn row(attempt: &Move, names: &Names, now: Timestamp) -> ReportRow {
    let removed = attempt.removed.as_ref();
    vec![
        json!(attempt.serial),
        cell(attempt.wave),
        json!(name_of(names, attempt.original_server.as_ref())),
        cell(&attempt.original_server),
        cell(attempt.ended),
        cell(attempt.ended.map(|at| now.since(at).as_secs())),
        cell(Owner::Original),
        cell(removed.map(|said| said.at)),
        cell(removed.map(|said| &said.by)),
        cell(removed.map(|said| &said.evidence)),
        cell(removed.is_none().then_some(NEXT)),
    ]
}

/// Members that the service that they left may list still; one that was told removed there too.
fn left_behind(page: &MemberRows) -> impl Iterator<Item = &Move> {
    let known = |attempt: &&Move| {
        let device = page.devices.get(&attempt.device);
        device.is_some_and(|device| attempt.is_left_behind(device))
    };
    page.attempts.iter().filter(known)
}

impl Org {
    pub(super) async fn report_clean_up(
        &self,
        wave: Option<WaveId>,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let names = self.inventory().await?.map(|read| read.services);
        let names: Names = names.unwrap_or_default().into_iter().collect();
        let all = "Clean-up list for the services that devices left";
        let title = self.title_of(wave, "Clean-up list", Some(all)).await?;
        // Once for the sums, once for the rows: neither keeps what it has passed.
        let (mut sums, mut after) = (BTreeMap::<String, [u64; 2]>::new(), MoveId(0));
        while let Some((page, last)) = self.members_after(wave, after).await? {
            after = last;
            for attempt in left_behind(&page) {
                let service = name_of(&names, attempt.original_server.as_ref());
                let of = sums.entry(service.to_owned()).or_default();
                of[usize::from(attempt.removed.is_some())] += 1;
            }
        }
        let mut head = self.report_head(ReportKind::CleanUp, title, now);
        head.columns = COLUMNS;
        head.fact("to be removed", sums.values().map(|of| of[0]).sum::<u64>());
        head.fact("removed", sums.values().map(|of| of[1]).sum::<u64>());
        let sums = sums.into_iter();
        head.table(
            "by service",
            &["service that they left", "to be removed", "removed"],
            sums.map(|(service, [open, gone])| vec![json!(service), json!(open), json!(gone)])
                .collect(),
        );
        sink.head(head).await?;
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(wave, after).await? {
            after = last;
            let rows = left_behind(&page).map(|attempt| row(attempt, &names, now));
            let rows: Vec<ReportRow> = rows.collect();
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
        Ok(())
    }
}
