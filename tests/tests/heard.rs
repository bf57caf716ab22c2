//! A server that is stopped writes down who has spoken since it last did, and what the benchmark lays out and asks for is there.

use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::ids::DeviceId;
use tests::fleet::client;
use tests::fleet::devices::{self, Authority, KeyKind, Mode};
use tests::fleet::house::{House, Seed, Start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_writes_down_who_has_spoken() {
    let now = SystemClock.now();
    let authority = Authority::create(now).unwrap();
    let enrolled = devices::make(&authority, KeyKind::P256, 1, 2, now).unwrap();
    let seed = Seed {
        authority: &authority,
        enrolled: &enrolled,
        invited: &[],
        present: 3,
    };
    assert_eq!(seed.rows(), 25);
    // On the heap: whole servers are large for a test's stack.
    let laid = Box::pin(House::lay(Start::default(), "sqlite", &seed)).await;
    let mut house = laid.unwrap();
    let app = Box::pin(house.in_this_process()).await.unwrap();
    let writer = house.writer(Mode::Signature);
    let poll = |nth: usize| {
        let device = &enrolled[nth];
        writer.report(device, &devices::idle(device)).unwrap()
    };
    let answer = client::once(&house.address, &poll(0)).await.unwrap();
    assert_eq!(answer, (200, 0), "nothing waits for it");
    Box::pin(app.shutdown()).await.unwrap();

    let beside = house.beside().await.unwrap();
    let (store, org) = (beside.store(), house.organisation());
    let all = store.devices(org, DeviceId(0), 10).await.unwrap();
    let ids: Vec<DeviceId> = all.iter().map(|device| device.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5].map(DeviceId));
    let heard = store.last_heard(org, &ids).await.unwrap();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0].id, DeviceId(1));
    assert!(heard[0].at >= now, "{heard:?}");
    store.close().await.unwrap();

    // Commands for everybody by one request to the API, which devices then find.
    let app = Box::pin(house.in_this_process()).await.unwrap();
    let uuid = "BE4C0000-0000-4000-8000-000000000001";
    house.enqueue(&enrolled, uuid).await.unwrap();
    for nth in 0..enrolled.len() {
        let (status, length) = client::once(&house.address, &poll(nth)).await.unwrap();
        assert!(status == 200 && length > 0, "{status} with {length} bytes");
    }
    Box::pin(app.shutdown()).await.unwrap();
}
