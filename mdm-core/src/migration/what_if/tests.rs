//! Each check answers with all four results that it has, from one small set of facts.

use std::time::Duration;

use super::*;
use crate::device::{DeviceRecord, Incapable, MigrationStatus, OrgReading};
use crate::ids::{DeviceId, EnrollmentId, OrganisationId, ServerId};
use crate::licences::{LicenceNeed, Stock};
use crate::migration::{AppAction, AppPlan, StepId, Variant};
use crate::original::{
    DeviceOwner, ManagedUser, OriginalApp, OriginalEnrolment, OriginalNetwork, OriginalProfile,
    OtherPath, Said,
};

const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);
const DAY: Duration = Duration::from_secs(86_400);

/// A member against which nothing stands, as owned parts.
struct Member {
    device: Device,
    original: OriginalFacts,
    platform: Platform,
    runbook: PinnedRunbook,
    brings: Brings,
    without: BTreeSet<StepId>,
    services: Vec<(String, String)>,
    other_kinds: BTreeMap<String, String>,
    ours: BTreeSet<String>,
    asked: Asked,
    returning: bool,
    in_other_wave: bool,
    deadline: Timestamp,
    available_from: Timestamp,
    escrow: Option<bool>,
    awaits: Option<bool>,
    codes: Option<bool>,
    old_key: Option<Timestamp>,
}

fn serial(text: &str) -> Serial {
    Serial::parse(text).unwrap()
}

fn said() -> Said {
    let mut said = Said::nothing(serial("SERIAL1"));
    said.system = Some("26.1".to_owned());
    said.last_seen = Some(NOW - DAY);
    said.enrolment = Some(OriginalEnrolment::Automated);
    said.shared = Some(false);
    said.return_to_service = Some(false);
    said.managed_user = Some(ManagedUser::default());
    said.apps = Some(vec![OriginalApp::new("com.example.Notes")]);
    said.networks = Some(vec![OriginalNetwork::new("Office", true)]);
    said.profiles = Some(Vec::new());
    said.declarations = Some(Vec::new());
    said.user_lock = Some(false);
    said
}

fn app(bundle: &str, store_id: Option<u64>, action: AppAction) -> AppPlan {
    AppPlan {
        bundle_id: bundle.to_owned(),
        store_id,
        manifest_url: None,
        action,
    }
}

fn member(platform: Platform) -> Member {
    let mut device = Device::new(OrganisationId(1), DeviceId(1), serial("SERIAL1"));
    device.reading = Some(OrgReading {
        seen: NOW,
        assigned_server: Some("THEIRS".to_owned()),
        capable: Some(true),
        added_by_hand: Some(false),
        ..OrgReading::default()
    });
    device.record = Some(DeviceRecord::new(ServerId(1), NOW));
    let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(1));
    original.take(said(), NOW, "export");
    let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
    runbook.apps = vec![app("com.example.notes", Some(7), AppAction::KeepIfPresent)];
    Member {
        device,
        original,
        platform,
        runbook,
        without: BTreeSet::new(),
        brings: Brings {
            networks: BTreeSet::from(["Office".to_owned()]),
            payloads: BTreeSet::new(),
        },
        services: vec![("THEIRS".to_owned(), "The old one".to_owned())],
        other_kinds: BTreeMap::new(),
        ours: BTreeSet::from(["OURS".to_owned(), "SECOND".to_owned()]),
        asked: Asked::Nothing,
        returning: false,
        in_other_wave: false,
        deadline: NOW + 9 * DAY,
        available_from: NOW,
        escrow: Some(true),
        awaits: Some(true),
        codes: Some(true),
        old_key: Some(NOW),
    }
}

impl Member {
    fn look(&self) -> Vec<CheckFinding> {
        self.look_at(NOW)
    }

    fn look_at(&self, now: Timestamp) -> Vec<CheckFinding> {
        let facts = MemberFacts {
            device: Some(&self.device),
            original: Some(&self.original),
            platform: Some(self.platform),
            runbook: Some(&self.runbook),
            brings: &self.brings,
            without: &self.without,
            destination: "OURS",
            services: &self.services,
            other_kinds: &self.other_kinds,
            ours: &self.ours,
            asked: self.asked,
            returning: self.returning,
            in_other_wave: self.in_other_wave,
            deadline: self.deadline,
            available_from: self.available_from,
            notice: DAY,
            project: None,
            escrow: self.escrow,
            awaits: self.awaits,
            codes: self.codes,
            old_key: self.old_key,
        };
        look(&facts, now)
    }
}

fn reading(m: &mut Member) -> &mut OrgReading {
    m.device.reading.as_mut().unwrap()
}

fn tell(m: &mut Member, change: impl FnOnce(&mut Said)) {
    let mut said = Said::nothing(serial("SERIAL1"));
    change(&mut said);
    m.original.take(said, NOW, "later export");
}

/// After a change, one check answers so, and nothing else is against it.
fn check(platform: Platform, of: Check, result: CheckResult, change: impl FnOnce(&mut Member)) {
    check_with(&[], platform, of, result, change);
}

/// The same, but for what goes with it.
fn check_with(
    also: &[Check],
    platform: Platform,
    of: Check,
    result: CheckResult,
    change: impl FnOnce(&mut Member),
) {
    let mut m = member(platform);
    change(&mut m);
    let found = m.look();
    let finding = found.iter().find(|f| f.check == of).unwrap();
    assert_eq!(finding.result, result, "{}", finding.line());
    assert_eq!(finding.fix.is_empty(), result == CheckResult::Pass);
    assert_eq!(finding.who.is_none(), result == CheckResult::Pass);
    for other in found.iter().filter(|f| f.check != of) {
        let passes = other.result == CheckResult::Pass;
        assert_eq!(passes, !also.contains(&other.check), "{}", other.line());
    }
}

use CheckResult::{Block, Pass, Unknown, Warn};
use Platform::{Ios, Ipados, Macos};

#[test]
fn nothing_stands_against_a_device_of_which_everything_is_known() {
    for platform in [Ios, Ipados, Macos] {
        check(platform, Check::OsMinimum, Pass, |_| {});
    }
}

#[test]
fn the_newest_word_on_the_system_counts() {
    check(Ios, Check::OsMinimum, Block, |m| {
        tell(m, |s| s.system = Some("18.5".to_owned()));
    });
    check(Ios, Check::OsMinimum, Unknown, |m| m.original.system = None);
    check(Ios, Check::OsMinimum, Block, |m| {
        m.device.facts.os_version = Some("25.9".to_owned());
        m.device.facts.learned = Some(NOW + DAY);
    });
    check(Ios, Check::OsMinimum, Pass, |m| {
        m.device.facts.os_version = Some("18.0".to_owned());
        m.device.facts.learned = Some(NOW - DAY);
    });
}

#[test]
fn what_apple_says_of_it_counts() {
    check(Ios, Check::OrgMember, Block, |m| {
        reading(m).unknown = true;
    });
    let reads = |readings, over: Duration| {
        move |m: &mut Member| {
            let reading = reading(m);
            reading.capable = Some(false);
            reading.incapable = Some(Incapable {
                since: reading.seen - over,
                readings,
            });
        }
    };
    let half = Duration::from_secs(30 * 60);
    check(Ios, Check::Capable, Block, reads(3, half));
    // Often and at once, or seldom and long: it may be a lag.
    check(Ios, Check::Capable, Warn, reads(9, half / 2));
    check(Ios, Check::Capable, Warn, reads(2, DAY));
    check(Ios, Check::Capable, Warn, |m| {
        reading(m).capable = Some(false)
    });
    check(Ios, Check::Capable, Unknown, |m| reading(m).capable = None);
    check(Ios, Check::OtherPending, Block, |m| {
        reading(m).status = Some(MigrationStatus::Requested);
    });
    check(Ios, Check::OtherPending, Pass, |m| {
        reading(m).status = Some(MigrationStatus::Success);
    });
    for (asked, result) in [
        (Asked::Nothing, Block),
        (Asked::Before, Warn),
        (Asked::Now, Pass),
    ] {
        check(Ios, Check::OriginalKind, result, |m| {
            reading(m).assigned_server = Some("OURS".to_owned());
            m.asked = asked;
        });
    }
    // An entry of ours is none that anybody leaves, whatever Apple calls it.
    check(Ios, Check::OriginalKind, Block, |m| {
        reading(m).assigned_server = Some("SECOND".to_owned());
        m.services
            .push(("SECOND".to_owned(), "Ours too".to_owned()));
    });
    check(Ios, Check::OriginalKind, Block, |m| {
        reading(m).assigned_server = Some("OURS".to_owned());
        m.device.enrollment = Some(EnrollmentId(1));
    });
    check(Ios, Check::OriginalKind, Pass, |m| {
        reading(m).assigned_server = Some("OURS".to_owned());
        m.device.enrollment = Some(EnrollmentId(1));
        m.asked = Asked::Now;
    });
    for status in [MigrationStatus::Requested, MigrationStatus::Started] {
        for (asked, result) in [
            (Asked::Nothing, Block),
            (Asked::Before, Block),
            (Asked::Now, Pass),
        ] {
            check(Ios, Check::OtherPending, result, |m| {
                reading(m).status = Some(status.clone());
                m.asked = asked;
            });
        }
    }
    check(Ios, Check::Provisional, Unknown, |m| {
        reading(m).added_by_hand = None;
    });
    check(Ios, Check::OriginalKind, Unknown, |m| {
        m.services.clear();
    });
    check(Ios, Check::OriginalKind, Block, |m| {
        let what = "Apple's built-in service".to_owned();
        m.other_kinds.insert("THEIRS".to_owned(), what);
    });
    check(Ios, Check::Provisional, Block, |m| {
        reading(m).added_by_hand = Some(true);
        reading(m).added = Some(NOW - 29 * DAY);
    });
    check(Ios, Check::Provisional, Pass, |m| {
        reading(m).added_by_hand = Some(true);
        reading(m).added = Some(NOW - 31 * DAY);
    });
    check(Ios, Check::Provisional, Unknown, |m| {
        reading(m).added_by_hand = Some(true);
    });
}

#[test]
fn a_device_without_a_service_has_two_things_against_it() {
    let mut m = member(Ios);
    reading(&mut m).assigned_server = None;
    let found = m.look();
    let of = |check| found.iter().find(|f| f.check == check).unwrap().result;
    assert_eq!(of(Check::OrgMember), Block);
    assert_eq!(of(Check::OriginalKind), Unknown);
}

#[test]
fn how_it_is_managed_there_counts() {
    check(Ipados, Check::SharedIpad, Block, |m| {
        tell(m, |s| s.shared = Some(true));
    });
    check(Ipados, Check::SharedIpad, Unknown, |m| {
        m.original.shared = None
    });
    check(Ipados, Check::ReturnToService, Block, |m| {
        tell(m, |s| s.return_to_service = Some(true));
    });
    check(Ipados, Check::ReturnToService, Unknown, |m| {
        m.original.return_to_service = None;
    });
    check(Ios, Check::AdeCurrent, Block, |m| {
        tell(m, |s| s.enrolment = Some(OriginalEnrolment::Profile));
    });
    check(Macos, Check::AdeCurrent, Pass, |m| {
        tell(m, |s| s.enrolment = Some(OriginalEnrolment::Profile));
    });
    check(Macos, Check::AdeCurrent, Warn, |m| {
        tell(m, |s| s.enrolment = Some(OriginalEnrolment::Account));
    });
    check(Ios, Check::AdeCurrent, Unknown, |m| {
        m.original.enrolment = None
    });
    check(Ios, Check::ContactRecent, Warn, |m| {
        tell(m, |s| s.last_seen = Some(NOW - 15 * DAY));
    });
    check(Ios, Check::ContactRecent, Block, |m| {
        tell(m, |s| s.last_seen = Some(NOW - 61 * DAY));
    });
    check(Ios, Check::ContactRecent, Unknown, |m| {
        m.original.last_seen = None;
    });
    check(Ios, Check::InOtherWave, Block, |m| m.in_other_wave = true);
    check(Ios, Check::OtherPending, Block, |m| m.returning = true);
}

#[test]
fn a_mac_waits_for_its_managed_user() {
    let user = |last| ManagedUser {
        name: "ada".to_owned(),
        last_sign_in: last,
    };
    check(Macos, Check::ManagedUser, Warn, |m| {
        tell(m, |s| s.managed_user = Some(user(None)));
    });
    check(Macos, Check::ManagedUser, Warn, |m| {
        tell(m, |s| s.managed_user = Some(user(Some(NOW - 6 * DAY))));
    });
    check(Macos, Check::ManagedUser, Pass, |m| {
        tell(m, |s| s.managed_user = Some(user(Some(NOW - 4 * DAY))));
    });
    check(Macos, Check::ManagedUser, Unknown, |m| {
        m.original.managed_user = None;
    });
    // Of a deadline that is further away than two weeks nobody can have been there in time: the age counts as of now.
    let far = |last| {
        move |m: &mut Member| {
            m.deadline = NOW + 30 * DAY;
            tell(m, |s| s.managed_user = Some(user(Some(last))));
        }
    };
    check(Macos, Check::ManagedUser, Pass, far(NOW - 2 * DAY));
    check(Macos, Check::ManagedUser, Pass, far(NOW - 14 * DAY));
    check(Macos, Check::ManagedUser, Warn, far(NOW - 15 * DAY));
}

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
    // That the list is old as well makes it no better.
    check(Ios, Check::AppsSource, Unknown, |m| {
        own(Some(last), keep)(m);
        m.original.apps.as_mut().unwrap().at = NOW - 15 * DAY;
    });
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
    let also = [Check::RunbookValid];
    check_with(&also, Ios, Check::AppsMapped, Block, |m| {
        m.runbook.steps.retain(|s| s.id != StepId::AppsKeep);
        for step in &mut m.runbook.steps {
            step.requires.retain(|r| *r != StepId::AppsKeep);
        }
    });
}

#[test]
fn a_runbook_that_does_not_wait_for_the_bootstrap_token_is_warned_of() {
    check(Macos, Check::Bootstrap, Pass, |_| {});
    let also = [Check::RunbookValid];
    check_with(&also, Macos, Check::Bootstrap, Warn, |m| {
        m.runbook.steps.retain(|s| s.id != StepId::Bootstrap);
    });
    let mut m = member(Macos);
    m.runbook.steps.retain(|s| s.id != StepId::Bootstrap);
    let found = m.look().into_iter().find(|f| f.check == Check::Bootstrap);
    let said = found.unwrap().fact;
    assert!(said.contains("without which no new recovery key"), "{said}");
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
fn a_network_that_goes_with_the_original_is_named() {
    check(Ios, Check::WifiPath, Block, |m| m.brings.networks.clear());
    check(Ios, Check::WifiPath, Warn, |m| {
        m.brings.networks.clear();
        let networks = vec![
            OriginalNetwork::new("Home", false),
            OriginalNetwork::new("Office", true),
        ];
        tell(m, |s| s.networks = Some(networks));
    });
    // A way that a person has recorded, and no network of its own.
    check(Ios, Check::WifiPath, Warn, |m| {
        m.brings.networks.clear();
        tell(m, |s| s.other_paths = Some([OtherPath::Cellular].into()));
    });
    // One of two networks is a gap as well.
    check(Ios, Check::WifiPath, Block, |m| {
        let networks = vec![
            OriginalNetwork::new("Office", true),
            OriginalNetwork::new("Plant", true),
        ];
        tell(m, |s| s.networks = Some(networks));
    });
    check(Ios, Check::WifiPath, Unknown, |m| {
        m.original.networks = None
    });
    let profile = |payload: &str| OriginalProfile {
        identifier: "there".to_owned(),
        name: None,
        payloads: BTreeSet::from([payload.to_owned()]),
    };
    check(Ios, Check::IdentityReissue, Warn, |m| {
        tell(m, |s| {
            s.profiles = Some(vec![profile("com.apple.security.scep")])
        });
    });
    check(Ios, Check::IdentityReissue, Pass, |m| {
        tell(m, |s| {
            s.profiles = Some(vec![profile("com.apple.security.scep")])
        });
        m.brings
            .payloads
            .insert("com.apple.security.acme".to_owned());
    });
    let declared = |kind: &str| {
        Some(vec![crate::original::OriginalDeclaration {
            identifier: "there".to_owned(),
            declaration_type: kind.to_owned(),
        }])
    };
    let identity = "com.apple.configuration.security.identity";
    check(Ios, Check::IdentityReissue, Warn, |m| {
        tell(m, |s| s.declarations = declared(identity));
    });
    check(Ios, Check::IdentityReissue, Pass, |m| {
        tell(m, |s| s.declarations = declared(identity));
        m.brings.payloads.insert(identity.to_owned());
    });
    // What is known to go is no unknown, and what nobody told is no pass.
    check(Ios, Check::IdentityReissue, Unknown, |m| {
        m.original.declarations = None;
    });
    let also = [Check::TrustGap];
    check_with(&also, Ios, Check::IdentityReissue, Unknown, |m| {
        m.original.profiles = None;
    });
    check_with(&also, Ios, Check::IdentityReissue, Warn, |m| {
        m.original.profiles = None;
        tell(m, |s| s.declarations = declared(identity));
    });
    check(Ios, Check::TrustGap, Warn, |m| {
        tell(m, |s| {
            s.profiles = Some(vec![profile("com.apple.extensiblesso")])
        });
    });
}

#[test]
fn keys_and_locks_must_be_savable() {
    check(Macos, Check::FvEscrow, Block, |m| m.escrow = None);
    check(Macos, Check::FvEscrow, Block, |m| m.escrow = Some(false));
    // One of ours is enough: of a second one Apple takes neither, or the wrong one.
    check(Macos, Check::FvEscrow, Block, |m| {
        let second = "com.apple.security.FDERecoveryKeyEscrow".to_owned();
        m.brings.payloads.insert(second);
    });
    check(Macos, Check::FvOldkey, Pass, |_| {});
    check(Macos, Check::FvOldkey, Warn, |m| m.old_key = None);
    check(Macos, Check::LockUser, Unknown, |m| {
        m.runbook.lock = true;
        m.original.user_lock = None;
    });
    check(Macos, Check::LockUser, Warn, |m| {
        m.runbook.lock = true;
        tell(m, |s| s.user_lock = Some(true));
    });
    let locks = |awaits, codes| {
        move |m: &mut Member| {
            m.runbook.lock = true;
            (m.awaits, m.codes) = (awaits, codes);
        }
    };
    check(Ios, Check::LockPolicy, Pass, locks(Some(true), Some(true)));
    check(
        Ios,
        Check::LockPolicy,
        Block,
        locks(Some(false), Some(true)),
    );
    check(
        Ios,
        Check::LockPolicy,
        Block,
        locks(Some(true), Some(false)),
    );
    check(Ios, Check::LockPolicy, Unknown, locks(None, Some(true)));
    check(Ios, Check::LockPolicy, Unknown, locks(Some(true), None));
    let also = [Check::RunbookValid];
    check_with(&also, Ios, Check::LockPolicy, Block, |m| {
        m.runbook.lock = true;
        m.runbook.steps.retain(|s| s.id != StepId::Lock);
        for step in &mut m.runbook.steps {
            step.requires.retain(|r| *r != StepId::Lock);
        }
    });
}

#[test]
fn a_deadline_is_one_that_apple_takes_and_people_can_meet() {
    check(Ios, Check::DeadlineRange, Block, |m| m.deadline = NOW);
    // Of what is submitted Apple has taken the deadline.
    check(Ios, Check::DeadlineRange, Pass, |m| {
        (m.deadline, m.asked) = (NOW, Asked::Now);
    });
    check(Ios, Check::DeadlineRange, Block, |m| {
        m.deadline = NOW + 90 * DAY
    });
    check(Ios, Check::DeadlineRange, Block, |m| {
        m.available_from = NOW + 10 * DAY
    });
    // Notice counts from the offer, and less of it is no warning.
    let just = |m: &mut Member| m.deadline = NOW + DAY;
    check(Ios, Check::DeadlineRange, Pass, just);
    check(Ios, Check::DeadlineRange, Block, |m| {
        m.deadline = NOW + DAY - Duration::from_millis(1)
    });
    check(Ios, Check::DeadlineRange, Block, |m| {
        just(m);
        m.available_from = NOW + DAY / 24;
    });
}

#[test]
fn a_device_that_nobody_knows_is_not_let_through() {
    let brings = Brings::default();
    let facts = MemberFacts {
        device: None,
        original: None,
        platform: None,
        runbook: None,
        brings: &brings,
        without: &BTreeSet::new(),
        destination: "OURS",
        services: &[],
        other_kinds: &BTreeMap::new(),
        ours: &BTreeSet::new(),
        asked: Asked::Nothing,
        returning: false,
        in_other_wave: false,
        deadline: NOW + 9 * DAY,
        available_from: NOW,
        notice: DAY,
        project: None,
        escrow: None,
        awaits: None,
        codes: None,
        old_key: None,
    };
    let blocks: Vec<Check> = look(&facts, NOW)
        .into_iter()
        .filter(|f| f.result == Block)
        .map(|f| f.check)
        .collect();
    assert_eq!(
        blocks,
        [
            Check::FamilySupported,
            Check::OrgMember,
            Check::RunbookValid
        ]
    );
}

#[test]
fn what_ends_too_early_stands_against_all() {
    let at = |days: u32| Ends::At(NOW + days * DAY);
    let push = |ends| Expiry {
        check: Check::PushCert,
        name: "the push certificate".to_owned(),
        ends,
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
