//! Refused: on another device, revoked, replaced, before their time, cleared away.

use super::*;

#[tokio::test]
async fn the_identity_of_another_device_is_refused_and_the_record_says_whose_it_is() {
    let house = House::new().await;
    let (one, other) = (house.device("C02ONE").await, house.device("C02TWO").await);
    house.enrol(&one).await;
    house.enrol(&other).await;
    // A backup of the one, restored on the other: its messages under the identity of the one.
    let restored = other.speaking((one.certificate.clone(), one.key.clone()));
    let update = house.token_update(&restored, "").await;
    assert!(matches!(update, Err(Error::Refused(_))), "{update:?}");
    let report = house.report(&restored, IDLE).await;
    assert!(matches!(report, Err(Error::Refused(_))), "{report:?}");
    let again = house.authenticate(&restored).await;
    assert!(again.is_err(), "{again:?}");
    let refusals = house.org().await.refusals(10).await.unwrap();
    let whose: Vec<Option<Serial>> = refusals.iter().take(2).map(|r| r.serial.clone()).collect();
    assert_eq!(whose[1], Some(one.serial.clone()), "{refusals:?}");
    house.report(&one, IDLE).await.unwrap();
    house.report(&other, IDLE).await.unwrap();
}

#[tokio::test]
async fn the_revocation_list_has_what_is_revoked_at_once_and_no_other_authority_s() {
    let house = House::new().await;
    let org = house.org().await;
    let own = org.organisation().identity_cas[0].certificate.0.clone();
    let name = mdm_core::identity::sha256_hex(&own)[..32].to_owned();
    let list = async || {
        let answer = house.org().await.revocation_list(&name).await.unwrap();
        let Answer::Scep { media_type, body } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(media_type, "application/pkix-crl");
        X509Crl::from_der(&body).unwrap()
    };
    let entries = |list: &X509Crl| list.get_revoked().map_or(0, |all| all.len());
    assert_eq!(entries(&list().await), 0);
    let phone = house.device("C02REVOKE").await;
    house.enrol(&phone).await;
    let mut row = house.identity_of(&phone).await;
    row.authority = Some(mdm_core::identity::sha256_hex(&own));
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    let other = house.device("C02OTHER").await;
    house.enrol(&other).await;
    for device in [&phone, &other] {
        let org = house.org().await;
        let revoked = org.revoke_identity(&device.serial, "lost").await;
        assert_eq!(revoked.unwrap(), 1);
    }
    let made = list().await;
    // The other one was issued by the second authority of this house.
    assert_eq!(entries(&made), 1);
    let refused = house.report(&phone, IDLE).await;
    assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    // Handed out as it was made, and anew after half a day.
    let same = list().await.to_der().unwrap() == made.to_der().unwrap();
    assert!(same);
    house.clock.advance(DAY);
    let same = list().await.to_der().unwrap() == made.to_der().unwrap();
    assert!(!same);
    let org = house.org().await;
    assert!(org.revocation_list("0123").await.is_err());
}

#[tokio::test]
async fn an_identity_that_was_replaced_begins_no_generation() {
    let house = House::new().await;
    let first = house.device("C02PAST").await;
    house.enrol(&first).await;
    make_due(&house, &first).await;
    an_hour(&house).await;
    let announced = profile(&fetch(&house, &first, "InstallProfile").await);
    let renewed = first.speaking(house.identity_for(&text(&announced, "Challenge")).await);
    house.authenticate(&renewed).await.unwrap();
    house.token_update(&renewed, "").await.unwrap();
    let refused = house.authenticate(&first).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");

    // Enrolled anew: while that is pending the old one may say again what it said, and then no more.
    let anew = house.device("C02PAST").await;
    house.authenticate(&anew).await.unwrap();
    house.report(&renewed, IDLE).await.unwrap();
    house.token_update(&anew, "").await.unwrap();
    for past in [&first, &renewed] {
        let refused = house.authenticate(past).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        let refused = house.token_update(past, "").await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    house.report(&anew, IDLE).await.unwrap();
    let listed = house.org().await.identities(CertificateId(0), 10).await;
    let states: Vec<_> = listed.unwrap().into_iter().map(|i| i.state).collect();
    use IdentityState::{Replaced, Speaks};
    assert_eq!(states, [Replaced, Replaced, Speaks]);
    let report = house.org().await.device_report(&anew.serial).await.unwrap();
    assert_eq!(report.enrollments.len(), 2);
}

#[tokio::test]
async fn an_invitation_that_nobody_has_used_is_taken_back_like_an_identity() {
    let house = House::new().await;
    let org = house.org().await;
    let mut codes = Vec::new();
    let mut devices = Vec::new();
    for serial in ["C02ASKED1", "C02ASKED2"] {
        // Neither has an enrolment or an identity.
        let serial = Serial::parse(serial).unwrap();
        let invited = org.invite(&serial, Duration::from_secs(86_400)).await;
        let code = invited.unwrap().code;
        codes.push(code.expose_text().unwrap().to_owned());
        devices.push(serial);
    }
    let still = async |serial: &Serial| {
        let store = house.mdm.store();
        let id = org.organisation().id;
        let device = store.device_by_serial(id, serial).await.unwrap().unwrap();
        let open = store.open_sessions_of_device(id, device.id).await.unwrap();
        open.iter().any(|s| s.expires > house.mdm.now())
    };
    assert!(still(&devices[0]).await && still(&devices[1]).await);
    let certificates = org.revoke_identity(&devices[0], "sent to somebody else");
    assert_eq!(certificates.await.unwrap(), 0);
    assert!(!still(&devices[0]).await, "it is open");
    assert!(still(&devices[1]).await, "another's was taken");
    let refused = org.accept_invitation("192.0.2.1", &codes[0]).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let record = org.record_tail(10).await.unwrap();
    let said = record.iter().rfind(|e| e.what == "identity.revoked");
    assert_eq!(said.unwrap().detail["sessions"], 1);
}

#[tokio::test]
async fn revoking_takes_every_identity_of_a_device_and_what_may_yet_bring_one() {
    let house = House::new().await;
    let earlier = house.device("C02STOLEN").await;
    house.enrol(&earlier).await;
    let phone = house.device("C02STOLEN").await;
    house.enrol(&phone).await;
    let unused = house.device("C02STOLEN").await;
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let profile = profile(&fetch(&house, &phone, "InstallProfile").await);
    let bystander = house.device("C02STAYS").await;
    house.enrol(&bystander).await;

    let org = house.org().await;
    let revoked = org.revoke_identity(&phone.serial, "stolen").await;
    assert_eq!(revoked.unwrap(), 3);
    for taken in [&earlier, &phone, &unused] {
        let refused = house.authenticate(taken).await;
        assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    }
    // The profile of the renewal that went out yields nothing more.
    let challenge = mdm_core::identity::sha256_hex(text(&profile, "Challenge").as_bytes());
    let store = house.mdm.store();
    let id = org.organisation().id;
    let session = store.session_by_challenge(id, &challenge).await.unwrap();
    assert!(session.unwrap().expires < house.mdm.now());
    let again = org.revoke_identity(&phone.serial, "stolen").await;
    assert_eq!(again.unwrap(), 0);
    house.report(&bystander, IDLE).await.unwrap();
    // It comes back by enrolling anew, and only so.
    let anew = house.device("C02STOLEN").await;
    house.enrol(&anew).await;
    house.report(&anew, IDLE).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_cleared_away_and_nobody_comes_back_with_it() {
    let mut house = House::new().await;
    let keep = IdentitySettings {
        retention_days: Some(30),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(keep).await.unwrap();
    let own = house.org().await.organisation().identity_cas[0]
        .certificate
        .0
        .clone();
    let (gone, stays) = (house.mac("C02GONE001").await, house.mac("C02STAYS01").await);
    for device in [&gone, &stays] {
        house.enrol(device).await;
        let mut row = house.identity_of(device).await;
        row.authority = Some(mdm_core::identity::sha256_hex(&own));
        row.renew_at = Some(row.not_after);
        let mut batch = Batch::new();
        batch.put(row);
        house.mdm.store().commit(batch).await.unwrap();
    }
    let org = house.org().await;
    org.revoke_identity(&gone.serial, "lost").await.unwrap();
    let organisation = org.organisation().id;
    let there = async |house: &House, device: &Gadget| {
        let der = &device.peer.certificate.as_ref().unwrap().0;
        let hash = mdm_core::identity::sha256_hex(der);
        let store = house.mdm.store();
        let row = store.certificate_by_hash(organisation, &hash).await;
        row.unwrap().is_some()
    };
    house.settle().await;
    // Until its end, a week on revocation lists, and 30 days that this organisation keeps it.
    let left = house
        .identity_of(&gone)
        .await
        .not_after
        .since(house.mdm.now());
    for (later, kept) in [(left + DAY * 36, true), (DAY * 2, false)] {
        house.clock.advance(later);
        house.settle().await;
        assert_eq!(there(&house, &gone).await, kept, "{later:?}");
        assert!(there(&house, &stays).await, "somebody speaks with it");
    }
    // Not even in a process that never saw it revoked.
    house = house.restarted().await;
    let refused = house.report(&gone, IDLE).await.unwrap_err();
    assert!(refused.is_callers_fault(), "{refused}");
    assert!(house.authenticate(&gone).await.is_err());
    house.report(&stays, IDLE).await.unwrap();
}

#[tokio::test]
async fn an_identity_speaks_when_its_time_has_come_and_a_day_before() {
    let house = House::new().await;
    let phone = house.device("C02EARLY01").await;
    // It begins a day before the start of this house.
    let check = async |days_before: u32| {
        house.clock.set(START - days_before * DAY);
        house.authenticate(&phone).await
    };
    let refused = check(3).await;
    assert!(
        matches!(&refused, Err(Error::BadInput { field, .. }) if field == "identity"),
        "{refused:?}"
    );
    check(2).await.unwrap();
}

#[tokio::test]
async fn a_process_that_never_runs_for_long_clears_away_too() {
    let mut house = House::new().await;
    let keep = IdentitySettings {
        retention_days: Some(30),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(keep).await.unwrap();
    let phone = house.device("C02RESTART").await;
    let begun = sessions(&house).await;
    house.clock.advance(DAY * 500);
    for _ in 0..3 {
        house = house.restarted().await;
        house.settle().await;
        house.clock.advance(Duration::from_mins(40));
        house.settle().await;
    }
    let left = sessions(&house).await;
    assert_eq!((begun, left), (1, 0), "{}", phone.serial);
}

/// How many enrolment sessions are stored.
async fn sessions(house: &House) -> u64 {
    // A statement that changes nothing, and says how many rows it met.
    house.spoil("UPDATE sessions SET version = version").await
}
