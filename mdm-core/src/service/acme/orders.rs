//! Orders: one for each enrolment session at a time, from the client identifier over the attestation to the identity.
//!
//! A client identifier obtains one identity. Until then a device may begin again, a bounded number of times, and what it began
//! before is void; a statement that proves something else ends the order and not the session.

use openssl::x509::X509;
use serde_json::{Value, json};

use super::super::Org;
use super::super::decision::{Decision, Tracked};
use super::super::enrol::random_text;
use super::{Decided, Refused, Reply, problem};
use crate::acme::{AcmeAccount, AcmeOrder, AcmeOrderState};
use crate::attested::AttestedFacts;
use crate::ca::acme::{
    self, Addresses, Attestation, Attested, CHAIN_TYPE, ChallengeAnswer, OrderView, Problem,
    ProblemKind, Roots, apple_root, csr_key, read_challenge, read_csr, read_order,
};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::enrollment::{EnrolSession, IssuedCertificate};
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::{Serial, SessionId};
use crate::organisation::{Der, IdentityProtocol};
use crate::secret::{Secret, SecretKind};

/// How often a device may begin with one client identifier.
pub(in crate::service) const MOST_BEGUN: u32 = 20;

impl Org {
    pub(super) async fn new_acme_order(
        &self,
        d: &mut Decision<'_>,
        at: &Addresses,
        account: &AcmeAccount,
        payload: &[u8],
    ) -> Decided<Reply> {
        let asked = match read_order(payload) {
            Ok(asked) => asked,
            Err(problem) => return Ok(Err(problem.into())),
        };
        let hash = sha256_hex(asked.client_identifier.as_bytes());
        let session = self.store().session_by_challenge(self.id(), &hash).await?;
        let Some(session) = session.filter(|s| !s.invitation) else {
            let kind = ProblemKind::RejectedIdentifier;
            return Ok(Err(problem(kind, "the client identifier is unknown").into()));
        };
        if let Err(problem) = still_open(&session, d.now) {
            return Ok(Err(of_session(problem, &session)));
        }
        let before = self.store().acme_order(self.id(), session.id).await?;
        // Orders of another session, in whose place this one was put, do not count.
        let own = before
            .as_ref()
            .filter(|order| order.expires == session.expires);
        let begun = own.map_or(0, |order| order.begun) + 1;
        if begun > MOST_BEGUN {
            let kind = ProblemKind::RateLimited;
            let many = problem(kind, "this client identifier was tried too often");
            return Ok(Err(of_session(many, &session)));
        }
        let identifier = Secret::from_text(asked.client_identifier.clone());
        let sealed = self
            .seal_bytes(SecretKind::ClientIdentifier, &identifier)
            .await?;
        let mut order = AcmeOrder::new(
            self.id(),
            session.id,
            format!("{}.{}", session.id, random_text(12)?),
            account.id,
            Der(sealed),
            random_text(32)?,
            begun,
            session.expires,
        );
        order.version = before.map_or(0, |order| order.version);
        order.account = self.keep_acme_account(d, account).id;
        let mut reply = Reply::json(&acme::order(at, &view(&order, &asked.client_identifier)));
        reply.created = true;
        reply.location = Some(at.named("order", &order.name));
        d.batch.put(order);
        d.sessions.push(Tracked::read(session));
        Ok(Ok(reply))
    }

    /// An order by its name, for the account that made it.
    async fn order_of(&self, account: &AcmeAccount, name: &str) -> Decided<AcmeOrder> {
        let session = name.split_once('.').and_then(|(id, _)| id.parse().ok());
        let found = match session {
            Some(session) => {
                self.store()
                    .acme_order(self.id(), SessionId(session))
                    .await?
            }
            None => None,
        };
        Ok(match found.filter(|order| order.name == name) {
            None => Err(problem(ProblemKind::Malformed, "there is no such order").into()),
            Some(order) if order.account != account.id => {
                Err(problem(ProblemKind::Unauthorized, "this is another's order").into())
            }
            Some(order) => Ok(order),
        })
    }

    async fn identifier_of(&self, order: &AcmeOrder) -> Result<Secret, Error> {
        self.open_bytes(SecretKind::ClientIdentifier, &order.identifier.0)
            .await
    }

    async fn shown_order(
        &self,
        order: &AcmeOrder,
        document: impl FnOnce(&OrderView<'_>) -> Value,
    ) -> Result<Reply, Error> {
        let identifier = self.identifier_of(order).await?;
        let identifier = identifier
            .expose_text()
            .ok_or(Error::Crypto("a client identifier is no text"))?;
        Ok(Reply::json(&document(&view(order, identifier))))
    }

    pub(super) async fn look_at_order(
        &self,
        at: &Addresses,
        account: &AcmeAccount,
        resource: &str,
        name: &str,
        payload: &[u8],
    ) -> Decided<Reply> {
        if !payload.is_empty() {
            let kind = ProblemKind::Malformed;
            return Ok(Err(problem(kind, "nothing of it can be changed").into()));
        }
        let order = match self.order_of(account, name).await? {
            Ok(order) => order,
            Err(refused) => return Ok(Err(refused)),
        };
        match (resource, &order.state) {
            ("order", _) => Ok(Ok(self.shown_order(&order, |v| acme::order(at, v)).await?)),
            ("authz", _) => {
                let shown = self.shown_order(&order, |v| acme::authorization(at, v));
                Ok(Ok(shown.await?))
            }
            (_, AcmeOrderState::Valid { certificate, .. }) => {
                let issued = self
                    .store()
                    .certificate(self.id(), *certificate)
                    .await?
                    .ok_or(Error::NotFound("certificate"))?;
                let mut reply = Reply::json(&Value::Null);
                reply.media_type = CHAIN_TYPE;
                reply.body = self.pem_chain(&issued)?;
                Ok(Ok(reply))
            }
            _ => {
                let kind = ProblemKind::OrderNotReady;
                Ok(Err(problem(kind, "there is no certificate yet").into()))
            }
        }
    }

    /// The certificate and those above it, PEM: from the authority that issued it, which need not be the present one.
    fn pem_chain(&self, row: &IssuedCertificate) -> Result<Vec<u8>, Error> {
        let organisation = &self.organisation;
        let present = organisation.identity_cas.first();
        let issuer = organisation
            .identity_cas
            .iter()
            .find(|ca| row.authority.as_deref() == Some(&sha256_hex(&ca.certificate.0)))
            .or(present);
        // What stands above it is known of the present one only.
        let higher = issuer.filter(|issuer| Some(*issuer) == present);
        let higher = higher.map_or(&[][..], |_| &organisation.identity_chain);
        let above = issuer.map(|ca| &ca.certificate).into_iter().chain(higher);
        let der = row.der.0.as_slice();
        let mut pem = Vec::new();
        for der in std::iter::once(der).chain(above.map(|der| der.0.as_slice())) {
            let one = X509::from_der(der).and_then(|x509| x509.to_pem());
            pem.extend(one.map_err(|_| Error::Crypto("a certificate cannot be written"))?);
        }
        Ok(pem)
    }

    pub(super) async fn answer_challenge(
        &self,
        d: &mut Decision<'_>,
        at: &Addresses,
        account: &AcmeAccount,
        name: &str,
        payload: &[u8],
    ) -> Decided<Reply> {
        let mut order = match self.order_of(account, name).await? {
            Ok(order) => order,
            Err(refused) => return Ok(Err(refused)),
        };
        let up = at.named("authz", name);
        let answered = match read_challenge(payload) {
            Err(problem) if problem.kind == ProblemKind::Malformed => {
                return Ok(Err(problem.into()));
            }
            other => other,
        };
        let mut noted = None;
        // A challenge is met or failed once; later answers see how it went.
        if order.state == AcmeOrderState::Pending && !matches!(answered, Ok(ChallengeAnswer::Look))
        {
            let session = self.store().session(self.id(), order.id).await?;
            let session = session.ok_or(Error::NotFound("enrolment session"))?;
            let judged = match (still_open(&session, d.now), answered) {
                (Err(problem), _) | (Ok(()), Err(problem)) => Err(problem),
                (Ok(()), Ok(answer)) => self.judge(&session, &order, &answer, d.now).await?,
            };
            order.state = match judged {
                Ok(attested) => AcmeOrderState::Ready {
                    at: d.now,
                    key: attested.as_ref().map(|it| Der(it.key.clone())),
                    attested: attested.map(|it| Box::new(it.facts)),
                },
                Err(problem) => {
                    noted = Some((problem.to_string(), session.serial.clone()));
                    AcmeOrderState::Invalid {
                        kind: problem.kind,
                        detail: problem.detail.to_owned(),
                    }
                }
            };
            d.batch.put(order.clone());
            d.sessions.push(Tracked::read(session));
        }
        let mut reply = self.shown_order(&order, |v| acme::challenge(at, v)).await?;
        reply.up = Some(up);
        reply.noted = noted;
        Ok(Ok(reply))
    }

    /// What an answer to a challenge proves: a device, or that nothing need be proved.
    async fn judge(
        &self,
        session: &EnrolSession,
        order: &AcmeOrder,
        answer: &ChallengeAnswer,
        now: Timestamp,
    ) -> Result<Result<Option<Attested>, Problem>, Error> {
        let bad = |detail| Ok(Err(problem(ProblemKind::BadAttestationStatement, detail)));
        let statement = match answer {
            ChallengeAnswer::Attested(statement) => statement,
            // What a device leaves out, or says that it cannot, it can be allowed to; what it states must be right.
            _ if session.protocol == IdentityProtocol::Acme => return Ok(Ok(None)),
            ChallengeAnswer::Failed => return bad("the device could not attest"),
            _ => return bad("this organisation demands an attestation"),
        };
        let attested = match self.verified(statement, &order.token, now) {
            Ok(attested) => attested,
            Err(problem) => return Ok(Err(problem)),
        };
        let device = match session.device {
            Some(device) => self.store().device(self.id(), device).await?,
            None => None,
        };
        let platform = device.and_then(|device| device.platform());
        Ok(names_device(&attested.facts, session, platform).map(|()| Some(attested)))
    }

    fn verified(
        &self,
        statement: &Attestation,
        token: &str,
        now: Timestamp,
    ) -> Result<Attested, Problem> {
        let trust = &self.organisation.attestation;
        let apple = (!trust.without_apple).then(apple_root);
        let own = trust.roots.iter().map(|der| der.0.as_slice());
        Roots::new(apple.into_iter().chain(own))
            .and_then(|roots| statement.verify(&roots, token, now))
            .map_err(|error| problem(ProblemKind::BadAttestationStatement, error.sentence()))
    }

    pub(super) async fn finalise(
        &self,
        d: &mut Decision<'_>,
        at: &Addresses,
        mut account: AcmeAccount,
        name: &str,
        payload: &[u8],
    ) -> Decided<Reply> {
        let mut order = match self.order_of(&account, name).await? {
            Ok(order) => order,
            Err(refused) => return Ok(Err(refused)),
        };
        let AcmeOrderState::Ready {
            at: met,
            attested,
            key,
        } = &order.state
        else {
            let kind = ProblemKind::OrderNotReady;
            return Ok(Err(
                problem(kind, "the order is not ready to be finalised").into()
            ));
        };
        let session = self.store().session(self.id(), order.id).await?;
        let session = session.ok_or(Error::NotFound("enrolment session"))?;
        if let Err(problem) = still_open(&session, d.now) {
            return Ok(Err(of_session(problem, &session)));
        }
        let asked = read_csr(payload).and_then(|csr| csr_key(&csr));
        let asked = match asked {
            Ok(asked) => asked,
            Err(problem) => return Ok(Err(of_session(problem, &session))),
        };
        let bad = |detail| {
            Ok(Err(of_session(
                problem(ProblemKind::BadCsr, detail),
                &session,
            )))
        };
        if key.as_ref().is_some_and(|key| key.0 != asked) {
            return bad("the key is not the one that was attested");
        }
        if asked == account.key.0 {
            return bad("the key is that of the account");
        }
        let certified = sha256_hex(&asked);
        let twin = self
            .store()
            .acme_order_by_key(self.id(), &certified)
            .await?;
        if twin.is_some_and(|other| other.id != order.id) {
            return bad("the key has an identity already");
        }
        if let Some(device) = session.device
            && let Some(device) = self.store().device(self.id(), device).await?
        {
            d.device = Some(Tracked::read(device));
        }
        let authority = self.identity_authority().await?;
        let mut row = self.issue(d, &authority, &asked, &session)?;
        row.attested = attested.as_deref().cloned();
        d.audit(
            "identity.issued",
            json!({
                "certificate": row.sha256, "serial": row.id, "not_after": row.not_after,
                "by": "acme", "attested": attested,
            }),
        );
        if let (Some(device), Some(facts)) = (&mut d.device, attested) {
            device.row.attested = Some(facts.as_ref().clone());
        }
        let mut session = Tracked::read(session);
        session.row.used_by = Some(("acme".to_owned(), certified.clone()));
        session.row.challenge = None;
        session.row.certificate = Some(row.id);
        order.certified = Some(certified);
        order.state = AcmeOrderState::Valid {
            at: *met,
            certificate: row.id,
        };
        // As long as the identity: so long its key obtains no other, and its account may revoke it.
        order.expires = row.not_after;
        account.expires = account.expires.max(row.not_after);
        let mut reply = self.shown_order(&order, |v| acme::order(at, v)).await?;
        reply.location = Some(at.named("order", name));
        d.sessions.push(session);
        d.batch.put(order).put(account).put(row);
        Ok(Ok(reply))
    }
}

/// Whether a session may still obtain an identity here.
fn still_open(session: &EnrolSession, now: Timestamp) -> Result<(), Problem> {
    let rejected = |detail| Err(problem(ProblemKind::RejectedIdentifier, detail));
    if session.protocol == IdentityProtocol::Scep {
        return rejected("the client identifier is unknown");
    }
    if !session.is_open() {
        return rejected("the client identifier was used already");
    }
    if now > session.expires {
        return rejected("the enrolment session has expired");
    }
    Ok(())
}

/// Whether an attestation is of the device that the session was given to. A Mac is attested under another UDID than the one of
/// its check-ins, so that only its serial number is compared.
fn names_device(
    facts: &AttestedFacts,
    session: &EnrolSession,
    platform: Option<Platform>,
) -> Result<(), Problem> {
    let bad = |detail| Err(problem(ProblemKind::BadAttestationStatement, detail));
    if let Some(expected) = &session.serial {
        match facts.serial.as_deref().map(Serial::parse) {
            Some(Ok(serial)) if serial == *expected => {}
            Some(_) => return bad("the statement is about another serial number"),
            None => return bad("the statement names no serial number"),
        }
    }
    if let (Some(expected), Some(told)) = (&session.udid, &facts.udid)
        && !platform.is_some_and(Platform::is_mac)
        && !expected.eq_ignore_ascii_case(told)
    {
        return bad("the statement is about another UDID");
    }
    Ok(())
}

fn of_session(problem: Problem, session: &EnrolSession) -> Refused {
    Refused {
        problem,
        serial: session.serial.clone(),
    }
}

fn view<'a>(order: &'a AcmeOrder, identifier: &'a str) -> OrderView<'a> {
    let (validated, issued, failed) = match &order.state {
        AcmeOrderState::Pending => (None, false, None),
        AcmeOrderState::Ready { at, .. } => (Some(*at), false, None),
        AcmeOrderState::Valid { at, .. } => (Some(*at), true, None),
        AcmeOrderState::Invalid { kind, detail } => (None, false, Some((*kind, detail.as_str()))),
    };
    OrderView {
        name: &order.name,
        identifier,
        token: &order.token,
        expires: order.expires,
        validated,
        issued,
        failed,
    }
}
