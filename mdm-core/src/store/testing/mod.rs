//! For tests only: a store that fails when it is told to, a PostgreSQL to throw away, and what is known of devices that another service
//! manages. Behind the feature `testing`.

mod elsewhere;
mod failing;
#[cfg(feature = "postgres")]
mod postgres;

pub use elsewhere::{shown_elsewhere, told_elsewhere};
pub use failing::{FailingStore, Moment};
#[cfg(feature = "postgres")]
pub use postgres::TestPostgres;
