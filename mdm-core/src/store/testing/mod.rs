//! For tests only: a store that fails when it is told to, and a PostgreSQL to throw away. Behind the feature `testing`.

mod failing;
#[cfg(feature = "postgres")]
mod postgres;

pub use failing::{FailingStore, Moment};
#[cfg(feature = "postgres")]
pub use postgres::TestPostgres;
