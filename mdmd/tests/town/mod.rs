//! A town for stories of the command line: the simulated world, a real server in this process whose clock is the world's, and
//! the real binary as a person runs it. Time runs on by itself, many times faster than outside, so that a command that waits
//! for Apple waits for seconds.

// Each story uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::clock::{Clock, SystemClock, Timestamp};
use mdm_core::ids::OrganisationCode;
use mdm_core::service::Org;
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig};
use serde_json::Value;

/// Between two moments at which the town does what is due.
const STEP: Duration = Duration::from_millis(4);
/// The longest jump of its clock in one step.
const JUMP_MS: i64 = 5_000;

struct TownClock(fixtures::clock::WorldClock);

impl Clock for TownClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now_ms())
    }
}

/// World, server and directory.
pub(crate) struct Town {
    pub(crate) world: World,
    /// Its server, or the first of several.
    pub(crate) app: Arc<App>,
    /// The others: on the same database, each with a data directory of its own.
    pub(crate) others: Vec<Arc<App>>,
    pub(crate) directory: tempfile::TempDir,
    /// What `init` printed.
    pub(crate) made: Value,
    running: Arc<AtomicBool>,
}

impl Town {
    /// A world of so many devices and a server that `mdmd init` has laid out; no credential is in it yet.
    pub(crate) async fn found(devices: usize) -> Self {
        Self::with(WorldConfig::new(
            7,
            SystemClock.now().as_millis(),
            Fleet::Count(devices),
        ))
        .await
    }

    /// The same with a world of one's own.
    pub(crate) async fn with(config: WorldConfig) -> Self {
        Self::of(config, None, 1).await
    }

    /// So many servers on one PostgreSQL database.
    pub(crate) async fn several(devices: usize, url: &str, servers: usize) -> Self {
        let now = SystemClock.now().as_millis();
        let config = WorldConfig::new(7, now, Fleet::Count(devices));
        Self::of(config, Some(url), servers).await
    }

    async fn of(config: WorldConfig, url: Option<&str>, servers: usize) -> Self {
        let world = World::start(config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let set = url.map(|url| format!("database={url}"));
        let mut init = vec!["init", "--organisation", "Town", "--json"];
        if let Some(set) = &set {
            init.extend(["--set", set]);
        }
        let said = run(&data, &init, None);
        assert!(said.status.success(), "{}", text(&said.stderr));
        let made: Value = serde_json::from_slice(&said.stdout).unwrap();
        let mut apps = Vec::new();
        for nth in 0..servers {
            let own = match nth {
                0 => data.clone(),
                _ => directory.path().join(format!("data{nth}")),
            };
            if nth > 0 {
                // What an operator takes along for one more server: everything but the socket.
                let copied = Command::new("cp").arg("-r").args([&data, &own]).status();
                assert!(copied.unwrap().success());
                let _ = std::fs::remove_file(own.join("mdmd.sock"));
            }
            apps.push(serve(&world, &own, url).await);
        }
        let running = Arc::new(AtomicBool::new(true));
        for (nth, app) in apps.iter().enumerate() {
            let (app, running) = (Arc::clone(app), Arc::clone(&running));
            tokio::spawn(live(world.clone(), app, nth == 0, running));
        }
        let app = apps.remove(0);
        Self {
            world,
            app,
            others: apps,
            directory,
            made,
            running,
        }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A new file with this content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs the command beside the town's own life.
    pub(crate) async fn mdmd(&self, arguments: &[&str]) -> Ended {
        self.mdmd_with(arguments, None).await
    }

    /// Runs a command, its words between bars, that must end so and say so.
    pub(crate) async fn ends(&self, arguments: &str, exit: i32, says: &str) -> Ended {
        let words: Vec<&str> = arguments.split('|').collect();
        let ended = self.mdmd(&words).await;
        let all = format!("{}\n{}", ended.out, ended.err);
        assert_eq!(ended.exit, exit, "{arguments}: {all}");
        assert!(all.contains(says), "{arguments}: {all}");
        ended
    }

    /// Runs the command with something on standard input.
    pub(crate) async fn mdmd_with(&self, arguments: &[&str], input: Option<&[u8]>) -> Ended {
        let data = self.data();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let input = input.map(<[u8]>::to_vec);
        let output = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&data, &arguments, input.as_deref())
        });
        Ended::of(output.await.unwrap())
    }

    /// Runs the command as the holder of this token, through the administrative listener.
    pub(crate) async fn mdmd_by(&self, token: &str, arguments: &[&str]) -> Ended {
        self.mdmd_at(&self.app, token, arguments).await
    }

    /// The same at one of the town's servers.
    pub(crate) async fn mdmd_at(&self, app: &App, token: &str, arguments: &[&str]) -> Ended {
        let (data, token) = (self.data(), token.to_owned());
        let port = app.address(Duty::Admin).unwrap().port();
        let url = format!("https://localhost:{port}");
        let ca = data.join("tls/ca.pem").to_str().unwrap().to_owned();
        let mut arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        arguments.extend(["--url", &url, "--ca", &ca].map(str::to_owned));
        let output = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run_by(&data, &arguments, None, Some(&token))
        });
        Ended::of(output.await.unwrap())
    }

    /// A token of this role for these parts of the API.
    pub(crate) async fn token(&self, name: &str, role: &str, scopes: &[&str]) -> String {
        let mut arguments = vec!["api-token", "new", name, "--role", role];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        let made = self.json(&arguments).await;
        made["token"].as_str().unwrap().to_owned()
    }

    /// Runs a command with `--json` that must end well, and answers its JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let ended = self.mdmd(&all).await;
        assert_eq!(ended.exit, 0, "{arguments:?}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Brings in what a server needs of Apple: API account and a server token for the destination.
    pub(crate) async fn furnish(&self) {
        let account = self.world.apple().api_account();
        let key = self.file("api.key", account.private_key_pem.as_bytes());
        self.json(&[
            "business",
            "add",
            "--client-id",
            &account.client_id,
            "--key-id",
            &account.key_id,
            "--key",
            &key,
        ])
        .await;
        let token = self.token_file("furnish").await;
        self.json(&["token", "import", &token]).await;
        self.ready().await;
    }

    /// What a migration needs beside Apple's credentials: a push certificate, and that nobody knows the apps of these devices.
    async fn ready(&self) {
        let org = self.org().await;
        let until = self.app.mdm.now() + Duration::from_secs(300 * 86_400);
        let (topic, key) = (
            "com.apple.mgmt.External.town",
            mdm_core::secret::Secret::from_text("key"),
        );
        org.import_push(topic, b"certificate".to_vec(), until, &key)
            .await
            .unwrap();
        let rules = [
            "--unknown",
            "apps.mapped=warn",
            "--unknown",
            "apps.source=warn",
        ];
        let shown = self
            .json(&[&["organisation", "what-if"][..], &rules].concat())
            .await;
        let rows = shown["checks"].as_array().unwrap();
        assert_eq!(rows.iter().filter(|r| r["own_rule"] == "warn").count(), 2);
    }

    /// A server token of the destination, for a key pair just made; answers its file.
    pub(crate) async fn token_file(&self, name: &str) -> String {
        let out = self.directory.path().join(name);
        let key = self
            .json(&["token", "key", "--out", out.to_str().unwrap()])
            .await;
        let certificate = std::fs::read(key["certificate"].as_str().unwrap()).unwrap();
        let p7m = self
            .world
            .apple()
            .server_token(self.world.destination_server(), &certificate)
            .unwrap();
        self.file(&format!("{name}.p7m"), p7m)
    }

    /// Lets so many minutes of the town pass: longer than Apple takes to show a change everywhere.
    pub(crate) async fn minutes(&self, minutes: i64) {
        let end = self.world.clock().now_ms() + minutes * 60_000;
        while self.world.clock().now_ms() < end {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Its organisation, as a host has it.
    pub(crate) async fn org(&self) -> Org {
        let code = self.made["organisation"].as_str().unwrap();
        let code = OrganisationCode::parse(code).unwrap();
        self.app.mdm.organisation(&code).await.unwrap()
    }

    /// What the record says was done, oldest first: actor and deed.
    pub(crate) async fn record(&self) -> Vec<(String, String)> {
        let org = self.org().await;
        let id = org.organisation().id;
        let mut all = Vec::new();
        let mut after = mdm_core::ids::AuditId(0);
        loop {
            let page = self.app.mdm.store().audit(id, after, 500).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = last.id;
            all.extend(page.into_iter().map(|entry| (entry.actor, entry.what)));
        }
    }

    /// The serial numbers of its devices, in order.
    pub(crate) fn serials(&self) -> Vec<String> {
        self.world.identities().map(|i| i.serial.clone()).collect()
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

/// A server of this world's.
async fn serve(world: &World, data: &Path, url: Option<&str>) -> Arc<App> {
    let endpoints = world.apple().endpoints();
    let ca = data.join("tls/world.pem");
    std::fs::write(&ca, &endpoints.ca_pem).unwrap();
    let mut config = Config::for_directory(data);
    let any = "127.0.0.1:0".parse().unwrap();
    config.listeners = [Duty::Device, Duty::Enrol, Duty::Admin]
        .map(|duty| ListenerConfig::new(any, duty))
        .into();
    config.public.device_url = "https://localhost:0".to_owned();
    config.public.enrol_url = "https://localhost:0".to_owned();
    let push = endpoints.push.trim_start_matches("https://");
    let (host, port) = push.rsplit_once(':').unwrap();
    config.push.host = host.to_owned();
    config.push.port = port.parse().unwrap();
    config.push.ca = Some(ca.clone());
    config.apple.assignment_url = Some(endpoints.assignment.clone());
    config.apple.organisation_url = Some(endpoints.business.clone());
    config.apple.token_url = Some(endpoints.token.clone());
    config.apple.lock_url = Some(endpoints.lock_removal.clone());
    config.apple.apps_url = Some(endpoints.apps.clone());
    config.apple.ca = Some(ca);
    if let Some(url) = url {
        config.database = Database::new(url);
    }
    let mut overrides = Overrides::default();
    overrides.clock = Some(Arc::new(TownClock(world.clock().clone())));
    overrides.drive = Drive::Manual;
    Arc::new(App::start(config, overrides).await.unwrap())
}

/// Does what is due and, for one of them, lets time pass, for as long as the town stands.
async fn live(world: World, app: Arc<App>, first: bool, running: Arc<AtomicBool>) {
    while running.load(Ordering::Relaxed) {
        if first {
            world.run_due().await;
        }
        // A failed round is tried again, as the server's own workers do.
        let _ = app.mdm.work(500).await;
        let _ = app.mdm.watch(500).await;
        if first {
            world.deliver_pushes();
            let now = world.clock().now_ms();
            world.clock().advance_to(now + JUMP_MS);
        }
        tokio::time::sleep(STEP).await;
    }
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Its JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|e| panic!("{e}: {} {}", self.exit, self.err))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(data: &Path, arguments: &[&str], input: Option<&[u8]>) -> Output {
    run_by(data, arguments, input, None)
}

fn run_by(data: &Path, arguments: &[&str], input: Option<&[u8]>, token: Option<&str>) -> Output {
    use std::io::Write as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .env_remove("MDMD_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(token) = token {
        command.env("MDMD_TOKEN", token);
    }
    let mut child = command.spawn().unwrap();
    // A command that does not read its input is no failure of this side.
    let _ = child.stdin.take().unwrap().write_all(input.unwrap_or(b""));
    child.wait_with_output().unwrap()
}
