//! Figures for Prometheus: requests as they are answered, and, when somebody asks, what waits and what is about to end.
//! Names no device and no secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::tls::Certificates;
use mdm_core::clock::Timestamp;
use mdm_core::ids::OrganisationId;
use mdm_core::organisation::Organisation;
use mdm_core::service::{BudgetReport, Mdm};
use mdm_core::store::{CommandsWaiting, StoreError};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How long figures that take a walk over all organisations hold.
const WALK_EVERY: Duration = Duration::from_secs(60);
/// What ends later than this is not worth a line of its own per organisation.
const SOON_DAYS: f64 = 60.0;
/// Most lines of one kind: a bound for installations with thousands of organisations.
const LINES: usize = 1_000;

/// Upper bounds of the request durations, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// What ends, and is counted per organisation.
const KINDS: [&str; 5] = [
    "push_certificate",
    "server_token",
    "identity_authority",
    "content_token",
    "api_token",
];

/// Something that ends, and whose.
#[derive(Clone, Debug)]
struct Ending {
    what: &'static str,
    organisation: String,
    days: f64,
}

/// Makes the page that Prometheus reads.
#[derive(Clone)]
pub(crate) struct Figures {
    mdm: Mdm,
    certificates: Certificates,
    /// What a walk over all organisations gave, and when.
    walked: Arc<Mutex<Option<(Instant, Walk)>>>,
    shown: Shown,
}

/// What ends, whose where that is told, and in how many days.
type Ends = BTreeMap<(&'static str, Option<String>), f64>;

/// The ends that the last page showed.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Ends>>);

#[derive(Clone, Debug, Default)]
struct Walk {
    commands: CommandsWaiting,
    organisations: usize,
    holds: usize,
    oldest_hold: Option<Timestamp>,
    endings: Vec<Ending>,
    /// Within so many days (as text, for a label), so many.
    identities_ending: Vec<(&'static str, u64)>,
    first_identity: Option<Timestamp>,
    budgets: BTreeMap<(&'static str, &'static str), Spent>,
}

/// What is left of Apple's budgets of one service and one class of requests, over all organisations.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    /// Requests that the organisation with the least could send now; `None` where Apple names no number.
    least: Option<u32>,
    /// Budgets that may send nothing now.
    pausing: u64,
    /// Requests that wait to leave.
    waiting: u64,
}

/// The recorder of this process; several servers in one process (tests) share it.
fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Full("mdmd_request_seconds".to_owned()), &BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .inspect_err(|error| tracing::error!(%error, "there will be no metrics"))
                .ok()
        })
        .as_ref()
}

/// Notes one answered request. `route` is the pattern of the path, never the path.
pub(crate) fn answered(duty: &'static str, route: &str, status: u16, took: Duration) {
    let route = route.to_owned();
    metrics::counter!("mdmd_requests_total", "duty" => duty, "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("mdmd_request_seconds", "route" => route).record(took);
}

/// Notes one request that our ACME server refused, by the protocol's word.
pub(crate) fn acme_refused(problem: &'static str) {
    metrics::counter!("mdmd_acme_refused_total", "problem" => problem).increment(1);
}

/// Notes one request that was told to come again: for its `client`'s rate, or because all `bodies` together were too much.
pub(crate) fn put_off(why: &'static str) {
    metrics::counter!("mdmd_put_off_total", "why" => why).increment(1);
}

/// Notes spans that the collector took.
pub(crate) fn spans_sent(count: usize) {
    metrics::counter!("mdmd_spans_sent_total").increment(count as u64);
}

/// Notes spans that no collector will see: the `queue` was full, the `collector` did not take them, or it was the `end`.
pub(crate) fn spans_dropped(why: &'static str, count: usize) {
    metrics::counter!("mdmd_spans_dropped_total", "why" => why).increment(count as u64);
}

/// Notes how one push ended.
pub(crate) fn pushed(outcome: &'static str) {
    metrics::counter!("mdmd_pushes_total", "outcome" => outcome).increment(1);
}

/// Notes how an order of a certificate for the listeners ended: `issued` or `failed`.
pub(crate) fn certificate_ordered(outcome: &'static str) {
    metrics::counter!("mdmd_certificate_orders_total", "outcome" => outcome).increment(1);
}

/// Notes how many orders of the listeners' certificate have failed in a row, here or in another process.
pub(crate) fn certificate_failures(failures: u32) {
    metrics::gauge!("mdmd_certificate_order_failures").set(f64::from(failures));
}

impl Figures {
    pub(crate) fn new(mdm: Mdm, certificates: Certificates) -> Self {
        if recorder().is_some() {
            metrics::describe_counter!("mdmd_requests_total", "Requests answered.");
            metrics::describe_counter!(
                "mdmd_put_off_total",
                "Requests told to come again, by reason."
            );
            metrics::describe_counter!(
                "mdmd_acme_refused_total",
                "Requests of devices that the ACME server refused, by problem."
            );
            metrics::describe_histogram!(
                "mdmd_request_seconds",
                "From the head of a request to its answer."
            );
            metrics::describe_gauge!(
                "mdmd_jobs_waiting",
                "Jobs not done yet, leased ones included."
            );
            metrics::describe_gauge!(
                "mdmd_commands_waiting",
                "Commands that no device has settled yet, by whether it has put them off."
            );
            metrics::describe_gauge!("mdmd_holds", "Devices in a hold, or being released.");
            metrics::describe_gauge!(
                "mdmd_oldest_hold_seconds",
                "Age of the oldest hold; 0 without one."
            );
            metrics::describe_gauge!(
                "mdmd_work_overdue_seconds",
                "How long the work that is due first has waited; 0 when none is due."
            );
            metrics::describe_gauge!("mdmd_organisations", "Organisations.");
            metrics::describe_gauge!(
                "mdmd_ends_in_days",
                "The nearest end of each kind: push certificates, server tokens, content tokens, API tokens, identity authorities, device identities, certificates of the listeners."
            );
            metrics::describe_gauge!(
                "mdmd_organisation_ends_in_days",
                "What of one organisation ends within 60 days."
            );
            metrics::describe_counter!("mdmd_pushes_total", "Pushes, by outcome.");
            metrics::describe_gauge!(
                "mdmd_device_identities_ending",
                "Device identities in use that end within so many days, ended ones included."
            );
            metrics::describe_gauge!(
                "mdmd_rows_unreadable",
                "Rows of the database that were met and cannot be read; the log and the checklists name them."
            );
            metrics::describe_counter!("mdmd_commits_total", "Batches of writes, by outcome.");
            metrics::describe_gauge!(
                "mdmd_commit_seconds_total",
                "How long all batches together waited for their answer."
            );
            metrics::describe_gauge!(
                "mdmd_apple_requests_left",
                "Requests that the organisation with the least left could send now."
            );
            metrics::describe_gauge!(
                "mdmd_apple_budgets_pausing",
                "Budgets of Apple's services that may send nothing now."
            );
            metrics::describe_gauge!(
                "mdmd_apple_requests_waiting",
                "Requests that wait to leave, of the organisation with the most."
            );
            metrics::describe_counter!(
                "mdmd_spans_sent_total",
                "Spans that the collector of traces took."
            );
            metrics::describe_counter!(
                "mdmd_spans_dropped_total",
                "Spans that no collector will see, by reason."
            );
            metrics::describe_counter!(
                "mdmd_certificate_orders_total",
                "Certificates ordered for the listeners, by outcome."
            );
            metrics::describe_gauge!(
                "mdmd_certificate_order_failures",
                "Orders of the listeners' certificate that failed in a row; 0 after one that succeeded."
            );
            metrics::describe_gauge!("mdmd_build_info", "Version of mdmd and of its OpenSSL.");
        }
        Self {
            mdm,
            certificates,
            walked: Arc::default(),
            shown: Shown::default(),
        }
    }

    /// The page, in Prometheus' text form.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn page(&self) -> Result<String, StoreError> {
        let store = self.mdm.store();
        let now = self.mdm.now();
        metrics::gauge!("mdmd_jobs_waiting").set(as_f64(store.jobs_waiting().await?));
        let overdue = store
            .next_due()
            .await?
            .map_or(0.0, |due| now.since(due).as_secs_f64());
        metrics::gauge!("mdmd_work_overdue_seconds").set(overdue);
        let walk = self.walk().await?;
        let unreadable = store.unreadable().await?.len();
        metrics::gauge!("mdmd_rows_unreadable").set(as_f64(unreadable as u64));
        let refused = walk.commands.put_off;
        for (put_off, count) in [("no", walk.commands.open - refused), ("yes", refused)] {
            metrics::gauge!("mdmd_commands_waiting", "put_off" => put_off).set(as_f64(count));
        }
        metrics::gauge!("mdmd_organisations").set(as_f64(walk.organisations as u64));
        metrics::gauge!("mdmd_holds").set(as_f64(walk.holds as u64));
        metrics::gauge!("mdmd_oldest_hold_seconds").set(
            walk.oldest_hold
                .map_or(0.0, |since| now.since(since).as_secs_f64()),
        );
        if let Some(end) = self.certificates.first_end() {
            metrics::gauge!("mdmd_ends_in_days", "what" => "listener_certificate")
                .set(days_until(end, now));
        }
        if let Some(figures) = store.commit_figures() {
            for (outcome, count) in [
                ("done", figures.done),
                ("conflict", figures.conflicts),
                ("failed", figures.failed),
            ] {
                metrics::counter!("mdmd_commits_total", "outcome" => outcome).absolute(count);
            }
            metrics::gauge!("mdmd_commit_seconds_total").set(figures.waited.as_secs_f64());
        }
        for ((service, class), spent) in &walk.budgets {
            let (service, class) = (*service, *class);
            if let Some(left) = spent.least {
                metrics::gauge!("mdmd_apple_requests_left", "service" => service, "class" => class)
                    .set(f64::from(left));
            }
            metrics::gauge!("mdmd_apple_budgets_pausing", "service" => service, "class" => class)
                .set(as_f64(spent.pausing));
            metrics::gauge!("mdmd_apple_requests_waiting", "service" => service, "class" => class)
                .set(as_f64(spent.waiting));
        }
        for (within, count) in walk.identities_ending {
            metrics::gauge!("mdmd_device_identities_ending", "within_days" => within)
                .set(as_f64(count));
        }
        let mut ends = Ends::new();
        if let Some(end) = walk.first_identity {
            ends.insert(("device_identity", None), days_until(end, now));
        }
        for what in KINDS {
            let of_kind = walk.endings.iter().filter(|e| e.what == what);
            if let Some(days) = of_kind.map(|e| e.days).reduce(f64::min) {
                ends.insert((what, None), days);
            }
        }
        let soon = walk.endings.iter().filter(|e| e.days < SOON_DAYS);
        for ending in soon.take(LINES) {
            let whose = Some(ending.organisation.clone());
            ends.insert((ending.what, whose), ending.days);
        }
        self.shown.show(ends);
        metrics::gauge!("mdmd_build_info", "version" => env!("CARGO_PKG_VERSION"), "openssl" => openssl::version::version())
            .set(1.0);
        Ok(recorder()
            .map(|handle| {
                handle.run_upkeep();
                handle.render()
            })
            .unwrap_or_default())
    }

    async fn walk(&self) -> Result<Walk, StoreError> {
        let known = self
            .walked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((at, walk)) = known
            && at.elapsed() < WALK_EVERY
        {
            return Ok(walk);
        }
        let (store, now) = (self.mdm.store(), self.mdm.now());
        let mut walk = Walk {
            commands: store.commands_waiting().await?,
            ..Walk::default()
        };
        let mut after = OrganisationId(0);
        loop {
            let page = store.organisations(after, 500).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for organisation in &page {
                walk.organisations += 1;
                walk.endings.extend(ends(organisation, now));
                for location in readable(store.locations(organisation.id).await)? {
                    // Nobody waits for the end of a token that is destroyed.
                    let end = location
                        .token_expires
                        .filter(|_| location.removed.is_none());
                    walk.endings
                        .extend(end.map(|end| ending("content_token", organisation, end, now)));
                }
                for token in readable(store.tokens(organisation.id).await)? {
                    // One that has ended or was taken back is nobody's trouble.
                    let end = token
                        .expires
                        .filter(|end| *end > now && token.revoked.is_none());
                    walk.endings
                        .extend(end.map(|end| ending("api_token", organisation, end, now)));
                }
                if let Ok(org) = self.mdm.organisation_by_id(organisation.id).await
                    && let Ok(budgets) = org.budgets().await
                {
                    for budget in &budgets {
                        walk.spend(budget, now);
                    }
                }
                for server in readable(store.servers(organisation.id).await)? {
                    walk.endings.extend(
                        server
                            .token_expires
                            .map(|end| ending("server_token", organisation, end, now)),
                    );
                }
                let mut after = None;
                loop {
                    let holds = store.holds(organisation.id, after, 1000).await?;
                    let Some(last) = holds.last() else { break };
                    after = last.held_since().map(|since| (since, last.id));
                    walk.holds += holds.len();
                    let oldest = holds.iter().filter_map(|h| h.hold_began).min();
                    walk.oldest_hold = [walk.oldest_hold, oldest].into_iter().flatten().min();
                }
            }
        }
        for (within, days) in [("7", 7), ("30", 30)] {
            let by = now + Duration::from_hours(24 * days);
            let (first, count) = store.identities_ending(by).await?;
            walk.first_identity = first;
            walk.identities_ending.push((within, count));
        }
        walk.endings.sort_by(|a, b| a.days.total_cmp(&b.days));
        *self.walked.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), walk.clone()));
        Ok(walk)
    }
}

/// The rows of one organisation; none where one of them cannot be read: the figures of all others are worth more.
fn readable<T>(rows: Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    match rows {
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "what ends there is not among the figures");
            Ok(Vec::new())
        }
        other => other,
    }
}

impl Shown {
    /// Shows what ends when. What is gone since the last page (renewed, or taken away) would else stand there for ever with
    /// the last days that it had: it becomes "not a number", which is below no threshold.
    fn show(&self, ends: Ends) {
        let show = |(what, whose): &(&'static str, Option<String>), days: f64| match whose {
            None => metrics::gauge!("mdmd_ends_in_days", "what" => *what).set(days),
            Some(whose) => {
                metrics::gauge!("mdmd_organisation_ends_in_days", "what" => *what, "organisation" => whose.clone())
                    .set(days);
            }
        };
        for (whose, days) in &ends {
            show(whose, *days);
        }
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.keys().filter(|whose| !ends.contains_key(*whose)) {
            show(gone, f64::NAN);
        }
        *shown = ends;
    }
}

impl Walk {
    fn spend(&mut self, budget: &BudgetReport, now: Timestamp) {
        let service = match budget.name.split(' ').next() {
            Some("apps") => "apps",
            Some("device-assignment") => "device-assignment",
            _ => "organisation-api",
        };
        for (class, spent, waiting) in [
            ("read", &budget.reads, 0),
            ("write", &budget.writes, budget.waiting_writes),
        ] {
            let sum = self.budgets.entry((service, class)).or_default();
            if spent.allowed.is_some() {
                let left = spent.status.left;
                sum.least = Some(sum.least.map_or(left, |least| least.min(left)));
            }
            sum.pausing += u64::from(spent.status.next_at_ms > now.as_millis());
            // The budget over all API accounts and each account's tell the same requests.
            sum.waiting = sum.waiting.max(u64::from(waiting));
        }
    }
}

fn ends(organisation: &Organisation, now: Timestamp) -> Vec<Ending> {
    let mut all = Vec::new();
    if let Some(push) = &organisation.push {
        all.push(ending(
            "push_certificate",
            organisation,
            push.not_after,
            now,
        ));
    }
    if let Some(end) = organisation
        .identity_cas
        .first()
        .and_then(|ca| not_after(&ca.certificate.0))
    {
        all.push(ending("identity_authority", organisation, end, now));
    }
    all
}

fn not_after(der: &[u8]) -> Option<Timestamp> {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    Some(Timestamp::from_millis(
        certificate.validity().not_after.timestamp() * 1000,
    ))
}

fn ending(
    what: &'static str,
    organisation: &Organisation,
    end: Timestamp,
    now: Timestamp,
) -> Ending {
    Ending {
        what,
        organisation: organisation.code.to_string(),
        days: days_until(end, now),
    }
}

fn days_until(end: Timestamp, now: Timestamp) -> f64 {
    as_f64_signed(end.as_millis().saturating_sub(now.as_millis())) / 86_400_000.0
}

/// A gauge is a float; counts stay far below 2^52.
fn as_f64(n: u64) -> f64 {
    n as f64
}

/// Milliseconds of a human span stay far below 2^52.
fn as_f64_signed(n: i64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_renewed_does_not_stand_there_with_its_last_days() {
        let handle = recorder().expect("a recorder");
        let (shown, whose) = (Shown::default(), Some("renewed".to_owned()));
        let line = || {
            let page = handle.render();
            let mut lines = page.lines().filter(|line| line.contains("renewed"));
            lines
                .next()
                .and_then(|line| line.rsplit(' ').next())
                .map(str::to_owned)
        };
        shown.show(Ends::from([(("push_certificate", whose.clone()), 10.0)]));
        assert_eq!(line().as_deref(), Some("10"));
        shown.show(Ends::new());
        assert_eq!(line().as_deref(), Some("NaN"));
        shown.show(Ends::from([(("push_certificate", whose), 59.5)]));
        assert_eq!(line().as_deref(), Some("59.5"));
    }
}
