//! Deadlines that move, come too near, or are extended: nobody gets less notice than is owed, and windows and free days are kept.

use std::collections::BTreeMap;

use mdm_core::calendar::Calendar;
use mdm_core::clock::Clock as _;
use mdm_core::device::MigrationStatus;
use mdm_core::error::Error;
use mdm_core::migration::MoveState;
use mdm_core::project::Window;
use mdm_core::service::{Act, Dates, MigrationAct, ProjectChange};

use super::apple::{DAY, MINUTE, START};
use super::scheduled;
use super::stage::Stage;

#[tokio::test]
async fn who_was_moved_further_in_the_portal_counts_to_that_and_is_followed_to_its_end() {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    assert!(scheduled(&stage.states(wave).await));
    stage.extend(START + DAY * 40).await;
    // Before ours is sent, somebody moves it in the portal.
    let device = stage.serials[0].clone();
    let further = START + DAY * 50;
    let change = |change: &dyn Fn(&mut mdm_core::device::OrgReading)| {
        change(stage.apple.inside().devices.get_mut(&device).unwrap());
    };
    change(&|reading| reading.deadline = Some(further));
    stage.pass(MINUTE * 30).await;
    assert_eq!(stage.apple.asked(), 1, "it would become earlier");
    let members = stage.org().await.members(wave).await.unwrap();
    assert_eq!(members[0].deadline, further);
    // Once more, and this time nobody here asked for anything; the user begins before it was read.
    change(&|reading| {
        reading.deadline = Some(START + DAY * 55);
        reading.status = Some(MigrationStatus::Started);
    });
    stage.org().await.pull(&stage.serials).await.unwrap();
    let states = stage.states(wave).await;
    assert!(matches!(states[0], MoveState::Started { .. }), "{states:?}");
}

#[tokio::test]
async fn a_deadline_that_has_come_too_near_meanwhile_is_not_sent() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    // Nobody worked for a month but an hour less than the notice that people have.
    stage.clock.set(START + DAY * 29 + MINUTE * 60);
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), 0);
    for state in stage.states(wave).await {
        let MoveState::SubmitFailed { why, .. } = state else {
            panic!("{state:?}");
        };
        assert!(why.contains("nearer than 24 hours"), "{why}");
        assert!(why.contains("give a later one"), "{why}");
    }
    // Less notice is a setting of the organisation, and then it goes.
    let org = stage.org().await;
    for bad in [0, 721] {
        let refused = org.set_what_if(&BTreeMap::new(), Some(bad)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with("notice_hours: "), "{refused}");
    }
    let settings = org.set_what_if(&BTreeMap::new(), Some(2)).await.unwrap();
    assert_eq!(settings.notice_hours, 2);
    stage.accept(wave).await;
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), 1);
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn an_extension_keeps_to_the_window_and_to_the_days_that_are_kept_free() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let org = stage.org().await.acting_for("Anna");
    let mut calendar = Calendar::default();
    let free = r#"{"first": "2026-12-21", "last": "2027-01-03", "why": "holidays"}"#;
    calendar.blackouts = vec![serde_json::from_str(free).unwrap()];
    let change = ProjectChange {
        window: Some(Window {
            not_before: None,
            not_after: Some(START + DAY * 50),
        }),
        calendar: Some(calendar),
        ..ProjectChange::default()
    };
    let project = org.new_project("move", stage.destination, &change).await;
    let project = project.unwrap().id;
    org.switch_project(project, true).await.unwrap();
    let wave = org.new_wave(project, "all", None).await.unwrap().id;
    let dates = Dates {
        deadline: Some(START + DAY * 7),
        available_from: Some(START + DAY),
    };
    org.add_members(wave, &stage.serials, dates).await.unwrap();
    let seen = org.run_what_if(wave).await.unwrap();
    org.accept(wave, &seen.digest, &[], "").await.unwrap();
    org.submit_accepted(wave, "all").await.unwrap();
    stage.pass(MINUTE * 20).await;
    assert!(scheduled(&stage.states(wave).await));

    let act = |deadline| Act {
        what: MigrationAct::Extend { deadline },
        serials: stage.serials.clone(),
        reason: None,
    };
    let asked = stage.apple.asked();
    for (deadline, why) in [
        (START + DAY * 60, "outside of the project's window"),
        (
            START + DAY * 20,
            "a time that is kept free, 2026-12-21 to 2027-01-03: holidays",
        ),
    ] {
        let act = act(deadline);
        let plan = org.plan_act(&act).await.unwrap();
        assert_eq!((plan.members, plan.blocked), (2, 2), "{deadline}");
        for findings in plan.findings.values() {
            assert!(findings[0].contains(why), "{findings:?}");
        }
        let refused = org.do_act(&act, &plan.digest).await;
        assert!(
            matches!(refused, Err(Error::Precondition(_))),
            "{refused:?}"
        );
    }
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), asked, "nothing was sent");
    let act = act(START + DAY * 40);
    let plan = org.plan_act(&act).await.unwrap();
    assert_eq!(plan.findings, BTreeMap::new());
    org.do_act(&act, &plan.digest).await.unwrap();
}

#[tokio::test]
async fn an_extension_leaves_who_was_not_asked_yet_the_notice_that_is_owed() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 20).await;
    assert!(scheduled(&stage.states(wave).await));
    // Nobody was asked, and the deadline has passed.
    stage.clock.set(START + DAY * 30 + MINUTE * 180);
    stage.pass(MINUTE).await;
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Overdue { .. }), "{state:?}");
    }
    let org = stage.org().await;
    let act = |hours: u32| Act {
        what: MigrationAct::Extend {
            deadline: stage.clock.now() + MINUTE * 60 * hours,
        },
        serials: stage.serials.clone(),
        reason: None,
    };
    let asked = stage.apple.asked();
    let near = act(18);
    let plan = org.plan_act(&near).await.unwrap();
    assert_eq!((plan.members, plan.blocked), (2, 2));
    for findings in plan.findings.values() {
        assert!(findings[0].contains("nobody was asked yet"), "{findings:?}");
    }
    let refused = org.do_act(&near, &plan.digest).await;
    assert!(
        matches!(refused, Err(Error::Precondition(_))),
        "{refused:?}"
    );
    assert_eq!(stage.apple.asked(), asked, "nothing was sent");

    // Who was asked before gets the hours that whoever extends gives, and that is said.
    let mut batch = mdm_core::store::Batch::new();
    let mut first = org.members(wave).await.unwrap().remove(0);
    first.offered = Some(START + DAY * 10);
    batch.put(first);
    stage.mdm.store().commit(batch).await.unwrap();
    let plan = org.plan_act(&near).await.unwrap();
    assert_eq!((plan.members, plan.blocked), (2, 1));
    assert!(plan.findings.contains_key(&stage.serials[1]));
    let said = |warnings: &[String]| {
        warnings
            .iter()
            .any(|w| w.starts_with("notice: 1 user, who was asked before, gets less"))
    };
    assert!(said(&plan.warnings), "{:?}", plan.warnings);

    let later = act(25);
    let plan = org.plan_act(&later).await.unwrap();
    assert_eq!(plan.findings, BTreeMap::new());
    assert!(!said(&plan.warnings), "{:?}", plan.warnings);
    org.do_act(&later, &plan.digest).await.unwrap();
    assert!(!scheduled(&stage.states(wave).await), "one was offered it");
    for state in stage.states(wave).await {
        assert!(!matches!(state, MoveState::Overdue { .. }), "{state:?}");
    }
}
