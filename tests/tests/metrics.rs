//! The page of figures when something that it counts cannot be read.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use house::House;
use mdmd::config::Duty;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tests::Request;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_takes_its_own_figure_and_no_other() {
    let house = House::open().await;
    let other = house.beside("Other", ["METRICA", "METRICB"]).await;
    let broken = house.org.organisation();
    let half = broken.code.to_string();
    let whole = other.org.organisation().code.to_string();
    let mut database = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(house.directory().join("mdmd.sqlite"))
        .connect()
        .await
        .unwrap();
    let sql = format!(
        "UPDATE tokens SET doc = '{{' WHERE organisation = {}",
        broken.id
    );
    let met = database.execute(AssertSqlSafe(sql)).await.unwrap();
    assert_eq!(met.rows_affected(), 1);
    let admin = house.app.address(Duty::Admin).unwrap();
    let page = Request::new("GET", "/metrics").send(admin).await;
    assert_eq!(page.status, 200);
    let page = page.text();
    let ends = |code: &str| {
        page.lines()
            .filter(|line| {
                line.starts_with("mdmd_organisation_ends_in_days") && line.contains(code)
            })
            .count()
    };
    assert!(page.contains("mdmd_organisations 2"), "{page}");
    assert!(ends(&whole) > 0 && ends(&half) > 0, "{page}");
    drop(other);
    house.close().await;
}
