//! One management channel from Authenticate to CheckOut. A new Authenticate makes a new row beside the old one; the
//! first TokenUpdate completes it and only then supersedes the old. Holds no secret, only references to sealed ones.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attested::AttestedFacts;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::ids::{
    CertificateId, DeviceId, EnrollmentId, OrganisationId, PersonSessionId, SecretId, Serial,
    SessionId,
};
use crate::organisation::{Der, IdentityProtocol};
use crate::person::{AccountMode, SignedIn};

/// A management channel of one generation.
///
/// Its id ascends with the generation: of two enrolments of one device the later has the larger id.
/// <https://developer.apple.com/documentation/devicemanagement/check-in>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Enrollment {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key; also its generation.
    pub id: EnrollmentId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The normalised channel id: `UDID`, `UDID:UserID`, …
    pub key: String,
    /// Device or user channel.
    pub channel: ChannelKind,
    /// The device-channel enrolment that this user channel belongs to.
    pub parent: Option<EnrollmentId>,
    /// The device, once its serial number is known.
    pub device: Option<DeviceId>,
    /// The serial number, proved by the enrolment session.
    pub serial: Option<Serial>,
    /// Where it stands.
    pub state: EnrollmentState,
    /// The session whose certificate it enrolled with.
    pub session: Option<SessionId>,
    /// SHA-256 of the identity certificates that may speak for it, newest last, lower-case hex.
    pub certificates: Vec<String>,
    /// A certificate announced by a renewal, good beside the old one until its TokenUpdate.
    pub pending_certificate: Option<String>,
    /// How to wake it.
    pub push: Option<PushTarget>,
    /// Whether it waits in the hold, as last known; seeded from the assigned profile, set by the device.
    pub awaiting: Option<bool>,
    /// When Authenticate came.
    pub authenticated: Timestamp,
    /// When its first TokenUpdate came.
    pub enrolled: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Sealed bootstrap token.
    pub bootstrap_token: Option<SecretId>,
    /// Sealed unlock token.
    pub unlock_token: Option<SecretId>,
    /// Push is known not to reach it since this moment.
    pub push_dead_since: Option<Timestamp>,
    /// When it was last asked of itself, so that what we know of it does not grow old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_facts: Option<Timestamp>,
    /// When it was asked for its own Activation Lock bypass code, which it gives for about fifteen days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_code: Option<Timestamp>,
    /// It was asked for that code, and gave none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub code_refused: bool,
    /// Network users who have logged in, or are about to, by their `UserID`. Of device channels only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<String, Login>,
    /// The `UserID` of the one user of a Mac who has a channel without logging in at us: whoever enrolled it. Of device
    /// channels only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_user: Option<String>,
    /// When identities were renewed by the device's own request, the latest ones: it may not have any number of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renewals: Vec<Timestamp>,
    /// Whose account brought it; every message then carries that person's access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<OfAccount>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
const fn is_false(b: &bool) -> bool {
    !*b
}

/// Whose account brought a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts")]
pub struct OfAccount {
    /// The session whose access token its messages carry.
    pub session: PersonSessionId,
    /// How.
    pub mode: AccountMode,
    /// `sub` at the provider: nobody else's token takes the place of this one.
    pub subject: String,
    /// The provider.
    pub issuer: String,
}

/// A network user's login at a Mac.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "three facts")]
pub struct Login {
    /// The challenge that waits for its answer. Of no use without the user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// When it was made, or the login was proved.
    pub at: Timestamp,
    /// SHA-256 of the token that messages of this user carry from then on, lower-case hex. Without it and without a challenge
    /// the login was one that needed no proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Enrollment {
    /// Whether it is to be asked for its own bypass code: once, and once more from `later` on when it gave none before. One that
    /// its user brought is not supervised, and has none for us.
    pub(crate) fn owes_code(&self, later: Timestamp, now: Timestamp) -> bool {
        let again = |asked| self.code_refused && asked < later && later <= now;
        self.account.is_none() && self.asked_code.is_none_or(again)
    }

    /// A channel whose Authenticate has just come.
    #[must_use]
    pub fn pending(
        organisation: OrganisationId,
        id: EnrollmentId,
        key: String,
        channel: ChannelKind,
        certificate: String,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            key,
            channel,
            parent: None,
            device: None,
            serial: None,
            state: EnrollmentState::Pending,
            session: None,
            certificates: vec![certificate],
            pending_certificate: None,
            push: None,
            awaiting: None,
            authenticated: now,
            enrolled: None,
            ended: None,
            bootstrap_token: None,
            unlock_token: None,
            push_dead_since: None,
            asked_facts: None,
            asked_code: None,
            code_refused: false,
            logins: BTreeMap::new(),
            local_user: None,
            renewals: Vec::new(),
            account: None,
        }
    }

    /// Whether commands may be delivered on it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == EnrollmentState::Enrolled
    }

    /// Whether a certificate may speak for it: one of its own, or the one that a renewal announced.
    #[must_use]
    pub fn knows(&self, certificate: &str) -> bool {
        self.certificates.iter().any(|c| c == certificate)
            || self.pending_certificate.as_deref() == Some(certificate)
    }
}

/// Which agent speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum ChannelKind {
    /// The device itself.
    Device,
    /// A managed user of it.
    User {
        /// Short name (or Managed Apple Account on Shared iPad).
        short_name: Option<String>,
        /// Full name.
        long_name: Option<String>,
    },
}

/// Where a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "four states, each decided on everywhere"
)]
pub enum EnrollmentState {
    /// Authenticated; the profile installation may still fail. Nothing is delivered.
    Pending,
    /// Enrolled: a TokenUpdate has come.
    Enrolled,
    /// It checked out, or its device did.
    CheckedOut,
    /// A later generation took its place.
    Superseded,
}

/// How Apple's push service finds a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PushTarget {
    /// `com.apple.mgmt.…`.
    pub topic: String,
    /// Lower-case hex.
    pub token: String,
    /// Goes into the push unread.
    pub magic: String,
    /// When the device told us.
    pub since: Timestamp,
}

/// An enrolment profile that was handed to a verified serial number: ties the certificate that follows to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct EnrolSession {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: SessionId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Common name of the certificate to be issued; opaque.
    pub code: String,
    /// By which protocol the profile of this session obtains an identity; its challenge is good for nothing else.
    #[serde(default, skip_serializing_if = "is_scep")]
    pub protocol: IdentityProtocol,
    /// SHA-256 of the SCEP challenge, which is the client identifier where the protocol is ACME, lower-case hex.
    pub challenge_hash: String,
    /// The challenge itself, sealed, until it is used: a device that asks again and again gets the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Der>,
    /// The device that proved its serial number.
    pub device: Option<DeviceId>,
    /// Its serial number.
    pub serial: Option<Serial>,
    /// The UDID that the machine information named.
    pub udid: Option<String>,
    /// The enrolment whose identity this renews; `None` for a fresh one.
    pub renews: Option<EnrollmentId>,
    /// Whether the ADE profile in force awaits configuration.
    pub awaits: Option<bool>,
    /// When it was made.
    pub created: Timestamp,
    /// When it can no longer be used.
    pub expires: Timestamp,
    /// SCEP transaction that used the challenge, with SHA-256 of its public key: a repeat gets the same certificate.
    pub used_by: Option<(String, String)>,
    /// The certificate that it got.
    pub certificate: Option<CertificateId>,
    /// What the profile of this session told the device of us, which a later profile for the same enrolment must repeat.
    #[serde(default)]
    pub told: Option<Told>,
    /// Whether it is an invitation that nobody has taken up: its hash is that of the invitation's code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invitation: bool,
    /// Who signed in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<SignedIn>,
    /// The session whose access token its profile was given for: what enrols with it must show that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<PersonSessionId>,
}

/// What an update of an enrolment profile must leave as it was, or the device refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "values of one payload")]
pub struct Told {
    /// The push topic.
    pub topic: String,
    /// Where commands are fetched.
    pub server_url: String,
    /// Where check-ins go.
    pub check_in_url: String,
    /// What the capabilities are for: of a platform that was not known there are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The account that brought the device, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ToldAccount>,
}

/// What the payload says of the account that brought the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two values of one payload")]
pub struct ToldAccount {
    /// `EnrollmentMode`.
    pub mode: AccountMode,
    /// `AssignedManagedAppleID`.
    pub account: String,
}

impl EnrolSession {
    /// A fresh session that nobody has used.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: SessionId,
        code: String,
        challenge_hash: String,
        created: Timestamp,
        expires: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            code,
            protocol: IdentityProtocol::Scep,
            challenge_hash,
            challenge: None,
            device: None,
            serial: None,
            udid: None,
            renews: None,
            awaits: None,
            created,
            expires,
            used_by: None,
            certificate: None,
            told: None,
            invitation: false,
            signed_in: None,
            account: None,
        }
    }

    /// Whether an identity may still be issued in it, were it not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.used_by.is_none() && self.certificate.is_none()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_scep(protocol: &IdentityProtocol) -> bool {
    *protocol == IdentityProtocol::Scep
}

/// A device identity that we issued, or that an authority which the organisation trusts issued in a session of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct IssuedCertificate {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key; also the X.509 serial number.
    pub id: CertificateId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
    /// The certificate.
    pub der: crate::organisation::Der,
    /// The session that it was issued in.
    pub session: SessionId,
    /// End of its validity.
    pub not_after: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// Since when another identity of the same device speaks in its place: it was good for one enrolment, and that has a
    /// newer one or is over.
    #[serde(default)]
    pub replaced: Option<Timestamp>,
    /// The device that its session was given to.
    #[serde(default)]
    pub device: Option<DeviceId>,
    /// SHA-256 of the certificate of our authority that issued it, lower-case hex; `None` for one of an authority elsewhere,
    /// and for one that was issued before this was kept.
    #[serde(default)]
    pub authority: Option<String>,
    /// When its renewal is looked after next; `None` when nobody speaks with it any more.
    #[serde(default)]
    pub renew_at: Option<Timestamp>,
    /// The command that brings the profile of its renewal, newest only.
    #[serde(default)]
    pub renewal: Option<String>,
    /// How often the device has refused such a profile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renewals_refused: u32,
    /// When it first spoke after the end of its validity.
    #[serde(default)]
    pub spoke_expired: Option<Timestamp>,
    /// What was attested of the device and its key when it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<AttestedFacts>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// For how long an identity stays on revocation lists after its end, and for how long such a list may be used.
pub(crate) const LIST_DAYS: u32 = 7;

impl IssuedCertificate {
    /// From when on the row is needed by nobody: nobody speaks with the identity any more, and it has left the last revocation
    /// list. `None` while somebody may, and for a revoked one of an authority elsewhere: without its row it would be as one
    /// that was never seen.
    #[must_use]
    pub fn over(&self) -> Option<Timestamp> {
        let ended = match self.revoked {
            Some(_) => self.authority.is_some(),
            None => self.replaced.is_some() || self.renew_at.is_none(),
        };
        let listed = Duration::from_secs(u64::from(LIST_DAYS) * 86_400);
        ended.then(|| self.not_after + listed)
    }

    /// Whether somebody speaks with it, as far as is known: neither revoked nor replaced.
    #[must_use]
    pub const fn speaks(&self) -> bool {
        self.renew_at.is_some() && self.revoked.is_none() && self.replaced.is_none()
    }

    /// A certificate just issued in this session.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: CertificateId,
        sha256: String,
        der: crate::organisation::Der,
        session: &EnrolSession,
        not_after: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            sha256,
            der,
            session: session.id,
            not_after,
            revoked: None,
            replaced: None,
            device: session.device,
            authority: None,
            renew_at: None,
            renewal: None,
            renewals_refused: 0,
            spoke_expired: None,
            attested: None,
        }
    }
}
