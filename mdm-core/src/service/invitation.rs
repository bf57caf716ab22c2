//! Enrolment by download: an administrator invites one device by its serial number, and whoever has the code of the invitation
//! gets the enrolment profile, once. The code is kept as a hash only. Knows nothing of pages and addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::decision::{Decision, Tracked};
use super::enrol::random_text;
use super::{Answer, Enqueued, NewCommand, Org};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrol::minimum::version;
use crate::enrollment::EnrolSession;
use crate::error::Error;
use crate::identity::sha256_hex;
use crate::ids::{DeviceId, Serial, SessionId};
use crate::organisation::{Der, IdentityProtocol, Network, Settings, UserLogins};
use crate::secret::{Secret, SecretKind};
use crate::store::Batch;
use crate::wire::payloads::WifiPayload;
use crate::wire::requests::ClearPasscode;

/// The longest time for which an invitation may be good.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// The longest time after which a device is asked anew what it is: a year. Longer is as good as never, which is 0.
const MOST_FACTS_HOURS: u32 = 365 * 24;

/// An invitation just made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Invitation {
    /// What its holder shows. Kept by us only as a hash.
    pub code: Secret,
    /// When it can no longer be used.
    pub expires: Timestamp,
}

/// Which network enrolment profiles are to bring along.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_enums, reason = "hosts build it")]
pub enum NetworkChange<'a> {
    /// The same as before.
    #[default]
    Same,
    /// None.
    None,
    /// This one.
    This {
        /// Its name.
        ssid: &'a str,
        /// Its password; an open one has none.
        password: Option<&'a Secret>,
        /// It does not tell its name.
        hidden: bool,
    },
}

/// What is to change of what enrolments demand and bring along; what is `None` or not named stays as it is.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it")]
pub struct EnrolmentChange<'a> {
    /// Versions below which nothing enrols.
    pub minimum_os: Option<BTreeMap<Platform, String>>,
    /// Who may log in.
    pub user_logins: Option<UserLogins>,
    /// How often what a device says of itself is asked for; 0: never.
    pub facts_hours: Option<u32>,
    /// The network that enrolment profiles bring along, from the next one on.
    pub network: NetworkChange<'a>,
    /// Which kept runbooks set up devices of migrations that nobody planned here: [`Org::set_unplanned_runbooks`].
    pub unplanned_runbooks: BTreeMap<Platform, Option<String>>,
}

impl Org {
    /// Invites a device to enrol by download: one that Apple's assignment service does not know, or that is past its Setup
    /// Assistant. Its serial number need not be known yet. The profile names no device; the Authenticate that follows must
    /// name this serial number.
    ///
    /// # Errors
    /// [`Error::BadInput`] for more than 30 days or none, the store's.
    pub async fn invite(&self, serial: &Serial, valid: Duration) -> Result<Invitation, Error> {
        if valid.is_zero() || valid > LONGEST {
            return Err(Error::bad_input("valid", "must be up to 30 days"));
        }
        let code = random_text(15)?;
        let expires = self.now() + valid;
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            let known = self.store().device_by_serial(self.id(), serial).await?;
            let device = match known {
                Some(device) => Tracked::read(device),
                None => {
                    let id = DeviceId(d.next_id());
                    Tracked::new(Device::new(self.id(), id, serial.clone()))
                }
            };
            let id = SessionId(d.next_id());
            let name = random_text(12)?;
            let mut session = EnrolSession::new(self.id(), id, name, hash_of(&code), now, expires);
            session.device = Some(device.row.id);
            session.serial = Some(serial.clone());
            session.invitation = true;
            d.device = Some(device);
            d.sessions.push(Tracked::new(session));
            d.audit(
                "enrolment.invited",
                json!({ "session": id, "expires": expires }),
            );
            self.commit(d).await
        })
        .await?;
        Ok(Invitation {
            code: Secret::from_text(code),
            expires,
        })
    }

    /// Hands out the enrolment profile of an invitation. The code is good once: whoever loses the profile needs another one.
    ///
    /// # Errors
    /// [`Error::Refused`] for a code that is unknown, used or over, all alike.
    pub async fn accept_invitation(&self, address: &str, code: &str) -> Result<Answer, Error> {
        let result = self
            .again_on_conflict(|| self.use_invitation(code.trim()))
            .await;
        self.note_refusal("enrol", address, None, result).await
    }

    /// The page where an invitation is taken up. A link to it has the code behind `#`, where no server and no log sees it.
    #[must_use]
    pub fn download_url(&self) -> String {
        let url = &self.settings().enrol_url;
        format!("{url}/mdm/{}/download", self.organisation.code)
    }

    /// Changes what enrolments demand; what is `None` stays as it is. Answers the settings.
    ///
    /// # Errors
    /// As [`Self::change_enrolment`].
    pub async fn set_enrolment(
        &self,
        minimum_os: Option<BTreeMap<Platform, String>>,
        user_logins: Option<UserLogins>,
        facts_hours: Option<u32>,
    ) -> Result<Settings, Error> {
        self.change_enrolment(&EnrolmentChange {
            minimum_os,
            user_logins,
            facts_hours,
            ..EnrolmentChange::default()
        })
        .await
    }

    /// Sets the network that enrolment profiles bring along, from the next one on; `None`: none.
    ///
    /// # Errors
    /// As [`Self::change_enrolment`].
    pub async fn set_network(
        &self,
        network: Option<(&str, Option<&Secret>)>,
        hidden: bool,
    ) -> Result<(), Error> {
        let network = network.map_or(NetworkChange::None, |(ssid, password)| {
            NetworkChange::This {
                ssid,
                password,
                hidden,
            }
        });
        let change = EnrolmentChange {
            network,
            ..EnrolmentChange::default()
        };
        self.change_enrolment(&change).await.map(|_| ())
    }

    /// Changes all of it at once, or nothing. Answers the settings.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a version that is none, for more hours than a year has, for a network's name that is empty or longer
    /// than 32 bytes, for a password that is none of WPA, and for a runbook that is not kept or is for another platform; the vault's,
    /// the store's.
    pub async fn change_enrolment(&self, change: &EnrolmentChange<'_>) -> Result<Settings, Error> {
        for least in change.minimum_os.iter().flat_map(BTreeMap::values) {
            if version(least).is_none() {
                return Err(Error::bad_input(
                    "minimum_os",
                    "must be a version such as 26.4",
                ));
            }
        }
        if change
            .facts_hours
            .is_some_and(|hours| hours > MOST_FACTS_HOURS)
        {
            let problem = format!("must be 0 (never) to {MOST_FACTS_HOURS}");
            return Err(Error::bad_input("facts_hours", problem));
        }
        let network = match change.network {
            NetworkChange::Same => None,
            NetworkChange::None => Some(None),
            NetworkChange::This {
                ssid,
                password,
                hidden,
            } => Some(Some(self.sealed_network(ssid, password, hidden).await?)),
        };
        let chosen = &change.unplanned_runbooks;
        let demands = change.minimum_os.is_some()
            || change.user_logins.is_some()
            || change.facts_hours.is_some()
            || (network.is_none() && chosen.is_empty());
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            // Behind the row that whoever removes one of them writes, too.
            self.check_unplanned(chosen).await?;
            let mut batch = Batch::new();
            if let Some(network) = &network {
                organisation.network.clone_from(network);
                let ssid = network.as_ref().map(|network| &network.ssid);
                self.audit_into(&mut batch, "enrolment.network", json!({ "ssid": ssid }));
            }
            let settings = &mut organisation.settings;
            if let Some(minimum_os) = &change.minimum_os {
                settings.minimum_os.clone_from(minimum_os);
            }
            settings.user_logins = change.user_logins.unwrap_or(settings.user_logins);
            settings.facts_hours = change.facts_hours.unwrap_or(settings.facts_hours);
            for (platform, name) in chosen {
                let all = &mut settings.unplanned_runbooks;
                match name {
                    Some(name) => all.insert(*platform, name.clone()),
                    None => all.remove(platform),
                };
            }
            let settings = settings.clone();
            if demands {
                let detail = json!({
                    "minimum_os": settings.minimum_os, "user_logins": settings.user_logins, "facts_hours": settings.facts_hours,
                });
                self.audit_into(&mut batch, "enrolment.set", detail);
            }
            if !chosen.is_empty() {
                let detail = json!({ "runbooks": settings.unplanned_runbooks });
                self.audit_into(&mut batch, "enrolment.runbooks-chosen", detail);
            }
            batch.put(organisation);
            self.store().commit(batch).await?;
            Ok(settings)
        })
        .await
    }

    /// A network as it is kept.
    async fn sealed_network(
        &self,
        ssid: &str,
        password: Option<&Secret>,
        hidden: bool,
    ) -> Result<Network, Error> {
        if ssid.is_empty() || ssid.len() > 32 {
            return Err(Error::bad_input("wifi", "must be a name of 1 to 32 bytes"));
        }
        if password.is_some_and(|password| !(8..=64).contains(&password.len())) {
            let problem = "must be 8 to 63 characters, or 64 hexadecimal digits";
            return Err(Error::bad_input("wifi_password", problem));
        }
        let sealed = match password {
            Some(password) => Some(Der(self
                .seal_bytes(SecretKind::ProfilePassword, password)
                .await?)),
            None => None,
        };
        Ok(Network::new(ssid.to_owned(), hidden, sealed))
    }

    /// The payload of the network that enrolment profiles bring along.
    pub(super) async fn network(&self) -> Result<Option<WifiPayload>, Error> {
        let Some(network) = &self.organisation.network else {
            return Ok(None);
        };
        let password = match &network.password {
            Some(sealed) => {
                let kind = SecretKind::ProfilePassword;
                Some(self.open_bytes(kind, &sealed.0).await?)
            }
            None => None,
        };
        let payload = WifiPayload::new(&network.ssid, password);
        Ok(Some(payload.hidden(network.hidden)))
    }

    /// Queues the removal of a device's passcode, with the unlock token that it gave us. Answers the command's UUID.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a device that is not enrolled, [`Error::Precondition`] for one that gave no unlock token.
    pub async fn clear_passcode(&self, serial: &Serial) -> Result<String, Error> {
        let device = self.store().device_by_serial(self.id(), serial).await?;
        let enrollment = match device.and_then(|d| d.enrollment) {
            Some(id) => self.store().enrollment(self.id(), id).await?,
            None => None,
        };
        let enrollment = enrollment
            .filter(crate::enrollment::Enrollment::is_live)
            .ok_or(Error::NotFound("enrolled device of this serial number"))?;
        let token = enrollment.unlock_token.ok_or_else(|| {
            Error::Precondition("this device has given no unlock token".to_owned())
        })?;
        let token = self.open_secret(token).await?;
        let uuid = NewCommand::random_uuid()?;
        let new = NewCommand::new(uuid.clone(), ClearPasscode::new(token).into());
        match self.enqueue(&[enrollment.key], &new).await?.first() {
            Some(Enqueued::Queued) => Ok(uuid),
            _ => Err(Error::NotFound("enrolled device of this serial number")),
        }
    }

    async fn use_invitation(&self, code: &str) -> Result<Answer, Error> {
        let now = self.now();
        let invited = self
            .store()
            .session_by_challenge(self.id(), &hash_of(code))
            .await?
            .filter(|s| s.invitation && s.used_by.is_none() && now < s.expires)
            .ok_or(Error::Refused("this invitation is unknown, used or over"))?;
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        let (fresh, challenge) = self.new_session(&d, now)?;
        let mut session = Tracked::read(invited);
        session.row.challenge_hash = fresh.challenge_hash;
        session.row.expires = fresh.expires;
        session.row.told = fresh.told;
        session.row.invitation = false;
        if let Some(device) = session.row.device
            && let Some(device) = self.store().device(self.id(), device).await?
        {
            d.device = Some(Tracked::read(device));
        }
        let device = d.device.as_ref().map(|device| &device.row);
        let choice = self.protocol_of(device, IdentityProtocol::Scep);
        session.row.protocol = choice.protocol;
        let profile = self.enrolment_profile(&session.row, &challenge).await?;
        d.audit(
            "enrolment.profile-handed-out",
            json!({
                "session": session.row.id, "invitation": true,
                "identity": choice.protocol, "fall_back": choice.fall_back,
            }),
        );
        d.sessions.push(session);
        self.commit(d).await?;
        Ok(Answer::Profile(profile))
    }
}

/// The hash of no challenge has this form, so that a code buys a profile and nothing else.
fn hash_of(code: &str) -> String {
    format!("invitation:{}", sha256_hex(code.as_bytes()))
}
