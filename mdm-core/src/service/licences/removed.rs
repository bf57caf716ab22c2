//! A location of Apps and Books that is given up: its token is destroyed here. Changes nothing at Apple: licences stay with the devices
//! that have them, and the location stays claimed for this server until another service takes it over.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Org, store_apps};
use crate::device::Platform;
use crate::error::Error;
use crate::ids::{LocationId, RunbookId};
use crate::licences::Location;
use crate::store::Batch;

impl Org {
    /// Gives up a location: its token is destroyed, its stock is read no more, and nothing is given or taken back there. Its token brings
    /// it back as it was. `name` is what it is called, typed by whoever wants it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::BadInput`] for another name; [`Error::Precondition`] names the request, the project or the wave that
    /// still needs it; the store's.
    pub async fn remove_location(&self, id: LocationId, name: &str) -> Result<Location, Error> {
        let gone = self
            .again_on_conflict(|| async {
                let row = self.location_row(id).await?;
                let mut row = row.ok_or(Error::NotFound("location"))?;
                if row.name != name {
                    let problem = format!("must be the name of the location, {}", row.name);
                    return Err(Error::bad_input("name", problem));
                }
                if let Some(user) = self.takes_from(&row).await? {
                    return Err(Error::Precondition(format!(
                        "{} cannot be removed: {user}",
                        row.name
                    )));
                }
                let mut batch = Batch::new();
                self.destroy_secret(&mut batch, row.token).await?;
                row.removed = Some(self.now());
                // What was read says nothing of the day on which it comes back.
                (row.stock, row.stock_read, row.claim_read) = (BTreeMap::new(), None, None);
                (row.needs_person, row.claimed_by_other) = (None, None);
                row.noted.clear();
                let detail = json!({ "location": row.name, "id": id, "library": row.library });
                self.audit_into(&mut batch, "location.removed", detail);
                batch.put(row.clone());
                self.store().commit(batch).await?;
                Ok(row)
            })
            .await?;
        self.forget_secret(gone.token);
        Ok(gone)
    }

    /// What takes licences from a location, in words.
    async fn takes_from(&self, row: &Location) -> Result<Option<String>, Error> {
        let open = self.open_errands().await?;
        if let Some(errand) = open.iter().find(|e| e.location() == Some(row.id)) {
            return Ok(Some(format!(
                "the request {} to Apple about its licences has not ended: `mdmd report requests` shows it",
                errand.id
            )));
        }
        for project in self.projects().await? {
            if project.closed.is_none()
                && let Some(app) = self.wanted_of(row, &project.runbooks).await?
            {
                return Ok(Some(format!(
                    "the project {} wants licences of the app {app}, which it has; close that first",
                    project.name
                )));
            }
        }
        for wave in self.all_waves().await? {
            if wave.is_open()
                && let Some(app) = self.wanted_of(row, &wave.runbooks).await?
            {
                return Ok(Some(format!(
                    "the wave {} is open and wants licences of the app {app}, which it has",
                    wave.name
                )));
            }
        }
        Ok(None)
    }

    /// An app of these runbooks of which a location has licences.
    async fn wanted_of(
        &self,
        row: &Location,
        runbooks: &BTreeMap<Platform, RunbookId>,
    ) -> Result<Option<u64>, Error> {
        for id in runbooks.values() {
            let plan = self.plan(*id).await?;
            let mut apps = store_apps(&plan).into_iter();
            let here = apps.find(|(app, _)| row.stock.contains_key(app));
            if let Some((app, _)) = here {
                return Ok(Some(app));
            }
        }
        Ok(None)
    }
}
