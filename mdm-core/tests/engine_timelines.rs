//! The stories of a hold as people would tell them: time, state, what happened, what was asked for. Each is compared with
//! the text in `snapshots/`; a change shows in review as a change of the story.

mod engine_story;

use std::time::Duration;

use engine_story::{START, Story, say_effect};
use mdm_core::device::{MigrationStatus, OrgReading, Platform};
use mdm_core::ids::{DeviceId, MoveId, OrganisationId, RunbookId, Serial, SetUpId, WaveId};
use mdm_core::migration::{
    Ask, Attention, Effect, EffectKey, Event, LockClaim, LockReading, Move, MoveState, Notice,
    OperatorAct, Outcome, Owner, PinnedRunbook, SetUpEnd, SetUpPhase, SetUpState, StepId, StepPlan,
    StepStatus, Told, Variant, advance_move,
};
use mdm_core::queue::ReportStatus;

fn told(s: &mut Story) {
    s.tell(&Event::Told {
        notice: Notice::Released,
    });
}

#[test]
fn an_iphone_keeps_its_apps_and_is_released_on_evidence() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("iphone", s.log);
}

#[test]
fn a_mac_gives_its_recovery_key_before_it_is_released() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    s.tell(&Event::UserEnrolled);
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("mac", s.log);
}

#[test]
fn a_hold_ends_at_its_ceiling_and_names_what_was_lost() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    // Everything after the first answer stays on the device's side until the ceiling has come, though it speaks.
    while let Some(ceiling) = s.set_up.ceiling_at {
        s.wake();
        if s.now + Duration::from_mins(6) > ceiling && s.set_up.ceiling_at.is_some() {
            s.tell(&Event::StatusReported { unmet: None });
        }
    }
    s.answer_all();
    told(&mut s);
    s.run(6);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    insta::assert_snapshot!("ceiling", s.log);
}

#[test]
fn an_app_that_could_not_be_taken_over_in_the_hold_is_not_installed_anew_after_it() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    let keeps = |q: &(StepId, u16, u16, Ask)| {
        q.0 == StepId::AppsKeep && matches!(q.3, Ask::InstallApp { .. })
    };
    let mut released = false;
    while !released {
        // Answers everything but installations that keep an app: these it refuses each time that it comes.
        let release = s.device.queue.iter().position(|q| q.0 == StepId::Release);
        if let Some(at) = release.or_else(|| s.device.queue.iter().position(|q| !keeps(q))) {
            let (step, part, attempt, ask) = s.device.queue.remove(at).unwrap();
            let (status, told) = s.device.run(&ask);
            s.later(Duration::from_secs(1));
            s.tell(&Event::Reported {
                step,
                part,
                attempt,
                status,
                told,
            });
            released = step == StepId::Release;
            continue;
        }
        for (step, part, attempt, _) in s.device.queue.clone() {
            s.later(Duration::from_secs(1));
            s.tell(&Event::Reported {
                step,
                part,
                attempt,
                status: ReportStatus::NotNow,
                told: Told::Nothing,
            });
        }
        if !s.effects.is_empty() {
            s.lock_answers();
        }
        s.later(Duration::from_secs(30));
        if s.set_up.wake_at.is_some_and(|at| at <= s.now) {
            s.tell(&Event::Woke);
        }
    }
    assert!(!s.device.queue.iter().any(keeps), "{:?}", s.device.queue);
}

#[test]
fn a_device_that_was_silent_past_its_ceiling_keeps_its_apps_when_it_speaks_again() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    // Switched off, and on again an hour after its ceiling.
    while s.set_up.ceiling_at.is_some() {
        s.wake();
    }
    for _ in 0..8 {
        s.wake();
    }
    s.answer_all();
    told(&mut s);
    s.run(6);
    assert!(s.device.managed.contains_key("app.notes"), "{}", s.log);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("last-chance", s.log);
}

#[test]
fn a_device_that_falls_silent_is_woken_until_it_is_released() {
    let mut s = Story::new(Platform::Macos, Variant::Ordinary);
    s.plan = PinnedRunbook::standard(Platform::Macos, Variant::Ordinary);
    s.enrol();
    s.answer();
    s.tell(&Event::Operator(OperatorAct::Release));
    for _ in 0..52 {
        s.wake();
    }
    // More than a day later it is switched on again.
    s.answer();
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    told(&mut s);
    s.run(4);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("stalled", s.log);
}

#[test]
fn a_device_that_does_not_say_whether_it_waits_is_asked() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.device.awaiting = false;
    s.later(Duration::from_secs(5));
    s.tell(&Event::Enrolled {
        awaiting: None,
        profile_awaits: true,
    });
    s.answer();
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(4);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    insta::assert_snapshot!("no-hold", s.log);
}

/// Apple's side of one attempt, event by event.
struct Attempt {
    row: Move,
    log: String,
}

impl Attempt {
    fn tell(&mut self, minutes: u64, event: &Event) {
        use std::fmt::Write as _;
        let now = START + Duration::from_mins(minutes);
        let plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let t = advance_move(&self.row, &plan, event, now);
        let (days, hours) = (minutes / 1440, minutes / 60 % 24);
        let state = engine_story::name(&t.next.state);
        let event = match event {
            Event::OrgTold { reading, .. } => {
                format!(
                    "Apple: {:?} at {:?}",
                    reading.status, reading.assigned_server
                )
            }
            other => format!("{other:?}"),
        };
        let _ = writeln!(
            self.log,
            "day {days} {hours:02}:{:02} {state:<12} <- {event}",
            minutes % 60
        );
        for effect in &t.effects {
            let _ = writeln!(
                self.log,
                "                            -> {}",
                say_effect(effect)
            );
        }
        if t.next.attention != self.row.attention {
            let _ = writeln!(
                self.log,
                "                            attention: {:?}",
                t.next.attention
            );
        }
        self.row = t.next;
    }

    fn apple(&mut self, minutes: u64, status: Option<MigrationStatus>, server: &str) {
        let mut reading = OrgReading::default();
        reading.status = status;
        reading.assigned_server = Some(server.to_owned());
        reading.deadline = Some(self.row.deadline);
        self.tell(
            minutes,
            &Event::OrgTold {
                reading,
                destination: "OURS".to_owned(),
                original: None,
            },
        );
    }
}

fn attempt() -> Attempt {
    let row = Move::plan(
        OrganisationId(1),
        MoveId(4),
        WaveId(2),
        DeviceId(8),
        Serial::parse("C02TEST").unwrap(),
        RunbookId(3),
        START + Duration::from_hours(30),
        START + Duration::from_hours(1),
        Some("THEIRS".to_owned()),
        START,
    );
    Attempt {
        row,
        log: String::new(),
    }
}

fn scheduled() -> Attempt {
    let mut a = attempt();
    let deadline = a.row.deadline;
    a.tell(0, &Event::Accepted);
    a.tell(1, &Event::SubmitAsked { deadline });
    let activity = "ACT1".to_owned();
    a.tell(2, &Event::ActivityPosted { activity });
    a.apple(4, Some(MigrationStatus::Requested), "OURS");
    a
}

#[test]
fn a_submission_that_a_person_had_to_settle_goes_on_by_itself() {
    let mut a = attempt();
    let deadline = a.row.deadline;
    a.tell(0, &Event::Accepted);
    a.tell(1, &Event::SubmitAsked { deadline });
    let why = "accept the new terms in the portal".to_owned();
    a.tell(2, &Event::SubmitRefused { why });
    assert_eq!(a.row.attention, Some(Attention::SubmitFailed));
    let activity = "ACT1".to_owned();
    a.tell(20, &Event::ActivityPosted { activity });
    assert!(matches!(a.row.state, MoveState::Submitting { .. }));
    assert_eq!(a.row.attention, None);
    a.apple(24, Some(MigrationStatus::Requested), "OURS");
    assert!(matches!(a.row.state, MoveState::Scheduled { .. }));
}

#[test]
fn an_attempt_goes_from_the_plan_to_apples_success() {
    let mut a = scheduled();
    for in_force in [false, true] {
        a.tell(
            70,
            &Event::AssignmentTold {
                ours: true,
                profile_in_force: in_force,
                deadline: None,
            },
        );
    }
    a.tell(200, &Event::ProfileFetched);
    let set_up = SetUpId(5);
    let end = SetUpPhase::Ended {
        end: SetUpEnd::Proved,
        exceptions: Vec::new(),
    };
    for phase in [
        SetUpPhase::Enrolling,
        SetUpPhase::Holding,
        SetUpPhase::Proving,
        end,
    ] {
        a.tell(201, &Event::SetUpChanged { set_up, phase });
    }
    a.tell(202, &Event::Woke);
    a.apple(203, Some(MigrationStatus::Success), "OURS");
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Migrated));
    insta::assert_snapshot!("move", a.log);
}

#[test]
fn an_attempt_that_nobody_starts_is_named_overdue_and_can_be_extended_or_taken_back() {
    let mut a = scheduled();
    a.tell(64, &Event::Woke);
    a.tell(
        65,
        &Event::AssignmentTold {
            ours: true,
            profile_in_force: true,
            deadline: None,
        },
    );
    for _ in 0..9 {
        let at = a.row.wake_at.unwrap().since(START).as_secs() / 60;
        a.tell(at, &Event::Woke);
    }
    let deadline = START + Duration::from_hours(20 * 24);
    a.tell(15_000, &Event::DeadlineMoved { deadline });
    a.tell(15_001, &Event::CancelAsked);
    a.tell(15_061, &Event::Woke);
    a.apple(15_062, None, "OURS");
    a.apple(15_070, None, "THEIRS");
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Cancelled));
    insta::assert_snapshot!("overdue", a.log);
}

#[test]
fn a_mac_waits_a_day_for_the_channel_of_its_managed_user() {
    let begun = |expected| {
        let mut s = Story::new(Platform::Macos, Variant::Migration);
        s.set_up.user_expected = expected;
        s.enrol();
        s.answer();
        s.lock_answers();
        s.tell(&Event::BootstrapTokenStored);
        s.answer_all();
        told(&mut s);
        s
    };
    // One that had no managed user waits for none.
    let mut s = begun(false);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    // Three hours later somebody signs in: not before that is it proved.
    let mut s = begun(true);
    while s.now < START + Duration::from_hours(3) {
        s.wake();
        s.answer_all();
        assert!(!s.set_up.is_ended(), "{}", s.log);
    }
    s.tell(&Event::UserEnrolled);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    // Nobody ever does.
    let mut s = begun(true);
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    let one = &s.set_up.exceptions[0];
    assert!(one.what.contains("user channel"), "{one:?}");
    assert!(one.why.contains("has not signed in"), "{one:?}");
    assert_eq!(one.owner, Owner::User);
}

#[test]
fn the_step_that_tells_gives_its_tags_too() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let step = s.plan.steps.iter_mut().find(|s| s.id == StepId::Tell);
    step.unwrap().tags.insert("moved".to_owned());
    s.plan.validate().unwrap();
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert!(s.log.contains("moved"), "{}", s.log);
    // No other step gives any.
    let step = s.plan.steps.iter_mut().find(|s| s.id == StepId::Verify);
    step.unwrap().tags.insert("moved".to_owned());
    assert!(s.plan.validate().is_err());
}

#[test]
fn what_somebody_took_out_of_our_list_is_read_at_apple() {
    let told = |ours, in_force| Event::AssignmentTold {
        ours,
        profile_in_force: in_force,
        deadline: None,
    };
    let reads = |a: &Attempt, event: &Event| {
        let plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let next = advance_move(&a.row, &plan, event, START + Duration::from_hours(2));
        next.effects
            .contains(&mdm_core::migration::Effect::ReadDevice)
    };
    let mut a = scheduled();
    // It was never there: nobody has taken it away.
    assert!(!reads(&a, &told(false, false)));
    a.tell(65, &told(true, false));
    assert!(reads(&a, &told(false, false)));
    a.tell(66, &told(true, true));
    assert!(matches!(a.row.state, MoveState::Offered { .. }));
    assert!(reads(&a, &told(false, false)));
    // Its profile is gone, and it is still ours: it is assigned again, and that is all.
    assert!(!reads(&a, &told(true, false)));
}

#[test]
fn a_lock_that_apple_does_not_show_is_an_exception_after_a_day() {
    let begun = || {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        s.enrol();
        s.answer();
        s.lock_answers();
        s.set_up.lock_unread = true;
        s.answer_all();
        told(&mut s);
        s
    };
    // Asked and not yet read; then Apple shows it.
    let mut s = begun();
    while s.now < START + Duration::from_hours(2) {
        s.wake();
        s.answer_all();
        assert!(!s.set_up.is_ended(), "{}", s.log);
    }
    s.set_up.lock_unread = false;
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    // It never does.
    let mut s = begun();
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    let one = &s.set_up.exceptions[0];
    assert!(one.what.contains("lock"), "{one:?}");
    assert_eq!(one.owner, Owner::Apple);
}

#[test]
fn a_lock_that_apple_answers_late_keeps_nobody_in_the_hold_and_is_a_lock_all_the_same() {
    let begun = || {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        s.enrol();
        s.answer_all();
        while s.now < START + Duration::from_mins(30) {
            s.wake();
            s.answer_all();
        }
        told(&mut s);
        // Out of the hold after the step's ten minutes; its record is open, and says so far what is missing.
        assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
        let missing: Vec<&str> = s.set_up.exceptions.iter().map(|e| &*e.what).collect();
        assert_eq!(missing, ["lock"], "{}", s.log);
        s
    };
    // Apple's service was overrun: its answer comes after the release.
    let mut s = begun();
    s.lock_answers();
    assert!(s.set_up.exceptions.is_empty(), "{}", s.log);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    assert_eq!(s.set_up.attention, None);
    // It answers late that it will not, or that the lock is somebody else's: that is named, and nothing else.
    for (answer, owner) in [
        (LockReading::Refused { why: "no".into() }, Owner::Apple),
        (
            LockReading::AlreadyLocked {
                claim: LockClaim::Foreign,
            },
            Owner::User,
        ),
    ] {
        let mut s = begun();
        s.tell(&Event::LockAnswered { answer });
        s.run(3);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
        );
        let [one] = &s.set_up.exceptions[..] else {
            panic!("{}", s.log);
        };
        assert_eq!((&*one.what, one.owner), ("lock", owner));
        assert!(!one.why.contains("not answered"), "{one:?}");
    }
    // It never answers: a day later that is the one thing that is missing.
    let mut s = begun();
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    let [one] = &s.set_up.exceptions[..] else {
        panic!("{}", s.log);
    };
    assert!(one.why.contains("not answered"), "{one:?}");
}

#[test]
fn a_proof_that_waits_for_the_lock_alone_looks_when_apple_has_answered() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer_all();
    while s.now < START + Duration::from_hours(5) {
        s.wake();
        s.answer_all();
    }
    told(&mut s);
    // By now it looks once in an hour.
    assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
    let answered = s.now;
    s.lock_answers();
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    assert!(s.now.since(answered) < Duration::from_mins(2), "{}", s.log);
}

/// How often the escrow profile was sent.
fn escrows(s: &Story) -> usize {
    let is_escrow = |effect: &&Effect| {
        matches!(
            effect,
            Effect::Command {
                ask: Ask::InstallEscrow,
                ..
            }
        )
    };
    s.effects.iter().filter(is_escrow).count()
}

fn escrow_is_done(s: &Story) -> bool {
    let steps = s.set_up.steps_or_proofs();
    let escrow = steps.get(&StepId::FvEscrow).map(|step| &step.status);
    matches!(escrow, Some(StepStatus::Done { .. }))
}

#[test]
fn an_escrow_without_a_bootstrap_token_is_begun_again_when_it_comes_in_the_hold() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.device.lacks_token = true;
    s.enrol();
    s.answer_all();
    // Apple answers the lock request late: until then it is held, and its escrow profile is there already.
    while !escrow_is_done(&s) {
        s.wake();
        s.answer_all();
    }
    assert_eq!(s.set_up.phase(), SetUpPhase::Holding, "{}", s.log);
    assert_eq!((escrows(&s), s.device.has_key), (1, false));
    s.device.lacks_token = false;
    s.tell(&Event::BootstrapTokenStored);
    assert!(!escrow_is_done(&s), "{}", s.log);
    assert_eq!(escrows(&s), 2, "{}", s.log);
    s.answer_all();
    assert!(escrow_is_done(&s) && s.device.has_key, "{}", s.log);
    // It gives it at every sign-in: once is enough.
    s.tell(&Event::BootstrapTokenStored);
    assert!(escrow_is_done(&s), "{}", s.log);
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    let bootstrap = &s.set_up.proofs[&StepId::Bootstrap].status;
    assert!(matches!(bootstrap, StepStatus::Done { evidence } if evidence.contains("late")));
    assert_eq!(escrows(&s), 2, "{}", s.log);
}

#[test]
fn an_escrow_without_a_bootstrap_token_is_begun_again_when_it_comes_during_the_proof() {
    for refuses in [false, true] {
        let mut s = Story::new(Platform::Macos, Variant::Migration);
        s.device.lacks_token = true;
        s.device.refuses_escrow = refuses;
        s.enrol();
        s.answer();
        s.lock_answers();
        s.answer_all();
        while s.now < START + Duration::from_hours(3) {
            s.wake();
            s.answer_all();
        }
        told(&mut s);
        assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
        assert_eq!(s.set_up.exceptions.is_empty(), !refuses, "{}", s.log);
        // Somebody signs in.
        let (before, signed_in) = (escrows(&s), s.now);
        s.device.lacks_token = false;
        s.device.refuses_escrow = false;
        s.tell(&Event::BootstrapTokenStored);
        s.tell(&Event::BootstrapTokenStored);
        s.run(4);
        assert_eq!(escrows(&s), before + 1, "{}", s.log);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::Proved),
            "{}",
            s.log
        );
        assert!(s.set_up.exceptions.is_empty(), "{:?}", s.set_up.exceptions);
        // Not at the next of its looks, an hour later.
        assert!(s.now.since(signed_in) < Duration::from_mins(5), "{}", s.log);
    }
}

#[test]
fn an_escrow_that_is_on_its_way_when_the_bootstrap_token_comes_is_not_sent_twice() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.device.lacks_token = true;
    s.enrol();
    while !s.device.queue.iter().any(|q| q.3 == Ask::InstallEscrow) {
        if !s.answer() {
            s.wake();
        }
    }
    s.device.lacks_token = false;
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    assert!(escrow_is_done(&s) && s.device.has_key, "{}", s.log);
    assert_eq!(escrows(&s), 1, "{}", s.log);
}

#[test]
fn a_proof_that_missed_the_key_is_made_anew_when_the_bootstrap_token_comes() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    let mut steps = s.plan.steps.iter_mut();
    let tell = steps.find(|p| p.id == StepId::Tell).unwrap();
    tell.requires.push(StepId::Verify);
    s.device.lacks_token = true;
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    // The proof is over; whether anybody was told is not known yet, so that the set-up is not.
    let missed = |s: &Story| {
        let mut all = s.set_up.exceptions.iter();
        all.any(|e| e.what == "verify: recovery key")
    };
    while !missed(&s) {
        s.wake();
        s.answer_all();
    }
    assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
    s.device.lacks_token = false;
    s.tell(&Event::BootstrapTokenStored);
    s.run(3);
    told(&mut s);
    s.run(3);
    assert!(!missed(&s), "{}", s.log);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
}

#[test]
fn a_key_that_is_there_is_not_made_anew_for_a_bootstrap_token() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.set_up.user_expected = true;
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    while s.now < START + Duration::from_hours(2) {
        s.wake();
        s.answer_all();
    }
    told(&mut s);
    assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
    s.tell(&Event::BootstrapTokenStored);
    assert_eq!(escrows(&s), 1, "{}", s.log);
}

#[test]
fn a_bootstrap_token_that_comes_before_the_mac_says_who_it_is_counts() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.enrol();
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    let steps = s.set_up.state.steps().unwrap();
    let bootstrap = &steps[&StepId::Bootstrap].status;
    assert!(matches!(bootstrap, StepStatus::Done { .. }), "{}", s.log);
    assert!(escrow_is_done(&s) && s.device.has_key, "{}", s.log);
    let StepStatus::Done { evidence } = &steps[&StepId::FvEscrow].status else {
        unreachable!()
    };
    assert!(
        !evidence.contains("without a bootstrap token"),
        "{evidence}"
    );
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    assert_eq!(escrows(&s), 1, "{}", s.log);
}

#[test]
fn what_comes_behind_the_release_keeps_nobody_in_the_hold() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let mut tag = StepPlan::standard(StepId::Tag);
    tag.required = true;
    tag.tags.insert("moved".to_owned());
    s.plan.steps.push(tag);
    s.plan.steps.sort_by_key(|step| step.id);
    s.plan.validate().unwrap();
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    let held = s.set_up.released.map(|at| at.since(START));
    assert!(
        held.is_some_and(|held| held < Duration::from_mins(5)),
        "{}",
        s.log
    );
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
}

#[test]
fn another_device_than_the_planned_one_gets_no_tags_either() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let moved = ["moved".to_owned()];
    let mut tag = StepPlan::standard(StepId::Tag);
    tag.tags.extend(moved.clone());
    s.plan.steps.push(tag);
    s.plan.steps.sort_by_key(|step| step.id);
    for step in &mut s.plan.steps {
        if step.id == StepId::Tell {
            step.tags.extend(moved.clone());
        }
    }
    s.plan.validate().unwrap();
    s.set_up.serial = Some(Serial::parse("C02PLANNED").unwrap());
    s.enrol();
    s.answer_all();
    while !s.set_up.is_ended() {
        s.wake();
        s.answer_all();
        told(&mut s);
    }
    assert!(s.set_up.released.is_some(), "{}", s.log);
    let tagged = s.effects.iter().any(|e| matches!(e, Effect::Tag { .. }));
    assert!(!tagged, "{}", s.log);
}

#[test]
fn a_profile_that_the_device_refused_is_named_by_its_step_or_by_the_proof() {
    for required in [false, true] {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        s.device.refuses = Some("org.rules");
        for step in &mut s.plan.steps {
            step.required |= required && step.id == StepId::Security;
        }
        s.enrol();
        s.answer();
        s.lock_answers();
        s.answer_all();
        while s.set_up.released.is_none() {
            s.wake();
            s.answer_all();
        }
        told(&mut s);
        s.run(200);
        assert!(s.set_up.is_ended(), "{}", s.log);
        let of_rules = s
            .set_up
            .exceptions
            .iter()
            .filter(|e| e.what.ends_with(": org.rules"));
        let of_rules: Vec<&str> = of_rules.map(|e| e.what.as_str()).collect();
        let took = s.now.since(START);
        assert!(
            required || took < Duration::from_hours(1),
            "{took:?}: {}",
            s.log
        );
        let by = if required {
            "security: org.rules"
        } else {
            "verify: org.rules"
        };
        assert_eq!(of_rules, [by], "{}", s.log);
    }
}

/// It speaks and does all that it is asked, but never says who it is.
fn speak(s: &mut Story, mute: &mut Vec<Event>) {
    loop {
        while let Some(at) = s.device.queue.iter().position(|q| q.3 == Ask::Identify) {
            let (step, part, attempt, _) = s.device.queue.remove(at).unwrap();
            mute.push(Event::Unanswered {
                step,
                part,
                attempt,
            });
        }
        for event in mute.iter() {
            s.tell(event);
        }
        if !s.answer() {
            return;
        }
    }
}

/// Puts back what rows from before had: no time for the first question.
fn without_time(s: &mut Story) {
    let mut row = serde_json::to_value(&s.set_up).unwrap();
    let steps = row.pointer_mut("/state/proving/steps").unwrap();
    steps["identify"]["deadline"] = serde_json::Value::Null;
    s.set_up = serde_json::from_value(row).unwrap();
}

#[test]
fn a_device_that_never_says_who_it_is_gets_the_rest_after_its_hold() {
    for (awaiting, older) in [
        (Some(true), false),
        (Some(true), true),
        (Some(false), false),
        (None, false),
    ] {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        let mut mute = Vec::new();
        s.later(Duration::from_secs(5));
        s.tell(&Event::Enrolled {
            awaiting,
            profile_awaits: true,
        });
        while !matches!(s.set_up.state, SetUpState::Proving { .. }) {
            speak(&mut s, &mut mute);
            s.wake();
        }
        assert!(!s.device.awaiting, "{}", s.log);
        assert!(!s.device.profiles.contains("org.trust"), "{}", s.log);
        if older {
            without_time(&mut s);
        }
        let end = s.now + Duration::from_hours(3);
        while s.now < end && !s.set_up.is_ended() {
            speak(&mut s, &mut mute);
            s.wake();
        }
        let case = format!("{awaiting:?}, {older}");
        assert!(s.device.profiles.contains("org.trust"), "{case}: {}", s.log);
    }
}

/// Every question that waits is refused for now.
fn refuse(s: &mut Story) {
    for (step, part, attempt, _) in s.device.queue.clone() {
        s.tell(&Event::Reported {
            step,
            part,
            attempt,
            status: ReportStatus::NotNow,
            told: Told::Nothing,
        });
    }
}

#[test]
fn a_device_that_refuses_everything_stays_a_question_for_a_person_until_it_is_released() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    while !matches!(s.set_up.state, SetUpState::Stalled { .. }) {
        refuse(&mut s);
        s.wake();
    }
    let asked = |s: &Story| s.set_up.attention == Some(Attention::ReleaseUnconfirmed);
    assert!(asked(&s), "{}", s.log);
    let steps: Vec<StepId> = s.device.queue.iter().map(|q| q.0).collect();
    assert!(steps.iter().any(|id| *id != StepId::Release), "{steps:?}");
    // It is there and can be released any moment: it is woken every five minutes, and does not come and go.
    for _ in 0..60 {
        refuse(&mut s);
        let stalled = matches!(s.set_up.state, SetUpState::Stalled { .. });
        assert!(stalled && asked(&s), "{}", s.log);
        let (before, told) = (s.now, s.effects.len());
        s.wake();
        assert_eq!(s.now.since(before), Duration::from_mins(5), "{}", s.log);
        assert!(s.effects[told..].contains(&Effect::Push), "{}", s.log);
    }
    // Silent for days, it is another question, and speaks again.
    while s.set_up.attention != Some(Attention::SilentForDays) {
        s.wake();
    }
    refuse(&mut s);
    assert!(asked(&s), "{}", s.log);
    // A word of something else is no release either.
    s.tell(&Event::AwaitingTold { awaiting: true });
    assert!(matches!(s.set_up.state, SetUpState::Releasing { .. }));
    assert!(asked(&s), "{}", s.log);
    s.answer_all();
    assert_eq!(s.set_up.attention, None, "{}", s.log);
}

#[test]
fn the_end_of_a_hold_is_told_once_whatever_the_step_that_tells_says() {
    let play = |change: &dyn Fn(&mut Vec<StepPlan>), early: bool| {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        change(&mut s.plan.steps);
        s.enrol();
        s.answer();
        s.lock_answers();
        // Until it is out, and no further: what the proof asks for stays open.
        while s.set_up.released.is_none() && s.answer() {}
        assert!(s.set_up.released.is_some(), "{}", s.log);
        if early {
            told(&mut s);
        }
        s.answer_all();
        if !early {
            told(&mut s);
        }
        s.run(3);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::Proved),
            "{}",
            s.log
        );
        let count = s.log.matches("Notify(Released)").count();
        assert_eq!(count, 1, "{}", s.log);
        s
    };
    // As it is; without the step; for devices with a tag that this one has not; behind the proof.
    play(&|_| {}, false);
    play(&|steps| steps.retain(|p| p.id != StepId::Tell), false);
    let tell = |steps: &mut Vec<StepPlan>, change: &dyn Fn(&mut StepPlan)| {
        change(steps.iter_mut().find(|p| p.id == StepId::Tell).unwrap());
    };
    let s = play(
        &|steps| tell(steps, &|p| p.only = ["others".to_owned()].into()),
        false,
    );
    let status = |s: &Story| s.set_up.proofs[&StepId::Tell].status.clone();
    assert!(
        matches!(status(&s), StepStatus::Skipped { .. }),
        "{}",
        s.log
    );
    let s = play(
        &|steps| tell(steps, &|p| p.requires.push(StepId::Verify)),
        true,
    );
    assert!(matches!(status(&s), StepStatus::Done { .. }), "{}", s.log);
}

/// A set-up that is out, and tells only behind its proof.
fn out_and_telling_last() -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let mut steps = s.plan.steps.iter_mut();
    let tell = steps.find(|p| p.id == StepId::Tell).unwrap();
    tell.requires.push(StepId::Verify);
    s.enrol();
    s.answer();
    s.lock_answers();
    while s.set_up.released.is_none() && s.answer() {}
    assert!(s.set_up.released.is_some(), "{}", s.log);
    s
}

#[test]
fn that_nobody_could_be_told_of_a_release_is_known_to_the_step_that_comes_later() {
    let mut s = out_and_telling_last();
    let why = "the receiver is gone".to_owned();
    let effect = EffectKey::Notify(Notice::Released);
    s.tell(&Event::EffectFailed { effect, why });
    s.run(3);
    let status = &s.set_up.proofs[&StepId::Tell].status;
    assert!(
        matches!(status, StepStatus::Skipped { why } if why == "could not be sent: the receiver is gone"),
        "{status:?}"
    );
    assert_eq!(s.log.matches("-> Notify(Released)").count(), 1, "{}", s.log);
}

#[test]
fn a_set_up_that_an_older_version_let_out_tells_of_it_when_its_step_begins() {
    let mut s = out_and_telling_last();
    let before = s.log.matches("Notify(Released)").count();
    let mut row = serde_json::to_value(&s.set_up).unwrap();
    row.as_object_mut().unwrap().remove("release_told").unwrap();
    s.set_up = serde_json::from_value(row).unwrap();
    s.run(1);
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    let count = s.log.matches("Notify(Released)").count();
    assert_eq!(count, before + 1, "{}", s.log);
}

#[test]
fn each_hold_has_its_end_told() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.later(Duration::from_secs(5));
    s.tell(&Event::Enrolled {
        awaiting: Some(false),
        profile_awaits: true,
    });
    s.device.awaiting = false;
    s.answer();
    let count = |s: &Story, notice| s.log.matches(notice).count();
    assert_eq!(count(&s, "Notify(Released)"), 1, "{}", s.log);
    // It waits after all: whoever hears of the hold hears of its end.
    s.device.awaiting = true;
    s.tell(&Event::AwaitingTold { awaiting: true });
    assert_eq!(count(&s, "Notify(Holding)"), 1, "{}", s.log);
    s.lock_answers();
    s.answer_all();
    assert!(!s.device.awaiting, "{}", s.log);
    assert_eq!(count(&s, "Notify(Released)"), 2, "{}", s.log);
}
