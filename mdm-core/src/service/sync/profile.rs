//! ADE profiles: what they say for the organisation and for a wave, defined once for each content, read back and proved to
//! await configuration. Nothing here can switch that off.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::error::{Error, PortError};
use crate::ids::{DeviceId, ServerId, WaveId};
use crate::organisation::AdeOptions;
use crate::service::Org;
use crate::service::ports::ServerCredential;
use crate::service::sync::PAGES;
use crate::store::Batch;
use crate::wave::{DefinedProfile, Offering, Server, Wave, WaveState};

/// Most characters of a profile's name.
const NAME: usize = 125;
/// A defined profile that Apple does not show by then is taken for one that never came to be.
const SHOWN: Duration = Duration::from_secs(3600);

impl Org {
    /// Sets what ADE profiles of the organisation say. Profiles are immutable at Apple: a changed content is a new profile,
    /// which every device gets at its next assignment.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a value that Apple does not take, the store's.
    pub async fn set_ade_profile(&self, options: &AdeOptions) -> Result<(), Error> {
        check(options)?;
        self.again_on_conflict(|| async {
            let mut row = self.fresh().await?;
            row.settings.ade = options.clone();
            let mut batch = Batch::new();
            self.audit_into(&mut batch, "ade-profile.set", json!({ "options": options }));
            for server in &row.servers {
                self.put_assign_job(&mut batch, *server).await?;
            }
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The profile that a device of `wave`, or one outside of waves, should have: its UUID at this server entry, once it is
    /// defined and proved.
    pub(in crate::service) fn profile_at(
        &self,
        server: &Server,
        wave: Option<&Wave>,
    ) -> Option<String> {
        let own = wave.and_then(|w| w.ade.as_ref());
        let options = own.unwrap_or(&self.organisation.settings.ade);
        let proved = |p: &&DefinedProfile| p.proved_awaiting;
        let digest = digest(&self.ade_profile(options, wave.is_some()));
        let defined = server.profiles.get(&digest).filter(proved);
        // While a changed one is not defined yet, the last one stays: nobody in a wave gets one with a web view for that.
        let last = || server.profile.as_ref().filter(proved);
        let apart = own.is_some() || wave.is_some() && self.web_view_url().is_some();
        let found = match apart {
            true => defined,
            false => defined.or_else(last),
        };
        found.map(|p| p.uuid.clone())
    }

    /// The profile that was defined for members of a wave, or for a list without one: it says whether it was read back as one that
    /// makes devices wait.
    pub(in crate::service) fn awaiting<'a>(
        &self,
        server: &'a Server,
        wave: Option<&Wave>,
    ) -> Option<&'a DefinedProfile> {
        let own = wave.and_then(|w| w.ade.as_ref());
        if own.is_none() && self.web_view_url().is_none() {
            // It is that of all devices of the entry.
            return server.profile.as_ref();
        }
        let options = own.unwrap_or(&self.organisation.settings.ade);
        let moving = server
            .profiles
            .get(&digest(&self.ade_profile(options, true)));
        // One that is defined and not read back yet says nothing.
        moving.filter(|profile| profile.proved_awaiting)
    }

    /// Whether what the organisation's profiles say now is defined at a server entry, and was read back.
    #[must_use]
    pub fn ade_profile_stands(&self, server: &Server) -> bool {
        let digest = digest(&self.ade_profile(&self.organisation.settings.ade, false));
        let there = server.profile.as_ref();
        there.is_some_and(|p| p.digest == digest && p.proved_awaiting)
    }

    /// Defines what is lacking, proves it by reading it back, and has every device want what it should get. `None` when there
    /// are more devices to go through. Also what kept a profile from being defined, which keeps the others from nobody.
    pub(super) async fn ensure_profiles(
        &self,
        server: &Server,
        credential: &ServerCredential,
    ) -> Result<(Option<Server>, Option<Error>), Error> {
        let waves = self.waves_to(server.id).await?;
        let mut contents: BTreeMap<String, Value> = BTreeMap::new();
        let settings = &self.organisation.settings.ade;
        let default = self.ade_profile(settings, false);
        let default_digest = digest(&default);
        contents.insert(default_digest.clone(), default);
        // Another one only where there is a web view: before anything is submitted it was read back.
        let moving = self.ade_profile(settings, true);
        contents.insert(digest(&moving), moving);
        // Those of drafts too: before a wave is submitted its profile was read back.
        let drafts = self.drafts_to(server.id).await?;
        for options in waves.iter().chain(&drafts).filter_map(|w| w.ade.as_ref()) {
            let content = self.ade_profile(options, true);
            contents.insert(digest(&content), content);
        }
        let mut defined = BTreeMap::new();
        let mut lacking = None;
        for (digest, content) in contents {
            let known = server
                .profiles
                .get(&digest)
                .or(server.profile.as_ref().filter(|p| p.digest == digest));
            let profile = match known {
                Some(known) if known.proved_awaiting => Ok(known.clone()),
                Some(known) => self.prove_profile(server.id, credential, known).await,
                None => match self.define(server.id, credential, &digest, &content).await {
                    Ok(made) => self.prove_profile(server.id, credential, &made).await,
                    Err(error) => Err(error),
                },
            };
            match profile {
                Ok(profile) => {
                    defined.insert(digest, profile);
                }
                Err(error) => lacking = lacking.or(Some(error)),
            }
        }
        let mut offered = self.offered(&waves);
        if lacking.is_some() {
            // Once it is there, every device is gone through again.
            let there: Vec<&String> = defined.keys().collect();
            offered = digest(&json!([offered, there]));
        }
        if defined
            .iter()
            .all(|(d, p)| server.profiles.get(d) == Some(p))
            && server.offered.as_ref() == Some(&offered)
        {
            return Ok((Some(server.clone()), lacking));
        }
        self.again_on_conflict(|| async {
            let mut row = self
                .store()
                .server(self.id(), server.id)
                .await?
                .ok_or(Error::NotFound("server entry"))?;
            row.profiles.extend(defined.clone());
            // While a changed one is not there yet, the last one stays.
            let default = defined.get(&default_digest).cloned();
            row.profile = default.or(row.profile.take());
            if row.offering.as_ref().is_none_or(|o| o.digest != offered) {
                row.offering = Some(Offering {
                    digest: offered.clone(),
                    after: DeviceId(0),
                });
            }
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        for _ in 0..PAGES {
            let row = self
                .again_on_conflict(|| self.want_profiles(server.id))
                .await?;
            if row.offering.is_none() {
                return Ok((Some(row), lacking));
            }
        }
        Ok((None, lacking))
    }

    /// Defines a profile and keeps what it is called at once: Apple has no list of profiles, and none can be deleted.
    async fn define(
        &self,
        server: ServerId,
        credential: &ServerCredential,
        digest: &str,
        content: &Value,
    ) -> Result<DefinedProfile, Error> {
        let assignment = &self.ports().assignment;
        let uuid = assignment.define_profile(credential, content).await?;
        let made = DefinedProfile {
            uuid,
            digest: digest.to_owned(),
            proved_awaiting: false,
            defined: Some(self.now()),
        };
        self.alter_server(server, |row| {
            row.profiles.insert(digest.to_owned(), made.clone());
        })
        .await?;
        Ok(made)
    }

    /// Reads a profile back. Only one that awaits configuration is assigned.
    async fn prove_profile(
        &self,
        server: ServerId,
        credential: &ServerCredential,
        made: &DefinedProfile,
    ) -> Result<DefinedProfile, Error> {
        let assignment = &self.ports().assignment;
        let back = match assignment.read_profile(credential, &made.uuid).await {
            Err(PortError::Refused(why)) => {
                let late = made.defined.is_none_or(|at| self.now() >= at + SHOWN);
                if late {
                    // It never came to be: the next round defines another.
                    self.alter_server(server, |row| {
                        row.profiles.retain(|_, p| p.uuid != made.uuid);
                    })
                    .await?;
                }
                let what = format!("Apple does not show the ADE profile that it defined: {why}");
                return Err(PortError::retry(what).into());
            }
            answered => answered?,
        };
        let awaits = back.get("await_device_configured").and_then(Value::as_bool);
        if awaits != Some(true) {
            return Err(PortError::NeedsPerson(
                "The ADE profile, read back from Apple, does not await configuration: no device gets it.".to_owned(),
            )
            .into());
        }
        Ok(DefinedProfile {
            proved_awaiting: true,
            ..made.clone()
        })
    }

    /// Waves under way to a server entry.
    async fn waves_to(&self, server: ServerId) -> Result<Vec<Wave>, Error> {
        let submitted = |w: &Wave| matches!(w.state, WaveState::Submitted { .. });
        self.waves_that(server, submitted).await
    }

    /// Drafts of waves to a server entry.
    async fn drafts_to(&self, server: ServerId) -> Result<Vec<Wave>, Error> {
        let draft = |w: &Wave| matches!(w.state, WaveState::Draft);
        self.waves_that(server, draft).await
    }

    async fn waves_that(
        &self,
        server: ServerId,
        fits: impl Fn(&Wave) -> bool + Send,
    ) -> Result<Vec<Wave>, Error> {
        let mut all = Vec::new();
        let mut after = WaveId(0);
        loop {
            let page = self.store().waves(self.id(), after, 500).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            let here = page.into_iter().filter(|w| w.destination == server);
            all.extend(here.filter(&fits));
        }
    }

    /// Stands for which profile each open wave and everybody else gets.
    fn offered(&self, waves: &[Wave]) -> String {
        let settings = &self.organisation.settings.ade;
        let own: Vec<(WaveId, String)> = waves
            .iter()
            .filter_map(|w| Some((w.id, digest(&self.ade_profile(w.ade.as_ref()?, true)))))
            .collect();
        let paused: Vec<WaveId> = waves
            .iter()
            .filter(|w| w.paused.is_some())
            .map(|w| w.id)
            .collect();
        let outside = digest(&self.ade_profile(settings, false));
        // As it was before there were pauses: nothing is gone through anew for their sake.
        digest(&match paused.is_empty() {
            true => json!([outside, own]),
            false => json!([outside, own, paused]),
        })
    }

    /// The ADE profile: `await_device_configured` is always true, which a migration needs and every other enrolment survives.
    /// A device of a wave is sent to no web view. One that is restored from a backup asks for this profile: that of the backup may be of
    /// the service that it left, and enrols nobody anew.
    fn ade_profile(&self, options: &AdeOptions, moving: bool) -> Value {
        let anchors: Vec<String> = self
            .organisation
            .anchors
            .iter()
            .map(|der| base64::engine::general_purpose::STANDARD.encode(&der.0))
            .collect();
        let name = options.profile_name.clone().unwrap_or_else(|| {
            let name = self.display_name();
            format!(
                "{} migration",
                name.chars().take(NAME - 10).collect::<String>()
            )
        });
        let mut profile = json!({
            "profile_name": name,
            "url": format!("{}/mdm/{}/enrol", self.settings().enrol_url, self.organisation.code),
            "await_device_configured": true,
            "is_supervised": true,
            "is_mandatory": true,
            "is_mdm_removable": false,
            "is_multi_user": false,
            "is_return_to_service": false,
            "do_not_use_profile_from_backup": true,
            "allow_pairing": options.allow_pairing.unwrap_or(true),
            "devices": [],
        });
        if !anchors.is_empty() {
            profile["anchor_certs"] = json!(anchors);
        }
        if let Some(url) = self.web_view_url().filter(|_| !moving) {
            profile["configuration_web_url"] = json!(url);
        }
        // Left out rather than empty, which Apple refuses.
        if !options.skip_setup_items.is_empty() {
            profile["skip_setup_items"] = json!(options.skip_setup_items);
        }
        for (key, value, _) in texts(options) {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                profile[key] = json!(value);
            }
        }
        profile
    }
}

/// The texts of a profile beside its name: Apple's key, the value, the most characters.
fn texts(options: &AdeOptions) -> [(&'static str, Option<&String>, usize); 6] {
    [
        ("department", options.department.as_ref(), 125),
        (
            "support_phone_number",
            options.support_phone_number.as_ref(),
            50,
        ),
        (
            "support_email_address",
            options.support_email_address.as_ref(),
            250,
        ),
        ("org_magic", options.org_magic.as_ref(), 256),
        ("language", options.language.as_ref(), 3),
        ("region", options.region.as_ref(), 2),
    ]
}

/// Whether Apple would take it.
pub(in crate::service) fn check(options: &AdeOptions) -> Result<(), Error> {
    let name = ("profile_name", options.profile_name.as_ref(), NAME);
    for (key, value, most) in texts(options).into_iter().chain([name]) {
        let length = value.map_or(1, |v| v.chars().count());
        if length == 0 || length > most {
            return Err(Error::bad_input(
                key,
                format!("must have 1 to {most} characters, or be left out"),
            ));
        }
    }
    Ok(())
}

fn digest(content: &Value) -> String {
    crate::identity::sha256_hex(content.to_string().as_bytes())
}
