//! Faults of ours, made on purpose, so that the verdict is seen to fail: altered runbooks, and wrappers around a port or the
//! service. No library has such a switch.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use mdm_core::clock::Timestamp;
use mdm_core::device::AssignmentOutcome;
use mdm_core::error::{Error, PortError};
use mdm_core::filevault::EscrowKey;
use mdm_core::ids::{OrganisationCode, OrganisationId, Serial};
use mdm_core::library::Package;
use mdm_core::organisation::Der;
use mdm_core::service::ports::{
    Account, DeviceAssignment, DevicePage, LockOutcome, ServerCredential,
};
use mdm_core::service::{AcmeRequest, Mdm};
use mdm_core::store::Batch;

use crate::app::DeskWrap;
use crate::http::desk::{Answer, Desk, Peer};

/// What is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[expect(
    clippy::exhaustive_enums,
    reason = "six, as the command line offers them"
)]
pub enum Sabotage {
    /// No app is kept or installed.
    SkipApps,
    /// The release waits for nothing.
    ReleaseEarly,
    /// Recovery keys are escrowed to a certificate whose key nobody has.
    WrongKey,
    /// The lock is reported as asked for, and is not.
    ForgetLock,
    /// The command that ends the hold never reaches a device.
    NeverRelease,
    /// Apple gets another code than the one that we keep.
    DoubleLock,
}

/// The assignment service with one thing wrong.
pub(super) struct SabotagedAssignment {
    pub(super) inner: Arc<dyn DeviceAssignment>,
    pub(super) sabotage: Sabotage,
}

#[async_trait]
impl DeviceAssignment for SabotagedAssignment {
    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError> {
        self.inner.account(credential).await
    }

    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.inner.fetch(credential, cursor, now).await
    }

    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.inner.sync(credential, cursor, now).await
    }

    async fn define_profile(
        &self,
        credential: &ServerCredential,
        profile: &serde_json::Value,
    ) -> Result<String, PortError> {
        self.inner.define_profile(credential, profile).await
    }

    async fn read_profile(
        &self,
        credential: &ServerCredential,
        uuid: &str,
    ) -> Result<serde_json::Value, PortError> {
        self.inner.read_profile(credential, uuid).await
    }

    async fn assign(
        &self,
        credential: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        self.inner.assign(credential, uuid, serials).await
    }

    async fn lock(
        &self,
        credential: &ServerCredential,
        serial: &Serial,
        escrow_key: &str,
    ) -> Result<LockOutcome, PortError> {
        match self.sabotage {
            Sabotage::ForgetLock => Ok(LockOutcome::Success),
            Sabotage::DoubleLock => {
                let other = abm_client::BypassCode::generate()
                    .and_then(|code| code.escrow_key())
                    .map_err(|e| PortError::Refused(e.to_string()))?;
                self.inner.lock(credential, serial, other.expose()).await?;
                self.inner.lock(credential, serial, escrow_key).await?;
                Ok(LockOutcome::Success)
            }
            _ => self.inner.lock(credential, serial, escrow_key).await,
        }
    }
}

/// The assignment port, sabotaged if asked.
pub(super) fn assignment(
    inner: Arc<dyn DeviceAssignment>,
    sabotage: Option<Sabotage>,
) -> Arc<dyn DeviceAssignment> {
    match sabotage {
        Some(sabotage @ (Sabotage::ForgetLock | Sabotage::DoubleLock)) => {
            Arc::new(SabotagedAssignment { inner, sabotage })
        }
        _ => inner,
    }
}

/// What is put between the doors and the service, if asked: the command that would end a hold gets lost on its way.
pub(super) fn desk(sabotage: Option<Sabotage>) -> Option<DeskWrap> {
    match sabotage {
        Some(Sabotage::NeverRelease) => Some(|inner| Arc::new(NeverReleasing(inner))),
        _ => None,
    }
}

/// Devices get everything but `DeviceConfigured`. A store that lost it would not do: a device that is speaking when its
/// release is decided gets the command at once.
struct NeverReleasing(Arc<dyn Desk>);

fn without_release(answer: Answer) -> Answer {
    const RELEASE: &[u8] = b"<string>DeviceConfigured</string>";
    match answer {
        Answer::Plist(bytes) if bytes.windows(RELEASE.len()).any(|w| w == RELEASE) => Answer::Empty,
        other => other,
    }
}

#[async_trait]
impl Desk for NeverReleasing {
    async fn check_in(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        self.0.check_in(organisation, peer, body).await
    }

    async fn report(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let answer = self.0.report(organisation, peer, body).await;
        answer.map(without_release)
    }

    async fn enrol(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        self.0.enrol(organisation, peer, body).await
    }

    async fn acme_look(
        &self,
        organisation: &OrganisationCode,
        resource: &str,
        head: bool,
    ) -> Result<Answer, Error> {
        self.0.acme_look(organisation, resource, head).await
    }

    async fn acme(
        &self,
        organisation: &OrganisationCode,
        request: &AcmeRequest<'_>,
    ) -> Result<Answer, Error> {
        self.0.acme(organisation, request).await
    }

    async fn scep(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        operation: &str,
        message: &[u8],
    ) -> Result<Answer, Error> {
        self.0.scep(organisation, peer, operation, message).await
    }

    async fn file(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        name: &str,
    ) -> Result<Answer, Error> {
        self.0.file(organisation, peer, name).await
    }

    async fn may_send(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        door: &str,
    ) -> Result<(), Error> {
        self.0.may_send(organisation, peer, door).await
    }

    async fn accept_invitation(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        code: &str,
    ) -> Result<Answer, Error> {
        self.0.accept_invitation(organisation, peer, code).await
    }

    async fn unread(&self, organisation: &OrganisationCode, peer: &Peer, door: &str, reason: &str) {
        self.0.unread(organisation, peer, door, reason).await;
    }

    async fn revocation_list(
        &self,
        organisation: &OrganisationCode,
        authority: &str,
    ) -> Result<Answer, Error> {
        self.0.revocation_list(organisation, authority).await
    }

    async fn package(
        &self,
        organisation: &OrganisationCode,
        file: &str,
    ) -> Result<(OrganisationId, Package), Error> {
        self.0.package(organisation, file).await
    }
}

/// Puts a certificate into the escrow payload whose private key nobody keeps.
pub(super) async fn put_other_escrow_certificate(
    mdm: &Mdm,
    id: OrganisationId,
) -> anyhow::Result<()> {
    let other = EscrowKey::create("nobody", mdm.now())?;
    let mut organisation = mdm
        .store()
        .organisation(id)
        .await?
        .context("organisation")?;
    if let Some(escrow) = &mut organisation.escrow {
        escrow.certificate = Der(other.certificate);
    }
    let mut batch = Batch::new();
    batch.put(organisation);
    Ok(mdm.store().commit(batch).await?)
}
