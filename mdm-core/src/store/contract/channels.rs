//! Channels, sessions and identities of devices: found by key, by hash, by device and by moment.

use super::{A, B, Finding, at, ensure, put, same, samples, sentence};
use crate::enrollment::{ChannelKind, EnrolSession, Enrollment, EnrollmentState};
use crate::ids::{CertificateId, DeviceId, EnrollmentId, SessionId};
use crate::store::{Store, Write};

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
    let asked = [EnrollmentId(7), EnrollmentId(99), EnrollmentId(1)];
    let some = store.enrollments_of(A, &asked).await;
    same(some, |e| e.id.0, &[1, 7], "those of some ids")?;
    let none = store.enrollments_of(A, &[]).await;
    same(none, |e| e.id.0, &[], "those of no ids")?;
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
