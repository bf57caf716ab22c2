//! Channels, the sessions in which they enrol, and the certificates that they speak with.

use async_trait::async_trait;

use super::{ThisStore, failed, ids, list, rows};
use crate::clock::Timestamp;
use crate::enrollment::{EnrolSession, Enrollment, IssuedCertificate};
use crate::ids::{CertificateId, DeviceId, EnrollmentId, OrganisationId, SessionId};
use crate::store::{EnrollmentStore, StoreError};

#[async_trait]
impl EnrollmentStore for ThisStore {
    async fn enrollment(
        &self,
        organisation: OrganisationId,
        id: EnrollmentId,
    ) -> Result<Option<Enrollment>, StoreError> {
        rows!(
            self,
            one,
            "enrollments WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn enrollments_of(
        &self,
        organisation: OrganisationId,
        ids: &[EnrollmentId],
    ) -> Result<Vec<Enrollment>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            list_of,
            concat!(
                "enrollments WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn enrollments_by_key(
        &self,
        organisation: OrganisationId,
        key: &str,
    ) -> Result<Vec<Enrollment>, StoreError> {
        rows!(
            self,
            many,
            "enrollments WHERE organisation = $1 AND live_key = $2 ORDER BY id",
            organisation.0,
            key
        )
    }

    async fn user_channels(
        &self,
        organisation: OrganisationId,
        parent: EnrollmentId,
    ) -> Result<Vec<Enrollment>, StoreError> {
        rows!(
            self,
            many,
            "enrollments WHERE organisation = $1 AND parent = $2 ORDER BY id",
            organisation.0,
            parent.0
        )
    }

    async fn enrollments_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<Enrollment>, StoreError> {
        rows!(
            self,
            many,
            "enrollments WHERE organisation = $1 AND device = $2 ORDER BY id",
            organisation.0,
            device.0
        )
    }

    async fn session(
        &self,
        organisation: OrganisationId,
        id: SessionId,
    ) -> Result<Option<EnrolSession>, StoreError> {
        rows!(
            self,
            one,
            "sessions WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn session_by_challenge(
        &self,
        organisation: OrganisationId,
        hash: &str,
    ) -> Result<Option<EnrolSession>, StoreError> {
        rows!(
            self,
            one,
            "sessions WHERE organisation = $1 AND challenge_hash = $2",
            organisation.0,
            hash
        )
    }

    async fn certificate(
        &self,
        organisation: OrganisationId,
        id: CertificateId,
    ) -> Result<Option<IssuedCertificate>, StoreError> {
        rows!(
            self,
            one,
            "certificates WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn certificate_by_hash(
        &self,
        organisation: OrganisationId,
        sha256: &str,
    ) -> Result<Option<IssuedCertificate>, StoreError> {
        rows!(
            self,
            one,
            "certificates WHERE organisation = $1 AND sha256 = $2",
            organisation.0,
            sha256
        )
    }

    async fn session_by_code(
        &self,
        organisation: OrganisationId,
        code: &str,
    ) -> Result<Option<EnrolSession>, StoreError> {
        rows!(
            self,
            one,
            "sessions WHERE organisation = $1 AND code = $2",
            organisation.0,
            code
        )
    }

    async fn certificates(
        &self,
        organisation: OrganisationId,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError> {
        rows!(
            self,
            page limit,
            "certificates WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn open_sessions_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<EnrolSession>, StoreError> {
        rows!(
            self,
            many,
            "sessions WHERE organisation = $1 AND open_of = $2 ORDER BY id",
            organisation.0,
            device.0
        )
    }

    async fn certificates_of_device(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Vec<IssuedCertificate>, StoreError> {
        rows!(
            self,
            many,
            "certificates WHERE organisation = $1 AND device = $2 ORDER BY id",
            organisation.0,
            device.0
        )
    }

    // A device that was locked out would be let in.
    async fn revoked_certificates(
        &self,
        organisation: OrganisationId,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError> {
        rows!(
            self,
            many,
            "certificates WHERE organisation = $1 AND revoked IS NOT NULL AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0,
            i64::from(limit)
        )
    }

    async fn identities_ending(
        &self,
        by: Timestamp,
    ) -> Result<(Option<Timestamp>, u64), StoreError> {
        let found: (Option<i64>, i64) = sqlx::query_as(
            "SELECT (SELECT min(ends) FROM certificates WHERE ends IS NOT NULL), \
                    (SELECT count(*) FROM certificates WHERE ends <= $1)",
        )
        .bind(by.as_millis())
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        Ok((found.0.map(Timestamp::from_millis), found.1.unsigned_abs()))
    }

    async fn certificates_to_renew(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<IssuedCertificate>, StoreError> {
        rows!(
            self,
            readable limit,
            "certificates WHERE renew_at <= $1 ORDER BY renew_at, id, organisation LIMIT $2",
            now.as_millis()
        )
    }
}
