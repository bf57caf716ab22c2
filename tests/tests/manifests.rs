//! The manifest of an app of one's own, from what somebody asks to what is said of it: a what-if names it, this server looks at it by itself,
//! and the next what-if tells what was there; what is taken away is told once it has failed twice.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fixtures::http::{Answer, Authority, Call, ClientCertificates, Reply, Server, acceptor};
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::ids::{DeviceId, SecretId, Serial, ServerId};
use mdm_core::migration::what_if::CheckFinding;
use mdm_core::migration::{AppAction, AppPlan, PinnedRunbook, Variant};
use mdm_core::organisation::Der;
use mdm_core::original::{OriginalApp, Said};
use mdm_core::service::{Detail, Mdm, Org, Ports, Question};
use mdm_core::store::Batch;
use mdm_core::wave::Server as Entry;
use mdmd::app::{App, Overrides};
use mdmd::config::{Config, Duty, ListenerConfig, Network};
use tokio::time::Instant;

const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const APP: &str = "com.example.own";
const ENTRY: ServerId = ServerId(900);
const MANIFEST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict><key>items</key><array><dict>\
    <key>assets</key><array><dict><key>kind</key><string>software-package</string><key>url</key>\
    <string>https://files.example.com/own.ipa</string><key>sha256-size</key><integer>1024</integer><key>sha256s</key>\
    <array><string>00</string></array></dict></array><key>metadata</key><dict><key>bundle-identifier</key>\
    <string>com.example.own</string><key>kind</key><string>software</string><key>title</key><string>Own</string></dict>\
    </dict></array></dict></plist>";

/// A server of files: how often it was asked, and whether the manifest is gone.
struct Files {
    server: Server,
    authority: Authority,
    asked: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

impl Files {
    async fn open() -> Self {
        let authority = Authority::new("Files").unwrap();
        let identity = authority.server(&[]).unwrap();
        let tls = acceptor(&identity, &[], ClientCertificates::None, &["http/1.1"]).unwrap();
        let (asked, gone) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, taken_away) = (Arc::clone(&asked), Arc::clone(&gone));
        let answer = move |call: Call| -> Answer {
            count.fetch_add(1, Ordering::SeqCst);
            let there = call.path == "/own.plist" && !taken_away.load(Ordering::SeqCst);
            let reply = match there {
                true => Reply::new(200, "application/xml", MANIFEST),
                false => Reply::empty(404),
            };
            Box::pin(async move { Some(reply) })
        };
        let server = Server::start(tls, Arc::new(answer)).await.unwrap();
        Self {
            server,
            authority,
            asked,
            gone,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// One iPhone at the old service, with the app.
async fn furnish(mdm: &Mdm, org: &Org) -> Serial {
    let serial = Serial::parse("C02OWNAPP").unwrap();
    let id = org.organisation().id;
    let mut device = Device::new(id, DeviceId(901), serial.clone());
    let mut reading = OrgReading::default();
    reading.seen = NOW;
    reading.assigned_server = Some("THEIRS".to_owned());
    reading.product = Some("iPhone17,1".to_owned());
    device.reading = Some(reading);
    let mut batch = Batch::new();
    batch.put(device);
    batch.put(Entry::new(id, ENTRY, "Ours", "OURS", SecretId(902)));
    mdm.store().commit(batch).await.unwrap();
    let mut said = Said::nothing(serial.clone());
    said.apps = Some(vec![OriginalApp::new(APP)]);
    let taken = org.import_originals("Old MDM", NOW, vec![said]).await;
    assert_eq!(taken.unwrap().changed, 1);
    serial
}

/// What the what-if says of the manifest.
async fn said_of(org: &Org, question: &Question) -> CheckFinding {
    let report = org.look_at(question, Detail::Everything).await.unwrap();
    let mut found = report.members[0].findings.iter();
    let found = found.find(|finding| finding.check == Check::AppsManifest);
    found.unwrap().clone()
}

/// Asks again until somebody has looked.
async fn until(org: &Org, question: &Question, result: CheckResult) -> CheckFinding {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let found = said_of(org, question).await;
        if found.result == result {
            return found;
        }
        assert!(Instant::now() < end, "{found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_what_if_tells_what_this_server_has_seen_of_a_manifest() {
    let files = Files::open().await;
    let directory = tempfile::tempdir().unwrap();
    let anchor = mdmd::install::lay_out(directory.path(), "Own", "localhost").unwrap();
    let mut config = Config::for_directory(directory.path());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listeners = vec![ListenerConfig::new(any, Duty::Admin)];
    config.public.device_url = "https://localhost:0".to_owned();
    config.public.enrol_url = "https://localhost:0".to_owned();
    config.packages.allowed_networks = Network::parse("127.0.0.0/8").into_iter().collect();
    // A front, which answers and does nothing else: it looks all the same, for what was seen is known to whoever has looked.
    config.workers.enabled = false;
    let clock = ManualClock::new(NOW);
    let mut overrides = Overrides::default();
    overrides.clock = Some(Arc::new(clock.clone()));
    overrides.ports = Some(Ports::refusing());
    let app = App::start(config, overrides).await.unwrap();
    let theirs = Der(files.authority.certificate().to_der().unwrap());
    let made = app.mdm.create_organisation("Own", vec![anchor, theirs]);
    let org = made.await.unwrap().org;
    let serial = furnish(&app.mdm, &org).await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.apps = vec![AppPlan {
        bundle_id: APP.to_owned(),
        store_id: None,
        manifest_url: Some(format!("https://{}/own.plist", files.server.address())),
        action: AppAction::Install,
    }];
    let question = Question {
        serials: vec![serial],
        destination: ENTRY,
        deadline: NOW + 9 * DAY,
        available_from: NOW + 2 * DAY,
        runbooks: BTreeMap::from([(Platform::Ios, runbook)]),
        undated: false,
    };

    // Nobody has looked, and by asking it is looked at.
    let unseen = said_of(&org, &question).await;
    assert!(
        !matches!(unseen.result, CheckResult::Pass | CheckResult::Block),
        "{unseen:?}"
    );
    let read = until(&org, &question, CheckResult::Pass).await;
    assert_eq!(read.at, Some(NOW), "{read:?}");
    let looks = files.asked();
    assert!(looks > 0);

    // It is taken away: one look that fails may be the moment, and a minute later it is told.
    files.gone.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(16 * 60));
    let end = Instant::now() + Duration::from_secs(60);
    while files.asked() == looks {
        assert!(Instant::now() < end, "nobody looks again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let still = said_of(&org, &question).await;
    assert_eq!(still.result, CheckResult::Pass, "{still:?}");
    clock.advance(Duration::from_secs(61));
    let gone = until(&org, &question, CheckResult::Block).await;
    assert!(gone.fact.contains("answers with 404"), "{gone:?}");

    app.shutdown().await.unwrap();
    files.server.stop().await;
}
