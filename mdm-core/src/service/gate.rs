//! One budget for everybody who asks Apple in an organisation's name: every task of this process, in the order of asking, and
//! through the store every other process of the installation. Refuses when it is used up, and says until when; what waits,
//! waits in the store. Where Apple names no number only its pauses are shared.

use std::sync::Arc;
use std::time::Duration;

use abm_client::{Gate, Limiter, Permit, Quota};
use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::Mutex;

use super::Org;
use crate::budget::{
    self, APPS_A_SECOND, Allowance, Budget, BudgetStatus, ORGANISATION_API, RequestClass, allowance,
};
use crate::clock::Clock;
use crate::errand::ErrandState;
use crate::error::Error;
use crate::ids::{BudgetId, IdSource, OrganisationId};
use crate::store::{Batch, Store, StoreError};

/// While the store does not answer.
const STORE_AWAY: Duration = Duration::from_secs(5);
/// How often a budget is taken again after somebody else was faster.
const TRIES: usize = 16;

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
        }
    }

    /// Changes the rows of all budgets in one batch; decided again when somebody else was faster.
    async fn change<T>(
        &self,
        decide: impl Fn(&mut [Limiter], i64) -> Result<T, Duration>,
    ) -> Result<T, Duration> {
        for _ in 0..TRIES {
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
            let decided = decide(&mut limiters, now.as_millis())?;
            let mut batch = Batch::new();
            for (mut row, limiter) in rows.into_iter().zip(limiters) {
                row.state = limiter.state().clone();
                batch.put(row);
            }
            match self.store.commit(batch).await {
                Ok(()) => return Ok(decided),
                Err(StoreError::Conflict) => tokio::task::yield_now().await,
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
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.change(|limiters, now| Limiter::take_all(limiters, class, now))
            .await?;
        Ok(Permit::holding(turn))
    }

    async fn pause(&self, wait: Duration) {
        let paused = self
            .change(|limiters, now| {
                for limiter in limiters {
                    limiter.pause(now, wait);
                }
                Ok(())
            })
            .await;
        if paused.is_err() {
            tracing::warn!(organisation = %self.organisation, "a pause that Apple asked for is known to this request only");
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
    async fn enter(&self, _: RequestClass) -> Result<Permit, Duration> {
        let gate = &self.0;
        let turn = Arc::clone(&gate.turn).lock_owned().await;
        let now = gate.clock.now();
        for (name, _) in &gate.budgets {
            let row = gate.store.budget(gate.organisation, name).await;
            let row = row.map_err(|error| away(&error))?;
            if let Some(until) = row.and_then(|row| row.paused(now)) {
                return Err(until.since(now));
            }
        }
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
    /// Requests that change something, with the moment at which everything that waits will have left.
    pub writes: Spent,
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
            BudgetReport {
                name,
                reads: spent(RequestClass::Read, allowance.map(|a| a.reads), 0),
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
}
