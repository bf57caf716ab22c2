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

/// Remembers who asked what, and answers with the body's length. `slow` bodies take a moment, `panic` panics, `much` gets
/// an answer that fits into no buffer.
#[derive(Default)]
pub(crate) struct Remembering {
    pub(crate) asked: Mutex<Vec<(String, Peer, Vec<u8>)>>,
}

impl Remembering {
    async fn take(&self, what: String, peer: &Peer, body: &[u8]) -> Result<Answer, Error> {
        self.asked
            .lock()
            .unwrap()
            .push((what, peer.clone(), body.to_vec()));
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
    async fn check_in(&self, _: &OrganisationCode, p: &Peer, b: &[u8]) -> Result<Answer, Error> {
        self.take("check-in".to_owned(), p, b).await
    }
    async fn report(&self, _: &OrganisationCode, p: &Peer, b: &[u8]) -> Result<Answer, Error> {
        self.take("report".to_owned(), p, b).await
    }
    async fn enrol(&self, _: &OrganisationCode, p: &Peer, b: &[u8]) -> Result<Answer, Error> {
        self.take("enrol".to_owned(), p, b).await
    }
    async fn accept_invitation(
        &self,
        _: &OrganisationCode,
        p: &Peer,
        code: &str,
    ) -> Result<Answer, Error> {
        self.take("invitation".to_owned(), p, code.as_bytes()).await
    }
    async fn acme_look(
        &self,
        _: &OrganisationCode,
        resource: &str,
        _: bool,
    ) -> Result<Answer, Error> {
        let nobody = Peer::default();
        self.take(format!("acme {resource}"), &nobody, b"").await
    }
    async fn acme(&self, _: &OrganisationCode, request: &AcmeRequest<'_>) -> Result<Answer, Error> {
        let nobody = Peer::default();
        let what = format!("acme {} {:?}", request.resource, request.name);
        self.take(what, &nobody, request.body).await
    }
    async fn scep(
        &self,
        _: &OrganisationCode,
        p: &Peer,
        operation: &str,
        b: &[u8],
    ) -> Result<Answer, Error> {
        self.take(format!("scep {operation}"), p, b).await
    }
    async fn may_send(&self, _: &OrganisationCode, _: &Peer, _: &str) -> Result<(), Error> {
        Ok(())
    }
    async fn unread(&self, _: &OrganisationCode, p: &Peer, door: &str, reason: &str) {
        let what = format!("unread {door}: {reason}");
        self.asked
            .lock()
            .unwrap()
            .push((what, p.clone(), Vec::new()));
    }
    async fn file(&self, _: &OrganisationCode, p: &Peer, name: &str) -> Result<Answer, Error> {
        self.take(format!("file {name}"), p, b"").await
    }
    async fn revocation_list(&self, _: &OrganisationCode, name: &str) -> Result<Answer, Error> {
        let nobody = Peer::default();
        self.take(format!("revocation list {name}"), &nobody, b"")
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
