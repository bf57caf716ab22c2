//! People who sign in.

use crate::ids::{DeviceId, OrganisationId, PersonSessionId, SignInId};
use crate::organisation::Der;
use crate::person::{AccountMode, Person, PersonSession, Purpose, SessionUse, SignInAttempt};
use crate::store::contract::at;

pub(in crate::store::contract) fn person() -> Person {
    Person {
        subject: "7".to_owned(),
        name: "Zo\u{eb}".to_owned(),
        account: Some("zoe@example.com".to_owned()),
        groups: vec!["admins".to_owned()],
    }
}

pub(in crate::store::contract) fn sign_in(
    organisation: OrganisationId,
    id: SignInId,
) -> SignInAttempt {
    SignInAttempt {
        organisation,
        id,
        version: 0,
        state_hash: format!("state {organisation} {id}"),
        nonce_hash: "nonce".to_owned(),
        browser_hash: "browser".to_owned(),
        verifier: Der(vec![1, 2, 3]),
        issuer: "https://id.example.com".to_owned(),
        purpose: Purpose::Account {
            mode: AccountMode::Byod,
        },
        created: at(66),
        expires: at(70 + id.0),
        used: None,
        granted: None,
    }
}

pub(in crate::store::contract) fn person_session(
    organisation: OrganisationId,
    id: PersonSessionId,
) -> PersonSession {
    PersonSession {
        profile: None,
        organisation,
        id,
        version: 0,
        token_hash: format!("token {organisation} {id}"),
        used_for: SessionUse::Device(AccountMode::Adde),
        person: person(),
        issuer: "https://id.example.com".to_owned(),
        device: Some(DeviceId(40)),
        enrollment: None,
        created: at(66),
        expires: at(70 + id.0),
        revoked: None,
    }
}
