//! A disk that takes no write: read-only when the server starts or while it runs, full while it runs. Devices and clients are put
//! off until there is room, nobody is sent away, what can be read is read, nothing is acknowledged that is not kept, and after a
//! full disk it all goes on without another start. And one that is slow: everybody waits, and hears the same as ever. The disk is
//! the power cut's ([`power.c`](power.c)), which can refuse and take its time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mdm_core::clock::{Clock as _, SystemClock};
use serde_json::json;

use super::ledger::Ledger;
use super::load::Load;
use super::power::{Power, Refusal};
use super::rng::Rng;
use super::{Fleet, Options, Report, start};
use crate::fleet::client::{self, Connection};
use crate::fleet::house::House;

/// How often the disk fills.
const TIMES: usize = 3;
/// How soon something can be written when there is room again: within what everybody was told to wait.
const SOON: Duration = Duration::from_secs(5);
/// How long a slow disk takes for each sync, and how long it is slow.
const SYNC: Duration = Duration::from_secs(2);
const SLOW: Duration = Duration::from_secs(10);
/// What needs no write does not wait for such a disk: it is done by then.
const READ: Duration = Duration::from_secs(10);

/// Does it, on SQLite.
///
/// # Errors
/// When the harness cannot go on, or the server does not put off, read and go on as it should. Losses are in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    ensure!(
        options.database == "sqlite",
        "only the embedded database has its disk here"
    );
    let fleet = Fleet::make(options.devices, SystemClock.now())?;
    let papers = tempfile::tempdir()?;
    let power = Power::build(papers.path(), false)?;
    let start = start(options.server.as_deref())?;
    let mut house = House::lay(start, &options.database, &fleet.seed()).await?;
    house.environment(power.environment(house.folder()));
    read_only(&mut house, &power).await?;
    house.start().await?;
    let first = fleet.enrolled.first().context("nobody is enrolled")?;
    let udid = first.udid.clone();
    let ledger = Ledger::new(fleet.enrolled, fleet.invited);
    let load = Load::new(&house, &ledger, options.connections);
    let mut rng = Rng::new(options.seed);
    let mut report = Report::default();
    let pid = house.pid();
    for nth in 1..=TIMES {
        load.drive(&mut rng, options.longest, || Ok(())).await?;
        ledger.count(&mut report);
        let before = report.put_off;
        power.refuse(Refusal::Full)?;
        load.drive(&mut rng, options.longest, || Ok(())).await?;
        ledger.count(&mut report);
        ensure!(
            report.put_off > before,
            "the disk was full, and nobody was put off"
        );
        reads(&house)
            .await
            .with_context(|| format!("the disk is full for time {nth}"))?;
        let uuid = format!("D15CF000-0000-4000-8000-{nth:012}");
        let (status, later, said) = queue(&house, &udid, &uuid).await?;
        ensure!(
            status == 503 && later,
            "the disk is full, and a command is answered {status}: {said}"
        );
        power.allow()?;
        written(&house, &udid, &uuid).await?;
        // From the first write on nobody has a reason to be put off.
        ledger.count(&mut report);
        let (put_off, acknowledged) = (report.put_off, report.acknowledged);
        load.drive(&mut rng, options.longest, || Ok(())).await?;
        ledger.count(&mut report);
        ensure!(
            report.put_off == put_off && report.acknowledged > acknowledged,
            "there is room again, and still {} requests were put off",
            report.put_off - put_off
        );
        ledger.look_up(&house, false, &mut report).await?;
    }
    ensure!(house.pid() == pid, "it was started again");
    // What was acknowledged while the disk was full is not only in the server's memory.
    again(&mut house, &ledger, &mut report).await?;

    // The file system becomes read-only. That is mended by a person, who starts the server again.
    let before = report.put_off;
    power.refuse(Refusal::ReadOnly)?;
    load.drive(&mut rng, options.longest * 2, || Ok(())).await?;
    ledger.count(&mut report);
    ensure!(
        report.put_off > before,
        "nothing could be written, and nobody was put off"
    );
    reads(&house)
        .await
        .context("the file system is read-only")?;
    let uuid = "D15CF000-0000-4000-8000-0000000000F0";
    let (status, later, said) = queue(&house, &udid, uuid).await?;
    ensure!(
        status == 503 && later,
        "the file system is read-only, and a command is answered {status}: {said}"
    );
    power.allow()?;
    again(&mut house, &ledger, &mut report).await?;
    written(&house, &udid, uuid).await?;

    // The disk is slow. When it is well again, whoever waits is done soon.
    let (acknowledged, unanswered) = (report.acknowledged, report.unanswered);
    let pid = house.pid();
    power.slow(SYNC)?;
    let slow = async {
        tokio::time::sleep(SLOW / 2).await;
        let read = tokio::time::timeout(READ, reads(&house)).await;
        read.context("what needs no write waits for the disk")??;
        tokio::time::sleep(SLOW / 2).await;
        ledger.count(&mut report);
        ensure!(
            report.acknowledged > acknowledged,
            "the disk is slow, and nobody gets anything done"
        );
        power.allow().context("the disk is well again")
    };
    load.drive_until(&mut rng, slow).await?;
    ledger.count(&mut report);
    ensure!(
        report.unanswered == unanswered,
        "the disk was slow, and {} went unanswered",
        report.unanswered - unanswered
    );
    ensure!(house.pid() == pid, "it was started again");
    again(&mut house, &ledger, &mut report).await?;
    house.close().await?;
    Ok(report)
}

/// Kills the server, starts it again, and looks everything up.
async fn again(house: &mut House, ledger: &Ledger, report: &mut Report) -> anyhow::Result<()> {
    house.kill()?;
    report.kills += 1;
    house.start().await?;
    ledger.look_up(house, true, report).await
}

/// Who starts on a file system that cannot be written to says so, and which file it is about.
async fn read_only(house: &mut House, power: &Power) -> anyhow::Result<()> {
    power.refuse(Refusal::ReadOnly)?;
    let started = house.start().await;
    power.allow()?;
    let Err(told) = started else {
        anyhow::bail!("it serves though nothing can be written");
    };
    let told = format!("{told:#}");
    ensure!(
        told.contains("mdmd.sqlite cannot be opened: Read-only file system"),
        "what it says of a read-only file system does not help: {told}"
    );
    Ok(())
}

/// A client queues a command, which has to be written. Answers the status, whether it was told when to come again, and what was said.
async fn queue(house: &House, udid: &str, uuid: &str) -> anyhow::Result<(u16, bool, String)> {
    let token = String::from_utf8_lossy(house.token.expose()).into_owned();
    let body = json!({
        "channels": [udid], "uuid": uuid, "push": false,
        "request_type": "DeviceInformation", "keys": { "Queries": ["SerialNumber"] },
    })
    .to_string();
    let request = format!(
        "POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut line = Connection::open(&house.admin).await?;
    let (status, _) = line.exchange(request.as_bytes()).await?;
    let said = String::from_utf8_lossy(line.content()).into_owned();
    Ok((status, line.retry_after().is_some(), said))
}

/// There is room again, and soon it is used.
async fn written(house: &House, udid: &str, uuid: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        match queue(house, udid, uuid).await? {
            (200, ..) => return Ok(()),
            (503, true, _) if begun.elapsed() < SOON => {}
            (status, _, said) => {
                anyhow::bail!("there is room again, and a command is answered {status}: {said}")
            }
        }
        tokio::time::sleep(SOON / 50).await;
    }
}

/// What needs no write is done.
async fn reads(house: &House) -> anyhow::Result<()> {
    let alive = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (status, _) = client::once(&house.address, alive).await?;
    ensure!(status == 200, "/healthz is answered {status}");
    let token = String::from_utf8_lossy(house.token.expose()).into_owned();
    let request = format!(
        "GET /api/v1/devices?limit=5 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let mut line = Connection::open(&house.admin).await?;
    let (status, _) = line.exchange(request.as_bytes()).await?;
    let said = String::from_utf8_lossy(line.content());
    ensure!(
        status == 200 && said.contains("serial"),
        "the list of devices is answered {status}: {said}"
    );
    Ok(())
}
