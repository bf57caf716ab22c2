//! Manifests of apps of one's own: what is looked at and in which order, and what of it an acceptance is bound to.

use std::collections::BTreeMap;
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::checklist::SeenManifest;
use mdm_core::device::Platform;
use mdm_core::ids::WaveId;
use mdm_core::migration::{AppAction, AppPlan};
use mdm_core::service::{Detail, Member, Org, Question};

use super::service_house::{House, START};
use super::{DAY, fleet, fleet_told, question, runbook, said, serial};

/// The manifest of the runbook that all have here.
const NOTES: &str = "https://apps.example.com/notes.plist";
const HOUR: Duration = Duration::from_hours(1);

async fn planned(house: &House, org: &Org) -> WaveId {
    let runbooks = BTreeMap::from([(Platform::Ios, runbook())]);
    let member = Member {
        serial: serial(0),
        deadline: START + 9 * DAY,
        available_from: START,
        original_server: None,
    };
    org.plan_wave("pilot", house.server, &runbooks, &[member])
        .await
        .unwrap()
}

#[tokio::test]
async fn no_acceptance_is_bound_to_what_one_process_has_seen() {
    let (house, org) = fleet_told(1).await;
    let wave = planned(&house, &org).await;
    let wrong = || SeenManifest::wrong(NOTES, house.mdm.now(), "answers with 404");
    let id = org.organisation().id;
    house.mdm.tell_manifests(id, vec![wrong()]);
    house.clock.advance(Duration::from_secs(60));
    let once = org.what_if(wave).await.unwrap();
    assert!(once.blockers.is_empty(), "{:?}", once.blockers);
    let said = once.warnings.iter().any(|w| w.contains("apps.manifest"));
    assert!(said, "{:?}", once.warnings);
    house.mdm.tell_manifests(id, vec![wrong()]);
    let twice = org.what_if(wave).await.unwrap();
    assert!(twice.blockers[&serial(0)][0].contains("answers with 404"));
    assert_eq!(twice.digest, once.digest);
    // Another process has seen nothing: nobody is kept back there, and what was accepted holds.
    drop(org);
    let house = house.restarted().await;
    let org = house.org().await;
    let other = org.what_if(wave).await.unwrap();
    assert!(other.blockers.is_empty(), "{:?}", other.blockers);
    assert_eq!(other.digest, once.digest);
}

#[tokio::test]
async fn those_of_waves_come_first_and_what_is_too_much_is_said() {
    let (house, org) = fleet_told(1).await;
    planned(&house, &org).await;
    assert_eq!(org.manifests().await.unwrap(), [NOTES]);
    house.clock.advance(Duration::from_secs(1));
    // By the alphabet they come before that of the wave.
    let url = |n: usize| format!("https://a{n:03}.example.com/app.plist");
    let mut many = question(&house, 1);
    let runbook = many.runbooks.get_mut(&Platform::Ios).unwrap();
    runbook.apps = (0..200)
        .rev()
        .map(|n| AppPlan {
            bundle_id: format!("com.example.a{n:03}"),
            store_id: None,
            manifest_url: Some(url(n)),
            action: AppAction::Install,
        })
        .collect();
    let found = async |question: &Question| {
        let looked = org.look_at(question, Detail::Everything).await.unwrap();
        let mut findings = looked.members[0].findings.iter();
        let found = findings.find(|f| f.check == Check::AppsManifest);
        found.cloned().unwrap()
    };
    let finding = found(&many).await;
    assert_eq!(finding.result, CheckResult::Warn, "{}", finding.fact);
    let says = "com.example.a199: more than 200 are asked for at a time";
    assert!(finding.fact.contains(says), "{}", finding.fact);
    let all = org.manifests().await.unwrap();
    assert_eq!((all.len(), all[0].as_str()), (200, NOTES));
    assert!(all.contains(&url(198)) && !all.contains(&url(199)));
    // What was looked at makes way for the others, and is looked at again.
    let now = house.mdm.now();
    let seen = all[..150].iter();
    let seen = seen.map(|url| SeenManifest::wrong(url, now, "answers with 404"));
    let id = org.organisation().id;
    house.mdm.tell_manifests(id, seen.collect());
    assert_eq!(org.manifests().await.unwrap(), all[150..]);
    house.clock.advance(HOUR);
    let again = org.manifests().await.unwrap();
    assert_eq!((again.len(), again[0].as_str()), (200, NOTES));
    assert_eq!(again[1..51], all[150..], "at these nobody has looked yet");
    // Longer than from one daily look at a wave to the next, and not for ever.
    house.clock.advance(DAY);
    assert_eq!(org.manifests().await.unwrap().len(), 200);
    house.clock.advance(DAY);
    assert_eq!(org.manifests().await.unwrap(), [NOTES]);
}

#[tokio::test]
async fn who_plans_nothing_sends_nobody_to_an_address() {
    const ELSEWHERE: &str = "https://elsewhere.example.com/app.plist";
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    org.import_originals("Old MDM", START, vec![said(0)])
        .await
        .unwrap();
    let mut asked = question(&house, 1);
    let runbook = asked.runbooks.get_mut(&Platform::Ios).unwrap();
    runbook.apps = vec![AppPlan {
        bundle_id: "com.example.elsewhere".to_owned(),
        store_id: None,
        manifest_url: Some(ELSEWHERE.to_owned()),
        action: AppAction::Install,
    }];
    let named = runbook.clone();
    let fact = async |org: &Org| {
        let looked = org.look_at(&asked, Detail::Everything).await.unwrap();
        let mut findings = looked.members[0].findings.iter();
        let found = findings.find(|f| f.check == Check::AppsManifest);
        found.unwrap().fact.clone()
    };
    let desk = org.clone().looking_at_ours_alone();
    let said = fact(&desk).await;
    assert!(said.contains("before a planner asks"), "{said}");
    assert!(org.manifests().await.unwrap().is_empty());
    // What somebody keeps who may is theirs to ask for.
    let kept = org.edit_runbook("elsewhere", Platform::Ios, named, None, "for the test");
    kept.await.unwrap();
    let said = fact(&desk).await;
    assert!(!said.contains("before a planner asks"), "{said}");
    assert_eq!(org.manifests().await.unwrap(), [ELSEWHERE]);
    // So is what a planner asks for, kept or not.
    org.remove_runbook("elsewhere").await.unwrap();
    house.clock.advance(2 * DAY);
    assert!(org.manifests().await.unwrap().is_empty());
    fact(&desk).await;
    assert!(org.manifests().await.unwrap().is_empty());
    let said = fact(&org).await;
    assert!(!said.contains("before a planner asks"), "{said}");
    assert_eq!(org.manifests().await.unwrap(), [ELSEWHERE]);
}
