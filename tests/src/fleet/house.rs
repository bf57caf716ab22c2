//! Our server as a process of its own on a temporary installation, with devices that are enrolled already because their
//! rows were written by the library. It is started and ended here; its log goes to a file, as it would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::{Device as DeviceRow, DeviceRecord, Platform};
use mdm_core::enrollment::{
    ChannelKind, EnrolSession, Enrollment, EnrollmentState, IssuedCertificate, PushTarget,
};
use mdm_core::ids::{
    CertificateId, DeviceId, EnrollmentId, OrganisationId, RunbookId, Serial, ServerId, SessionId,
    SetUpId,
};
use mdm_core::migration::{
    PinnedRunbook, SetUp, SetUpEnd, SetUpState, Variant, VerdictFacts, judge,
};
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;
use mdm_core::service::{Mdm, MdmSettings, NewDeclaration, Ports};
use mdm_core::store::Batch;
use mdm_core::vault::{EscrowVault, MasterKey};
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig, Network};

use sqlx::{Connection as _, PgConnection};

use super::client::{self, Address, Connection};
use super::devices::{self, Authority, Device, KeyKind, Mode, Writer};

/// Devices whose rows are written in one batch.
const SEEDED_AT_ONCE: usize = 250;
/// Devices that are held in memory while they are written, of those that say nothing.
const PRESENT_AT_ONCE: usize = 5_000;

/// Sessions of servers that began before a moment.
const ORPHANS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mdm-core' \
    AND backend_start < to_timestamp(($1 + 1) / 1000.0)";
/// The longest that one is waited for.
const ORPHANS_END: Duration = Duration::from_mins(1);

/// How the server is started.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Start {
    /// Its program; by default `mdmd` beside this one.
    pub program: Option<PathBuf>,
    /// TLS at the listener for devices instead of plain HTTP behind a proxy.
    pub tls: bool,
    /// More of its environment.
    pub environment: Vec<(String, String)>,
}

/// An installation, and the server that runs on it.
pub struct House {
    directory: tempfile::TempDir,
    start: Start,
    config: Config,
    database: String,
    server: Option<Child>,
    killed: Option<Timestamp>,
    organisation: OrganisationId,
    /// Where devices speak.
    pub address: Address,
    /// Where the API is.
    pub admin: Address,
    /// The administrator's token.
    pub token: Secret,
    /// Path of check-ins.
    pub check_in_path: String,
    /// Path of reports.
    pub command_path: String,
}

/// What is written before the server starts.
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Seed<'a> {
    /// Who issued the devices' identities.
    pub authority: &'a Authority,
    /// Enrolled, nothing queued, set-up over.
    pub enrolled: &'a [Device],
    /// With a certificate from an enrolment session, about to authenticate.
    pub invited: &'a [Device],
    /// So many more that are enrolled and say nothing.
    pub present: usize,
}

impl Seed<'_> {
    /// Rows that this makes: a device with session and certificate, and of those that are enrolled an enrolment with its set-up.
    #[must_use]
    pub fn rows(&self) -> usize {
        5 * (self.enrolled.len() + self.present) + 3 * self.invited.len()
    }
}

impl House {
    /// Lays an installation out, writes the rows, starts the server and waits until it answers.
    ///
    /// # Errors
    /// When one of that cannot be done.
    pub async fn open(start: Start, database: &str, seed: &Seed<'_>) -> anyhow::Result<Self> {
        let mut house = Self::lay(start, database, seed).await?;
        house.start().await?;
        Ok(house)
    }

    /// Lays an installation out and writes the rows.
    ///
    /// # Errors
    /// When one of that cannot be done.
    pub async fn lay(start: Start, database: &str, seed: &Seed<'_>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let anchor = mdmd::install::lay_out(directory.path(), "Bench", "localhost")?;
        let (port, admin) = (free_port()?, free_port()?);
        let mut config = Config::for_directory(directory.path());
        config.database = Database::new(database);
        config.proxy.trusted = vec![Network::parse("127.0.0.1/32").context("a network")?];
        let any = ([127, 0, 0, 1], 0).into();
        config.listeners = vec![ListenerConfig::new(any, Duty::Plain)];
        let mut overrides = Overrides::default();
        overrides.drive = Drive::Manual;
        let app = App::start(config.clone(), overrides).await?;
        let made = rows(&app, anchor, seed).await?;
        app.shutdown().await?;

        let duty = if start.tls { "device" } else { "plain" };
        // The workers would talk to Apple. Nothing here leaves the machine.
        let text = format!(
            "workers.enabled = false\n[[listener]]\naddress = \"127.0.0.1:{port}\"\nduty = \"{duty}\"\n\
             [[listener]]\naddress = \"127.0.0.1:{admin}\"\nduty = \"admin\"\n\
             [proxy]\ntrusted = [\"127.0.0.1/32\"]\ncertificate_header = \"client-cert\"\n"
        );
        std::fs::write(directory.path().join("mdmd.toml"), text)?;
        let at = |port, tls| Address {
            host: "127.0.0.1".to_owned(),
            port,
            tls,
        };
        Ok(Self {
            address: at(port, start.tls),
            admin: at(admin, true),
            check_in_path: format!("/mdm/{}/checkin", made.code),
            command_path: format!("/mdm/{}/command", made.code),
            organisation: made.organisation,
            token: made.token,
            database: database.to_owned(),
            killed: None,
            server: None,
            directory,
            config,
            start,
        })
    }

    /// Its rows are in this database from now on, and its servers are addressed here: somebody else runs them.
    pub fn move_to(&mut self, database: &str, address: Address, admin: Address) {
        self.config.database = Database::new(database);
        self.database = database.to_owned();
        self.address = address;
        self.admin = admin;
    }

    /// Adds to the environment of the servers to come.
    pub fn environment(&mut self, more: Vec<(String, String)>) {
        self.start.environment.extend(more);
    }

    /// Starts the server, and does not wait.
    ///
    /// # Errors
    /// When its program cannot be started.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.directory.path().join("log"))?;
        let server = Process::new(program(&self.start)?)
            .arg("--data")
            .arg(self.directory.path())
            .arg("serve")
            // A URL with a password is for the environment.
            .env("MDMD_DATABASE", &self.database)
            .envs(self.start.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the server cannot be started")?;
        self.server = Some(server);
        Ok(())
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead, or does not answer in time.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.begin()?;
        self.wait().await
    }

    /// Kills the server, which has no say in it.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut server = self.server.take().context("no server runs")?;
        server.kill()?;
        server.wait()?;
        self.note_kill();
        Ok(())
    }

    /// The only server on its database was killed just now.
    pub fn note_kill(&mut self) {
        self.killed = Some(SystemClock.now());
    }

    /// Waits until PostgreSQL has ended what killed servers had asked it for: a statement that it took, or that still waits in its
    /// socket, is done although whoever asked is no more. What is there is certain only then.
    ///
    /// # Errors
    /// When the database cannot be asked, or a session of a killed server is there a minute later.
    pub async fn orphans_ended(&self) -> anyhow::Result<()> {
        let Some(killed) = self.killed.filter(|_| self.database != "sqlite") else {
            return Ok(());
        };
        let mut line = PgConnection::connect(&self.database).await?;
        let begun = Instant::now();
        loop {
            let left: i64 = sqlx::query_scalar(ORPHANS)
                .bind(killed.as_millis())
                .fetch_one(&mut line)
                .await?;
            if left == 0 {
                break;
            }
            ensure!(
                begun.elapsed() < ORPHANS_END,
                "{left} sessions of a server that was killed are still there"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        line.close().await?;
        Ok(())
    }

    /// A second process on the same database, as an operator's tool is; it opens no secret. Whoever has it closes its store.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn beside(&self) -> anyhow::Result<Mdm> {
        let master = MasterKey::new(MasterKey::generate().map_err(anyhow::Error::msg)?);
        Ok(Mdm::new(
            mdmd::app::open_store(&self.config).await?,
            EscrowVault::new(master.map_err(anyhow::Error::msg)?),
            Arc::new(SystemClock),
            Ports::refusing(),
            MdmSettings {
                device_url: self.config.public.device_url.clone(),
                enrol_url: self.config.public.enrol_url.clone(),
                sign_messages: true,
            },
        ))
    }

    /// The organisation of its devices.
    #[must_use]
    pub fn organisation(&self) -> OrganisationId {
        self.organisation
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Waits until the server answers.
    ///
    /// # Errors
    /// When it ends instead, or does not answer in time.
    pub async fn wait(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let alive = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
            if let Ok((200, _)) = client::once(&self.address, alive).await {
                return Ok(());
            }
            let server = self.server.as_mut().context("no server runs")?;
            if let Some(ended) = server.try_wait()? {
                let log = std::fs::read_to_string(self.directory.path().join("log"))?;
                anyhow::bail!("the server ended with {ended}: {log}");
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "the server does not answer"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Bytes of the embedded database on the disk, its log included; 0 when it is elsewhere.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let size = |name: &str| {
            std::fs::metadata(self.directory.path().join(name)).map_or(0, |file| file.len())
        };
        size("mdmd.sqlite") + size("mdmd.sqlite-wal")
    }

    /// Its directory. A trial database may lie there too: on the same disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Queues one DeviceInformation for each device with one request to the API, and says how long that took until it was answered,
    /// which is when all of them are durable.
    ///
    /// # Errors
    /// When a device did not get its command.
    pub async fn enqueue(&self, devices: &[Device], uuid: &str) -> anyhow::Result<Duration> {
        let channels: Vec<&str> = devices.iter().map(|d| d.udid.as_str()).collect();
        let body = serde_json::json!({
            "channels": channels, "request_type": "DeviceInformation", "uuid": uuid, "push": false,
            "keys": { "Queries": ["SerialNumber", "AwaitingConfiguration"] },
        });
        let body = body.to_string();
        let request = format!(
            "POST /api/v1/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            String::from_utf8_lossy(self.token.expose()),
            body.len()
        );
        let mut line = Connection::open(&self.admin).await?;
        let begun = Instant::now();
        let (status, _) = line.exchange(request.as_bytes()).await?;
        let time = begun.elapsed();
        ensure!(
            status == 200,
            "the commands were answered {status}: {}",
            String::from_utf8_lossy(&line.content()[..line.content().len().min(400)])
        );
        Ok(time)
    }

    /// Renders requests of its devices.
    #[must_use]
    pub fn writer(&self, mode: Mode) -> Writer {
        Writer {
            host: "localhost".to_owned(),
            check_in_path: self.check_in_path.clone(),
            command_path: self.command_path.clone(),
            mode,
        }
    }

    /// The server in this process instead of one of its own, for whoever wants to look into it: plain HTTP for devices, and the API.
    /// It is addressed here from now on; its workers rest.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn in_this_process(&mut self) -> anyhow::Result<App> {
        if self.server.is_some() {
            self.kill()?;
        }
        let any = ([127, 0, 0, 1], 0).into();
        let mut config = self.config.clone();
        config.proxy.certificate_header = "client-cert".to_owned();
        config.listeners = vec![
            ListenerConfig::new(any, Duty::Plain),
            ListenerConfig::new(any, Duty::Admin),
        ];
        let mut overrides = Overrides::default();
        overrides.drive = Drive::Manual;
        let app = App::start(config, overrides).await?;
        let at = |duty, tls| -> anyhow::Result<Address> {
            let address = app.address(duty).context("a listener")?;
            Ok(Address {
                host: address.ip().to_string(),
                port: address.port(),
                tls,
            })
        };
        self.address = at(Duty::Plain, false)?;
        self.admin = at(Duty::Admin, true)?;
        Ok(app)
    }

    /// Declares so many configurations to every device, each with nothing in it that a device would act on.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn declare(&self, mdm: &Mdm, count: usize) -> anyhow::Result<()> {
        let org = mdm.organisation_by_id(self.organisation).await?;
        let names: Vec<String> = (0..count).map(Self::declaration).collect();
        for name in &names {
            let payload = [("Echo".to_owned(), name.as_str().into())];
            let of = "com.apple.configuration.management.test";
            let new = NewDeclaration::new(name, of, payload.into_iter().collect());
            org.put_declaration(&new).await?;
        }
        org.put_declaration_set("bench", &names).await?;
        let everybody = (&Target::Organisation, Channels::Device);
        org.assign_declarations("bench", everybody.0, everybody.1)
            .await?;
        Ok(())
    }

    /// The identifier of the n-th of them.
    #[must_use]
    pub fn declaration(nth: usize) -> String {
        format!("bench.{nth}")
    }

    /// Ends the server in order.
    ///
    /// # Errors
    /// When it cannot be told to end.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let mut server = self.server.take().context("no server runs")?;
        let pid = server.id().to_string();
        let asked = Process::new("kill").args(["-TERM", &pid]).status()?;
        ensure!(asked.success(), "the server could not be told to end");
        let begun = Instant::now();
        while server.try_wait()?.is_none() {
            if begun.elapsed() > Duration::from_secs(20) {
                server.kill()?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // After an error nobody else ends it; one that has ended is no error here.
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(socket.local_addr()?.port())
}

/// The server's program: the one that was named, or the one beside this one.
fn program(start: &Start) -> anyhow::Result<PathBuf> {
    if let Some(named) = &start.program {
        return Ok(named.clone());
    }
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("mdmd");
    ensure!(
        beside.is_file(),
        "{} is not there: cargo build --release -p mdmd",
        beside.display()
    );
    Ok(beside)
}

struct Made {
    organisation: OrganisationId,
    code: String,
    token: Secret,
}

async fn rows(app: &App, anchor: Der, seed: &Seed<'_>) -> anyhow::Result<Made> {
    let made = app.mdm.create_organisation("Bench", vec![anchor]).await?;
    let now = SystemClock.now();
    let year = Duration::from_secs(365 * 86_400);
    let (certificate, key) = devices::push_identity()?;
    let push = (devices::TOPIC, certificate, now + year);
    made.org.import_push(push.0, push.1, push.2, &key).await?;
    let runbook = PinnedRunbook::standard(Platform::Macos, Variant::Ordinary);
    let runbook = made.org.pin("bench", runbook).await?;
    let id = made.org.organisation().id;
    let org = app.mdm.organisation_by_id(id).await?;
    // Its devices' identities come from an authority of the benchmark.
    let mut organisation = org.organisation().clone();
    let mut authority = organisation
        .identity_cas
        .first()
        .cloned()
        .context("a new organisation has an authority")?;
    authority.certificate = Der(seed.authority.ca.certificate().to_vec());
    organisation.identity_cas.push(authority);
    let code = organisation.code.to_string();
    let mut batch = Batch::new();
    batch.put(organisation);
    let store = app.mdm.store();
    store.commit(batch).await?;
    for part in seed.enrolled.chunks(SEEDED_AT_ONCE) {
        let mut batch = Batch::new();
        for device in part {
            invited(&mut batch, id, device, now)?;
            enrolled(&mut batch, id, device, runbook, now)?;
        }
        store.commit(batch).await?;
    }
    // Made and forgotten in portions: nobody asks for them again. Their numbers lie behind those of all others.
    let others = seed.enrolled.iter().chain(seed.invited);
    let mut next = others.map(|device| device.number).max().unwrap_or(0) + 1;
    let mut left = seed.present;
    while left > 0 {
        let count = left.min(PRESENT_AT_ONCE);
        let some = devices::make(seed.authority, KeyKind::P256, next, count, now)?;
        for part in some.chunks(SEEDED_AT_ONCE) {
            let mut batch = Batch::new();
            for device in part {
                invited(&mut batch, id, device, now)?;
                enrolled(&mut batch, id, device, runbook, now)?;
            }
            store.commit(batch).await?;
        }
        next += i64::try_from(count)?;
        left -= count;
    }
    for part in seed.invited.chunks(SEEDED_AT_ONCE) {
        let mut batch = Batch::new();
        for device in part {
            invited(&mut batch, id, device, now)?;
            batch.put(row(id, device, now)?);
        }
        store.commit(batch).await?;
    }
    Ok(Made {
        organisation: id,
        code,
        token: made.administrator_token,
    })
}

fn row(id: OrganisationId, device: &Device, now: Timestamp) -> anyhow::Result<DeviceRow> {
    let mut row = DeviceRow::new(id, DeviceId(device.number), Serial::parse(&device.serial)?);
    let mut record = DeviceRecord::new(ServerId(1), now);
    record.family = "Mac".to_owned();
    record.model = "MacBook Pro".to_owned();
    record.profile_status = "pushed".to_owned();
    row.record = Some(record);
    Ok(row)
}

/// The session and the certificate that came of it.
fn invited(
    batch: &mut Batch,
    id: OrganisationId,
    device: &Device,
    now: Timestamp,
) -> anyhow::Result<()> {
    let year = Duration::from_secs(365 * 86_400);
    let sha256 = mdm_core::identity::sha256_hex(&device.der);
    let (session, certificate) = (SessionId(device.number), CertificateId(device.number));
    let mut made = EnrolSession::new(
        id,
        session,
        device.serial.clone(),
        sha256.clone(),
        now,
        now + year,
    );
    made.device = Some(DeviceId(device.number));
    made.serial = Some(Serial::parse(&device.serial)?);
    made.used_by = Some((format!("t{}", device.number), sha256.clone()));
    made.certificate = Some(certificate);
    batch.put(IssuedCertificate::new(
        id,
        certificate,
        sha256,
        Der(device.der.clone()),
        &made,
        now + year,
    ));
    batch.put(made);
    Ok(())
}

/// What is left of an enrolment whose set-up is over.
fn enrolled(
    batch: &mut Batch,
    id: OrganisationId,
    device: &Device,
    runbook: RunbookId,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut channel = Enrollment::pending(
        id,
        EnrollmentId(device.number),
        device.udid.clone(),
        ChannelKind::Device,
        mdm_core::identity::sha256_hex(&device.der),
        now,
    );
    channel.state = EnrollmentState::Enrolled;
    channel.session = Some(SessionId(device.number));
    channel.device = Some(DeviceId(device.number));
    channel.serial = Some(Serial::parse(&device.serial)?);
    channel.enrolled = Some(now);
    channel.push = Some(PushTarget {
        topic: devices::TOPIC.to_owned(),
        token: format!("{:064x}", device.number),
        magic: format!("A5D3C1E2-0B7F-4E62-9D0B-{:012X}", device.number),
        since: now,
    });
    let mut row = row(id, device, now)?;
    row.enrollment = Some(channel.id);
    let verdict = judge(VerdictFacts {
        device: Some(&row),
        open_attempt: false,
    });
    let number = SetUpId(device.number);
    let mut set_up = SetUp::begin(
        id,
        number,
        &channel,
        Platform::Macos,
        None,
        runbook,
        verdict,
        now,
    );
    set_up.state = SetUpState::Ended(SetUpEnd::Proved);
    set_up.wake_at = None;
    batch.put(row).put(channel).put(set_up);
    Ok(())
}
