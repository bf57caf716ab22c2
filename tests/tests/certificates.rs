//! The certificate of the listeners, from an authority that nobody here wrote: `pebble` (RFC 8555), which loses nonces and
//! certificates' names on purpose. Two servers on one database: one orders, the other answers the authority, both show what
//! was issued, and both show its successor. Skipped aloud where `pebble` is not installed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mdm_core::clock::{Clock as _, ManualClock, SystemClock};
use mdm_core::server_certificate::{INSTALLATION, ServerCertificate};
use mdm_core::service::Ports;
use mdm_core::store::testing::TestPostgres;
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig};
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use tests::Request;

/// What pebble gives a certificate.
const LIFE: Duration = Duration::from_hours(90 * 24);
/// Names of nobody: pebble asks its own name server, which leads every one to this machine.
const NAMES: [&str; 2] = ["enrol.example.com", "mdm.example.com"];
/// The account elsewhere of pebble's own example.
const MAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// An authority and its name server, for as long as it lives.
struct Pebble {
    children: Vec<Child>,
    directory: String,
    management: SocketAddr,
    /// Where it looks for proofs.
    looks_at: u16,
    own: tempfile::TempDir,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    loop {
        // The name server needs both kinds.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = port.local_addr().unwrap().port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Pebble {
    /// `None` where it is not installed.
    fn start(bound: bool) -> Option<Self> {
        for program in ["pebble", "pebble-challtestsrv"] {
            if Command::new(program).arg("-h").output().is_err() {
                eprintln!("\n*** SKIPPED: {program} is not here ***\n");
                return None;
            }
        }
        let own = tempfile::tempdir().unwrap();
        mdmd::install::lay_out(own.path(), "pebble", "localhost").unwrap();
        let [looks_at, listens, managed, names, manages] = std::array::from_fn(|_| free_port());
        let at = |port: u16| format!("127.0.0.1:{port}");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": at(listens),
            "managementListenAddress": at(managed),
            "certificate": own.path().join("tls/server.pem"),
            "privateKey": own.path().join("tls/server.key"),
            "httpPort": looks_at,
            "tlsPort": free_port(),
            "externalAccountBindingRequired": bound,
            "externalAccountMACKeys": { "kid-1": MAC_KEY },
            "certificateValidityPeriod": LIFE.as_secs(),
        }});
        let file = own.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let quiet = |command: &mut Command| {
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut name_server = Command::new("pebble-challtestsrv");
        name_server
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"])
            .args(["-dns01", &at(names), "-management", &at(manages)]);
        let mut authority = Command::new("pebble");
        authority
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &at(names)])
            // It waits before it looks, so that nobody relies on it, and refuses good nonces; every third here.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "30");
        let pebble = Self {
            children: vec![quiet(&mut name_server), quiet(&mut authority)],
            directory: format!("https://localhost:{listens}/dir"),
            management: SocketAddr::from((Ipv4Addr::LOCALHOST, managed)),
            looks_at,
            own,
        };
        let begun = Instant::now();
        for port in [listens, managed, names] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                assert!(begun.elapsed() < Duration::from_secs(20), "pebble starts");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Some(pebble)
    }

    /// The root that its certificates lead to.
    async fn root(&self) -> X509 {
        let answer = Request::new("GET", "/roots/0").send(self.management).await;
        X509::from_pem(&answer.body).unwrap()
    }
}

/// A server whose challenge listener is at `port` (0: anywhere), on this database.
async fn server(
    pebble: &Pebble,
    clock: &ManualClock,
    directory: &Path,
    port: u16,
    change: impl FnOnce(&mut Config),
) -> App {
    let mut config = Config::for_directory(directory);
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.listeners = vec![
        ListenerConfig::new(at(0), Duty::Device),
        ListenerConfig::new(at(0), Duty::Admin),
        ListenerConfig::new(at(port), Duty::Challenge),
    ];
    config.metrics.open_on_admin = true;
    config.tls.reload_seconds = 1;
    config.public.device_url = format!("https://{}", NAMES[1]);
    config.public.enrol_url = format!("https://{}", NAMES[0]);
    config.acme.directory = Some(pebble.directory.clone());
    config.acme.accept_terms = true;
    config.acme.contact = Some("operations@example.com".to_owned());
    config.acme.ca = Some(pebble.own.path().join("tls/ca.pem"));
    change(&mut config);
    let mut overrides = Overrides::default();
    overrides.ports = Some(Ports::refusing());
    overrides.drive = Drive::Manual;
    overrides.clock = Some(Arc::new(clock.clone()));
    App::start(config, overrides).await.unwrap()
}

/// The serial number of the certificate that a listener shows for this name, if it leads to this root.
fn shown(address: SocketAddr, name: &str, root: &X509) -> Option<String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.cert_store_mut().add_cert(root.clone()).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    // Refused unless chain and name are right.
    let stream = connector.build().connect(name, stream).ok()?;
    let certificate = stream.ssl().peer_certificate()?;
    let serial = certificate.serial_number().to_bn().unwrap();
    Some(serial.to_hex_str().unwrap().to_string())
}

/// The certificate that both names of this listener get, once it is another than `before`.
async fn waited_for(app: &App, root: &X509, before: Option<&str>) -> String {
    let address = app.address(Duty::Device).unwrap();
    let begun = Instant::now();
    loop {
        let root = root.clone();
        let all =
            tokio::task::spawn_blocking(move || NAMES.map(|name| shown(address, name, &root)));
        if let [Some(one), Some(other)] = all.await.unwrap()
            && Some(one.as_str()) != before
        {
            assert_eq!(one, other);
            return one;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "a certificate is shown"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn row(app: &App) -> Option<ServerCertificate> {
    let store = app.mdm.store();
    store
        .server_certificate(INSTALLATION, "listeners")
        .await
        .unwrap()
}

async fn figures(app: &App) -> String {
    let admin = app.address(Duty::Admin).unwrap();
    Request::new("GET", "/metrics").send(admin).await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_orders_another_answers_and_both_show_what_was_issued_and_its_successor() {
    let Some(mut pebble) = Pebble::start(false) else {
        return;
    };
    let postgres = TestPostgres::find().await;
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = match &postgres {
        Some(server) => server.database().await,
        None => format!("sqlite:{}", here.path().join("shared.sqlite").display()),
    };
    for directory in [here.path(), there.path()] {
        mdmd::install::lay_out(directory, "Test", "localhost").unwrap();
    }
    let key = "master.key";
    std::fs::copy(here.path().join(key), there.path().join(key)).unwrap();
    let clock = ManualClock::new(SystemClock.now());
    // Where the authority looks, somebody answers who orders nothing.
    let answers = server(&pebble, &clock, there.path(), pebble.looks_at, |config| {
        config.database = Database::new(&database);
        config.workers.enabled = false;
    })
    .await;
    let root = pebble.root().await;
    let own = answers.address(Duty::Device).unwrap();
    assert_eq!(shown(own, NAMES[1], &root), None, "before there is one");
    let orders = server(&pebble, &clock, here.path(), 0, |config| {
        config.database = Database::new(&database);
    })
    .await;

    let first = waited_for(&orders, &root, None).await;
    assert_eq!(waited_for(&answers, &root, None).await, first);
    for directory in [here.path(), there.path()] {
        let file = directory.join("acme/listeners.pem");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    }
    let issued = row(&orders).await.unwrap();
    assert_eq!(issued.failures, 0);
    assert!(issued.challenges.is_empty() && issued.ordering_until.is_none());
    // What lies in the database opens nothing: neither key is in it as it is.
    let lies = std::fs::read_to_string(here.path().join("acme/listeners.pem")).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pem(lies.as_bytes()).unwrap();
    let secret = key.ec_key().unwrap().private_key().to_vec();
    let sealed = &issued.current.as_ref().unwrap().key.0;
    assert!(!sealed.windows(secret.len()).any(|part| part == secret));
    let page = figures(&answers).await;
    let days = "mdmd_ends_in_days{what=\"listener_certificate\"} ";
    let left = page.lines().find_map(|line| line.strip_prefix(days));
    let left: f64 = left.unwrap_or_else(|| panic!("{page}")).parse().unwrap();
    assert!((89.0..=90.1).contains(&left), "{left}");

    // Nothing is ordered before it is time, and then once.
    clock.advance(LIFE * 2 / 3 - Duration::from_hours(1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(waited_for(&orders, &root, None).await, first);
    clock.advance(Duration::from_hours(2));
    let second = waited_for(&orders, &root, Some(&first)).await;
    assert_eq!(waited_for(&answers, &root, Some(&first)).await, second);
    let renewed = row(&orders).await.unwrap();
    assert_eq!(renewed.account, issued.account, "one account");
    assert_ne!(renewed.data_key.wrapped.0.len(), 0);
    assert_ne!(renewed.current, issued.current);

    // Without an authority everything stays as it is, and can be seen.
    for child in &mut pebble.children {
        child.kill().unwrap();
    }
    clock.advance(LIFE);
    let begun = Instant::now();
    while row(&orders).await.unwrap().failures == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "an order fails");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(row(&orders).await.unwrap().current, renewed.current);
    assert_eq!(waited_for(&orders, &root, None).await, second);
    let page = figures(&orders).await;
    for line in [
        "mdmd_certificate_orders_total{outcome=\"issued\"}",
        "mdmd_certificate_orders_total{outcome=\"failed\"}",
        "mdmd_certificate_order_failures 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    answers.shutdown().await.unwrap();
    orders.shutdown().await.unwrap();

    // A server that starts anew shows it from the first connection on, where its own file is lost too.
    std::fs::remove_dir_all(there.path().join("acme")).unwrap();
    let again = server(&pebble, &clock, there.path(), 0, |config| {
        config.database = Database::new(&database);
        config.workers.enabled = false;
    })
    .await;
    let address = again.address(Duty::Device).unwrap();
    assert_eq!(shown(address, NAMES[1], &root), Some(second));
    again.shutdown().await.unwrap();
    if let Some(server) = postgres {
        server.clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_wants_an_account_elsewhere_gets_its_signature() {
    let Some(pebble) = Pebble::start(true) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    mdmd::install::lay_out(directory.path(), "Test", "localhost").unwrap();
    let clock = ManualClock::new(SystemClock.now());
    let root = pebble.root().await;
    // Without one nothing is ordered, and what is missing is said.
    let app = server(&pebble, &clock, directory.path(), pebble.looks_at, |_| {}).await;
    let begun = Instant::now();
    while row(&app).await.is_none_or(|row| row.failures == 0) {
        assert!(begun.elapsed() < Duration::from_secs(30), "an order fails");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    app.shutdown().await.unwrap();
    clock.advance(Duration::from_hours(1));

    let file = directory.path().join("account.key");
    std::fs::write(&file, MAC_KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let app = server(
        &pebble,
        &clock,
        directory.path(),
        pebble.looks_at,
        |config| {
            config.acme.account_key_id = Some("kid-1".to_owned());
            config.acme.account_key_file = Some("account.key".into());
        },
    )
    .await;
    waited_for(&app, &root, None).await;
    // The listener for the authority has nothing for anybody else.
    let challenge = app.address(Duty::Challenge).unwrap();
    let said = tokio::task::spawn_blocking(move || {
        [
            "/",
            "/healthz",
            "/metrics",
            "/.well-known/acme-challenge/abc",
            "/.well-known/acme-challenge/..%2f",
        ]
        .map(|path| plainly(challenge, path))
    });
    for answer in said.await.unwrap() {
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    app.shutdown().await.unwrap();
}

/// An answer over plain HTTP.
fn plainly(address: SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
