//! Any history of edits, assignments, tags, fetches and reports ends in agreement once everybody is quiet, also where answers are
//! lost or messages doubled, devices enrol anew, leave and come back, and tell only parts. There are configurations with their
//! activations, assets, channels of devices and of users. A device hears of news only by its notices, and no order of requests
//! gives *not found* for what exists, or an item that cannot be had.

mod declared;
mod service_house;

use std::collections::BTreeSet;
use std::time::Duration;

use declared::{Gear, ask_as, fetch_as, map, notices_as, status_as};
use mdm_core::ddm::{Channels, Target};
use mdm_core::ids::DeviceId;
use mdm_core::service::{Activation, NewDeclaration, Org};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use service_house::{Gadget, House};

const TEST: &str = "com.apple.configuration.management.test";
const ASSET: &str = "com.apple.asset.useridentity";
const OUT: &str = "<key>MessageType</key><string>CheckOut</string>";
const ANNA: &str =
    "<key>UserID</key><string>GUID-1</string><key>UserShortName</key><string>anna</string>";
/// Players: two devices, a third, and the user of the third.
const DEVICES: usize = 4;
/// Whose user speaks, and who that is.
const HOST: usize = 2;
const USER: usize = 3;
const DECLARATIONS: usize = 4;
const SETS: usize = 3;

/// Something that a person or a device does.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8),
    Remove(usize),
    /// Which declarations, by bits.
    Set(usize, u8),
    RemoveSet(usize),
    /// A set to: everybody, a tag, a device.
    Assign(usize, usize),
    Unassign(usize, usize),
    Tag(usize, bool),
    /// The worker does what is due.
    Work,
    /// A device that has heard of news takes a list, if it is at none.
    Begin(usize),
    /// It fetches one of its list.
    Take(usize, usize),
    /// It fetches what is left, drops what is gone and reports.
    Finish(usize),
    /// It looks whether there is news, for no reason.
    Look(usize),
    /// It asks for some declaration.
    Ask(usize, usize),
    /// It takes a list, and the answer is lost; it does not come again by itself.
    Lost(usize),
    /// It takes a list, and sends what it sends twice.
    Doubled(usize),
    /// It tells of one thing that it has, and of one that it has not.
    Partly(usize, usize),
    /// It enrols anew, under another identity.
    Again(usize),
    /// It checks out.
    Leave(usize),
    /// It comes back without authenticating anew.
    Return(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (d, n, s, t) = (0..DEVICES, 0..DECLARATIONS, 0..SETS, 0..7_usize);
    prop_oneof![
        4 => (n.clone(), 0..3_u8).prop_map(|(n, c)| Step::Put(n, c)),
        1 => n.clone().prop_map(Step::Remove),
        3 => (s.clone(), 0..16_u8).prop_map(|(s, m)| Step::Set(s, m)),
        1 => s.clone().prop_map(Step::RemoveSet),
        3 => (s.clone(), t.clone()).prop_map(|(s, t)| Step::Assign(s, t)),
        1 => (s, t).prop_map(|(s, t)| Step::Unassign(s, t)),
        1 => (d.clone(), any::<bool>()).prop_map(|(d, on)| Step::Tag(d, on)),
        4 => Just(Step::Work),
        4 => d.clone().prop_map(Step::Begin),
        6 => (d.clone(), 0..DECLARATIONS).prop_map(|(d, n)| Step::Take(d, n)),
        3 => d.clone().prop_map(Step::Finish),
        1 => d.clone().prop_map(Step::Look),
        2 => (d.clone(), n.clone()).prop_map(|(d, n)| Step::Ask(d, n)),
        1 => d.clone().prop_map(Step::Lost),
        1 => d.clone().prop_map(Step::Doubled),
        1 => (d.clone(), n).prop_map(|(d, n)| Step::Partly(d, n)),
        1 => d.clone().prop_map(Step::Again),
        1 => d.clone().prop_map(Step::Leave),
        2 => d.prop_map(Step::Return),
    ]
}

/// A device with what it has, and the list that it is at.
struct Player {
    gadget: Gadget,
    id: DeviceId,
    gear: Gear,
    news: bool,
    /// It has checked out.
    away: bool,
    list: Option<Vec<(String, String, String)>>,
}

impl Player {
    async fn hear(&mut self, house: &House) {
        if !self.away {
            self.news |= notices_as(house, &self.gadget, &self.gear.user).await > 0;
        }
    }

    async fn begin(&mut self, house: &House) {
        self.hear(house).await;
        if self.news && self.list.is_none() && !self.away {
            self.news = false;
            let token = self.gear.tokens(house, &self.gadget).await;
            if self.gear.token.as_ref() != Some(&token) {
                self.list = Some(self.gear.items(house, &self.gadget).await);
            }
        }
    }

    /// It has nothing any more, and knows of nothing.
    fn forget(&mut self) {
        self.gear.has.clear();
        self.gear.token = None;
        (self.news, self.list) = (false, None);
    }

    async fn finish(&mut self, house: &House) {
        if let Some(list) = self.list.take() {
            for item in &list {
                self.gear.take(house, &self.gadget, item).await;
            }
            self.gear.settle(house, &self.gadget, &list).await;
        }
    }
}

fn name(n: usize) -> String {
    format!("d{n}")
}

async fn players(house: &House) -> Vec<Player> {
    let mut all = Vec::new();
    for n in 0..DEVICES {
        let (gadget, user) = if n == USER {
            let host: &Player = &all[HOST];
            (house_gadget(&host.gadget), ANNA)
        } else {
            (house.device(&format!("C02AGREE0{n}")).await, "")
        };
        if n == USER {
            house.token_update(&gadget, ANNA).await.unwrap();
        } else {
            house.enrol(&gadget).await;
        }
        house.settle().await;
        notices_as(house, &gadget, user).await;
        let org = house.org().await;
        let id = org.device_of_serial(&gadget.serial).await.unwrap();
        all.push(Player {
            gadget,
            id,
            gear: Gear::of(user),
            news: false,
            away: false,
            list: None,
        });
    }
    all
}

/// What one player does that concerns both channels of its device.
async fn enrol(house: &House, players: &mut [Player], d: usize, anew: bool) {
    let device = if d == USER { HOST } else { d };
    if anew {
        let serial = players[device].gadget.serial.to_string();
        // Later generations have later times.
        house.clock.advance(Duration::from_secs(1));
        players[device].gadget = house.device(&serial).await;
        house.enrol(&players[device].gadget).await;
    } else {
        let gadget = &players[device].gadget;
        house.token_update(gadget, "").await.unwrap();
    }
    (players[device].away, players[device].news) = (false, false);
    if anew {
        players[device].forget();
    }
    if device == HOST {
        let gadget = house_gadget(&players[HOST].gadget);
        players[USER].gadget = gadget;
        house
            .token_update(&players[USER].gadget, ANNA)
            .await
            .unwrap();
        players[USER].away = false;
        players[USER].forget();
    }
}

fn house_gadget(of: &Gadget) -> Gadget {
    of.speaking((of.certificate.clone(), of.key.clone()))
}

/// A report of everything, as a device sends it once a day.
async fn tell_all(house: &House, player: &mut Player) {
    if player.list.is_none() && !player.away {
        let list: Vec<_> = player.gear.list();
        player.gear.settle(house, &player.gadget, &list).await;
    }
}

async fn do_one(house: &House, org: &Org, players: &mut [Player], step: &Step) {
    let ids: Vec<DeviceId> = players.iter().map(|player| player.id).collect();
    let target = |t: usize| match t {
        0 => (Target::Organisation, Channels::Device),
        1 => (Target::Tag("lab".to_owned()), Channels::Device),
        5 => (Target::Organisation, Channels::Users),
        6 => (Target::User("Anna".to_owned()), Channels::Users),
        n => (Target::Device(ids[n - 2]), Channels::Device),
    };
    // What people ask for may be impossible just then; that is theirs to hear, and changes nothing.
    match step.clone() {
        Step::Put(n, content) => put(org, n, content).await,
        Step::Remove(n) => drop(org.remove_declaration(&name(n)).await),
        Step::Set(s, members) => {
            let mut all = Vec::new();
            for n in (0..DECLARATIONS).filter(|n| members & (1 << n) != 0) {
                if org.declaration(&name(n)).await.is_ok() {
                    all.push(name(n));
                }
            }
            org.put_declaration_set(&format!("s{s}"), &all)
                .await
                .unwrap();
        }
        Step::RemoveSet(s) => drop(org.remove_declaration_set(&format!("s{s}")).await),
        Step::Assign(s, t) => {
            let (set, (target, channels)) = (format!("s{s}"), target(t));
            drop(org.assign_declarations(&set, &target, channels).await);
        }
        Step::Unassign(s, t) => {
            let (set, (target, channels)) = (format!("s{s}"), target(t));
            drop(org.unassign_declarations(&set, &target, channels).await);
        }
        Step::Tag(d, on) => {
            let lab = BTreeSet::from(["lab".to_owned()]);
            let (add, take) = if on {
                (lab, BTreeSet::new())
            } else {
                (BTreeSet::new(), lab)
            };
            let serial = std::slice::from_ref(&players[d].gadget.serial);
            org.tag_devices(serial, &add, &take).await.unwrap();
        }
        Step::Work => house.settle().await,
        Step::Lost(d) if !players[d].away && players[d].list.is_none() => {
            let player = &mut players[d];
            player.hear(house).await;
            player.news = false;
            let user = player.gear.user.as_str();
            let lost = ask_as(house, &player.gadget, user, "declaration-items", None).await;
            lost.unwrap();
        }
        Step::Doubled(d) if !players[d].away && players[d].list.is_none() => {
            let player = &mut players[d];
            let first = player.gear.items(house, &player.gadget).await;
            player.gear.items(house, &player.gadget).await;
            player.list = Some(first.clone());
            player.finish(house).await;
            player.gear.settle(house, &player.gadget, &first).await;
        }
        Step::Partly(d, n) if !players[d].away => {
            let player = &players[d];
            let of = |held: &declared::Held, name: &str| json!({ "identifier": name, "server-token": held.token, "active": true, "valid": "valid" });
            let mut told = serde_json::Map::new();
            for (list, kind) in [("configurations", "configuration"), ("assets", "asset")] {
                let has = player.gear.has.iter().filter(|(_, held)| held.kind == kind);
                let mut parts: Vec<_> = has.take(1).map(|(name, held)| of(held, name)).collect();
                if kind == self::kind(n) && !player.gear.has.contains_key(&name(n)) {
                    parts.push(json!({ "identifier": name(n), "_removed": true }));
                }
                told.insert(list.to_owned(), json!(parts));
            }
            let report = json!({ "StatusItems": { "management": { "declarations": told } }, "Errors": [], "FullReport": false });
            status_as(house, &player.gadget, &player.gear.user, &report)
                .await
                .unwrap();
        }
        Step::Again(d) => enrol(house, players, d, true).await,
        Step::Leave(d) if !players[d].away => {
            let device = if d == USER { HOST } else { d };
            if players[device].away {
                return;
            }
            house.check_in(&players[device].gadget, OUT).await.unwrap();
            players[device].forget();
            players[device].away = true;
            if device == HOST {
                players[USER].forget();
                players[USER].away = true;
            }
        }
        Step::Return(d) if players[d].away => enrol(house, players, d, false).await,
        Step::Lost(_) | Step::Doubled(_) | Step::Partly(..) | Step::Leave(_) | Step::Return(_) => {}
        Step::Begin(d) => players[d].begin(house).await,
        Step::Take(d, nth) => {
            let player = &mut players[d];
            if let Some(item) = player.list.as_ref().and_then(|list| list.get(nth)).cloned() {
                player.gear.take(house, &player.gadget, &item).await;
            }
        }
        Step::Finish(d) => players[d].finish(house).await,
        Step::Look(d) if players[d].away => {}
        Step::Look(d) => drop(players[d].gear.tokens(house, &players[d].gadget).await),
        Step::Ask(d, _) if players[d].away => {}
        Step::Ask(d, n) => {
            let player = &players[d];
            let user = player.gear.user.as_str();
            let answer = fetch_as(house, &player.gadget, user, kind(n), &name(n)).await;
            if answer.is_none() {
                let listed = player.list.iter().flatten().any(|item| item.1 == name(n));
                assert!(!listed, "an item of its list is said not to exist");
                let wanted = org
                    .declarations_of_device(&player.gadget.serial)
                    .await
                    .unwrap();
                let own = wanted.iter().find(|it| it.user.is_some() == (d == USER));
                let wanted = own.unwrap().wanted.iter().any(|w| w.identifier == name(n));
                assert!(
                    !wanted,
                    "a declaration that it should have is said not to exist"
                );
            }
        }
    }
}

/// The last of the declarations is an asset, and the one before it has an activation of its own.
fn kind(n: usize) -> &'static str {
    if n + 1 == DECLARATIONS {
        "asset"
    } else {
        "configuration"
    }
}

async fn put(org: &Org, n: usize, content: u8) {
    let new = if kind(n) == "asset" {
        let payload = map(&json!({ "FullName": content.to_string() }));
        NewDeclaration::new(&name(n), ASSET, payload)
    } else {
        let payload = map(&json!({ "Echo": content.to_string() }));
        let mut new = NewDeclaration::new(&name(n), TEST, payload);
        if n + 2 == DECLARATIONS {
            let predicate = (content > 0).then(|| format!("@status(x) == {content}"));
            new.activation = Some(Activation::when(predicate));
        }
        new
    };
    org.put_declaration(&new).await.unwrap();
}

/// Everybody finishes what they are at, and does what the notices say, until there are none.
async fn quiet_down(house: &House, players: &mut [Player]) {
    for d in 0..DEVICES {
        if players[d].away {
            enrol(house, players, d, false).await;
        }
    }
    for _ in 0..15 {
        house.settle().await;
        let mut busy = false;
        for player in &mut *players {
            busy |= player.list.is_some();
            player.finish(house).await;
            player.hear(house).await;
            busy |= player.news;
            player.begin(house).await;
        }
        if !busy {
            return;
        }
    }
    panic!("news without an end");
}

async fn agree(org: &Org, players: &[Player]) {
    for player in players {
        let shown = org
            .declarations_of_device(&player.gadget.serial)
            .await
            .unwrap();
        let is_user = !player.gear.user.is_empty();
        let shown = shown.iter().find(|it| it.user.is_some() == is_user);
        let shown = shown.expect("its channel");
        let wanted: BTreeSet<(&str, &str)> = shown
            .wanted
            .iter()
            .map(|w| (w.identifier.as_str(), w.server_token.as_str()))
            .collect();
        let has: BTreeSet<(&str, &str)> = player
            .gear
            .has
            .iter()
            .map(|(identifier, held)| (identifier.as_str(), held.token.as_str()))
            .collect();
        assert_eq!(has, wanted, "{} {is_user}", player.gadget.serial);
        assert!(shown.agrees, "{} {is_user}", player.gadget.serial);
    }
}

#[test]
fn any_history_ends_in_agreement() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 8,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let history = proptest::collection::vec(step(), 60..120);
    runner
        .run(&history, |history| {
            runtime.block_on(async {
                let house = House::new().await;
                let org = house.org().await;
                let mut players = players(&house).await;
                for step in &history {
                    do_one(&house, &org, &mut players, step).await;
                }
                quiet_down(&house, &mut players).await;
                // A lost answer comes out when a device tells everything, a while after.
                house.clock.advance(Duration::from_mins(20));
                for player in &mut players {
                    tell_all(&house, player).await;
                }
                quiet_down(&house, &mut players).await;
                agree(&org, &players).await;
            });
            Ok(())
        })
        .unwrap();
}

/// Edits and synchronisations at the same moment, on several threads: a change that falls between a device's list being made
/// and being kept is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn edits_beside_synchronisations_are_not_lost() {
    let house = House::new().await;
    let org = house.org().await;
    let mut players = players(&house).await;
    for n in 0..DECLARATIONS {
        put(&org, n, 0).await;
    }
    let all: Vec<String> = (0..DECLARATIONS).map(name).collect();
    org.put_declaration_set("s", &all).await.unwrap();
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    for round in 1..=15_u8 {
        let edits = async {
            for n in 0..DECLARATIONS {
                // There and back: the list before and the list after may be the same.
                put(&org, n, round).await;
                put(&org, n, round % 2).await;
            }
            house.settle().await;
        };
        let syncs = futures_util::future::join_all(players.iter_mut().map(|player| async {
            for _ in 0..4 {
                player.begin(&house).await;
                player.finish(&house).await;
                // Not only when told: a list may be asked for at any moment.
                player.list = Some(player.gear.items(&house, &player.gadget).await);
                player.finish(&house).await;
            }
        }));
        tokio::join!(edits, syncs);
        quiet_down(&house, &mut players).await;
        agree(&org, &players).await;
    }
}
