//! Looks at secrets: a few alone and for a reason, more with somebody else's consent, each consent for one look by one person.

mod service_house;

use std::time::Duration;

use mdm_core::error::Error;
use mdm_core::ids::ApprovalId;
use mdm_core::secret::SecretKind;
use mdm_core::service::{Org, Revealed};
use service_house::{Gadget, House, revealed};

const KIND: SecretKind = SecretKind::UnlockToken;
const HOUR: Duration = Duration::from_secs(3600);

/// An installation with a phone that gave its unlock token, and two people.
async fn stage() -> (House, Gadget, Org, Org) {
    let house = House::new().await;
    let phone = house.phone_with_token("C02SHOWN").await;
    let org = house.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    (house, phone, anna, bo)
}

async fn look(org: &Org, phone: &Gadget, approval: Option<ApprovalId>) -> Result<Revealed, Error> {
    org.reveal(&phone.serial, KIND, "locked out", approval)
        .await
}

async fn waits(org: &Org, phone: &Gadget) -> ApprovalId {
    match look(org, phone, None).await.unwrap() {
        Revealed::Waits(approval) => approval,
        Revealed::Shown(_) => panic!("shown"),
    }
}

#[tokio::test]
async fn a_reason_is_a_sentence_at_every_door() {
    let (_house, phone, anna, _bo) = stage().await;
    let serial = &phone.serial;
    for (reason, wrong) in [
        ("x".repeat(1_001), "reason: must be at most 1000 bytes"),
        (
            "lost\u{1b}[2J".to_owned(),
            "reason: must be without control characters",
        ),
    ] {
        let revealed = anna.reveal(serial, KIND, &reason, None).await.err();
        let cleared = anna.clear_lock(serial, &reason).await.err();
        let revoked = anna.revoke_identity(serial, &reason).await.err();
        let rotated = anna.rotate_filevault(serial, &reason).await.err();
        let given_up = anna.give_up(serial, &reason).await.err();
        let doors = [
            ("reveal", revealed),
            ("clear-lock", cleared),
            ("revoke", revoked),
            ("rotate", rotated),
            ("give-up", given_up),
        ];
        for (door, why) in doors {
            let why = why.map(|why| why.to_string()).unwrap_or_default();
            assert!(why.starts_with(wrong), "{door}: {why}");
        }
    }
}

#[tokio::test]
async fn who_changes_their_name_is_nobody_else() {
    let (_house, phone, anna, bo) = stage().await;
    let (anna, annika) = (
        anna.being("person 1"),
        bo.clone().acting_for("Annika").being("person 1"),
    );
    let bo = bo.being("person 2");
    for n in 0..10 {
        let by = if n < 5 { &anna } else { &annika };
        revealed(look(by, &phone, None).await.unwrap());
    }
    // The eleventh look is the eleventh, whatever she is called; and she confirms nothing of her own.
    let asked = waits(&annika, &phone).await;
    assert_eq!(waits(&anna, &phone).await, asked, "the same question");
    for herself in [&anna, &annika] {
        assert!(is_precondition(&herself.confirm(asked).await));
    }
    bo.confirm(asked).await.unwrap();
    assert!(is_precondition(&look(&bo, &phone, Some(asked)).await));
    revealed(look(&anna, &phone, Some(asked)).await.unwrap());
}

#[tokio::test]
async fn who_may_not_confirm_takes_back_what_is_their_own_and_no_more() {
    let (_house, phone, anna, bo) = stage().await;
    anna.demand_two_persons(true).await.unwrap();
    let asked = waits(&anna, &phone).await;
    let own = waits(&bo, &phone).await;
    let foreign = bo.take_back(asked).await.unwrap_err();
    assert!(matches!(foreign, Error::Refused(_)), "{foreign}");
    let open = anna.approvals(ApprovalId(0), 10).await.unwrap();
    assert_eq!(open.len(), 2, "{open:?}");
    bo.take_back(own).await.unwrap();
    assert!(is_precondition(&bo.take_back(own).await));
    // Also under another name than the one under which it was asked for.
    let bo = bo.being("person 2");
    let own = waits(&bo, &phone).await;
    let bodo = bo.clone().acting_for("Bodo").being("person 2");
    bodo.take_back(own).await.unwrap();
    // Whoever may confirm declines it.
    bo.decline(asked).await.unwrap();
    assert!(is_precondition(&bo.confirm(asked).await));
}

fn is_precondition<T>(done: &Result<T, Error>) -> bool {
    matches!(done, Err(Error::Precondition(_)))
}

async fn of_record(org: &Org, what: &str) -> usize {
    let all = org.record_tail(1000).await.unwrap();
    all.iter().filter(|entry| entry.what == what).count()
}

#[tokio::test]
async fn ten_looks_a_day_and_then_somebody_else_consents_to_each() {
    let (house, phone, anna, bo) = stage().await;
    for _ in 0..10 {
        let shown = revealed(look(&anna, &phone, None).await.unwrap());
        assert_eq!(shown.expose(), b"opens the passcode");
    }
    let asked = waits(&anna, &phone).await;
    assert_eq!(waits(&anna, &phone).await, asked, "the same question twice");
    let other = anna.reveal(&phone.serial, KIND, "and once more", None);
    let Revealed::Waits(other) = other.await.unwrap() else {
        panic!("shown");
    };
    assert_ne!(other, asked, "for another reason");
    let open = bo.approvals(ApprovalId(0), 10).await.unwrap();
    let reasons: Vec<_> = open.iter().map(|a| a.reason.as_deref()).collect();
    assert_eq!(reasons[1], Some("and once more"), "{reasons:?}");
    bo.decline(other).await.unwrap();
    assert_eq!(of_record(&anna, "secret.revealed").await, 10);
    // Somebody else has looks of their own.
    revealed(look(&bo, &phone, None).await.unwrap());
    assert_eq!(bo.approvals(ApprovalId(0), 10).await.unwrap().len(), 1);

    // Not confirmed yet; not by oneself; not for somebody else.
    assert!(is_precondition(&look(&anna, &phone, Some(asked)).await));
    assert!(is_precondition(&anna.confirm(asked).await));
    bo.confirm(asked).await.unwrap();
    assert!(is_precondition(&bo.confirm(asked).await));
    assert!(is_precondition(&look(&bo, &phone, Some(asked)).await));
    let shown = revealed(look(&anna, &phone, Some(asked)).await.unwrap());
    assert_eq!(shown.expose(), b"opens the passcode");
    assert!(is_precondition(&look(&anna, &phone, Some(asked)).await));
    let record = anna.record_tail(100).await.unwrap();
    let last = record
        .iter()
        .rfind(|e| e.what == "secret.revealed")
        .unwrap();
    assert_eq!(last.actor, "Anna");
    assert_eq!(last.detail["confirmed_by"], "Bo");
    assert!(
        !serde_json::to_string(&record)
            .unwrap()
            .contains("opens the")
    );
    assert!(bo.approvals(ApprovalId(0), 10).await.unwrap().is_empty());

    // A day later there are ten again.
    house.clock.advance(HOUR * 25);
    revealed(look(&anna, &phone, None).await.unwrap());
}

#[tokio::test]
async fn a_consent_ends() {
    let (house, phone, anna, bo) = stage().await;
    anna.demand_two_persons(true).await.unwrap();
    let late = waits(&anna, &phone).await;
    house.clock.advance(HOUR * 24);
    assert!(is_precondition(&bo.confirm(late).await));
    let declined = waits(&anna, &phone).await;
    assert_ne!(declined, late);
    bo.decline(declined).await.unwrap();
    assert!(is_precondition(&bo.confirm(declined).await));
    let slow = waits(&anna, &phone).await;
    bo.confirm(slow).await.unwrap();
    house.clock.advance(HOUR);
    assert!(is_precondition(&look(&anna, &phone, Some(slow)).await));
    assert!(matches!(
        bo.confirm(ApprovalId(1)).await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(of_record(&anna, "secret.revealed").await, 0);
}

#[tokio::test]
async fn many_who_ask_at_once_see_ten_and_no_more() {
    let (_house, phone, anna, _) = stage().await;
    let all = (0..40).map(|_| look(&anna, &phone, None));
    let all = futures_util::future::join_all(all).await;
    let shown = |it: &&Result<Revealed, Error>| matches!(it, Ok(Revealed::Shown(_)));
    let shown = all.iter().filter(shown).count();
    assert!((1..=10).contains(&shown), "{shown}");
    assert_eq!(of_record(&anna, "secret.revealed").await, shown);
}

#[tokio::test]
async fn that_two_are_demanded_always_is_ended_by_two() {
    let (_house, phone, anna, bo) = stage().await;
    assert_eq!(anna.demand_two_persons(true).await.unwrap().1, None);
    waits(&anna, &phone).await;
    let (still, asked) = anna.demand_two_persons(false).await.unwrap();
    assert!(still.settings.two_persons_always);
    let asked = asked.unwrap();
    assert!(is_precondition(&anna.confirm(asked).await));
    waits(&bo, &phone).await;
    bo.confirm(asked).await.unwrap();
    revealed(look(&anna, &phone, None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_take_a_name_at_the_same_moment_one_has_it_at_most() {
    let house = House::new().await;
    let org = house.org().await;
    let one = std::collections::BTreeSet::from([house.org]);
    for round in 0..20 {
        let name = format!("Ines {round}");
        let none = std::collections::BTreeSet::new;
        let (a, b) = tokio::join!(
            org.new_api_token(&name, mdm_core::audit::Role::Viewer, none(), None),
            org.new_api_token(&name, mdm_core::audit::Role::Viewer, none(), None),
        );
        let tokens = org.api_tokens().await.unwrap();
        let living = tokens
            .iter()
            .filter(|t| t.name == name && t.revoked.is_none());
        let made = [a, b].iter().filter(|made| made.is_ok()).count();
        assert!(made <= 1, "{name}");
        assert_eq!(living.count(), made, "{name}");

        let (a, b) = tokio::join!(
            house.mdm.new_partner(&name, &one, None, "Anna"),
            house.mdm.new_partner(&name, &one, None, "Bert"),
        );
        let made = [a, b].iter().filter(|made| made.is_ok()).count();
        let partners = house.mdm.partners().await.unwrap();
        let living = partners
            .iter()
            .filter(|t| t.name.ends_with(&name) && t.revoked.is_none());
        assert!(made <= 1, "{name}");
        assert_eq!(living.count(), made, "{name}");
    }
}
