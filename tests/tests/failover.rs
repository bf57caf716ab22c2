//! The database goes under load, in five ways, and the server stays, at work or only answering: devices and clients hear success, or 503 with the time of
//! another try, and nothing that was acknowledged is lost or done twice. Skips aloud without PostgreSQL, unless one is required.

use std::process::ExitCode;

use tests::chaos::SERVE;
use tests::chaos::failover::{self, Mishap};

fn main() -> ExitCode {
    if std::env::var_os(SERVE).is_some() {
        return mdmd::cli::main();
    }
    // `cargo test NAME` runs this program too.
    let mut words = std::env::args().skip(1);
    let listed = words.any(|word| word == "--list");
    let named = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect::<Vec<_>>();
    if listed || named.iter().any(|name| !"failover".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(all()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn all() -> anyhow::Result<()> {
    for (mishap, works) in [
        (Mishap::Killed, false),
        (Mishap::Killed, true),
        (Mishap::Behind, true),
        (Mishap::Cut, true),
        (Mishap::Stopped, true),
        (Mishap::Full, true),
    ] {
        let Some(report) = failover::run(mishap, works, 7).await? else {
            let required = std::env::var("MDMD_TEST_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
            anyhow::ensure!(!required, "there is no PostgreSQL, and one is required");
            return Ok(());
        };
        println!("{mishap:?}: {}", report.told());
        for what in report.lost.iter().chain(&report.wrong) {
            println!("{what}");
        }
        let nothing = report.lost.is_empty() && report.wrong.is_empty();
        anyhow::ensure!(nothing, "{mishap:?}: something is not as it was told");
        // The server lives: nobody's connection to it ends.
        let unanswered = report.unanswered;
        anyhow::ensure!(unanswered == 0, "{mishap:?}: {unanswered} went unanswered");
        anyhow::ensure!(
            report.acknowledged > 20,
            "{mishap:?}: hardly anything happened"
        );
    }
    Ok(())
}
