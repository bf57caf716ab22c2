//! What the doors for devices hand on, and to whom: the service behind them as one narrow trait, so that a test of doors
//! needs no database.

use std::sync::Arc;

use async_trait::async_trait;
use mdm_core::error::Error;
use mdm_core::ids::{OrganisationCode, OrganisationId};
use mdm_core::library::Package;
use mdm_core::service::{AcmeRequest, Mdm};
pub(crate) use mdm_core::service::{Answer, Peer};
use tokio::sync::Notify;

/// The service as devices see it.
#[async_trait]
pub(crate) trait Desk: Send + Sync + 'static {
    async fn check_in(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error>;
    async fn report(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error>;
    async fn enrol(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error>;
    async fn scep(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        operation: &str,
        message: &[u8],
    ) -> Result<Answer, Error>;
    /// The directory of the ACME server, or a nonce of it.
    async fn acme_look(
        &self,
        organisation: &OrganisationCode,
        resource: &str,
        head: bool,
    ) -> Result<Answer, Error>;
    /// A signed request to the ACME server.
    async fn acme(
        &self,
        organisation: &OrganisationCode,
        request: &AcmeRequest<'_>,
    ) -> Result<Answer, Error>;
    /// Whether the certificate of the connection has been proved here lately: for the order in which bodies find room.
    fn knows(&self, organisation: &OrganisationCode, peer: &Peer) -> bool {
        let _ = (organisation, peer);
        false
    }
    /// Whether somebody with a large body can be anybody who is known.
    async fn may_send(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        door: &str,
    ) -> Result<(), Error>;
    async fn accept_invitation(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        code: &str,
    ) -> Result<Answer, Error>;
    /// A body that was not taken, for the record of refusals.
    async fn unread(&self, organisation: &OrganisationCode, peer: &Peer, door: &str, reason: &str);
    /// A file of a declaration, by its name in the address.
    async fn file(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        name: &str,
    ) -> Result<Answer, Error>;
    /// Where people sign in; nobody does at a stand-in.
    fn people(&self) -> Option<&Mdm> {
        None
    }
    /// The revocation list of an authority, by its name in the address.
    async fn revocation_list(
        &self,
        organisation: &OrganisationCode,
        authority: &str,
    ) -> Result<Answer, Error>;
    /// The package whose file has this name, and whose it is.
    async fn package(
        &self,
        organisation: &OrganisationCode,
        file: &str,
    ) -> Result<(OrganisationId, Package), Error> {
        let _ = (organisation, file);
        Err(Error::NotFound("package"))
    }
}

/// The real one: hands on to the service and tells the workers that there may be something to do.
pub(crate) struct FrontDesk {
    mdm: Mdm,
    poke: Arc<Notify>,
}

impl FrontDesk {
    pub(crate) fn new(mdm: Mdm, poke: Arc<Notify>) -> Self {
        Self { mdm, poke }
    }

    fn poked<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if self.mdm.stirred() {
            self.poke.notify_one();
        }
        result
    }
}

#[async_trait]
impl Desk for FrontDesk {
    fn people(&self) -> Option<&Mdm> {
        Some(&self.mdm)
    }

    async fn check_in(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation_for_device(organisation).await?;
        self.poked(org.check_in(peer, body).await)
    }

    async fn report(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation_for_device(organisation).await?;
        self.poked(org.report(peer, body).await)
    }

    async fn enrol(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation(organisation).await?;
        self.poked(org.enrol(&peer.address, body).await)
    }

    async fn scep(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        operation: &str,
        message: &[u8],
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation(organisation).await?;
        self.poked(org.scep(&peer.address, operation, message).await)
    }

    async fn acme_look(
        &self,
        organisation: &OrganisationCode,
        resource: &str,
        head: bool,
    ) -> Result<Answer, Error> {
        // Whoever only looks brings no message that would be checked against the organisation of now.
        let org = self.mdm.organisation(organisation).await?;
        org.acme_look(resource, head).await
    }

    async fn acme(
        &self,
        organisation: &OrganisationCode,
        request: &AcmeRequest<'_>,
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation(organisation).await?;
        self.poked(org.acme(request).await)
    }

    fn knows(&self, organisation: &OrganisationCode, peer: &Peer) -> bool {
        let shown = peer.certificate.as_ref();
        shown.is_some_and(|shown| self.mdm.recognises(organisation, shown))
    }

    async fn may_send(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        door: &str,
    ) -> Result<(), Error> {
        let org = self.mdm.organisation_for_device(organisation).await?;
        org.may_send(door, peer).await
    }

    async fn accept_invitation(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        code: &str,
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation(organisation).await?;
        self.poked(org.accept_invitation(&peer.address, code).await)
    }

    async fn unread(&self, organisation: &OrganisationCode, peer: &Peer, door: &str, reason: &str) {
        // Of an organisation that is not ours nothing is recorded.
        if let Ok(org) = self.mdm.organisation_for_device(organisation).await {
            org.refused_unread(door, peer, reason).await;
        }
    }

    async fn revocation_list(
        &self,
        organisation: &OrganisationCode,
        authority: &str,
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation(organisation).await?;
        org.revocation_list(authority).await
    }

    async fn package(
        &self,
        organisation: &OrganisationCode,
        file: &str,
    ) -> Result<(OrganisationId, Package), Error> {
        let org = self.mdm.organisation(organisation).await?;
        Ok((org.organisation().id, org.kept_package(file).await?))
    }

    async fn file(
        &self,
        organisation: &OrganisationCode,
        peer: &Peer,
        name: &str,
    ) -> Result<Answer, Error> {
        let org = self.mdm.organisation(organisation).await?;
        org.declaration_file(peer, name).await
    }
}
