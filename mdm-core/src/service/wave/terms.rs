//! What a wave has of its own beside what its organisation says: its ADE profile, and what owners of its devices are told. Neither is
//! pinned with its plan: what changes counts for whoever is offered, or told, next. Another ADE profile than the one of the
//! submission shows as drift.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::Org;
use super::super::sync::check_ade;
use crate::error::Error;
use crate::ids::WaveId;
use crate::organisation::AdeOptions;
use crate::store::Batch;
use crate::texts::{OwnerText, OwnerTexts};
use crate::wave::Wave;

/// What a wave has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct WaveTerms {
    /// What its ADE profile says; as the organisation's without.
    pub ade: Option<AdeOptions>,
    /// What owners of its devices are told, by language; as the organisation says without.
    pub owner_texts: OwnerTexts,
}

impl WaveTerms {
    /// Refuses what can never be right.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the field.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(options) = &self.ade {
            check_ade(options)?;
        }
        self.owner_texts.check()
    }
}

impl Org {
    /// What the ADE profile of a wave's members says: its own, or the organisation's.
    pub(super) fn ade_of<'a>(&'a self, wave: &'a Wave) -> &'a AdeOptions {
        wave.ade.as_ref().unwrap_or(&self.organisation.settings.ade)
    }

    /// Gives a wave an ADE profile of its own; `None` takes it away. Devices that are offered their migration already get the
    /// new one. It is defined at Apple and read back at once; what was accepted of the wave is void.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a value that Apple does not take, [`Error::NotFound`], [`Error::Precondition`] for a closed wave; the
    /// store's.
    pub async fn set_wave_ade_profile(
        &self,
        wave: WaveId,
        options: Option<&AdeOptions>,
    ) -> Result<Wave, Error> {
        options.map_or(Ok(()), check_ade)?;
        self.again_on_conflict(|| async {
            let mut row = self.open_wave(wave).await?;
            row.ade = options.cloned();
            let mut batch = Batch::new();
            self.audit_into(
                &mut batch,
                "wave.ade-profile",
                json!({ "wave": row.name, "id": row.id, "options": row.ade }),
            );
            self.put_assign_job(&mut batch, row.destination).await?;
            batch.put(row.clone());
            self.store().commit(batch).await?;
            Ok(row)
        })
        .await
    }

    /// The texts for owners of a wave's devices by language: its own, the organisation's, and ours for every other language that we
    /// have; and which of them are its own.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn wave_owner_texts(
        &self,
        wave: WaveId,
    ) -> Result<(BTreeMap<String, OwnerText>, Vec<String>), Error> {
        let row = self.wave_row(wave).await?;
        Ok(self.texts_of(&row))
    }

    fn texts_of(&self, wave: &Wave) -> (BTreeMap<String, OwnerText>, Vec<String>) {
        let mut all = self.owner_texts();
        for (language, text) in &wave.owner_texts.0 {
            // The same language in other letters is the same language.
            all.retain(|known, _| !known.eq_ignore_ascii_case(language));
            all.insert(language.clone(), text.clone());
        }
        (all, wave.owner_texts.0.keys().cloned().collect())
    }

    /// Changes texts for owners of a wave's devices; `None` goes back to the organisation's. Answers as [`Org::wave_owner_texts`].
    ///
    /// # Errors
    /// [`Error::BadInput`] as [`OwnerTexts::change`], [`Error::NotFound`], [`Error::Precondition`] for a closed wave; the store's.
    pub async fn set_wave_owner_texts(
        &self,
        wave: WaveId,
        changes: &BTreeMap<String, Option<OwnerText>>,
    ) -> Result<(BTreeMap<String, OwnerText>, Vec<String>), Error> {
        self.again_on_conflict(|| async {
            let mut row = self.open_wave(wave).await?;
            row.owner_texts.change(changes)?;
            let told = self.texts_of(&row);
            let languages: Vec<&String> = changes.keys().collect();
            let mut batch = Batch::new();
            self.audit_into(
                &mut batch,
                "wave.owner-texts",
                json!({ "wave": row.name, "id": row.id, "languages": languages }),
            );
            batch.put(row);
            self.store().commit(batch).await?;
            Ok(told)
        })
        .await
    }
}
