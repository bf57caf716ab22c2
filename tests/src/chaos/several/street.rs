//! Several real servers on one PostgreSQL: each a process with a data directory of its own, all of them behind load balancers,
//! in the time of a simulated world and pointed to its Apple. Or one alone, on either database, in the fleet's own directory. Two organisations live there: that of the fleet, whose devices
//! are rows, and that of the world, whose devices migrate.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use abm_client::{ServerToken, TokenKeyPair};
use anyhow::{Context as _, ensure};
use fixtures::world::World;
use mdm_core::check::{Check, CheckResult};
use mdm_core::ids::OrganisationId;
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;
use mdm_core::service::{Mdm, Org};
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig};
use openssl::pkey::PKey;
use openssl::x509::X509;

use super::balancer::Balancer;
use super::older;
use crate::WorldTime;
use crate::fleet::client::{self, Address};
use crate::fleet::clock::ToldClock;
use crate::fleet::devices::TOPIC;
use crate::fleet::house::{House, Seed, Start};

/// How long a server may take until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(120);
const LEASE: &str = "MDMD_WORKERS_LEASE_SECONDS";
/// How long a job is kept from other servers without a renewal where the told time is so much faster than outside that the usual
/// length would be over while a server waits for its turn on a processor.
pub(super) const LONG: &str = "300";
/// Below the ports that connections go out from: nobody takes the port of a server while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    device: u16,
    enrol: u16,
    admin: u16,
}

struct Server {
    directory: PathBuf,
    ports: Ports,
    program: PathBuf,
    process: Option<Child>,
}

/// The servers, and what stands before them.
pub(super) struct Street {
    /// The fleet's installation, addressed through the balancers. Its own server never runs.
    pub(super) house: House,
    /// Administrator of the world's organisation.
    pub(super) token: String,
    organisation: OrganisationId,
    database: String,
    public: (u16, u16),
    servers: Vec<Server>,
    environment: Vec<(String, String)>,
    newer: PathBuf,
    lease: Option<&'static str>,
    /// Ended with the street.
    _balancers: Vec<Balancer>,
    _copies: tempfile::TempDir,
}

/// Which programs, and where their rows are.
pub(super) struct Plan<'a> {
    pub(super) servers: usize,
    /// The one that is tried.
    pub(super) program: PathBuf,
    /// What its processes' environment says beside the clock.
    pub(super) environment: Vec<(String, String)>,
    /// An older one that all begin as, and an empty database for its tables.
    pub(super) older: Option<(&'a Path, &'a str)>,
    /// An empty database; that of all servers where there is no older program.
    pub(super) database: &'a str,
    /// How many seconds a lease is; as it is by default where nothing is said.
    pub(super) lease: Option<&'static str>,
}

impl Street {
    pub(super) async fn lay(
        plan: Plan<'_>,
        world: &World,
        clock: Option<&ToldClock>,
        seed: &Seed<'_>,
    ) -> anyhow::Result<Self> {
        let mut house = House::lay(Start::default(), plan.database, seed).await?;
        let ports = (0..plan.servers).map(|_| ports());
        let ports: Vec<Ports> = ports.collect::<Result<_, _>>()?;
        let before = |which: fn(&Ports) -> u16| Balancer::open(ports.iter().map(which).collect());
        let (plain, device) = (before(|p| p.plain).await?, before(|p| p.device).await?);
        let (enrol, admin) = (before(|p| p.enrol).await?, before(|p| p.admin).await?);
        let public = (device.port, enrol.port);
        let (organisation, token) = furnish(world, &house, plan.database, public).await?;
        let database = match plan.older {
            Some((program, tables)) => {
                older::rows(program, &plan.environment, plan.database, tables).await?;
                tables
            }
            None => plan.database,
        };
        house.move_to(
            database,
            address(plain.port, false),
            address(admin.port, true),
        );
        let copies = tempfile::tempdir()?;
        let mut servers = Vec::new();
        for (nth, ports) in ports.into_iter().enumerate() {
            let directory = match plan.servers {
                // An embedded database lies in it.
                1 => house.folder().to_path_buf(),
                _ => copy(house.folder(), copies.path(), nth)?,
            };
            let text = configuration(world, ports, public)?;
            std::fs::write(directory.join("mdmd.toml"), text)?;
            servers.push(Server {
                directory,
                ports,
                program: plan.older.map_or(&*plan.program, |(old, _)| old).to_owned(),
                process: None,
            });
        }
        let mut environment = clock.map_or_else(Vec::new, ToldClock::environment);
        // A URL with a password is for the environment.
        environment.push(("MDMD_DATABASE".to_owned(), database.to_owned()));
        environment.extend(plan.environment);
        Ok(Self {
            house,
            token,
            organisation,
            database: database.to_owned(),
            public,
            servers,
            environment,
            newer: plan.program,
            lease: plan.lease,
            _balancers: vec![plain, device, enrol, admin],
            _copies: copies,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Where the API of one of them is, without a balancer.
    pub(super) fn admin(&self, nth: usize) -> Address {
        address(self.servers[nth].ports.admin, true)
    }

    /// Adds to the environment of the servers to come. A library is loaded beside those that are.
    pub(super) fn environment(&mut self, more: Vec<(String, String)>) {
        for (name, value) in more {
            let mut there = self.environment.iter_mut();
            match there.find(|(other, _)| *other == name && name == "LD_PRELOAD") {
                Some((_, libraries)) => *libraries = format!("{libraries}:{value}"),
                None => self.environment.push((name, value)),
            }
        }
    }

    /// Starts one, and does not wait.
    pub(super) fn begin(&mut self, nth: usize) -> anyhow::Result<()> {
        let server = &mut self.servers[nth];
        let log = File::options()
            .append(true)
            .create(true)
            .open(server.log())?;
        let mut environment = self.environment.clone();
        if let Some(lease) = self.lease
            && server.knows(LEASE, lease, &environment)?
        {
            environment.push((LEASE.to_owned(), lease.to_owned()));
        }
        let process = Command::new(&server.program)
            .arg("--data")
            .arg(&server.directory)
            .arg("serve")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| server.program.display().to_string())?;
        server.process = Some(process);
        Ok(())
    }

    /// Starts one and waits until it answers.
    pub(super) async fn start(&mut self, nth: usize) -> anyhow::Result<()> {
        self.begin(nth)?;
        let server = &mut self.servers[nth];
        let begun = Instant::now();
        let alive = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let at = address(server.ports.plain, false);
        while !matches!(client::once(&at, alive).await, Ok((200, _))) {
            if let Some(why) = server.ended()? {
                anyhow::bail!("server {} ended at its start: {why}", nth + 1);
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "server {} does not answer: {}",
                nth + 1,
                server.last_words()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills one, which has no say in it.
    pub(super) fn kill(&mut self, nth: usize) -> anyhow::Result<()> {
        let process = self.servers[nth].process.take();
        let mut process = process.context("it does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Sends a signal to one that runs.
    pub(super) fn signal(&self, nth: usize, signal: &str) -> anyhow::Result<()> {
        let process = self.servers[nth].process.as_ref();
        let pid = process.context("it does not run")?.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status()?;
        ensure!(sent.success(), "server {} cannot be sent {signal}", nth + 1);
        Ok(())
    }

    /// Stops one in order, and starts the newer program in its place.
    pub(super) async fn replace(&mut self, nth: usize) -> anyhow::Result<()> {
        self.stop(nth).await?;
        self.servers[nth].program.clone_from(&self.newer);
        self.start(nth).await
    }

    async fn stop(&mut self, nth: usize) -> anyhow::Result<()> {
        self.signal(nth, "-TERM")?;
        let process = self.servers[nth].process.take();
        let mut process = process.context("it does not run")?;
        let begun = Instant::now();
        while process.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                process.kill()?;
                process.wait()?;
                anyhow::bail!("server {} does not end when it is told to", nth + 1);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Why servers have ended though nobody told them to.
    pub(super) fn fallen(&mut self) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        for (nth, server) in self.servers.iter_mut().enumerate() {
            if let Some(why) = server.ended()? {
                all.push(format!("server {} ended by itself: {why}", nth + 1));
            }
        }
        Ok(all)
    }

    /// Stops all of them that run, in order.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        self.stop_all().await
    }

    async fn stop_all(&mut self) -> anyhow::Result<()> {
        for nth in 0..self.servers.len() {
            if self.servers[nth].process.is_some() {
                self.stop(nth).await?;
            }
        }
        Ok(())
    }

    /// Stops them, and opens the installation as they would, with everything that is sealed in it: for who looks into the vault of
    /// the world's organisation. Whoever has it shuts it down.
    pub(super) async fn inside(&mut self, world: &World) -> anyhow::Result<(App, Org)> {
        self.stop_all().await?;
        let app = open(world, &self.house, &self.database, self.public).await?;
        let org = app.mdm.organisation_by_id(self.organisation).await?;
        Ok((app, org))
    }

    /// Keeps the servers' logs there, for who looks for the cause of something.
    pub(super) fn keep_logs(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (nth, server) in self.servers.iter().enumerate() {
            std::fs::copy(server.log(), folder.join(format!("server{}.log", nth + 1)))?;
        }
        Ok(())
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        // After an error nobody else ends them; one that has ended is no error here.
        for process in self.servers.iter_mut().filter_map(|s| s.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Server {
    /// Whether its program, which may be an older one, has such a setting.
    fn knows(
        &self,
        variable: &str,
        value: &str,
        environment: &[(String, String)],
    ) -> anyhow::Result<bool> {
        let said = Command::new(&self.program)
            .arg("--data")
            .arg(&self.directory)
            .args(["config", "check"])
            .envs(environment.iter().cloned())
            .env(variable, value)
            .stdin(Stdio::null())
            .output()?;
        let refused = format!("{variable}: there is no such variable");
        let says = |text: &[u8]| String::from_utf8_lossy(text).contains(&refused);
        Ok(!says(&said.stdout) && !says(&said.stderr))
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn ended(&mut self) -> anyhow::Result<Option<String>> {
        let ended = match &mut self.process {
            Some(process) => process.try_wait()?,
            None => None,
        };
        Ok(ended.map(|status| format!("{status}: {}", self.last_words())))
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// What an operator takes along for one more server: everything but the socket.
fn copy(from: &Path, to: &Path, nth: usize) -> anyhow::Result<PathBuf> {
    let directory = to.join(format!("server{}", nth + 1));
    let copied = Command::new("cp")
        .arg("-r")
        .args([from, directory.as_path()])
        .status()?;
    ensure!(copied.success(), "a data directory cannot be copied");
    let _ = std::fs::remove_file(directory.join("mdmd.sock"));
    Ok(directory)
}

fn address(port: u16, tls: bool) -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        port,
        tls,
    }
}

fn ports() -> anyhow::Result<Ports> {
    Ok(Ports {
        plain: quiet_port()?,
        device: quiet_port()?,
        enrol: quiet_port()?,
        admin: quiet_port()?,
    })
}

/// A free port, never the same twice.
fn quiet_port() -> anyhow::Result<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let width = u32::from(PORTS.end - PORTS.start);
    // Programs that run side by side begin at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..width {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(start.wrapping_add(nth) % width)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free between {} and {}", PORTS.start, PORTS.end)
}

fn configuration(world: &World, ports: Ports, public: (u16, u16)) -> anyhow::Result<String> {
    let endpoints = world.apple().endpoints();
    let push = endpoints.push.trim_start_matches("https://");
    let (host, port) = push.rsplit_once(':').context("the push address")?;
    let listeners: String = [
        (ports.plain, "plain"),
        (ports.device, "device"),
        (ports.enrol, "enrol"),
        (ports.admin, "admin"),
    ]
    .map(|(port, duty)| {
        format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\nduty = \"{duty}\"\n")
    })
    .concat();
    Ok(format!(
        "{listeners}\
         [public]\ndevice_url = \"https://localhost:{}\"\nenrol_url = \"https://localhost:{}\"\n\
         [proxy]\ntrusted = [\"127.0.0.1/32\"]\ncertificate_header = \"client-cert\"\n\
         [limits]\nclient_requests = 0\nclient_connections = 0\n\
         [workers]\nfallback_seconds = 1\nwatchdog_seconds = 1\n\
         [push]\nhost = \"{host}\"\nport = {port}\nca = \"tls/world.pem\"\n\
         [apple]\nca = \"tls/world.pem\"\nassignment_url = \"{}\"\norganisation_url = \"{}\"\ntoken_url = \"{}\"\n\
         lock_url = \"{}\"\napps_url = \"{}\"\n",
        public.0,
        public.1,
        endpoints.assignment,
        endpoints.business,
        endpoints.token,
        endpoints.lock_removal,
        endpoints.apps
    ))
}

/// Makes the world's organisation and brings in what an operator would: push certificate, API account, server token, trust in
/// the world's devices. Answers which it is, and its administrator's token.
async fn furnish(
    world: &World,
    house: &House,
    database: &str,
    public: (u16, u16),
) -> anyhow::Result<(OrganisationId, String)> {
    let ca = house.folder().join("tls/world.pem");
    std::fs::write(ca, &world.apple().endpoints().ca_pem)?;
    let app = open(world, house, database, public).await?;
    let made = bring_in(world, &app, house).await;
    app.shutdown().await?;
    made
}

/// The installation in this process and in the world's time, without anybody who works.
async fn open(
    world: &World,
    house: &House,
    database: &str,
    public: (u16, u16),
) -> anyhow::Result<App> {
    let directory = house.folder();
    let endpoints = world.apple().endpoints();
    let mut config = Config::for_directory(directory);
    config.database = Database::new(database);
    let any = ([127, 0, 0, 1], 0).into();
    config.listeners = vec![ListenerConfig::new(any, Duty::Admin)];
    config.public.device_url = format!("https://localhost:{}", public.0);
    config.public.enrol_url = format!("https://localhost:{}", public.1);
    config.apple.assignment_url = Some(endpoints.assignment.clone());
    config.apple.organisation_url = Some(endpoints.business.clone());
    config.apple.token_url = Some(endpoints.token.clone());
    config.apple.ca = Some(PathBuf::from("tls/world.pem"));
    let mut overrides = Overrides::default();
    overrides.clock = Some(Arc::new(WorldTime(world.clock().clone())));
    overrides.drive = Drive::Manual;
    App::start(config, overrides).await
}

async fn bring_in(
    world: &World,
    app: &App,
    house: &House,
) -> anyhow::Result<(OrganisationId, String)> {
    let mdm = &app.mdm;
    let fleet = mdm.organisation_by_id(house.organisation()).await?;
    import_push(world, mdm, &fleet, TOPIC).await?;
    // Devices of the fleet come by themselves.
    world.apple().take_any_push(TOPIC);
    let anchor = X509::from_pem(&std::fs::read(house.folder().join("tls/ca.pem"))?)?;
    let made = mdm
        .create_organisation("World", vec![Der(anchor.to_der()?)])
        .await?;
    let id = made.org.organisation().id;
    let org = mdm.organisation_by_id(id).await?;
    let device_ca = X509::from_pem(world.device_ca_pem().as_bytes())?;
    org.trust_device_ca(device_ca.to_der()?).await?;
    import_push(world, mdm, &org, &world.apple().topic(1)).await?;
    let account = world.apple().api_account();
    let key = Secret::from_text(account.private_key_pem.as_str());
    org.import_api(&account.client_id, &account.key_id, &key)
        .await?;
    // Nobody has told which apps these devices have, and people have less time than an organisation gives them.
    let unknown = [Check::AppsMapped, Check::AppsSource, Check::AppsLicences];
    let warns = unknown.map(|check| (check, Some(CheckResult::Warn)));
    org.set_what_if(&warns.into(), Some(1)).await?;
    // A handle knows the organisation as it was when the handle was made.
    let org = mdm.organisation_by_id(id).await?;
    let pair = TokenKeyPair::generate("world", mdm.now().as_millis(), 365)?;
    let p7m = world.apple().server_token(
        world.destination_server(),
        pair.certificate_pem()?.as_bytes(),
    )?;
    let token = ServerToken::open(&p7m, &[pair])?;
    org.import_server_token(&Secret::new(token.to_json()?.expose()), None)
        .await?;
    let token = made.administrator_token.expose_text();
    Ok((id, token.context("a token is text")?.to_owned()))
}

async fn import_push(world: &World, mdm: &Mdm, org: &Org, topic: &str) -> anyhow::Result<()> {
    let (certificate, key) = world.apple().push_certificate(topic)?;
    let certificate = X509::from_pem(certificate.as_bytes())?.to_der()?;
    let key = PKey::private_key_from_pem(key.as_bytes())?.private_key_to_pkcs8()?;
    let until = mdm.now() + Duration::from_secs(364 * 86_400);
    org.import_push(topic, certificate, until, &Secret::new(key))
        .await?;
    Ok(())
}
