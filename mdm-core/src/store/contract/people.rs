//! People: who signs in, and what is open for them.

use super::reading::ALL;
use super::{A, Finding, at, ensure, put, refuse, same, samples, sentence};
use crate::ids::{PersonSessionId, SignInId};
use crate::person::Granted;
use crate::store::Store;

pub(super) async fn people(store: &impl Store) -> Finding {
    let mut waiting = samples::sign_in(A, SignInId(3));
    waiting.granted = Some(Granted {
        code_hash: "code".to_owned(),
        person: samples::person(),
    });
    for row in [
        samples::sign_in(A, SignInId(1)),
        waiting,
        samples::sign_in(A, SignInId(2)),
    ] {
        put(store, [row.into()]).await?;
    }
    let found = store
        .sign_in_by_state("state 1 2")
        .await
        .map_err(sentence)?;
    ensure!(
        found.is_some_and(|s| s.id.0 == 2 && s.version == 1),
        "no sign-in by its state"
    );
    let found = store.sign_in_by_code("code").await.map_err(sentence)?;
    ensure!(found.is_some_and(|s| s.id.0 == 3), "no sign-in by its code");
    for hash in ["other", ""] {
        let none = store.sign_in_by_state(hash).await.map_err(sentence)?;
        ensure!(none.is_none(), "a sign-in by no state");
        let none = store.sign_in_by_code(hash).await.map_err(sentence)?;
        ensure!(none.is_none(), "a sign-in by no code");
    }
    let mut twin = samples::sign_in(A, SignInId(9));
    twin.state_hash = "state 1 1".to_owned();
    refuse(store, [twin.into()], "a second sign-in of one state").await?;
    // They end at 71, 72 and 73.
    for (moment, limit, open) in [(70, 9, 3), (71, 9, 2), (73, 9, 0), (70, 2, 2)] {
        let count = store
            .open_sign_ins(A, at(moment), limit)
            .await
            .map_err(sentence)?;
        ensure!(count == open, "{count} open sign-ins at {moment}");
    }
    for id in [3, 1, 2] {
        put(
            store,
            [samples::person_session(A, PersonSessionId(id)).into()],
        )
        .await?;
    }
    let found = store
        .person_session_by_token("token 1 2")
        .await
        .map_err(sentence)?;
    ensure!(
        found.is_some_and(|s| s.id.0 == 2 && s.version == 1),
        "no session by its token"
    );
    let none = store
        .person_session_by_token("token")
        .await
        .map_err(sentence)?;
    ensure!(none.is_none(), "a session by no token");
    let mut twin = samples::person_session(A, PersonSessionId(9));
    twin.token_hash = "token 1 1".to_owned();
    refuse(store, [twin.into()], "a second session of one token").await?;
    let open = async |moment, after, limit| {
        store
            .person_sessions(A, at(moment), PersonSessionId(after), limit)
            .await
    };
    same(open(0, 0, ALL).await, |s| s.id.0, &[1, 2, 3], "sessions")?;
    same(open(0, 1, 1).await, |s| s.id.0, &[2], "a page of sessions")?;
    same(
        open(72, 0, ALL).await,
        |s| s.id.0,
        &[3],
        "sessions that are not over",
    )?;
    // A session that was revoked is over since then.
    let mut revoked = samples::person_session(A, PersonSessionId(3));
    (revoked.version, revoked.revoked) = (1, Some(at(69)));
    put(store, [revoked.into()]).await?;
    same(
        open(70, 0, ALL).await,
        |s| s.id.0,
        &[1, 2],
        "sessions but the revoked one",
    )?;
    let gone = store.prune_people(A, at(72), 1).await.map_err(sentence)?;
    ensure!(gone == 2, "{gone} went, not the oldest of each");
    let gone = store.prune_people(A, at(72), 9).await.map_err(sentence)?;
    ensure!(gone == 1, "{gone} went, not the other session");
    let left = store
        .sign_in_by_state("state 1 2")
        .await
        .map_err(sentence)?;
    ensure!(left.is_some(), "one went that was not over");
    same(
        open(0, 0, ALL).await,
        |s| s.id.0,
        &[2],
        "sessions that are left",
    )
}
