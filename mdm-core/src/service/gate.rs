//! One budget for everybody who asks Apple in an organisation's name: every task of this process, in the order of asking, and
//! through the store every other process of the installation. Refuses when it is used up, and says until when; what waits,
//! waits in the store.

use std::sync::Arc;
use std::time::Duration;

use abm_client::{Clock as _, Gate, Limiter, Permit};
use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::Mutex;

use super::Org;
use crate::budget::{Allowance, Budget, BudgetStatus, ORGANISATION_API, RequestClass, allowance};
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
    /// Requests that change nothing: used in the present window, left, when the next may leave.
    pub reads: BudgetStatus,
    /// Requests that change something, with the moment at which everything that waits will have left.
    pub writes: BudgetStatus,
    /// Requests that wait to leave.
    pub waiting_writes: u32,
    /// Its length of time: reads a minute.
    pub reads_per_minute: u32,
    /// Writes an hour.
    pub writes_per_hour: u32,
}

impl Org {
    /// How many requests to the organisation API the organisation lets us send.
    pub(super) fn allowance(&self) -> Allowance {
        let settings = &self.organisation.settings;
        allowance(settings.api_reads_per_minute, settings.api_writes_per_hour)
    }

    /// The budgets of the organisation API: over all accounts, and of each.
    ///
    /// # Errors
    /// The store's.
    pub async fn budgets(&self) -> Result<Vec<BudgetReport>, Error> {
        let now = ClientClock(Arc::clone(&self.mdm.inner.clock)).now_ms();
        let settings = &self.organisation.settings;
        let allowance = self.allowance();
        let waits = |state: &ErrandState| *state == ErrandState::Waiting;
        let waiting = self
            .open_errands()
            .await?
            .iter()
            .filter(|e| waits(&e.state) && !e.kind.is_licence())
            .count();
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let mut rows = self.store().budgets(self.id()).await?;
        rows.retain(|row| row.name.starts_with(ORGANISATION_API));
        if rows.is_empty() {
            rows.push(Budget::new(self.id(), BudgetId(0), ORGANISATION_API));
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let limiter = row.limiter(allowance);
                BudgetReport {
                    reads: limiter.status(RequestClass::Read, 0, now),
                    writes: limiter.status(RequestClass::Write, waiting, now),
                    waiting_writes: waiting,
                    reads_per_minute: settings.api_reads_per_minute,
                    writes_per_hour: settings.api_writes_per_hour,
                    name: row.name,
                }
            })
            .collect())
    }
}
