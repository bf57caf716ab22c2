//! Our server as a process of its own on a temporary installation, with devices that are enrolled already because their
//! rows were written by the library. It is started and ended here; its log goes to a file, as it would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
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
use mdm_core::service::{Enqueued, Mdm, MdmSettings, Ports};
use mdm_core::store::Batch;
use mdm_core::vault::{EscrowVault, MasterKey};
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::requests::{DeviceInformation, Query};
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig, Network};

use crate::client::{self, Address};
use crate::devices::{self, Authority, Device};
use crate::options::Options;

/// Devices whose rows are written in one batch.
const SEEDED_AT_ONCE: usize = 250;

/// A running server.
pub(crate) struct House {
    directory: tempfile::TempDir,
    server: Child,
    /// A second process on the same database, as an operator's tool is; it opens no secret.
    mdm: Mdm,
    organisation: OrganisationId,
    pub(crate) address: Address,
    pub(crate) check_in_path: String,
    pub(crate) command_path: String,
}

/// What is written before the server starts.
pub(crate) struct Seed<'a> {
    pub(crate) authority: &'a Authority,
    /// Enrolled, nothing queued, set-up over.
    pub(crate) enrolled: &'a [Device],
    /// With a certificate from an enrolment session, about to authenticate.
    pub(crate) invited: &'a [Device],
}

impl House {
    /// Lays an installation out, writes the rows, starts the server and waits until it answers.
    pub(crate) async fn open(
        options: &Options,
        database: &str,
        seed: &Seed<'_>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let anchor = mdmd::install::lay_out(directory.path(), "Bench", "localhost")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let mut config = Config::for_directory(directory.path());
        config.database = Database::new(database);
        config.proxy.trusted = vec![Network::parse("127.0.0.1/32").context("a network")?];
        let any = ([127, 0, 0, 1], 0).into();
        config.listeners = vec![ListenerConfig::new(any, Duty::Plain)];
        let mut overrides = Overrides::default();
        overrides.drive = Drive::Manual;
        let app = App::start(config.clone(), overrides).await?;
        let (organisation, code) = rows(&app, anchor, seed).await?;
        app.shutdown().await?;

        let duty = if options.tls { "device" } else { "plain" };
        // The workers would talk to Apple. Nothing here leaves the machine.
        let text = format!(
            "workers.enabled = false\n[[listener]]\naddress = \"127.0.0.1:{port}\"\nduty = \"{duty}\"\n\
             [proxy]\ntrusted = [\"127.0.0.1/32\"]\ncertificate_header = \"client-cert\"\n"
        );
        std::fs::write(directory.path().join("mdmd.toml"), text)?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let server = Process::new(program(options)?)
            .arg("--data")
            .arg(directory.path())
            .arg("serve")
            // A URL with a password is for the environment.
            .env("MDMD_DATABASE", database)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the server cannot be started")?;
        let master = MasterKey::new(MasterKey::generate().map_err(anyhow::Error::msg)?);
        let mdm = Mdm::new(
            mdmd::app::open_store(&config).await?,
            EscrowVault::new(master.map_err(anyhow::Error::msg)?),
            Arc::new(SystemClock),
            Ports::refusing(),
            MdmSettings {
                device_url: config.public.device_url.clone(),
                enrol_url: config.public.enrol_url.clone(),
                sign_messages: true,
            },
        );
        let mut house = Self {
            directory,
            server,
            mdm,
            organisation,
            address: Address {
                host: "127.0.0.1".to_owned(),
                port,
                tls: options.tls,
            },
            check_in_path: format!("/mdm/{code}/checkin"),
            command_path: format!("/mdm/{code}/command"),
        };
        house.wait().await?;
        Ok(house)
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let alive = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
            if let Ok((200, _)) = client::once(&self.address, alive).await {
                return Ok(());
            }
            if let Some(ended) = self.server.try_wait()? {
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
    pub(crate) fn bytes(&self) -> u64 {
        let size = |name: &str| {
            std::fs::metadata(self.directory.path().join(name)).map_or(0, |file| file.len())
        };
        size("mdmd.sqlite") + size("mdmd.sqlite-wal")
    }

    /// Where a trial database may lie: on the same disk.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Queues one DeviceInformation for each device, by the library, and says how long that took until it was durable.
    pub(crate) async fn enqueue(&self, devices: &[Device], uuid: &str) -> anyhow::Result<Duration> {
        let body = CommandBody::DeviceInformation(DeviceInformation::of([
            Query::SerialNumber,
            Query::AwaitingConfiguration,
        ]));
        let channels: Vec<String> = devices.iter().map(|d| d.udid.clone()).collect();
        let org = self.mdm.organisation_by_id(self.organisation).await?;
        let begun = Instant::now();
        let answers = org.enqueue_many(&channels, uuid, &body, false).await?;
        let time = begun.elapsed();
        ensure!(
            answers.iter().all(|a| *a == Enqueued::Queued),
            "a device did not get its command"
        );
        Ok(time)
    }

    /// Ends the server in order.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.mdm.store().close().await?;
        let pid = self.server.id().to_string();
        let asked = Process::new("kill").args(["-TERM", &pid]).status()?;
        ensure!(asked.success(), "the server could not be told to end");
        let begun = Instant::now();
        while self.server.try_wait()?.is_none() {
            if begun.elapsed() > Duration::from_secs(20) {
                self.server.kill()?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // After an error nobody else ends it; one that has ended is no error here.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The server's program: the one that was named, or the one beside this one.
fn program(options: &Options) -> anyhow::Result<PathBuf> {
    if let Some(named) = &options.server {
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

async fn rows(app: &App, anchor: Der, seed: &Seed<'_>) -> anyhow::Result<(OrganisationId, String)> {
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
    for part in seed.invited.chunks(SEEDED_AT_ONCE) {
        let mut batch = Batch::new();
        for device in part {
            invited(&mut batch, id, device, now)?;
            batch.put(row(id, device, now)?);
        }
        store.commit(batch).await?;
    }
    Ok((id, code))
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
