//! The last look at a list of devices, which is part of no wave: what the next look at the same list is compared with. It is kept in one
//! of so many places, which the list itself names: whatever people ask, there are never more of them. A list whose place another one
//! has taken begins anew.

use serde_json::json;

use super::{Detail, Question, Since, WhatIfReport, found_now};
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::{Serial, ServerId, WaveId};
use crate::project::{Found, WhatIfRun};
use crate::service::Org;
use crate::service::wave::sentence;
use crate::store::{Batch, StoreError};

/// Places of lists that have a name.
const NAMED: u64 = 64;
/// Places of lists that are told by their devices alone: one device that somebody looks at is such a list, too.
const UNNAMED: u64 = 1_024;
/// A list of more devices is not kept: a wave has as many, and is.
const MOST_KEPT: usize = 20_000;

/// Where the last look at a list is kept, and what tells the list from another one in this place. The same devices on their way to another
/// server entry are another question: nothing comes and goes between the two.
fn place_of(list: Option<&str>, serials: &[Serial], destination: ServerId) -> (WaveId, String) {
    let digest = match list {
        Some(name) => sha256_hex(json!(["list", name, destination]).to_string().as_bytes()),
        None => {
            let mut serials: Vec<&Serial> = serials.iter().collect();
            serials.sort();
            sha256_hex(
                json!(["devices", serials, destination])
                    .to_string()
                    .as_bytes(),
            )
        }
    };
    // Fifteen digits of sixteen: it is not negative.
    let number = u64::from_str_radix(&digest[..15], 16).unwrap_or_default();
    // From 1 on: the numbers of waves begin with the moment at which they were made, and are far beyond.
    let place = match list {
        Some(_) => 1 + number % NAMED,
        None => 1 + NAMED + number % UNNAMED,
    };
    (WaveId(i64::try_from(place).unwrap_or_default()), digest)
}

impl Org {
    /// Looks at a plan as [`Org::look_at`], and says what has come and gone since somebody last looked at the same devices, or at the
    /// list of this name, and had it kept. With `keep` what is found now is what the next look is compared with. Counts alone that
    /// nobody keeps are compared with nothing.
    ///
    /// # Errors
    /// As [`Org::look_at`]; [`Error::BadInput`] for a name that is none.
    pub async fn check_list(
        &self,
        question: &Question,
        detail: Detail,
        list: Option<&str>,
        keep: bool,
    ) -> Result<WhatIfReport, Error> {
        list.map_or(Ok(()), |name| sentence("list", name, true))?;
        if detail == Detail::Counts && !keep {
            return self.look_at(question, detail).await;
        }
        // Facts are found with the devices.
        let looked = match detail {
            Detail::Counts => Detail::Problems,
            more => more,
        };
        let mut report = self.look_at(question, looked).await?;
        let found = found_now(&report);
        let asked = (&question.serials[..], question.destination);
        let since = self.since_last_look(list, asked, found, keep);
        report.since = since.await?;
        if detail == Detail::Counts {
            report.members.clear();
        }
        Ok(report)
    }

    /// What has come and gone since the last look at a list that was kept; none before that. With `keep` this one is kept.
    pub(in crate::service) async fn since_last_look(
        &self,
        list: Option<&str>,
        (serials, destination): (&[Serial], ServerId),
        found: Found,
        keep: bool,
    ) -> Result<Option<Since>, Error> {
        let (place, digest) = place_of(list, serials, destination);
        let there = self.store().what_if_run(self.id(), place).await?;
        let version = there.as_ref().map_or(0, |run| run.version);
        let earlier = there.filter(|run| run.digest == digest);
        let since = earlier.map(|earlier| Since::between(&earlier, &found));
        let same = since.as_ref().is_some_and(|s| *s == Since::default());
        if !keep || same || serials.len() > MOST_KEPT {
            return Ok(since);
        }
        let mut run = WhatIfRun::new(self.id(), place, self.now(), self.actor(), &digest, found);
        run.version = version;
        let mut batch = Batch::new();
        batch.put(run);
        match self.store().commit(batch).await {
            // Somebody has looked at the same moment: that look is as young as this one.
            Ok(()) | Err(StoreError::Conflict) => Ok(since),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ServerId = ServerId(1);

    #[test]
    fn a_list_has_its_place_and_no_wave_has_it() {
        let serials = |n: &[usize]| -> Vec<Serial> {
            let all = n.iter().map(|n| Serial::parse(&format!("C02LIST{n}")));
            all.collect::<Result<_, _>>().unwrap()
        };
        let (place, digest) = place_of(None, &serials(&[1, 2]), HERE);
        assert_eq!(
            place_of(None, &serials(&[2, 1]), HERE),
            (place, digest.clone()),
            "whatever their order"
        );
        let named = place_of(Some("all"), &serials(&[1, 2]), HERE);
        assert_eq!(named, place_of(Some("all"), &serials(&[3]), HERE));
        let elsewhere = place_of(None, &serials(&[1, 2]), ServerId(2));
        assert_ne!(elsewhere.1, digest, "they go elsewhere");
        let elsewhere = place_of(Some("all"), &serials(&[3]), ServerId(2));
        assert_ne!(elsewhere.1, named.1);
        assert_ne!(named.1, digest);
        let mut places = std::collections::BTreeSet::new();
        for n in 0..2_000 {
            let one = serials(&[n]);
            let name = format!("list {n}");
            for list in [None, Some(name.as_str())] {
                let (WaveId(place), _) = place_of(list, &one, HERE);
                assert_eq!(list.is_some(), (1..=64).contains(&place), "{place}");
                places.insert(place);
            }
        }
        assert!(places.len() > 700, "they crowd: {}", places.len());
        let last = places.last().copied().unwrap();
        assert!(last <= 1_088, "{last}");
        let ids = crate::ids::IdSource::new(0);
        assert!(ids.next(crate::clock::Timestamp::from_millis(0)) > last);
    }
}
