//! A small installation for tests of the service: a database file that a test may spoil, a clock that it moves, an Apple that
//! answers as told, and devices with identities of their own. Opens no socket.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part of it"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::enrollment::{EnrolSession, IssuedCertificate, PushTarget};
use mdm_core::error::{Error, PortError};
use mdm_core::evidence::pack::PackSink;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::{
    CertificateId, DeviceId, IdSource, MoveId, RunbookId, SecretId, Serial, ServerId, SessionId,
    SetUpId, WaveId,
};
use mdm_core::migration::{Move, SetUp};
use mdm_core::organisation::{Der, KeyedCertificate};
use mdm_core::sealed::SealedSecret;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::ports::testing::{AssignmentPart, account_of};
use mdm_core::service::ports::{
    Account, LockOutcome, Ports, PushIdentity, PushOutcome, Pusher, ServerCredential,
};
use mdm_core::service::{Answer, Mdm, MdmSettings, Org, Peer, Revealed};
use mdm_core::store::{Archive, ArchivedRow, Batch, SqliteStore, Store};
use mdm_core::vault::{EscrowVault, MasterKey};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use serde_json::{Value, json};

pub(crate) mod fleet;

const TOPIC: &str = "com.apple.mgmt.External.house";
/// 2026-12-10T09:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_796_893_200_000);

/// An Apple that locks devices, or not.
pub(crate) struct Apple {
    /// Answers to lock requests, the next one last; `None` is an answer that never comes.
    pub(crate) locks: Mutex<Vec<Option<LockOutcome>>>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// Lock requests wait for this, when it is there.
    pub(crate) hangs: Mutex<Option<Arc<tokio::sync::Semaphore>>>,
    /// What becomes of a push; `None`: there is nobody to push.
    pub(crate) pushes: Mutex<Option<PushOutcome>>,
    /// How many pushes there were.
    pub(crate) pushed: AtomicUsize,
    /// Pushes wait for this, when it is there.
    pub(crate) pushes_hang: Mutex<Option<Arc<tokio::sync::Semaphore>>>,
}

#[async_trait]
impl Pusher for Apple {
    async fn push(&self, _: &PushIdentity, _: &PushTarget) -> Result<PushOutcome, PortError> {
        self.pushed.fetch_add(1, Ordering::SeqCst);
        let hangs = self.pushes_hang.lock().unwrap().clone();
        if let Some(hangs) = hangs {
            let _ = hangs.acquire().await;
        }
        let outcome = self.pushes.lock().unwrap().clone();
        outcome.ok_or(PortError::Absent("push"))
    }
}

#[async_trait]
impl AssignmentPart for Apple {
    fn refusal(&self) -> PortError {
        PortError::retry("not today")
    }
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(account_of("Ours", "OURS"))
    }
    async fn lock(
        &self,
        _: &ServerCredential,
        _: &Serial,
        escrow_key: &str,
    ) -> Result<LockOutcome, PortError> {
        self.asked.lock().unwrap().push(escrow_key.to_owned());
        let hangs = self.hangs.lock().unwrap().clone();
        if let Some(hangs) = hangs {
            let _ = hangs.acquire().await;
        }
        match self.locks.lock().unwrap().pop().flatten() {
            Some(outcome) => Ok(outcome),
            None => Err(PortError::Unknown("the line went dead".to_owned())),
        }
    }
}

/// An evidence pack as it comes.
pub(crate) struct Bytes(pub(crate) Vec<u8>);

#[async_trait]
impl PackSink for Bytes {
    async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.0.extend(bytes);
        Ok(())
    }
}

pub(crate) struct House {
    pub(crate) mdm: Mdm,
    pub(crate) clock: ManualClock,
    pub(crate) apple: Arc<Apple>,
    pub(crate) ids: IdSource,
    pub(crate) server: ServerId,
    pub(crate) org: mdm_core::ids::OrganisationId,
    authority: (X509, PKey<Private>),
    master: Secret,
    folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("mdm.sqlite")).await;
        Self::built(Arc::new(store.unwrap()), folder).await
    }

    /// On another store than a file of its own.
    pub(crate) async fn over_store(store: Arc<dyn Store>) -> Self {
        Self::built(store, tempfile::tempdir().unwrap()).await
    }

    async fn built(store: Arc<dyn Store>, folder: tempfile::TempDir) -> Self {
        let clock = ManualClock::new(START);
        let apple = Arc::new(Apple {
            locks: Mutex::default(),
            asked: Mutex::default(),
            hangs: Mutex::default(),
            pushes: Mutex::default(),
            pushed: AtomicUsize::new(0),
            pushes_hang: Mutex::default(),
        });
        let master = MasterKey::generate().unwrap();
        let mdm = assemble(store, &clock, &apple, &master);
        let org = mdm
            .create_organisation("Acme", Vec::new())
            .await
            .unwrap()
            .org;
        let authority = authority();
        org.import_push(
            TOPIC,
            authority.0.to_der().unwrap(),
            START + Duration::from_hours(24 * 300),
            &Secret::new(authority.1.private_key_to_pkcs8().unwrap()),
        )
        .await
        .unwrap();
        let server = org
            .import_server_token(&Secret::from_text("{}"), None)
            .await
            .unwrap();
        let id = org.organisation().id;
        let mut row = mdm.store().organisation(id).await.unwrap().unwrap();
        row.identity_cas.push(KeyedCertificate {
            certificate: Der(authority.0.to_der().unwrap()),
            key: SecretId(0),
        });
        let mut batch = Batch::new();
        batch.put(row);
        mdm.store().commit(batch).await.unwrap();
        Self {
            mdm,
            clock,
            apple,
            ids: IdSource::new(9),
            server,
            org: id,
            authority,
            master,
            folder,
        }
    }

    /// A phone that is enrolled and has given its unlock token.
    pub(crate) async fn phone_with_token(&self, serial: &str) -> Gadget {
        let phone = self.device(serial).await;
        self.enrol(&phone).await;
        let token = format!(
            "<key>UnlockToken</key><data>{}</data>",
            STANDARD.encode("opens the passcode")
        );
        self.token_update(&phone, &token).await.unwrap();
        phone
    }

    /// The same installation after a restart: nothing is remembered but what is in the database.
    pub(crate) async fn restarted(self) -> Self {
        let store = SqliteStore::open(&self.folder.path().join("mdm.sqlite"))
            .await
            .unwrap();
        let mdm = assemble(Arc::new(store), &self.clock, &self.apple, &self.master);
        Self { mdm, ..self }
    }

    /// What a process leaves behind that has sealed the code of a lock and died before it asked.
    pub(crate) async fn seal_code(&self, gadget: &Gadget, set_up: SetUpId) {
        let vault = EscrowVault::new(MasterKey::new(self.master.clone()).unwrap());
        let org = self.org().await;
        let organisation = org.organisation();
        let report = org.device_report(&gadget.serial).await.unwrap();
        let (kind, device) = (SecretKind::ServerBypassCode, Some(report.device.id));
        let code = mdm_core::activation_lock::new_code().unwrap();
        let sealed = vault
            .seal(self.org, &organisation.data_key, kind, device, &code)
            .await
            .unwrap();
        let id = SecretId(set_up.0);
        let mut batch = Batch::new();
        batch.put(SealedSecret::new(
            self.org,
            id,
            kind,
            device,
            sealed,
            self.mdm.now(),
        ));
        self.mdm.store().commit(batch).await.unwrap();
    }

    /// An attempt for a device, with a runbook that is pinned. One that has an attempt keeps it.
    pub(crate) async fn attempt(&self, gadget: &Gadget, runbook: RunbookId) {
        let org = self.org().await;
        let mut device = org.device_report(&gadget.serial).await.unwrap().device;
        if device.open_move.is_some() {
            return;
        }
        let attempt = Move::plan(
            self.org,
            MoveId(self.next_id()),
            WaveId(1),
            device.id,
            gadget.serial.clone(),
            runbook,
            START + Duration::from_hours(30),
            START,
            None,
            START,
        );
        device.open_move = Some(attempt.id);
        let mut batch = Batch::new();
        batch.put(attempt).put(device);
        self.mdm.store().commit(batch).await.unwrap();
    }

    /// The file of the database.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("mdm.sqlite")
    }

    /// The same installation on another store.
    pub(crate) fn over(&self, store: impl Store + 'static) -> Mdm {
        assemble(Arc::new(store), &self.clock, &self.apple, &self.master)
    }

    /// Every file of the database.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// The handle as it is now.
    pub(crate) async fn org(&self) -> Org {
        self.mdm.organisation_by_id(self.org).await.unwrap()
    }

    pub(crate) fn next_id(&self) -> i64 {
        self.ids.next(self.mdm.now())
    }

    /// Works until nothing is left at this moment.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            if Box::pin(self.mdm.work(50)).await.unwrap() == 0 {
                return;
            }
        }
        panic!("the worker finds something to do for ever");
    }

    /// A statement on the database file, past every rule.
    pub(crate) async fn spoil(&self, sql: &str) -> u64 {
        use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.folder.path().join("mdm.sqlite"))
            .connect()
            .await
            .unwrap();
        connection
            .execute(AssertSqlSafe(sql.to_owned()))
            .await
            .unwrap()
            .rows_affected()
    }

    /// A device of the organisation with an identity of its own.
    pub(crate) async fn device(&self, serial: &str) -> Gadget {
        let now = self.mdm.now();
        let serial = Serial::parse(serial).unwrap();
        let mut device = match self
            .mdm
            .store()
            .device_by_serial(self.org, &serial)
            .await
            .unwrap()
        {
            Some(device) => device,
            None => Device::new(self.org, DeviceId(self.next_id()), serial.clone()),
        };
        let mut record = DeviceRecord::new(self.server, now);
        record.family = "iPhone".to_owned();
        device.record = Some(record);
        let (session, issued) = (SessionId(self.next_id()), CertificateId(self.next_id()));
        let key = key();
        let certificate = build(Some((&self.authority.0, &self.authority.1)), &key, issued.0);
        let der = certificate.to_der().unwrap();
        let until = now + Duration::from_hours(24 * 300);
        let code = format!("session {issued}");
        let challenge = sha256_hex(code.as_bytes());
        let mut enrol = EnrolSession::new(self.org, session, code, challenge, now, until);
        enrol.device = Some(device.id);
        enrol.serial = Some(serial.clone());
        enrol.awaits = Some(true);
        enrol.certificate = Some(issued);
        let hash = sha256_hex(&der);
        let row = IssuedCertificate::new(self.org, issued, hash, Der(der.clone()), &enrol, until);
        let mut batch = Batch::new();
        batch.put(device).put(enrol).put(row);
        self.mdm.store().commit(batch).await.unwrap();
        Gadget {
            udid: format!("00008140-{serial}"),
            serial,
            peer: peer(der),
            product: "iPhone17,2".to_owned(),
            certificate,
            key,
        }
    }

    /// What the SCEP door does for a device that shows the challenge of this profile: an identity in its session.
    pub(crate) async fn identity_for(&self, challenge: &str) -> (X509, PKey<Private>) {
        let store = self.mdm.store();
        let hash = sha256_hex(challenge.as_bytes());
        let session = store.session_by_challenge(self.org, &hash).await;
        let mut session = session.unwrap().expect("a session of this challenge");
        assert_eq!(session.certificate, None);
        let issued = CertificateId(self.next_id());
        let key = key();
        let certificate = build(Some((&self.authority.0, &self.authority.1)), &key, issued.0);
        let der = certificate.to_der().unwrap();
        session.certificate = Some(issued);
        let row = IssuedCertificate::new(
            self.org,
            issued,
            sha256_hex(&der),
            Der(der.clone()),
            &session,
            self.mdm.now() + Duration::from_hours(24 * 300),
        );
        let mut batch = Batch::new();
        batch.put(session).put(row);
        store.commit(batch).await.unwrap();
        (certificate, key)
    }

    /// An identity for a name by an authority that the organisation does not know; the authority first.
    pub(crate) fn identity_elsewhere(&self, common_name: &str) -> (Vec<u8>, (X509, PKey<Private>)) {
        let (above, key) = (key(), key());
        let authority = build(None, &above, 1);
        let leaf = named(Some((&authority, &above)), &key, 2, common_name);
        (authority.to_der().unwrap(), (leaf, key))
    }

    /// The row of the certificate that a device speaks with.
    pub(crate) async fn identity_of(&self, gadget: &Gadget) -> IssuedCertificate {
        let der = &gadget.peer.certificate.as_ref().unwrap().0;
        let store = self.mdm.store();
        let row = store.certificate_by_hash(self.org, &sha256_hex(der)).await;
        row.unwrap().expect("a certificate that we know")
    }

    pub(crate) async fn mac(&self, serial: &str) -> Gadget {
        let mut mac = self.device(serial).await;
        "Mac15,7".clone_into(&mut mac.product);
        mac
    }

    pub(crate) async fn check_in(&self, gadget: &Gadget, body: &str) -> Result<Answer, Error> {
        let body = gadget.plist(body);
        let org = self.org().await;
        // On the heap: a test that asks many times would not fit on its stack otherwise.
        Box::pin(org.check_in(&gadget.peer, &body)).await
    }

    pub(crate) async fn report(&self, gadget: &Gadget, body: &str) -> Result<Answer, Error> {
        let body = gadget.plist(body);
        let org = self.org().await;
        Box::pin(org.report(&gadget.peer, &body)).await
    }

    /// A report through a handle that somebody kept.
    pub(crate) async fn report_through(
        &self,
        org: &Org,
        gadget: &Gadget,
        body: &str,
    ) -> Result<Answer, Error> {
        Box::pin(org.report(&gadget.peer, &gadget.plist(body))).await
    }

    pub(crate) async fn authenticate(&self, gadget: &Gadget) -> Result<Answer, Error> {
        let body = format!(
            "<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>{TOPIC}</string>\
             <key>SerialNumber</key><string>{}</string><key>ProductName</key><string>{}</string>",
            gadget.serial, gadget.product
        );
        self.check_in(gadget, &body).await
    }

    pub(crate) async fn token_update(&self, gadget: &Gadget, more: &str) -> Result<Answer, Error> {
        let body = format!(
            "<key>MessageType</key><string>TokenUpdate</string><key>Topic</key><string>{TOPIC}</string>\
             <key>PushMagic</key><string>MAGIC</string><key>Token</key><data>AAECAwQFBgc=</data>{more}"
        );
        self.check_in(gadget, &body).await
    }

    /// Into the hold.
    pub(crate) async fn enrol(&self, gadget: &Gadget) {
        self.authenticate(gadget).await.unwrap();
        self.token_update(gadget, "<key>AwaitingConfiguration</key><true/>")
            .await
            .unwrap();
    }

    /// The document of every entry of the record about a device, as `what` and `detail`.
    pub(crate) async fn record(&self, gadget: &Gadget) -> Vec<(String, Value)> {
        let report = self
            .org()
            .await
            .device_report(&gadget.serial)
            .await
            .unwrap();
        report
            .timeline
            .into_iter()
            .map(|e| (e.what, e.detail))
            .collect()
    }
}

/// The set-up in which a device is, as people are shown it.
pub(crate) async fn set_up(house: &House, gadget: &Gadget) -> SetUp {
    let org = house.org().await;
    let report = org.device_report(&gadget.serial).await.unwrap();
    report.set_up.unwrap()
}

fn assemble(
    store: Arc<dyn Store>,
    clock: &ManualClock,
    apple: &Arc<Apple>,
    master: &Secret,
) -> Mdm {
    Mdm::new(
        store,
        EscrowVault::new(MasterKey::new(master.clone()).unwrap()),
        Arc::new(clock.clone()),
        Ports {
            assignment: apple.clone(),
            push: apple.clone(),
            ..Ports::refusing()
        },
        MdmSettings {
            device_url: "https://mdm.example.com".to_owned(),
            enrol_url: "https://enrol.example.com".to_owned(),
            sign_messages: false,
        },
    )
}

pub(crate) struct Gadget {
    pub(crate) serial: Serial,
    pub(crate) udid: String,
    pub(crate) peer: Peer,
    pub(crate) product: String,
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
}

impl Gadget {
    /// The same device with another identity.
    pub(crate) fn speaking(&self, (certificate, key): (X509, PKey<Private>)) -> Self {
        Self {
            serial: self.serial.clone(),
            udid: self.udid.clone(),
            peer: peer(certificate.to_der().unwrap()),
            product: self.product.clone(),
            certificate,
            key,
        }
    }

    /// The header with which it signs a message.
    pub(crate) fn signature(&self, body: &[u8]) -> String {
        let options = CMSOptions::DETACHED | CMSOptions::BINARY;
        let (certificate, key) = (Some(&*self.certificate), Some(&*self.key));
        let signed = CmsContentInfo::sign(certificate, key, None, Some(body), options).unwrap();
        STANDARD.encode(signed.to_der().unwrap())
    }

    pub(crate) fn plist(&self, body: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
             <key>UDID</key><string>{}</string>{body}</dict></plist>",
            self.udid
        )
        .into_bytes()
    }
}

/// `CommandUUID` and `RequestType` of an answer.
pub(crate) fn command(answer: &Answer) -> Option<(String, String)> {
    let Answer::Plist(bytes) = answer else {
        return None;
    };
    let text = std::str::from_utf8(bytes).unwrap();
    let string = |key: &str| {
        let (_, rest) = text.split_once(&format!("<key>{key}</key>"))?;
        let (_, rest) = rest.split_once("<string>")?;
        Some(rest.split_once("</string>")?.0.to_owned())
    };
    Some((string("CommandUUID")?, string("RequestType")?))
}

pub(crate) fn data(bytes: &[u8]) -> String {
    format!("<data>{}</data>", STANDARD.encode(bytes))
}

pub(crate) fn detail(value: &Value, key: &str) -> Value {
    value.get(key).cloned().unwrap_or(json!(null))
}

fn authority() -> (X509, PKey<Private>) {
    let key = key();
    (build(None, &key, 1), key)
}

fn key() -> PKey<Private> {
    PKey::ec_gen("prime256v1").unwrap()
}

fn peer(der: Vec<u8>) -> Peer {
    Peer {
        certificate: Some(Der(der)),
        signature: None,
        bearer: None,
        address: "192.0.2.1".to_owned(),
    }
}

fn build(by: Option<(&X509, &PKey<Private>)>, key: &PKey<Private>, serial: i64) -> X509 {
    let common = if by.is_some() { "device" } else { "House CA" };
    named(by, key, serial, common)
}

fn named(
    by: Option<(&X509, &PKey<Private>)>,
    key: &PKey<Private>,
    serial: i64,
    common: &str,
) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", common).unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_dec_str(&serial.to_string())
        .unwrap()
        .to_asn1_integer()
        .unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder
        .set_issuer_name(by.map_or(&*name, |(ca, _)| ca.subject_name()))
        .unwrap();
    let (from, until) = (START.as_secs() - 86_400, START.as_secs() + 400 * 86_400);
    builder
        .set_not_before(Asn1Time::from_unix(from).unwrap().as_ref())
        .unwrap();
    builder
        .set_not_after(Asn1Time::from_unix(until).unwrap().as_ref())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    if by.is_none() {
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
    } else {
        let usage = ExtendedKeyUsage::new().client_auth().build().unwrap();
        builder.append_extension(usage).unwrap();
    }
    builder
        .sign(by.map_or(key, |(_, ca)| ca), MessageDigest::sha256())
        .unwrap();
    builder.build()
}

/// Every row of a store, as a backup takes them out.
pub(crate) async fn rows(store: &impl Archive) -> Vec<ArchivedRow> {
    let (to, mut from) = tokio::sync::mpsc::channel(8);
    let taken = async {
        let mut rows = Vec::new();
        while let Some(row) = from.recv().await {
            rows.push(row);
        }
        rows
    };
    let (sent, rows) = tokio::join!(store.export(to), taken);
    assert_eq!(sent.unwrap(), rows.len() as u64);
    rows
}

/// What was shown.
pub(crate) fn revealed(it: Revealed) -> Secret {
    match it {
        Revealed::Shown(secret) => secret,
        Revealed::Waits(approval) => panic!("waits for approval {approval}"),
    }
}
