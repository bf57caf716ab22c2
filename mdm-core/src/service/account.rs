//! Devices that an account brings: where an account's domain is served, the sign-in that a device is sent to, the profile for the
//! access token that it comes back with, and what it is told on every message after that. Knows no other way to enrol; a device
//! that came by another is never told to sign in.
//!
//! <https://developer.apple.com/documentation/devicemanagement/implementing-the-simple-authentication-account-driven-enrollment-flow>

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::decision::{Decision, Tracked};
use super::door::Sight;
use super::message::Message;
use super::sign_in::Arrival;
use super::{Answer, Mdm, Org, Peer};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrol::machine_info::AccountInfo;
use crate::enrol::protocol::{Choice, choose};
use crate::enrollment::{Enrollment, OfAccount, ToldAccount};
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::{DeviceId, OrganisationCode, OrganisationId};
use crate::organisation::{Der, IdentityProtocol};
use crate::person::{AccountMode, PersonSession, Purpose, SessionUse, SignedIn, domain_of};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, StoreError};
use crate::wire::checkin::CheckIn;

/// Where a device's sign-in ends: an address that only its own system answers.
const BACK_TO_DEVICE: &str = "apple-remotemanagement-user-login://authentication-results";
/// For how long it is believed which domains are served.
const DOMAINS: Duration = Duration::from_secs(30);
/// Organisations that are read at a time.
const PAGE: u32 = 500;

/// Which domains are served, and when that was read.
pub(super) type Domains = Option<(Timestamp, HashMap<String, OrganisationCode>)>;

/// One way to enrol, as the discovery document names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the two members of the document")]
pub struct AccountServer {
    /// `Version`.
    pub version: &'static str,
    /// `BaseURL`.
    pub base_url: String,
}

impl Mdm {
    /// Where devices of this account (`somebody@example.com`) enrol: at the organisation that has its domain. Nothing for a domain
    /// that nobody has.
    ///
    /// # Errors
    /// The store's.
    pub async fn account_servers(&self, account: &str) -> Result<Vec<AccountServer>, Error> {
        let Some(domain) = domain_of(account) else {
            return Ok(Vec::new());
        };
        let Some(code) = self.domain(&domain).await? else {
            return Ok(Vec::new());
        };
        match self.organisation(&code).await {
            Ok(org) => Ok(org.account_servers()),
            // Gone since the domains were read.
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whose domain it is. Strangers ask this, so the organisations are read at most every half minute.
    async fn domain(&self, domain: &str) -> Result<Option<OrganisationCode>, Error> {
        let now = self.now();
        {
            let kept = self.inner.domains.lock();
            let kept = kept.unwrap_or_else(PoisonError::into_inner);
            if let Some((at, all)) = kept.as_ref()
                && now >= *at
                && now < *at + DOMAINS
            {
                return Ok(all.get(domain).cloned());
            }
        }
        let mut all = HashMap::new();
        let mut after = OrganisationId(0);
        loop {
            let page = self.organisations(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for organisation in page {
                let setting = organisation.sign_in.iter();
                for domain in setting.flat_map(|s| s.domains.clone()) {
                    // Whoever had it first keeps it, whatever two administrators did at one moment.
                    all.entry(domain)
                        .or_insert_with(|| organisation.code.clone());
                }
            }
        }
        let found = all.get(domain).cloned();
        *self
            .inner
            .domains
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((now, all));
        Ok(found)
    }

    /// What is set is in force at once, in this process.
    pub(super) fn forget_domains(&self) {
        let kept = self.inner.domains.lock();
        *kept.unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Which of these domains another organisation has.
    pub(super) async fn taken_domain<'a>(
        &self,
        own: OrganisationId,
        domains: impl IntoIterator<Item = &'a String>,
    ) -> Result<Option<&'a String>, Error> {
        // What was read a moment ago would let two have one.
        self.forget_domains();
        for domain in domains {
            if let Some(code) = self.domain(domain).await?
                && self.organisation(&code).await?.id() != own
            {
                return Ok(Some(domain));
            }
        }
        Ok(None)
    }
}

impl Org {
    /// How accounts may bring devices here.
    #[must_use]
    pub fn account_servers(&self) -> Vec<AccountServer> {
        let setting = self.organisation.sign_in.iter();
        setting
            .flat_map(|s| s.account.iter())
            .map(|mode| AccountServer {
                version: mode.version(),
                base_url: self.account_url(*mode),
            })
            .collect()
    }

    /// Where the discovery document of this organisation alone stands, for who sets it at Apple's portal.
    #[must_use]
    pub fn service_discovery_url(&self) -> String {
        let base = &self.settings().enrol_url;
        format!("{base}/mdm/{}/service-discovery", self.organisation.code)
    }

    fn account_url(&self, mode: AccountMode) -> String {
        let base = &self.settings().enrol_url;
        let code = &self.organisation.code;
        format!("{base}/mdm/{code}/account/{}", mode.as_str())
    }

    /// What a device is told that must show an access token and shows none that is good. In the words of Apple's protocol this is
    /// the answer that makes an enrolled device have its user sign in again; what it does meanwhile nobody documents.
    fn sign_in_first(&self, mode: AccountMode) -> Answer {
        Answer::SignIn {
            url: format!("{}/sign-in", self.account_url(mode)),
        }
    }

    /// That accounts may bring devices like this.
    ///
    /// # Errors
    /// [`Error::Precondition`].
    pub fn brings(&self, mode: AccountMode) -> Result<(), Error> {
        if self.sign_in()?.account.contains(&mode) {
            return Ok(());
        }
        Err(Error::Precondition(
            "accounts bring no devices here in this way".to_owned(),
        ))
    }

    /// Answers a device that an account brings: without a good access token where to sign in, with one its enrolment profile.
    /// `bearer` is the token of the `Authorization` header.
    ///
    /// # Errors
    /// [`Error::BadInput`] for machine information that is not signed by a device CA which the organisation trusts;
    /// [`Error::Precondition`] as [`Org::brings`]; the store's.
    pub async fn enrol_account(
        &self,
        address: &str,
        mode: AccountMode,
        body: &[u8],
        bearer: Option<&Secret>,
    ) -> Result<Answer, Error> {
        let result = self
            .again_on_conflict(|| self.account_profile(address, mode, body, bearer))
            .await;
        self.note_refusal("enrol", address, None, result).await
    }

    async fn account_profile(
        &self,
        address: &str,
        mode: AccountMode,
        body: &[u8],
        bearer: Option<&Secret>,
    ) -> Result<Answer, Error> {
        self.brings(mode)?;
        let info = self.account_info(body, mode)?;
        let Some(bearer) = bearer else {
            return Ok(self.sign_in_first(mode));
        };
        let session = self.session_shown(bearer, mode).await?;
        let session = session.filter(|s| s.enrollment.is_none());
        match session {
            Some(session) => self.hand_out_to_account(mode, &info, session).await,
            None => {
                let why = "the access token is unknown, used, over or revoked";
                self.record_refusal("enrol", address, why, info.serial.as_ref())
                    .await;
                Ok(self.sign_in_first(mode))
            }
        }
    }

    /// The session of an access token that is good for such devices here.
    async fn session_shown(
        &self,
        bearer: &Secret,
        mode: AccountMode,
    ) -> Result<Option<PersonSession>, Error> {
        let hash = sha256_hex(bearer.expose());
        let found = self.store().person_session_by_token(&hash).await?;
        let setting = self.organisation.sign_in.as_ref();
        Ok(found.filter(|s| {
            s.organisation == self.id()
                && s.used_for == SessionUse::Device(mode)
                && s.holds(setting, self.now())
        }))
    }

    async fn hand_out_to_account(
        &self,
        mode: AccountMode,
        info: &AccountInfo,
        mut person: PersonSession,
    ) -> Result<Answer, Error> {
        let now = self.now();
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        let (mut session, challenge) = self.new_session(&d, now)?;
        // One token is one profile: whoever asks again with it gets another in place of the first.
        let before = match person.profile {
            Some(id) => self.store().session(self.id(), id).await?,
            None => None,
        };
        if let Some(old) = &before {
            if old.used_by.is_some() {
                return Ok(self.sign_in_first(mode));
            }
            (session.id, session.version) = (old.id, old.version);
        }
        let choice = self.protocol_for_account(mode, info)?;
        session.protocol = choice.protocol;
        session.account = Some(person.id);
        session.signed_in = Some(SignedIn::of(&person.person, now));
        let account = person.person.account.clone();
        let account = account.ok_or(Error::Refused("this person has no account"))?;
        if let Some(told) = &mut session.told {
            told.account = Some(ToldAccount { mode, account });
            told.platform = Platform::of_product(&info.product);
        }
        if let (AccountMode::Adde, Some(serial)) = (mode, &info.serial) {
            let known = self.store().device_by_serial(self.id(), serial).await?;
            let mut tracked = match known {
                Some(device) => Tracked::read(device),
                None => {
                    let id = DeviceId(d.next_id());
                    Tracked::new(Device::new(self.id(), id, serial.clone()))
                }
            };
            let row = &mut tracked.row;
            row.signed_in.clone_from(&session.signed_in);
            let facts = &mut row.facts;
            facts.learned = Some(now);
            facts.product = Some(info.product.clone());
            facts.udid.clone_from(&info.udid);
            if info.os_version.is_some() {
                facts.os_version.clone_from(&info.os_version);
            }
            session.device = Some(row.id);
            session.serial = Some(serial.clone());
            session.udid.clone_from(&info.udid);
            d.device = Some(tracked);
        }
        let sealed = self.seal_bytes(SecretKind::ScepChallenge, &challenge);
        session.challenge = Some(Der(sealed.await?));
        let profile = self.enrolment_profile(&session, &challenge).await?;
        person.profile = Some(session.id);
        person.device = session.device;
        d.audit(
            "enrolment.profile-handed-out",
            json!({
                "session": session.id, "os": info.os_version, "product": info.product, "account": mode,
                "identity": choice.protocol, "fall_back": choice.fall_back, "signed_in": session.signed_in,
            }),
        );
        d.sessions.push(match before {
            Some(old) => {
                let mut tracked = Tracked::read(old);
                tracked.row = session;
                tracked
            }
            None => Tracked::new(session),
        });
        d.batch.put(person);
        self.commit(d).await?;
        Ok(Answer::Profile(profile))
    }

    /// A device that its user owns says neither serial number nor UDID, and no attestation does: it gets its identity by SCEP.
    fn protocol_for_account(&self, mode: AccountMode, info: &AccountInfo) -> Result<Choice, Error> {
        let settings = &self.organisation.settings;
        let mut choice = choose(settings, Some(&info.product), info.os_version.as_deref());
        if mode == AccountMode::Byod && choice.protocol != IdentityProtocol::Scep {
            let platform = Platform::of_product(&info.product);
            let chosen = platform.and_then(|p| settings.identity_protocol.get(&p));
            if chosen == Some(&IdentityProtocol::AcmeAttested) {
                return Err(Error::Refused(
                    "this organisation wants attested devices; one that its user owns cannot be one",
                ));
            }
            choice = Choice {
                protocol: IdentityProtocol::Scep,
                fall_back: Some("its user owns it"),
            };
        }
        Ok(choice)
    }

    /// Whether a message of a device may be decided on, as far as an account brought it: the access token of its enrolment must
    /// hold, or be a new one of the same person. `None` lets it pass, which everybody else's message does at once.
    pub(super) async fn account_of(
        &self,
        sha256: &str,
        peer: &Peer,
        message: &Message,
        seen: &Sight,
    ) -> Result<Passage, Error> {
        let speaks = |e: &&Enrollment| e.parent.is_none() && e.knows(sha256);
        let session = seen.view.session.as_ref();
        // One that announces a new identity has its enrolment named by the session of that.
        let renewed = session.and_then(|s| s.renews);
        let all = &seen.view.enrollments;
        let speaking = all.iter().rev().find(speaks);
        // One that was replaced or revoked is refused as everybody's is: no sign-in makes it good again.
        let certificate = seen.view.certificate.as_ref();
        if speaking.is_none()
            && certificate.is_some_and(|it| it.replaced.is_some() || it.revoked.is_some())
        {
            return Ok(Passage::Free);
        }
        let enrollment = speaking.or_else(|| all.iter().find(|e| Some(e.id) == renewed));
        let begun =
            session.and_then(|s| Some((s.account?, s.told.as_ref()?.account.as_ref()?.mode)));
        let mode = match (enrollment, begun) {
            (Some(enrollment), _) => match &enrollment.account {
                Some(account) => account.mode,
                None => return Ok(Passage::Free),
            },
            (None, Some((_, mode))) => mode,
            (None, None) => return Ok(Passage::Free),
        };
        // Nobody is asked to sign in to leave.
        if matches!(message, Message::CheckIn(CheckIn::CheckOut(_))) {
            return Ok(Passage::Free);
        }
        let shown = match &peer.bearer {
            Some(bearer) => self.session_shown(bearer, mode).await?,
            None => None,
        };
        let passage = match (enrollment, shown) {
            (Some(enrollment), Some(shown)) => self.go_on_with(enrollment, shown).await?,
            // An Authenticate: the token must be the one that the profile was given for, and bring its first device.
            (None, Some(shown)) => {
                let own = begun.is_some_and(|(id, _)| id == shown.id);
                (own && shown.enrollment.is_none()).then(|| Passage::Begins(Box::new(shown)))
            }
            (_, None) => None,
        };
        match passage {
            Some(passage) => Ok(passage),
            None => {
                let why = "the access token of this device is missing, another's, over or revoked";
                let serial = enrollment.and_then(|e| e.serial.as_ref());
                self.record_refusal("checkin", &peer.address, why, serial)
                    .await;
                Ok(Passage::Told(self.sign_in_first(mode)))
            }
        }
    }

    /// Whether the token of a device that an account brought still holds, for doors at which it does not show it. One that came by
    /// another way needs none.
    pub(super) async fn account_holds(&self, enrollment: &Enrollment) -> Result<bool, Error> {
        let Some(account) = &enrollment.account else {
            return Ok(true);
        };
        let session = self
            .store()
            .person_session(self.id(), account.session)
            .await?;
        let setting = self.organisation.sign_in.as_ref();
        Ok(session.is_some_and(|s| s.holds(setting, self.now())))
    }

    /// An enrolled device with a token that holds: its own, or a new one of the same person, which takes the place of the old.
    async fn go_on_with(
        &self,
        enrollment: &Enrollment,
        mut shown: PersonSession,
    ) -> Result<Option<Passage>, Error> {
        let Some(account) = &enrollment.account else {
            return Ok(None);
        };
        if shown.id == account.session {
            return Ok(Some(Passage::Free));
        }
        let same = shown.person.subject == account.subject && shown.issuer == account.issuer;
        if !same || shown.enrollment.is_some() || shown.profile.is_some() {
            return Ok(None);
        }
        let now = self.now();
        let mut batch = Batch::new();
        if let Some(mut old) = self
            .store()
            .person_session(self.id(), account.session)
            .await?
            && old.revoked.is_none()
        {
            old.revoked = Some(now);
            batch.put(old);
        }
        let detail = json!({
            "enrolment": enrollment.id, "session": shown.id, "before": account.session, "subject": shown.person.subject,
        });
        self.audit_as(&mut batch, "device", "account.signed-in-again", detail);
        let mut enrollment = enrollment.clone();
        if let Some(account) = &mut enrollment.account {
            account.session = shown.id;
        }
        (shown.enrollment, shown.device) = (Some(enrollment.id), enrollment.device);
        batch.put(enrollment);
        batch.put(shown);
        match self.store().commit(batch).await {
            // Another message of the same device was quicker.
            Ok(()) | Err(StoreError::Conflict) => Ok(Some(Passage::Again)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What becomes of a message as far as accounts are concerned.
pub(super) enum Passage {
    /// It is decided on.
    Free,
    /// It is decided on, and its enrolment begins with this session.
    Begins(Box<PersonSession>),
    /// It is read anew: its enrolment has changed.
    Again,
    /// This is the answer.
    Told(Answer),
}

/// Ties an enrolment that begins to the session that it begins with.
pub(super) fn begin(batch: &mut Batch, enrollment: &mut Enrollment, session: &PersonSession) {
    let SessionUse::Device(mode) = session.used_for else {
        return;
    };
    enrollment.account = Some(OfAccount {
        session: session.id,
        mode,
        subject: session.person.subject.clone(),
        issuer: session.issuer.clone(),
    });
    let mut session = session.clone();
    (session.enrollment, session.device) = (Some(enrollment.id), enrollment.device);
    batch.put(session);
}

impl Arrival {
    /// Where the device at which somebody has signed in goes on, with its access token.
    ///
    /// # Errors
    /// [`Error::Refused`] for an account of another domain than the organisation's, or a person without one; the store's.
    pub async fn open_device(&self) -> Result<String, Error> {
        let Purpose::Account { mode } = &self.attempt.purpose else {
            return Err(Error::Refused("no device waits for this"));
        };
        self.org.brings(*mode)?;
        let setting = self.org.sign_in()?;
        let account = self.person.account.as_deref();
        let domain = account.and_then(domain_of).ok_or(Error::Refused(
            "the provider names no account for this person",
        ))?;
        if !setting.domains.contains(&domain) {
            return Err(Error::Refused(
                "this account is of another domain than the organisation's",
            ));
        }
        let used_for = SessionUse::Device(*mode);
        let made = self.org.open_session(used_for, &self.person).await?;
        let token = made.secret.expose_text().unwrap_or_default();
        let query = crate::sign_in::form([("access-token", token)]);
        Ok(format!("{BACK_TO_DEVICE}?{query}"))
    }
}
