//! What all findings come to: said as of when, passes that are named, the matrix and the forecast.

use super::*;
use crate::licences::Stock;
use crate::original::DeviceOwner;

#[test]
fn what_is_found_of_all_says_of_when_it_is() {
    let seen = NOW - DAY;
    let need = crate::licences::needs(
        [(
            &serial("SERIAL1"),
            &[(7, "com.example.notes".to_owned())][..],
        )],
        &BTreeSet::new(),
        &BTreeMap::new(),
    );
    let facts = ServerFacts {
        awaits: Some(true),
        awaits_at: Some(seen),
        needs: Some(need),
        stock_read: Some(seen),
        shared: vec![("Library".to_owned(), Some(seen))],
        outside: Some(crate::checklist::Outside {
            at: seen,
            endpoints: Vec::new(),
        }),
        ..ServerFacts::default()
    };
    let found = look_at_server(&facts, (NOW + DAY, NOW + 9 * DAY), NOW);
    for (check, source) in [
        (Check::Await, FactSource::Assignment),
        (Check::AppsLicences, FactSource::Api),
        (Check::ContentTokenShared, FactSource::Api),
        (Check::DeadlineLicences, FactSource::Api),
        (Check::Endpoints, FactSource::Probe),
        (Check::TlsCert, FactSource::Probe),
    ] {
        let finding = found.iter().find(|f| f.check == check).unwrap();
        assert_eq!(
            (finding.source, finding.at),
            (Some(source), Some(seen)),
            "{check}"
        );
    }
    // Of a device too.
    let m = member(Ios);
    for finding in m.look() {
        let known = [Check::InOtherWave, Check::FamilySupported];
        if known.contains(&finding.check) {
            assert!(finding.source.is_some(), "{}", finding.line());
        }
    }
}

#[test]
fn every_finding_says_where_it_comes_from_and_settings_are_of_now() {
    let lasts = |check, source| Expiry {
        check,
        name: "it".to_owned(),
        ends: Ends::At(NOW + 90 * DAY),
        source,
        at: Some(NOW),
    };
    let project = |on| ProjectFacts {
        name: "Berlin".to_owned(),
        on,
        gate: Vec::new(),
        at_once: Some((3, NOW + 9 * DAY)),
        capacity: 2,
    };
    for on in [true, false] {
        let facts = ServerFacts {
            awaits: Some(true),
            needs: Some(Vec::new()),
            protocol: Some(8),
            expiries: vec![
                lasts(Check::PushCert, FactSource::Operator),
                lasts(Check::ContentToken, FactSource::Api),
            ],
            project: Some(project(on)),
            ..ServerFacts::default()
        };
        let found = look_at_server(&facts, (NOW + DAY, NOW + 9 * DAY), NOW);
        for finding in found.iter().filter(|f| f.result != Unknown) {
            assert!(finding.source.is_some(), "{}", finding.line());
        }
        for (check, source) in [
            (Check::Switch, FactSource::Operator),
            (Check::Gate, FactSource::Operator),
            (Check::Capacity, FactSource::Operator),
            (Check::Gap, FactSource::Operator),
            (Check::PushCert, FactSource::Operator),
            (Check::ContentToken, FactSource::Api),
        ] {
            let finding = found.iter().find(|f| f.check == check).unwrap();
            let said = (finding.source, finding.at);
            assert_eq!(said, (Some(source), Some(NOW)), "{check}");
        }
    }
    for platform in [Ios, Ipados, Macos] {
        let found = member(platform).look();
        for finding in found.iter().filter(|f| f.result != Unknown) {
            assert!(finding.source.is_some(), "{}", finding.line());
        }
    }
    // What the assignment service lists is no word of the device.
    let mut m = member(Ios);
    m.device.record.as_mut().unwrap().family = "iPhone".to_owned();
    let found = m.look();
    let family = found.iter().find(|f| f.check == Check::FamilySupported);
    let family = family.unwrap();
    assert_eq!(
        (family.source, family.at),
        (Some(FactSource::Assignment), Some(NOW))
    );
}

#[test]
fn what_is_well_is_a_pass_and_no_silence() {
    let mut facts = ServerFacts {
        members: 2,
        ..ServerFacts::default()
    };
    let of = |facts: &ServerFacts, check| {
        let found = look_at_server(facts, (NOW + DAY, NOW + 9 * DAY), NOW);
        found.iter().find(|f| f.check == check).map(|f| f.result)
    };
    for check in [
        Check::MembersUnique,
        Check::ContentTokenShared,
        Check::DeadlineLicences,
        Check::Gap,
    ] {
        assert_eq!(of(&facts, check), Some(Pass), "{check}");
    }
    facts.twice.insert(serial("SERIAL1"));
    assert_eq!(of(&facts, Check::MembersUnique), Some(Block));
    // What only an iPad can be.
    for (platform, result) in [(Ios, Pass), (Macos, Pass), (Ipados, Unknown)] {
        let both = [Check::SharedIpad, Check::ReturnToService];
        for of in both {
            let other = both
                .into_iter()
                .filter(|other| *other != of && result != Pass);
            let also: Vec<Check> = other.collect();
            check_with(&also, platform, of, result, |m| {
                m.original.shared = None;
                m.original.return_to_service = None;
            });
        }
    }
    check(Ios, Check::InOtherWave, Pass, |_| {});
    check(Ios, Check::InOtherWave, Block, |m| m.in_other_wave = true);
}

#[test]
fn the_matrix_names_reasons_by_devices_and_its_change() {
    let mut old = member(Ios);
    tell(&mut old, |s| s.system = Some("18.5".to_owned()));
    let (a, b) = (serial("A1"), serial("B1"));
    let good = member(Ios).look();
    let bad = old.look();
    let matrix = |of: [(&Serial, &[CheckFinding]); 2]| {
        let mut matrix = Matrix::default();
        for (serial, findings) in of {
            matrix.add(serial, Some(Ios), findings, &Unknowns::default());
        }
        matrix
    };
    let first = matrix([(&a, &bad), (&b, &bad)]);
    assert_eq!(first.rows.len(), 1);
    assert_eq!(
        (first.rows[0].check, first.rows[0].counts_as),
        (Check::OsMinimum, Block)
    );
    assert_eq!(first.rows[0].devices.len(), 2);
    let second = matrix([(&a, &good), (&b, &bad)]);
    let change = second.since(&first);
    assert_eq!(change.appeared, []);
    assert_eq!(
        change.gone,
        [(Check::OsMinimum, Block, BTreeSet::from([a]))]
    );
}

#[test]
fn what_counts_otherwise_for_a_mac_is_one_answer_all_the_same() {
    let (phone, mac) = (serial("A1"), serial("B1"));
    let unknown = [CheckFinding::unknown(
        Check::AppsMapped,
        "nobody has told",
        "tell it",
        Owner::Original,
    )];
    let matrix = |phone_too: bool| {
        let (mut matrix, rules) = (Matrix::default(), Unknowns::default());
        if phone_too {
            matrix.add(&phone, Some(Ios), &unknown, &rules);
        }
        matrix.add(&mac, Some(Macos), &unknown, &rules);
        matrix
    };
    let (both, one) = (matrix(true), matrix(false));
    assert_eq!(both.rows.len(), 2, "it blocks one of them");
    let gone = [(Check::AppsMapped, Unknown, BTreeSet::from([phone.clone()]))];
    let change = one.since(&both);
    assert_eq!((change.appeared.len(), &change.gone[..]), (0, &gone[..]));
    let change = both.since(&one);
    assert_eq!((&change.appeared[..], change.gone.len()), (&gone[..], 0));
}

#[test]
fn the_forecast_counts_apps_devices_and_people() {
    let mut runbook = PinnedRunbook::standard(Ios, Variant::Migration);
    runbook.apps = vec![
        app("com.example.notes", Some(7), AppAction::KeepIfPresent),
        app("com.example.maps", Some(8), AppAction::Install),
        app("com.example.old", None, AppAction::Drop),
        app("com.example.own", None, AppAction::Install),
    ];
    let apps = |names: &[&str]| Some(names.iter().map(|n| OriginalApp::new(n)).collect());
    let facts = |serial: &Serial, owner: &str, list: Option<Vec<OriginalApp>>| {
        let mut facts = OriginalFacts::new(OrganisationId(1), DeviceId(1));
        let mut said = Said::nothing(serial.clone());
        said.apps = list;
        said.owner = Some(DeviceOwner {
            name: Some(owner.to_owned()),
            ..DeviceOwner::default()
        });
        facts.take(said, NOW, "export");
        facts
    };
    let serials = [serial("A1"), serial("B1"), serial("C1"), serial("D1")];
    let known = [
        facts(
            &serials[0],
            "Ada",
            apps(&["com.example.Notes", "com.example.maps", "com.example.new"]),
        ),
        facts(
            &serials[1],
            "Bob",
            apps(&["com.example.notes", "com.example.old"]),
        ),
        facts(
            &serials[2],
            "Cleo",
            apps(&["com.example.notes", "com.example.own"]),
        ),
        facts(&serials[3], "Dan", None),
    ];
    let some = BTreeSet::from([7]);
    let (none, no_tags) = (BTreeSet::new(), BTreeSet::new());
    let members = serials
        .iter()
        .zip(&known)
        .enumerate()
        .map(|(n, (serial, original))| LossOf {
            serial,
            platform: Some(Ios),
            original: Some(original),
            runbook: Some(&runbook),
            licences: if n == 2 { &some } else { &none },
            tags: &no_tags,
        });
    // One licence of the notes is left, for two devices that have none.
    let stock = |available| Stock {
        total: 2,
        assigned: 2 - available,
        available,
        device_assignable: true,
        unlimited: false,
    };
    let stock = BTreeMap::from([(7, stock(1)), (8, stock(2))]);
    let forecast = |members: &mut dyn Iterator<Item = LossOf<'_>>| {
        let mut forecaster = Forecaster::new(Some(stock.clone()));
        members.for_each(|member| {
            forecaster.add(&member);
        });
        forecaster.finish()
    };
    let mut members = members;
    let all = forecast(&mut members);
    assert_eq!((all.known, all.unknown.len()), (3, 1));
    let of = |name: &str| {
        all.apps
            .iter()
            .find(|a| a.bundle_id.eq_ignore_ascii_case(name))
            .unwrap()
    };
    let notes = of("com.example.notes");
    assert_eq!((notes.present, notes.kept, notes.short), (3, 2, 1));
    assert_eq!(
        notes.lost,
        BTreeMap::from([(serials[1].clone(), AppFate::LostLicence)])
    );
    assert_eq!(notes.people, BTreeSet::from(["Bob".to_owned()]));
    assert_eq!(of("com.example.maps").kept, 1);
    assert_eq!(
        (
            of("com.example.old").dropped,
            of("com.example.old").lost.len()
        ),
        (1, 0)
    );
    assert_eq!(of("com.example.own").lost[&serials[2]], AppFate::LostSource);
    assert_eq!(
        of("com.example.new").lost[&serials[0]],
        AppFate::LostUndecided
    );
    assert_eq!(all.losing.len(), 3);
    // Who would lose an app for want of a licence is told at once; where no location is known nobody can say.
    let of = |member: &LossOf<'_>, stock| Forecaster::new(stock).add(member);
    let bob = LossOf {
        serial: &serials[1],
        platform: Some(Ios),
        original: Some(&known[1]),
        runbook: Some(&runbook),
        licences: &none,
        tags: &no_tags,
    };
    let short = of(&bob, Some(BTreeMap::new()));
    assert_eq!(
        (short.lost, short.uncertain.len()),
        (vec!["com.example.notes".to_owned()], 0)
    );
    let short = of(&bob, None);
    assert_eq!(short.uncertain_to_get, ["com.example.maps"]);
    assert_eq!(
        (short.lost.len(), short.uncertain),
        (0, vec!["com.example.notes".to_owned()])
    );
    // What the table says comes true by a step: without it even an app with a licence goes.
    let mut stepless = runbook.clone();
    stepless.steps.retain(|s| s.id != StepId::AppsKeep);
    let lost = forecast(
        &mut [LossOf {
            runbook: Some(&stepless),
            ..bob
        }]
        .into_iter(),
    );
    assert_eq!(lost.apps[0].lost[&serials[1]], AppFate::LostStep);
    assert_eq!(lost.apps[0].kept, 0);
    // A Mac loses nothing in this way, and a device of which nobody told is not among those that lose nothing.
    let mac = LossOf {
        serial: &serials[0],
        platform: Some(Macos),
        original: Some(&known[0]),
        runbook: None,
        licences: &none,
        tags: &no_tags,
    };
    assert_eq!(forecast(&mut [mac].into_iter()), Forecast::default());
}

#[test]
fn a_step_that_is_only_for_tags_that_no_device_has_is_said_of_all() {
    let mut runbook = member(Ios).runbook;
    for (id, word) in [(StepId::Lock, "excutives"), (StepId::Network, "lab")] {
        let step = runbook.steps.iter_mut().find(|step| step.id == id);
        step.unwrap().only.insert(word.to_owned());
    }
    let mut counter = StepCounter::default();
    let others = [StepId::Lock, StepId::Network];
    counter.add(&runbook, &BTreeSet::from(others));
    counter.add(&runbook, &BTreeSet::from([StepId::Lock]));
    let mut facts = ServerFacts {
        for_nobody: counter.finish(),
        ..ServerFacts::default()
    };
    let lock = ForNobody {
        step: StepId::Lock,
        only: BTreeSet::from(["excutives".to_owned()]),
        members: 2,
    };
    assert_eq!(facts.for_nobody, [lock]);
    let of = |facts: &ServerFacts| {
        let mut found = look_at_server(facts, (NOW + DAY, NOW + 9 * DAY), NOW);
        found.retain(|f| f.check == Check::RunbookValid);
        found
    };
    let found = of(&facts);
    assert_eq!((found.len(), found[0].result), (1, Warn));
    // It goes by other devices: no acceptance is bound to it, as it is to what is found of a device and its runbook.
    assert!(!found[0].is_of_the_plan());
    let all = member(Ios).look();
    let own = all.iter().find(|f| f.check == Check::RunbookValid);
    assert!(own.unwrap().is_of_the_plan());
    let fact = "the step lock is only for devices with excutives: none of these 2 has that, and no other device";
    assert_eq!(found[0].fact, fact);
    facts.for_nobody.clear();
    assert!(of(&facts).is_empty());
}

#[test]
fn two_people_of_one_name_are_two_and_who_is_not_known_is_counted() {
    let runbook = PinnedRunbook::standard(Ios, Variant::Migration);
    let serials = [serial("A1"), serial("B1"), serial("C1")];
    let owner = |email: &str| DeviceOwner {
        name: Some("Eva".to_owned()),
        email: Some(email.to_owned()),
        ..DeviceOwner::default()
    };
    let owners = [
        Some(owner("eva@example.com")),
        Some(owner("e.va@example.com")),
        None,
    ];
    let known: Vec<OriginalFacts> = std::iter::zip(&serials, owners)
        .map(|(serial, owner)| {
            let mut facts = OriginalFacts::new(OrganisationId(1), DeviceId(1));
            let mut said = Said::nothing(serial.clone());
            said.apps = Some(vec![OriginalApp::new("com.example.notes")]);
            said.owner = owner;
            facts.take(said, NOW, "export");
            facts
        })
        .collect();
    let (licences, tags) = (BTreeSet::new(), BTreeSet::new());
    let mut forecaster = Forecaster::new(None);
    for (serial, original) in serials.iter().zip(&known) {
        forecaster.add(&LossOf {
            serial,
            platform: Some(Ios),
            original: Some(original),
            runbook: Some(&runbook),
            licences: &licences,
            tags: &tags,
        });
    }
    let all = forecaster.finish();
    let notes = &all.apps[0];
    assert_eq!(notes.lost.len(), 3);
    assert_eq!((notes.people.len(), notes.owner_unknown), (2, 1));
}
