//! What is renewed when, and what is stopped.

use std::future::pending;
use std::time::Duration;

use super::{AFTER_A_PANIC, LENGTH, Leases};
use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::{Job, JobKind};
use crate::store::{Claim, Lease};

const START: Timestamp = Timestamp::from_millis(1_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn job(id: i64) -> Job {
    Job::new(OrganisationId(1), JobId(id), START, JobKind::Errands)
}

fn lease() -> Lease {
    Lease(START + LENGTH)
}

fn claim(id: i64) -> Claim {
    super::claim(&job(id), lease())
}

#[test]
fn all_are_renewed_once_a_quarter_of_one_is_over_and_none_before() {
    let leases = Leases::default();
    assert!(leases.due(START + SECOND * 19).is_empty());
    let first = leases.keep(0, &[job(1)], lease(), pending());
    let second = leases.keep(0, &[job(2)], Lease(lease().0 + SECOND * 4), pending());
    assert!(leases.due(START + SECOND * 4).is_empty());
    let now = START + SECOND * 5;
    let asked = leases.due(now);
    let later = super::claim(&job(2), Lease(lease().0 + SECOND * 4));
    assert_eq!(asked, [(claim(1), now + LENGTH), (later, now + LENGTH)]);
    // The second has ended in the store: nothing of it is renewed any more.
    assert!(leases.renewed(&asked, &[claim(1)], now).is_empty());
    assert!(leases.due(now + SECOND * 4).is_empty());
    let again = leases.due(now + SECOND * 5);
    assert_eq!(again, [(claim(1), now + SECOND * 5 + LENGTH)]);
    // A clock that was put back must not keep it for hours.
    let back = START - Duration::from_secs(3600);
    assert_eq!(leases.due(back), [(claim(1), back + LENGTH)]);
    drop((first, second));
    assert!(leases.due(now + SECOND * 19).is_empty());
}

#[tokio::test]
async fn what_cannot_be_renewed_is_stopped_while_a_quarter_is_left() {
    let leases = Leases::default();
    let work = tokio::spawn(leases.keep(0, &[job(1)], lease(), pending()));
    assert_eq!(leases.stop_in_time(START + SECOND * 14), 0);
    assert_eq!(leases.stop_in_time(START + SECOND * 15), 1);
    work.await.unwrap();
    // What comes after it is not meant.
    let next = Lease(lease().0 + SECOND * 15);
    let work = tokio::spawn(leases.keep(0, &[job(1)], next, pending()));
    assert_eq!(leases.stop_in_time(START + SECOND * 15), 0);
    assert_eq!(leases.stop_everything(), [super::claim(&job(1), next)]);
    work.await.unwrap();
}

#[tokio::test]
async fn of_what_is_not_kept_only_that_is_doubtful_whose_lease_had_ended() {
    let leases = Leases::default();
    let work = tokio::spawn(leases.keep(0, &[job(1), job(2)], lease(), pending()));
    // In time: it has ended, or was put anew.
    let now = START + SECOND * 10;
    let asked = leases.due(now);
    assert!(leases.renewed(&asked, &[claim(2)], now).is_empty());
    // Too late: somebody may have claimed it.
    let now = now + LENGTH;
    let asked = leases.due(now);
    assert_eq!(leases.renewed(&asked, &[], now), [(claim(2), START)]);
    assert!(!work.is_finished());
    leases.stop(&claim(2));
    work.await.unwrap();
}

#[tokio::test]
async fn what_panicked_is_kept_for_longer_once() {
    let leases = Leases::default();
    let work = tokio::spawn(leases.keep(0, &[job(1)], lease(), async {
        panic!("on purpose");
    }));
    assert!(work.await.unwrap_err().is_panic());
    let now = START + SECOND;
    let asked = leases.due(now);
    assert_eq!(asked, [(claim(1), now + AFTER_A_PANIC)]);
    assert!(leases.renewed(&asked, &[claim(1)], now).is_empty());
    assert!(leases.due(now + SECOND * 19).is_empty());
}

#[tokio::test]
async fn whoever_ends_begins_nothing_any_more() {
    let leases = Leases::default();
    let work = tokio::spawn(leases.keep(0, &[job(1)], lease(), pending()));
    assert_eq!(leases.close(), [claim(1)]);
    work.await.unwrap();
    // Its work would never end.
    leases.keep(0, &[job(2)], lease(), pending()).await;
    assert!(leases.due(START + LENGTH).is_empty());
}

#[test]
fn whoever_renews_and_ends_by_a_panic_is_followed_by_another() {
    let leases = Leases::default();
    let _work = leases.keep(0, &[job(1)], lease(), pending());
    assert!(leases.begin());
    assert!(!leases.begin());
    let beating = super::Beating {
        leases: leases.clone(),
        ended: false,
    };
    drop(beating);
    assert!(leases.begin());
}

#[tokio::test]
async fn what_was_claimed_before_everything_was_stopped_is_not_begun() {
    let leases = Leases::default();
    let before = leases.stopped();
    // Nothing is held yet: a beat sees a new history of the database while the claim is looked through.
    assert!(leases.stop_everything().is_empty());
    leases.keep(before, &[job(1)], lease(), pending()).await;
    assert!(leases.due(START + LENGTH).is_empty());
    let _work = leases.keep(leases.stopped(), &[job(1)], lease(), pending());
    assert!(!leases.due(START + LENGTH).is_empty());
}

#[tokio::test]
async fn what_is_under_way_for_one_organisation_is_stopped_and_nothing_else() {
    let leases = Leases::default();
    let other = Job::new(OrganisationId(2), JobId(1), START, JobKind::Errands);
    let its = tokio::spawn(leases.keep(0, &[job(1), job(2)], lease(), pending()));
    let others = tokio::spawn(leases.keep(0, std::slice::from_ref(&other), lease(), pending()));
    leases.stop_of(OrganisationId(1));
    its.await.unwrap();
    assert!(!others.is_finished());
    let now = START + LENGTH;
    let left = [(super::claim(&other, lease()), now + LENGTH)];
    assert_eq!(leases.due(now), left);
    // What is begun for it after that is not meant.
    let _work = leases.keep(0, &[job(1)], lease(), pending());
    assert_eq!(leases.due(now).len(), 2);
}
