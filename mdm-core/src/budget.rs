//! What is used of Apple's budgets: one row for each credential, and one for the organisation over all of its credentials,
//! so that every process of an installation shares them. Counts and pauses only; how much is allowed is a setting.

use std::time::Duration;

use abm_client::{Limiter, LimiterState, Quota};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{BudgetId, LocationId, OrganisationId, ServerId};

pub use abm_client::{Budget as Allowance, BudgetStatus, RequestClass};

/// What is used of one budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Budget {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: BudgetId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What it is the budget of; unique in the organisation. Never a credential: its public name.
    pub name: String,
    /// Requests in their windows, and the pause that Apple asked for.
    pub state: LimiterState,
}

/// Name of the budget over all API accounts of an organisation.
pub const ORGANISATION_API: &str = "organisation-api";

/// Requests a second of one location of Apps and Books, of every kind together: what Apple allows.
pub const APPS_A_SECOND: u32 = 15;

/// Name of the budget of one location of Apps and Books.
#[must_use]
pub fn apps(location: LocationId) -> String {
    format!("apps {location}")
}

/// Name of the pauses of one server entry of the device-assignment service.
#[must_use]
pub fn device_assignment(server: ServerId) -> String {
    format!("device-assignment {server}")
}

impl Budget {
    /// A budget of which nothing is used.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: BudgetId, name: &str) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            state: LimiterState::default(),
        }
    }

    /// Until when Apple has asked for silence; `None` when it has not, or no longer does at `now`.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Option<Timestamp> {
        // How much is allowed does not count here.
        let limiter = self.limiter(Allowance::organisation_api());
        let until = limiter.paused_until_ms(now.as_millis())?;
        Some(Timestamp::from_millis(until))
    }

    /// It as a limiter.
    #[must_use]
    pub fn limiter(&self, allowance: Allowance) -> Limiter {
        Limiter::resume(allowance, self.state.clone())
    }
}

/// So many reads a minute and writes an hour.
#[must_use]
pub fn allowance(reads_per_minute: u32, writes_per_hour: u32) -> Allowance {
    let mut allowance = Allowance::organisation_api();
    allowance.reads = Quota::new(reads_per_minute, Duration::from_secs(60));
    allowance.writes = Quota::new(writes_per_hour, Duration::from_secs(3600));
    allowance
}
