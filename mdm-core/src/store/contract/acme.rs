//! What an ACME server keeps of devices.

use super::samples;
use super::{A, B, Finding, at, ensure, put, refuse, sentence};
use crate::ids::{AcmeAccountId, AcmeNonceId, SessionId};
use crate::store::Store;

pub(super) async fn accounts_and_keys_are_found(store: &impl Store) -> Finding {
    let account = samples::acme_account(A, AcmeAccountId(1));
    let order = samples::acme_order(A, SessionId(1));
    let mut open = samples::acme_order(A, SessionId(2));
    open.certified = None;
    let mut open_too = samples::acme_order(A, SessionId(3));
    open_too.certified = None;
    // Any number of orders that have certified nothing yet.
    put(
        store,
        [
            account.into(),
            order.into(),
            open.clone().into(),
            open_too.into(),
        ],
    )
    .await?;
    let found = store.acme_account_by_key(A, "thumb1").await;
    ensure!(
        found.map_err(sentence)?.is_some_and(|it| it.id.0 == 1),
        "an account is not found by its key"
    );
    let none = store.acme_account_by_key(A, "thumb").await;
    ensure!(none.map_err(sentence)?.is_none(), "an account of no key");
    let found = store.acme_order_by_key(A, "key1").await;
    ensure!(
        found.map_err(sentence)?.is_some_and(|it| it.id.0 == 1),
        "an order is not found by the key that it certified"
    );
    let none = store.acme_order_by_key(A, "key2").await;
    ensure!(none.map_err(sentence)?.is_none(), "an order of no key");
    let mut twin = samples::acme_account(A, AcmeAccountId(9));
    twin.thumbprint = "thumb1".to_owned();
    refuse(store, [twin.into()], "a second account of one key").await?;
    open.version = 1;
    open.certified = Some("key1".to_owned());
    refuse(store, [open.into()], "a key that is certified twice").await
}

pub(super) async fn what_has_expired_is_forgotten(store: &impl Store) -> Finding {
    for (id, expires) in [(1, 100), (2, 110), (3, 300)] {
        let mut account = samples::acme_account(A, AcmeAccountId(id));
        account.expires = at(expires);
        let mut order = samples::acme_order(A, SessionId(id));
        order.expires = at(expires);
        let mut nonce = samples::acme_nonce(A, AcmeNonceId(id));
        nonce.expires = at(expires);
        put(store, [account.into(), order.into(), nonce.into()]).await?;
    }
    put(store, [samples::acme_nonce(B, AcmeNonceId(1)).into()]).await?;
    let forget = async |limit| store.forget_acme(A, at(200), limit).await.map_err(sentence);
    for (limit, expected) in [(1, 3), (10, 3), (10, 0)] {
        let gone = forget(limit).await?;
        ensure!(gone == expected, "{gone} rows went, not {expected}");
    }
    for (id, there) in [(1, false), (2, false), (3, true)] {
        let account = store.acme_account(A, AcmeAccountId(id)).await;
        let order = store.acme_order(A, SessionId(id)).await;
        let nonce = store.acme_nonce(A, AcmeNonceId(id)).await;
        let found = [
            account.map_err(sentence)?.is_some(),
            order.map_err(sentence)?.is_some(),
            nonce.map_err(sentence)?.is_some(),
        ];
        ensure!(found == [there; 3], "of {id} there is {found:?}");
    }
    let theirs = store.acme_nonce(B, AcmeNonceId(1)).await;
    ensure!(
        theirs.map_err(sentence)?.is_some(),
        "another organisation's nonce went too"
    );
    Ok(())
}
