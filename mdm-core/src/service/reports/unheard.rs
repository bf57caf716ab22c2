//! Whom nobody has heard of: addresses and serial numbers that were refused at a door, members that should have come, and devices that
//! have fallen silent. Serial numbers that no row knows are among them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{PAGE, cell};
use crate::audit::Refusal;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{ReportKind, ReportRow, ReportSink};
use crate::ids::{DeviceId, MoveId, Serial};
use crate::migration::{Move, MoveState, visible_state};
use crate::service::Org;

const COLUMNS: &[&str] = &[
    "kind",
    "serial",
    "address",
    "known",
    "door",
    "why",
    "how often",
    "first",
    "last",
    "age s",
    "next action",
];

/// Refusals that are looked at: the newest ones. The table of them is bounded too, at fewer for each list.
const REFUSALS: u32 = 20_000;

/// Refusals of one sender at one door for one reason.
struct Refused {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    serial: Option<Serial>,
    address: String,
}

impl Org {
    pub(super) async fn report_unheard(
        &self,
        days: u32,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let refused = self.refused_senders().await?;
        let title = format!("Not heard from for {days} days, or refused");
        let mut head = self.report_head(ReportKind::Unheard, title, now);
        head.columns = COLUMNS;
        head.fact("silent for days", days);
        // How many, and no address: with several organisations nobody can say whose they were.
        let handshakes = self.mdm.handshakes(REFUSALS).await?;
        if !handshakes.is_empty() {
            head.fact(
                "handshakes that failed at this installation, of nobody known",
                handshakes.len(),
            );
        }
        let mut doors = BTreeMap::<&str, [u64; 2]>::new();
        for ((_, door, _), of) in &refused {
            let sums = doors.entry(door).or_default();
            sums[0] += 1;
            sums[1] += of.count;
        }
        let doors = doors.into_iter();
        head.table(
            "refused at",
            &["door", "senders and reasons", "requests"],
            doors
                .map(|(door, [senders, requests])| {
                    vec![json!(door), json!(senders), json!(requests)]
                })
                .collect(),
        );
        sink.head(head).await?;
        let serials: Vec<Serial> = refused.values().filter_map(|r| r.serial.clone()).collect();
        let mut known = std::collections::BTreeSet::new();
        for chunk in serials.chunks(PAGE as usize) {
            let found = self.store().devices_by_serial(self.id(), chunk).await?;
            known.extend(found.into_iter().map(|d| d.serial));
        }
        let rows = refused.iter().map(|((_, door, reason), of)| {
            let is_known = of.serial.as_ref().map(|s| known.contains(s));
            refusal_row(door, reason, of, is_known, now)
        });
        sink.rows(rows.collect()).await?;
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(None, after).await? {
            after = last;
            let rows: Vec<ReportRow> = page
                .attempts
                .iter()
                .filter_map(|m| member_row(m, page.set_up(m), now))
                .collect();
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
        self.silent_devices(days, now, sink).await
    }

    /// By sender, door and reason.
    async fn refused_senders(&self) -> Result<BTreeMap<(String, String, String), Refused>, Error> {
        let mut all = BTreeMap::new();
        for refusal in self.store().refusals(self.id(), REFUSALS).await? {
            let sender = refusal.sender();
            let Refusal {
                at,
                address,
                door,
                reason,
                serial,
                ..
            } = refusal;
            let of = all.entry((sender, door, reason)).or_insert(Refused {
                count: 0,
                first: at,
                last: at,
                serial,
                address,
            });
            of.count += 1;
            of.first = of.first.min(at);
            of.last = of.last.max(at);
        }
        Ok(all)
    }

    /// Enrolled devices of which nothing was heard for so many days.
    async fn silent_devices(
        &self,
        days: u32,
        now: Timestamp,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let since = now - Duration::from_secs(u64::from(days) * 86_400);
        let mut after = DeviceId(0);
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            let mut rows = Vec::new();
            let ids: Vec<DeviceId> = page.iter().map(|device| device.id).collect();
            let spoke = self.last_heard(&ids).await?;
            for device in &page {
                let Some(enrollment) = device.enrollment else {
                    continue;
                };
                let heard = spoke.get(&device.id).copied();
                let heard = heard.max(device.facts.learned);
                if heard.is_some_and(|at| at >= since) {
                    continue;
                }
                let set_up = self.store().set_up_of(self.id(), enrollment).await?;
                let heard = heard.max(set_up.and_then(|s| s.heard));
                if heard.is_some_and(|at| at >= since) {
                    continue;
                }
                let next = "have it switched on and on a network; a device that is gone for good is to be taken out of use";
                rows.push(vec![
                    json!("silent"),
                    json!(device.serial.as_str()),
                    json!(null),
                    json!(true),
                    json!(null),
                    json!("enrolled, and nothing was heard of it"),
                    json!(null),
                    json!(null),
                    cell(heard),
                    cell(heard.map(|at| now.since(at).as_secs())),
                    json!(next),
                ]);
            }
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
    }
}

fn refusal_row(
    door: &str,
    reason: &str,
    of: &Refused,
    known: Option<bool>,
    now: Timestamp,
) -> ReportRow {
    let next = match known {
        Some(false) => {
            "assign the device to this service in Apple's portal, or invite it: `mdmd device invite`"
        }
        Some(true) => "mend what the reason names; the device tries again by itself",
        None => "see whose address it is, and mend chain, clock, port or proxy on the way",
    };
    vec![
        json!("refused"),
        cell(of.serial.as_ref().map(Serial::as_str)),
        json!(of.address),
        cell(known),
        json!(door),
        json!(reason),
        json!(of.count),
        cell(of.first),
        cell(of.last),
        json!(now.since(of.last).as_secs()),
        json!(next),
    ]
}

/// A member that should have come: past its deadline, or begun and silent.
fn member_row(
    attempt: &Move,
    set_up: Option<&crate::migration::SetUp>,
    now: Timestamp,
) -> Option<ReportRow> {
    let (since, why) = match &attempt.state {
        MoveState::Overdue { .. } => (
            attempt.deadline,
            "its deadline has passed, and it has not begun",
        ),
        MoveState::Offered { .. } if attempt.deadline < now => (
            attempt.deadline,
            "its deadline has passed, and it has not begun",
        ),
        MoveState::Started { since } => (*since, "it has begun, and has not enrolled"),
        MoveState::Stalled { since, .. } => (*since, "it has begun, and has fallen silent"),
        _ => return None,
    };
    let attention = attempt.attention.as_ref();
    let attention = attention.or_else(|| set_up.and_then(|s| s.attention.as_ref()));
    let heard = set_up.and_then(|s| s.heard);
    let next = match attention {
        Some(_) => {
            let under_way = set_up.is_some_and(|s| !s.is_ended());
            crate::evidence::next_action(attention, None, under_way)
        }
        None => "wait, or reach its owner",
    };
    let state = cell(visible_state(Some(attempt), set_up));
    Some(vec![
        json!("expected"),
        json!(attempt.serial.as_str()),
        json!(null),
        json!(true),
        state,
        json!(why),
        json!(null),
        cell(since),
        cell(heard),
        json!(now.since(heard.unwrap_or(since)).as_secs()),
        json!(next),
    ])
}
