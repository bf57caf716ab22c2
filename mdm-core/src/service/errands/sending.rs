//! Sends errands: writes down that a request is asked, asks, and writes down what Apple said, or that it said nothing.

use serde_json::json;

use super::{PERSON, READING, Stepped};
use crate::clock::Timestamp;
use crate::device::Leaving;
use crate::errand::{ASKING, Errand, ErrandKind, ErrandMember, FENCE};
use crate::error::{Error, PortError};
use crate::ids::{ErrandId, Serial};
use crate::migration::{EffectKey, Event};
use crate::service::Org;
use crate::service::decision::Decision;
use crate::service::let_out;
use crate::service::ports::ActivityRequest;
use crate::service::sync::append;
use crate::store::Batch;

impl Org {
    /// Writes down that the request is asked, sends it, and writes down what Apple said.
    pub(super) async fn send(
        &self,
        mut errand: Errand,
        members: &[ErrandMember],
    ) -> Result<Stepped, Error> {
        let now = self.now();
        let Some(request) = request_of(&errand) else {
            return Ok(Stepped::Waits);
        };
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        if let Err(error) = request.activity(&serials, now) {
            // Its deadline has become one that Apple does not take.
            let sent = errand.was_sent();
            self.refuse(&errand, &error.to_string(), sent).await?;
            return Ok(Stepped::Waits);
        }
        // What was sent once may have its effect already: who lacks it gets the same again.
        if !errand.was_sent()
            && let Some(why) = self.without_notice(&errand, now).await?
        {
            self.refuse(&errand, &why, false).await?;
            return Ok(Stepped::Waits);
        }
        let key = self.api_key().await?;
        let id = errand.id;
        let mut batch = Batch::new();
        if let ErrandKind::Schedule { deadline, .. } = &errand.kind {
            // One that had failed is at Apple again: whoever takes it back must go there too.
            let event = Event::SubmitAsked {
                deadline: *deadline,
            };
            for member in members {
                self.tell_member(&mut batch, member, &event).await?;
            }
        }
        // Not before the commit: until others may ask, only that and the request itself must be over.
        let asked = self.now();
        errand.asked(members.len(), asked);
        batch.put(errand);
        self.store().commit(batch).await?;
        let answer = self.ports().api.submit(&key, &request, &serials, now);
        let answer = self.ask(asked, answer).await;
        self.take_answer(id, members, answer).await
    }

    /// Why a deadline is not sent any more: since somebody looked at it, it has come too near.
    async fn without_notice(
        &self,
        errand: &Errand,
        now: Timestamp,
    ) -> Result<Option<String>, Error> {
        let ErrandKind::Schedule { deadline, .. } = errand.kind else {
            return Ok(None);
        };
        let notice = self.fresh().await?.settings.notice();
        let late = deadline < now + notice;
        Ok(late.then(|| {
            let hours = notice.as_secs() / 3600;
            format!(
                "the deadline {deadline} has come nearer than {hours} hours before it could be sent: nothing was sent; \
                 give a later one, and submit again"
            )
        }))
    }

    /// Asks, as far as there is time. Whoever stood still, or waited for the turn of this organisation, between writing down that it
    /// asks and asking no longer asks: another process may do it by now. So it may when an answer takes too long: the request is
    /// broken off before.
    pub(super) async fn ask(
        &self,
        asked: Timestamp,
        request: impl Future<Output = Result<String, PortError>>,
    ) -> Result<String, PortError> {
        let passed = self.now().since(asked);
        if passed >= FENCE {
            return Err(PortError::retry(
                "this process stood still; nothing was sent",
            ));
        }
        let_out::within(FENCE - passed, ASKING, request).await
    }

    /// What Apple said to a request, or that it said nothing.
    pub(super) async fn take_answer(
        &self,
        id: ErrandId,
        members: &[ErrandMember],
        answer: Result<String, PortError>,
    ) -> Result<Stepped, Error> {
        match answer {
            Ok(activity) => {
                let event = Event::ActivityPosted {
                    activity: activity.clone(),
                };
                self.alter_with_events(id, members, Some(&event), |errand, now| {
                    errand.posted(&activity, now);
                })
                .await?;
                Ok(Stepped::Waits)
            }
            Err(PortError::Unknown(what)) => {
                tracing::warn!(organisation = %self.id(), errand = %id, what, "the outcome of a request is not known: the devices are read before anything is sent again");
                self.alter_errand(id, |errand, now| errand.unknown(&what, now))
                    .await?;
                Ok(Stepped::Waits)
            }
            Err(PortError::Retry { what, after }) => {
                // Apple refused for now and did nothing: it may be sent again.
                let wait = after.unwrap_or(READING);
                self.alter_errand(id, |errand, now| errand.put_off(&what, wait, now))
                    .await?;
                Ok(Stepped::Held(wait))
            }
            Err(PortError::NeedsPerson(what)) => {
                // Members show what is to be settled; the request goes out once it is.
                let event = Event::SubmitRefused { why: what.clone() };
                self.alter_with_events(id, members, Some(&event), |errand, now| {
                    errand.put_off(&what, PERSON, now);
                    errand.needs_person = Some(what.clone());
                })
                .await?;
                Ok(Stepped::Held(PERSON))
            }
            Err(error) => {
                let why = error.to_string();
                match self.errand(id).await? {
                    // What was sent before may have come true: who holds what is read before it ends.
                    Some(errand) if errand.kind.is_licence() && errand.sendings.len() > 1 => {
                        tracing::warn!(organisation = %self.id(), errand = %id, why, "Apple refuses a request that was sent before");
                        self.alter_errand(id, |errand, now| {
                            for serial in errand.serials() {
                                errand.failed.insert(serial, why.clone());
                            }
                            if let Some(sending) = errand.sendings.last_mut() {
                                sending.outcome = Some(why.clone());
                            }
                            errand.finished(&why, None, now);
                        })
                        .await?;
                    }
                    Some(errand) => self.refuse(&errand, &why, errand.may_come()).await?,
                    None => {}
                }
                Ok(Stepped::Waits)
            }
        }
    }

    /// Changes an errand and tells the attempts of some members, in one batch.
    pub(super) async fn alter_with_events(
        &self,
        id: ErrandId,
        members: &[ErrandMember],
        event: Option<&Event>,
        change: impl Fn(&mut Errand, Timestamp),
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut errand) = self.errand(id).await? else {
                return Ok(());
            };
            if errand.is_ended() {
                return Ok(());
            }
            let mut batch = Batch::new();
            // Only a scheduling is a state of its members; of others they hear by reading.
            if let (Some(event), ErrandKind::Schedule { .. }) = (event, &errand.kind) {
                for member in members {
                    self.tell_member(&mut batch, member, event).await?;
                }
            }
            change(&mut errand, self.now());
            batch.put(errand);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    pub(super) async fn tell_member(
        &self,
        batch: &mut Batch,
        member: &ErrandMember,
        event: &Event,
    ) -> Result<(), Error> {
        self.tell_member_all(batch, member, std::slice::from_ref(event))
            .await
    }

    /// Several events, one after the other, in one decision on its attempt.
    pub(super) async fn tell_member_all(
        &self,
        batch: &mut Batch,
        member: &ErrandMember,
        events: &[Event],
    ) -> Result<(), Error> {
        let Some(id) = member.attempt else {
            return Ok(());
        };
        let Some(attempt) = self.store().attempt(self.id(), id).await? else {
            return Ok(());
        };
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
        self.load_for_attempt(&mut d, attempt).await?;
        for event in events {
            d.tell_move(event);
        }
        append(batch, d.into_batch());
        Ok(())
    }

    /// A device that was to return, and of which nothing was sent or which Apple does not move, is not leaving.
    pub(super) async fn stays_after_all(
        &self,
        batch: &mut Batch,
        errand: &Errand,
        member: &ErrandMember,
        why: &str,
    ) -> Result<(), Error> {
        let (ErrandKind::Schedule { server, deadline }, None) = (&errand.kind, member.attempt)
        else {
            return Ok(());
        };
        // Somebody may have asked for another return meanwhile.
        let this = |leaving: &Leaving| leaving.to == *server && leaving.deadline == *deadline;
        let device = self.store().device(self.id(), member.device).await?;
        if let Some(mut device) = device.filter(|d| d.leaving.as_ref().is_some_and(this)) {
            device.leaving = None;
            let detail = json!({ "why": why });
            self.audit_of_device(batch, &device, "return.refused", detail);
            batch.put(device);
        }
        Ok(())
    }

    /// Apple will not do it: nothing was changed, and nothing is sent again. Where it was `sent_before`, a return may have come
    /// true by that, which may be why: whether its devices are leaving is for a reading to say.
    pub(super) async fn refuse(
        &self,
        errand: &Errand,
        why: &str,
        sent_before: bool,
    ) -> Result<(), Error> {
        tracing::warn!(organisation = %self.id(), errand = %errand.id, kind = errand.kind.as_str(), why, "Apple refuses a request");
        if sent_before && errand.is_return() {
            return self
                .alter_errand(errand.id, |errand, now| {
                    if let Some(sending) = errand.sendings.last_mut() {
                        sending.outcome = Some(why.to_owned());
                    }
                    errand.finished(why, None, now);
                })
                .await;
        }
        self.again_on_conflict(|| async {
            let Some(mut errand) = self.errand(errand.id).await? else {
                return Ok(());
            };
            if errand.is_ended() {
                return Ok(());
            }
            let mut batch = Batch::new();
            for member in &errand.members {
                if let Some(event) = failure(&errand.kind, why) {
                    self.tell_member(&mut batch, member, &event).await?;
                }
                self.put_return_again(&mut batch, &errand, member).await?;
                self.stays_after_all(&mut batch, &errand, member, why)
                    .await?;
            }
            for serial in errand.serials() {
                errand.failed.insert(serial, why.to_owned());
            }
            errand.refused(why, self.now());
            self.audit_errand(&mut batch, &errand);
            batch.put(errand);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }
}

/// The request of an errand.
fn request_of(errand: &Errand) -> Option<ActivityRequest> {
    match &errand.kind {
        ErrandKind::Schedule { server, deadline } => Some(ActivityRequest::AssignWithDeadline {
            server: server.clone(),
            deadline: *deadline,
        }),
        ErrandKind::MoveDeadline { deadline } => Some(ActivityRequest::UpdateDeadline {
            deadline: *deadline,
            force: errand.reason.clone(),
        }),
        ErrandKind::Cancel => Some(ActivityRequest::Cancel),
        ErrandKind::Return { server } => Some(ActivityRequest::Assign {
            server: server.clone(),
        }),
        ErrandKind::Associate { .. } | ErrandKind::Disassociate { .. } => None,
    }
}

/// What a member's attempt hears when the effect did not come.
pub(super) fn failure(kind: &ErrandKind, why: &str) -> Option<Event> {
    let why = why.to_owned();
    match kind {
        ErrandKind::Schedule { .. } => Some(Event::SubmitRefused { why }),
        ErrandKind::MoveDeadline { .. } => Some(Event::EffectFailed {
            effect: EffectKey::MoveDeadline,
            why,
        }),
        ErrandKind::Cancel | ErrandKind::Return { .. } => Some(Event::EffectFailed {
            effect: EffectKey::Cancel,
            why,
        }),
        ErrandKind::Associate { .. } | ErrandKind::Disassociate { .. } => None,
    }
}
