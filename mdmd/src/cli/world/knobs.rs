//! What of the simulated Apple can be turned: lags, limits, failures, trouble. Each flag says what happens without it.

use anyhow::{Context as _, anyhow};
use fixtures::apple::{Apple, Habits, Trouble, TroubleKind};
use fixtures::clock::{HOUR, SECOND};

/// What a request may meet without having deserved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Meets {
    /// 429 with Retry-After
    #[value(name = "429")]
    TooMany,
    /// 500
    #[value(name = "500")]
    Internal,
    /// 503 with Retry-After
    #[value(name = "503")]
    Unavailable,
    /// The connection is dropped, and nothing was done
    Drop,
    /// Done, but the connection is dropped before the answer
    Lost,
}

impl From<Meets> for TroubleKind {
    fn from(kind: Meets) -> Self {
        match kind {
            Meets::TooMany => Self::TooMany,
            Meets::Internal => Self::Internal,
            Meets::Unavailable => Self::Unavailable,
            Meets::Drop => Self::Dropped,
            Meets::Lost => Self::LostAnswer,
        }
    }
}

/// How the simulated Apple behaves.
#[derive(clap::Args, Debug)]
pub(crate) struct Knobs {
    /// Each so manieth request meets trouble, over all services; without it none.
    #[arg(long, value_name = "N", help_heading = "Behaviour")]
    trouble_every: Option<u64>,
    /// Which trouble, in turn; without it every kind.
    #[arg(long, value_enum, value_delimiter = ',', help_heading = "Behaviour")]
    trouble: Vec<Meets>,
    /// Seconds from an accepted activity to its effect; without it 5 to 90.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    activity_lag: Option<u32>,
    /// Seconds until a change shows in the device list; without it 5.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    sync_lag: Option<u32>,
    /// Seconds until a change shows in the organisation API; without it 15.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    record_lag: Option<u32>,
    /// Seconds after an assignment in which a device is not called capable of migration; without it 60.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    capable_lag: Option<u32>,
    /// A device whose part in every activity fails, with the reason in the result file.
    #[arg(
        long = "fail",
        value_name = "SERIAL=REASON",
        help_heading = "Behaviour"
    )]
    fails: Vec<String>,
    /// Licences that fail in every event, with the error number; a serial number narrows it to one device.
    #[arg(
        long = "fail-licence",
        value_name = "ADAM_ID[:SERIAL]=NUMBER",
        help_heading = "Behaviour"
    )]
    licence_fails: Vec<String>,
    /// Seconds from an accepted licence request to its effect; without it 2 to 120.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    licence_lag: Option<u32>,
    /// Profile assignments of a device in a day before it is throttled; without it 4.
    #[arg(long, value_name = "N", help_heading = "Behaviour")]
    throttle_after: Option<usize>,
    /// Hours for which a throttled device stays so; without it 6.
    #[arg(long, value_name = "HOURS", help_heading = "Behaviour")]
    throttle_hours: Option<u32>,
    /// A cancelled migration leaves the device at the destination; without it, it goes back.
    #[arg(long, help_heading = "Behaviour")]
    cancel_stays: bool,
    /// Seconds for which a link to a result file works; without it two hours.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    result_link: Option<u32>,
    /// Hours after which a sync cursor is expired; without it seven days.
    #[arg(long, value_name = "HOURS", help_heading = "Behaviour")]
    cursor_hours: Option<u32>,
    /// Seconds that a session lasts; without it three minutes.
    #[arg(long, value_name = "SECONDS", help_heading = "Behaviour")]
    session: Option<u32>,
    /// Requests after which a session is replaced by response header; without it 20.
    #[arg(long, value_name = "N", help_heading = "Behaviour")]
    session_rotates: Option<u32>,
    /// Longest page of the device list; without it 1000.
    #[arg(long, value_name = "N", help_heading = "Behaviour", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    page: Option<u32>,
    /// Reads of the organisation API in a minute; without it 20.
    #[arg(long, value_name = "N", help_heading = "Behaviour")]
    reads_a_minute: Option<usize>,
    /// Writes of the organisation API in an hour; without it 10.
    #[arg(long, value_name = "N", help_heading = "Behaviour")]
    writes_an_hour: Option<usize>,
    /// The organisation API drops the connection when its budget is spent, instead of answering 429.
    #[arg(long, help_heading = "Behaviour")]
    budget_hangs_up: bool,
    /// New terms wait for acceptance: the assignment service refuses every call.
    #[arg(long, help_heading = "Behaviour")]
    terms_pending: bool,
    /// The content token may change nothing.
    #[arg(long, help_heading = "Behaviour")]
    read_only_licences: bool,
    /// The organisation API does not know migrations, as in a School of an earlier year.
    #[arg(long, help_heading = "Behaviour")]
    no_migrations: bool,
    /// AppleSeed for IT is turned off, and there is no account-driven enrolment.
    #[arg(long, help_heading = "Behaviour")]
    no_extras: bool,
}

fn seconds(value: u32) -> i64 {
    i64::from(value) * SECOND
}

impl Knobs {
    /// Turns what is turned before the start.
    pub(crate) fn turn(&self, habits: &mut Habits) -> anyhow::Result<()> {
        if let Some(every) = self.trouble_every {
            let mut trouble = Trouble::every(every);
            if !self.trouble.is_empty() {
                trouble.kinds = self.trouble.iter().map(|k| (*k).into()).collect();
            }
            habits.trouble = Some(trouble);
        } else if !self.trouble.is_empty() {
            return Err(anyhow!("--trouble needs --trouble-every"));
        }
        for (turned, place) in [
            (self.sync_lag.map(seconds), &mut habits.sync_lag_ms),
            (self.record_lag.map(seconds), &mut habits.record_lag_ms),
            (self.capable_lag.map(seconds), &mut habits.capable_lag_ms),
            (self.result_link.map(seconds), &mut habits.download_ms),
            (self.session.map(seconds), &mut habits.session_ms),
            (
                self.throttle_hours.map(|h| i64::from(h) * HOUR),
                &mut habits.throttle_ms,
            ),
            (
                self.cursor_hours.map(|h| i64::from(h) * HOUR),
                &mut habits.cursor_ms,
            ),
        ] {
            *place = turned.unwrap_or(*place);
        }
        if let Some(lag) = self.activity_lag.map(seconds) {
            habits.activity_ms = (lag, lag);
        }
        if let Some(lag) = self.licence_lag.map(seconds) {
            habits.licences.event_ms = (lag, lag);
        }
        if let Some(page) = self.page {
            let page = usize::try_from(page)?;
            habits.page = (habits.page.0.min(page), page);
        }
        let (reads, writes) = habits.business_budget;
        habits.business_budget = (
            self.reads_a_minute.unwrap_or(reads),
            self.writes_an_hour.unwrap_or(writes),
        );
        habits.assignments_per_day = self.throttle_after.unwrap_or(habits.assignments_per_day);
        habits.session_rotates_after = self.session_rotates.unwrap_or(habits.session_rotates_after);
        habits.cancel_reverts = !self.cancel_stays;
        habits.budget_hangs_up = self.budget_hangs_up;
        habits.licences.read_only = self.read_only_licences;
        habits.migrations = !self.no_migrations;
        habits.account_driven = !self.no_extras;
        habits.seed_for_it = !self.no_extras;
        Ok(())
    }

    /// Tells what can be told once it runs.
    pub(crate) fn tell(&self, apple: &Apple) -> anyhow::Result<()> {
        for text in &self.fails {
            let (serial, why) = text
                .split_once('=')
                .ok_or_else(|| anyhow!("--fail {text}: not like SERIAL=REASON"))?;
            apple.fail_in_activities(serial, Some(why));
        }
        for text in &self.licence_fails {
            let (what, number) = text
                .split_once('=')
                .ok_or_else(|| anyhow!("--fail-licence {text}: not like ADAM_ID=NUMBER"))?;
            let number = number
                .parse()
                .with_context(|| format!("--fail-licence {text}: no number"))?;
            let (adam_id, serial) = what.split_once(':').unwrap_or((what, ""));
            apple.fail_licences(adam_id, serial, Some(number));
        }
        apple.set_terms_pending(self.terms_pending);
        Ok(())
    }
}
