//! What takes two persons: a deadline moved earlier, the cancellation of many migrations, more looks at secrets than a few. The
//! first asks, somebody else confirms, and then what was asked for is done as it was looked at, or not at all; of what calls devices back,
//! as much as is still possible.

use serde_json::json;

use super::Org;
use super::act::{Act, ActDone, CallsBack, MigrationAct};
use super::wave::sentence;
use crate::approval::{Alone, Approval, ApprovalState, CANCELS_ALONE, REVEALS_ALONE, Wanted};
use crate::device::Device;
use crate::error::Error;
use crate::hand_off::agreement::AgreedDestination;
use crate::ids::{AloneId, ApprovalId, Serial};
use crate::organisation::Organisation;
use crate::secret::{Secret, SecretKind};
use crate::store::Batch;

/// Uses of devices' secrets by one person, as they are counted.
pub(super) const REVEALS: &str = "reveals";

/// What asking for a secret came to.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "shown, or not yet")]
pub enum Revealed {
    /// It.
    Shown(Secret),
    /// Another person must confirm first; then it is asked for again, with this.
    Waits(ApprovalId),
}

/// What a confirmation brought about.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the row, and what was done at once"
)]
pub struct Confirmed {
    /// As it stands now.
    pub approval: Approval,
    /// The act, if it was one.
    pub act: Option<ActDone>,
}

impl Org {
    /// What waits for a second person, or was confirmed and is not used yet; oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn approvals(&self, after: ApprovalId, limit: u32) -> Result<Vec<Approval>, Error> {
        let now = self.now();
        Ok(self.store().approvals(self.id(), now, after, limit).await?)
    }

    /// Confirms what somebody else has asked for. An act is done now, exactly as it was planned then; migrations are called back as far
    /// as they still can be, and no others ([`ActDone::left_out`]); a secret is for whoever asked to look at.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] for whoever asked, for what is over, and for an act whose plan has changed;
    /// as [`Org::do_act`].
    pub async fn confirm(&self, id: ApprovalId) -> Result<Confirmed, Error> {
        self.again_on_conflict(|| self.confirm_once(id)).await
    }

    async fn confirm_once(&self, id: ApprovalId) -> Result<Confirmed, Error> {
        let mut approval = self.open_approval(id).await?;
        if !approval.may_be_confirmed_by(self.actor(), self.person()) {
            let why = "this takes another person than the one who asked";
            return Err(Error::Precondition(why.to_owned()));
        }
        let (by, at) = (self.actor().to_owned(), self.now());
        let mut batch = Batch::new();
        let detail = json!({ "approval": id, "asked_by": approval.by, "wanted": approval.wanted, "reason": approval.reason });
        self.audit_into(&mut batch, "approval.confirmed", detail);
        let (what, serials, digest, calls) = match &approval.wanted {
            Wanted::Reveal { .. } | Wanted::Export { .. } => {
                approval.state = ApprovalState::Confirmed { by, at };
                return self.confirmed(approval, batch).await;
            }
            Wanted::ClearLock { serial } => {
                let device = self.clearable(serial).await?;
                let (asker, reason) = (approval.by.clone(), approval.reason.clone());
                let reason = reason.unwrap_or_default();
                self.begin_clearing(&mut batch, device, &asker, &reason, Some(&by));
                approval.state = ApprovalState::Done { by, at };
                return self.confirmed(approval, batch).await;
            }
            Wanted::GiveUp { serial, attempt } => {
                let reason = approval.reason.as_deref().unwrap_or_default();
                let asker = &approval.by;
                self.give_up_confirmed(&mut batch, (serial, *attempt), asker, reason, &by)
                    .await?;
                approval.state = ApprovalState::Done { by, at };
                return self.confirmed(approval, batch).await;
            }
            Wanted::HandOver {
                url,
                ca,
                source,
                token,
            } => {
                let agreed = AgreedDestination {
                    url: url.clone(),
                    ca: ca.clone(),
                    source: *source,
                    token: *token,
                    asked_by: approval.by.clone(),
                    at,
                    confirmed_by: by.clone(),
                };
                self.put_destination(&mut batch, Some(agreed)).await?;
                approval.state = ApprovalState::Done { by, at };
                return self.confirmed(approval, batch).await;
            }
            Wanted::Alone => {
                let mut organisation = self.fresh().await?;
                organisation.settings.two_persons_always = false;
                self.audit_into(
                    &mut batch,
                    "organisation.two-persons",
                    json!({ "always": false, "asked_by": approval.by }),
                );
                batch.put(organisation);
                approval.state = ApprovalState::Done { by, at };
                return self.confirmed(approval, batch).await;
            }
            Wanted::Force {
                serials,
                deadline,
                digest,
            } => {
                let what = MigrationAct::Force {
                    deadline: *deadline,
                };
                (what, serials.clone(), digest.clone(), CallsBack::default())
            }
            Wanted::Cancel {
                serials,
                digest,
                going,
            } => {
                let calls = CallsBack {
                    going: going.clone(),
                    rest: None,
                };
                (MigrationAct::Cancel, serials.clone(), digest.clone(), calls)
            }
            Wanted::Return {
                serials,
                deadline,
                to,
                digest,
                going,
                rest,
            } => {
                let what = MigrationAct::Return {
                    deadline: *deadline,
                    to: to.clone(),
                };
                let calls = CallsBack {
                    going: going.clone(),
                    rest: rest.clone(),
                };
                (what, serials.clone(), digest.clone(), calls)
            }
        };
        let act = Act {
            what,
            serials,
            reason: approval.reason.clone(),
        };
        approval.state = ApprovalState::Done { by, at };
        batch.put(approval.clone());
        // In the name of whoever wanted it; who confirmed it is in the same commit.
        let asker = self.clone().acting_for(&approval.by);
        let done = Box::pin(asker.act_as_confirmed(&act, &digest, &calls, batch)).await?;
        Ok(Confirmed {
            approval,
            act: Some(done),
        })
    }

    async fn confirmed(&self, approval: Approval, mut batch: Batch) -> Result<Confirmed, Error> {
        batch.put(approval.clone());
        self.store().commit(batch).await?;
        Ok(Confirmed {
            approval,
            act: None,
        })
    }

    /// Refuses what somebody has asked for: for whoever may confirm it. Whoever asked may take it back so.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] for what is over.
    pub async fn decline(&self, id: ApprovalId) -> Result<Approval, Error> {
        self.refuse_approval(id, false).await
    }

    /// Takes back what this person has asked for, and nothing of anybody else: who may not confirm an act does not hold it up either.
    ///
    /// # Errors
    /// As [`Org::decline`]; [`Error::Refused`] for what somebody else has asked for.
    pub async fn take_back(&self, id: ApprovalId) -> Result<Approval, Error> {
        self.refuse_approval(id, true).await
    }

    async fn refuse_approval(&self, id: ApprovalId, own_only: bool) -> Result<Approval, Error> {
        self.again_on_conflict(|| async {
            let mut approval = self.open_approval(id).await?;
            if own_only && !approval.is_own_of(self.person()) {
                return Err(Error::Refused(
                    "what somebody else has asked for is declined by who may confirm it: this takes the role approver",
                ));
            }
            approval.state = ApprovalState::Refused {
                by: self.actor().to_owned(),
                at: self.now(),
            };
            let mut batch = Batch::new();
            let detail =
                json!({ "approval": id, "asked_by": approval.by, "wanted": approval.wanted });
            self.audit_into(&mut batch, "approval.refused", detail);
            if let Wanted::HandOver { token, .. } = &approval.wanted {
                self.destroy_secret(&mut batch, *token).await?;
            }
            batch.put(approval.clone());
            self.store().commit(batch).await?;
            Ok(approval)
        })
        .await
    }

    async fn open_approval(&self, id: ApprovalId) -> Result<Approval, Error> {
        let found = self.store().approval(self.id(), id).await?;
        let approval = found.ok_or(Error::NotFound("approval"))?;
        if approval.is_open(self.now()) {
            return Ok(approval);
        }
        let why = match &approval.state {
            ApprovalState::Open => "nobody confirmed it in time: it must be asked for again",
            ApprovalState::Confirmed { .. } | ApprovalState::Done { .. } => {
                "it is confirmed already"
            }
            ApprovalState::Refused { .. } => "it was refused",
        };
        Err(Error::Precondition(why.to_owned()))
    }

    /// Writes down that somebody wants what takes two. The same asked for again is the same row.
    pub(super) async fn ask_second(
        &self,
        wanted: Wanted,
        reason: Option<&str>,
    ) -> Result<ApprovalId, Error> {
        let now = self.now();
        let mut after = ApprovalId(0);
        loop {
            let page = self.approvals(after, 100).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            // Another reason is another question: whoever consents reads the one that was given.
            let mine = |a: &Approval| a.is_own_of(self.person());
            let same = |a: &&Approval| {
                let asks = mine(a) && a.reason.as_deref() == reason;
                a.is_open(now) && asks && a.wanted == wanted
            };
            if let Some(there) = page.iter().find(same) {
                return Ok(there.id);
            }
        }
        let id = ApprovalId(self.ids().next(now));
        let mut batch = Batch::new();
        let detail = json!({ "approval": id, "wanted": wanted, "reason": reason });
        self.audit_into(&mut batch, "approval.asked", detail);
        let (by, reason) = (self.actor().to_owned(), reason.map(str::to_owned));
        let mut approval = Approval::new(self.id(), id, wanted, by, now, reason);
        self.person().clone_into(&mut approval.by_person);
        batch.put(approval);
        self.store().commit(batch).await?;
        Ok(id)
    }

    /// Counts so many more of what this person does alone, in the batch that does them; `None` when they take two.
    pub(super) async fn alone(
        &self,
        what: &str,
        count: usize,
        most: u32,
    ) -> Result<Option<Alone>, Error> {
        if self.fresh().await?.settings.two_persons_always {
            return Ok(None);
        }
        let name = format!("{what} of {}", self.person());
        let now = self.now();
        let before = self.store().alone(self.id(), &name).await?;
        let mut row = match before {
            Some(row) => row,
            None => {
                let mut row = Alone::new(self.id(), AloneId(self.ids().next(now)), &name);
                // Earlier versions counted by name.
                let by_name = format!("{what} of {}", self.actor());
                if let Some(counted) = self.store().alone(self.id(), &by_name).await? {
                    row.lately = counted.lately;
                }
                row
            }
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Ok(row.may(count, most, now).then_some(row))
    }

    /// What an act for so many devices needs beside its digest: a row that goes with it, or the confirmation of another person.
    pub(super) async fn second_for(
        &self,
        act: &Act,
        devices: usize,
        digest: &str,
        calls: CallsBack,
    ) -> Result<Result<Batch, ApprovalId>, Error> {
        let (serials, digest) = (act.serials.clone(), digest.to_owned());
        let CallsBack { going, rest } = calls;
        let wanted = match &act.what {
            MigrationAct::Assign { .. } | MigrationAct::Extend { .. } => {
                return Ok(Ok(Batch::new()));
            }
            // A return undoes a migration as well: both count together.
            MigrationAct::Cancel | MigrationAct::Return { .. } => {
                if let Some(row) = self.alone("cancels", devices, CANCELS_ALONE).await? {
                    let mut batch = Batch::new();
                    batch.put(row);
                    return Ok(Ok(batch));
                }
                match &act.what {
                    MigrationAct::Return { deadline, to } => Wanted::Return {
                        serials,
                        deadline: *deadline,
                        to: to.clone(),
                        digest,
                        going,
                        rest,
                    },
                    _ => Wanted::Cancel {
                        serials,
                        digest,
                        going,
                    },
                }
            }
            MigrationAct::Force { deadline } => Wanted::Force {
                serials,
                deadline: *deadline,
                digest,
            },
        };
        Ok(Err(self.ask_second(wanted, act.reason.as_deref()).await?))
    }

    /// Reveals the newest secret of a kind of a device to the person of this handle. Written to the record before it is shown.
    /// More than ten a day take somebody else, who confirms each: it is then asked for again, with that approval.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason, [`Error::NotFound`] when there is none, [`Error::Precondition`] for an approval that
    /// is not for this person and secret, not confirmed, used, or too old.
    pub async fn reveal(
        &self,
        serial: &Serial,
        kind: SecretKind,
        reason: &str,
        approval: Option<ApprovalId>,
    ) -> Result<Revealed, Error> {
        sentence("reason", reason, false)?;
        if reason.trim().is_empty() {
            return Err(Error::bad_input(
                "reason",
                "must say why the secret is revealed",
            ));
        }
        self.again_on_conflict(|| self.reveal_once(serial, kind, reason, approval))
            .await
    }

    async fn reveal_once(
        &self,
        serial: &Serial,
        kind: SecretKind,
        reason: &str,
        approval: Option<ApprovalId>,
    ) -> Result<Revealed, Error> {
        let device = self.device_named(serial).await?;
        let row = self
            .store()
            .secrets(self.id(), device.id)
            .await?
            .into_iter()
            .find(|s| s.kind == kind && s.replaced.is_none())
            .ok_or(Error::NotFound("secret of this kind"))?;
        let mut batch = Batch::new();
        let confirmed = match approval {
            Some(id) => Some(self.use_approval(id, serial, kind, &mut batch).await?),
            None => match self.alone(REVEALS, 1, REVEALS_ALONE).await? {
                Some(row) => {
                    batch.put(row);
                    None
                }
                None => {
                    let wanted = Wanted::Reveal {
                        serial: serial.clone(),
                        kind: kind.as_str().to_owned(),
                    };
                    return Ok(Revealed::Waits(
                        self.ask_second(wanted, Some(reason)).await?,
                    ));
                }
            },
        };
        let fresh = self.fresh().await?;
        let rotates = self.rotate_after_reveal(&mut batch, &fresh, &device, &row);
        let mut detail = json!({ "kind": kind.as_str(), "secret": row.id, "reason": reason, "confirmed_by": confirmed });
        if let Some(at) = rotates {
            detail["rotates"] = json!(at);
        }
        self.audit_of_device(&mut batch, &device, "secret.revealed", detail);
        self.store().commit(batch).await?;
        Ok(Revealed::Shown(self.open_row(&row).await?))
    }

    /// Uses up a confirmation; answers who gave it.
    async fn use_approval(
        &self,
        id: ApprovalId,
        serial: &Serial,
        kind: SecretKind,
        batch: &mut Batch,
    ) -> Result<String, Error> {
        let found = self.store().approval(self.id(), id).await?;
        let mut approval = found.ok_or(Error::NotFound("approval"))?;
        let now = self.now();
        let mine = approval.is_own_of(self.person());
        let by = approval
            .lets_see(&approval.by, serial, kind, now)
            .filter(|_| mine);
        let Some(by) = by.map(str::to_owned) else {
            let why = "this approval is not for you and this secret, not confirmed, used, or older than an hour";
            return Err(Error::Precondition(why.to_owned()));
        };
        approval.state = ApprovalState::Done {
            by: by.clone(),
            at: now,
        };
        batch.put(approval);
        Ok(by)
    }

    pub(super) fn audit_of_device(
        &self,
        batch: &mut Batch,
        device: &Device,
        what: &str,
        detail: serde_json::Value,
    ) {
        let now = self.now();
        let device = Some(device.id);
        batch.put(self.entry(now, self.actor(), what, device, detail));
    }

    /// Demands two persons for every reveal, every cancellation and every attempt that is given up, or only for many of the first two. That it is no longer demanded always takes
    /// two persons itself: answers what waits for the second.
    ///
    /// # Errors
    /// The store's.
    pub async fn demand_two_persons(
        &self,
        always: bool,
    ) -> Result<(Organisation, Option<ApprovalId>), Error> {
        let before = self.fresh().await?;
        if before.settings.two_persons_always && !always {
            let id = self.ask_second(Wanted::Alone, None).await?;
            return Ok((before, Some(id)));
        }
        let detail = json!({ "always": always });
        let set = |organisation: &mut Organisation| {
            organisation.settings.two_persons_always = always;
            Ok(())
        };
        let after = self
            .change_organisation("organisation.two-persons", detail, set)
            .await?;
        Ok((after, None))
    }
}
