//! What is rehearsed: runbooks from what the original hands over, and a wave whose deadlines lie on several days.

use std::collections::BTreeMap;
use std::time::Duration;

use fixtures::world::World;
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::Serial;
use mdm_core::migration::{AppAction, AppPlan, PinnedRunbook, StepId, Variant};
use mdm_core::service::Member;

use super::sabotage::Sabotage;

const DAY: Duration = Duration::from_secs(86_400);

/// When the devices of a rehearsal are offered their migration, and when its deadlines are, counted from the plan.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a timetable is given whole")]
pub struct Timetable {
    /// The offer.
    pub offer: Duration,
    /// The first deadline.
    pub deadline: Duration,
    /// Deadlines lie on so many days, one bucket each; at least 1.
    pub days: u32,
}

impl Default for Timetable {
    fn default() -> Self {
        Self {
            offer: DAY,
            deadline: DAY * 4,
            days: 3,
        }
    }
}

/// The one app that every iPhone and iPad gets, whether it had it before or not.
const EVERYWHERE: &str = "net.example.remote";

/// The runbook of each platform: the standard one, the apps of the original's export, an Activation Lock.
pub(super) fn runbooks(
    world: &World,
    sabotage: Option<Sabotage>,
) -> BTreeMap<Platform, PinnedRunbook> {
    let mut tables: BTreeMap<Platform, BTreeMap<String, u64>> = BTreeMap::new();
    for device in world.original().export() {
        let Some(platform) = Platform::of_product(&device.identity.product) else {
            continue;
        };
        let table = tables.entry(platform).or_default();
        for (bundle, store_id, _) in device.apps {
            table.insert(bundle, u64::try_from(store_id).unwrap_or_default());
        }
    }
    [Platform::Ios, Platform::Ipados, Platform::Macos]
        .into_iter()
        .map(|platform| {
            let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
            runbook.lock = true;
            let known = tables.remove(&platform).unwrap_or_default();
            // On a Mac the original's apps go with its profile: they are installed anew.
            runbook.apps = known
                .into_iter()
                .map(|(bundle_id, store_id)| {
                    let install = platform.is_mac() || bundle_id == EVERYWHERE;
                    let action = if install {
                        AppAction::Install
                    } else {
                        AppAction::KeepIfPresent
                    };
                    AppPlan {
                        bundle_id,
                        store_id: Some(store_id),
                        manifest_url: None,
                        action,
                    }
                })
                .collect();
            if let Some(sabotage) = sabotage {
                alter(&mut runbook, sabotage);
            }
            (platform, runbook)
        })
        .collect()
}

/// The sabotages that are altered runbooks.
fn alter(runbook: &mut PinnedRunbook, sabotage: Sabotage) {
    const APPS: [StepId; 3] = [StepId::AppsRequired, StepId::AppsKeep, StepId::Apps];
    match sabotage {
        Sabotage::SkipApps => {
            runbook.apps.clear();
            runbook.steps.retain(|s| !APPS.contains(&s.id));
            for step in &mut runbook.steps {
                step.requires.retain(|r| !APPS.contains(r));
            }
        }
        Sabotage::ReleaseEarly => {
            for step in &mut runbook.steps {
                step.required = false;
                if step.id == StepId::Release {
                    step.requires.clear();
                }
            }
        }
        Sabotage::WrongKey
        | Sabotage::ForgetLock
        | Sabotage::NeverRelease
        | Sabotage::DoubleLock => {}
    }
}

/// The members of the wave: each device of the original, its deadline on one of several days.
pub(super) fn members(world: &World, start: Timestamp, timetable: &Timetable) -> Vec<Member> {
    let mut members = Vec::new();
    for (n, device) in world.original().export().into_iter().enumerate() {
        let Ok(serial) = Serial::parse(&device.identity.serial) else {
            continue;
        };
        let day = u32::try_from(n).unwrap_or_default() % timetable.days.max(1);
        members.push(Member {
            serial,
            deadline: start + timetable.deadline + DAY * day,
            available_from: start + timetable.offer,
            original_server: Some(world.original_server().to_owned()),
        });
    }
    members
}

/// The apps that must be there afterwards, for the world's judge: those that the original managed on each iPhone and iPad.
pub(super) fn expect_kept(world: &World) {
    for device in world.original().export() {
        if !device.is_mac() {
            let bundles: Vec<String> = device
                .apps
                .iter()
                .map(|(bundle, _, _)| bundle.clone())
                .collect();
            world.expect_kept(&device.identity.serial, &bundles);
        }
    }
}
