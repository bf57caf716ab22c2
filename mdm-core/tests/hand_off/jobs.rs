//! Jobs for hand-offs: each takes one bundle, once, and its key is destroyed; of bundles that are sealed to several it is known for which one
//! they were taken, for as long as another could open them; those of an agreement are told of until they have theirs.

use std::time::Duration;

use mdm_core::error::Error;
use mdm_core::hand_off::HandOffState;
use mdm_core::hand_off::bundle;
use mdm_core::hand_off::envelope::{KeyPair, sha256};
use mdm_core::ids::{HandOffId, HandOffPartId};
use mdm_core::service::{HandOffView, IdentitySettings, Org};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};

use super::service_house::{House, START};
use super::{DAY, bundle_for, fleet, job, openssl, signer, told, why};

#[tokio::test]
async fn a_job_is_used_once_and_its_key_is_destroyed() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let signer = signer();
    let job = job(&org, &signer).await;
    let bundle = bundle_for(&job, &signer, &[told(0)]);
    org.import_hand_off(job.id, bundle.clone()).await.unwrap();
    let again = why(&org, job.id, &bundle).await;
    assert!(again.contains("was used"), "{again}");
    let other = bundle_for(&job, &signer, &[told(0)]);
    let again = why(&org, job.id, &other).await;
    assert!(again.contains("was used"), "{again}");
    let id = org.organisation().id;
    let row = house
        .mdm
        .store()
        .hand_off(id, job.id)
        .await
        .unwrap()
        .unwrap();
    let key = house
        .mdm
        .store()
        .secret(id, row.key)
        .await
        .unwrap()
        .unwrap();
    assert!(key.sealed.0.is_empty() && key.destroyed.is_some());
    assert!(org.close_hand_off(job.id).await.is_err());
}

/// The second one comes as a whole between any two looks of the first: also when that one has read the job, and the key is gone that it is
/// about to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_imports_at_once_one_hears_that_the_job_was_used() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let signer = signer();
    let disk = SqliteStore::open(&house.path()).await.unwrap();
    let store = FailingStore::new(disk, 0, Moment::Before);
    let mdm = house.over(store.clone());
    let slow = mdm.organisation_by_id(house.org).await.unwrap();
    for nth in 1..100 {
        let job = job(&org, &signer).await;
        let bundle = bundle_for(&job, &signer, &[told(0)]);
        let (tell, heard) = std::sync::mpsc::channel();
        let (quick, same) = (org.clone(), bundle.clone());
        let id = job.id;
        store.between(nth, move || {
            let import = quick.import_hand_off(id, same);
            let done = || tokio::runtime::Handle::current().block_on(import);
            tell.send(tokio::task::block_in_place(done)).unwrap();
        });
        let one = slow.import_hand_off(job.id, bundle).await;
        let Ok(two) = heard.try_recv() else {
            // It looks no more often, and nobody came in between.
            assert!(one.is_ok() && nth > 4, "{nth}: {one:?}");
            return;
        };
        let refused = match (one, two) {
            (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
            both => panic!("{nth}: {both:?}"),
        };
        let said = refused.to_string();
        assert!(said.contains("the job was used at"), "{nth}: {said}");
        assert!(matches!(refused, Error::Precondition(_)), "{nth}");
        let state = org.hand_off(job.id).await.unwrap().state;
        assert!(matches!(state, HandOffState::Imported { .. }), "{state:?}");
    }
    panic!("a hundred looks are not enough for one import");
}

#[tokio::test]
async fn a_bundle_that_a_closed_job_had_begun_is_taken_for_no_other() {
    let (house, org, jobs, bundle) = kept_for_a_day().await;
    let (one, two) = (&jobs[0], &jobs[1]);
    // As it is after a crash between two commits.
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let mut row = store.hand_off(own, one.id).await.unwrap().unwrap();
    row.state = HandOffState::Importing {
        bundle: sha256(&bundle),
        since: START,
        done: 250,
        devices: 251,
    };
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    org.close_hand_off(one.id).await.unwrap();
    let said = why(&org, two.id, &bundle).await;
    assert!(said.contains("was taken for job"), "{said}");
    // It is known for as long as the other one may be open.
    house.settle().await;
    house.clock.advance(89 * DAY);
    house.settle().await;
    let left = org.hand_offs(HandOffId(0), 10).await.unwrap();
    let left: Vec<HandOffId> = left.iter().map(|job| job.id).collect();
    assert_eq!(left, [one.id, two.id]);
}

#[tokio::test]
async fn a_bundle_that_is_sealed_to_two_jobs_is_taken_for_one() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let signer = signer();
    let (one, two) = (job(&org, &signer).await, job(&org, &signer).await);
    let bundle = sealed_to_both(&one, &two, &signer);
    org.import_hand_off(one.id, bundle.clone()).await.unwrap();
    let said = why(&org, two.id, &bundle).await;
    assert!(said.contains("was taken for job"), "{said}");
}

/// A fleet of one whose used jobs are kept for a day, two jobs that are open for ninety, and a bundle that is sealed to both.
async fn kept_for_a_day() -> (House, Org, [HandOffView; 2], Vec<u8>) {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let keep = IdentitySettings {
        retention_days: Some(1),
        ..IdentitySettings::default()
    };
    org.set_identities(keep).await.unwrap();
    let signer = signer();
    let by = sha256(&signer.certificate);
    let made = async || {
        let made = org.new_hand_off("Old", START + 90 * DAY, Some(&by)).await;
        made.unwrap()
    };
    let jobs = [made().await, made().await];
    let bundle = sealed_to_both(&jobs[0], &jobs[1], &signer);
    (house, org, jobs, bundle)
}

/// A bundle that names no job, sealed to two.
fn sealed_to_both(one: &HandOffView, two: &HandOffView, signer: &KeyPair) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("one.pem"), &one.certificate).unwrap();
    std::fs::write(at.join("two.pem"), &two.certificate).unwrap();
    std::fs::write(at.join("signer.pem"), signer.certificate_pem()).unwrap();
    std::fs::write(at.join("signer.key"), signer.key_pem().unwrap().expose()).unwrap();
    let plain = bundle::write("Old", START, None, &[told(0)]).unwrap();
    std::fs::write(at.join("plain"), plain.expose()).unwrap();
    openssl(
        &[
            "cms", "-encrypt", "-binary", "-aes256", "-in", "plain", "-outform", "DER", "-out",
            "env", "one.pem", "two.pem",
        ],
        at,
    );
    openssl(
        &[
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-md",
            "sha256",
            "-in",
            "env",
            "-signer",
            "signer.pem",
            "-inkey",
            "signer.key",
            "-outform",
            "DER",
            "-out",
            "bundle",
        ],
        at,
    );
    std::fs::read(at.join("bundle")).unwrap()
}

#[tokio::test]
async fn a_used_job_is_cleared_away_once_no_other_can_open_its_bundle() {
    let (house, org, jobs, bundle) = kept_for_a_day().await;
    let (one, two) = (&jobs[0], &jobs[1]);
    org.import_hand_off(one.id, bundle.clone()).await.unwrap();
    let left = async || {
        house.settle().await;
        let jobs = org.hand_offs(HandOffId(0), 10).await.unwrap();
        jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    house.settle().await;
    house.clock.advance(89 * DAY);
    // Kept for a day only, and still there: the other key opens the same bundle.
    assert_eq!(left().await, [one.id, two.id]);
    let said = why(&org, two.id, &bundle).await;
    assert!(said.contains("was taken for job"), "{said}");
    house.clock.advance(3 * DAY);
    // The other one has expired, and its key is destroyed.
    assert_eq!(left().await, [two.id]);
    let said = why(&org, two.id, &bundle).await;
    assert!(said.contains("was closed by"), "{said}");
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let row = store.hand_off(own, two.id).await.unwrap().unwrap();
    let key = store.secret(own, row.key).await.unwrap().unwrap();
    assert!(key.sealed.0.is_empty() && key.destroyed.is_some());
    let said = why(&org, one.id, &bundle).await;
    assert!(said.contains("no such job"), "{said}");
    let parts = store.hand_off_parts(own, one.id, HandOffPartId(0), 10);
    assert_eq!(parts.await.unwrap(), Vec::new());
    // Nobody could ever open it again: that a job has one key, destroyed with it, is what keeps it so.
    house.clock.advance(2 * DAY);
    assert_eq!(left().await, Vec::new());
}

#[tokio::test]
async fn a_job_of_an_agreement_that_gets_no_bundle_is_told_of_again() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let signer = signer();
    let by = sha256(&signer.certificate);
    let until = START + DAY * 9;
    let source = org.agree_source("Old MDM", &by, until).await.unwrap();
    let ask = async || org.agreed_hand_off(source.id).await.unwrap();
    // Those who ask at once get a job each.
    let mut first = Vec::new();
    for _ in 0..5 {
        first.push(ask().await.id);
    }
    first.sort();
    first.dedup();
    assert_eq!(first.len(), 5);
    // Nobody can bring a bundle for hours, and all of them ask again and again: no job more, and no end of the agreement's room.
    for _ in 0..40 {
        house.clock.advance(Duration::from_mins(10));
        for _ in 0..5 {
            assert!(first.contains(&ask().await.id));
        }
    }
    // One that gets its bundle is told of no more, and neither is one that ends soon.
    house.clock.advance(Duration::from_mins(10));
    let next = ask().await;
    let bundle = bundle_for(&next, &signer, &[told(0)]);
    let taken = org.take_agreed(source.id, next.id, bundle).await.unwrap();
    assert_eq!(taken.accepted, 1, "{taken:?}");
    house.clock.advance(Duration::from_mins(10));
    for _ in 0..4 {
        let again = ask().await.id;
        assert!(first.contains(&again) && again != next.id);
    }
    let more = ask().await.id;
    assert!(!first.contains(&more));
    house.clock.advance(DAY - Duration::from_mins(7 * 60 + 30));
    assert!(!first.contains(&ask().await.id));
}
