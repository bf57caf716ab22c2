//! What is rehearsed: runbooks from what the original hands over, and a wave whose deadlines lie on several days.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fixtures::device::{Family, Kind};
use fixtures::world::World;
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::Serial;
use mdm_core::migration::{
    AppAction, AppPlan, PinnedRunbook, ProfilePlan, ProfileRole, StepId, Variant,
};
use mdm_core::organisation::Der;
use mdm_core::original::{ManagedUser, OriginalApp, OriginalEnrolment, Said};
use mdm_core::service::{Member, Org};

use super::judge::Accepted;
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

impl Timetable {
    /// Whether people have less than a day from the offer to the first deadline.
    pub(super) fn is_short(&self) -> bool {
        self.deadline < self.offer + DAY
    }
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

/// The app of the original on which a project decides nothing: iPhones and iPads lose it with its data, and people accept that.
pub(super) const LEFT_BEHIND: &str = "net.example.viewer";

/// An app, and how the runbooks of iPhones and iPads spell it: not as the original and the devices do. It is kept all the same.
const SPELLED: (&str, &str) = ("net.example.chat", "net.example.Chat");

/// The password of the network that every device gets.
pub(super) const WIFI_PASSWORD: &str = "rehearsed-Wi-Fi-7Qm2xK9v";

/// Says what counts as a warning here: that licences come from elsewhere, for the devices of the world have theirs; and where the
/// plan is to be `blind`, what nobody knows of apps.
pub(super) async fn say_unknowns(org: &Org, blind: bool) -> anyhow::Result<()> {
    let mut warns = vec![Check::AppsLicences];
    if blind {
        warns.extend([Check::AppsMapped, Check::AppsSource]);
    }
    let warns = warns
        .into_iter()
        .map(|check| (check, Some(CheckResult::Warn)));
    org.set_unknowns(&warns.collect()).await?;
    Ok(())
}

/// What the original's administrator exports of the devices before they move.
pub(super) fn original(world: &World, now: Timestamp, apps: bool) -> anyhow::Result<Vec<Said>> {
    let mut all = Vec::new();
    for device in world.original().export() {
        let mut said = Said::nothing(Serial::parse(&device.identity.serial)?);
        said.system = Some(device.identity.os_version.clone());
        said.last_seen = Some(now);
        said.enrolment = Some(OriginalEnrolment::Automated);
        said.shared = Some(false);
        said.return_to_service = Some(false);
        said.user_lock = Some(false);
        said.networks = Some(Vec::new());
        said.profiles = Some(Vec::new());
        let mut user = ManagedUser::default();
        if let Some((name, _)) = &device.managed_user {
            user.name.clone_from(name);
            user.last_sign_in = Some(now);
        }
        said.managed_user = Some(user);
        let list = device.apps.iter().map(|(bundle, store_id, _)| {
            let mut app = OriginalApp::new(bundle);
            app.store_id = u64::try_from(*store_id).ok();
            app
        });
        said.apps = apps.then(|| list.collect());
        all.push(said);
    }
    Ok(all)
}

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
            runbook.profiles.push(wifi());
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
                    let bundle_id = match bundle_id == SPELLED.0 && !platform.is_mac() {
                        true => SPELLED.1.to_owned(),
                        false => bundle_id,
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

/// The kinds of devices on which these runbooks are tried, in turn; `None` without any.
pub(super) fn kinds(own: &BTreeMap<Platform, PinnedRunbook>, count: usize) -> Option<Vec<Kind>> {
    let kinds: Vec<Kind> = own
        .keys()
        .flat_map(|platform| {
            let family = match platform {
                Platform::Macos => Family::Mac,
                Platform::Ipados => Family::IPad,
                _ => Family::IPhone,
            };
            // With a user whom the original managed and without, where that makes a difference.
            [Kind::new(family, 26, true), Kind::new(family, 27, false)]
        })
        .collect();
    (!kinds.is_empty()).then(|| kinds.into_iter().cycle().take(count).collect())
}

/// The apps of the tables of these runbooks, as the original of a simulated device has them.
pub(super) fn apps_of(
    own: &BTreeMap<Platform, PinnedRunbook>,
) -> anyhow::Result<Vec<(String, i64)>> {
    let mut apps = BTreeMap::new();
    for app in own.values().flat_map(|runbook| &runbook.apps) {
        // One without a number is found by its identifier alone.
        let spare = 800_000_000 + i64::try_from(apps.len())?;
        let number = app.store_id.map_or(Ok(spare), i64::try_from)?;
        apps.entry(app.bundle_id.clone()).or_insert(number);
    }
    Ok(apps.into_iter().collect())
}

/// What these runbooks accept of each device: the apps that they drop, and that there is no lock.
pub(super) fn accepted(
    world: &World,
    own: &BTreeMap<Platform, PinnedRunbook>,
) -> BTreeMap<String, Accepted> {
    let of = |device: fixtures::original::OriginalDevice| {
        let runbook = own.get(&Platform::of_product(&device.identity.product)?)?;
        let dropped = runbook.apps.iter().filter(|a| a.action == AppAction::Drop);
        let accepted = Accepted {
            dropped: dropped.map(|app| app.bundle_id.clone()).collect(),
            waived: BTreeSet::new(),
            unlocked: !runbook.lock,
        };
        Some((device.identity.serial, accepted))
    };
    world
        .original()
        .export()
        .into_iter()
        .filter_map(of)
        .collect()
}

/// The same runbooks with stand-ins for the contents of their profiles: those are sealed for the server that keeps them.
pub(super) fn stand_ins(
    own: &BTreeMap<Platform, PinnedRunbook>,
) -> BTreeMap<Platform, PinnedRunbook> {
    let mut own = own.clone();
    for runbook in own.values_mut() {
        for profile in &mut runbook.profiles {
            profile.content = Der(stand_in(&profile.identifier));
        }
    }
    own
}

fn stand_in(identifier: &str) -> Vec<u8> {
    let identifier = identifier
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let profile = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadContent</key><array/>
<key>PayloadDisplayName</key><string>Stand-in</string>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>{identifier}</string>
<key>PayloadUUID</key><string>0B7B4C55-7C1D-4E57-9D0E-3C7F4F1B8E43</string>
</dict></plist>
"#
    );
    profile.into_bytes()
}

/// A network of the organisation, with its password: what a runbook's profiles may hold and nobody else may read.
fn wifi() -> ProfilePlan {
    let content = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.apple.wifi.managed</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>net.example.wifi.1</string>
<key>PayloadUUID</key><string>6E1C7E8A-52B1-4C0B-8F39-0F0D5B7C2A11</string>
<key>SSID_STR</key><string>Rehearsal</string>
<key>EncryptionType</key><string>WPA2</string>
<key>Password</key><string>{WIFI_PASSWORD}</string>
</dict></array>
<key>PayloadDisplayName</key><string>Wi-Fi</string>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>net.example.wifi</string>
<key>PayloadUUID</key><string>0B7B4C55-7C1D-4E57-9D0E-3C7F4F1B8E42</string>
</dict></plist>
"#
    );
    ProfilePlan {
        identifier: "net.example.wifi".to_owned(),
        role: ProfileRole::Network,
        content: Der(content.into_bytes()),
    }
}

/// Apps of the original that a plan leaves out on purpose: of iPhones and iPads one, and of Macs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Without {
    pub(super) phones: Option<&'static str>,
    pub(super) macs: Option<&'static str>,
}

impl Without {
    const fn of(self, mac: bool) -> Option<&'static str> {
        if mac { self.macs } else { self.phones }
    }
}

/// The same runbooks without these.
pub(super) fn leave_behind(runbooks: &mut BTreeMap<Platform, PinnedRunbook>, without: Without) {
    for (platform, runbook) in runbooks {
        let left = without.of(platform.is_mac());
        runbook
            .apps
            .retain(|app| Some(app.bundle_id.as_str()) != left);
    }
}

/// What is accepted where the forecast is: that these devices lose these apps.
pub(super) fn accepted_loss(
    forecast: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, Accepted> {
    let accepted = |(serial, apps): (&String, &BTreeSet<String>)| {
        let accepted = Accepted {
            waived: apps.clone(),
            ..Accepted::default()
        };
        (serial.clone(), accepted)
    };
    forecast.iter().map(accepted).collect()
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
                // What is the evidence of the others must be required of every runbook.
                let proof = matches!(step.id, StepId::Identify | StepId::Release | StepId::Verify);
                step.required = proof;
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

/// The apps that must be there afterwards, for the world's judge: those that the original managed on each iPhone and iPad,
/// and those that the plan installs, on Macs too. As planned, whatever a sabotage makes of it; none of those that it is `without`.
pub(super) fn expect_apps(
    world: &World,
    own: &BTreeMap<Platform, PinnedRunbook>,
    without: Without,
) {
    let runbooks = match own.is_empty() {
        true => runbooks(world, None),
        false => own.clone(),
    };
    for device in world.original().export() {
        let serial = &device.identity.serial;
        let left = without.of(device.is_mac());
        if !device.is_mac() {
            let dropped = |bundle: &String| {
                let rows = own.values().flat_map(|runbook| &runbook.apps);
                let mut rows = rows.filter(|app| app.bundle_id == *bundle);
                rows.any(|app| app.action == AppAction::Drop)
            };
            let bundles: Vec<String> = device
                .apps
                .iter()
                .map(|(bundle, _, _)| bundle.clone())
                .filter(|bundle| !dropped(bundle) && Some(bundle.as_str()) != left)
                .collect();
            world.expect_kept(serial, &bundles);
        }
        let runbook = Platform::of_product(&device.identity.product).and_then(|p| runbooks.get(&p));
        let installed: Vec<String> = runbook
            .into_iter()
            .flat_map(|runbook| &runbook.apps)
            .filter(|app| app.action == AppAction::Install)
            .map(|app| app.bundle_id.clone())
            .filter(|bundle| Some(bundle.as_str()) != left)
            .collect();
        world.expect_installed(serial, &installed);
    }
}
