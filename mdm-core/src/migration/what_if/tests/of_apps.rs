//! Apps: each has a fate, a source, a licence and a signature, or stands against the device that has it.

use super::*;
use crate::licences::Stock;
use crate::original::DeviceOwner;

#[test]
fn an_app_without_a_fate_blocks_an_iphone_and_warns_of_a_mac() {
    for (platform, result) in [(Ios, Block), (Ipados, Block), (Macos, Warn)] {
        check(platform, Check::AppsMapped, result, |m| {
            tell(m, |s| {
                s.apps = Some(vec![OriginalApp::new("com.example.other")])
            });
        });
        check(platform, Check::AppsSource, result, |m| {
            let mut app = OriginalApp::new("com.example.notes");
            app.signed_until = Some(NOW + 38 * DAY);
            tell(m, |s| s.apps = Some(vec![app]));
        });
    }
    check(Ios, Check::AppsSource, Warn, |m| {
        m.original.apps.as_mut().unwrap().at = NOW - 15 * DAY;
    });
    // One that is to go needs no signature.
    check(Ios, Check::AppsSource, Pass, |m| {
        m.runbook.apps[0].action = AppAction::Drop;
        let mut app = OriginalApp::new("com.example.notes");
        app.signed_until = Some(NOW + DAY);
        tell(m, |s| s.apps = Some(vec![app]));
    });
}

#[test]
fn an_app_that_is_to_stay_and_can_be_had_nowhere_blocks_an_iphone() {
    let nowhere = |action| {
        move |m: &mut Member| m.runbook.apps = vec![app("com.example.notes", None, action)]
    };
    for action in [AppAction::KeepIfPresent, AppAction::Install] {
        // Such a runbook cannot be right, either.
        let also = [Check::RunbookValid];
        check_with(&also, Ios, Check::AppsMapped, Block, nowhere(action));
        // A Mac keeps what nobody takes over.
        check(Macos, Check::AppsMapped, Pass, nowhere(action));
    }
    check(Ios, Check::AppsMapped, Pass, nowhere(AppAction::Drop));
    // That its manifest can be had is another question.
    check_with(&[Check::AppsSource], Ios, Check::AppsMapped, Pass, |m| {
        nowhere(AppAction::Install)(m);
        m.runbook.apps[0].manifest_url = Some(MANIFEST.to_owned());
        tell(m, |s| {
            s.apps = Some(vec![signed("com.example.notes", Some(NOW + 300 * DAY))])
        });
    });
}

const MANIFEST: &str = "https://apps.example.com/notes.plist";

fn signed(bundle: &str, until: Option<Timestamp>) -> OriginalApp {
    let mut app = OriginalApp::new(bundle);
    app.signed_until = until;
    app
}

#[test]
fn an_app_of_ones_own_whose_signature_nobody_knows_is_no_pass() {
    let own = |until: Option<Timestamp>, action| {
        move |m: &mut Member| {
            m.runbook.apps[0].manifest_url = Some(MANIFEST.to_owned());
            m.runbook.apps[0].action = action;
            tell(m, |s| {
                s.apps = Some(vec![signed("com.example.Notes", until)])
            });
        }
    };
    let (keep, last) = (AppAction::KeepIfPresent, NOW + 39 * DAY);
    check(Ios, Check::AppsSource, Unknown, own(None, keep));
    check(Macos, Check::AppsSource, Unknown, own(None, keep));
    check(Ios, Check::AppsSource, Pass, own(None, AppAction::Drop));
    check(Ios, Check::AppsSource, Unknown, own(Some(last), keep));
    check(Macos, Check::AppsSource, Unknown, own(Some(last), keep));
    // That the list is old as well makes it no better, and is said.
    check(Ios, Check::AppsSource, Unknown, |m| {
        own(Some(last), keep)(m);
        m.original.apps.as_mut().unwrap().at = NOW - 15 * DAY;
    });
    let mut m = member(Ios);
    own(Some(last), keep)(&mut m);
    m.original.apps.as_mut().unwrap().at = NOW - 15 * DAY;
    let found = m.look();
    let source = found.iter().find(|f| f.check == Check::AppsSource).unwrap();
    assert!(source.fact.contains("nobody has looked"), "{}", source.fact);
    assert!(source.fact.contains("15 days old"), "{}", source.fact);
    assert!(source.bound().ends_with("; old"), "{}", source.bound());
    let early = last - Duration::from_secs(1);
    check(Ios, Check::AppsSource, Block, own(Some(early), keep));
    // Nobody has looked at the manifest, and that is said.
    let mut m = member(Ios);
    own(Some(last), keep)(&mut m);
    let found = m.look();
    let source = found.iter().find(|f| f.check == Check::AppsSource).unwrap();
    assert!(source.fact.contains("nobody has looked"), "{}", source.fact);
}

#[test]
fn an_app_that_no_step_takes_over_on_this_device_does_not_stay() {
    let only = |words: &[&str]| {
        words
            .iter()
            .map(|w| (*w).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let step = |m: &mut Member, words: &[&str]| {
        let mut steps = m.runbook.steps.iter_mut();
        steps.find(|s| s.id == StepId::AppsKeep).unwrap().only = only(words);
    };
    check(Ios, Check::AppsMapped, Block, |m| step(m, &["sales"]));
    check(Macos, Check::FvEscrow, Block, |m| {
        m.without.insert(StepId::FvEscrow);
    });
    check(Macos, Check::Bootstrap, Warn, |m| {
        m.without.insert(StepId::Bootstrap);
    });
    check(Ios, Check::LockPolicy, Pass, |m| {
        m.runbook.lock = true;
        m.without.insert(StepId::Lock);
    });
    check(Ios, Check::AppsMapped, Pass, |m| {
        step(m, &["sales"]);
        m.device.tags = only(&["sales"]);
    });
    check(Ios, Check::AppsMapped, Pass, |m| {
        step(m, &["group:Field"]);
        tell(m, |s| {
            s.owner = Some(DeviceOwner {
                groups: only(&["Field"]),
                ..DeviceOwner::default()
            })
        });
    });
    // One that is to be installed and is there is taken over by either of two steps.
    let limited = |ids: &'static [StepId]| {
        move |m: &mut Member| {
            m.runbook.apps[0].action = AppAction::Install;
            for step in m.runbook.steps.iter_mut().filter(|s| ids.contains(&s.id)) {
                step.only = BTreeSet::from(["sales".to_owned()]);
            }
        }
    };
    let cases: [(&'static [StepId], CheckResult); 3] = [
        (&[StepId::AppsKeep], Pass),
        (&[StepId::AppsRequired], Pass),
        (&[StepId::AppsKeep, StepId::AppsRequired], Block),
    ];
    for (others, result) in cases {
        check(Ios, Check::AppsMapped, result, limited(others));
    }
    let also = [Check::RunbookValid];
    check_with(&also, Ios, Check::AppsMapped, Block, |m| {
        m.runbook.steps.retain(|s| s.id != StepId::AppsKeep);
        for step in &mut m.runbook.steps {
            step.requires.retain(|r| *r != StepId::AppsKeep);
        }
    });
}

#[test]
fn an_acceptance_is_bound_to_every_app_and_not_to_the_days_that_pass() {
    let of = |m: &Member, check, now| {
        let found = m.look_at(now).into_iter().find(|f| f.check == check);
        found.unwrap().bound().to_owned()
    };
    let mut m = member(Ios);
    let apps = |names: &[&str]| Some(names.iter().map(|n| OriginalApp::new(n)).collect());
    let five = ["a.one", "a.two", "a.three", "a.four", "a.five"];
    tell(&mut m, |s| s.apps = apps(&five));
    let before = of(&m, Check::AppsMapped, NOW);
    // The fact names three and counts the others.
    tell(&mut m, |s| {
        s.apps = apps(&["a.one", "a.two", "a.three", "a.four", "a.six"])
    });
    assert_ne!(of(&m, Check::AppsMapped, NOW), before);
    tell(&mut m, |s| s.last_seen = Some(NOW - 20 * DAY));
    let quiet = |now| of(&m, Check::ContactRecent, now);
    assert_eq!(quiet(NOW), quiet(NOW + 3 * DAY));
    m.deadline = NOW + 120 * DAY;
    let late = |now| of(&m, Check::DeadlineRange, now);
    assert_eq!(late(NOW), late(NOW + DAY));
}

#[test]
fn apps_that_nobody_told_block_an_iphone_by_default_and_nothing_else_does() {
    let mut m = member(Ios);
    m.original = OriginalFacts::new(OrganisationId(1), DeviceId(1));
    let found = m.look();
    let rules = Unknowns::default();
    for finding in &found {
        let counts_as = finding.counts_as(&rules, Some(Ios));
        match finding.check {
            Check::AppsMapped | Check::AppsSource => {
                assert_eq!((finding.result, counts_as), (Unknown, Block));
                assert_eq!(finding.counts_as(&rules, Some(Macos)), Warn);
            }
            _ => assert!(counts_as < Block, "{}", finding.line()),
        }
        assert_ne!(counts_as, Unknown, "{}", finding.line());
    }
    let lenient = Unknowns(BTreeMap::from([(Check::AppsMapped, Warn)]));
    let mapped = found.iter().find(|f| f.check == Check::AppsMapped).unwrap();
    assert_eq!(mapped.counts_as(&lenient, Some(Ios)), Warn);
}

#[test]
fn a_licence_that_only_people_can_get_is_named_as_one() {
    let stock = Stock {
        total: 9,
        available: 9,
        ..Stock::default()
    };
    let all = BTreeMap::from([(7, stock)]);
    let serial = serial("SERIAL1");
    let wants = [(7, "com.example.notes".to_owned())];
    let needs = crate::licences::needs([(&serial, &wants[..])], &BTreeSet::new(), &all);
    assert_eq!((needs[0].user_only, needs[0].lacks), (true, 1));
    let facts = ServerFacts {
        needs: Some(needs),
        ..ServerFacts::default()
    };
    let found = look_at_server(&facts, (NOW + DAY, NOW + 9 * DAY), NOW);
    let finding = found.iter().find(|f| f.check == Check::AppsLicences);
    let finding = finding.unwrap();
    assert!(finding.fact.contains("people only"), "{}", finding.fact);
    // So is that of a device that has the app.
    let m = member(Ios);
    let (none, no_tags) = (BTreeSet::new(), BTreeSet::new());
    let of = LossOf {
        serial: &serial,
        platform: Some(Ios),
        original: Some(&m.original),
        runbook: Some(&m.runbook),
        licences: &none,
        tags: &no_tags,
    };
    let said = |stock: BTreeMap<u64, Stock>| {
        let short = Forecaster::new(Some(stock)).add(&of);
        without_licence(&short, Some(NOW))
    };
    let people = said(all);
    assert!(people.fact.contains("people only"), "{}", people.fact);
    assert!(
        !people.fact.contains("no licence is left"),
        "{}",
        people.fact
    );
    assert_eq!(people.at, Some(NOW));
    let gone = said(BTreeMap::new());
    assert!(gone.fact.contains("no licence is left"), "{}", gone.fact);
    assert_ne!(people.bound(), gone.bound());
}
