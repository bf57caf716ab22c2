//! Certificates of listeners, and what ACME keeps.

use crate::acme::{AcmeAccount, AcmeNonce, AcmeOrder, AcmeOrderState};
use crate::attested::AttestedFacts;
use crate::ids::{AcmeAccountId, AcmeNonceId, OrganisationId, ServerCertificateId, SessionId};
use crate::organisation::{Der, WrappedKey};
use crate::server_certificate::{ServerCertificate, Wish};
use crate::store::contract::at;

pub(in crate::store::contract) fn server_certificate(
    organisation: OrganisationId,
    id: ServerCertificateId,
) -> ServerCertificate {
    let key = WrappedKey {
        key_id: "k1".to_owned(),
        wrapped: Der(vec![0, 255]),
    };
    let wish = Wish {
        directory: "https://acme.example/directory".to_owned(),
        names: ["mdm.example".to_owned()].into(),
    };
    let mut it = ServerCertificate::new(id, &format!("certificate {id}"), key, wish);
    it.organisation = organisation;
    it.challenges
        .insert("token".to_owned(), "token.thumbprint".to_owned());
    it
}

pub(in crate::store::contract) fn acme_account(
    organisation: OrganisationId,
    id: AcmeAccountId,
) -> AcmeAccount {
    let key = Der(vec![0, 255, 3]);
    AcmeAccount::new(organisation, id, format!("thumb{id}"), key, at(66))
}

pub(in crate::store::contract) fn acme_order(
    organisation: OrganisationId,
    id: SessionId,
) -> AcmeOrder {
    let mut it = AcmeOrder::new(
        organisation,
        id,
        format!("{id}.name"),
        AcmeAccountId(3),
        Der(vec![1, 2]),
        "token".to_owned(),
        1,
        at(67),
    );
    let mut facts = AttestedFacts::new(at(68), "root".to_owned());
    facts.serial = Some("SERIAL7".to_owned());
    it.state = AcmeOrderState::Ready {
        at: at(68),
        attested: Some(Box::new(facts)),
        key: Some(Der(vec![9])),
    };
    it.certified = Some(format!("key{id}"));
    it
}

pub(in crate::store::contract) fn acme_nonce(
    organisation: OrganisationId,
    id: AcmeNonceId,
) -> AcmeNonce {
    AcmeNonce::new(organisation, id, at(69))
}
