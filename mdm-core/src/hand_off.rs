//! The sealed hand-off: a job for one bundle of the service that devices leave, and what became of each device of it. Decides
//! nothing; what is in a bundle is in [`bundle`], what is around it in [`envelope`].

pub mod agreement;
pub mod bundle;
pub mod envelope;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{HandOffId, HandOffPartId, OrganisationId, SecretId, Serial};
use crate::organisation::Der;

/// The JSON schema of what is sealed into a bundle.
pub const SCHEMA: &str = include_str!("../assets/hand-off.schema.json");

/// The longest that a job waits for its bundle.
pub(crate) const LONGEST: Duration = Duration::from_hours(90 * 24);

/// A job: a key for one bundle, until when, and whose signature is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HandOff {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: HandOffId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call the service that devices leave: the name of the source beside each fact.
    pub from: String,
    /// The certificate to which the bundle is sealed.
    pub certificate: Der,
    /// Its private key, in the vault; destroyed once the job is over.
    pub key: SecretId,
    /// When it was made.
    pub created: Timestamp,
    /// From when on no bundle is taken. One whose import has begun is brought to its end.
    pub expires: Timestamp,
    /// Who made it.
    pub by: String,
    /// Whose signature is believed; none before a person has confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<ConfirmedSigner>,
    /// The agreement for which it was made, by the other side itself; none where a person has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<HandOffId>,
    /// When the other side of the agreement was last told of it: one that gets no bundle is told of again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
    /// How far it is.
    pub state: HandOffState,
}

/// Whose signature over the envelope is believed, and who has made sure of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "what, who and when")]
pub struct ConfirmedSigner {
    /// SHA-256 of the certificate (DER), in small hexadecimal digits.
    pub sha256: String,
    /// Who has compared it with what the exporter said.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HandOffState {
    /// It waits for its bundle.
    Open,
    /// A bundle was accepted, and some of its devices are taken. The same bundle, sent again, goes on after them.
    Importing {
        /// SHA-256 of the bundle: no other one is taken any more.
        bundle: String,
        /// When it was accepted.
        since: Timestamp,
        /// How many of its devices are done.
        done: u32,
        /// How many it has.
        devices: u32,
    },
    /// Every device of it is taken or refused.
    Imported {
        /// SHA-256 of the bundle.
        bundle: String,
        /// When the last device was done.
        at: Timestamp,
        /// How many devices it had.
        devices: u32,
        /// How many of them were refused.
        rejected: u32,
    },
    /// A person, or its expiry, has ended it. What was taken before stays.
    Closed {
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
        /// SHA-256 of the bundle of which some devices were taken by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bundle: Option<String>,
    },
}

impl HandOff {
    /// A job that waits for its bundle.
    #[must_use]
    pub fn new(
        (organisation, id): (OrganisationId, HandOffId),
        from: &str,
        (certificate, key): (Vec<u8>, SecretId),
        (created, expires): (Timestamp, Timestamp),
        by: &str,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            from: from.to_owned(),
            certificate: Der(certificate),
            key,
            created,
            expires,
            by: by.to_owned(),
            signer: None,
            source: None,
            told: None,
            state: HandOffState::Open,
        }
    }

    /// Whether it can still do something.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self.state,
            HandOffState::Imported { .. } | HandOffState::Closed { .. }
        )
    }

    /// From when on nothing rests on it any more. That its own key is destroyed keeps a bundle from being opened by it again. That a
    /// bundle which was sealed to several jobs is taken for one of them only is known by the row of that one alone: it stays until
    /// each of the others has expired, for they were made before the bundle was.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn over(&self) -> Option<Timestamp> {
        match &self.state {
            HandOffState::Open | HandOffState::Importing { .. } => None,
            HandOffState::Imported { at, .. }
            | HandOffState::Closed {
                at,
                bundle: Some(_),
                ..
            } => Some(*at + LONGEST),
            HandOffState::Closed {
                at, bundle: None, ..
            } => Some(*at),
        }
    }

    /// SHA-256 of the bundle of which it has taken devices.
    #[must_use]
    pub fn bundle(&self) -> Option<&str> {
        match &self.state {
            HandOffState::Importing { bundle, .. } | HandOffState::Imported { bundle, .. } => {
                Some(bundle)
            }
            HandOffState::Closed { bundle, .. } => bundle.as_deref(),
            HandOffState::Open => None,
        }
    }

    /// Whether nothing of it can begin any more, because nobody used it in time.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.state == HandOffState::Open && now >= self.expires
    }

    /// From which of its devices on a bundle goes in, or why it does not.
    ///
    /// # Errors
    /// [`Error::Precondition`]: the job is over, has expired, or has begun with another bundle; nobody has confirmed a signer.
    pub fn begins_at(&self, bundle: &str, now: Timestamp) -> Result<u32, Error> {
        let refuse = |why: String| Err(Error::Precondition(why));
        match &self.state {
            HandOffState::Closed { at, by, .. } => {
                refuse(format!("the job was closed by {by} at {at}"))
            }
            HandOffState::Imported { at, .. } => refuse(format!(
                "the job was used at {at}: a job takes one bundle, once"
            )),
            HandOffState::Importing { bundle: begun, .. } if begun != bundle => refuse(format!(
                "the job has begun with another bundle (SHA-256 {begun}); send that one again"
            )),
            HandOffState::Open if self.has_expired(now) => {
                refuse(format!("the job has expired at {}", self.expires))
            }
            _ if self.signer.is_none() => refuse(
                "nobody has confirmed whose signature is believed: `mdmd hand-off confirm` does"
                    .to_owned(),
            ),
            HandOffState::Importing { done, .. } => Ok(*done),
            HandOffState::Open => Ok(0),
        }
    }
}

/// The SHA-256 of a certificate as people write it, with or without colons, in small digits.
///
/// # Errors
/// [`Error::BadInput`] for what is none.
pub fn fingerprint(text: &str) -> Result<String, Error> {
    let plain: String = text
        .trim()
        .trim_start_matches("sha256:")
        .chars()
        .filter(|c| *c != ':' && !c.is_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if plain.len() != 64 || !plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::bad_input(
            "signer",
            "must be the SHA-256 of the signer's certificate: 64 hexadecimal digits",
        ));
    }
    Ok(plain)
}

/// What became of some devices of a bundle, in the commit that took them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HandOffPart {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: HandOffPartId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Of which job.
    pub job: HandOffId,
    /// Devices, in the order of the bundle.
    pub devices: Vec<HandedOver>,
}

impl HandOffPart {
    /// What became of these devices.
    #[must_use]
    pub const fn new(
        (organisation, id): (OrganisationId, HandOffPartId),
        job: HandOffId,
        devices: Vec<HandedOver>,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            job,
            devices,
        }
    }
}

/// What became of one device of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HandedOver {
    /// Which, as the bundle has it; its place in the list where it has none that can be read.
    pub serial: String,
    /// Whether it was taken.
    pub accepted: bool,
    /// Whether facts of it are new.
    pub facts: bool,
    /// Kinds of its secrets that are in the vault now.
    pub secrets: BTreeSet<String>,
    /// Why it, or a part of it, was not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl HandedOver {
    /// One that was not taken.
    #[must_use]
    pub fn rejected(serial: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            serial: serial.into(),
            accepted: false,
            facts: false,
            secrets: BTreeSet::new(),
            notes: vec![why.into()],
        }
    }

    /// One that was taken.
    #[must_use]
    pub fn accepted(serial: &Serial, facts: bool) -> Self {
        Self {
            serial: serial.to_string(),
            accepted: true,
            facts,
            secrets: BTreeSet::new(),
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_796_112_000_000);
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

    fn job() -> HandOff {
        let ids = (OrganisationId(1), HandOffId(2));
        let mut job = HandOff::new(ids, "Old", (vec![1], SecretId(3)), (AT, AT + DAY), "Anna");
        job.signer = Some(ConfirmedSigner {
            sha256: "0f".repeat(32),
            by: "Anna".to_owned(),
            at: AT,
        });
        job
    }

    #[test]
    fn a_job_takes_one_bundle_once_and_goes_on_where_it_stopped() {
        let mut job = job();
        assert_eq!(job.begins_at("b", AT).unwrap(), 0);
        job.state = HandOffState::Importing {
            bundle: "b".to_owned(),
            since: AT,
            done: 500,
            devices: 900,
        };
        // Also after its expiry: half a bundle helps nobody.
        assert_eq!(job.begins_at("b", AT + DAY + DAY).unwrap(), 500);
        let other = job.begins_at("c", AT).unwrap_err().to_string();
        assert!(other.contains("another bundle"), "{other}");
        job.state = HandOffState::Imported {
            bundle: "b".to_owned(),
            at: AT,
            devices: 900,
            rejected: 0,
        };
        let used = job.begins_at("b", AT).unwrap_err().to_string();
        assert!(used.contains("was used"), "{used}");
    }

    #[test]
    fn a_job_without_a_confirmed_signer_or_past_its_end_takes_nothing() {
        let mut job = job();
        let why = job.begins_at("b", AT + DAY).unwrap_err().to_string();
        assert!(why.contains("has expired"), "{why}");
        job.signer = None;
        let why = job.begins_at("b", AT).unwrap_err().to_string();
        assert!(why.contains("confirmed"), "{why}");
    }

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        for text in [plain.clone(), colons, format!(" sha256:{plain}\n")] {
            assert_eq!(fingerprint(&text).unwrap(), plain);
        }
        assert!(fingerprint("0f0f").is_err());
        assert!(fingerprint(&"0g".repeat(32)).is_err());
    }
}
