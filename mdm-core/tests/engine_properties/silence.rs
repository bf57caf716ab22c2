//! A device that was silent past its ceiling: asked for its apps first, then released.

use std::cell::RefCell;
use std::time::Duration;

use crate::engine_story::Story;
use crate::{GRACE, runner};
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::migration::{
    Ask, Effect, Event, SetUp, StepId, StepStatus, Told, Variant, advance_unreadable, release,
};
use mdm_core::queue::ReportStatus;
use proptest::prelude::any;

/// A device that answers some commands, falls silent until after its ceiling, and speaks again.
struct Silence {
    story: Story,
    readable: bool,
    first_words: Option<Timestamp>,
}

impl Silence {
    fn tell(&mut self, event: &Event) {
        if self.readable {
            self.story.tell(event);
            return;
        }
        let t = advance_unreadable(&self.story.set_up, event, self.story.now);
        self.story.set_up = t.next;
        for effect in t.effects {
            match effect {
                Effect::Command {
                    step,
                    part,
                    attempt,
                    ask,
                } => self
                    .story
                    .device
                    .queue
                    .push_back((step, part, attempt, ask)),
                Effect::DropCommands { step } => {
                    self.story.device.queue.retain(|q| q.0 != step);
                }
                _ => {}
            }
        }
    }

    /// One answer of the device in a session, and which step it was for.
    fn answer(&mut self, status: ReportStatus) -> Option<StepId> {
        self.first_words.get_or_insert(self.story.now);
        if self.story.set_up.last_chance.is_some() {
            self.tell(&Event::BeforeRelease);
        }
        let at = self.story.next_in_queue()?;
        let queue = &mut self.story.device.queue;
        let (step, part, attempt, ask) = if status == ReportStatus::NotNow {
            queue[at].clone()
        } else {
            queue.remove(at).unwrap()
        };
        if step == StepId::Release {
            let first = self.first_words.unwrap();
            assert!(
                !self.story.set_up.release_yields(first + GRACE),
                "the release waits longer than its grace"
            );
        }
        let (status, told) = match status {
            ReportStatus::Acknowledged => self.story.device.run(&ask),
            ReportStatus::NotNow => (status, Told::Nothing),
            other => (
                other,
                Told::Failure {
                    why: "no".to_owned(),
                },
            ),
        };
        self.tell(&Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        });
        Some(step)
    }
}

#[test]
fn a_device_that_was_silent_past_its_ceiling_is_asked_for_its_apps_and_then_released() {
    let saved = RefCell::new(0_u32);
    let refused = RefCell::new(0_u32);
    let history = (
        0..9_usize,
        0..40_u64,
        any::<u8>(),
        any::<bool>(),
        0..12_usize,
    );
    runner(400)
        .run(&history, |(words, hours, way, watchdog, trouble_at)| {
            let mut d = Silence {
                story: Story::new(Platform::Ios, Variant::Migration),
                readable: way % 5 != 0,
                first_words: None,
            };
            d.story.enrol();
            d.story.device.managed.clear();
            for _ in 0..words {
                if d.story.set_up.ceiling_at.is_none()
                    || d.answer(ReportStatus::Acknowledged).is_none()
                {
                    break;
                }
                d.story.later(Duration::from_secs(1));
            }
            let Some(ceiling) = d.story.set_up.ceiling_at else {
                // It was quick: its release was due on evidence, and nothing goes before that.
                assert_eq!(d.story.set_up.last_chance, None);
                return Ok(());
            };
            let done_before = matches!(
                d.story
                    .set_up
                    .steps()
                    .and_then(|s| s.get(&StepId::AppsKeep))
                    .map(|s| &s.status),
                Some(StepStatus::Done { .. })
            );
            // Silent from here on: nobody but time and the watchdog acts.
            while d.story.set_up.ceiling_at.is_some() {
                let at = d.story.set_up.wake_at.unwrap();
                d.story.now = d.story.now.max(at);
                if watchdog && d.story.now >= ceiling {
                    let t = release(&d.story.set_up, d.story.now);
                    for effect in &t.effects {
                        if let Effect::Command {
                            step,
                            part,
                            attempt,
                            ask,
                        } = effect
                        {
                            d.story
                                .device
                                .queue
                                .push_back((*step, *part, *attempt, ask.clone()));
                        }
                    }
                    d.story.set_up = t.next;
                } else {
                    d.tell(&Event::Woke);
                }
            }
            // The release is queued at the ceiling, whoever is silent.
            assert!(d.story.now <= ceiling + Duration::from_mins(1));
            assert!(d.story.device.queue.iter().any(|q| q.3 == Ask::Release));
            let back = d.story.now + Duration::from_hours(hours) + Duration::from_mins(1);
            while d.story.set_up.wake_at.is_some_and(|at| at < back) {
                d.story.now = d.story.set_up.wake_at.unwrap();
                d.tell(&Event::Woke);
            }
            d.story.now = back;
            d.first_words = None;
            let mut after_refusal = None;
            let mut silent_again = false;
            for n in 0..40 {
                let trouble = n == trouble_at;
                if trouble && way % 3 == 1 && n > 0 && !silent_again {
                    // Off again before everything was asked for: the release goes first the next time.
                    silent_again = true;
                    d.story.later(GRACE + Duration::from_secs(1));
                    if d.story.device.awaiting {
                        assert!(!d.story.set_up.release_yields(d.story.now));
                    }
                    let next = d.answer(ReportStatus::Acknowledged);
                    if d.story.device.awaiting {
                        assert_eq!(next, Some(StepId::Release));
                    }
                    break;
                }
                let status = match (trouble, way % 3) {
                    (true, 0) => ReportStatus::NotNow,
                    (true, 2) => ReportStatus::Error,
                    _ => ReportStatus::Acknowledged,
                };
                let Some(step) = d.answer(status) else {
                    // Evidence is waited for: its next wake looks again.
                    if !d.story.device.awaiting {
                        break;
                    }
                    d.story.now = d.story.now.max(d.story.set_up.wake_at.unwrap());
                    d.tell(&Event::Woke);
                    continue;
                };
                if !d.readable {
                    assert_eq!(
                        step,
                        StepId::Release,
                        "without its runbook nothing goes before"
                    );
                    break;
                }
                if after_refusal == Some(true) && d.story.device.awaiting {
                    panic!("after a refusal the release goes first, not {step}");
                }
                if trouble && status == ReportStatus::NotNow && SetUp::goes_before_release(step) {
                    after_refusal = Some(true);
                    *refused.borrow_mut() += 1;
                }
                if !d.story.device.awaiting {
                    break;
                }
            }
            let late = d.story.now.since(d.first_words.unwrap());
            assert!(
                late <= GRACE + Duration::from_mins(1),
                "held for {late:?} after it spoke"
            );
            let spoilt =
                way % 3 != 2 && trouble_at < 40 && after_refusal.is_none() && !silent_again;
            if d.readable && spoilt {
                assert!(!d.story.device.awaiting, "still held: {}", d.story.log);
                assert!(
                    d.story.device.managed.contains_key("app.notes") || done_before,
                    "its app was not asked for: {}",
                    d.story.log
                );
                *saved.borrow_mut() += 1;
            }
            Ok(())
        })
        .unwrap();
    assert!(*saved.borrow() > 50, "only {} were saved", saved.borrow());
    assert!(*refused.borrow() > 10, "only {} refused", refused.borrow());
}
