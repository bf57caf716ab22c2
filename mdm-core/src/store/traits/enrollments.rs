//! Reads channels, their sessions and certificates.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::enrollment::{EnrolSession, Enrollment, IssuedCertificate};
use crate::ids::{CertificateId, DeviceId, EnrollmentId, OrganisationId, SessionId};
use crate::store::StoreError;

/// Reads channels, their sessions and certificates.
#[async_trait]
pub trait EnrollmentStore: Send + Sync {
    /// By id.
    async fn enrollment(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<Enrollment>, StoreError>;
    /// Of these ids, as far as there are any, in the order of ids. One that cannot be read is left out for whoever looks at the rest
    /// ([`with_the_rest`](crate::store::with_the_rest)), and an error for everybody else.
    async fn enrollments_of(
        &self,
        organisation: OrganisationId,
        ids: &[EnrollmentId],
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// All that are pending, enrolled or checked out under a normalised channel id, oldest first; not superseded ones.
    async fn enrollments_by_key(
        &self,
        organisation: OrganisationId,
        key: &str,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// User channels of a device-channel enrolment.
    async fn user_channels(
        &self,
        organisation: OrganisationId,
        parent: EnrollmentId,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// Every generation of a device's device channel, oldest first.
    async fn enrollments_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// By id.
    async fn session(
        &self,
        organisation: OrganisationId,
        id: SessionId,
    ) -> Result<Option<EnrolSession>, StoreError>;
    /// By SHA-256 of its challenge.
    async fn session_by_challenge(
        &self,
        organisation: OrganisationId,
        hash: &str,
    ) -> Result<Option<EnrolSession>, StoreError>;
    /// By id.
    async fn certificate(
        &self,
        organisation: OrganisationId,
        id: CertificateId,
    ) -> Result<Option<IssuedCertificate>, StoreError>;
    /// By SHA-256 of its DER.
    async fn certificate_by_hash(
        &self,
        organisation: OrganisationId,
        sha256: &str,
    ) -> Result<Option<IssuedCertificate>, StoreError>;
    /// By the code in its certificate's name.
    async fn session_by_code(
        &self,
        organisation: OrganisationId,
        code: &str,
    ) -> Result<Option<EnrolSession>, StoreError>;
    /// Identities of an organisation, in the order of ids, after `after`.
    async fn certificates(
        &self,
        organisation: OrganisationId,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Sessions of a device in which an identity may still be issued ([`EnrolSession::is_open`]), oldest first.
    async fn open_sessions_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<EnrolSession>, StoreError>;
    /// Every identity that was issued in a session of a device, oldest first.
    async fn certificates_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Those of them that are revoked, in the order of ids, after `after`.
    async fn revoked_certificates(
        &self,
        organisation: OrganisationId,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Of all organisations: identities whose renewal is to be looked after, by (moment, id).
    async fn certificates_to_renew(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError>;
    /// Of the identities of all organisations with which somebody speaks ([`IssuedCertificate::speaks`]): when the first one
    /// ends, and how many end until `by`.
    async fn identities_ending(
        &self,
        by: Timestamp,
    ) -> Result<(Option<Timestamp>, u64), StoreError>;
}
