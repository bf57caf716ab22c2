//! Nonces that were used by messages which led to nothing that is written: remembered by this process, as long as they are good
//! and as many as fit. A message that writes has its nonce in its batch instead, for all processes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::acme::AcmeNonce;
use crate::clock::Timestamp;
use crate::ids::OrganisationId;

/// As many are remembered; beyond that the ones that end first are forgotten.
const MOST: usize = 50_000;

/// Used nonces.
#[derive(Debug, Default)]
pub(in crate::service) struct UsedNonces(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    until: HashMap<(OrganisationId, i64), Timestamp>,
    by_end: BTreeSet<(Timestamp, i64, OrganisationId)>,
}

impl UsedNonces {
    pub(super) fn is_used(&self, nonce: &AcmeNonce) -> bool {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.until.contains_key(&(nonce.organisation, nonce.id.0))
    }

    /// Uses one up; says whether it was not before.
    pub(super) fn take(&self, nonce: &AcmeNonce, now: Timestamp) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (nonce.organisation, nonce.id.0);
        if used.until.insert(key, nonce.expires).is_some() {
            return false;
        }
        let ends = (nonce.expires, nonce.id.0, nonce.organisation);
        used.by_end.insert(ends);
        while let Some(&(expires, id, of)) = used.by_end.first() {
            if expires > now && used.until.len() <= MOST {
                break;
            }
            used.by_end.pop_first();
            used.until.remove(&(of, id));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AcmeNonceId;

    #[test]
    fn one_is_used_once_and_they_are_no_more_than_fit() {
        let used = UsedNonces::default();
        let now = Timestamp::from_millis(1_000);
        let nonce = |of: i64, id: i64| {
            let expires = Timestamp::from_millis(2_000 + id);
            AcmeNonce::new(OrganisationId(of), AcmeNonceId(id), expires)
        };
        assert!(!used.is_used(&nonce(1, 7)) && used.take(&nonce(1, 7), now));
        assert!(used.is_used(&nonce(1, 7)) && !used.take(&nonce(1, 7), now));
        assert!(used.take(&nonce(2, 7), now), "another organisation's");
        for id in 0..i64::try_from(MOST).unwrap() + 10 {
            used.take(&nonce(3, id), now);
        }
        assert_eq!(used.0.lock().unwrap().until.len(), MOST);
        assert!(used.is_used(&nonce(3, i64::try_from(MOST).unwrap())));
        // What is over is forgotten.
        let later = Timestamp::from_millis(10_000_000);
        let last = AcmeNonce::new(
            OrganisationId(1),
            AcmeNonceId(1),
            Timestamp::from_millis(20_000_000),
        );
        assert!(used.take(&last, later));
        assert_eq!(used.0.lock().unwrap().until.len(), 1);
    }
}
