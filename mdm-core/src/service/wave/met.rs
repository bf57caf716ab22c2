//! What was done for members of a wave at the original service: said, with what shows it, and taken back.

use serde_json::json;

use super::super::Org;
use super::accept::sentence;
use super::members::{at_apple, nobody};
use crate::error::Error;
use crate::ids::{Serial, WaveId};
use crate::migration::{Met, Move};

impl Org {
    /// Says that a prerequisite is met for members of a wave, with what shows it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for one that the project does not have; as [`Org::remove_members`].
    pub async fn meet(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        prerequisite: &str,
        evidence: &str,
    ) -> Result<usize, Error> {
        sentence("evidence", evidence, true)?;
        let met = Met {
            by: self.actor().to_owned(),
            at: self.now(),
            evidence: evidence.to_owned(),
        };
        match self.meet_as(wave, serials, prerequisite, &met).await? {
            0 => Err(nobody()),
            met => Ok(met),
        }
    }

    /// Takes back the word that a prerequisite is met, and why. Answers of how many members it was said.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason; [`Error::Precondition`] when it was said of none of them, or of submitted ones alone; as
    /// [`Org::remove_members`].
    pub async fn unmeet(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        prerequisite: &str,
        reason: &str,
    ) -> Result<usize, Error> {
        sentence("reason", reason, true)?;
        self.open_wave(wave).await?;
        let members = self.members(wave).await?;
        let said = |m: &&Move| {
            let named = serials.is_none_or(|serials| serials.contains(&m.serial));
            named && !m.is_ended() && m.met.contains_key(prerequisite)
        };
        let had: Vec<Serial> = members
            .iter()
            .filter(said)
            .filter(|m| serials.is_some() || m.is_planned())
            .map(|m| m.serial.clone())
            .collect();
        if had.is_empty() {
            let why = match members.iter().filter(said).count() {
                0 => "of none of these devices anybody has said so: there is nothing to take back"
                    .to_owned(),
                submitted => format!(
                    "{}; what was said of what is submitted stays",
                    at_apple(submitted)
                ),
            };
            return Err(Error::Precondition(why));
        }
        let what = "submitted already: what it was submitted with stays";
        self.each_planned(wave, Some(&had), what, None, |d, _| {
            let Some(tracked) = &mut d.attempt else {
                return Ok(());
            };
            if let Some(was) = tracked.row.met.remove(prerequisite) {
                d.audit(
                    "move.prerequisite-taken-back",
                    json!({ "met": prerequisite, "reason": reason, "said_by": was.by, "said": was.at, "evidence": was.evidence }),
                );
            }
            Ok(())
        })
        .await
    }

    /// The same as somebody has said it, perhaps earlier and elsewhere.
    pub(super) async fn meet_as(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        prerequisite: &str,
        met: &Met,
    ) -> Result<usize, Error> {
        let row = self.open_wave(wave).await?;
        let project = self.project_of(&row).await?;
        if !project.is_some_and(|p| p.prerequisites.contains(prerequisite)) {
            let problem = "is none of the project's";
            return Err(Error::bad_input("prerequisite", problem));
        }
        let elsewhere = (met.by != self.actor()).then_some(met);
        self.each_planned(wave, serials, "submitted already", None, |d, _| {
            let mut detail = json!({ "met": prerequisite, "evidence": met.evidence });
            if let Some(met) = elsewhere {
                detail["said_by"] = json!(met.by);
                detail["said"] = json!(met.at);
            }
            d.audit("move.prerequisite", detail);
            if let Some(tracked) = &mut d.attempt {
                let met = met.clone();
                tracked.row.met.insert(prerequisite.to_owned(), met);
            }
            Ok(())
        })
        .await
    }
}
