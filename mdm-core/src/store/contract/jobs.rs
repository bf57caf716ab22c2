//! Jobs: claims, leases, fairness, and what is next.

use super::{A, B, Finding, at, batch, commit, ensure, put, refuse, same, samples, sentence};
use crate::enrollment::EnrollmentState;
use crate::hand_off::HandOffState;
use crate::ids::{
    CertificateId, CommandId, DeviceId, EnrollmentId, HandOffId, HandOffPartId, JobId, MoveId,
    OrganisationId, SecretId, ServerId, SessionId, SetUpId,
};
use crate::job::{Job, JobKind};
use crate::queue::CommandState;
use crate::store::{Claim, Lease, Store, Write};

async fn claim(store: &impl Store, now: i64, lease: i64, limit: u32) -> Result<Vec<Job>, String> {
    let claimed = store.claim_jobs(at(now), Lease(at(lease)), limit).await;
    claimed.map_err(sentence)
}

fn done(id: i64, lease: i64) -> Write {
    Write::JobDone {
        organisation: A,
        id: JobId(id),
        lease: Lease(at(lease)),
    }
}

fn later(job: Job, lease: i64) -> Write {
    let lease = Lease(at(lease));
    Write::JobLater { job, lease }
}

pub(super) async fn a_job_is_claimed_once(store: &impl Store) -> Finding {
    ensure!(
        claim(store, 100, 200, 10).await?.is_empty(),
        "a job in an empty store"
    );
    let mut job = samples::job(A, 1, 10);
    job.tries = 3;
    put(store, [job.clone().into()]).await?;
    ensure!(
        claim(store, 9, 20, 10).await?.is_empty(),
        "claimed before it is due"
    );
    ensure!(claim(store, 10, 20, 0).await?.is_empty(), "none were asked");
    let claimed = claim(store, 10, 20, 10).await?;
    ensure!(
        claimed == [job.clone()],
        "claimed is {claimed:?}, not {job:?}"
    );
    ensure!(
        claim(store, 10, 21, 10).await?.is_empty(),
        "claimed twice at once"
    );
    ensure!(
        claim(store, 19, 29, 10).await?.is_empty(),
        "claimed during another lease"
    );
    let waiting = store.jobs_waiting().await.map_err(sentence)?;
    ensure!(waiting == 1, "a leased job is not counted: {waiting}");
    let times = store.job_times(A, JobId(1)).await.map_err(sentence)?;
    ensure!(
        times.is_some_and(|t| (t.due, t.leased_until) == (at(10), at(20))),
        "the times of a leased job are {times:?}"
    );
    let times = store.job_times(B, JobId(1)).await.map_err(sentence)?;
    ensure!(times.is_none(), "another organisation's job: {times:?}");
    let again = claim(store, 20, 30, 10).await?;
    ensure!(again == [job], "not claimed after the lease: {again:?}");
    put(store, [done(1, 30)]).await?;
    let waiting = store.jobs_waiting().await.map_err(sentence)?;
    ensure!(waiting == 0, "a job that is done still waits");
    ensure!(
        claim(store, 99, 199, 10).await?.is_empty(),
        "claimed after it was done"
    );
    Ok(())
}

pub(super) async fn an_effect_is_replaced_by_no_other(store: &impl Store) -> Finding {
    let read = |device| {
        let device = DeviceId(device);
        Job::new(A, JobId(5), at(10), JobKind::ReadDevice { device })
    };
    put(store, [read(7).into()]).await?;
    // Two processes may draw the same id.
    refuse(store, [read(77).into()], "another effect under its key").await?;
    let kept = claim(store, 20, 30, 10).await?;
    ensure!(kept == [read(7)], "kept is {kept:?}");
    // A channel has one wake, and asking again for it is heard also while it is worked on.
    let push = |due| Job::push(A, EnrollmentId(7), at(due));
    put(store, [push(12).into()]).await?;
    put(store, [push(11).into()]).await?;
    let one = claim(store, 20, 30, 10).await?;
    ensure!(one == [push(11)], "of two wakes there is {one:?}");
    put(store, [push(21).into()]).await?;
    let again = claim(store, 22, 32, 10).await?;
    ensure!(again == [push(21)], "asked for meanwhile is {again:?}");
    // What stands under a known key is moved.
    let errands = |due| Job::new(A, JobId(6), at(due), JobKind::Errands);
    put(store, [errands(500).into()]).await?;
    put(store, [errands(40).into()]).await?;
    let moved = claim(store, 50, 60, 10).await?;
    ensure!(moved.contains(&errands(40)), "moved is {moved:?}");
    Ok(())
}

pub(super) async fn a_lease_is_proof(store: &impl Store) -> Finding {
    let job = samples::job(A, 1, 10);
    refuse(store, [done(1, 20)], "ending a job that never was").await?;
    refuse(
        store,
        [later(job.clone(), 20)],
        "putting off a job that never was",
    )
    .await?;
    put(store, [job.clone().into()]).await?;
    refuse(store, [done(1, 20)], "ending a job that nobody claimed").await?;
    claim(store, 10, 20, 10).await?;
    claim(store, 20, 30, 10).await?;
    let with = Write::from(samples::wave(A, crate::ids::WaveId(1)));
    refuse(
        store,
        [with, done(1, 20)],
        "ending a job under an old lease",
    )
    .await?;
    let wave = store.wave(A, crate::ids::WaveId(1)).await;
    ensure!(
        wave.map_err(sentence)?.is_none(),
        "the outcome of an old lease is written"
    );
    refuse(
        store,
        [later(job.clone(), 20)],
        "putting off under an old lease",
    )
    .await?;

    // Its own lease is proof, also after its end, as long as nobody else claimed it.
    let mut next = job.clone();
    next.due = at(50);
    next.tries = 1;
    next.kind = JobKind::Assign {
        server: ServerId(1),
    };
    put(store, [later(next.clone(), 30)]).await?;
    refuse(
        store,
        [done(1, 30)],
        "ending a job that was put off, under the lease of before",
    )
    .await?;
    ensure!(
        claim(store, 49, 99, 10).await?.is_empty(),
        "claimed before the new time"
    );
    let claimed = claim(store, 50, 60, 10).await?;
    ensure!(
        claimed == [next.clone()],
        "put off to {next:?}, claimed as {claimed:?}"
    );

    // Replacing ends the lease, too.
    put(store, [next.clone().into()]).await?;
    refuse(
        store,
        [done(1, 60)],
        "ending a job that was replaced, under the lease of before",
    )
    .await?;
    let claimed = claim(store, 51, 61, 10).await?;
    ensure!(claimed == [next], "a replaced job is {claimed:?}");
    put(store, [done(1, 61)]).await?;
    let waiting = store.jobs_waiting().await.map_err(sentence)?;
    ensure!(waiting == 0, "{waiting} jobs are left");
    Ok(())
}

fn claim_of(id: i64, lease: i64) -> Claim {
    Claim {
        organisation: A,
        id: JobId(id),
        lease: Lease(at(lease)),
    }
}

pub(super) async fn a_lease_is_renewed(store: &impl Store) -> Finding {
    let renew = async |claims: &[(Claim, crate::clock::Timestamp)]| {
        let kept = store.renew_leases(claims).await.map_err(sentence)?;
        Ok::<_, String>(kept.iter().map(|claim| claim.id.0).collect::<Vec<_>>())
    };
    ensure!(renew(&[]).await?.is_empty(), "something is kept of nothing");
    let (one, two) = (claim_of(1, 20), claim_of(2, 20));
    let missing = renew(&[(one, at(40))]).await?;
    ensure!(missing.is_empty(), "a job that never was is kept");
    let jobs = [1, 2, 3].map(|id| samples::job(A, id, 10));
    put(store, jobs.clone().map(Write::from)).await?;
    let early = renew(&[(one, at(40))]).await?;
    ensure!(early.is_empty(), "a job that nobody claimed is kept");
    claim(store, 10, 20, 10).await?;
    let kept = renew(&[(one, at(40)), (two, at(50))]).await?;
    ensure!(kept.len() == 2, "of two, {kept:?} are kept");
    let times = store.job_times(A, JobId(1)).await.map_err(sentence)?;
    ensure!(
        times.is_some_and(|t| (t.leased_until, t.lease) == (at(40), Some(one.lease))),
        "the times of a job that is kept are {times:?}"
    );
    // The third was not renewed, and is somebody else's now.
    let others = claim(store, 20, 60, 10).await?;
    ensure!(
        others == [jobs[2].clone()],
        "claimed beside those that are kept: {others:?}"
    );
    let late = renew(&[(claim_of(3, 20), at(90)), (one, at(70))]).await?;
    ensure!(late == [1], "{late:?} are kept, and one is another's");
    // What it was claimed under is proof for as long as it is kept, and what is renewed after its end is kept, too.
    put(store, [done(1, 20)]).await?;
    let gone = renew(&[(one, at(99))]).await?;
    ensure!(gone.is_empty(), "a job that is done is kept");
    let again = renew(&[(two, at(80))]).await?;
    ensure!(again == [2], "nobody claimed it meanwhile: {again:?}");
    // Given back, it is anybody's at once, and whoever gave it back has no proof any more once it is.
    renew(&[(two, at(30))]).await?;
    let taken = claim(store, 30, 45, 10).await?;
    ensure!(taken == [jobs[1].clone()], "given back: {taken:?}");
    refuse(store, [done(2, 20)], "ending a job that was given back").await?;
    // Put anew, it is not kept: it may be claimed at once.
    put(store, [jobs[2].clone().into()]).await?;
    let anew = renew(&[(claim_of(3, 60), at(90))]).await?;
    ensure!(anew.is_empty(), "a job that was put anew is kept");
    let times = store.job_times(A, JobId(3)).await.map_err(sentence)?;
    ensure!(
        times.is_some_and(|t| t.lease.is_none()),
        "a job that was put anew is leased: {times:?}"
    );
    Ok(())
}

pub(super) async fn no_job_waits_longer_than_any_may(store: &impl Store) -> Finding {
    const DAY: i64 = 86_400_000;
    let patient = |id, due| {
        let mut job = samples::job(A, id, due);
        job.kind = JobKind::RotateKey {
            device: DeviceId(1),
            secret: SecretId(2),
        };
        job
    };
    put(
        store,
        [
            samples::job(A, 1, 2_000).into(),
            samples::job(A, 2, DAY / 2).into(),
            samples::job(B, 3, 3 * DAY).into(),
            patient(4, 3 * DAY).into(),
            patient(5, 20 * DAY).into(),
            samples::job(A, 6, 10).into(),
        ],
    )
    .await?;
    // Somebody has it, or died over it, by a clock that was days ahead.
    let held = claim(store, 10, 5 * DAY, 10).await?;
    ensure!(held.len() == 1, "{held:?} are due");
    let end_if = async |limit, sure| {
        let lease = Lease(at(1_020));
        let done = store.due_at_once(at(1_000), lease, limit, sure).await;
        done.map_err(sentence)
    };
    let end = async |limit| end_if(limit, true).await;
    // Whoever may be wrong itself leaves what somebody is at, and what people chose a day for.
    let done = end_if(10, false).await?;
    ensure!(
        done == 1,
        "{done} waits are ended by who is not sure, not 1"
    );
    let due = claim(store, 1_000, 1_001, 10).await?;
    let found: Vec<_> = due.iter().map(|job| job.id.0).collect();
    ensure!(found == [3], "due for who is not sure: {found:?}");
    let free = claim(store, 1_020, 1_021, 10).await?;
    let found: Vec<_> = free.iter().map(|job| job.id.0).collect();
    ensure!(
        found == [3],
        "free after the lease for who is not sure: {found:?}"
    );
    // As it was before.
    put(store, [samples::job(B, 3, 3 * DAY).into()]).await?;
    let done = end(10).await?;
    ensure!(done == 3, "{done} waits are ended, not 3");
    let due = claim(store, 1_000, 1_500, 10).await?;
    let mut found: Vec<_> = due.iter().map(|job| (job.id.0, job.due)).collect();
    found.sort_unstable();
    ensure!(
        found == [(3, at(1_000)), (5, at(1_000))],
        "due at once: {found:?}"
    );
    let freed = claim(store, 1_020, 1_500, 10).await?;
    ensure!(freed == held, "free after the lease: {freed:?}");
    for (id, due) in [(1, 2_000), (2, DAY / 2), (4, 3 * DAY)] {
        let times = store.job_times(A, JobId(id)).await.map_err(sentence)?;
        ensure!(
            times.is_some_and(|times| times.due == at(due)),
            "a job that waits as it should is moved: {times:?}"
        );
    }
    put(
        store,
        [
            samples::job(A, 7, 9 * DAY).into(),
            samples::job(B, 8, 9 * DAY).into(),
        ],
    )
    .await?;
    let counts = [end(1).await?, end(1).await?, end(1).await?];
    ensure!(counts == [1, 1, 0], "one at a time: {counts:?}");
    Ok(())
}

pub(super) async fn the_oldest_go_first(store: &impl Store) -> Finding {
    let rows = [(4, 10), (3, 20), (2, 10), (1, 30), (5, 5)];
    let jobs = rows.map(|(id, due)| samples::job(A, id, due).into());
    put(store, jobs).await?;
    let ids = |jobs: Vec<Job>| jobs.iter().map(|j| j.id.0).collect::<Vec<_>>();
    let first = ids(claim(store, 25, 100, 3).await?);
    ensure!(first == [5, 2, 4], "the first three are {first:?}");
    let rest = ids(claim(store, 30, 100, 3).await?);
    ensure!(rest == [3, 1], "the rest is {rest:?}");
    let again = ids(claim(store, 100, 200, 9).await?);
    ensure!(again == [5, 2, 4, 3, 1], "after the leases: {again:?}");
    Ok(())
}

pub(super) async fn no_organisation_starves(store: &impl Store) -> Finding {
    // One has a hundred old jobs, three others have a few new ones.
    let many = (1..=100).map(|id| samples::job(A, id, 1).into());
    commit(store, batch(many)).await.map_err(sentence)?;
    for organisation in [2, 3, 4] {
        for id in [1, 2] {
            let job = samples::job(OrganisationId(organisation), id, 50);
            put(store, [job.into()]).await?;
        }
    }
    let owners = |jobs: &[Job], o| jobs.iter().filter(|j| j.organisation.0 == o).count();
    let first = claim(store, 60, 100, 10).await?;
    let counts = [1, 2, 3, 4].map(|o| owners(&first, o));
    ensure!(
        counts == [4, 2, 2, 2],
        "of ten, the organisations got {counts:?}"
    );
    let order: Vec<_> = first.iter().map(|j| (j.due, j.id)).collect();
    ensure!(order.is_sorted(), "a claim is not in the order of due");
    // Fewer places than organisations: the oldest heads.
    let second = claim(store, 100, 200, 2).await?;
    ensure!(
        owners(&second, 1) == 1 && second.len() == 2,
        "of two, the organisations got {second:?}"
    );
    // Everybody is served in the end, and nobody twice.
    let mut seen = second.len();
    loop {
        let some = claim(store, 100, 200, 7).await?;
        if some.is_empty() {
            break;
        }
        seen += some.len();
    }
    ensure!(seen == 106, "{seen} of 106 were claimed");
    Ok(())
}

pub(super) async fn the_next_thing_is_known(store: &impl Store) -> Finding {
    let next = async || store.next_due().await.map_err(sentence);
    let none = next().await?;
    ensure!(
        none.is_none(),
        "something is due in an empty store: {none:?}"
    );
    put(store, [samples::job(A, 1, 100).into()]).await?;
    ensure!(next().await? == Some(at(100)), "a job is not seen");
    let mut attempt = samples::attempt(B, MoveId(1));
    attempt.wake_at = Some(at(90));
    put(store, [attempt.clone().into()]).await?;
    ensure!(next().await? == Some(at(90)), "a move's wake is not seen");
    let mut set_up = samples::set_up(A, SetUpId(1));
    set_up.wake_at = Some(at(80));
    set_up.ceiling_at = None;
    put(store, [set_up.clone().into()]).await?;
    ensure!(next().await? == Some(at(80)), "a set-up's wake is not seen");
    set_up.version = 1;
    set_up.ceiling_at = Some(at(-5));
    put(store, [set_up.clone().into()]).await?;
    ensure!(
        next().await? == Some(at(-5)),
        "a ceiling in the past is not seen"
    );
    set_up.version = 2;
    set_up.ceiling_at = None;
    set_up.wake_at = None;
    attempt.version = 1;
    let ended = samples::ended(attempt);
    put(store, [set_up.into(), ended.into()]).await?;
    ensure!(next().await? == Some(at(100)), "what ended is still due");
    claim(store, 100, 150, 1).await?;
    ensure!(
        next().await? == Some(at(150)),
        "a leased job is not due at the end of its lease"
    );
    let mut late = samples::job(A, 1, 400);
    late.tries = 1;
    put(store, [later(late, 150)]).await?;
    ensure!(
        next().await? == Some(at(400)),
        "a job that was put off is not due then"
    );
    let all = store.claim_jobs(at(399), Lease(at(500)), 10).await;
    same(all, |j| j.id.0, &[], "claimed before it is due")
}

pub(super) async fn a_job_for_a_hand_off_goes_with_what_became_of_its_devices(
    store: &impl Store,
) -> Finding {
    let job = |id: i64, state: HandOffState| {
        let mut it = samples::hand_off(A, HandOffId(id));
        it.state = state;
        it
    };
    let closed = |moment: i64| HandOffState::Closed {
        at: at(moment),
        by: "Bo".to_owned(),
        bundle: None,
    };
    let imported = |moment: i64| HandOffState::Imported {
        bundle: "0f".repeat(32),
        at: at(moment),
        devices: 1,
        rejected: 0,
    };
    let part = |id: i64, job: i64| {
        let mut it = samples::hand_off_part(A, HandOffPartId(id));
        it.job = HandOffId(job);
        it
    };
    // Somebody has ended it after it had taken some devices: its row says so as that of a used one does.
    let begun = HandOffState::Closed {
        at: at(100),
        by: "Bo".to_owned(),
        bundle: Some("0e".repeat(32)),
    };
    let day = 86_400_000;
    let mut theirs = job(1, closed(100));
    theirs.organisation = B;
    put(
        store,
        [
            job(1, closed(100)).into(),
            job(2, closed(300 * day)).into(),
            // Their row says for which job a bundle was taken: as long as another one may be open to which it was sealed.
            job(3, imported(100)).into(),
            job(4, imported(115 * day)).into(),
            job(5, HandOffState::Open).into(),
            job(6, begun).into(),
            theirs.into(),
            part(1, 3).into(),
            part(2, 4).into(),
            part(3, 1).into(),
            part(4, 3).into(),
        ],
    )
    .await?;
    let mut gone = Vec::new();
    for before in [1, 89, 91, 200, 200] {
        let before = at(before * day);
        gone.push(store.prune(A, before, 10).await.map_err(sentence)?);
    }
    ensure!(
        gone == [2, 0, 4, 0, 0],
        "rows went in this order: {gone:?}, not two, four after 90 days, and no more"
    );
    let left = store.hand_offs(A, HandOffId(0), 10).await;
    same(left, |job| job.id.0, &[2, 4, 5], "jobs for hand-offs")?;
    let theirs = store.hand_offs(B, HandOffId(0), 10).await;
    same(theirs, |job| job.id.0, &[1], "jobs of another organisation")?;
    for (job, parts) in [(1, vec![]), (3, vec![]), (4, vec![2])] {
        let left = store
            .hand_off_parts(A, HandOffId(job), HandOffPartId(0), 10)
            .await;
        same(left, |part| part.id.0, &parts, "what became of devices")?;
    }
    Ok(())
}

pub(super) async fn what_is_over_is_deleted_when_it_is_old(store: &impl Store) -> Finding {
    // Of each kind: one that is over and old, one that is over and young, one that is not over.
    let over = |id: i64, settled: Option<i64>| {
        let mut it = samples::command(A, CommandId(id));
        it.settled = settled.map(at);
        it.state = if settled.is_some() {
            CommandState::Acknowledged
        } else {
            CommandState::Queued
        };
        it
    };
    let ended = |id: i64, ended: Option<i64>| {
        let mut it = samples::enrollment(A, EnrollmentId(id));
        it.ended = ended.map(at);
        it.state = if ended.is_some() {
            EnrollmentState::Superseded
        } else {
            EnrollmentState::Enrolled
        };
        it
    };
    let session = |id: i64, expires: i64, used: bool| {
        let mut it = samples::session(A, SessionId(id));
        it.expires = at(expires);
        it.certificate = used.then_some(CertificateId(1));
        it
    };
    let listed = 7 * 86_400_000;
    // Each in the session with ten times its number.
    let identity = |id: i64, not_after: i64, speaks: bool| {
        let mut it = samples::certificate(A, CertificateId(id));
        it.session = SessionId(10 * id);
        it.not_after = at(not_after - listed);
        it.replaced = (!speaks).then(|| at(1));
        it.renew_at = speaks.then(|| at(1));
        it
    };
    let mut elsewhere = identity(4, 100, true);
    (elsewhere.revoked, elsewhere.authority) = (Some(at(1)), None);
    let mut theirs = over(9, Some(100));
    theirs.organisation = B;
    put(
        store,
        [
            over(1, Some(100)).into(),
            over(2, Some(110)).into(),
            over(3, Some(300)).into(),
            over(4, None).into(),
            theirs.into(),
            ended(5, Some(100)).into(),
            ended(6, Some(300)).into(),
            ended(7, None).into(),
            session(1, 100, false).into(),
            session(2, 300, false).into(),
            // Identities were issued in these: the first one of them goes, and then nothing holds its session; the others stay;
            // of the last one none was kept.
            session(10, 100, true).into(),
            session(20, 100, true).into(),
            session(30, 100, true).into(),
            session(3, 101, true).into(),
            identity(1, 100, false).into(),
            identity(2, 300, false).into(),
            // Expired, and somebody speaks with it; revoked, and known by its row only.
            identity(3, 100, true).into(),
            elsewhere.into(),
        ],
    )
    .await?;
    let prune = async |limit| store.prune(A, at(200), limit).await.map_err(sentence);
    let first = prune(1).await?;
    ensure!(
        first == 5,
        "{first} rows went in a round of one of each kind"
    );
    let oldest = store
        .command(A, EnrollmentId(5), &samples::uuid(CommandId(1)))
        .await;
    ensure!(
        oldest.map_err(sentence)?.is_none(),
        "the oldest is still there"
    );
    let second = prune(10).await?;
    ensure!(second == 2, "{second} rows went in the second round");
    let third = prune(10).await?;
    ensure!(
        third == 0,
        "{third} rows went that were not over, or not old"
    );
    let left = store
        .commands(A, EnrollmentId(5), CommandId(i64::MAX), 10)
        .await;
    same(left, |c| c.id.0, &[4, 3], "commands")?;
    let theirs = store
        .commands(B, EnrollmentId(5), CommandId(i64::MAX), 10)
        .await;
    same(theirs, |c| c.id.0, &[9], "commands of another organisation")?;
    for (id, there) in [(5, false), (6, true), (7, true)] {
        let found = store
            .enrollment(A, EnrollmentId(id))
            .await
            .map_err(sentence)?;
        ensure!(
            found.is_some() == there,
            "enrolment {id} is wrong: {found:?}"
        );
    }
    for (id, there) in [
        (1, false),
        (2, true),
        (3, false),
        (10, false),
        (20, true),
        (30, true),
    ] {
        let found = store.session(A, SessionId(id)).await.map_err(sentence)?;
        ensure!(found.is_some() == there, "session {id} is wrong: {found:?}");
    }
    for (id, there) in [(1, false), (2, true), (3, true), (4, true)] {
        let found = store.certificate(A, CertificateId(id)).await;
        let found = found.map_err(sentence)?;
        ensure!(
            found.is_some() == there,
            "certificate {id} is wrong: {found:?}"
        );
    }
    Ok(())
}
