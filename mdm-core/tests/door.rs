//! The door for devices keeps the organisation from message to message. What another process changed is in force with the
//! next message all the same, and what is kept decides nothing by itself.

mod service_house;

use mdm_core::error::Error;
use mdm_core::store::Batch;
use service_house::House;

#[tokio::test]
async fn what_another_process_changed_is_in_force_with_the_next_message() {
    let house = House::new().await;
    let phone = house.device("C02DOOR").await;
    house.enrol(&phone).await;
    let code = house.org().await.organisation().code.clone();
    let idle = "<key>Status</key><string>Idle</string>";
    let kept = house.mdm.organisation_for_device(&code).await.unwrap();
    house.report_through(&kept, &phone, idle).await.unwrap();

    // Somebody else writes the row: its authority is no longer listed.
    let store = house.mdm.store();
    let id = kept.organisation().id;
    let mut row = store.organisation(id).await.unwrap().unwrap();
    let authorities = std::mem::take(&mut row.identity_cas);
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let still = house.mdm.organisation_for_device(&code).await.unwrap();
    for org in [&kept, &still] {
        let refused = house.report_through(org, &phone, idle).await;
        assert!(
            matches!(refused, Err(Error::BadInput { .. })),
            "{refused:?}"
        );
    }

    // And back again: an authority that this process has not seen yet is asked for before anybody is refused.
    let mut row = store.organisation(id).await.unwrap().unwrap();
    row.identity_cas = authorities;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let org = house.mdm.organisation_for_device(&code).await.unwrap();
    house.report_through(&org, &phone, idle).await.unwrap();
}

#[tokio::test]
async fn a_poll_stirs_nobody_and_an_enrolment_does() {
    let house = House::new().await;
    let phone = house.device("C02STIR").await;
    let _ = house.mdm.stirred();
    house.enrol(&phone).await;
    assert!(house.mdm.stirred(), "an enrolment leaves work");
    let idle = "<key>Status</key><string>Idle</string>";
    // The first fetches a command; the second finds it waiting for its answer.
    house.report(&phone, idle).await.unwrap();
    let _ = house.mdm.stirred();
    house.report(&phone, idle).await.unwrap();
    assert!(!house.mdm.stirred(), "a poll leaves nothing to do");
}
