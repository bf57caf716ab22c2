//! A list of devices is held to what a wave is held to: gates, room, the runbook that a template locks. And it says what has come
//! and gone since the last look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::device::Platform;
use mdm_core::ids::RunbookId;
use mdm_core::migration::{Owner, PinnedRunbook, StepId, Variant};
use mdm_core::original::OriginalApp;
use mdm_core::project::Gate;
use mdm_core::service::{Dates, Detail, Member, MigrationAct, ProjectChange, Since};
use mdm_core::store::Batch;
use mdm_core::template::TemplateContent;
use mdm_core::wave::Preset;

use super::service_house::{House, START};
use super::{DAY, contents, fleet, fleet_told, list, question, runbook, said, serial};

#[tokio::test]
async fn a_list_waits_for_gates_and_for_room_as_a_wave_does() {
    let (house, org) = fleet_told(4).await;
    let change = ProjectChange {
        capacity: Some(1),
        ..ProjectChange::default()
    };
    let made = org.new_project("Berlin", house.server, &change).await;
    let berlin = made.unwrap().id;
    let member = async |name: &str, preset, n| {
        let made = org.new_wave(berlin, name, Some(preset)).await;
        let wave = made.unwrap().id;
        let dates = Dates {
            deadline: Some(START + 9 * DAY),
            available_from: Some(START + DAY),
        };
        org.add_members(wave, &[serial(n)], dates).await.unwrap();
        wave
    };
    member("pilot", Preset::Pilot, 0).await;
    // Of each check what is found of the only device of a list, if anything.
    let against = async |n: usize, deadline: u32| {
        let plan = org.plan_act(&list(&house, &[n], deadline)).await.unwrap();
        plan.findings.get(&serial(n)).cloned().unwrap_or_default()
    };
    let none: [&str; 0] = [];

    // While the project is off, it is said and keeps nobody back.
    let plan = org.plan_act(&list(&house, &[1, 2], 12)).await.unwrap();
    assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
    let said = plan.warnings.join("\n");
    for part in [
        "gate: 2 devices: past the project Berlin: not open is the gate of pilot",
        "capacity: 2 devices: past the project Berlin: more than 1 device would be in a hold at once",
    ] {
        assert!(said.contains(part), "{said}");
    }

    // While it is on, neither goes. There is room for one, and at the deadline of the pilot for none.
    org.switch_project(berlin, true).await.unwrap();
    let plan = org.plan_act(&list(&house, &[1, 2], 12)).await.unwrap();
    assert_eq!(plan.blocked, 2, "{:?}", plan.findings);
    let gate = "gate: past the project Berlin: not open is the gate of pilot";
    for n in [1, 2] {
        let told = &plan.findings[&serial(n)];
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(
            told[0],
            "capacity: past the project Berlin: more than 1 device would be in a hold at once"
        );
        assert_eq!(told[1], gate);
    }
    assert_eq!(against(1, 12).await, [gate]);
    assert_eq!(against(1, 9).await.len(), 2);
    let mut asked = question(&house, 4);
    asked.serials = vec![serial(1)];
    let report = org.look_at(&asked, Detail::Problems).await.unwrap();
    for check in [Check::Gate, Check::Capacity] {
        let mut found = report.members[0].findings.iter();
        let found = found.find(|f| f.check == check).unwrap();
        assert_eq!(found.result, CheckResult::Block, "{found:?}");
        assert_eq!(found.who, Some(Owner::Destination));
        let fix = match check {
            Check::Gate => "`mdmd wave gate`",
            // With the one of the pilot at this deadline.
            _ => {
                "give fewer devices this deadline, let them go with a wave of Berlin, or raise its capacity: at most 2, around "
            }
        };
        assert!(found.fix.contains(fix), "{found:?}");
    }

    // The gate opens: it goes at a deadline at which there is room.
    let mut open = Gate::default();
    open.settled_percent = 0;
    open.most_failed_percent = 100;
    open.sign_off = false;
    let gate_is = async |gate: Gate| {
        let change = ProjectChange {
            gate: Some(gate),
            ..ProjectChange::default()
        };
        org.change_project(berlin, &change).await.unwrap();
    };
    gate_is(open).await;
    assert_eq!(against(1, 12).await, none);
    assert_eq!(against(1, 9).await.len(), 1);

    // A member of a later wave does not go past the gate by way of a list, in its wave or taken out of it.
    gate_is(Gate::default()).await;
    let main = member("main", Preset::Main, 3).await;
    let told = against(3, 12).await.join("\n");
    assert!(told.contains("in.other.wave"), "{told}");
    let three = [serial(3)];
    let taken = org.remove_members(main, Some(&three), "by a list");
    assert_eq!(taken.await.unwrap(), 1);
    let told = against(3, 12).await.join("\n");
    assert!(
        !told.contains("in.other.wave") && told.contains(gate),
        "{told}"
    );
    let plan = org.plan_act(&list(&house, &[3], 12)).await.unwrap();
    let refused = org.do_act(&list(&house, &[3], 12), &plan.digest).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("stands against every device"), "{refused}");
}

#[tokio::test]
async fn a_list_goes_with_the_runbook_that_a_template_locks() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let mut locked = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    locked.lock = true;
    let mut content = TemplateContent::default();
    content.runbooks.insert(Platform::Ios, locked);
    let made = house
        .mdm
        .edit_template("Careful", &content, None, "Anna", "begun");
    made.await.unwrap();
    org.push_template("Careful").await.unwrap();
    // What nobody names is the template's, or else the standard one.
    let filled = org.runbooks_of_list(BTreeMap::new()).await.unwrap();
    assert!(filled[&Platform::Ios].lock);
    let standard = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    assert_eq!(filled[&Platform::Macos], standard);
    let own = BTreeMap::from([(Platform::Ios, runbook())]);
    let kept = org.runbooks_of_list(own.clone()).await.unwrap();
    assert_eq!(kept[&Platform::Ios], runbook(), "what somebody asks for");

    let member = Member {
        serial: serial(0),
        deadline: START + 9 * DAY,
        available_from: START + DAY,
        original_server: None,
    };
    let doors = async |runbooks: &BTreeMap<Platform, PinnedRunbook>| {
        let mut act = list(&house, &[0], 9);
        if let MigrationAct::Assign { runbooks: own, .. } = &mut act.what {
            own.clone_from(runbooks);
        }
        let mut asked = question(&house, 1);
        asked.runbooks.clone_from(runbooks);
        let planned = org.plan_act(&act).await;
        let done = org.do_act(&act, &"0".repeat(64)).await;
        let looked = org.look_at(&asked, Detail::Counts).await;
        [
            ("plan", planned.err()),
            ("do", done.err()),
            ("look", looked.err()),
        ]
        .map(|(door, error)| (door, error.map(|e| e.to_string()).unwrap_or_default()))
    };
    let word = "runbooks is locked by the template Careful";
    for (door, said) in doors(&own).await {
        assert!(said.contains(word), "{door}: {said}");
    }
    let members = std::slice::from_ref(&member);
    let wave = org.plan_wave("host", house.server, &own, members).await;
    let said = wave.unwrap_err().to_string();
    assert!(said.contains(word), "{said}");
    for (door, said) in doors(&filled).await {
        assert!(!said.contains(word), "{door}: {said}");
        assert_eq!(said.is_empty(), door != "do", "{door}: {said}");
    }
    // One that was pinned by an earlier version, whose content had another name then, is the same one.
    let store = house.mdm.store();
    let mut row = house.org().await.organisation().clone();
    let template = row.template.as_mut().unwrap();
    let pinned = template.runbooks[&Platform::Ios];
    let mut earlier = store.runbook(house.org, pinned).await.unwrap().unwrap();
    earlier.id = RunbookId(pinned.0 ^ 1);
    template.runbooks.insert(Platform::Ios, earlier.id);
    let mut batch = Batch::new();
    batch.put(earlier).put(row);
    store.commit(batch).await.unwrap();
    for (door, said) in doors(&filled).await {
        assert!(!said.contains(word), "{door}: {said}");
    }
    for (door, said) in doors(&own).await {
        assert!(said.contains(word), "{door}: {said}");
    }
    // Taken away, anything goes again.
    org.take_template("Careful").await.unwrap();
    for (door, said) in doors(&own).await {
        assert!(!said.contains(word), "{door}: {said}");
    }
    let wave = org.plan_wave("host", house.server, &own, members).await;
    wave.unwrap();
}

#[tokio::test]
async fn a_list_says_what_has_come_and_gone_since_the_last_look_at_it() {
    let (house, org) = fleet_told(2).await;
    let before = contents(&house).await;
    let look = async |devices: &[usize], name: Option<&str>, keep: bool| {
        let mut asked = question(&house, 2);
        asked.serials = devices.iter().copied().map(serial).collect();
        let report = org.check_list(&asked, Detail::Problems, name, keep);
        report.await.unwrap().since
    };
    let same = Some(Since::default());
    assert_eq!(look(&[0, 1], None, true).await, None, "the first one");
    assert_eq!(look(&[1, 0], None, true).await, same, "in any order");
    // Other devices are another list, and so is a name.
    assert_eq!(look(&[0], None, true).await, None);
    assert_eq!(look(&[0], Some("all"), true).await, None);
    assert_eq!(look(&[0, 1], None, true).await, same);
    assert_eq!(contents(&house).await, before, "looking has written");

    let mut newer = said(0);
    newer.apps = Some(vec![OriginalApp::new("com.example.maps")]);
    let minute = Duration::from_secs(60);
    house.clock.advance(minute);
    let told = org.import_originals("Old MDM", START + minute, vec![newer]);
    told.await.unwrap();
    let zero = BTreeSet::from([serial(0)]);
    // As long as nobody keeps it, the difference is to the same one.
    for keep in [false, false, true] {
        let since = look(&[0, 1], None, keep).await.unwrap();
        let new = (Check::AppsMapped, CheckResult::Block, zero.clone());
        assert!(since.appeared.contains(&new), "{since:?}");
        let lost = BTreeMap::from([("com.example.maps".to_owned(), zero.clone())]);
        assert_eq!(since.lost_appeared, lost);
    }
    assert_eq!(look(&[0, 1], None, false).await, same);
    // A list that has a name is the same one with other devices.
    let since = look(&[0, 1], Some("all"), true).await.unwrap();
    assert_eq!(since.lost_appeared.len(), 1, "{since:?}");

    // A plan for these devices goes on from there, and counts are kept with all that the next look needs.
    let mut act = list(&house, &[0, 1], 9);
    act.serials.reverse();
    let since = org.plan_act(&act).await.unwrap().since.unwrap();
    assert!(since.lost_appeared.is_empty(), "{since:?}");
    let again = org.plan_act(&act).await.unwrap();
    assert_eq!(again.since, same);
    let asked = question(&house, 2);
    let counts = org.check_list(&asked, Detail::Counts, None, true);
    let counts = counts.await.unwrap();
    assert!(counts.members.is_empty() && counts.since.is_some());
    assert_eq!(look(&[0, 1], None, false).await, same);
    let bad = org.check_list(&asked, Detail::Counts, Some(" "), true);
    let bad = bad.await.unwrap_err().to_string();
    assert!(bad.starts_with("list: "), "{bad}");
}

#[tokio::test]
async fn what_goes_by_others_is_said_of_a_list_and_is_no_part_of_what_is_accepted() {
    let (house, org) = fleet_told(2).await;
    let (lab, none) = (BTreeSet::from(["lab".to_owned()]), BTreeSet::new());
    let mut act = list(&house, &[0], 9);
    if let MigrationAct::Assign { runbooks, .. } = &mut act.what {
        let steps = &mut runbooks.get_mut(&Platform::Ios).unwrap().steps;
        let step = steps.iter_mut().find(|s| s.id == StepId::Trust);
        step.unwrap().only.clone_from(&lab);
    }
    let warned = |warnings: &[String]| {
        let mut warnings = warnings.iter();
        warnings.any(|w| w.contains("only for devices with lab"))
    };
    let before = org.plan_act(&act).await.unwrap();
    assert!(warned(&before.warnings), "{:?}", before.warnings);
    // What this process has not seen of its doors and of a manifest is said as well.
    for check in ["endpoints: ", "tls.cert: ", "apps.manifest: "] {
        let said = before.warnings.iter().any(|w| w.starts_with(check));
        assert!(said, "{check}: {:?}", before.warnings);
    }
    // Another device gets the tag: of the one on the list nothing has changed.
    let unknown = org.tag_devices(&[serial(1)], &lab, &none).await;
    assert!(unknown.unwrap().is_empty());
    let after = org.plan_act(&act).await.unwrap();
    assert!(!warned(&after.warnings), "{:?}", after.warnings);
    assert_eq!(after.digest, before.digest);
}
