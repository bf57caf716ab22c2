//! What the original service knew comes in from a file: row by row taken or refused, older than what is known left as it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use crate::app_state::{app_key, is_same_app};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::ids::{DeviceId, JobId, Serial};
use crate::job::{Job, JobKind};
use crate::library::LibraryItem;
use crate::migration::{AppAction, AppPlan, PinnedRunbook, Variant};
use crate::original::{OriginalApp, OriginalFacts, Said, Told};
use crate::service::Org;
use crate::service::wave::platform_of;
use crate::store::Batch;

/// Rows of one import.
const MOST_ROWS: usize = 20_000;
/// Rows of one commit.
const CHUNK: usize = 500;

/// Why a row was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a row and a sentence")]
pub struct NotTaken {
    /// Which device.
    pub serial: Serial,
    /// What is wrong, with the field.
    pub why: String,
}

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ImportOutcome {
    /// Devices of which something new is known now.
    pub changed: usize,
    /// Devices of which the file said what is known already, or something older.
    pub unchanged: usize,
    /// Rows that were not taken.
    pub rejected: Vec<NotTaken>,
}

/// An app that the original service manages, over all devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct KnownApp {
    /// Bundle identifier.
    pub bundle_id: String,
    /// As people know it.
    pub name: Option<String>,
    /// The store's number, where any device's list has it.
    pub store_id: Option<u64>,
    /// How many devices have it.
    pub devices: u64,
}

impl Org {
    /// What the original service knew of a device.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a device that is not known here, or of which nobody has told anything; the store's.
    pub async fn original(&self, serial: &Serial) -> Result<OriginalFacts, Error> {
        let device = self.store().device_by_serial(self.id(), serial).await?;
        let device = device.ok_or(Error::NotFound("device"))?;
        let facts = self.store().original(self.id(), device.id).await?;
        facts.ok_or(Error::NotFound("import that names this device"))
    }

    /// The standard runbook of a platform for a migration, with each app in its table that devices of this platform have from the
    /// original service: what people begin with.
    ///
    /// # Errors
    /// The store's.
    pub async fn standard_runbook(
        &self,
        platform: Platform,
        apps: Option<AppAction>,
    ) -> Result<PinnedRunbook, Error> {
        let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
        if let Some(action) = apps {
            let (known, _) = self.original_apps(Some(platform)).await?;
            let plan = |app: KnownApp| AppPlan {
                bundle_id: app.bundle_id,
                store_id: app.store_id,
                manifest_url: None,
                action,
            };
            runbook.apps = known.into_iter().map(plan).collect();
        }
        Ok(runbook)
    }

    /// The apps that devices have from the original service, by its lists or newer ones of devices that are ours, all of them or those of
    /// one platform, those of most devices first, and of how many devices the apps are known.
    ///
    /// # Errors
    /// The store's.
    pub async fn original_apps(&self, of: Option<Platform>) -> Result<(Vec<KnownApp>, u64), Error> {
        let (mut apps, mut devices) = (BTreeMap::<String, KnownApp>::new(), 0);
        let mut after = DeviceId(0);
        loop {
            let page = self.store().originals(self.id(), after, 500).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.id;
            let ids: Vec<DeviceId> = page.iter().map(|facts| facts.id).collect();
            let rows = self.store().devices_of(self.id(), &ids).await?;
            let rows: BTreeMap<DeviceId, &Device> = rows.iter().map(|row| (row.id, row)).collect();
            let lists = page.into_iter().filter_map(|facts| {
                let device = rows.get(&facts.id).copied();
                let is_wanted = of.is_none() || device.is_some_and(|d| platform_of(d) == of);
                let facts = facts.of_now(device.and_then(Device::ours_since));
                newest_apps(&facts).filter(|_| is_wanted)
            });
            for told in lists {
                devices += 1;
                for app in told.value {
                    let key = app_key(&app.bundle_id);
                    let row = apps.entry(key).or_insert_with(|| KnownApp {
                        bundle_id: app.bundle_id,
                        name: None,
                        store_id: None,
                        devices: 0,
                    });
                    row.name = row.name.take().or(app.name);
                    row.store_id = row.store_id.or(app.store_id);
                    row.devices += 1;
                }
            }
        }
        let mut apps: Vec<KnownApp> = apps.into_values().collect();
        apps.sort_by(|a, b| (b.devices, &a.bundle_id).cmp(&(a.devices, &b.bundle_id)));
        Ok((apps, devices))
    }

    /// Takes what a file of the original service says of devices, as of `taken`; `from` is what people call the source. The same
    /// file again changes nothing; an older one leaves what is newer.
    ///
    /// # Errors
    /// [`Error::BadInput`] for no rows, too many, a source without a name, or a moment in the future; the store's. A row that
    /// cannot be right, or whose device the organisation does not have, is in the outcome.
    pub async fn import_originals(
        &self,
        from: &str,
        taken: Timestamp,
        rows: Vec<Said>,
    ) -> Result<ImportOutcome, Error> {
        let from = crate::organisation::name_in("from", from)?;
        let now = self.now();
        if taken > now + std::time::Duration::from_secs(86_400) {
            return Err(Error::bad_input("taken", "lies in the future"));
        }
        if rows.is_empty() || rows.len() > MOST_ROWS {
            let problem = format!("must be 1 to {MOST_ROWS}");
            return Err(Error::bad_input("devices", problem));
        }
        let mut outcome = ImportOutcome::default();
        let mut good: BTreeMap<Serial, Said> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for row in rows {
            let serial = row.serial.clone();
            let twice = !seen.insert(serial.clone());
            match row.checked(now) {
                Ok(_) if twice => outcome.rejected.push(NotTaken {
                    serial,
                    why: "serial: occurs twice".to_owned(),
                }),
                Ok(row) => {
                    good.insert(serial, row);
                }
                Err(error) => outcome.rejected.push(NotTaken {
                    serial,
                    why: error.to_string(),
                }),
            }
        }
        let good: Vec<Said> = good.into_values().collect();
        for chunk in good.chunks(CHUNK) {
            let done = self
                .again_on_conflict(|| self.take_rows(from, taken, chunk))
                .await?;
            outcome.changed += done.changed;
            outcome.unchanged += done.unchanged;
            outcome.rejected.extend(done.rejected);
        }
        outcome.rejected.sort_by(|a, b| a.serial.cmp(&b.serial));
        Ok(outcome)
    }

    async fn take_rows(
        &self,
        from: &str,
        taken: Timestamp,
        rows: &[Said],
    ) -> Result<ImportOutcome, Error> {
        let serials: Vec<Serial> = rows.iter().map(|r| r.serial.clone()).collect();
        let devices = self.store().devices_by_serial(self.id(), &serials).await?;
        let known: BTreeSet<&Serial> = devices.iter().map(|d| &d.serial).collect();
        let mut outcome = ImportOutcome::default();
        let mut batch = Batch::new();
        for row in rows.iter().filter(|row| !known.contains(&row.serial)) {
            outcome.rejected.push(NotTaken {
                serial: row.serial.clone(),
                why: "serial: is not among the devices that are known here; `mdmd inventory pull` reads those of the organisation"
                    .to_owned(),
            });
        }
        let changed = self.facts_into(&mut batch, &devices, (from, taken), rows);
        outcome.changed = changed.await?.len();
        outcome.unchanged = rows.len() - outcome.rejected.len() - outcome.changed;
        if outcome.changed > 0 {
            self.audit_into(
                &mut batch,
                "originals.imported",
                json!({ "from": from, "taken": taken, "devices": outcome.changed }),
            );
            self.store().commit(batch).await?;
        }
        Ok(outcome)
    }

    /// Puts what rows say of those of `devices` that they name into a batch; answers of which devices something is new. Where the
    /// groups of an owner are others now, the device has them in the same batch, and is brought what is there for them.
    pub(in crate::service) async fn facts_into(
        &self,
        batch: &mut Batch,
        devices: &[Device],
        (from, taken): (&str, Timestamp),
        rows: &[Said],
    ) -> Result<BTreeSet<Serial>, Error> {
        let ids: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
        let known = self.store().originals_of(self.id(), &ids).await?;
        let mut known: BTreeMap<DeviceId, OriginalFacts> =
            known.into_iter().map(|o| (o.id, o)).collect();
        let devices: BTreeMap<&Serial, &Device> = devices.iter().map(|d| (&d.serial, d)).collect();
        let mut changed = BTreeSet::new();
        let mut regrouped = Vec::new();
        for row in rows {
            let Some(device) = devices.get(&row.serial) else {
                continue;
            };
            let mut facts = known
                .remove(&device.id)
                .unwrap_or_else(|| OriginalFacts::new(self.id(), device.id));
            if facts.take(row.clone(), taken, from) {
                changed.insert(row.serial.clone());
                batch.put(facts.clone());
            }
            if let Some(owner) = &facts.owner
                && owner.value.groups != device.groups
            {
                let mut device = (*device).clone();
                device.groups.clone_from(&owner.value.groups);
                changed.insert(row.serial.clone());
                regrouped.push(device);
            }
        }
        self.regroup_into(batch, regrouped).await?;
        Ok(changed)
    }

    /// Devices with other groups than before: those that are enrolled are looked at for what goes by groups.
    async fn regroup_into(&self, batch: &mut Batch, devices: Vec<Device>) -> Result<(), Error> {
        let now = self.now();
        let enrolled = |device: &&Device| device.enrollment.is_some();
        if devices.iter().any(|device| enrolled(&device)) {
            self.declare_into(batch, now);
            let goes_by_groups = |item: &LibraryItem| !item.audience.groups.is_empty();
            if self.library().await?.iter().any(goes_by_groups) {
                for device in devices.iter().filter(enrolled) {
                    let id = JobId(self.ids().next(now));
                    let device = device.id;
                    batch.put(Job::new(self.id(), id, now, JobKind::LibraryOf { device }));
                }
            }
        }
        for device in devices {
            batch.put(device);
        }
        Ok(())
    }
}

/// The list of apps that the what-if goes by. What a device says itself has neither names nor numbers in the store: those are as the
/// original service told them.
fn newest_apps(facts: &OriginalFacts) -> Option<Told<Vec<OriginalApp>>> {
    let mut newest = facts.known_apps()?.clone();
    let imported = facts.apps.as_ref().map_or(&[][..], |told| &told.value[..]);
    for app in &mut newest.value {
        let mut alike = imported
            .iter()
            .filter(|other| is_same_app(&other.bundle_id, &app.bundle_id));
        let Some(named) = alike.next() else { continue };
        app.store_id = app.store_id.or(named.store_id);
        app.name = app.name.take().or_else(|| named.name.clone());
    }
    Some(newest)
}
