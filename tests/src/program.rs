//! The `main` of a program that is the server of its own story as well: of a test, which so has no harness of the usual kind, and of
//! what people run by hand. And the PostgreSQL of either.

use std::process::ExitCode;

use anyhow::Context as _;
use mdm_core::store::testing::TestPostgres;

use crate::chaos::SERVE;

/// Serves, where the environment asks for it. Otherwise plays the story and says what went wrong, unless the arguments ask for a list
/// or for another name: `cargo test NAME` runs this program too.
pub fn program(name: &str, story: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    if serves() {
        return mdmd::cli::main();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let listed = words.iter().any(|word| word == "--list");
    let mut named = words.iter().filter(|word| !word.starts_with('-'));
    if listed || named.any(|word| !name.contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    match play(story) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves, where the environment asks for it. Otherwise does what somebody asks for by hand, and ends with 4 when something was found,
/// and with 1 when it could not be looked.
pub fn by_hand(run: impl Future<Output = anyhow::Result<bool>>) -> ExitCode {
    if serves() {
        return mdmd::cli::main();
    }
    match play(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(1)
        }
    }
}

fn serves() -> bool {
    std::env::var_os(SERVE).is_some()
}

fn play<T>(story: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(story)
}

/// The database that somebody named: `postgres` is an empty one on a server of our own, which is to be cleaned afterwards.
///
/// # Errors
/// When there is no such server.
pub async fn database(named: &str) -> anyhow::Result<(Option<TestPostgres>, String)> {
    if named != "postgres" {
        return Ok((None, named.to_owned()));
    }
    let server = TestPostgres::find().await.context("no PostgreSQL here")?;
    let database = server.database().await;
    Ok((Some(server), database))
}

/// There is no PostgreSQL: a story ends here, and well.
///
/// # Errors
/// When one is required.
pub fn without_postgres() -> anyhow::Result<()> {
    let required = std::env::var("MDMD_TEST_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
    anyhow::ensure!(!required, "there is no PostgreSQL, and one is required");
    Ok(())
}
