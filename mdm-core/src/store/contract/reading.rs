//! Reading: what each list contains, in which order, and how it is paged.

use super::{A, B, Finding, at, batch, commit, ensure, put, refuse, same, samples, sentence};
use crate::audit::{AuditEntry, Refusal};
use crate::device::Device;
use crate::enrollment::{ChannelKind, EnrolSession, Enrollment, EnrollmentState};
use crate::ids::{
    AuditId, BudgetId, CertificateId, CommandId, DeviceId, EnrollmentId, ErrandId, LibraryId,
    LocationId, MoveId, OrganisationId, PersonSessionId, RefusalId, RunbookId, SecretId, ServerId,
    SessionId, SetUpId, SignInId, TokenId, WaveId,
};
use crate::migration::{SetUp, SetUpEnd, SetUpState, Steps};
use crate::person::Granted;
use crate::queue::CommandState;
use crate::store::{CommandsWaiting, Store, Write};

/// A limit that is never reached.
const ALL: u32 = 1_000;

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

pub(super) async fn channels(store: &impl Store) -> Finding {
    let channel = |id, key: &str, state, change: fn(&mut Enrollment)| {
        let mut it = samples::enrollment(A, EnrollmentId(id));
        it.key = key.to_owned();
        it.state = state;
        change(&mut it);
        Write::Enrollment(it)
    };
    let user: fn(&mut Enrollment) = |it| {
        it.parent = Some(EnrollmentId(4));
        it.channel = ChannelKind::User {
            short_name: Some("anna".to_owned()),
            long_name: None,
        };
    };
    put(
        store,
        [
            channel(4, "U", EnrollmentState::Enrolled, |_| ()),
            channel(1, "U", EnrollmentState::Superseded, |_| ()),
            channel(3, "U", EnrollmentState::Pending, |_| ()),
            channel(2, "U", EnrollmentState::CheckedOut, |_| ()),
            channel(7, "U:X", EnrollmentState::Enrolled, user),
            channel(6, "U:Y", EnrollmentState::Superseded, user),
            channel(8, "V", EnrollmentState::Enrolled, |it| it.device = None),
        ],
    )
    .await?;
    let by_key = async |key| store.enrollments_by_key(A, key).await;
    same(by_key("U").await, |e| e.id.0, &[2, 3, 4], "by key")?;
    same(by_key("u").await, |e| e.id.0, &[], "by a key in lower case")?;
    same(by_key("U:X").await, |e| e.id.0, &[7], "a user's by key")?;
    let users = store.user_channels(A, EnrollmentId(4)).await;
    same(users, |e| e.id.0, &[6, 7], "user channels")?;
    let users = store.user_channels(A, EnrollmentId(3)).await;
    same(users, |e| e.id.0, &[], "user channels of another")?;
    let all = store.enrollments_of_device(A, DeviceId(40)).await;
    same(all, |e| e.id.0, &[1, 2, 3, 4], "generations of a device")
}

pub(super) async fn sessions_and_certificates(store: &impl Store) -> Finding {
    put(
        store,
        [
            samples::session(A, SessionId(1)).into(),
            samples::session(A, SessionId(2)).into(),
            samples::certificate(A, CertificateId(1)).into(),
            samples::certificate(A, CertificateId(2)).into(),
        ],
    )
    .await?;
    let found = store.session_by_challenge(A, "hash2").await;
    let found = found.map_err(sentence)?;
    ensure!(
        found.is_some_and(|s| s.id.0 == 2 && s.version == 1),
        "no session by its challenge"
    );
    let none = store.session_by_challenge(A, "hash3").await;
    ensure!(
        none.map_err(sentence)?.is_none(),
        "a session by no challenge"
    );
    let found = store.certificate_by_hash(A, "sha2").await;
    let found = found.map_err(sentence)?;
    ensure!(
        found.is_some_and(|c| c.id.0 == 2 && c.version == 1),
        "no certificate by its hash"
    );
    let none = store.certificate_by_hash(A, "sha3").await;
    ensure!(
        none.map_err(sentence)?.is_none(),
        "a certificate by no hash"
    );
    let found = store.session_by_code(A, "code1").await;
    let found = found.map_err(sentence)?;
    ensure!(found.is_some_and(|s| s.id.0 == 1), "no session by its code");
    let none = store.session_by_code(B, "code1").await;
    ensure!(
        none.map_err(sentence)?.is_none(),
        "a session by another's code"
    );
    let of = |session: EnrolSession, device| EnrolSession {
        device: Some(DeviceId(device)),
        ..session
    };
    let mut used = of(samples::session(A, SessionId(4)), 40);
    used.used_by = Some(("t".to_owned(), "k".to_owned()));
    let mut issued = of(samples::session(A, SessionId(5)), 40);
    issued.certificate = Some(CertificateId(20));
    let identity = |organisation, id, device| {
        let mut it = samples::certificate(organisation, CertificateId(id));
        (it.device, it.revoked) = (Some(DeviceId(device)), (id == 20).then(|| at(9)));
        Write::from(it)
    };
    let new = [
        of(samples::session(A, SessionId(6)), 40).into(),
        of(samples::session(A, SessionId(3)), 40).into(),
        of(samples::session(A, SessionId(7)), 41).into(),
        of(samples::session(B, SessionId(8)), 40).into(),
        used.into(),
        issued.into(),
        identity(A, 21, 40),
        identity(A, 20, 40),
        identity(A, 22, 41),
        identity(B, 23, 40),
    ];
    put(store, new).await?;
    let open = store.open_sessions_of_device(A, DeviceId(40)).await;
    same(open, |s| s.id.0, &[3, 6], "open sessions of a device")?;
    let all = store.certificates_of_device(A, DeviceId(40)).await;
    same(all, |c| c.id.0, &[20, 21], "identities of a device")?;
    let due = |id, renew: Option<i64>, revoked: Option<i64>| {
        let mut it = samples::certificate(A, CertificateId(id));
        it.renew_at = renew.map(at);
        it.revoked = revoked.map(at);
        Write::from(it)
    };
    let mut others = samples::certificate(B, CertificateId(6));
    (others.renew_at, others.revoked) = (Some(at(30)), None);
    let new = [
        due(3, Some(50), None),
        due(4, Some(20), None),
        due(5, Some(10), Some(40)),
        due(7, None, Some(41)),
        others.into(),
    ];
    put(store, new).await?;
    let some = store.certificates(A, CertificateId(1), 4).await;
    same(some, |c| c.id.0, &[2, 3, 4, 5], "a page of identities")?;
    let revoked = store.revoked_certificates(A, CertificateId(0), 10).await;
    same(revoked, |c| c.id.0, &[5, 7, 20], "revoked identities")?;
    let revoked = store.revoked_certificates(A, CertificateId(5), 10).await;
    same(revoked, |c| c.id.0, &[7, 20], "more revoked identities")?;
    let ending = store.identities_ending(at(14)).await.map_err(sentence)?;
    let before = store.identities_ending(at(13)).await.map_err(sentence)?;
    if ending.0 != Some(at(14)) || ending.1 < 3 || before != (Some(at(14)), 0) {
        return Err(format!("identities that end: {ending:?}, {before:?}"));
    }
    let renew = store.certificates_to_renew(at(50), 10).await;
    same(renew, |c| c.id.0, &[4, 6, 3], "identities to renew")?;
    let renew = store.certificates_to_renew(at(49), 1).await;
    same(renew, |c| c.id.0, &[4], "the first identity to renew")
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
    let all = store.commands(A, of, ALL).await;
    same(all, |c| c.id.0, &[8, 7, 6, 5, 4, 3, 2, 1], "all")?;
    let all = store.commands(A, of, 2).await;
    same(all, |c| c.id.0, &[8, 7], "the newest")?;
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
    let mut other = samples::attempt(B, MoveId(2));
    other.wake_at = Some(at(25));
    put(
        store,
        [
            attempt(3, 7, 30).into(),
            samples::ended(attempt(1, 7, 10)).into(),
            attempt(2, 8, 30).into(),
            elsewhere.into(),
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
    let hash = samples::token(A, TokenId(2)).hash;
    let found = store.token_by_hash(&hash).await.map_err(sentence)?;
    ensure!(
        found.is_some_and(|t| t.id.0 == 2 && t.version == 1),
        "no token by its hash"
    );
    let none = store.token_by_hash("other").await.map_err(sentence)?;
    ensure!(none.is_none(), "a token by no hash");
    Ok(())
}

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
