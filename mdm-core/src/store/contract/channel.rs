//! What a channel's message is decided on: the same in one read as in many, and each its own when many ask at once.

use super::{A, B, Finding, at, batch, commit, ensure, samples, sentence};
use crate::enrollment::EnrollmentState;
use crate::ids::{
    CertificateId, CommandId, DeviceId, EnrollmentId, MoveId, OrganisationId, SessionId, SetUpId,
};
use crate::queue::CommandState;
use crate::store::channel::one_by_one;
use crate::store::{ChannelAsk, ChannelView, Depth, Store, Write};

/// In each organisation: devices 1 to 3 with an enrolment, a superseded one, a session, a certificate, an attempt, a set-up
/// and three commands, one of them settled. The second device has a user channel; the third one's key has a second
/// enrolment, as a pending generation has.
async fn fill(store: &impl Store) -> Finding {
    for org in [A, B] {
        let mut writes: Vec<Write> = vec![samples::organisation(org).into()];
        for n in 1..=3 {
            writes.push(samples::device(org, DeviceId(n)).into());
            writes.push(samples::attempt(org, MoveId(n)).into());
            let channel = |id: i64| {
                let mut it = samples::enrollment(org, EnrollmentId(id));
                it.key = format!("UDID-{n}");
                it.device = Some(DeviceId(n));
                it
            };
            let mut old = channel(10 + n);
            old.state = EnrollmentState::Superseded;
            writes.push(old.into());
            writes.push(channel(20 + n).into());
            if n == 2 {
                let mut user = channel(30);
                user.key = "UDID-2:USER".to_owned();
                user.parent = Some(EnrollmentId(22));
                writes.push(user.into());
            }
            if n == 3 {
                let mut pending = channel(33);
                pending.state = EnrollmentState::Pending;
                writes.push(pending.into());
            }
            writes.push(samples::set_up(org, SetUpId(20 + n)).into());
            let mut session = samples::session(org, SessionId(40 + n));
            session.device = Some(DeviceId(n));
            writes.push(session.into());
            let mut certificate = samples::certificate(org, CertificateId(50 + n));
            certificate.session = SessionId(40 + n);
            writes.push(certificate.into());
            for c in 1..=3 {
                let mut command = samples::command(org, CommandId(100 + 10 * n + c));
                command.enrollment = EnrollmentId(20 + n);
                if c == 2 {
                    command.state = CommandState::Acknowledged;
                    command.settled = Some(at(5));
                }
                writes.push(command.into());
            }
        }
        commit(store, batch(writes)).await.map_err(sentence)?;
    }
    Ok(())
}

fn ask(organisation: OrganisationId, key: &str, depth: Depth) -> ChannelAsk {
    ChannelAsk {
        organisation,
        key: key.to_owned(),
        depth,
    }
}

/// Questions with known answers, and some without any.
fn questions() -> Vec<ChannelAsk> {
    let mut all = Vec::new();
    for org in [A, B, OrganisationId(9)] {
        for key in [
            "UDID-1",
            "UDID-2",
            "UDID-3",
            "UDID-2:USER",
            "UDID-9",
            "\"\\'",
        ] {
            for depth in [
                Depth::Queue(0),
                Depth::Queue(1),
                Depth::Queue(200),
                Depth::Identity("sha51".to_owned()),
                Depth::Identity("sha52".to_owned()),
                Depth::Identity("nobody".to_owned()),
            ] {
                all.push(ask(org, key, depth));
            }
        }
    }
    all
}

fn shape(view: &ChannelView) -> [usize; 8] {
    [
        view.enrollments.len(),
        view.commands.len(),
        view.set_ups.len(),
        view.devices.len(),
        view.attempts.len(),
        view.generations.len(),
        usize::from(view.certificate.is_some()),
        usize::from(view.session.is_some()),
    ]
}

pub(super) async fn a_message_gets_all_it_needs(store: &impl Store) -> Finding {
    fill(store).await?;
    let deep = |sha: &str| Depth::Identity(sha.to_owned());
    for (question, expected) in [
        (
            ask(A, "UDID-1", Depth::Queue(200)),
            [1, 2, 0, 0, 0, 0, 0, 0],
        ),
        (ask(A, "UDID-1", Depth::Queue(1)), [1, 1, 0, 0, 0, 0, 0, 0]),
        (
            ask(B, "UDID-3", Depth::Queue(200)),
            [2, 2, 0, 0, 0, 0, 0, 0],
        ),
        (ask(A, "UDID-1", deep("sha51")), [1, 0, 1, 1, 1, 2, 1, 1]),
        (ask(A, "UDID-3", deep("sha51")), [2, 0, 1, 2, 2, 5, 1, 1]),
        (ask(B, "UDID-9", deep("sha52")), [0, 0, 0, 1, 1, 3, 1, 1]),
        (ask(B, "UDID-2", deep("nobody")), [1, 0, 1, 1, 1, 3, 0, 0]),
        (ask(OrganisationId(9), "UDID-1", deep("sha51")), [0; 8]),
    ] {
        let words = format!("{question:?}");
        let view = store.channel(question).await.map_err(sentence)?;
        ensure!(
            shape(&view) == expected,
            "{words}: {:?}, not {expected:?}",
            shape(&view)
        );
    }
    Ok(())
}

pub(super) async fn many_ask_at_once(store: &impl Store) -> Finding {
    fill(store).await?;
    let asked = questions()
        .into_iter()
        .map(|question| store.channel(question));
    let answers = futures_util::future::join_all(asked).await;
    for (question, answer) in questions().into_iter().zip(answers) {
        let words = format!("{question:?}");
        let mut expected = one_by_one(store, question).await.map_err(sentence)?;
        expected.set_ups.sort_unstable_by_key(|s| s.id);
        let answer = answer.map_err(sentence)?;
        let (found, right) = (shape(&answer), shape(&expected));
        ensure!(
            answer == expected,
            "{words}: {found:?} is not what single reads find, {right:?}"
        );
    }
    Ok(())
}
