//! Each check answers with all four results that it has, from one small set of facts.

mod at_apple;
mod for_all;
mod of_apps;
mod summed;

use std::time::Duration;

use super::*;
use crate::device::{DeviceRecord, OrgReading};
use crate::ids::{DeviceId, OrganisationId, ServerId};
use crate::migration::{AppAction, AppPlan, StepId, Variant};
use crate::original::{
    ManagedUser, OriginalApp, OriginalEnrolment, OriginalNetwork, OriginalProfile, OtherPath, Said,
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
    manifests: Manifests,
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
        manifests: Manifests::default(),
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
            manifests: &self.manifests,
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
    // The same kind is issued anew. Another one need not be taken where the first was.
    for (brings, result) in [("scep", Pass), ("acme", Warn), ("pkcs12", Warn)] {
        check(Ios, Check::IdentityReissue, result, |m| {
            tell(m, |s| {
                s.profiles = Some(vec![profile("com.apple.security.scep")])
            });
            let kind = format!("com.apple.security.{brings}");
            m.brings.payloads.insert(kind);
        });
    }
    check(Ios, Check::IdentityReissue, Warn, |m| {
        let both = ["com.apple.security.scep", "com.apple.security.pkcs12"];
        tell(m, |s| s.profiles = Some(both.map(profile).into()));
        m.brings.payloads.insert(both[0].to_owned());
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
    // That the payload comes again registers nobody.
    check(Ios, Check::TrustGap, Warn, |m| {
        tell(m, |s| {
            s.profiles = Some(vec![profile("com.apple.extensiblesso")])
        });
        m.brings
            .payloads
            .insert("com.apple.extensiblesso".to_owned());
    });
}

#[test]
fn what_else_profiles_brought_is_said_where_nothing_of_ours_brings_it() {
    let has = |m: &mut Member, payloads: &[&str]| {
        let profile = OriginalProfile {
            identifier: "there".to_owned(),
            name: None,
            payloads: payloads.iter().map(|p| (*p).to_owned()).collect(),
        };
        tell(m, |s| s.profiles = Some(vec![profile]));
    };
    let vpn = "com.apple.vpn.managed";
    check(Ios, Check::ProfilesGap, Warn, |m| has(m, &[vpn]));
    check(Ios, Check::ProfilesGap, Pass, |m| {
        has(m, &[vpn]);
        m.brings.payloads.insert(vpn.to_owned());
    });
    // The management goes, and has no equal.
    check(Ios, Check::ProfilesGap, Pass, |m| {
        has(m, &["com.apple.mdm"])
    });
    check(Ios, Check::ProfilesGap, Warn, |m| {
        let declared = crate::original::OriginalDeclaration {
            identifier: "there".to_owned(),
            declaration_type: "com.apple.configuration.passcode.settings".to_owned(),
        };
        tell(m, |s| s.declarations = Some(vec![declared]));
    });
    // An acceptance is bound to all of it, not to the examples that people read.
    let bound = |brings: &[&str]| {
        let mut m = member(Ios);
        has(&mut m, &["a.1", "a.2", "a.3", "a.4", "a.5"]);
        let brings = brings.iter().map(|p| (*p).to_owned());
        m.brings.payloads.extend(brings);
        let found = m.look();
        let gap = found.iter().find(|f| f.check == Check::ProfilesGap);
        gap.unwrap().bound().to_owned()
    };
    assert_eq!(bound(&[]), "a.1, a.2, a.3, a.4, a.5");
    assert_eq!(bound(&["a.5"]), "a.1, a.2, a.3, a.4");
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
