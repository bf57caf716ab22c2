//! A street for stories of sign-in: the world's provider, a real server beside it whose clock is the provider's, and browsers made
//! of a few lines. Holds no expectations.

#![allow(dead_code, reason = "each story uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fixtures::clock::{SECOND, WorldClock};
use fixtures::openid::{OpenIdConfig, OpenIdPerson, OpenIdProvider};
use fixtures::recorded::StandIns;
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::ids::OrganisationCode;
use mdm_core::secret::Secret;
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Duty, ListenerConfig};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509Builder;
use serde_json::{Value, json};

pub(crate) const START: i64 = 1_796_112_000_000;

struct StreetClock(WorldClock);

impl Clock for StreetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now_ms())
    }
}

/// Everything that the process has logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(move || writer.clone())
            .init();
        lines
    })
}

/// What was logged so far.
pub(crate) fn log() -> String {
    String::from_utf8_lossy(&lines().0.lock().unwrap()).into_owned()
}

/// Ada, who may do everything.
pub(crate) fn ada() -> OpenIdPerson {
    OpenIdPerson {
        subject: "7".to_owned(),
        email: "ada@world.test".to_owned(),
        name: "Ada & Co".to_owned(),
        groups: vec!["admins".to_owned(), "all".to_owned()],
    }
}

pub(crate) fn escape(text: &str) -> String {
    fixtures::http::percent_encode(text)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Provider, server, directory.
pub(crate) struct Street {
    pub(crate) provider: OpenIdProvider,
    pub(crate) app: App,
    pub(crate) clock: WorldClock,
    pub(crate) code: String,
    /// Token of its first administrator.
    pub(crate) admin: String,
    /// The file with the CA of the server.
    pub(crate) ca: String,
    /// Devices that trust the server.
    pub(crate) stand_ins: StandIns,
    directory: tempfile::TempDir,
}

impl Street {
    /// A server whose one organisation has Ada's provider.
    pub(crate) async fn open() -> Self {
        lines();
        let clock = WorldClock::new(START);
        let provider = OpenIdProvider::start(OpenIdConfig::new(clock.clone()))
            .await
            .unwrap();
        provider.sign_in_as(Some(ada()));
        let directory = tempfile::tempdir().unwrap();
        let anchor = mdmd::install::lay_out(directory.path(), "Street", "localhost").unwrap();
        let ca = directory.path().join("tls/provider.pem");
        std::fs::write(&ca, provider.ca_pem()).unwrap();
        let own = openssl::x509::X509::from_der(&anchor.0)
            .unwrap()
            .to_pem()
            .unwrap();
        let own_ca = directory.path().join("tls/street-ca.pem");
        std::fs::write(&own_ca, own).unwrap();
        let mut config = Config::for_directory(directory.path());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        config.listeners = [Duty::Device, Duty::Enrol, Duty::Admin]
            .map(|duty| ListenerConfig::new(any, duty))
            .into();
        config.public.device_url = "https://localhost:0".to_owned();
        config.public.enrol_url = "https://localhost:0".to_owned();
        config.limits.handshake_seconds = 120;
        config.limits.header_seconds = 120;
        config.sign_in.ca = Some(ca);
        let mut overrides = Overrides::default();
        overrides.clock = Some(Arc::new(StreetClock(clock.clone())));
        overrides.drive = Drive::Manual;
        let app = App::start(config, overrides).await.unwrap();
        let made = app
            .mdm
            .create_organisation("Street", vec![anchor.clone()])
            .await
            .unwrap();
        let street = Self {
            code: made.org.organisation().code.to_string(),
            admin: made.administrator_token.expose_text().unwrap().to_owned(),
            ca: own_ca.to_str().unwrap().to_owned(),
            stand_ins: StandIns::new(vec![anchor.0], START).unwrap(),
            provider,
            app,
            clock,
            directory,
        };
        let body = json!({
            "issuer": street.provider.issuer(), "client_id": street.provider.client_id(),
            "secret": street.provider.client_secret(), "scopes": ["profile", "email", "groups"],
            "roles": { "admins": "admin", "helpers": "helpdesk" },
        });
        let set = street
            .api("POST", "/api/v1/sign-in", &street.admin, &body.to_string())
            .await;
        assert_eq!(set.status, 200, "{}", set.text());
        street
    }

    /// Lets the organisation enrol devices.
    pub(crate) async fn with_devices(&self) {
        let code = OrganisationCode::parse(&self.code).unwrap();
        let org = self.app.mdm.organisation(&code).await.unwrap();
        org.trust_device_ca(self.stand_ins.authority().unwrap())
            .await
            .unwrap();
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut certificate = X509Builder::new().unwrap();
        certificate.set_pubkey(&key).unwrap();
        let ends = Asn1Time::from_unix(4_000_000_000).unwrap();
        certificate
            .set_not_before(&Asn1Time::from_unix(0).unwrap())
            .unwrap();
        certificate.set_not_after(&ends).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        org.import_push(
            "com.apple.mgmt.External.street",
            certificate.build().to_der().unwrap(),
            self.now() + Duration::from_secs(300 * 86_400),
            &Secret::new(key.private_key_to_pkcs8().unwrap()),
        )
        .await
        .unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now_ms())
    }

    /// Stops the server and the provider.
    pub(crate) async fn close(self) {
        self.app.shutdown().await.unwrap();
        self.provider.stop().await;
        drop(self.directory);
    }

    /// Lets time pass for server and provider.
    pub(crate) fn later(&self, seconds: i64) {
        self.clock
            .advance_to(self.clock.now_ms() + seconds * SECOND);
    }

    /// An address of the organisation at the enrolment door.
    pub(crate) fn path(&self, rest: &str) -> String {
        let port = self.app.address(Duty::Enrol).unwrap().port();
        format!("https://localhost:{port}/mdm/{}/{rest}", self.code)
    }

    pub(crate) fn admin_url(&self) -> String {
        let port = self.app.address(Duty::Admin).unwrap().port();
        format!("https://localhost:{port}")
    }

    /// One question to the administrative door.
    pub(crate) async fn api(&self, method: &str, path: &str, token: &str, body: &str) -> Reply {
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        if !token.is_empty() {
            headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
        }
        let url = format!("{}{path}", self.admin_url());
        send(method, &url, &headers, body.as_bytes()).await
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser {
            street: self,
            jar: BTreeMap::new(),
            set: Vec::new(),
        }
    }

    /// `mdmd login` as a person runs it, with a browser of ours.
    pub(crate) async fn login(&self, environment: &[(&str, &str)], place: &[&str]) -> Output {
        self.login_by(environment, place, async |address: String| {
            let mut browser = self.browser();
            let away = browser.get(&address).await;
            let back = browser.at_provider(&away).await;
            let home = browser.get(&back).await;
            let to = header(&home, "location").unwrap_or_else(|| panic!("{}", home.text()));
            let done = tokio::task::spawn_blocking(move || {
                let rest = to.strip_prefix("http://").unwrap();
                let (host, path) = rest.split_once('/').unwrap();
                let mut stream = TcpStream::connect(host).unwrap();
                write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            let done = done.await.unwrap();
            assert!(done.starts_with("HTTP/1.1 200"), "{done}");
        })
        .await
    }

    /// The same with somebody who opens the address that it prints.
    pub(crate) async fn login_by(
        &self,
        environment: &[(&str, &str)],
        place: &[&str],
        open: impl AsyncFnOnce(String),
    ) -> Output {
        let mut child = command(environment)
            .args(["login", "--no-browser", "--wait", "240", "--json"])
            .args(place)
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (address, said) = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            let mut reader = BufReader::new(stderr);
            while !said.lines().any(|l| l.starts_with("https://")) {
                assert!(reader.read_line(&mut said).unwrap() > 0, "{said}");
            }
            let address = said
                .lines()
                .find(|l| l.starts_with("https://"))
                .unwrap()
                .to_owned();
            let rest = std::thread::spawn(move || {
                let mut rest = said;
                let _ = reader.read_to_string(&mut rest);
                rest
            });
            (address, rest)
        })
        .await
        .unwrap();
        open(address).await;
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let mut output = output.await.unwrap();
        output.stderr = said.join().unwrap().into_bytes();
        output
    }
}

fn command(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command
        .env_remove("MDMD_TOKEN")
        .env_remove("MDMD_TOKEN_FILE")
        .env_remove("XDG_STATE_HOME")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A command as a person runs it.
pub(crate) fn run(
    _: &Street,
    environment: &[(&str, &str)],
    words: &[&str],
    place: &[&str],
) -> Output {
    let child = command(environment)
        .args(words)
        .args(place)
        .spawn()
        .unwrap();
    tokio::task::block_in_place(|| child.wait_with_output().unwrap())
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The first value of a header.
pub(crate) fn header(reply: &Reply, name: &str) -> Option<String> {
    let mut lines = reply.head.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

/// One request on a connection of its own. Who the server is does not matter to it.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Reply {
    let rest = url
        .strip_prefix("https://")
        .unwrap_or_else(|| panic!("{url}"));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, path) = (host.to_owned(), path.to_owned());
    let mut request = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend_from_slice(body);
    tokio::task::spawn_blocking(move || exchange(&host, &request))
        .await
        .unwrap()
}

fn exchange(host: &str, request: &[u8]) -> Reply {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    let (name, port) = host.rsplit_once(':').unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut stream = builder.build().connect(name, stream).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("an answer");
    let head = text(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Reply {
        status: status.expect("a status"),
        head,
        body: answer[end + 4..].to_vec(),
    }
}

/// A browser that keeps cookies of the server alone.
pub(crate) struct Browser<'a> {
    street: &'a Street,
    jar: BTreeMap<String, String>,
    /// Every cookie that was set, as it came.
    pub(crate) set: Vec<String>,
}

impl Browser<'_> {
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.jar.get(name).cloned()
    }

    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.jar.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) async fn get(&mut self, url: &str) -> Reply {
        self.ask("GET", url, Vec::new(), b"").await
    }

    pub(crate) async fn post(&mut self, url: &str, form: &str) -> Reply {
        let kind = "application/x-www-form-urlencoded".to_owned();
        let headers = vec![("Content-Type".to_owned(), kind)];
        self.ask("POST", url, headers, form.as_bytes()).await
    }

    pub(crate) async fn ask(
        &mut self,
        method: &str,
        url: &str,
        mut headers: Vec<(String, String)>,
        body: &[u8],
    ) -> Reply {
        if !self.jar.is_empty() {
            let all = self.jar.iter().map(|(k, v)| format!("{k}={v}"));
            headers.push(("Cookie".to_owned(), all.collect::<Vec<_>>().join("; ")));
        }
        let reply = send(method, url, &headers, body).await;
        for line in reply.head.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            if key.eq_ignore_ascii_case("set-cookie") {
                let value = value.trim();
                self.set.push(value.to_owned());
                let (name, rest) = value.split_once('=').unwrap();
                let kept = rest.split(';').next().unwrap();
                if value.contains("Max-Age=0") {
                    self.jar.remove(name);
                } else {
                    self.jar.insert(name.to_owned(), kept.to_owned());
                }
            }
        }
        reply
    }

    /// From our redirection to the provider to where that sends back.
    pub(crate) async fn at_provider(&mut self, away: &Reply) -> String {
        assert_eq!(away.status, 303, "{}", away.text());
        let to = header(away, "location").unwrap();
        assert!(to.starts_with(&self.street.provider.issuer()), "{to}");
        let answer = send("GET", &to, &[], b"").await;
        assert_eq!(answer.status, 302, "{}", answer.text());
        header(&answer, "location").unwrap()
    }

    /// Off from the page to the provider; where that sends back to.
    pub(crate) async fn leave(&mut self) -> String {
        let kept = self.jar.remove("__Host-mdmd-session");
        let page = self.street.path("sign-in");
        let away = self.get(&page).await;
        if let Some(kept) = kept {
            self.put("__Host-mdmd-session", &kept);
        }
        self.at_provider(&away).await
    }

    /// All the way to the page, or to where it ends before.
    pub(crate) async fn sign_in(&mut self) -> Reply {
        let back = self.leave().await;
        let home = self.get(&back).await;
        if home.status != 303 {
            return home;
        }
        let to = header(&home, "location").unwrap();
        let port = self.street.app.address(Duty::Enrol).unwrap().port();
        self.get(&format!("https://localhost:{port}{to}")).await
    }
}
