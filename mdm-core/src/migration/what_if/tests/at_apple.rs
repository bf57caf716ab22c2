//! What Apple and the original service say of a device: whether it can go, and when.

use super::*;
use crate::device::{Incapable, MigrationStatus};
use crate::ids::EnrollmentId;

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
fn a_device_that_nobody_knows_is_not_let_through() {
    let brings = Brings::default();
    let facts = MemberFacts {
        device: None,
        original: None,
        platform: None,
        runbook: None,
        brings: &brings,
        manifests: &Manifests::default(),
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
