//! Identifiers: ascending integers inside, opaque codes and serial numbers at the border.
//! Allocates ids without asking the database; reads no clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::Error;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Digits).map(Self)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[0-9]{1,19}$" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

/// Reads an id. In JSON ids are strings of digits: many readers keep numbers beyond 2^53 only roughly, and would name another thing.
/// Numbers are read as well, because ids were written so before.
struct Digits;

impl Visitor<'_> for Digits {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: a string of digits")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<i64, E> {
        // What is refused may be anything, and is not repeated.
        let refused = || E::invalid_value(de::Unexpected::Other("text"), &self);
        digits.parse().map_err(|_| refused())
    }
}

ids! {
    /// An id of any kind: where a page begins.
    AnyId,
    /// One Apple School or Business account; the first part of every primary key.
    OrganisationId,
    /// One serial number of an organisation.
    DeviceId,
    /// One management channel from Authenticate to CheckOut.
    EnrollmentId,
    /// One enrolment session: an enrolment profile handed to a verified serial number.
    SessionId,
    /// One certificate that we issued; also its X.509 serial number.
    CertificateId,
    /// One command in a channel's queue.
    CommandId,
    /// One enrolment's way through the hold.
    SetUpId,
    /// One attempt of one member of a wave.
    MoveId,
    /// A whole move.
    ProjectId,
    /// Members that share runbook and dates.
    WaveId,
    /// A piece of what somebody accepted.
    AcceptedId,
    /// One pinned revision of a runbook.
    RunbookId,
    /// One sealed secret.
    SecretId,
    /// One server entry of Apple's assignment service with its token.
    ServerId,
    /// One effect that waits in the store.
    JobId,
    /// One line of the audit record.
    AuditId,
    /// The place of a seal in the chain over the record.
    AuditSealId,
    /// One API token of a person or a program.
    TokenId,
    /// One refused request, kept for the operator.
    RefusalId,
    /// One request that changes something at Apple for many devices.
    ErrandId,
    /// What is used of one of Apple's budgets.
    BudgetId,
    /// One profile or package that is kept for devices.
    LibraryId,
    /// The certificate of an installation's listeners.
    ServerCertificateId,
    /// One location of Apps and Books with its content token.
    LocationId,
    /// One account of a device at our ACME server.
    AcmeAccountId,
    /// One used nonce of our ACME server.
    AcmeNonceId,
    /// The reading of an organisation's device list at the organisation API.
    InventoryId,
    /// One declaration, whatever its content.
    DeclarationId,
    /// One content of a declaration, which never changes.
    ContentId,
    /// One set of declarations.
    DeclarationSetId,
    /// One set's being meant for some channels.
    AssignmentId,
    /// One sign-in under way.
    SignInId,
    /// One session of a person who has signed in.
    PersonSessionId,
    /// Something that one person has asked for and another one must confirm.
    ApprovalId,
    /// What one person did alone lately.
    AloneId,
    /// One request of a program that may come twice.
    RepeatId,
    /// One template of the installation.
    TemplateId,
    /// One receiver of webhooks.
    HookId,
    /// One message to a receiver of webhooks.
    HookMessageId,
    /// One list of declarations, each in one content, as a channel may be told it.
    ManifestId,
    /// One job for a sealed hand-off.
    HandOffId,
    /// What became of some devices of a hand-off.
    HandOffPartId,
}

/// Hands out ascending 63-bit ids: 41 bits of milliseconds, 10 bits that differ between processes, 12 bits of count.
///
/// Within one process ids never repeat and never go back, whatever the clock does. Two processes that drew the same
/// node bits could collide; the store answers that with a conflict and the caller decides again with a fresh id.
#[derive(Debug)]
pub struct IdSource {
    last: AtomicI64,
    node: i64,
}

const NODE_BITS: u32 = 10;
const COUNT_BITS: u32 = 12;
/// 2024-01-01T00:00:00Z: leaves room until the year 2093.
const EPOCH: i64 = 1_704_067_200_000;

impl IdSource {
    /// A source for one process; only the low ten bits of `node` count.
    #[must_use]
    pub fn new(node: u16) -> Self {
        Self {
            last: AtomicI64::new(0),
            node: i64::from(node) & ((1 << NODE_BITS) - 1),
        }
    }

    /// The next id, larger than every earlier one of this source.
    pub fn next(&self, now: Timestamp) -> i64 {
        // `last` counts (milliseconds, count) without the node bits.
        let floor = (now.as_millis() - EPOCH).max(1) << COUNT_BITS;
        let previous = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(last.max(floor - 1) + 1)
            })
            .unwrap_or_else(|last| last);
        let value = previous.max(floor - 1) + 1;
        let (millis, count) = (value >> COUNT_BITS, value & ((1 << COUNT_BITS) - 1));
        (((millis << NODE_BITS) | self.node) << COUNT_BITS) | count
    }

    /// No id that was drawn at this moment or later is smaller.
    #[must_use]
    pub const fn floor(at: Timestamp) -> i64 {
        let millis = at.as_millis() - EPOCH;
        if millis < 1 {
            0
        } else {
            millis << (NODE_BITS + COUNT_BITS)
        }
    }

    /// When an id was drawn, by the clock of who drew it.
    #[must_use]
    pub const fn time(id: i64) -> Timestamp {
        Timestamp::from_millis((id >> (NODE_BITS + COUNT_BITS)) + EPOCH)
    }

    /// How far apart ids are that were drawn so long after each other.
    #[must_use]
    pub fn span(of: std::time::Duration) -> i64 {
        i64::try_from(of.as_millis()).unwrap_or(i64::MAX >> 32) << (NODE_BITS + COUNT_BITS)
    }

    /// Makes every later id larger than `id`, which another process or an earlier run with a later clock may have drawn.
    ///
    /// Where the order of two ids means something (the generations of one device's enrolment), the one that is there
    /// is passed here first; then neither a clock set back nor the node bits decide which is the newer.
    pub fn past(&self, id: i64) {
        let next_millis = (id.max(0) >> (NODE_BITS + COUNT_BITS)) + 1;
        self.last
            .fetch_max((next_millis << COUNT_BITS) - 1, Ordering::Relaxed);
    }
}

/// A device's serial number as Apple writes it: upper case, no white space; its length is not promised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

impl Serial {
    /// Reads a serial number; lower case is accepted and raised.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an empty text, one of more than 64 characters, or one with other than letters, digits and `-_.`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let fits = !text.is_empty()
            && text.len() <= 64
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(Error::bad_input(
                "serial number",
                "must be 1 to 64 letters, digits, '-', '_' or '.'",
            ))
        }
    }

    /// The text, upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Serial {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}

/// The opaque name of an organisation in the paths that its devices use. It says nothing and cannot be guessed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct OrganisationCode(String);

impl OrganisationCode {
    /// A fresh code of 120 random bits from the operating system, as 24 lower-case letters and digits.
    ///
    /// # Errors
    /// [`Error::Crypto`] when the operating system gives no randomness.
    pub fn random() -> Result<Self, Error> {
        const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz123456789";
        let mut bytes = [0_u8; 24];
        openssl::rand::rand_bytes(&mut bytes).map_err(|_| Error::Crypto("no randomness"))?;
        Ok(Self(
            bytes
                .iter()
                .map(|b| char::from(ALPHABET[usize::from(b & 31)]))
                .collect(),
        ))
    }

    /// Reads a code from a path.
    ///
    /// # Errors
    /// [`Error::BadInput`] for anything but 8 to 64 lower-case letters and digits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fits = (8..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_input(
                "organisation",
                "must be 8 to 64 lower-case letters and digits",
            ))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrganisationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for OrganisationCode {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<OrganisationCode> for String {
    fn from(code: OrganisationCode) -> Self {
        code.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_even_when_the_clock_stands_or_goes_back() {
        let source = IdSource::new(3);
        let mut last = 0;
        for millis in [
            1_800_000_000_000,
            1_800_000_000_000,
            1_700_000_000_000,
            1_800_000_000_001,
        ] {
            for _ in 0..5_000 {
                let id = source.next(Timestamp::from_millis(millis));
                assert!(id > last);
                last = id;
            }
        }
    }

    #[test]
    fn an_id_is_larger_than_one_that_another_process_drew_with_a_later_clock() {
        let (theirs, ours) = (IdSource::new(1_023), IdSource::new(0));
        let there = theirs.next(Timestamp::from_millis(1_800_000_000_000));
        let now = Timestamp::from_millis(1_799_990_000_000);
        assert!(ours.next(now) < there);
        ours.past(there);
        let first = ours.next(now);
        assert!(first > there);
        assert!(ours.next(now) > first);
        // An older one changes nothing.
        ours.past(1);
        assert!(ours.next(now) > first);
    }

    #[test]
    fn an_id_is_written_as_a_string_and_read_as_a_number_too() {
        let large = WaveId(7_340_911_223_344_556_677);
        let text = serde_json::to_string(&[large]).unwrap();
        assert_eq!(text, r#"["7340911223344556677"]"#);
        for told in [&*text, "[7340911223344556677]"] {
            assert_eq!(serde_json::from_str::<[WaveId; 1]>(told).unwrap(), [large]);
        }
        // The keys of a map are the same as ever.
        let map = std::collections::BTreeMap::from([(large, Some(DeviceId(2)))]);
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(text, r#"{"7340911223344556677":"2"}"#);
        for told in [&*text, r#"{"7340911223344556677":2}"#] {
            assert_eq!(
                serde_json::from_str::<std::collections::BTreeMap<_, _>>(told).unwrap(),
                map
            );
        }
        for wrong in [
            "1.5",
            "true",
            "null",
            "\"\"",
            "\"x\"",
            "\"1.0\"",
            "9223372036854775808",
            "\"9223372036854775808\"",
        ] {
            assert!(serde_json::from_str::<WaveId>(wrong).is_err(), "{wrong}");
        }
        let told = serde_json::from_str::<WaveId>("\"hunter2\"").unwrap_err();
        let told = told.to_string();
        assert!(
            told.contains("expected an id: a string of digits") && !told.contains("hunter2"),
            "{told}"
        );
    }

    #[test]
    fn a_serial_number_is_raised_and_white_space_within_is_refused() {
        assert_eq!(Serial::parse(" c02xy1 ").unwrap().as_str(), "C02XY1");
        assert!(Serial::parse("C02 XY1").is_err());
        assert!(Serial::parse("").is_err());
    }

    #[test]
    fn a_random_code_can_be_read_back() {
        let code = OrganisationCode::random().unwrap();
        assert_eq!(OrganisationCode::parse(code.as_str()).unwrap(), code);
        assert!(OrganisationCode::parse("../../etc").is_err());
    }
}
