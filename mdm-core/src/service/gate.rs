//! One budget for everybody who asks Apple in an organisation's name: every task of this process, in the order of asking, and
//! through the store every other process of the installation. Refuses when it is used up, and says until when; what waits,
//! waits in the store. Where Apple names no number only its pauses are shared.

use std::sync::{Arc, Mutex as Guarded, PoisonError};
use std::time::Duration;

use abm_client::{Gate, Limiter, Permit, Quota};
use async_trait::async_trait;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::Org;
use super::let_out;
use super::licences::NOT_KNOWN_YET;
use super::turns::step_aside;
use crate::budget::{
    self, APPS_A_SECOND, Allowance, Budget, BudgetStatus, ORGANISATION_API, RequestClass, allowance,
};
use crate::clock::{Clock, Timestamp};
use crate::errand::ErrandState;
use crate::error::Error;
use crate::ids::{BudgetId, IdSource, OrganisationId};
use crate::store::{Batch, Store, StoreError};

/// While the store does not answer.
const STORE_AWAY: Duration = Duration::from_secs(5);
/// How often a budget is taken again after somebody else was faster.
const TRIES: usize = 16;
/// How often it is tried to write a pause down. Every other process may be faster many times; that Apple wants silence must
/// not be lost by it.
const PAUSE_TRIES: usize = 400;

/// A gate over rows of the store. Clones and other gates with the same `turn` let one request through at a time.
#[derive(Clone)]
pub struct SharedGate {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<IdSource>,
    organisation: OrganisationId,
    /// Each is used up together with the others, or none is.
    budgets: Vec<(String, Allowance)>,
    turn: Arc<Mutex<()>>,
    /// A pause that could not be written down: kept by this process, and written with its next request.
    unwritten: Arc<Guarded<Option<Unwritten>>>,
}

/// A pause that could not be written down.
#[derive(Clone, Copy)]
struct Unwritten {
    /// When it was asked for.
    asked: Timestamp,
    until: Timestamp,
}

impl std::fmt::Debug for SharedGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedGate")
            .field("organisation", &self.organisation)
            .field("budgets", &self.budgets)
            .finish_non_exhaustive()
    }
}

impl SharedGate {
    /// A gate over these budgets, by name; all of them are used up together. Gates that share `turn` let one request through
    /// at a time, in the order of asking.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        organisation: OrganisationId,
        budgets: Vec<(String, Allowance)>,
        turn: Arc<Mutex<()>>,
    ) -> Self {
        let mut node = [0_u8; 2];
        // Without randomness two processes may draw one id, which the store answers with a conflict: harmless.
        let _ = openssl::rand::rand_bytes(&mut node);
        Self {
            store,
            clock,
            ids: Arc::new(IdSource::new(u16::from_be_bytes(node))),
            organisation,
            budgets,
            turn,
            unwritten: Arc::default(),
        }
    }

    fn unwritten(&self) -> std::sync::MutexGuard<'_, Option<Unwritten>> {
        // One value, whole at every point where a panic could occur.
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a pause down, in spite of everybody who writes at the same time.
    async fn note_pause(&self, wait: Duration) -> Result<(), Duration> {
        self.change_within(PAUSE_TRIES, |limiters, now| {
            for limiter in limiters {
                limiter.pause(now, wait);
            }
            Ok(())
        })
        .await
    }

    /// Before a request: a pause that this process alone knows of is kept, and written down if that works now.
    async fn keep_own_pause(&self) -> Result<(), Duration> {
        let Some(Unwritten { asked, until }) = *self.unwritten() else {
            return Ok(());
        };
        let now = self.clock.now();
        if until > now {
            let wait = until.since(now);
            self.change_within(PAUSE_TRIES, |limiters, now| {
                for limiter in limiters {
                    // Whoever lifted the pauses since meant this one, too.
                    if !limiter.was_lifted_since(asked.as_millis()) {
                        limiter.pause(now, wait);
                    }
                }
                Ok(())
            })
            .await?;
        }
        // A longer one that came meanwhile stays until it is written down itself.
        let mut unwritten = self.unwritten();
        *unwritten = unwritten.filter(|kept| kept.until > until);
        Ok(())
    }

    /// Changes the rows of all budgets in one batch; decided again when somebody else was faster.
    async fn change<T>(
        &self,
        decide: impl Fn(&mut [Limiter], i64) -> Result<T, Duration>,
    ) -> Result<T, Duration> {
        self.change_within(TRIES, decide).await
    }

    async fn change_within<T>(
        &self,
        tries: usize,
        decide: impl Fn(&mut [Limiter], i64) -> Result<T, Duration>,
    ) -> Result<T, Duration> {
        for tried in 1..=tries {
            let now = self.clock.now();
            let mut rows = Vec::new();
            for (name, _) in &self.budgets {
                let row = self.store.budget(self.organisation, name).await;
                let row = row.map_err(|error| away(&error))?;
                rows.push(row.unwrap_or_else(|| {
                    Budget::new(self.organisation, BudgetId(self.ids.next(now)), name)
                }));
            }
            let mut limiters: Vec<Limiter> = rows
                .iter()
                .zip(&self.budgets)
                .map(|(row, (_, allowance))| row.limiter(*allowance))
                .collect();
            let decided = decide(&mut limiters, now.as_millis());
            let mut batch = Batch::new();
            for (mut row, limiter) in rows.into_iter().zip(limiters) {
                // A refusal is worth writing down when it changes for whom the others step aside.
                if decided.is_ok() || row.state != *limiter.state() {
                    row.state = limiter.state().clone();
                    batch.put(row);
                }
            }
            if batch.writes.is_empty() {
                return decided;
            }
            match self.store.commit(batch).await {
                Ok(()) => return decided,
                Err(StoreError::Conflict) => step_aside(tried).await,
                Err(error) => return Err(away(&error)),
            }
        }
        Err(STORE_AWAY)
    }
}

fn away(error: &StoreError) -> Duration {
    tracing::warn!(%error, "a budget cannot be read: nothing is sent meanwhile");
    STORE_AWAY
}

#[async_trait]
impl Gate for SharedGate {
    async fn enter(&self, class: RequestClass) -> Result<Permit, Duration> {
        let_out::waits();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.keep_own_pause().await?;
        self.change(|limiters, now| Limiter::take_all(limiters, class, now))
            .await?;
        let_out::goes(class);
        Ok(Permit::holding(turn))
    }

    async fn pause(&self, wait: Duration) {
        // First: whoever asks may break off while it is written down.
        let asked = self.clock.now();
        {
            let mut unwritten = self.unwritten();
            let until = unwritten.map_or(asked + wait, |old| old.until.max(asked + wait));
            *unwritten = Some(Unwritten { asked, until });
        }
        if self.note_pause(wait).await.is_ok() {
            let mut unwritten = self.unwritten();
            *unwritten = unwritten.filter(|kept| kept.until > asked + wait);
        } else {
            tracing::warn!(organisation = %self.organisation, "a pause that Apple asked for is known to this process only for now");
        }
    }
}

/// A gate for a service whose budget Apple does not publish: one request at a time, in the order of asking, and the pauses
/// that Apple asks for shared through the store. Counts nothing, so that a long list costs no write for each of its pages.
#[derive(Clone, Debug)]
pub struct PauseGate(SharedGate);

impl PauseGate {
    /// A gate over the pauses kept under this name. Gates that share `turn` let one request through at a time.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        organisation: OrganisationId,
        name: String,
        turn: Arc<Mutex<()>>,
    ) -> Self {
        // Never taken from: only its pause counts.
        let unused = Allowance::organisation_api();
        Self(SharedGate::new(
            store,
            clock,
            organisation,
            vec![(name, unused)],
            turn,
        ))
    }
}

#[async_trait]
impl Gate for PauseGate {
    async fn enter(&self, class: RequestClass) -> Result<Permit, Duration> {
        let gate = &self.0;
        let_out::waits();
        let turn = Arc::clone(&gate.turn).lock_owned().await;
        gate.keep_own_pause().await?;
        let now = gate.clock.now();
        for (name, _) in &gate.budgets {
            let row = gate.store.budget(gate.organisation, name).await;
            let row = row.map_err(|error| away(&error))?;
            if let Some(until) = row.and_then(|row| row.paused(now)) {
                return Err(until.since(now));
            }
        }
        let_out::goes(class);
        Ok(Permit::holding(turn))
    }

    async fn pause(&self, wait: Duration) {
        self.0.pause(wait).await;
    }
}

/// A clock of this library, as the client of Apple's services asks for it.
#[derive(Clone)]
pub struct ClientClock(pub Arc<dyn Clock>);

impl std::fmt::Debug for ClientClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientClock")
    }
}

impl abm_client::Clock for ClientClock {
    fn now_ms(&self) -> i64 {
        self.0.now().as_millis()
    }
}

/// What people see of one budget.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BudgetReport {
    /// What it is the budget of.
    pub name: String,
    /// Requests that change nothing.
    pub reads: Spent,
    /// Reading of long lists, which shares the budget of the other reads and lets them go first.
    pub lists: Spent,
    /// Requests that change something, with the moment at which everything that waits will have left.
    pub writes: Spent,
    /// Until when Apple has asked for silence; nothing leaves before. `business budget --lift` ends it.
    pub paused_until: Option<Timestamp>,
    /// Until when the reading of lists steps aside, because acts wait for their reads.
    pub lists_step_aside_until: Option<Timestamp>,
    /// Requests that wait to leave.
    pub waiting_writes: u32,
}

/// What is used of one kind of requests.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Spent {
    /// How many Apple lets through in which time; `None` where it names no number and only its pauses are kept.
    pub allowed: Option<Quota>,
    /// Used in the present window, left, when the next may leave. Without a number only the moment means something.
    pub status: BudgetStatus,
}

impl Org {
    /// How many requests to the organisation API the organisation lets us send.
    pub(super) fn allowance(&self) -> Allowance {
        let settings = &self.organisation.settings;
        allowance(settings.api_reads_per_minute, settings.api_writes_per_hour)
    }

    /// The budgets of Apple's services: of the organisation API over all accounts and of each, of each server entry of the
    /// device-assignment service, of each location of Apps and Books.
    ///
    /// # Errors
    /// The store's.
    pub async fn budgets(&self) -> Result<Vec<BudgetReport>, Error> {
        let now = self.now().as_millis();
        let waits = |state: &ErrandState| *state == ErrandState::Waiting;
        let errands = self.open_errands().await?;
        let waiting = |licences: bool| {
            let waiting = errands
                .iter()
                .filter(|e| waits(&e.state) && e.kind.is_licence() == licences);
            u32::try_from(waiting.count()).unwrap_or(u32::MAX)
        };
        let mut rows = self.store().budgets(self.id()).await?;
        let mut known = |name: &str| match rows.iter().position(|row| row.name == name) {
            Some(at) => rows.remove(at),
            None => Budget::new(self.id(), BudgetId(0), name),
        };
        let report = |row: &Budget, name: String, allowance: Option<Allowance>, waiting: u32| {
            let limiter = row.limiter(allowance.unwrap_or_else(Allowance::organisation_api));
            let spent = |class, allowed, waiting| Spent {
                allowed,
                status: limiter.status(class, waiting, now),
            };
            let moment = |ms: Option<i64>| ms.map(Timestamp::from_millis);
            BudgetReport {
                name,
                reads: spent(RequestClass::Read, allowance.map(|a| a.reads), 0),
                lists: spent(RequestClass::Background, allowance.map(|a| a.reads), 0),
                paused_until: moment(limiter.paused_until_ms(now)),
                lists_step_aside_until: moment(limiter.aside_until_ms(now)),
                writes: spent(RequestClass::Write, allowance.map(|a| a.writes), waiting),
                waiting_writes: waiting,
            }
        };
        let api = Some(self.allowance());
        let mut all = Vec::new();
        let over_all = known(ORGANISATION_API);
        let mut later = Vec::new();
        for server in self.store().servers(self.id()).await? {
            let row = known(&budget::device_assignment(server.id));
            let name = format!("device-assignment {}", server.name);
            later.push(report(&row, name, None, 0));
        }
        // Of tokens that are being brought in, whose location is not known yet: only a pause is worth a line.
        let coming = known(&budget::apps(NOT_KNOWN_YET));
        if coming.paused(self.now()).is_some() {
            let apps = Some(Allowance::apps(APPS_A_SECOND));
            later.push(report(&coming, "apps of new tokens".to_owned(), apps, 0));
        }
        for location in self.locations().await? {
            let row = known(&budget::apps(location.id));
            let name = format!("apps {}", location.name);
            let apps = Some(Allowance::apps(APPS_A_SECOND));
            later.push(report(&row, name, apps, waiting(true)));
        }
        all.push(report(
            &over_all,
            ORGANISATION_API.to_owned(),
            api,
            waiting(false),
        ));
        for row in rows
            .iter()
            .filter(|row| row.name.starts_with(ORGANISATION_API))
        {
            all.push(report(row, row.name.clone(), api, waiting(false)));
        }
        all.extend(later);
        Ok(all)
    }

    /// Ends every pause that Apple has asked for: a person knows that it need not be kept. What is used stays used. Answers
    /// how many were ended; it is audited.
    ///
    /// # Errors
    /// The store's.
    pub async fn lift_pauses(&self) -> Result<usize, Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut batch = Batch::new();
            let mut names = Vec::new();
            for mut row in self.store().budgets(self.id()).await? {
                if row.paused(now).is_some() {
                    names.push(row.name.clone());
                }
                // Also where none is written: a process may keep one that it could not write down.
                let mut limiter = row.limiter(Allowance::organisation_api());
                limiter.lift(now.as_millis());
                row.state = limiter.state().clone();
                batch.put(row);
            }
            if batch.writes.is_empty() {
                return Ok(0);
            }
            if !names.is_empty() {
                self.audit_into(
                    &mut batch,
                    "budget.pauses-lifted",
                    json!({ "budgets": names }),
                );
            }
            self.store().commit(batch).await?;
            Ok(names.len())
        })
        .await
    }
}
