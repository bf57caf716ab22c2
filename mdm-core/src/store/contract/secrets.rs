//! Secrets and tokens: found by device, by name and by hash.

use super::{A, B, Finding, at, ensure, put, same, samples, sentence};
use crate::ids::{DeviceId, SecretId, TokenId};
use crate::removal::Removal;
use crate::server_certificate::INSTALLATION;
use crate::store::Store;

pub(super) async fn secrets_and_tokens(store: &impl Store) -> Finding {
    let mut ours = samples::secret(A, SecretId(4));
    ours.device = None;
    put(
        store,
        [
            samples::secret(A, SecretId(2)).into(),
            samples::secret(A, SecretId(3)).into(),
            samples::secret(A, SecretId(1)).into(),
            ours.into(),
            samples::token(A, TokenId(2)).into(),
            samples::token(A, TokenId(1)).into(),
        ],
    )
    .await?;
    let all = store.secrets(A, DeviceId(40)).await;
    same(all, |s| s.id.0, &[3, 2, 1], "secrets of a device")?;
    let none = store.secrets(A, DeviceId(41)).await;
    same(none, |s| s.id.0, &[], "secrets of another device")?;
    let tokens = store.tokens(A).await;
    same(tokens, |t| t.id.0, &[1, 2], "tokens")?;
    let none = store.token_by_hash("other").await.map_err(sentence)?;
    ensure!(none.is_none(), "a token by no hash");
    tokens_open_what_is_there(store).await
}

/// A token of an organisation that is not there is none.
async fn tokens_open_what_is_there(store: &impl Store) -> Finding {
    let hash = samples::token(A, TokenId(2)).hash;
    let find = async || store.token_by_hash(&hash).await.map_err(sentence);
    ensure!(
        find().await?.is_none(),
        "a token of an organisation that is not there"
    );
    let both = [A, B].map(|o| samples::organisation(o).into());
    put(store, both).await?;
    let found = find().await?;
    ensure!(
        found.is_some_and(|t| t.id.0 == 2 && t.version == 1),
        "no token by its hash"
    );
    let read = store.organisation(A).await.map_err(sentence)?;
    let read = read.ok_or("the organisation is not there")?;
    let removal = Removal::new(read, ("Anna", "sold"), 0, at(9));
    store.begin_removal(&removal).await.map_err(sentence)?;
    ensure!(
        find().await?.is_none(),
        "a token of an organisation that was taken away"
    );
    // Nobody's organisation: what goes over them.
    let partner = samples::token(INSTALLATION, TokenId(3));
    let hash = partner.hash.clone();
    put(store, [partner.into()]).await?;
    let found = store.token_by_hash(&hash).await.map_err(sentence)?;
    ensure!(found.is_some(), "no token of the installation by its hash");
    Ok(())
}
