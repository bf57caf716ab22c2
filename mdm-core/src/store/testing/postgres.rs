//! A PostgreSQL server for tests: the one that `MDMD_TEST_POSTGRES` names, or a private one on a loopback port that is
//! made from the programs found on this machine and removed afterwards.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// How often a server that starts is asked whether it is ready, every tenth of a second.
const TRIES: u32 = 600;

/// A server in which databases can be made.
#[derive(Debug)]
pub struct TestPostgres {
    /// How its administrator connects.
    server: PgConnectOptions,
    made: AtomicU32,
    /// Stopped and removed when this is dropped.
    private: Option<Private>,
}

impl TestPostgres {
    /// The server of the environment, or a private one. `None`, after a loud line on standard error, when there is
    /// neither.
    ///
    /// # Panics
    /// When `MDMD_TEST_POSTGRES` is no URL, or a private server cannot be started: a test should not pass for that.
    pub async fn find() -> Option<Self> {
        if let Ok(url) = std::env::var("MDMD_TEST_POSTGRES") {
            let server = PgConnectOptions::from_str(&url);
            let server = server.expect("MDMD_TEST_POSTGRES is a postgres:// URL");
            return Some(Self::over(server, None));
        }
        Self::private().await
    }

    /// A private server, whatever the environment says: one that may be killed. `None`, after a loud line on standard error, when
    /// its programs are not there.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn private() -> Option<Self> {
        Self::private_with(&[]).await
    }

    /// The same, with this in the environment of its processes.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn private_with(environment: &[(String, String)]) -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("\n*** SKIPPED: no PostgreSQL ***\n");
            return None;
        };
        let private = Private::start(&programs, environment);
        let private = private.expect("a private PostgreSQL starts");
        Some(Self::started(private).await)
    }

    /// Waits until it answers.
    async fn started(private: Private) -> Self {
        let server = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(private.port)
            .username("mdmd")
            .password(&private.password)
            .database("postgres");
        for _ in 0..TRIES {
            if let Ok(connection) = PgConnection::connect_with(&server).await {
                let _ = connection.close().await;
                return Self::over(server, Some(private));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("a private PostgreSQL does not answer: {}", private.log());
    }

    fn over(server: PgConnectOptions, private: Option<Private>) -> Self {
        Self {
            server,
            made: AtomicU32::new(0),
            private,
        }
    }

    /// Makes an empty database and returns the URL by which a store connects to it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn database(&self) -> String {
        let nth = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("mdmd_test_{}_{nth}", std::process::id());
        self.administer(format!("DROP DATABASE IF EXISTS {name}"))
            .await;
        self.administer(format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
        ))
        .await;
        self.server.clone().database(&name).to_url_lossy().into()
    }

    /// The same, by way of another port of this machine that leads here.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn database_by(&self, port: u16) -> String {
        let here = self.database().await;
        let here = PgConnectOptions::from_str(&here).expect("an address of ours");
        here.port(port).to_url_lossy().into()
    }

    /// Where it listens on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.get_port()
    }

    /// A replica of this private server. With `synchronous`, commits here wait for it from now on.
    ///
    /// # Panics
    /// When it cannot be made, or does not follow.
    pub async fn replica(&self, synchronous: bool) -> Self {
        let replica = self.mine().replica().expect("a replica starts");
        let replica = Self::started(replica).await;
        if synchronous {
            self.administer("ALTER SYSTEM SET synchronous_standby_names = '*'".to_owned())
                .await;
            self.administer("SELECT pg_reload_conf()".to_owned()).await;
        }
        let wanted = if synchronous { "sync" } else { "async" };
        for _ in 0..TRIES {
            let mut connection = self.connection().await;
            let follows: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1)",
            )
            .bind(wanted)
            .fetch_one(&mut connection)
            .await
            .expect("the test server says who follows");
            let _ = connection.close().await;
            if follows {
                return replica;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("a replica does not follow: {}", replica.mine().log());
    }

    /// Makes a replica the server that is written to.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn promote(&self) {
        let mut connection = self.connection().await;
        let done: bool = sqlx::query_scalar("SELECT pg_promote(true, 60)")
            .fetch_one(&mut connection)
            .await
            .expect("a replica is promoted");
        let _ = connection.close().await;
        assert!(done, "a replica is not promoted");
    }

    /// Kills all processes of this private server at once, as when its machine goes.
    ///
    /// # Panics
    /// When there is no `kill` on this machine.
    pub fn kill(&self) {
        self.signal("-KILL");
    }

    /// Stops all processes of this private server where they are, until [`resume`](Self::resume): it takes connections, and answers
    /// nothing.
    ///
    /// # Panics
    /// When there is no `kill` on this machine.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends what [`pause`](Self::pause) began.
    ///
    /// # Panics
    /// When there is no `kill` on this machine.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// The first process goes first: it would end the others in order, or start new ones.
    fn signal(&self, which: &str) {
        let first = self.mine().server.id();
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        let mut all = vec![first.to_string()];
        all.extend(children.split_whitespace().map(str::to_owned));
        // One that has ended meanwhile is no error.
        let asked = Command::new("kill")
            .arg(which)
            .args(all)
            .stderr(Stdio::null())
            .status();
        asked.expect("`kill` is on this machine");
    }

    fn mine(&self) -> &Private {
        self.private.as_ref().expect("a private server")
    }

    async fn connection(&self) -> PgConnection {
        let connection = PgConnection::connect_with(&self.server).await;
        connection.expect("the test server answers")
    }

    /// Runs a statement as the server's administrator: a setting of a database, for instance.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn administer(&self, sql: String) {
        let mut connection = self.connection().await;
        let done = sqlx::query(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        done.expect("the test server does as its administrator says");
        let _ = connection.close().await;
    }

    /// Removes the databases that were made in a server that stays. Connections to them are closed.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn clean(&self) {
        if self.private.is_some() {
            return;
        }
        for nth in 0..self.made.load(Ordering::Relaxed) {
            let name = format!("mdmd_test_{}_{nth}", std::process::id());
            self.administer(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                .await;
        }
    }
}

/// Where `initdb` and `postgres` are: in `PATH`, or where Debian puts them, the newest first.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|v| v.path()).collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        folders.extend(versions.into_iter().map(|v| v.join("bin")));
    }
    let found = folders
        .into_iter()
        .find(|f| f.join("initdb").is_file() && f.join("postgres").is_file())?;
    // Links in `PATH` may lead to some of the programs only; beside where they lead to are all.
    let real = std::fs::canonicalize(found.join("initdb")).ok()?;
    Some(real.parent()?.to_owned())
}

/// One of PostgreSQL's programs, for the data in this folder.
fn of(programs: &Path, program: &str, folder: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(programs.join(program));
    command
        .arg("-D")
        .arg(folder.join("data"))
        .current_dir(folder);
    if let Some((uid, gid)) = owner {
        use std::os::unix::process::CommandExt as _;
        command.uid(uid).gid(gid);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A running server and its folder.
#[derive(Debug)]
struct Private {
    server: Child,
    folder: tempfile::TempDir,
    port: u16,
    password: String,
    programs: PathBuf,
}

impl Private {
    fn start(programs: &Path, environment: &[(String, String)]) -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let owner = owner(folder.path())?;
        let mut random = [0_u8; 16];
        openssl::rand::rand_bytes(&mut random).map_err(std::io::Error::other)?;
        let password: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let word = folder.path().join("password");
        std::fs::write(&word, &password)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&word, Some(uid), Some(gid))?;
        }
        let made = of(programs, "initdb", folder.path(), owner)
            .args([
                "-U",
                "mdmd",
                "-E",
                "UTF8",
                "--locale=C",
                "-A",
                "scram-sha-256",
            ])
            .arg("--pwfile")
            .arg(&word)
            .stderr(Stdio::piped())
            .output()?;
        std::fs::remove_file(&word)?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(std::io::Error::other(why));
        }
        Self::launch(programs, environment, folder, owner, password)
    }

    /// Copies it while it runs, and has the copy follow.
    fn replica(&self) -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let owner = owner(folder.path())?;
        let copied = of(&self.programs, "pg_basebackup", folder.path(), owner)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "mdmd", "-w", "-R", "-X", "stream", "-c", "fast"])
            .env("PGPASSWORD", &self.password)
            .stderr(Stdio::piped())
            .output()?;
        if !copied.status.success() {
            let why = String::from_utf8_lossy(&copied.stderr).into_owned();
            return Err(std::io::Error::other(why));
        }
        let password = self.password.clone();
        Self::launch(&self.programs, &[], folder, owner, password)
    }

    fn launch(
        programs: &Path,
        environment: &[(String, String)],
        folder: tempfile::TempDir,
        owner: Option<(u32, u32)>,
        password: String,
    ) -> std::io::Result<Self> {
        // Free at this moment; taken by somebody else in the next, the server says so and the test fails.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(folder.path().join("log"))?;
        let server = of(programs, "postgres", folder.path(), owner)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""])
            .args(["-c", "max_connections=60"])
            .envs(environment.iter().cloned())
            .stderr(log)
            .spawn()?;
        Ok(Self {
            server,
            folder,
            port,
            password,
            programs: programs.to_owned(),
        })
    }

    fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(self.folder.path().join("log")) {
            let _ = file.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // SIGQUIT stops the server with all its processes at once. Without `kill` its own death must do.
        let pid = self.server.id().to_string();
        // One that was stopped where it was hears nothing before it goes on.
        let _ = Command::new("kill").args(["-CONT", &pid]).status();
        let asked = Command::new("kill").args(["-QUIT", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// PostgreSQL refuses to run as root: then somebody else has to own the folder.
fn owner(folder: &Path) -> std::io::Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(folder)?.uid() != 0 {
        return Ok(None);
    }
    let people = std::fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let mut fields = people.lines().map(|line| line.split(':'));
        let mut found = fields.find_map(|mut f| (f.next() == Some(name)).then_some(f))?;
        let uid = found.nth(1)?.parse().ok()?;
        let gid = found.next()?.parse().ok()?;
        Some((uid, gid))
    };
    let other = ids("postgres").or_else(|| ids("nobody"));
    let (uid, gid) = other.ok_or_else(|| std::io::Error::other("nobody but root"))?;
    std::os::unix::fs::chown(folder, Some(uid), Some(gid))?;
    Ok(Some((uid, gid)))
}
