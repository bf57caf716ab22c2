//! Takes an organisation away: what would be harmed keeps it, then nobody finds it any more, and its rows go in pieces while others are
//! served. Asks nothing of Apple; what stays there is for whoever has the account.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::give_up::SILENT;
use super::wave::sentence;
use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::Device;
use crate::device_lock::ClearingState;
use crate::enrollment::{Enrollment, EnrollmentState};
use crate::error::Error;
use crate::ids::{DeviceId, EnrollmentId, IdSource, OrganisationCode, OrganisationId, SetUpId};
use crate::migration::SetUp;
use crate::removal::{LEASE, Removal, SETTLES};
use crate::sealed::SealedSecret;
use crate::secret::SecretKind;
use crate::server_certificate::INSTALLATION;
use crate::store::{Batch, StoreError};

/// How often a process looks whether something is to go.
const EVERY: Duration = Duration::from_mins(1);
/// Rows of a table that go in one statement, so that nobody waits long behind it.
const AT_ONCE: u32 = 500;
/// So many statements in a row; then what else is due has its turn.
const PIECES: usize = 10;
/// Rows that are read at a time.
const PAGE: u32 = 500;
/// How often a decision is made again that somebody else was faster than.
const TRIES: u32 = 8;

/// Devices that are enrolled.
#[derive(Default)]
struct Enrolled {
    /// Heard of within a day: the first of them, and how many.
    speaking: (Option<String>, u64),
    /// Not heard of.
    silent: (Option<String>, u64),
}

impl Mdm {
    /// Takes an organisation away, in the name of `by`. From then on nobody finds it, and nothing is asked for it; its data key goes
    /// two minutes later and then its rows, a piece in each round of [`Mdm::work`]. `confirm` is its code, typed by whoever wants it,
    /// `leave_behind` how many devices stay enrolled that were not heard of for a day. Again does no harm: it answers how far it is.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason or a name, or where `confirm` is another; [`Error::NotFound`]; [`Error::Precondition`] names what
    /// would be harmed, and the way out; the store's.
    pub async fn remove_organisation(
        &self,
        code: &OrganisationCode,
        (confirm, reason): (&str, &str),
        leave_behind: u64,
        by: &str,
    ) -> Result<Removal, Error> {
        let reason = reason.trim();
        sentence("reason", reason, true)?;
        sentence("by", by, true)?;
        if confirm != code.as_str() {
            let problem = "must be the code of the organisation, typed once more";
            return Err(Error::bad_input("confirm", problem));
        }
        for _ in 0..TRIES {
            let org = match self.organisation(code).await {
                Ok(org) => org,
                Err(Error::NotFound(_)) => return self.removal_of(code).await,
                Err(error) => return Err(error),
            };
            let all = self.organisations(OrganisationId(0), 2).await?;
            if let [only] = all.as_slice()
                && only.id == org.id()
            {
                let why = "it is the only organisation, and a server serves at least one: make another first (`mdmd organisation new`), or end the installation by stopping its servers and destroying its database, its backups and its master key";
                return Err(Error::Precondition(why.to_owned()));
            }
            org.may_be_removed(leave_behind).await?;
            let organisation = org.organisation().clone();
            let removal = Removal::new(organisation, (by, reason), leave_behind, self.now());
            match self.inner.store.begin_removal(&removal).await {
                Ok(()) => {
                    tracing::warn!(organisation = %removal.id, name = removal.name, by, reason, left_behind = leave_behind, "an organisation is taken away");
                    self.forget_removed(&removal);
                    self.forget_domains();
                    return self.removal_of(code).await;
                }
                // It was changed meanwhile, perhaps taken away by somebody else.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy("too many changes at once"))
    }

    /// Organisations that were taken away, in the order of their ids, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn removals(&self, after: OrganisationId, limit: u32) -> Result<Vec<Removal>, Error> {
        Ok(self.inner.store.removals(after, limit).await?)
    }

    async fn removal_of(&self, code: &OrganisationCode) -> Result<Removal, Error> {
        let mut after = OrganisationId(0);
        loop {
            let page = self.inner.store.removals(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Err(Error::NotFound("organisation"));
            };
            after = last.id;
            if let Some(found) = page.into_iter().find(|removal| removal.code == *code) {
                return Ok(found);
            }
        }
    }

    /// A piece of what is left of organisations that were taken away, if it is due. Answers how many rows went, or that something was
    /// done; due again at once while there is more.
    pub(super) async fn erase_removed(&self) -> Result<usize, Error> {
        let now = self.now();
        {
            let next = self.inner.erase_at.lock();
            let next = next.unwrap_or_else(PoisonError::into_inner);
            // What lies further ahead than a round was set by a clock that has gone back since.
            if next.is_some_and(|next| now < next && next.since(now) <= EVERY) {
                return Ok(0);
            }
        }
        let (mut after, mut gone) = (OrganisationId(0), 0);
        loop {
            let page = self.inner.store.removals(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for removal in page.into_iter().filter(|r| r.is_watched(now)) {
                self.forget_removed(&removal);
                if !removal.is_due(now) {
                    continue;
                }
                let id = removal.id;
                match self.go_on_erasing(removal, now).await {
                    Ok(rows) => gone += rows,
                    // Somebody else goes on with it.
                    Err(error) if error.is_conflict() => {}
                    Err(error) => {
                        tracing::error!(organisation = %id, %error, "what is left of an organisation could not be deleted; it is tried again");
                    }
                }
            }
        }
        if gone == 0 {
            let next = self.inner.erase_at.lock();
            *next.unwrap_or_else(PoisonError::into_inner) = Some(now + EVERY);
        }
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    /// Each commit proves by the version of the row that nobody else is at it, and holds how far it is: killed anywhere, whoever
    /// comes after the lease goes on there.
    async fn go_on_erasing(&self, mut removal: Removal, now: Timestamp) -> Result<u64, Error> {
        let store = &self.inner.store;
        removal.leased_until = Some(now + LEASE);
        removal = store.keep_removal(&removal).await?;
        if let Some(kept) = &removal.kept {
            let org = self.handle((*kept.organisation).clone());
            let why = match self.came_meanwhile(&removal).await? {
                Some(serial) => Some(format!("{serial} has begun to enrol")),
                None => org.credential_in_use().await?,
            };
            if let Some(why) = why {
                return self.put_back(&removal, &why).await;
            }
            // Before the row is dropped, for nobody would come back to it: a partner of one that is put back after a death in
            // between has lost it all the same.
            self.dismiss_partners_of(removal.id, now).await?;
            removal.kept = None;
            removal = store.keep_removal(&removal).await?;
        }
        let before = removal.rows();
        for _ in 0..PIECES {
            removal = store.erase(&removal, AT_ONCE).await?;
            if removal.place.is_none() {
                break;
            }
        }
        let gone = removal.rows() - before;
        let is_through = removal.place.is_none();
        let again = removal.finished.is_some();
        let over = !again && is_through && removal.empty && removal.may_finish(now);
        if again && is_through {
            removal.looked = Some(now);
        } else if over {
            removal.finished = Some(now);
        }
        removal.leased_until = None;
        let removal = store.keep_removal(&removal).await?;
        if over {
            let (by, rows) = (&removal.by, removal.rows());
            tracing::warn!(organisation = %removal.id, name = removal.name, by, rows, "nothing is left of an organisation that was taken away");
        } else if again && gone > 0 {
            tracing::warn!(organisation = %removal.id, name = removal.name, rows = gone, "somebody has written for an organisation after nothing was left of it: that is gone too");
        }
        Ok(gone)
    }

    /// It is there again, whole, and its record says so.
    async fn put_back(&self, removal: &Removal, why: &str) -> Result<u64, Error> {
        let store = &self.inner.store;
        store.undo_removal(removal).await?;
        tracing::error!(organisation = %removal.id, name = removal.name, why, "something has come as an organisation was taken away: it is there again, and nothing of it has gone");
        self.forget_domains();
        let org = self.organisation_by_id(removal.id).await?;
        let said = json!({
            "asked": removal.begun,
            "by": removal.by,
            "reason": removal.reason,
            "why": why,
        });
        let what = "organisation.removal-undone";
        let mut batch = Batch::new();
        batch.put(org.entry(self.now(), "worker", what, None, said));
        store.commit(batch).await?;
        Ok(1)
    }

    /// The device of an enrolment that was begun while somebody looked whether there are any.
    async fn came_meanwhile(&self, removal: &Removal) -> Result<Option<String>, Error> {
        let store = &self.inner.store;
        // By a clock of another process, which may be behind.
        let mut after = SetUpId(IdSource::floor(removal.begun - SETTLES));
        loop {
            let page = store.set_ups(removal.id, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = last.id;
            let ids: Vec<EnrollmentId> = page.iter().map(|s| s.enrollment).collect();
            let rows = store.enrollments_of(removal.id, &ids).await?;
            if let Some(live) = rows.iter().find(|row| is_there(row)) {
                return Ok(Some(named(live)));
            }
        }
    }

    /// A partner that may act nowhere any more is revoked.
    async fn dismiss_partners_of(&self, id: OrganisationId, now: Timestamp) -> Result<(), Error> {
        let store = &self.inner.store;
        for mut token in store.tokens(INSTALLATION).await? {
            if !token.partner_of.remove(&id) {
                continue;
            }
            if token.partner_of.is_empty() {
                token.revoked = token.revoked.or(Some(now));
            }
            let mut batch = Batch::new();
            batch.put(token);
            store.commit(batch).await?;
        }
        Ok(())
    }

    /// Has this process forget what it keeps in memory of an organisation that was taken away, its keys first of all, and stop what
    /// is under way for it. [`Mdm::work`] does that by itself; it is for a process in which nobody calls that. Whoever has a handle of
    /// before may put something back: again now and then.
    pub fn forget_removed(&self, removal: &Removal) {
        let (inner, id) = (&self.inner, removal.id);
        inner.vault.forget_organisation(id);
        self.forget_code(&removal.code);
        if let Ok(mut keys) = inner.keys.lock() {
            keys.retain(|(of, _), _| *of != id);
        }
        if let Ok(mut keys) = inner.escrow_keys.lock() {
            keys.retain(|(of, _), _| *of != id);
        }
        if let Ok(mut cas) = inner.cas.lock() {
            cas.retain(|(of, ..), _| *of != id);
        }
        if let Ok(mut chains) = inner.chains.lock() {
            chains.retain(|(of, ..), _| *of != id);
        }
        if let Ok(mut lists) = inner.lists.lock() {
            lists.retain(|(of, _), _| *of != id);
        }
        if let Ok(mut plans) = inner.runbooks.lock() {
            plans.retain(|(of, _), _| *of != id);
        }
        if let Ok(mut standards) = inner.standards.lock() {
            standards.retain(|(of, ..), _| *of != id);
        }
        // Without patience a round does all it has claimed under one handle, that of others too.
        if inner.apart.patience().is_some() {
            inner.leases.stop_of(id);
        }
    }
}

impl Org {
    /// That nothing is harmed when it goes.
    async fn may_be_removed(&self, leave_behind: u64) -> Result<(), Error> {
        if let Some(why) = self.in_the_way(leave_behind).await? {
            let name = &self.organisation.name;
            return Err(Error::Precondition(format!("{name} is not removed: {why}")));
        }
        Ok(())
    }

    /// What would be harmed, and the way out.
    async fn in_the_way(&self, leave_behind: u64) -> Result<Option<String>, Error> {
        if let Some(held) = self.store().holds(self.id(), None, 1).await?.first() {
            let serial = held.serial.as_ref().map_or("a device", |s| s.as_str());
            return Ok(Some(format!(
                "{serial} is held in its set-up, and nobody would let it go: `mdmd hold list` has those that are"
            )));
        }
        let mut after = DeviceId(0);
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            if let Some(device) = page.iter().find(|d| d.open_move.is_some()) {
                return Ok(Some(format!(
                    "the attempt of {} has not ended; `mdmd wave cancel`, `mdmd wave remove` and `mdmd device give-up` end it",
                    device.serial.as_str()
                )));
            }
            if let Some(serial) = self.locked_elsewhere(&page).await? {
                return Ok(Some(format!(
                    "{serial} is not enrolled, and its Activation Lock is known to be on with a code that nobody else has: `mdmd device clear-lock` has Apple lift it"
                )));
            }
        }
        if let Some(errand) = self.open_errands().await?.first() {
            return Ok(Some(format!(
                "the request {} to Apple has not ended: `mdmd report requests` shows it",
                errand.id
            )));
        }
        let enrolled = self.still_enrolled().await?;
        if let (Some(serial), count) = &enrolled.speaking {
            let (devices, are) = (counted(*count, "device"), agree(*count, "is", "are"));
            let were = agree(*count, "was", "were");
            return Ok(Some(format!(
                "{devices} {are} enrolled and {were} heard of within a day, {serial} among them: they leave first, to another service or by removing the enrolment"
            )));
        }
        let (first, silent) = &enrolled.silent;
        if *silent != leave_behind {
            return Ok(Some(match first {
                Some(serial) => format!(
                    "{} {} enrolled and {} not heard of for a day, {serial} among them; to leave exactly these behind takes `--leave-behind {silent}`: they stay enrolled with a server that does not know them, are neither erased nor told anything, and nobody manages them before they are erased",
                    counted(*silent, "device"),
                    agree(*silent, "is", "are"),
                    agree(*silent, "was", "were")
                ),
                None => "no device is left behind: none is enrolled".to_owned(),
            }));
        }
        // The walks have left them out, and whoever they are might be harmed.
        let unreadable = self.store().unreadable().await?;
        let walked = ["devices", "set_ups"];
        let mut ours = unreadable
            .iter()
            .filter(|row| row.organisation == self.id());
        if let Some(row) = ours.find(|row| walked.contains(&row.table)) {
            return Ok(Some(format!(
                "a row cannot be read ({row}), and nobody knows whether its device is here: the checklist names those that are"
            )));
        }
        self.credential_in_use().await
    }

    /// The first of these devices that is not enrolled and has a lock of ours.
    async fn locked_elsewhere(&self, devices: &[Device]) -> Result<Option<String>, Error> {
        let away = devices.iter().filter(|d| d.enrollment.is_none());
        let away: BTreeMap<DeviceId, &Device> = away.map(|d| (d.id, d)).collect();
        if away.is_empty() {
            return Ok(None);
        }
        let ids: Vec<DeviceId> = away.keys().copied().collect();
        let rows = self.store().secrets_of(self.id(), &ids).await?;
        Ok(rows.iter().find_map(|row| {
            let device = away.get(&row.device?)?;
            is_locked_with(device, row).then(|| device.serial.as_str().to_owned())
        }))
    }

    /// A credential at Apple. Each is taken away by a command of its own, which looks at what it is used for and says what stays at
    /// Apple: here that would be asked when nobody can mend it any more.
    async fn credential_in_use(&self) -> Result<Option<String>, Error> {
        let servers = self.store().servers(self.id()).await?;
        if let Some(server) = servers.iter().find(|s| s.removed.is_none()) {
            return Ok(Some(format!(
                "the server entry {} is in use: Apple sends its devices here; `mdmd token remove` gives it up",
                server.name
            )));
        }
        if let Some(account) = &self.organisation.api {
            return Ok(Some(format!(
                "the account {} of the organisation API is here; `mdmd business remove` takes it away",
                account.client_id
            )));
        }
        let locations = self.store().locations(self.id()).await?;
        let kept = locations.iter().find(|l| l.removed.is_none());
        Ok(kept.map(|location| {
            format!(
                "the location {} of Apps and Books is claimed for this server; `mdmd licences remove` gives it up",
                location.name
            )
        }))
    }

    /// Devices with a channel that has not ended.
    async fn still_enrolled(&self) -> Result<Enrolled, Error> {
        let now = self.now();
        let mut all = Enrolled::default();
        let mut after = SetUpId(0);
        loop {
            let page = self.store().set_ups(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let set_ups: BTreeMap<EnrollmentId, &SetUp> =
                page.iter().map(|s| (s.enrollment, s)).collect();
            let ids: Vec<EnrollmentId> = set_ups.keys().copied().collect();
            let mut rows = self.store().enrollments_of(self.id(), &ids).await?;
            rows.retain(is_there);
            let devices: Vec<DeviceId> = rows.iter().filter_map(|row| row.device).collect();
            let heard = self.last_heard(&devices).await?;
            for row in &rows {
                let spoke = row.device.and_then(|device| heard.get(&device).copied());
                let noted = set_ups.get(&row.id).and_then(|s| s.heard);
                let last = spoke.max(noted).max(row.enrolled);
                let last = last.map_or(row.authenticated, |last| last.max(row.authenticated));
                let silent = now.since(last) >= SILENT;
                let (first, count) = match silent {
                    true => &mut all.silent,
                    false => &mut all.speaking,
                };
                if first.is_none() {
                    *first = Some(named(row));
                }
                *count += 1;
            }
        }
        Ok(all)
    }
}

/// Whether a device would speak on it.
fn is_there(row: &Enrollment) -> bool {
    matches!(
        row.state,
        EnrollmentState::Pending | EnrollmentState::Enrolled
    )
}

/// Whether Apple has confirmed a lock with this code of ours, and nobody has read it as off since or had it lifted (one that Apple did
/// not open with our codes is another's). Of a device that another service has by now, that one sees to the lock.
fn is_locked_with(device: &Device, row: &SealedSecret) -> bool {
    let in_force = row.replaced.is_none() && row.destroyed.is_none();
    let Some(on) = row.confirmed.filter(|_| in_force) else {
        return false;
    };
    if row.kind != SecretKind::ServerBypassCode {
        return false;
    }
    let left = device.moved_away.max(device.left_list);
    let lock = &device.lock;
    let mut sights = lock.apple.iter().chain(&lock.device);
    let is_off = sights.any(|sight| !sight.on && sight.at >= on);
    let tried = lock.clearing.as_ref().and_then(|c| match c.state {
        ClearingState::Asked => None,
        ClearingState::Cleared { at }
        | ClearingState::NoLock { at }
        | ClearingState::Refused { at, .. } => Some(at),
    });
    !is_off && left.max(tried).is_none_or(|at| at < on)
}

/// How people call its device; one that came by an account tells no serial number.
fn named(row: &Enrollment) -> String {
    let serial = row.serial.as_ref().map(|serial| serial.as_str());
    serial.unwrap_or(&row.key).to_owned()
}
