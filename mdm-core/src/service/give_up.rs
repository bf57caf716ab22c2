//! A person gives up an attempt that nothing else can end, so that its wave and its project can. What is at the device and at Apple
//! stays as it is; so do the keys and codes that are kept, and the guard of a hold.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Org;
use super::checkin::readable;
use super::decision::Decision;
use super::sync::append;
use crate::approval::Wanted;
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::errand::ErrandKind;
use crate::error::Error;
use crate::ids::{ApprovalId, ErrandId, MoveId, Serial};
use crate::migration::{Event, Move, MoveState, Outcome, SetUp, SetUpPhase};
use crate::store::Batch;

/// A device that has said nothing for so long counts as silent: nobody gives up one that can be reached.
pub(super) const SILENT: Duration = Duration::from_hours(24);
/// So long Apple has to show that a migration was called back, from when that was sent.
const HOUR: Duration = Duration::from_hours(1);

/// How the record calls it.
const GIVEN_UP: &str = "migration.given-up";

/// What giving an attempt up comes to.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct GivingUp {
    /// As what the attempt ends.
    pub outcome: Outcome,
    /// When the device spoke last, if it came to us.
    pub heard: Option<Timestamp>,
    /// What it means, for people.
    pub sentence: String,
}

/// What asking for it came to.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "done, or not yet")]
pub enum GivenUp {
    /// The attempt has ended.
    Done(GivingUp),
    /// Another person must confirm it first.
    Waits(ApprovalId),
}

/// That a person has given an attempt up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WasGivenUp {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Who confirmed it, where two persons are demanded always.
    pub confirmed_by: Option<String>,
}

impl WasGivenUp {
    /// What the record of its device says of an attempt.
    pub(super) fn of(attempt: &Move, timeline: &[AuditEntry]) -> Option<Self> {
        // One that was given up before this one began was another.
        let mut own = timeline.iter().rev().filter(|e| e.at >= attempt.created);
        let entry = own.find(|e| e.what == GIVEN_UP)?;
        let text = |key: &str| entry.detail[key].as_str().map(str::to_owned);
        attempt.is_ended().then(|| Self {
            at: entry.at,
            by: entry.actor.clone(),
            reason: text("reason"),
            confirmed_by: text("confirmed_by"),
        })
    }
}

impl Org {
    /// What it means to give up the open attempt of a device.
    ///
    /// # Errors
    /// As [`Org::give_up`].
    pub async fn giving_up(&self, serial: &Serial) -> Result<GivingUp, Error> {
        let mut giving = self.hopeless(serial).await?.1;
        giving.sentence += " Programs that are told what becomes of devices (webhooks) are told.";
        if self.fresh().await?.settings.two_persons_always {
            giving.sentence += " Another person has to confirm it first.";
        }
        Ok(giving)
    }

    /// Ends the open attempt of a device that does not come, or does not come back. Nothing is asked of Apple or of the device, and
    /// nothing that is kept of it is destroyed. Where the organisation demands two persons always, another confirms it.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason, [`Error::NotFound`] without the device, [`Error::Precondition`] with what ends the
    /// attempt otherwise, or where its device was heard of within a day; the store's.
    pub async fn give_up(&self, serial: &Serial, reason: &str) -> Result<GivenUp, Error> {
        let reason = reason.trim();
        super::wave::sentence("reason", reason, true)?;
        self.again_on_conflict(|| async {
            let (attempt, giving) = self.hopeless(serial).await?;
            if self.fresh().await?.settings.two_persons_always {
                let serial = serial.clone();
                let attempt = attempt.id;
                let wanted = Wanted::GiveUp { serial, attempt };
                let id = self.ask_second(wanted, Some(reason)).await?;
                return Ok(GivenUp::Waits(id));
            }
            let d = self.end_of(attempt, &giving, self.actor(), reason, None);
            self.commit(d.await?).await?;
            Ok(GivenUp::Done(giving))
        })
        .await
    }

    /// The same once another person has confirmed it, in the name of whoever asked: the rows go with those that say so.
    pub(super) async fn give_up_confirmed(
        &self,
        batch: &mut Batch,
        (serial, of): (&Serial, MoveId),
        asker: &str,
        reason: &str,
        confirmed_by: &str,
    ) -> Result<(), Error> {
        let (attempt, giving) = self.hopeless(serial).await?;
        if attempt.id != of {
            let why = format!("{serial} has another attempt than the one that was to be given up");
            return Err(Error::Precondition(why));
        }
        let d = self.end_of(attempt, &giving, asker, reason, Some(confirmed_by));
        append(batch, d.await?.into_batch());
        Ok(())
    }

    async fn end_of<'a>(
        &'a self,
        attempt: Move,
        giving: &GivingUp,
        by: &'a str,
        reason: &str,
        confirmed_by: Option<&str>,
    ) -> Result<Decision<'a>, Error> {
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), by);
        self.load_for_attempt(&mut d, attempt).await?;
        d.audit(
            GIVEN_UP,
            json!({
                "outcome": giving.outcome, "heard": giving.heard, "reason": reason,
                "confirmed_by": confirmed_by,
            }),
        );
        let why = format!("{by} gave it up: {reason}");
        d.tell_move(&Event::GivenUp { why });
        Ok(d)
    }

    /// The open attempt of a device, if nothing but a person's word ends it.
    async fn hopeless(&self, serial: &Serial) -> Result<(Move, GivingUp), Error> {
        let device = self.device_named(serial).await?;
        let no = |why: &str| Error::Precondition(format!("{serial} is not given up: {why}"));
        let Some(open) = device.open_move else {
            return Err(no("it has no attempt that is open"));
        };
        let attempt = self.store().attempt(self.id(), open).await?;
        let attempt = attempt.ok_or(Error::NotFound("attempt"))?;
        let now = self.now();
        if let Some(why) = attempt.ends_otherwise(now) {
            return Err(no(why));
        }
        // Until it is sent its user may still take the prompt.
        if let MoveState::Cancelling { since } = attempt.state
            && now.since(since) < SILENT
            && !self.is_called_back(&attempt, now).await?
        {
            return Err(no(
                "nothing says that its call-back was sent an hour ago: `mdmd report requests` says what it waits for; a day after it was asked for it can be given up all the same",
            ));
        }
        let set_up = match attempt.enrolled_as {
            Some(id) => readable(self.store().set_up(self.id(), id).await)?,
            None => None,
        };
        let is_out = |s: &SetUp| s.phase() == SetUpPhase::Proving;
        if set_up.as_ref().is_some_and(is_out) {
            return Err(no(
                "its device is out of its hold, and it ends by itself once the time for the proof is over",
            ));
        }
        // What it said under an earlier enrolment says nothing of this way.
        let heard = match attempt.enrolled_as {
            Some(_) => {
                let heard = self.last_heard(&[device.id]).await?.remove(&device.id);
                heard.max(set_up.as_ref().and_then(|s| s.heard))
            }
            None => None,
        };
        let since = match (heard, &attempt.state) {
            (None, MoveState::Stalled { since, .. } | MoveState::Moving { since, .. }) => {
                Some(*since)
            }
            (heard, _) => heard,
        };
        if let Some(at) = since.filter(|at| now.since(*at) < SILENT) {
            let held = set_up.as_ref().is_some_and(|s| s.held_since().is_some());
            let otherwise = match held {
                true => "let it out of its hold with `mdmd hold release`",
                false => "have it woken and on a network",
            };
            return Err(no(&format!(
                "there was a sign of it at {at}, less than a day ago: {otherwise}"
            )));
        }
        let outcome = attempt.given_up_as();
        let sentence = sentence(outcome, &attempt);
        let giving = GivingUp {
            outcome,
            heard,
            sentence,
        };
        Ok((attempt, giving))
    }

    /// Whether a request that calls it back was sent an hour ago.
    async fn is_called_back(&self, attempt: &Move, now: Timestamp) -> Result<bool, Error> {
        let mut after = ErrandId(0);
        loop {
            let page = self
                .store()
                .errands_of(self.id(), attempt.wave, after, 100)
                .await?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = last.id;
            let own = page.iter().filter(|errand| {
                let mut members = errand.members.iter();
                errand.kind == ErrandKind::Cancel && members.any(|m| m.attempt == Some(attempt.id))
            });
            let mut sent = own.flat_map(|errand| &errand.sendings);
            if sent.any(|s| s.devices > 0 && now >= s.at + HOUR) {
                return Ok(true);
            }
        }
    }
}

/// What it means for this attempt.
fn sentence(outcome: Outcome, attempt: &Move) -> String {
    let place = match attempt.gap {
        Some(_) => ", its place among the devices on their way is free",
        None => "",
    };
    let later = match outcome {
        Outcome::Failed => {
            "if it speaks again its set-up goes on without the attempt, and until then its hold is guarded as before"
        }
        _ => {
            "a migration that is pending at Apple stays pending there, and a device that comes all the same is set up as one that nobody planned: apps of the original may be lost with their data"
        }
    };
    let ends = match outcome {
        Outcome::Failed => "as failed",
        _ => "as abandoned",
    };
    format!(
        "the attempt ends {ends} and does not open again{place}; the keys and codes that are kept of it stay, and so do licences that were given to it; those that were only promised to it are free; {later}."
    )
}
