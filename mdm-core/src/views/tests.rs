//! Each contradiction and each reason, and that a consistent device has none.

use super::*;
use crate::enrollment::ChannelKind;
use crate::ids::{DeviceId, MoveId, OrganisationId, RunbookId, SecretId, ServerId, WaveId};
use crate::wave::DefinedProfile;

const ORG: OrganisationId = OrganisationId(1);
const HOUR: i64 = 3_600_000;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_796_112_000_000 + hours * HOUR)
}

/// A device in good order: listed and assigned to us, our profile in force, everything read at hour 10.
struct Scene {
    device: Device,
    servers: Vec<Server>,
    services: Vec<(String, String)>,
    enrolment: Option<Enrollment>,
    attempt: Option<Move>,
    wave: Option<Wave>,
}

impl Scene {
    fn new() -> Self {
        let mut server = Server::new(ORG, ServerId(3), "Ours", "OURS", SecretId(1));
        server.synced = Some(at(10));
        server.last_full = Some(at(9));
        let profile = DefinedProfile {
            uuid: "P".to_owned(),
            digest: "d".to_owned(),
            proved_awaiting: true,
            defined: None,
        };
        server.profiles.insert("d".to_owned(), profile);
        let serial = Serial::parse("SERIAL1").unwrap();
        let mut device = Device::new(ORG, DeviceId(1), serial);
        let mut record = DeviceRecord::new(ServerId(3), at(10));
        record.profile_status = "assigned".to_owned();
        record.profile_uuid = Some("P".to_owned());
        device.record = Some(record);
        device.assignment.wanted = Some("P".to_owned());
        let reading = crate::device::OrgReading {
            seen: at(10),
            assigned_server: Some("OURS".to_owned()),
            ..crate::device::OrgReading::default()
        };
        device.reading = Some(reading);
        Self {
            device,
            servers: vec![server],
            services: vec![("OURS".to_owned(), "Ours".to_owned())],
            enrolment: None,
            attempt: None,
            wave: None,
        }
    }

    fn enrolled(mut self) -> Self {
        let mut enrolment = Enrollment::pending(
            ORG,
            EnrollmentId(4),
            "UDID".to_owned(),
            ChannelKind::Device,
            "ab".to_owned(),
            at(8),
        );
        enrolment.state = EnrollmentState::Enrolled;
        self.enrolment = Some(enrolment);
        self
    }

    fn scheduled(mut self, deadline: Timestamp) -> Self {
        let mut attempt = Move::plan(
            ORG,
            MoveId(5),
            WaveId(6),
            DeviceId(1),
            self.device.serial.clone(),
            RunbookId(7),
            deadline,
            at(0),
            None,
            at(0),
        );
        attempt.state = MoveState::Scheduled {
            since: at(1),
            visible: None,
        };
        self.attempt = Some(attempt);
        self
    }

    fn context(&self) -> Context<'_> {
        Context {
            servers: &self.servers,
            services: &self.services,
            enrolment: self.enrolment.as_ref(),
            attempt: self.attempt.as_ref(),
            wave: self.wave.as_ref(),
        }
    }

    fn found(&self) -> Vec<Contradiction> {
        contradictions(&self.device, self.context(), at(20))
    }

    fn why(&self) -> Option<NoProfile> {
        why_no_profile(&self.device, self.context(), at(20))
    }

    fn reading(&mut self) -> &mut crate::device::OrgReading {
        self.device.reading.as_mut().unwrap()
    }

    fn record(&mut self) -> &mut DeviceRecord {
        self.device.record.as_mut().unwrap()
    }
}

#[test]
fn views_that_agree_contradict_nothing_and_carry_their_times() {
    let scene = Scene::new().enrolled();
    assert_eq!(scene.found(), []);
    assert_eq!(scene.why(), None);
    let views = views(&scene.device, scene.context(), at(20));
    assert_eq!(views.api.unwrap().service_name.as_deref(), Some("Ours"));
    assert_eq!(views.assignment.unwrap().seen, at(10));
    assert_eq!(views.enrolment.unwrap().since, at(8));
    let alone = Device::new(ORG, DeviceId(2), Serial::parse("SERIAL2").unwrap());
    assert_eq!(contradictions(&alone, scene.context(), at(20)), []);
}

#[test]
fn lists_and_api_disagree() {
    let mut gone = Scene::new();
    gone.record().gone = true;
    assert_eq!(gone.found(), [Contradiction::AssignedButNotListed]);
    // Not before the list was read after the API.
    gone.servers[0].synced = Some(at(9));
    assert_eq!(gone.found(), []);

    let mut elsewhere = Scene::new();
    elsewhere.reading().assigned_server = Some("THEIRS".to_owned());
    assert_eq!(elsewhere.found(), [Contradiction::ListedButElsewhere]);
    // What was called back a moment ago is still in a list that was not read since.
    elsewhere.servers[0].synced = Some(at(9));
    elsewhere.reading().seen = at(20);
    assert_eq!(elsewhere.found(), []);

    let mut unknown = Scene::new();
    unknown.reading().assigned_server = None;
    unknown.reading().unknown = true;
    assert_eq!(unknown.found(), [Contradiction::ListedButUnknown]);
}

#[test]
fn deadlines_and_migrations_disagree() {
    let requested = |deadline| {
        let mut scene = Scene::new();
        scene.reading().status = Some(MigrationStatus::Requested);
        scene.reading().deadline = Some(deadline);
        scene
    };
    assert_eq!(
        requested(at(50)).found(),
        [Contradiction::UnexpectedMigration]
    );
    assert_eq!(requested(at(50)).scheduled(at(50)).found(), []);
    assert_eq!(
        requested(at(51)).scheduled(at(50)).found(),
        [Contradiction::DeadlineNotOurs]
    );
    let mut two = requested(at(50)).scheduled(at(50));
    two.record().deadline = Some(at(60));
    assert_eq!(two.found(), [Contradiction::DeadlinesDiffer]);
    assert_eq!(
        Scene::new().scheduled(at(50)).found(),
        [Contradiction::MigrationMissing]
    );
    let mut known = requested(at(50));
    known.device.completed_deadlines.push(at(50));
    assert_eq!(known.found(), []);
}

#[test]
fn our_enrolment_disagrees() {
    let mut success = Scene::new();
    success.reading().status = Some(MigrationStatus::Success);
    assert_eq!(success.found(), [Contradiction::SucceededButNotEnrolled]);
    assert_eq!(Scene::new().enrolled().found(), []);

    let mut taken = Scene::new().enrolled();
    taken.reading().assigned_server = Some("THEIRS".to_owned());
    taken.record().gone = true;
    assert_eq!(
        taken.found(),
        [
            Contradiction::EnrolledButElsewhere,
            Contradiction::EnrolledButNotListed
        ]
    );
    let mut foreign = Scene::new();
    foreign.record().profile_uuid = Some("Q".to_owned());
    assert_eq!(foreign.found(), [Contradiction::ForeignProfile]);
}

#[test]
fn every_device_says_why_it_has_no_profile() {
    let mut scene = Scene::new().scheduled(at(50));
    scene.record().profile_status = "removed".to_owned();
    assert_eq!(scene.why(), Some(NoProfile::Due));
    scene.device.assignment.asked = Some(at(19));
    scene.device.assignment.not_before = Some(at(21));
    assert_eq!(scene.why(), Some(NoProfile::Asked { since: at(19) }));
    for (word, expected) in [
        ("THROTTLED", NoProfile::Throttled { until: at(21) }),
        (
            "NOT_ACCESSIBLE",
            NoProfile::NotAccessible {
                until: Some(at(21)),
            },
        ),
        (
            "FAILED",
            NoProfile::Failed {
                word: "FAILED".to_owned(),
                tries: 0,
                until: Some(at(21)),
            },
        ),
    ] {
        scene.device.assignment.last_refusal = Some(word.to_owned());
        assert_eq!(scene.why(), Some(expected));
    }
    scene.device.assignment.waits = Some(crate::device::LICENCES_AWAITED.to_owned());
    assert_eq!(scene.why(), Some(NoProfile::LicencesAwaited));
    scene.device.assignment.waits = Some("others are on their way".to_owned());
    assert!(matches!(scene.why(), Some(NoProfile::GroupFull { .. })));
    scene.servers[0].needs_person = Some("accept the terms".to_owned());
    assert!(matches!(scene.why(), Some(NoProfile::NeedsPerson { .. })));
    scene.device.assignment.from = Some(at(30));
    assert_eq!(scene.why(), Some(NoProfile::NotYet { from: at(30) }));
    scene.device.assignment.wanted = None;
    assert_eq!(scene.why(), Some(NoProfile::NotYet { from: at(30) }));
    scene.device.assignment.from = None;
    assert_eq!(scene.why(), Some(NoProfile::NotOffered));
    scene.attempt = None;
    assert!(matches!(scene.why(), Some(NoProfile::NotDefined { .. })));
    scene.record().gone = true;
    assert_eq!(scene.why(), Some(NoProfile::NotListed));
}

#[test]
fn a_device_whose_wave_is_paused_says_so_and_one_that_was_offered_it_goes_on() {
    let mut scene = Scene::new().scheduled(at(50));
    let mut wave = Wave::draft(
        ORG,
        WaveId(6),
        "early",
        ServerId(3),
        std::collections::BTreeMap::new(),
        at(0),
    );
    wave.paused = Some(Pause::new("Kim", at(15), "too many fail"));
    scene.wave = Some(wave);
    scene.record().profile_status = "removed".to_owned();
    // Not submitted to anybody yet.
    assert_eq!(scene.why(), Some(NoProfile::Due));
    scene.device.assignment.from = Some(at(2));
    let paused = Some(NoProfile::Paused {
        why: "too many fail".to_owned(),
        by: "Kim".to_owned(),
        since: at(15),
    });
    assert_eq!(scene.why(), paused);
    scene.device.assignment.wanted = None;
    assert_eq!(scene.why(), paused);
    let state = |scene: &mut Scene, state| scene.attempt.as_mut().unwrap().state = state;
    state(&mut scene, MoveState::Overdue { since: at(19) });
    assert_eq!(scene.why(), paused, "its deadline came while it waited");
    state(&mut scene, MoveState::Offered { since: at(3) });
    assert!(matches!(scene.why(), Some(NoProfile::NotDefined { .. })));
    // The moment after somebody had it go on nobody lacks a profile.
    let since = scene.attempt.as_ref().map(|_| at(1)).unwrap();
    state(
        &mut scene,
        MoveState::Scheduled {
            since,
            visible: None,
        },
    );
    let wave = scene.wave.as_mut().unwrap();
    wave.paused = None;
    assert!(matches!(scene.why(), Some(NoProfile::NotDefined { .. })));
    let wave = scene.wave.as_mut().unwrap();
    wave.resumed = Some(crate::wave::Resumed::new("Kim", at(20), (0, 0, 0), None));
    assert_eq!(scene.why(), Some(NoProfile::Due));
}
