//! The chain over the record: seals, each of which names some entries by their hashes and links the seal before it, signed. Whoever
//! changes, removes, inserts or reorders an entry, or cuts the end off, breaks it. Pure: seals nothing and reads no store.

use std::collections::BTreeMap;
use std::time::Duration;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::{Signer, Verifier};
use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::{AuditId, AuditSealId, IdSource, OrganisationId};
use crate::organisation::Der;
use crate::secret::Secret;

/// An entry is committed no later than this after its id was drawn: what is sealed by a seal after one that has passed over its
/// time by more came later than any commit does. That none does is what [`FRESH`] and [`HELD`] see to; what is left is for clocks that
/// differ, and for the way to the disk.
pub(crate) const LATE: Duration = Duration::from_secs(120);
/// An id is no older than this when its batch is handed to the store: one that is, is drawn anew.
pub(crate) const FRESH: Duration = Duration::from_secs(5);
/// A batch with lines of the record that was handed over longer ago than this is not written any more.
pub(crate) const HELD: Duration = Duration::from_secs(60);
/// Whoever follows the record looks back so far from the newest line, and misses none: as long after its id was drawn as a line may be
/// written, and a little for its way to the disk.
pub const LOOK_BACK: Duration = Duration::from_secs(FRESH.as_secs() + HELD.as_secs() + 5);
/// So many seals back what they name is marked as sealed, and looked through before something is sealed.
pub(crate) const SEALS_BACK: i64 = 8;
/// The most entries of one seal.
pub(crate) const MOST_ENTRIES: usize = 1_000;

/// Some entries of the record, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AuditSeal {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its place in the chain: the first one is 1.
    pub id: AuditSealId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// When it was made.
    pub at: Timestamp,
    /// The hash of the seal before it; empty for the first one.
    pub previous: String,
    /// What it seals: entries by their ids, in their order, each with the SHA-256 of its JSON in which ids are numbers (lower-case hex).
    pub entries: Vec<(AuditId, String)>,
    /// SHA-256 of all of this, lower-case hex.
    pub hash: String,
    /// ECDSA with SHA-256 over the bytes of that text, by the organisation's audit key.
    pub signature: Der,
}

/// What of a seal leaves the building: enough to find out later that the end of the record was cut off, or the whole of it
/// replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The organisation's code.
    pub organisation: String,
    /// Which seal it is of.
    pub seal: AuditSealId,
    /// When that was made.
    pub at: Timestamp,
    /// Its hash.
    pub hash: String,
    /// Its signature.
    pub signature: Der,
    /// The public key that checks it (SubjectPublicKeyInfo, DER).
    pub public_key: Der,
}

/// The hash of an entry as it is sealed.
#[must_use]
pub fn entry_hash(entry: &AuditEntry) -> String {
    // Plain data: its JSON cannot fail. Keys that come later must be left out where they are empty, and ids stay numbers here,
    // so that what was sealed before keeps its hash.
    #[derive(Serialize)]
    struct Hashed<'a> {
        organisation: i64,
        id: i64,
        at: Timestamp,
        actor: &'a str,
        what: &'a str,
        device: Option<i64>,
        detail: &'a serde_json::Value,
    }
    let hashed = Hashed {
        organisation: entry.organisation.0,
        id: entry.id.0,
        at: entry.at,
        actor: &entry.actor,
        what: &entry.what,
        device: entry.device.map(|device| device.0),
        detail: &entry.detail,
    };
    sha256_hex(&serde_json::to_vec(&hashed).unwrap_or_default())
}

impl AuditSeal {
    /// The seal after `previous` over these entries, in the order of their ids.
    ///
    /// # Errors
    /// [`Error::Crypto`] when the key signs nothing.
    pub(crate) fn make(
        organisation: OrganisationId,
        previous: Option<&Self>,
        entries: Vec<(AuditId, String)>,
        at: Timestamp,
        key: &Secret,
    ) -> Result<Self, Error> {
        let mut seal = Self {
            organisation,
            id: AuditSealId(previous.map_or(1, |p| p.id.0 + 1)),
            version: 0,
            at,
            previous: previous.map(|p| p.hash.clone()).unwrap_or_default(),
            entries,
            hash: String::new(),
            signature: Der(Vec::new()),
        };
        seal.hash = seal.own_hash();
        seal.signature = Der(sign(key, seal.hash.as_bytes())
            .map_err(|_| Error::Crypto("the record could not be signed"))?);
        Ok(seal)
    }

    fn own_hash(&self) -> String {
        let entries: Vec<_> = self.entries.iter().map(|(id, hash)| (id.0, hash)).collect();
        let all = serde_json::json!([
            self.organisation.0,
            self.id.0,
            self.at,
            self.previous,
            entries
        ]);
        sha256_hex(all.to_string().as_bytes())
    }

    /// Up to when whatever was committed in its time is sealed, by this seal or one before it. A full one may have left some
    /// behind its last entry.
    fn covers(&self) -> Timestamp {
        match self.entries.iter().map(|(id, _)| *id).max() {
            Some(last) if self.entries.len() >= MOST_ENTRIES => self.at.min(IdSource::time(last.0)),
            _ => self.at,
        }
    }

    /// What of it leaves the building.
    #[must_use]
    pub fn checkpoint(&self, organisation: &str, public_key: &Der) -> Checkpoint {
        Checkpoint {
            organisation: organisation.to_owned(),
            seal: self.id,
            at: self.at,
            hash: self.hash.clone(),
            signature: self.signature.clone(),
            public_key: public_key.clone(),
        }
    }
}

impl Checkpoint {
    /// Whether its signature is that of its key.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        is_signed(&self.public_key, self.hash.as_bytes(), &self.signature)
    }
}

/// A new key for the chain: the private one (PKCS #8, DER) and the public one.
pub(crate) fn new_key() -> Result<(Secret, Der), openssl::error::ErrorStack> {
    let curve = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&curve)?)?;
    Ok((
        Secret::new(key.private_key_to_pkcs8()?),
        Der(key.public_key_to_der()?),
    ))
}

pub(crate) fn sign(key: &Secret, content: &[u8]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let key = PKey::private_key_from_der(key.expose())?;
    Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(content)
}

pub(crate) fn is_signed(public_key: &Der, content: &[u8], signature: &Der) -> bool {
    let check = || -> Result<bool, openssl::error::ErrorStack> {
        let key = PKey::public_key_from_der(&public_key.0)?;
        Verifier::new(MessageDigest::sha256(), &key)?.verify_oneshot(&signature.0, content)
    };
    check().unwrap_or(false)
}

/// What looking through the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ChainReport {
    /// Seals that were looked at.
    pub seals: u64,
    /// Entries that are sealed and as they were.
    pub sealed: u64,
    /// Entries that no seal names yet: the tail that came since the last one.
    pub unsealed: u64,
    /// When the oldest of them was written; the sealer runs every ten seconds.
    pub unsealed_since: Option<Timestamp>,
    /// Entries that came after seals had passed over their time, sealed since or not: somebody has put them in, or a commit took
    /// more than two minutes. Each is named in `broken` too.
    pub late: u64,
    /// The newest seal.
    pub newest: Option<AuditSealId>,
    /// What is not as it should be, in sentences; empty for a record that nobody has touched.
    pub broken: Vec<String>,
}

/// Whether an entry is older than what a seal up to this moment can have left.
fn came_late(id: AuditId, covered: Timestamp) -> bool {
    covered.since(IdSource::time(id.0)) > LATE
}

/// The most sentences of a report: a chain that is broken everywhere is one fact.
const MOST_SENTENCES: usize = 100;

/// Looks through a chain: takes seals in their order and entries in the order of their ids, whichever comes next, and keeps no
/// more of them than lies between the two.
#[derive(Debug)]
pub(crate) struct ChainWalk {
    public_key: Der,
    last: Option<(AuditSealId, String)>,
    /// Named by a seal, not seen yet.
    claimed: BTreeMap<AuditId, String>,
    /// Seen, named by no seal yet.
    seen: BTreeMap<AuditId, String>,
    /// Up to when the seals so far have sealed whatever was there.
    covered: Option<Timestamp>,
    report: ChainReport,
}

impl ChainWalk {
    pub(crate) fn new(public_key: Der) -> Self {
        Self {
            public_key,
            last: None,
            claimed: BTreeMap::new(),
            seen: BTreeMap::new(),
            covered: None,
            report: ChainReport::default(),
        }
    }

    fn broken(&mut self, sentence: String) {
        if self.report.broken.len() < MOST_SENTENCES {
            self.report.broken.push(sentence);
        }
    }

    pub(crate) fn seal(&mut self, seal: &AuditSeal) {
        let (wanted, previous) = match &self.last {
            None => (AuditSealId(1), String::new()),
            Some((id, hash)) => (AuditSealId(id.0 + 1), hash.clone()),
        };
        if seal.id != wanted {
            self.broken(format!(
                "seal {wanted} is not there: seal {} comes next",
                seal.id
            ));
        } else if seal.previous != previous {
            self.broken(format!("seal {} does not link the one before it", seal.id));
        }
        if seal.own_hash() != seal.hash {
            self.broken(format!("seal {} was changed", seal.id));
        }
        if !is_signed(&self.public_key, seal.hash.as_bytes(), &seal.signature) {
            self.broken(format!(
                "seal {} is not signed by the organisation's audit key",
                seal.id
            ));
        }
        self.last = Some((seal.id, seal.hash.clone()));
        self.report.seals += 1;
        self.report.newest = Some(seal.id);
        // A clock that was set back has seals of an earlier time behind those of a later one.
        let passed = self.covered.map(|covered| covered.min(seal.at));
        self.covered = match self.covered {
            Some(covered) if seal.at >= covered => Some(covered.max(seal.covers())),
            _ => Some(seal.covers()),
        };
        for (id, hash) in &seal.entries {
            if let Some(passed) = passed.filter(|passed| came_late(*id, *passed)) {
                self.report.late += 1;
                self.broken(format!(
                    "entry {id} came after the record was sealed up to {passed}, and is sealed by seal {} of {}: somebody has put \
                     it in, or its commit took more than two minutes",
                    seal.id, seal.at
                ));
            }
            match self.seen.remove(id) {
                Some(seen) => self.meet(*id, hash, &seen),
                None => {
                    if self.claimed.insert(*id, hash.clone()).is_some() {
                        self.broken(format!("entry {id} is sealed twice"));
                    }
                }
            }
        }
    }

    pub(crate) fn entry(&mut self, id: AuditId, hash: String) {
        match self.claimed.remove(&id) {
            Some(sealed) => self.meet(id, &sealed, &hash),
            None => {
                self.seen.insert(id, hash);
            }
        }
    }

    fn meet(&mut self, id: AuditId, sealed: &str, seen: &str) {
        if sealed == seen {
            self.report.sealed += 1;
        } else {
            self.broken(format!("entry {id} was changed after it was sealed"));
        }
    }

    pub(crate) fn finish(mut self) -> ChainReport {
        let missing: Vec<AuditId> = self.claimed.keys().copied().collect();
        for id in missing {
            self.broken(format!("entry {id} was sealed and is not there any more"));
        }
        let seen = std::mem::take(&mut self.seen);
        for id in seen.into_keys() {
            match self.covered.filter(|covered| came_late(id, *covered)) {
                Some(covered) => {
                    self.report.late += 1;
                    self.broken(format!(
                        "entry {id} is named by no seal, and the record is sealed up to {covered}: somebody has put it in, or \
                         its commit took more than two minutes"
                    ));
                }
                None => {
                    self.report.unsealed += 1;
                    let first = self.report.unsealed_since;
                    let first = first.unwrap_or_else(|| IdSource::time(id.0));
                    self.report.unsealed_since = Some(first);
                }
            }
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DeviceId;

    const A: OrganisationId = OrganisationId(1);

    fn entry(id: i64) -> AuditEntry {
        let at = Timestamp::from_millis(id * 1000);
        let detail = serde_json::json!({ "n": id });
        AuditEntry::new(A, AuditId(id), at, "Anna", "wave.submitted", None, detail)
    }

    fn chain() -> (Der, Vec<AuditSeal>, Vec<AuditEntry>) {
        let (key, public) = new_key().unwrap();
        let entries: Vec<AuditEntry> = (1..=9).map(entry).collect();
        let mut seals: Vec<AuditSeal> = Vec::new();
        // The fourth came late, after the fifth was sealed.
        for ids in [vec![1, 2, 3, 5], vec![4, 6], vec![7, 8]] {
            let named = ids
                .iter()
                .map(|id| (AuditId(*id), entry_hash(&entry(*id))))
                .collect();
            let at = Timestamp::from_millis(100_000);
            seals.push(AuditSeal::make(A, seals.last(), named, at, &key).unwrap());
        }
        (public, seals, entries)
    }

    #[test]
    fn what_an_earlier_version_has_sealed_keeps_its_hashes() {
        // As SHA-256 of the JSON of then: ids were numbers in it.
        let at = Timestamp::parse("2026-11-22T08:00:00Z").unwrap();
        let detail = serde_json::json!({ "wave": 7 });
        let (id, device) = (AuditId(7_340_911_223_344), DeviceId(7_340_911_223_350));
        let entry = AuditEntry::new(A, id, at, "Anna", "wave.submitted", Some(device), detail);
        let hash = "f51486dcd70113b731a893d2a9b4da8b98a9961e5953e2dc5262ee704e5d5679";
        assert_eq!(entry_hash(&entry), hash);
        let (key, _) = new_key().unwrap();
        let seal = AuditSeal::make(A, None, vec![(id, hash.to_owned())], at, &key).unwrap();
        assert_eq!(
            seal.hash,
            "e57e8fa867b2616e94795062ab0c45a2b1482ed5bf5ef3539309ad61b6098638"
        );
    }

    fn walk(public: &Der, seals: &[AuditSeal], entries: &[AuditEntry]) -> ChainReport {
        let mut walk = ChainWalk::new(public.clone());
        for (n, entry) in entries.iter().enumerate() {
            walk.entry(entry.id, entry_hash(entry));
            if n % 3 == 2
                && let Some(seal) = seals.get(n / 3)
            {
                walk.seal(seal);
            }
        }
        for seal in seals.iter().skip(entries.len() / 3) {
            walk.seal(seal);
        }
        walk.finish()
    }

    #[test]
    fn an_untouched_record_has_its_tail_and_nothing_else() {
        let (public, seals, entries) = chain();
        let report = walk(&public, &seals, &entries);
        assert_eq!(report.broken, Vec::<String>::new());
        assert_eq!((report.seals, report.sealed, report.unsealed), (3, 8, 1));
    }

    #[test]
    fn whatever_is_touched_breaks_it() {
        let (public, seals, entries) = chain();
        let check = |change: &dyn Fn(&mut Vec<AuditSeal>, &mut Vec<AuditEntry>), word: &str| {
            let (mut seals, mut entries) = (seals.clone(), entries.clone());
            change(&mut seals, &mut entries);
            let broken = walk(&public, &seals, &entries).broken.join("; ");
            assert!(broken.contains(word), "{word}: {broken}");
        };
        check(&|_, e| e[3].actor = "Bo".to_owned(), "entry 4 was changed");
        check(&|_, e| e[0].detail["n"] = 2.into(), "entry 1 was changed");
        check(
            &|_, e| e[6].at = Timestamp::from_millis(1),
            "entry 7 was changed",
        );
        check(
            &|_, e| drop(e.remove(5)),
            "entry 6 was sealed and is not there",
        );
        check(
            &|_, e| {
                let (a, b) = (e[0].id, e[1].id);
                (e[0].id, e[1].id) = (b, a);
            },
            "entry 1 was changed",
        );
        check(&|s, _| drop(s.remove(1)), "seal 2 is not there");
        check(&|s, _| drop(s.remove(0)), "seal 1 is not there");
        check(&|s, _| s.swap(1, 2), "seal 2 is not there");
        check(&|s, _| s[1].entries.swap(0, 1), "seal 2 was changed");
        check(
            &|s, _| s[2].at = Timestamp::from_millis(5),
            "seal 3 was changed",
        );
        check(&|s, _| s[1].signature.0[9] ^= 1, "seal 2 is not signed");
        // Somebody who seals anew has another key.
        let (other, _) = new_key().unwrap();
        let again =
            AuditSeal::make(A, None, seals[0].entries.clone(), seals[0].at, &other).unwrap();
        check(&|s, _| s[0] = again.clone(), "seal 1 is not signed");
    }

    #[test]
    fn what_comes_after_seals_have_passed_is_late_and_a_clock_that_went_back_makes_nothing_late() {
        let (key, public) = new_key().unwrap();
        let of = |at: i64| AuditId(IdSource::floor(Timestamp::from_millis(at)));
        let year = 1_800_000_000_000;
        let back = year - 30_000_000_000;
        // The clock goes back; the last one comes ten minutes after its time, others being sealed meanwhile.
        let all = [
            (year, vec![year - 5_000]),
            (back, vec![back - 5_000]),
            (back + 3_600_000, vec![back + 5_000]),
            (back + 3_610_000, vec![back + 3_000_000]),
        ];
        let mut walk = ChainWalk::new(public);
        let mut seals: Vec<AuditSeal> = Vec::new();
        for (at, entries) in &all {
            let named = entries.iter().map(|id| (of(*id), "x".to_owned())).collect();
            let at = Timestamp::from_millis(*at);
            let seal = AuditSeal::make(A, seals.last(), named, at, &key).unwrap();
            walk.seal(&seal);
            seals.push(seal);
            for id in entries {
                walk.entry(of(*id), "x".to_owned());
            }
        }
        // The server did not run for an hour: what came just before was not passed over.
        walk.entry(of(back + 3_605_000), "x".to_owned());
        let report = walk.finish();
        assert_eq!((report.sealed, report.late, report.unsealed), (4, 1, 1));
        assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
    }

    #[test]
    fn a_checkpoint_is_good_by_itself_and_not_when_it_was_changed() {
        let (public, seals, _) = chain();
        let mut checkpoint = seals[2].checkpoint("code", &public);
        assert!(checkpoint.is_signed());
        checkpoint.hash.replace_range(0..1, "x");
        assert!(!checkpoint.is_signed());
    }
}
