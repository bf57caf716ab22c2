//! Many callers at once: each gets its own answer, and what is stored equals some order of them.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};

use super::{A, Finding, at, batch, commit, conflict, ensure, same, samples, sentence};
use crate::ids::{AuditId, DeviceId, SecretId, WaveId};
use crate::store::{Lease, Store, StoreError, Write};

pub(super) async fn each_caller_gets_its_own_answer(store: &impl Store) -> Finding {
    let taken = samples::device(A, DeviceId(1_000));
    commit(store, batch([taken.into()]))
        .await
        .map_err(sentence)?;
    // Every third batch is stale, every seventh wants a serial number that is taken.
    let answers = join_all((1..=120).map(|id| async move {
        let mut device = samples::device(A, DeviceId(id));
        if id % 3 == 0 {
            device.version = 5;
        }
        if id % 7 == 0 {
            device.serial = samples::serial("SERIAL1000");
        }
        let job = samples::job(A, id, 1);
        (id, commit(store, batch([device.into(), job.into()])).await)
    }))
    .await;
    for (id, answer) in answers {
        let doomed = id % 3 == 0 || id % 7 == 0;
        let there = store.device(A, DeviceId(id)).await.map_err(sentence)?;
        if doomed {
            conflict(answer, &format!("batch {id}"))?;
            ensure!(there.is_none(), "batch {id} is refused and there");
        } else {
            answer.map_err(|error| format!("batch {id} suffers from its neighbours: {error}"))?;
            ensure!(there.is_some(), "batch {id} is accepted and not there");
        }
    }
    let jobs = store.jobs_waiting().await.map_err(sentence)?;
    let good = (1..=120).filter(|id| id % 3 != 0 && id % 7 != 0).count();
    ensure!(jobs == good as u64, "{jobs} jobs of {good} batches");
    Ok(())
}

pub(super) async fn no_increment_is_lost(store: &impl Store) -> Finding {
    let mut counter = samples::wave(A, WaveId(1));
    counter.name = "0".to_owned();
    let counter = batch([counter.into()]);
    commit(store, counter).await.map_err(sentence)?;
    let added = join_all((0..16).map(|_| async {
        for _ in 0..5 {
            loop {
                let wave = store.wave(A, WaveId(1)).await.map_err(sentence)?;
                let mut wave = wave.ok_or("the counter is gone")?;
                let count: u32 = wave.name.parse().map_err(|_| "not a count")?;
                wave.name = (count + 1).to_string();
                match commit(store, batch([wave.into()])).await {
                    Ok(()) => break,
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(sentence(error)),
                }
            }
        }
        Ok(())
    }))
    .await;
    added.into_iter().collect::<Finding>()?;
    let wave = store.wave(A, WaveId(1)).await.map_err(sentence)?;
    let found = wave.map(|w| (w.name, w.version));
    ensure!(
        found == Some(("80".to_owned(), 81)),
        "80 increments gave {found:?}"
    );
    Ok(())
}

pub(super) async fn one_of_many_wins(store: &impl Store) -> Finding {
    // The same new row, and the same unique value in different rows.
    for wave in [true, false] {
        let answers = join_all((1..=40).map(|id| {
            let row: Write = if wave {
                samples::wave(A, WaveId(9)).into()
            } else {
                let mut device = samples::device(A, DeviceId(id));
                device.serial = samples::serial("ONLY");
                device.into()
            };
            let mut secret = samples::secret(A, SecretId(id + if wave { 0 } else { 100 }));
            secret.device = Some(DeviceId(1));
            commit(store, batch([row, secret.into()]))
        }))
        .await;
        let won = answers.iter().filter(|a| a.is_ok()).count();
        ensure!(won == 1, "{won} of 40 won");
        for answer in answers.into_iter().filter(Result::is_err) {
            conflict(answer, "a late one")?;
        }
    }
    let secrets = store.secrets(A, DeviceId(1)).await.map_err(sentence)?;
    ensure!(
        secrets.len() == 2,
        "{} secrets of two winners",
        secrets.len()
    );
    Ok(())
}

pub(super) async fn a_claim_is_exclusive(store: &impl Store) -> Finding {
    let jobs = (1..=200).map(|id| samples::job(A, id, 1).into());
    commit(store, batch(jobs)).await.map_err(sentence)?;
    // Eight workers at once, and others that write meanwhile.
    let claims = join_all((0..8).map(|_| async {
        let mut mine = Vec::new();
        loop {
            let some = store.claim_jobs(at(5), Lease(at(50)), 7).await;
            let some = some.map_err(sentence)?;
            if some.is_empty() {
                return Ok::<_, String>(mine);
            }
            mine.extend(some.iter().map(|j| j.id.0));
        }
    }));
    let writes = join_all(
        (1..=50).map(|id| commit(store, batch([samples::device(A, DeviceId(id)).into()]))),
    );
    let (claims, writes) = join(claims, writes).await;
    for answer in writes {
        answer.map_err(sentence)?;
    }
    let claimed: Vec<i64> = claims.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let distinct: BTreeSet<_> = claimed.iter().collect();
    ensure!(distinct.len() == claimed.len(), "a job was claimed twice");
    // A worker may have seen nothing while another held the rest; what is left is free.
    let rest = store.claim_jobs(at(5), Lease(at(50)), 1_000).await;
    let rest = rest.map_err(sentence)?.len();
    ensure!(
        claimed.len() + rest == 200,
        "{} of 200 were claimed",
        claimed.len() + rest
    );
    Ok(())
}

pub(super) async fn who_goes_away_harms_nobody(store: &impl Store) -> Finding {
    // Asked once and dropped, between others that stay.
    let impatient = (1..=30).map(|id| {
        let row = samples::device(A, DeviceId(id));
        let mut asked = Box::pin(commit(store, batch([row.into()])));
        async move {
            let once = std::future::poll_fn(|context| {
                let _ = std::future::Future::poll(asked.as_mut(), context);
                std::task::Poll::Ready(())
            });
            once.await;
        }
    });
    let patient = (101..=130).map(|id| {
        let row = samples::device(A, DeviceId(id));
        commit(store, batch([row.into()]))
    });
    let (_, answers) = join(join_all(impatient), join_all(patient)).await;
    for answer in answers {
        answer.map_err(sentence)?;
    }
    let all = store.devices(A, DeviceId(100), 100).await;
    let stayed: Vec<i64> = (101..=130).collect();
    same(all, |d| d.id.0, &stayed, "those who stayed")
}

pub(super) async fn closing_answers_what_was_accepted(store: &impl Store) -> Finding {
    let answers = join_all((1..=50).map(|id| {
        let line = crate::audit::AuditEntry::new(
            A,
            AuditId(id),
            at(id),
            "worker",
            "did",
            None,
            serde_json::Value::Null,
        );
        commit(store, batch([line.into()]))
    }));
    let (answers, closed) = join(answers, store.close()).await;
    closed.map_err(sentence)?;
    for answer in answers {
        match answer {
            Ok(()) | Err(StoreError::Unavailable(_)) => {}
            Err(other) => return Err(format!("at closing: {other}")),
        }
    }
    match store.close().await {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("closing twice: {error}")),
    }
}
