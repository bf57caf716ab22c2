//! What did not come true and why a person is needed, each with its owner and the next action: of members of waves, then of enrolments
//! outside of them.

use std::collections::BTreeMap;

use serde_json::json;

use super::{PAGE, cell};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{ReportKind, ReportRow, ReportSink, next_action};
use crate::ids::{MoveId, SetUpId, WaveId};
use crate::migration::{Attention, Exception, Owner, SetUp, VisibleState, visible_state};
use crate::service::Org;

const COLUMNS: &[&str] = &[
    "serial",
    "wave",
    "state",
    "what",
    "why",
    "owner",
    "since",
    "age s",
    "next action",
];

/// Whose an attention is, where no exception says it.
const fn owner_of(attention: &Attention) -> Owner {
    match attention {
        Attention::OverdueWithoutSignIn | Attention::SilentForDays => Owner::User,
        Attention::EnrolmentStalled | Attention::ReleaseUnconfirmed => Owner::Network,
        Attention::AppleSaysFailed => Owner::OrganisationAdmin,
        Attention::SubmitFailed | Attention::CancelUnproved | Attention::NotVisible => Owner::Apple,
        Attention::ProofIncomplete => Owner::Device,
        Attention::Blocked
        | Attention::ProfileNotInForce
        | Attention::NotAwaiting
        | Attention::HoldLong
        | Attention::ReleasedWithoutEvidence
        | Attention::RunbookUnreadable => Owner::Destination,
    }
}

/// What is said of one device.
struct Case<'a> {
    serial: &'a str,
    wave: Option<WaveId>,
    state: Option<VisibleState>,
    attention: Option<&'a Attention>,
    exceptions: &'a [Exception],
    /// Since when, for an attention.
    since: Option<Timestamp>,
    /// Its set-up has not ended.
    under_way: bool,
}

impl Case<'_> {
    fn rows(&self, now: Timestamp) -> Vec<ReportRow> {
        let row = |what, why, owner: Owner, since: Option<Timestamp>, next: &str| {
            vec![
                json!(self.serial),
                cell(self.wave),
                cell(self.state),
                what,
                why,
                cell(owner),
                cell(since),
                cell(since.map(|at| now.since(at).as_secs())),
                json!(next),
            ]
        };
        let mut rows: Vec<ReportRow> = self
            .exceptions
            .iter()
            .map(|e| {
                let next = next_action(None, Some(e), self.under_way);
                row(json!(e.what), json!(e.why), e.owner, Some(e.at), next)
            })
            .collect();
        if let Some(attention) = self.attention {
            let owner = self
                .exceptions
                .last()
                .map_or(owner_of(attention), |e| e.owner);
            let next = next_action(Some(attention), None, self.under_way);
            rows.push(row(
                json!("attention"),
                cell(attention),
                owner,
                self.since,
                next,
            ));
        }
        rows
    }
}

impl Org {
    pub(super) async fn report_exceptions(
        &self,
        wave: Option<WaveId>,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let title = self.title_of(wave, "Exceptions", None).await?;
        // Once for the sums, once for the rows: neither keeps what it has passed.
        let (mut sums, mut devices) = (BTreeMap::<(String, String), u64>::new(), 0_u64);
        self.each_case(wave, now, |rows| {
            devices += u64::from(!rows.is_empty());
            for row in rows {
                let text = |n: usize| row[n].as_str().unwrap_or_default().to_owned();
                let what = text(3);
                let what = what
                    .split_once(": ")
                    .map_or(what.as_str(), |(step, _)| step);
                *sums.entry((text(5), what.to_owned())).or_default() += 1;
            }
        })
        .await?;
        let mut head = self.report_head(ReportKind::Exceptions, title, now);
        head.columns = COLUMNS;
        head.fact("devices", devices);
        let sums = sums.into_iter();
        head.table(
            "by owner",
            &["owner", "what", "how many"],
            sums.map(|((owner, what), n)| vec![json!(owner), json!(what), json!(n)])
                .collect(),
        );
        sink.head(head).await?;
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(wave, after).await? {
            after = last;
            let cases = page.attempts.iter().map(|m| of_member(m, page.set_up(m)));
            let rows: Vec<ReportRow> = cases.flat_map(|case| case.rows(now)).collect();
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
        if wave.is_some() {
            return Ok(());
        }
        let mut after = SetUpId(0);
        while let Some((page, last)) = self.set_ups_after(after).await? {
            after = last;
            let cases = page.iter().filter(|s| s.move_id.is_none()).map(of_set_up);
            let rows: Vec<ReportRow> = cases.flat_map(|case| case.rows(now)).collect();
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
        Ok(())
    }

    /// Shows the rows of each device in turn.
    async fn each_case(
        &self,
        wave: Option<WaveId>,
        now: Timestamp,
        mut see: impl FnMut(&[ReportRow]) + Send,
    ) -> Result<(), Error> {
        let mut after = MoveId(0);
        while let Some((page, last)) = self.members_after(wave, after).await? {
            after = last;
            for attempt in &page.attempts {
                see(&of_member(attempt, page.set_up(attempt)).rows(now));
            }
        }
        if wave.is_some() {
            return Ok(());
        }
        let mut after = SetUpId(0);
        while let Some((page, last)) = self.set_ups_after(after).await? {
            after = last;
            for set_up in page.iter().filter(|s| s.move_id.is_none()) {
                see(&of_set_up(set_up).rows(now));
            }
        }
        Ok(())
    }

    /// The next set-ups of the organisation.
    pub(super) async fn set_ups_after(
        &self,
        after: SetUpId,
    ) -> Result<Option<(Vec<SetUp>, SetUpId)>, Error> {
        let page = self.store().set_ups(self.id(), after, PAGE).await?;
        Ok(page.last().map(|last| last.id).map(|last| (page, last)))
    }
}

fn of_member<'a>(attempt: &'a crate::migration::Move, set_up: Option<&'a SetUp>) -> Case<'a> {
    // Until the set-up has ended its exceptions are not the attempt's yet.
    let open = set_up.filter(|s| !s.is_ended() && !attempt.is_ended());
    let exceptions = match open {
        Some(set_up) if attempt.exceptions.is_empty() => &set_up.exceptions,
        _ => &attempt.exceptions,
    };
    Case {
        serial: attempt.serial.as_str(),
        wave: Some(attempt.wave),
        state: visible_state(Some(attempt), set_up),
        attention: attempt
            .attention
            .as_ref()
            .or_else(|| open.and_then(|s| s.attention.as_ref())),
        exceptions,
        since: attempt.ended.or_else(|| open.map(|s| s.began)),
        under_way: set_up.is_some_and(|s| !s.is_ended()),
    }
}

fn of_set_up(set_up: &SetUp) -> Case<'_> {
    Case {
        serial: set_up.serial.as_ref().map_or("", |s| s.as_str()),
        wave: None,
        state: visible_state(None, Some(set_up)),
        attention: set_up.attention.as_ref(),
        exceptions: &set_up.exceptions,
        since: Some(set_up.began),
        under_way: !set_up.is_ended(),
    }
}
