//! Backups while the server runs under load, each restored into an empty place: what was acknowledged before one was begun is in
//! it, and of what was queued together all is or nothing, for it is of one moment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mdm_core::clock::{Clock as _, SystemClock};
use mdmd::config::Config;

use super::ledger::{Asked, Ledger};
use super::load::Load;
use super::rng::Rng;
use super::{Fleet, Options, Report, served, start};
use crate::fleet::house::House;

/// How many backups.
const TIMES: usize = 3;
/// How long devices and clients speak before each, and after it.
const WHILE: Duration = Duration::from_millis(1500);

/// One backup, and what was known when it was begun.
struct Backup {
    file: PathBuf,
    acknowledged: Vec<Asked>,
}

/// Does it. They are restored on SQLite, whichever database they are of.
///
/// # Errors
/// When the harness cannot go on, or no backup is made or restored. What is not in one that should be is in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let fleet = Fleet::make(options.devices, SystemClock.now())?;
    let start = start(options.server.as_deref())?;
    let mut house = House::lay(start, &options.database, &fleet.seed()).await?;
    house.start().await?;
    let ledger = Ledger::new(fleet.enrolled, fleet.invited);
    let load = Load::new(&house, &ledger, options.connections);
    let mut rng = Rng::new(options.seed);
    let folder = tempfile::tempdir()?;
    let mut backups = Vec::new();
    let making = async {
        for nth in 1..=TIMES {
            tokio::time::sleep(WHILE).await;
            let file = folder.path().join(format!("{nth}.backup"));
            let acknowledged = ledger.queued();
            let out = file.display().to_string();
            let out = ["backup".to_owned(), "--out".to_owned(), out];
            mdmd(options, house.folder(), &options.database, &out).await?;
            backups.push(Backup { file, acknowledged });
        }
        tokio::time::sleep(WHILE).await;
        anyhow::Ok(())
    };
    load.drive_until(&mut rng, making).await?;
    let mut report = Report::default();
    ledger.look_up(&house, true, &mut report).await?;
    let together = ledger.together();
    for (nth, backup) in backups.iter().enumerate() {
        let place = folder.path().join(format!("{nth}.restored"));
        std::fs::create_dir(&place)?;
        let key = "master.key";
        std::fs::copy(house.folder().join(key), place.join(key))?;
        let from = ["restore".to_owned(), backup.file.display().to_string()];
        mdmd(options, &place, "sqlite", &from).await?;
        let looked = restored(&house, &place, backup, &together, &mut report).await;
        looked.with_context(|| format!("backup {}", nth + 1))?;
    }
    house.close().await?;
    Ok(report)
}

/// Looks into a place that a backup was restored into.
async fn restored(
    house: &House,
    place: &Path,
    backup: &Backup,
    together: &[(String, Vec<Asked>)],
    report: &mut Report,
) -> anyhow::Result<()> {
    let store = mdmd::app::open_store(&Config::for_directory(place)).await?;
    let id = house.organisation();
    let there = async |asked: &Asked| -> anyhow::Result<bool> {
        let known = store.enrollments_by_key(id, &asked.udid).await?;
        let Some(channel) = known.last() else {
            return Ok(false);
        };
        let found = store.command(id, channel.id, &asked.uuid).await?;
        Ok(found.is_some())
    };
    for asked in &backup.acknowledged {
        report.looked_up += 1;
        if !there(asked).await? {
            report.lost.push(format!(
                "{}: command {} was queued, and is in no backup that was begun then",
                asked.udid, asked.uuid
            ));
        }
    }
    let (mut whole, mut none) = (0, 0);
    for (uuid, all) in together {
        let mut found = 0;
        for asked in all {
            report.looked_up += 1;
            found += usize::from(there(asked).await?);
        }
        match found {
            0 => none += 1,
            found if found == all.len() => whole += 1,
            found => report.wrong.push(format!(
                "{uuid} was to be queued for all of {} devices or none, and is for {found} in the backup",
                all.len()
            )),
        }
    }
    store.close().await?;
    ensure!(
        whole > 0 && none > 0,
        "it is not of the middle of the load: {whole} that were queued together are in it, and {none} are not"
    );
    Ok(())
}

/// Has the program do one thing to an installation.
async fn mdmd(
    options: &Options,
    data: &Path,
    database: &str,
    words: &[String],
) -> anyhow::Result<()> {
    let (program, environment) = served(options.server.as_deref())?;
    let mut command = Command::new(program);
    command
        .arg("--data")
        .arg(data)
        .args(words)
        .env("MDMD_DATABASE", database)
        .envs(environment);
    let done = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(
        done.status.success(),
        "{}: {}: {}",
        words[0],
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}
