//! Sign-ins that strangers have begun and not ended, by their address: whoever begins thousands keeps nobody else from signing
//! in. Counted in this process; what all of them together may have open, the store says. Knows nobody's name.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::ids::OrganisationId;

/// Of one address at one organisation at a time. A school behind one address signs in at once, and does not come near.
pub(super) const MOST_OF_ONE: usize = 500;
/// With so many addresses, those whose sign-ins are over are looked for.
const ADDRESSES: usize = 1_000;

/// Where sign-ins were begun, and when each is over.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<HashMap<(OrganisationId, String), VecDeque<Timestamp>>>);

impl Begun {
    /// Counts one that is over at `over`; says whether it is one that its address may have.
    pub(super) fn begin(
        &self,
        organisation: OrganisationId,
        address: &str,
        now: Timestamp,
        over: Timestamp,
    ) -> bool {
        let Some(client) = one_client(address) else {
            return true;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES {
            all.retain(|_, open| open.back().is_some_and(|over| *over > now));
        }
        let open = all.entry((organisation, client)).or_default();
        while open.front().is_some_and(|over| *over <= now) {
            open.pop_front();
        }
        if open.len() >= MOST_OF_ONE {
            return false;
        }
        open.push_back(over);
        true
    }

    /// The last one that was counted has not begun after all.
    pub(super) fn give_back(&self, organisation: OrganisationId, address: &str) {
        let Some(client) = one_client(address) else {
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&(organisation, client)) {
            open.pop_back();
        }
    }

    /// One of this address came back.
    pub(super) fn ended(&self, organisation: OrganisationId, address: &str) {
        let Some(client) = one_client(address) else {
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&(organisation, client)) {
            open.pop_front();
        }
    }
}

/// Whom an address stands for: of IPv6 a whole network, which is one customer's; nobody for this machine, which speaks for many.
fn one_client(address: &str) -> Option<String> {
    let Ok(parsed) = address.parse::<IpAddr>() else {
        return Some(address.to_owned());
    };
    match parsed.to_canonical() {
        local if local.is_loopback() => None,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Some(format!("{a:x}:{b:x}:{c:x}:{d:x}"))
        }
        v4 @ IpAddr::V4(_) => Some(v4.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_at_a_time_and_no_other_waits_for_it() {
        let begun = Begun::default();
        let at = Timestamp::from_millis;
        let (one, two) = (OrganisationId(1), OrganisationId(2));
        let begin = |org, address: &str, now, over| begun.begin(org, address, at(now), at(over));
        for _ in 0..MOST_OF_ONE {
            assert!(begin(one, "192.0.2.1", 0, 600));
        }
        assert!(!begin(one, "192.0.2.1", 599, 1_200));
        assert!(
            !begin(one, "::ffff:192.0.2.1", 599, 1_200),
            "the same, written otherwise"
        );
        assert!(begin(one, "192.0.2.2", 599, 1_200));
        assert!(begin(two, "192.0.2.1", 599, 1_200));
        begun.ended(one, "192.0.2.1");
        assert!(begin(one, "192.0.2.1", 599, 1_200));
        assert!(!begin(one, "192.0.2.1", 599, 1_200));
        // One that did not begin after all is counted against nobody.
        begun.give_back(one, "192.0.2.1");
        assert!(begin(one, "192.0.2.1", 599, 1_200));
        assert!(!begin(one, "192.0.2.1", 599, 1_200));
        // All but the last are over.
        assert!(begin(one, "192.0.2.1", 600, 1_200));
        let key = (one, "192.0.2.1".to_owned());
        assert_eq!(begun.0.lock().unwrap()[&key].len(), 2);
        // Addresses that are done with are forgotten.
        for nth in 0..ADDRESSES {
            begin(one, &nth.to_string(), 700, 800);
        }
        begin(one, "c", 2_000, 2_600);
        assert_eq!(begun.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_network_is_one_client_and_this_machine_is_none() {
        let begun = Begun::default();
        let at = Timestamp::from_millis;
        let org = OrganisationId(1);
        for n in 0..MOST_OF_ONE {
            assert!(begun.begin(org, &format!("2001:db8:1:2::{n:x}"), at(0), at(600)));
            assert!(begun.begin(org, "127.0.0.1", at(0), at(600)));
        }
        assert!(!begun.begin(org, "2001:db8:1:2:ffff::1", at(1), at(600)));
        assert!(begun.begin(org, "2001:db8:1:3::1", at(1), at(600)));
        assert!(begun.begin(org, "127.0.0.1", at(1), at(600)));
    }
}
