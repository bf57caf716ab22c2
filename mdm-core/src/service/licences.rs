//! Apps and Books: content tokens come in, locations are claimed and read, and licences are given and taken back by a person's
//! hand.

mod holders;
mod removed;
mod stake;
mod wave;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

pub(super) use self::holders::{HolderMemory, Holders};
use self::wave::planned;
pub(super) use self::wave::{Free, store_apps};
use super::Org;
use super::act::{ActDone, ActPlan};
use super::ports::{ContentCredential, LocationReading};
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::Device;
use crate::errand::{ErrandKind, ErrandMember};
use crate::error::{Error, PortError};
use crate::ids::{JobId, LocationId, SecretId, Serial};
use crate::job::{Job, JobKind};
use crate::licences::{Location, TakenOver, requests};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, Lease};

/// So long a claim that was seen counts.
const JUST_NOW: Duration = Duration::from_secs(600);
/// Of the requests of an import, before it is known whether the location is one that we have. A number of its own each time
/// would leave the budget of a location that never comes to be.
pub(super) const NOT_KNOWN_YET: LocationId = LocationId(0);
/// How often the stock is read when nothing special is going on.
const CALM: Duration = Duration::from_secs(6 * 3600);

/// Giving or taking back licences of some apps for some devices, by a person's hand.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct LicenceAct {
    /// Of which location.
    pub location: LocationId,
    /// Take them back instead of giving them.
    pub take_back: bool,
    /// Store identifiers.
    pub apps: Vec<u64>,
    /// For which devices.
    pub serials: Vec<Serial>,
}

impl Org {
    /// Brings in a content token, after it has shown its location, and claims the location for us. A token for a location
    /// that we have renews it.
    ///
    /// # Errors
    /// [`Error::Precondition`] names another management service that has claimed the location; `take_over` displaces it.
    /// The port's when Apple does not accept the token.
    pub async fn import_content_token(
        &self,
        token: &Secret,
        take_over: bool,
    ) -> Result<LocationId, Error> {
        let now = self.now();
        let new = LocationId(self.ids().next(now));
        let credential = ContentCredential {
            organisation: self.id(),
            // Which location it is for, only Apple's answer tells: until then it is counted under none.
            location: NOT_KNOWN_YET,
            token: token.clone(),
        };
        let reading = self
            .ports()
            .licences
            .claim(&credential, take_over, now)
            .await
            .map_err(asked_again)?;
        if let Some(other) = &reading.claimed_by_other {
            return Err(Error::Precondition(format!(
                "the location {} is claimed by {other}: two services on one location take each other's licences",
                reading.name
            )));
        }
        self.again_on_conflict(|| self.keep_location(new, token, &reading))
            .await
    }

    async fn keep_location(
        &self,
        new: LocationId,
        token: &Secret,
        reading: &LocationReading,
    ) -> Result<LocationId, Error> {
        let now = self.now();
        let secret = SecretId(self.ids().next(now));
        let mut batch = Batch::new();
        batch.put(
            self.seal(secret, SecretKind::ContentToken, None, token, now)
                .await?,
        );
        // One that was given up comes back as what it was: what devices have of it is known.
        let known = self.store().locations(self.id()).await?;
        let known = known.into_iter().find(|l| l.library == reading.library);
        let mut replaced = None;
        let mut row = match known {
            Some(mut row) => {
                // Apple takes it until it ends, and nothing here asks with it any more.
                self.destroy_secret(&mut batch, row.token).await?;
                replaced = Some(row.token);
                row.token = secret;
                row.removed = None;
                row
            }
            None => {
                let job = JobId(self.ids().next(now));
                Location::new(self.id(), new, &reading.name, &reading.library, secret, job)
            }
        };
        take_location(&mut row, reading, now);
        let (id, kind) = (row.id, JobKind::Stock { location: row.id });
        batch.put(Job::new(self.id(), row.job, now, kind));
        self.audit_into(
            &mut batch,
            "content-token.imported",
            json!({ "location": row.name, "expires": row.token_expires, "displaced": reading.displaced }),
        );
        batch.put(row);
        // Whoever takes the organisation away meanwhile looks again, or was faster: a claim that nobody could give up.
        batch.put(self.fresh().await?);
        self.store().commit(batch).await?;
        if let Some(old) = replaced {
            self.forget_secret(old);
        }
        Ok(id)
    }

    /// The locations whose content tokens we hold, with their stock as last read; those that were given up are not among them.
    ///
    /// # Errors
    /// The store's.
    pub async fn locations(&self) -> Result<Vec<Location>, Error> {
        let mut all = self.store().locations(self.id()).await?;
        all.retain(|location| location.removed.is_none());
        Ok(all)
    }

    /// A location that was not given up.
    pub(super) async fn location_row(&self, id: LocationId) -> Result<Option<Location>, Error> {
        let row = self.store().location(self.id(), id).await?;
        Ok(row.filter(|row| row.removed.is_none()))
    }

    /// Reads the stock of a location now.
    ///
    /// # Errors
    /// [`Error::NotFound`], the port's, the store's.
    pub async fn refresh_location(&self, id: LocationId) -> Result<Location, Error> {
        let credential = self.content_credential(id).await?;
        let licences = &self.ports().licences;
        let now = self.now();
        let reading = licences.claim(&credential, false, now).await;
        let reading = reading.map_err(asked_again)?;
        // Kept by itself: what fails later does not cost it.
        self.alter_location(id, |row| {
            take_location(row, &reading, now);
            row.claim_read = Some(now);
        })
        .await?;
        self.read_stock(id, &credential).await
    }

    async fn read_stock(
        &self,
        id: LocationId,
        credential: &ContentCredential,
    ) -> Result<Location, Error> {
        let stock = self.ports().licences.stock(credential).await?;
        self.alter_location(id, |row| {
            row.stock.clone_from(&stock);
            row.stock_read = Some(self.now());
        })
        .await?;
        let row = self.location_row(id).await?;
        row.ok_or(Error::NotFound("location"))
    }

    /// Changes the row of a location alone.
    pub(super) async fn alter_location(
        &self,
        id: LocationId,
        change: impl Fn(&mut Location),
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let row = self.location_row(id).await?;
            let mut row = row.ok_or(Error::NotFound("location"))?;
            change(&mut row);
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The stock, and before it whether the location is ours, unless that was seen just now: of a few requests that fail now
    /// and then, those that came through are not asked again.
    async fn look_at_location(&self, id: LocationId) -> Result<Location, Error> {
        let row = self.location_row(id).await?;
        let row = row.ok_or(Error::NotFound("location"))?;
        let claimed = row.claim_read.is_some_and(|at| self.now() < at + JUST_NOW);
        if !claimed || !row.gives() {
            return self.refresh_location(id).await;
        }
        let credential = self.content_credential(id).await?;
        self.read_stock(id, &credential).await
    }

    /// The recurring job that reads the stock.
    pub(super) async fn stock_job(
        &self,
        job: &Job,
        lease: Lease,
        id: LocationId,
    ) -> Result<(), Error> {
        let read = match self.look_at_location(id).await {
            Ok(location) => self.follow_stock(&location).await,
            Err(error) => Err(error),
        };
        let (wait, needs_person) = match &read {
            Ok(_) => (CALM, None),
            Err(Error::NotFound(_)) => return self.job_done(job, lease).await,
            Err(Error::Port(PortError::NeedsPerson(what))) => {
                (Duration::from_secs(1800), Some(what.clone()))
            }
            Err(error) => (
                error.retry_after().unwrap_or(Duration::from_secs(900)),
                None,
            ),
        };
        if let Err(error) = &read {
            tracing::warn!(organisation = %self.id(), location = %id, %error, "licences could not be read");
        }
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            if needs_person.is_some()
                && let Some(mut row) = self.location_row(id).await?
                && row.needs_person != needs_person
            {
                row.needs_person.clone_from(&needs_person);
                batch.put(row);
                self.store().commit(batch).await?;
            }
            Ok(())
        })
        .await?;
        let mut later = job.clone();
        later.due = self.now() + wait;
        later.tries = 0;
        self.job_stands_or(later, lease).await
    }

    /// Opens a location's token.
    pub(super) async fn content_credential(
        &self,
        id: LocationId,
    ) -> Result<ContentCredential, Error> {
        let location = self.location_row(id).await?;
        let location = location.ok_or(Error::NotFound("location"))?;
        Ok(ContentCredential {
            organisation: self.id(),
            location: id,
            token: self.open_secret_cached(location.token).await?,
        })
    }

    /// What giving or taking back licences by hand would send, and the digest that accepts exactly this.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a list that is empty or names something twice, [`Error::NotFound`], the store's.
    pub async fn plan_licences(&self, act: &LicenceAct) -> Result<ActPlan, Error> {
        let location = self.location_row(act.location).await?;
        let location = location.ok_or(Error::NotFound("location"))?;
        for (field, empty) in [
            ("apps", act.apps.is_empty()),
            ("serials", act.serials.is_empty()),
        ] {
            if empty {
                return Err(Error::bad_input(field, "is empty"));
            }
        }
        let apps: BTreeSet<u64> = act.apps.iter().copied().collect();
        let serials: BTreeSet<&Serial> = act.serials.iter().collect();
        for (field, twice) in [
            ("apps", apps.len() != act.apps.len()),
            ("serials", serials.len() != act.serials.len()),
        ] {
            if twice {
                return Err(Error::bad_input(field, "names something twice"));
            }
        }
        if act.apps.contains(&0) {
            return Err(Error::bad_input("apps", "0 is no app of the store"));
        }
        let given = |app: &u64| location.stock.get(app).is_some_and(|s| s.device_assignable);
        if !act.take_back && !act.apps.iter().any(given) {
            let why = "the location has no licence of these apps that a device can get: `mdmd licences list --refresh` reads its stock again";
            return Err(Error::Precondition(why.to_owned()));
        }
        let findings = self.not_known(&act.serials).await?;
        let wanted = act.serials.len() - findings.len();
        let mut warnings = Vec::new();
        let devices = self.devices_of(&act.serials).await?;
        let promised = self.promised().await?;
        for app in &act.apps {
            let mut stock = location.stock.get(app).copied().unwrap_or_default();
            let promised = promised.get(&(location.id, *app)).copied();
            stock.available = stock.available.saturating_sub(promised.unwrap_or_default());
            let has = |d: &&Device| {
                let mut held = d.licences.iter();
                held.any(|l| l.app == *app && l.location == location.id)
            };
            let have = devices.values().filter(has).count();
            if have > 0 && !act.take_back {
                warnings.push(format!(
                    "{app}: {} {} a licence already, as last read",
                    counted(have, "device"),
                    agree(have, "has", "have")
                ));
            }
            let wanted = u64::try_from(wanted.saturating_sub(have)).unwrap_or(u64::MAX);
            if !act.take_back && !stock.device_assignable {
                warnings.push(format!(
                    "{app}: the location has no licence of it that a device can get"
                ));
            } else if !act.take_back && !stock.unlimited && stock.available < wanted {
                warnings.push(format!(
                    "{app}: {} {} left for {}, as read {}",
                    counted(stock.available, "licence"),
                    agree(stock.available, "is", "are"),
                    counted(wanted, "device"),
                    location
                        .stock_read
                        .map_or_else(|| "never".to_owned(), |at| at.to_string())
                ));
            }
        }
        let (devices, apps) = (counted(wanted, "device"), counted(act.apps.len(), "app"));
        let consequence = if act.take_back {
            format!(
                "{devices} {} of {apps}: each app stops working within 30 days.",
                agree(wanted, "loses its licences", "lose their licences")
            )
        } else {
            let get = agree(wanted, "gets", "get");
            format!("{devices} {get} licences of {apps}, as far as each lacks one.")
        };
        let sent = self.licence_requests(act, &location, &findings);
        let requests = planned(act.take_back, sent).collect();
        Ok(ActPlan::new(
            consequence,
            requests,
            findings,
            warnings,
            act.serials.len(),
            &json!([location.library, act.take_back]),
        ))
    }

    /// Serial numbers that are not known here, and why they are left out.
    async fn not_known(&self, serials: &[Serial]) -> Result<BTreeMap<Serial, Vec<String>>, Error> {
        let mut unknown: BTreeMap<Serial, Vec<String>> = serials
            .iter()
            .map(|serial| {
                let why = "it is not known here: pull the inventory first".to_owned();
                (serial.clone(), vec![why])
            })
            .collect();
        for chunk in serials.chunks(1000) {
            for device in self.store().devices_by_serial(self.id(), chunk).await? {
                unknown.remove(&device.serial);
            }
        }
        Ok(unknown)
    }

    fn licence_requests(
        &self,
        act: &LicenceAct,
        location: &Location,
        left_out: &BTreeMap<Serial, Vec<String>>,
    ) -> Vec<(Vec<u64>, Vec<Serial>)> {
        let apps: BTreeSet<u64> = act.apps.iter().copied().collect();
        let known = |serial: &&Serial| !left_out.contains_key(*serial);
        let serials: BTreeSet<Serial> = act.serials.iter().filter(known).cloned().collect();
        requests(
            serials.into_iter().map(|s| (s, apps.clone())),
            location.limits,
        )
    }

    /// Gives or takes back licences as planned.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the plan is no longer the accepted one; as [`Org::plan_licences`].
    pub async fn do_licences(&self, act: &LicenceAct, digest: &str) -> Result<ActDone, Error> {
        let plan = self.plan_licences(act).await?;
        plan.must_be(digest)?;
        let location = self.location_row(act.location).await?;
        let location = location.ok_or(Error::NotFound("location"))?;
        let devices = self
            .store()
            .devices_by_serial(self.id(), &act.serials)
            .await?;
        let devices: BTreeMap<&Serial, &Device> = devices.iter().map(|d| (&d.serial, d)).collect();
        let mut batch = Batch::new();
        let mut errands = Vec::new();
        for (apps, serials) in self.licence_requests(act, &location, &plan.findings) {
            let mut members = Vec::new();
            for serial in serials {
                // Planned just now: devices do not go.
                let device = devices.get(&serial).ok_or(Error::NotFound("device"))?;
                members.push(ErrandMember {
                    device: device.id,
                    serial,
                    attempt: None,
                });
            }
            let kind = if act.take_back {
                ErrandKind::Disassociate {
                    location: location.id,
                    apps,
                }
            } else {
                ErrandKind::Associate {
                    location: location.id,
                    apps,
                }
            };
            errands.extend(self.put_errands(&mut batch, None, &kind, &members, None, self.actor()));
        }
        self.audit_into(
            &mut batch,
            if act.take_back { "licences.taken-back" } else { "licences.given" },
            json!({ "location": location.name, "apps": act.apps, "devices": act.serials.len(), "digest": digest }),
        );
        self.store().commit(batch).await?;
        Ok(ActDone {
            wave: None,
            errands,
            members: act.serials.len(),
            blocked: plan.blocked,
            left_out: BTreeMap::new(),
            approval: None,
        })
    }
}

/// A claim of which nobody knows whether Apple took it may be asked for again: it is read first whose the location is.
fn asked_again(error: PortError) -> PortError {
    match error {
        PortError::Unknown(what) => PortError::retry(what),
        error => error,
    }
}

fn take_location(row: &mut Location, reading: &LocationReading, now: Timestamp) {
    row.name.clone_from(&reading.name);
    row.token_expires = reading.token_expires;
    if reading.claimed_by_other.is_none() {
        // One that lets go of it by itself has had it too.
        let before = row.claimed_by_other.take();
        if let Some(from) = reading.displaced.clone().or(before) {
            row.taken_over = Some(TakenOver { from, at: now });
        }
    }
    row.claimed_by_other.clone_from(&reading.claimed_by_other);
    row.limits = reading.limits;
    row.needs_person = reading.claimed_by_other.as_ref().map(|other| {
        format!("The location is claimed by {other}: take its content token out of there, or import it again with take-over.")
    });
}
