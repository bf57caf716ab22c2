//! What the owners of a wave's devices are told before their migration: rows for a mail merge, and their deadlines as a
//! calendar. Sends nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::super::Org;
use crate::audit_seal::Checkpoint;
use crate::calendar::Zone;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, Serial, WaveId};
use crate::migration::{Move, MoveState, Outcome};
use crate::original::OriginalFacts;
use crate::store::Batch;
use crate::texts::{
    CALENDAR_END, CalendarEntry, OwnerText, OwnerTexts, Told, calendar_entry, calendar_head,
    check_language, wall,
};
use crate::wave::Wave;

/// What one owner is told of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OwnerNotice {
    /// The attempt.
    pub id: MoveId,
    /// The device.
    pub serial: Serial,
    /// The owner's name.
    pub owner: Option<String>,
    /// The owner's address.
    pub email: Option<String>,
    /// When both were true, where they are known.
    pub owner_seen: Option<Timestamp>,
    /// The language of the text: the owner's own, or English where there is no text in it.
    pub language: String,
    /// From when on the migration is offered.
    pub available_from: Timestamp,
    /// The deadline.
    pub deadline: Timestamp,
    /// The deadline where the owner lives, with the name of the time zone.
    pub local_deadline: String,
    /// The line.
    pub subject: String,
    /// What stands below it.
    pub body: String,
}

/// A page of what owners are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OwnerNotices {
    /// Of members whose migration is to come: it has not begun or ended, is not called back, and Apple has not refused it.
    pub notices: Vec<OwnerNotice>,
    /// How many members of this page stay behind: their owners are told nothing.
    pub staying: usize,
    /// How many members of this page have begun, are being called back, or were refused by Apple: to their owners what is written here
    /// would be wrong.
    pub left_out: usize,
    /// Behind which member the next page begins.
    pub next: Option<MoveId>,
    /// When this was read, where the notices are taken along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The newest seal of the record, where the notices are taken along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Checkpoint>,
}

/// A piece of a calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CalendarPiece {
    /// The piece.
    pub text: String,
    /// Behind which member the next one begins.
    pub next: Option<MoveId>,
}

impl Org {
    /// The texts for owners by language: the organisation's own, and ours for every other language that we have.
    #[must_use]
    pub fn owner_texts(&self) -> BTreeMap<String, OwnerText> {
        self.organisation().settings.owner_texts.all()
    }

    /// Changes texts for owners; `None` goes back to ours.
    ///
    /// # Errors
    /// [`Error::BadInput`] as [`OwnerTexts::change`], the store's.
    pub async fn set_owner_texts(
        &self,
        changes: &BTreeMap<String, Option<OwnerText>>,
    ) -> Result<BTreeMap<String, OwnerText>, Error> {
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            organisation.settings.owner_texts.change(changes)?;
            let all = organisation.settings.owner_texts.all();
            let mut batch = Batch::new();
            batch.put(organisation);
            let languages: Vec<&String> = changes.keys().collect();
            self.audit_into(
                &mut batch,
                "owner-texts.set",
                json!({ "languages": languages }),
            );
            self.store().commit(batch).await?;
            Ok(all)
        })
        .await
    }

    /// What the owners of a wave's devices are told, those whose migration is to come and who were not left behind when the
    /// wave was submitted: of the members behind `after`, at most `limit` of them. `language` takes the place of each owner's own.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what is no language, [`Error::NotFound`], [`Error::Precondition`] for a wave that is closed, of which nobody
    /// is left who could be told; the store's.
    pub async fn owner_notices(
        &self,
        wave: WaveId,
        language: Option<&str>,
        after: MoveId,
        limit: u32,
    ) -> Result<OwnerNotices, Error> {
        // The calendar goes on: whoever has its entries hears there that they are cancelled.
        self.open_wave(wave).await?;
        let (page, next, told) = self.notices_of(wave, language, after, limit).await?;
        let count = |one: fn(&Move) -> bool| page.iter().filter(|member| one(member)).count();
        let (staying, left_out) = (count(stays_behind), count(needs_no_word));
        let all = page.into_iter().zip(told);
        let told =
            |member: &Move| !member.is_ended() && !stays_behind(member) && !needs_no_word(member);
        Ok(OwnerNotices {
            staying,
            left_out,
            notices: all
                .filter(|(member, _)| told(member))
                .map(|(_, told)| told)
                .collect(),
            next,
            at: None,
            record: None,
        })
    }

    /// The deadlines of a wave as an iCalendar, a piece at a time: of the members behind `after`, at most `limit` of them. The
    /// first piece, of 0, has the calendar's beginning, and the last one, behind which there is no next one, its end.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what is no language, [`Error::NotFound`], the store's.
    pub async fn wave_calendar(
        &self,
        wave: WaveId,
        language: Option<&str>,
        after: MoveId,
        limit: u32,
    ) -> Result<CalendarPiece, Error> {
        let (page, next, told) = self.notices_of(wave, language, after, limit).await?;
        let row = self.wave_row(wave).await?;
        let mut text = String::new();
        if after.0 == 0 {
            text.push_str(&calendar_head(&row.name));
        }
        let organisation = self.organisation();
        let (now, code) = (self.now(), organisation.code.as_str());
        let called = organisation.settings.display_name.as_ref();
        let called = called.unwrap_or(&organisation.name);
        let address = &self.ade_of(&row).support_email_address;
        for (member, notice) in page.iter().zip(told) {
            let entry = CalendarEntry {
                attempt: member.id,
                subject: notice.subject,
                body: notice.body,
                organizer: called.clone(),
                organizer_email: address.clone(),
                deadline: member.deadline,
                cancelled: goes_nowhere(member),
                sequence: member.version,
            };
            text.push_str(&calendar_entry(&entry, code, now));
        }
        if next.is_none() {
            text.push_str(CALENDAR_END);
        }
        Ok(CalendarPiece { text, next })
    }

    /// A page of members, behind which the next one begins, and what the owner of each is told.
    async fn notices_of(
        &self,
        wave: WaveId,
        language: Option<&str>,
        after: MoveId,
        limit: u32,
    ) -> Result<(Vec<Move>, Option<MoveId>, Vec<OwnerNotice>), Error> {
        if let Some(language) = language {
            check_language("language", language)?;
        }
        let row = self.wave_row(wave).await?;
        let zone = self.zone_of(&row).await?;
        let page = self.store().attempts(self.id(), wave, after, limit).await?;
        let full = page.len() >= limit as usize;
        let next = page.last().filter(|_| full).map(|last| last.id);
        let facts = self.owners_of(&page).await?;
        let texts = [&row.owner_texts, &self.organisation().settings.owner_texts];
        let told = page
            .iter()
            .map(|member| {
                let facts = facts.get(&member.device);
                self.owner_notice(texts, member, facts, language, &zone)
            })
            .collect();
        Ok((page, next, told))
    }

    /// Where a wave is planned: for owners of whom nobody knows where they live.
    async fn zone_of(&self, wave: &Wave) -> Result<Zone, Error> {
        let project = self.project_of(wave).await?;
        Ok(project.map_or_else(Zone::utc, |project| project.calendar.zone))
    }

    async fn owners_of(
        &self,
        members: &[Move],
    ) -> Result<BTreeMap<DeviceId, OriginalFacts>, Error> {
        let ids: Vec<DeviceId> = members.iter().map(|m| m.device).collect();
        let facts = self.store().originals_of(self.id(), &ids).await?;
        Ok(facts.into_iter().map(|facts| (facts.id, facts)).collect())
    }

    fn owner_notice(
        &self,
        [of_wave, texts]: [&OwnerTexts; 2],
        member: &Move,
        facts: Option<&OriginalFacts>,
        language: Option<&str>,
        zone: &Zone,
    ) -> OwnerNotice {
        let owner = facts.and_then(|f| f.owner.as_ref()).map(|o| &o.value);
        let zone = facts
            .and_then(|f| f.time_zone.as_ref())
            .map_or(zone, |zone| &zone.value);
        let own = facts
            .and_then(|f| f.language.as_ref())
            .map(|language| language.value.as_str());
        let (language, text) = texts.beside(of_wave, language.or(own).unwrap_or("en"));
        let organisation = self.organisation();
        let called = organisation.settings.display_name.as_ref();
        let told = Told {
            owner: owner
                .and_then(|o| o.name.as_deref())
                .unwrap_or(member.serial.as_str()),
            device: member.serial.as_str(),
            deadline: member.deadline,
            available: member.available_from,
            organisation: called.unwrap_or(&organisation.name),
            zone,
        };
        let text = text.fill(&told);
        OwnerNotice {
            id: member.id,
            serial: member.serial.clone(),
            owner: owner.and_then(|o| o.name.clone()),
            email: owner.and_then(|o| o.email.clone()),
            owner_seen: facts.and_then(|f| f.owner.as_ref()).map(|o| o.at),
            language,
            available_from: member.available_from,
            deadline: member.deadline,
            local_deadline: wall(member.deadline, zone),
            subject: text.subject,
            body: text.body,
        }
    }
}

/// The entry of a member that goes nowhere any more, or not before it is submitted again: its entry, newer then, confirms itself.
fn goes_nowhere(member: &Move) -> bool {
    let is_over = matches!(
        member.state,
        MoveState::Ended(Outcome::Cancelled | Outcome::Withdrawn | Outcome::Abandoned)
            | MoveState::SubmitFailed {
                may_come: false,
                ..
            }
    );
    is_over || stays_behind(member)
}

/// One against which something stood when the wave was submitted: nothing was asked for it.
fn stays_behind(member: &Move) -> bool {
    matches!(member.state, MoveState::Blocked { .. })
}

/// One whose owner would be told something that is not so: it is on its way already, is being called back, or waits for nothing at
/// Apple.
fn needs_no_word(member: &Move) -> bool {
    use MoveState::{Cancelling, Moving, Settling, Stalled, Started, SubmitFailed};
    matches!(
        member.state,
        SubmitFailed { .. }
            | Cancelling { .. }
            | Started { .. }
            | Moving { .. }
            | Stalled { .. }
            | Settling { .. }
    )
}
