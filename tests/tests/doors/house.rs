//! A server with its real doors, a few devices that it knows, and a client that may send anything. Holds no expectations.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fixtures::recorded::{Described, Form, StandIn, StandIns};
use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::ids::{AuditId, CommandId, DeviceId, Serial, ServerId, WaveId};
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;
use mdm_core::service::{Org, Ports};
use mdm_core::store::{Batch, Store};
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Duty, ListenerConfig};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use tests::{Log, Request};

pub(crate) const NOW_MS: i64 = 1_796_112_000_000;
pub(crate) const TOPIC: &str = "com.apple.mgmt.External.doors";
/// Stands in every bad body and must never be found in a log, an answer or a record.
pub(crate) const MARKER: &str = "c0ffeemarkerc0ffee";

/// What the whole process has logged.
pub(crate) fn captured() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::new();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(log.clone())
            .init();
        log
    })
}

/// A name that no other directory has.
#[allow(dead_code, reason = "not every story has one")]
fn rand_word() -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{count}")
}

/// A key with a certificate that nobody of ours issued.
pub(crate) fn stranger(name: &str) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let number = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&number).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    let (from, to) = (
        Asn1Time::from_unix(0).unwrap(),
        Asn1Time::from_unix(4_000_000_000).unwrap(),
    );
    builder.set_not_before(&from).unwrap();
    builder.set_not_after(&to).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// A request as bytes, with nothing checked.
#[derive(Clone, Default)]
pub(crate) struct Ask {
    pub(crate) path: String,
    pub(crate) post: bool,
    pub(crate) get: bool,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) announced: Option<usize>,
    pub(crate) certificate: Option<(X509, PKey<Private>)>,
}

/// One organisation of a running server.
pub(crate) struct House {
    pub(crate) app: Arc<App>,
    pub(crate) clock: ManualClock,
    pub(crate) org: Org,
    pub(crate) stand_ins: StandIns,
    /// Of its first administrator.
    pub(crate) token: String,
    /// The first of its devices.
    pub(crate) serial: &'static str,
    pub(crate) anchor: Der,
    _directory: Arc<tempfile::TempDir>,
}

pub(crate) fn described(serial: &str) -> Described {
    Described {
        serial: serial.to_owned(),
        udid: format!("UDID-{serial}"),
        product: "iPhone17,2".to_owned(),
        os_version: "26.1".to_owned(),
        build: "23B85".to_owned(),
    }
}

impl House {
    /// A server whose list has `DOORA` and `DOORB`.
    pub(crate) async fn open() -> Self {
        Self::open_with(Ports::refusing(), None).await
    }

    /// The same with other ports, and perhaps on a store that is there.
    #[allow(dead_code, reason = "not every story has its own")]
    pub(crate) async fn open_with(ports: Ports, store: Option<Arc<dyn Store>>) -> Self {
        captured();
        let directory = tempfile::tempdir().unwrap();
        let anchor = mdmd::install::lay_out(directory.path(), "Doors", "localhost").unwrap();
        let mut config = Config::for_directory(directory.path());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.listeners = vec![
            ListenerConfig::new(any, Duty::Device),
            ListenerConfig::new(any, Duty::Enrol),
            ListenerConfig::new(any, Duty::Admin),
        ];
        config.public.device_url = "https://localhost:0".to_owned();
        config.public.enrol_url = "https://localhost:0".to_owned();
        config.metrics.open_on_admin = true;
        config.limits.check_in_bytes = 256 * 1024;
        config.limits.command_bytes = 256 * 1024;
        config.limits.bodies_bytes = 8 * 1024 * 1024;
        config.packages.largest_bytes = 16 * 1024 * 1024;
        // Whoever is slow here is slow for the whole story.
        config.limits.handshake_seconds = 120;
        config.limits.header_seconds = 120;
        let mut overrides = Overrides::default();
        let now = Timestamp::from_millis(NOW_MS);
        let clock = ManualClock::new(now);
        overrides.clock = Some(Arc::new(clock.clone()));
        overrides.ports = Some(ports);
        overrides.store = store;
        overrides.drive = Drive::Manual;
        let app = App::start(config, overrides).await.unwrap();
        let app = Arc::new(app);
        Self::furnish(
            app,
            clock,
            anchor,
            Arc::new(directory),
            "Doors",
            ["DOORA", "DOORB"],
        )
        .await
    }

    /// Another process of the same installation, on this store, with these ports.
    #[allow(dead_code, reason = "not every story has one")]
    pub(crate) async fn process(&self, store: Arc<dyn Store>, ports: Ports) -> App {
        let own = self
            ._directory
            .path()
            .join(format!("process-{}", rand_word()));
        std::fs::create_dir_all(own.join("tls")).unwrap();
        for file in ["master.key", "tls/server.key", "tls/server.pem"] {
            std::fs::copy(self._directory.path().join(file), own.join(file)).unwrap();
        }
        let mut config = Config::for_directory(&own);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.listeners = vec![ListenerConfig::new(any, Duty::Admin)];
        config.public.device_url = "https://localhost:0".to_owned();
        config.public.enrol_url = "https://localhost:0".to_owned();
        let mut overrides = Overrides::default();
        overrides.clock = Some(Arc::new(self.clock.clone()));
        overrides.ports = Some(ports);
        overrides.store = Some(store);
        overrides.drive = Drive::Manual;
        App::start(config, overrides).await.unwrap()
    }

    /// Another organisation of the same server.
    pub(crate) async fn beside(&self, name: &str, serials: [&'static str; 2]) -> Self {
        let (app, directory) = (Arc::clone(&self.app), Arc::clone(&self._directory));
        let (clock, anchor) = (self.clock.clone(), self.anchor.clone());
        Self::furnish(app, clock, anchor, directory, name, serials).await
    }

    async fn furnish(
        app: Arc<App>,
        clock: ManualClock,
        anchor: Der,
        directory: Arc<tempfile::TempDir>,
        name: &str,
        serials: [&'static str; 2],
    ) -> Self {
        let now = Timestamp::from_millis(NOW_MS);
        let made = app
            .mdm
            .create_organisation(name, vec![anchor.clone()])
            .await
            .unwrap();
        let stand_ins = StandIns::new(vec![anchor.0.clone()], NOW_MS).unwrap();
        let org = made.org;
        org.trust_device_ca(stand_ins.authority().unwrap())
            .await
            .unwrap();
        let (certificate, key) = stranger("push");
        org.import_push(
            TOPIC,
            certificate.to_der().unwrap(),
            now + Duration::from_secs(86_400),
            &Secret::new(key.private_key_to_pkcs8().unwrap()),
        )
        .await
        .unwrap();
        let id = org.organisation().id;
        let mut batch = Batch::new();
        for (at, serial) in (1..).zip(serials) {
            let mut device = Device::new(id, DeviceId(at), Serial::parse(serial).unwrap());
            device.record = Some(DeviceRecord::new(ServerId(1), now));
            batch.put(device);
        }
        app.mdm.store().commit(batch).await.unwrap();
        let org = app.mdm.organisation_by_id(id).await.unwrap();
        let token = made.administrator_token.expose_text().unwrap().to_owned();
        Self {
            app,
            clock,
            org,
            stand_ins,
            token,
            serial: serials[0],
            anchor,
            _directory: directory,
        }
    }

    /// Stops the server; its last organisation does.
    pub(crate) async fn close(self) {
        let app = Arc::into_inner(self.app).expect("another organisation still uses the server");
        app.shutdown().await.unwrap();
    }

    /// Its data directory.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self._directory.path()
    }

    pub(crate) fn path(&self, door: &str) -> String {
        format!("/mdm/{}/{door}", self.org.organisation().code)
    }

    pub(crate) fn url(&self, door: &str) -> String {
        let port = self.app.address(Duty::Enrol).unwrap().port();
        format!("https://localhost:{port}{}", self.path(door))
    }

    /// A device with its certificate that has not authenticated.
    pub(crate) async fn invited(&self, serial: &str, number: u64) -> StandIn {
        let enrol = self.url("enrol");
        self.stand_ins
            .enrol(&enrol, &described(serial), number)
            .await
            .unwrap()
    }

    /// Its first device, enrolled, its first command handed out.
    pub(crate) async fn enrolled(&self) -> StandIn {
        let device = self.invited(self.serial, 1).await;
        for message in ["Authenticate", "TokenUpdate"] {
            let body = check_in(self.serial, message, "");
            let (status, _) = self.send(self.signed("checkin", &device, body)).await;
            assert_eq!(status, 200, "{message}");
        }
        let (status, command) = self.send(self.idle(&device)).await;
        assert_eq!(status, 200);
        assert!(
            command.contains("CommandUUID"),
            "an enrolled device has work"
        );
        device
    }

    pub(crate) fn signed(&self, door: &str, device: &StandIn, body: Vec<u8>) -> Ask {
        let signature = device.sign(&body, Form::Usual).unwrap();
        Ask {
            path: self.path(door),
            headers: vec![("Mdm-Signature", signature)],
            body,
            ..Ask::default()
        }
    }

    pub(crate) fn idle(&self, device: &StandIn) -> Ask {
        self.signed("command", device, report(self.serial, "Idle", ""))
    }

    /// Sends it on a connection of its own; the status and what came with it.
    pub(crate) async fn send(&self, ask: Ask) -> (u16, String) {
        let (status, body) = self.send_raw(ask).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn send_raw(&self, ask: Ask) -> (u16, Vec<u8>) {
        let duty = if ask.post { Duty::Enrol } else { Duty::Device };
        let address = self.app.address(duty).unwrap();
        let method = match (ask.post, ask.get) {
            (true, _) => "POST",
            (false, true) => "GET",
            (false, false) => "PUT",
        };
        let mut request = Request::new(method, &ask.path).with(ask.body);
        request.headers = ask.headers;
        request.certificate = ask.certificate;
        request.announced = ask.announced;
        let reply = request.send(address).await;
        (reply.status, reply.body)
    }

    /// All that the store has of this organisation but the record of refusals, and but what asking alone makes.
    pub(crate) async fn contents(&self) -> String {
        let (store, id) = (self.app.mdm.store(), self.org.organisation().id);
        let mut all = format!(
            "{:?}\n{:?}\n",
            store.audit(id, AuditId(0), 1000).await.unwrap(),
            store.jobs_waiting().await.unwrap()
        );
        all += &format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n",
            store.organisation(id).await.unwrap(),
            store.tokens(id).await.unwrap(),
            store.servers(id).await.unwrap(),
            store.waves(id, WaveId(0), 100).await.unwrap()
        );
        for device in store.devices(id, DeviceId(0), 100).await.unwrap() {
            all += &format!(
                "{device:?}\n{:?}\n",
                store.secrets(id, device.id).await.unwrap()
            );
            for channel in store.enrollments_of_device(id, device.id).await.unwrap() {
                all += &format!(
                    "{channel:?}\n{:?}\n{:?}\n",
                    store
                        .commands(id, channel.id, CommandId(i64::MAX), 100)
                        .await
                        .unwrap(),
                    store.set_up_of(id, channel.id).await.unwrap()
                );
            }
        }
        all
    }
}

pub(crate) fn plist(inner: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>{inner}</dict></plist>").into_bytes()
}

pub(crate) fn check_in(serial: &str, message: &str, more: &str) -> Vec<u8> {
    let own = match message {
        "Authenticate" => format!("<key>SerialNumber</key><string>{serial}</string>"),
        "TokenUpdate" => {
            "<key>PushMagic</key><string>magic</string><key>Token</key><data>AAEC</data>".to_owned()
        }
        "UserAuthenticate" => "<key>UserID</key><string>2E9B6E0C</string>".to_owned(),
        _ => String::new(),
    };
    plist(&format!(
        "<key>MessageType</key><string>{message}</string><key>UDID</key><string>UDID-{serial}</string>\
         <key>Topic</key><string>{TOPIC}</string>{own}{more}"
    ))
}

pub(crate) fn report(serial: &str, status: &str, more: &str) -> Vec<u8> {
    plist(&format!(
        "<key>Status</key><string>{status}</string><key>UDID</key><string>UDID-{serial}</string>{more}"
    ))
}
