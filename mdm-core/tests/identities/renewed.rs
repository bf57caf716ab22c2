//! Renewed before they end, and voiding nothing; still good after their end as long as the organisation says so.

use super::*;

#[tokio::test]
async fn a_renewal_goes_out_before_the_end_and_voids_nothing() {
    let house = House::new().await;
    let old = house.device("C02RENEW").await;
    house.enrol(&old).await;
    let token = "<key>MessageType</key><string>SetBootstrapToken</string>\
                 <key>BootstrapToken</key><data>c2VjcmV0</data>";
    house.check_in(&old, token).await.unwrap();
    let before = house.org().await.device_report(&old.serial).await.unwrap();
    make_due(&house, &old).await;
    an_hour(&house).await;

    let first = profile(&fetch(&house, &old, "InstallProfile").await);
    let code = house.org().await.organisation().code.clone();
    assert!(first.contains(&format!("<string>mdmd.{code}.enrolment</string>")));
    assert_eq!(
        text(&first, "ServerURL"),
        format!("https://mdm.example.com/mdm/{code}/command")
    );
    let row = house.identity_of(&old).await;
    assert!(row.renewal.is_some() && row.renew_at > Some(house.mdm.now()));

    // The device asks for its new identity and authenticates with it: announced, no more.
    let new = old.speaking(house.identity_for(&text(&first, "Challenge")).await);
    house.authenticate(&new).await.unwrap();
    house.report(&old, IDLE).await.unwrap();
    house.report(&new, IDLE).await.unwrap();
    let listed = house.org().await.identities(CertificateId(0), 10).await;
    let states: Vec<_> = listed.unwrap().into_iter().map(|i| i.state).collect();
    assert_eq!(states, [IdentityState::Speaks, IdentityState::Announced]);

    // Its TokenUpdate completes it; the old one is heard no more, and everything else is as it was.
    house.token_update(&new, "").await.unwrap();
    house.report(&new, IDLE).await.unwrap();
    let refused = house.report(&old, IDLE).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let after = house.org().await.device_report(&old.serial).await.unwrap();
    assert_eq!(after.enrollments.len(), 1);
    assert_eq!(after.enrollments[0].id, before.enrollments[0].id);
    assert_eq!(
        after.enrollments[0].bootstrap_token,
        before.enrollments[0].bootstrap_token
    );
    assert_eq!(
        after.set_up.map(|s| (s.id, s.enrollment)),
        before.set_up.map(|s| (s.id, s.enrollment))
    );
    // Nobody looks after the old one any more once its time has come again.
    house.clock.advance(DAY * 15);
    house.settle().await;
    assert_eq!(house.identity_of(&old).await.renew_at, None);
}

#[tokio::test]
async fn a_device_that_was_off_gets_a_fresh_profile_and_one_at_a_time() {
    let house = House::new().await;
    let phone = house.device("C02OFF").await;
    house.enrol(&phone).await;
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let first = profile(&fetch(&house, &phone, "InstallProfile").await);
    // The same one again, as long as it is good.
    house.settle().await;
    an_hour(&house).await;
    let again = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_eq!(text(&first, "Challenge"), text(&again, "Challenge"));
    house.clock.advance(DAY * 15);
    house.settle().await;
    let fresh = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_ne!(text(&first, "Challenge"), text(&fresh, "Challenge"));
    let report = house
        .org()
        .await
        .device_report(&phone.serial)
        .await
        .unwrap();
    let channel = report.enrollments.last().unwrap();
    let open = house
        .mdm
        .store()
        .open_commands(channel.organisation, channel.id, 100)
        .await
        .unwrap();
    let renewals = open.iter().filter(|c| c.request_type == "InstallProfile");
    assert_eq!(renewals.count(), 1);
    // What is queued holds a challenge, and no file of the database does.
    let challenge = text(&fresh, "Challenge");
    for (name, bytes) in house.files() {
        let found = bytes
            .windows(challenge.len())
            .any(|part| part == challenge.as_bytes());
        assert!(!found, "{name} holds a challenge");
    }
}

#[tokio::test]
async fn an_expired_identity_speaks_within_the_grace_and_its_renewal_is_queued() {
    let house = House::new().await;
    let phone = house.device("C02OLD").await;
    house.enrol(&phone).await;
    house.report(&phone, IDLE).await.unwrap();
    let mut row = house.identity_of(&phone).await;
    assert_eq!(row.spoke_expired, None);
    row.renew_at = None;
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    // The certificates of this house end 400 days after its start.
    house.clock.advance(DAY * 401);
    house.report(&phone, IDLE).await.unwrap();
    house.report(&phone, IDLE).await.unwrap();
    let told = house.record(&phone).await;
    let told = told.iter().filter(|(what, _)| what == "identity.expired");
    assert_eq!(told.count(), 1, "once, and not with every message");
    house.settle().await;
    let row = house.identity_of(&phone).await;
    assert!(row.spoke_expired.is_some() && row.renewal.is_some());
    fetch(&house, &phone, "InstallProfile").await;
    let listed = house.org().await.identities(CertificateId(0), 10).await;
    assert_eq!(listed.unwrap()[0].state, IdentityState::Expired);

    let grace = IdentitySettings {
        expired_identity_grace_days: Some(0),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(grace).await.unwrap();
    let refused = house.report(&phone, IDLE).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let longer = IdentitySettings {
        expired_identity_grace_days: Some(30),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(longer).await.unwrap();
    house.report(&phone, IDLE).await.unwrap();
    let wrong = IdentitySettings {
        identity_days: Some(0),
        ..IdentitySettings::default()
    };
    assert!(house.org().await.set_identities(wrong).await.is_err());
}

#[tokio::test]
async fn a_renewal_that_the_device_refuses_comes_again_soon_and_then_less_often() {
    let house = House::new().await;
    let phone = house.device("C02REFUSED").await;
    house.enrol(&phone).await;
    make_due(&house, &phone).await;
    an_hour(&house).await;
    for wait in [1, 2, 4] {
        let command = fetch(&house, &phone, "InstallProfile").await;
        let uuid = text(&command, "CommandUUID");
        let refused = format!(
            "<key>Status</key><string>Error</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        house.report(&phone, &refused).await.unwrap();
        let again = house.identity_of(&phone).await.renew_at;
        assert_eq!(again, Some(house.mdm.now() + Duration::from_hours(wait)));
        // One that the device says again changes nothing.
        house.report(&phone, &refused).await.unwrap();
        assert_eq!(house.identity_of(&phone).await.renew_at, again);
        house.clock.advance(Duration::from_hours(wait));
        an_hour(&house).await;
    }
}
