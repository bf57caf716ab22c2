//! Writing: versions, expectations, unique values, wholeness.

use std::time::Duration;

use futures_util::future::join3;

use super::samples::{self, Sample, of_every_noun};
use super::{A, B, Finding, at, batch, commit, conflict, ensure, put, refuse, same, sentence};
use crate::audit::{AuditEntry, Refusal};
use crate::audit_seal::HELD;
use crate::clock::Stopwatch;
use crate::ids::{
    AssignmentId, AuditId, CertificateId, CommandId, ContentId, DeclarationId, DeclarationSetId,
    DeviceId, EnrollmentId, ManifestId, MoveId, OrganisationId, RefusalId, RunbookId, SessionId,
    SetUpId, TokenId,
};
use crate::organisation::Organisation;
use crate::store::{Batch, Noun, Store, StoreError, Write};

pub(super) async fn every_noun_keeps_its_versions(store: &impl Store) -> Finding {
    versions::<Organisation>(store).await?;
    of_every_noun!(versions(store));
    Ok(())
}

async fn versions<T: Sample>(store: &impl Store) -> Finding {
    let noun = T::NOUN;
    let read = async || T::read(store, A, 7).await.map_err(sentence);
    ensure!(read().await?.is_none(), "{noun:?}: a row in an empty store");
    expecting(store, noun, 7, 0, true).await?;
    expecting(store, noun, 7, 1, false).await?;

    let mut row = T::sample(A, 7);
    put(store, [row.clone().into()]).await?;
    row.set_version(1);
    let found = read().await?;
    ensure!(
        found.as_ref() == Some(&row),
        "{noun:?}: {found:?}, not {row:?}"
    );
    let again = T::sample(A, 7);
    refuse(store, [again.into()], &format!("{noun:?}: a second insert")).await?;
    expecting(store, noun, 7, 0, false).await?;
    expecting(store, noun, 7, 1, true).await?;
    expecting(store, noun, 7, 2, false).await?;

    row.change();
    put(store, [row.clone().into()]).await?;
    let stale = row.clone();
    row.set_version(2);
    let found = read().await?;
    ensure!(
        found.as_ref() == Some(&row),
        "{noun:?} changed: {found:?}, not {row:?}"
    );
    refuse(store, [stale.into()], &format!("{noun:?}: a stale version")).await?;
    let mut early = row.clone();
    early.set_version(3);
    refuse(
        store,
        [early.into()],
        &format!("{noun:?}: a version to come"),
    )
    .await?;
    let mut absent = T::sample(A, 8);
    absent.set_version(1);
    refuse(
        store,
        [absent.into()],
        &format!("{noun:?}: a change of nothing"),
    )
    .await?;
    ensure!(
        T::read(store, A, 8).await.map_err(sentence)?.is_none(),
        "{noun:?}: a refused row is there"
    );
    expecting(store, noun, 7, 2, true).await?;
    ensure!(
        read().await? == Some(row),
        "{noun:?}: a refused write left a trace"
    );
    Ok(())
}

/// Commits an expectation beside a write of something else, and looks whether both or neither happened.
async fn expecting(store: &impl Store, noun: Noun, key: i64, version: i64, holds: bool) -> Finding {
    let mark = samples::wave(B, crate::ids::WaveId(1_000));
    let before = store.wave(B, mark.id).await.map_err(sentence)?;
    let mut next = before.clone().unwrap_or(mark);
    let mut batch = Batch::new();
    next.name.push('.');
    batch.put(next.clone());
    batch.expect(noun, A, key, version);
    let answer = commit(store, batch).await;
    let after = store.wave(B, next.id).await.map_err(sentence)?;
    if holds {
        answer.map_err(|error| format!("expecting {noun:?} {key} at {version}: {error}"))?;
        next.version += 1;
        ensure!(
            after == Some(next),
            "the write beside an expectation is lost"
        );
    } else {
        conflict(answer, &format!("expecting {noun:?} {key} at {version}"))?;
        ensure!(
            after == before,
            "a write beside a failed expectation is there"
        );
    }
    let mut only = Batch::new();
    only.expect(noun, A, key, version);
    let answer = commit(store, only).await;
    ensure!(
        answer.is_ok() == holds,
        "an expectation alone gives another answer than with a write"
    );
    Ok(())
}

pub(super) async fn a_batch_is_written_whole_or_not_at_all(store: &impl Store) -> Finding {
    put(store, []).await?;
    put(store, [samples::device(A, DeviceId(1)).into()]).await?;
    let doomed = [
        samples::wave(A, crate::ids::WaveId(1)).into(),
        samples::job(A, 1, 1).into(),
        Write::Audit(entry(1, None)),
        samples::device(A, DeviceId(1)).into(),
        samples::secret(A, crate::ids::SecretId(1)).into(),
    ];
    refuse(store, doomed, "a batch with one stale row").await?;
    let wave = store.wave(A, crate::ids::WaveId(1)).await;
    ensure!(wave.map_err(sentence)?.is_none(), "its wave is there");
    let jobs = store.jobs_waiting().await.map_err(sentence)?;
    ensure!(jobs == 0, "its job is there");
    let lines = store.audit(A, AuditId(0), 10).await;
    same(lines, |l| l.id.0, &[], "its line of the record")?;
    let secret = store.secret(A, crate::ids::SecretId(1)).await;
    ensure!(secret.map_err(sentence)?.is_none(), "its secret is there");

    // The same, with a row that no version can foresee: a serial number that is taken.
    let mut twin = samples::device(A, DeviceId(2));
    twin.serial = samples::serial("SERIAL1");
    let doomed = [
        Write::Audit(entry(1, None)),
        twin.into(),
        samples::secret(A, crate::ids::SecretId(1)).into(),
    ];
    refuse(store, doomed, "a batch with a taken serial number").await?;
    let lines = store.audit(A, AuditId(0), 10).await;
    same(lines, |l| l.id.0, &[], "its line of the record")
}

pub(super) async fn unique_values_are_unique(store: &impl Store) -> Finding {
    put(
        store,
        [
            samples::organisation(A).into(),
            samples::device(A, DeviceId(1)).into(),
            samples::session(A, SessionId(1)).into(),
            samples::certificate(A, CertificateId(1)).into(),
            samples::command(A, CommandId(1)).into(),
            samples::set_up(A, SetUpId(1)).into(),
            samples::attempt(A, MoveId(1)).into(),
            samples::token(A, TokenId(1)).into(),
            samples::declaration(A, DeclarationId(1)).into(),
            samples::declaration_content(A, ContentId(1)).into(),
            samples::declaration_set(A, DeclarationSetId(1)).into(),
            samples::declaration_assignment(A, AssignmentId(1)).into(),
            samples::declaration_manifest(A, ManifestId(1)).into(),
        ],
    )
    .await?;
    let mut organisation = samples::organisation(OrganisationId(9));
    organisation.code = samples::code(A);
    refuse(
        store,
        [organisation.into()],
        "a taken code of an organisation",
    )
    .await?;
    let mut device = samples::device(A, DeviceId(2));
    device.serial = samples::serial("serial1");
    refuse(store, [device.clone().into()], "a taken serial number").await?;
    let mut session = samples::session(A, SessionId(2));
    session.code = "code1".to_owned();
    refuse(store, [session.into()], "a taken code of a session").await?;
    let mut session = samples::session(A, SessionId(2));
    session.challenge_hash = "hash1".to_owned();
    refuse(store, [session.into()], "a taken challenge").await?;
    let mut certificate = samples::certificate(A, CertificateId(2));
    certificate.sha256 = "sha1".to_owned();
    refuse(store, [certificate.into()], "a taken certificate").await?;
    let mut command = samples::command(A, CommandId(2));
    command.uuid = samples::uuid(CommandId(1));
    refuse(store, [command.clone().into()], "a taken UUID").await?;
    command.enrollment = EnrollmentId(6);
    put(store, [command.into()]).await?;
    let mut set_up = samples::set_up(A, SetUpId(2));
    set_up.enrollment = EnrollmentId(1);
    refuse(store, [set_up.into()], "a second set-up of an enrolment").await?;
    let mut attempt = samples::attempt(A, MoveId(2));
    attempt.device = DeviceId(1);
    refuse(store, [attempt.into()], "a second open move of a device").await?;
    let mut token = samples::token(B, TokenId(2));
    token.hash = samples::token(A, TokenId(1)).hash;
    refuse(store, [token.into()], "a taken token").await?;
    let mut twin = samples::declaration(A, DeclarationId(2));
    twin.identifier = "declaration.1".to_owned();
    refuse(store, [twin.into()], "a taken identifier of a declaration").await?;
    let mut twin = samples::declaration_content(A, ContentId(2));
    twin.server_token = "token1".to_owned();
    refuse(store, [twin.into()], "a taken server token").await?;
    let mut twin = samples::declaration_set(A, DeclarationSetId(2));
    twin.name = "set 1".to_owned();
    refuse(store, [twin.into()], "a taken name of a set").await?;
    let mut twin = samples::declaration_assignment(A, AssignmentId(2));
    twin.target = samples::declaration_assignment(A, AssignmentId(1)).target;
    refuse(
        store,
        [twin.clone().into()],
        "a second assignment of a set to one target",
    )
    .await?;
    let mut first = samples::declaration_assignment(A, AssignmentId(1));
    (first.version, first.ended) = (1, Some(at(90)));
    put(store, [first.into(), twin.into()]).await?;
    let mut twin = samples::declaration_manifest(A, ManifestId(2));
    twin.token = samples::declaration_manifest(A, ManifestId(1)).token;
    refuse(store, [twin.into()], "a taken token of a list").await?;
    // Two of one batch.
    device.serial = samples::serial("SERIAL3");
    let twin = Write::from(samples::device(A, DeviceId(3)));
    refuse(
        store,
        [device.into(), twin],
        "two rows of one serial number",
    )
    .await?;
    // A change can take a value too.
    let mut second = samples::device(A, DeviceId(4));
    put(store, [second.clone().into()]).await?;
    second.version = 1;
    second.serial = samples::serial("SERIAL1");
    refuse(store, [second.into()], "a change to a taken serial number").await
}

pub(super) async fn a_unique_value_is_free_when_its_row_lets_go(store: &impl Store) -> Finding {
    let mut first = samples::attempt(A, MoveId(1));
    put(store, [first.clone().into()]).await?;
    first.version = 1;
    let mut second = samples::attempt(A, MoveId(2));
    second.device = DeviceId(1);
    // One ends and the next begins in one decision.
    put(store, [second.into(), samples::ended(first).into()]).await?;
    let open = store.open_attempt(A, DeviceId(1)).await.map_err(sentence)?;
    ensure!(
        open.as_ref().map(|m| m.id) == Some(MoveId(2)),
        "the open move is {open:?}"
    );
    Ok(())
}

pub(super) async fn runbooks_are_written_once(store: &impl Store) -> Finding {
    let pinned = samples::pinned(A, RunbookId(7));
    put(store, [pinned.clone().into()]).await?;
    put(store, [pinned.clone().into()]).await?;
    let mut other = pinned.clone();
    other.runbook.revision = 2;
    let with = Write::from(samples::wave(A, crate::ids::WaveId(1)));
    refuse(store, [other.into(), with], "another content of a runbook").await?;
    let found = store.runbook(A, RunbookId(7)).await.map_err(sentence)?;
    ensure!(found == Some(pinned), "the runbook is {found:?}");
    Ok(())
}

pub(super) async fn many_rows_are_one_batch(store: &impl Store) -> Finding {
    // More values than one statement of SQLite takes.
    let rows = 1..=5_000;
    let devices = rows.clone().map(|id| samples::device(A, DeviceId(id)));
    let all = batch(devices.map(Write::from));
    commit(store, all).await.map_err(sentence)?;
    let serials: Vec<_> = rows
        .clone()
        .map(|id| samples::serial(&format!("SERIAL{id}")))
        .collect();
    let found = store.devices_by_serial(A, &serials).await;
    let found = found.map_err(sentence)?;
    ensure!(found.len() == 5_000, "{} of 5000 are there", found.len());
    let jobs = rows.clone().map(|id| samples::job(A, id, 1));
    let mut changed = batch(jobs.map(Write::from));
    changed.writes.extend(found.into_iter().map(Write::from));
    commit(store, changed).await.map_err(sentence)?;
    let last = store.device(A, DeviceId(5_000)).await.map_err(sentence)?;
    ensure!(
        last.is_some_and(|d| d.version == 2),
        "the last of 5000 is not changed"
    );
    let jobs = store.jobs_waiting().await.map_err(sentence)?;
    ensure!(jobs == 5_000, "{jobs} of 5000 jobs wait");
    Ok(())
}

fn entry(id: i64, device: Option<DeviceId>) -> AuditEntry {
    let detail = serde_json::json!({ "from": "holding" });
    AuditEntry::new(A, AuditId(id), at(id), "worker", "tried", device, detail)
}

pub(super) async fn the_record_is_appended(store: &impl Store) -> Finding {
    put(store, [entry(1, None).into()]).await?;
    let mut forged = entry(1, None);
    forged.actor = "somebody".to_owned();
    refuse(store, [forged.into()], "a line in the place of another").await?;
    let lines = store.audit(A, AuditId(0), 10).await.map_err(sentence)?;
    ensure!(lines == [entry(1, None)], "the record is {lines:?}");
    Ok(())
}

/// The record may be sealed past its time: what waits with it waits for another decision.
pub(super) async fn a_line_that_was_held_back_is_refused(store: &impl Store) -> Finding {
    let held = |drawn: Stopwatch, id: i64| {
        let mut batch = batch([
            Write::Audit(entry(id, None)),
            samples::device(A, DeviceId(id)).into(),
        ]);
        batch.drawn_at(drawn);
        batch
    };
    let late = Stopwatch::running_for(HELD + Duration::from_secs(1));
    // In the same group are others that came in time; and one that would be a conflict besides is told that it is late.
    let (first, refused, last) = join3(
        commit(store, held(Stopwatch::start(), 1)),
        commit(store, held(late, 2)),
        commit(store, held(Stopwatch::running_for(HELD / 2), 3)),
    )
    .await;
    first.map_err(sentence)?;
    last.map_err(sentence)?;
    for refused in [refused, commit(store, held(late, 1)).await] {
        match refused {
            Err(StoreError::Late) => {}
            Err(other) => return Err(format!("a batch that came too late is told: {other}")),
            Ok(()) => return Err("a batch that came too late is written".to_owned()),
        }
    }
    let there = store.device(A, DeviceId(2)).await.map_err(sentence)?;
    ensure!(there.is_none(), "its device is there");
    let lines = store.audit(A, AuditId(0), 10).await;
    same(lines, |l| l.id.0, &[1, 3], "the record")?;
    // Decided again with a new id.
    commit(store, held(Stopwatch::start(), 4))
        .await
        .map_err(sentence)?;
    let lines = store.audit(A, AuditId(0), 10).await;
    same(lines, |l| l.id.0, &[1, 3, 4], "the record")
}

pub(super) async fn refusals_are_bounded(store: &impl Store) -> Finding {
    let refusal = |organisation, id| {
        Refusal::new(
            organisation,
            RefusalId(id),
            at(id),
            // As many from one address as one may have.
            &format!("192.0.2.{}", id / 50),
            "enrol",
            "signature: absent",
        )
    };
    put(store, [refusal(B, 1).into()]).await?;
    for start in [1, 401, 801, 1_201] {
        let some = (start..start + 400).map(|id| refusal(A, id).into());
        commit(store, batch(some)).await.map_err(sentence)?;
    }
    let kept = store.refusals(A, 5_000).await;
    let newest: Vec<i64> = (601..=1_600).rev().collect();
    same(kept, |r| r.id.0, &newest, "refusals that are kept")?;
    let some = store.refusals(A, 2).await;
    same(some, |r| r.id.0, &[1_600, 1_599], "the newest refusals")?;
    let other = store.refusals(B, 10).await.map_err(sentence)?;
    ensure!(
        other == [refusal(B, 1)],
        "another organisation's: {other:?}"
    );
    Ok(())
}

pub(super) async fn strangers_push_out_no_device(store: &impl Store) -> Finding {
    let of = |id: i64, address: String, reason: &str| {
        Refusal::new(A, RefusalId(id), at(id), &address, "command", reason)
    };
    let mut proved = of(1, "192.0.2.1".to_owned(), "identity: revoked");
    proved.serial = Some(samples::serial("SERIAL1"));
    let unproved = of(2, "192.0.2.2".to_owned(), "signature: of another authority");
    put(store, [proved.into(), unproved.into()]).await?;
    // Twenty addresses that ask without any identity, and as many that do not get through the handshake.
    let nobody = format!("identity: {}", crate::audit::NO_IDENTITY);
    for start in [0, 500, 1_000, 1_500] {
        let some = (start..start + 500).map(|n| {
            let address = format!("198.51.100.{}", n % 40);
            let mut refusal = of(10 + n, address, &nobody);
            if n % 2 == 0 {
                "tls".clone_into(&mut refusal.door);
            }
            refusal.into()
        });
        commit(store, batch(some)).await.map_err(sentence)?;
    }
    let kept = store.refusals(A, 10_000).await.map_err(sentence)?;
    let kept: Vec<i64> = kept.iter().map(|refusal| refusal.id.0).collect();
    let newest = (10 + 2_000 - 300..10 + 2_000).rev();
    let wanted: Vec<i64> = newest.chain([2, 1]).collect();
    ensure!(kept == wanted, "after strangers {} are left", kept.len());
    // Those of devices are many in a wave that fails, and of one device fifty at the most.
    let some = (0..1_200).map(|n| {
        let mut refusal = of(5_000 + n, "192.0.2.3".to_owned(), "identity: revoked");
        refusal.serial = Some(samples::serial(&format!("SERIAL{}", n % 600)));
        refusal.into()
    });
    commit(store, batch(some)).await.map_err(sentence)?;
    let kept = store.refusals(A, 10_000).await.map_err(sentence)?;
    let proved = kept.iter().filter(|refusal| refusal.serial.is_some());
    let (proved, all) = (proved.count(), kept.len());
    ensure!(
        (proved, all) == (1_201, 1_502),
        "{proved} of devices are left, of {all}"
    );
    Ok(())
}

pub(super) async fn odd_text_comes_back(store: &impl Store) -> Finding {
    let mut odd = entry(1, Some(DeviceId(1)));
    odd.actor = "Zo\u{eb} O'Neil; \"--\" \\ \u{1f34e}".to_owned();
    odd.detail = serde_json::json!({
        "nul": "a\u{0}b", "big": u64::MAX, "small": i64::MIN, "deep": [[{ "": null }]], "float": 0.1,
    });
    put(store, [odd.clone().into()]).await?;
    let found = store.audit(A, AuditId(0), 10).await.map_err(sentence)?;
    ensure!(found == [odd], "odd text came back as {found:?}");
    let mut enrollment = samples::enrollment(A, EnrollmentId(1));
    enrollment.key = "UD'ID:%_\u{e9}".to_owned();
    put(store, [enrollment.clone().into()]).await?;
    let found = store.enrollments_by_key(A, &enrollment.key).await;
    same(found, |e| e.id.0, &[1], "a channel with an odd key")
}
