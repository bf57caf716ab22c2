//! What is asked of Apple, with its budgets and locations; the library; what the original service knew.

use super::reading::ALL;
use super::{A, B, Finding, at, ensure, put, refuse, same, samples, sentence};
use crate::ids::{BudgetId, DeviceId, ErrandId, LibraryId, LocationId, WaveId};
use crate::store::Store;

pub(super) async fn errands_budgets_and_locations(store: &impl Store) -> Finding {
    for id in [2, 3, 1, 4] {
        let mut errand = samples::errand(A, ErrandId(id));
        match id {
            3 => errand.done(at(90)),
            4 => errand.wave = None,
            _ => {}
        }
        put(
            store,
            [
                errand.into(),
                samples::budget(A, BudgetId(5 - id)).into(),
                samples::location(A, LocationId(id)).into(),
            ],
        )
        .await?;
    }
    let page = async |after, limit| store.errands(A, ErrandId(after), limit).await;
    same(page(0, ALL).await, |e| e.id.0, &[1, 2, 3, 4], "errands")?;
    same(page(1, 2).await, |e| e.id.0, &[2, 3], "a page of errands")?;
    let open = async |after, limit| store.open_errands(A, ErrandId(after), limit).await;
    same(open(0, ALL).await, |e| e.id.0, &[1, 2, 4], "open errands")?;
    same(open(1, 1).await, |e| e.id.0, &[2], "a page of open errands")?;
    let of = async |wave, after| {
        store
            .errands_of(A, WaveId(wave), ErrandId(after), ALL)
            .await
    };
    same(of(2, 0).await, |e| e.id.0, &[1, 2, 3], "errands of a wave")?;
    same(of(2, 2).await, |e| e.id.0, &[3], "the last of them")?;
    same(of(3, 0).await, |e| e.id.0, &[], "errands of another wave")?;
    let budgets = store.budgets(A).await;
    same(budgets, |b| b.id.0, &[1, 2, 3, 4], "budgets")?;
    let none = store.budget(A, "api 9").await.map_err(sentence)?;
    ensure!(none.is_none(), "a budget by no name");
    let mut twin = samples::budget(A, BudgetId(9));
    twin.name = "api 1".to_owned();
    refuse(store, [twin.into()], "a second budget of one name").await?;
    let locations = store.locations(A).await;
    same(locations, |l| l.id.0, &[1, 2, 3, 4], "locations")?;
    for id in [2, 1] {
        put(store, [samples::library_item(A, LibraryId(id)).into()]).await?;
    }
    let mut twin = samples::library_item(A, LibraryId(9));
    twin.name = "item 1".to_owned();
    refuse(store, [twin.into()], "a second item of one name").await?;
    for (name, organisation, found) in [
        ("item 1", A, Some(1)),
        ("item 3", A, None),
        ("item 1", B, None),
    ] {
        let item = store.library_item_by_name(organisation, name).await;
        let item = item.map_err(sentence)?;
        ensure!(item.map(|i| i.id.0) == found, "an item by its name");
    }
    let items = store.library(A).await;
    same(items, |i| i.id.0, &[1, 2], "the library")?;
    for id in [3, 1, 2] {
        put(store, [samples::original(A, DeviceId(id)).into()]).await?;
    }
    let some = store
        .originals_of(A, &[DeviceId(3), DeviceId(9), DeviceId(1)])
        .await;
    same(some, |o| o.id.0, &[1, 3], "what the original knew of some")?;
    let page = store.originals(A, DeviceId(1), 5).await;
    same(
        page,
        |o| o.id.0,
        &[2, 3],
        "what the original knew, after one",
    )
}
