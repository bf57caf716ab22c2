//! What holds for all members: what ends, what was seen of the doors, the server and its account.

use super::*;
use crate::licences::{LicenceNeed, NeedCount, Stock, TakenOver};

#[test]
fn what_ends_too_early_stands_against_all() {
    let at = |days: u32| Ends::At(NOW + days * DAY);
    let push = |ends| Expiry {
        check: Check::PushCert,
        name: "the push certificate".to_owned(),
        ends,
        source: FactSource::Operator,
        at: Some(NOW),
    };
    let result = |ends| {
        let facts = ServerFacts {
            awaits: Some(true),
            expiries: vec![push(ends)],
            per_hour: 10,
            ..ServerFacts::default()
        };
        let found = look_at_server(&facts, (NOW + 9 * DAY, NOW + 20 * DAY), NOW);
        found
            .iter()
            .find(|f| f.check == Check::PushCert)
            .unwrap()
            .result
    };
    assert_eq!(result(Ends::Missing), Block);
    assert_eq!(result(Ends::Refused("401".to_owned())), Block);
    assert_eq!(result(Ends::Unsaid("it is not ours".to_owned())), Unknown);
    assert_eq!(result(at(0)), Block);
    assert_eq!(result(at(19)), Block);
    assert_eq!(result(at(49)), Warn);
    assert_eq!(result(at(50)), Pass);
}

#[test]
fn what_was_seen_of_the_doors_counts_and_what_nobody_saw_is_unknown() {
    let mut facts = ServerFacts::default();
    let of = |facts: &ServerFacts, check, last: u32| {
        let found = look_at_server(facts, (NOW + DAY, NOW + last * DAY), NOW);
        found.iter().find(|f| f.check == check).map(|f| f.result)
    };
    assert_eq!(of(&facts, Check::Endpoints, 9), Some(Unknown));
    assert_eq!(of(&facts, Check::TlsCert, 9), Some(Unknown));
    let door = |problem: Option<&str>| crate::checklist::Endpoint {
        chain: None,
        name: "SCEP".to_owned(),
        url: "https://mdm.example.com".to_owned(),
        problem: problem.map(str::to_owned),
        trusted_by: None,
        ends: Some(NOW + 45 * DAY),
        clock_ahead: None,
    };
    let seen = |problem| crate::checklist::Outside {
        at: NOW,
        endpoints: vec![door(None), door(problem)],
    };
    facts.outside = Some(seen(None));
    assert_eq!(of(&facts, Check::Endpoints, 9), Some(Pass));
    assert_eq!(of(&facts, Check::TlsCert, 9), Some(Pass));
    assert_eq!(of(&facts, Check::TlsCert, 20), Some(Warn));
    assert_eq!(of(&facts, Check::TlsCert, 50), Some(Block));
    // An authority above it that ends earlier is the end of all of it.
    let mut outside = seen(None);
    outside.endpoints[1].chain = Some(crate::checklist::ChainEnd {
        name: "Example CA".to_owned(),
        ends: NOW + 8 * DAY,
    });
    facts.outside = Some(outside);
    assert_eq!(of(&facts, Check::TlsCert, 9), Some(Block));
    let found = look_at_server(&facts, (NOW + DAY, NOW + 9 * DAY), NOW);
    let found = found.iter().find(|f| f.check == Check::TlsCert).unwrap();
    assert!(found.fact.contains("Example CA"), "{}", found.fact);
    facts.outside = Some(seen(Some("nothing answers")));
    assert_eq!(of(&facts, Check::Endpoints, 9), Some(Block));

    assert_eq!(of(&facts, Check::ProtocolVersion, 9), Some(Unknown));
    facts.protocol = Some(7);
    assert_eq!(of(&facts, Check::ProtocolVersion, 9), Some(Block));
    facts.protocol = Some(8);
    assert_eq!(of(&facts, Check::ProtocolVersion, 9), Some(Pass));

    assert_eq!(of(&facts, Check::DeadlineLicences, 40), Some(Pass));
    facts.shared.push(("Library".to_owned(), Some(NOW)));
    assert_eq!(of(&facts, Check::DeadlineLicences, 29), Some(Pass));
    assert_eq!(of(&facts, Check::DeadlineLicences, 31), Some(Warn));
}

#[test]
fn the_thirty_days_of_licences_count_from_when_a_location_was_taken_over() {
    let taken = |days: u32| {
        let (from, at) = ("Old MDM".to_owned(), NOW - days * DAY);
        ("Library".to_owned(), TakenOver { from, at })
    };
    let of = |days: u32, last: u32, check| {
        let facts = ServerFacts {
            locations: (1, Some(NOW)),
            taken_over: vec![taken(days)],
            ..ServerFacts::default()
        };
        let found = look_at_server(&facts, (NOW + DAY, NOW + last * DAY), NOW);
        found.into_iter().find(|f| f.check == check).unwrap()
    };
    let ends = |days, last| of(days, last, Check::DeadlineLicences);
    assert_eq!(ends(0, 30).result, Pass);
    assert_eq!(ends(0, 31).result, Warn);
    assert_eq!(ends(20, 10).result, Pass);
    let late = ends(20, 11);
    assert_eq!((late.result, late.source), (Warn, Some(FactSource::Api)));
    for named in ["Library", "Old MDM", &taken(20).1.at.to_string()] {
        assert!(late.fact.contains(named), "{}", late.fact);
    }
    // Waiting mends nothing, and another deadline that is too late as well is nothing new.
    assert_eq!(ends(90, 2).result, Warn);
    assert_eq!(ends(20, 11).bound(), ends(20, 12).bound());
    assert_eq!(ends(400, 2).result, Pass, "another move");
    let shared = |days| of(days, 2, Check::ContentTokenShared).result;
    assert_eq!((shared(29), shared(30)), (Warn, Pass));
}

#[test]
fn the_server_is_looked_at_too() {
    let mut facts = ServerFacts {
        requests: 10,
        per_hour: 10,
        ..ServerFacts::default()
    };
    let of = |facts: &ServerFacts, check| {
        let found = look_at_server(facts, (NOW + DAY, NOW + 9 * DAY), NOW);
        found.iter().find(|f| f.check == check).map(|f| f.result)
    };
    assert_eq!(of(&facts, Check::Await), Some(Unknown));
    facts.awaits = Some(false);
    assert_eq!(of(&facts, Check::Await), Some(Block));
    assert_eq!(of(&facts, Check::PostBudget), Some(Pass));
    facts.requests = 11;
    assert_eq!(of(&facts, Check::PostBudget), Some(Warn));
    facts.requests = 241;
    assert_eq!(of(&facts, Check::PostBudget), Some(Block));
    // What waits goes first, and what left within the hour counts.
    facts.requests = 1;
    for (waiting, used, result) in [(0, 9, Pass), (0, 10, Warn), (10, 0, Warn), (230, 10, Block)] {
        (facts.waiting, facts.used) = (waiting, used);
        assert_eq!(
            of(&facts, Check::PostBudget),
            Some(result),
            "{waiting} {used}"
        );
    }
    (facts.waiting, facts.used) = (0, 0);
    assert_eq!(of(&facts, Check::ContentTokenShared), Some(Pass));
    facts.shared.push(("Library".to_owned(), None));
    assert_eq!(of(&facts, Check::ContentTokenShared), Some(Warn));
    let need = |available| {
        let serial = serial("SERIAL1");
        let wants = [(7, "com.example.notes".to_owned())];
        let stock = Stock {
            total: available,
            available,
            device_assignable: true,
            ..Stock::default()
        };
        let stock = BTreeMap::from([(7, stock)]);
        let mut all: Vec<LicenceNeed> =
            crate::licences::needs([(&serial, &wants[..])], &BTreeSet::new(), &stock);
        all.remove(0)
    };
    assert_eq!(of(&facts, Check::AppsLicences), Some(Unknown));
    facts.needs = Some(vec![need(1)]);
    assert_eq!(of(&facts, Check::AppsLicences), Some(Pass));
    // Another wave wants the one that is left.
    let mut wanted = need(1);
    wanted.others = 1;
    facts.needs = Some(vec![wanted]);
    assert_eq!(of(&facts, Check::AppsLicences), Some(Warn));
    let mut plenty = need(2);
    plenty.others = 1;
    facts.needs = Some(vec![plenty]);
    assert_eq!(of(&facts, Check::AppsLicences), Some(Pass));
    facts.needs = Some(vec![need(0)]);
    assert_eq!(of(&facts, Check::AppsLicences), Some(Warn));
    // Nobody here wants one: what others want is not this wave's.
    let mut has = need(0);
    (has.has, has.lacks, has.others) = (has.needs, 0, 1);
    facts.needs = Some(vec![has]);
    assert_eq!(of(&facts, Check::AppsLicences), Some(Pass));
}

#[test]
fn licences_are_counted_for_who_goes_and_said_of_who_stays_behind() {
    let wants = [(7_u64, "com.example.notes".to_owned())];
    // Two go and three stay behind, of which one has a licence.
    let finding = |available, assignable, others| {
        let mut count = NeedCount::default();
        for _ in 0..2 {
            count.add(&wants, |_| false);
        }
        for has in [true, false, false] {
            count.add_behind(&wants, |_| has);
        }
        let stock = Stock {
            total: 9,
            available,
            device_assignable: assignable,
            ..Stock::default()
        };
        let mut needs = count.finish(&BTreeMap::from([(7, stock)]));
        needs[0].others = others;
        let counted = (needs[0].needs, needs[0].has, needs[0].behind);
        assert_eq!(counted, (5, 1, 2));
        let lacks = needs[0].lacks;
        let facts = ServerFacts {
            needs: Some(needs),
            ..ServerFacts::default()
        };
        let found = look_at_server(&facts, (NOW + DAY, NOW + 9 * DAY), NOW);
        let found = found.into_iter().find(|f| f.check == Check::AppsLicences);
        (lacks, found.unwrap())
    };
    let (lacks, found) = finding(4, true, 0);
    assert_eq!((lacks, found.result), (0, Pass));
    let (lacks, found) = finding(3, true, 0);
    assert_eq!((lacks, found.result), (0, Warn));
    assert!(found.fact.contains("1 of 2 that stay"), "{}", found.fact);
    // How many these are is no other plan, and that others want the same is.
    assert_eq!(found.bound(), finding(2, true, 0).1.bound());
    let (_, contested) = finding(2, true, 1);
    assert!(contested.fact.contains("1 of other"), "{}", contested.fact);
    assert_ne!(found.bound(), contested.bound());
    let (lacks, found) = finding(1, true, 0);
    assert_eq!((lacks, found.result), (1, Warn));
    assert!(found.fact.contains("1 of 5 devices"), "{}", found.fact);
    let (lacks, found) = finding(9, false, 0);
    assert_eq!((lacks, found.result), (2, Warn));
}
