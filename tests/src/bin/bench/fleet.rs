//! `--fleet`: what people ask of a fleet, timed in a fleet of a tenth and in the whole one. What concerns a wave or a page must take
//! as long in both; what goes through everybody may grow with them, and no faster. The growth is judged on every machine, and that each
//! takes less than a second on one that has nothing else to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::error::PortError;
use mdm_core::evidence::{ReportAsk, ReportHead, ReportRow, ReportSink};
use mdm_core::ids::{DeviceId, IdSource, Serial, ServerId, WaveId};
use mdm_core::project::{Gate, Window};
use mdm_core::secret::Secret;
use mdm_core::service::ports::testing::{AssignmentPart, account_of};
use mdm_core::service::ports::{Account, DevicePage, ServerCredential};
use mdm_core::service::{Candidates, Dates, Mdm, MdmSettings, Org, Ports, ProjectChange};
use mdm_core::store::testing::{shown_elsewhere, told_elsewhere};
use mdm_core::store::{Batch, PostgresOptions, PostgresStore, SqliteStore, Store};
use mdm_core::vault::{EscrowVault, MasterKey};

use crate::ground::Ground;
use crate::options::Options;

const DAY: Duration = Duration::from_secs(86_400);
/// The smaller fleet is the whole one through this.
const TENTH: usize = 10;
/// What is flat may take so many times as long in the whole fleet as in its tenth.
const FLAT: f64 = 3.0;
/// What goes through everybody may take so many times as long: ten times as many devices, and room for a cache that ends.
const LINEAR: f64 = 20.0;
/// Below this a time is too short for its growth to mean something.
const SHORT: Duration = Duration::from_millis(20);
/// How long a question may take in the whole fleet.
const LONGEST: Duration = Duration::from_secs(1);
/// How often each question is asked; the middle time counts.
const TIMES: usize = 5;
/// A page of a list, as people and Apple have them.
const PAGE: u32 = 100;
const PAGE_OF_APPLE: usize = 1_000;
/// Rows that are written or brought in at once.
const AT_ONCE: usize = 1_000;
const IMPORTED_AT_ONCE: usize = 10_000;

/// How a time may grow with the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Flat,
    Linear,
}

/// A question and how long it took.
struct Asked {
    what: &'static str,
    growth: Growth,
    time: Duration,
}

impl Asked {
    /// How many times as long it took as in the smaller fleet.
    fn times(&self, small: &Self) -> f64 {
        self.time.as_secs_f64() / small.time.as_secs_f64().max(1e-9)
    }

    /// What is wrong with how long it took.
    fn judge(&self, small: &Self, by_the_clock: bool) -> Option<&'static str> {
        let most = match self.growth {
            Growth::Flat => FLAT,
            Growth::Linear => LINEAR,
        };
        if self.time > SHORT && self.times(small) > most {
            return Some("grows too fast");
        }
        (by_the_clock && self.time >= LONGEST).then_some("takes a second or more")
    }
}

/// An Apple that shows one page of its list and does nothing else.
struct Apple(Vec<Serial>);

#[async_trait]
impl AssignmentPart for Apple {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(account_of("Bench", "BENCH"))
    }
    async fn fetch(
        &self,
        _: &ServerCredential,
        _: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let row = |serial: &Serial| {
            let mut record = DeviceRecord::new(ServerId(0), now);
            record.family = "iPhone".to_owned();
            (serial.clone(), record)
        };
        Ok(DevicePage {
            devices: self.0.iter().map(row).collect(),
            cursor: "END".to_owned(),
            more: false,
        })
    }
}

/// Takes a report and keeps nothing of it.
struct Nowhere;

#[async_trait]
impl ReportSink for Nowhere {
    async fn head(&mut self, _: ReportHead) -> Result<(), mdm_core::error::Error> {
        Ok(())
    }
    async fn rows(&mut self, _: Vec<ReportRow>) -> Result<(), mdm_core::error::Error> {
        Ok(())
    }
}

/// Asks everything on every database that was named, and prints it. Answers whether nothing grew faster than it may or took too long.
pub(crate) async fn measure(options: &Options, devices: usize) -> anyhow::Result<bool> {
    let least = TENTH * (options.members * (TIMES + 1) + PAGE_OF_APPLE);
    ensure!(
        devices >= least,
        "--fleet must be {least} at least: waves of {} members each are taken of its tenth",
        options.members
    );
    let mut fine = true;
    for name in options.databases() {
        let ground = Ground::find(name).await?;
        ensure!(
            ground.has_room(),
            "--fleet needs two databases: sqlite, postgres or both"
        );
        let small = ask(&ground, devices / TENTH, options.members).await?;
        let large = ask(&ground, devices, options.members).await?;
        ground.clean().await;
        println!(
            "\n{}: {} and {devices} devices, waves of {}\n{:<44} {:>10} {:>10} {:>8}",
            ground.name(),
            devices / TENTH,
            options.members,
            "question",
            "tenth, ms",
            "whole, ms",
            "times"
        );
        for (small, large) in small.iter().zip(&large) {
            let wrong = large.judge(small, !options.no_clock);
            fine &= wrong.is_none();
            println!(
                "{:<44} {:>10.1} {:>10.1} {:>8.1}  {}",
                large.what,
                small.time.as_secs_f64() * 1e3,
                large.time.as_secs_f64() * 1e3,
                large.times(small),
                wrong.unwrap_or_default()
            );
        }
    }
    Ok(fine)
}

/// A fleet of so many in an empty database, and the times of every question.
async fn ask(ground: &Ground, devices: usize, members: usize) -> anyhow::Result<Vec<Asked>> {
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn Store> = match ground {
        Ground::Sqlite => Arc::new(SqliteStore::open(folder.path().join("mdmd.sqlite")).await?),
        Ground::Private(_) | Ground::Named(_) => {
            let url = ground.database().await;
            Arc::new(PostgresStore::connect(&url, PostgresOptions::default()).await?)
        }
    };
    let serials = (0..devices).map(|nth| Serial::parse(&format!("FLEET{nth:07}")));
    let serials: Vec<Serial> = serials.collect::<Result<_, _>>()?;
    let (mdm, org, server) = furnish(store, &serials).await?;
    let waves = waves(&org, server, &serials, members).await?;
    let mut all = Vec::new();
    let mut put = |what, growth, mut times: Vec<Duration>| {
        times.sort_unstable();
        let time = times.get(times.len() / 2).copied().unwrap_or_default();
        all.push(Asked { what, growth, time });
    };

    // The first page of the list waits since the server entry was made.
    let begun = Instant::now();
    mdm.work(50).await?;
    put("sync: a page of 1,000", Growth::Flat, vec![begun.elapsed()]);

    let (first, others) = waves.split_first().context("a wave")?;
    let looks = several(async || org.what_if(*first).await.map(drop)).await?;
    put("wave: what-if", Growth::Flat, looks);
    let mut submissions = Vec::new();
    for (nth, wave) in others.iter().enumerate() {
        let digest = org.run_what_if(*wave).await?.digest;
        org.accept(*wave, &digest, &[], "a benchmark").await?;
        let begun = Instant::now();
        let gone = org.submit_accepted(*wave, &name(nth + 1)).await?;
        submissions.push(begun.elapsed());
        ensure!(
            gone == members,
            "{gone} of {members} members were submitted"
        );
    }
    put("wave: submission", Growth::Flat, submissions);
    let stands = several(async || org.standing(*first).await.map(drop)).await?;
    put("wave: counts of its standing", Growth::Flat, stands);
    let reports = several(async || org.report_to(&ReportAsk::Wave(*first), &mut Nowhere).await);
    put("wave: report", Growth::Flat, reports.await?);

    let (store, id) = (mdm.store(), org.organisation().id);
    let found = store.device_by_serial(id, &serials[devices / 2]).await?;
    let middle = found.context("a device in the middle")?.id;
    let pages = several(async || store.devices(id, middle, PAGE).await.map(drop)).await?;
    put("devices: a page from the middle", Growth::Flat, pages);
    let shown = several(async || org.device_report(&serials[devices / 2]).await.map(drop)).await?;
    put("devices: everything about one", Growth::Flat, shown);
    let counts = several(async || store.commands_waiting().await.map(drop)).await?;
    put("commands: how many wait", Growth::Linear, counts);
    let tagged = Candidates {
        tag: Some("hundredth".to_owned()),
        ..Candidates::default()
    };
    let filtered = several(async || org.candidates(&tagged).await.map(drop)).await?;
    put(
        "devices: all that could go, by a tag",
        Growth::Linear,
        filtered,
    );
    let reports = several(async || {
        let asked = ReportAsk::Unheard { days: 7 };
        org.report_to(&asked, &mut Nowhere).await
    });
    put("report: unheard", Growth::Linear, reports.await?);
    let reports = several(async || {
        let asked = ReportAsk::AtRisk {
            wave: None,
            days: 14,
        };
        org.report_to(&asked, &mut Nowhere).await
    });
    put("report: at risk", Growth::Flat, reports.await?);
    mdm.store().close().await?;
    Ok(all)
}

/// The same question several times.
async fn several<E>(question: impl AsyncFn() -> Result<(), E>) -> Result<Vec<Duration>, E> {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begun = Instant::now();
        question().await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn name(nth: usize) -> String {
    format!("wave {nth}")
}

/// An organisation whose devices stand at another service, of which everything is known that a what-if asks for.
async fn furnish(
    store: Arc<dyn Store>,
    serials: &[Serial],
) -> anyhow::Result<(Mdm, Org, ServerId)> {
    let apple = Apple(serials[serials.len() - PAGE_OF_APPLE..].to_vec());
    let master = MasterKey::new(MasterKey::generate().map_err(anyhow::Error::msg)?);
    let mdm = Mdm::new(
        store,
        EscrowVault::new(master.map_err(anyhow::Error::msg)?),
        Arc::new(SystemClock),
        Ports {
            assignment: Arc::new(apple),
            ..Ports::refusing()
        },
        MdmSettings {
            device_url: "https://mdm.example.com".to_owned(),
            enrol_url: "https://enrol.example.com".to_owned(),
            sign_messages: true,
        },
    );
    let now = mdm.now();
    let org = mdm.create_organisation("Bench", Vec::new()).await?.org;
    let (certificate, key) = ::tests::fleet::devices::push_identity()?;
    let topic = ::tests::fleet::devices::TOPIC;
    org.import_push(topic, certificate, now + 300 * DAY, &key)
        .await?;
    let server = org
        .import_server_token(&Secret::from_text("{}"), None)
        .await?;
    let ids = IdSource::new(9);
    for (part, chunk) in serials.chunks(AT_ONCE).enumerate() {
        let mut batch = Batch::new();
        for (at, serial) in chunk.iter().enumerate() {
            let id = DeviceId(ids.next(now));
            let mut device = Device::new(org.organisation().id, id, serial.clone());
            device.reading = Some(shown_elsewhere(now));
            if (part * AT_ONCE + at).is_multiple_of(100) {
                device.tags.insert("hundredth".to_owned());
            }
            batch.put(device);
        }
        mdm.store().commit(batch).await?;
    }
    for chunk in serials.chunks(IMPORTED_AT_ONCE) {
        let rows = chunk.iter().map(|one| told_elsewhere(one.clone(), now));
        org.import_originals("Old MDM", now, rows.collect()).await?;
    }
    // As it is after all of that.
    let org = mdm
        .organisation_by_id(org.organisation().id)
        .await?
        .acting_for("Anna");
    Ok((mdm, org, server))
}

/// Waves of so many members each: one that is looked at, and those that are submitted.
async fn waves(
    org: &Org,
    server: ServerId,
    serials: &[Serial],
    members: usize,
) -> anyhow::Result<Vec<WaveId>> {
    let now = SystemClock.now();
    let change = ProjectChange {
        window: Some(Window {
            not_before: None,
            not_after: Some(now + 30 * DAY),
        }),
        gate: Some(Gate::default()),
        // All members of all waves have one deadline.
        capacity: Some(u32::try_from(members * (TIMES + 1))?),
        ..ProjectChange::default()
    };
    let dates = Dates {
        deadline: Some(now + 9 * DAY),
        available_from: Some(now + DAY),
    };
    let mut waves = Vec::new();
    for (nth, of) in serials.chunks(members).take(TIMES + 1).enumerate() {
        // Each of a project of its own: none waits for another.
        let project = org.new_project(&name(nth), server, &change).await?.id;
        org.switch_project(project, true).await?;
        let wave = org.new_wave(project, &name(nth), None).await?.id;
        org.add_members(wave, of, dates).await?;
        waves.push(wave);
    }
    Ok(waves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(growth: Growth, millis: u64) -> Asked {
        Asked {
            what: "something",
            growth,
            time: Duration::from_millis(millis),
        }
    }

    #[test]
    fn growth_is_judged_always_and_the_second_where_the_clock_is() {
        let check = |growth, small, large, by_the_clock, wrong: Option<&str>| {
            let found = asked(growth, large).judge(&asked(growth, small), by_the_clock);
            assert_eq!(found, wrong, "{growth:?}, {small} and {large} ms");
        };
        let (fast, slow) = (Some("grows too fast"), Some("takes a second or more"));
        check(Growth::Flat, 10, 30, true, None);
        check(Growth::Flat, 10, 31, true, fast);
        check(Growth::Flat, 10, 31, false, fast);
        // Too short to mean something.
        check(Growth::Flat, 1, 20, true, None);
        check(Growth::Linear, 40, 800, true, None);
        check(Growth::Linear, 40, 801, true, fast);
        check(Growth::Flat, 900, 999, true, None);
        check(Growth::Flat, 900, 1000, true, slow);
        check(Growth::Flat, 900, 1000, false, None);
    }
}
