//! Apps: each has a fate, a source, a licence and a signature, or stands against the device that has it.

use super::super::forecast::Goes;
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
    check_with(&[Check::AppsManifest], Ios, Check::AppsMapped, Pass, |m| {
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
    // Nobody has looked at the manifest, and that is another check.
    let source = |platform, result, change: &dyn Fn(&mut Member)| {
        let also = [Check::AppsManifest];
        check_with(&also, platform, Check::AppsSource, result, change);
    };
    source(Ios, Unknown, &own(None, keep));
    source(Macos, Unknown, &own(None, keep));
    check(Ios, Check::AppsSource, Pass, own(None, AppAction::Drop));
    source(Ios, Pass, &own(Some(last), keep));
    source(Macos, Pass, &own(Some(last), keep));
    // That the list is old as well makes it no better, and is said.
    let old = |m: &mut Member| {
        own(None, keep)(m);
        m.original.apps.as_mut().unwrap().at = NOW - 15 * DAY;
    };
    source(Ios, Unknown, &old);
    let mut m = member(Ios);
    old(&mut m);
    let found = m.look();
    let finding = found.iter().find(|f| f.check == Check::AppsSource).unwrap();
    assert!(
        finding.fact.contains("nobody has told when"),
        "{}",
        finding.fact
    );
    assert!(finding.fact.contains("15 days old"), "{}", finding.fact);
    assert!(finding.bound().ends_with("; old"), "{}", finding.bound());
    let early = last - Duration::from_secs(1);
    source(Ios, Block, &own(Some(early), keep));
}

#[test]
fn a_manifest_that_nobody_has_looked_at_is_a_warning_and_one_that_cannot_be_used_blocks() {
    use crate::checklist::SeenManifest;

    let own = |m: &mut Member| {
        m.runbook.apps[0].manifest_url = Some(MANIFEST.to_owned());
        tell(m, |s| {
            s.apps = Some(vec![signed("com.example.Notes", Some(NOW + 300 * DAY))])
        });
    };
    let seen = |m: &mut Member, seen: SeenManifest| {
        own(m);
        m.manifests.seen.insert(MANIFEST.to_owned(), seen);
    };
    let of = |change: &dyn Fn(&mut Member)| {
        let mut m = member(Ios);
        change(&mut m);
        let mut found = m.look();
        found.retain(|f| f.check == Check::AppsManifest);
        found.pop().unwrap()
    };
    check(Ios, Check::AppsManifest, Warn, own);
    check(Macos, Check::AppsManifest, Warn, own);
    assert!(of(&own).fact.contains("not looked at yet"));
    let finding = of(&|m| {
        own(m);
        let why = "its address is not a public one".to_owned();
        m.manifests.unseen.insert(MANIFEST.to_owned(), why);
    });
    assert_eq!(finding.result, Warn);
    assert!(
        finding.fact.contains("not a public one"),
        "{}",
        finding.fact
    );
    let wrong = |m: &mut Member| seen(m, SeenManifest::wrong(MANIFEST, NOW, "answers with 404"));
    check(Ios, Check::AppsManifest, Block, wrong);
    check(Macos, Check::AppsManifest, Warn, wrong);
    let finding = of(&wrong);
    let from = (finding.source, finding.at);
    assert_eq!(from, (Some(FactSource::Probe), Some(NOW)));
    // No acceptance is bound to any of it, and no plan goes by it.
    assert!(!finding.is_of_the_plan());
    assert!(!finding.keeps_back(&Unknowns::default(), Some(Ios)));
    // Without such an app nothing is said.
    let found = member(Ios).look();
    assert!(found.iter().all(|f| f.check != Check::AppsManifest));
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

#[test]
fn who_gets_no_licence_of_an_app_that_it_is_to_get_is_told_apart_from_who_loses_one() {
    let plan = |action| {
        let mut runbook = PinnedRunbook::standard(Ios, Variant::Migration);
        runbook.apps = vec![app("com.example.notes", Some(7), action)];
        runbook
    };
    let (install, keep) = (plan(AppAction::Install), plan(AppAction::KeepIfPresent));
    let mut mac = PinnedRunbook::standard(Macos, Variant::Migration);
    mac.apps = install.apps.clone();
    let serials = ["A1", "B1", "C1", "D1", "E1", "F1"].map(serial);
    let (without, with) = (having(&[]), having(&["com.example.Notes"]));
    let (none, no_tags) = (BTreeSet::new(), BTreeSet::new());
    let held = BTreeSet::from([7]);
    let missing = |available, assignable| {
        let stock = Stock {
            total: 9,
            assigned: 9 - available,
            available,
            unlimited: false,
            device_assignable: assignable,
        };
        let mut forecaster = Forecaster::new(Some(BTreeMap::from([(7, stock)])));
        // Keeps it where it is, and does not have it; is to get it; nobody knows what it has; is a Mac; has it; has a licence.
        let members = [
            (Ios, &keep, Some(&without), &none),
            (Ios, &install, Some(&without), &none),
            (Ios, &install, None, &none),
            (Macos, &mac, None, &none),
            (Ios, &install, Some(&with), &none),
            (Ios, &install, Some(&without), &held),
        ];
        let mut lost = Vec::new();
        for (serial, (platform, runbook, original, licences)) in serials.iter().zip(members) {
            let short = forecaster.add(&LossOf {
                serial,
                platform: Some(platform),
                original,
                runbook: Some(runbook),
                licences,
                tags: &no_tags,
            });
            lost.push(!short.lost.is_empty());
        }
        let all = forecaster.missing();
        let found = all.iter().map(|(place, missing)| {
            let finding = missing_licence(missing, Some(NOW));
            assert_eq!(
                (finding.check, finding.at),
                (Check::AppsLicences, Some(NOW))
            );
            assert!(!finding.fact.contains("data"), "{}", finding.fact);
            (*place, finding.result)
        });
        (found.collect::<Vec<_>>(), lost.iter().any(|lost| *lost))
    };
    // The one that has the app comes first, whatever its place, and the one that keeps it takes one that nothing hangs on.
    assert_eq!(missing(5, true), (Vec::new(), false));
    assert_eq!(missing(4, true), (vec![(3, Warn)], false));
    assert_eq!(missing(3, true), (vec![(2, Block), (3, Warn)], false));
    let all = vec![(1, Block), (2, Block), (3, Warn)];
    assert_eq!(missing(1, true), (all.clone(), false));
    assert_eq!(missing(0, true), (all.clone(), true));
    // Licences for people are none in a hold.
    assert_eq!(missing(9, false), (all, true));
    // Without a location nobody can say.
    let mut nobody = Forecaster::new(None);
    nobody.add(&LossOf {
        serial: &serials[1],
        platform: Some(Ios),
        original: Some(&without),
        runbook: Some(&install),
        licences: &none,
        tags: &no_tags,
    });
    assert!(nobody.missing().is_empty());
}

const NOTES: &str = "com.example.notes";
const MAPS: &str = "com.example.maps";

/// What is known of a device that has these apps.
fn having(apps: &[&str]) -> OriginalFacts {
    let mut facts = OriginalFacts::new(OrganisationId(1), DeviceId(1));
    let mut said = said();
    said.apps = Some(apps.iter().map(|app| OriginalApp::new(app)).collect());
    facts.take(said, NOW, "export");
    facts
}

/// A runbook that installs these apps.
fn installing(apps: &[(&str, u64)]) -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(Ios, Variant::Migration);
    let apps = apps.iter();
    runbook.apps = apps
        .map(|(name, id)| app(name, Some(*id), AppAction::Install))
        .collect();
    runbook
}

/// Members in the order of their serial numbers, each with its runbook and what is known of it.
struct Members<'a>(&'a [(&'a PinnedRunbook, &'a OriginalFacts)]);

/// Who comes short, by their places.
struct Short {
    /// Who loses apps with their data, and which.
    lost: BTreeMap<usize, BTreeSet<u64>>,
    /// Who does not get what it is to get.
    missing: Vec<usize>,
}

impl Members<'_> {
    /// Who comes short where so many licences are left of each app.
    fn short(&self, left: &[(u64, u64)], goes: impl Fn(usize) -> Goes) -> Short {
        let stock = left.iter().map(|(app, left)| {
            let stock = Stock {
                total: 9,
                assigned: 9 - *left,
                available: *left,
                unlimited: false,
                device_assignable: true,
            };
            (*app, stock)
        });
        let mut forecaster = Forecaster::new(Some(stock.collect()));
        let none = (BTreeSet::new(), BTreeSet::new());
        let mut lost = BTreeMap::new();
        for (place, (runbook, original)) in self.0.iter().copied().enumerate() {
            let member = LossOf {
                serial: &serial(&format!("A{}", place + 1)),
                platform: Some(Ios),
                original: Some(original),
                runbook: Some(runbook),
                licences: &none.0,
                tags: &none.1,
            };
            let short = match goes(place) {
                Goes::Anyway => forecaster.add(&member),
                Goes::IfLicensed => forecaster.add_if_licensed(&member),
                Goes::Not => forecaster.add_behind(&member),
            };
            if !short.lost.is_empty() {
                lost.insert(place, short.lost_ids);
            }
        }
        let missing = forecaster.missing().into_keys().collect();
        Short { lost, missing }
    }
}

#[test]
fn who_stays_behind_for_something_else_takes_no_licence_from_who_goes() {
    let runbook = installing(&[(NOTES, 7)]);
    // Two that stay behind come before one that goes, and one that stays comes after it.
    let goes = |place: usize| match place {
        2 => Goes::Anyway,
        _ => Goes::Not,
    };
    let short = |has: &[&str], left| {
        let original = having(has);
        let members = [(&runbook, &original); 4];
        let short = Members(&members).short(&[(7, left)], goes);
        let lost = short.lost.into_keys();
        lost.chain(short.missing).collect::<Vec<_>>()
    };
    for has in [&[NOTES][..], &[]] {
        assert_eq!(short(has, 1), [3], "{has:?}");
        assert!(short(has, 2).is_empty(), "{has:?}");
        assert_eq!(short(has, 0), [0, 1, 2, 3], "{has:?}");
    }
}

#[test]
fn who_stays_behind_for_want_of_one_app_takes_no_licence_of_another() {
    let (both, one) = (
        installing(&[(NOTES, 7), (MAPS, 8)]),
        installing(&[(MAPS, 8)]),
    );
    // None is left of the one app and one of the other; the first wants both, the second that other one.
    let short = |has: bool, goes: Goes| {
        let having = |apps: &[&str]| having(if has { apps } else { &[] });
        let (first, second) = (having(&[NOTES, MAPS]), having(&[MAPS]));
        let members = [(&both, &first), (&one, &second)];
        let short = Members(&members).short(&[(7, 0), (8, 1)], |_| goes);
        for (place, apps) in &short.lost {
            assert_eq!(apps.contains(&7), *place == 0);
        }
        let lost = short.lost.into_keys();
        lost.chain(short.missing).collect::<Vec<_>>()
    };
    for has in [true, false] {
        assert_eq!(short(has, Goes::IfLicensed), [0], "{has}");
        // Somebody lets it go without: it takes the other one.
        assert_eq!(short(has, Goes::Anyway), [0, 1], "{has}");
    }
}

#[test]
fn who_stays_behind_for_an_app_that_it_is_to_get_leaves_its_others_to_who_comes_after_it() {
    // One that has the one app and is to get the other, and two that are to get the one.
    let (both, one) = (
        installing(&[(NOTES, 7), (MAPS, 8)]),
        installing(&[(NOTES, 7)]),
    );
    let (has, bare) = (having(&[NOTES]), having(&[]));
    let look = |members: &[(&PinnedRunbook, &OriginalFacts)],
                [of_notes, of_maps]: [u64; 2],
                goes: Goes| {
        let left = [(7, of_notes), (8, of_maps)];
        let short = Members(members).short(&left, |_| goes);
        (short.lost.into_keys().collect::<Vec<_>>(), short.missing)
    };
    let members = [(&one, &bare), (&both, &has), (&one, &bare)];
    let missing = |stock, goes| {
        let (lost, missing) = look(&members, stock, goes);
        assert!(lost.is_empty(), "{lost:?}");
        missing
    };
    assert!(missing([3, 1], Goes::IfLicensed).is_empty());
    // The one that has it comes first, and who comes after it in the order of serial numbers has what it leaves.
    assert_eq!(missing([2, 0], Goes::IfLicensed), [1]);
    assert_eq!(missing([1, 0], Goes::IfLicensed), [0, 1]);
    // Somebody lets it go without the other: it keeps the licence.
    assert_eq!(missing([2, 0], Goes::Anyway), [1, 2]);
    assert_eq!(missing([1, 0], Goes::Anyway), [0, 1, 2]);
    // What comes back is not for who has nothing to lose while another one lacks it that would lose the app with its data.
    let with_loser = [(&both, &has), (&one, &has), (&one, &bare)];
    assert_eq!(
        look(&with_loser, [1, 0], Goes::IfLicensed),
        (vec![1], vec![0, 2])
    );
}
