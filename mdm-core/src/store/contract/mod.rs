//! What every store has to do, as a suite that any back end can run: ours on SQLite and PostgreSQL, and a vendor's own.
//! Needs no test framework and no clock. Says nothing of durability, which no program can see from inside.
//!
//! ```
//! # async fn example() -> Result<(), String> {
//! use mdm_core::store::{SqliteStore, contract};
//! contract::check(async || SqliteStore::in_memory().await.expect("a database")).await
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod acme;
mod alone;
mod channel;
mod channels;
mod declarations;
#[cfg(all(
    test,
    any(feature = "sqlite", all(feature = "postgres", feature = "testing"))
))]
pub(super) mod emptied;
mod errands;
mod jobs;
mod people;
mod reading;
mod removals;
mod samples;
mod secrets;
mod together;
mod writing;

use super::{Batch, Store, StoreError, Write};
use crate::clock::Timestamp;
use crate::ids::OrganisationId;

/// Two organisations whose rows have the same ids.
const A: OrganisationId = OrganisationId(1);
const B: OrganisationId = OrganisationId(2);

/// What a check finds: nothing, or a sentence.
type Finding = Result<(), String>;

/// Runs the whole contract, each part on a store that `make` returns empty.
///
/// # Errors
/// A sentence that names the part and what the store did wrong.
pub async fn check<S: Store>(make: impl AsyncFn() -> S) -> Result<(), String> {
    macro_rules! parts {
        ($($module:ident :: $part:ident),* $(,)?) => {$(
            let store = make().await;
            $module::$part(&store).await.map_err(|found| {
                let part = stringify!($part).replace('_', " ");
                format!("{}: {part}: {found}", store.name())
            })?;
            store.close().await.map_err(|error| format!("closing: {error}"))?;
        )*};
    }
    parts! {
        writing::every_noun_keeps_its_versions,
        writing::a_batch_is_written_whole_or_not_at_all,
        writing::unique_values_are_unique,
        writing::a_unique_value_is_free_when_its_row_lets_go,
        writing::runbooks_are_written_once,
        writing::many_rows_are_one_batch,
        writing::the_record_is_appended,
        writing::a_line_that_was_held_back_is_refused,
        writing::refusals_are_bounded,
        writing::strangers_push_out_no_device,
        writing::odd_text_comes_back,
        reading::organisations_in_order,
        reading::devices_in_order,
        reading::devices_that_the_sync_asks_for,
        reading::when_devices_spoke_last,
        channels::channels,
        channel::a_message_gets_all_it_needs,
        channel::many_ask_at_once,
        channels::sessions_and_certificates,
        reading::commands,
        reading::set_ups,
        reading::runbooks,
        reading::moves,
        reading::waves_and_servers,
        errands::errands_budgets_and_locations,
        acme::accounts_and_keys_are_found,
        acme::what_has_expired_is_forgotten,
        secrets::secrets_and_tokens,
        people::people,
        reading::the_record,
        declarations::lists_in_order,
        declarations::what_channels_were_told,
        declarations::open_commands_of_a_type,
        declarations::lists_that_nobody_has_go,
        declarations::what_is_out_of_use_goes_with_what_nothing_names,
        alone::organisations_never_meet,
        jobs::a_job_is_claimed_once,
        jobs::an_effect_is_replaced_by_no_other,
        jobs::a_lease_is_proof,
        jobs::a_lease_is_renewed,
        jobs::no_job_waits_longer_than_any_may,
        jobs::the_oldest_go_first,
        jobs::no_organisation_starves,
        jobs::the_next_thing_is_known,
        jobs::what_is_over_is_deleted_when_it_is_old,
        jobs::a_job_for_a_hand_off_goes_with_what_became_of_its_devices,
        removals::nobody_finds_an_organisation_that_was_taken_away,
        removals::its_rows_go_in_pieces_and_no_others,
        removals::of_two_who_delete_at_once_one_does,
        removals::of_two_that_are_taken_away_at_once_one_stays,
        together::each_caller_gets_its_own_answer,
        together::no_increment_is_lost,
        together::one_of_many_wins,
        together::a_claim_is_exclusive,
        together::who_goes_away_harms_nobody,
        together::closing_answers_what_was_accepted,
    }
    Ok(())
}

macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+));
        }
    };
}
use ensure;

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn sentence(error: StoreError) -> String {
    error.to_string()
}

/// Commits what must be accepted.
async fn put<const N: usize>(store: &impl Store, writes: [Write; N]) -> Finding {
    commit(store, batch(writes)).await.map_err(sentence)
}

/// Commits what must be refused as a conflict.
async fn refuse<const N: usize>(store: &impl Store, writes: [Write; N], what: &str) -> Finding {
    conflict(commit(store, batch(writes)).await, what)
}

async fn commit(store: &impl Store, batch: Batch) -> Result<(), StoreError> {
    store.commit(batch).await
}

fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    let mut batch = Batch::new();
    batch.writes.extend(writes);
    batch
}

fn conflict(answer: Result<(), StoreError>, what: &str) -> Finding {
    match answer {
        Err(StoreError::Conflict) => Ok(()),
        Err(other) => Err(format!("{what} is no conflict but: {other}")),
        Ok(()) => Err(format!("{what} is accepted")),
    }
}

/// Compares a list by a key of its members.
fn same<T, K: PartialEq + std::fmt::Debug>(
    found: Result<Vec<T>, StoreError>,
    key: impl Fn(&T) -> K,
    expected: &[K],
    what: &str,
) -> Finding {
    let found: Vec<K> = found.map_err(sentence)?.iter().map(key).collect();
    ensure!(found == expected, "{what}: {found:?}, not {expected:?}");
    Ok(())
}
