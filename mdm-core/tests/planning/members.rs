//! Who becomes a member: by what a device is and whose, and not before what a project asks for is there.

use mdm_core::audit::AuditEntry;
use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{Device, Platform};
use mdm_core::error::Error;
use mdm_core::ids::{AuditId, Serial};
use mdm_core::migration::MoveState;
use mdm_core::original::{DeviceOwner, Said};
use mdm_core::service::{Candidates, ProjectChange};

use super::service_house::fleet::serial;
use super::service_house::{House, START};
use super::submitted::member;
use super::{accepted, finding, fleet, phones, pilot, says};

async fn record(house: &House, what: &str) -> Vec<AuditEntry> {
    let (store, own) = (house.mdm.store(), house.org);
    let mut all = store.audit(own, AuditId(0), 1000).await.unwrap();
    all.retain(|entry| entry.what == what);
    all
}

#[tokio::test]
async fn members_come_by_platform_service_and_model() {
    let house = House::new().await;
    let org = fleet(&house, 12).await;
    let of = async |candidates: Candidates| org.candidates(&candidates).await.unwrap();
    let pick = |keep: &dyn Fn(usize) -> bool| -> Vec<Serial> {
        (0..12).filter(|n| keep(*n)).map(serial).collect()
    };
    for (n, platform) in [Platform::Ios, Platform::Ipados, Platform::Macos]
        .into_iter()
        .enumerate()
    {
        let platform = Some(platform);
        let found = of(Candidates {
            platform,
            ..Candidates::default()
        });
        assert_eq!(found.await, pick(&|d| d % 3 == n), "{platform:?}");
    }
    let found = of(Candidates {
        service: Some("OTHERS".to_owned()),
        ..Candidates::default()
    });
    assert_eq!(found.await, pick(&|d| d % 2 == 1));
    let found = of(Candidates {
        service: Some("NOWHERE".to_owned()),
        ..Candidates::default()
    });
    assert_eq!(found.await, []);
    let found = of(Candidates {
        product: Some("iPad".to_owned()),
        ..Candidates::default()
    });
    assert_eq!(found.await, pick(&|d| d % 3 == 1));
    // All of it holds for each.
    let found = of(Candidates {
        platform: Some(Platform::Ios),
        service: Some("THEIRS".to_owned()),
        product: Some("iPhone17".to_owned()),
        most: Some(1),
        ..Candidates::default()
    });
    assert_eq!(found.await, [serial(0)]);
}

#[tokio::test]
async fn a_group_of_owners_is_the_same_for_members_and_for_tags() {
    let house = House::new().await;
    let differs = |n: usize, device: &mut Device, said: &mut Said| {
        let mut owner = DeviceOwner::default();
        owner.groups.insert("all".to_owned());
        if n % 3 == 1 {
            owner.groups.insert("Research".to_owned());
        }
        // Of the last one nobody told whose it is.
        said.owner = (n < 8).then_some(owner);
        device.tags.insert("Research".to_owned());
    };
    let org = house.fleet(9, differs).await;
    for (group, of) in [("Research", vec![1, 4, 7]), ("all", (0..8).collect())] {
        let of: Vec<Serial> = of.into_iter().map(serial).collect();
        let asked = Candidates {
            group: Some(group.to_owned()),
            ..Candidates::default()
        };
        assert_eq!(org.candidates(&asked).await.unwrap(), of, "{group}");
        let named = org.devices_of_group(group).await.unwrap();
        assert_eq!(Vec::from_iter(named.clone()), of, "{group}");
        let tag = format!("are-{}", group.to_lowercase());
        let set = org.set_tag(&tag, &named).await.unwrap();
        assert_eq!((set.added, set.taken), (of.len(), 0), "{group}");
    }
    let used = org.tags_in_use().await.unwrap().groups;
    let used: Vec<(&str, usize)> = used.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(used, [("Research", 3), ("all", 8)]);
    let nobody = org.devices_of_group("research").await;
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
}

#[tokio::test]
async fn whoever_lacks_a_prerequisite_is_not_submitted() {
    let house = House::new().await;
    let change = ProjectChange {
        prerequisites: Some(["wifi-placed".to_owned()].into()),
        ..ProjectChange::default()
    };
    let three = phones(3);
    let (org, _, pilot) = pilot(&house, 7, &change, &three).await;
    org.meet(pilot, None, "wifi-placed", "profile list of Monday")
        .await
        .unwrap();
    let found = finding(&org, pilot, &three[0], Check::Prerequisites).await;
    assert_eq!((found.result, found.at), (CheckResult::Pass, Some(START)));
    for part in [
        "wifi-placed",
        "Anna",
        "profile list of Monday",
        &START.to_string(),
    ] {
        assert!(found.fact.contains(part), "{}", found.fact);
    }

    // A word is taken back, with why; of whom nobody has said it there is none.
    let two = &three[1..];
    says(
        org.unmeet(pilot, Some(two), "wifi-placed", " ").await,
        "must be there",
    );
    says(
        org.unmeet(pilot, None, "owner-told", "x").await,
        "nothing to take back",
    );
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    let back = org.unmeet(pilot, Some(two), "wifi-placed", "it was the wrong list");
    assert_eq!(back.await.unwrap(), 2);
    says(
        org.submit_accepted(pilot, "pilot").await,
        "have changed since they were accepted",
    );
    let lines = record(&house, "move.prerequisite-taken-back").await;
    assert_eq!(lines.len(), 2);
    let line = &lines[0].detail;
    assert_eq!(
        (&line["reason"], &line["said_by"], &line["evidence"]),
        (
            &"it was the wrong list".into(),
            &"Anna".into(),
            &"profile list of Monday".into()
        )
    );
    says(
        org.unmeet(pilot, Some(two), "wifi-placed", "again").await,
        "nothing to take back",
    );

    // Only the one of whom it is said goes; the others stay behind, and say why.
    assert_eq!(accepted(&org, pilot).await.unwrap(), 1);
    assert!(matches!(
        member(&org, pilot, &three[0]).await.state,
        MoveState::Submitting { .. }
    ));
    for left in two {
        match member(&org, pilot, left).await.state {
            MoveState::Blocked { blockers } => {
                assert!(
                    blockers[0].ends_with("not met: wifi-placed"),
                    "{blockers:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // What was submitted keeps what it was submitted with.
    let word = org.unmeet(pilot, Some(&three[..1]), "wifi-placed", "late");
    says(word.await, "submitted already");
    says(
        org.unmeet(pilot, None, "wifi-placed", "late").await,
        "1 device is submitted already: call it back with `mdmd wave cancel`",
    );
}
