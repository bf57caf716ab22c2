//! A wave under way in the simulated world, looked at as people look at it, and the ways in which it can go wrong, each with the story
//! that plays it.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::apple::ledger::{LedgerEntry, Service};
use fixtures::verdict::{DeviceVerdict, Whereabouts};
use fixtures::world::{World, WorldConfig};
use mdm_core::failure::{Failure, FailureMode};
use mdm_core::ids::{MoveId, Serial, WaveId};
use mdm_core::migration::{Owner, VisibleState, visible_state};
use mdm_core::service::Org;
use mdmd::rehearsal::{HouseOptions, START_MS, Stage, Timetable};

/// The story in which a way is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    BeforeItMoves,
    NotListed,
    TooLate,
    AtTheDoor,
    InTheHold,
}

/// Number, way, story.
pub(crate) const TABLE: [(usize, FailureMode, Told); 20] = {
    use FailureMode as F;
    [
        (1, F::NotCapable, Told::BeforeItMoves),
        (2, F::NoEffect, Told::BeforeItMoves),
        (3, F::Budget, Told::BeforeItMoves),
        (4, F::DeadlineRejected, Told::TooLate),
        (5, F::NotListed, Told::NotListed),
        (6, F::ProfileNotInForce, Told::BeforeItMoves),
        (7, F::PastDeadline, Told::InTheHold),
        (8, F::EnrolmentFails, Told::AtTheDoor),
        (9, F::NotAwaiting, Told::AtTheDoor),
        (10, F::StepStuck, Told::InTheHold),
        (11, F::TrappedAfterRelease, Told::InTheHold),
        (12, F::AppsGone, Told::InTheHold),
        (13, F::NoNewKey, Told::InTheHold),
        (14, F::LockUnknown, Told::InTheHold),
        (15, F::AppleFailed, Told::InTheHold),
        (16, F::OriginalStillLists, Told::InTheHold),
        (17, F::UnexpectedMigration, Told::InTheHold),
        (18, F::AccessGap, Told::InTheHold),
        (19, F::Expiry, Told::BeforeItMoves),
        (20, F::ChangedOutside, Told::BeforeItMoves),
    ]
};

/// A wave under way, and what was shown as going wrong with it so far.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    wave: WaveId,
    pub(crate) blocked: usize,
    /// By way and serial number, the first time and the last; without a serial number what is about all.
    pub(crate) shown: BTreeMap<(FailureMode, String), [Failure; 2]>,
    proved: BTreeSet<FailureMode>,
    _directory: tempfile::TempDir,
}

impl Scene {
    /// Begins with a world of this many devices; `before` may change it before the wave is planned.
    pub(crate) async fn open(
        config: WorldConfig,
        timetable: Timetable,
        before: impl AsyncFnOnce(&Stage),
    ) -> Self {
        let world = World::start(config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let stage = Stage::set(world, directory.path(), HouseOptions::default());
        let stage = Box::pin(stage).await.unwrap();
        before(&stage).await;
        let (wave, blocked) = Box::pin(stage.plan_for(None, &timetable)).await.unwrap();
        Self {
            stage,
            wave,
            blocked,
            shown: BTreeMap::new(),
            proved: BTreeSet::new(),
            _directory: directory,
        }
    }

    pub(crate) async fn org(&self) -> Org {
        self.stage.org().await.unwrap()
    }

    /// What goes wrong now, as `GET /api/v1/waves/{id}/failures` has it.
    pub(crate) async fn look(&mut self) -> BTreeSet<(FailureMode, String)> {
        let org = self.org().await;
        let all = org.failures_of_wave(self.wave, MoveId(0), 500);
        let all = Box::pin(all).await.unwrap();
        let devices = all.devices.into_iter();
        let of_devices = devices.flat_map(|(_, serial, failures)| {
            let serial = serial.to_string();
            failures.into_iter().map(move |f| (serial.clone(), f))
        });
        let of_all = all.banners.into_iter().map(|f| (String::new(), f));
        let mut now = BTreeSet::new();
        for (serial, failure) in of_devices.chain(of_all) {
            assert!(
                !failure.evidence.is_empty() && !failure.next.is_empty(),
                "{serial}: {failure:#?}"
            );
            let key = (failure.mode, serial);
            now.insert(key.clone());
            let entry = self.shown.entry(key);
            entry
                .and_modify(|both| both[1] = failure.clone())
                .or_insert_with(|| [failure.clone(), failure]);
        }
        now
    }

    pub(crate) fn now(&self) -> i64 {
        self.stage.world.clock().now_ms() - START_MS
    }

    /// Plays until so long after the start, and looks at every `step` of it.
    pub(crate) async fn play(&mut self, until: i64, step: i64) {
        while self.now() < until {
            let (before, world) = (self.now(), self.stage.world.clone());
            let at = START_MS + (before + step).min(until);
            let stop = move || world.clock().now_ms() >= at;
            Box::pin(self.stage.play_until(self.wave, &stop))
                .await
                .unwrap();
            self.look().await;
            if self.now() == before {
                // Everything has ended.
                return;
            }
        }
    }

    pub(crate) async fn state(&self, serial: &str) -> Option<VisibleState> {
        let (org, serial) = (self.org().await, Serial::parse(serial).unwrap());
        let report = Box::pin(org.device_report(&serial)).await.unwrap();
        visible_state(report.attempt.as_ref(), report.set_up.as_ref())
    }

    pub(crate) async fn verdict(&self, serial: &str) -> DeviceVerdict {
        self.stage.world.verdict(serial).await.unwrap()
    }

    pub(crate) async fn is_free(&self, serial: &str) {
        let verdict = self.verdict(serial).await;
        assert_eq!(verdict.whereabouts, Whereabouts::Free, "{serial}");
    }

    /// Whose it was said to be at last.
    pub(crate) fn owner_of(&self, mode: FailureMode, serial: &str) -> Owner {
        let both = self.shown.get(&(mode, serial.to_owned()));
        let never = || panic!("{mode:?} of {serial:?}: {:#?}", self.shown.keys());
        both.map_or_else(never, |both| both[1].owner)
    }

    /// That this way was shown of a device, with this owner, and with these words in evidence and next action.
    pub(crate) fn is_shown(
        &mut self,
        mode: FailureMode,
        serial: &str,
        owner: Owner,
        words: &[&str],
    ) {
        let both = self.shown.get(&(mode, serial.to_owned()));
        let both = both.unwrap_or_else(|| {
            panic!(
                "{mode:?} of {serial:?} was never shown: {:#?}",
                self.shown.keys()
            )
        });
        let found = both.iter().any(|failure| {
            let said = format!("{failure:?}");
            failure.owner == owner && words.iter().all(|word| said.contains(word))
        });
        assert!(found, "{owner:?} {words:?}: {both:#?}");
        self.proved.insert(mode);
    }

    /// Requests to change this device at Apple that were sent from this moment on.
    pub(crate) fn asked_since(&self, serial: &str, since: i64) -> Vec<LedgerEntry> {
        let ledger = self.stage.world.apple().ledger().into_iter();
        let about = |e: &LedgerEntry| {
            let changes = e.service == Service::Business && e.method == "POST";
            changes && e.at_ms - START_MS >= since && e.serials.iter().any(|s| s == serial)
        };
        ledger.filter(about).collect()
    }

    pub(crate) async fn close(self, story: Told) {
        let told = TABLE.iter().filter(|row| row.2 == story).map(|row| row.1);
        let told: BTreeSet<FailureMode> = told.collect();
        assert_eq!(self.proved, told);
        self.stage.strike().await.unwrap();
    }
}
