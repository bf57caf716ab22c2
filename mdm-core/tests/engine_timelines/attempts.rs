//! Apple's side of one attempt, from the plan to its end, told without a device.

use std::time::Duration;

use mdm_core::device::{MigrationStatus, OrgReading, Platform};
use mdm_core::ids::{DeviceId, MoveId, OrganisationId, RunbookId, Serial, SetUpId, WaveId};
use mdm_core::migration::{
    Attention, Effect, Event, Move, MoveState, Notice, Outcome, PinnedRunbook, SetUpEnd,
    SetUpPhase, Variant, advance_move,
};

use super::engine_story::{self, START, say_effect};

/// In minutes.
const HOUR: u64 = 60;

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
fn what_is_late_at_apple_is_called_back_and_not_taken_out() {
    let late = |told: Option<&str>| {
        let mut a = attempt();
        let deadline = a.row.deadline;
        a.tell(0, &Event::Accepted);
        a.tell(1, &Event::SubmitAsked { deadline });
        let activity = "ACT1".to_owned();
        a.tell(2, &Event::ActivityPosted { activity });
        for minute in 3..50 {
            a.tell(minute, &Event::Woke);
        }
        assert_eq!(a.row.attention, Some(Attention::SubmitFailed));
        assert!(!a.row.is_planned(), "{:?}", a.row.state);
        if let Some(why) = told {
            let why = why.to_owned();
            a.tell(50, &Event::SubmitRefused { why });
        }
        a
    };
    // Its request is open: another deadline is not simply noted, and it is not taken out without Apple.
    let mut a = late(None);
    let deadline = a.row.deadline;
    let moved = deadline + Duration::from_hours(24);
    a.tell(51, &Event::DeadlineMoved { deadline: moved });
    assert_eq!(a.row.deadline, deadline);
    let came = a.row.clone();
    a.tell(52, &Event::WithdrawAsked);
    assert!(matches!(a.row.state, MoveState::Cancelling { .. }));
    assert!(a.log.contains("-> Cancel"), "{}", a.log);
    a.row = came;
    a.apple(60, Some(MigrationStatus::Requested), "OURS");
    assert!(matches!(a.row.state, MoveState::Scheduled { .. }));
    // The errand has ended, and nothing of it comes: it is as one that Apple refused.
    let mut a = late(Some("INVALID_SERIAL"));
    let MoveState::SubmitFailed { why, .. } = &a.row.state else {
        panic!("{:?}", a.row.state);
    };
    assert_eq!(why, "INVALID_SERIAL");
    assert!(a.row.is_planned());
    a.tell(51, &Event::WithdrawAsked);
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Withdrawn));
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
fn the_proof_and_apples_word_have_a_day_together() {
    let set_up = SetUpId(5);
    let proved = || SetUpPhase::Ended {
        end: SetUpEnd::ProvedWithExceptions,
        exceptions: Vec::new(),
    };
    let is_out = |a: &mut Attempt, minutes| {
        for phase in [SetUpPhase::Holding, SetUpPhase::Proving] {
            a.tell(minutes, &Event::SetUpChanged { set_up, phase });
        }
    };
    let say = |a: &mut Attempt, minutes, set_up, phase| {
        a.tell(minutes, &Event::SetUpChanged { set_up, phase });
    };
    // Nobody at Apple says anything.
    let ends = |a: &mut Attempt| -> u64 {
        loop {
            let due = a.row.wake_at.unwrap().since(START);
            let at = due.as_secs().div_ceil(60);
            a.tell(at, &Event::Woke);
            if a.row.is_ended() {
                let why = &a.row.exceptions.last().unwrap().why;
                assert!(why.contains("within 24 hours"), "{why}");
                return at;
            }
        }
    };
    let day = 24 * HOUR;
    for (proved_after, ends_after) in [
        (1, day),
        (20 * HOUR, day),
        // The last reading is waited for.
        (day - 2, day + 3),
        (day + 1, day + 6),
    ] {
        let mut a = scheduled();
        is_out(&mut a, 201);
        say(&mut a, 201 + proved_after, set_up, proved());
        assert_eq!(ends(&mut a), 201 + ends_after, "{}", a.log);
    }
    // Silence in between is part of it, and what Apple says to that last reading counts.
    let mut a = scheduled();
    is_out(&mut a, 201);
    say(&mut a, 300, set_up, SetUpPhase::Stalled);
    say(&mut a, 201 + 20 * HOUR, set_up, SetUpPhase::Proving);
    say(&mut a, 201 + day + 1, set_up, proved());
    a.apple(201 + day + 4, Some(MigrationStatus::Success), "OURS");
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Migrated));
    // An hour before, Apple is asked; where it has said so, the end of the proof is the end.
    let mut a = scheduled();
    is_out(&mut a, 201);
    let asks = 201 + 23 * HOUR;
    assert_eq!(
        a.row.wake_at,
        Some(START + Duration::from_mins(asks)),
        "{}",
        a.log
    );
    a.tell(asks, &Event::Woke);
    assert!(a.log.ends_with("ReadDevice\n"), "{}", a.log);
    a.apple(asks + 1, Some(MigrationStatus::Success), "OURS");
    assert!(matches!(a.row.state, MoveState::Moving { .. }));
    say(&mut a, 201 + day + 1, set_up, proved());
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Migrated));
    // After a proof that took hours Apple is asked as often as after a short one.
    let mut a = scheduled();
    is_out(&mut a, 201);
    let ended = 201 + 3 * HOUR;
    say(&mut a, ended, set_up, proved());
    for minutes in [1, 2, 3] {
        let due = START + Duration::from_mins(ended + minutes);
        assert_eq!(a.row.wake_at, Some(due), "{}", a.log);
        a.tell(ended + minutes, &Event::Woke);
    }
    // Whoever is held again, or enrols anew, is proved anew.
    let mut a = scheduled();
    is_out(&mut a, 201);
    say(&mut a, 400, set_up, SetUpPhase::Releasing);
    say(&mut a, 500, set_up, SetUpPhase::Proving);
    let again = SetUpId(6);
    for phase in [SetUpPhase::Enrolling, SetUpPhase::Holding] {
        say(&mut a, 600, again, phase);
    }
    assert_eq!(a.row.proving, None);
    say(&mut a, 700, again, SetUpPhase::Proving);
    say(&mut a, 800, again, proved());
    assert_eq!(ends(&mut a), 700 + day, "{}", a.log);
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
fn what_somebody_took_out_of_our_list_is_read_at_apple() {
    let told = |ours, in_force| Event::AssignmentTold {
        ours,
        profile_in_force: in_force,
        deadline: None,
    };
    let reads = |a: &Attempt, event: &Event| {
        let plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let next = advance_move(&a.row, &plan, event, START + Duration::from_hours(2));
        next.effects.contains(&Effect::ReadDevice)
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
fn what_apple_calls_failed_before_it_began_may_have_been_cancelled() {
    // Cancelled in the portal, and not assigned back: nobody is sent to lift a lock that may not be there.
    let mut a = scheduled();
    a.apple(70, Some(MigrationStatus::Failed), "OURS");
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Failed));
    let said = a.row.exceptions.first().unwrap();
    assert_eq!(said.what, "apple: not begun");
    assert!(
        said.why.contains("cancelled") && !said.why.contains("carries"),
        "{}",
        said.why
    );
    // One that began is a failure.
    let mut a = scheduled();
    a.apple(70, Some(MigrationStatus::Started), "OURS");
    a.apple(71, Some(MigrationStatus::Failed), "OURS");
    assert_eq!(a.row.state, MoveState::Ended(Outcome::Failed));
    let said = a.row.exceptions.first().unwrap();
    assert!(
        said.what == "apple" && said.why.contains("carries"),
        "{said:?}"
    );
}

/// What `advance` makes of a person's word that the device will not come, so many minutes after the start.
fn given_up(a: &Attempt, minutes: u64) -> mdm_core::migration::Transition<Move> {
    let plan = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let why = "Anna gave it up: stolen".to_owned();
    let now = START + Duration::from_mins(minutes);
    advance_move(&a.row, &plan, &Event::GivenUp { why }, now)
}

#[test]
fn only_what_nothing_else_ends_is_given_up() {
    let is_noise = |a: &Attempt, minutes| {
        let t = given_up(a, minutes);
        let now = START + Duration::from_mins(minutes);
        assert!(a.row.ends_otherwise(now).is_some(), "{:?}", a.row.state);
        assert_eq!(t.next, a.row);
        assert!(t.effects.is_empty());
    };
    let ends = |a: &Attempt, minutes, outcome| {
        let t = given_up(a, minutes);
        assert_eq!(t.next.state, MoveState::Ended(outcome));
        assert!(
            t.next
                .exceptions
                .iter()
                .any(|e| e.what == "operator" && e.why == "Anna gave it up: stolen")
        );
        assert_eq!((t.next.wake_at, t.next.attention), (None, None));
        t.effects
    };
    let told = |effects: &[Effect]| {
        let all = effects.iter().filter_map(|effect| match effect {
            Effect::Notify(notice) => Some(*notice),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    is_noise(&attempt(), 1);
    let mut a = scheduled();
    is_noise(&a, 5);

    // Called back, and Apple never shows it: nobody was told that it comes, and nobody is told that it does not.
    let mut called = scheduled();
    called.tell(60, &Event::CancelAsked);
    is_noise(&called, 60 + HOUR - 1);
    let effects = ends(&called, 60 + HOUR, Outcome::Abandoned);
    assert!(told(&effects).is_empty());

    // Offered, and called back in vain.
    let visible = Event::AssignmentTold {
        ours: true,
        profile_in_force: true,
        deadline: None,
    };
    a.tell(70, &visible);
    is_noise(&a, 71);
    let mut called = Attempt {
        row: a.row.clone(),
        log: String::new(),
    };
    called.tell(80, &Event::CancelAsked);
    let effects = ends(&called, 80 + HOUR, Outcome::Abandoned);
    assert_eq!(told(&effects), [Notice::CalledOff]);

    // Past its deadline for fourteen days.
    let mut late = Attempt {
        row: a.row.clone(),
        log: String::new(),
    };
    let overdue = 32 * HOUR;
    late.tell(overdue, &Event::Woke);
    assert!(matches!(late.row.state, MoveState::Overdue { .. }));
    is_noise(&late, overdue + 14 * 24 * HOUR - 1);
    let effects = ends(&late, overdue + 14 * 24 * HOUR, Outcome::Abandoned);
    assert_eq!(told(&effects), [Notice::CalledOff]);

    // Begun, and never enrolled; enrolled, and dead in its hold; with us, and only Apple's word is missing.
    a.tell(200, &Event::ProfileFetched);
    is_noise(&a, 201);
    a.tell(200 + 2 * HOUR, &Event::Woke);
    assert!(matches!(a.row.state, MoveState::Stalled { .. }));
    let effects = ends(&a, 200 + 2 * HOUR, Outcome::Abandoned);
    assert_eq!(told(&effects), [Notice::CalledOff]);
    let set_up = SetUpId(5);
    let phase = SetUpPhase::Holding;
    a.tell(400, &Event::SetUpChanged { set_up, phase });
    let effects = ends(&a, 401, Outcome::Failed);
    assert_eq!(told(&effects), [Notice::Exception, Notice::CalledOff]);
    let phase = SetUpPhase::Ended {
        end: SetUpEnd::Proved,
        exceptions: Vec::new(),
    };
    a.tell(402, &Event::SetUpChanged { set_up, phase });
    is_noise(&a, 403);
}
