//! The door of Automated Device Enrollment: signed machine information in, signed enrolment profile out. The signature is
//! the only proof of the serial number before a certificate is issued.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::acme::MOST_BEGUN;
use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::{Answer, Org};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrol::machine_info::MachineInfo;
use crate::enrol::minimum;
use crate::enrol::profile::{EnrolmentProfile, IdentitySource, sign};
use crate::enrol::protocol::{Choice, choose_for, not_below};
use crate::enrollment::{EnrolSession, Told};
use crate::error::Error;
use crate::ids::SessionId;
use crate::migration::Event;
use crate::organisation::{Der, IdentityProtocol, Issuer};
use crate::person::{AccountMode, Person, SignedIn};
use crate::secret::{Secret, SecretKind};
use crate::wire::payloads::{ConfigurationProfile, EnrollmentMode};

/// Namespace of enrolment profiles' UUIDs.
const PROFILES: Uuid = Uuid::from_u128(0x6d64_6d64_0000_456e_726f_0000_5072_6f66);

/// How many sessions a device may have that it has not used.
const INVITATIONS: usize = 8;
/// A profile is handed out again while its challenge is good for so long.
const LEAST: Duration = Duration::from_mins(10);

/// Where a new session of a device goes.
struct Place {
    /// Into the row of this one, which nobody has used.
    instead_of: Option<EnrolSession>,
    /// The other unused ones.
    others: Vec<SessionId>,
    /// It asked too often: the session that it gets again.
    again: Option<EnrolSession>,
}

impl Org {
    /// Answers a device's request for its enrolment profile.
    ///
    /// # Errors
    /// [`Error::BadInput`] or [`Error::Refused`] when the machine information is not signed by a device CA that this
    /// organisation trusts, or names a serial number that is not in its list.
    pub async fn enrol(&self, address: &str, body: &[u8]) -> Result<Answer, Error> {
        let info = match self.machine_info(body) {
            Ok(info) => info,
            Err(error) => {
                let refused = Err(error);
                return self.note_refusal("enrol", address, None, refused).await;
            }
        };
        let result = self
            .again_on_conflict(|| self.hand_out_profile(&info, None))
            .await;
        self.note_refusal("enrol", address, Some(&info.serial), result)
            .await
    }

    /// The profile of a device, for which this person has signed in at it.
    pub(super) async fn hand_out_profile(
        &self,
        info: &MachineInfo,
        person: Option<&Person>,
    ) -> Result<Answer, Error> {
        let now = self.now();
        let device = self
            .store()
            .device_by_serial(self.id(), &info.serial)
            .await?
            .filter(|d| d.record.as_ref().is_some_and(|r| !r.gone))
            .ok_or(Error::Refused(
                "this serial number is not in the organisation's device list",
            ))?;
        if person.is_none() {
            self.lets_in_unsigned(&device)?;
        }
        if let Some(answer) = self.update_first(info, &device) {
            return Ok(Answer::UpdateFirst(answer));
        }
        let awaits = self.profile_awaits(&device).await?;
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        let (mut session, challenge) = self.new_session(&d, now)?;
        let place = self.place_for(&device, now).await?;
        // Not where somebody has signed in, nor that of one who did: it would say that somebody else did, or nobody.
        let signed_in = place.again.as_ref().is_some_and(|s| s.signed_in.is_some());
        if person.is_none()
            && !signed_in
            && let Some(profile) = self.hand_out_again(&place).await?
        {
            return Ok(Answer::Profile(profile));
        }
        if let Some(old) = &place.instead_of {
            (session.id, session.version) = (old.id, old.version);
        }
        let sealed = self
            .seal_bytes(SecretKind::ScepChallenge, &challenge)
            .await?;
        session.challenge = Some(Der(sealed));
        session.device = Some(device.id);
        session.serial = Some(info.serial.clone());
        session.udid = Some(info.udid.clone());
        session.awaits = awaits;
        let platform = Platform::of_product(&info.product).or_else(|| device.platform());
        if let Some(told) = &mut session.told {
            told.platform = platform;
        }
        let choice = choose_for(
            &self.organisation.settings,
            platform,
            Some(&info.product),
            info.os_version.as_deref(),
        );
        session.protocol = choice.protocol;
        session.signed_in = person.map(|p| SignedIn::of(p, now));
        let profile = self.enrolment_profile(&session, &challenge).await?;

        let open = device.open_move;
        let mut tracked = Tracked::read(device);
        let facts = &mut tracked.row.facts;
        facts.learned = Some(now);
        facts.product = Some(info.product.clone());
        facts.udid = Some(info.udid.clone());
        if info.os_version.is_some() {
            facts.os_version.clone_from(&info.os_version);
        }
        if info.build.is_some() {
            facts.build.clone_from(&info.build);
        }
        tracked.row.invitations = place.others;
        tracked.row.invitations.push(session.id);
        // Of an enrolment without a sign-in nobody says that somebody signed in.
        tracked.row.signed_in.clone_from(&session.signed_in);
        d.device = Some(tracked);
        d.audit(
            "enrolment.profile-handed-out",
            json!({
                "session": session.id, "os": info.os_version, "product": info.product,
                "identity": choice.protocol, "fall_back": choice.fall_back, "signed_in": session.signed_in,
            }),
        );
        d.sessions.push(match place.instead_of {
            Some(old) => {
                let mut tracked = Tracked::read(old);
                tracked.row = session;
                tracked
            }
            None => Tracked::new(session),
        });
        if let Some(open) = open {
            self.load_attempt(&mut d, open).await?;
            d.tell_move(&Event::ProfileFetched);
        }
        self.commit(d).await?;
        Ok(Answer::Profile(profile))
    }

    /// By which protocol a device gets an identity of whose system we know what it said before. `before` is how it got the one
    /// that it has: a device that could attest does not come to be one that cannot by saying so.
    pub(super) fn protocol_of(&self, device: Option<&Device>, before: IdentityProtocol) -> Choice {
        let (settings, facts) = (
            &self.organisation.settings,
            device.map(|device| &device.facts),
        );
        let choice = choose_for(
            settings,
            device.and_then(Device::platform),
            facts.and_then(|facts| facts.product.as_deref()),
            facts.and_then(|facts| facts.os_version.as_deref()),
        );
        let held = match device.and_then(|device| device.attested.as_ref()) {
            Some(_) => IdentityProtocol::AcmeAttested,
            None => before,
        };
        let listed = device
            .and_then(|device| device.record.as_ref())
            .and_then(|record| Platform::of_family(&record.family));
        not_below(settings, listed, choice, held)
    }

    /// The profile of a device that has asked too often: that of its newest session, with the same challenge. Nothing is
    /// written, and no challenge that the device may be about to use is taken from it.
    async fn hand_out_again(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        let Some(session) = &place.again else {
            return Ok(None);
        };
        let Some(sealed) = &session.challenge else {
            return Ok(None);
        };
        let opened = self.open_bytes(SecretKind::ScepChallenge, &sealed.0).await;
        match opened {
            Ok(challenge) => Ok(Some(self.enrolment_profile(session, &challenge).await?)),
            Err(error) => {
                tracing::error!(organisation = %self.id(), session = %session.id, %error, "a challenge cannot be opened; another is made");
                Ok(None)
            }
        }
    }

    /// Where a new session of a device goes. Machine information carries no date: who has recorded one may send it for
    /// ever, and must not fill the database with it. So a device has few unused sessions at a time; beyond that it gets the
    /// newest again.
    async fn place_for(&self, device: &Device, now: Timestamp) -> Result<Place, Error> {
        let mut unused = Vec::new();
        for id in &device.invitations {
            // One that is gone, or cannot be read, is none.
            let session = readable(self.store().session(self.id(), *id).await)?;
            unused.extend(session.filter(|s| s.used_by.is_none()));
        }
        let over = unused.iter().position(|s| s.expires < now);
        let crowded = over.is_none() && unused.len() >= INVITATIONS;
        let mut newest = crowded.then(|| unused.last().cloned()).flatten();
        if let Some(session) = &newest {
            // One that was begun with too often is of no use to the device: it gets another in place of its oldest.
            let order = readable(self.store().acme_order(self.id(), session.id).await)?;
            newest = newest.filter(|_| order.is_none_or(|order| order.begun < MOST_BEGUN));
        }
        // With whatever is left of its life: one that is nearly over would be refused before the device has used it.
        let minutes = u64::from(self.organisation.settings.session_minutes);
        let least = LEAST.min(Duration::from_mins(minutes) / 2);
        let again = newest.filter(|session| session.expires >= now + least);
        let at = over.or(crowded.then_some(0));
        let instead_of = at.map(|at| unused.remove(at));
        Ok(Place {
            instead_of,
            others: unused.into_iter().map(|s| s.id).collect(),
            again,
        })
    }

    /// What a device is told that is older than the organisation allows. One that is on its way to us is not sent away: what
    /// it would do then, nobody documents.
    fn update_first(&self, info: &MachineInfo, device: &Device) -> Option<Vec<u8>> {
        let platform = Platform::of_product(&info.product).or_else(|| device.platform())?;
        let least = self.organisation.settings.minimum_os.get(&platform)?;
        let moving = device.open_move.is_some();
        minimum::answer(info, least).filter(|_| !moving)
    }

    pub(super) fn new_session(
        &self,
        d: &Decision<'_>,
        now: Timestamp,
    ) -> Result<(EnrolSession, Secret), Error> {
        let (challenge, code) = (random_text(32)?, random_text(12)?);
        let hash = crate::identity::sha256_hex(challenge.as_bytes());
        let expires =
            now + Duration::from_secs(u64::from(self.organisation.settings.session_minutes) * 60);
        let mut session =
            EnrolSession::new(self.id(), SessionId(d.next_id()), code, hash, now, expires);
        session.told = self.organisation.push.as_ref().map(|push| Told {
            topic: push.topic.clone(),
            server_url: self.door(&self.settings().device_url, "command"),
            check_in_url: self.door(&self.settings().device_url, "checkin"),
            platform: None,
            account: None,
        });
        Ok((session, Secret::from_text(challenge)))
    }

    /// Whether the ADE profile in force is ours and awaits configuration; `None` when that is not known.
    async fn profile_awaits(&self, device: &Device) -> Result<Option<bool>, Error> {
        let Some(record) = &device.record else {
            return Ok(None);
        };
        let Some(server) = self.store().server(self.id(), record.server).await? else {
            return Ok(None);
        };
        let in_force = record.profile_in_force();
        Ok(in_force.and_then(|uuid| server.known_to_await(uuid)))
    }

    /// The address of one of this organisation's doors.
    fn door(&self, base: &str, door: &str) -> String {
        format!("{base}/mdm/{}/{door}", self.organisation.code)
    }

    /// How the device of a session gets its identity.
    async fn identity_source(
        &self,
        session: &EnrolSession,
        challenge: &Secret,
    ) -> Result<IdentitySource, Error> {
        let organisation = &self.organisation;
        Ok(match &organisation.issuer {
            Issuer::BuiltIn if session.protocol != IdentityProtocol::Scep => IdentitySource::Acme {
                directory_url: self.acme_directory_url(),
                client_identifier: Some(challenge.clone()),
                hardware_bound: true,
                attest: true,
            },
            Issuer::BuiltIn => {
                let ca = organisation
                    .identity_cas
                    .first()
                    .ok_or(Error::NotFound("identity CA"))?;
                IdentitySource::Scep {
                    url: self.door(&self.settings().enrol_url, "scep"),
                    name: None,
                    challenge: Some(challenge.clone()),
                    authority: Some(ca.certificate.0.clone()),
                }
            }
            Issuer::Scep {
                url,
                name,
                challenge,
                authority,
            } => IdentitySource::Scep {
                url: url.clone(),
                name: name.clone(),
                challenge: match challenge {
                    Some(word) => Some(self.open_secret_cached(*word).await?),
                    None => None,
                },
                authority: authority.as_ref().map(|der| der.0.clone()),
            },
            Issuer::Acme {
                directory_url,
                hardware_bound,
                attest,
            } => IdentitySource::Acme {
                directory_url: directory_url.clone(),
                client_identifier: None,
                hardware_bound: *hardware_bound,
                attest: *attest,
            },
        })
    }

    pub(super) async fn enrolment_profile(
        &self,
        session: &EnrolSession,
        challenge: &Secret,
    ) -> Result<Vec<u8>, Error> {
        let organisation = &self.organisation;
        let told = session.told.clone().ok_or(Error::Precondition(
            "no push certificate is imported yet".to_owned(),
        ))?;
        let signer = organisation
            .profile_signer
            .as_ref()
            .ok_or(Error::NotFound("profile signer"))?;
        let mut profile = EnrolmentProfile::new(
            format!("mdmd.{}.enrolment", organisation.code),
            Uuid::new_v5(&PROFILES, session.code.as_bytes()),
            self.display_name().to_owned(),
            self.identity_source(session, challenge).await?,
            session.code.clone(),
            told.topic,
            told.server_url,
            told.check_in_url,
        );
        profile.platform = told.platform;
        profile.wifi = self.network().await?;
        profile.account = told.account.map(|told| {
            let mode = match told.mode {
                AccountMode::Byod => EnrollmentMode::Byod,
                AccountMode::Adde => EnrollmentMode::Adde,
            };
            (mode, told.account)
        });
        profile.anchors = organisation
            .anchors
            .iter()
            .map(|der| der.0.clone())
            .collect();
        let key = self.open_secret_cached(signer.key).await?;
        let xml = profile.build().encode();
        sign(&xml, &key, &signer.certificate.0, &[])
            .map_err(|_| Error::Crypto("the enrolment profile could not be signed"))
    }

    /// A profile with the organisation's network alone, signed.
    pub(super) async fn network_profile(&self) -> Result<Option<Vec<u8>>, Error> {
        let (Some(wifi), Some(signer)) = (self.network().await?, &self.organisation.profile_signer)
        else {
            return Ok(None);
        };
        let identifier = format!("mdmd.{}.network", self.organisation.code);
        let uuid = Uuid::new_v5(&PROFILES, identifier.as_bytes());
        let name = format!("{} Network", self.display_name());
        let mut profile = ConfigurationProfile::new(&identifier, uuid, name);
        let payload = wifi.payload(uuid, &format!("{identifier}.wifi"));
        profile.payloads.push(payload.named("Network"));
        let key = self.open_secret_cached(signer.key).await?;
        sign(&profile.encode(), &key, &signer.certificate.0, &[])
            .map(Some)
            .map_err(|_| Error::Crypto("the network's profile could not be signed"))
    }
}

/// `bytes` random bytes of the operating system as URL-safe text.
pub(super) fn random_text(bytes: usize) -> Result<String, Error> {
    use base64::Engine as _;
    let mut random = vec![0_u8; bytes];
    openssl::rand::rand_bytes(&mut random).map_err(|_| Error::Crypto("no randomness"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}
