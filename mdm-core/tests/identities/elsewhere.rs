//! Issued elsewhere, and by an authority that has followed another.

use super::*;

#[tokio::test]
async fn an_authority_elsewhere_issues_for_sessions_of_ours_and_for_nothing_else() {
    let house = House::new().await;
    let phone = house.device("C02ELSE").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let acme = NewIssuer::Acme {
        directory_url: "https://ca.example.com/acme/directory".to_owned(),
        hardware_bound: true,
        attest: true,
    };
    let early = org.set_issuer(acme.clone()).await;
    assert!(matches!(early, Err(Error::Precondition(_))), "{early:?}");
    assert!(
        org.trust_authorities(&[b"no certificate".to_vec()])
            .await
            .is_err()
    );
    let leaf = phone.peer.certificate.clone().unwrap().0;
    assert!(
        org.trust_authorities(&[leaf]).await.is_err(),
        "no authority"
    );

    // Which session the profile of a renewal names is only known once it is there.
    let (placeholder, _) = house.identity_elsewhere("x");
    org.trust_authorities(&[placeholder]).await.unwrap();
    org.set_issuer(acme).await.unwrap();
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let sent = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert!(
        sent.contains("<string>com.apple.security.acme</string>"),
        "{sent}"
    );
    assert!(!sent.contains("com.apple.security.scep"), "{sent}");
    let session = text(&sent, "ClientIdentifier");
    assert!(sent.contains(&format!("<string>{session}</string>")));
    assert_eq!(
        text(&sent, "DirectoryURL"),
        "https://ca.example.com/acme/directory"
    );

    let with = |identity| phone.speaking(identity);
    // Of an authority that nobody trusts; of one that is trusted under a name that is no session's.
    let (authority, identity) = house.identity_elsewhere(&session);
    let stranger = with(identity.clone());
    assert!(matches!(
        house.authenticate(&stranger).await,
        Err(Error::BadInput { .. })
    ));
    let (other_authority, peer_of_nobody) = house.identity_elsewhere("nobody");
    let org = house.org().await;
    org.trust_authorities(&[authority, other_authority.clone()])
        .await
        .unwrap();
    let nobody = house.authenticate(&with(peer_of_nobody)).await;
    assert!(matches!(nobody, Err(Error::Refused(_))), "{nobody:?}");

    let new = with(identity);
    // It speaks for the first time by its signature, over the connection that the device has open with its old identity.
    let first = new.plist(&format!(
        "<key>MessageType</key><string>Authenticate</string>\
         <key>Topic</key><string>com.apple.mgmt.External.house</string>\
         <key>SerialNumber</key><string>{}</string>",
        new.serial
    ));
    let over_the_old = Peer {
        signature: Some(new.signature(&first)),
        ..phone.peer.clone()
    };
    let org = house.org().await;
    org.check_in(&over_the_old, &first).await.unwrap();
    house.token_update(&new, "").await.unwrap();
    house.report(&new, IDLE).await.unwrap();
    assert!(house.report(&phone, IDLE).await.is_err());
    let row = house.identity_of(&new).await;
    assert_eq!(row.authority, None);
    assert!(row.renew_at.is_some());
    // The name of the session is used up: another certificate with it is another's.
    let (third, late) = house.identity_elsewhere(&session);
    house.org().await.trust_authorities(&[third]).await.unwrap();
    let late = house.authenticate(&with(late)).await;
    assert!(matches!(late, Err(Error::Refused(_))), "{late:?}");
    // Our own door issues nothing meanwhile.
    let org = house.org().await;
    let asked = org.scep("192.0.2.1", "PKIOperation", b"x").await;
    assert!(matches!(asked, Err(Error::Precondition(_))), "{asked:?}");
    // And an authority that is dropped vouches for nobody.
    let dropped = mdm_core::identity::sha256_hex(&other_authority);
    org.distrust_authority(&dropped).await.unwrap();
    assert!(matches!(
        org.distrust_authority(&dropped).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_scep_server_elsewhere_stands_in_the_profile_with_its_word() {
    let house = House::new().await;
    let phone = house.device("C02SCEP").await;
    house.enrol(&phone).await;
    let (authority, _) = house.identity_elsewhere("x");
    let org = house.org().await;
    org.trust_authorities(std::slice::from_ref(&authority))
        .await
        .unwrap();
    let issuer = NewIssuer::Scep {
        url: "https://ndes.example.com/certsrv/mscep/mscep.dll".to_owned(),
        name: Some("Campus".to_owned()),
        challenge: Some(Secret::from_text("the-word-of-the-campus")),
        authority: Some(authority),
    };
    org.set_issuer(issuer).await.unwrap();
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let sent = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_eq!(
        text(&sent, "URL"),
        "https://ndes.example.com/certsrv/mscep/mscep.dll"
    );
    assert_eq!(text(&sent, "Name"), "Campus");
    assert_eq!(text(&sent, "Challenge"), "the-word-of-the-campus");
    for (name, bytes) in house.files() {
        let word = b"the-word-of-the-campus";
        let found = bytes.windows(word.len()).any(|part| part == word);
        assert!(!found, "{name} holds the word");
    }
    let org = house.org().await;
    org.set_issuer(NewIssuer::BuiltIn).await.unwrap();
    let wrong = NewIssuer::Scep {
        url: "ldap://x".to_owned(),
        name: None,
        challenge: None,
        authority: None,
    };
    assert!(org.set_issuer(wrong).await.is_err());
}

#[tokio::test]
async fn a_new_authority_issues_and_the_identities_of_the_old_one_go_on_speaking() {
    let house = House::new().await;
    let phone = house.device("C02ROTATE").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let first = org.organisation().identity_cas[0].certificate.0.clone();
    let certificates = async || {
        let org = house.org().await;
        match org.scep("192.0.2.1", "GetCACert", b"").await.unwrap() {
            Answer::Scep { media_type, body } => (media_type, body),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        certificates().await,
        ("application/x-x509-ca-cert", first.clone())
    );
    org.new_authority().await.unwrap();
    let (_, second) = certificates().await;
    assert_ne!(first, second);
    house.report(&phone, IDLE).await.unwrap();
    let issuing = mdm_core::identity::sha256_hex(&second);
    let org = house.org().await;
    assert!(matches!(
        org.distrust_authority(&issuing).await,
        Err(Error::Precondition(_))
    ));
    org.use_registration_authority(true).await.unwrap();
    let (media_type, several) = certificates().await;
    assert_eq!(media_type, "application/x-x509-ca-ra-cert");
    assert!(several.len() > second.len());
    house
        .org()
        .await
        .use_registration_authority(false)
        .await
        .unwrap();
    assert_eq!(certificates().await.1, second);
}

#[tokio::test]
async fn who_comes_by_an_authority_that_was_just_added_may_send_much() {
    let house = House::new().await;
    let phone = house.device("C02LARGE").await;
    let org = house.org().await;
    let code = org.organisation().code.clone();
    // As the doors have it: the organisation as this process has seen it last.
    let may_send = async |speaking: &Gadget| {
        let kept = house.mdm.organisation_for_device(&code).await.unwrap();
        kept.may_send("checkin", &speaking.peer).await
    };
    may_send(&phone).await.unwrap();
    let (first, identity) = house.identity_elsewhere("first");
    let by_first = phone.speaking(identity);
    org.trust_authorities(&[first]).await.unwrap();
    may_send(&by_first).await.unwrap();

    let (second, identity) = house.identity_elsewhere("second");
    let by_second = phone.speaking(identity);
    let refused = may_send(&by_second).await;
    assert!(
        matches!(refused, Err(Error::BadInput { .. })),
        "{refused:?}"
    );
    org.trust_authorities(&[second]).await.unwrap();
    // It was read within this second, and is for nobody whom it does not know.
    let refused = may_send(&by_second).await;
    assert!(
        matches!(refused, Err(Error::BadInput { .. })),
        "{refused:?}"
    );
    may_send(&by_first).await.unwrap();
    house.clock.advance(Duration::from_secs(1));
    may_send(&by_second).await.unwrap();
    let noted = house.mdm.store().refusals(house.org, 10).await.unwrap();
    assert_eq!(noted.len(), 2, "{noted:?}");

    // Somebody of an authority that nobody trusts stays a stranger, however often it is read.
    let (_, identity) = house.identity_elsewhere("third");
    let stranger = phone.speaking(identity);
    for _ in 0..2 {
        house.clock.advance(Duration::from_secs(1));
        let refused = may_send(&stranger).await;
        assert!(
            matches!(refused, Err(Error::BadInput { .. })),
            "{refused:?}"
        );
    }
}
