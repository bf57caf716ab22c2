//! The server's own workers: a job that is due is done without anybody asking, a round that panics ends no loop, and who
//! stops the server waits for what it is at.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::device::Device;
use mdm_core::error::PortError;
use mdm_core::ids::{DeviceId, JobId, OrganisationId, Serial};
use mdm_core::job::{Job, JobKind};
use mdm_core::migration::Notice;
use mdm_core::service::Ports;
use mdm_core::service::ports::Notifier;
use mdm_core::store::{Batch, JobStore as _, SqliteStore, Store as _};
use mdmd::app::{App, Overrides};
use mdmd::config::{Config, Duty, ListenerConfig};

/// Panics at the first notice, and takes its time for those after it.
#[derive(Default)]
struct Slow {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

#[async_trait]
impl Notifier for Slow {
    async fn notify(&self, _: OrganisationId, _: &Serial, notice: Notice) -> Result<(), PortError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        assert!(notice != Notice::Offered, "panics on purpose");
        tokio::time::sleep(Duration::from_millis(800)).await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn start(directory: &Path, notifier: &Arc<Slow>) -> App {
    let mut config = Config::for_directory(directory);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listeners = vec![ListenerConfig::new(any, Duty::Device)];
    config.public.device_url = "https://localhost:0".to_owned();
    config.public.enrol_url = "https://localhost:0".to_owned();
    // Soon enough after the panic; what is due is not waited for so long.
    config.workers.fallback_seconds = 2;
    let mut overrides = Overrides::default();
    overrides.ports = Some(Ports {
        notifier: Arc::clone(notifier) as Arc<dyn Notifier>,
        ..Ports::refusing()
    });
    App::start(config, overrides).await.unwrap()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_jobs_are_done_over_a_panic_and_finished_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    mdmd::install::lay_out(directory.path(), "Workers", "localhost").unwrap();
    let notifier = Arc::new(Slow::default());
    let app = start(directory.path(), &notifier).await;
    let made = app.mdm.create_organisation("Workers", Vec::new()).await;
    let id = made.unwrap().org.organisation().id;
    let serial = Serial::parse("WORKERA").unwrap();
    let now = SystemClock.now();
    let notice = |n: i64, after: u64, notice| {
        let kind = JobKind::Notify {
            notice,
            device: DeviceId(1),
        };
        Job::new(id, JobId(n), now + Duration::from_secs(after), kind)
    };
    let mut batch = Batch::new();
    batch.put(Device::new(id, DeviceId(1), serial));
    batch.put(notice(1, 0, Notice::Offered));
    batch.put(notice(2, 3, Notice::Started));
    app.mdm.store().commit(batch).await.unwrap();
    let begun = |n| {
        let notifier = Arc::clone(&notifier);
        move || notifier.begun.load(Ordering::SeqCst) >= n
    };
    until("the job that panics", begun(1)).await;
    until("the job after the panic", begun(2)).await;
    // It is in the middle of the second one now.
    app.shutdown().await.unwrap();
    assert_eq!(notifier.ended.load(Ordering::SeqCst), 1);
    let store = SqliteStore::open(&directory.path().join("mdmd.sqlite"))
        .await
        .unwrap();
    // The one that panicked keeps its lease and is done again later; the other one is done.
    assert_eq!(store.jobs_waiting().await.unwrap(), 1);
    store.close().await.unwrap();
}
