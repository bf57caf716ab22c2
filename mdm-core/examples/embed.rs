//! A vendor's server with the migration library inside: an in-memory store, ports, two endpoints, one line in a scheduler,
//! and the product itself, a wave. Opens no socket; what a vendor has already is played by the stand-ins under `support/`.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use mdm_core::clock::SystemClock;
use mdm_core::enrollment::PushTarget;
use mdm_core::error::PortError;
use mdm_core::ids::OrganisationCode;
use mdm_core::service::ports::{Ports, PushIdentity, PushOutcome, Pusher};
use mdm_core::service::{Mdm, Peer};
use mdm_core::store::SqliteStore;
use mdm_core::vault::EscrowVault;

// What a host supplies: here, how a device is woken. Every other port has a default that refuses.
struct OurPush(support::Pool);

#[async_trait]
impl Pusher for OurPush {
    async fn push(&self, _: &PushIdentity, to: &PushTarget) -> Result<PushOutcome, PortError> {
        self.0.wake(&to.topic, &to.token, &to.magic);
        Ok(PushOutcome::Delivered)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), support::Failure> {
    let pool = support::Pool::default();
    let mdm = Mdm::new(
        Arc::new(SqliteStore::in_memory().await?), // or a file, PostgreSQL, the vendor's own `Store`
        EscrowVault::new(support::OurKms::default()),
        Arc::new(SystemClock),
        Ports {
            push: Arc::new(OurPush(pool.clone())),
            ..support::apple()
        },
        support::settings(),
    );

    // Two endpoints of the vendor's own server: PUT /mdm/{org}/checkin and PUT /mdm/{org}/command.
    let check_in = async |org: &OrganisationCode, peer: &Peer, body: &[u8]| {
        mdm.organisation(org).await?.check_in(peer, body).await
    };
    let command = async |org: &OrganisationCode, peer: &Peer, body: &[u8]| {
        mdm.organisation(org).await?.report(peer, body).await
    };

    // The product: a plan, its what-if, a wave.
    let support::Customer { acme, plan, told } = support::customer(&mdm).await?;
    acme.import_originals("export", mdm.now(), told).await?;
    let wave = acme.plan_wave("first", plan.destination, &plan.runbooks, &plan.members);
    let wave = wave.await?;
    let what_if = acme.what_if(wave).await?;
    acme.accept(wave, &what_if.digest, &[], "").await?;
    acme.submit(wave, &what_if.digest, "an operator").await?;

    // One line in the vendor's own scheduler; `mdm.watch(50)` belongs into a task of its own.
    while mdm.work(50).await? > 0 {}

    // A device of that wave arrives, is woken by our push, and asks what to do.
    let device = support::Device::with_identity(&mdm, &acme, &plan).await?;
    device.enrols(&check_in).await?;
    while mdm.work(50).await? > 0 {}
    device.woken(&pool)?.tells(&acme, &command).await
}
