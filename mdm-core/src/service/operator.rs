//! What people do: make an organisation, bring in Apple's credentials, look at a device, release it, reveal a secret. Every
//! act is in the record; revealing takes a reason.

use serde::Serialize;
use serde_json::json;

use super::decision::{Decision, Tracked};
use super::enrol::random_text;
use super::give_up::WasGivenUp;
use super::hand_over::left_for_good;
use super::wave::sentence;
use super::{Mdm, Org};
use crate::audit::{ApiToken, AuditEntry, Role};
use crate::ca::Ca;
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::evidence::{Mark, Observed, marks};
use crate::filevault::{EscrowKey, KeyCustody, own_key};
use crate::ids::{
    AuditId, MoveId, OrganisationCode, OrganisationId, SecretId, Serial, SetUpId, TokenId,
};
use crate::migration::{
    Event, Move, MoveState, OperatorAct, Outcome, SetUp, VisibleState, visible_state,
};
use crate::organisation::{Der, KeyedCertificate, Organisation, check_name};
use crate::secret::{Secret, SecretKind};
use crate::store::Batch;

/// The end of an enrolment session that was closed: before anything ever happened.
const NEVER_OPEN: Timestamp = Timestamp::from_millis(0);

/// What [`Mdm::create_organisation`] made.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewOrganisation {
    /// Its handle.
    pub org: Org,
    /// The first administrator's token. Shown once; kept only as a hash.
    pub administrator_token: Secret,
}

/// The single-object report of a device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeviceReport {
    /// What people see of it.
    pub state: Option<VisibleState>,
    /// The device with the age of each fact.
    pub device: Device,
    /// When it spoke last, whatever it said. Of a word to another process of the server this one learns within half a minute.
    pub heard: Option<Timestamp>,
    /// Its enrolments, oldest first.
    pub enrollments: Vec<Enrollment>,
    /// The set-up of the newest enrolment.
    pub set_up: Option<SetUp>,
    /// Its newest attempt of which anything was at Apple, unless it was set up without one since.
    pub attempt: Option<Move>,
    /// That a person has given this attempt up.
    pub given_up: Option<WasGivenUp>,
    /// The six marks of its newest enrolment: what proves each, or what is missing.
    pub marks: Vec<Mark>,
    /// Which secrets we hold, without their content.
    pub secrets: Vec<HeldSecret>,
    /// When it had left us for good: in the list of another service, and checked out or silent for days.
    pub moved: Option<Timestamp>,
    /// Of a Mac, which recovery key we hold.
    pub recovery_key: Option<KeyCustody>,
    /// Everything that happened, oldest first.
    pub timeline: Vec<AuditEntry>,
}

/// A secret that we hold, without its content.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HeldSecret {
    /// Its key.
    pub id: SecretId,
    /// What kind.
    pub kind: &'static str,
    /// When it was sealed.
    pub created: Timestamp,
    /// When something newer took its place.
    pub replaced: Option<Timestamp>,
    /// When its content was overwritten.
    pub destroyed: Option<Timestamp>,
}

impl Mdm {
    /// Makes an organisation: data key, identity CA, escrow certificate, profile signer, first administrator token.
    ///
    /// # Errors
    /// [`Error::Crypto`], the vault's, the store's.
    pub async fn create_organisation(
        &self,
        name: &str,
        anchors: Vec<Der>,
    ) -> Result<NewOrganisation, Error> {
        let name = check_name(name)?;
        let now = self.now();
        let ids = &self.inner.ids;
        let id = OrganisationId(ids.next(now));
        let data_key = self.inner.vault.new_data_key(id).await?;
        let mut organisation = Organisation::new(
            id,
            OrganisationCode::random()?,
            name.to_owned(),
            data_key,
            now,
        );
        organisation.anchors = anchors;
        let org = self.handle(organisation.clone());
        let mut batch = Batch::new();
        let mut keyed =
            async |common_name: &str, kind: SecretKind| -> Result<KeyedCertificate, Error> {
                let authority = Ca::create(common_name, now)
                    .map_err(|_| Error::Crypto("a certificate could not be made"))?;
                let key = SecretId(ids.next(now));
                let private = authority
                    .private_key()
                    .map_err(|_| Error::Crypto("a key could not be written"))?;
                batch.put(org.seal(key, kind, None, &private, now).await?);
                Ok(KeyedCertificate {
                    certificate: Der(authority.certificate().to_vec()),
                    key,
                })
            };
        organisation.identity_cas = vec![
            keyed(
                &format!("{name} device identities"),
                SecretKind::CaPrivateKey,
            )
            .await?,
        ];
        organisation.profile_signer =
            Some(keyed(&format!("{name} profiles"), SecretKind::ProfileSigningKey).await?);
        let escrow = EscrowKey::create(&format!("{name} recovery key escrow"), now)
            .map_err(|_| Error::Crypto("a certificate could not be made"))?;
        let escrow_key = SecretId(ids.next(now));
        batch.put(
            org.seal(
                escrow_key,
                SecretKind::EscrowPrivateKey,
                None,
                &escrow.key,
                now,
            )
            .await?,
        );
        organisation.escrow = Some(KeyedCertificate {
            certificate: Der(escrow.certificate),
            key: escrow_key,
        });
        let token = random_text(32)?;
        let hash = crate::identity::sha256_hex(token.as_bytes());
        batch.put(ApiToken::new(
            id,
            TokenId(ids.next(now)),
            "first administrator",
            Role::Admin,
            hash,
            now,
        ));
        batch.put(AuditEntry::new(
            id,
            AuditId(ids.next(now)),
            now,
            "operator",
            "organisation.created",
            None,
            json!({ "name": name }),
        ));
        batch.put(organisation);
        self.inner.store.commit(batch).await?;
        Ok(NewOrganisation {
            org: self.organisation_by_id(id).await?,
            administrator_token: Secret::from_text(token),
        })
    }

    /// The token and its organisation, by the text that a person shows.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is unknown, revoked or expired, or its organisation was taken away.
    pub async fn authenticate(&self, token: &str) -> Result<ApiToken, Error> {
        const UNKNOWN: Error = Error::Refused("the token is unknown, revoked or expired");
        let hash = crate::identity::sha256_hex(token.as_bytes());
        let now = self.now();
        // None of an organisation that was taken away, though its rows may be there yet.
        let found = self.inner.store.token_by_hash(&hash).await?;
        found
            .filter(|t| t.revoked.is_none() && t.expires.is_none_or(|end| now < end))
            .ok_or(UNKNOWN)
    }
}

impl Org {
    /// The device that Apple calls so.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub(super) async fn device_named(&self, serial: &Serial) -> Result<Device, Error> {
        let device = self.store().device_by_serial(self.id(), serial).await?;
        device.ok_or(Error::NotFound("device"))
    }

    /// Everything about one device.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn device_report(&self, serial: &Serial) -> Result<DeviceReport, Error> {
        let device = self.device_named(serial).await?;
        let enrollments = self
            .store()
            .enrollments_of_device(self.id(), device.id)
            .await?;
        let set_up = match enrollments.last() {
            Some(newest) => self.store().set_up_of(self.id(), newest.id).await?,
            None => None,
        };
        let mut timeline = Vec::new();
        let mut after = AuditId(0);
        loop {
            let page = self
                .store()
                .audit_of(self.id(), device.id, after, 500)
                .await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            timeline.extend(page);
        }
        let attempt = self.attempt_shown(&device, set_up.as_ref()).await?;
        let given_up = attempt
            .as_ref()
            .and_then(|attempt| WasGivenUp::of(attempt, &timeline));
        let secrets = self.store().secrets(self.id(), device.id).await?;
        let heard = self.last_heard(&[device.id]).await?.remove(&device.id);
        let heard = heard
            .max(set_up.as_ref().and_then(|s| s.heard))
            .max(device.facts.learned);
        let moved = left_for_good(&device, enrollments.last(), self.silence(), self.now());
        let is_mac = device.platform().is_some_and(Platform::is_mac);
        // Before it has enrolled a hand-off may have brought one of a device of which nobody has said that it is a Mac.
        let is_key = |kind| {
            matches!(
                kind,
                SecretKind::RecoveryKey | SecretKind::OriginalRecoveryKey
            )
        };
        let has_key = secrets.iter().any(|secret| is_key(secret.kind));
        let recovery_key = (is_mac || has_key).then(|| KeyCustody::of(&secrets));
        let own_key = secrets.iter().find_map(own_key);
        let secrets = secrets
            .into_iter()
            .map(|s| HeldSecret {
                id: s.id,
                kind: s.kind.as_str(),
                created: s.created,
                replaced: s.replaced,
                destroyed: s.destroyed,
            })
            .collect();
        let original = self.store().original(self.id(), device.id).await?;
        let managed_user = original.as_ref().and_then(|o| o.managed_user.as_ref());
        let plan = match &set_up {
            // A runbook that cannot be read leaves the marks that need none.
            Some(set_up) => self.plan(set_up.runbook).await.ok(),
            None => None,
        };
        let marks = marks(&Observed {
            device: &device,
            set_up: set_up.as_ref(),
            plan: plan.as_deref(),
            managed_user: managed_user.map(|user| user.value.name.as_str()),
            own_key,
        });
        Ok(DeviceReport {
            marks,
            state: visible_state(attempt.as_ref(), set_up.as_ref()),
            device,
            heard,
            enrollments,
            set_up,
            attempt,
            given_up,
            secrets,
            recovery_key,
            moved,
            timeline,
        })
    }

    /// The attempt that tells how a device stands: the open one, that of its set-up, or one that ended since without a set-up.
    async fn attempt_shown(
        &self,
        device: &Device,
        set_up: Option<&SetUp>,
    ) -> Result<Option<Move>, Error> {
        let of_set_up = set_up.and_then(|s| s.move_id);
        let ended = device.last_move.filter(|last| of_set_up < Some(*last));
        if let (None, Some(last)) = (device.open_move, ended)
            && let Some(last) = self.store().attempt(self.id(), last).await?
            // Of one that was taken out there was nothing at Apple; and whoever came without an attempt since is no longer that one.
            && last.state != MoveState::Ended(Outcome::Withdrawn)
            && set_up.is_none_or(|s| Some(s.began) <= last.ended)
        {
            return Ok(Some(last));
        }
        match device.open_move.or(of_set_up) {
            Some(id) => Ok(self.store().attempt(self.id(), id).await?),
            None => Ok(None),
        }
    }

    /// Does what a person may do to one device's set-up.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn act(&self, serial: &Serial, act: OperatorAct) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let device = self.device_named(serial).await?;
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            let set_up = match device.enrollment {
                Some(enrollment) => self.store().set_up_of(self.id(), enrollment).await?,
                None => None,
            };
            let set_up = set_up.ok_or(Error::NotFound("set-up of this device"))?;
            d.device = Some(Tracked::read(device));
            d.audit("operator.acted", json!({ "act": act }));
            self.load_for_set_up(&mut d, set_up).await?;
            d.tell_set_up(&Event::Operator(act.clone()));
            self.commit(d).await
        })
        .await
    }

    /// Revokes every identity of a device: those of its enrolment and those of any that went before, one that a renewal has
    /// announced and one that was issued and never used. They are refused from the next message on, and no open enrolment
    /// profile of the device, and no invitation, yields another. The device stays enrolled on its side and can come back only by enrolling anew;
    /// commands that wait for it stay in its queue. Answers how many certificates were revoked; repeating it revokes none.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason, [`Error::NotFound`] when the device has neither enrolment nor identity and
    /// is not invited, the store's.
    pub async fn revoke_identity(&self, serial: &Serial, reason: &str) -> Result<usize, Error> {
        let reason = reason.trim();
        sentence("reason", reason, false)?;
        if reason.is_empty() {
            return Err(Error::bad_input(
                "reason",
                "must say why the identity is revoked",
            ));
        }
        self.again_on_conflict(|| async {
            let (store, id) = (self.store(), self.id());
            let device = self.device_named(serial).await?;
            let now = self.now();
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            let identities = store.certificates_of_device(id, device.id).await?;
            let open = store.open_sessions_of_device(id, device.id).await?;
            let mut enrollments = store.enrollments_of_device(id, device.id).await?;
            let newest = enrollments.pop();
            // One that was only invited has neither, and its invitation is what may yet bring one.
            if newest.is_none() && identities.is_empty() && open.is_empty() {
                return Err(Error::NotFound("enrolment of this device"));
            }
            d.device = Some(Tracked::read(device));
            let mut revoked = Vec::new();
            for mut row in identities {
                if row.revoked.is_none() {
                    row.revoked = Some(now);
                    revoked.push(row.sha256.clone());
                    d.batch.put(row);
                }
            }
            let closed = open.iter().filter(|s| s.expires > NEVER_OPEN).count();
            for session in open {
                let mut session = Tracked::read(session);
                session.row.expires = session.row.expires.min(NEVER_OPEN);
                d.sessions.push(session);
            }
            if revoked.is_empty() && closed == 0 {
                return Ok(0);
            }
            // What was verified under the old version is verified again, in every process.
            d.batch.put(self.fresh().await?);
            d.audit(
                "identity.revoked",
                json!({ "enrolment": newest.as_ref().map(|e| e.id), "certificates": revoked, "sessions": closed, "reason": reason }),
            );
            if let Some(newest) = newest {
                d.track(newest);
            }
            self.commit(d).await?;
            Ok(revoked.len())
        })
        .await
    }

    /// Holds under way: set-ups that wait for us or are being released, oldest hold first, after the one that
    /// [`SetUp::held_since`] and id name. A row that cannot be read is left out, and reported in the log.
    ///
    /// # Errors
    /// The store's.
    pub async fn holds(
        &self,
        after: Option<(Timestamp, SetUpId)>,
        limit: u32,
    ) -> Result<Vec<SetUp>, Error> {
        Ok(self.store().holds(self.id(), after, limit).await?)
    }

    /// Asks Apple to cancel the migration of a member; proved by re-reading.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn cancel(&self, attempt: MoveId) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let row = self
                .store()
                .attempt(self.id(), attempt)
                .await?
                .ok_or(Error::NotFound("attempt"))?;
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            self.load_for_attempt(&mut d, row).await?;
            d.tell_move(&Event::CancelAsked);
            self.commit(d).await
        })
        .await
    }

    /// A set-up by id.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_up(&self, id: SetUpId) -> Result<Option<SetUp>, Error> {
        Ok(self.store().set_up(self.id(), id).await?)
    }

    /// The organisation as it is now, not as it was when the handle was made.
    pub(super) async fn fresh(&self) -> Result<Organisation, Error> {
        self.store()
            .organisation(self.id())
            .await?
            .ok_or(Error::NotFound("organisation"))
    }

    pub(super) fn audit_into(&self, batch: &mut Batch, what: &str, detail: serde_json::Value) {
        let now = self.now();
        batch.put(self.entry(now, self.actor(), what, None, detail));
    }
}
