//! The contract of `mdm_core::store::contract` on each of our back ends.

use mdm_core::store::{SqliteStore, contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_in_memory_keeps_the_contract() {
    let found = contract::check(async || SqliteStore::in_memory().await.unwrap()).await;
    assert_eq!(found, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    let found = contract::check(async || {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.path().join(format!("{nth}.sqlite"));
        SqliteStore::open(path).await.unwrap()
    })
    .await;
    assert_eq!(found, Ok(()));
}
