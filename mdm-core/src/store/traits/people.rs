//! Reads sign-ins and sessions of people, and what takes two of them.

use async_trait::async_trait;

use crate::approval::{Alone, Approval};
use crate::clock::Timestamp;
use crate::ids::{ApprovalId, OrganisationId, PersonSessionId, SignInId};
use crate::person::{PersonSession, SignInAttempt};
use crate::store::StoreError;

/// Reads sign-ins under way, sessions of people, and what takes two of them.
#[async_trait]
pub trait PersonStore: Send + Sync {
    /// A sign-in, by id.
    async fn sign_in(
        &self,
        organisation: OrganisationId,
        id: SignInId,
    ) -> Result<Option<SignInAttempt>, StoreError>;
    /// By the hash of its state, whose organisation nobody named.
    async fn sign_in_by_state(&self, hash: &str) -> Result<Option<SignInAttempt>, StoreError>;
    /// By the hash of its one-time code, whose organisation nobody named.
    async fn sign_in_by_code(&self, hash: &str) -> Result<Option<SignInAttempt>, StoreError>;
    /// Sign-ins of an organisation that are not over at this moment, the newest `limit` of them counted.
    async fn open_sign_ins(
        &self,
        organisation: OrganisationId,
        at: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
    /// A session, by id.
    async fn person_session(
        &self,
        organisation: OrganisationId,
        id: PersonSessionId,
    ) -> Result<Option<PersonSession>, StoreError>;
    /// By the hash of its token, whose organisation nobody named.
    async fn person_session_by_token(
        &self,
        hash: &str,
    ) -> Result<Option<PersonSession>, StoreError>;
    /// Sessions that are not over at this moment, in the order of ids, after `after`.
    async fn person_sessions(
        &self,
        organisation: OrganisationId,
        at: Timestamp,
        after: PersonSessionId,
        limit: u32,
    ) -> Result<Vec<PersonSession>, StoreError>;
    /// Something that takes two persons, by id.
    async fn approval(
        &self,
        organisation: OrganisationId,
        id: ApprovalId,
    ) -> Result<Option<Approval>, StoreError>;
    /// What takes two persons and is not over at this moment, in the order of ids, after `after`.
    async fn approvals(
        &self,
        organisation: OrganisationId,
        at: Timestamp,
        after: ApprovalId,
        limit: u32,
    ) -> Result<Vec<Approval>, StoreError>;
    /// What somebody did alone lately, by its name.
    async fn alone(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<Alone>, StoreError>;
    /// Deletes sign-ins, sessions, approvals and what was done alone of an organisation that were over before this
    /// moment, at most `limit` of each; answers how many.
    async fn prune_people(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
}
