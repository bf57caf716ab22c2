//! The live checklist of an organisation: facts gathered a page at a time, judged against the latest deadline. Asks nobody; what a host has
//! seen from outside it has told before.

mod prepared;

use std::collections::{BTreeMap, BTreeSet};

use super::{Mdm, Org};
use crate::checklist::ItemState::{Later, Missing, Warn};
use crate::checklist::{Checklist, ChecklistItem, Outside, Stage};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::identity;
use crate::ids::{DeviceId, MoveId, OrganisationId, WaveId};
use crate::migration::{Move, MoveState, Outcome};
use crate::organisation::Issuer;
use crate::project::Project;
use crate::wave::{Preset, Wave, WaveState};

/// Rows that are read at a time.
const PAGE: u32 = 1_000;

/// What the members of all waves say.
#[derive(Default)]
struct Members {
    latest: Option<Timestamp>,
    /// By wave: all, planned, open, ended well, ended otherwise, needing a person.
    by_wave: BTreeMap<WaveId, [u64; 6]>,
    /// By wave: devices that have moved, those of them that the original may list still, and those of which nobody has said that it
    /// does not.
    left_behind: BTreeMap<WaveId, [u64; 3]>,
    /// By wave: models of members, and those of which one has migrated.
    models: BTreeMap<WaveId, [BTreeSet<String>; 2]>,
}

impl Members {
    /// Which models are tried, and what is to be cleaned up.
    fn note(&mut self, attempt: &Move, device: &Device) {
        if let Some(model) = model_of(device) {
            let [known, tried] = self.models.entry(attempt.wave).or_default();
            if attempt.has_moved() {
                tried.insert(model.clone());
            }
            known.insert(model);
        }
        if attempt.has_moved() {
            let listed = attempt.is_left_behind(device);
            let moved = self.left_behind.entry(attempt.wave).or_default();
            moved[0] += 1;
            moved[1] += u64::from(listed);
            moved[2] += u64::from(listed && attempt.removed.is_none());
        }
    }
}

impl Mdm {
    /// Notes what was seen of an organisation's doors by their public names: for its checklist, and for the what-if.
    pub fn tell_outside(&self, organisation: OrganisationId, outside: Outside) {
        if let Ok(mut all) = self.inner.outside.lock() {
            all.insert(organisation, outside);
        }
    }

    /// What was last seen of them by this process.
    #[must_use]
    pub fn outside(&self, organisation: OrganisationId) -> Option<Outside> {
        self.inner.outside.lock().ok()?.get(&organisation).cloned()
    }
}

impl Org {
    /// The addresses of this organisation's doors, by the names that its devices are given: name, address, and whether a bare look
    /// gets a good answer there (and not a refusal of its method).
    #[must_use]
    pub fn doors(&self) -> Vec<(&'static str, String, bool)> {
        let settings = &self.mdm.inner.settings;
        let code = &self.organisation.code;
        let (device, enrol) = (&settings.device_url, &settings.enrol_url);
        vec![
            ("check-in", format!("{device}/mdm/{code}/checkin"), false),
            ("enrolment", format!("{enrol}/mdm/{code}/enrol"), false),
            (
                "SCEP",
                format!("{enrol}/mdm/{code}/scep?operation=GetCACaps"),
                true,
            ),
        ]
    }

    /// What a migration needs, in order, and how each of it stands now.
    ///
    /// # Errors
    /// The store's.
    pub async fn checklist(&self) -> Result<Checklist, Error> {
        let now = self.now();
        let members = self.members_at_a_glance().await?;
        let mut waves = Vec::new();
        let mut after = WaveId(0);
        loop {
            let page = self.store().waves(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            waves.extend(page);
        }
        waves.retain(|wave: &Wave| !wave.ad_hoc);
        let mut items = self.outside_items(members.latest, now);
        items.extend(self.connect(members.latest, now).await?);
        items.extend(self.prepare(&waves, members.latest, now).await?);
        items.extend(self.learn(now).await?);
        items.extend(self.journey(&waves, &members, now).await?);
        items.sort_by_key(|item| item.stage);
        Ok(Checklist::new(now, members.latest, items))
    }

    async fn members_at_a_glance(&self) -> Result<Members, Error> {
        let mut members = Members::default();
        let mut after = MoveId(0);
        loop {
            let page = self.store().all_attempts(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(members);
            };
            after = last.id;
            let ids: Vec<DeviceId> = page.iter().map(|attempt| attempt.device).collect();
            let devices = self.store().devices_of(self.id(), &ids).await?;
            let devices: BTreeMap<DeviceId, Device> =
                devices.into_iter().map(|d| (d.id, d)).collect();
            for attempt in &page {
                let of = members.by_wave.entry(attempt.wave).or_default();
                let place = match &attempt.state {
                    MoveState::Ended(Outcome::Withdrawn | Outcome::Cancelled) => continue,
                    MoveState::Ended(Outcome::Migrated) => 3,
                    MoveState::Ended(_) => 4,
                    _ if attempt.is_planned() => 1,
                    _ => 2,
                };
                of[0] += 1;
                of[place] += 1;
                of[5] += u64::from(attempt.attention.is_some() && !attempt.is_planned());
                if let Some(device) = devices.get(&attempt.device) {
                    members.note(attempt, device);
                }
                if !attempt.is_ended() {
                    members.latest = members.latest.max(Some(attempt.deadline));
                }
            }
        }
    }

    fn outside_items(&self, latest: Option<Timestamp>, now: Timestamp) -> Vec<ChecklistItem> {
        const STAGE: Stage = Stage::Install;
        let Some(outside) = self.mdm.outside(self.id()) else {
            let fact = "the doors were not looked at by their public names";
            let fix = "`mdmd doctor` on this machine, `mdmd doctor --probe URL` on another";
            return vec![ChecklistItem::not(Warn, STAGE, "doors", fact, fix)];
        };
        let mut items = Vec::new();
        for endpoint in &outside.endpoints {
            let name = format!("{} at {}", endpoint.name, endpoint.url);
            let mut item = match &endpoint.problem {
                Some(problem) => {
                    let fix = "mend name, port, proxy or chain; look again from another network with `mdmd doctor --probe`";
                    ChecklistItem::not(Missing, STAGE, &name, problem.as_str(), fix)
                }
                None => {
                    let by = endpoint.trusted_by.as_deref().unwrap_or("nobody");
                    let fact = format!("answers; its certificate is trusted by {by}");
                    ChecklistItem::done(STAGE, &name, fact)
                }
            };
            item.at = Some(outside.at);
            items.push(item);
        }
        let first = outside.endpoints.iter().filter_map(|e| e.ends).min();
        if let Some(ends) = first {
            let fix = "renew it; with ACME that goes by itself";
            let name = "TLS certificate";
            let mut item = ChecklistItem::lasting(STAGE, name, ends, latest, now, fix);
            item.at = Some(outside.at);
            items.push(item);
        }
        let above = outside.endpoints.iter().filter_map(|e| e.chain.as_ref());
        if let Some(above) = above.min_by_key(|above| above.ends) {
            let fix = "have the listener show a certificate under an authority that lasts, and where devices are given that authority, give them the next one first";
            let name = match above.name.as_str() {
                "" => "authority of the TLS certificate".to_owned(),
                name => format!("authority of the TLS certificate: {name}"),
            };
            let mut item = ChecklistItem::lasting(STAGE, &name, above.ends, latest, now, fix);
            item.at = Some(outside.at);
            items.push(item);
        }
        items
    }

    async fn connect(
        &self,
        latest: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<ChecklistItem>, Error> {
        const STAGE: Stage = Stage::Connect;
        let organisation = &self.organisation;
        let lasts = |name: &str, ends: Timestamp, fix: &str| {
            ChecklistItem::lasting(STAGE, name, ends, latest, now, fix)
        };
        let lacks =
            |name: &str, fact: &str, fix: &str| ChecklistItem::not(Missing, STAGE, name, fact, fix);
        let mut items = vec![match &organisation.push {
            Some(push) => lasts(
                "push certificate",
                push.not_after,
                "renew it at identity.apple.com with the same account, for another topic reaches no device: `mdmd push csr`",
            ),
            None => lacks(
                "push certificate",
                "is not there: no device can be woken",
                "`mdmd push csr`, then `mdmd push import`",
            ),
        }];
        items.push(match &organisation.api {
            // Its key ends when somebody revokes it, and not by itself.
            Some(_) => ChecklistItem::done(STAGE, "organisation API", "an account is there"),
            None => lacks(
                "organisation API",
                "no account is there: migrations can neither be asked for nor read",
                "make one in Apple's portal, then `mdmd business add`",
            ),
        });
        let servers = self.store().servers(self.id()).await?;
        if servers.is_empty() {
            items.push(lacks(
                "server token",
                "none is there: devices cannot be offered a migration",
                "`mdmd token key`, upload it in Apple's portal, `mdmd token import`",
            ));
        }
        for server in &servers {
            let name = format!("server token of {}", server.name);
            let fix = "fetch a new one in Apple's portal: `mdmd token import`";
            items.push(match server.token_expires {
                Some(ends) => lasts(&name, ends, fix),
                None => ChecklistItem::not(Warn, STAGE, &name, "does not say when it ends", fix),
            });
            if let Some(why) = &server.needs_person {
                let fix = "do what Apple asks for, then `mdmd business sync`";
                items.push(ChecklistItem::not(Missing, STAGE, &name, why.as_str(), fix));
            }
        }
        let locations = self.locations().await?;
        if locations.is_empty() {
            let fact = "none is there: no app can be licensed to a device";
            let fix = "fetch one in Apple's portal: `mdmd licences token`";
            items.push(ChecklistItem::not(Warn, STAGE, "content token", fact, fix));
        }
        for location in &locations {
            let name = format!("content token of {}", location.name);
            let fix = "fetch a new one in Apple's portal: `mdmd licences token`";
            if let Some(ends) = location.token_expires {
                items.push(lasts(&name, ends, fix));
            }
            if location.claimed_by_other.is_some() {
                let fact = "another service has claimed the location: two services fight over its licences";
                let fix = "move the licences into a location of its own, or take it over at a date";
                items.push(ChecklistItem::not(Warn, STAGE, &name, fact, fix));
            }
        }
        Ok(items)
    }

    /// Authorities elsewhere, of which devices have their identities.
    fn issued_elsewhere(&self, latest: Option<Timestamp>, now: Timestamp) -> Vec<ChecklistItem> {
        const STAGE: Stage = Stage::Prepare;
        let organisation = &self.organisation;
        let named = match &organisation.issuer {
            Issuer::BuiltIn => return Vec::new(),
            Issuer::Scep { authority, .. } => authority.as_ref(),
            Issuer::Acme { .. } => None,
        };
        let fix = "ask whoever runs it for its next one, and have it trusted before: `mdmd identity authority trust`";
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        for authority in named.into_iter().chain(&organisation.trusted_cas) {
            if let Some(ends) = identity::ends(&authority.0)
                && seen.insert(&authority.0)
            {
                let name = format!("authority elsewhere: {}", identity::name_of(&authority.0));
                all.push((name, ends));
            }
        }
        let mut items = lasting_together(&all, latest, now, fix);
        if items.is_empty() {
            let fact = "identities are issued elsewhere, and nobody has said by which authority: when it ends is not known";
            items.push(ChecklistItem::not(
                Warn,
                STAGE,
                "authority elsewhere",
                fact,
                "bring in its certificate: `mdmd identity authority trust`",
            ));
        }
        items
    }

    async fn prepare(
        &self,
        waves: &[Wave],
        latest: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<ChecklistItem>, Error> {
        const STAGE: Stage = Stage::Prepare;
        let organisation = &self.organisation;
        let mut items = Vec::new();
        // Devices are given these with their ADE profile, and trust nothing else of ours.
        let mut anchors = Vec::new();
        for anchor in &organisation.anchors {
            if let Some(ends) = identity::ends(&anchor.0) {
                let name = identity::name_of(&anchor.0);
                anchors.push((format!("anchor that ADE profiles pin: {name}"), ends));
            }
        }
        let fix = "bring in the next one, and have devices enrolled with it before this one ends";
        items.extend(lasting_together(&anchors, latest, now, fix));
        items.extend(self.issued_elsewhere(latest, now));
        if matches!(organisation.issuer, Issuer::BuiltIn)
            && let Some(authority) = organisation.identity_cas.first()
            && let Some(ends) = identity::ends(&authority.certificate.0)
        {
            let fix = "make another, which issues from then on: `mdmd identity authority`";
            let name = "authority of identities";
            items.push(ChecklistItem::lasting(STAGE, name, ends, latest, now, fix));
        }
        for (name, certificate) in [
            ("certificate of the FileVault escrow", &organisation.escrow),
            (
                "certificate that signs profiles",
                &organisation.profile_signer,
            ),
        ] {
            let ends = certificate
                .as_ref()
                .and_then(|c| identity::ends(&c.certificate.0));
            items.push(match ends {
                Some(ends) => {
                    ChecklistItem::lasting(STAGE, name, ends, latest, now, "make another")
                }
                None => ChecklistItem::not(
                    Missing,
                    STAGE,
                    name,
                    "is not there",
                    "restore it from a backup",
                ),
            });
        }
        let servers = self.store().servers(self.id()).await?;
        for server in &servers {
            let name = format!("ADE profile of {}", server.name);
            items.push(match &server.profile {
                Some(profile) if profile.proved_awaiting => {
                    let fact = "read back from Apple: devices wait for us";
                    ChecklistItem::done(STAGE, &name, fact)
                }
                Some(_) => {
                    let fact = "does not make devices wait: what the hold saves would be lost";
                    let fix = "have it defined anew: `mdmd assignment ade-profile`";
                    ChecklistItem::not(Missing, STAGE, &name, fact, fix)
                }
                None => {
                    let fact = "was not defined at Apple yet";
                    let fix = "`mdmd business sync`; then see `mdmd assignment ade-profile`";
                    ChecklistItem::not(Missing, STAGE, &name, fact, fix)
                }
            });
        }
        // Waves whose members get one of their own.
        for wave in waves.iter().filter(|w| w.ade.is_some() && w.is_open()) {
            let Some(server) = servers.iter().find(|s| s.id == wave.destination) else {
                continue;
            };
            let name = format!("ADE profile of wave {}", wave.name);
            items.push(
                match self.awaiting(server, Some(wave)).map(|p| p.proved_awaiting) {
                    Some(true) => {
                        let fact = "read back from Apple: devices wait for us";
                        ChecklistItem::done(STAGE, &name, fact)
                    }
                    Some(false) => {
                        let fact = "does not make devices wait: what the hold saves would be lost";
                        let fix = "have it defined anew: `mdmd assignment ade-profile`";
                        ChecklistItem::not(Missing, STAGE, &name, fact, fix)
                    }
                    None => {
                        let fact = "was not defined at Apple yet, or not read back";
                        let fix = "`mdmd business sync`; then see `mdmd assignment ade-profile`";
                        ChecklistItem::not(Missing, STAGE, &name, fact, fix)
                    }
                },
            );
        }
        let runbooks = [Platform::Ios, Platform::Ipados, Platform::Macos]
            .map(Platform::as_str)
            .join(", ");
        let own = self.store().runbooks(self.id(), 1).await?;
        items.push(match own.is_empty() {
            false => {
                ChecklistItem::done(STAGE, "runbooks", "there is one of the organisation's own")
            }
            true => ChecklistItem::not(
                Warn,
                STAGE,
                "runbooks",
                format!("only the standard ones, for {runbooks}: they have no app and no profile"),
                "`mdmd runbook show`, put apps and profiles in, give it to the project",
            ),
        });
        Ok(items)
    }

    async fn learn(&self, now: Timestamp) -> Result<Vec<ChecklistItem>, Error> {
        const STAGE: Stage = Stage::Learn;
        let inventory = self.inventory().await?;
        let mut items = Vec::new();
        items.push(match inventory.and_then(|i| i.complete) {
            Some(at) if now.since(at).as_secs() < 7 * 86_400 => {
                let mut item = ChecklistItem::done(STAGE, "device list", "was read at Apple");
                item.at = Some(at);
                item
            }
            Some(at) => {
                let fix = "read it anew: `mdmd inventory pull`";
                let fact = "was read at Apple more than a week ago";
                let mut item = ChecklistItem::not(Warn, STAGE, "device list", fact, fix);
                item.at = Some(at);
                item
            }
            None => {
                let fix = "`mdmd inventory pull`";
                ChecklistItem::not(
                    Missing,
                    STAGE,
                    "device list",
                    "was never read at Apple",
                    fix,
                )
            }
        });
        let (mut devices, mut told, mut after) = (0_u64, 0_u64, DeviceId(0));
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            // What has come by itself need not be told by another.
            let away: Vec<DeviceId> = page
                .iter()
                .filter(|d| d.enrollment.is_none())
                .map(|d| d.id)
                .collect();
            devices += away.len() as u64;
            told += self.store().originals_of(self.id(), &away).await?.len() as u64;
        }
        let fact = format!(
            "{told} of {devices} devices that are not here yet are known from the original service"
        );
        items.push(match told == devices {
            true => ChecklistItem::done(STAGE, "what the original knows", fact),
            false => ChecklistItem::not(
                Warn,
                STAGE,
                "what the original knows",
                fact,
                "bring in its export: `mdmd inventory import`; what is not known there is lost unseen",
            ),
        });
        Ok(items)
    }

    /// From the what-if to the end, over all projects.
    async fn journey(
        &self,
        waves: &[Wave],
        members: &Members,
        now: Timestamp,
    ) -> Result<Vec<ChecklistItem>, Error> {
        let mut items = Vec::new();
        let projects = self.store().projects(self.id()).await?;
        let open: Vec<_> = projects.iter().filter(|p| p.closed.is_none()).collect();
        if open.is_empty() {
            let fix = "`mdmd project new`";
            items.push(match projects.is_empty() {
                true => ChecklistItem::not(Later, Stage::Plan, "project", "there is none", fix),
                false => ChecklistItem::done(Stage::Close, "projects", "all are closed"),
            });
        }
        for project in &projects {
            let of = |wave: &Wave| wave.project == Some(project.id);
            let of = waves.iter().filter(|wave| of(wave)).map(|wave| wave.id);
            items.extend(clean_up_of(&project.name, &of.collect(), members));
        }
        // Devices that were assigned as a list have left a service too.
        let planned: BTreeSet<WaveId> = waves
            .iter()
            .filter(|w| w.project.is_some())
            .map(|w| w.id)
            .collect();
        let lists = members
            .left_behind
            .keys()
            .filter(|id| !planned.contains(id));
        items.extend(clean_up_of("lists", &lists.copied().collect(), members));
        for project in projects.iter().filter(|p| p.closed.is_some()) {
            items.extend(self.imported_of(project).await?);
        }
        let (none, mut codes) = ([0; 6], None);
        for project in open {
            items.push(match project.on {
                true => ChecklistItem::done(Stage::Plan, &project.name, "is switched on"),
                false => {
                    let fix = "`mdmd project on`, once it may begin";
                    ChecklistItem::not(Later, Stage::Plan, &project.name, "is switched off", fix)
                }
            });
            let of: Vec<&Wave> = waves
                .iter()
                .filter(|w| w.project == Some(project.id))
                .collect();
            let name = |what: &str| format!("{}: {what}", project.name);
            let pilot = of.iter().find(|w| w.preset == Some(Preset::Pilot));
            items.push(match pilot {
                None => ChecklistItem::not(
                    Later,
                    Stage::Plan,
                    &name("pilot"),
                    "there is no pilot wave",
                    "`mdmd wave new NAME --preset pilot` with a device of each model",
                ),
                Some(wave) => {
                    let [all, ..] = members.by_wave.get(&wave.id).copied().unwrap_or(none);
                    ChecklistItem::done(Stage::Plan, &name("pilot"), format!("{all} devices"))
                }
            });
            items.push(rehearsed(&name("rehearsal"), &of, members));
            items.extend(self.prepared_for(project, &mut codes).await?);
            for wave in of {
                let counts = members.by_wave.get(&wave.id).copied().unwrap_or(none);
                items.extend(self.of_wave(wave, counts, now).await?);
            }
        }
        Ok(items)
    }

    /// What of a closed project's imported secrets is still there; nothing where nothing was imported for it.
    async fn imported_of(&self, project: &Project) -> Result<Option<ChecklistItem>, Error> {
        let found = self.look_at_imported(project, false).await?;
        let stays: u64 = found.stays.values().sum();
        let name = format!("{}: what was imported", project.name);
        Ok(match (found.count(), stays) {
            (0, 0) => None,
            (0, stays) => {
                let whys: Vec<&str> = found.stays.keys().map(String::as_str).collect();
                let fact = format!(
                    "whatever could go is destroyed; {stays} secrets stay: {}",
                    whys.join("; ")
                );
                Some(ChecklistItem::done(Stage::Close, &name, fact))
            }
            (goes, _) => {
                let fact = format!(
                    "{goes} keys, codes and passwords of the service that devices left are still kept, and open nothing that ours do not"
                );
                let fix = "`mdmd project purge PROJECT --reason TEXT`";
                Some(ChecklistItem::not(Warn, Stage::Close, &name, fact, fix))
            }
        })
    }

    async fn of_wave(
        &self,
        wave: &Wave,
        [all, planned, moving, migrated, otherwise, attention]: [u64; 6],
        _: Timestamp,
    ) -> Result<Vec<ChecklistItem>, Error> {
        let mut items = Vec::new();
        let name = wave.name.as_str();
        if all == 0 {
            let fix = "`mdmd wave add`";
            items.push(ChecklistItem::not(
                Later,
                Stage::Plan,
                name,
                "has no members",
                fix,
            ));
            return Ok(items);
        }
        if planned > 0 {
            let run = self.store().what_if_run(self.id(), wave.id).await?;
            items.push(match (&wave.acceptance, run) {
                (Some(accepted), _) => {
                    let mut item = match Box::pin(self.what_if(wave.id)).await {
                        Ok(found) if found.accepted.is_some() => {
                            let fact = format!("accepted by {}", accepted.by);
                            ChecklistItem::done(Stage::WhatIf, name, fact)
                        }
                        // Accepted once, and something has changed since.
                        Ok(_) => {
                            let fact = format!(
                                "what {} accepted is void: members, findings or runbooks have changed since",
                                accepted.by
                            );
                            let fix = "`mdmd wave whatif`, then `mdmd wave accept`";
                            ChecklistItem::not(Later, Stage::WhatIf, name, fact, fix)
                        }
                        Err(error) if error.retry_after().is_some() => return Err(error),
                        Err(error) => {
                            let fact = format!("cannot be looked at: {error}");
                            let fix = "mend that, then `mdmd wave whatif`";
                            ChecklistItem::not(Missing, Stage::WhatIf, name, fact, fix)
                        }
                    };
                    item.at = Some(accepted.at);
                    item
                }
                (None, Some(run)) => {
                    let fix = "mend what it found, then `mdmd wave accept`";
                    let fact = "was looked at, and not accepted";
                    let mut item = ChecklistItem::not(Later, Stage::WhatIf, name, fact, fix);
                    item.at = Some(run.at);
                    item
                }
                (None, None) => {
                    let fact = "was not looked at";
                    ChecklistItem::not(Later, Stage::WhatIf, name, fact, "`mdmd wave whatif`")
                }
            });
            let fact = format!("{planned} of {all} devices are not submitted");
            let fix = "`mdmd wave submit`, once the what-if is accepted";
            items.push(ChecklistItem::not(Later, Stage::Submit, name, fact, fix));
        } else {
            items.push(ChecklistItem::done(
                Stage::Submit,
                name,
                format!("{all} devices"),
            ));
        }
        if let Some(pause) = &wave.paused {
            let fix = "see why, then `mdmd wave resume`";
            let fact = format!("no more devices are offered their migration: {}", pause.why);
            items.push(ChecklistItem::not(Missing, Stage::Watch, name, fact, fix));
        }
        if moving > 0 || attention > 0 {
            let fact = format!("{moving} devices are on their way, {attention} need a person");
            items.push(match attention {
                0 => ChecklistItem::done(Stage::Watch, name, fact),
                _ => {
                    let fix = "`mdmd report exceptions`";
                    ChecklistItem::not(Warn, Stage::Watch, name, fact, fix)
                }
            });
        }
        if moving == 0 && planned == 0 {
            let fact = format!("{migrated} migrated, {otherwise} ended otherwise");
            items.push(match (&wave.signed, &wave.state) {
                (Some(signed), _) => {
                    let fact = format!("{fact}; signed by {}", signed.by);
                    ChecklistItem::done(Stage::Gate, name, fact)
                }
                (None, _) => {
                    let fix = "`mdmd wave gate --sign`";
                    ChecklistItem::not(Later, Stage::Gate, name, fact.as_str(), fix)
                }
            });
            let fix = "`mdmd report evidence`, have exceptions mended, `mdmd project close`, then `mdmd project purge` what was imported";
            let over = matches!(wave.state, WaveState::Closed { .. });
            let said = if over {
                "closed"
            } else {
                "every device has ended"
            };
            items.push(ChecklistItem::not(Later, Stage::Close, name, said, fix));
        }
        Ok(items)
    }
}

/// What a device is, as itself and the organisation API name it: the names of Apple's list are others.
fn model_of(device: &Device) -> Option<String> {
    let reading = device.reading.as_ref().and_then(|r| r.product.as_ref());
    let product = device.facts.product.as_ref().or(reading);
    product.filter(|product| !product.is_empty()).cloned()
}

/// Whether one real device of each model has migrated: what works on one may fail on another.
fn rehearsed(name: &str, waves: &[&Wave], members: &Members) -> ChecklistItem {
    let of = waves.iter().filter_map(|wave| members.models.get(&wave.id));
    let (mut all, mut tried) = (BTreeSet::new(), BTreeSet::new());
    for [models, migrated] in of {
        all.extend(models);
        tried.extend(migrated);
    }
    let moved = waves.iter().filter_map(|w| members.left_behind.get(&w.id));
    let moved: u64 = moved.map(|of| of[0]).sum();
    let missing: Vec<&str> = all.difference(&tried).map(|model| model.as_str()).collect();
    if moved > 0 && missing.is_empty() {
        let fact = match all.len() {
            0 => "devices have migrated; nobody has told of which models they are".to_owned(),
            count => format!("a device of each of the {count} models has migrated"),
        };
        return ChecklistItem::done(Stage::Rehearse, name, fact);
    }
    let fact = match moved {
        0 => "no real device has migrated yet".to_owned(),
        _ => format!(
            "no device of these models has migrated yet: {}",
            missing.join(", ")
        ),
    };
    let fix = "`mdmd rehearse`, then one real device of each model in the pilot";
    ChecklistItem::not(Later, Stage::Rehearse, name, fact, fix)
}

/// What the original service still has to clean up; nothing before the first device has moved.
fn clean_up_of(of: &str, waves: &BTreeSet<WaveId>, members: &Members) -> Option<ChecklistItem> {
    let counts = waves
        .iter()
        .filter_map(|wave| members.left_behind.get(wave));
    let [moved, open] = counts.fold([0, 0], |sum, of| [sum[0] + of[1], sum[1] + of[2]]);
    let name = format!("{of}: clean-up at the original");
    match (moved, open) {
        (0, _) => None,
        (_, 0) => {
            let fact =
                format!("{moved} devices are out of the lists of the services that they left");
            Some(ChecklistItem::done(Stage::Close, &name, fact))
        }
        (_, open) => {
            let fact = format!(
                "{open} of {moved} devices that have migrated may still be listed by the service that they left"
            );
            let fix = "`mdmd report clean-up`, have them removed there, then `mdmd wave cleaned`";
            Some(ChecklistItem::not(Warn, Stage::Close, &name, fact, fix))
        }
    }
}

/// Certificates that stand beside each other, by name: where one of them lasts, another one that ends was rolled over.
fn lasting_together(
    all: &[(String, Timestamp)],
    latest: Option<Timestamp>,
    now: Timestamp,
    fix: &str,
) -> Vec<ChecklistItem> {
    let items = all
        .iter()
        .map(|(name, ends)| ChecklistItem::lasting(Stage::Prepare, name, *ends, latest, now, fix));
    let mut items: Vec<ChecklistItem> = items.collect();
    if items.iter().any(|item| item.state != Missing) {
        for item in items.iter_mut().filter(|item| item.state == Missing) {
            item.state = Warn;
            item.fact +=
                "; another one lasts, and devices that were given this one alone do not know that";
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checklist::ItemState::Done;

    #[test]
    fn one_that_was_rolled_over_is_not_missing_where_its_successor_lasts() {
        let now = Timestamp::from_millis(1_796_893_200_000);
        let ended = ("one".to_owned(), now - Duration::from_hours(1));
        let lasts = ("two".to_owned(), now + Duration::from_hours(24 * 300));
        let states = |all: &[(String, Timestamp)]| {
            let items = lasting_together(all, None, now, "make another");
            items.iter().map(|item| item.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&[ended.clone(), lasts]), [Warn, Done]);
        assert_eq!(states(std::slice::from_ref(&ended)), [Missing]);
        assert_eq!(states(&[ended.clone(), ended]), [Missing, Missing]);
    }
}
