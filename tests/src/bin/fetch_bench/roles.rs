//! What the processes of the benchmark do: read the list, look at what is stored, push the same rows through `commit`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use abm_client::{ServerToken, TokenKeyPair};
use anyhow::Context as _;
use async_trait::async_trait;
use clap::ValueEnum;
use mdm_core::clock::{Clock, SystemClock, Timestamp};
use mdm_core::device::Device;
use mdm_core::error::PortError;
use mdm_core::ids::{DeviceId, OrganisationId, ServerId};
use mdm_core::secret::Secret;
use mdm_core::service::ports::testing::AssignmentPart;
use mdm_core::service::ports::{Account, DeviceAssignment, DevicePage, ServerCredential};
use mdm_core::store::Batch;
use mdm_core::wave::SyncCursor;
use mdmd::app::{self, App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig};
use serde_json::{Value, json};

use super::apple::SimulatedApple;
use super::process;

/// A part in the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Reads the list
    Fetch,
    /// Looks at what is stored
    Check,
    /// Pushes the rows of another seat through `commit`
    Compare,
}

/// A data directory with its organisation, and a note of what a role needs to sit down there.
pub(crate) struct Seat {
    config: Config,
    organisation: OrganisationId,
    server: ServerId,
    devices: u64,
}

impl Seat {
    /// Makes a data directory with an organisation and its server entry at the simulated Apple.
    pub(crate) async fn lay(
        directory: &Path,
        apple: &SimulatedApple,
        database: Option<String>,
        devices: u32,
    ) -> anyhow::Result<PathBuf> {
        mdmd::install::lay_out(directory, "Benchmark", "localhost")?;
        let mut note = json!({
            "database": database, "devices": devices,
            "assignment": apple.address("assignment")?, "ca": apple.paper("ca.pem"),
        });
        let config = configuration(directory, &note)?;
        let app = App::start(config, manual(None)).await?;
        let made = app.mdm.create_organisation("Benchmark", Vec::new()).await?;
        let read = |name: &str| std::fs::read(apple.paper(name));
        let pair = TokenKeyPair::from_pem(&read("server-token.pem")?, &read("server-token.key")?)?;
        let token = ServerToken::open(&read("destination.p7m")?, &[pair])?;
        let server = made
            .org
            .import_server_token(&Secret::new(token.to_json()?.expose()), None)
            .await?;
        note["organisation"] = json!(made.org.organisation().id.0);
        note["server"] = json!(server.0);
        app.shutdown().await?;
        std::fs::write(directory.join("seat.json"), note.to_string())?;
        Ok(directory.to_owned())
    }

    fn take(directory: &Path) -> anyhow::Result<Self> {
        let note: Value = serde_json::from_slice(&std::fs::read(directory.join("seat.json"))?)?;
        let number = |key: &str| note[key].as_i64().context("the note of the seat is torn");
        Ok(Self {
            config: configuration(directory, &note)?,
            organisation: OrganisationId(number("organisation")?),
            server: ServerId(number("server")?),
            devices: u64::try_from(number("devices")?)?,
        })
    }
}

fn configuration(directory: &Path, note: &Value) -> anyhow::Result<Config> {
    let mut config = Config::for_directory(directory);
    if let Some(url) = note["database"].as_str() {
        config.database = Database::new(url);
        // A private server for tests may run without fsync; what is compared runs on the same.
        config.accept_lost_commits = true;
    }
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listeners = vec![
        ListenerConfig::new(any_port, Duty::Device),
        ListenerConfig::new(any_port, Duty::Enrol),
    ];
    config.public.device_url = "https://localhost:0".to_owned();
    config.public.enrol_url = "https://localhost:0".to_owned();
    config.apple.assignment_url = note["assignment"].as_str().map(str::to_owned);
    config.apple.ca = note["ca"].as_str().map(PathBuf::from);
    Ok(config)
}

fn manual(ports: Option<mdm_core::service::Ports>) -> Overrides {
    let mut overrides = Overrides::default();
    overrides.drive = Drive::Manual;
    overrides.ports = ports;
    overrides
}

pub(crate) async fn play(role: Role, seat: &Path) -> anyhow::Result<()> {
    let seat = Seat::take(seat)?;
    match role {
        Role::Fetch => fetch(seat).await,
        Role::Check => check(seat).await,
        Role::Compare => {
            let other = std::env::var_os("FETCH_BENCH_OTHER").context("nothing to compare with")?;
            compare(seat, Seat::take(Path::new(&other))?).await
        }
    }
}

/// The most memory that this process has had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}

/// Apple's device list, with a line for each page that is asked for. Profiles are nobody's business here.
struct Watched {
    apple: Arc<dyn DeviceAssignment>,
    /// When the first page was asked for, and what processor time was used until then.
    began: Mutex<Option<(Instant, Duration)>>,
}

#[async_trait]
impl AssignmentPart for Watched {
    fn refusal(&self) -> PortError {
        PortError::retry("not in this benchmark")
    }

    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError> {
        self.apple.account(credential).await
    }

    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let seconds = {
            let mut began = self
                .began
                .lock()
                .map_err(|_| PortError::retry("poisoned"))?;
            began
                .get_or_insert_with(|| (Instant::now(), process::own_time()))
                .0
                .elapsed()
                .as_secs_f64()
        };
        println!(
            "{}",
            json!({ "said": "asked", "cursor": cursor, "seconds": seconds, "peak_mib": peak_mib() })
        );
        self.apple.fetch(credential, cursor, now).await
    }

    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.apple.sync(credential, cursor, now).await
    }
}

async fn fetch(seat: Seat) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = app::open_store(&seat.config).await?;
    let mut ports = app::ports(&seat.config, &clock, &store)?;
    let watched = Arc::new(Watched {
        apple: Arc::clone(&ports.assignment),
        began: Mutex::new(None),
    });
    ports.assignment = watched.clone();
    let mut overrides = manual(Some(ports));
    overrides.store = Some(store);
    let app = App::start(seat.config, overrides).await?;
    loop {
        let worked = app.mdm.work(50).await?;
        let server = app
            .mdm
            .store()
            .server(seat.organisation, seat.server)
            .await?;
        let server = server.context("the server entry is gone")?;
        if matches!(server.cursor, SyncCursor::Changes { .. }) {
            break;
        }
        if worked == 0 {
            // After a kill the job is another's until its lease ends.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let began = *watched
        .began
        .lock()
        .map_err(|_| anyhow::anyhow!("poisoned"))?;
    let (began, used) = began.context("no page was asked for")?;
    let processor = process::own_time().saturating_sub(used);
    println!(
        "{}",
        json!({
            "said": "done", "seconds": began.elapsed().as_secs_f64(), "peak_mib": peak_mib(),
            "processor": processor.as_secs_f64(),
        })
    );
    app.shutdown().await
}

/// The rows of a seat, a page of Apple's size at a time.
async fn page(app: &App, seat: &Seat, after: DeviceId) -> anyhow::Result<Vec<Device>> {
    let store = app.mdm.store();
    Ok(store.devices(seat.organisation, after, 1_000).await?)
}

async fn check(seat: Seat) -> anyhow::Result<()> {
    let app = App::start(seat.config.clone(), manual(None)).await?;
    let (mut devices, mut taken_twice, mut after) = (0_u64, 0_u64, DeviceId(0));
    let mut first_version = None;
    loop {
        let rows = page(&app, &seat, after).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in rows {
            devices += 1;
            // A row that was written a second time has another version than one that never was.
            let first = *first_version.get_or_insert(row.version);
            taken_twice += u64::from(row.version != first);
        }
    }
    println!(
        "{}",
        json!({ "devices": devices, "taken_twice": taken_twice })
    );
    app.shutdown().await
}

async fn compare(seat: Seat, other: Seat) -> anyhow::Result<()> {
    let from = App::start(other.config.clone(), manual(None)).await?;
    let into = App::start(seat.config.clone(), manual(None)).await?;
    let store = into.mdm.store();
    let (mut spent, mut after, mut rows) = (Duration::ZERO, DeviceId(0), 0_u64);
    let mut processor = Duration::ZERO;
    loop {
        let devices = page(&from, &other, after).await?;
        let Some(last) = devices.last() else { break };
        after = last.id;
        rows += devices.len() as u64;
        let mut batch = Batch::new();
        for row in devices {
            let mut device = Device::new(seat.organisation, row.id, row.serial);
            device.record = row.record;
            device.assignment = row.assignment;
            batch.put(device);
        }
        let server = store.server(seat.organisation, seat.server).await?;
        let mut server = server.context("the server entry is gone")?;
        server.cursor = SyncCursor::Changes {
            cursor: after.0.to_string(),
        };
        batch.put(server);
        let (began, used) = (Instant::now(), process::own_time());
        store.commit(batch).await?;
        spent += began.elapsed();
        processor += process::own_time().saturating_sub(used);
    }
    anyhow::ensure!(rows == other.devices, "{rows} rows to compare with");
    println!(
        "{}",
        json!({ "seconds": spent.as_secs_f64(), "processor": processor.as_secs_f64() })
    );
    from.shutdown().await?;
    into.shutdown().await
}
