//! A row that cannot be read, in a server that runs: whoever asks for it is told that it failed, whoever asks for a list that it is in
//! has the rest, the log names table, column and key and nothing of what stands there, and everything else is answered.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use house::{House, check_in};
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::ids::{DeviceId, Serial, ServerId, SetUpId};
use mdm_core::migration::SetUpState;
use mdm_core::store::Batch;
use mdmd::config::Duty;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tests::Request;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_row_is_told_by_its_address_and_costs_nobody_else_anything() {
    let house = House::open().await;
    let other = house.beside("Other", ["CORRUPTA", "CORRUPTB"]).await;
    let organisation = house.org.organisation().id;
    let mut database = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(house.directory().join("mdmd.sqlite"))
        .connect()
        .await
        .unwrap();
    let sql = format!(
        "UPDATE devices SET doc = '{{\"serial\": \"PRIVATE' WHERE organisation = {organisation} AND id = 1"
    );
    let met = database.execute(AssertSqlSafe(sql)).await.unwrap();
    assert_eq!(met.rows_affected(), 1);
    let mark = house::captured().mark();
    let admin = house.app.address(Duty::Admin).unwrap();
    let get = |path: &str, token: &str| Request::new("GET", path).by(token).send(admin);

    let bad = get("/api/v1/devices/DOORA", &house.token).await;
    assert_eq!(bad.status, 500, "{}", bad.text());
    assert!(!bad.text().contains("PRIVATE"), "{}", bad.text());
    // Whoever asks is told which row is to be mended.
    assert!(bad.text().contains("devices.doc, key"), "{}", bad.text());
    let log = house::captured().since(mark);
    let address = format!("corrupt row in devices.doc, key {organisation}/1");
    assert!(log.contains(&address), "{log}");
    assert!(!log.contains("PRIVATE"), "{log}");

    let beside = get("/api/v1/devices/DOORB", &house.token).await;
    assert_eq!(beside.status, 200, "{}", beside.text());
    for path in ["/api/v1/devices", "/api/v1/devices/CORRUPTA"] {
        let elsewhere = get(path, &other.token).await;
        assert_eq!(elsewhere.status, 200, "{path}: {}", elsewhere.text());
        assert!(elsewhere.text().contains("CORRUPTA"), "{path}");
    }
    drop(other);
    house.close().await;
}

const WAITS: &str = "<key>AwaitingConfiguration</key><true/>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_a_bad_row_has_the_others_and_the_watchdog_releases_them_on_time() {
    let house = House::open().await;
    let (id, store) = (house.org.organisation().id, house.app.mdm.store());
    let mut third = Device::new(id, DeviceId(3), Serial::parse("DOORC").unwrap());
    third.record = Some(DeviceRecord::new(ServerId(1), house.app.mdm.now()));
    let mut batch = Batch::new();
    batch.put(third);
    store.commit(batch).await.unwrap();
    for (number, serial) in (1..).zip(["DOORA", "DOORB", "DOORC"]) {
        let device = house.invited(serial, number).await;
        for (message, more) in [("Authenticate", ""), ("TokenUpdate", WAITS)] {
            let body = check_in(serial, message, more);
            let (status, said) = house.send(house.signed("checkin", &device, body)).await;
            assert_eq!(status, 200, "{serial} {message}: {said}");
        }
    }
    let held = store.holds(id, None, 10).await.unwrap();
    assert_eq!(held.len(), 3);
    let ceiling = held.iter().filter_map(|hold| hold.ceiling_at).max();
    let admin = house.app.address(Duty::Admin).unwrap();
    let get = |path: &'static str| Request::new("GET", path).by(&house.token).send(admin);
    let all = get("/api/v1/devices").await;
    assert!(!all.head.contains("unreadable-rows"), "{}", all.head);

    let mut database = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(house.directory().join("mdmd.sqlite"))
        .connect()
        .await
        .unwrap();
    for sql in [
        format!("UPDATE devices SET doc = '{{' WHERE organisation = {id} AND serial = 'DOORB'"),
        format!(
            "UPDATE set_ups SET doc = '{{' WHERE organisation = {id} AND doc LIKE '%\"DOORB\"%'"
        ),
        format!(
            "UPDATE audit SET doc = '{{' WHERE organisation = {id} AND id = (SELECT min(id) FROM audit WHERE organisation = {id})"
        ),
    ] {
        let met = database.execute(AssertSqlSafe(sql.clone())).await.unwrap();
        assert_eq!(met.rows_affected(), 1, "{sql}");
    }
    for (path, row) in [
        ("/api/v1/devices", "devices.doc"),
        ("/api/v1/holds", "set_ups.doc"),
        ("/api/v1/audit", "audit.doc"),
    ] {
        let list = get(path).await;
        assert_eq!(list.status, 200, "{path}: {}", list.text());
        let named = list.head.lines().find(|l| l.starts_with("unreadable-rows"));
        let named = named.is_some_and(|line| line.contains(row));
        assert!(named, "{path}: {}", list.head);
        if path != "/api/v1/audit" {
            let text = list.text();
            assert!(text.contains("DOORA") && text.contains("DOORC"), "{text}");
            assert!(!text.contains("DOORB"), "{text}");
        }
    }
    // What is taken along has no holes that nobody sees in it.
    let seen = get("/api/v1/inventory/views").await;
    assert!(seen.text().contains("DOORA"), "{}", seen.text());
    let taken = get("/api/v1/inventory/views?export=true").await;
    assert_eq!(taken.status, 409, "{}", taken.text());
    assert!(taken.text().contains("devices.doc"), "{}", taken.text());
    // What is proved of the record is proved of all of it.
    let proof = Request::new("POST", "/api/v1/audit/verification")
        .by(&house.token)
        .with("{}");
    let proof = proof.send(admin).await;
    assert_eq!(proof.status, 500);
    assert!(proof.text().contains("corrupt row in "), "{}", proof.text());
    // People and their alarms are told where the rows lie.
    let list = get("/api/v1/checklist").await;
    let said = list.text();
    assert!(said.contains("rows that cannot be read"), "{said}");
    assert!(said.contains(&format!("devices.doc {id}/2")), "{said}");
    let page = Request::new("GET", "/metrics").send(admin).await.text();
    assert!(page.contains("mdmd_rows_unreadable 3"), "{page}");

    // The others are held no longer for it.
    house.clock.set(ceiling.unwrap());
    assert_eq!(house.app.mdm.watch(10).await.unwrap(), 2);
    let set_ups = store.set_ups(id, SetUpId(0), 10).await.unwrap();
    assert_eq!(set_ups.len(), 2);
    for set_up in set_ups {
        let released = matches!(set_up.state, SetUpState::Releasing { .. });
        assert!(released, "{set_up:?}");
    }
    house.close().await;
}
