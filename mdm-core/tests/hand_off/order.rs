//! Bundles in another order than they were taken in: what was told later stays in force.

use mdm_core::hand_off::bundle;
use mdm_core::secret::{Secret, SecretKind};

use super::service_house::{House, START};
use super::{DAY, KEY, fleet, job, sealed, secret_of, signer, told};

const OTHER: &str = "WXYZ-EFGH-2345-ABCD-0000-1111";
const KIND: SecretKind = SecretKind::OriginalRecoveryKey;

#[tokio::test]
async fn an_older_bundle_takes_the_place_of_no_newer_key() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let signer = signer();
    let mut kept = Vec::new();
    for (days, key) in [(30, KEY), (60, OTHER), (10, KEY), (20, OTHER), (5, OTHER)] {
        let job = job(&org, &signer).await;
        let mut device = told(0);
        device.secrets.insert(KIND, Secret::from_text(key));
        let taken = START - DAY * days;
        let plain = bundle::write("Old MDM", taken, Some(job.id), &[device]).unwrap();
        let bundle = sealed(&job, &signer, &plain);
        let outcome = org.import_hand_off(job.id, bundle).await.unwrap();
        assert_eq!(outcome.accepted, 1, "{outcome:?}");
        let held = secret_of(&org, KIND).await.unwrap();
        kept.push(held.expose_text().unwrap().to_owned());
    }
    // Ten days old it is the same key said again, which is newer than what was told twenty days ago.
    assert_eq!(kept, [KEY, KEY, KEY, KEY, OTHER]);
}
