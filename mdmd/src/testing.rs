//! What the tests of several modules need: certificates, a desk that remembers, a house on loopback ports.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::error::Error;
use mdm_core::ids::OrganisationCode;
use mdm_core::service::AcmeRequest;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use crate::config::{Config, Duty, ListenerConfig};
use crate::http::desk::{Answer, Desk, Peer};
use crate::http::edge::Edge;
use crate::http::{Front, Health, doors};
use crate::listen::House;
use crate::pki;
use crate::tls::Certificates;

/// A certificate of a fresh CA, or of the one given, for one name.
pub(crate) fn certificate(name: &str, ca: Option<&pki::Pair>) -> (X509, PKey<Private>) {
    let now = SystemClock.now();
    let fresh = pki::authority("some other CA", 30, now).unwrap();
    let pair = pki::server(ca.unwrap_or(&fresh), &[name.to_owned()], 30, now).unwrap();
    (pair.certificate, pair.key)
}

/// Runs so many cases, the same on every machine: a law that breaks is seen by everybody.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let config = Cases {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Cases::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Remembers who asked what, and answers with the body's length. `slow` bodies take a moment, `panic` panics, `much` gets
/// an answer that fits into no buffer.
#[derive(Default)]
pub(crate) struct Remembering {
    pub(crate) asked: Mutex<Vec<(String, Peer, Vec<u8>)>>,
    /// Whom each of these was for, in the same order.
    pub(crate) addressed: Mutex<Vec<OrganisationCode>>,
}

impl Remembering {
    fn note(&self, org: &OrganisationCode, what: String, peer: &Peer, body: &[u8]) {
        self.addressed.lock().unwrap().push(org.clone());
        let asked = (what, peer.clone(), body.to_vec());
        self.asked.lock().unwrap().push(asked);
    }

    async fn take(
        &self,
        org: &OrganisationCode,
        what: String,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        self.note(org, what, peer, body);
        match body {
            b"panic" => panic!("hunter2"),
            b"slow" => tokio::time::sleep(std::time::Duration::from_millis(300)).await,
            b"much" => return Ok(Answer::Plist(vec![b' '; 32 << 20])),
            b"bad" => return Err(Error::bad_input("UDID", "must be there")),
            b"unknown" => return Err(Error::NotFound("organisation")),
            _ => {}
        }
        Ok(Answer::Plist(body.len().to_string().into_bytes()))
    }
}

#[async_trait]
impl Desk for Remembering {
    async fn check_in(&self, o: &OrganisationCode, p: &Peer, b: &[u8]) -> Result<Answer, Error> {
        self.take(o, "check-in".to_owned(), p, b).await
    }
    async fn report(&self, o: &OrganisationCode, p: &Peer, b: &[u8]) -> Result<Answer, Error> {
        self.take(o, "report".to_owned(), p, b).await
    }
    async fn enrol(&self, o: &OrganisationCode, p: &Peer, b: &[u8]) -> Result<Answer, Error> {
        self.take(o, "enrol".to_owned(), p, b).await
    }
    async fn accept_invitation(
        &self,
        o: &OrganisationCode,
        p: &Peer,
        code: &str,
    ) -> Result<Answer, Error> {
        self.take(o, "invitation".to_owned(), p, code.as_bytes())
            .await
    }
    async fn acme_look(
        &self,
        o: &OrganisationCode,
        resource: &str,
        _: bool,
    ) -> Result<Answer, Error> {
        let nobody = Peer::default();
        self.take(o, format!("acme {resource}"), &nobody, b"").await
    }
    async fn acme(&self, o: &OrganisationCode, request: &AcmeRequest<'_>) -> Result<Answer, Error> {
        let nobody = Peer::default();
        let what = format!("acme {} {:?}", request.resource, request.name);
        self.take(o, what, &nobody, request.body).await
    }
    async fn scep(
        &self,
        o: &OrganisationCode,
        p: &Peer,
        operation: &str,
        b: &[u8],
    ) -> Result<Answer, Error> {
        self.take(o, format!("scep {operation}"), p, b).await
    }
    async fn may_send(&self, _: &OrganisationCode, _: &Peer, _: &str) -> Result<(), Error> {
        Ok(())
    }
    async fn unread(&self, o: &OrganisationCode, p: &Peer, door: &str, reason: &str) {
        let what = format!("unread {door}: {reason}");
        self.note(o, what, p, b"");
    }
    async fn file(&self, o: &OrganisationCode, p: &Peer, name: &str) -> Result<Answer, Error> {
        self.take(o, format!("file {name}"), p, b"").await
    }
    async fn revocation_list(&self, o: &OrganisationCode, name: &str) -> Result<Answer, Error> {
        let nobody = Peer::default();
        self.take(o, format!("revocation list {name}"), &nobody, b"")
            .await
    }
}

/// Listeners on loopback in front of a [`Remembering`] desk.
pub(crate) struct TestHouse {
    pub(crate) house: House,
    pub(crate) desk: Arc<Remembering>,
    pub(crate) ca: pki::Pair,
    pub(crate) addresses: Vec<(Duty, std::net::SocketAddr)>,
    pub(crate) directory: TempDir,
}

impl TestHouse {
    /// Opens the listeners; `change` may adjust the configuration before.
    pub(crate) async fn open(
        listeners: Vec<ListenerConfig>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemClock.now();
        let ca = pki::authority("our CA", 30, now).unwrap();
        let names = ["mdm.test", "enrol.test", "127.0.0.1"].map(str::to_owned);
        let server = pki::server(&ca, &names, 30, now).unwrap();
        write(
            directory.path(),
            "tls/server.pem",
            &server.certificate_pem().unwrap(),
        );
        write(
            directory.path(),
            "tls/server.key",
            &server.key_pem().unwrap(),
        );
        let mut config = Config::for_directory(directory.path());
        config.listeners = listeners;
        change(&mut config);
        let desk = Arc::new(Remembering::default());
        let front = Front {
            desk: Arc::clone(&desk) as Arc<dyn Desk>,
            limits: Arc::new(config.limits.clone()),
            proxy: Arc::new(config.proxy.clone()),
            public: Arc::new(config.public.clone()),
            edge: Arc::new(Edge::new(&config.limits, &config.proxy.trusted)),
            health: Arc::new(Health::default()),
            packages: Arc::new(crate::packages::Packages::new(&config)),
        };
        let none = Router::new;
        let doors = doors(&front, none(), none(), none());
        let house = House::new(&config, doors, Certificates::default());
        let bound = crate::listen::bind(&config, &mut Default::default())
            .await
            .unwrap();
        let addresses = house.accept_all(bound, &config.socket()).unwrap();
        Self {
            house,
            desk,
            ca,
            addresses,
            directory,
        }
    }

    pub(crate) fn address(&self, duty: Duty) -> std::net::SocketAddr {
        self.addresses.iter().find(|(d, _)| *d == duty).unwrap().1
    }
}

fn write(directory: &Path, name: &str, content: &[u8]) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
