//! Whether a request that changes something at Apple has left yet. While it waits for its turn at one of our gates nothing has: then
//! it can be given up and asked later, and the time that Apple has for its answer does not run. Sends nothing.

use std::task::Poll;
use std::time::Duration;

use abm_client::RequestClass;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::PortError;

/// How far a request is, as far as our gates know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It stands at none of them: it may have left, for a host's own client asks no gate of ours.
    Unseen,
    /// It waits for its turn: nothing of it has left.
    Waits,
    /// It was let out, and stays so whatever comes.
    Out,
}

tokio::task_local! {
    /// Of the request that this task asks, if it is one of which this is to be known.
    static WAY: watch::Sender<Way>;
}

/// Told by a gate: the request of this task waits here for its turn.
pub(super) fn waits() {
    tell(Way::Waits);
}

/// Told by a gate: the request of this task goes on.
pub(super) fn goes(class: RequestClass) {
    tell(match class {
        RequestClass::Write => Way::Out,
        // A token that it needs: where it is itself, nobody says.
        _ => Way::Unseen,
    });
}

fn tell(way: Way) {
    // Nobody asks where there is no such request.
    let _ = WAY.try_with(|told| {
        told.send_if_modified(|now| {
            let changes = *now != way && *now != Way::Out;
            if changes {
                *now = way;
            }
            changes
        })
    });
}

/// The answer to a request. One whose turn at our gate does not come within `patience` is given up, and nothing was sent; one that
/// is not answered within `longest`, since it was let out if a gate of ours said so, is broken off, and nobody knows what came of it.
/// Takes no longer than both together.
pub(super) async fn within(
    patience: Duration,
    longest: Duration,
    request: impl Future<Output = Result<String, PortError>>,
) -> Result<String, PortError> {
    let (told, mut way) = watch::channel(Way::Unseen);
    let mut request = std::pin::pin!(WAY.scope(told, request));
    let turn = Instant::now() + patience;
    let mut answered = Instant::now() + longest;
    let mut before = Way::Unseen;
    loop {
        let now = *way.borrow_and_update();
        if now == Way::Out && before != Way::Out {
            answered = Instant::now().min(turn) + longest;
        }
        before = now;
        let until = if now == Way::Waits { turn } else { answered };
        tokio::select! {
            // Time first: whoever stood still while it waited must not be let out when it goes on.
            biased;
            () = past(until) => {
                return Err(match now {
                    Way::Waits => PortError::retry(format!("its turn did not come in {patience:?}; nothing was sent")),
                    Way::Unseen | Way::Out => PortError::Unknown(format!("no answer in {longest:?}")),
                });
            }
            answer = &mut request => return answer,
            _ = way.changed() => {}
        }
    }
}

/// Returns at this moment, also where the timer has not noticed yet that it has come.
async fn past(until: Instant) {
    let mut sleep = std::pin::pin!(tokio::time::sleep_until(until));
    std::future::poll_fn(|cx| match Instant::now() >= until {
        true => Poll::Ready(()),
        false => sleep.as_mut().poll(cx),
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const STEP: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn what_is_not_answered_in_time_is_broken_off_and_unknown() {
        let never = std::future::pending();
        let answer = within(LONG, STEP, never).await;
        assert!(matches!(answer, Err(PortError::Unknown(_))), "{answer:?}");
        let let_out = async {
            waits();
            goes(RequestClass::Write);
            // Refused for its token, it waits once more: it has left all the same.
            waits();
            std::future::pending().await
        };
        let answer = within(STEP / 4, STEP, let_out).await;
        assert!(matches!(answer, Err(PortError::Unknown(_))), "{answer:?}");
        let quick = async { Ok("ACTIVITY".to_owned()) };
        let answer = within(LONG, LONG, quick).await;
        assert_eq!(answer.unwrap(), "ACTIVITY");
    }

    #[tokio::test]
    async fn what_waits_for_its_turn_was_not_sent_and_its_wait_is_no_asking() {
        let waiting = async {
            waits();
            std::future::pending().await
        };
        let answer = within(STEP, LONG, waiting).await;
        assert!(matches!(answer, Err(PortError::Retry { .. })), "{answer:?}");
        // Behind others for longer than an answer may take, then answered in its time.
        let slow = async {
            waits();
            tokio::time::sleep(STEP * 3).await;
            goes(RequestClass::Write);
            tokio::time::sleep(STEP).await;
            Ok("ACTIVITY".to_owned())
        };
        let answer = within(LONG, STEP * 2, slow).await;
        assert_eq!(answer.unwrap(), "ACTIVITY");
        // A token is asked for first: what has left is not the request.
        let token = async {
            waits();
            goes(RequestClass::Read);
            waits();
            std::future::pending().await
        };
        let answer = within(STEP, LONG, token).await;
        assert!(matches!(answer, Err(PortError::Retry { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn who_stood_still_while_it_waited_is_let_out_no_more() {
        let (turn, left) = (tokio::sync::Mutex::new(()), std::cell::Cell::new(false));
        let first = turn.lock().await;
        let waiting = async {
            waits();
            let _turn = turn.lock().await;
            goes(RequestClass::Write);
            left.set(true);
            std::future::pending().await
        };
        let stands_still = async {
            tokio::task::yield_now().await;
            // Its turn comes in the very moment in which it goes on.
            std::thread::sleep(STEP * 2);
            drop(first);
        };
        let (answer, ()) = tokio::join!(within(STEP, LONG, waiting), stands_still);
        assert!(matches!(answer, Err(PortError::Retry { .. })), "{answer:?}");
        assert!(!left.get());
    }
}
