//! What a profile brings beside the identity, and what a device says of itself to get a lesser one.

use super::*;

#[tokio::test]
async fn an_enrolment_profile_brings_the_organisations_network_and_what_its_platform_knows() {
    let house = House::new().await;
    let phone = house.device("C02NETWORK").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let password = Secret::from_text("correct horse");
    for (name, password) in [("", &password), ("Office", &Secret::from_text("short"))] {
        let refused = org.set_network(Some((name, Some(password))), false).await;
        assert!(
            matches!(refused, Err(Error::BadInput { .. })),
            "{refused:?}"
        );
    }
    org.set_network(Some(("Office", Some(&password))), true)
        .await
        .unwrap();
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let with = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_eq!(text(&with, "SSID_STR"), "Office");
    assert_eq!(text(&with, "Password"), "correct horse");
    for (name, content) in house.files() {
        let shown = content.windows(13).any(|piece| piece == b"correct horse");
        assert!(!shown, "the password is in {name}");
    }
    // A device that Apple sends to us comes back over it.
    let asks = "<key>MessageType</key><string>ReturnToService</string>";
    let Answer::Plist(told) = house.check_in(&phone, asks).await.unwrap() else {
        panic!("no answer");
    };
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("WiFiProfileData"), "{told}");
    let enabled: String = told.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(enabled.contains("<key>Enabled</key><true/>"), "{told}");
    org.set_network(None, false).await.unwrap();
    house.clock.advance(15 * DAY);
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let without = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert!(!without.contains("SSID_STR"));
}

/// The organisation demands attestations of phones.
async fn demand(house: &House) {
    let mut change = IdentitySettings::default();
    let attested = IdentityProtocol::AcmeAttested;
    change.identity_protocol.insert(Platform::Ios, attested);
    house.org().await.set_identities(change).await.unwrap();
}

#[tokio::test]
async fn what_a_device_says_of_itself_gets_it_no_lesser_identity() {
    for attested in [false, true] {
        let house = House::new().await;
        let phone = house.device("C02LIES").await;
        house.enrol(&phone).await;
        demand(&house).await;
        let store = house.mdm.store();
        let report = house.org().await.device_report(&phone.serial).await;
        let mut device = report.unwrap().device;
        device.attested = attested.then(|| AttestedFacts::new(house.mdm.now(), "root".to_owned()));
        device.facts.product = Some("VirtualMac2,1".to_owned());
        device.facts.os_version = Some("13.0".to_owned());
        let mut batch = Batch::new();
        batch.put(device);
        store.commit(batch).await.unwrap();
        make_due(&house, &phone).await;
        an_hour(&house).await;
        let sent = profile(&fetch(&house, &phone, "InstallProfile").await);
        // One of which nothing was ever attested is what it says that it is.
        assert_eq!(sent.contains("com.apple.security.acme"), attested, "{sent}");
        assert_eq!(
            sent.contains("com.apple.security.scep"),
            !attested,
            "{sent}"
        );
    }
}

#[tokio::test]
async fn an_attested_identity_speaks_for_no_other_udid() {
    for (family, product, own, taken) in [
        ("iPhone", "iPhone17,2", true, true),
        ("iPhone", "iPhone17,2", false, false),
        // A Mac is attested under another one.
        ("Mac", "Mac15,7", false, true),
    ] {
        let house = House::new().await;
        let mut gadget = house.device("C02ATTEST").await;
        gadget.product = product.to_owned();
        let mut row = house.identity_of(&gadget).await;
        let store = house.mdm.store();
        let mut session = store
            .session(house.org, row.session)
            .await
            .unwrap()
            .unwrap();
        let mut device = store
            .device(house.org, session.device.unwrap())
            .await
            .unwrap()
            .unwrap();
        device.record.as_mut().unwrap().family = family.to_owned();
        // As that of an invitation.
        (session.udid, session.protocol) = (None, IdentityProtocol::AcmeAttested);
        let mut facts = AttestedFacts::new(house.mdm.now(), String::new());
        facts.udid = Some(if own {
            gadget.udid.clone()
        } else {
            "00008140-OTHER".to_owned()
        });
        row.attested = Some(facts);
        let mut batch = Batch::new();
        batch.put(row).put(session).put(device);
        store.commit(batch).await.unwrap();
        let said = house.authenticate(&gadget).await;
        assert_eq!(said.is_ok(), taken, "{family} {own}: {said:?}");
    }
}
