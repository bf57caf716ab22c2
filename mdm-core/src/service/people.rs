//! Sessions of people: made once somebody is proved, shown by a token that is kept as a hash, ended by time, by their holder, by
//! an administrator, or with the provider that vouched for them.

use serde_json::json;

use super::enrol::random_text;
use super::sign_in::{Arrival, ends};
use super::{Mdm, Org};
use crate::audit::Role;
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::PersonSessionId;
use crate::line;
use crate::organisation::Organisation;
use crate::person::{Granted, OwnRole, Person, PersonSession, Purpose, SessionUse, SignIn};
use crate::secret::{Secret, same};
use crate::sign_in::pkce;
use crate::store::{Batch, StoreError};

/// People of an organisation with roles of their own.
const MOST_PEOPLE: usize = 500;

/// What a session's token begins with, so that nobody takes it for a token of the API, and those who look for lost secrets find
/// it.
const PREFIX: &str = "mdmds_";

/// A session just made.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewSession {
    /// The row.
    pub session: PersonSession,
    /// What its holder may do; `None` for a device's.
    pub role: Option<Role>,
    /// What its holder shows. Kept by us only as a hash.
    pub secret: Secret,
}

/// Somebody who has shown a session.
#[derive(Debug)]
#[non_exhaustive]
pub struct Holder {
    /// Whose organisation.
    pub org: Org,
    /// The session.
    pub session: PersonSession,
    /// What they may do now, by the groups that they had when they signed in.
    pub role: Role,
    /// Whether they may look at secrets of devices.
    pub secrets: bool,
}

impl Arrival {
    /// The session of this browser's page, once; its holder needs a role.
    ///
    /// # Errors
    /// [`Error::Refused`] without a group that has a role; the store's.
    pub async fn open_page(&self) -> Result<NewSession, Error> {
        self.org.open_session(SessionUse::Page, &self.person).await
    }

    /// Where this browser goes, to hand the waiting program a code that opens once: an address on its own machine.
    ///
    /// # Errors
    /// [`Error::Refused`] without a group that has a role; the store's.
    pub async fn hand_over(&self) -> Result<String, Error> {
        let Purpose::CommandLine {
            redirect, state, ..
        } = &self.attempt.purpose
        else {
            return Err(Error::Refused("no program waits for this"));
        };
        let setting = self.org.sign_in()?;
        self.org.role(setting, &self.person).await?;
        let code = random_text(32)?;
        let mut attempt = self.attempt.clone();
        attempt.granted = Some(Granted {
            code_hash: sha256_hex(code.as_bytes()),
            person: kept(setting, &self.person),
        });
        let mut batch = Batch::new();
        batch.put(attempt);
        self.org.store().commit(batch).await?;
        let pairs = [("code", code.as_str()), ("state", state.as_str())];
        Ok(format!("{redirect}?{}", crate::sign_in::form(pairs)))
    }
}

/// Of somebody's groups only those that matter here are kept: the others are nobody's business.
fn kept(setting: &SignIn, person: &Person) -> Person {
    let mut person = person.clone();
    let matters = |g: &String| setting.roles.contains_key(g) || setting.secrets_groups.contains(g);
    person.groups.retain(matters);
    person.groups.sort();
    person.groups.dedup();
    person
}

/// Under which name the record has what somebody does: no name of a provider can be that of a token, or of one of our own
/// workers, for none of these has such brackets.
#[must_use]
pub fn actor_of(person: &Person) -> String {
    let account = person.account.as_deref().unwrap_or(&person.subject);
    format!("{} <{account}>", person.name)
}

/// Who it is that has signed in, whatever they are called: of one provider and one account there. People change their own names.
#[must_use]
pub fn person_of(session: &PersonSession) -> String {
    let text = format!("{}\n{}", session.issuer, session.person.subject);
    format!("person {}", sha256_hex(text.as_bytes()))
}

impl Org {
    /// A line of the record in somebody else's name than the handle's.
    pub(super) fn audit_as(
        &self,
        batch: &mut Batch,
        actor: &str,
        what: &str,
        detail: serde_json::Value,
    ) {
        self.clone()
            .acting_for(actor)
            .audit_into(batch, what, detail);
    }

    /// What somebody may do; that it is nothing is on record.
    async fn role(&self, setting: &SignIn, person: &Person) -> Result<Role, Error> {
        if let Some(role) = setting.role_of(person) {
            return Ok(role);
        }
        let mut batch = Batch::new();
        let detail = json!({ "subject": person.subject, "name": person.name, "reason": "no role" });
        self.audit_as(&mut batch, "sign-in", "sign-in.refused", detail);
        self.store().commit(batch).await?;
        Err(Error::Refused(
            "neither you nor a group of yours has a role here",
        ))
    }

    pub(super) async fn open_session(
        &self,
        used_for: SessionUse,
        person: &Person,
    ) -> Result<NewSession, Error> {
        let setting = self.sign_in()?;
        let device = matches!(used_for, SessionUse::Device(_));
        let role = match device {
            true => None,
            false => Some(self.role(setting, person).await?),
        };
        let mut batch = Batch::new();
        let made = self.session_into(&mut batch, used_for, person, role)?;
        self.store().commit(batch).await?;
        Ok(made)
    }

    /// Puts a new session into a batch.
    pub(super) fn session_into(
        &self,
        batch: &mut Batch,
        used_for: SessionUse,
        person: &Person,
        role: Option<Role>,
    ) -> Result<NewSession, Error> {
        let (setting, now) = (self.sign_in()?, self.now());
        let device = matches!(used_for, SessionUse::Device(_));
        let token = format!("{PREFIX}{}", random_text(32)?);
        let session = PersonSession {
            organisation: self.id(),
            id: PersonSessionId(self.ids().next(now)),
            version: 0,
            token_hash: sha256_hex(token.as_bytes()),
            used_for,
            person: kept(setting, person),
            issuer: setting.issuer.clone(),
            profile: None,
            device: None,
            enrollment: None,
            created: now,
            expires: ends(setting, device, now),
            revoked: None,
        };
        batch.put(session.clone());
        let detail = json!({
            "session": session.id, "for": used_for.as_str(), "subject": session.person.subject,
            "name": session.person.name, "role": role, "expires": session.expires,
        });
        self.audit_as(batch, &actor_of(&session.person), "session.opened", detail);
        Ok(NewSession {
            session,
            role,
            secret: Secret::from_text(token),
        })
    }

    /// Sessions that hold or could hold, in the order of ids, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn person_sessions(
        &self,
        after: PersonSessionId,
        limit: u32,
    ) -> Result<Vec<PersonSession>, Error> {
        let now = self.now();
        Ok(self
            .store()
            .person_sessions(self.id(), now, after, limit)
            .await?)
    }

    /// Says what one person may do, whatever their groups say: by account (letters' case aside) or by the provider's subject. At
    /// the next request it holds; again does no harm.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an empty or overlong name, or more than 500 people; [`Error::Precondition`] when nobody signs in;
    /// the store's.
    pub async fn set_own_role(
        &self,
        who: &str,
        role: Role,
        secrets: bool,
    ) -> Result<OwnRole, Error> {
        let key = key_of(who)?;
        self.again_on_conflict(|| async {
            let (mut organisation, mut setting) = self.setting().await?;
            let own = OwnRole::new(Some(role), secrets, self.now(), self.actor().to_owned());
            let detail = json!({
                "who": key, "role": role, "secrets": secrets, "before": setting.people.get(&key),
            });
            setting.people.insert(key.clone(), own.clone());
            if setting.people.len() > MOST_PEOPLE {
                return Err(Error::bad_input(
                    "account",
                    "is one too many: 500 people have roles of their own; give roles to groups",
                ));
            }
            organisation.sign_in = Some(setting);
            let mut batch = Batch::new();
            batch.put(organisation);
            self.audit_into(&mut batch, "user.set", detail);
            self.store().commit(batch).await?;
            Ok(own)
        })
        .await
    }

    /// Keeps one person out from now on, and ends every session in which they act here; sessions of devices that they brought
    /// stay. Answers how many sessions ended. With `forget` their groups count again instead, and no session ends.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an empty or overlong name; [`Error::NotFound`] when nothing of theirs is to be forgotten;
    /// [`Error::Precondition`] when nobody signs in; the store's.
    pub async fn revoke_user(&self, who: &str, forget: bool) -> Result<usize, Error> {
        let key = key_of(who)?;
        self.again_on_conflict(|| async {
            let (mut organisation, mut setting) = self.setting().await?;
            let now = self.now();
            let mut batch = Batch::new();
            let mut ended = 0;
            if forget {
                setting
                    .people
                    .remove(&key)
                    .ok_or(Error::NotFound("role of this person"))?;
            } else {
                let own = OwnRole::new(None, false, now, self.actor().to_owned());
                setting.people.insert(key.clone(), own);
                let mut after = PersonSessionId(0);
                loop {
                    let page = self.person_sessions(after, 500).await?;
                    let Some(last) = page.last() else { break };
                    after = last.id;
                    for mut session in page {
                        let device = matches!(session.used_for, SessionUse::Device(_));
                        if !device && session.revoked.is_none() && names(&key, &session.person) {
                            session.revoked = Some(now);
                            batch.put(session);
                            ended += 1;
                        }
                    }
                }
            }
            organisation.sign_in = Some(setting);
            batch.put(organisation);
            let detail = json!({ "who": key, "forgotten": forget, "sessions": ended });
            self.audit_into(&mut batch, "user.revoked", detail);
            self.store().commit(batch).await?;
            Ok(ended)
        })
        .await
    }

    async fn setting(&self) -> Result<(Organisation, SignIn), Error> {
        let mut organisation = self.fresh().await?;
        let setting = organisation.sign_in.take().ok_or_else(|| {
            let why = "nobody signs in here; `mdmd sign-in set` sets a provider";
            Error::Precondition(why.to_owned())
        })?;
        Ok((organisation, setting))
    }

    /// Ends a session: whoever shows it is refused from now on. Again does no harm.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn revoke_session(&self, id: PersonSessionId) -> Result<PersonSession, Error> {
        self.again_on_conflict(|| async {
            let session = self.store().person_session(self.id(), id).await?;
            let mut session = session.ok_or(Error::NotFound("session"))?;
            if session.revoked.is_some() {
                return Ok(session);
            }
            session.revoked = Some(self.now());
            let mut batch = Batch::new();
            batch.put(session.clone());
            let detail = json!({ "session": id, "name": session.person.name });
            self.audit_into(&mut batch, "session.revoked", detail);
            self.store().commit(batch).await?;
            Ok(session)
        })
        .await
    }
}

/// Under which name somebody's own role is kept: an account in lower case, a subject as it is.
fn key_of(who: &str) -> Result<String, Error> {
    let who = who.trim();
    line::check_filled("account", who, 255)?;
    Ok(match who.contains('@') {
        true => who.to_lowercase(),
        false => who.to_owned(),
    })
}

fn names(key: &str, person: &Person) -> bool {
    let account = person.account.as_ref().map(|a| a.to_lowercase());
    person.subject == key || account.as_deref() == Some(key)
}

impl Mdm {
    /// The session for a one-time code and the verifier of the program that began the sign-in.
    ///
    /// # Errors
    /// [`Error::Refused`] for a code that is unknown, used or over, or whose sign-in another program began; the store's.
    pub async fn redeem_sign_in(&self, code: &str, verifier: &str) -> Result<NewSession, Error> {
        const UNKNOWN: Error = Error::Refused("this code is unknown, used or over; begin again");
        let now = self.now();
        let hash = sha256_hex(code.as_bytes());
        let found = self.store().sign_in_by_code(&hash).await?;
        let mut attempt = found.filter(|a| now < a.expires).ok_or(UNKNOWN)?;
        let Some(granted) = attempt.granted.take() else {
            return Err(UNKNOWN);
        };
        let proved = match &attempt.purpose {
            Purpose::CommandLine { challenge, .. } => pkce::proves(verifier, challenge),
            _ => false,
        };
        let org = self.organisation_by_id(attempt.organisation).await?;
        let mut batch = Batch::new();
        // Used up, also by a wrong verifier: nobody tries a second one.
        let issuer = attempt.issuer.clone();
        batch.put(attempt);
        let made = match (proved, org.sign_in()) {
            (true, Ok(setting)) if setting.issuer == issuer => {
                let role = setting.role_of(&granted.person).ok_or(UNKNOWN)?;
                let used_for = SessionUse::CommandLine;
                Some(org.session_into(&mut batch, used_for, &granted.person, Some(role))?)
            }
            _ => None,
        };
        match org.store().commit(batch).await {
            Err(StoreError::Conflict) => Err(UNKNOWN),
            other => {
                other?;
                made.ok_or(UNKNOWN)
            }
        }
    }

    /// Whoever shows the token of a session for this use.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is unknown, over, revoked, for another use, or of a provider that the organisation has left;
    /// the store's.
    pub async fn session_holder(&self, token: &str, used_for: SessionUse) -> Result<Holder, Error> {
        const UNKNOWN: Error = Error::Refused("the session is unknown, revoked or over");
        let (now, hash) = (self.now(), sha256_hex(token.as_bytes()));
        let found = self.store().person_session_by_token(&hash).await?;
        let session = found
            .filter(|s| s.used_for == used_for && same(&s.token_hash, &hash))
            .ok_or(UNKNOWN)?;
        let org = match self.organisation_by_id(session.organisation).await {
            // It was taken away, and its rows go.
            Err(Error::NotFound(_)) => return Err(UNKNOWN),
            other => other?,
        };
        let setting = org.organisation().sign_in.as_ref();
        if !session.holds(setting, now) {
            return Err(UNKNOWN);
        }
        // By what is set now: a group that lost its role takes it from its people at once.
        let role = setting
            .and_then(|s| s.role_of(&session.person))
            .ok_or(UNKNOWN)?;
        let secrets = setting.is_some_and(|s| s.shows_secrets(&session.person));
        Ok(Holder {
            org,
            session,
            role,
            secrets,
        })
    }

    /// Whether a token is a session's by its form.
    #[must_use]
    pub fn is_session_token(token: &str) -> bool {
        token.starts_with(PREFIX)
    }
}
