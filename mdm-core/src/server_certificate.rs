//! The certificate that the listeners of an installation show, where a public authority issues it by ACME (RFC 8555): one row
//! for all processes of the installation, of no organisation. Decides when it is time to order, and who of several processes
//! does; speaks with no authority and opens no key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{OrganisationId, ServerCertificateId};
use crate::organisation::{Der, WrappedKey};

/// Whose row it is: nobody's. No organisation has this id.
pub const INSTALLATION: OrganisationId = OrganisationId(0);
/// So long an order is its process's own; one that died over it is followed by another after that.
pub const ORDER_LEASE: Duration = Duration::from_secs(6 * 60);
/// The first try after a failure. Each further one waits twice as long: public authorities count failures by the hour.
const FIRST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// The longest wait between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 3600);
/// As long as that a pause may be that the authority asks for; theirs are weekly at most.
const LONGEST_ASKED: Duration = Duration::from_secs(7 * 86_400);
/// After a certificate was issued none is ordered for the same wish.
const REST: Duration = Duration::from_secs(3600);

/// The certificate of the listeners, its key, and the order that is under way for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ServerCertificate {
    /// [`INSTALLATION`].
    pub organisation: OrganisationId,
    /// Its key.
    pub id: ServerCertificateId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Which one; unique.
    pub name: String,
    /// Under which the keys here are sealed.
    pub data_key: WrappedKey,
    /// Of whom it is asked, and for which names.
    pub wish: Wish,
    /// The account at the authority.
    pub account: Option<Account>,
    /// What the listeners show.
    pub current: Option<Issued>,
    /// Until when an order is somebody's.
    pub ordering_until: Option<Timestamp>,
    /// What the authority may ask of any process while an order is under way: by token, the key authorisation.
    pub challenges: BTreeMap<String, String>,
    /// Orders that failed in a row.
    pub failures: u32,
    /// Not before this, after a failure.
    pub pause_until: Option<Timestamp>,
}

/// Of whom a certificate is asked, and for which names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "what is configured")]
pub struct Wish {
    /// Address of the authority's ACME directory.
    pub directory: String,
    /// DNS names.
    pub names: BTreeSet<String>,
}

/// An account at an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "an address and a key")]
pub struct Account {
    /// Its address, by which it signs.
    pub url: String,
    /// Its private key, sealed.
    pub key: Der,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a certificate and its key")]
pub struct Issued {
    /// PEM, leaf first.
    pub chain: String,
    /// Its private key, sealed.
    pub key: Der,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// What was asked for.
    pub wish: Wish,
}

/// What a process should do about the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "order or wait")]
pub enum Next {
    /// Order one now.
    Order,
    /// Nothing before this: it holds, an order is somebody's, or the last one failed.
    Wait(Timestamp),
}

impl Issued {
    /// When it is to be renewed: at two thirds of its life.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before + life * 2 / 3
    }
}

impl ServerCertificate {
    /// One that was never ordered.
    #[must_use]
    pub fn new(id: ServerCertificateId, name: &str, data_key: WrappedKey, wish: Wish) -> Self {
        Self {
            organisation: INSTALLATION,
            id,
            version: 0,
            name: name.to_owned(),
            data_key,
            wish,
            account: None,
            current: None,
            ordering_until: None,
            challenges: BTreeMap::new(),
            failures: 0,
            pause_until: None,
        }
    }

    /// What is to be done for this wish.
    #[must_use]
    pub fn next(&self, wish: &Wish, now: Timestamp) -> Next {
        if let Some(until) = self.ordering_until.filter(|until| *until > now) {
            return Next::Wait(until);
        }
        // Whoever configures anew waits for no failure of the old configuration.
        let pause = self.pause_until.filter(|_| self.wish == *wish);
        let renew = self
            .current
            .as_ref()
            .filter(|issued| issued.wish == *wish)
            .map(Issued::renew_at);
        match renew.max(pause) {
            Some(at) if at > now => Next::Wait(at),
            _ => Next::Order,
        }
    }

    /// Begins an order: it is this process's once the row is committed.
    pub fn begin(&mut self, wish: &Wish, now: Timestamp) {
        if self.wish != *wish {
            self.failures = 0;
            self.pause_until = None;
        }
        if self.wish.directory != wish.directory {
            self.account = None;
        }
        self.wish = wish.clone();
        self.ordering_until = Some(now + ORDER_LEASE);
        self.challenges.clear();
    }

    /// The order brought this. An authority whose clock or whose certificates are odd is not asked again at once.
    pub fn succeed(&mut self, issued: Issued, now: Timestamp) {
        self.current = Some(issued);
        self.ordering_until = None;
        self.challenges.clear();
        self.failures = 0;
        self.pause_until = Some(now + REST);
    }

    /// The order is left to whoever comes next, and nobody waits for its end.
    pub fn give_up(&mut self) {
        self.ordering_until = None;
        self.challenges.clear();
    }

    /// The order failed. What the listeners show stays; the next try waits longer than the last, and as long as the
    /// authority asked for.
    pub fn fail(&mut self, now: Timestamp, retry_after: Option<Duration>) {
        let pause = FIRST_PAUSE * (1 << self.failures.min(10));
        let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
        self.pause_until = Some(now + pause.min(LONGEST_PAUSE).max(asked));
        self.failures = self.failures.saturating_add(1);
        self.ordering_until = None;
        self.challenges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * HOUR)
    }

    fn wish(names: &[&str]) -> Wish {
        Wish {
            directory: "https://acme.example/dir".to_owned(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    fn row() -> ServerCertificate {
        let key = WrappedKey {
            key_id: "k".to_owned(),
            wrapped: Der(vec![1]),
        };
        ServerCertificate::new(
            ServerCertificateId(1),
            "listeners",
            key,
            wish(&["a.example"]),
        )
    }

    fn issued(from: i64, to: i64) -> Issued {
        Issued {
            chain: String::new(),
            key: Der(vec![2]),
            not_before: at(from),
            not_after: at(to),
            wish: wish(&["a.example"]),
        }
    }

    #[test]
    fn it_is_renewed_at_two_thirds_of_its_life_and_at_once_for_other_names() {
        let mut it = row();
        let ours = wish(&["a.example"]);
        assert_eq!(it.next(&ours, at(0)), Next::Order);
        it.succeed(issued(0, 90), at(0));
        assert_eq!(it.next(&ours, at(59)), Next::Wait(at(60)));
        assert_eq!(it.next(&ours, at(60)), Next::Order);
        assert_eq!(it.next(&wish(&["b.example"]), at(1)), Next::Order);
    }

    #[test]
    fn one_orders_and_who_died_over_it_is_followed() {
        let mut it = row();
        let ours = wish(&["a.example"]);
        it.begin(&ours, at(0));
        assert_eq!(it.next(&ours, at(0)), Next::Wait(at(0) + ORDER_LEASE));
        assert_eq!(it.next(&ours, at(1)), Next::Order);
        it.give_up();
        assert_eq!(it.next(&ours, at(0)), Next::Order);
    }

    #[test]
    fn an_authority_whose_certificates_are_old_when_they_come_is_not_asked_at_every_look() {
        let mut it = row();
        it.succeed(issued(0, 3), at(10));
        let ours = wish(&["a.example"]);
        assert_eq!(it.next(&ours, at(10)), Next::Wait(at(11)));
        assert_eq!(it.next(&ours, at(11)), Next::Order);
    }

    #[test]
    fn failures_wait_longer_each_time_and_keep_what_is_shown() {
        let mut it = row();
        let ours = wish(&["a.example"]);
        it.succeed(issued(0, 90), at(0));
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            it.begin(&ours, at(60));
            it.fail(at(60), None);
            let Next::Wait(until) = it.next(&ours, at(60)) else {
                panic!("no pause")
            };
            assert!(until.since(at(60)) >= last);
            last = until.since(at(60));
        }
        assert_eq!(last, LONGEST_PAUSE);
        for (asked, hours) in [(13, 13), (1, 12), (1000, 168)] {
            it.fail(at(60), Some(Duration::from_secs(asked * 3600)));
            assert_eq!(it.pause_until, Some(at(60 + hours)), "{asked}");
        }
        assert!(it.current.is_some());
        assert_eq!(it.next(&wish(&["b.example"]), at(60)), Next::Order);
        it.succeed(issued(60, 150), at(60));
        assert_eq!(
            (it.failures, it.next(&ours, at(61))),
            (0, Next::Wait(at(120)))
        );
    }
}
