//! The database goes under load, in seven ways, and the server stays, at work or only answering: devices and clients hear success, or 503 with the time of
//! another try, and nothing that was acknowledged is lost or done twice. Skips aloud without PostgreSQL, unless one is required.

use std::process::ExitCode;

use tests::chaos::failover::{self, Mishap};

fn main() -> ExitCode {
    tests::program("failover", all())
}

async fn all() -> anyhow::Result<()> {
    for (mishap, works) in [
        (Mishap::Killed, false),
        (Mishap::Killed, true),
        (Mishap::Behind, true),
        (Mishap::Cut, true),
        (Mishap::Stopped, true),
        (Mishap::Full, true),
        (Mishap::NoRoom, true),
        (Mishap::Slow, true),
    ] {
        if mishap.is_of_disk() && !cfg!(target_os = "linux") {
            continue;
        }
        let Some(report) = failover::run(mishap, works, 7).await? else {
            return tests::without_postgres();
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
