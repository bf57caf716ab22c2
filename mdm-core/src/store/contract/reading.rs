//! Reading: what each list contains, in which order, and how it is paged.

use super::{A, B, Finding, at, batch, commit, ensure, put, same, samples, sentence};
use crate::audit::{AuditEntry, Refusal};
use crate::device::{Device, LastHeard};

use crate::ids::{
    AuditId, CommandId, DeviceId, EnrollmentId, MoveId, OrganisationId, RefusalId, RunbookId,
    ServerId, SetUpId, WaveId,
};
use crate::migration::{SetUp, SetUpEnd, SetUpState, Steps};
use crate::queue::CommandState;
use crate::store::{CommandsWaiting, Store, Write};

/// A limit that is never reached.
pub(super) const ALL: u32 = 1_000;

pub(super) async fn organisations_in_order(store: &impl Store) -> Finding {
    for id in [3, 1, 2] {
        put(store, [samples::organisation(OrganisationId(id)).into()]).await?;
    }
    let page = async |after, limit| store.organisations(OrganisationId(after), limit).await;
    same(page(0, ALL).await, |o| o.id.0, &[1, 2, 3], "all")?;
    same(page(0, 2).await, |o| o.id.0, &[1, 2], "a first page")?;
    same(page(2, 2).await, |o| o.id.0, &[3], "a second page")?;
    let code = samples::code(OrganisationId(2));
    let found = store.organisation_by_code(&code).await.map_err(sentence)?;
    ensure!(
        found.is_some_and(|o| o.id.0 == 2 && o.version == 1),
        "not found by its code"
    );
    let code = samples::code(OrganisationId(4));
    let found = store.organisation_by_code(&code).await.map_err(sentence)?;
    ensure!(found.is_none(), "found by a code that nobody has");
    Ok(())
}

pub(super) async fn devices_in_order(store: &impl Store) -> Finding {
    for id in [3, 1, 2] {
        put(store, [samples::device(A, DeviceId(id)).into()]).await?;
    }
    let page = async |after, limit| store.devices(A, DeviceId(after), limit).await;
    same(page(0, ALL).await, |d| d.id.0, &[1, 2, 3], "all")?;
    same(page(0, 2).await, |d| d.id.0, &[1, 2], "a first page")?;
    same(page(2, 2).await, |d| d.id.0, &[3], "a second page")?;
    let found = store
        .device_by_serial(A, &samples::serial("SERIAL2"))
        .await
        .map_err(sentence)?;
    ensure!(
        found.is_some_and(|d| d.id.0 == 2),
        "not found by its serial number"
    );
    let none = store
        .device_by_serial(A, &samples::serial("SERIAL4"))
        .await
        .map_err(sentence)?;
    ensure!(none.is_none(), "found by a serial number that nobody has");
    let asked = ["SERIAL3", "SERIAL9", "SERIAL1", "SERIAL3"].map(samples::serial);
    let found = store.devices_by_serial(A, &asked).await;
    same(found, |d| d.id.0, &[1, 3], "by serial numbers")?;
    let none = store.devices_by_serial(A, &[]).await;
    same(none, |d| d.id.0, &[], "by no serial number")
}

/// A device as the sync sees it: its server entry, when it was seen, and the profile in force and wanted.
fn synced(id: i64, change: impl FnOnce(&mut Device)) -> Write {
    let mut it = samples::device(A, DeviceId(id));
    change(&mut it);
    it.into()
}

pub(super) async fn when_devices_spoke_last(store: &impl Store) -> Finding {
    let keep = async |o, heard: &[(i64, i64)]| {
        let heard: Vec<_> = heard.iter().map(|(d, t)| (DeviceId(*d), at(*t))).collect();
        store.keep_heard(o, &heard).await.map_err(sentence)
    };
    let known = async |o, ids: &[i64]| {
        let ids: Vec<_> = ids.iter().map(|id| DeviceId(*id)).collect();
        store.last_heard(o, &ids).await
    };
    keep(A, &[]).await?;
    same(
        known(A, &[1]).await,
        |h| h.id.0,
        &[],
        "before anybody spoke",
    )?;
    keep(A, &[(3, 30), (1, 10), (3, 29)]).await?;
    keep(B, &[(1, 99)]).await?;
    let told = |h: &LastHeard| (h.organisation.0, h.id.0, h.at.as_millis());
    let first = [(1, 1, 10), (1, 3, 30)];
    same(known(A, &[3, 2, 1]).await, told, &first, "what was kept")?;
    // Another process writes what it heard earlier: the later moment stays, and the new one is taken.
    keep(A, &[(1, 9), (2, 20), (3, 31)]).await?;
    let then = [(1, 1, 10), (1, 2, 20), (1, 3, 31)];
    same(known(A, &[1, 2, 3]).await, told, &then, "what stays")?;
    same(known(A, &[2]).await, told, &[(1, 2, 20)], "one of them")?;
    same(known(B, &[1, 2]).await, told, &[(2, 1, 99)], "the other's")?;
    // By a clock that was two days ahead; it has been set right, and the device speaks.
    keep(B, &[(1, 172_800_099)]).await?;
    keep(B, &[(1, 98)]).await?;
    same(known(B, &[1]).await, told, &[(2, 1, 98)], "set right")?;
    // As many as are gathered before it is written down.
    let many: Vec<(i64, i64)> = (1..=10_000).map(|id| (id, id + 100)).collect();
    keep(A, &many).await?;
    let last = known(A, &[10_000, 3]).await;
    let expected = [(1, 3, 103), (1, 10_000, 10_100)];
    same(last, told, &expected, "of ten thousand")
}

pub(super) async fn devices_that_the_sync_asks_for(store: &impl Store) -> Finding {
    let want = |it: &mut Device, from: Option<i64>, not_before: Option<i64>| {
        it.assignment.wanted = Some("P2".to_owned());
        it.assignment.from = from.map(at);
        it.assignment.not_before = not_before.map(at);
    };
    put(
        store,
        [
            synced(9, |it| want(it, None, None)),
            synced(2, |it| want(it, Some(10), None)),
            synced(3, |it| want(it, Some(10), Some(20))),
            synced(4, |it| want(it, Some(40), Some(30))),
            synced(5, |it| {
                want(it, None, None);
                in_force(it, "P2", "pushed");
            }),
            // The status counts, not the UUID that lingers.
            synced(6, |it| {
                want(it, None, None);
                in_force(it, "P2", "removed");
            }),
            synced(7, |it| {
                want(it, None, None);
                in_force(it, "P1", "assigned");
            }),
            synced(8, |it| {
                want(it, None, None);
                if let Some(record) = &mut it.record {
                    record.gone = true;
                }
            }),
            synced(10, |it| {
                want(it, None, None);
                it.record = None;
            }),
            synced(11, |it| {
                want(it, None, None);
                if let Some(record) = &mut it.record {
                    record.server = ServerId(4);
                }
            }),
            synced(12, |_| ()),
        ],
    )
    .await?;
    let due = async |now, limit| {
        store
            .devices_to_assign(A, ServerId(3), at(now), limit)
            .await
    };
    same(due(9, ALL).await, |d| d.id.0, &[6, 7, 9], "to assign at 9")?;
    same(due(10, ALL).await, |d| d.id.0, &[2, 6, 7, 9], "at 10")?;
    same(due(20, ALL).await, |d| d.id.0, &[2, 3, 6, 7, 9], "at 20")?;
    same(due(40, ALL).await, |d| d.id.0, &[2, 3, 4, 6, 7, 9], "at 40")?;
    same(due(40, 2).await, |d| d.id.0, &[2, 3], "a first page")?;
    let other = store.devices_to_assign(A, ServerId(4), at(40), ALL).await;
    same(other, |d| d.id.0, &[11], "of the other server entry")?;
    for (now, next) in [(9, Some(10)), (10, Some(20)), (20, Some(40)), (40, None)] {
        let found = store.next_assignment(A, ServerId(3), at(now)).await;
        let found = found.map_err(sentence)?;
        ensure!(
            found == next.map(at),
            "the next assignment after {now} is {found:?}"
        );
    }

    // Seen at 100 + id; 8 is gone, 10 has no record, 11 stands in another list.
    let unseen = async |before, limit| {
        store
            .devices_unseen_since(A, ServerId(3), at(before), limit)
            .await
    };
    same(
        unseen(106, ALL).await,
        |d| d.id.0,
        &[2, 3, 4, 5],
        "not seen since 106",
    )?;
    same(
        unseen(106, 2).await,
        |d| d.id.0,
        &[2, 3],
        "the first of them",
    )?;
    same(
        unseen(200, ALL).await,
        |d| d.id.0,
        &[2, 3, 4, 5, 6, 7, 9, 12],
        "not seen since 200",
    )
}

fn in_force(it: &mut Device, uuid: &str, status: &str) {
    if let Some(record) = &mut it.record {
        record.profile_uuid = Some(uuid.to_owned());
        record.profile_status = status.to_owned();
    }
}

pub(super) async fn commands(store: &impl Store) -> Finding {
    let states = [
        CommandState::NotNow,
        CommandState::Acknowledged,
        CommandState::Sent,
        CommandState::Error,
        CommandState::Cancelled,
        CommandState::FormatError,
        CommandState::Queued,
    ];
    for (id, state) in (1..).zip(states) {
        let mut it = samples::command(A, CommandId(id));
        it.state = state;
        put(store, [it.into()]).await?;
    }
    let of = EnrollmentId(5);
    let open = store.open_commands(A, of, ALL).await;
    same(open, |c| c.id.0, &[3, 7, 1], "open ones, refused ones last")?;
    let open = store.open_commands(A, of, 2).await;
    same(open, |c| c.id.0, &[3, 7], "the first open ones")?;
    let mut urgent = samples::command(A, CommandId(8));
    urgent.priority = 100;
    put(store, [urgent.clone().into()]).await?;
    let open = store.open_commands(A, of, 1).await;
    same(open, |c| c.id.0, &[8], "the urgent one before older ones")?;
    let waiting = store.commands_waiting().await.map_err(sentence)?;
    let expected = CommandsWaiting {
        open: 4,
        put_off: 1,
    };
    ensure!(waiting == expected, "waiting are {waiting:?}");
    urgent.version = 1;
    urgent.state = CommandState::Cancelled;
    put(store, [urgent.into()]).await?;
    let newest = CommandId(i64::MAX);
    let all = store.commands(A, of, newest, ALL).await;
    same(all, |c| c.id.0, &[8, 7, 6, 5, 4, 3, 2, 1], "all")?;
    let all = store.commands(A, of, newest, 2).await;
    same(all, |c| c.id.0, &[8, 7], "the newest")?;
    let all = store.commands(A, of, CommandId(7), 2).await;
    same(all, |c| c.id.0, &[6, 5], "those before them")?;
    let none = store.open_commands(A, EnrollmentId(6), ALL).await;
    same(none, |c| c.id.0, &[], "of another channel")?;
    let mut settled = samples::command(A, CommandId(1));
    settled.version = 1;
    settled.state = CommandState::Acknowledged;
    put(store, [settled.into()]).await?;
    let open = store.open_commands(A, of, ALL).await;
    same(open, |c| c.id.0, &[3, 7], "open ones after a report")
}

pub(super) async fn set_ups(store: &impl Store) -> Finding {
    let since = at(5);
    let steps = Steps::new;
    let stalled = |from| SetUpState::Stalled {
        since,
        from: Box::new(from),
    };
    let holding = || SetUpState::Holding {
        since,
        steps: steps(),
    };
    let releasing = || SetUpState::Releasing {
        since,
        tries: 1,
        steps: steps(),
    };
    let proving = || SetUpState::Proving {
        since,
        steps: steps(),
    };
    let no_hold = SetUpState::NoHold {
        since,
        steps: steps(),
        proved: true,
    };
    let ended = SetUpState::Ended(SetUpEnd::Proved);
    // id, state, wake, ceiling, begin of the hold
    let rows = [
        (1, SetUpState::Enrolling { since }, Some(30), None, None),
        (2, no_hold, Some(10), None, None),
        (3, holding(), Some(20), Some(60), Some(8)),
        (4, holding(), Some(20), Some(50), Some(7)),
        (5, releasing(), Some(40), None, Some(6)),
        (6, stalled(holding()), Some(41), Some(51), None),
        (7, proving(), Some(42), None, Some(3)),
        (8, stalled(proving()), Some(43), None, Some(3)),
        (9, ended, None, None, Some(1)),
    ];
    for (id, state, wake, ceiling, hold) in rows {
        let mut it: SetUp = samples::set_up(A, SetUpId(id));
        it.state = state;
        it.wake_at = wake.map(at);
        it.ceiling_at = ceiling.map(at);
        it.hold_began = hold.map(at);
        put(store, [it.into()]).await?;
    }
    let mut other = samples::set_up(B, SetUpId(3));
    other.wake_at = Some(at(15));
    other.ceiling_at = Some(at(55));
    put(store, [other.into()]).await?;
    let address = |s: &SetUp| (s.organisation.0, s.id.0);
    let due = async |now, limit| store.due_set_ups(at(now), limit).await;
    same(due(9, ALL).await, address, &[], "due at 9")?;
    same(due(15, ALL).await, address, &[(1, 2), (2, 3)], "due at 15")?;
    let all = [(1, 2), (2, 3), (1, 3), (1, 4), (1, 1)];
    same(due(30, ALL).await, address, &all, "due at 30")?;
    same(due(30, 3).await, address, &all[..3], "the first due at 30")?;
    let past = async |now, limit| store.set_ups_past_ceiling(at(now), limit).await;
    same(past(49, ALL).await, address, &[], "past the ceiling at 49")?;
    let all = [(1, 4), (1, 6), (2, 3), (1, 3)];
    same(past(60, ALL).await, address, &all, "past the ceiling at 60")?;
    same(past(60, 1).await, address, &all[..1], "the first of them")?;
    let holds = store.holds(A, None, ALL).await;
    same(holds, |s| s.id.0, &[6, 5, 4, 3], "holds")?;
    let holds = store.holds(A, None, 2).await;
    same(holds, |s| s.id.0, &[6, 5], "the oldest holds")?;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.holds(A, after, 1).await.map_err(sentence)?;
        let Some(last) = page.last() else { break };
        after = last.held_since().map(|since| (since, last.id));
        seen.push(last.id.0);
        ensure!(seen.len() <= 4, "a page of holds comes again");
    }
    ensure!(seen == [6, 5, 4, 3], "pages of holds: {seen:?}");
    let of = store
        .set_up_of(A, EnrollmentId(5))
        .await
        .map_err(sentence)?;
    ensure!(
        of.is_some_and(|s| s.id.0 == 5 && s.version == 1),
        "not found by its enrolment"
    );
    let none = store.set_up_of(A, EnrollmentId(10)).await;
    ensure!(none.map_err(sentence)?.is_none(), "found by no enrolment");
    let asked = [EnrollmentId(6), EnrollmentId(99), EnrollmentId(5)];
    let some = store.set_ups_of_enrollments(A, &asked).await;
    same(some, |s| s.id.0, &[5, 6], "those of some enrolments")?;
    let none = store.set_ups_of_enrollments(A, &[]).await;
    same(none, |s| s.id.0, &[], "those of no enrolments")?;
    let asked = [SetUpId(6), SetUpId(99), SetUpId(5)];
    let some = store.set_ups_of(A, &asked).await;
    same(some, |s| s.id.0, &[5, 6], "those of some ids")?;
    let none = store.set_ups_of(A, &[]).await;
    same(none, |s| s.id.0, &[], "those of no ids")?;
    let page = store.set_ups(A, SetUpId(3), 2).await;
    same(page, |s| s.id.0, &[4, 5], "a page of set-ups")?;
    Ok(())
}

pub(super) async fn runbooks(store: &impl Store) -> Finding {
    for id in [2, 3, 1] {
        put(store, [samples::pinned(A, RunbookId(id)).into()]).await?;
    }
    let all = store.runbooks(A, ALL).await;
    same(all, |r| r.id.0, &[3, 2, 1], "all")?;
    let all = store.runbooks(A, 2).await;
    same(all, |r| r.id.0, &[3, 2], "the newest")?;
    let none = store.runbook(A, RunbookId(4)).await;
    ensure!(none.map_err(sentence)?.is_none(), "one that nobody wrote");
    Ok(())
}

pub(super) async fn moves(store: &impl Store) -> Finding {
    let attempt = |id, device, wake| {
        let mut it = samples::attempt(A, MoveId(id));
        it.device = DeviceId(device);
        it.wake_at = Some(at(wake));
        it
    };
    let mut elsewhere = attempt(5, 9, 50);
    elsewhere.wave = WaveId(3);
    let mut nowhere = attempt(6, 10, 50);
    nowhere.wave = WaveId(3);
    nowhere.gap = None;
    let mut other = samples::attempt(B, MoveId(2));
    other.wake_at = Some(at(25));
    put(
        store,
        [
            attempt(3, 7, 30).into(),
            samples::ended(attempt(1, 7, 10)).into(),
            attempt(2, 8, 30).into(),
            elsewhere.into(),
            nowhere.into(),
            other.into(),
        ],
    )
    .await?;
    let open = store.open_attempt(A, DeviceId(7)).await.map_err(sentence)?;
    ensure!(open.is_some_and(|m| m.id.0 == 3), "no open move");
    let none = store.open_attempt(A, DeviceId(6)).await;
    ensure!(
        none.map_err(sentence)?.is_none(),
        "an open move of no device"
    );
    let page = async |after, limit| store.attempts(A, WaveId(2), MoveId(after), limit).await;
    same(page(0, ALL).await, |m| m.id.0, &[1, 2, 3], "members")?;
    same(page(0, 2).await, |m| m.id.0, &[1, 2], "a first page")?;
    same(page(2, 2).await, |m| m.id.0, &[3], "a second page")?;
    let whole = async |after, limit| store.all_attempts(A, MoveId(after), limit).await;
    same(
        whole(0, ALL).await,
        |m| m.id.0,
        &[1, 2, 3, 5, 6],
        "of all waves",
    )?;
    same(
        whole(1, 2).await,
        |m| m.id.0,
        &[2, 3],
        "a page of all waves",
    )?;
    // One of these has ended, one has no place, and one is in another wave.
    let gap = async |after, limit| store.attempts_in_gap(A, MoveId(after), limit).await;
    same(gap(0, ALL).await, |m| m.id.0, &[2, 3, 5], "in the gap")?;
    same(gap(2, ALL).await, |m| m.id.0, &[3, 5], "a second page")?;
    same(gap(0, 1).await, |m| m.id.0, &[2], "a first page")?;
    let address = |m: &crate::migration::Move| (m.organisation.0, m.id.0);
    let due = async |now, limit| store.due_attempts(at(now), limit).await;
    same(due(24, ALL).await, address, &[], "due at 24")?;
    let all = [(2, 2), (1, 2), (1, 3)];
    same(due(30, ALL).await, address, &all, "due at 30")?;
    same(due(30, 2).await, address, &all[..2], "the first due at 30")
}

pub(super) async fn waves_and_servers(store: &impl Store) -> Finding {
    for id in [2, 3, 1] {
        let wave = samples::wave(A, WaveId(id)).into();
        put(store, [wave, samples::server(A, ServerId(id)).into()]).await?;
    }
    let page = async |after, limit| store.waves(A, WaveId(after), limit).await;
    same(page(0, ALL).await, |w| w.id.0, &[1, 2, 3], "waves")?;
    same(page(0, 2).await, |w| w.id.0, &[1, 2], "a first page")?;
    same(page(2, 2).await, |w| w.id.0, &[3], "a second page")?;
    let servers = store.servers(A).await;
    same(servers, |s| s.id.0, &[1, 2, 3], "server entries")
}

pub(super) async fn the_record(store: &impl Store) -> Finding {
    let entry = |id, device: Option<i64>| {
        let device = device.map(DeviceId);
        let detail = serde_json::Value::Null;
        Write::Audit(AuditEntry::new(
            A,
            AuditId(id),
            at(id),
            "worker",
            "did",
            device,
            detail,
        ))
    };
    let of = |id| entry(id, Some(40));
    let lines = [of(3), entry(2, None), of(1), entry(4, Some(41)), of(5)];
    commit(store, batch(lines)).await.map_err(sentence)?;
    let page = async |after, limit| store.audit(A, AuditId(after), limit).await;
    same(page(0, ALL).await, |l| l.id.0, &[1, 2, 3, 4, 5], "all")?;
    same(page(2, 2).await, |l| l.id.0, &[3, 4], "a page")?;
    let page = async |after, limit| store.audit_of(A, DeviceId(40), AuditId(after), limit).await;
    same(page(0, ALL).await, |l| l.id.0, &[1, 3, 5], "of a device")?;
    same(page(1, 1).await, |l| l.id.0, &[3], "a page of a device")?;
    let refusal = Refusal::new(
        A,
        RefusalId(1),
        at(1),
        "192.0.2.1",
        "scep",
        "challenge: used",
    );
    put(store, [refusal.clone().into()]).await?;
    let found = store.refusals(A, ALL).await.map_err(sentence)?;
    ensure!(found == [refusal], "refusals are {found:?}");
    // However often one is refused, what others were refused stays.
    for id in 2..=120 {
        let mut again = Refusal::new(A, RefusalId(id), at(id), "2001:db8::1", "scep", "again");
        // The second half of an address is the sender's own choice.
        again.address = format!("2001:db8::{id:x}");
        put(store, [again.into()]).await?;
    }
    let left = store.refusals(A, ALL).await.map_err(sentence)?;
    let mut kept: Vec<i64> = left.iter().map(|refusal| refusal.id.0).collect();
    kept.sort_unstable();
    let expected: Vec<i64> = std::iter::once(1).chain(71..=120).collect();
    ensure!(
        kept == expected,
        "after one sender's flood {kept:?} is left"
    );
    Ok(())
}
