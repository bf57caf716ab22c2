//! An organisation that was taken away: found no more at once, emptied a piece at a time by whoever comes, and nothing of another.

use futures_util::future::join;

use super::samples::{self, Sample as _};
use super::{A, B, Finding, at, conflict, ensure, put, sentence};
use crate::audit::{AuditEntry, Refusal};
use crate::device::Device;
use crate::enrollment::Enrollment;
use crate::ids::{AuditId, DeviceId, JobId, OrganisationId, RefusalId};
use crate::migration::{Move, SetUp};
use crate::organisation::Organisation;
use crate::removal::Removal;
use crate::sealed::SealedSecret;
use crate::store::{Store, StoreError, Write};

const ALL: u32 = 1_000;
/// Rows of each organisation beside its own.
const ROWS: u64 = 10;

/// Both organisations, each with rows of some kinds.
async fn two(store: &impl Store) -> Finding {
    for o in [A, B] {
        put(store, [samples::organisation(o).into()]).await?;
        let line = AuditEntry::new(o, AuditId(7), at(1), "a", "b", None, o.0.into());
        let refusal = Refusal::new(o, RefusalId(7), at(1), "192.0.2.1", "enrol", "no");
        let rows: [Write; 10] = [
            Device::sample(o, 1).into(),
            Device::sample(o, 2).into(),
            Device::sample(o, 3).into(),
            Enrollment::sample(o, 7).into(),
            SetUp::sample(o, 7).into(),
            Move::sample(o, 7).into(),
            SealedSecret::sample(o, 7).into(),
            samples::job(o, 7, 1).into(),
            line.into(),
            refusal.into(),
        ];
        put(store, rows).await?;
    }
    Ok(())
}

async fn read(store: &impl Store, o: OrganisationId) -> Result<Organisation, String> {
    let found = store.organisation(o).await.map_err(sentence)?;
    found.ok_or_else(|| "the organisation is not there".to_owned())
}

/// How far it is, as whoever comes after a death reads it.
async fn stored(store: &impl Store, o: OrganisationId) -> Result<Removal, String> {
    let found = store.removal(o).await.map_err(sentence)?;
    found.ok_or_else(|| "nothing says that it was taken away".to_owned())
}

/// Taken away, and its row gone for good.
pub(super) async fn taken_away(store: &impl Store, o: OrganisationId) -> Result<Removal, String> {
    let removal = Removal::new(read(store, o).await?, ("Anna", "sold"), 0, at(9));
    store.begin_removal(&removal).await.map_err(sentence)?;
    let mut removal = stored(store, o).await?;
    removal.kept = None;
    store.keep_removal(&removal).await.map_err(sentence)
}

pub(super) async fn nobody_finds_an_organisation_that_was_taken_away(
    store: &impl Store,
) -> Finding {
    two(store).await?;
    let first = read(store, A).await?;
    let mut changed = first.clone();
    changed.name = "Another name".to_owned();
    put(store, [changed.into()]).await?;
    let stale = Removal::new(first, ("Anna", "sold"), 0, at(9));
    conflict(
        store.begin_removal(&stale).await,
        "taking away what has changed since it was read",
    )?;
    let organisation = read(store, A).await?;
    let code = organisation.code.clone();
    let removal = Removal::new(organisation.clone(), ("Anna", "sold"), 3, at(9));
    store.begin_removal(&removal).await.map_err(sentence)?;
    conflict(
        store.begin_removal(&removal).await,
        "taking away what is taken away",
    )?;
    let none = store.organisation(A).await.map_err(sentence)?;
    let by_code = store.organisation_by_code(&code).await.map_err(sentence)?;
    ensure!(none.is_none() && by_code.is_none(), "it is found");
    let all = store.organisations(OrganisationId(0), ALL).await;
    let all = all.map_err(sentence)?;
    ensure!(
        all.len() == 1 && all[0].id == B,
        "it is in the list, or the other is not"
    );
    // What was decided on its row is not written any more.
    let late = super::commit(store, super::batch([Write::from(organisation.clone())])).await;
    conflict(late, "a change of its row")?;
    let kept = stored(store, A).await?;
    ensure!(
        kept.version == 1 && kept.left_behind == 3 && kept.begun == at(9) && kept.by == "Anna",
        "what is kept of it: {kept:?}"
    );
    match store.erase(&kept, ALL).await {
        Err(StoreError::Database(_)) => {}
        other => return Err(format!("rows go while its own is kept: {other:?}")),
    }
    // Put back, it is what it was, for whoever has it in memory of another version.
    store.undo_removal(&kept).await.map_err(sentence)?;
    conflict(store.undo_removal(&kept).await, "putting back twice")?;
    let back = read(store, A).await?;
    ensure!(
        back.version == organisation.version + 1,
        "it came back with the version {}",
        back.version
    );
    let mut same = back.clone();
    same.version = organisation.version;
    ensure!(same == organisation, "it came back otherwise than it was");
    let by_code = store.organisation_by_code(&code).await.map_err(sentence)?;
    ensure!(
        by_code.as_ref() == Some(&back),
        "it is not found by its code when it is back"
    );
    let nothing = store.removals(OrganisationId(0), ALL).await;
    ensure!(
        nothing.map_err(sentence)?.is_empty(),
        "it is still called taken away"
    );
    Ok(())
}

pub(super) async fn its_rows_go_in_pieces_and_no_others(store: &impl Store) -> Finding {
    two(store).await?;
    let begun = taken_away(store, A).await?;
    let mut rows = 0;
    for turn in 0.. {
        ensure!(turn < 100, "there is no end to it");
        // Each turn is another process: nothing is remembered but what is stored.
        let before = stored(store, A).await?;
        let after = store.erase(&before, 2).await.map_err(sentence)?;
        ensure!(
            after.rows() - before.rows() <= 2,
            "{} rows went at once",
            after.rows() - before.rows()
        );
        ensure!(
            after == stored(store, A).await?,
            "another row is stored than is answered"
        );
        rows = after.rows();
        if after.place.is_none() && after.empty {
            break;
        }
        // Somebody who was at it writes once more, behind where the others are.
        if turn == 3 {
            let late = SealedSecret::sample(A, 9);
            put(store, [late.into(), samples::job(A, 9, 1).into()]).await?;
        }
    }
    ensure!(rows == ROWS + 2, "{rows} rows went");
    let by_table = stored(store, A).await?.erased;
    ensure!(
        by_table.get("devices") == Some(&3) && by_table.get("jobs") == Some(&2),
        "counted as {by_table:?}"
    );
    for (o, left) in [(A, 0), (B, 3)] {
        let devices = store.devices(o, DeviceId(0), ALL).await;
        let found = devices.map_err(sentence)?.len();
        ensure!(found == left, "{found} devices of {o} are left");
        let lines = store.audit(o, AuditId(0), ALL).await.map_err(sentence)?;
        ensure!(lines.len() == left.min(1), "its record");
        let refusals = store.refusals(o, ALL).await.map_err(sentence)?;
        ensure!(refusals.len() == left.min(1), "its refusals");
        let job = store.job_times(o, JobId(7)).await.map_err(sentence)?;
        ensure!(job.is_some() == (o == B), "its job");
    }
    ensure!(
        read(store, B).await?.version == 1,
        "the other organisation was changed"
    );
    // A list of them, in their order, that says how far each is.
    let all = store.removals(OrganisationId(0), ALL).await;
    let all = all.map_err(sentence)?;
    ensure!(
        all.len() == 1 && all[0].id == begun.id,
        "the list of those that were taken away"
    );
    let behind = store.removals(A, ALL).await.map_err(sentence)?;
    ensure!(behind.is_empty(), "the list behind the last one");
    Ok(())
}

pub(super) async fn of_two_who_delete_at_once_one_does(store: &impl Store) -> Finding {
    two(store).await?;
    let begun = taken_away(store, A).await?;
    let (one, other) = join(store.erase(&begun, 2), store.erase(&begun, 2)).await;
    let (went, lost) = match (one, other) {
        (Ok(went), lost) | (lost, Ok(went)) => (went, lost),
        (Err(one), Err(other)) => return Err(format!("neither does: {one}; {other}")),
    };
    conflict(lost.map(|_| ()), "the same piece again")?;
    ensure!(
        stored(store, A).await? == went,
        "what the one who did it was told is not stored"
    );
    conflict(
        store.keep_removal(&begun).await.map(|_| ()),
        "a word of before",
    )?;
    // What the second one deleted is counted by the first, or was not deleted.
    let mut removal = went;
    while !(removal.place.is_none() && removal.empty) {
        removal = store.erase(&removal, ALL).await.map_err(sentence)?;
    }
    ensure!(removal.rows() == ROWS, "{} rows went", removal.rows());
    Ok(())
}

pub(super) async fn of_two_that_are_taken_away_at_once_one_stays(store: &impl Store) -> Finding {
    two(store).await?;
    let of = |organisation| Removal::new(organisation, ("Anna", "sold"), 0, at(9));
    let (first, second) = (of(read(store, A).await?), of(read(store, B).await?));
    let (one, other) = join(store.begin_removal(&first), store.begin_removal(&second)).await;
    let (stays, lost) = match (one, other) {
        (Ok(()), lost) => (second, lost),
        (lost, Ok(())) => (first, lost),
        (Err(one), Err(other)) => return Err(format!("neither goes: {one}; {other}")),
    };
    conflict(lost, "taking away the other one at once")?;
    conflict(
        store.begin_removal(&stays).await,
        "taking away the only one that is left",
    )?;
    let all = store.organisations(OrganisationId(0), ALL).await;
    let all = all.map_err(sentence)?;
    ensure!(
        all.len() == 1 && all[0].id == stays.id,
        "the one that stays is not there"
    );
    let gone = store.removals(OrganisationId(0), ALL).await;
    let gone = gone.map_err(sentence)?;
    ensure!(
        gone.len() == 1 && gone[0].id != stays.id,
        "{} were taken away",
        gone.len()
    );
    Ok(())
}
